"""Of which of the user's own texts a message is made, and the figures of those that are no emails: docs/alerts.md.

A text for recoveries alone comes first, then that for both events, then the built-in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from tests.chaos.facts import Policy
from tests.chaos.oracle_figures import agrees, figures_of
from tests.chaos.record import Message, Run, Test

_SUBJECT = re.compile(r"(down|recovered) (\d+) of (\S+)")
_RECOVERED_SUBJECT = re.compile(r"(\S+) is back after (.*), (\d+) failed")
_SMS = re.compile(r"(down|recovered) (\d+) of (\S+), (\d+) failed, ([^:]*): \S+ \S+ UTC")
_RECOVERED_SMS = re.compile(r"(\S+) is back, (\d+) failed, ([^:]*): \S+ \S+ UTC")
HEADLINES = {"down": "DOWN {number}/{most}: {target} (", "recovered": "UP again: {target} ("}
"""The beginnings of built-in subjects."""


def field_of(policy: Policy, event: str, kind: str) -> str:
    """The field of a target whose text is used: `recovered_sms`, `sms`, or none for the built-in one."""
    names = ["recovered_" + kind, kind] if event == "recovered" else [kind]
    return next((name for name in names if getattr(policy, name)), "")


def wrong_texts(run: Run, message: Message, alerts: Sequence[int]) -> Iterator[str]:
    """What is wrong with the texts of a message: another field's than the target says, or a wrong figure.

    `alerts` are the failures that its `down` came with.
    """
    tests = _tests_of(run, message, alerts)
    if message.summary or not tests:
        return
    what = f"{message.event} {message.number} of {run.since:%Y-%m-%d %H:%M:%S}"
    if message.channel == "sms":
        used, kind = _sms(run, message, tests, alerts), "sms"
    else:
        used, kind = figures_of(message.text).own, "email"
        if message.channel == "alert":
            yield from _check(
                _subject(run, message, tests, alerts), message, tests, "subject", f"{what}: {message.subject}"
            )
        runbooks = {test.policy.runbook for test in tests}
        if used != "recovered_email" and figures_of(message.text).runbook not in runbooks:
            yield f"{what}: the runbook is {figures_of(message.text).runbook!r}, not one of {runbooks}"
    yield from _check(used, message, tests, kind, f"{what}: {message.text}")


def wants_own_sms(run: Run, message: Message, alerts: Sequence[int]) -> bool:
    """Whether the target said for certain that the SMS of an alert is to be of the user's words."""
    tests = _tests_of(run, message, alerts)
    return bool(tests) and all(field_of(test.policy, message.event, "sms") for test in tests)


def _check(used: str | None, message: Message, tests: Sequence[Test], kind: str, text: str) -> Iterator[str]:
    fields = {field_of(test.policy, message.event, kind) for test in tests}
    if used not in fields:
        yield f"the {kind} is {'wrong' if used is None else f'that of the field {used!r}'}, not of {fields}: {text}"


def _tests_of(run: Run, message: Message, alerts: Sequence[int]) -> list[Test]:
    """The tests at which a message may have been made: `down` at its own, `recovered` at any that a hold left it."""
    if message.event == "down":
        return [run.failed[alerts[message.number - 1] - 1]] if message.number <= len(alerts) else []
    known = run.confirmed
    later = (test for test in run.lifetime.tests if known and known.order <= test.order < message.order)
    return [test for test in later if run.end]


def _figures(run: Run, message: Message, tests: Sequence[Test]) -> tuple[timedelta, int]:
    """How long the outage lasted until a message, and how many of its tests had failed."""
    if run.end and message.event == "recovered":
        return run.end.began - run.since, len(run.failed)
    return tests[0].began - run.since, sum(test.order <= tests[0].order for test in run.failed)


def _subject(run: Run, message: Message, tests: Sequence[Test], alerts: Sequence[int]) -> str | None:
    """The field that a subject is made of; none if it is another text, or its figures are wrong."""
    length, failures = _figures(run, message, tests)
    own, recovery = _SUBJECT.fullmatch(message.subject), _RECOVERED_SUBJECT.fullmatch(message.subject)
    if recovery:
        right = recovery[1] == message.target and agrees(recovery[2], length) and int(recovery[3]) == failures
        return "recovered_subject" if right else None
    if own:
        number = message.number if message.event == "down" else len(alerts)
        return "subject" if own.groups() == (message.event, str(number), message.target) else None
    most = tests[0].policy.max_alerts
    beginning = HEADLINES[message.event].format(number=message.number, most=most, target=message.target)
    return "" if message.subject.startswith(beginning) else None


def _sms(run: Run, message: Message, tests: Sequence[Test], alerts: Sequence[int]) -> str | None:
    """The same of an SMS with an id."""
    length, failures = _figures(run, message, tests)
    own, recovery = _SMS.fullmatch(message.text), _RECOVERED_SMS.fullmatch(message.text)
    if recovery:
        right = recovery[1] == message.target and int(recovery[2]) == failures and agrees(recovery[3], length)
        return "recovered_sms" if right else None
    if own:
        number = message.number if message.event == "down" else len(alerts)
        right = own.groups()[:3] == (message.event, str(number), message.target)
        return "sms" if right and int(own[4]) == failures and agrees(own[5], length) else None
    return None
