"""What people tell popwatch about a target in the middle of things: be silent, I know of this outage. Words, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from popwatch.model.text import clean
from popwatch.model.windows import OnceWindow, parse_moment

WHY_LENGTH = 200
"""Characters of a reason; it is shown in alerts."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Maintenance that somebody asked for at once, by `popwatch silence`."""

    window: OnceWindow
    why: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows of the outage that began at `outage`: nobody is told more of it, but that it is over."""

    outage: datetime
    at: datetime
    why: str = ""
    by: str = ""


def parse_silence(value: object, zone: tzinfo) -> Silence:
    """The silence of `{from, until, why, by}`; raises ValueError with a sentence that says what is wrong."""
    found = _texts(value, required=("from", "until"), known=("from", "until", "why", "by"))
    window = OnceWindow(parse_moment(found["from"], zone), parse_moment(found["until"], zone))
    if window.end <= window.start:
        raise ValueError("its `until` must be later than its `from`")
    return Silence(window, found.get("why", ""), found.get("by", ""))


def parse_acknowledgement(value: object, zone: tzinfo) -> Acknowledgement:
    """The acknowledgement of `{outage, at, why, by}`; raises ValueError with a sentence that says what is wrong."""
    found = _texts(value, required=("outage",), known=("outage", "at", "why", "by"))
    outage = parse_moment(found["outage"], zone)
    at = parse_moment(found["at"], zone) if found.get("at") else outage
    return Acknowledgement(outage, at, found.get("why", ""), found.get("by", ""))


def _texts(value: object, *, required: tuple[str, ...], known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"it must be a map with {_named(required)}")
    unknown = sorted(str(name) for name in value if name not in known)
    if unknown:
        raise ValueError(f"it has no field `{unknown[0][:40]}`; it has {_named(known)}")
    found = {str(name): clean(str(entry), WHY_LENGTH) for name, entry in value.items() if entry is not None}
    missing = [name for name in required if not found.get(name)]
    if missing:
        raise ValueError(f"it needs {_named(tuple(missing))}")
    return found


def _named(names: tuple[str, ...]) -> str:
    return " and ".join(
        [", ".join(f"`{name}`" for name in names[:-1]), f"`{names[-1]}`"] if names[1:] else [f"`{names[0]}`"]
    )
