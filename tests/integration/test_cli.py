"""The command as its user runs it: what it prints, what it writes, and its exit code."""

import errno
import io
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
import trustme

from popwatch.model.targets import parse_target
from popwatch.reports.status import NewestTests, target_status_to_json, target_statuses
from popwatch_cli.installation import _session as local_session
from popwatch_cli.installation import local_client
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.stack import write_secret
from popwatch_cli.main import COMMANDS
from popwatch_cli.options import STACK_NAME
from popwatch_cli.target_table import TargetTable
from popwatch_cli.verification.temporary import prefix_of
from tests.closed_port import closed_port
from tests.integration.conftest import Run
from tests.integration.world import NOON
from tests.tables import create_tables, delete_tables


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


@pytest.fixture
def table(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TargetTable]:
    """The Targets table of a local stack that runs in the current folder."""
    monkeypatch.chdir(tmp_path)
    dynamodb = local_client("dynamodb", endpoint, "us-east-1")
    create_tables(dynamodb, ["Targets"])
    (tmp_path / ".popwatch").mkdir()
    outputs = {"endpoint": endpoint, "region": "us-east-1", "outputs": {"TargetsTable": "Targets"}}
    (tmp_path / ".popwatch" / "outputs.json").write_text(json.dumps(outputs))
    yield TargetTable(dynamodb, "Targets")
    delete_tables(dynamodb, ["Targets"])


def test_test_of_a_healthy_server(run: Run, server: ScriptedServer) -> None:
    """Each step, then the result; exit code 0."""
    ended = run("test", "127.0.0.1", "--port", server.listen("healthy"))
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines] == ["connect", "greeting", "quit", "PASSED"]
    assert "+OK scripted POP3 ready" in lines[1]
    assert "'s clock)" in lines[-1]


def test_steps_come_in_their_order(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    """With STLS the greeting comes before TLS, with implicit TLS behind it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ports = {"starttls": server.listen("healthy", stls=context), "implicit": server.listen("healthy", tls=context)}
    for mode, order in (("starttls", ["greeting", "tls"]), ("implicit", ["tls", "greeting"])):
        ended = run("test", "127.0.0.1", "--port", ports[mode], "--tls", mode, "--ca", tmp_path / "ca.pem")
        assert [line.split()[0] for line in ended.out.splitlines()] == ["connect", *order, "quit", "PASSED"]
        assert "TLSv1.3, certificate valid for" in ended.out


def test_test_of_a_failing_server(run: Run, server: ScriptedServer) -> None:
    """The exact message, what was seen, and what to do; exit code 2."""
    ended = run("test", "127.0.0.1", "-p", server.listen("smtp"))
    assert ended.code == 2
    assert "FAILED  The response from the remote device does not adhere to protocol specification" in ended.out
    assert "220 mail.example.net ESMTP ready" in ended.out
    assert "POP3 uses 110 or 995" in ended.out


def test_expected_text(run: Run, server: ScriptedServer) -> None:
    """`--expect` demands a text; as check_pop's `-e` several need `-A`, since popwatch demands each of them."""
    where = ("127.0.0.1", "-p", server.listen("healthy"))
    assert run("test", *where, "--expect", "scripted").code == 0
    failed = run("test", *where, "--expect", "scripted", "--expect", "mail.example.net")
    assert failed.code == 2
    assert "lacks the text `mail.example.net`" in failed.out
    assert "change --expect" in failed.out
    assert run("test", "--plugin", *where, "-e", "+OK", "-e", "POP3", "-A").code == 0
    plugin = run("test", "--plugin", *where, "-e", "mail.example.net", "-M", "warn")
    assert plugin.code == 1
    assert "(expected-text-missing)" in plugin.out
    refused = run("test", "--plugin", *where, "-e", "a", "-e", "b")
    assert refused.code == 3
    assert "add -A" in refused.err + refused.out
    assert "does nothing alone" in run("test", *where, "-A").err


def test_outcome_as_json(run: Run, server: ScriptedServer) -> None:
    """One object with every name, whatever happened."""
    good = json.loads(run("test", "127.0.0.1", "-p", server.listen("healthy"), "--json").out)
    bad = json.loads(run("test", "127.0.0.1", "-p", server.listen("refused"), "--json").out)
    assert good.keys() == bad.keys()
    assert (good["result"], good["error"]) == ("passed", None)
    assert good["rtt_source"] in (
        "kernel",
        "loop",
    )  # the kernel begins to add timestamps shortly after the first request
    assert (bad["result"], bad["error"], bad["reason"], bad["phase"]) == (
        "failed",
        "cannot-connect",
        "refused",
        "connect",
    )
    assert bad["message"] == "Unable to connect to the remote device"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["test"], "Name the server to test"),
        (["test", "127.0.0.1", "-p", "0"], "0 is less than 1."),
        (["test", "127.0.0.1", "-t", "0.5"], "'0.5' is not between 1 and 60 seconds."),
        (["test", "127.0.0.1", "-H", "localhost"], "Name one server"),
        (["test", "127.0.0.1:110", "-p", "110"], "has a port: leave out --port"),
        (["test", "127.0.0.1:99999"], "`99999` is not between"),
        (["test", "a b"], "neither a domain name nor an IP address"),
        (["test", "127.0.0.1", "-6"], "is not an IPv6 address"),
        (["test", "127.0.0.1", "-D", "soon"], "-D takes days"),
        (["tset"], "There is no command 'tset'. Did you mean test?"),
        (["test", "--nonsense"], "No such option"),
    ],
)
def test_mistakes_in_the_command(run: Run, arguments: list[str], said: str) -> None:
    """A sentence and exit code 3; with --plugin the sentence is the plugin's one line."""
    plugin = ["--plugin"] if "-D" in arguments else []
    ended = run(*arguments, *plugin)
    assert ended.code == 3
    assert said in (ended.out if plugin else ended.err)
    as_plugin = run(*arguments, "--plugin")
    assert as_plugin.code == 3
    assert as_plugin.out.startswith("POP UNKNOWN - ")
    assert as_plugin.out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["127.0.0.1", "-w", "1"], "--warning does nothing alone"),
        (["127.0.0.1", "--in-flight", "5"], "--in-flight does nothing alone"),
        (["--plugin", "127.0.0.1", "--json"], "--json does nothing with --plugin"),
        (["--file", __file__, "127.0.0.1"], "host does nothing with --file"),
        (["--file", __file__, "--tls", "implicit"], "--tls does nothing with --file"),
    ],
)
def test_options_without_effect_are_refused(run: Run, arguments: list[str], said: str) -> None:
    """An option that another one makes useless is an error, so that no one relies on it."""
    ended = run("test", *arguments)
    assert ended.code == 3
    assert said in ended.out + ended.err


