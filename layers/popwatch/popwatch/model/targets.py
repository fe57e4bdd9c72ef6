"""What the user configures: a `Target`, its `Policy`, and how they are read from an item. No I/O.

Items are written by hand, so `parse_target` never raises: it takes numbers written as strings and words in any letter
case, and what it cannot use becomes a `Problem` of that target. The fields are described in fields.py.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Self

from popwatch.model.fields import (
    DEFAULTS_ID,
    FAMILY_NAMES,
    FIELDS_BY_NAME,
    Family,
    TlsMode,
    TlsVersion,
    as_list,
    certificate_name,
    is_blank,
    quote,
)
from popwatch.model.interventions import (
    Acknowledgement,
    Silence,
    Suspension,
    parse_acknowledgement,
    parse_silence,
    parse_suspension,
)
from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.text import clean, clean_whole, did_you_mean
from popwatch.model.windows import EXAMPLE_WINDOW, Window, parse_window

LARGEST_ITEM = 350_000
"""Characters that the fields of an item have together, as JSON.

An item, the defaults and a record travel in one message of at most 1 MiB. Certificates and an email of full length fit.
"""

SMALL = 200
"""Texts this short do not count towards LARGEST_ITEM."""

MAX_BITS = 1000
"""Bits of an integer. DynamoDB keeps none that is longer, and above 1,024 there is no float for it."""

EXPLAINED = 300
"""Characters of an explanation, which may quote the item."""


Item = dict[str, Any]
"""An item of a table, as Python values."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that cannot be used as written, or is missing: its name, and a sentence that says what to write."""

    field: str
    explanation: str
    missing: bool = False


CLOCKS_DIFFER = timedelta(seconds=30)
"""By so much the clock of someone who silences or suspends a target may be ahead of Lambda's."""


@quick_dataclass(frozen=True, slots=True)
class Policy:
    """How a target's outcomes are judged: seconds from one test to the next in each state, and when alerts are sent.

    `login` is the credential with which one test each `login_every` seconds logs in, or empty. Without
    `certificate_warn_days` warnings are by the share of the lifetime that is left; no days, no warnings.
    """

    delay_up: int = 60
    delay_warn: int = 60
    delay_down: int = 60
    delay_lost: int = 300
    failures_per_alert: int = 3
    max_alerts: int = 3
    alert_recovery: bool = True
    passes_per_recovery: int = 1
    enabled: bool = True
    maintenance: tuple[Window, ...] = ()
    silence: Silence | None = None
    suspended: Suspension | None = None
    acknowledged: Acknowledgement | None = None
    depends_on: tuple[str, ...] = ()
    flap_per_hour: int = 6
    slow_rtt_ms: float = 0.0
    certificate_warn_days: tuple[int, ...] | None = None
    login: str = ""
    login_every: int = 300

    def in_maintenance(self, now: datetime) -> bool:
        """Whether `now` lies in one of the windows, or in a silence."""
        silenced = self.silence is not None and self.silence.window.contains(now)
        return silenced or any(window.contains(now) for window in self.maintenance)

    def is_silenced(self, now: datetime) -> bool:
        """Whether `now` lies in maintenance, or in a silence that some clock may say has begun."""
        begun = self.silence and self.silence.window.start - CLOCKS_DIFFER <= now < self.silence.window.end
        return bool(begun) or self.in_maintenance(now)

    def at(self, now: datetime) -> Self:
        """The policy as it is at a time: not enabled during a suspension, which ends by itself.

        One that is not enabled anyway has none, as it does not end.
        """
        if self.suspended is None:
            return self
        begun = self.suspended.window.start - CLOCKS_DIFFER <= now < self.suspended.window.end
        return replace(self, enabled=self.enabled and not begun, suspended=self.suspended if self.enabled else None)

    def acknowledgement_of(self, outage: datetime | None) -> Acknowledgement | None:
        """The acknowledgement of the outage whose first failed test was at `outage`, if there is one.

        Texts show whole seconds, so those are compared: an acknowledgement may be written by hand.
        """
        newest = self.acknowledged
        same = newest and outage and newest.outage.replace(microsecond=0) == outage.replace(microsecond=0)
        return newest if same else None


LOGIN_TEST_SECONDS = 20.0
"""`max_test_seconds` of a target with `login` that gives none. Dovecot waits ten seconds for a mailbox in use before it
says so, and answers wrong passwords after up to 17 (https://doc.dovecot.org/2.4.2/core/config/auth/penalty.html).
"""

DEFAULT_POLICY = Policy()
POLICY_FIELDS = frozenset(attribute.name for attribute in fields(Policy))


