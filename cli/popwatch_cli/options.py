"""Types of options: the stack, words, durations, time zones, and periods as people write them."""

import math
import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from typing import Any
from zoneinfo import available_timezones

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from popwatch.model.fields import OTHER_WORDS
from popwatch.model.text import clean, did_you_mean, parse_seconds
from popwatch.model.windows import parse_timezone
from popwatch.reports.availability import Period
from popwatch_cli.errors import VALUE_SHOWN, UserError

_DAYS_AGO = {"today": 0, "yesterday": 1}
"""Words for a midnight."""

STACK_NAME = "popwatch"
"""The name of the local stack, and the default name of a stack in AWS."""

WRITTEN_DURATIONS = "90s, 5m, 2h30m, 1d"
"""Examples of durations as messages show them."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NARROWEST = 40
"""Characters of a line for which output is made at least."""

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)

FARTHEST = timedelta(days=10 * 365)
"""How far ahead a time to come may be, and how long an intervention at most."""

SINCE = "Begin: a date, an ISO 8601 time, or an age such as 7d."
"""Help text of `--since`."""

AT = "A time to come: 03:00, or an ISO 8601 time; in the target's `timezone` unless --timezone is given."
"""Help text of `--at`."""

UNTIL = "End, in the same formats. [default: now]"
"""Help text of `--until`."""


@dataclass(frozen=True, slots=True)
class StackChoice:
    """What the options that every command has say: the stack, how AWS is reached, and how much is printed.

    `stack_is_given` says whether the stack is named on the command line, not only by the environment. `width` is in
    characters; None is that of the terminal, and elsewhere no limit.
    """

    stack: str = STACK_NAME
    stack_is_given: bool = False
    local: bool = False
    region: str | None = None
    profile: str | None = None
    verbose: bool = False
    as_json: bool = False
    width: int | None = None

    @property
    def in_use(self) -> str:
        """The options with which another command finds the same stack, as they are typed."""
        if self.local:
            return "--local"
        usual = os.environ.get("POPWATCH_STACK") or STACK_NAME
        named = f"--stack {shlex.quote(self.stack)}" if self.stack != usual else ""
        return f"{named} {self.of_aws}".strip()

    @property
    def of_aws(self) -> str:
        """The options with which a command of the AWS CLI, too, means the same account and region."""
        named = {"--region": self.region, "--profile": self.profile}
        return " ".join(f"{option} {shlex.quote(value)}" for option, value in named.items() if value)

    @property
    def for_aws_alone(self) -> Sequence[str]:
        """The options that were given and do nothing with `--local`, which is not in AWS."""
        given = {"--stack": self.stack_is_given, "--region": self.region, "--profile": self.profile}
        return [option for option, value in given.items() if value]


_CHOICE: ContextVar[StackChoice | None] = ContextVar("_CHOICE", default=None)


def chosen() -> StackChoice:
    """What the options of the running command say."""
    return _CHOICE.get() or StackChoice()


def choose(choice: StackChoice) -> None:
    """Let this be what `chosen` says from here on."""
    _CHOICE.set(choice)


def given_options(context: click.Context) -> set[str]:
    """The names of the options and arguments on the command line."""
    source = {name: context.get_parameter_source(name) for name, value in context.params.items() if value != ()}
    return {name for name in source if source[name] is ParameterSource.COMMANDLINE}


def refuse_ineffective(names: Collection[str], why: str) -> None:
    """Refuse these options of the running command. Raises click.UsageError: `--delay does nothing {why}.`"""
    context = click.get_current_context()
    given = given_options(context) & set(names)
    first = next((option for option in context.command.params if option.name in given), None)
    if first:
        raise click.UsageError(f"{long_name(first)} does nothing {why}.")


def long_name(option: click.Parameter) -> str:
    """The name of an option as messages have it: the first one with two dashes, if there is one."""
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


def quoted(value: object) -> str:
    """A value that was typed, in quotes; `…` stands for what is cut."""
    return repr(clean(str(value), VALUE_SHOWN))


class Choice(click.Choice):
    """An option that takes one of some words, and says which one may have been meant.

    `instead` has the sentences for what other programs call it.
    """

    def __init__(self, words: Iterable[str], instead: Mapping[str, str] | None = None) -> None:
        super().__init__([str(word) for word in words], case_sensitive=False)
        self._instead = instead or {}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word that the option's text is, in whatever case."""
        by_lower = {word.lower(): word for word in self.choices}
        if str(value).lower() not in by_lower:
            hint = self._hint(str(value).lower())
            self.fail(f"{quoted(value)} is not one of {', '.join(self.choices)}.{hint}", param, ctx)
        return by_lower[str(value).lower()]

    def _hint(self, written: str) -> str:
        if written in self._instead:
            return f" {self._instead[written]}"
        meant = OTHER_WORDS.get(written, written)
        return did_you_mean(meant if meant in self.choices else written, self.choices, mark="")

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        """The words, in a sentence: click would write a list over several lines."""
        return f"Choose one of {', '.join(self.choices)}."


