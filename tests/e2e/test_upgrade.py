"""The first version deployed, with data and outages; this version over it; and the way back.

Time goes by ticks: minute 0 lies three minutes before the end of an hour, so that the first version adds one up. The
upgrade takes the tick of minute 10, as a deployment may. docs/operating.md shows the timeline that is printed here.

With POPWATCH_REWRITE_DOCS=1 in the environment the page is rewritten instead.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from popwatch.model.health import Health, State
from popwatch.model.text import iso
from popwatch.queries.history import read_totals
from popwatch.reports.availability import Period
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import PROJECT, Deployed
from tests.e2e.upgraded import Clone

pytestmark = pytest.mark.local_stack

PAGE = PROJECT / "docs" / "operating.md"
BLOCK = re.compile(r"(?<=<!-- tests/e2e/test_upgrade.py -->\n\n)(?:    .*\n)+")

MINUTE = timedelta(minutes=1)
FIRST, UPGRADED, BACK = range(10), range(11, 15), range(15, 17)
"""The minutes of the first version, of this one, and of the first one again."""

OUTAGES: Mapping[str, range] = {
    "mail-up": range(0),
    "mail-down": range(6, 12),
    "mail-long": range(6, 14),
    "mail-pending": range(7, 13),
    "mail-warn": range(9, 14),
    "mail-dies": range(10, 16),
}
"""The minutes in which each server refuses connections."""

ALERTS = {
    8: ["DOWN 1/3: mail-down", "DOWN 1/3: mail-long"],
    11: ["DOWN 1/3: mail-pending"],
    12: ["DOWN 1/3: mail-warn", "DOWN 2/3: mail-long", "UP again: mail-down, was down 6 min"],
    13: ["DOWN 1/3: mail-dies", "UP again: mail-pending, was down 6 min"],
    14: ["UP again: mail-long, was down 8 min", "UP again: mail-warn, was down 5 min"],
    16: ["UP again: mail-dies, was down 5 min"],
}
"""What subscribers receive, by minute: what the outages above require, whichever version judges them.

The alert of mail-pending is due in minute 9, in which SNS accepts none.
"""

DEAD_SECONDS = 5
"""The timeout that this version is given: an older invocation counts as dead. The template's is 120."""