def test_servers_as_people_write_them(run: Run, server: ScriptedServer) -> None:
    """HOST:PORT, an address in brackets, a URL; several at once have a line each."""
    port = server.listen("healthy")
    for written in (
        f"127.0.0.1:{port}",
        f"pop3://127.0.0.1:{port}",
        f"POP3://127.0.0.1:{port}/",
        f"[127.0.0.1]:{port}",
    ):
        ended = run("test", written)
        assert ended.code == 0, ended
        assert f"PASSED  127.0.0.1:{port} answered" in ended.out
    several = run("test", f"127.0.0.1:{port}", f"127.0.0.1:{server.listen('refused')}")
    assert several.code == 2
    assert several.out.endswith("2 targets: 1 passed, 1 failed.\n")
    assert "--plugin tests one server" in run("test", "--plugin", "a.example", "b.example").out
    assert run("test", f"127.0.0.1:{port}", "--max-rtt-ms", "0.0001").code == 2
    assert json.loads(run("--json", "test", f"127.0.0.1:{port}", "-v").out)["result"] == "passed"


def test_port_995_begins_with_tls(run: Run) -> None:
    """As HOST:PORT it means TLS; where check_pop's options count, they alone say so."""
    assert json.loads(run("test", "127.0.0.1:995", "--json").out)["phase"] == "connect"
    assert "POP CRITICAL" in run("test", "--plugin", "127.0.0.1:995").out
    assert "SPOP CRITICAL" in run("test", "--plugin", "-S", "127.0.0.1").out


def test_targets_of_the_stack(run: Run, table: TargetTable, server: ScriptedServer) -> None:
    """An id with --local is tested from here with its fields; options change them for this test."""
    port = server.listen("healthy")
    common = {"host": "127.0.0.1", "port": port}
    table.write([{"target_id": "a", "tags": ["x"], **common}, {"target_id": "b", **common}, {"target_id": "_defaults"}])
    assert "PASSED" in run("test", "a", "--local").out
    assert run("test", "a", "--local", "--expect", "nonsense").code == 2
    assert (
        "Did you mean" in run("test", "aa", "--local").err
        or "There is no target aa" in run("test", "aa", "--local").err
    )
    assert run("test", "a", "b", "--local").out.endswith("2 targets: 2 passed, 0 failed.\n")
    assert run("test", "--local", "--tag", "x", "--json").code == 0
    assert "add --local" in run("test", "--tag", "x").err


