"""What a campaign hands to the model: what users wrote, what ran, what took effect, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

MINUTE = timedelta(minutes=1)

Window = tuple[datetime, datetime]
"""From a time until just before another."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user has configured for a target at one time."""

    failures_per_alert: int = 3
    max_alerts: int = 3
    alert_recovery: bool = True
    delay_up: int = 60
    delay_warn: int = 60
    delay_down: int = 60
    delay_lost: int = 300
    enabled: bool = True
    silenced: bool = False
    passes_per_recovery: int = 1
    flap_per_hour: int = 0
    depends_on: tuple[str, ...] = ()
    slow_rtt_ms: int = 0
    max_rtt_ms: int = 0
    all_addresses: bool = False
    certificate_warn_days: tuple[int, ...] | None = None
    subject: str = ""
    email: str = ""
    sms: str = ""
    recovered_subject: str = ""
    recovered_email: str = ""
    recovered_sms: str = ""
    runbook: str = ""
    login: str = ""
    """The credential that its tests log in with."""
    login_every: int = 300
    max_messages: int = 0
    acknowledged: datetime | None = None
    """The outage that somebody has acknowledged, by the time of its first failed test."""

    def longest_delay(self, state: str) -> timedelta:
        """The delay of a state; a down target uses `delay_lost` once its last alert has been sent."""
        by_state = {"warn": self.delay_warn, "down": max(self.delay_down, self.delay_lost), "lost": self.delay_lost}
        return timedelta(seconds=by_state.get(state, self.delay_up))

    def longest_wait(self, state: str) -> timedelta:
        """The delay, rounded up to whole minutes, and two for a schedule that fires anywhere within its minute."""
        return ceil(self.longest_delay(state) / MINUTE) * MINUTE + 2 * MINUTE


@dataclass(frozen=True, slots=True, order=True)
class AlertId:
    """What the text of an alert calls it: `target/event/number/since`."""

    target: str
    event: str
    number: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: something that the product did and must not do, or did not do and must."""

    kind: str
    order: int
    target: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.target}: {self.text} (fact {self.order})"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a server shows: when it expires, and for how long it is valid in all."""

    expires: datetime
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Tested:
    """A test ran, and its outcome was given to the product. It began `at`, by the clock of who made it."""

    order: int
    invocation: int
    target: str
    tick: datetime
    at: datetime
    policy: Policy
    passed: bool
    older: bool = False
    """By an older version, which does not limit messages, and forgets in what it writes how many there were."""
    rtt_ms: float = 0.0
    """The round trip of a test that passed."""
    address: str = ""
    failed_addresses: int = 0
    """Of those of the server, where all are tested."""
    certificates: tuple[Certificate, ...] = ()
    """Of the chain, where there is TLS."""
    login: str = ""
    """What its login came to, as in `LoginTried`; empty if it did not log in."""
    login_failed: bool = False
    """Whether it failed at the login, or for too many messages in the mailbox."""
    asks: str = ""
    """The server whose posture is tested, as in `PostureAsked`; empty if none is."""


@dataclass(frozen=True, slots=True)
class PostureAsked:
    """A server's log: it was asked what it offers. Its answers by question; what could not be asked is not among them.

    Without `answers` nothing could be asked. `asked` names the server, and how it was connected to.
    """

    order: int
    invocation: int
    target: str
    tick: datetime
    asked: str
    answers: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class PostureKept:
    """What a record says of a posture became another text, by this invocation; empty if it was forgotten."""

    order: int
    invocation: int
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A target's record was written."""

    order: int
    invocation: int
    target: str
    version: int
    tick: datetime
    at: datetime
    state: str
    failures: int
    alerts: int
    outbox: tuple[AlertId, ...]
    delivers: bool = False
    """Nothing changed but the outbox, from which what was delivered has been removed."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A target's record was deleted, as its configuration had gone."""

    order: int
    target: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TransitionRecorded:
    """A transition was put into History; a repeat has the same key."""

    order: int
    target: str
    tick: datetime
    version: int
    previous: str
    state: str


TOPICS = ("alert", "sms")
"""The topics that every alert is published to."""


@dataclass(frozen=True, slots=True)
class Sent:
    """SNS accepted a message of these alerts for a topic."""

    order: int
    invocation: int
    topic: str
    alerts: tuple[AlertId, ...]
    answered: bool
    summary: bool = False


