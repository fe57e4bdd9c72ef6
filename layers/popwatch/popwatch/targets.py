"""What the user configures: a `Target`, its fields, their defaults and their checks. Words, no I/O.

A target comes from an item that somebody wrote by hand, so `parse_target` never raises: it takes numbers written as
strings and words in any letter case, and what it cannot take becomes a `Problem` of that target.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

from popwatch.interventions import Acknowledgement, Silence, parse_acknowledgement, parse_silence
from popwatch.outcomes import clean
from popwatch.windows import Window, parse_timezone, parse_window

DEFAULTS_ID = "_defaults"
"""The `target_id` of the item whose fields are the user's own defaults for all targets."""

LARGEST_ITEM = 350_000
"""Characters that the fields of an item have together, as JSON: an item, the defaults and a record travel in one message
of at most 1 MiB. Certificates and an email of full length fit."""

SMALL = 200
"""Characters of a text that is not weighed: all fields of that length fit."""

MOST_BITS = 1000
"""Bits of a whole number; DynamoDB keeps no greater ones, and above 1,024 there is no float for it."""

EXPLAINED = 300
"""Characters of an explanation, since it may quote what somebody wrote."""

_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
"""The interface in `fe80::1%eth0`; Linux allows its name 15 characters."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


class TlsMode(StrEnum):
    """How TLS is used: not at all, from the first byte (RFC 8314 section 3.3), or after STLS (RFC 2595 section 4)."""

    NONE = "none"
    IMPLICIT = "implicit"
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that cannot be used as written, or is missing: its name, and a sentence that says what to write."""

    field: str
    explanation: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """How a target's outcomes are judged: delays in seconds to the next test by state, and when people are told."""

    delay_up: int = 60
    delay_warn: int = 60
    delay_down: int = 60
    delay_lost: int = 300
    failures_per_alert: int = 3
    max_alerts: int = 3
    alert_recovery: bool = True
    enabled: bool = True
    maintenance: tuple[Window, ...] = ()
    silence: Silence | None = None
    acknowledged: Acknowledgement | None = None
    depends_on: str = ""
    flap_per_hour: int = 6
    certificate_warn_days: tuple[int, ...] = (30, 14, 7, 3, 1)

    def in_maintenance(self, now: datetime) -> bool:
        """Whether `now` lies in one of the windows, or in a silence."""
        silenced = self.silence is not None and self.silence.window.contains(now)
        return silenced or any(window.contains(now) for window in self.maintenance)

    def knows_of(self, outage: datetime | None) -> bool:
        """Whether somebody has acknowledged the outage that began at `outage`."""
        return outage is not None and self.acknowledged is not None and self.acknowledged.outage == outage


USUAL = Policy()
"""The policy of a target that says nothing about it."""

POLICY_FIELDS = frozenset(known.name for known in fields(Policy))


