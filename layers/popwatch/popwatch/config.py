"""The function's settings, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stack tells the function.

    `samples_days` and `records_days` are how long History keeps samples, and transitions, alerts and hours. Above
    `storm_threshold` alerts in one batch the rest go out as one summary.
    """

    targets_table: str
    status_table: str
    history_table: str
    alert_topic_arn: str
    batch_queue_url: str
    samples_days: int = 30
    records_days: int = 400
    storm_threshold: int = 10
    function_timeout_seconds: int = 120

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings in `environment`; raises KeyError or ValueError that names the variable."""
        return cls(
            targets_table=_text(environment, "TARGETS_TABLE"),
            status_table=_text(environment, "STATUS_TABLE"),
            history_table=_text(environment, "HISTORY_TABLE"),
            alert_topic_arn=_text(environment, "ALERT_TOPIC_ARN"),
            batch_queue_url=_text(environment, "BATCH_QUEUE_URL"),
            **{name: _whole(environment, name.upper()) for name in _NUMBERS if environment.get(name.upper())},
        )


_NUMBERS = ("samples_days", "records_days", "storm_threshold", "function_timeout_seconds")


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise KeyError(f"The environment variable {name} is not set: deploy the function with the stack's template.")
    return value


def _whole(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isdecimal():
        raise ValueError(f"The environment variable {name} must be a whole number, not {text!r}.")
    return int(text)
