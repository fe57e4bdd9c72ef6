"""The filter policies of docs/escalation.md, and the alerts that its table says each lets through."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from popwatch.alerts.rendering import summarize
from popwatch.model.health import AlertEvent
from popwatch.model.messages import AlertMessage
from popwatch.model.targets import parse_target
from tests.examples import START, outage, target
from tests.examples import others as other_alerts

PAGE = Path(__file__).parents[1] / "docs" / "escalation.md"
_ROW = re.compile(r"^\| ([^|]+) \| `(\{[^`]+\})` \| ((?:(?:yes|-) \| ){7}(?:yes|-)) \|$", re.MULTILINE)
_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DocumentedPolicy:
    """A row of the table: the policy, and whether each of `alerts()` passes, in that order."""

    purpose: str
    policy: dict[str, Any]
    passes: tuple[bool, ...]


def documented_policies() -> list[DocumentedPolicy]:
    """The rows of the table."""
    return [
        DocumentedPolicy(purpose, json.loads(policy), tuple(mark.strip() == "yes" for mark in marks.split("|")))
        for purpose, policy, marks in _ROW.findall(PAGE.read_text())
    ]


def alerts() -> list[AlertMessage]:
    """The alerts of the table's columns, their summary last."""
    first, second, _, end = outage(target())
    _, end_after_one = outage(target(), failures=4)
    certificate = other_alerts(target())[AlertEvent.CERTIFICATE]
    staff = next(outage(target(target_id="mail-oslo", name="Mail Oslo", group="staff", tags=[])))
    no_group = next(outage(parse_target({"target_id": "mail-lima", "name": "Mail Lima", "host": "pop.example.com"})))
    single = [first, second, end_after_one, end, certificate, staff, no_group]
    return [*single, summarize(single, START)]


def forwarder() -> str:
    """The source of the function that forwards alerts."""
    [code] = _CODE.findall(PAGE.read_text())
    return str(code)
