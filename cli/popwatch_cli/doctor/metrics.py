"""The figures that only CloudWatch's metrics have: errors and throttles of the functions, and what SMS cost."""

from datetime import timedelta
from typing import Any

from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.rules.stack import FunctionMetrics
from popwatch_cli.doctor.table_state import NotKnownError
from popwatch_cli.subscriptions import read_spend_limit

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def read_function_metrics(aws: AwsState) -> list[FunctionMetrics]:
    """The metrics of each function of the stack. Raises NotKnownError if the function that tests has none."""
    metrics = []
    for name in aws.of_type("AWS::Lambda::Function"):
        dimensions = {"FunctionName": name}
        errors, throttles = (_read(aws, ("AWS/Lambda", metric), dimensions, DAY) for metric in ("Errors", "Throttles"))
        is_tester = name == aws.outputs["CheckTargetsFunction"]
        if is_tester and not errors and not throttles:
            raise NotKnownError(f"CloudWatch has no metrics of {name} for the last day")
        service = {"service": aws.installation.stack}
        lags = _read(aws, ("popwatch", "SweepLag"), service, HOUR, "Maximum") if is_tester else []
        metrics.append(FunctionMetrics(name, int(sum(errors)), int(sum(throttles)), max(lags, default=None)))
    return metrics


def read_spend(aws: AwsState) -> tuple[float, float]:
    """What SMS have cost this month, and their monthly limit, in US dollars. Raises NotKnownError."""
    limit = read_spend_limit(aws.client("sns"))
    if limit is None:
        raise NotKnownError("SNS names no monthly limit of this account for SMS: then its quota is the limit")
    spent = _read(aws, ("AWS/SNS", "SMSMonthToDateSpentUSD"), {}, DAY, "Maximum")
    if not spent:
        raise NotKnownError("CloudWatch has no metrics of the cost of SMS for the last day")
    return spent[-1], float(limit)


def _read(
    aws: AwsState, metric: tuple[str, str], dimensions: dict[str, str], since: timedelta, statistic: str = "Sum"
) -> list[float]:
    """The hourly values of a metric (its namespace and name), oldest first."""
    query: Any = {
        "Namespace": metric[0],
        "MetricName": metric[1],
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
    }
    answer = aws.client("cloudwatch").get_metric_data(
        StartTime=aws.now - since,
        EndTime=aws.now + timedelta(minutes=1),
        ScanBy="TimestampAscending",
        MetricDataQueries=[{"Id": "asked", "MetricStat": {"Metric": query, "Period": 3600, "Stat": statistic}}],
    )
    values: list[float] = answer["MetricDataResults"][0]["Values"]
    return values
