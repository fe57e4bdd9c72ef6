"""What popwatch knows of a credential from its logins: shared by all targets that use it. No I/O."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from popwatch.model.serialization import DamagedError
from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.text import iso
from popwatch.model.time_limits import STORED_AHEAD

MAX_REJECTIONS = 2
"""Rejections in a row after which a credential is not tried any more: servers lock accounts after three to five."""

MAX_REFUSING = 50
"""Targets that a state remembers as refusing a credential that others accept; beyond that none tries it any more."""

SCHEMA_VERSION = 2
"""How states are written now, in `form`. Those without a number keep `tried_at` after a rejection, and know less."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a target refuses a credential: so many times in a row, last at `at`.

    It is `certain` if the server said that the user or the secret is wrong; without a response code, or an answer, it
    may be the server's fault. It is `unanswered` if the last login got no answer. `reported_at` is
    when the message about it was sent.
    """

    target_id: str
    count: int
    at: datetime
    certain: bool = False
    reported_at: datetime | None = None
    unanswered: bool = False

    @property
    def repeated(self) -> bool:
        """Whether the target has refused it as often as it is tried in a row."""
        return self.count >= MAX_REJECTIONS

    @property
    def blocks_for_good(self) -> bool:
        """Whether the target does not try it any more until the credential changes."""
        return self.certain and self.repeated

    @property
    def unreported(self) -> bool:
        """Whether a message about it is due that has not been sent yet."""
        return self.repeated and self.reported_at is None


@dataclass(frozen=True, slots=True)
class CredentialState:
    """How logins with a credential went.

    `revision` says which one it is about: a parameter that was removed and stored again begins at version 1, so its
    time of change is part of it. `passed_at` is when it was accepted, written again once that is some minutes ago; None
    if it never was, or was refused since, and then `accepted_at` is when it last was. `tried_at` is when `tried_by`, a
    target, began the one login that is under way while nothing has lately shown it to be right: an attempt that counts
    until it has ended otherwise; None if none is. `rejections` counts refusals in a row, those of logins that were
    under way at once as two at most; `certain` is whether a server said that the user or
    the secret is wrong. `refusals` are those of each target since it last accepted it. `said` is the server's line for
    the last one, cleaned and cut. `reported_at` is when the message that it is blocked was sent. Since `problem_since`
    it cannot be used at all, for the reason `problem`, which was reported at `problem_reported_at`. At `reporting_at`
    a batch began to send such a message; None if it has ended. `version` counts the writes, 0 before the first.
    """

    name: str
    revision: str = ""
    passed_at: datetime | None = None
    tried_by: str = ""
    tried_at: datetime | None = None
    rejections: int = 0
    rejected_by: str = ""
    rejected_at: datetime | None = None
    said: str = ""
    reported_at: datetime | None = None
    version: int = 0
    accepted_at: datetime | None = None
    certain: bool = False
    refusals: tuple[Refusal, ...] = ()
    problem: str = ""
    problem_since: datetime | None = None
    problem_reported_at: datetime | None = None
    reporting_at: datetime | None = None

    @property
    def was_accepted(self) -> bool:
        """Whether a server has accepted this revision."""
        return self.passed_at is not None or self.accepted_at is not None

    @property
    def blocked(self) -> bool:
        """Whether all targets wait: until it changes, or for a time if the servers may be to blame."""
        return self.rejections >= MAX_REJECTIONS

    @property
    def blocked_for_good(self) -> bool:
        """Whether it is not tried any more until it changes: a server said that the user or the secret is wrong."""
        return self.blocked and self.certain

    @property
    def shown(self) -> str:
        """The credential for people, with when this revision of it was stored: another one may be since."""
        has_time = " " in self.revision
        return f"{self.name} (stored {revision_time(self.revision):%Y-%m-%d %H:%M} UTC)" if has_time else self.name

    @property
    def unreported(self) -> bool:
        """Whether the message that it is blocked has not been sent yet."""
        return self.blocked and self.reported_at is None

    def refusal_of(self, target_id: str) -> Refusal | None:
        """The refusals in a row of a target."""
        return next((one for one in self.refusals if one.target_id == target_id), None)


def upgraded(state: CredentialState) -> CredentialState:
    """A state that was stored without a `form`: a rejected login still stood there as one under way."""
    under_way = state.tried_at if not state.rejections else None
    return replace(state, tried_at=under_way, certain=bool(state.rejections))


def revision_of(credential: StoredCredential) -> str:
    """What tells a credential from every other one of its name."""
    return revision(credential.version, credential.changed_at)


def revision(version: int, changed_at: datetime | None) -> str:
    """The same of a parameter, by its version and its time of change: `3 2026-11-27T15:00:00Z`."""
    return f"{version} {iso(changed_at)}" if changed_at else str(version)


def revision_time(revision: str) -> datetime:
    """When a revision was stored; the earliest time for one that says none. Raises ValueError for no time."""
    _, _, changed_at = revision.partition(" ")
    return datetime.fromisoformat(changed_at).astimezone(UTC) if changed_at else datetime.min.replace(tzinfo=UTC)


def check_revision(known: str, now: datetime) -> None:
    """Raise ValueError for a text that is neither empty nor a revision, and for one that was stored after `now`.

    None that is stored until then would be newer, so none would be tried.
    """
    if known and is_newer(known, revision(0, now + STORED_AHEAD)):
        raise DamagedError(f"its revision {known} is in the future")


def is_newer(revision: str, than: str) -> bool:
    """Whether a revision was stored after another one. Of two that were stored at one time the higher version is.

    Raises ValueError for a text that is not a revision.
    """
    if not than:
        return True
    return (revision_time(revision), _version(revision)) > (revision_time(than), _version(than))


def _version(revision: str) -> int:
    return int(revision.partition(" ")[0])
