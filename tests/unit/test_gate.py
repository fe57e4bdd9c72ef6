"""The gate of the local AWS: `tests/e2e/test_attacks.py` tries it on the deployed stack."""

from pathlib import Path
from typing import Any

import pytest

from popwatch_cli.local.gate import credential_of, refusal_of
from popwatch_cli.local.stack import LocalStack

KEY = "0123456789abcdef"
URL = "/_aws/lambda-url/" + "0a" * 16
SIGNED = f"AWS4-HMAC-SHA256 Credential={KEY}/20261127/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0"


def scope(path: str = "/", query: str = "", **headers: str) -> dict[str, Any]:
    """The scope of a request; `_` in a header's name is `-`."""
    sent = {"host": "127.0.0.1:4566"} | {name.replace("_", "-"): value for name, value in headers.items()}
    found = [(name.encode(), value.encode()) for name, value in sent.items()]
    return {"type": "http", "path": path, "query_string": query.encode(), "headers": found}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (scope(authorization=SIGNED), ""),
        (scope(authorization=SIGNED, host="localhost"), ""),
        (scope(authorization=SIGNED, host="bucket.s3.localhost:4566"), ""),
        (scope(query=f"X-Amz-Credential={KEY}%2F20261127%2Fus-east-1%2Fs3%2Faws4_request"), ""),
        (scope("/_ministack/health"), ""),
        (scope(URL), ""),
        (scope(f"{URL}/"), ""),
        (scope("/_aws/lambda-url/01234567-89ab-cdef-0123-456789abcdef/"), ""),
        (scope(f"{URL}/sign-in", origin="http://127.0.0.1:4566", sec_fetch_site="same-origin"), ""),
        (scope(f"{URL}/", origin="https://evil.example"), "no other web site"),
        (scope(f"{URL}/", host="s3.localhost:4566"), "the key of its run"),
        (scope(f"{URL}/", authorization=SIGNED.replace(KEY, "another")), "the key of its run"),
        (scope(f"{URL}x/"), "the key of its run"),
        (scope("/_aws/lambda-url/", query="Action=ListQueues"), "the key of its run"),
        (scope("/_aws/lambda-url//", query="Action=ListQueues"), "the key of its run"),
        (scope("/_aws/lambda-url/abc/"), "the key of its run"),
        (scope("/_ministack/health", host="s3.localhost:4566"), "the key of its run"),
        (scope("/_ministack/health", host="evil.example"), "at 127.0.0.1 and localhost only"),
        (scope(authorization=SIGNED, host=""), "at 127.0.0.1 and localhost only"),
        (scope(authorization=SIGNED, host="127.0.0.1.evil.example:4566"), "at 127.0.0.1 and localhost only"),
        (scope(authorization=SIGNED, host="evillocalhost"), "at 127.0.0.1 and localhost only"),
        (scope(authorization=SIGNED, sec_fetch_site="cross-site"), "no other web site"),
        (scope(), "the key of its run"),
        (scope(authorization="Basic x"), "the key of its run"),
        (scope(authorization=SIGNED.replace(KEY, KEY[:-1])), "the key of its run"),
        (scope(authorization=SIGNED.replace(KEY, "\xff")), "the key of its run"),
        (scope("/_ministack/reset"), "the key of its run"),
        (scope("/_ministack/health", authorization=SIGNED), ""),
        (scope("/_ministack/health", authorization=SIGNED.replace(KEY, "another")), "the key of its run"),
    ],
)
def test_who_is_refused(asked: dict[str, Any], said: str) -> None:
    """Other names, other sites, and whoever lacks the key."""
    found = refusal_of(asked, KEY)
    assert said in found
    assert bool(said) == bool(found)


def test_no_web_socket_without_the_key() -> None:
    """A function's URL has none."""
    assert "the key of its run" in refusal_of({**scope(f"{URL}/"), "type": "websocket"}, KEY)


def test_where_iam_is_enforced() -> None:
    """MiniStack checks the keys of all its users itself, but not on its own paths."""
    other = scope(authorization=SIGNED.replace(KEY, "other"))
    assert refusal_of(other, KEY, enforces_iam=True) == ""
    assert refusal_of({**other, "path": "/_ministack/reset"}, KEY, enforces_iam=True)


def test_each_run_has_a_key_of_its_own() -> None:
    """Of 128 random bits, and it is not shown."""
    keys = [LocalStack(Path(), Path()).key for _ in range(3)]
    assert len(set(keys)) == 3
    assert all(len(bytes.fromhex(key)) == 16 for key in keys)
    stack = LocalStack(Path(), Path())
    assert stack.key not in repr(stack)


def test_without_a_credential() -> None:
    """A request that is not signed has none."""
    assert credential_of({}, "a=b") == ""
