"""What popwatch knows of a credential from its logins: shared by all targets that use it. No I/O."""

from dataclasses import dataclass
from datetime import datetime

from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.text import iso

MOST_REJECTIONS = 2
"""Rejections in a row after which a credential is not tried any more: servers lock accounts after three to five."""


@dataclass(frozen=True, slots=True)
class CredentialState:
    """How logins with a credential went.

    `revision` says which one it is about: a parameter that was removed and stored again begins at version 1, so its
    time of change is part of it. `passed_at` is when it was first accepted, None for one that nothing has shown to be
    right since; meanwhile only `tried_by`, a target, logs in with it, since `tried_at`, which is None once that showed
    nothing, so that another one may. `rejections` counts those in a row; `said` is the server's line for the last one,
    cleaned and cut. `reported_at` is when the message that it is blocked was sent. `version` counts the writes, 0
    before the first.
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

    @property
    def blocked(self) -> bool:
        """Whether it is not tried any more until it changes."""
        return self.rejections >= MOST_REJECTIONS

    @property
    def unreported(self) -> bool:
        """Whether the message that it is blocked has not been sent yet."""
        return self.blocked and self.reported_at is None


def revision_of(credential: StoredCredential) -> str:
    """What tells a credential from every other one of its name."""
    return revision(credential.version, credential.changed_at)


def revision(version: int, changed_at: datetime | None) -> str:
    """The same of a parameter, by its version and its time of change: `3 2026-11-27T15:00:00Z`."""
    return f"{version} {iso(changed_at)}" if changed_at else str(version)
