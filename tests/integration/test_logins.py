"""Logins of real tests: only in verified TLS, judged by response code, and nothing of the secret anywhere else."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober, probe
from popwatch.prober.name_servers import NameServers
from popwatch.prober.resolver import Resolver
from popwatch.sweep.login_order import LoginOrder
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.scripted_pop3.logins import PASSWORD
from tests.integration.conftest import Ended, Run
from tests.stamping import stamping

AUTHORITY = trustme.CA()
WRONG = "wrong-battery-staple"


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "pop.example.net").configure_cert(found)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with stamping(), ScriptedServer() as found:
        yield found


def credential(mechanism: Mechanism = Mechanism.USER, secret: str = PASSWORD.decode()) -> Credential:
    return Credential("n", "anna", Secret(secret), mechanism)


def target(port: int, tls: str = "implicit", **fields: Any) -> Target:
    own = {"ca_pem": AUTHORITY.cert_pem.bytes().decode(), "max_test_seconds": 20}
    return parse_target({"target_id": "t", "host": "127.0.0.1", "port": port, "tls": tls, **own, **fields})


def one(target: Target, given: Credential) -> Outcome:
    return probe(target, Prober(credentials={target.target_id: given}))


def log_in(server: ScriptedServer, context: ssl.SSLContext, script: str, **fields: Any) -> tuple[Outcome, list[bytes]]:
    """The outcome, and the lines that the server has read."""
    port = server.listen(script, tls=context)
    outcome = one(target(port, **fields), credential())
    return outcome, [line for connection in server.connections(port) for line in connection.lines]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("mechanism", Mechanism)
def test_each_mechanism(server: ScriptedServer, context: ssl.SSLContext, mechanism: Mechanism, tls: str) -> None:
    """The mailbox is counted, the login timed; a wrong secret is rejected, which is not the server's fault."""
    port = server.listen("login", tls=context) if tls == "implicit" else server.listen("login", stls=context)
    outcome = one(target(port, tls), credential(mechanism))
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert (outcome.login.verdict, outcome.login.messages, outcome.login.octets) == (LoginVerdict.PASSED, 3, 4096)
    assert outcome.login_ms is not None
    assert outcome.login_ms > 0
    lines = [line.strip().split()[0] for line in server.connections(port)[0].lines]
    assert lines[-2:] == [b"STAT", b"QUIT"]

    rejected = one(target(port, tls), credential(mechanism, WRONG))
    assert rejected.passed, rejected
    assert rejected.login is not None
    assert rejected.login.verdict is LoginVerdict.REJECTED


@pytest.mark.parametrize("fields", [{"tls": "none"}, {"verify_tls": False}, {"verify_tls": False, "tls": "starttls"}])
def test_without_verified_tls_nothing_is_connected_to(
    server: ScriptedServer, context: ssl.SSLContext, fields: dict[str, Any]
) -> None:
    """Such a target is misconfigured, whatever its server offers: the test says so and sends nothing."""
    port = server.listen("login", stls=context)
    outcome = one(target(port, **fields), credential())
    assert outcome.error is ErrorCode.MISSING_FIELDS
    assert outcome.phase is Phase.CONFIGURATION
    assert "a login needs TLS that is verified" in outcome.detail
    assert server.connections(port) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"ca_pem": ""}, "tls-issuer-missing"), ({"tls_name": "other.example"}, "tls-name-mismatch")],
)
def test_a_server_that_is_not_verified_gets_no_password(
    server: ScriptedServer, context: ssl.SSLContext, fields: dict[str, str], reason: str
) -> None:
    """Neither an unknown authority nor another name: no line arrives."""
    outcome, lines = log_in(server, context, "login", **fields)
    assert outcome.reason == reason
    assert lines == []


