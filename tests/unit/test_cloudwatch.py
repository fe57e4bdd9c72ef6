"""The simulated CloudWatch agrees with the tables of AWS's own documentation."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.cloudwatch import Alarm, MetricMath, Metrics, Query, Reading, alarms

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
KEY = ("popwatch", "m", ("service",))


def alarm(to_alarm: int, missing: str) -> Alarm:
    return Alarm("a", {"m1": Query(KEY, "Sum")}, "", 1, 3, to_alarm, 0, "GreaterThanThreshold", missing, timedelta())


@pytest.mark.parametrize(
    ("points", "to_alarm", "breaching", "not_breaching"),
    [
        ("0 - X - X", 3, "OK", "OK"),
        ("0 - - - -", 3, "OK", "OK"),
        ("- - - - -", 3, "ALARM", "OK"),
        ("0 X X - X", 3, "ALARM", "ALARM"),
        ("- - - - X", 3, "ALARM", "OK"),
        ("0 - X - X", 2, "ALARM", "ALARM"),
        ("0 0 X 0 X", 2, "ALARM", "ALARM"),
        ("0 - X - -", 2, "ALARM", "OK"),
        ("- - - - 0", 2, "ALARM", "OK"),
        ("- - - - X", 2, "ALARM", "OK"),
    ],
)
def test_missing_data_as_in_aws_s_tables(points: str, to_alarm: int, breaching: str, not_breaching: str) -> None:
    """AWS: alarms-and-missing-data.html. Three of three and two of three, five data points retrieved."""
    metrics = Metrics()
    for age, point in enumerate(reversed(points.split()), 1):
        if point != "-":
            metrics.put(KEY, NOON - timedelta(minutes=age), float(point == "X"))
    reading = Reading(extra_points=2, arrival=timedelta())
    states = [
        alarm(to_alarm, missing).state_at(NOON, metrics, NOON, reading) for missing in ("breaching", "notBreaching")
    ]
    assert states == [breaching, not_breaching]


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("one < two", [0, 0, 1, 0]),
        ("one > 15 AND two > 15", [1, 0, 0, 0]),
        ("FILL(two, 7) - one", [-10, -13, 20, 7]),
        ("one - two", [10, 20, -20, 0]),
    ],
)
def test_metric_math_as_in_aws_s_table(expression: str, values: list[int]) -> None:
    """AWS: using-metric-math.html, two series of which one has gaps."""
    found = MetricMath({"one": {1: 30, 2: 20, 3: 0, 4: 0}, "two": {1: 20, 3: 20}}, [1, 2, 3, 4]).evaluate(expression)
    assert [found[minute] for minute in (1, 2, 3, 4)] == values


def test_whether_fill_fills_a_series_without_values_is_not_published() -> None:
    """Both are simulated."""
    for fills, expected in ((True, {1: 5.0, 2: 5.0}), (False, {})):
        assert MetricMath({"none": {}}, [1, 2], fills_empty=fills).evaluate("FILL(none, 5)") == expected


def test_a_new_alarm_waits_for_its_warm_up() -> None:
    """Until then it is neither OK nor in ALARM, although all data is missing; after that it alarm_times."""
    found = alarms()["NoSweepAlarm"]
    states = [
        found.state_at(NOON + minutes * timedelta(minutes=1), Metrics(), NOON, Reading()) for minutes in range(12)
    ]
    assert states == ["INSUFFICIENT_DATA"] * 10 + ["ALARM"] * 2


def test_every_alarm_of_the_template_is_understood() -> None:
    """What the simulation does not know raises an error instead of being left out."""
    assert len(alarms()) >= 7
    for found in alarms().values():
        for reading in (Reading(), Reading(fills_empty=False)):
            state = found.state_at(NOON + timedelta(hours=1), Metrics(), NOON, reading)
            assert state == ("ALARM" if found.name == "NoSweepAlarm" else "OK"), found.name
