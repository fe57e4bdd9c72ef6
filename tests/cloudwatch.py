"""CloudWatch as it is documented, as far as the alarms of template.yaml need it: data points that arrive late, metric
math, missing data, M of N, the wider evaluation range, and the warm-up of a new alarm.

Sources, all under https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/:

- alarms-and-missing-data.html: an alarm looks at more data points than EvaluationPeriods (the evaluation range, whose
  length is not published). If as many exist as it needs, it takes the newest of them; otherwise it fills missing ones
  as TreatMissingData says, as few as possible.
- alarm-evaluation.html: it is in ALARM if DatapointsToAlarm of them are breaching.
- using-metric-math.html: FILL, and that arithmetic takes a missing value for 0.
- alarm-warm-up.html: a new alarm stays in INSUFFICIENT_DATA, without actions, until its warm-up has ended.
- CloudWatch_Embedded_Metric_Format_Specification.html: the log lines that become data points.

What is not published is an argument (`Reading`); what popwatch states must hold for each.
"""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.tables import read_template

MINUTE = timedelta(minutes=1)

Series = dict[int, float]
"""Values by the number of a minute (since 1970); a missing minute has none."""

MetricKey = tuple[str, str, tuple[str, ...]]
"""Namespace, name, and the names of the dimensions: of one stack each has one value."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What AWS does not publish: data points that an alarm retrieves beyond EvaluationPeriods, whether FILL fills a
    series without any value, and how long after its log line a data point can be seen.
    """

    extra_points: int = 3
    fills_empty: bool = True
    arrival: timedelta = timedelta(seconds=30)


READINGS = tuple(
    Reading(extra, fills, timedelta(seconds=arrival))
    for extra in (1, 5)
    for fills in (True, False)
    for arrival in (0, 90)
)
"""All that is thinkable: a stated time to an alarm holds for each."""


