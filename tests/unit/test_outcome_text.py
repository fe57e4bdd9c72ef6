"""The text of an outcome for people."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest

from popwatch.alerts.advice import ADVICE, advice
from popwatch.decisions.judging import judge
from popwatch.model.fields import FIELDS_BY_NAME
from popwatch.model.health import UNTESTED, Health, State
from popwatch.model.outcomes import TLS_ALERT_REASON, ErrorCode, Phase
from popwatch.model.records import Record
from popwatch.model.samples import sample_of
from popwatch.model.targets import parse_target
from popwatch.prober import loop, pop3
from popwatch.prober.addresses import combine
from popwatch.reports.status import NewestTests, TargetStatus, target_status_to_json, target_statuses
from popwatch_cli.commands.servers import once
from popwatch_cli.main import cli
from popwatch_cli.output.outcome import conclusion, steps, to_json, to_line
from tests.examples import FAILED, PASSED, START, target


def test_advice_is_for_reasons_that_exist() -> None:
    """Every reason with advice is one that the prober gives, or an alert of TLS by OpenSSL's name."""
    files = [Path(pop3.__file__), *Path(loop.__file__).parent.glob("*.py")]
    sources = "".join(path.read_text() for path in files)
    alerts = [f"{TLS_ALERT_REASON}{name}" for name in ("handshake-failure", "unrecognized-name")]
    assert [reason for reason in ADVICE if f'"{reason}"' not in sources] == alerts


@pytest.mark.parametrize("reason", ["too-slow", "mailbox-too-full"])
def test_steps_of_a_test_in_which_each_went_well(reason: str) -> None:
    """None of them is shown as failed: the test is."""
    shown = list(steps(target(), replace(PASSED, error=ErrorCode.TIMED_OUT, reason=reason, quit_ms=0.3), START))
    assert [name for name, _, _ in shown].count("quit") == 1
    assert shown[-1] == ("test", "failed", reason)


def test_a_step_that_failed_is_shown_once() -> None:
    """A name server's answer took its time, and was that there is no such name."""
    failed = replace(FAILED, phase=Phase.DNS, dns_ms=2.0, reason="no-such-name")
    assert [name for name, _, _ in steps(target(), failed, START)].count("dns") == 1


@pytest.mark.parametrize("reason", ADVICE)
def test_advice_names_fields_and_options_that_exist(reason: str) -> None:
    """In alerts a field as `targets put` takes it, in `popwatch test` the option for it."""
    failed, fields = replace(FAILED, reason=reason), list[tuple[str, str]]()

    def collect(name: str, value: str) -> str:
        fields.append((name, value))
        return ""

    advice(failed, collect)
    for name, value in fields:
        assert not value or FIELDS_BY_NAME[name].parse(value) is not None
    command = cli.get_command(click.Context(cli, **cli.context_settings), "test")
    assert command is not None
    options = {option for known in command.params for option in known.opts}
    written = re.findall(r"--[a-z-]+", conclusion(target(), failed)[-1])
    assert len(written) == len(fields)
    assert set(written) <= options


def test_a_failure_says_message_detail_and_advice() -> None:
    """The exact message, then the detail, then what to do."""
    assert conclusion(target(), FAILED) == [
        "FAILED  The remote device timed out before sending a response",
        "        The server accepted the connection and said nothing.",
        "        A TLS server waits for the client: is this a port for implicit TLS (--tls implicit)?",
    ]


def test_a_reason_without_advice_says_none() -> None:
    """Without advice there is no empty line."""
    assert len(conclusion(target(), replace(FAILED, reason="odd"))) == 2


FAILING = tuple(f"192.0.2.{number}: refused" for number in range(1, 17))


def test_each_failing_address_is_named() -> None:
    """In the text, in a line of many, and in JSON; with how many were left out."""
    outcome = replace(PASSED, failed_addresses=FAILING, untested_addresses=24)
    line, found = to_line(target(), outcome), to_json(target(), outcome)
    assert conclusion(target(), outcome)[1:] == [
        *(f"        Fails: {address}" for address in FAILING),
        "        Not tested: 24 more addresses",
    ]
    assert all(f"Fails: {address}" in line for address in FAILING)
    assert line.endswith("  Not tested: 24 more addresses")
    assert (found["failed_addresses"], found["untested_addresses"]) == (list(FAILING), 24)


