"""One simulated installation: a schedule, a queue, servers and users that change, and popwatch's code.

The code under test is `popwatch.sweep.sweep` with all that it uses. Its dependencies are real but for the prober, whose
servers are simulated, and the clients below them.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.items import to_item
from popwatch.aws.store import Store
from popwatch.aws.store import Tables as TableNames
from popwatch.config import Settings
from popwatch.decisions.batches import Work, from_message
from popwatch.model.outcomes import Certificate, ErrorCode, Outcome, Phase, Role
from popwatch.model.targets import Target
from popwatch.prober.loop import Prober
from popwatch.sweep.batch_tester import UnfinishedError
from popwatch.sweep.sweep import Dependencies, Sweep
from tests.chaos import facts
from tests.chaos.aws import AwsTransport, DynamoDB, Sns, Sqs
from tests.chaos.engine import Engine, Killed, Process, Threads
from tests.chaos.evidence import Evidence
from tests.chaos.faults import NO_FAULTS, OUTAGE_SECONDS, FaultLog, Faults, Rates
from tests.chaos.people import (
    INTERVENTIONS,
    ONLY_SIMULATED,
    SCHEDULE,
    Configured,
    Situation,
    as_read,
    as_written,
    change_mind,
    draw_newer,
    draw_policy,
)
from tests.chaos.tables import Tables

BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)
MINUTE = 60.0
CLOCKS_DIFFER = timedelta(seconds=4)
FUNCTION_SECONDS = 120.0
RESERVE_SECONDS = 20.0
VISIBILITY_SECONDS = 720.0
RECEIVES = 3
"""From template.yaml: the function's timeout, the queue's visibility timeout and its `maxReceiveCount`."""

NAMES = TableNames(
    "Targets", "Status", "History", samples_kept=timedelta(days=36_500), history_kept=timedelta(days=36_500)
)
DOMAIN = ".example.net"
RENAMED = "-renamed"
WITHOUT_FAULTS = 0.15
"""The share of installations in which nothing goes wrong."""

ROUND_TRIPS = (12.5, 12.5, 80.0, 900.0, 2600.0)
LIFETIMES = tuple(timedelta(days=days) for days in (2, 6, 45, 90, 398))
FAILURES = (
    (ErrorCode.TIMED_OUT, Phase.GREETING, "no-greeting", 0.0),
    (ErrorCode.CANNOT_CONNECT, Phase.CONNECT, "refused", 0.02),
    (ErrorCode.DISCONNECTED, Phase.GREETING, "closed", 0.3),
    (ErrorCode.PROTOCOL, Phase.GREETING, "smtp-greeting", 0.2),
    (ErrorCode.CANNOT_CONNECT, Phase.CONNECT, "connect-timed-out", 0.0),
)
"""With the seconds that each takes; 0 is the deadline of the test."""


@dataclass(frozen=True, slots=True)
class WorldSetup:
    """The parameters of an installation: its size, limits and fault rates."""

    targets: int
    storm_threshold: int
    largest_batch: int
    page_bytes: int
    schedule_second: float
    latency: float
    rates: Rates

    @classmethod
    def draw(cls, random: Random) -> "WorldSetup":
        """One of many."""
        targets = random.choice([3, 5, 8, 12])
        setup = cls(
            targets,
            storm_threshold=random.choice([1, 2, 10]),
            largest_batch=random.choice([800, 800, 2, 4]),
            page_bytes=random.choice([1_048_576, 1_048_576, 1500]),
            schedule_second=random.uniform(0, 55),
            latency=random.choice([0.004, 0.004, 0.05, 0.4]),
            rates=Rates().draw(random),
        )
        return replace(setup, rates=setup.rates.without_faults()) if random.random() < WITHOUT_FAULTS else setup

    def with_fault_rates(self, fault_rates: Mapping[str, float]) -> "WorldSetup":
        """The same, with some fault rates, or the latency, as given in `fault_rates`."""
        rates = {name: rate for name, rate in fault_rates.items() if name != "latency"}
        return replace(self, rates=replace(self.rates, **rates), latency=fault_rates.get("latency", self.latency))


@dataclass(slots=True)
class Server:
    """A POP3 server as it is now."""

    answers: bool = True
    failure: int = 0
    rtt_ms: float = 12.5
    address: str = "192.0.2.7"
    failed_addresses: tuple[str, ...] = ()
    """Beside the one that answers."""
    certificates: tuple[facts.Certificate, ...] = ()

    def passes(self, policy: facts.Policy) -> bool:
        """Whether a test of it passes."""
        return self.answers and not 0 < policy.max_rtt_ms < self.rtt_ms


class SimulatedProber(Prober):
    """Tests simulated servers: an outcome arrives when the server has answered or the test's time is over."""

    def __init__(self, world: "World", process: Process, tick: Callable[[], datetime]) -> None:
        self._world, self._process, self._tick = world, process, tick

    def run(
        self, targets: Iterable[Target], *, end_by: float | None = None
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        """Test them all at once; an empty list at least once a second, as the real one yields."""
        begun, engine = self._process.engine.now, self._process.engine
        planned: list[tuple[float, int, Target]] = []
        for index, target in enumerate(targets):
            if end_by is None or begun + target.max_test_seconds <= end_by:
                planned.append((begun + self._world.test_seconds(target), index, target))
        planned.sort()
        while planned:
            self._process.sleep(min(1.0, max(0.0, planned[0][0] - engine.now)))
            arrived = [target for time, _, target in planned if time <= engine.now]
            planned = planned[len(arrived) :]
            began = self._world.clock_of(self._process, begun)
            yield [(target, self._world.test(self._process, target, self._tick(), began)) for target in arrived]


def server_of(target: Target) -> str:
    """The name of a target's server."""
    return target.host.removesuffix(DOMAIN)


@dataclass(frozen=True, slots=True)
class Code:
    """The code under test; a test plants its bugs here, or an older version's classes (see `versions`)."""

    store: Callable[..., Store] = Store
    alert_topics: Callable[[Any, str, str], AlertTopics] = AlertTopics
    batch_queue: type[BatchQueue] = BatchQueue
    sweep: type[Sweep] = Sweep
    dependencies: Callable[..., Dependencies] = field(default=partial(Dependencies, count_due=lambda *_: None))
    settings: Callable[..., Settings] = Settings
    read: Callable[[str], Work] = from_message
    unfinished: type[Exception] = UnfinishedError


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Another version that runs at first, and beside the code under test from one hour until another."""

    code: Code
    begins: float
    ends: float

    def old_at(self, hour: float, faults: Faults) -> bool:
        """Whether an invocation that begins then is one of the other version."""
        return hour < self.begins or (hour < self.ends and faults.uniform(0, 1) < 0.5)


@dataclass(slots=True)
class World:
    """The installation, and the chaos around it."""

    seed: str
    excluded: Collection[str] = ()
    code: Code = field(default_factory=Code)
    fault_rates: Mapping[str, float] = field(default_factory=dict)
    upgrade: Upgrade | None = None
    evidence: Evidence = field(init=False)
    engine: Engine = field(init=False)
    faults: FaultLog = field(init=False)
    setup: WorldSetup = field(init=False)
    tables: Tables = field(init=False)
    servers: dict[str, Server] = field(default_factory=dict)
    configured: dict[str, Configured] = field(default_factory=dict)
    policies: list[Configured] = field(default_factory=list)
    service_outages: dict[str, float] = field(default_factory=dict)
    schedule: tuple[facts.Window, ...] = ()
    trace: list[tuple[datetime, int, str]] = field(default_factory=list)
    scopes: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    invocations: int = 0
    old_processes: set[int] = field(default_factory=set)
    fault_free: bool = False

    def __post_init__(self) -> None:
        random = Random(self.seed)
        self.setup = WorldSetup.draw(random).with_fault_rates(self.fault_rates)
        self.engine = Engine()
        self.faults = FaultLog(self.setup.rates, self.excluded)
        self.evidence = Evidence(self.now)
        self.tables = Tables(self.setup.page_bytes)
        self._write_schedule(())
        for number in range(self.setup.targets):
            self._add_target(f"mail-{number}", self._faults(f"target {number}"))
        self.engine.at(self.setup.schedule_second, self._minute)

    def now(self) -> datetime:
        """The true time."""
        return self.time_of(self.engine.now)

    @staticmethod
    def time_of(seconds: float) -> datetime:
        """Simulated seconds as a time."""
        return BEGIN + timedelta(seconds=round(seconds, 3))

    def run(self, hours: float, calm_hours: float) -> None:
        """Chaos, then a fault-free period; at its end every target must be as its server is."""
        self.engine.run(self.engine.now + hours * 60 * MINUTE)
        began = self.engine.now
        self.fault_free, self.faults.rates = True, NO_FAULTS
        self.service_outages.clear()
        self.engine.run(began + calm_hours * 60 * MINUTE)
        servers = {name: self._at_last(name, known) for name, known in self.configured.items()}
        self.evidence.add(facts.FaultFree(self.evidence.order, self.now(), self.time_of(began), servers))
        self.fault_free, self.faults.rates = False, self.setup.rates

    def _at_last(self, name: str, known: Configured) -> tuple[facts.Policy, bool]:
        policy = known.at_last(self.now(), self.schedule)
        return policy, self.servers[known.server or name].passes(policy)

    def close(self) -> None:
        """Let go of whatever still waits in it."""
        self.engine.close()

    # ---- servers

    def test_seconds(self, target: Target) -> float:
        """How long a test of a target takes now: a silent server until the deadline."""
        server = self.servers[server_of(target)]
        return 0.05 if server.answers else FAILURES[server.failure][3] or target.max_test_seconds

    def test(self, process: Process, target: Target, tick: datetime, began: datetime) -> Outcome:
        """The outcome of a test that began then by the process's clock, by what the server does now."""
        server = self.servers[server_of(target)]
        known, older = self.policies[int(target.tags[0])], process.number in self.old_processes
        schedules: Any = getattr(target, "schedules", {})  # the older version has none
        schedule = tuple(as_read(window) for window in schedules.get(SCHEDULE, ()))
        # The older version applies a silence by the tick, this one by the time at which the test began.
        policy, order = known.at(tick if older else began, schedule), self.evidence.order
        passed = server.passes(policy)
        failed_addresses = server.failed_addresses if policy.all_addresses else ()
        certificates = server.certificates if known.connection_fields.get("tls") == "implicit" else ()
        self.evidence.add(
            facts.Tested(
                order,
                process.number,
                target.target_id,
                tick,
                began,
                policy,
                passed=passed,
                older=older,
                rtt_ms=server.rtt_ms,
                address=server.address,
                failed_addresses=len(failed_addresses),
                certificates=certificates,
            )
        )
        if passed:
            return Outcome(
                began,
                Phase.QUIT,
                rtt_ms=server.rtt_ms,
                address=server.address,
                failed_addresses=failed_addresses,
                certificates=tuple(
                    Certificate(role, f"{server_of(target)} {role}", one.expires, one.lifetime)
                    for role, one in zip(Role, certificates, strict=False)
                ),
                certificate_expires=min((one.expires for one in certificates), default=None),
            )
        slow = ErrorCode.TIMED_OUT, Phase.GREETING, "too-slow", 0.0
        error, phase, reason, _ = slow if server.answers else FAILURES[server.failure]
        return Outcome(began, phase, error=error, reason=reason, detail="Simulated.", address=server.address)

    # ---- the schedule

    def _minute(self) -> None:
        """Once a minute: the tick, and whatever changes in the world."""
        tick = BEGIN + timedelta(minutes=self.ticks)
        self.ticks += 1
        self.engine.at(self.engine.now + MINUTE, self._minute)
        faults = self._faults(f"minute {tick:%d %H:%M}")
        if not self.fault_free:
            self._change_world(faults)
        delay = faults.uniform(0.0, 3.0)
        if faults.occurs("tick_lost"):
            self._log(0, f"tick {tick:%H:%M} lost")
            return
        if faults.occurs("tick_late"):
            delay += faults.uniform(10.0, 300.0)
        self.engine.at(self.engine.now + delay, lambda: self._invoke_tick(tick))
        if faults.occurs("tick_doubled"):
            again = delay + faults.uniform(0.0, faults.choice([0.2, 2.0, 20.0, 90.0]))
            self.engine.at(self.engine.now + again, lambda: self._invoke_tick(tick))

    def _change_world(self, faults: Faults) -> None:
        self._change_servers(faults)
        for service in ("dynamodb", "sns", "sqs"):
            if faults.occurs("outage"):
                self.service_outages[service] = self.engine.now + faults.uniform(*OUTAGE_SECONDS)
        for name in sorted(self.configured):
            time = self.engine.now + faults.uniform(0.0, MINUTE)
            if faults.occurs("config_changed"):
                self.engine.at(time, partial(self._reconfigure, name, faults))
            if len(self.configured) > 2 and faults.occurs("target_removed"):
                self.engine.at(time, partial(self._remove_target, name))
            elif faults.occurs("target_renamed"):
                self.engine.at(time, partial(self._rename_target, name))
        for name in sorted(set(self.servers) - set(self.configured)):
            if faults.occurs("target_added"):
                self._count("target added")
                self._add_target(name, faults)
        if faults.occurs("file_imported"):
            self.engine.at(self.engine.now + faults.uniform(0.0, MINUTE), partial(self._import, faults))
        if faults.occurs("schedule_changed"):
            begin = self.now() + timedelta(minutes=faults.choice([0, 4, 8]))
            self._count("schedule changed")
            self._write_schedule(((begin, begin + timedelta(minutes=faults.choice(range(2, 15)))),))

    def _change_servers(self, faults: Faults) -> None:
        for name in sorted(self.servers):
            if faults.occurs("server_changed"):
                self._change_server(name, faults)
        if faults.occurs("storm"):
            answers = faults.uniform(0, 1) < 0.3
            for name, server in sorted(self.servers.items()):
                if server.answers is not answers:
                    self._change_answers(name, answers=answers)
            self._log(0, f"minute: all servers {'answer' if answers else 'fail'} from now on")
        for name, server in sorted(self.servers.items()):
            self._change_more(name, server, faults)

    def _change_server(self, name: str, faults: Faults) -> None:
        server = self.servers[name]
        self._change_answers(name, answers=not server.answers)
        server.failure = faults.choice(range(len(FAILURES)))
        self._log(0, f"{name} {'answers' if server.answers else 'fails'} from now on")

    def _change_answers(self, name: str, *, answers: bool) -> None:
        self.servers[name].answers = answers
        self.evidence.add(facts.ServerChanged(self.evidence.order, name, answers))

    def _change_more(self, name: str, server: Server, faults: Faults) -> None:
        """What a server that answers shows: how fast it is, at which addresses, with which certificates."""
        if faults.occurs("round_trips_changed"):
            server.rtt_ms = faults.choice(ROUND_TRIPS)
        if faults.occurs("addresses_changed"):
            server.address = faults.choice(["192.0.2.7", "192.0.2.9"])
            server.failed_addresses = ("192.0.2.8: refused",) if faults.uniform(0, 1) < 0.6 else ()
        if faults.occurs("certificate_changed") or not server.certificates:
            lifetimes = [faults.choice(LIFETIMES) for _ in range(faults.choice([1, 2, 2]))]
            server.certificates = tuple(
                facts.Certificate(self.now().replace(microsecond=0) + lifetime * faults.uniform(0.05, 1), lifetime)
                for lifetime in lifetimes
            )
            self._log(0, f"{name} has other certificates from now on")

    # ---- users

    def _add_target(self, name: str, faults: Faults) -> None:
        self.servers.setdefault(name, Server())
        independent = self.upgrade is not None  # the older version knows neither flapping nor parents
        policy = draw_policy(name, faults, independent=independent)
        if independent:
            self._configure(name, Configured(policy))
        else:
            connection_fields = {"tls": faults.choice(["none", "implicit"])}
            self._configure(name, Configured(draw_newer(policy, faults), connection_fields=connection_fields))

    def _remove_target(self, name: str) -> None:
        if self.configured.pop(name, None):
            self._count("target removed")
            self._log(0, f"{name} removed")
            self.evidence.add(facts.Configured(self.evidence.order, name, self.now(), None))
            table = self.tables.by_name["Targets"]
            table.delete((name, ""), self.engine.now)

    def _reconfigure(self, name: str, faults: Faults) -> None:
        known = self.configured.get(name)
        if known is None:
            return
        others = [other for other in sorted(self.configured) if other != name and other in self.servers]
        there = Situation(self.now(), faults, lambda: self._failing_since(name), others)
        kind, changed = change_mind(known, there, (*INTERVENTIONS, *([] if self.upgrade else ONLY_SIMULATED)))
        self._count(kind)
        self._configure(name, changed)

    def _rename_target(self, name: str) -> None:
        """Another id for the same server: what is state, a silence or an acknowledgement, does not go with it."""
        known = self.configured.get(name)
        new = name.removesuffix(RENAMED) if name.endswith(RENAMED) else name + RENAMED
        if known is None or new in self.configured:
            return
        self._remove_target(name)
        self._count("target renamed")
        policy = replace(known.policy, acknowledged=None)
        renamed = replace(known, policy=policy, silence=None, suspended=None, server=known.server or name)
        self._configure(new, renamed)

    def _import(self, faults: Faults) -> None:
        """A file sets a field of all targets, and leaves silences and acknowledgements alone."""
        self._count("file imported")
        failures, seconds = faults.choice([1, 2, 3]), faults.choice([30, 60, 120])
        for name, known in sorted(self.configured.items()):
            policy = replace(known.policy, failures_per_alert=failures, delay_down=seconds)
            self._configure(name, replace(known, policy=policy))

    def _write_schedule(self, windows: tuple[facts.Window, ...]) -> None:
        """Write the schedule into the defaults: it holds for whoever names it."""
        if self.upgrade:
            return
        self.schedule = windows
        item = {"target_id": "_defaults", "schedules": {SCHEDULE: [as_written(window) for window in windows]}}
        self.tables.by_name["Targets"].put(to_item(item), self.engine.now)
        for name, known in sorted(self.configured.items()):
            if known.scheduled:
                self._say_configured(name, known, by_schedule=True)
        self._log(0, f"schedule: {windows}")

    def _count(self, kind: str) -> None:
        self.faults.interventions[kind] += 1

    def _failing_since(self, name: str) -> datetime | None:
        """What `popwatch ack` would write: the beginning of the outage that the record holds."""
        item = self.tables.by_name["Status"].items.get((name, ""))
        since = item["health"]["M"].get("failing_since") if item and "health" in item else None
        return datetime.fromisoformat(since["S"]) if since else None

    def _configure(self, name: str, known: Configured) -> None:
        """Write the target as its user would."""
        self.configured[name] = known
        self.policies.append(known)
        item = to_item(known.item(name, len(self.policies) - 1, host=f"{known.server or name}{DOMAIN}"))
        self.tables.by_name["Targets"].put(item, self.engine.now)
        self._say_configured(name, known)
        self._log(0, f"{name} configured: {known}")
        if known.suspended and known.suspended[1] > self.now():
            ends = self.engine.now + (known.suspended[1] - self.now() - CLOCKS_DIFFER) / timedelta(seconds=1)
            self.engine.at(ends, partial(self._resume, name, known.suspended))

    def _resume(self, name: str, suspension: facts.Window) -> None:
        """A suspension ends by itself: at some clock from now on."""
        known = self.configured.get(name)
        if known and known.suspended == suspension:
            self.configured[name] = replace(known, suspended=None)
            self._say_configured(name, self.configured[name])

    def _say_configured(self, name: str, known: Configured, *, by_schedule: bool = False) -> None:
        windows = known.windows(self.schedule)
        self.evidence.add(
            facts.Configured(
                self.evidence.order,
                name,
                self.now(),
                replace(known.policy, enabled=known.is_enabled(self.now())),
                windows,
                by_schedule=by_schedule,
                server=known.server or name,
                connection_fields=tuple(sorted(known.connection_fields.items())),
            )
        )

    # ---- invocations

    def _invoke_tick(self, tick: datetime) -> None:
        self._invoke(
            f"tick {tick:%d %H:%M}",
            lambda sweep, _, ticks: self._do_tick(sweep, tick, ticks),
            lambda _: None,
        )

    def _do_tick(self, sweep: Sweep, tick: datetime, ticks: list[datetime]) -> int:
        ticks.append(tick)
        return _undelivered(sweep.run_tick(tick))

    def _enqueue(self, body: str, delay: float) -> None:
        """SQS keeps a message, at least once, and hands it over some time after its delay."""
        sent_at = self.now()
        faults = self._faults(f"sent message {zlib.crc32(body.encode()):08x}")
        if faults.occurs("message_late"):
            delay += faults.uniform(5.0, 300.0)
        self.engine.at(self.engine.now + delay + faults.uniform(0.01, 0.5), lambda: self._receive(body, sent_at, 1))
        if faults.occurs("message_doubled"):
            again = delay + faults.uniform(0.0, 1.0) ** 3 * 240.0
            self.engine.at(self.engine.now + again, lambda: self._receive(body, sent_at, 1))

    def _receive(self, body: str, sent_at: datetime, receives: int) -> None:
        """The event source mapping hands a message over; one that was not done comes again, thrice in all."""

        def ended(how: str) -> None:
            if how != "well" and receives < RECEIVES:
                again = self.engine.now + VISIBILITY_SECONDS
                self.engine.at(again, lambda: self._receive(body, sent_at, receives + 1))

        name = f"message {zlib.crc32(body.encode()):08x}"
        self._invoke(name, lambda sweep, code, ticks: self._do_message(sweep, code.read(body), sent_at, ticks), ended)

    def _do_message(self, sweep: Sweep, work: Any, sent_at: datetime, ticks: list[datetime]) -> int:
        if hasattr(work, "hour"):
            sweep.run_hour(work)
            return 0
        ticks.append(work.tick)
        # The older version takes a batch alone.
        return _undelivered(sweep.run_batch(work, *([sent_at] if hasattr(work, "delay_seconds") else [])))

    def _invoke(
        self, name: str, do: Callable[[Sweep, Code, list[datetime]], int], ended: Callable[[str], None]
    ) -> None:
        """Begin an invocation. It ends well, by an error, by its death, or is killed when its time is over."""
        self.invocations += 1
        process = Process(self.engine, self.invocations)
        faults = self._faults(name, process.number)
        process.skew = faults.uniform(-3.0, 3.0) if faults.occurs("clock_skewed") else 0.0
        over: list[str] = []

        def end(how: str, why: str = "") -> None:
            if over:
                return
            over.append(how)
            process.dead = how == "killed"
            self._log(process.number, f"{name}: ended {how} {why}")
            self.evidence.add(facts.Ended(self.evidence.order, process.number, how, self.now()))
            ended(how)

        def main() -> None:
            ticks: list[datetime] = []
            code = self.upgrade.code if self.upgrade and old else self.code
            if old:
                self.old_processes.add(process.number)
                self._log(process.number, f"{name}: by the older version")
            sweep = self._sweep(process, code, faults, ticks, lambda why: end("killed", why))
            try:
                pending = do(sweep, code, ticks)
            except Killed:
                return
            except (BotoCoreError, ClientError, code.unfinished) as error:
                end("error", str(error))
            else:
                end("error" if pending else "well")

        old = bool(self.upgrade and self.upgrade.old_at(self.engine.now / 3600, faults))
        self._log(process.number, f"{name}: begins")
        self.evidence.add(facts.Began(self.evidence.order, process.number, self.now(), older=old))
        self.engine.at(self.engine.now + FUNCTION_SECONDS, lambda: end("killed", "at its timeout"))
        self.engine.spawn(main)

    def _sweep(
        self, process: Process, code: Code, faults: Faults, ticks: list[datetime], died: Callable[[str], None]
    ) -> Sweep:
        transport = AwsTransport(process, faults, self.evidence, self.service_outages, died, latency=self.setup.latency)
        clock: Callable[[], datetime] = lambda: self.clock_of(process, self.engine.now)  # noqa: E731
        dynamodb = cast(Any, DynamoDB(transport, self.tables))
        dependencies = code.dependencies(
            code.store(dynamodb, NAMES, clock),
            SimulatedProber(self, process, lambda: ticks[-1]),
            code.alert_topics(cast(Any, Sns(transport)), "topic", "sms-topic"),
            code.batch_queue(cast(Any, Sqs(transport, self._enqueue)), "queue"),
            threads=lambda: Threads(process),
        )
        settings = code.settings(
            "Targets",
            "Status",
            "History",
            "topic",
            "queue",
            "sms-topic",
            storm_threshold=self.setup.storm_threshold,
            function_timeout_seconds=int(FUNCTION_SECONDS),
            largest_batch=self.setup.largest_batch,
        )
        end_by = self.engine.now + FUNCTION_SECONDS - RESERVE_SECONDS
        return code.sweep(dependencies, settings, writer=f"invocation-{process.number}", end_by=end_by, clock=clock)

    def clock_of(self, process: Process, seconds: float) -> datetime:
        """What a process's clock says at a time, in simulated seconds."""
        return self.time_of(seconds + process.skew)

    def _faults(self, scope: str, process: int = 0) -> Faults:
        """The faults of something; a number makes them different from others of the same name."""
        self.scopes[scope] += 1
        return Faults(
            self.faults,
            f"{scope}#{self.scopes[scope]}",
            self.seed,
            lambda what: self._fault(process, scope, what),
        )

    def _fault(self, process: int, scope: str, what: str) -> None:
        self.evidence.add(facts.Failed(self.evidence.order, what, self.now()))
        self._log(process, f"{scope}: {what}")

    def _log(self, process: int, what: str) -> None:
        self.trace.append((self.now(), process, what))


def _undelivered(report: Any) -> int:
    """How many deliveries AWS refused; the older version's report has another name for it."""
    return int(getattr(report, "undelivered", 0) or getattr(report, "owed", 0))
