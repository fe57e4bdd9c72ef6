"""What people do about an outage or planned work: a silence, an acknowledgement, a suspension. No I/O.

All are fields of a target's item, written by `popwatch silence`, `ack` and `suspend --for`, or by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from popwatch.model.text import clean
from popwatch.model.windows import OnceWindow, parse_time

WHY_LENGTH = 200
"""Characters of a reason; it is shown in alerts."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A maintenance window that `popwatch silence` began."""

    window: OnceWindow
    why: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A time without tests that `popwatch suspend --for` began."""

    window: OnceWindow
    why: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Someone works on the outage whose first failed test was at `outage`: no further alerts until it recovers."""

    outage: datetime
    at: datetime
    why: str = ""
    by: str = ""


def parse_silence(value: object, zone: tzinfo) -> Silence:
    """The silence of `{from, until, why, by}`; raises ValueError with a sentence that says what is wrong."""
    return Silence(*_for_a_time(value, zone))


def parse_suspension(value: object, zone: tzinfo) -> Suspension:
    """The suspension of `{from, until, why, by}`; raises ValueError as well."""
    return Suspension(*_for_a_time(value, zone))


def _for_a_time(value: object, zone: tzinfo) -> tuple[OnceWindow, str, str]:
    entries = _strings(value, required=("from", "until"), known=("from", "until", "why", "by"))
    window = OnceWindow(parse_time(entries["from"], zone), parse_time(entries["until"], zone))
    if window.end <= window.start:
        raise ValueError("its `until` must be later than its `from`")
    return window, entries.get("why", ""), entries.get("by", "")


def parse_acknowledgement(value: object, zone: tzinfo) -> Acknowledgement:
    """The acknowledgement of `{outage, at, why, by}`; raises ValueError with a sentence that says what is wrong."""
    entries = _strings(value, required=("outage",), known=("outage", "at", "why", "by"))
    outage = parse_time(entries["outage"], zone)
    at = parse_time(entries["at"], zone) if entries.get("at") else outage
    return Acknowledgement(outage, at, entries.get("why", ""), entries.get("by", ""))


def _strings(value: object, *, required: tuple[str, ...], known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"it must be a map with {_listed(required)}")
    unknown = sorted(str(name) for name in value if name not in known)
    if unknown:
        raise ValueError(f"it has no field `{unknown[0][:40]}`; it has {_listed(known)}")
    entries = {str(name): clean(str(entry), WHY_LENGTH) for name, entry in value.items() if entry is not None}
    missing = tuple(name for name in required if not entries.get(name))
    if missing:
        raise ValueError(f"it needs {_listed(missing)}")
    return entries


def _listed(names: tuple[str, ...]) -> str:
    """Names in a sentence: `a`, `b` and `c`."""
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}" if first else last