def test_stls_that_is_refused_or_injected_gets_no_password(server: ScriptedServer, context: ssl.SSLContext) -> None:
    """A man in the middle who takes STLS away sees STLS and QUIT, and no user."""
    for script, reason in (("stls-refused", "stls-refused"), ("stls-injection", "stls-injection")):
        port = server.listen(script, stls=context)
        assert one(target(port, "starttls"), credential()).reason == reason
        lines = b"".join(server.connections(port)[0].lines)
        assert b"anna" not in lines
        assert PASSWORD not in lines


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("login-refused:[IN-USE] locked", LoginVerdict.IN_USE),
        ("login-refused:[LOGIN-DELAY] too soon", LoginVerdict.LOGIN_DELAY),
        ("login-refused:[AUTH] no", LoginVerdict.REJECTED),
        ("login-old:[AUTH] no", LoginVerdict.REJECTED),
        ("login-hostile", LoginVerdict.IN_USE),
    ],
)
def test_refusals_that_are_no_outage(
    server: ScriptedServer, context: ssl.SSLContext, script: str, verdict: LoginVerdict
) -> None:
    """The test passes as one without a login would, and says what the server said."""
    outcome, _ = log_in(server, context, script)
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert outcome.login.verdict is verdict
    assert outcome.login.said.startswith("-ERR [")
    assert outcome.login.said.isprintable()


@pytest.mark.parametrize(
    ("script", "error", "expected"),
    [
        ("login-refused:[SYS/TEMP] later", ErrorCode.PROTOCOL, ("login-sys-temp", LoginVerdict.FAILED)),
        ("login-refused:[SYS/PERM] never", ErrorCode.PROTOCOL, ("login-sys-perm", LoginVerdict.FAILED)),
        ("login-refused:no", ErrorCode.PROTOCOL, ("login-failed", LoginVerdict.FAILED)),
        ("login-old:no", ErrorCode.PROTOCOL, ("login-refused", LoginVerdict.UNCLEAR)),
        ("login-close", ErrorCode.DISCONNECTED, ("closed-before-login-reply", LoginVerdict.FAILED)),
        ("login-silent", ErrorCode.TIMED_OUT, ("no-login-reply", LoginVerdict.FAILED)),
        ("login-slow:9", ErrorCode.TIMED_OUT, ("no-login-reply", LoginVerdict.FAILED)),
        ("login-long", ErrorCode.PROTOCOL, ("overlong-line", LoginVerdict.FAILED)),
        ("login-long:-ERR [AUTH]", ErrorCode.PROTOCOL, ("overlong-line", LoginVerdict.UNCLEAR)),
        ("login-endless", ErrorCode.PROTOCOL, ("too-many-capabilities", LoginVerdict.FAILED)),
        ("login-mailbox:-ERR no", ErrorCode.PROTOCOL, ("stat-refused", LoginVerdict.FAILED)),
        ("login-mailbox:+OK many", ErrorCode.PROTOCOL, ("unexpected-reply", LoginVerdict.FAILED)),
        ("login-repeats", ErrorCode.PROTOCOL, ("login-failed", LoginVerdict.FAILED)),
    ],
)
def test_failures_at_the_login(
    server: ScriptedServer, context: ssl.SSLContext, script: str, error: ErrorCode, expected: tuple[str, LoginVerdict]
) -> None:
    """Greeting and TLS were fine and are in the outcome; the phase is `login`; no secret is in the outcome."""
    short = {"max_test_seconds": 2} if error is ErrorCode.TIMED_OUT else {}
    outcome, _ = log_in(server, context, script, **short)
    assert (outcome.error, outcome.phase) == (error, Phase.LOGIN)
    assert outcome.login is not None
    assert (outcome.reason, outcome.login.verdict) == expected
    assert outcome.rtt_ms is not None
    assert PASSWORD.decode() not in repr(outcome)


