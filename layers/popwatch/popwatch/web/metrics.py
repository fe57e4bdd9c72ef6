"""`/metrics`: the status of targets as OpenMetrics. Pure.

Names are those of Prometheus's blackbox_exporter where they mean the same; others begin with `popwatch_`. All are
gauges, so that the older text format of Prometheus differs only in its media type.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import endpoint
from popwatch.reports.status import TargetStatus

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """The name of a metric, its unit (or ""), and its help text."""

    name: str
    unit: str
    help: str

    def lines(self, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
        """The family in OpenMetrics text, if it has any samples."""
        written = [f"{self.name}{_braces(labels)} {value:.15g}" for labels, value in samples]
        if written:
            yield f"# TYPE {self.name} gauge"
            if self.unit:
                yield f"# UNIT {self.name} {self.unit}"
            yield f"# HELP {self.name} {self.help}"
            yield from written


SUCCESS = MetricFamily("probe_success", "", "Whether the last test passed.")
DURATION = MetricFamily("probe_duration_seconds", "seconds", "Round-trip time of the last test, if it passed.")
CERTIFICATE = MetricFamily(
    "probe_ssl_earliest_cert_expiry", "", "When the first certificate expires, Unix time in seconds."
)
STATE = MetricFamily("popwatch_target_state", "", "1 for the state that the target is in, 0 for the others.")
ERROR = MetricFamily("popwatch_target_error", "", "1 for the error of the last test, if it failed.")
FAILURES = MetricFamily("popwatch_target_failures", "", "Failed tests in a row.")
TESTED = MetricFamily("popwatch_target_tested_timestamp_seconds", "seconds", "When the target was tested last.")
MESSAGES = MetricFamily("popwatch_target_mailbox_messages", "", "Messages in the mailbox, at the last login.")
OCTETS = MetricFamily("popwatch_target_mailbox_octets", "", "Size of the mailbox, at the last login.")
SWEPT = MetricFamily("popwatch_last_sweep_timestamp_seconds", "seconds", "The last tick whose sweep was completed.")

FAMILIES = (SUCCESS, DURATION, CERTIFICATE, STATE, ERROR, FAILURES, TESTED, MESSAGES, OCTETS, SWEPT)
"""All metrics; a test checks that docs/page.md lists them."""


def to_metrics(targets: Iterable[TargetStatus], last_tick: datetime | None) -> str:
    """The metrics of all targets. A suspended target, and one that was never tested, has no `probe_` metrics."""
    known = [(labels_of(status), status) for status in targets]
    tested = [(labels, status) for labels, status in known if status.tested_at and status.state is not State.SUSPENDED]
    certified = [(labels, status.health.certificate_expires) for labels, status in known]
    mailboxes = [(labels, status.mailbox[1]) for labels, status in known if status.mailbox]
    lines = [
        *SUCCESS.lines((labels, float(status.error is None)) for labels, status in tested),
        *DURATION.lines((labels, status.rtt_ms / 1000) for labels, status in tested if status.rtt_ms is not None),
        *CERTIFICATE.lines((labels, expires.timestamp()) for labels, expires in certified if expires),
        *STATE.lines(
            (labels | {"state": state}, float(status.state is state)) for labels, status in known for state in State
        ),
        *ERROR.lines(
            (labels | {"error": error}, float(status.error is error))
            for labels, status in tested
            for error in ErrorCode
        ),
        *FAILURES.lines((labels, float(status.health.failures)) for labels, status in known),
        *TESTED.lines((labels, status.tested_at.timestamp()) for labels, status in tested if status.tested_at),
        *MESSAGES.lines((labels, float(mailbox.messages)) for labels, mailbox in mailboxes),
        *OCTETS.lines((labels, float(mailbox.octets)) for labels, mailbox in mailboxes),
        *SWEPT.lines([({}, last_tick.timestamp())] if last_tick else []),
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def media_type(accept: str) -> str:
    """The media type that a scraper accepts."""
    return OPENMETRICS if "application/openmetrics-text" in accept else TEXT


def labels_of(status: TargetStatus) -> dict[str, str]:
    """The labels of a target; `group` is empty if it has none."""
    target = status.target
    return {"target_id": target.target_id, "name": target.name, "group": target.group, "server": endpoint(target)}


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
