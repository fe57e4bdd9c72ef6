"""What CloudWatch has counted, and what SMS may cost: the figures that AWS gives only to those who ask in ranges."""

from datetime import timedelta
from typing import Any

from popwatch_cli.doctor.aws_state import Facts
from popwatch_cli.doctor.rules.stack import Figures
from popwatch_cli.doctor.table_state import NotKnownError

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def read_figures(facts: Facts) -> list[Figures]:
    """Of each function of the stack. Raises NotKnownError if the one that tests has none."""
    found = []
    for name in facts.of_type("AWS::Lambda::Function"):
        dimensions = {"FunctionName": name}
        errors, throttles = (
            _read(facts, ("AWS/Lambda", metric), dimensions, DAY) for metric in ("Errors", "Throttles")
        )
        tests = name == facts.outputs["CheckTargetsFunction"]
        if tests and not errors and not throttles:
            raise NotKnownError(f"CloudWatch has no figures of {name} in the last day")
        service = {"service": facts.installation.stack}
        lags = _read(facts, ("popwatch", "SweepLag"), service, HOUR, "Maximum") if tests else []
        found.append(Figures(name, int(sum(errors)), int(sum(throttles)), max(lags, default=None)))
    return found


def read_spend(facts: Facts) -> tuple[float, float]:
    """What SMS have cost this month, and what they may, in US dollars. Raises NotKnownError."""
    attributes = facts.client("sns").get_sms_attributes(attributes=["MonthlySpendLimit"])["attributes"]
    spent = _read(facts, ("AWS/SNS", "SMSMonthToDateSpentUSD"), {}, DAY, "Maximum")
    if not spent:
        raise NotKnownError("CloudWatch has no figures of what SMS have cost in the last day")
    return spent[-1], float(attributes.get("MonthlySpendLimit", 1.0))


def _read(
    facts: Facts, metric: tuple[str, str], dimensions: dict[str, str], since: timedelta, statistic: str = "Sum"
) -> list[float]:
    """The values of a metric (its namespace and name) by the hour, oldest first."""
    asked: Any = {
        "Namespace": metric[0],
        "MetricName": metric[1],
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
    }
    answer = facts.client("cloudwatch").get_metric_data(
        StartTime=facts.now - since,
        EndTime=facts.now + timedelta(minutes=1),
        ScanBy="TimestampAscending",
        MetricDataQueries=[{"Id": "asked", "MetricStat": {"Metric": asked, "Period": 3600, "Stat": statistic}}],
    )
    values: list[float] = answer["MetricDataResults"][0]["Values"]
    return values
