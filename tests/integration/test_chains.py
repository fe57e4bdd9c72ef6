"""Certificate chains of many kinds: one verdict, on a laptop as in Lambda."""

import json
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import certifi
import pytest

from popwatch.model.fields import TlsVersion
from popwatch.model.posture import CHAIN_ADVICE
from popwatch.prober import tls
from popwatch.prober.posture import _UNTRUSTED
from popwatch.prober.tls_failures import _VERIFY_REASONS
from tests.chain_verdicts import verdict
from tests.chains import Chain, chains

PROJECT = Path(__file__).parents[2]
CHAINS = chains()
LEAF = "leaf pop.example.net"
STRICT = {
    "root without key identifiers",
    "root with basicConstraints not critical",
    "root without key usage",
    "root in the manner of easy-rsa",
    "server without key identifiers",
    "server without a subject",
}
"""What Python refuses by default since 3.13."""

PARTIAL = {
    "the server's own certificate is trusted",
    "intermediate is trusted",
    "intermediate is trusted and not presented",
    "expired and trusted itself",  # refused by all, but by older ones for another reason
}
"""Where the trusted certificate is not a root, which Python accepts by default since 3.13 only."""


def other_python() -> str:
    """Lambda's Python, or from 3.13 on an older one: the other side of where Python changed."""
    if sys.version_info < (3, 13):
        found = subprocess.run([str(PROJECT / ".ci" / "find-python-3.13")], capture_output=True, text=True, check=False)
        return found.stdout.strip()
    beside = Path(sys.base_prefix).parent.glob("3.1[12].*/bin/python3.1[12]")
    return str(next(iter([*sorted(beside), *Path("/usr/bin").glob("python3.1[12]")]), ""))


@cache
def verdicts_of(python: str, *options: str) -> dict[str, list[str]]:
    """The verdicts of another process, which has the layer and certifi only."""
    path = os.pathsep.join((str(PROJECT / "layers" / "popwatch"), str(PROJECT), str(Path(certifi.__file__).parents[1])))
    ended = subprocess.run(
        [python, "-m", "tests.chain_verdicts", *options],
        env={"PYTHONPATH": path, "LD_PRELOAD": os.environ.get("LD_PRELOAD", "")},  # the clock of .ci/run-anytime
        input=json.dumps({kind: chain.seen for kind, chain in CHAINS.items()}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(ended.stdout)
    return found


@pytest.fixture
def pythons() -> tuple[str, str]:
    """A Python below 3.13 and Python 3.13: a laptop's and Lambda's."""
    other = other_python()
    if not other:
        pytest.skip("Needs two Pythons, one below 3.13 and one not: .ci/find-python-3.13 looks for 3.13.")
    both = (sys.executable, other)
    return both if sys.version_info < (3, 13) else both[::-1]


@pytest.mark.parametrize(("kind", "chain"), CHAINS.items(), ids=CHAINS)
def test_a_chain_has_the_verdict_of_the_table(kind: str, chain: Chain) -> None:
    """The reason of the failure, and the expiry, which is read from refused certificates too."""
    assert verdict(*chain.seen)[:2] == (chain.reason, chain.expires.isoformat()), kind


@pytest.mark.parametrize(
    ("kind", "verified", "unneeded"),
    [
        ("root, intermediate, server", [LEAF, "intermediate Intermediate", "root Root"], []),
        ("root and server", [LEAF, "root Root"], []),
        ("the server's own certificate is trusted", [LEAF], []),
        ("self-signed and trusted", [LEAF], []),
        ("intermediate is trusted", [LEAF, "intermediate Intermediate"], []),
        ("intermediate is trusted and not presented", [LEAF, "intermediate Intermediate"], []),
        ("in another order", [LEAF, "intermediate Intermediate", "root Root"], []),
        (
            "with a certificate that is not part of it",
            [LEAF, "intermediate Intermediate", "root Root"],
            ["Another root"],
        ),
        ("cross-signed, the newer root is trusted", [LEAF, "root Root"], ["Root"]),
        ("cross-signed, the older root is trusted", [LEAF, "intermediate Root", "root Older"], []),
        ("cross-signed by a root that has expired", [LEAF, "root Root"], ["Root"]),
        ("server without a subject", [LEAF, "root Root"], []),
    ],
)
def test_the_chain_that_was_verified(kind: str, verified: list[str], unneeded: list[str]) -> None:
    """From the server's own certificate to the one that is trusted, and what the server sends beside it."""
    assert list(verdict(*CHAINS[kind].seen)[2:]) == [verified, unneeded]


@pytest.mark.long
def test_laptop_and_function_agree(pythons: tuple[str, str]) -> None:
    """Both Pythons say the same of each chain, in processes of their own: below 3.13 by a private function."""
    expected = {kind: json.loads(json.dumps(verdict(*chain.seen))) for kind, chain in CHAINS.items()}
    laptop, function = (verdicts_of(python) for python in pythons)
    assert laptop == function == expected


@pytest.mark.long
def test_the_defaults_of_python_would_not_agree(pythons: tuple[str, str]) -> None:
    """Without popwatch's own flags the two Pythons differ, in what the table has them for."""
    laptop, function = (verdicts_of(python, "--defaults") for python in pythons)
    assert {kind for kind in CHAINS if laptop[kind] != function[kind]} == STRICT | PARTIAL


@pytest.mark.parametrize("kind", ["signed with SHA-1", "RSA of 1,024 bits"])
def test_an_old_server_may_be_weak(kind: str) -> None:
    """A target with `tls_min` below 1.2 accepts its keys and signatures too; trust, dates and names count as ever."""
    old = partial(tls.context, True, lowest=TlsVersion.TLS_1_1)
    assert verdict(*CHAINS[kind].seen, old)[0] == ""
    assert verdict(*CHAINS["expired"].seen, old)[0] == CHAINS["expired"].reason
    assert tls.context(True, "", TlsVersion.TLS_1_2).security_level == 2


def test_the_context_says_all_that_decides() -> None:
    """Lowest version, security level and flags are the same on every Python and build of OpenSSL."""
    for verify in (True, False):
        found = tls.context(verify, "")
        assert found.minimum_version.name == "TLSv1_2"
        assert found.security_level == 2
        assert not found.options & 0x4
        assert not [cipher["name"] for cipher in found.get_ciphers() if cipher["name"].startswith("DHE")]
    flags = tls.context(True, "").verify_flags
    assert flags.value == 0x8000 | 0x80000, flags


def test_each_reason_of_an_untrusted_chain_has_its_own_advice() -> None:
    """What a posture test counts as untrusted is what a verification can end with, and each has another remedy."""
    reasons = {chain.reason for chain in CHAINS.values() if chain.reason}
    assert reasons == set(CHAIN_ADVICE) == _UNTRUSTED >= set(_VERIFY_REASONS.values())
    assert len(set(CHAIN_ADVICE.values())) == len(CHAIN_ADVICE)
