"""`popwatch page --password` and `--new-password`: what they print and store, and what they say where they cannot."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from popwatch_cli.commands import page
from popwatch_cli.installation import Installation
from tests.integration.conftest import Run
from tests.integration.night import PASSWORD, Night, new_night

NAME = "page"
URL = "https://abcdefgh.lambda-url.us-east-1.on.aws/"


@pytest.fixture(autouse=True)
def night() -> Iterator[Night]:
    """A stack with a page."""
    with new_night() as found:
        yield found


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the command find a stack with these outputs and no others."""

    def let_it_find(endpoint: str | None = None, **outputs: str) -> None:
        found = Installation("mail-watch", outputs, endpoint, "us-east-1")
        monkeypatch.setattr(page, "find", lambda _: found)

    return let_it_find


def versions() -> dict[str, str]:
    """The stored passwords by their stage."""
    client = boto3.client("secretsmanager", region_name="us-east-1")
    stored = client.describe_secret(SecretId=NAME)["VersionIdsToStages"]
    return {
        stage: client.get_secret_value(SecretId=NAME, VersionId=version)["SecretString"]
        for version, stages in stored.items()
        for stage in stages
    }


def test_the_password_alone_is_printed(run: Run) -> None:
    """A program can take it from the standard output; beside it people read which page it opens."""
    ended = run("page", "--password")
    assert (ended.code, ended.out) == (0, f"{PASSWORD}\n")
    assert ended.err == f"This is the password of {URL}:\n"


def test_another_password_replaces_it(run: Run) -> None:
    """It is printed and stored; Secrets Manager keeps the old one, which is not the current one any more."""
    made = [run("page", "--new-password").out.strip() for _ in range(2)]
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", password) for password in made)
    assert len({PASSWORD, *made}) == 3
    assert versions() == {"AWSCURRENT": made[1], "AWSPREVIOUS": made[0]}
    assert run("page", "--password").out.strip() == made[1]
    ended = run("page", "--new-password")
    assert ended.err == f"Within a minute this password alone is accepted, and all sessions end, at {URL}:\n"


@pytest.mark.parametrize("option", ["--password", "--new-password"])
def test_a_stack_without_a_page(run: Run, deployed: Callable[..., None], option: str) -> None:
    """The message says how to get one, or what to use instead; nothing is printed to the standard output."""
    deployed(TargetsTable="Targets")
    ended = run("page", option)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        "The stack mail-watch has no page with a password: deploy it with Page=on, or use `popwatch page`, which "
        "needs none.\n"
    )
    deployed("http://127.0.0.1:1", TargetsTable="Targets")
    assert "`make run` prints the address" in run("page", option).err
    deployed(TargetsTable="Targets", ReportUrl=URL)
    assert run("page", option).err == (
        "An earlier version of popwatch deployed the page of mail-watch: deploy this one with Page=on.\n"
    )


@pytest.mark.parametrize(("option", "action"), [("--password", "GetSecretValue"), ("--new-password", "PutSecretValue")])
def test_access_is_refused(run: Run, option: str, action: str) -> None:
    """AWS's sentence, which names the permission and the secret, and what to do; no password."""

    def refuse(**_: Any) -> None:
        message = f"User: arn:aws:iam::123456789012:user/x is not authorized to perform: secretsmanager:{action}"
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, action)

    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register(f"before-call.secrets-manager.{action}", refuse)
    ended = run("page", option)
    boto3.DEFAULT_SESSION.events.unregister(f"before-call.secrets-manager.{action}", refuse)
    assert (ended.code, ended.out) == (3, "")
    assert f"not authorized to perform: secretsmanager:{action}. Ask for the permission" in ended.err
    assert versions() == {"AWSCURRENT": PASSWORD}


@pytest.mark.parametrize(
    ("option", "without_recovery"), [("--password", False), ("--password", True), ("--new-password", True)]
)
def test_a_deleted_secret(run: Run, option: str, *, without_recovery: bool) -> None:
    """Marked for deletion, where moto accepts a new value and AWS does not, or gone: how to get it back, or another."""
    client = boto3.client("secretsmanager", region_name="us-east-1")
    client.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=without_recovery)
    ended = run("page", option)
    assert (ended.code, ended.out) == (3, "")
    assert "was deleted" in ended.err
    assert "aws secretsmanager restore-secret --secret-id arn:aws:secretsmanager:us-east-1:" in ended.err


def test_a_secret_without_a_password(run: Run) -> None:
    """Someone has stored something else in it: another password puts that right."""
    boto3.client("secretsmanager", region_name="us-east-1").put_secret_value(
        SecretId=NAME, SecretString='{"a": "hidden"}'
    )
    ended = run("page", "--password")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "The page's secret has no password: make another with `popwatch page --new-password`.\n"
    assert run("page", "--new-password").code == 0
    assert run("page", "--password").code == 0
