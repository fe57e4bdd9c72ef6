"""The longest time to the first alert, on the local stack: what popwatch states, beside what random outages took.

The real template and function, servers on the loopback, real time. There are 200 targets with delays from 10 to 300 s,
deadlines from 2 to 30 s and `failures_per_alert` from 1 to 5, drawn from all combinations for which at most 800 s are
stated. Each tick comes at any second of its minute. Each server fails once, at a random time, by accepting connections
and saying nothing; it recovers once the alert has been seen. Measured is the time from the failure to the time that SNS
gives the message which a subscriber received; stated is `longest_time_to_alert`.
"""

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.targets import Target, parse_target
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.bench.bench_time_to_alert import DEADLINES, DELAYS, Outage, report
from tests.chaos.live.task_schedule import TaskSchedule
from tests.e2e.deployed import PROJECT, Deployed

OUTAGES = 200
LONGEST = 800.0
"""Seconds that may be stated."""

FAIL_WITHIN = 240.0
"""Seconds in which the servers with the longest stated time fail; the others have longer."""

FIRST_TESTS = 75.0
"""Seconds by which all targets have been tested once."""

MINUTE, LOOK_SECONDS = 60.0, 2.0
PARAMETERS = {"StormThreshold": "1000", "MaxParallelBatches": "200"}
"""No summaries, and no message waits for another's silent server."""

_FIRST_ALERT = re.compile(r"^Alert (\S+)/down/1/", re.MULTILINE)


@dataclass(slots=True)
class TimesToAlert:
    """Targets of a deployed stack whose servers fail, each once; `outages` are by target."""

    stack: Deployed
    server: ScriptedServer
    random: Random
    targets: Sequence[Target]
    within: float
    outages: dict[str, Outage] = field(default_factory=dict)
    tasks: TaskSchedule = field(default_factory=TaskSchedule)

    def play(self) -> list[Outage]:
        """The outages, each with the time to its alert; it takes `within` and the longest stated time, or less."""
        self.stack.put_targets(*(target.fields for target in self.targets))
        seconds = FIRST_TESTS + self.within + max(map(stated, self.targets))
        start = datetime.now(UTC).replace(microsecond=0)
        for minute in range(int((seconds + MINUTE) / MINUTE)):
            second = 0.0 if minute == 0 else self.random.uniform(0.0, 59.0)
            self.tasks.after(minute * MINUTE + second, partial(self._tick, start + timedelta(minutes=minute)))
        for target in self.targets:
            fails_at = self.random.uniform(FIRST_TESTS, seconds - stated(target))
            self.tasks.after(fails_at, partial(self._fail, target))
        ends = time.monotonic() + seconds + MINUTE
        while time.monotonic() < ends and not self._is_over():
            self.tasks.run(LOOK_SECONDS)
            self._look()
        return list(self.outages.values())

    def _tick(self, tick: datetime) -> None:
        self.stack.tick(tick, wait=False)

    def _fail(self, target: Target) -> None:
        self.server.play(target.port, "silent")
        self.outages[target.target_id] = Outage(target, datetime.now(UTC), stated(target))

    def _look(self) -> None:
        """Note the alerts that have arrived, and let their servers answer again."""
        for alert in self.stack.feed.receive():
            for name in _FIRST_ALERT.findall(alert.email):
                outage = self.outages[name]
                if outage.took is None:
                    took = (alert.published_at - outage.began).total_seconds()
                    self.outages[name] = replace(outage, took=took)
                    self.server.play(outage.target.port, "healthy")

    def _is_over(self) -> bool:
        return len(self.outages) == len(self.targets) and all(one.took is not None for one in self.outages.values())


def stated(target: Target) -> float:
    """Seconds, as `targets show` states them."""
    return longest_time_to_alert(target.policy, target.max_test_seconds).total_seconds()


def draw(random: Random, where: Mapping[str, object], choices: Mapping[str, Sequence[int]], longest: float) -> Target:
    """A target that states no more than so many seconds; `choices` are those of its fields."""
    while True:
        target = parse_target({**where, **{name: random.choice(values) for name, values in choices.items()}})
        if stated(target) <= longest:
            return target


def outages(
    count: int,
    *,
    delays: Sequence[int] = DELAYS,
    failures: Sequence[int] = range(1, 6),
    longest: float = LONGEST,
    within: float = FAIL_WITHIN,
) -> list[Outage]:
    """So many outages on a stack of their own."""
    random = Random("time_to_alert")
    choices = dict.fromkeys(("delay_up", "delay_warn", "delay_down"), delays)
    choices |= {"failures_per_alert": failures, "max_test_seconds": DEADLINES}
    with (
        ScriptedServer() as server,
        tempfile.TemporaryDirectory() as folder,
        Deployed.running(PROJECT, Path(folder), settings=None, **PARAMETERS) as stack,
    ):
        places = [
            {"target_id": f"mail-{n}", "host": "127.0.0.1", "port": server.listen("healthy")} for n in range(count)
        ]
        targets = [draw(random, place, choices, longest) for place in places]
        return TimesToAlert(stack, server, random, targets, within).play()


def main() -> None:
    """Print how the outages compare with what was stated, and the worst of them."""
    report(outages(OUTAGES))


if __name__ == "__main__":
    main()