@quick_dataclass(frozen=True, slots=True)
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
    tls_min: TlsVersion = TlsVersion.TLS_1_2
    legacy_renegotiation: bool = False
    greeting: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    check_quit: bool = True
    family: Family = Family.ANY
    all_addresses: bool = False
    max_test_seconds: float = 10.0
    max_rtt_ms: float = 0.0
    max_messages: int = 0
    max_octets: int = 0
    policy: Policy = DEFAULT_POLICY
    schedules: Mapping[str, object] = field(default_factory=dict)
    posture: bool = True
    siblings: tuple[int, ...] = ()
    group: str = ""
    tags: tuple[str, ...] = ()
    timezone: tzinfo = UTC
    subject: str = ""
    email: str = ""
    sms: str = ""
    recovered_subject: str = ""
    recovered_email: str = ""
    recovered_sms: str = ""
    runbook: str = ""
    notes: str = ""
    problems: tuple[Problem, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


IRRELEVANT_TO_TEST = {
    "target_id",
    "name",
    "policy",
    "schedules",
    "posture",
    "siblings",
    "group",
    "tags",
    "timezone",
    "runbook",
    "notes",
    "subject",
    "email",
    "sms",
    "recovered_subject",
    "recovered_email",
    "recovered_sms",
    "unknown_fields",
    "fields",
}
"""The fields of a target that do not matter to its test."""

ADDED_LATER = {"expect", "max_rtt_ms", "max_messages", "max_octets"}
"""The fields that matter to a test and that the first version did not have: see `config_fingerprint`."""

_tested_fields = attrgetter(
    *(known.name for known in fields(Target) if known.name not in IRRELEVANT_TO_TEST | ADDED_LATER)
)
_later_fields = attrgetter(*ADDED_LATER)


def config_fingerprint(target: Target) -> str:
    """A short name for all that matters to a test of the target: another one means that it must be tested again.

    A later field counts if it is used: otherwise an upgrade would have every target tested again at once.
    """
    tested = repr(_tested_fields(target))
    if any(_later_fields(target)):
        tested += repr([(name, value) for name in sorted(ADDED_LATER) if (value := getattr(target, name))])
    return blake2b(tested.encode("utf-8", "replace"), digest_size=4).hexdigest()


def server_fingerprint(target: Target) -> str:
    """A short name for the server that a posture test asks, and for the name that its certificate is to have.

    Another one means that earlier postures say nothing of it. STLS is tried whether the target's tests use it or not.
    """
    asked = (target.host, target.port, target.tls is TlsMode.IMPLICIT, target.tls_name, target.family)
    return blake2b(repr(asked).encode("utf-8", "replace"), digest_size=2).hexdigest()


def endpoint(target: Target) -> str:
    """A target's host and port, for people: `pop.example.net:110`, `[2001:db8::1]:110`."""
    name = target.host.removesuffix(".")
    host = f"[{name}]" if ":" in name else name
    return f"{host}:{target.port}"


def mailbox_excess(target: Target, messages: int | None, octets: int | None) -> tuple[int, int, str] | None:
    """The first of these counts of a mailbox that is above the target's limit: the count, the limit, what it counts."""
    for count, allowed, noun in ((messages, target.max_messages, "message"), (octets, target.max_octets, "octet")):
        if count is not None and 0 < allowed < count:
            return count, allowed, noun
    return None


def login_problems(target: Target) -> tuple[Problem, ...]:
    """Why a target cannot be logged in to: a user and a password are sent only in TLS that is verified and modern."""
    return _login_problems({"tls": target.tls, "verify_tls": target.verify_tls, "tls_min": target.tls_min})


NEEDED_BY_LOGIN = "a login needs TLS that is verified, since others could read the password"


def _login_problems(values: Mapping[str, object]) -> tuple[Problem, ...]:
    if values.get("tls", TlsMode.NONE) is TlsMode.NONE:
        field, why = "tls", "there is no TLS"
    elif not values.get("verify_tls", True):
        field, why = "verify_tls", "the certificate is not verified"
    elif str(values.get("tls_min", TlsVersion.TLS_1_2)) < TlsVersion.TLS_1_2:
        field, why = "tls_min", "TLS below 1.2 is accepted (RFC 8996)"
    else:
        return ()
    return (Problem(field, f"The field `{field}` cannot be used: {NEEDED_BY_LOGIN}, and {why}."),)


def tls_relaxations(target: Target) -> tuple[str, ...]:
    """What is accepted of this server although TLS today forbids it (RFC 8996, RFC 5746): a few words each."""
    if target.tls is TlsMode.NONE:
        return ()
    found = (f"TLS from {target.tls_min} on is accepted" if target.tls_min < TlsVersion.TLS_1_2 else "",)
    return tuple(filter(None, (*found, "legacy renegotiation is accepted" if target.legacy_renegotiation else "")))


def parse_targets(
    items: Iterable[Mapping[str, object]], defaults: Mapping[str, object], now: datetime
) -> dict[str, Target]:
    """The targets that those items describe, by their ids, as they are at a time (see `target_at`)."""
    parse = target_parser(defaults)
    targets = (target_at(parse(item), now) for item in items)
    return {target.target_id: target for target in targets}


def target_at(target: Target, now: datetime) -> Target:
    """The target as it is at a time: not enabled during a suspension."""
    return replace(target, policy=target.policy.at(now)) if target.policy.suspended else target


def parse_target(item: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Target:
    """The target that `item` describes, with the user's own `defaults` for what it leaves out.

    Never raises: whatever cannot be used becomes one of `Target.problems`, and whatever is not a field of a target is
    listed in `Target.unknown_fields`.
    """
    return target_parser(defaults or {})(item)


def target_parser(defaults: Mapping[str, object]) -> Callable[[Mapping[str, object]], Target]:
    """What parses many items with the same defaults, which are themselves parsed once: their schedules may be large."""
    parsed_defaults = _parse_fields(defaults, oversized(defaults), f" of the item `{DEFAULTS_ID}`")

    def parse(item: Mapping[str, object]) -> Target:
        own = {name: value for name, value in item.items() if not is_blank(value)}
        own_oversized = oversized(own)
        parsed = {**parsed_defaults, **_parse_fields(own, own_oversized)}
        problems = [value for value in parsed.values() if isinstance(value, Problem)]
        values = {name: value for name, value in parsed.items() if not isinstance(value, Problem)}
        if "host" not in parsed:
            problems.append(
                Problem("host", "The field `host` is missing: write the server's name or address.", missing=True)
            )
        _check_family(values, problems)
        if values.get("login"):
            problems.extend(_login_problems(values))
        _parse_timed(values, problems)
        return _build(values, tuple(problems), item, _known(own, own_oversized))

    return parse


def _parse_fields(item: Mapping[str, object], oversized: Set[str], origin: str = "") -> dict[str, object]:
    """What the known fields of an item hold: a Problem where that cannot be used."""
    found: dict[str, object] = {}
    for name, value in item.items():
        field = FIELDS_BY_NAME.get(name)
        if field is None or is_blank(value):
            continue
        try:
            if name in oversized:
                raise ValueError("it is too large, or nested too deeply")
            found[name] = field.parse(value)
        except ValueError as error:
            found[name] = _unusable(name, error, origin)
    return found


INTERVENTIONS = ("enabled", "maintenance", "silence", "suspended", "acknowledged")
"""The fields of a policy that say when no one is to be alerted."""


def with_interventions(target: Target, item: Mapping[str, object]) -> Policy:
    """The target's policy, with the interventions that its `item` has now in place of those that it had.

    A field that the item neither has nor had is from the user's defaults, and stays.
    """
    present = parse_target(item, {"timezone": str(target.timezone), "schedules": target.schedules}).policy
    own = [name for name in INTERVENTIONS if name in item or name in target.fields]
    return replace(target.policy, **{name: getattr(present, name) for name in own})


def message_fields(item: Mapping[str, object]) -> dict[str, object]:
    """The fields of an item, or of the defaults, that travel in a batch message: known, filled, and not too large."""
    filled = {name: value for name, value in item.items() if not is_blank(value)}
    return _known(filled, oversized(filled))


def oversized(item: Mapping[str, object]) -> set[str]:
    """The known fields that do not fit into `LARGEST_ITEM` after those before them, or that JSON cannot hold.

    Never the id: DynamoDB limits a key to 2,048 bytes.
    """
    names: set[str] = set()
    room = LARGEST_ITEM
    for name, value in item.items():
        if _is_small(value) or name not in FIELDS_BY_NAME or name == "target_id":
            continue
        size = _json_size(value)
        if size > room:
            names.add(name)
        else:
            room -= size
    return names


def _is_small(value: object) -> bool:
    """Whether a value need not be counted; nearly all are small, and making JSON of each would slow every sweep."""
    if isinstance(value, str):
        return len(value) <= SMALL
    if isinstance(value, int):
        return value.bit_length() <= MAX_BITS
    return value is None or isinstance(value, float)


def _json_size(value: object) -> int:
    """The characters of a value as JSON; more than fit for what JSON or the stack cannot hold."""
    if isinstance(value, int):  # longer than MAX_BITS
        return LARGEST_ITEM + 1
    try:
        return len(json.dumps(value, default=str))
    except (ValueError, TypeError, RecursionError):
        return LARGEST_ITEM + 1


def _known(item: Mapping[str, object], oversized: Set[str]) -> dict[str, object]:
    return {name: value for name, value in item.items() if name in FIELDS_BY_NAME and name not in oversized}


def _unusable(name: str, error: ValueError, origin: str = "") -> Problem:
    explanation = clean(str(error), EXPLAINED)
    end = "" if explanation.endswith("?") else "."
    return Problem(name, f"The field `{name}`{origin} cannot be used: {explanation}{end}")


def _check_family(values: Mapping[str, object], problems: list[Problem]) -> None:
    """Refuse a family of which the host, an address, is not; it is easily a default for all that is meant for names."""
    family, host = values.get("family", Family.ANY), str(values.get("host", ""))
    assert isinstance(family, Family)
    if family is Family.ANY:
        return
    is_literal = ":" in host or host.rpartition(".")[2].isdigit()  # no name ends with a number
    if is_literal and not family.includes(host):
        error = ValueError(f"it is {family}, and {host} is not an {FAMILY_NAMES[family]} address")
        problems.append(_unusable("family", error))


_PARSED_LAST: Mapping[str, Callable[[object, tzinfo], object]] = {
    "silence": parse_silence,
    "suspended": parse_suspension,
    "acknowledged": parse_acknowledgement,
}
_TIMED = ("maintenance", *_PARSED_LAST)


def _parse_timed(values: dict[str, object], problems: list[Problem]) -> None:
    """Parse the fields that hold times: last, as times without an offset are in the target's `timezone`."""
    if values.keys().isdisjoint(_TIMED):
        return
    zone = values.get("timezone", UTC)
    assert isinstance(zone, tzinfo)
    windows: list[Window] = []
    schedules = values.get("schedules", {})
    assert isinstance(schedules, Mapping)
    for position, window in enumerate(_maintenance(values.get("maintenance", ()), schedules), start=1):
        try:
            windows += _windows(window, schedules, zone)
        except ValueError as error:
            problems.append(_unusable("maintenance", ValueError(f"window {position}: {error}")))
            break  # one is enough: 400 KB hold ten thousand windows, and each might be a problem
    values["maintenance"] = tuple(windows)
    for name, parse in _PARSED_LAST.items():
        if name not in values:
            continue
        try:
            values[name] = parse(values[name], zone)
        except ValueError as error:
            del values[name]
            problems.append(_unusable(name, error))


def _maintenance(value: object, schedules: Mapping[str, object]) -> list[object]:
    """The windows and names of the field, whose names may be written in one string with commas; each name once."""
    entries: list[object] = []
    names: set[str] = set()
    for entry in as_list(value):
        is_joined = isinstance(entry, str) and entry not in schedules
        for part in [name.strip() for name in str(entry).split(",")] if is_joined else [entry]:
            if not isinstance(part, str):
                entries.append(part)
            elif part not in names:
                names.add(part)
                entries.append(part)
    return entries


def _windows(value: object, schedules: Mapping[str, object], zone: tzinfo) -> list[Window]:
    """The window, or those of a schedule by its name."""
    if not isinstance(value, str):
        return [parse_window(value, zone)]
    if value not in schedules:
        names = ", ".join(map(quote, sorted(schedules)[:10])) if schedules else "none"
        hint = did_you_mean(value[:100], schedules)
        raise ValueError(
            f"{quote(value)} is neither a window such as {EXAMPLE_WINDOW} nor a name in `schedules` "
            f"(also of `{DEFAULTS_ID}`), which are: {names}{hint and '.'}{hint}"
        )
    try:
        return [parse_window(window, zone) for window in as_list(schedules[value])]
    except ValueError as error:
        raise ValueError(f"schedule {quote(value)}: {error}") from None


def _build(
    values: dict[str, object], problems: tuple[Problem, ...], item: Mapping[str, object], known: Mapping[str, object]
) -> Target:
    target_id = item.get("target_id", "")
    target_id = target_id if isinstance(target_id, str) else quote(target_id)
    policy = {name: values.pop(name) for name in POLICY_FIELDS.intersection(values)}
    host = str(values.get("host", ""))
    built_in: dict[str, object] = {
        "target_id": target_id,
        "name": values.get("name") or clean_whole(target_id),
        "host": host,
        "tls_name": certificate_name(host),
    }
    if values.get("tls") is TlsMode.IMPLICIT:
        built_in["port"] = 995  # RFC 8314 section 3.1
    if policy.get("login"):
        built_in["max_test_seconds"] = LOGIN_TEST_SECONDS
    return Target(
        policy=Policy(**policy) if policy else DEFAULT_POLICY,  # type: ignore[arg-type]
        problems=problems,
        unknown_fields=tuple(sorted(str(name) for name in item if name not in FIELDS_BY_NAME)),
        fields=known,
        **built_in | values,  # type: ignore[arg-type]
    )