class WholeNumber(click.IntRange):
    """An option that takes a whole number between limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that the option's text gives."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{quoted(value)} is not a valid number.", param, ctx)
        if self.min is not None and number < self.min:
            self.fail(f"{number} is less than {self.min:g}.", param, ctx)
        if self.max is not None and number > self.max:
            self.fail(f"{number} is more than {self.max:g}.", param, ctx)
        return number

    def _describe_range(self) -> str:
        """The limits as help texts show them: click would write `1<=x<=20`."""
        return f"{self.min} to {self.max}" if self.max is not None else f"{self.min} or more"


class SecondsOption(click.ParamType):
    """An option that takes seconds: as a number, or as a duration."""

    name = "seconds"

    def __init__(self, lowest: float = 0, highest: float = math.inf) -> None:
        self._lowest, self._highest = lowest, highest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that the option's text gives."""
        try:
            seconds = _seconds(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not self._lowest <= seconds <= self._highest:
            least, most = f"{self._lowest:g}", f"{self._highest:g}"
            limits = f"less than {least}" if self._highest == math.inf else f"not between {least} and {most}"
            self.fail(f"{quoted(value)} is {limits} seconds.", param, ctx)
        return seconds


def _seconds(text: str) -> float:
    """The seconds of a number or a duration. Raises ValueError."""
    written = parse_seconds(text)
    try:
        seconds = float(text) if written is None else float(written)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{quoted(text)} is not a time: write seconds, or {WRITTEN_DURATIONS}")
    return seconds


class MillisecondsOption(click.ParamType):
    """An option that takes milliseconds."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that the option's text gives."""
        try:
            return float(value)
        except ValueError:
            self.fail(f"{quoted(value)} is not a number of milliseconds, such as 1500.", param, ctx)


class DurationOption(click.ParamType):
    """An option that takes a duration: in seconds, or as `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration that the option's text gives."""
        if isinstance(value, timedelta):
            return value
        try:
            duration = timedelta(seconds=_seconds(str(value)))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        except OverflowError:
            self.fail(f"{quoted(value)} is too long.", param, ctx)
        if duration <= timedelta():
            self.fail(f"{quoted(value)} is not a duration: write more than 0 seconds.", param, ctx)
        return duration


DURATION = DurationOption()


class RegionOption(click.ParamType):
    """An option that takes a region of AWS."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The region that the option's text names; whether there is such a one is AWS's to say."""
        if not re.fullmatch(r"[a-z0-9-]{1,40}", str(value).strip().lower()):
            self.fail(f"{quoted(value)} is not a region: write one such as eu-central-1.", param, ctx)
        return str(value).strip().lower()


REGION = RegionOption()


class TimezoneOption(click.ParamType):
    """An option that takes a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        """The time zone that the option's text names."""
        if isinstance(value, tzinfo):
            return value
        try:
            return parse_timezone(value)
        except ValueError as error:
            self.fail(f"{error}.{did_you_mean(str(value)[:40], available_timezones(), mark='')}", param, ctx)

    def shell_complete(self, _: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The zones that begin so."""
        return [CompletionItem(name) for name in sorted(available_timezones()) if name.startswith(incomplete)]


ZONE = TimezoneOption()


def region_hint(name: str | None) -> str:
    """` Did you mean us-east-1 or us-west-1?`, for a region that the AWS SDK does not know; otherwise ""."""
    import difflib  # noqa: PLC0415 - as in `did_you_mean`

    from botocore.session import get_session  # noqa: PLC0415 - slow, and only mistakes need it

    known = get_session().get_available_regions("cloudformation") if name else []
    close = difflib.get_close_matches(name, known, n=2) if name and name not in known else []
    return f" Did you mean {' or '.join(sorted(close))}?" if close else ""


def month_of(text: str, zone: tzinfo) -> Period:
    """The calendar month `2026-10` in local time of `zone`. Raises UserError."""
    try:
        first = date.fromisoformat(f"{text}-01")
        # 32 days after the first of a month is always a day of the next month.
        following = (first + timedelta(days=32)).replace(day=1)
        return Period(_midnight(first, zone), _midnight(following, zone))
    except (ValueError, OverflowError):
        raise UserError(f"{clean(text, VALUE_SHOWN)} is not a month: write it as 2026-10.") from None


def period_of(since: str, until: str | None, zone: tzinfo, now: datetime) -> Period:
    """From `since` to `until`, or to now. Raises UserError.

    Each is a date or time in ISO 8601, or a duration before now.
    """
    begin = _time_of(since, zone, now)
    end = min(_time_of(until, zone, now), now) if until else now
    if begin >= end:
        raise UserError(f"The period is empty: it begins at {begin:%Y-%m-%d %H:%M} and ends at {end:%Y-%m-%d %H:%M}.")
    return Period(begin, end)


def _time_of(text: str, zone: tzinfo, now: datetime) -> datetime:
    time = _parse(text, zone, now)
    if time <= EPOCH:
        raise UserError(f"{clean(text, VALUE_SHOWN)} is too early: there is no data before 1970.")
    return time


def _parse(text: str, zone: tzinfo, now: datetime) -> datetime:
    """The time that a text gives; of what datetime cannot represent in UTC, the nearest. Raises UserError."""
    if text.lower() in _DAYS_AGO:
        return _midnight(now.astimezone(zone).date() - timedelta(days=_DAYS_AGO[text.lower()]), zone)
    age = parse_seconds(text.removeprefix("-"))  # not a bare number: that may be meant as a year
    try:
        time = now if age else datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{clean(text, VALUE_SHOWN)} is not a time: write 2026-11-24, 2026-11-24T03:12, or 7d for a week ago."
        ) from None
    try:
        return now - timedelta(seconds=age) if age else in_utc(time, zone, text)
    except OverflowError:
        return _END_OF_TIME if not age and time.year > EPOCH.year else EPOCH


def in_utc(time: datetime, zone: tzinfo, text: str) -> datetime:
    """A time, in `zone` unless it has an offset, in UTC.

    Raises UserError, which quotes `text`, for one that a change of the clocks leaves out or has twice, and
    OverflowError if datetime cannot represent it.
    """
    if time.tzinfo:
        return time.astimezone(UTC)
    if time.time() == clock_time():
        return _midnight(time.date(), zone)
    # PEP 495: fold=0 takes the offset before a change of the clocks, and fold=1 the one after it.
    before, after = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if before.utcoffset() == after.utcoffset():
        return before.astimezone(UTC)
    if before.astimezone(UTC) > after.astimezone(UTC):
        raise UserError(
            f"{clean(text, VALUE_SHOWN)} does not exist in {zone} on {time:%Y-%m-%d}: the clocks go forward then. "
            "Write a time before or after that."
        )
    first, second = (f"{it:%Y-%m-%dT%H:%M}{it.isoformat()[-6:]}" for it in (before, after))
    raise UserError(
        f"{clean(text, VALUE_SHOWN)} comes twice in {zone} on {time:%Y-%m-%d}, when the clocks go back: "
        f"write {first} or {second}."
    )


def time_ahead(text: str, zone: tzinfo, now: datetime) -> datetime:
    """The time that a text gives in UTC: `03:00` (the next such time of day in `zone`), an ISO 8601 time, `now`.

    Raises UserError for any other text, and for a time that has passed.
    """
    if text.lower() == "now":
        return now
    try:
        time_of_day = clock_time.fromisoformat(text.rjust(5, "0") if ":" in text else "")
    except ValueError:
        time_of_day = None
    if time_of_day and not time_of_day.tzinfo:
        local = now.astimezone(zone)
        day = local.date() + timedelta(days=0 if time_of_day > local.time() else 1)
        return in_utc(datetime.combine(day, time_of_day), zone, text)
    try:
        time = datetime.fromisoformat(text)
        found = in_utc(time, zone, text)
    except (ValueError, OverflowError):
        raise UserError(f"{clean(text, VALUE_SHOWN)} is not a time: write 03:00, or 2026-11-24T03:00.") from None
    if found <= now:
        raise UserError(f"{clean(text, VALUE_SHOWN)} has passed: write a time to come, or a time of day such as 03:00.")
    if found - now > FARTHEST:
        raise UserError(
            f"{clean(text, VALUE_SHOWN)} is too far ahead: write a time of the next {FARTHEST.days // 365} years."
        )
    return found


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The beginning of a day."""
    # Some zones change to summer time at midnight, so that 0:00 does not exist. With fold=0 Python takes the offset
    # before the change (PEP 495), and the result is the instant at which the clock goes forward.
    return datetime.combine(day, clock_time(), zone).astimezone(UTC)