def test_files_of_every_format(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    """What `import` reads, with a byte order mark too; ids are needed in CSV alone."""
    port = server.listen("healthy")
    texts = {
        "targets.yaml": f"- host: 127.0.0.1\n  port: {port}\n  max_test_seconds: 5s\n",
        "targets.csv": f"target_id,host,port\na,127.0.0.1,{port}\n",
        "targets.jsonl": json.dumps({"host": "127.0.0.1", "port": port}),
    }
    for name, text in texts.items():
        for mark in ("", "\ufeff"):
            (tmp_path / name).write_text(mark + text, encoding="utf-8")
            ended = run("test", "--file", tmp_path / name)
            assert (ended.code, ended.out.splitlines()[-1]) == (0, "1 target: 1 passed, 0 failed."), ended


def test_a_mistake_cannot_forge_figures(run: Run) -> None:
    """The plugin's line has no bar but the one before its figures."""
    assert "|" not in run("test", "--plugin", "-H", "a|time=0s").out


def test_an_authority_that_is_no_text(run: Run, tmp_path: Path) -> None:
    """A certificate in its binary form is reported as a mistake."""
    (tmp_path / "ca.der").write_bytes(b"\x30\x82\xff\xfe")
    ended = run("test", "127.0.0.1", "--ca", tmp_path / "ca.der")
    assert ended.code == 3
    assert "ca.der has no certificate between" in ended.err


def test_plugin_says_more_when_asked(run: Run, server: ScriptedServer) -> None:
    """`-v` keeps the one line and adds the steps on standard error."""
    ended = run("test", "--plugin", "-v", "127.0.0.1", "-p", server.listen("healthy"))
    assert ended.out.count("\n") == 1
    assert "PASSED" in ended.err


def test_defects_are_unknown_to_a_monitor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends with exit code 3 and a traceback, never with Python's own 1, which a monitor takes for a warning."""

    class Broken(click.Command):
        def invoke(self, ctx: click.Context) -> None:
            raise ZeroDivisionError(ctx.command_path)

    monkeypatch.setitem(COMMANDS, "broken", "tests.integration.test_cli:broken")
    monkeypatch.setitem(globals(), "broken", Broken("broken"))
    ended = run("broken")
    assert ended.code == 3
    assert "ZeroDivisionError: popwatch broken" in ended.err
    assert "This is a bug in popwatch" in ended.err


@pytest.mark.parametrize("quiet", [True, False])
def test_colour(run: Run, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    """Colour is for terminals only, and NO_COLOR turns it off there."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    if quiet:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    assert ("\x1b[" in run("test", "127.0.0.1", "-p", server.listen("healthy")).out) is not quiet


def test_plugin(run: Run, server: ScriptedServer) -> None:
    """check_pop's options give check_pop's line."""
    ended = run(
        "test", "--plugin", "-H", "127.0.0.1", "-p", server.listen("healthy"), "-w", 5, "-c", "9", "-t", 10, "-4"
    )
    assert ended.code == 0
    assert ended.out.startswith("POP OK - 0.0")
    assert ended.out.rstrip().endswith("s;5.000000;9.000000;0.000000;10.000000")
    assert run("test", "--plugin", "127.0.0.1", "-p", server.listen("error")).code == 2


def test_many_targets(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    """A line of JSON per target, by its id or its line; a bad field is an outcome; exit code 2 since some failed."""
    port = server.listen("healthy")
    rows: list[dict[str, Any]] = [
        {"target_id": "good", "host": "127.0.0.1", "port": port},
        {"host": "127.0.0.1", "port": port},
        {"target_id": "bad", "host": "127.0.0.1", "port": "many"},
    ]
    path = tmp_path / "targets.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    ended = run("test", "--file", path, "--json", "--in-flight", 2)
    found = {outcome["target_id"]: outcome["error"] for outcome in map(json.loads, ended.out.splitlines())}
    assert found == {"good": None, "2": None, "bad": "missing-fields"}
    assert ended.code == 2
    shown = run("test", "--file", path).out
    assert "passed  good" in shown
    assert "failed  bad" in shown
    assert "The field `port` cannot be used" in shown
    assert shown.endswith("3 targets: 2 passed, 1 failed.\n")


def test_defaults_of_a_file(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    """The line `_defaults` applies to all others and is not a target; a null id counts as missing."""
    path = tmp_path / "targets.jsonl"
    rows = [{"target_id": None, "host": "127.0.0.1"}, {"target_id": "_defaults", "port": server.listen("healthy")}]
    path.write_text("\n".join(map(json.dumps, rows)))
    ended = run("test", "--file", path)
    assert ended.code == 0
    assert ended.out.startswith("passed  1  ")


def test_a_device_without_an_end_is_read_in_part(run: Run) -> None:
    """As a file of targets, or of certificates: `/dev/zero` ends in a sentence."""
    assert "/dev/zero is larger than 64 MB" in run("test", "--file", "/dev/zero").err
    assert "/dev/zero is larger than 8 MB" in run("test", "127.0.0.1", "--ca", "/dev/zero").err


def test_ids_of_a_file_are_cleaned_for_the_terminal(run: Run, tmp_path: Path) -> None:
    """A file cannot send control characters to the terminal."""
    path = tmp_path / "targets.jsonl"
    path.write_text(json.dumps({"target_id": "a\x1b]0;b", "host": "127.0.0.1"}))
    assert "a?]0;b" in run("test", "--file", path).out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Line 1 is not JSON"),
        ("", "has no targets"),
        ("3", "not a target"),
        ('{"host": "a", "host": "b"}', "`host` is given twice"),
        ('{"host": "a", "port": NaN}', "NaN is not a number"),
        ('{"host": "a"}\n\udcff', "not UTF-8"),
    ],
)
def test_bad_files_of_targets(run: Run, tmp_path: Path, text: str, said: str) -> None:
    """A bad file ends the command with a sentence before anything is tested."""
    path = tmp_path / "targets.jsonl"
    path.write_text(text, errors="surrogateescape")
    ended = run("test", "--file", path)
    assert ended.code == 3
    assert said in ended.err


def test_what_a_file_of_targets_says_in_vain(run: Run, tmp_path: Path) -> None:
    """Fields that popwatch does not know and ids that are given twice are named, as `import` does; all is tested."""
    path = tmp_path / "targets.yaml"
    path.write_text(
        "- {target_id: a, host: 127.0.0.1, port: 1, tsl: implicit}\n"
        "- {target_id: b, host: 127.0.0.1, port: 1}\n"
        "- {target_id: a, host: 127.0.0.1, port: 1, owner: me}\n"
    )
    ended = run("test", "--file", path)
    assert "3 targets: 0 passed, 3 failed." in ended.out
    assert ended.err.splitlines() == [
        "a: unknown field `owner`: it has no effect.",
        "a: unknown field `tsl`: it has no effect. Did you mean `tls`?",
        "a is given 2 times, first on lines 1 and 3: each is tested.",
    ]


def test_yaml_as_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file may be, as for `import` and `check`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"- {target_id: a, host: 127.0.0.1, port: 1}\n")))
    assert "1 target: 0 passed, 1 failed." in run("test", "--file", "-").out


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_DEFAULT_PROFILE"])
def test_the_local_stack_needs_no_settings_of_aws(
    run: Run, table: TargetTable, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A profile that does not exist, or a file of them that cannot be read, ends no command."""
    assert table.read() == {}
    local_session.cache_clear()
    monkeypatch.setenv(name, __file__ if name == "AWS_CONFIG_FILE" else "nope")
    assert run("--local", "targets", "list").code == 0


def test_blank_settings_of_aws_count_as_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CI exports what is not set."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.setenv(name, " ")
    ended = run("status")
    assert ended.code == 3
    assert ended.err.startswith("You must specify a region.")


def test_a_full_disk() -> None:
    """The message names it, and nothing is said of a bug."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", "from popwatch_cli.main import main; main()", "help"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (3, "The output cannot be written: No space left on device.\n")


def test_put_show_list_remove(run: Run, table: TargetTable) -> None:
    """A target from its first field to its removal."""
    assert (
        run("--local", "targets", "put", "a", "host=pop.example.net", "port=1110", "tls=starttls", 'tags=["x"]').code
        == 0
    )
    assert table.get("a") == {
        "target_id": "a",
        "host": "pop.example.net",
        "port": 1110,
        "tls": "starttls",
        "tags": ["x"],
    }
    assert run("--local", "targets", "put", "a", "port=", "enabled=false").code == 0
    assert table.get("a") == {
        "target_id": "a", "host": "pop.example.net", "tls": "starttls", "tags": ["x"], "enabled": False
    }  # fmt: skip
    run("--local", "targets", "put", "_defaults", "delay_up=300", f"notes={'long ' * 390}end")
    shown = run("--local", "targets", "show", "a").out
    assert "delay_up              300" in shown
    assert f"{'long ' * 390}end from _defaults" in shown
    listed = run("--local", "targets", "list").out
    assert listed.split() == ["a", "pop.example.net:110", "starttls", "suspended"]
    assert json.loads(run("--local", "targets", "show", "a", "--json").out)["host"] == "pop.example.net"
    assert len(run("--local", "targets", "list", "--json").out.splitlines()) == 2
    put = run(
        "--local", "targets", "put", "a", "slow_rtt_ms=1500", "max_rtt_ms=2.5", 'certificate_warn_days=["21","7"]'
    )
    assert "slow_rtt_ms: nothing -> 1500, max_rtt_ms: nothing -> 2.5, " in put.out
    assert "certificate_warn_days: nothing -> [21, 7]" in put.out
    assert run("--local", "targets", "remove", "a").code == 0
    assert table.get("a") is None


def test_remove_many(run: Run, table: TargetTable) -> None:
    """No line names hundreds of targets."""
    table.write({"target_id": f"t{number}", "host": "pop.example.net"} for number in range(30))
    assert run("--local", "targets", "remove", "t28", "t29").out == "Removed: t28, t29.\n"
    lines = run("--local", "targets", "remove", "--all", "--yes").out.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("- t0", "Removed: 28 targets.", 29)


def test_remove_a_group(run: Run, table: TargetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is removed is listed with a question; without a terminal to ask at nothing is removed unless --yes."""
    table.write({"target_id": f"a{number}", "host": "pop.example.net", "group": "old"} for number in (10, 9))
    ended = run("--local", "targets", "remove", "--group", "old")
    assert (ended.code, ended.out) == (3, "- a9  pop.example.net\n- a10  pop.example.net\n")
    assert "add --yes. Nothing was removed." in ended.err
    monkeypatch.setattr(click, "confirm", lambda _: False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert run("--local", "targets", "remove", "--group", "old").code == 3
    assert len(table.read()) == 2
    assert run("--local", "targets", "remove", "--group", "old", "--yes").out == "Removed: a9, a10.\n"
    assert table.read() == {}


def test_every_place_states_the_same_longest_time(run: Run, table: TargetTable) -> None:
    """`targets show`, `simulate`, and the API, of which the page shows it."""
    fields = ["delay_up=90", "delay_warn=20", "max_test_seconds=30", "failures_per_alert=4"]
    run("--local", "targets", "put", "a", "host=pop.example.net", *fields)
    shown = run("--local", "targets", "show", "a").out
    simulated = run("simulate", *(argument for field in fields for argument in ("--set", field))).out
    [status] = target_statuses({"a": parse_target(table.get("a") or {})}, {}, NewestTests({}, {}), NOON)
    assert "First alert at most 5 min 3 s after an outage begins." in shown
    assert "5 min 3 s in the worst case" in " ".join(simulated.split())
    assert target_status_to_json(status, NOON)["longest_notice_seconds"] == 303


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["put", "a", "host=pop.example.net", "port=x"], "The field `port` cannot be used"),
        (["put", "a", "port=110"], "The field `host` is missing"),
        (["put", "a", "host"], "host is neither a target nor an assignment."),
        (["put", "a", "=x"], "is not an assignment"),
        (["put", "a", "host=x.example", "ca_pem=@none.pem"], "none.pem cannot be read: No such file"),
        (["put", "a", "host=x.example", "sms={nmae}"], "there is no token {nmae}"),
        (["put", "_secret", "host=x.example"], "names that begin with `_`"),
        (["put", "_defaults", "delay_up=1"], "The field `delay_up`"),
        (["show", "mail-berln"], "Did you mean mail-berlin?"),
        (["remove", "mail-berln"], "Did you mean mail-berlin?"),
    ],
)
def test_mistakes_write_nothing(run: Run, table: TargetTable, arguments: list[str], said: str) -> None:
    """The sentence names the field or the target and the next step; the table is unchanged."""
    table.write([{"target_id": "mail-berlin", "host": "pop.example.net"}])
    before = table.read()
    ended = run("--local", "targets", *arguments)
    assert ended.code == 3
    assert said in ended.err
    assert table.read() == before


