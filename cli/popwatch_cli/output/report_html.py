"""A report as one HTML file without other files: to print, send or keep."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.text import clean, duration, milliseconds
from popwatch.reports.availability import BY_HOUR, Period, Span, by_hour, known_since
from popwatch.reports.report import FleetReport, ReportLine
from popwatch_cli.output.report_text import (
    NOT_COUNTED,
    certificates,
    interventions,
    local_time,
    mean,
    postures,
    share,
    span,
)

STRIP_WIDTH = 1000
"""The width of a target's timeline, in units of its SVG."""


def to_html(report: FleetReport, zone: tzinfo) -> str:
    """The report as a page; everything that users or servers wrote is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"share": share, "span": span, "mean": mean, "duration": duration, "ms": milliseconds}
    environment.filters |= {"clean": clean}
    environment.filters |= {
        "time": lambda time: local_time(time, zone),
        "message": lambda code: ErrorCode(code).message,
    }
    template = environment.from_string(files("popwatch_cli.output").joinpath("report.html.j2").read_text("utf-8"))
    drawn = drawn_period(report)
    slowest = max((line.rtt_ms[-1] or 0.0 for line in report.targets), default=0.0)
    return template.render(
        report=report,
        zone=str(zone),
        not_counted=NOT_COUNTED,
        drawn=drawn,
        strip=lambda line: strip(line, drawn),
        hours=hours_of(drawn, zone),
        slowest=slowest,
        interventions=interventions(report, zone),
        certificates=certificates(report),
        postures=postures(report),
    )


def drawn_period(report: FleetReport) -> Period:
    """The part of the period that timelines show: from when the first target was watched. Before it they are empty."""
    known = filter(None, (known_since(line.spans) for line in report.targets))
    return Period(min(known, default=report.period.begin), report.period.end)


def hours_of(drawn: Period, zone: tzinfo) -> Sequence[float]:
    """Where hours begin in timelines of less than `BY_HOUR`, in units of their width: they are cut into bars there."""
    if drawn.length >= BY_HOUR:
        return []
    hours = by_hour([Span(drawn.begin, drawn.end, State.UP)], zone)
    return [round((hour - drawn.begin) / drawn.length * STRIP_WIDTH, 2) for hour, _ in hours if hour > drawn.begin]


def strip(line: ReportLine, period: Period) -> Sequence[tuple[str, float, float, Span]]:
    """The pieces of a timeline, each with its colour, left edge, width, and the span that it shows.

    `warn` is drawn as `down` if it reached `down`. Every piece is wide enough to be seen; down is drawn last, on top.
    """
    outages = [(outage.begin, outage.end) for outage in line.durations.outages]
    found = []
    for whole in line.spans:
        piece = replace(whole, begin=max(whole.begin, period.begin))
        if piece.begin >= piece.end:
            continue
        left = (piece.begin - period.begin) / period.length * STRIP_WIDTH
        width = max(piece.length / period.length * STRIP_WIDTH, 2.0)
        down = piece.state is State.WARN and any(begin <= piece.begin < end for begin, end in outages)
        kind = "down" if down or piece.state is State.LOST else piece.state.value
        found.append((kind, round(left, 2), round(min(width, STRIP_WIDTH - left), 2), piece))
    order = ("up", "untested", "suspended", "maintenance", "warn", "down")
    return sorted(found, key=lambda it: order.index(it[0]))