@pytest.mark.parametrize(
    ("script", "mechanism", "detail"),
    [
        ("login-silent:CAPA", Mechanism.USER, "The server did not answer CAPA."),
        ("login-silent:USER", Mechanism.USER, "The server did not answer USER."),
        ("login-silent:PASS", Mechanism.USER, "The server did not answer PASS."),
        ("login-silent:APOP", Mechanism.APOP, "The server did not answer APOP."),
        ("login-silent:AUTH", Mechanism.PLAIN, "The server did not answer AUTH PLAIN."),
        ("login-silent:AUTH", Mechanism.XOAUTH2, "The server did not answer AUTH XOAUTH2."),
        ("login-silent", Mechanism.XOAUTH2, "The server did not answer the response after AUTH XOAUTH2."),
        ("login-silent:STAT", Mechanism.USER, "The server did not answer STAT."),
        ("login-silent:QUIT", Mechanism.USER, "The server did not answer QUIT."),
        ("login-close:CAPA", Mechanism.USER, "The server closed the connection and did not answer CAPA."),
        ("login-close:STAT", Mechanism.USER, "The server closed the connection and did not answer STAT."),
        ("login-mailbox:", Mechanism.USER, "The server answered STAT with an empty line"),
    ],
)
def test_which_command_was_not_answered(
    server: ScriptedServer, context: ssl.SSLContext, script: str, mechanism: Mechanism, detail: str
) -> None:
    """A server that answers the login and not STAT has another fault than one that does not answer the login."""
    port = server.listen(script, tls=context)
    assert one(target(port, max_test_seconds=1), credential(mechanism)).detail == detail


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_messages": 2}, "The mailbox has 3 messages, more than the 2 allowed."),
        ({"max_octets": 4095, "max_messages": 3}, "The mailbox has 4096 octets, more than the 4095 allowed."),
        ({"max_octets": 4096, "max_messages": 3}, ""),
    ],
)
def test_a_mailbox_above_a_limit_fails(
    server: ScriptedServer, context: ssl.SSLContext, fields: dict[str, int], said: str
) -> None:
    """At the login, which has passed: the session ends in order, and the figures are in the outcome."""
    outcome, lines = log_in(server, context, "login", **fields)
    assert outcome.detail == said
    assert (outcome.error, outcome.reason) == ((ErrorCode.PROTOCOL, "mailbox-too-full") if said else (None, ""))
    assert outcome.login is not None
    assert (outcome.login.verdict, outcome.login.messages) == (LoginVerdict.PASSED, 3)
    assert lines[-1] == b"QUIT\r\n"


def test_a_slow_login_is_timed(server: ScriptedServer, context: ssl.SSLContext) -> None:
    """`login_ms` has the time that the server took, and the round-trip time has not."""
    outcome, _ = log_in(server, context, "login-slow:0.3")
    assert outcome.passed, outcome
    assert outcome.login_ms is not None
    assert outcome.login_ms >= 300
    assert outcome.rtt_ms is not None
    assert outcome.rtt_ms < outcome.login_ms


def test_login_delay_is_kept(server: ScriptedServer, context: ssl.SSLContext) -> None:
    """The seconds that CAPA states."""
    outcome, _ = log_in(server, context, "login:LOGIN-DELAY 900")
    assert outcome.login is not None
    assert outcome.login.login_delay == 900


def at_two_addresses(
    context: ssl.SSLContext, scripts: tuple[str, str], **fields: Any
) -> tuple[Outcome, list[list[bytes]]]:
    """The outcome of a host with two addresses, and the lines that each of them has read."""
    hosts = {"pop.example.net": ("127.0.0.1", "127.0.0.2")}
    resolver = Resolver(name_servers=lambda: NameServers((("127.0.0.1", 9),)), hosts=lambda: hosts)
    prober = Prober(resolver=resolver, credentials={"t": credential()})
    with ScriptedServer() as first, ScriptedServer() as second:
        port = first.listen(scripts[0], host="127.0.0.1", tls=context)
        second.listen(scripts[1], host="127.0.0.2", port=port, tls=context)
        outcome = probe(target(port, host="pop.example.net", **fields), prober)
        lines = [[line for it in server.connections(port) for line in it.lines] for server in (first, second)]
    return outcome, lines


def test_the_address_that_greets_is_logged_in_to(context: ssl.SSLContext) -> None:
    """A silent first address does not keep the test from its login at the second."""
    outcome, lines = at_two_addresses(context, ("silent", "login"), max_test_seconds=4)
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert outcome.login.verdict is LoginVerdict.PASSED
    assert [len(read) for read in lines] == [0, 5]


@pytest.mark.parametrize("every", [False, True])
def test_a_login_that_fails_is_not_tried_at_another_address(context: ssl.SSLContext, every: bool) -> None:
    """One login in a test, or a wrong password would be two attempts; the greeting of another address is not a pass."""
    scripts = ("login-refused:[SYS/TEMP] later", "login-refused:[SYS/TEMP] later" if every else "login")
    outcome, lines = at_two_addresses(context, scripts, all_addresses=every)
    assert (outcome.reason, outcome.phase) == ("login-sys-temp", Phase.LOGIN)
    assert sum(line.startswith(b"PASS") for read in lines for line in read) == 1


