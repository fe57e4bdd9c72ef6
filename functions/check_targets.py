"""The function behind the schedule and the batch queue: does the work of a tick, or of one message of the queue."""

import gc
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import boto3
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit, single_metric
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from function_log import new_logger
from popwatch import __version__
from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.credentials import Credentials
from popwatch.aws.store import Store, Tables
from popwatch.config import Settings
from popwatch.decisions.batches import RequestedTests, RollupJob, from_message, why_refused
from popwatch.model.posture import Posture
from popwatch.model.serialization import serialize
from popwatch.model.stored_credentials import path_of
from popwatch.model.targets import Target
from popwatch.prober.access_tokens import AccessTokens
from popwatch.prober.loop import Prober
from popwatch.prober.posture import probe_postures
from popwatch.sweep.logins import Logins
from popwatch.sweep.sweep import Dependencies, InvocationStats, RefusedTickError, Sweep

RESERVE_SECONDS = 20.0
"""Time at the end of an invocation, after its tests, for commits and alerts, AWS's retries included."""

POSTURE_SECONDS = 30.0
"""The most that posture tests take at the end of an invocation; what could not end by then is not tested that day."""

POSTURE_DEADLINE = 4.0
"""Seconds for each connection of a posture test: one slow server must not take the time of all."""

LONG_LAG_SECONDS = 90.0
"""From a tick until its tests have ended: Scheduler may fire 59 seconds late, and 30 more are usual."""

_SSM_CALLS = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
"""Tests wait while credentials are read: what takes longer than some seconds is a problem of the credentials."""

_CALLS = Config(
    connect_timeout=2, read_timeout=5, max_pool_connections=16, retries={"mode": "standard", "total_max_attempts": 5}
)

logger = new_logger()

# What has been imported lives as long as the process. A tick makes so many objects that Python looks for garbage
# several times, and each time would look at all modules again: that took 7 % of the tick.
gc.freeze()


class UndeliveredError(Exception):
    """AWS refused alerts or items of History. They stay in the outboxes, and a later sweep delivers them.

    Raised so that Lambda counts an error: the operator should know.
    """


