"""The deployed stack of one round, and the chaos around it: of schedule and queue, servers and users, AWS and deaths.

Everything but time is the stack's own: processes, tables, queue, topic, sockets. Between the processes and AWS stands
the proxy; what passes it is the evidence, and the tables and what a subscriber received must say the same in the end.
"""

import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from random import Random
from threading import RLock, Timer
from typing import Any

from popwatch.aws.items import from_item
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.chaos import facts
from tests.chaos.evidence import Evidence
from tests.chaos.facts import Finding
from tests.chaos.faults import NO_FAULTS, OUTAGE_SECONDS, FaultLog, Faults, Rates
from tests.chaos.live.calls import Answer, Call, message_id_of
from tests.chaos.live.invocations import Invocation, Register
from tests.chaos.live.pace import USUAL_MINUTE, Pace
from tests.chaos.live.proxy import Proxy
from tests.chaos.live.servers import Servers
from tests.chaos.live.task_schedule import TaskSchedule
from tests.chaos.people import (
    CLOCKS_DIFFER,
    INTERVENTIONS,
    NEWER,
    ONLY_SIMULATED,
    SCHEDULE,
    SLOW_MS,
    Change,
    Configured,
    Situation,
    as_read,
    as_written,
    change_connection,
    change_mind,
    change_policy,
    draw_import,
    draw_newer,
    draw_policy,
    draw_schedule,
    rename,
)
from tests.e2e.deployed import Deployed
from tests.fast_clock import Clock

MINUTE = 60.0
USUAL = Rates(
    refused=0.03,
    throttled=0.03,
    delayed=0.04,
    answer_lost=0.03,
    killed_before=0.003,
    killed_after=0.003,
    killed_midway=0.02,
    stale_read=0.1,
    outage=0.01,
    tick_lost=0.04,
    tick_doubled=0.1,
    tick_late=0.04,
    message_doubled=0.1,
    message_late=0.05,
    clock_skewed=0.2,
    config_changed=0.03,
    target_removed=0.004,
    target_added=0.05,
    target_renamed=0.004,
    file_imported=0.05,
    schedule_changed=0.05,
    certificate_changed=0.02,
    server_changed=0.06,
    storm=0.02,
)
"""Real processes are few, so that each meets more than a simulated one."""

TABLES = {"TargetsTable": "Targets", "StatusTable": "Status", "HistoryTable": "History"}
"""The tables by the template's outputs, and their names."""

VISIBILITY_SLACK = 2
ACKNOWLEDGED = 4
"""How often an acknowledgement is drawn, where another intervention is drawn once: most targets have no outage."""

HOLD_LONG = ("parent added", "parent changed", "parent removed", "flap_per_hour changed", "passes_per_recovery changed")
"""What may hold an alert back for longer than a short fault-free time."""

TOO_BUSY = "machine too busy for a test"
"""A fault that no one injects."""

LONGEST = 4.0
"""How many times as long as planned a part of a round may take, until enough sweeps have come to their end."""

LAST_SWEEPS = 12
"""At most, after the fault-free time: what an invocation left as it was killed is sent once it has reached its
timeout."""

RECEIVES = 3
"""How often a message is received whose invocations all die."""