def minute_of(time: datetime) -> int:
    """The number of the minute that a time is in."""
    return int(time.timestamp() // 60)


@dataclass(slots=True)
class Metrics:
    """Data points, each with the minute that it belongs to and the time at which it was published."""

    points: dict[MetricKey, dict[int, list[tuple[datetime, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def put(self, key: MetricKey, at: datetime, value: float, published: datetime | None = None) -> None:
        """Add a data point of a metric."""
        self.points[key][minute_of(at)].append((published or at, value))

    def take_log_line(self, line: Mapping[str, Any], published: datetime) -> None:
        """Add the data points of a log line in the embedded metric format; its own time stamp is that of the points.

        Powertools stamps a line without one of its own by the real clock: then it belongs to the time of publishing.
        """
        at = datetime.fromtimestamp(line["_aws"]["Timestamp"] / 1000, UTC)
        at = at if at.second == at.microsecond == 0 else published
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                for dimensions in directive["Dimensions"]:
                    values = line[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        self.put(
                            (directive["Namespace"], metric["Name"], tuple(sorted(dimensions))), at, value, published
                        )

    def read(self, key: MetricKey, stat: str, minutes: Iterable[int], seen: datetime) -> Series:
        """A metric's values in these minutes, of the points that had been published at a time."""
        found = {}
        for minute in minutes:
            values = [value for published, value in self.points[key].get(minute, ()) if published <= seen]
            if values:
                found[minute] = _statistic(stat, values)
        return found


def _statistic(stat: str, values: list[float]) -> float:
    match stat:
        case "Sum":
            return sum(values)
        case "Maximum":
            return max(values)
        case "SampleCount":
            return len(values)
        case other:
            raise NotImplementedError(other)


@dataclass(frozen=True, slots=True)
class Query:
    """A metric and its statistic."""

    key: MetricKey
    stat: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of the template; without an `expression` it watches its only query."""

    name: str
    queries: Mapping[str, Query]
    expression: str
    period_minutes: int
    periods: int
    to_alarm: int
    threshold: float
    comparison: str
    missing: str
    warm_up: timedelta

    def state_at(self, now: datetime, metrics: Metrics, created: datetime, reading: Reading) -> str:
        """The state of an evaluation: OK, ALARM or INSUFFICIENT_DATA."""
        if now < created + self.warm_up:
            return "INSUFFICIENT_DATA"
        last, seen = minute_of(now) - 1, now - reading.arrival
        windows = [
            range(last - (number + 1) * self.period_minutes + 1, last - number * self.period_minutes + 1)
            for number in range(self.periods + reading.extra_points)
        ]
        values = self._values(windows, metrics, seen, reading)
        return (
            "ALARM"
            if self.is_breaching([value is not None and self._breaches(value) for value in values], values)
            else "OK"
        )

    def is_breaching(self, breaching: list[bool], values: list[float | None]) -> bool:
        """Whether the data points, newest first, some of them missing, put the alarm into ALARM."""
        existing = [breaks for breaks, value in zip(breaching, values, strict=True) if value is not None][
            : self.periods
        ]
        filled = self.periods - len(existing) if self.missing == "breaching" else 0
        return sum(existing) + filled >= self.to_alarm

    def _values(self, windows: list[range], metrics: Metrics, seen: datetime, reading: Reading) -> list[float | None]:
        if not self.expression:
            [query] = self.queries.values()
            values = []
            for window in windows:
                found = metrics.read(query.key, query.stat, window, seen)
                values.append(_statistic(query.stat, list(found.values())) if found else None)
            return values
        minutes = sorted(window[0] for window in windows)
        series = {name: metrics.read(query.key, query.stat, minutes, seen) for name, query in self.queries.items()}
        result = MetricMath(series, minutes, fills_empty=reading.fills_empty).evaluate(self.expression)
        return [result.get(window[0]) for window in windows]

    def _breaches(self, value: float) -> bool:
        signs: dict[str, Callable[[float, float], bool]] = {
            "GreaterThanThreshold": float.__gt__,
            "GreaterThanOrEqualToThreshold": float.__ge__,
            "LessThanThreshold": float.__lt__,
        }
        return signs[self.comparison](float(value), float(self.threshold))


@dataclass(frozen=True, slots=True)
class MetricMath:
    """Metric math on series over the same minutes: FILL, `-`, comparisons, AND."""

    series: Mapping[str, Series]
    minutes: list[int]
    fills_empty: bool = True

    def evaluate(self, expression: str) -> Series:
        """The series that an expression gives. Raises NotImplementedError for what no alarm here uses."""
        tree = ast.parse(expression.replace(" AND ", " and "), mode="eval").body
        result = self._of(tree)
        if not isinstance(result, dict):
            raise NotImplementedError("an alarm watches a series, not a number")
        return result

    def _of(self, node: ast.expr) -> Series | float:
        match node:
            case ast.Name(id=name):
                return self.series[name]
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=int() | float() as value)]):
                found = self._of(filled)
                assert isinstance(found, dict)
                if not found and not self.fills_empty:
                    return found
                return {minute: found.get(minute, float(value)) for minute in self.minutes}
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return self._both(left, right, lambda one, other: one - other)
            case ast.Compare(left=left, ops=[ast.Gt()], comparators=[right]):
                return self._both(left, right, lambda one, other: float(one > other))
            case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
                return self._both(left, right, lambda one, other: float(one < other))
            case ast.BoolOp(op=ast.And(), values=[left, right]):
                return self._both(left, right, lambda one, other: float(bool(one and other)))
            case other:
                raise NotImplementedError(ast.dump(other))

    def _both(self, left: ast.expr, right: ast.expr, combine: Callable[[float, float], float]) -> Series:
        """A value for each minute that either has; a series without one counts as 0 there."""
        one, other = self._of(left), self._of(right)
        match one, other:
            case dict(), dict():
                minutes = one.keys() | other.keys()
                return {minute: combine(one.get(minute, 0.0), other.get(minute, 0.0)) for minute in minutes}
            case dict(), float():
                return {minute: combine(value, other) for minute, value in one.items()}
            case _:
                raise NotImplementedError("a number before a series")


def alarms() -> dict[str, Alarm]:
    """The alarms of the template, by logical id."""
    return {
        name: _alarm(name, resource["Properties"])
        for name, resource in read_template()["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _alarm(name: str, properties: Mapping[str, Any]) -> Alarm:
    queries, expression, period = {}, "", properties.get("Period", 60)
    for entry in properties.get("Metrics", ()):
        if "Expression" in entry:
            expression = entry["Expression"]
        else:
            queries[entry["Id"]] = _query(entry["MetricStat"]["Metric"], entry["MetricStat"]["Stat"])
    if not expression:
        queries["m1"] = _query(properties, properties["Statistic"])
    warm_up = properties.get("WarmUpConfiguration", {})
    assert warm_up.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds", True)
    if properties["TreatMissingData"] not in ("breaching", "notBreaching"):
        raise NotImplementedError(properties["TreatMissingData"])
    return Alarm(
        name,
        queries,
        expression,
        period // 60,
        properties["EvaluationPeriods"],
        properties.get("DatapointsToAlarm", properties["EvaluationPeriods"]),
        properties["Threshold"],
        properties["ComparisonOperator"],
        properties["TreatMissingData"],
        timedelta(minutes=warm_up.get("WarmUpPeriodDurationInMinutes", 0)),
    )


def _query(metric: Mapping[str, Any], stat: str) -> Query:
    names = tuple(sorted(dimension["Name"] for dimension in metric["Dimensions"]))
    return Query((metric["Namespace"], metric["MetricName"], names), stat)


def alarm_times(
    metrics: Metrics, created: datetime, until: datetime, reading: Reading, watched: Iterable[Alarm]
) -> dict[str, list[datetime]]:
    """When each alarm goes into ALARM, evaluated once a minute from its creation on."""
    found: dict[str, list[datetime]] = {}
    for alarm in watched:
        state, now, times = "INSUFFICIENT_DATA", created, []
        while now <= until:
            before, state = state, alarm.state_at(now, metrics, created, reading)
            if state == "ALARM" != before:
                times.append(now)
            now += MINUTE
        found[alarm.name] = times
    return found
