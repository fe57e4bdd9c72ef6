"""What happened, as the model's facts: read from what reached AWS, by the forms that docs/architecture.md gives.

This knows how records, History and messages are written, and nothing of how popwatch decides.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos import facts

_ALERT = re.compile(r"Alert (\S+?)/([a-z]+)/(\d+)/(\S+ \S+) UTC: (?:an alert|alerts) may arrive")
"""The end of an email; an older version, which an upgrade runs beside this one, says "alerts"."""

Item = Mapping[str, Any]

OF_CREDENTIALS = "_credential#"
"""How the keys of items begin that say how logins with a credential went: docs/architecture.md."""

UNKNOWN = facts.AlertId("unknown", "", 0, datetime.fromtimestamp(0, UTC))
"""An alert that is in no outbox."""

_JUDGED = ("state", "failures", "alerts_sent", "failing_since")
"""What a judgement changes of a record; a version that does not know other fields may leave them out."""


@dataclass(slots=True)
class Entry:
    """An alert in an outbox; `owner` is the invocation that committed or claimed it last.

    `sms_by` are the invocations that sent its SMS; `sms_recorded` says that History has that.
    """

    alert: facts.AlertId
    event: str
    sms: str
    committed_at: str
    owner: int
    sms_by: set[int] = field(default_factory=set)
    sms_recorded: bool = False


class Evidence:
    """Facts of one world, in their order, with what the trace of a failure shows of each."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.facts: list[facts.Fact] = []
        self.times: list[datetime] = []
        self.invocation = 0
        self._clock = clock
        self._lines: dict[str, facts.AlertId] = {}
        self._entries: dict[tuple[str, str, int], Entry] = {}
        self._unanswered: dict[tuple[int, str, str], list[Entry]] = {}

    @property
    def order(self) -> int:
        """The number of the next fact."""
        return len(self.facts)

    def add(self, fact: facts.Fact) -> None:
        """Note a fact, and when it was."""
        self.facts.append(fact)
        self.times.append(self._clock())

    def on_put(self, table: str, item: Item, old: Item | None) -> None:
        """An item was written."""
        if table == "Status" and not item["target_id"]["S"].startswith(OF_CREDENTIALS):
            if item["target_id"]["S"] == "_sweep":
                self.add(facts.TickCompleted(self.order, datetime.fromisoformat(item["tick"]["S"])))
            else:
                self._on_record(item, old)
        elif table == "History":
            self._on_history(item)

    def on_delete(self, key: Item) -> None:
        """A record was deleted."""
        self.add(facts.Forgotten(self.order, key["target_id"]["S"], self._clock()))

    def on_refused(self, table: str, item: Item) -> None:
        """An item could not be written, however often that was tried."""
        if table == "History" and item["sk"]["S"].startswith("alert#"):
            self.add(facts.Refused(self.order, self.invocation))

    def on_not_accepted(self) -> None:
        """A message could not be published, as far as its sender knows."""
        self.add(facts.NotAccepted(self.order, self.invocation))

    def on_send(self, body: str) -> None:
        """A message went to the queue; one that is another attempt brings back tests that could not be finished."""
        work = json.loads(body)
        for name in (test["item"]["target_id"] for test in work.get("tests", ())):
            self.add(facts.Planned(self.order, name, datetime.fromisoformat(work["tick"]), self.invocation))
            if work["attempt"]:
                self.add(facts.Requeued(self.order, self.invocation, name))

    def on_publish(self, request: Mapping[str, Any], answered: bool) -> dict[str, Any]:
        """SNS took a message. An older version has one topic, and one message with a text for each kind of receiver."""
        text = request["Message"]
        values = {name: value["StringValue"] for name, value in request["MessageAttributes"].items()}
        if request.get("MessageStructure") == "json":
            email = json.loads(text)["email"]
            for topic in facts.TOPICS:
                self._on_sent(topic, self.alerts_in(email), answered, summary=alert_of(email) is None)
        elif "Subject" in request:  # an SMS has none
            self._on_sent("alert", self.alerts_in(text), answered, summary=alert_of(text) is None)
        else:
            summary = values["event"].startswith('["summary"')
            # Whose answer was lost is sent again, by the same words: these are the same alerts.
            words = (self.invocation, text, str(sorted(values.items())))
            found = self._unanswered.pop(words, None) or (
                self._entries_in_summary(text, values) if summary else self._entries_in_sms(text)
            )
            if not answered:
                self._unanswered[words] = found
            for entry in found if answered else ():  # one that SNS did not answer may be sent again, with others
                entry.sms_by.add(self.invocation)
            unknown = (int(text.split()[0]) if summary else 1) - len(found)
            alerts = (*(entry.alert for entry in found), *[UNKNOWN] * unknown)
            self._on_sent("sms", alerts, answered, summary=summary)
        channel = "alert" if "Subject" in request else "sms"
        self.add(
            facts.PublishedText(
                self.order, self.invocation, channel, text, request.get("Subject", ""), values, answered
            )
        )
        return {"MessageId": f"message-{self.order}"}

    def _on_sent(self, topic: str, alerts: tuple[facts.AlertId, ...], answered: bool, *, summary: bool) -> None:
        self.add(facts.Sent(self.order, self.invocation, topic, alerts, answered, summary))

    def _entries_in_sms(self, text: str) -> list[Entry]:
        """The outbox entry with the text of an SMS, which has no room for the alert's id."""
        same = [entry for entry in reversed(self._entries.values()) if entry.sms == text]
        own = [entry for entry in same if entry.owner == self.invocation and self.invocation not in entry.sms_by]
        return (own or same)[:1]

    def _entries_in_summary(self, text: str, attributes: Mapping[str, str]) -> list[Entry]:
        """The outbox entries that the SMS of a summary reports: it begins with their number, attributes name them.

        They are of those that the invocation has committed or claimed, and of which SNS has not answered for an SMS.
        """
        newest = list(reversed(self._entries.values()))
        targets, events = set(json.loads(attributes["target_id"])), set(json.loads(attributes["event"]))
        held = [
            entry
            for entry in newest
            if entry.owner == self.invocation
            and entry.alert.target in targets
            and entry.event in events
            and self.invocation not in entry.sms_by
            and not entry.sms_recorded
        ]
        return held[: int(text.split(maxsplit=1)[0])]

    def alerts_in(self, email: str) -> tuple[facts.AlertId, ...]:
        """The alerts that an email reports: one, or those of a summary."""
        alert = alert_of(email)
        return (alert,) if alert else tuple(self._lines[line] for line in email.splitlines() if line in self._lines)

    def _on_record(self, item: Item, old: Item | None) -> None:
        health, target = item["health"]["M"] if "health" in item else {}, item["target_id"]["S"]
        version = int(item["version"]["N"])
        old_health = old["health"]["M"] if old and "health" in old else {}
        posture = health.get("posture", {"S": ""})["S"]
        if posture != old_health.get("posture", {"S": ""})["S"]:
            self.add(facts.PostureKept(self.order, self.invocation, target, posture))
        same = all(health.get(name) == old_health.get(name) for name in _JUDGED)
        delivers = old is not None and old.get("tick") == item.get("tick") and same
        new: list[facts.AlertId] = []
        for entry in (entry["M"] for entry in item.get("pending", {"L": []})["L"]):
            alert = alert_of(entry["message"]["M"]["email"]["S"]) if "message" in entry else None
            if alert:
                self._on_entry(target, alert, entry)
            if alert and int(entry["version"]["N"]) == version:
                new.append(alert)
                self._lines[entry["message"]["M"]["line"]["S"]] = alert
        self.add(
            facts.Judged(
                self.order,
                self.invocation,
                target,
                version,
                datetime.fromisoformat(item["tick"]["S"]),
                self._clock(),
                health.get("state", {"S": "untested"})["S"],
                int(health.get("failures", {"N": "0"})["N"]),
                int(health.get("alerts_sent", {"N": "0"})["N"]),
                tuple(new),
                delivers,
            )
        )

    def _on_entry(self, target: str, alert: facts.AlertId, entry: Item) -> None:
        """An entry of an outbox was written: by the invocation that made it, claimed it, or wrote something else."""
        key, committed_at = (target, entry["tick"]["S"], int(entry["version"]["N"])), entry["committed_at"]["S"]
        known = self._entries.get(key)
        if known is None or known.alert != alert:
            sms = entry["message"]["M"]["sms"]["S"]
            self._entries[key] = Entry(alert, alert.event, sms, committed_at, self.invocation)
        elif known.committed_at != committed_at:
            known.committed_at, known.owner = committed_at, self.invocation

    def _on_history(self, item: Item) -> None:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        kind = pk.partition("#")[0] if not pk.startswith("target#") else sk.partition("#")[0]
        if kind == "samples":
            passed = {name: _has_passed(value) for name, value in item["results"]["M"].items()}
            self.add(facts.Sampled(self.order, self.invocation, (pk.partition("#")[2], sk), self._clock(), passed))
        elif kind == "hours":
            totals = {name: _counts_of(value) for name, value in item["totals"]["M"].items()}
            hour = datetime.fromisoformat(sk.partition("#")[0])
            self.add(facts.Totalled(self.order, pk.partition("#")[2], hour, self._clock(), totals))
        elif kind == "transition":
            _, tick, version = sk.split("#")
            previous, state = item["previous"]["S"], item["state"]["S"]
            when = datetime.fromisoformat(tick)
            self.add(facts.TransitionRecorded(self.order, pk[7:], when, int(version), previous, state))
        elif kind == "alert":
            alert = alert_of(item["email"]["S"])
            assert alert is not None
            email, subject = item["email"]["S"], item["subject"]["S"]
            self.add(facts.PublishedText(self.order, self.invocation, "history", email, subject, {}, answered=True))
            topics = frozenset(item["deliveries"]["M"]) if "deliveries" in item else frozenset(facts.TOPICS)
            _, tick, version = sk.split("#")
            entry = self._entries.get((pk[7:], tick, int(version)))
            if entry and "sms" in topics:
                entry.sms_recorded = True
            self.add(facts.AlertRecorded(self.order, alert, topics))


def alert_of(email: str) -> facts.AlertId | None:
    """The alert that an email names, or None for a summary."""
    found = _ALERT.search(" ".join(email.split()))
    if found is None:
        return None
    target, event, number, since = found.groups()
    return facts.AlertId(target, event, int(number), datetime.fromisoformat(f"{since}+00:00"))


def _has_passed(value: Mapping[str, Any]) -> bool:
    return "N" in value or "error" not in value["M"]


def _counts_of(value: Item) -> tuple[int, int]:
    """Tests and passes in a target's totals, which are one JSON string; an older version wrote a map."""
    if "S" in value:
        totals = json.loads(value["S"])
        return totals["tests"], totals.get("passes", 0)
    return int(value["M"]["tests"]["N"]), int(value["M"].get("passes", {"N": "0"})["N"])
