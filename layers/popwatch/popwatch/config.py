"""The functions' settings, from their environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that the stack gives the function that tests.

    `samples_days` and `history_days` are how long History keeps samples, and transitions, alerts and hours. Above
    `storm_threshold` alerts in one batch the rest are sent as one summary. `reference_hosts` are hosts and TCP ports
    whose reachability shows that the network works. With `allow_local_targets` targets may have addresses of the
    function's own machine. `largest_batch` is how many targets one batch has on average (see `schedule`).
    `stack` is the stack's name as alerts say it, unless it is the usual one: the local stack has one of its own.
    `stack_name` is the one under which it is deployed, and below which its credentials are kept.
    """

    targets_table: str
    status_table: str
    history_table: str
    alert_topic_arn: str
    batch_queue_url: str
    sms_topic_arn: str
    samples_days: int = 30
    history_days: int = 400
    storm_threshold: int = 10
    function_timeout_seconds: int = 120
    largest_batch: int = 800
    reference_hosts: tuple[tuple[str, int], ...] = ()
    allow_local_targets: bool = False
    stack: str = "popwatch"
    stack_name: str = "popwatch"

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings in `environment`; raises KeyError or ValueError that names the variable."""
        stack_name = environment.get("POWERTOOLS_SERVICE_NAME") or "popwatch"
        return cls(
            targets_table=_text(environment, "TARGETS_TABLE"),
            status_table=_text(environment, "STATUS_TABLE"),
            history_table=_text(environment, "HISTORY_TABLE"),
            alert_topic_arn=_text(environment, "ALERT_TOPIC_ARN"),
            batch_queue_url=_text(environment, "BATCH_QUEUE_URL"),
            sms_topic_arn=_text(environment, "SMS_TOPIC_ARN"),
            reference_hosts=_endpoints(environment.get("REFERENCE_HOSTS", "")),
            allow_local_targets=environment.get("ALLOW_LOCAL_TARGETS") == "true",
            stack=environment.get("SHOWN_STACK") or stack_name,
            stack_name=stack_name,
            **{field: _integer(environment, name) for field, name in _NUMBERS.items() if environment.get(name)},
        )


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The settings that the stack gives the function behind the page's URL."""

    targets_table: str
    status_table: str
    history_table: str
    secret_arn: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings in `environment`; raises KeyError that names the variable."""
        names = ("TARGETS_TABLE", "STATUS_TABLE", "HISTORY_TABLE", "REPORT_SECRET_ARN")
        return cls(*(_text(environment, name) for name in names))


_NUMBERS = {
    "samples_days": "SAMPLES_DAYS",
    "history_days": "RECORDS_DAYS",  # its name in deployed stacks, from when the items of History were called records
    "storm_threshold": "STORM_THRESHOLD",
    "function_timeout_seconds": "FUNCTION_TIMEOUT_SECONDS",
}
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):(\d{1,5})")


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise KeyError(f"The environment variable {name} is not set: deploy the function with the stack's template.")
    return value


def _endpoints(text: str) -> tuple[tuple[str, int], ...]:
    """The endpoints of `host:port, [address]:port`."""
    found = [_ENDPOINT.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    if not all(found):
        raise ValueError(f"The environment variable REFERENCE_HOSTS must be a list of host:port, not {text!r}.")
    return tuple((match[1].strip("[]"), int(match[2])) for match in found if match)


def _integer(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isdecimal():
        raise ValueError(f"The environment variable {name} must be a whole number, not {text!r}.")
    return int(text)