def test_unknown_fields_are_kept_and_told(run: Run, table: TargetTable) -> None:
    """A misspelt field is reported with the field that may have been meant."""
    refused = run("--local", "targets", "put", "a", "host=pop.example.net", "grup=x")
    assert refused.code == 3
    assert "There is no field `grup`. Did you mean `group`?" in refused.err
    assert table.get("a") is None
    ended = run("--local", "targets", "put", "a", "host=pop.example.net", "grup=x", "--force")
    assert ended.code == 0
    assert "Did you mean `group`?" in ended.err
    item = table.get("a")
    assert item is not None
    assert item["grup"] == "x"


def test_ids_are_whole(run: Run, table: TargetTable) -> None:
    """They are what other commands take."""
    name = "very-" * 25
    assert run("--local", "targets", "put", name, "host=pop.example.net").out.startswith(f"+ {name}  ")
    assert run("--local", "targets", "list").out.splitlines()[0].startswith(f"{name} ")
    assert run("--local", "targets", "remove", name).out == f"Removed: {name}.\n"
    assert table.read() == {}


def test_put_takes_ids_or_groups(run: Run, table: TargetTable) -> None:
    """Who means to put a target into a group would else change all of that group."""
    table.write([{"target_id": "a", "host": "h"}, {"target_id": "b", "host": "h", "group": "customers"}])
    before = table.read()
    for option in ("--group", "--tag"):
        refused = run("--local", "targets", "put", "a", option, "customers", "port=111")
        assert (refused.code, "write group=NAME" in refused.err) == (3, True)
    assert table.read() == before


