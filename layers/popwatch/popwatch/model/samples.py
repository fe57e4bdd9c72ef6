"""Samples: the result of one test as History keeps it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from popwatch.model.outcomes import MAILBOX_NUMBERS, ErrorCode, LoginResult, LoginVerdict, Outcome
from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.serialization import COUNTS, Range
from popwatch.model.text import truncate

Stored = float | Mapping[str, object]
"""A sample in its item: the bare rtt in ms of a pass, a map of anything else."""


REASON_KEPT = 100
"""Characters of a reason in a sample: that of a target with many wrong fields names them all."""

LARGEST_STORED = 200
"""Bytes that a sample takes in an item of DynamoDB at most, beside its target's id."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What a login counted in the mailbox (STAT, RFC 1939 section 5)."""

    messages: int
    octets: int


@quick_dataclass(frozen=True, slots=True)
class Sample:
    """The result of one test: passed with an `rtt_ms`, or failed with an `error`.

    `degraded` counts the addresses that failed in a passed test. A test that failed in maintenance or under a silence
    (`in_maintenance`), or perhaps by the monitor's own network (`inconclusive`), is neither a pass nor a failure.
    An `uncounted` test did not change the health, as it came before one was due.
    A test that logged in has the `mailbox`; a passed one whose login came to something else says to what (`login`), and
    one that failed at its login has `failed`. A passed test without a login `ends_login_run` if it ended a run in which
    a login failed, as none could be tested any more.
    """

    rtt_ms: float | None = None
    error: ErrorCode | None = None
    reason: str = ""
    degraded: int = 0
    in_maintenance: bool = False
    inconclusive: bool = False
    mailbox: Mailbox | None = None
    login: LoginVerdict | None = None
    uncounted: bool = False
    ends_login_run: bool = False


def sample_of(
    outcome: Outcome,
    *,
    maintenance: bool = False,
    inconclusive: bool = False,
    uncounted: bool = False,
    ends_login_run: bool = False,
) -> Sample:
    """The sample of an outcome; its rtt has three digits."""
    mailbox = _mailbox_of(outcome.login)
    if outcome.error is not None:
        return Sample(
            None,
            outcome.error,
            outcome.reason,
            in_maintenance=maintenance,
            inconclusive=inconclusive,
            mailbox=mailbox,
            login=LoginVerdict.FAILED if outcome.fails_login else None,
            uncounted=uncounted,
        )
    rtt_ms = float(f"{outcome.rtt_ms or 0.0:.3g}")
    failed, login = len(outcome.failed_addresses), None if mailbox or not outcome.login else outcome.login.verdict
    if failed or mailbox or login or ends_login_run:
        return Sample(rtt_ms, degraded=failed, mailbox=mailbox, login=login, ends_login_run=ends_login_run)
    return _passed(rtt_ms)


def _mailbox_of(login: LoginResult | None) -> Mailbox | None:
    if login is None or login.messages is None or login.octets is None:
        return None
    return Mailbox(login.messages, login.octets)


def to_stored(sample: Sample) -> Stored:
    """A sample as History keeps it. Terse, since a fleet writes tens of thousands an hour."""
    rtt_ms = sample.rtt_ms or 0.0
    if sample is _passed(rtt_ms):  # as nearly all are; another object of the same value takes the longer way below
        return rtt_ms
    mailbox = {"messages": sample.mailbox.messages, "octets": sample.mailbox.octets} if sample.mailbox else {}
    login = {"login": sample.login.value} if sample.login else {}
    flags = {
        "maintenance": sample.in_maintenance,
        "inconclusive": sample.inconclusive,
        "uncounted": sample.uncounted,
        "ends_login_run": sample.ends_login_run,
    }
    more = {**{name: True for name in flags if flags[name]}, **mailbox, **login}
    if sample.error is not None:
        return {"error": sample.error.value, "reason": truncate(sample.reason, REASON_KEPT), **more}
    degraded = {"degraded": sample.degraded} if sample.degraded else {}
    return {"rtt_ms": rtt_ms, **degraded, **more} if degraded or more else rtt_ms


def from_stored(stored: object) -> Sample:
    """The sample that `to_stored` made `stored` of; of anything else one that neither passed nor failed.

    One damaged sample must not stop the report of all.
    """
    if _is_time(stored):
        return _passed(stored)
    if not isinstance(stored, Mapping):
        return Sample()
    rtt_ms, error, degraded = stored.get("rtt_ms"), stored.get("error"), stored.get("degraded", 0)
    if error is None and _is_time(rtt_ms) and _is_count(degraded, COUNTS):
        return Sample(
            float(rtt_ms),
            degraded=degraded,
            mailbox=_stored_mailbox(stored),
            login=_stored_login(stored),
            uncounted=bool(stored.get("uncounted")),
            ends_login_run=bool(stored.get("ends_login_run")),
        )
    if not isinstance(error, str) or error not in list(ErrorCode):
        return Sample()
    return Sample(
        None,
        ErrorCode(error),
        str(stored.get("reason", "")),
        in_maintenance=bool(stored.get("maintenance")),
        inconclusive=bool(stored.get("inconclusive")),
        mailbox=_stored_mailbox(stored),
        login=_stored_login(stored),
        uncounted=bool(stored.get("uncounted")),
    )


def _stored_login(stored: Mapping[str, object]) -> LoginVerdict | None:
    login = stored.get("login")
    return LoginVerdict(login) if isinstance(login, str) and login in list(LoginVerdict) else None


def _stored_mailbox(stored: Mapping[str, object]) -> Mailbox | None:
    messages, octets = stored.get("messages"), stored.get("octets")
    if _is_count(messages, MAILBOX_NUMBERS) and _is_count(octets, MAILBOX_NUMBERS):
        return Mailbox(messages, octets)
    return None


def _is_time(stored: object) -> TypeGuard[int | float]:
    """Whether it is a number of ms that a test can have taken; True and False are numbers to Python."""
    return type(stored) in (int, float) and stored in COUNTS  # type: ignore[operator]


def _is_count(stored: object, allowed: Range) -> TypeGuard[int]:
    return type(stored) is int and stored in allowed


@lru_cache(maxsize=10_000)
def _passed(rtt_ms: float) -> Sample:
    """The sample of a plain pass: with three digits there are few, so reading millions of them makes few objects."""
    return Sample(float(rtt_ms))
