"""`/metrics`: how things stand as OpenMetrics. Pure.

Names are those of Prometheus's blackbox_exporter where they mean the same; what that does not have begins with
`popwatch_`. All are gauges, so that the older text format of Prometheus is the same but for its media type.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import place
from popwatch.reports.status import TargetStatus

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric's name, its unit if it has one, and what it means."""

    name: str
    unit: str
    help: str

    def lines(self, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
        """The family as lines, if there are any samples of it."""
        written = [f"{self.name}{_braces(labels)} {value:.15g}" for labels, value in samples]
        if written:
            yield f"# TYPE {self.name} gauge"
            if self.unit:
                yield f"# UNIT {self.name} {self.unit}"
            yield f"# HELP {self.name} {self.help}"
            yield from written


SUCCESS = Family("probe_success", "", "Whether the last test passed.")
DURATION = Family("probe_duration_seconds", "seconds", "Round-trip time of the last test, if it passed.")
CERTIFICATE = Family("probe_ssl_earliest_cert_expiry", "", "When the certificate expires, Unix time in seconds.")
STATE = Family("popwatch_target_state", "", "1 for the state that the target is in, 0 for the others.")
ERROR = Family("popwatch_target_error", "", "1 for the error of the last test, if it failed.")
FAILURES = Family("popwatch_target_failures", "", "Failed tests in a row.")
TESTED = Family("popwatch_target_tested_timestamp_seconds", "seconds", "When the target was tested last.")
SWEPT = Family("popwatch_last_sweep_timestamp_seconds", "seconds", "The last sweep that was completed.")

FAMILIES = (SUCCESS, DURATION, CERTIFICATE, STATE, ERROR, FAILURES, TESTED, SWEPT)
"""All of them; docs/page.md is checked against it."""


def to_metrics(rows: Iterable[TargetStatus], swept_at: datetime | None) -> str:
    """The metrics of all targets. One that is off or was never tested has no `probe_` metrics."""
    known = [(labels_of(row), row) for row in rows]
    tested = [(labels, row) for labels, row in known if row.tested_at and row.state is not State.SUSPENDED]
    certified = [(labels, row.health.certificate_expires) for labels, row in known]
    lines = [
        *SUCCESS.lines((labels, float(row.error is None)) for labels, row in tested),
        *DURATION.lines((labels, row.rtt_ms / 1000) for labels, row in tested if row.rtt_ms is not None),
        *CERTIFICATE.lines((labels, expires.timestamp()) for labels, expires in certified if expires),
        *STATE.lines(
            (labels | {"state": state}, float(row.state is state)) for labels, row in known for state in State
        ),
        *ERROR.lines(
            (labels | {"error": error}, float(row.error is error)) for labels, row in tested for error in ErrorCode
        ),
        *FAILURES.lines((labels, float(row.health.failures)) for labels, row in known),
        *TESTED.lines((labels, row.tested_at.timestamp()) for labels, row in tested if row.tested_at),
        *SWEPT.lines([({}, swept_at.timestamp())] if swept_at else []),
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def media_type(accept: str) -> str:
    """The form that a scraper asks for."""
    return OPENMETRICS if "application/openmetrics-text" in accept else TEXT


def labels_of(row: TargetStatus) -> dict[str, str]:
    """What tells a target from others; `group` is empty for a target without one."""
    target = row.target
    return {"target_id": target.target_id, "name": target.name, "group": target.group, "server": place(target)}


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
