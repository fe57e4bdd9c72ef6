"""The fields of a target's item: how each is described in the docs, and how it is parsed. No I/O."""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from popwatch.model.text import clean
from popwatch.model.windows import parse_timezone

DEFAULTS_ID = "_defaults"
"""The `target_id` of the item whose fields are the user's own defaults for all targets."""

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
class Field:
    """A field of a target's item, as the docs describe it and as `parse_target` reads it."""

    name: str
    kind: str
    default: str
    range: str
    example: str
    meaning: str
    parse: Callable[[object], object]


def is_blank(value: object) -> bool:
    """Whether a field counts as not filled in."""
    return value is None or (isinstance(value, str) and not value.strip())


def as_list(value: object) -> list[object]:
    """A list as it is, and anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _id(value: object) -> str:
    text = value if isinstance(value, str) else quote(value)
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
        raise ValueError(f"{quote(value)} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{quote(value)} is not a number")
    return number


def quote(value: object) -> str:
    """What somebody wrote, cleaned and cut, as it stands in an explanation."""
    try:
        text = str(value)[:40]
    except (ValueError, RecursionError):
        text = "..."
    return f"`{clean(text, 40)}`"


def _decimal(lowest: float, highest: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number = _number(value)
        if not lowest <= number <= highest:
            raise ValueError(f"{quote(value)} is not between {lowest:g} and {highest:g}")
        return number

    return parse


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    parse_decimal = _decimal(lowest, highest)

    def parse(value: object) -> int:
        number = parse_decimal(value)
        if number != int(number):
            raise ValueError(f"{quote(value)} is not a whole number")
        return int(number)

    return parse


def _truth(value: object) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{quote(value)} is neither true nor false")


def _tls(value: object) -> TlsMode:
    try:
        return TlsMode(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{quote(value)} is not one of none, implicit, starttls") from None


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
        raise ValueError(f"{quote(scope)} is not the name of a network interface")
    return found


def _domain_name(text: str) -> str:
    if ":" in text:
        raise ValueError(f"{quote(text)} is not an IPv6 address; a port goes into the field `port`")
    name = text if text.isascii() else _to_ascii(text)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quote(text)} is neither a domain name nor an IP address")
    if labels[-1].isdigit():
        raise ValueError(f"{quote(text)} is not an IPv4 address: it needs four numbers from 0 to 255")
    return name.lower()


def _to_ascii(text: str) -> str:
    import idna  # noqa: PLC0415 - its tables would cost every cold start, and few targets have such names

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError(f"{quote(text)} is not a valid internationalized domain name (RFC 5891)") from None


def _texts(limit: int) -> Callable[[object], tuple[str, ...]]:
    parse_text = _text(limit)

    def parse(value: object) -> tuple[str, ...]:
        if isinstance(value, Mapping):
            value = [f"{key}={entry}" for key, entry in value.items()]
        if isinstance(value, set | frozenset):
            value = sorted(value, key=str)
        return tuple(text for text in (parse_text(entry) for entry in as_list(value)) if text)

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
        else as_list(value)
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
