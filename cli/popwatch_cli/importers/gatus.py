"""Endpoints of Gatus as targets: those that are POP3's by their scheme and port; all others are named and left.

Reference: README.md of https://github.com/TwiN/gatus. Its defaults are an interval of 60 s, a threshold of three
failures, one alert for an outage, and no word of its end.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import Entry, FileError
from popwatch_cli.files.yaml import Block, read_blocks
from popwatch_cli.importers.conversion import (
    POP3_PORTS,
    TEST_SECONDS,
    Imported,
    Notes,
    bounded,
    delays,
    seconds,
    slug,
    split_address,
)
from popwatch_cli.target_items import shown

SCHEMES = ("tcp", "tls")
MATERIAL = {"name", "group", "url", "enabled", "interval", "client", "conditions", "alerts", "maintenance-windows"}
NEEDLESS = {"body"}
"""What an endpoint may have that a target needs no equivalent for: popwatch speaks POP3 itself."""

TAKEN_AT_TOP = {"endpoints", "alerting", "maintenance"}
TAKEN_OF_ALERT = {
    "type", "enabled", "failure-threshold", "success-threshold", "send-on-resolved", "minimum-reminder-interval"
}  # fmt: skip

_RESPONSE_TIME = re.compile(r"\[RESPONSE_TIME\]\s*<=?\s*\d+")
_CERTIFICATE = re.compile(r"\[CERTIFICATE_EXPIRATION\]\s*>=?\s*(\S+)")
_IMPLIED = (re.compile(r"\[CONNECTED\]\s*==\s*true"), re.compile(r"\[BODY\].*OK"))


def read_gatus(text: str) -> Imported:
    """The POP3 endpoints of a Gatus configuration. Raises FileError."""
    root = read_blocks(text)
    if not isinstance(root, Block) or not isinstance(root.get("endpoints"), list):
        raise FileError(["The file is no configuration of Gatus: it has no list `endpoints`."])
    notes = Notes()
    for name in root.keys() - TAKEN_AT_TOP:
        notes.add(root.line_of(name), f"`{shown(name)}` is not taken: only endpoints are.")
    if "alerting" in root:
        notes.add(root.line_of("alerting"), "Of `alerting` only each `default-alert` is taken; see docs/escalation.md.")
    shared = Endpoints(_block(root, "alerting"), _windows(root.get("maintenance"), notes), notes)
    found = [shared.entry(endpoint, root.line_of("endpoints")) for endpoint in root["endpoints"]]
    return Imported([entry for entry in found if entry], notes)


class Endpoints:
    """What holds for all endpoints of a file, and how one becomes a target."""

    def __init__(self, alerting: Mapping[str, Any], windows: list[object], notes: Notes) -> None:
        self._alerting, self._windows, self._notes = alerting, windows, notes

    def entry(self, endpoint: object, line: int) -> Entry | None:
        """The target of an endpoint, or None, with a note, for one that is not POP3."""
        if not isinstance(endpoint, Block):
            raise FileError([f"Line {line}: each of `endpoints` is a map with `name` and `url`."])
        place = self._place(endpoint)
        if place is None:
            return None
        name = str(endpoint.get("name") or "")
        group = str(endpoint.get("group") or "")
        fields: dict[str, object] = {
            "target_id": "_".join(_key(part) for part in (group, name) if part),
            "name": name,
            **place,
        }
        if group:
            fields["group"] = group
        if str(endpoint.get("enabled", "true")).lower() == "false":
            fields["enabled"] = False
        if "interval" in endpoint:
            at = endpoint.line_of("interval")
            fields |= delays(seconds(endpoint["interval"], at, "interval"), at, "interval", self._notes)
        fields |= self._client(endpoint)
        fields |= self._conditions(endpoint)
        fields |= self._alerts(endpoint)
        if windows := self._windows + _windows(endpoint.get("maintenance-windows"), self._notes):
            fields["maintenance"] = windows
        for other in endpoint.keys() - MATERIAL - NEEDLESS:
            self._notes.add(endpoint.line_of(other), f"`{shown(other)}` has no equivalent.")
        lines = {
            "host": endpoint.line_of("url"),
            "port": endpoint.line_of("url"),
            "target_id": endpoint.line_of("name"),
        }
        return Entry(endpoint.line, fields, {**endpoint.lines, **lines})

    def _place(self, endpoint: Block) -> dict[str, object] | None:
        """Host, port and TLS, or None, with a note, for what is not POP3."""
        url = str(endpoint.get("url") or "")
        scheme, _, rest = url.partition("://")
        host, port = split_address(rest.split("/", maxsplit=1)[0])
        if scheme.lower() not in SCHEMES or port not in POP3_PORTS:
            self._notes.add(
                endpoint.line_of("url"),
                f"{shown(url)} is not taken: POP3 is tcp:// or tls:// at port 110 or 995.",
            )
            return None
        tls = TlsMode.IMPLICIT if scheme.lower() == "tls" else POP3_PORTS[port]
        if scheme.lower() == "tcp" and tls is TlsMode.IMPLICIT:
            self._notes.add(
                endpoint.line_of("url"), "tcp:// at port 995 becomes a test with TLS, which POP3 has there."
            )
        return {"host": host, "port": port, "tls": tls.value}

    def _client(self, endpoint: Block) -> dict[str, object]:
        client, fields = _block(endpoint, "client"), dict[str, object]()
        for name, value in client.items():
            line = client.line_of(name)
            if name == "timeout":
                fields["max_test_seconds"] = bounded(seconds(value, line, name), TEST_SECONDS, line, name, self._notes)
            elif name == "insecure":
                fields["verify_tls"] = str(value).lower() != "true"
            else:
                self._notes.add(line, f"`client.{shown(name)}` has no equivalent.")
        return fields

    def _conditions(self, endpoint: Block) -> dict[str, object]:
        conditions, line = _list(endpoint.get("conditions")), endpoint.line_of("conditions")
        fields: dict[str, object] = {}
        for condition in map(str, conditions):
            if found := _CERTIFICATE.fullmatch(condition.strip()):
                days = -(-seconds(found[1], line, "[CERTIFICATE_EXPIRATION]") // 86_400)
                fields["certificate_warn_days"] = [min(int(days), 365)]
                self._notes.add(line, "[CERTIFICATE_EXPIRATION] becomes a warning: it is no failed test in popwatch.")
            elif _RESPONSE_TIME.fullmatch(condition.strip()):
                self._notes.add(line, "[RESPONSE_TIME] is not taken: a slow greeting is no failed test in popwatch.")
            elif not any(pattern.match(condition.strip()) for pattern in _IMPLIED):
                self._notes.add(line, f"The condition {shown(condition)} has no equivalent.")
        return fields

    def _alerts(self, endpoint: Block) -> dict[str, object]:
        """When people are told: the threshold of the alert that comes first, and whether any tells the end."""
        alerts = [self._with_defaults(alert, endpoint) for alert in _list(endpoint.get("alerts"))]
        alerts = [alert for alert in alerts if str(alert.get("enabled", "true")).lower() != "false"]
        if not alerts:
            self._notes.add(endpoint.line, "It has no alerts in Gatus, so it is taken with `max_alerts: 0`.")
            return {"max_alerts": 0}
        line = endpoint.line_of("alerts")
        thresholds = sorted({_whole(alert.get("failure-threshold", 3), line) for alert in alerts})
        if len(thresholds) > 1:
            self._notes.add(
                line, f"Of the thresholds {thresholds} the first is taken; docs/escalation.md does the rest."
            )
        if any(_whole(alert.get("success-threshold", 2), line) > 2 for alert in alerts):
            self._notes.add(
                line, "`success-threshold` is not taken: one passed test ends an outage; see `flap_per_hour`."
            )
        fields: dict[str, object] = {"failures_per_alert": thresholds[0]}
        if any("minimum-reminder-interval" in alert for alert in alerts):
            self._notes.add(
                line, "`minimum-reminder-interval` is not taken: alerts repeat by failed tests, `max_alerts` times."
            )
        else:
            fields["max_alerts"] = 1
        if not any(str(alert.get("send-on-resolved", "false")).lower() == "true" for alert in alerts):
            fields["alert_recovery"] = False
        return fields

    def _with_defaults(self, alert: object, endpoint: Block) -> dict[str, Any]:
        if not isinstance(alert, Block):
            raise FileError([f"Line {endpoint.line_of('alerts')}: each of `alerts` is a map with `type`."])
        for name in alert.keys() - TAKEN_OF_ALERT:
            self._notes.add(alert.line_of(name), f"`{shown(name)}` of an alert has no equivalent.")
        provider = self._alerting.get(str(alert.get("type")))
        defaults = provider.get("default-alert") if isinstance(provider, Block) else None
        return {**(defaults if isinstance(defaults, Block) else {}), **alert}


def _key(text: str) -> str:
    """A part of Gatus's own key of an endpoint, as its addresses and badges have it."""
    return slug(text).replace("_", "-").replace(".", "-")