@dataclass(frozen=True, slots=True)
class AlertRecorded:
    """History holds that an alert was sent, and for which topics."""

    order: int
    alert: AlertId
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Configured:
    """A user wrote a target, or (`None`) removed it; its alerts are held in the `windows`.

    `by_schedule` says that it was not the target's own item that was written, but the schedule that it names.
    """

    order: int
    target: str
    at: datetime
    policy: Policy | None
    windows: tuple[Window, ...] = ()
    by_schedule: bool = False
    server: str = ""
    connection_fields: tuple[tuple[str, object], ...] = ()
    """What else is tested of the server: a port, TLS."""
    posture: bool = True
    """Whether its posture is tested."""

    def silenced(self, time: datetime) -> bool:
        """Whether a time lies in its silence or maintenance."""
        return any(begin <= time < end for begin, end in self.windows)

    def changes_within(self, begin: datetime, end: datetime) -> bool:
        """Whether a window begins or ends between two times."""
        return any(begin < time < end for window in self.windows for time in window)


@dataclass(frozen=True, slots=True)
class Planned:
    """A test was sent to the queue, to be made for a tick."""

    order: int
    target: str
    tick: datetime
    invocation: int


@dataclass(frozen=True, slots=True)
class TickCompleted:
    """A tick was completed: all that was due at it has been tested or lies in the queue."""

    order: int
    tick: datetime


@dataclass(frozen=True, slots=True)
class Requeued:
    """A test that could not be finished is to be made again."""

    order: int
    invocation: int
    target: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An item of History could not be put, however often it was tried."""

    order: int
    invocation: int


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """SNS has not answered that it took a message, however often that was tried."""

    order: int
    invocation: int


@dataclass(frozen=True, slots=True)
class Began:
    """An invocation has begun."""

    order: int
    invocation: int
    at: datetime
    older: bool = False
    """By an older version: it forgets in what it sends how many messages there were."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Something around popwatch went wrong: a fault of this kind."""

    order: int
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PublishedText:
    """Words that reached SNS (`channel` is the topic), or History: its texts of single alerts."""

    order: int
    invocation: int
    channel: str
    text: str
    subject: str
    attributes: Mapping[str, str]
    answered: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """An invocation is over: `well`, `error` or `killed`."""

    order: int
    invocation: int
    how: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Sampled:
    """A samples item was put: the results of tests."""

    order: int
    invocation: int
    key: tuple[str, str]
    at: datetime
    passed: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Totalled:
    """An hour of a batch was added up: by target its tests, and how many of them passed."""

    order: int
    batch: str
    hour: datetime
    at: datetime
    totals: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ServerChanged:
    """A server answers from now on, or does so no more."""

    order: int
    server: str
    answers: bool


@dataclass(frozen=True, slots=True)
class LoginChanged:
    """How a server treats logins from now on: a mode of `accounts`, and whether it gives response codes."""

    order: int
    server: str
    mode: str
    codes: bool
    messages: int


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The password of a user is another one from now on, at all servers."""

    order: int
    user: str


@dataclass(frozen=True, slots=True)
class CredentialChanged:
    """Someone stored a credential, its `number`-th revision, or (None) removed it.

    It is `right` if it has the password that servers know then, `readable` if its text is not damaged.
    """

    order: int
    name: str
    number: int | None
    right: bool = False
    readable: bool = True


@dataclass(frozen=True, slots=True)
class ParametersGone:
    """Credentials cannot be read until a time: `denied`, or without an answer."""

    order: int
    until: datetime
    denied: bool


@dataclass(frozen=True, slots=True)
class LoginTried:
    """A server's log: a target logged in, with a revision of a credential; `right` if the password was.

    The `answer` is `accepted`, `in-use`, `login-delay`, `rejected`, `refused` (without a code), `failed` (with one that
    is the server's own fault) or `nothing`.
    """

    order: int
    invocation: int
    target: str
    server: str
    name: str
    number: int
    right: bool
    answer: str
    codes: bool
    seconds: float = 0.0
    """Until the answer."""


@dataclass(frozen=True, slots=True)
class FaultFree:
    """For so long nothing has gone wrong: what must be true now, whatever happened before."""

    order: int
    at: datetime
    since: datetime
    servers: Mapping[str, tuple[Policy, bool | None]]
    """Every target that is configured, and whether its server has answered all this while; None if it depends on when
    it logged in."""


Fact = (
    Tested
    | PostureAsked
    | PostureKept
    | Judged
    | Forgotten
    | TransitionRecorded
    | Sent
    | AlertRecorded
    | Configured
    | Planned
    | TickCompleted
    | Requeued
    | Refused
    | NotAccepted
    | Began
    | Failed
    | PublishedText
    | Ended
    | Sampled
    | Totalled
    | ServerChanged
    | LoginChanged
    | PasswordChanged
    | CredentialChanged
    | ParametersGone
    | LoginTried
    | FaultFree
)
