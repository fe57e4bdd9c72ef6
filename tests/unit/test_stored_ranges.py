"""What a stored number and a stored time may be: each field of all that is stored has limits, also one that is new."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from popwatch.model.credential_state import CredentialState
from popwatch.model.health import Transition
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import Certificate, ErrorCode, Role
from popwatch.model.posture import PostureChange
from popwatch.model.records import HistoryEvent, InterventionEvent, PublishedAlert, Record
from popwatch.model.samples import Mailbox, Sample, from_stored
from popwatch.model.serialization import DamagedError, check_times, deserialize, serialize
from popwatch.model.totals import Totals
from tests.stored_forms import TICK, Filler

READ = (Record, Transition, AlertMessage, InterventionEvent, PostureChange, Totals, CredentialState)
"""What is read as a whole; what is in it is found by its fields."""

DATED = (Record, HistoryEvent, Transition, PublishedAlert, InterventionEvent, PostureChange)
"""What must not be about the future."""

BEGIN = datetime(1950, 1, 1, tzinfo=UTC)
"""No certificate has an earlier date (RFC 5280 section 4.1.2.5)."""

COUNT, CENTURY = (0, 10**9), (0, 36_525 * 86_400)
LIMITS: Mapping[str, tuple[float, float]] = {
    "Record.version": (-1, 10**9),
    "Health.certificate_warned": (0, 365),
    "Health.login_delay": (0, 86_400),
    "LoginResult.login_delay": (0, 86_400),
    "LoginResult.messages": (0, 10**15 - 1),
    "LoginResult.octets": (0, 10**15 - 1),
    "Certificate.lifetime": (0, (datetime.max.replace(tzinfo=UTC) - BEGIN).total_seconds()),
    "Transition.lasted": (-86_400, 36_525 * 86_400),
}
"""Numbers that may be others than those of their type as a rule."""

DAY = timedelta(days=1)
AHEAD = {
    "Health.next_test_at": DAY,
    "Health.allowance_full_at": DAY + timedelta(hours=1),
    "InterventionEvent.until": 20 * 365 * DAY - timedelta(minutes=2),
    "Health.certificate_expires": None,
    "Health.certificate_warned_of": None,
    "Outcome.certificate_expires": None,
    "Certificate.expires": None,
    "CertificateWarning.expires": None,
}
"""Times that may lie in the future, and how far beside the two minutes by which clocks differ. A field that is not
named here says when something was."""


def types_in(kind: Any) -> set[Any]:
    """The types that a field's type consists of."""
    parts = get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) else ()
    return {kind}.union(*map(types_in, parts))


def fields_of(kinds: tuple[Any, ...], wanted: set[Any]) -> Iterator[Any]:
    """The fields of one of the wanted types, in these dataclasses and in all that they hold."""
    waiting, seen = list(kinds), set[Any]()
    while waiting:
        kind = waiting.pop(0)
        if kind in seen:
            continue
        seen.add(kind)
        hints = get_type_hints(kind)
        for known in fields(kind):
            types = types_in(hints[known.name])
            waiting += filter(is_dataclass, types)
            for part in types & wanted:
                yield pytest.param(kind, known.name, part, id=f"{kind.__name__}.{known.name}")


def with_number(kind: Any, name: str, number: object) -> Any:
    """What is stored of an object, with another number in a field, or in the first entry of a map."""
    [known] = [known for known in fields(kind) if known.name == name]
    stored, key = serialize(Filler().fill(kind)), known.metadata.get("stored_as", name)
    if isinstance(stored[key], dict):
        entry = next(entry for entry, value in stored[key].items() if isinstance(value, int))
        return stored | {key: stored[key] | {entry: number}}
    return stored | {key: number}


@pytest.mark.parametrize(("kind", "name", "part"), list(fields_of(READ, {int, float, timedelta})))
def test_each_number_has_limits(kind: Any, name: str, part: type) -> None:
    """Within them nothing that is computed overflows, and none of popwatch's own is beyond them."""
    lowest, highest = LIMITS.get(f"{kind.__name__}.{name}", CENTURY if part is timedelta else COUNT)
    for limit in (int(lowest), int(highest)):
        assert deserialize(kind, with_number(kind, name, limit))
    beyond = (lowest - 1, -(10**12), highest + 86_400, 10**15, 2**53 - 1, 10**400, float("nan"), float("inf"), True)
    for number in beyond:
        with pytest.raises(DamagedError):
            deserialize(kind, with_number(kind, name, number))


@pytest.mark.parametrize(("kind", "name", "part"), list(fields_of(DATED, {datetime})))
def test_each_time_has_been_or_says_how_far_ahead_it_may_be(kind: Any, name: str, part: type) -> None:  # noqa: ARG001
    """Of two minutes a clock may be ahead; what says until when something is may be later."""
    made, now = Filler().fill(kind), TICK + DAY
    several = isinstance(getattr(made, name), tuple)
    ahead = AHEAD.get(f"{kind.__name__}.{name}", timedelta())
    last = now + timedelta(minutes=2) + ahead if ahead is not None else datetime.max.replace(tzinfo=UTC)
    check_times(replace(made, **{name: (last,) if several else last}), now)
    if ahead is not None:
        late = last + timedelta(seconds=1)
        with pytest.raises(DamagedError, match="in the future"):
            check_times(replace(made, **{name: (late,) if several else late}), now)


@pytest.mark.parametrize("time", ["1950-01-01T00:00:00Z", "1999-12-31T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_certificates_of_any_time_are_read(time: str) -> None:
    """A device without a clock has one of 1970, and one that never expires has the last second of 9999."""
    stored = serialize(Filler().fill(Record))
    stored["health"] |= {"certificate_expires": time, "certificate_warned_of": time}
    stored["outcome"] |= {"certificate_expires": time}
    assert serialize(deserialize(Record, stored)) == stored


def test_a_certificate_begins_within_all_time() -> None:
    """Whatever is stored as its lifetime."""
    expires = datetime(2000, 1, 1, tzinfo=UTC)
    assert Certificate(Role.LEAF, "", expires, 90 * DAY).begins == expires - 90 * DAY
    assert Certificate(Role.LEAF, "", expires, 8000 * 365 * DAY).begins == BEGIN


@pytest.mark.parametrize("number", [-1, 10**9 + 1, 2**53 - 1, 10**125, True, 0.5])
def test_a_sample_with_another_number_has_no_result(number: object) -> None:
    """It neither passed nor failed; one with a wrong mailbox has none."""
    assert from_stored({"rtt_ms": 12.5, "degraded": number}) == Sample()
    if number != 0.5:
        assert from_stored(number) == from_stored({"rtt_ms": number}) == Sample()
    failed = Sample(None, ErrorCode.PROTOCOL, "mailbox-too-full")
    mailbox = {"error": "protocol", "reason": "mailbox-too-full", "messages": 3}
    assert from_stored(mailbox | {"octets": 10**15 - 1}) == replace(failed, mailbox=Mailbox(3, 10**15 - 1))
    assert from_stored(mailbox | {"octets": 10**15}) == failed
    assert from_stored({**mailbox, "octets": 5, "messages": -1}) == failed