@dataclass(slots=True)
class UpgradeRun:
    """Targets over the minutes, and what was seen of them."""

    servers: ScriptedServer
    ports: Mapping[str, int]
    begin: datetime
    lines: list[str] = field(default_factory=list)
    alerts: dict[int, list[str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def log(self, when: str, what: str) -> None:
        """Add a line to the timeline."""
        self.lines.append(f"{when:>6}  {what}")

    def at(self, minute: int) -> datetime:
        """The tick of a minute."""
        return self.begin + minute * MINUTE

    def run_this_version(self, stack: Deployed, minutes: range) -> None:
        """The ticks of some minutes by this version, which judges a test by the time at which it begins."""
        with stack.testing_at(self.begin) as clock:
            for minute in minutes:
                clock.set(minute * MINUTE.total_seconds())
                self.run(stack, range(minute, minute + 1), "this")

    def run(self, stack: Deployed, minutes: range, version: str) -> None:
        """The ticks of some minutes, each with what it changed and the alerts that it sent."""
        for minute in minutes:
            for name, outage in OUTAGES.items():
                self.servers.play(self.ports[name], "refused" if minute in outage else "healthy")
            stack.tick(self.at(minute))
            self._look(stack, minute, version)

    def _look(self, stack: Deployed, minute: int, version: str) -> None:
        now = {name: stack.state(name) for name in OUTAGES}
        changed = [f"{name} {state}" for name, state in now.items() if self.states.get(name) != state]
        said = ", ".join(changed) if self.states else f"{len(now)} targets, {Counter(now.values())['up']} up"
        self.states = now
        subjects = sorted(re.sub(r" \(127\.0\.0\.1:\d+\)", "", alert.subject) for alert in stack.feed.receive())
        if changed or subjects:
            self.log(str(minute), f"{version:<6} {said}".rstrip())
        if subjects:
            self.alerts[minute] = subjects
        for subject in subjects:
            self.log("", f"         {subject}")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    """A clone to deploy from, beside an AWS that outlasts its versions."""
    with Clone.beside_cloud(tmp_path / "popwatch") as found:
        yield found


@pytest.fixture
def upgrade_run(server: ScriptedServer) -> UpgradeRun:
    """Healthy servers, and minute 0 three minutes before the last whole hour."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    return UpgradeRun(server, {name: server.listen("healthy") for name in OUTAGES}, hour - 3 * MINUTE)


def test_upgrade_and_way_back_lose_nothing(
    clone: Clone, upgrade_run: UpgradeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """States, outages, outboxes and history outlast the upgrade; every alert is sent once, with the true outage."""
    began = time.monotonic()
    old = clone.deploy_older_version()
    put_targets(clone, upgrade_run.ports)
    upgrade_run.log("minute", "version")
    upgrade_run.run(old, FIRST[:-1], "first")
    old.configure(ALERT_TOPIC_ARN=old.local.outputs["AlertTopicArn"] + "-gone")
    upgrade_run.run(old, FIRST[-1:], "first")
    before, recorded = healths(old), histories(old)
    assert is_hour_in_first_layout(old, upgrade_run.begin.replace(minute=0))

    new = clone.deploy_this_version()
    upgrade_run.log("10", "upgrade: git pull, make deploy; mail-dies dies; this minute's tick is lost")
    assert data_of(new) == data_of(old)
    assert healths(new) == before
    status = clone.popwatch("status")
    new.configure(FUNCTION_TIMEOUT_SECONDS=str(DEAD_SECONDS))
    upgrade_run.run_this_version(new, UPGRADED[:1])
    assert_this_version_judged(new)
    for name in ("mail-down", "mail-long", "mail-pending"):
        assert kept(healths(new)[name]) == kept(before[name])
        assert before[name].state is State.DOWN
        assert name in status
    upgrade_run.run_this_version(new, UPGRADED[1:])
    assert_history_is_whole(new, recorded)
    assert_all_tests_are_counted(new, upgrade_run)
    assert "DOWN 1/3" in clone.popwatch("history", "mail-down")

    back = clone.deploy_older_version()
    upgrade_run.log("", "back: git checkout, make deploy")
    assert data_of(back) == data_of(old)
    upgrade_run.run(back, BACK[:1], "first")
    assert_first_version_judged(back)
    upgrade_run.run(back, BACK[1:], "first")
    with capsys.disabled():
        print("\n" + "\n".join(upgrade_run.lines) + f"\n{time.monotonic() - began:.0f} s")
    assert upgrade_run.alerts == ALERTS
    assert set(upgrade_run.states.values()) == {"up"}
    assert_page_shows(upgrade_run.lines)


def put_targets(clone: Clone, ports: Mapping[str, int]) -> None:
    """Write the targets by the command of the version that is checked out."""
    for name, port in ports.items():
        clone.popwatch("targets", "put", name, "host=127.0.0.1", f"port={port}")


def data_of(stack: Deployed) -> dict[str, str]:
    """The names of what holds data, or subscribers."""
    names = ("TargetsTable", "StatusTable", "HistoryTable", "AlertTopicArn", "OperatorTopicArn")
    queues = ("BatchQueueUrl", "DeadLetterQueueUrl")
    return {name: stack.installation.outputs[name] for name in (*names, *queues)}


def healths(stack: Deployed) -> dict[str, Health]:
    """The health of each target, as this version reads it."""
    return {name: record.health for name, record in stack.store.read_records()[1].items()}


def kept(health: Health) -> tuple[object, ...]:
    """What a further failed test leaves as it is: the state, since when, the same outage, the alerts sent of it."""
    return health.state, health.since, health.failing_since, health.alerts_sent


def assert_this_version_judged(stack: Deployed) -> None:
    """The function that runs counts changes, which the first version does not know."""
    assert healths(stack)["mail-dies"].changes


def assert_first_version_judged(stack: Deployed) -> None:
    """The function that runs ignores the fields that it does not know, and writes the rest."""
    assert not healths(stack)["mail-dies"].changes
    assert healths(stack)["mail-dies"].failures == BACK[1] - UPGRADED[0]


def histories(stack: Deployed) -> dict[str, list[dict[str, Any]]]:
    """Transitions and alerts of each target."""
    return {name: stack.events(name) for name in OUTAGES}


def is_hour_in_first_layout(stack: Deployed, hour: datetime) -> bool:
    """Whether an hour was added up as the first version does it: a map for each target, under the hour alone."""
    found = stack.local.client("dynamodb").get_item(
        TableName=stack.installation.outputs["HistoryTable"],
        Key={"pk": {"S": "hours#1#0"}, "sk": {"S": iso(hour)}},
    )
    return "M" in found["Item"]["totals"]["M"]["mail-up"]


def assert_history_is_whole(stack: Deployed, recorded: Mapping[str, list[dict[str, Any]]]) -> None:
    """Everything that was in History still is."""
    now = histories(stack)
    for name, events in recorded.items():
        assert events
        assert all(event in now[name] for event in events)


def assert_all_tests_are_counted(stack: Deployed, upgrade_run: UpgradeRun) -> None:
    """Hours of the old layout and samples of both versions add up to every test, failed ones as the servers failed."""
    ticks = [*FIRST, *UPGRADED]
    checkpoint = stack.store.read_records()[0]
    totals = read_totals(
        stack.store, checkpoint, Period(upgrade_run.begin.replace(minute=0), upgrade_run.at(UPGRADED[-1]) + MINUTE)
    )
    for name, outage in OUTAGES.items():
        assert totals[name].tests == len(ticks)
        assert sum(totals[name].failures.values()) == len(set(ticks) & set(outage))


def assert_page_shows(lines: list[str]) -> None:
    """The page shows the timeline as it is."""
    text, block = PAGE.read_text(), "".join(f"    {line}\n" for line in lines)
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        PAGE.write_text(BLOCK.sub(lambda _: block, text))
        return
    found = BLOCK.search(text)
    assert found is not None
    assert found.group() == block
