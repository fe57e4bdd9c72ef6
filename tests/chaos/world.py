"""One simulated installation: a schedule, a queue, servers and users that change, and popwatch's code.

The code under test is `popwatch.sweep.sweep` with all that it uses. Its dependencies are real but for the prober, whose
servers are simulated, and the clients below them.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Self, cast

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.items import to_item
from popwatch.aws.store import Store
from popwatch.aws.store import Tables as TableNames
from popwatch.config import Settings
from popwatch.decisions.batches import Work, from_message
from popwatch.model.credentials import Credential
from popwatch.model.outcomes import Certificate, ErrorCode, Outcome, Phase, Role
from popwatch.model.posture import Posture
from popwatch.model.targets import Target
from popwatch.prober.loop import MayLogIn, Prober
from popwatch.sweep.batch_tester import UnfinishedError
from popwatch.sweep.sweep import Dependencies, Sweep
from popwatch_cli.doctor.rules.dead_letters import RedriveAction, plan_redrive, read_dead_letter
from tests.chaos import accounts, facts, postures
from tests.chaos.accounts import Environment, Login, Mailboxes, ParameterStore, SimulatedLogins
from tests.chaos.aws import AwsTransport, DynamoDB, Sns, Sqs
from tests.chaos.engine import Engine, Killed, Process, Threads
from tests.chaos.evidence import Evidence
from tests.chaos.faults import NO_FAULTS, OUTAGE_SECONDS, FaultLog, Faults, Rates
from tests.chaos.people import (
    CLOCKS_DIFFER,
    INTERVENTIONS,
    NEWER,
    OF_LOGINS,
    SCHEDULE,
    Configured,
    Situation,
    as_read,
    as_written,
    change_mind,
    draw_import,
    draw_login,
    draw_newer,
    draw_policy,
    draw_schedule,
    rename,
)
from tests.chaos.tables import Tables

BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)
MINUTE = 60.0
FUNCTION_SECONDS = 120.0
RESERVE_SECONDS = 20.0
VISIBILITY_SECONDS = 720.0
RECEIVES = 3
"""From template.yaml: the function's timeout, the queue's visibility timeout and its `maxReceiveCount`."""

NAMES = TableNames(
    "Targets", "Status", "History", samples_kept=timedelta(days=36_500), history_kept=timedelta(days=36_500)
)
DOMAIN = ".example.net"
WITHOUT_FAULTS = 0.15
"""The share of installations in which nothing goes wrong."""

WITH_LOGINS = 0.5
"""The share of installations with targets that log in."""

BUSY_AFTERWARDS = 0.6
"""How likely a server that let no one in says next that a mailbox is in use, or that it is too soon: neither shows that
its outage has ended."""

ROUND_TRIPS = (12.5, 12.5, 80.0, 900.0, 2600.0)
LOOP_SECONDS = 0.2
"""How often the prober asks again whether a test may log in that waits."""

FAULTS_OF_LOGINS = ("parameters_unavailable", "parameters_denied")
SELDOM = {"login_changed": 0.012, "password_changed": 0.001, "credential_changed": 0.001}
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
    quiet: bool = False
    """Whether nothing goes wrong."""

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
        if random.random() < WITHOUT_FAULTS:
            return replace(setup, rates=setup.rates.without_faults(), quiet=True)
        return setup

    def with_logins(self, random: Random) -> "WorldSetup":
        """The same where targets log in; where nothing goes wrong servers change seldom, and people do little."""
        rates = self.rates.with_logins(random)
        if self.quiet:
            rates = replace(rates, **dict.fromkeys(FAULTS_OF_LOGINS, 0.0), **SELDOM)
        return replace(self, rates=rates)

    def of_days(self, random: Random) -> "WorldSetup":
        """The same where postures are tested: seldom several messages at once, so hardly any summaries."""
        rates = postures.rates_of_days(self.rates, random, quiet=self.quiet)
        return replace(self, rates=rates, targets=random.choice([8, 10]), storm_threshold=10)

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
    mailboxes: Mailboxes = field(default_factory=Mailboxes)
    offered: postures.Offered = field(default_factory=postures.Offered)

    def passes(self, policy: facts.Policy) -> bool:
        """Whether a test of it passes that does not log in."""
        return self.answers and not 0 < policy.max_rtt_ms < self.rtt_ms


@dataclass(slots=True)
class TestUnderWay:
    """A test of the prober: when it ends, and what its login came to if it logs in."""

    ends: float
    index: int
    target: Target
    begun: float
    login: Login | None = None


class SimulatedProber(Prober):
    """Tests simulated servers: an outcome arrives when the server has answered or the test's time is over."""

    def __init__(self, world: "World", process: Process, tick: Callable[[], datetime]) -> None:
        self._world, self._process, self._tick = world, process, tick
        self._credentials, self._may_log_in = {}, None

    def with_credentials(self, credentials: Mapping[str, Credential], may_log_in: MayLogIn | None = None) -> Self:
        """The same, which logs in; the order of logins goes by simulated time."""
        cast(Any, may_log_in).__self__._monotonic = lambda: self._process.engine.now
        return super().with_credentials(credentials, may_log_in)

    def run(
        self, targets: Iterable[Target], *, end_by: float | None = None
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        """Test them all at once, but those whose login waits; an empty list at least once a second, as the real one."""
        engine = self._process.engine
        held = list(enumerate(targets))
        under_way: list[TestUnderWay] = []
        while held or under_way:
            left = []
            for index, target in held:
                if end_by is not None and engine.now + target.max_test_seconds > end_by:
                    continue
                may = self._may(target)
                if may is None:
                    left.append((index, target))
                else:
                    under_way.append(self._begin(index, target, logs_in=may))
            held = left
            under_way.sort(key=lambda test: (test.ends, test.index))
            next_end = under_way[0].ends - engine.now if under_way else 1.0
            self._process.sleep(min(LOOP_SECONDS if held else 1.0, max(0.0, next_end)))
            ended = [test for test in under_way if test.ends <= engine.now]
            under_way = under_way[len(ended) :]
            yield [(test.target, self._world.test(self._process, test, self._tick())) for test in ended]

    def _may(self, target: Target) -> bool | None:
        """Whether a test begins with a login, or without one; None if it waits."""
        if self._may_log_in is None or target.target_id not in self._credentials:
            return False
        return self._may_log_in(target.target_id)

    def _begin(self, index: int, target: Target, *, logs_in: bool) -> TestUnderWay:
        now, seconds = self._process.engine.now, self._world.test_seconds(target)
        login = self._world.log_in(self._process, target, self._credentials[target.target_id]) if logs_in else None
        if login:
            seconds = min(login.seconds or target.max_test_seconds, target.max_test_seconds)
        return TestUnderWay(now + seconds, index, target, now, login)


def is_used(known: Configured, credential: str) -> bool:
    """Whether a target that is configured so logs in with a credential."""
    return known.policy.login == credential


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
    days: bool = False
    """Whether postures are tested, for which it takes days."""
    evidence: Evidence = field(init=False)
    engine: Engine = field(init=False)
    faults: FaultLog = field(init=False)
    setup: WorldSetup = field(init=False)
    tables: Tables = field(init=False)
    servers: dict[str, Server] = field(default_factory=dict)
    configured: dict[str, Configured] = field(default_factory=dict)
    policies: list[Configured] = field(default_factory=list)
    service_outages: dict[str, float] = field(default_factory=dict)
    dead_letters: list[str] = field(default_factory=list)
    """The messages that were received three times, and not done."""
    schedule: tuple[facts.Window, ...] = ()
    schedule_before: tuple[facts.Window, ...] = ()
    trace: list[tuple[datetime, int, str]] = field(default_factory=list)
    scopes: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    invocations: int = 0
    logins: bool = False
    passwords: dict[str, str] = field(default_factory=dict)
    """That of each user."""
    credentials_stored: int = 0
    parameters: ParameterStore = field(init=False)
    environments: list[Environment] = field(default_factory=list)
    """Those of the function in which no invocation is under way."""
    in_use: dict[int, Environment] = field(default_factory=dict)
    """The others, by the numbers of their invocations."""
    old_processes: set[int] = field(default_factory=set)
    fault_free: bool = False

    def __post_init__(self) -> None:
        random = Random(self.seed)
        self.setup = WorldSetup.draw(random)
        of_logins = Random(f"{self.seed} logins")
        self.logins = self.upgrade is None and not self.days and of_logins.random() < WITH_LOGINS
        if self.logins:
            self.setup = self.setup.with_logins(of_logins)
        if self.days:
            self.setup = self.setup.of_days(Random(f"{self.seed} days"))
        self.setup = self.setup.with_fault_rates(self.fault_rates)
        self.engine = Engine()
        self.faults = FaultLog(self.setup.rates, self.excluded)
        self.evidence = Evidence(self.now)
        self.tables = Tables(self.setup.page_bytes)
        self.parameters = ParameterStore(self.now)
        self._write_schedule(())
        if self.logins:
            for name in accounts.NAMES:
                self._change_password(name)
                self._store_credential(name)
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
        if self.logins:
            self._begin_calm_logins()
        self._redrive()
        self.engine.run(began + calm_hours * 60 * MINUTE)
        servers = {name: self._at_last(name, known) for name, known in self.configured.items()}
        self.evidence.add(facts.FaultFree(self.evidence.order, self.now(), self.time_of(began), servers))
        self.fault_free, self.faults.rates = False, self.setup.rates

    def _redrive(self) -> None:
        """Empty the dead-letter queue as `popwatch doctor --redrive` does: its alarm has rung."""
        letters, self.dead_letters = self.dead_letters, []
        for body in letters:
            if plan_redrive(read_dead_letter(body, {}), None, self.now()).action is RedriveAction.SEND:
                self._enqueue(body, 0)

    def _at_last(self, name: str, known: Configured) -> tuple[facts.Policy, bool | None]:
        policy, server = known.at_last(self.now(), self.schedule), self.servers[known.server or name]
        if policy.login and server.passes(policy) and not self._all_log_in(policy.login):
            return policy, None
        return policy, server.passes(policy)

    def _all_log_in(self, credential: str) -> bool:
        """Whether all servers that a credential is used at let it in."""
        using = [self.servers[one.server or name] for name, one in self.configured.items() if is_used(one, credential)]
        return all(it.mailboxes == Mailboxes(codes=it.mailboxes.codes) for it in using)

    def close(self) -> None:
        """Let go of whatever still waits in it."""
        self.engine.close()

    # ---- servers

    def test_seconds(self, target: Target) -> float:
        """How long a test of a target takes now: a silent server until the deadline."""
        server = self.servers[server_of(target)]
        return 0.05 if server.answers else FAILURES[server.failure][3] or target.max_test_seconds

    def log_in(self, process: Process, target: Target, credential: Credential) -> Login | None:
        """What a login comes to that begins now, for which the server must greet."""
        name = server_of(target)
        server = self.servers[name]
        if not server.answers:
            return None
        login = accounts.log_in(credential, self.passwords, server.mailboxes)
        what = process.number, target.target_id, name, credential.name, login.number, login.right, login.answer
        seconds = login.seconds or target.max_test_seconds
        self.evidence.add(facts.LoginTried(self.evidence.order, *what, server.mailboxes.codes, seconds))
        self._log(process.number, f"{target.target_id} logs in with {credential.name} {login.number}: {login.answer}")
        return login

    def test(self, process: Process, test: TestUnderWay, tick: datetime) -> Outcome:
        """The outcome of a test that has ended, by what the server does now."""
        target, began = test.target, self.clock_of(process, test.begun)
        server, login = self.servers[server_of(target)], test.login
        known, older = self.policies[int(target.tags[0])], process.number in self.old_processes
        schedules: Any = getattr(target, "schedules", {})  # the older version has none
        schedule = tuple(as_read(window) for window in schedules.get(SCHEDULE, ()))
        # The older version applies a silence by the tick, this one by the time at which the test began.
        policy, order = known.at(tick if older else began, schedule), self.evidence.order
        answers = server.answers or login is not None
        fast = answers and not 0 < policy.max_rtt_ms < server.rtt_ms
        too_full = bool(fast and login and 0 < target.max_messages < (login.result.messages or 0))
        login_failed = login is not None and (too_full or login.error is not None)
        passed = fast and not login_failed
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
                login=login.answer if login else "",
                login_failed=login_failed,
                asks=postures.asked_of(target) if self.days and known.posture else "",
            )
        )
        result = login.result if login else None
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
                login=result,
            )
        if login and login_failed:
            error, reason = login.error or ErrorCode.PROTOCOL, login.reason or "mailbox-too-full"
            failed = Outcome(began, Phase.LOGIN, error=error, reason=reason, detail="Simulated.", login=result)
            return replace(failed, address=server.address, rtt_ms=server.rtt_ms)
        slow = ErrorCode.TIMED_OUT, Phase.GREETING, "too-slow", 0.0
        error, phase, reason, _ = slow if answers else FAILURES[server.failure]
        failed = Outcome(began, phase, error=error, reason=reason, detail="Simulated.", address=server.address)
        return replace(failed, login=result)

    def ask_postures(
        self, process: Process, ticks: Sequence[datetime], targets: Sequence[Target], _: float
    ) -> Iterator[tuple[Target, Posture]]:
        """What the servers of targets offer, one after another."""
        for target in targets:
            process.sleep(2.0)
            server, now = self.servers[server_of(target)], self.clock_of(process, self.engine.now)
            posture = Posture(now, problem="no-greeting")
            answers: tuple[tuple[str, object], ...] = ()
            if server.answers:
                posture = postures.posture_of(server.offered, target, now)
                implicit = target.tls == "implicit"
                answers = tuple(sorted(server.offered.answers(implicit=implicit).items()))
            what = process.number, target.target_id, ticks[-1], postures.asked_of(target), answers
            self.evidence.add(facts.PostureAsked(self.evidence.order, *what))
            yield target, posture

    # ---- the schedule

    def _minute(self) -> None:
        """Once a minute: the tick, and whatever changes in the world."""
        tick = BEGIN + timedelta(minutes=self.ticks)
        self.ticks += 1
        self.engine.at(self.engine.now + MINUTE, self._minute)
        faults = self._faults(f"minute {tick:%d %H:%M}")
        if not self.fault_free:
            self._change_world(faults)
            if self.logins:
                self._change_logins(self._faults(f"logins of {tick:%d %H:%M}"))
            if self.days:
                self._change_postures(self._faults(f"postures of {tick:%d %H:%M}"))
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
            self._count("schedule changed")
            self._write_schedule(draw_schedule(self.now(), faults))

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

    def _change_postures(self, faults: Faults) -> None:
        for name, server in sorted(self.servers.items()):
            if not server.answers and faults.uniform(0, 1) < postures.ANSWERS_AGAIN:
                self._change_answers(name, answers=True)
            if faults.occurs("posture_changed"):
                kind = server.offered.change(faults)
                self._log(0, f"{name} offers something else from now on: {kind}, {server.offered}")

    # ---- logins

    def _change_logins(self, faults: Faults) -> None:
        for name, server in sorted(self.servers.items()):
            if faults.occurs("login_changed"):
                self._change_mailboxes(name, server, faults)
        for name in accounts.NAMES:
            if faults.occurs("password_changed"):
                self._change_password(name)
                self._correct_later(name, faults)
            if faults.occurs("credential_changed"):
                self._change_credential(name, faults)
        if faults.occurs("parameters_unavailable"):
            self._hide_parameters(faults.choice([40.0, 200.0, 1500.0]), denied=False)
        if faults.occurs("parameters_denied"):
            self._hide_parameters(faults.choice([200.0, 1500.0]), denied=True)

    def _change_mailboxes(self, name: str, server: Server, faults: Faults) -> None:
        known = server.mailboxes
        codes = known.codes if faults.uniform(0, 1) < 0.7 else not known.codes
        changed = Mailboxes(codes=codes)
        what = faults.choice(["mode", "mode", "mode", "messages", "detached"])
        if known.mode in accounts.DEAD and faults.uniform(0, 1) < BUSY_AFTERWARDS:
            changed.mode = faults.choice(accounts.BUSY)
        elif known == Mailboxes(codes=known.codes) or faults.uniform(0, 1) < 0.2:
            changed.mode = faults.choice(accounts.MODES) if what == "mode" else accounts.WORKS
            changed.messages = accounts.MANY if what == "messages" else accounts.FEW
            changed.detached = what == "detached"
        self._set_mailboxes(name, server, changed)

    def _set_mailboxes(self, name: str, server: Server, mailboxes: Mailboxes) -> None:
        server.mailboxes = mailboxes
        mode = "detached" if mailboxes.detached else mailboxes.mode
        changed = facts.LoginChanged(self.evidence.order, name, mode, mailboxes.codes, mailboxes.messages)
        self.evidence.add(changed)
        self._log(0, f"{name} treats logins so from now on: {mailboxes}")

    def _change_password(self, name: str) -> None:
        user = accounts.user_of(name)
        self.passwords[user] = f"password-{self.evidence.order}"
        self.evidence.add(facts.PasswordChanged(self.evidence.order, user))
        self._log(0, f"minute: the password of {user} is another one from now on")

    def _store_credential(self, name: str, *, password: str = "", readable: bool = True) -> None:
        """What an operator does: the present password, unless another one is given."""
        self.credentials_stored += 1
        number, right = self.credentials_stored, self.passwords[accounts.user_of(name)]
        value = accounts.value_of(name, password or right, number) if readable else "no JSON"
        self.parameters.put(name, value)
        is_right = readable and not password
        changed = facts.CredentialChanged(self.evidence.order, name, number, right=is_right, readable=readable)
        self.evidence.add(changed)
        self._log(0, f"minute: credential {name} {number} stored")

    def _change_credential(self, name: str, faults: Faults) -> None:
        kind = faults.choice(["stored", "stored", "stored wrong", "stored damaged", "removed"])
        self._count(f"credential {kind}")
        match kind:
            case "stored":
                self._store_credential(name)
                return
            case "stored wrong":
                self._store_credential(name, password="wrong")
            case "stored damaged":
                self._store_credential(name, readable=False)
            case _:
                self.parameters.parameters.pop(name, None)
                self.evidence.add(facts.CredentialChanged(self.evidence.order, name, None))
                self._log(0, f"minute: credential {name} removed")
        self._correct_later(name, faults)

    def _correct_later(self, name: str, faults: Faults) -> None:
        """Most who change a password store it soon, and most mistakes are noticed."""
        if faults.uniform(0, 1) < 0.8:
            self._count("credential corrected")
            later = faults.choice([1.0, 6.0, 15.0, 40.0]) * MINUTE
            self.engine.at(self.engine.now + later, partial(self._store_credential, name))

    def _hide_parameters(self, seconds: float, *, denied: bool) -> None:
        until = self.now() + timedelta(seconds=seconds)
        if denied:
            self.parameters.denied_until = until
        else:
            self.parameters.unavailable_until = until
        self.evidence.add(facts.ParametersGone(self.evidence.order, until, denied))

    def _begin_calm_logins(self) -> None:
        """Without faults: each credential is stored anew, and in every other installation all servers let users in."""
        self.parameters.unavailable_until = self.parameters.denied_until = self.now()
        self.evidence.add(facts.ParametersGone(self.evidence.order, self.now(), denied=False))
        if self._faults("calm").uniform(0, 1) < 0.6:
            for name, server in sorted(self.servers.items()):
                self._set_mailboxes(name, server, Mailboxes(codes=server.mailboxes.codes))
        for name in accounts.NAMES:
            self._store_credential(name)

    # ---- users

    def _add_target(self, name: str, faults: Faults) -> None:
        is_new = name not in self.servers
        server = self.servers.setdefault(name, Server())
        independent = self.upgrade is not None  # the older version knows neither flapping nor parents
        policy = draw_policy(name, faults, independent=independent)
        if independent:
            self._configure(name, Configured(policy))
        else:
            connection_fields = {"tls": faults.choice(["none", "implicit"])}
            known = Configured(draw_newer(policy, faults), connection_fields=connection_fields)
            if self.days:
                known = postures.of_days(Configured(policy, connection_fields=connection_fields), faults)
            if self.logins:
                of_login = self._faults(f"login of {name}")
                known = draw_login(known, accounts.NAMES, of_login)
                server.mailboxes.codes = of_login.choice([True, False]) if is_new else server.mailboxes.codes
            self._configure(name, known)

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
        there = Situation(self.now(), faults, lambda: self._failing_since(name), others, accounts.NAMES)
        kinds = (*INTERVENTIONS, *([] if self.upgrade else NEWER), *(OF_LOGINS if self.logins else ()))
        kind, changed = change_mind(known, there, postures.KINDS if self.days else kinds, postures.OF_DAYS)
        self._count(kind)
        self._configure(name, changed)

    def _rename_target(self, name: str) -> None:
        known = self.configured.get(name)
        new, renamed = rename(name, known) if known else ("", None)
        if renamed is None or new in self.configured:
            return
        self._remove_target(name)
        self._count("target renamed")
        self._configure(new, renamed)

    def _import(self, faults: Faults) -> None:
        self._count("file imported")
        imported = draw_import(faults)
        for name, known in sorted(self.configured.items()):
            self._configure(name, imported(known))

    def _write_schedule(self, windows: tuple[facts.Window, ...]) -> None:
        """Write the schedule into the defaults: it holds for whoever names it."""
        if self.upgrade:
            return
        self.schedule_before, self.schedule = self.schedule, windows
        item = {"target_id": "_defaults", "schedules": {SCHEDULE: [as_written(window) for window in windows]}}
        self.tables.by_name["Targets"].put(to_item(item), self.engine.now)
        for name, known in sorted(self.configured.items()):
            if known.scheduled:
                self._say_configured(name, known, self.schedule, by_schedule=True)
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
        if known.scheduled:  # a test that was planned before the schedule was last written reads it as it was
            self._say_configured(name, known, self.schedule_before)
        self._say_configured(name, known, self.schedule, by_schedule=known.scheduled)
        self._log(0, f"{name} configured: {known}")
        if known.suspended and known.suspended[1] > self.now():
            ends = self.engine.now + (known.suspended[1] - self.now() - CLOCKS_DIFFER) / timedelta(seconds=1)
            self.engine.at(ends, partial(self._resume, name, known.suspended))

    def _resume(self, name: str, suspension: facts.Window) -> None:
        """A suspension ends by itself: at some clock from now on."""
        known = self.configured.get(name)
        if known and known.suspended == suspension:
            self.configured[name] = replace(known, suspended=None)
            self._say_configured(name, self.configured[name], self.schedule)

    def _say_configured(
        self, name: str, known: Configured, schedule: Sequence[facts.Window], *, by_schedule: bool = False
    ) -> None:
        self.evidence.add(known.fact(self.evidence.order, name, self.now(), schedule, by_schedule=by_schedule))

    # ---- invocations

    def _invoke_tick(self, tick: datetime) -> None:
        self._invoke(
            f"tick {tick:%d %H:%M}",
            lambda sweep, _, ticks: self._do_tick(sweep, tick, ticks),
            lambda _: None,
        )

    def _do_tick(self, sweep: Sweep, tick: datetime, ticks: list[datetime]) -> int:
        ticks.append(tick)
        undelivered = _undelivered(sweep.run_tick(tick))
        self._test_postures(sweep)
        return undelivered

    def _test_postures(self, sweep: Sweep) -> None:
        if self.days:
            sweep.test_postures()

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
            if how == "well":
                return
            if receives == RECEIVES:
                self.dead_letters.append(body)
                return
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
        undelivered = _undelivered(sweep.run_batch(work, *([sent_at] if hasattr(work, "delay_seconds") else [])))
        self._test_postures(sweep)
        return undelivered

    def _invoke(
        self, name: str, do: Callable[[Sweep, Code, list[datetime]], int], ended: Callable[[str], None]
    ) -> None:
        """Begin an invocation. It ends well, by an error, by its death, or is killed when its time is over."""
        self.invocations += 1
        process = Process(self.engine, self.invocations)
        faults = self._faults(name, process.number)
        process.skew = faults.uniform(-3.0, 3.0) if faults.occurs("clock_skewed") else 0.0
        over: list[str] = []
        if self.logins:
            self.in_use[process.number] = self._environment(process)

        def end(how: str, why: str = "") -> None:
            if over:
                return
            over.append(how)
            process.dead = how == "killed"
            environment = self.in_use.pop(process.number, None)
            if environment and not process.dead:
                self.environments.append(environment)
            self._log(process.number, f"{name}: ended {how} {why}")
            self.evidence.add(facts.Ended(self.evidence.order, process.number, how, self.now()))
            ended(how)

        def main() -> None:
            ticks: list[datetime] = []
            code = self.upgrade.code if self.upgrade and old else self.code
            if old:
                self.old_processes.add(process.number)
                self._log(process.number, f"{name}: by the older version")
            died = lambda why: end("killed", why)  # noqa: E731
            sweep = self._sweep(process, code, faults, ticks, died)
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

    def _environment(self, process: Process) -> Environment:
        """One that is free, the oldest or the newest, or another one; one whose invocation was killed is gone."""
        oldest = process.number % 2
        return self.environments.pop(oldest - 1) if self.environments else Environment(self.now, self.parameters)

    def _sweep(
        self,
        process: Process,
        code: Code,
        faults: Faults,
        ticks: list[datetime],
        died: Callable[[str], None],
    ) -> Sweep:
        transport = AwsTransport(process, faults, self.evidence, self.service_outages, died, latency=self.setup.latency)
        clock: Callable[[], datetime] = lambda: self.clock_of(process, self.engine.now)  # noqa: E731
        dynamodb = cast(Any, DynamoDB(transport, self.tables))
        store = code.store(dynamodb, NAMES, clock)
        topics = code.alert_topics(cast(Any, Sns(transport)), "topic", "sms-topic")
        more: dict[str, Any] = {}
        environment = self.in_use.get(process.number)
        if environment:
            # No one logs in with access tokens.
            arguments = process, store, environment.credentials, cast(Any, None), topics, clock
            more["logins"] = SimulatedLogins(*arguments, stack="popwatch")
        if self.days:
            more["probe_postures"] = partial(self.ask_postures, process, ticks)
        dependencies = code.dependencies(
            store,
            SimulatedProber(self, process, lambda: ticks[-1]),
            topics,
            code.batch_queue(cast(Any, Sqs(transport, self._enqueue)), "queue"),
            threads=lambda: Threads(process),
            **more,
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
