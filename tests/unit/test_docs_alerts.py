"""docs/alerts.md agrees with the code: every token with its real value, every text as it is rendered."""

import re
from pathlib import Path
from textwrap import indent

import pytest

from popwatch.alerts.rendering import summarize
from popwatch.alerts.tokens import TOKENS
from popwatch.model.health import AlertEvent
from popwatch.model.messages import AlertMessage
from tests.examples import START, others, outage, target

DOC = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
INTERVENTIONS = (Path(__file__).parents[2] / "docs" / "interventions.md").read_text()
FIRST, *_, RECOVERED = outage(target())


def test_every_token_is_documented_with_its_value() -> None:
    """The table lists the tokens of the code, in their order, with meaning and example, and no other."""
    template = "|".join(f"{{{token.name}}}" for token in TOKENS)
    values = next(outage(target(email=template))).email.split("|")
    rows = re.findall(r"^\| `\{([a-z_]+)\}` \| (.*?) \| (.*?) ?\|$", DOC, re.MULTILINE)
    assert rows == [(token.name, token.meaning, value) for token, value in zip(TOKENS, values, strict=True)]


@pytest.mark.parametrize("message", [FIRST, RECOVERED], ids=["down", "recovered"])
def test_texts_are_shown_as_they_are(message: AlertMessage) -> None:
    """Subject, email and SMS in the doc are what the code renders."""
    assert f"`{message.subject}`" in DOC
    assert indent(message.email.rstrip(), "    ") in DOC
    assert f"\n    {message.sms}\n" in DOC


@pytest.mark.parametrize(("event", "message"), others(target()).items())
def test_other_alerts_are_shown_as_they_are(event: AlertEvent, message: AlertMessage) -> None:
    """docs/interventions.md shows each subject, and the email of the longest."""
    assert f"`{message.subject}`" in INTERVENTIONS
    if event in (
        AlertEvent.FLAPPING,
        AlertEvent.DEGRADED,
        AlertEvent.SLOW,
        AlertEvent.CERTIFICATE,
        AlertEvent.UNTHROTTLED,
        AlertEvent.POSTURE,
    ):
        assert indent(message.email.rstrip(), "    ") in INTERVENTIONS


def test_summary_is_shown_as_it_is() -> None:
    """The summary in the doc is what the code renders."""
    other = next(outage(target(target_id="mail-rome", name="Mail Rome", host="pop.example.org")))
    summary = summarize([FIRST, other, RECOVERED], START)
    assert f"`{summary.subject}`" in DOC
    assert indent(summary.email.rstrip(), "    ") in DOC


def test_every_attribute_is_documented() -> None:
    """The table of attributes lists those that alerts have."""
    documented = set(re.findall(r"^\| `([a-z_]+)` \| (?:String|Number)", DOC, re.MULTILINE))
    assert documented == set(FIRST.attributes) | set(RECOVERED.attributes)
