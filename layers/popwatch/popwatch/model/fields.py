"""The fields of a target's item: how each is described in the docs, and how it is parsed. No I/O.

To add a field, write:

- its row in `FIELDS`, with the function that parses it;
- an attribute of that name in `Target`, or in `Policy` if it changes how outcomes are judged (targets.py), with the
  default that the row states;
- for an attribute of `Target`, its name in `IRRELEVANT_TO_TEST` there, or in `ADDED_LATER` if it matters to a test:
  otherwise an upgrade would have every target tested again at once;
- its row in docs/targets.md.

Fields with times (`maintenance`, `silence`, `suspended`, `acknowledged`) are parsed in targets.py, since they need the
target's time zone. The item `_defaults`, batch messages and the command read `FIELDS`. If the attribute is missing or
has another default, tests/unit/test_targets.py fails; if the docs differ, tests/unit/test_docs_commands.py.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from popwatch.model.credentials import UnusableCredentialError, check_name
from popwatch.model.health import MAX_WARN_DAYS
from popwatch.model.text import clean, did_you_mean, parse_seconds
from popwatch.model.windows import EXAMPLE_WINDOW, parse_timezone

DEFAULTS_ID = "_defaults"
"""The `target_id` of the item whose fields are the user's own defaults for all targets."""

_QUOTED = 40
"""Characters of a value that an explanation quotes."""

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}

_MAX_EXPECTED = 10
"""Texts that a greeting must contain: they are looked for in every test."""

_MAX_PARENTS = 10
"""Targets that one may depend on: a record names those that fail."""

_MAX_SIBLINGS = 8
"""Ports of a host whose certificates are compared: the summary that a record keeps of a posture has room for so many."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
"""A label of a domain name (RFC 1123 section 2.1), with the underscore that some hosts have."""

_PEM_CERTIFICATE = re.compile(
    r"-----BEGIN (|X509 |TRUSTED )CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END \1CERTIFICATE-----", re.ASCII
)
"""What counts of a file of certificates (RFC 7468 section 5): bundles have comments between them in any encoding."""

_PEM_LIMIT = 300_000
"""Characters of certificates: Debian's bundle of all public roots has 220,000."""

_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
"""The interface in `fe80::1%eth0`; Linux allows its name 15 characters."""


Member = TypeVar("Member", bound=StrEnum)
Number = TypeVar("Number", int, float)


class TlsMode(StrEnum):
    """How TLS is used: not at all, from the first byte (RFC 8314 section 3.1), or after STLS (RFC 2595 section 4)."""

    NONE = "none"
    IMPLICIT = "implicit"
    STARTTLS = "starttls"