@pytest.mark.parametrize("script", ["login", "login-refused:[AUTH] no"])
def test_a_login_at_one_of_all_addresses_counts(context: ssl.SSLContext, script: str) -> None:
    """With `all_addresses` the others are only greeted, and the outcome has the login."""
    outcome, lines = at_two_addresses(context, (script, script), all_addresses=True)
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert sum(line.startswith(b"PASS") for read in lines for line in read) == 1


@pytest.mark.parametrize("script", ["silent", "close", "error"])
def test_of_all_addresses_one_that_answers_is_logged_in_to(context: ssl.SSLContext, script: str) -> None:
    """The first one is down, or greets too late: the next logs in, and the target is degraded."""
    outcome, lines = at_two_addresses(context, (script, "login"), all_addresses=True, max_test_seconds=2)
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert outcome.login.verdict is LoginVerdict.PASSED
    assert len(outcome.failed_addresses) == 1
    assert [sum(line.startswith(b"PASS") for line in read) for read in lines] == [0, 1]


def test_a_prober_with_other_credentials(server: ScriptedServer, context: ssl.SSLContext) -> None:
    """As a sweep makes one for each batch: it logs in, and the prober that it was made of still does not."""
    port, prober = server.listen("login", tls=context), Prober()
    found = probe(target(port), prober.with_credentials({"t": credential()}))
    assert found.login is not None
    assert found.login.verdict is LoginVerdict.PASSED
    assert probe(target(port), prober).login is None


@pytest.mark.parametrize(("script", "refused"), [("login", False), ("login-refused:[AUTH] no", True)])
def test_targets_wait_for_the_first_login_of_their_credential(
    server: ScriptedServer, context: ssl.SSLContext, script: str, *, refused: bool
) -> None:
    """Their tests begin once it was accepted, and log in; once it was refused they are made without a login."""
    port = server.listen(script, tls=context)
    targets = [replace(target(port), target_id=name) for name in "abcd"]
    order = LoginOrder({one.target_id: credential() for one in targets})
    found = {}
    for arrivals in Prober().with_credentials(order.credentials, order.may_log_in).run(targets):
        for ended, outcome in arrivals:
            found[ended.target_id] = outcome
            order.end(ended.target_id, outcome.login or LoginResult(LoginVerdict.FAILED))
    assert all(outcome.passed for outcome in found.values())
    assert sum(outcome.login is not None for outcome in found.values()) == (1 if refused else 4)
    lines = [line for connection in server.connections(port) for line in connection.lines]
    assert sum(line.startswith(b"PASS") for line in lines) == (1 if refused else 4)


def test_a_test_that_waits_too_long_is_not_made(server: ScriptedServer, context: ssl.SSLContext) -> None:
    """As every one that could not end in time: it has no outcome, and is left to another invocation."""
    port = server.listen("login", tls=context)
    prober = Prober().with_credentials({"t": credential()}, lambda _: None)
    short = replace(target(port), max_test_seconds=1.0)
    began = time.monotonic()
    assert [found for found in prober.run([short], end_by=began + 1.3) if found] == []
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("script", "unanswered"),
    [
        ("login-close", True),
        ("login-silent", True),
        ("login-long", True),
        ("login-long:-ERR [AUTH]", False),
        ("login-endless", False),
        ("login-old:no", False),
        ("login-refused:no", False),
        ("login-refused:[SYS/TEMP] later", False),
        ("login-mailbox:-ERR no", False),
        ("login", False),
    ],
)
def test_whether_a_secret_was_sent_and_not_answered(
    server: ScriptedServer, context: ssl.SSLContext, script: str, *, unanswered: bool
) -> None:
    """Then the server may have counted a wrong one. A login that was accepted was answered, whatever comes after it."""
    outcome, _ = log_in(server, context, script, max_test_seconds=1)
    assert outcome.login is not None
    assert outcome.login.unanswered is unanswered


Shell = Callable[..., Ended]


