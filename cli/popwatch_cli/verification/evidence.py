"""What a verification has seen so far. No I/O.

Nothing here names an account, a resource, a receiver or a target of the user: the checks are made of it, and they may
be published with a report of a bug.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from popwatch.model.outcomes import Outcome
from popwatch.model.records import HistoryEvent, PublishedAlert
from popwatch_cli.doctor.rules.findings import FindingKind


class Source(StrEnum):
    """Where evidence is read from. AWS may refuse one, and the checks that need it are unknown then."""

    CONFIGURATION = "the stack's configuration"
    TABLES = "the tables"
    QUEUES = "the temporary queues"
    ALARM = "the temporary alarm"
    LOG = "the function's log"
    METRICS = "the metrics"


class QueueRole(StrEnum):
    """The temporary queues, by what their subscriptions to the alert topic let through."""

    ALL = "all"
    MATCHING = "matching"
    OTHER = "other"


class TopicRole(StrEnum):
    """The topic that a message came from."""

    ALERTS = "alerts"
    SMS = "sms"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message about something temporary that arrived in a queue, `after` so long; `attributes` by name."""

    queue: QueueRole
    topic: TopicRole
    message_id: str
    after: timedelta
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricState:
    """A metric that an alarm of the stack needs.

    `arrives`: it has data with the alarm's dimensions. `related_metric_arrives`: another metric of its
    namespace has data with the same dimensions. `elsewhere`: it has data, but with other dimensions only.
    """

    namespace: str
    name: str
    arrives: bool = False
    related_metric_arrives: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class CpuUse:
    """A stretch of one execution environment's life, between two of its reports: the CPU time, and the tests made."""

    milliseconds: int
    tests: int


@dataclass(slots=True)
class Evidence:
    """Everything that was seen, `elapsed` after the temporary target was put; `over` says that no more will be.

    `ticks` are the ticks whose sweeps ended since. `tests` are the outcomes of the temporary target by tick, of which
    `expected_reasons` are the true ones. `passed` is the newest outcome of any target in which a server's greeting
    arrived. `second_alert_after` is when a second alert was caused, since the first came before the filter policies
    were in effect.
    """

    is_local: bool = False
    elapsed: timedelta = timedelta()
    over: bool = False
    refused: dict[Source, str] = field(default_factory=dict)
    findings: frozenset[FindingKind] = frozenset()
    ticks: set[datetime] = field(default_factory=set)
    expected_reasons: frozenset[str] = frozenset()
    tests: dict[datetime, Outcome] = field(default_factory=dict)
    alert_pending: bool = False
    events: Sequence[HistoryEvent] = ()
    has_sms_topic: bool = False
    arrivals: list[Arrival] = field(default_factory=list)
    second_alert_after: timedelta | None = None
    expected_attributes: frozenset[str] = frozenset()
    alarm_set: timedelta | None = None
    alarms: int = 0
    alarms_with_action: int = 0
    metrics: Sequence[MetricState] = ()
    server_is_named: bool = False
    server: Outcome | None = None
    passed: Outcome | None = None
    log_lines: int = 0
    log_errors: int = 0
    cpu: list[CpuUse] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def alerts(self) -> list[PublishedAlert]:
        """The alerts of the temporary target in History."""
        return [event.what for event in self.events if isinstance(event.what, PublishedAlert)]

    def arrived(self, queue: QueueRole, topic: TopicRole = TopicRole.ALERTS) -> list[Arrival]:
        """The arrivals in one queue from one topic, in their order."""
        return [one for one in self.arrivals if (one.queue, one.topic) == (queue, topic)]