@dataclass(frozen=True, slots=True)
class StackSetup:
    """What kind of installation it is."""

    targets: int
    storm_threshold: int
    largest_batch: int
    schedule_second: float
    rates: Rates

    @classmethod
    def draw(cls, random: Random, targets: int, fault_rates: Mapping[str, float]) -> "StackSetup":
        """One of many; `fault_rates` sets some rates."""
        return cls(
            targets,
            storm_threshold=random.choice([1, 3, 10]),
            largest_batch=random.choice([800, targets // 3]),
            schedule_second=random.uniform(0, 30),
            rates=replace(USUAL.draw(random), **fault_rates),
        )


@dataclass(frozen=True, slots=True)
class Round:
    """How a stack is treated for a while: seconds of chaos, and of the fault-free time after it, at the usual pace.

    `bug` is planted in the function's process. The services that are `refusing` refuse everything for minutes. Where
    targets are `independent`, none flaps, depends on another or recovers only with several passed tests: what these
    hold back is sent only after half an hour without faults.
    """

    seed: str
    chaos: float
    fault_free: float
    targets: int = 16
    pace: Pace = field(default_factory=Pace.of_machine)
    fault_rates: Mapping[str, float] = field(default_factory=dict)
    bug: str = ""
    refusing: tuple[str, ...] = ("dynamodb", "sns", "sqs")
    independent: bool = False


class Installation:
    """One round on a stack, whose tables and queues must be empty. Run it within `prepared`."""

    def __init__(self, stack: Deployed, server: ScriptedServer, plan: Round) -> None:
        self.stack, self.plan = stack, plan
        self.setup = StackSetup.draw(Random(plan.seed), plan.targets, plan.fault_rates)
        self.lock = RLock()
        self.clock: Clock = plan.pace.clock()
        self.faults = FaultLog(self.setup.rates)
        self.evidence = Evidence(self.clock.now)
        self.findings: list[Finding] = []
        self.trace: list[tuple[datetime, int, str]] = []
        self.servers = Servers(server)
        self.configured: dict[str, Configured] = {}
        self.policies: list[Configured] = []
        self.service_outages: dict[str, datetime] = {}
        self.mirror: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self.message_ids: dict[int, str] = {}
        self.scopes: Counter[str] = Counter()
        self.ticks, self.fault_free, self.settling, self.began = 0, False, False, time.monotonic()
        self.schedule: tuple[facts.Window, ...] = ()
        self.schedule_before: tuple[facts.Window, ...] = ()
        self.invoked: Counter[str] = Counter()
        self._too_busy: set[str] = set()
        self._tasks = TaskSchedule()
        self._tables = {stack.local.outputs[output]: table_name for output, table_name in TABLES.items()}
        self._client = stack.local.client("dynamodb")
        self._lambda, self._sqs = stack.local.client("lambda"), stack.local.client("sqs")
        self.register = Register(self.lock, begin=self._begin, reported=self._reported, ended=self._ended)
        self.proxy = Proxy(
            "127.0.0.1",
            stack.local.port,
            self.register,
            refuses=lambda service: self.service_outages.get(service, self.clock.now()) > self.clock.now(),
            prepare=self._prepare,
            took_effect=self._took_effect,
        )

    @property
    def invocations(self) -> int:
        """How many there have been."""
        return len(self.register.by_number)

    @contextmanager
    def prepared(self) -> Iterator["Installation"]:
        """The function set up for the campaign, and as it was at the end."""
        queue = self.stack.local.outputs["BatchQueueUrl"]
        patience = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
        seconds = str(self.plan.pace.timeout + VISIBILITY_SLACK)
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": seconds})
        try:
            with self._function_set_up():
                yield self
        finally:
            self.register.close()
            self.proxy.close()
            self._sqs.set_queue_attributes(QueueUrl=queue, Attributes=patience)

    def _function_set_up(self) -> AbstractContextManager[None]:
        """Point the function to the campaign; processes that run already come to their end."""
        pace = self.plan.pace
        given = {
            "port": self.register.port,
            "clock": {"began": self.clock.began, "epoch": self.clock.epoch, "speed": self.clock.speed},
            "reserve": pace.reserve,
            "largest_batch": self.setup.largest_batch,
            "bug": self.plan.bug,
        }
        own = {
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "CHAOS": json.dumps(given),
            "FUNCTION_TIMEOUT_SECONDS": str(round(pace.timeout * pace.speed)),
            "STORM_THRESHOLD": str(self.setup.storm_threshold),
        }
        return self.stack.handled_by("tests.chaos.live.inside", own, timeout=pace.timeout)

    # ---- a round

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Chaos, then no faults, until that time is over and nothing is under way any more; or until `stop`, asked
        each minute."""
        pace = self.plan.pace
        self._write_schedule(())
        for number in range(self.setup.targets):
            self._add_target(f"mail-{number}", self._faults(f"target {number}"))
        self._tasks.after(self.setup.schedule_second / pace.speed, self._minute)
        self.began = time.monotonic()
        self._pass(self.plan.chaos, ("well", "error", "killed"), stop)
        if not stop():
            self._run_fault_free()

    def _pass(self, seconds: float, ends: Collection[str], stop: Callable[[], bool] = lambda: False) -> None:
        """Let a part of the round pass: longer than planned where the machine is so busy that few sweeps end."""
        pace, began, before = self.plan.pace, time.monotonic(), self._count_sweeps(ends)
        while not stop():
            passed = (time.monotonic() - began) / pace.times
            enough = self._count_sweeps(ends) - before >= seconds / USUAL_MINUTE / 2
            if passed >= (seconds if enough else LONGEST * seconds):
                return
            self._tasks.run(pace.minute)

    def _count_sweeps(self, ends: Collection[str]) -> int:
        """How many ticks' invocations have ended so."""
        return sum(1 for one in list(self.register.by_number.values()) if not one.body and one.over in ends)

    def _run_fault_free(self) -> None:
        with self.lock:
            began, self.fault_free, self.faults.rates = self.clock.now(), True, NO_FAULTS
            self.service_outages.clear()
            self._log(0, "no faults from now on")
        self._pass(self.plan.fault_free, ("well",))
        last = self._settle()
        with self.lock:
            servers = {
                name: (known.at_last(last, self.schedule), self.servers.by_target[known.server or name].answers)
                for name, known in self.configured.items()
            }
            self.evidence.add(facts.FaultFree(self.evidence.order, last, began, servers))

    def _settle(self) -> datetime:
        """Sweep until one ends well and leaves nothing under way and nothing to send, however slow; the tick of it.

        What is left to send after `LAST_SWEEPS` is lost. A target whose last test timed out, although its server
        answers, is tested again as well.
        """
        self.settling = True
        self._wait_until_idle()
        for _ in range(LAST_SWEEPS):
            tick = self._sweep_once()
            self._wait_until_idle()
            if self._is_swept(tick) and not self._is_left_to_send() and not self._is_left_to_test(tick):
                break
        return tick

    def _sweep_once(self) -> datetime:
        """Invoke a sweep for the next minute, once that begins; if several have begun, only for the last of them."""
        began = self.time_of(0)
        self.ticks = max(self.ticks, int((self.clock.now() - began).total_seconds() // MINUTE))
        tick = began + timedelta(minutes=self.ticks)
        self.ticks += 1
        time.sleep(max(0.0, (tick - self.clock.now()).total_seconds() / self.plan.pace.speed))
        self._invoke(tick)
        return tick

    def _wait_until_idle(self) -> None:
        """Wait until no invocation is under way or to come; a message whose invocations die comes three times."""
        end = time.monotonic() + RECEIVES * (self.plan.pace.timeout + VISIBILITY_SLACK)
        while not self._is_idle() and time.monotonic() < end:
            self._tasks.run(0.1)

    def _is_idle(self) -> bool:
        with self.lock:
            begun = Counter(one.tick for one in self.register.by_number.values() if not one.body)
            under_way = self.register.running or self.invoked - begun
        return not under_way and not self._count_messages()

    def _count_messages(self) -> int:
        """Those in the queue: to be received, being handled, delayed."""
        names = ("", "NotVisible", "Delayed")
        counts = [f"ApproximateNumberOfMessages{name}" for name in names]
        queue = self.stack.local.outputs["BatchQueueUrl"]
        found = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=counts)["Attributes"]
        return sum(int(found[name]) for name in counts)

    def _is_swept(self, tick: datetime) -> bool:
        known = self.register.by_number.values()
        return any(one.tick == tick.isoformat() and one.over == "well" for one in known)

    def _is_left_to_test(self, tick: datetime) -> bool:
        """Whether the machine was too busy for the last test of a target."""
        known = [self.configured.get(name) for name in self._too_busy]
        return any(one and one.is_enabled(tick) for one in known)

    def _is_left_to_send(self) -> bool:
        """Whether an outbox holds anything."""
        records = [item for key, item in self.mirror.items() if key[0] == "Status"]
        return any(item["pending"]["L"] for item in records if "pending" in item)

    def delivered_facts(self) -> list[facts.Fact]:
        """What happened. Of messages only those that a subscriber received count, with what he read in them."""
        delivered = {alert.message_id: alert.email for alert in self.stack.feed.receive()}
        delivered |= {sms.message_id: sms.text for sms in self.stack.feed.receive_sms()}
        for message_id in delivered.keys() - self.message_ids.values():
            self._report("alert invented", "", f"no invocation published this: {delivered[message_id][:80]}")
        self._compare_tables()
        return [sent for fact in self.evidence.facts for sent in self._as_delivered(fact, delivered)]

    def _as_delivered(self, fact: facts.Fact, delivered: Mapping[str, str]) -> list[facts.Fact]:
        if isinstance(fact, facts.PublishedText) and fact.channel != "history":
            text = delivered.get(self.message_ids[fact.order])
            return [replace(fact, text=text)] if text else []
        if not isinstance(fact, facts.Sent):
            return [fact]
        text = delivered.get(self.message_ids[fact.order])
        if not text or fact.topic == "sms":
            return [fact] if text else []
        return [replace(fact, alerts=self.evidence.alerts_in(text))]

    def _compare_tables(self) -> None:
        """What took effect lies in the tables, and nothing else does."""
        for table, table_name in self._tables.items():
            if table_name == "Targets":
                continue
            keys = ("target_id",) if table_name == "Status" else ("pk", "sk")
            pages = self._client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
            there = {(table_name, *(item[key]["S"] for key in keys)): item for page in pages for item in page["Items"]}
            seen = {key: item for key, item in self.mirror.items() if key[0] == table_name}
            for key in there.keys() | seen.keys():
                if key not in there or key not in seen or from_item(there[key]) != from_item(dict(seen[key])):
                    self._report("not as written", key[-1], f"{key}: {there.get(key)}, but written was {seen.get(key)}")

    # ---- the schedule

    def _minute(self) -> None:
        """Once a minute: the tick, and whatever changes in the world. At the end sweeps come one after another."""
        if self.settling:
            return
        tick = datetime.fromisoformat(self.clock.began) + timedelta(minutes=self.ticks)
        self.ticks += 1
        faults = self._faults(f"minute {self.ticks}")
        due = self.began + self.setup.schedule_second / self.plan.pace.speed + self.ticks * self.plan.pace.minute
        self._tasks.after(due - time.monotonic(), self._minute)
        if not self.fault_free:
            self._change_world(faults)
        delay = faults.uniform(0.0, 3.0)
        if faults.occurs("tick_lost"):
            self._log(0, f"tick {tick:%H:%M} lost")
            return
        if faults.occurs("tick_late"):
            delay += faults.uniform(10.0, 180.0)
        self._later(delay, partial(self._invoke, tick))
        if faults.occurs("tick_doubled"):
            self._later(delay + faults.uniform(0.0, faults.choice([0.2, 2.0, 20.0, 90.0])), partial(self._invoke, tick))

    def _invoke(self, tick: datetime) -> None:
        self.invoked[tick.isoformat()] += 1
        payload = json.dumps({"scheduled_time": tick.isoformat()})
        function = self.stack.local.outputs["CheckTargetsFunction"]
        self._lambda.invoke(FunctionName=function, InvocationType="Event", Payload=payload)

    def _change_world(self, faults: Faults) -> None:
        for name in sorted(self.servers.by_target):
            if faults.occurs("server_changed"):
                self._log(0, f"{name} plays {self.servers.change(name, faults)} from now on")
            if faults.occurs("certificate_changed"):
                self.servers.renew(name, faults)
                self._log(0, f"{name} has another certificate from now on")
        if faults.occurs("storm"):
            answers = faults.uniform(0, 1) < 0.4
            for name in sorted(self.servers.by_target):
                self.servers.change(name, faults, answers=answers)
            self._log(0, f"minute: all servers {'answer' if answers else 'fail'} from now on")
        for service in self.plan.refusing:
            if faults.occurs("outage"):
                self.service_outages[service] = self.clock.now() + timedelta(seconds=faults.uniform(*OUTAGE_SECONDS))
        self._change_configuration(faults)

    def _change_configuration(self, faults: Faults) -> None:
        for name in sorted(self.configured):
            seconds = faults.uniform(0.0, MINUTE)
            if faults.occurs("config_changed"):
                self._later(seconds, partial(self._reconfigure, name, faults))
            if len(self.configured) > 2 and faults.occurs("target_removed"):
                self._later(seconds, partial(self._remove_target, name))
            elif faults.occurs("target_renamed"):
                self._later(seconds, partial(self._rename_target, name))
        for name in sorted(set(self.servers.by_target) - set(self.configured)):
            if faults.occurs("target_added"):
                self._count("target added")
                self._add_target(name, faults)
        if faults.occurs("file_imported"):
            self._later(faults.uniform(0.0, MINUTE), partial(self._import, faults))
        if faults.occurs("schedule_changed"):
            self._count("schedule changed")
            self._write_schedule(draw_schedule(self.clock.now(), faults))

    # ---- users

    def _count(self, kind: str) -> None:
        with self.lock:
            self.faults.interventions[kind] += 1

    def _add_target(self, name: str, faults: Faults) -> None:
        policy = draw_policy(name, faults, independent=self.plan.independent)
        if not self.plan.independent:
            policy = replace(draw_newer(policy, faults), max_rtt_ms=0)
        self.servers.add(name, faults)
        connection_fields = {"max_test_seconds": self.plan.pace.test, "tls": faults.choice(["none", "implicit"])}
        self._configure(name, Configured(policy, connection_fields=connection_fields))

    def _remove_target(self, name: str) -> None:
        with self.lock:
            if self.configured.pop(name, None):
                self._count("target removed")
                self._log(0, f"{name} removed")
                self.evidence.add(facts.Configured(self.evidence.order, name, self.clock.now(), None))
                self.stack.installation.target_table.write((), delete=[name])

    def _reconfigure(self, name: str, faults: Faults) -> None:
        known = self.configured.get(name)
        if known and not self.fault_free:
            others = [other for other in sorted(self.configured) if other != name and other in self.servers.by_target]
            there = Situation(self.clock.now(), faults, lambda: self._failing_since(name), others)
            kind, changed = change_mind(known, there, self._kinds, self._own_changes)
            self._count(kind)
            self._configure(name, changed)

    @property
    def _kinds(self) -> list[str]:
        """What people do to a target, each as often as it is to be drawn."""
        excluded = (*ONLY_SIMULATED, *(HOLD_LONG if self.plan.independent else ()))
        kinds = [kind for kind in (*INTERVENTIONS, *NEWER) if kind not in excluded]
        return [*kinds, *["acknowledge"] * (ACKNOWLEDGED - 1)]

    @property
    def _own_changes(self) -> dict[str, Change]:
        """The changes whose values depend on how fast real servers answer."""
        seconds = self.plan.pace.test
        return {
            "deadline changed": change_connection(max_test_seconds=(seconds, 0.75 * seconds)),
            "limits of round trips changed": change_policy(
                slow_rtt_ms=lambda policy, _: 0 if policy.slow_rtt_ms else SLOW_MS
            ),
        }

    def _rename_target(self, name: str) -> None:
        known = self.configured.get(name)
        new, renamed = rename(name, known) if known else ("", None)
        if renamed is None or new in self.configured or self.fault_free:
            return
        self._remove_target(name)
        self._count("target renamed")
        self._configure(new, renamed)

    def _import(self, faults: Faults) -> None:
        if self.fault_free:
            return
        self._count("file imported")
        imported = draw_import(faults)
        for name, known in sorted(self.configured.items()):
            self._configure(name, imported(known))

    def _write_schedule(self, windows: tuple[facts.Window, ...]) -> None:
        """Write the schedule into the defaults: it holds for whoever names it."""
        with self.lock:
            self.schedule_before, self.schedule = self.schedule, windows
            schedules = {SCHEDULE: [as_written(window) for window in windows]}
            self.stack.put_targets({"target_id": "_defaults", "schedules": schedules})
            for name, known in sorted(self.configured.items()):
                if known.scheduled:
                    self._say_configured(name, known, self.schedule, by_schedule=True)
            self._log(0, f"schedule: {windows}")

    def _failing_since(self, name: str) -> datetime | None:
        """What `popwatch ack` would write: the beginning of the outage that the record holds."""
        return self.stack.store.read_record(name).health.failing_since

    def _configure(self, name: str, known: Configured) -> None:
        server = self.servers.by_target[known.server or name]
        of_server: dict[str, object] = {"host": "127.0.0.1", "port": server.port}
        if known.connection_fields["tls"] == "implicit":
            of_server |= {"port": server.tls_port, "ca_pem": self.servers.ca_pem}
        with self.lock:
            self.configured[name] = known
            self.policies.append(known)
            self.stack.put_targets(known.item(name, len(self.policies) - 1, **of_server))
            if known.scheduled:  # a test that was planned before the schedule was last written reads it as it was
                self._say_configured(name, known, self.schedule_before)
            self._say_configured(name, known, self.schedule, by_schedule=known.scheduled)
            self._log(0, f"{name} configured: {known}")
            if known.suspended and known.suspended[1] > self.clock.now():
                seconds = (known.suspended[1] - self.clock.now() - CLOCKS_DIFFER).total_seconds()
                self._later(seconds, partial(self._resume, name, known.suspended))

    def _resume(self, name: str, suspension: facts.Window) -> None:
        """A suspension ends by itself: at some clock from now on."""
        with self.lock:
            known = self.configured.get(name)
            if known and known.suspended == suspension:
                self.configured[name] = replace(known, suspended=None)
                self._say_configured(name, self.configured[name], self.schedule)

    def _say_configured(
        self, name: str, known: Configured, schedule: Sequence[facts.Window], *, by_schedule: bool = False
    ) -> None:
        self.evidence.add(known.fact(self.evidence.order, name, self.clock.now(), schedule, by_schedule=by_schedule))

    # ---- invocations

    def _begin(self, number: int, process_id: int, tick: str, body: str) -> Invocation:
        name = f"message {zlib.crc32(body.encode()):08x}" if body else f"tick {self._minute_of(tick)}"
        faults = self._faults(name, number)
        skew = faults.uniform(-3.0, 3.0) if faults.occurs("clock_skewed") else 0.0
        begun = Invocation(number, process_id, tick or json.loads(body).get("tick", ""), body, faults, skew)
        self._log(number, f"{name}: begins in process {process_id}")
        self.evidence.add(facts.Began(self.evidence.order, number, self.clock.now()))
        if faults.occurs("killed_midway"):
            killer = Timer(
                faults.uniform(0.0, 1.0) ** 2 * self.plan.pace.times, lambda: self.register.kill(begun, "midway")
            )
            killer.daemon = True
            killer.start()
        return begun

    def _reported(self, invocation: Invocation, report: dict[str, Any]) -> None:
        self.evidence.invocation = invocation.number
        if report["what"] == "refused":
            self.evidence.on_refused(self._tables[report["table"]], report["item"])
            return
        at, tick = datetime.fromisoformat(report["at"]), datetime.fromisoformat(invocation.tick)
        for test in report["tests"]:
            self._on_test(invocation, tick, at, test)

    def _on_test(self, invocation: Invocation, tick: datetime, at: datetime, test: Mapping[str, Any]) -> None:
        name, passed, known = test["target"], test["passed"], self.policies[test["configuration"]]
        policy = known.at(at, tuple(as_read(window) for window in test["schedules"].get(SCHEDULE, ())))
        what = self.evidence.order, invocation.number, name, tick, at, policy, passed
        certificates = tuple(
            facts.Certificate(datetime.fromisoformat(expires), timedelta(seconds=seconds))
            for expires, seconds in test["certificates"]
        )
        self.evidence.add(facts.Tested(*what, rtt_ms=test["rtt_ms"] or 0.0, certificates=certificates))
        server = known.server or name
        began, timed_out = datetime.fromisoformat(test["began"]), test["timed_out"]
        self._too_busy.discard(name)
        if self.servers.was_too_busy(server, began, timed_out=timed_out):
            self._too_busy.add(name)
            self.faults.counts[TOO_BUSY] += 1
            self._log(invocation.number, f"{name} timed out, though its server answers: {TOO_BUSY}")
        if self.servers.contradict(server, began, passed=passed, timed_out=timed_out):
            self._report("wrong outcome", name, f"passed={passed}, which is not what its server did")
        if certificates and not self.servers.has_shown(server, certificates[0].expires):
            self._report("wrong certificate", name, f"{certificates[0]}, which its server did not show")

    def _ended(self, invocation: Invocation, why: str) -> None:
        self._log(invocation.number, f"ended {invocation.over} {why}")
        self.evidence.add(facts.Ended(self.evidence.order, invocation.number, invocation.over, self.clock.now()))

    # ---- calls

    def _prepare(self, invocation: Invocation, call: Call) -> Call:
        """A message's delay in real seconds; some come late, some twice."""
        if call.operation != "SendMessage":
            return call
        delay = float(call.request.get("DelaySeconds", 0))
        if invocation.faults.occurs("message_late"):
            delay += invocation.faults.uniform(5.0, 180.0)
        if invocation.faults.occurs("message_doubled"):
            again = delay + invocation.faults.uniform(0.0, 1.0) ** 3 * 120.0
            url, body = call.request["QueueUrl"], call.request["MessageBody"]
            self._sqs.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=self._real(again))
        request = {**call.request, "DelaySeconds": self._real(delay)}
        return replace(call, request=request, body=json.dumps(request).encode())

    def _took_effect(self, invocation: Invocation, call: Call, answer: Answer, answered: bool) -> None:
        self.evidence.invocation = invocation.number
        match call.operation:
            case "PutItem":
                table_name, item = self._tables[call.request["TableName"]], call.request["Item"]
                key = _key(table_name, item)
                self.evidence.on_put(table_name, item, self.mirror.get(key))
                self.mirror[key] = item
            case "DeleteItem":
                self.evidence.on_delete(call.request["Key"])
                self.mirror.pop(("Status", call.request["Key"]["target_id"]["S"]), None)
            case "SendMessage":
                self.evidence.on_send(call.request["MessageBody"])
            case "Publish":
                first = self.evidence.order
                self.evidence.on_publish(call.request, answered)
                self.message_ids |= dict.fromkeys(range(first, self.evidence.order), message_id_of(answer))

    # ---- odds and ends

    def time_of(self, seconds: float) -> datetime:
        """The time so many seconds after the beginning, by the campaign's clock."""
        return datetime.fromisoformat(self.clock.began) + timedelta(seconds=seconds)

    def _minute_of(self, tick: str) -> int:
        """Which minute of the campaign a tick is: its faults are drawn by that, at any time of day."""
        return round((datetime.fromisoformat(tick) - datetime.fromisoformat(self.clock.began)) / timedelta(minutes=1))

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        self._tasks.after(seconds / self.plan.pace.speed, do)

    def _real(self, seconds: float) -> int:
        """A delay in whole real seconds, which is what SQS takes."""
        return ceil(max(0.0, seconds) / self.plan.pace.speed)

    def _faults(self, scope: str, process: int = 0) -> Faults:
        with self.lock:
            self.scopes[scope] += 1
            name = f"{scope}#{self.scopes[scope]}"
        return Faults(self.faults, name, self.plan.seed, lambda what: self._log(process, f"{scope}: {what}"))

    def _log(self, process: int, what: str) -> None:
        self.trace.append((self.clock.now(), process, what))

    def _report(self, kind: str, target: str, text: str) -> None:
        self.findings.append(Finding(kind, len(self.evidence.facts), target, text))


def _key(table_name: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("target_id",) if table_name == "Status" else ("pk", "sk")
    return (table_name, *(item[name]["S"] for name in names))