class Family(StrEnum):
    """Which addresses of a host are tested."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"

    def includes(self, address: str) -> bool:
        """Whether an IP address is of this family."""
        return self is Family.ANY or (self is Family.IPV6) == (":" in address)


FAMILY_NAMES = {Family.ANY: "IP", Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
"""The families as people write them."""


class TlsVersion(StrEnum):
    """A version of TLS; earlier ones compare as less."""

    TLS_1_0 = "1.0"
    TLS_1_1 = "1.1"
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a target's item, as the docs describe it and as `parse_target` reads it.

    `parse` takes any value that an item can hold, and raises ValueError with the words that follow "The field `...`
    cannot be used: ".
    """

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
    """The entries of a list or a set, or the value as the only entry."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return list(value) if isinstance(value, list | tuple) else [value]


def quote(value: object) -> str:
    """A value as an explanation quotes it: cleaned and cut."""
    try:
        text = str(value)[:_QUOTED]
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deep nesting
        text = "..."
    return f"`{clean(text, _QUOTED)}`"


def _id(value: object) -> str:
    text = value if isinstance(value, str) else quote(value)
    if not text.isprintable() or text != text.strip() or len(text) > 128:
        raise ValueError("it must be 1 to 128 printable characters without blanks at its ends")
    if text.startswith("_"):
        raise ValueError(f"names that begin with `_` are reserved for popwatch (`{DEFAULTS_ID}` holds the defaults)")
    return text


def _string(limit: int, *, lines: bool = False) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            braces = ": put a text that begins with a brace in quotes" if isinstance(value, Mapping) else ""
            raise ValueError(f"it must be a string{braces}")
        text = str(value) if lines else str(value).strip()
        if len(text) > limit:
            raise ValueError(f"it has {len(text)} characters, {limit} are allowed")
        if not lines and not text.isprintable():
            raise ValueError("it has line breaks or control characters")
        return text

    return parse


def _strings(limit: int) -> Callable[[object], tuple[str, ...]]:
    parse_string = _string(limit)

    def parse(value: object) -> tuple[str, ...]:
        entries = [f"{key}={entry}" for key, entry in value.items()] if isinstance(value, Mapping) else as_list(value)
        return tuple(text for text in map(parse_string, entries) if text)

    return parse


def _at_most(most: int, what: str, entries: tuple[str, ...]) -> tuple[str, ...]:
    if len(entries) > most:
        raise ValueError(f"it has {len(entries)} {what}, {most} are allowed")
    return entries


def _expected(value: object) -> tuple[str, ...]:
    return _at_most(_MAX_EXPECTED, "texts", _strings(200)(value))


def _parents(value: object) -> tuple[str, ...]:
    names = dict.fromkeys(_id(entry) for entry in as_list(value) if not is_blank(entry))
    return _at_most(_MAX_PARENTS, "targets", tuple(names))


def _credential(value: object) -> str:
    text = str(value).strip()
    try:
        check_name(text)
    except UnusableCredentialError as error:
        raise ValueError(error.why) from None
    return text


def _ports(value: object) -> tuple[int, ...]:
    parse_port = _integer(1, 65_535)
    entries = [entry for entry in as_list(_split(value)) if str(entry).strip()]
    if len(entries) > _MAX_SIBLINGS:
        raise ValueError(f"it has {len(entries)} ports, {_MAX_SIBLINGS} are allowed")
    return tuple(dict.fromkeys(map(parse_port, entries)))


def _tags(value: object) -> tuple[str, ...]:
    return _strings(100)(_split(value))


def _split(value: object) -> object:
    """A list that was written as a string with commas, as the list; anything else unchanged."""
    return value.split(",") if isinstance(value, str) else value


def _decimal(lowest: float, highest: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number = _number(value)
        if not lowest <= number <= highest:
            raise ValueError(f"{quote(value)} is not between {lowest:g} and {highest:g}")
        return number

    return parse


def _integer(lowest: int, highest: int) -> Callable[[object], int]:
    parse_decimal = _decimal(lowest, highest)

    def parse(value: object) -> int:
        number = parse_decimal(value)
        if number != int(number):
            raise ValueError(f"{quote(value)} is not a whole number")
        return int(number)

    return parse


class _NotANumberError(ValueError):
    """A text that gives no number."""


def _in_seconds(parse: Callable[[object], Number]) -> Callable[[object], Number]:
    """Parse a number of seconds, which may also be written as a duration such as `2h30m`."""

    def parse_time(value: object) -> Number:
        seconds = parse_seconds(value) if isinstance(value, str) else None
        try:
            return parse(value if seconds is None else seconds)
        except _NotANumberError:
            raise ValueError(f"{quote(value)} is not a time: write seconds, or 90s, 5m, 2h30m") from None

    return parse_time


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("it must be a number")
    try:
        number = math.nan if isinstance(value, str) and "_" in value else float(value)  # only Python writes 1_000
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _NotANumberError(f"{quote(value)} is not a number")
    return number


def _days(value: object) -> tuple[int, ...]:
    parse_day = _integer(0, MAX_WARN_DAYS)
    entries = [entry for entry in as_list(_split(value)) if str(entry).strip()]
    return tuple(sorted(set(map(parse_day, entries)), reverse=True))


def _boolean(value: object) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{quote(value)} is neither true nor false")


OTHER_WORDS = (
    dict.fromkeys(("ssl", "ssl/tls", "tls", *_TRUE), "implicit") | dict.fromkeys(_FALSE, "none") | {"stls": "starttls"}
)
"""Words of other programs, and of people, for entries of enumerations; without them `on` would be like `none`."""


def _one_of(members: type[Member]) -> Callable[[object], Member]:
    def parse(value: object) -> Member:
        try:
            return members(str(value).strip().lower())
        except ValueError:
            written = str(value)[:_QUOTED].strip().lower()
            meant = OTHER_WORDS.get(written, written)
            hint = did_you_mean(meant if meant in [*members] else written, members).strip()
            listed = f"{quote(value)} is not one of {', '.join(members)}"
            raise ValueError(f"{listed}. {hint}" if hint else listed) from None

    return parse


def _tls_version(value: object) -> TlsVersion:
    text = str(value).strip().lower().removeprefix("tls").removeprefix("v").strip()
    try:
        return TlsVersion("1.0" if text == "1" else text)  # DynamoDB has no number 1.0
    except ValueError:
        raise ValueError(f"{quote(value)} is not one of {', '.join(TlsVersion)}") from None


def _host(value: object) -> str:
    if isinstance(value, list | tuple | Mapping):
        raise ValueError("it must be one name or address")
    text = str(value).strip()
    if "://" in text or "/" in text:
        raise ValueError("write only the name or address, without a scheme or path")
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    # Fast path: most hosts are names, and the exception that ip_address raises for a name is slow.
    if ":" not in address and not address.rpartition(".")[2].isdigit():
        return _domain_name(address)
    try:
        found = str(ipaddress.ip_address(address))
    except ValueError:
        return _domain_name(address)
    _, has_scope, scope = found.partition("%")
    if has_scope and not _SCOPE.fullmatch(scope):
        raise ValueError(f"{quote(scope)} is not the name of a network interface")
    return found


def certificate_name(host: str) -> str:
    """The name of a host as SNI and certificates have it: without the final dot (RFC 6066 section 3) or the zone.

    A zone such as `%eth0` is of the machine that connects (RFC 4007 section 11.2).
    """
    return host.partition("%")[0].removesuffix(".")


def _tls_name(value: object) -> str:
    return certificate_name(_host(value))


def _domain_name(text: str) -> str:
    """A name in lower case; a final dot is kept, since it means that no search domain is tried (resolv.conf(5))."""
    if ":" in text:
        raise ValueError(f"{quote(text)} is not an IPv6 address; a port goes into the field `port`")
    name = text if text.isascii() else _to_ascii(text)
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quote(text)} is neither a domain name nor an IP address")
    if labels[-1].isdigit():
        raise ValueError(f"{quote(text)} is not an IPv4 address: it needs four numbers from 0 to 255")
    return name.lower()


def _to_ascii(text: str) -> str:
    import idna  # noqa: PLC0415 - its tables would slow every cold start, and few targets have such names

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError(f"{quote(text)} is not a valid internationalized domain name (RFC 5891)") from None


def _pem(value: object) -> str:
    found = pem_certificates(_string(_PEM_LIMIT, lines=True)(value))
    if not found:
        raise ValueError(
            "it must hold PEM certificates, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----; "
            "`openssl x509 -in FILE` writes one of DER so"
        )
    return found


def pem_certificates(text: str) -> str:
    """The certificates in a text, as PEM with nothing between them; "" if there is none."""
    blocks = (_trusted(data) if kind == "TRUSTED " else data for kind, data in _PEM_CERTIFICATE.findall(text))
    return "".join(f"-----BEGIN CERTIFICATE-----{data}-----END CERTIFICATE-----\n" for data in blocks)


def _trusted(data: str) -> str:
    """The certificate of a block in OpenSSL's own format: what follows its first DER value are settings of trust.

    docs.openssl.org/master/man1/openssl-x509: "a trusted certificate is an ordinary certificate which has several
    additional pieces of information attached". What is not DER stays as it is, and OpenSSL refuses it.
    """
    import base64  # noqa: PLC0415 - few targets have such a block

    try:
        der = base64.b64decode("".join(data.split()), validate=True)
        octets = der[1] & 0x7F if der[1] & 0x80 else 0  # of a long length (X.690 section 8.1.3.5)
    except (ValueError, IndexError):
        return data
    length = int.from_bytes(der[2 : 2 + octets], "big") if octets else der[1]
    return "\n" + base64.encodebytes(der[: 2 + octets + length]).decode("ascii")


# `maintenance`, `silence`, `suspended` and `acknowledged` are parsed by targets.py once the time zone is known; here only their type is checked.


def _windows(value: object) -> object:
    if not isinstance(value, list | tuple | set | frozenset | Mapping | str):
        raise ValueError(f"it must be a list of windows: [{EXAMPLE_WINDOW}]")
    return value


def _schedules(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(
        isinstance(windows, list | tuple | Mapping) for windows in value.values()
    ):
        raise ValueError(f"it must be a map of names, each with a list of windows: {{sundays: [{EXAMPLE_WINDOW}]}}")
    return {str(name): windows for name, windows in value.items()}


def _map(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("it must be a map; `popwatch silence`, `ack` and `suspend --for` write it")
    return value


_DELAY = "10 to 86400"
_TEMPLATE = "a template, see alerts.md"

FIELDS = (
    Field("target_id", "string", "required", "1 to 128 characters", "mail-berlin", "Key of the item: your own name for the server.", _id),
    Field("name", "string", "`target_id`", "up to 100 characters", "Mail, Berlin", "The name shown to people.", _string(100)),
    Field("host", "string", "required", "IPv4, IPv6 or domain name", "pop.example.net", "The server. Internationalized names are accepted (RFC 5891). A final dot means that the name is complete: no search domain is tried.", _host),
    Field("port", "number", "110; 995 with `tls: implicit`", "1 to 65535", "110", "TCP port.", _integer(1, 65535)),
    Field("tls", "enumeration", "none", "none, implicit, starttls", "implicit", "TLS from the first byte (`implicit`, RFC 8314) or after STLS (`starttls`, RFC 2595).", _one_of(TlsMode)),
    Field("verify_tls", "boolean", "true", "true, false", "false", "Check the certificate's chain, dates and name.", _boolean),
    Field("tls_name", "string", "`host`", "domain name or IP address", "pop.example.net", "The name for SNI and for the certificate, where `host` is an address.", _tls_name),
    Field("ca_pem", "string", "the public root CAs", "PEM certificates", "-----BEGIN CERTIFICATE-----...", "Your own certificate authority for this target.", _pem),
    Field("tls_min", "enumeration", "1.2", "1.0, 1.1, 1.2, 1.3", "1.0", "The lowest TLS version to accept. Below 1.2 also old ciphers, short keys and SHA-1, for this target alone.", _tls_version),
    Field("legacy_renegotiation", "boolean", "false", "true, false", "true", "Accept a server that does not support secure renegotiation (RFC 5746).", _boolean),
    Field("greeting", "string or list", "none", "each up to 100 characters", "READY", "Other prefixes of a greeting to accept beside `+OK`, for proprietary servers.", _strings(100)),
    Field("expect", "string or list", "none", "up to 10 texts of up to 200 characters", "mail.example.net", "Texts that the greeting must contain, each of them, beside `+OK`; letter case matters, and `*` stands for any characters.", _expected),
    Field("check_quit", "boolean", "true", "true, false", "false", "The reply to QUIT is part of the test.", _boolean),
    Field("family", "enumeration", "any", "any, ipv4, ipv6", "ipv4", "Use addresses of this family only.", _one_of(Family)),
    Field("all_addresses", "boolean", "false", "true, false", "true", "Test every address of the host: if some fail it is degraded, if all fail the test has failed.", _boolean),
    Field("max_test_seconds", "number", "10; 20 with `login`", "1 to 60", "5", "Seconds, or a duration such as `5s`: one deadline for the whole test, DNS and TLS included.", _in_seconds(_decimal(1, 60))),
    Field("max_rtt_ms", "number", "0", "0 to 60000", "3000", "A test whose round trip takes more milliseconds has failed (`timed-out`, `too-slow`); 0: no limit.", _decimal(0, 60_000)),
    Field("delay_up", "number", "60", _DELAY, "300", "Seconds to the next test while up, or a duration such as `5m` or `2h30m`, here and in the next three.", _in_seconds(_integer(10, 86_400))),
    Field("delay_warn", "number", "60", _DELAY, "30", "Seconds to the next test while in warn.", _in_seconds(_integer(10, 86_400))),
    Field("delay_down", "number", "60", _DELAY, "60", "Seconds to the next test while down.", _in_seconds(_integer(10, 86_400))),
    Field("delay_lost", "number", "300", _DELAY, "900", "Seconds to the next test once the last alert has been sent.", _in_seconds(_integer(10, 86_400))),
    Field("failures_per_alert", "number", "3", "1 to 1000", "2", "Failures in a row for each alert.", _integer(1, 1000)),
    Field("max_alerts", "number", "3", "0 to 1000", "5", "Alerts per outage before the state is `lost`; 0: no alerts.", _integer(0, 1000)),
    Field("alert_recovery", "boolean", "true", "true, false", "false", "Send `recovered` when an outage for which an alert was sent ends.", _boolean),
    Field("passes_per_recovery", "number", "1", "1 to 100", "3", "Passed tests in a row that end an outage; it ends with the first of them. A brief failure always ends with the first passed test.", _integer(1, 100)),
    Field("enabled", "boolean", "true", "true, false", "false", "false suspends the target: it is not tested.", _boolean),
    Field("maintenance", "list of windows", "none", "`{from, until}` or `{days, from, until, timezone}`, or names", '[{days: sun, from: "02:00", until: "04:00"}]', "Times at which the target is tested and recorded, but failures do not count and no alerts are sent. A name stands for the windows of that name in `schedules`.", _windows),
    Field("schedules", "map", "none", "names, each with a list of windows", '{patch-night: [{days: tue, from: "22:00", until: "24:00"}]}', "Windows that `maintenance` names; in the item `_defaults` they are there for all targets without `schedules` of their own.", _schedules),
    Field("silence", "map", "none", "`{from, until, why, by}`", '{from: "2026-11-24T20:00Z", until: "2026-11-24T22:00Z", why: new disk}', "One more maintenance window; `popwatch silence` writes it. An intervention, not configuration: files leave it alone.", _map),
    Field("suspended", "map", "none", "`{from, until, why, by}`", '{from: "2026-11-24T20:00Z", until: "2026-11-25T20:00Z", why: new building}', "Not tested in this time; `popwatch suspend --for` writes it. An intervention, not configuration: files leave it alone.", _map),
    Field("acknowledged", "map", "none", "`{outage, at, why, by}`", '{outage: "2026-11-24T03:12Z", why: on my way, by: night-shift}', "No further alerts of the outage that began at this time until it recovers; `popwatch ack` writes it. An intervention, not configuration: files leave it alone.", _map),
    Field("login", "string", "none", "letters, digits, `.`, `_`, `-`", "monitor", "A credential of the stack, by its name in `popwatch credentials`: some tests log in, and count the mailbox. Needs `tls`, `verify_tls`, and `tls_min` of 1.2 at least.", _credential),
    Field("login_every", "number", "300", "60 to 86400", "600", "Seconds, or a duration such as `10m`, from one test that logs in to the next; the tests between them only read the greeting. After a failed login every test logs in, but within the server's LOGIN-DELAY.", _in_seconds(_integer(60, 86_400))),
    Field("max_messages", "number", "0", "0 to 1000000000", "5000", "A login that counts more messages in the mailbox is a failed test (`protocol`, `mailbox-too-full`); 0: no limit.", _integer(0, 10**9)),
    Field("max_octets", "number", "0", "0 to 1000000000000000", "1000000000", "A login that counts more octets in the mailbox is a failed test (`protocol`, `mailbox-too-full`); 0: no limit.", _integer(0, 10**15)),
    Field("depends_on", "string or list", "none", "up to 10 other targets, by `target_id`", "gateway-berlin", "While that target fails, or all of them if there are several, the alerts of this one are held back, and its failure is shown as caused by them.", _parents),
    Field("flap_per_hour", "number", "6", "0 to 60", "10", "If a target changes between passed and failed more often in an hour, one alert says so instead of many; 0 turns this off.", _integer(0, 60)),
    Field("slow_rtt_ms", "number", "0", "0 to 60000", "1000", "If round trips take more milliseconds in `failures_per_alert` tests in a row, one alert says that the target is slow, and one that it is no longer; it stays up. 0 turns this off.", _decimal(0, 60_000)),
    Field("certificate_warn_days", "list", "by the share of the lifetime left", "each 0 to 365", "[21, 7, 1]", "Days before a certificate expires at which a warning is sent, one at each; an empty list: no warnings. Else at a quarter of its lifetime (at most 21 days), then at a half and a quarter of that time.", _days),
    Field("posture", "boolean", "true", "true, false", "false", "Once a day popwatch asks what the server offers and permits; an alert is sent if that got worse ([posture.md](posture.md)).", _boolean),
    Field("siblings", "list", "none", "up to 8 ports", "[993, 465]", "Other ports of the host with TLS, whose certificates are compared with the one served here; 110 and 995 are siblings by themselves.", _ports),
    Field("group", "string", "none", "up to 100 characters", "customers", "Shown to people, and used to route alerts. One for each target; use `tags` for several.", _string(100)),
    Field("tags", "list", "none", "each up to 100 characters", "[berlin, dovecot]", "Shown in alerts, and used to route them.", _tags),
    Field("timezone", "string", "UTC", "IANA time zone", "Europe/Berlin", "For the local times in alerts and the windows of `maintenance`.", parse_timezone),
    Field("subject", "string", "the built-in text", _TEMPLATE, "{name} is {state}", "Subject of the email of a `down` or `recovered`.", _string(500)),
    Field("email", "string", "the built-in text", _TEMPLATE, "{name}: {message}", "Text of that email.", _string(20_000, lines=True)),
    Field("sms", "string", "the built-in text", _TEMPLATE, "{name} {state} {reason}", "Text of that SMS.", _string(500)),
    Field("recovered_subject", "string", "`subject`", _TEMPLATE, "{name} is back", "Subject of the email about a recovery.", _string(500)),
    Field("recovered_email", "string", "`email`", _TEMPLATE, "{name} was down for {outage}", "Text of the email about a recovery.", _string(20_000, lines=True)),
    Field("recovered_sms", "string", "`sms`", _TEMPLATE, "{name} is back", "Text of the SMS about a recovery.", _string(500)),
    Field("runbook", "string", "none", "up to 500 characters", "https://wiki.example.net/mail", "What to do about an outage, or where that is written; shown in alerts.", _string(500)),
    Field("notes", "string", "none", "up to 2000 characters", "behind the old firewall", "What people should know about it; shown with its status.", _string(2000, lines=True)),
)  # fmt: skip
"""Every field of a target's item; `docs/targets.md` is checked against it."""

FIELDS_BY_NAME = {field.name: field for field in FIELDS}