def _block(parent: Mapping[str, Any], name: str) -> Block:
    found = parent.get(name)
    return found if isinstance(found, Block) else Block({}, 0, {})


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: object, line: int) -> int:
    try:
        return max(1, int(str(value)))
    except ValueError:
        raise FileError([f"Line {line}: {shown(str(value))} is no number of tests."]) from None


def _windows(value: object, notes: Notes) -> list[object]:
    """Maintenance windows of Gatus (one, or a list) as popwatch's."""
    blocks: Iterable[Any] = value if isinstance(value, list) else [value]
    return [window for block in blocks if isinstance(block, Block) and (window := _window(block, notes))]


def _window(block: Block, notes: Notes) -> dict[str, object] | None:
    if str(block.get("enabled", "true")).lower() == "false":
        return None
    try:
        start = datetime.strptime(str(block.get("start")), "%H:%M")  # noqa: DTZ007 - a time of day
    except ValueError:
        notes.add(block.line, f"The maintenance from {shown(str(block.get('start')))} is not taken: write HH:MM.")
        return None
    length = seconds(block.get("duration"), block.line_of("duration"), "duration")
    if not 60 <= length < 86_400:
        notes.add(block.line, "A maintenance of a day or more is not taken: write it as `from` and `until`.")
        return None
    window: dict[str, object] = {
        "from": f"{start:%H:%M}",
        "until": f"{start + timedelta(seconds=length):%H:%M}",
        "timezone": str(block.get("timezone") or "UTC"),
    }
    if days := [str(day)[:3].lower() for day in _list(block.get("every"))]:
        window["days"] = days
    return window
