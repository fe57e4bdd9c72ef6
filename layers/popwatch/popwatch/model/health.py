"""A target's state and health as they are stored, and what a test changes in them. No I/O and no decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from popwatch.model.outcomes import CERTIFICATE_TIMES, LONGEST_LOGIN_DELAY, Certificate, ErrorCode
from popwatch.model.posture import PostureFinding
from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.serialization import LENGTHS, Range, TimeRange, stored_as, within
from popwatch.model.time_limits import ALLOWANCE_AHEAD, NEXT_TEST_AHEAD

MAX_WARN_DAYS = 365
"""Days before a certificate expires at which a warning may be sent."""

Changes = tuple[datetime, ...]
"""Times at which a target went from passed to failed or back, oldest first."""


class State(StrEnum):
    """The state that popwatch believes a target to be in."""

    UNTESTED = "untested"
    UP = "up"
    WARN = "warn"
    DOWN = "down"
    LOST = "lost"
    SUSPENDED = "suspended"
    MAINTENANCE = "maintenance"


FAILING = (State.WARN, State.DOWN, State.LOST)
"""The states of a target that fails, or whose recovery is not certain yet (`passes_per_recovery`)."""


class AlertEvent(StrEnum):
    """What an alert reports."""

    DOWN = "down"
    RECOVERED = "recovered"
    FLAPPING = "flapping"
    STEADY = "steady"
    DEGRADED = "degraded"
    RESTORED = "restored"
    SLOW = "slow"
    NORMAL = "normal"
    CERTIFICATE = "certificate"
    THROTTLED = "throttled"
    UNTHROTTLED = "unthrottled"
    POSTURE = "posture"


@dataclass(frozen=True, slots=True)
class CertificateWarning:
    """A warning of a certificate, sent at `at`: the one that expires at `expires` had `time_left`, or less."""

    expires: datetime = field(metadata=within(CERTIFICATE_TIMES))
    time_left: timedelta = field(metadata=stored_as("within"))
    at: datetime


@dataclass(frozen=True, slots=True)
class Recovery:
    """The passed tests in a row, fewer than `passes_per_recovery`, with which an outage is about to end.

    `began_at` and `rtt_ms` are those of the first one, which is the end of the outage if enough follow it.
    """

    began_at: datetime
    rtt_ms: float | None
    passes: int = 1


@dataclass(frozen=True, slots=True)
class LoginFailure:
    """The last login of an outage that failed: when it was tried, and what failed its test."""

    at: datetime
    error: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class EndedOutage:
    """An outage that a passed test has ended, and whose recovery has not been sent yet: something holds it back.

    `passed_at` and `rtt_ms` are those of the passed test that ended it; the other figures are those that `Health` had
    before that test.
    """

    failing_since: datetime
    passed_at: datetime
    failures: int
    alerts_sent: int = 0
    failures_in_maintenance: int = 0
    rtt_ms: float | None = None
    last_good_at: datetime | None = None
    last_good_rtt_ms: float | None = None
    passes_in_outage: int = field(default=0, metadata=stored_as("passes_within"))


@dataclass(frozen=True, slots=True)
class HeldAlerts:
    """The alerts of a target that are held since `since`, as there were too many: how many of each event.

    `alert_number` is the greatest of their `alert_number` attributes: who would have received one of them receives the
    message about all of them.
    """

    since: datetime
    events: Mapping[str, int] = field(default_factory=dict)
    alert_number: int = 0


@quick_dataclass(frozen=True, slots=True)
class Health:
    """The health of one target, as stored in its record. docs/outages.md defines what its figures mean.

    `failures` counts the failed tests of the current run, without those in maintenance, and `failing_since` is the
    first of them; `alerts_sent` counts this outage's `down` alerts, of which the last was sent at failure number
    `alerted_at_failures` (0 in a record of an earlier version). `next_test_at` is `None` while the target is tested at
    its own slots (see `schedule`). `state_before_maintenance` is the state to restore when maintenance ends.

    `failures_in_maintenance` counts the tests since the last passed one that failed in maintenance or under a silence.
    `run_ended_at` is, in maintenance, the passed test that ended a run of failures. `ended_outage` is an outage whose
    recovery is still to be sent. `recovery` are the passed tests of an outage that goes on until there are more of
    them, and `passes_in_outage` counts those that a failed test followed before there were enough, and in a run in
    which a login failed those without an accepted login.

    `allowance_full_at` is when as many alerts as ever may be sent again, and `throttled` what is held, as there were
    too many (see `throttling`).

    `login_failed` says that a login failed in the current run of failures: only a login that succeeds ends it. Where
    there is no run, it failed in maintenance. `login_failure` is the last one that failed; None if one was accepted
    since, and in a record of an earlier version. `login_at` is when the last login in a run, or outside a target's
    slots, was tried. `login_delay` is the least time in seconds between two logins that the server has stated.

    `posture` is what is kept of the last posture test (the text of a `PostureSummary`), and `posture_pending` are the
    changes for the worse that are still to be alerted. `posture_seen_at` is when a posture test last found all of these
    to be so still; None until one has, since a single answer may be an exception.

    `last_good_at` is the last passed test that was written: of a target that passes, its samples know a later one.

    `alert_held` says that a `down` alert is due and will be sent once nothing holds it back; `caused_by` is the failing
    target that holds it back. `changes` are the last changes between passed and failed; `flapping` says that an alert
    reported too many of them. `degraded_tests` counts tests in a row, up to `failures_per_alert`, in which some
    addresses failed, and `failed_addresses` names those of the last one; `degraded_alerted` says that an alert reported
    it. `slow` says that an alert reported long round trips, and `slow_tests` counts the passed tests in a row, up to
    `failures_per_alert`, that say otherwise than `slow`. `untested_addresses` counts those that the last passed test
    left out. `certificate_expires` is that of the last passed test, and `expiring_certificate` the certificate of that
    test which warnings are about, if there is one. `certificate_warnings` are the last ones, oldest first. Versions
    that know only the last one store it as `certificate_warned` (days) and `certificate_warned_of` (the certificate's
    expiry).
    """

    state: State = State.UNTESTED
    since: datetime | None = None
    failures: int = 0
    alerts_sent: int = 0
    failing_since: datetime | None = None
    next_test_at: datetime | None = field(default=None, metadata=within(TimeRange(ahead=NEXT_TEST_AHEAD)))
    last_good_at: datetime | None = None
    last_good_rtt_ms: float | None = None
    state_before_maintenance: State | None = field(default=None, metadata=stored_as("beneath"))
    alert_held: bool = field(default=False, metadata=stored_as("held"))
    caused_by: str = ""
    changes: Changes = ()
    flapping: bool = False
    degraded_tests: int = field(default=0, metadata=stored_as("degraded"))
    degraded_alerted: bool = field(default=False, metadata=stored_as("half_up"))
    failed_addresses: tuple[str, ...] = ()
    untested_addresses: int = 0
    slow: bool = False
    slow_tests: int = 0
    certificate_expires: datetime | None = field(default=None, metadata=within(CERTIFICATE_TIMES))
    certificate_warned: int | None = field(default=None, metadata=within(Range(0, MAX_WARN_DAYS)))
    certificate_warned_of: datetime | None = field(default=None, metadata=within(CERTIFICATE_TIMES))
    expiring_certificate: Certificate | None = field(default=None, metadata=stored_as("certificate_near"))
    certificate_warnings: tuple[CertificateWarning, ...] = ()
    alerted_at_failures: int = 0
    failures_in_maintenance: int = 0
    run_ended_at: datetime | None = field(default=None, metadata=stored_as("run_ended_in_maintenance"))
    ended_outage: EndedOutage | None = None
    recovery: Recovery | None = None
    passes_in_outage: int = field(default=0, metadata=stored_as("passes_within"))
    allowance_full_at: datetime | None = field(default=None, metadata=within(TimeRange(ahead=ALLOWANCE_AHEAD)))
    throttled: HeldAlerts | None = None
    login_failed: bool = False
    login_failure: LoginFailure | None = None
    login_at: datetime | None = None
    login_delay: int = field(default=0, metadata=within(Range(0, LONGEST_LOGIN_DELAY)))
    posture: str = ""
    posture_pending: tuple[str, ...] = field(default=(), metadata=stored_as("posture_due"))
    posture_seen_at: datetime | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last test failed, or an outage goes on; in maintenance too, where failures do not count."""
        if self.state is State.MAINTENANCE:
            return self.state_before_maintenance in FAILING or self.failures_in_maintenance > 0
        return self.state in FAILING

    @property
    def has_login_outage(self) -> bool:
        """Whether a login failed in the current run of failures: one that failed in maintenance begins none."""
        return self.login_failed and self.failures > 0


