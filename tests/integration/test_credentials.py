"""`popwatch credentials`: what it stores, shows and refuses; no secret is shown, logged or an argument."""

import io
import json
import logging
import os
import pty
import select
import signal
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import boto3
import certifi
import pytest
import trustme
from botocore.exceptions import ClientError

from popwatch.model.credential_state import CredentialState, revision
from popwatch.model.credentials import Mechanism
from popwatch.model.stored_credentials import MICROSOFT_SCOPE, from_value
from popwatch.model.text import iso, utc
from popwatch.prober.tls import context
from popwatch_cli.installation import find_local
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.scripted_pop3.logins import PASSWORD
from tests.integration.conftest import Do, Ended, Run
from tests.integration.night import Night, new_night
from tests.integration.test_access_tokens import Endpoint, http

CANARY = "canary-{{5}}\u00e4-91c2"
PATH = "/popwatch/popwatch/credentials/"
AUTHORITY = trustme.CA()
URL = "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"


@pytest.fixture
def night() -> Iterator[Night]:
    """A stack without credentials."""
    with new_night() as found:
        yield found


@pytest.fixture(autouse=True)
def no_secret_gets_out(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither output nor any log line of popwatch, boto3 or anything else has the canary."""
    caplog.set_level(logging.INFO)
    yield
    captured = capsys.readouterr()
    assert "canary" not in captured.out + captured.err + caplog.text


@pytest.fixture
def put(run: Run, tmp_path: Path) -> Any:
    """Store a credential with the canary as its secret, by a file."""

    def put_credential(*arguments: str, secret: str = f"{CANARY}\n") -> Ended:
        file = tmp_path / "secret"
        file.write_text(secret, "utf-8")
        ended = run("credentials", "put", *arguments, "--secret-file", file)
        assert "canary" not in ended.out + ended.err
        return ended

    return put_credential


def parameter(name: str) -> dict[str, Any]:
    """The stored parameter, with its value decrypted."""
    found: dict[str, Any] = boto3.client("ssm").get_parameter(Name=PATH + name, WithDecryption=True)["Parameter"]
    return found


@pytest.mark.usefixtures("night")
def test_a_login_is_stored_encrypted(run: Run, put: Any) -> None:
    """As a SecureString of the free tier under the stack's path; a second time it is version 2 of the same."""
    ended = put("monitor", "--user", "anna")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Stored: monitor, version 1, encrypted as {PATH}monitor.\n"
    stored = parameter("monitor")
    assert stored["Type"] == "SecureString"
    [described] = boto3.client("ssm").describe_parameters()["Parameters"]
    assert (described["Tier"], described["KeyId"]) == ("Standard", "alias/aws/ssm")
    assert "anna" not in described["Description"]
    found = from_value("monitor", stored["Value"])
    assert (found.user, found.secret.reveal(), found.mechanism) == ("anna", CANARY, Mechanism.USER)
    ended = put("monitor", "--user", "berta", "--mechanism", "plain", "--json")
    assert json.loads(ended.out) == {"name": "monitor", "user": "berta", "mechanism": "plain", "version": 2}
    ended = run("credentials", "list")
    assert ended.out.startswith("monitor  berta  plain  version 2  20")


@pytest.mark.usefixtures("night")
def test_xoauth2(put: Any) -> None:
    """The secret is the client's; the scope is that of Exchange Online unless another is given."""
    source = ("--mechanism", "xoauth2", "--token-url", URL, "--client-id", "an-id")
    assert put("office", "--user", "anna@example.com", *source, secret="canary~secret").code == 0
    found = from_value("office", parameter("office")["Value"])
    assert found.token_source is not None
    assert (found.token_source.url, found.token_source.client_id) == (URL, "an-id")
    assert found.token_source.scope == MICROSOFT_SCOPE


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a/b", "--user", "anna"], "`name`"),
        (["monitor", "--user", "an\nna"], "`user`"),
        (["monitor", "--user", "a" * 300], "`user`"),
        (["monitor", "--user", "anna", "--scope", "x"], "--scope is for --mechanism xoauth2 only"),
        (["monitor", "--user", "anna", "--mechanism", "xoauth2"], "needs --token-url and --client-id"),
        (
            ["m", "--user", "a", "--mechanism", "xoauth2", "--token-url", "http://x/", "--client-id", "i"],
            "`token_url`",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(put: Any, arguments: list[str], why: str) -> None:
    """Before anything is stored, with the field; the value of a secret is never quoted."""
    ended = put(*arguments)
    assert (ended.code, ended.out) == (3, "")
    assert why in ended.err
    assert "Nothing was stored." in ended.err
    assert boto3.client("ssm").describe_parameters()["Parameters"] == []


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize("secret", ["", "\n", "canary\nDELE 1\n", "canary" * 50, "canary\0"])
def test_a_secret_that_cannot_be_sent_is_refused(put: Any, secret: str) -> None:
    """Empty, with a line end in it, too long for a command: the message says which, and quotes nothing."""
    ended = put("monitor", "--user", "anna", secret=secret)
    assert (ended.code, ended.out) == (3, "")
    assert "`secret`" in ended.err


@pytest.mark.usefixtures("night")
def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-` the secret comes from there; without a terminal and without a file no one can be asked."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{CANARY}\r\n".encode()), "utf-8"))
    assert run("credentials", "put", "monitor", "--user", "anna", "--secret-file", "-").code == 0
    assert from_value("monitor", parameter("monitor")["Value"]).secret.reveal() == CANARY
    ended = run("credentials", "put", "monitor", "--user", "anna")
    assert ended.code == 3
    assert "--secret-file" in ended.err


@pytest.mark.usefixtures("night")
def test_list_shows_what_is_damaged(run: Run, put: Any) -> None:
    """More than a page of AWS's, by name; a hand-written one that cannot be used is named with its reason."""
    assert run("credentials", "list").err == ""
    assert "There are no credentials" in run("credentials", "list").out
    for number in range(11):
        put(f"m-{number:02}", "--user", "anna")
    ssm = boto3.client("ssm")
    for name, value in (("broken", "canary"), ("other/m", "canary")):
        ssm.put_parameter(Name=PATH + name, Value=value, Type="SecureString")
    ssm.put_parameter(Name="/popwatch/popwatch2/credentials/x", Value="canary", Type="SecureString")
    listed = [json.loads(line) for line in run("credentials", "ls", "--json").out.splitlines()]
    assert [one["name"] for one in listed] == ["broken", *(f"m-{number:02}" for number in range(11))]
    assert listed[1] | {"changed_at": ""} == {
        "name": "m-00", "version": 1, "changed_at": "", "user": "anna", "mechanism": "user", "problem": "",
        "state": "untried", "rejected_by": "", "said": "", "unusable_since": None,
    }  # fmt: skip
    assert listed[0]["problem"] == "The credential's `value` cannot be used: it is not a JSON object."
    ended = run("credentials", "list")
    assert ended.out.splitlines()[0].startswith("broken  (cannot be read)")
    assert "Store it again: `popwatch credentials put broken" in ended.err


def test_list_says_what_logins_have_shown(night: Night, run: Run, put: Any) -> None:
    """Of the present version; of an older one nothing counts."""
    put("monitor", "--user", "anna")
    changed = parameter("monitor")["LastModifiedDate"].astimezone(UTC)
    state = CredentialState("monitor", revision(1, changed), rejections=2, rejected_by="mail-berlin", said="-ERR no")
    failed = replace(state, rejections=0, rejected_by="", said="", tried_by="mail-oslo", version=1)
    assert night.store.put_credential_state(failed, 0) is None
    assert run("credentials", "list").out.endswith("  tried\n")
    assert night.store.put_credential_state(replace(state, version=2), 1) is None
    assert run("credentials", "list").out.endswith("  blocked at mail-berlin\n")
    [found] = [json.loads(line) for line in run("credentials", "list", "--json").out.splitlines()]
    assert (found["state"], found["said"]) == ("blocked", "-ERR no")
    accepted = CredentialState("monitor", revision(1, changed), passed_at=night.now, version=3)
    assert night.store.put_credential_state(accepted, 2) is None
    assert run("credentials", "list").out.endswith("  accepted\n")
    gone = replace(accepted, problem="credential-denied", problem_since=changed, version=4)
    assert night.store.put_credential_state(gone, 3) is None
    assert run("credentials", "list").out.endswith(f"  unusable since {utc(changed)}\n")
    [found] = [json.loads(line) for line in run("credentials", "list", "--json").out.splitlines()]
    assert (found["state"], found["unusable_since"]) == ("unusable", iso(changed))
    put("monitor", "--user", "anna")
    assert run("credentials", "list").out.endswith("  untried\n")


def test_remove_asks_if_targets_use_it(night: Night, run: Run, put: Any) -> None:
    """It names those whose `login` it is, by `_defaults` too, and not those that name another one."""
    put("monitor", "--user", "anna")
    night.put_target("_defaults", login="monitor")
    night.put_target("mail-berlin", tls="implicit")
    night.put_target("mail-rome", tls="implicit", login="other")
    asked = run("credentials", "remove", "monitor")
    assert (asked.code, asked.out) == (3, "")
    [listed, question] = asked.err.splitlines()
    assert listed.startswith("Tested without a login then, unless `popwatch targets put ID login=OTHER`: mail-berlin")
    assert "mail-rome" not in listed
    assert question.endswith("There is no terminal to ask the question: add --yes. Nothing was removed.")
    assert [one["Name"] for one in boto3.client("ssm").describe_parameters()["Parameters"]] == [PATH + "monitor"]
    removed = run("credentials", "remove", "monitor", "--yes")
    assert (removed.code, removed.out.startswith("Removed: monitor.")) == (0, True)
    assert removed.err == f"{listed}\n"


def test_a_login_that_the_stack_does_not_have_is_said_at_once(night: Night, run: Run, put: Any, tmp_path: Path) -> None:
    """By `put` and `import`, which write it all the same, as with `depends_on`: it may be stored later."""
    put("monitor", "--user", "anna")
    night.put_target("mail-berlin", tls="implicit")
    warning = (
        "There is no credential monitr: tests do not log in until it is stored, by `popwatch credentials put monitr "
        "--user USER`. Did you mean `monitor`?\n"
    )
    for words in (["mail-berlin"], ["_defaults", "tls=implicit"]):
        changed = run("targets", "put", *words, "login=monitr")
        assert (changed.code, changed.err) == (0, warning)
    assert run("targets", "put", "mail-berlin", "login=monitor").err == ""
    assert run("targets", "put", "mail-berlin", "delay_up=90").err == ""
    file = tmp_path / "new.csv"
    file.write_text("target_id,host,tls,login\na,a.example,implicit,monitr\nb,b.example,implicit,monitor\n")
    assert run("targets", "import", file, "--yes").err == warning
    assert run("targets", "import", file, "--yes").err == ""  # as it was


def test_who_may_not_list_logins_may_name_one(night: Night, run: Run) -> None:
    """The sentence says what is not known, and by which permission it would be."""
    night.put_target("mail-berlin", tls="implicit")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeParameters")

    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register("before-call.ssm.DescribeParameters", refuse)
    try:
        changed = run("targets", "put", "mail-berlin", "login=monitor")
    finally:
        boto3.DEFAULT_SESSION.events.unregister("before-call.ssm.DescribeParameters", refuse)
    assert changed.code == 0
    assert changed.err == "AWS denies ssm:DescribeParameters, so it is not known whether the stack has that login.\n"


@pytest.mark.usefixtures("night")
def test_remove(run: Run, put: Any) -> None:
    """With all versions; one that does not exist is said, with the name that may have been meant."""
    put("monitor", "--user", "anna")
    ended = run("credentials", "remove", "monitr")
    assert ended.code == 3
    assert "There is no credential monitr. Did you mean `monitor`?" in ended.err
    assert run("credentials", "rm", "monitor").out.startswith("Removed: monitor.")
    assert run("credentials", "list", "--json").out == ""
    assert run("credentials", "remove", "../../x").code == 3


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("PutParameter", ["put", "monitor", "--user", "anna"]),
        ("GetParametersByPath", ["list"]),
        ("DeleteParameter", ["remove", "monitor"]),
    ],
)
@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "InternalServerError"])
def test_aws_refuses(run: Run, put: Any, operation: str, words: list[str], code: str) -> None:
    """AWS's sentence, and what to do; nothing of the secret."""
    put("monitor", "--user", "anna")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register(f"before-call.ssm.{operation}", refuse)
    try:
        ended = put(*words[1:]) if words[0] == "put" else run("credentials", *words)
    finally:
        boto3.DEFAULT_SESSION.events.unregister(f"before-call.ssm.{operation}", refuse)
    assert (ended.code, ended.out) == (3, "")
    assert f"({code}) when calling the {operation} operation" in ended.err