@dataclass(frozen=True, slots=True)
class Target:
    """A POP3 server to watch. `problems` lists fields that cannot be used; such a target is never connected to.

    `fields` are the item's own known fields as written, which is what travels in a batch message.
    """

    target_id: str
    name: str
    host: str
    port: int = 110
    tls: TlsMode = TlsMode.NONE
    verify_tls: bool = True
    tls_name: str = ""
    ca_pem: str = field(default="", repr=False)
    greeting: tuple[str, ...] = ()
    check_quit: bool = True
    all_addresses: bool = False
    max_test_seconds: float = 10.0
    policy: Policy = USUAL
    group: str = ""
    tags: tuple[str, ...] = ()
    timezone: tzinfo = UTC
    subject: str = ""
    email: str = ""
    sms: str = ""
    problems: tuple[Problem, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a target's item, as the docs describe it and as `parse_target` reads it."""

    name: str
    kind: str
    default: str
    range: str
    example: str
    meaning: str
    parse: Callable[[object], object]


def parse_target(item: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Target:
    """The target that `item` describes, with the user's own `defaults` for what it leaves out.

    Never raises: whatever cannot be used becomes one of `Target.problems`, and whatever is not a field of a target is
    listed in `Target.unknown_fields`.
    """
    defaults = defaults or {}
    own = {name: value for name, value in item.items() if not _is_blank(value)}
    fields = {**defaults, **own}
    own_heavy = overweight(own)
    heavy = own_heavy | (overweight(defaults) - own.keys())
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for name, value in fields.items():
        known = FIELDS_BY_NAME.get(name)
        if known is None or _is_blank(value):
            continue
        try:
            if name in heavy:
                raise ValueError("it is too large, or nested too deeply")
            values[name] = known.parse(value)
        except ValueError as error:
            problems.append(Problem(name, _locate(str(error), name, own)))
    if "host" not in values and not any(problem.field == "host" for problem in problems):
        problems.append(
            Problem("host", "The field `host` is missing: write the server's name or address.", missing=True)
        )
    _parse_timed(values, problems)
    return _build(values, tuple(problems), item, _known(own, own_heavy))


def carried(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of an item, or of the defaults, that travel in a batch message: known, filled, and not too large."""
    filled = {name: value for name, value in fields.items() if not _is_blank(value)}
    return _known(filled, overweight(filled))


def _known(fields: Mapping[str, object], heavy: Set[str]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name in FIELDS_BY_NAME and name not in heavy}


def overweight(fields: Mapping[str, object]) -> set[str]:
    """The known fields that do not fit into `LARGEST_ITEM` beside those before them, or that no JSON can hold.

    The id is none of them: as a key it has at most 2,048 bytes.
    """
    heavy: set[str] = set()
    room = LARGEST_ITEM
    for name, value in fields.items():
        if _is_small(value) or name not in FIELDS_BY_NAME or name == "target_id":
            continue
        size = _weigh(value)
        if size > room:
            heavy.add(name)
        else:
            room -= size
    return heavy


def _is_small(value: object) -> bool:
    """Whether a value need not be weighed, as nearly all need not."""
    if isinstance(value, str):
        return len(value) <= SMALL
    if isinstance(value, int):
        return value.bit_length() <= MOST_BITS
    return value is None or isinstance(value, float)


def _weigh(value: object) -> int:
    """The characters of a value as JSON; too many for what JSON cannot hold."""
    if isinstance(value, int):
        return LARGEST_ITEM + 1
    try:
        return len(json.dumps(value, default=str))
    except (ValueError, TypeError, RecursionError):
        return LARGEST_ITEM + 1


def parse_targets(items: Iterable[Mapping[str, object]], defaults: Mapping[str, object]) -> dict[str, Target]:
    """The targets that those items describe, by their ids."""
    return {target.target_id: target for target in (parse_target(item, defaults) for item in items)}


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _locate(error: str, name: str, item: Mapping[str, object]) -> str:
    place = "" if name in item else f" of the item `{DEFAULTS_ID}`"
    return f"The field `{name}`{place} cannot be used: {clean(error, EXPLAINED)}."


def _parse_timed(values: dict[str, object], problems: list[Problem]) -> None:
    """What holds moments, read last because those without an offset are in the target's own time zone."""
    if values.keys().isdisjoint(("maintenance", "silence", "acknowledged")):
        return
    zone = values.get("timezone", UTC)
    assert isinstance(zone, tzinfo)
    windows: list[Window] = []
    for position, window in enumerate(_as_list(values.get("maintenance", ())), start=1):
        try:
            windows.append(parse_window(window, zone))
        except ValueError as error:
            why = clean(str(error), EXPLAINED)
            problems.append(
                Problem("maintenance", f"The field `maintenance` cannot be used: window {position}: {why}.")
            )
            break  # a list of 400 KB has ten thousand windows, and would have as many problems
    values["maintenance"] = tuple(windows)
    for name, parse in (("silence", parse_silence), ("acknowledged", parse_acknowledgement)):
        try:
            if name in values:
                values[name] = parse(values[name], zone)
        except ValueError as error:
            values.pop(name)
            why = clean(str(error), EXPLAINED)
            problems.append(Problem(name, f"The field `{name}` cannot be used: {why}."))


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _build(
    values: dict[str, object], problems: tuple[Problem, ...], item: Mapping[str, object], fields: Mapping[str, object]
) -> Target:
    target_id = item.get("target_id", "")
    target_id = target_id if isinstance(target_id, str) else _quote(target_id)
    policy = {name: values.pop(name) for name in POLICY_FIELDS.intersection(values)}
    host = values.get("host", "")
    built_in = {
        "target_id": target_id,
        "name": values.get("name") or clean(target_id, 100),
        "host": host,
        "tls_name": host,
    }
    if values.get("tls") is TlsMode.IMPLICIT:
        built_in["port"] = 995
    return Target(
        policy=Policy(**policy) if policy else USUAL,  # type: ignore[arg-type]
        problems=problems,
        unknown_fields=tuple(sorted(map(str, item.keys() - FIELDS_BY_NAME.keys()))),
        fields=fields,
        **built_in | values,  # type: ignore[arg-type]
    )


def _id(value: object) -> str:
    text = value if isinstance(value, str) else _quote(value)
    if not text.isprintable() or text != text.strip() or len(text) > 128:
        raise ValueError("it must be 1 to 128 printable characters without blanks at its ends")
    if text.startswith("_"):
        raise ValueError(f"names that begin with `_` are kept for popwatch (`{DEFAULTS_ID}` holds the defaults)")
    return text


def _text(limit: int, *, lines: bool = False) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("it must be a text")
        text = str(value) if lines else str(value).strip()
        if len(text) > limit:
            raise ValueError(f"it has {len(text)} characters, {limit} are allowed")
        if not lines and not text.isprintable():
            raise ValueError("it has line breaks or control characters")
        return text

    return parse


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("it must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{_quote(value)} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{_quote(value)} is not a number")
    return number


def _quote(value: object) -> str:
    try:
        text = str(value)[:40]
    except (ValueError, RecursionError):
        text = "..."
    return f"`{clean(text, 40)}`"


def _decimal(lowest: float, highest: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number = _number(value)
        if not lowest <= number <= highest:
            raise ValueError(f"{_quote(value)} is not between {lowest:g} and {highest:g}")
        return number

    return parse


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    parse_decimal = _decimal(lowest, highest)

    def parse(value: object) -> int:
        number = parse_decimal(value)
        if number != int(number):
            raise ValueError(f"{_quote(value)} is not a whole number")
        return int(number)

    return parse


def _truth(value: object) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{_quote(value)} is neither true nor false")


def _tls(value: object) -> TlsMode:
    try:
        return TlsMode(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{_quote(value)} is not one of none, implicit, starttls") from None


def _host(value: object) -> str:
    text = str(value).strip()
    if "://" in text or "/" in text:
        raise ValueError("write only the name or address, without a scheme or path")
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" not in address and not address.rpartition(".")[2].isdigit():  # most are names, and to fail as one is dear
        return _domain_name(address.removesuffix("."))
    try:
        found = str(ipaddress.ip_address(address))
    except ValueError:
        return _domain_name(address.removesuffix("."))
    _, marked, scope = found.partition("%")
    if marked and not _SCOPE.fullmatch(scope):
        raise ValueError(f"{_quote(scope)} is not the name of a network interface")
    return found


def _domain_name(text: str) -> str:
    if ":" in text:
        raise ValueError(f"{_quote(text)} is not an IPv6 address; a port goes into the field `port`")
    name = text if text.isascii() else _to_ascii(text)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{_quote(text)} is neither a domain name nor an IP address")
    if labels[-1].isdigit():
        raise ValueError(f"{_quote(text)} is not an IPv4 address: it needs four numbers from 0 to 255")
    return name.lower()


def _to_ascii(text: str) -> str:
    import idna  # noqa: PLC0415 - its tables would cost every cold start, and few targets have such names

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError(f"{_quote(text)} is not a valid internationalized domain name (RFC 5891)") from None


def _texts(limit: int) -> Callable[[object], tuple[str, ...]]:
    parse_text = _text(limit)

    def parse(value: object) -> tuple[str, ...]:
        if isinstance(value, Mapping):
            value = [f"{key}={entry}" for key, entry in value.items()]
        if isinstance(value, set | frozenset):
            value = sorted(value, key=str)
        return tuple(text for text in (parse_text(entry) for entry in _as_list(value)) if text)

    return parse


def _tags(value: object) -> tuple[str, ...]:
    return _texts(100)(value.split(",") if isinstance(value, str) else value)


def _pem(value: object) -> str:
    text = _text(100_000, lines=True)(value)
    if "-----BEGIN CERTIFICATE-----" not in text or not text.isascii():
        raise ValueError("it must hold PEM certificates (-----BEGIN CERTIFICATE-----)")
    return text


def _windows(value: object) -> object:
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError("it must be a list of windows")
    return value


def _map(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("it must be a map; `popwatch silence` and `popwatch ack` write it")
    return value


def _days(value: object) -> tuple[int, ...]:
    parse_day = _whole(0, 365)
    entries = (
        value.split(",")
        if isinstance(value, str)
        else sorted(value, key=str)
        if isinstance(value, set)
        else _as_list(value)
    )
    return tuple(sorted({parse_day(entry) for entry in entries if str(entry).strip()}, reverse=True))


_DELAY = "10 to 86400"
_TEMPLATE = "a template, see alerts.md"

FIELDS = (
    Field("target_id", "text", "required", "1 to 128 characters", "mail-berlin", "Key of the item: your own word for the server.", _id),
    Field("name", "text", "`target_id`", "up to 100 characters", "Mail, Berlin", "The name shown to people.", _text(100)),
    Field("host", "text", "required", "IPv4, IPv6 or domain name", "pop.example.net", "The server. Internationalized names are taken (RFC 5891).", _host),
    Field("port", "number", "110; 995 with `tls: implicit`", "1 to 65535", "110", "TCP port.", _whole(1, 65535)),
    Field("tls", "word", "none", "none, implicit, starttls", "implicit", "TLS from the first byte (`implicit`, RFC 8314) or after STLS (`starttls`, RFC 2595).", _tls),
    Field("verify_tls", "truth", "true", "true, false", "false", "Check the certificate's chain, dates and name.", _truth),
    Field("tls_name", "text", "`host`", "domain name or IP address", "pop.example.net", "The name for SNI and for the certificate, where `host` is an address.", _host),
    Field("ca_pem", "text", "the public roots", "PEM certificates", "-----BEGIN CERTIFICATE-----...", "Your own certificate authority for this target.", _pem),
    Field("greeting", "text or list", "none", "each up to 100 characters", "READY", "Other beginnings of a greeting to accept beside `+OK`, for proprietary servers.", _texts(100)),
    Field("check_quit", "truth", "true", "true, false", "false", "The reply to QUIT is part of the test.", _truth),
    Field("all_addresses", "truth", "false", "true, false", "true", "Test every address of the host: some failing is half up, all failing is failed.", _truth),
    Field("max_test_seconds", "number", "10", "1 to 60", "5", "One deadline for the whole test, names and TLS included.", _decimal(1, 60)),
    Field("delay_up", "number", "60", _DELAY, "300", "Seconds to the next test while up.", _whole(10, 86_400)),
    Field("delay_warn", "number", "60", _DELAY, "30", "Seconds to the next test while in warn.", _whole(10, 86_400)),
    Field("delay_down", "number", "60", _DELAY, "60", "Seconds to the next test while down.", _whole(10, 86_400)),
    Field("delay_lost", "number", "300", _DELAY, "900", "Seconds to the next test once the last alert has been processed.", _whole(10, 86_400)),
    Field("failures_per_alert", "number", "3", "1 to 1000", "2", "Failures in a row for each alert.", _whole(1, 1000)),
    Field("max_alerts", "number", "3", "0 to 1000", "5", "Alerts per outage before the target is lost; 0 never alerts.", _whole(0, 1000)),
    Field("alert_recovery", "truth", "true", "true, false", "false", "Send `recovered` when an alerted outage ends.", _truth),
    Field("enabled", "truth", "true", "true, false", "false", "false suspends the target: it is not tested.", _truth),
    Field("maintenance", "list of windows", "none", "`{from, until}` or `{days, from, until, timezone}`", '[{days: sun, from: "02:00", until: "04:00"}]', "Times at which the target is tested and recorded, but failures do not count and nobody is alerted.", _windows),
    Field("silence", "map", "none", "`{from, until, why, by}`", '{from: "2026-11-24T20:00Z", until: "2026-11-24T22:00Z", why: new disk}', "Maintenance from now, as `popwatch silence` writes it.", _map),
    Field("acknowledged", "map", "none", "`{outage, at, why, by}`", '{outage: "2026-11-24T03:12Z", why: on my way, by: night-shift}', "Nobody is told more of the outage that began then, but its end, as `popwatch ack` writes it.", _map),
    Field("depends_on", "text", "none", "another target's `target_id`", "gateway-berlin", "While that target fails, this one's alerts are held, and its own failure is shown as caused by it.", _id),
    Field("flap_per_hour", "number", "6", "0 to 60", "10", "Changes between passed and failed in an hour, above which one alert says so instead of many; 0 never.", _whole(0, 60)),
    Field("certificate_warn_days", "list", "30, 14, 7, 3, 1", "each 0 to 365", "[21, 7, 1]", "Days before a certificate expires at which people are warned, once each.", _days),
    Field("group", "text", "none", "up to 100 characters", "customers", "For people and for routing alerts.", _text(100)),
    Field("tags", "list", "none", "each up to 100 characters", "[berlin, dovecot]", "For people; shown in alerts.", _tags),
    Field("timezone", "text", "UTC", "IANA time zone", "Europe/Berlin", "For the local times in alerts and the windows of `maintenance`.", parse_timezone),
    Field("subject", "text", "the built-in text", _TEMPLATE, "{name} is {state}", "Subject of the email.", _text(500)),
    Field("email", "text", "the built-in text", _TEMPLATE, "{name}: {message}", "Text of the email.", _text(20_000, lines=True)),
    Field("sms", "text", "the built-in text", _TEMPLATE, "{name} {state} {reason}", "Text of the SMS.", _text(500)),
)  # fmt: skip
"""Every field of a target's item; `docs/targets.md` is checked against it."""

FIELDS_BY_NAME = {known.name: known for known in FIELDS}