def test_addresses_that_the_detail_names_are_named_once() -> None:
    """Of a failed test with few addresses the detail says it all, of one with many it only counts them."""
    few = combine([replace(FAILED, address=f"192.0.2.{number}") for number in (1, 2)], every=False)
    assert "192.0.2.1: no-greeting; 192.0.2.2: no-greeting" in few.detail
    assert few.address_remarks == []
    many = combine([replace(FAILED, address=f"192.0.2.{number}") for number in range(1, 17)], every=True)
    assert many.detail == "All 16 addresses fail: 16 no-greeting."
    assert len(many.address_remarks) == 16
    assert all(remark in to_line(target(), many) for remark in many.address_remarks)


def test_addresses_that_failed_first_are_named() -> None:
    """They failed before another one passed; without `all_addresses` that is not a fault of the target."""
    outcome = replace(PASSED, failed_first=("192.0.2.1: refused",))
    assert conclusion(target(), outcome)[1:] == ["        Failed first: 192.0.2.1: refused"]
    assert to_json(target(), outcome)["passed_over"] == ["192.0.2.1: refused"]


@pytest.mark.parametrize("newer", [False, True])
def test_the_status_names_each_failing_address(newer: bool) -> None:
    """In its remarks and in JSON, which are the page's too; also when a later test has found nothing new."""
    outcome = replace(PASSED, failed_addresses=FAILING, untested_addresses=24)
    health = judge(UNTESTED, outcome, target().policy, START).health
    record = Record("mail-berlin", 1, START, health, outcome)
    samples = {"mail-berlin": (START + timedelta(minutes=1), sample_of(outcome))} if newer else {}
    [status] = target_statuses({"mail-berlin": target()}, {"mail-berlin": record}, NewestTests(samples), START)
    found = target_status_to_json(status, START)
    assert (found["failed_addresses"], found["untested_addresses"]) == (list(FAILING), 24)
    before = replace(health, failed_addresses=())  # as an earlier version wrote it
    assert replace(status, health=before).remarks(START)[0] == "degraded"
    assert found["remarks"] == [f"degraded, fails: {'; '.join(FAILING)}", "not tested: 24 more addresses"]


@pytest.mark.parametrize(
    ("limit", "rtt_ms", "remark"),
    [
        (100, 500.0, "slow: over 100 ms"),
        (2000, 500.0, "slow: until 3 tests in a row took at most 2000 ms"),
        (2000, None, "slow: until 3 tests in a row took at most 2000 ms"),
        (0, 500.0, "slow: not compared any more (`slow_rtt_ms` is 0)"),
    ],
)
def test_slow_targets_are_over_their_limit_only_if_they_are(limit: float, rtt_ms: float | None, remark: str) -> None:
    """The limit may have been raised or removed since the alert, and the last test may have been short."""
    slow = replace(target(), policy=replace(target().policy, slow_rtt_ms=limit))
    assert TargetStatus(slow, Health(State.UP, slow=True), START, rtt_ms).remarks(START) == [remark]


def test_lines_of_many_targets() -> None:
    """Result, id, server, and the round-trip time or the error."""
    assert to_line(target(), PASSED) == "passed  mail-berlin  pop.example.net:110  12.5 ms"
    assert to_line(target(), FAILED) == (
        "failed  mail-berlin  pop.example.net:110  The remote device timed out before sending a response "
        "(no-greeting): The server accepted the connection and said nothing."
    )


def test_a_server_that_is_named_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """It is tested once, and that is said."""
    assert once(["a.example", "b.example", " a.example"]) == ["a.example", "b.example"]
    assert capsys.readouterr().err == "a.example is named 2 times, and tested once.\n"
    assert once(["a.example", "b.example"]) == ["a.example", "b.example"]
    assert capsys.readouterr().err == ""


def test_wrong_fields_are_explained_to_the_end() -> None:
    """The outcome has the beginning, since it is stored."""
    found = parse_target({"target_id": "a", "host": "a.example", "port": "x" * 40, "tls": "y" * 40, "family": "z" * 40})
    failed = replace(FAILED, phase=Phase.CONFIGURATION, detail="cut...")
    explained = " ".join(problem.explanation for problem in found.problems)
    assert to_line(found, failed).endswith(explained)
    assert to_json(found, failed)["detail"] == explained
    assert conclusion(found, failed)[1].strip() == explained