class RefusedMessageError(ValueError):
    """A message that popwatch cannot have sent by now. `Errors` counts it, and it ends among the dead letters."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> object:
    """Do the work of a tick of the schedule, or of a message of the batch queue."""
    if isinstance(event, dict) and "Records" in event:
        return _handle_messages(event["Records"], context)
    sweep = _sweep(context)
    try:
        stats = sweep.run_tick(_tick_of(event))
    except RefusedTickError:
        _publish({"TicksRefused": 1})
        raise
    _publish_stats("A sweep has ended.", stats)
    # Only a lag that is long: each metric that is sent costs 0.30 USD a month, and the log has every lag.
    if stats.lag_seconds > LONG_LAG_SECONDS:
        _publish({}, stats.tick, SweepLag=stats.lag_seconds)
    sweep.test_postures()
    return None


def _handle_messages(records: Sequence[Mapping[str, Any]], context: LambdaContext) -> object:
    """Do the work of each message, and name those that failed, which return to the queue.

    If all failed, and by the template's BatchSize there is but one, so does the invocation, which Lambda counts as an
    error. Powertools has the same in its batch utility, whose import takes a fifth of a cold start.
    """
    errors: dict[str, Exception] = {}
    for record in records:
        try:
            _handle_message(record, context)
        except Exception as error:
            errors[record["messageId"]] = error
    if errors and len(errors) == len(records):
        raise next(iter(errors.values()))
    for failure in errors.values():
        logger.error("A message could not be processed.", exc_info=failure)
    return {"batchItemFailures": [{"itemIdentifier": failed} for failed in errors]}


def _handle_message(record: Mapping[str, Any], context: LambdaContext) -> None:
    work = from_message(record["body"])
    why = why_refused(work, _clock())
    if why:
        raise RefusedMessageError(f"A message of the batch queue is refused, and nothing is tested: {why}.")
    sweep = _sweep(context)
    if isinstance(work, RollupJob):
        sweep.run_hour(work)
    elif isinstance(work, RequestedTests):
        _publish_stats("A request for tests has ended.", sweep.run_requested(work))
    else:
        stats = sweep.run_batch(work, _sent_at(record))
        _publish_stats("A batch has ended.", stats)
        sweep.test_postures()


def _sent_at(record: Mapping[str, Any]) -> datetime | None:
    """When SQS took the message, by its own clock (AWS: API_Message, SentTimestamp, in milliseconds since 1970)."""
    sent = (record.get("attributes") or {}).get("SentTimestamp")
    return datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None


def _tick_of(event: Mapping[str, Any]) -> datetime:
    """The time for which the schedule fired, never the clock: Scheduler fires anywhere within its minute."""
    try:
        return datetime.fromisoformat(event["scheduled_time"]).astimezone(UTC).replace(microsecond=0)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(
            "The event needs `scheduled_time` in ISO 8601, such as 2026-11-23T12:34:00Z; events/tick.json is a sample."
        ) from None


def _sweep(context: LambdaContext) -> Sweep:
    end_by = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    return Sweep(_dependencies(), _settings(), writer=context.aws_request_id, end_by=end_by, clock=_clock)


def _publish_stats(headline: str, stats: InvocationStats) -> None:
    """Log statistics and publish their metrics; raises UndeliveredError if AWS refused a delivery."""
    # The CPU time of this execution environment since its process began: `popwatch verify` takes the differences.
    logger.info(headline, extra={**serialize(stats), "cpu_ms": round(time.process_time() * 1000)})
    _publish({"Tests": stats.tests}, stats.tick)
    rare = {
        "Alerts": stats.alerts.total(),
        "Dropped": stats.dropped,
        "Inconclusive": stats.inconclusive,
        "PlainMessages": stats.fallback_messages,  # its name in the alarms of deployed stacks
    }
    _publish({name: count for name, count in rare.items() if count})
    _count_by("Failures", "error", stats.failures)
    _count_by("Targets", "state", stats.states)
    if stats.undelivered:
        raise UndeliveredError(
            f"AWS refused {stats.undelivered} alerts or items of History. A later sweep delivers them from the outbox."
        )


def _count_due(tick: datetime, tests: int) -> None:
    """Publish that tests of a tick are due. `Tests` of the same minute is there from now on: 0 until some are made."""
    _publish({"TestsDue": tests, "Tests": 0}, tick)


def _publish(counts: Mapping[str, int], tick: datetime | None = None, **seconds: float) -> None:
    """Publish metrics of now, or of a tick, whenever in its minute that comes: what is due and what was made of
    it belong to the same minute, so that alarms may subtract the one from the other.
    """
    if not counts and not seconds:
        return
    metrics = EphemeralMetrics()
    if tick:
        metrics.set_timestamp(tick)
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    for name, value in seconds.items():
        metrics.add_metric(name, MetricUnit.Seconds, value)
    metrics.flush_metrics()


def _count_by(name: str, dimension: str, counts: Mapping[Any, int]) -> None:
    """One metric for each value that occurs: CloudWatch charges for every metric that is sent."""
    for value, count in counts.items():
        with single_metric(name=name, unit=MetricUnit.Count, value=count) as metric:
            metric.add_dimension(dimension, str(value))


def _clock() -> datetime:
    return datetime.now(UTC)


@cache
def _settings() -> Settings:
    return Settings.from_env()


@cache
def _dependencies() -> Dependencies:
    """The dependencies over clients that live as long as the execution environment."""
    settings = _settings()
    versions = {"popwatch": __version__, "python": sys.version.split()[0], "boto3": boto3.__version__}
    logger.info("A new execution environment has started.", extra=versions)
    tables = Tables(
        settings.targets_table,
        settings.status_table,
        settings.history_table,
        samples_kept=timedelta(days=settings.samples_days),
        history_kept=timedelta(days=settings.history_days),
    )
    store = Store(boto3.client("dynamodb", config=_CALLS), tables, _clock)
    topics = AlertTopics(boto3.client("sns", config=_CALLS), settings.alert_topic_arn, settings.sms_topic_arn)
    credentials = Credentials(lambda: boto3.client("ssm", config=_SSM_CALLS), path_of(settings.stack_name), _clock)
    return Dependencies(
        store=store,
        prober=Prober(allow_local=settings.allow_local_targets),
        alert_topics=topics,
        batch_queue=BatchQueue(boto3.client("sqs", config=_CALLS), settings.batch_queue_url),
        count_due=_count_due,
        logins=Logins(store, credentials, AccessTokens(_clock), topics, _clock, stack=settings.stack),
        probe_postures=_probe_postures,
    )


def _probe_postures(targets: Sequence[Target], end_by: float) -> Iterable[tuple[Target, Posture]]:
    """The postures of targets, as far as they can be had soon: the sweep waits for them."""
    hurried = [replace(it, max_test_seconds=min(it.max_test_seconds, POSTURE_DEADLINE)) for it in targets]
    make_prober = partial(Prober, allow_local=_settings().allow_local_targets)
    return probe_postures(hurried, make_prober, end_by=min(end_by, time.monotonic() + POSTURE_SECONDS))
