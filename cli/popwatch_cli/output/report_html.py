"""A report as one HTML file that needs nothing else: to print, to send, to keep."""

from collections.abc import Sequence
from datetime import tzinfo
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.text import clean, duration, milliseconds
from popwatch.reports.availability import Period, Span
from popwatch.reports.report import FleetReport, Line
from popwatch_cli.output.report_text import APART, certificates, deeds, moment, share, span

STRIP_WIDTH = 1000
"""The width of a target's timeline in its own units."""


def to_html(report: FleetReport, zone: tzinfo) -> str:
    """The report as a page; everything in it that users wrote or servers said is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"share": share, "span": span, "duration": duration, "ms": milliseconds}
    environment.filters |= {"clean": clean}
    environment.filters |= {"moment": lambda when: moment(when, zone), "message": lambda code: ErrorCode(code).message}
    template = environment.from_string(files("popwatch_cli.output").joinpath("report.html.j2").read_text("utf-8"))
    slowest = max((p99 for line in report.targets if (p99 := line.rtt_ms[-1])), default=0.0)
    return template.render(
        report=report,
        zone=str(zone),
        apart=APART,
        strip=lambda line: strip(line, report.period),
        slowest=slowest,
        deeds=deeds(report, zone),
        certificates=certificates(report),
    )


def strip(line: Line, period: Period) -> Sequence[tuple[str, float, float, Span]]:
    """The pieces of a timeline: what colour, from where, how wide, and the span that each shows.

    `warn` that did not reach `down` is no outage; a piece is at least wide enough to be seen.
    """
    outages = [(outage.begin, outage.end) for outage in line.times.outages]
    found = []
    for piece in line.spans:
        left = (piece.begin - period.begin) / period.length * STRIP_WIDTH
        width = max(piece.length / period.length * STRIP_WIDTH, 2.0)
        down = piece.state is State.WARN and any(begin <= piece.begin < end for begin, end in outages)
        kind = "down" if down or piece.state is State.LOST else piece.state.value
        found.append((kind, round(left, 2), round(min(width, STRIP_WIDTH - left), 2), piece))
    order = ("up", "untested", "suspended", "maintenance", "warn", "down")
    return sorted(found, key=lambda it: order.index(it[0]))