UNTESTED = Health()
"""The health of a target of which nothing is known."""


_LASTED = Range(-timedelta(days=1).total_seconds(), LENGTHS.highest)
"""How long a state has lasted: negative if another process began it, such as the command, whose clock is ahead."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state; `lasted` is how long the previous state had lasted, if that is known.

    `error` and `reason` are those of the failed test that caused it. `run_ended_at` is the passed test before it that
    ended a run of failures: in a maintenance that it ends, or the first of several that end an outage.
    """

    previous: State
    state: State
    at: datetime
    lasted: timedelta | None = field(default=None, metadata=within(_LASTED))
    error: ErrorCode | None = None
    reason: str = ""
    run_ended_at: datetime | None = field(default=None, metadata=stored_as("run_ended_in_maintenance"))


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert to be sent.

    `number` counts an outage's `down` alerts, a flapping target's changes, the days within which a certificate expires,
    or the alerts that are held; else it is 0. `outage` is the time from the first failed test until now, or until the
    passed test that ended the outage. `held` is what is held, or was until now, in an alert that says so. `worse` is
    the change for the worse that a `posture` alert is about, and `worse_seen_at` when a posture test last saw it.
    """

    event: AlertEvent
    number: int
    at: datetime
    outage: timedelta
    held: HeldAlerts | None = None
    worse: PostureFinding | None = None
    worse_seen_at: datetime | None = None


@quick_dataclass(frozen=True, slots=True)
class Judgement:
    """What one outcome means: the new health, the transition if the state changed, and the alert if there is one."""

    health: Health
    transition: Transition | None = None
    alert: Alert | None = None