@pytest.fixture
def shell(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`popwatch test --login` with the authority's file, and a file with the password."""
    monkeypatch.chdir(tmp_path)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")

    def log_in(port: int, *options: object, password: str = PASSWORD.decode()) -> Ended:
        (tmp_path / "password").write_text(f"{password}\n")
        tls = ("--port", port, "--ca", "authority.pem", "--tls", "implicit")
        return run("test", "127.0.0.1", *tls, "--login", "--user", "anna", "--secret-file", "password", *options)

    return log_in


def test_from_the_desk(shell: Shell, server: ScriptedServer, context: ssl.SSLContext) -> None:
    """The mailbox in the step `login`; in JSON the verdict and the figures; no password in either."""
    port = server.listen("login:LOGIN-DELAY 60", tls=context)
    for mechanism in Mechanism:
        ended = shell(port, "--mechanism", mechanism)
        assert ended.code == 0, ended.out + ended.err
        assert [line.split()[0] for line in ended.out.splitlines()[:5]] == [
            "connect",
            "tls",
            "greeting",
            "login",
            "quit",
        ]
        assert "3 messages, 4096 octets" in ended.out
        assert PASSWORD.decode() not in ended.out + ended.err
    found = json.loads(shell(port, "--json").out)
    figures = {"messages": 3, "octets": 4096, "login_delay": 60}
    assert found["login"] == {"verdict": "passed", **figures, "said": "", "unanswered": False}
    assert found["login_ms"] > 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "login-refused:[AUTH] no such user",
            (2, ["REFUSED The server does not accept", "The server said: -ERR [AUTH]"]),
        ),
        (
            "login-refused:[IN-USE] locked",
            (0, ["PASSED", "which is not a fault", "The server said: -ERR [IN-USE] (the rest is not shown"]),
        ),
        (
            "login-refused:[LOGIN-DELAY] soon",
            (0, ["PASSED", "which is not a fault", "The server said: -ERR [LOGIN-DELAY]"]),
        ),
        ("login-refused:[SYS/TEMP] later", (2, ["FAILED", "login-sys-temp", "which will pass"])),
        ("login-old:no", (2, ["FAILED", "login-refused", "does not say which"])),
        ("login-repeats", (2, ["FAILED", "The server answered PASS with -ERR (the rest is not shown"])),
    ],
)
def test_refusals_at_the_desk(
    shell: Shell, server: ScriptedServer, context: ssl.SSLContext, script: str, expected: tuple[int, list[str]]
) -> None:
    """What it means, and what the server said; exit code 2 if the login cannot be made."""
    ended = shell(server.listen(script, tls=context))
    assert ended.code == expected[0]
    assert [word for word in expected[1] if word not in ended.out] == []
    assert PASSWORD.decode() not in ended.out + ended.err


def test_a_login_at_the_desk_has_the_time_of_a_target_with_one(
    shell: Shell, server: ScriptedServer, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a time is given."""
    port = server.listen("login-slow:1.5", tls=context)
    monkeypatch.setattr("popwatch_cli.commands.probing.LOGIN_TEST_SECONDS", 1)
    assert "no-login-reply" in shell(port).out
    assert shell(port, "--timeout", 8).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["127.0.0.1", "--login", "--user", "anna"], "--login needs TLS that is verified"),
        (["127.0.0.1:995", "--no-verify", "--login", "--user", "anna"], "--login needs TLS that is verified"),
        (["127.0.0.1:995", "--login"], "--login needs --user USER"),
        (["127.0.0.1:995", "--login", "--user", "an\rna"], "it has a line end or a NUL"),
        (["127.0.0.1:995", "--login", "--user", "anna"], "There is no terminal to ask for the password"),
        (["127.0.0.1:995", "127.0.0.2:995", "--login", "--user", "anna"], "--login tests one server"),
        (["127.0.0.1:995", "--user", "anna"], "--user does nothing alone: add --login"),
        (["127.0.0.1:995", "--plugin", "--login", "--user", "anna"], "does nothing with --plugin"),
        (["127.0.0.1:995", "--login", "--user", "anna", "--mechanism", "cram-md5"], "not one of user, apop, plain"),
    ],
)
def test_what_the_command_refuses(run: Run, arguments: list[str], words: str) -> None:
    """Before it asks for a password or connects."""
    ended = run("test", *arguments)
    assert ended.code in (1, 3)
    assert words in ended.out + ended.err