Stored = Callable[..., Ended]


@pytest.fixture
def desk(
    night: Night,  # noqa: ARG001 - the credential is in its SSM
    run: Run,
    put: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stored:
    """`popwatch test --login --credential` against a server, with what was stored before."""
    monkeypatch.chdir(tmp_path)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")

    def log_in(port: int, *arguments: str, secret: str = PASSWORD.decode()) -> Ended:
        assert put("monitor", "--user", "anna", *arguments, secret=f"{secret}\n").code == 0
        tls = ("--port", port, "--ca", "authority.pem", "--tls", "implicit")
        ended = run("test", "127.0.0.1", *tls, "--login", "--credential", "monitor", "--json")
        assert secret not in ended.out + ended.err
        return ended

    return log_in


@pytest.fixture
def pop3() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


@pytest.fixture(scope="module")
def server_tls() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(found)
    return found


@pytest.mark.parametrize("mechanism", [one for one in Mechanism if one is not Mechanism.XOAUTH2])
def test_a_test_logs_in_with_a_stored_one(
    desk: Stored, pop3: ScriptedServer, server_tls: ssl.SSLContext, mechanism: Mechanism
) -> None:
    """The password goes from SSM to the server, and is shown nowhere."""
    ended = desk(pop3.listen("login", tls=server_tls), "--mechanism", mechanism)
    assert ended.code == 0, ended
    assert json.loads(ended.out)["login"]["verdict"] == "passed"


def test_a_test_with_xoauth2_fetches_a_token(
    desk: Stored, pop3: ScriptedServer, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a token endpoint with a verified certificate: the server gets the token, never the client's secret."""
    token = PASSWORD.decode()
    granted = http("200 OK", {"token_type": "Bearer", "expires_in": 3599, "access_token": token})
    endpoint = Endpoint(AUTHORITY, granted)
    source = (
        "--mechanism",
        "xoauth2",
        "--client-id",
        "an-id",
        "--token-url",
        f"https://localhost:{endpoint.port}/token",
    )
    port = pop3.listen("login", tls=server_tls)
    ended = desk(port, *source, secret="canary~client")
    assert (ended.code, ended.out) == (3, "")
    assert "There is no access token for the credential `monitor` (the certificate is not valid:" in ended.err
    AUTHORITY.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "roots.pem"))
    context.cache_clear()
    ended = desk(port, *source, secret="canary~client")
    assert json.loads(ended.out)["login"]["verdict"] == "passed"
    assert token not in ended.out + ended.err
    sent = b"".join(line for connection in pop3.connections(port) for line in connection.lines)
    assert b64encode(f"user=anna\1auth=Bearer {token}\1\1".encode()) in sent
    assert b"canary" not in sent
    endpoint.answer = http("401 Unauthorized", {"error": "invalid_client"})
    ended = desk(port, *source, secret="canary~client")
    assert "refuses the client (HTTP 401, invalid_client)" in ended.err
    context.cache_clear()
    endpoint.close()


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--login", "--credential", "gone"], "There is no credential `gone`: store it with `popwatch credentials put"),
        (["--login", "--credential", "a/b"], "`name` cannot be used"),
        (["--login", "--credential", "gone", "--user", "anna"], "--user does nothing with --credential"),
        (["--credential", "gone"], "add --login"),
        (["--login", "--credential", "gone", "--no-verify"], "--login needs TLS that is verified"),
    ],
)
def test_stored_logins_that_a_test_cannot_use(run: Run, arguments: list[str], words: str) -> None:
    """What is wrong is said before anything is connected to."""
    ended = run("test", "127.0.0.1:995", *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert words in ended.err


def test_a_target_is_tested_with_its_own_login(run: Run, night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another one, or a user, is given."""
    monkeypatch.setenv("POPWATCH_STACK", "another")  # so that --stack names one that is not the usual one
    night.put_target("mail-login", host="127.0.0.1", tls="implicit", login="gone")
    ended = run("--stack", night.stack, "test", "mail-login", "--login")
    assert (ended.code, ended.out) == (3, "")
    assert "There is no credential `gone`" in ended.err
    ended = run("--stack", night.stack, "test", "mail-login", "--login", "--mechanism", "plain")
    assert "--mechanism does nothing with the target's own login gone: add --user" in ended.err


def test_on_the_local_stack(do: Do, tmp_path: Path) -> None:
    """The same with --local, and what MiniStack would take and AWS would not is refused there, too."""
    (tmp_path / "secret").write_text(CANARY, "utf-8")
    words = ("credentials", "put", "monitor", "--user", "anna", "--secret-file", str(tmp_path / "secret"))
    assert "version 1" in do(*words)
    assert "version 2" in do(*words)
    assert do("credentials", "list").startswith("monitor  anna  user  version 2  20")
    assert "Removed: monitor." in do("credentials", "remove", "monitor")
    assert "There are no credentials" in do("credentials", "list")
    ssm = find_local().client("ssm")
    for value in ("x" * 4097, "{{ssm:x}}"):
        with pytest.raises(ClientError, match="ValidationException"):
            ssm.put_parameter(Name=f"{PATH}x", Value=value, Type="SecureString", Overwrite=True)


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(("second", "code"), [(CANARY, 0), ("canary-other", 130)])
def test_it_is_asked_for_twice_and_not_shown(second: str, code: int) -> None:
    """On a terminal: both times it is typed blind, and both must be the same; it is in no process's arguments."""
    outputs = Path(".popwatch") / "outputs.json"
    outputs.write_text(json.dumps({**json.loads(outputs.read_text()), "key": "testing"}))  # that of all tests
    words = ("--local", "credentials", "put", "typed", "--user", "anna")
    main, side = pty.openpty()
    command = [sys.executable, "-c", "from popwatch_cli.main import main; main()", *words]
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True) as process:
        os.close(side)
        shown = read_until(main, "Password of typed: ")
        os.write(main, f"{CANARY}\n".encode())
        shown += read_until(main, "Repeat for confirmation: ")
        assert "canary" not in (Path("/proc") / str(process.pid) / "cmdline").read_text("utf-8")
        os.write(main, f"{second}\n".encode())
        if code:  # it asks again, until someone presses Ctrl-C
            shown += read_until(main, "two passwords differ")
            os.write(main, b"\x03")
            while process.poll() is None:  # Python misses one that comes just before it reads from the terminal
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
        shown += read_until(main, None)
        assert process.wait(300) == code, shown
    os.close(main)
    assert "canary" not in shown
    if code == 0:
        [stored] = find_local().client("ssm").get_parameters_by_path(Path=PATH, WithDecryption=True)["Parameters"]
        assert from_value("typed", stored["Value"]).secret.reveal() == CANARY
        find_local().client("ssm").delete_parameter(Name=f"{PATH}typed")


def read_until(terminal: int, text: str | None) -> str:
    """What is shown until a text, or with None until the end."""
    shown, end = "", time.monotonic() + 300
    while text is None or text not in shown:
        assert time.monotonic() < end, shown
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux says so when no process has the terminal open any more
            more = b""
        if not more:
            break
        shown += more.decode("utf-8", "replace")
    return shown