def test_an_empty_file_replaces_nothing(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """It is more likely what a failed program left than what somebody wants."""
    table.write([{"target_id": "a", "host": "pop.example.net"}])
    for name, text in (("none.yaml", ""), ("none.jsonl", ""), ("defaults.yaml", "_defaults: {delay_up: 5m}")):
        (tmp_path / name).write_text(text)
        done = run("--local", "targets", "import", tmp_path / name, "--yes", "--replace")
        assert (done.code, "--replace would remove all" in done.err) == (3, True)
    assert set(table.read()) == {"a"}


def test_targets_of_verify_are_not_configuration(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """While it runs, no list, file or check has them, and no --replace takes them away."""
    name = f"{prefix_of(STACK_NAME)}20261127193138-1"
    table.write([{"target_id": "a", "host": "pop.example.net"}, {"target_id": name, "host": "127.0.0.1"}])
    assert name in run("--local", "targets", "list", name).out
    assert run("--local", "targets", "list").out.split()[0] == "a"
    [listed] = run("--local", "targets", "list", "--json").out.splitlines()
    assert json.loads(listed)["target_id"] == "a"
    assert run("--local", "targets", "export", tmp_path / "t.yaml").out.startswith("1 item written")
    assert run("--local", "targets", "check").out == "1 item, 0 mistakes.\n"
    assert run("--local", "targets", "remove", "--all").out.startswith("- a  pop.example.net\n")
    assert name not in run("--local", "targets", "show", "--all").out
    (tmp_path / "t.yaml").write_text("b: {host: pop.example.net}")
    assert run("--local", "targets", "import", tmp_path / "t.yaml", "--replace", "--yes").code == 0
    assert set(table.read()) == {"b", name}


def test_an_export_with_a_mistake_is_imported_again(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """What the table has already is not a mistake of the file, but for what changes, also by other defaults."""
    window = {"days": "sun", "from": "02:00", "until": "04:00"}
    bad = {"target_id": "bad", "host": "pop.example.net", "port": "pop3"}
    named = {"target_id": "a", "host": "pop.example.net", "maintenance": ["x"]}
    table.write([bad, named, {"target_id": "_defaults", "schedules": {"x": [window]}}])
    path = tmp_path / "t.csv"
    for options in ([], ["--replace"]):
        assert run("--local", "targets", "export", path).code == 0
        assert run("--local", "targets", "import", path, *options).out == "Nothing to change.\n"
    path.write_text("target_id,host,port,maintenance\nbad,other.example,pop3,\n")
    assert "`pop3` is not a number" in run("--local", "targets", "import", path, "--yes").err
    path.write_text('target_id,host,maintenance\na,pop.example.net,"[""x""]"\n')
    assert "neither a window" in run("--local", "targets", "import", path, "--replace", "--yes").err
    assert len(table.read()) == 3


def test_standard_input(run: Run, table: TargetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `import`, with --yes as it cannot answer a question, and for `check` and `convert`."""

    def given(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    given("target_id;host\na;pop.example.net\n")
    assert run("--local", "targets", "import", "-", "--yes").code == 0
    assert set(table.read()) == {"a"}
    given("b: {host: pop.example.net}\n")
    assert run("targets", "check", "-").out == "1 item, 0 mistakes.\n"
    given('[{"target_id": "c", "host": "pop.example.net"}]')
    assert run("targets", "convert", "-", "-o", "-").out == "- target_id: c\n  host: pop.example.net\n"
    given("define host {\n host_name h\n}\ndefine service {\n host_name h\n check_command check_pop\n}\n")
    assert run("targets", "convert", "--from", "nagios", "-").out.startswith("- target_id: h\n")
    given("\0")
    assert "The standard input is UTF-16" in run("targets", "check", "-").out


def test_files_in_another_form_of_unicode(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """A target of the table is changed by its id in either form, and depended on; a new one is written in NFC."""
    table.write([{"target_id": "ko\u0308ln", "host": "a.example"}, {"target_id": "b\u00e4r", "host": "b.example"}])
    (tmp_path / "t.yaml").write_text(
        "- {target_id: k\u00f6ln, host: a.example, depends_on: ba\u0308r}\n- {target_id: ba\u0308r, host: b.example}\n"
        "- {target_id: no\u0308, host: c.example}\n"
    )
    assert run("--local", "targets", "import", tmp_path / "t.yaml", "--replace", "--yes").code == 0
    assert set(table.read()) == {"ko\u0308ln", "b\u00e4r", "n\u00f6"}
    item = table.get("ko\u0308ln")
    assert item is not None
    assert item["depends_on"] == "b\u00e4r"


def test_parents_in_one_name(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """They would be one target that there is not, and hold no alert."""
    table.write([{"target_id": name, "host": "pop.example.net"} for name in ("a", "m1", "m2")])
    refused = run("--local", "targets", "put", "a", "depends_on=m1 m2")
    assert (refused.code, "with commas: depends_on=m1,m2 in `put`. Nothing was written." in refused.err) == (3, True)
    (tmp_path / "t.jsonl").write_text('{"target_id": "a", "host": "pop.example.net", "depends_on": "m1,m2"}\n')
    assert "names m1,m2, which is not a target" in run("--local", "targets", "import", tmp_path / "t.jsonl", "-y").err
    assert table.get("a") == {"target_id": "a", "host": "pop.example.net"}
    assert run("--local", "targets", "put", "a", "depends_on=m1,m2").err == ""
    item = table.get("a")
    assert item is not None
    assert item["depends_on"] == ["m1", "m2"]


def test_schedules_as_people_write_them(run: Run, table: TargetTable) -> None:
    """Names are split at commas, as tags are; a window that is none is answered by one that is."""
    window = '{days: sun, from: "02:00", until: "04:00"}'
    assert run("--local", "targets", "put", "a", "host=pop.example.net").code == 0
    assert run("--local", "targets", "put", "_defaults", f"schedules={{x: [{window}], y: [{window}]}}").code == 0
    assert run("--local", "targets", "put", "a", "maintenance=x,y").code == 0
    item = table.get("a")
    assert item is not None
    assert item["maintenance"] == ["x", "y"]
    assert f"such as {window} nor a name in" in run("--local", "targets", "put", "a", "maintenance=sun 02:00-04:00").err
    assert "which are: `x`, `y`." in run("--local", "targets", "put", "a", "maintenance=x,foo").err
    assert f"such as {window}" in run("--local", "targets", "put", "a", "schedules={x: [sun]}", "maintenance=x").err
    wrong = run("--local", "targets", "put", "b", "host=h", "schedules={x: [{days: sun}]}")  # that nothing names yet
    assert "The field `schedules` cannot be used: schedule `x`: a window needs both `from` and `until`." in wrong.err


def test_fields_without_an_effect_are_named(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """By `put`, `import` and `check`, which do what they are asked nevertheless."""
    table.write([{"target_id": "_defaults", "max_rtt_ms": 3000}])
    said = "The field `slow_rtt_ms` has no effect: a test that is so slow has failed already, as `max_rtt_ms` is 3000."
    done = run("--local", "targets", "put", "a", "host=pop.example.net", "slow_rtt_ms=5000")
    assert (done.code, done.err.splitlines()) == (0, [f"a: {said}"])
    assert run("--local", "targets", "put", "a", "notes=once is enough").err == ""
    assert run("--local", "targets", "check").err == f"a: {said}\n"
    (tmp_path / "t.yaml").write_text("b: {host: pop.example.net, slow_rtt_ms: 5000, max_rtt_ms: 3000}")
    assert f"b: {said}" in run("--local", "targets", "import", tmp_path / "t.yaml", "--yes").err


def test_import_shows_asks_and_writes(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """New, changed and removed targets are shown; without a terminal for the question, --yes is needed."""
    table.write([{"target_id": "old", "host": "old.example"}, {"target_id": "a", "host": "a.example", "port": 110}])
    path = tmp_path / "targets.yaml"
    path.write_text("- {target_id: a, host: a.example, port: 995, tls: implicit}\n- {target_id: b, host: b.example}\n")
    before = table.read()
    refused = run("--local", "targets", "import", path)
    assert refused.code == 3
    assert "--yes" in refused.err
    assert table.read() == before
    done = run("--local", "targets", "import", path, "--yes", "--replace")
    assert done.out.splitlines() == [
        "~ a  port: 110 -> 995, tls: nothing -> implicit",
        "+ b  b.example",
        "- old",
        "Written: 2. Removed: 1.",
    ]
    assert set(table.read()) == {"a", "b"}
    assert "Nothing to change." in run("--local", "targets", "import", path, "--yes").out


def test_import_refuses_a_file_with_one_mistake(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """Each mistake with its line and field; nothing is written."""
    path = tmp_path / "targets.csv"
    path.write_text("target_id,host,port\na,a.example,110\nb,b.example,many\nc,,110\n")
    ended = run("--local", "targets", "import", path, "--yes")
    assert ended.code == 3
    assert "Line 3, b: The field `port` cannot be used: `many` is not a number." in ended.err
    assert "Line 4, c: The field `host` is missing" in ended.err
    assert table.read() == {}


def test_export_and_import_again(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """What is exported can be imported, and changes nothing: texts of several lines and numbers as texts, too."""
    items: list[dict[str, Any]] = [
        {"target_id": f"t{n}", "host": "x.example", "port": 1000 + n, "tags": ["a"]} for n in range(58)
    ]
    items.append({"target_id": "text", "host": "x.example", "email": "{name}\u2028\r\n  is down,\n", "sms": "'=[1]"})
    items.append({"target_id": "hand", "host": "x.example", "port": "0110", "enabled": "Yes", "max_test_seconds": 2.5})
    table.write([*items, {"target_id": "_defaults", "delay_up": 300}])
    for name in ("targets.yaml", "targets.jsonl", "targets.csv"):
        assert "61 items written to" in run("--local", "targets", "export", tmp_path / name).out
        again = run("--local", "targets", "import", tmp_path / name, "--yes", "--replace")
        assert again.out == "Nothing to change.\n", name


SILENCE = {"from": "2026-11-24T20:00:00Z", "until": "2099-11-24T22:00:00Z", "why": "new disk", "by": "night-shift"}
ACKNOWLEDGED = {"outage": "2026-11-24T03:12:00Z", "by": "night-shift"}


@pytest.mark.parametrize("name", ["targets.yaml", "targets.jsonl", "targets.csv"])
def test_import_of_ones_own_file_leaves_silences_and_acknowledgements_alone(
    run: Run, table: TargetTable, tmp_path: Path, name: str
) -> None:
    """They are state: exported before or after, an import neither ends them nor brings old ones back."""
    table.write([{"target_id": "a", "host": "a.example"}, {"target_id": "b", "host": "b.example", "silence": SILENCE}])
    run("--local", "targets", "export", tmp_path / name)
    assert "night-shift" not in (tmp_path / name).read_text()
    table.change("a", {"silence": SILENCE, "acknowledged": ACKNOWLEDGED})
    table.change("b", {"port": 995}, ["silence"])
    done = run("--local", "targets", "import", tmp_path / name, "--yes", "--replace")
    assert done.out.splitlines() == ["~ b  port: 995 -> nothing", "Written: 1. Removed: 0."]
    assert table.read() == {
        "a": {"target_id": "a", "host": "a.example", "silence": SILENCE, "acknowledged": ACKNOWLEDGED},
        "b": {"target_id": "b", "host": "b.example"},
    }
    (tmp_path / "new.yaml").write_text("- {target_id: a, host: new.example}\n")
    run("--local", "targets", "import", tmp_path / "new.yaml", "--yes")
    assert table.get("a") == {
        "target_id": "a",
        "host": "new.example",
        "silence": SILENCE,
        "acknowledged": ACKNOWLEDGED,
    }


def test_certificates_of_a_file(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """`ca_pem=@FILE` and `ca_file:` take the certificates alone, whatever else is in the file and in which charset."""
    pem = trustme.CA().cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(b"\xef\xbb\xbf# Autorit\xe9\x80\n" + pem + b"\nkey: \xff\n")
    assert run("--local", "targets", "put", "a", "host=a.example", "ca_pem=@ca.pem").code == 0
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "targets.yaml"
    path.write_text("- target_id: b\n  host: b.example\n  ca_file: ../ca.pem\n  delay_up: 2h30m\n")
    assert run("--local", "targets", "import", path, "--yes").code == 0
    items = table.read()
    assert items["a"]["ca_pem"] == items["b"]["ca_pem"]
    assert items["a"]["ca_pem"].encode().strip() == pem.strip()
    assert (items["b"]["delay_up"], "ca_file" in items["b"]) == (9000, False)
    path.write_text("- target_id: b\n  host: b.example\n  ca_file: none.pem\n")
    assert "Line 3: " in run("--local", "targets", "check", path).out
    sheet = tmp_path / "targets.csv"
    sheet.write_text("target_id;host;delay_up\nc;c.example;90s\n")
    assert run("--local", "targets", "import", sheet, "--yes").code == 0
    assert table.read()["c"]["delay_up"] == 90


def test_a_field_that_takes_no_file(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """The name of a file that is there is not written as a note; a handle such as `@anna` is."""
    (tmp_path / "notes.txt").write_text("a long note")
    ended = run("--local", "targets", "put", "a", "host=a.example", "notes=@notes.txt")
    assert (ended.code, ended.err) == (
        3,
        '`notes` takes no file, as `ca_pem` does: write notes="$(cat notes.txt)" for its text. Nothing was written.\n',
    )
    assert run("--local", "targets", "put", "a", "host=a.example", "notes=@anna").code == 0
    assert table.read()["a"]["notes"] == "@anna"


def test_silence_in_a_file_is_noted_and_left_alone(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """Whatever it says, wrong or right: the warning names the line, the field and the command."""
    path = tmp_path / "targets.yaml"
    path.write_text("- target_id: a\n  host: a.example\n  silence: soon\n  acknowledged: {outage: 2026-11-24T03:12Z}\n")
    done = run("--local", "targets", "import", path, "--yes")
    why = "it is not configuration, but what someone does about the target now."
    assert done.err.splitlines() == [
        f"Line 3, a: `silence` is left alone: {why} Use `popwatch --local silence`.",
        f"Line 4, a: `acknowledged` is left alone: {why} Use `popwatch --local ack`.",
    ]
    assert table.read() == {"a": {"target_id": "a", "host": "a.example"}}


def test_check_of_parents(run: Run, tmp_path: Path) -> None:
    """One that is not in the file may be in the stack, so it is not a mistake."""
    (tmp_path / "a.yaml").write_text("- {target_id: a1, host: h, depends_on: [a9]}\n")
    ended = run("targets", "check", str(tmp_path / "a.yaml"))
    assert (ended.code, ended.err.startswith("Target a1 depends on a9, which is not in the file")) == (0, True)


def test_check(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """The table or a file: mistakes, unknown fields, and an exit code."""
    table.write([{"target_id": "a", "host": "a.example"}])
    assert run("--local", "targets", "check").out == "1 item, 0 mistakes.\n"
    path = tmp_path / "t.yaml"
    path.write_text("- {target_id: a, host: a.example, delay_up: 5, email: '{'}\n")
    ended = run("--local", "targets", "check", path)
    assert ended.code == 2
    assert "Line 1, a: The field `delay_up`" in ended.out
    assert "Line 1, a: The field `email` cannot be used" in ended.out


def test_mistakes_of_the_defaults_are_told_once(run: Run, table: TargetTable, tmp_path: Path) -> None:
    """A bad default is named at its own line, not again for each target that it holds for."""
    path = tmp_path / "t.yaml"
    path.write_text("- target_id: _defaults\n  tls: none\n  delay_up: 5\n- {target_id: a, host: a.example}\n")
    ended = run("--local", "targets", "import", path, "--yes")
    assert ended.err.splitlines()[0].startswith("Line 3, _defaults: The field `delay_up` cannot be used")
    assert ended.err.splitlines()[1:] == ["Nothing was written."]
    assert table.read() == {}


def test_what_the_table_says_is_cleaned_for_the_terminal(run: Run, table: TargetTable) -> None:
    """Whoever may write to the table cannot send control characters to a colleague's terminal."""
    table.write([{"target_id": "a", "host": "a.example", "name": "\x1b[2Jb", "\x1bx": "\x1by"}])
    for arguments in (["list"], ["show", "a"], ["check"]):
        ended = run("--local", "targets", *arguments)
        assert "\x1b" not in ended.out + ended.err, arguments


def test_remove_twice_the_same(run: Run, table: TargetTable) -> None:
    """An id given twice is removed once."""
    table.write([{"target_id": "a", "host": "a.example"}])
    assert run("--local", "targets", "remove", "a", "a").code == 0
    assert table.read() == {}


def test_put_takes_texts_as_they_are(run: Run, table: TargetTable) -> None:
    """A name that looks like a number, a boolean or null is a name."""
    for text in ("007", "1e5", "true", "null", "NaN", "[1]"):
        assert run("--local", "targets", "put", "a", "host=a.example", f"name={text}").code == 0
        item = table.get("a")
        assert item is not None
        assert item["name"] == text


@pytest.fixture
def deployed(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack `mine` with a Targets table and a stack `other` of something else, in eu-central-1."""
    targets = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "target_id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "target_id", "KeyType": "HASH"}],
    }
    output = {"Value": {"Ref": "Made"}}
    bodies = {
        "mine": {
            "Resources": {"Made": {"Type": "AWS::DynamoDB::Table", "Properties": targets}},
            "Outputs": {"TargetsTable": output},
        },
        "other": {"Resources": {"Made": {"Type": "AWS::SQS::Queue"}}, "Outputs": {"Queue": output}},
    }
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    cloudformation = boto3.client("cloudformation", region_name="eu-central-1")
    for name, body in bodies.items():
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(body))
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    yield
    for name in bodies:
        cloudformation.delete_stack(StackName=name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


@pytest.mark.usefixtures("deployed")
def test_stack_of_the_account(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are found by the stack's outputs, in the region that AWS_REGION names."""
    assert run("--stack", "mine", "targets", "put", "a", "host=a.example").code == 0
    monkeypatch.setenv("POPWATCH_STACK", "mine")
    assert run("targets", "list").out.split()[0] == "a"


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("name", "said"),
    [("none", "There is no stack none in this AWS account"), ("other", "other is not a popwatch stack: it has no")],
)
def test_stack_that_is_none(run: Run, name: str, said: str) -> None:
    """A mistake in the name is reported with what to do."""
    ended = run("--stack", name, "targets", "list")
    assert ended.code == 3
    assert said in ended.err


def test_no_region(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of botocore is shown with the next step."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    ended = run("targets", "list")
    assert ended.code == 3
    assert ended.err == (
        "You must specify a region. Choose one with --region or AWS_REGION, such as --region eu-central-1.\n"
    )


def test_no_local_stack(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `make run` the message says how to start it; for a broken file it says what to do."""
    monkeypatch.chdir(tmp_path)
    assert "make run" in run("--local", "targets", "list").err
    (tmp_path / ".popwatch").mkdir()
    (tmp_path / ".popwatch" / "outputs.json").write_text("{")
    assert "cannot be read" in run("--local", "targets", "list").err
    with closed_port() as port:
        gone = {"endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1", "outputs": {"TargetsTable": "T"}}
        (tmp_path / ".popwatch" / "outputs.json").write_text(json.dumps(gone))
        assert "is no longer running" in run("--local", "targets", "list").err


def test_outputs_that_cannot_be_opened(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack may be running: what the system says is shown, and not that there is no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".popwatch" / "outputs.json").mkdir(parents=True)
    ended = run("--local", "targets", "list")
    assert (ended.code, ended.err) == (
        3,
        ".popwatch/outputs.json of the local stack cannot be read: Is a directory.\n",
    )


def test_a_local_stack_that_cannot_be_reached(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be running all the same: here this process has no file left to connect with."""

    def no_more_files(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.chdir(tmp_path)
    saved = {"endpoint": "http://127.0.0.1:4566", "region": "us-east-1", "outputs": {}}
    (tmp_path / ".popwatch").mkdir()
    (tmp_path / ".popwatch" / "outputs.json").write_text(json.dumps(saved))
    monkeypatch.setattr(socket, "create_connection", no_more_files)
    said = run("--local", "targets", "list").err
    assert said.endswith("cannot be reached at http://127.0.0.1:4566: Too many open files.\n")


def test_the_files_of_a_local_stack_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that reads one meanwhile finds the old text; another user cannot read it."""
    path = tmp_path / "outputs.json"
    path.write_text("old")
    meanwhile: list[str] = []
    write = Path.write_text

    def read_meanwhile(written: Path, text: str) -> int:
        meanwhile.append(path.read_text())
        return write(written, text)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", read_meanwhile)
        write_secret(path, "new")
    assert (meanwhile, path.read_text(), path.stat().st_mode & 0o777) == (["old"], "new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_test_starts_without_boto3(server: ScriptedServer) -> None:
    """`popwatch test` does not import boto3, so that a monitor can run it each minute."""
    import subprocess  # noqa: PLC0415

    code = "import sys; from popwatch_cli.main import main\ntry: main()\nfinally: print('boto3' in sys.modules)"
    port = server.listen("healthy")
    done = subprocess.run(
        [sys.executable, "-c", code, "test", "127.0.0.1", "-p", str(port)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")


def test_cost_of_the_own_fleet(run: Run, table: TargetTable) -> None:
    """The bill is for the stack's own targets, by their delays."""
    table.write([{"target_id": f"t{n}", "host": "pop.example.net", "delay_up": 60 * (n + 1)} for n in range(2)])
    ended = run("--local", "cost")
    assert ended.code == 0
    assert ended.out.startswith("2 targets, 64,800 tests in 30 days; prices of us-east-1")
    content = json.loads(run("--local", "cost", "--json").out)
    assert content["fleet"]["tests"] == pytest.approx(1.5)
    assert content["usd_with_free"] == pytest.approx(sum(charge["with_free"] for charge in content["charges"]))


def test_cost_of_no_fleet(run: Run, table: TargetTable) -> None:  # noqa: ARG001 - the table is empty
    """Without targets there is nothing to bill, and the command says what to do."""
    ended = run("--local", "cost")
    assert ended.code == 3
    assert "--targets" in ended.err
