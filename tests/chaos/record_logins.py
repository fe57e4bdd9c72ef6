"""What the logs say of credentials: when each could be read, and which targets were refused with it.

It is made of the servers' log and of what people stored, and holds nothing that popwatch decided.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum

from tests.chaos import facts
from tests.chaos.facts import CredentialChanged, LoginTried, ParametersGone

READ_AGAIN = timedelta(minutes=6)
"""A credential that was read is used for five minutes, and a test takes a while."""

LASTING = timedelta(minutes=14)
"""Without an answer of AWS for so long, targets may count as unable to log in."""

FIRST_WAIT = timedelta(minutes=55)
"""After two refusals without a code, where nothing else is known; it is an hour, and clocks differ."""

NOTED_WITHIN = timedelta(seconds=5)
"""From the answer to a login until every batch that begins reads what it came to."""

MAX_REFUSALS = 2
REFUSALS = ("rejected", "refused", "nothing")
"""Answers that may count against a credential."""


class Meaning(Enum):
    """What a passed test without an accepted login means for a run in which a login failed."""

    NOTHING = "it is left as it is"
    FAILS = "it goes on: the test counts as a failed one"
    DOUBTFUL = "either, or it ends"


class Logins:
    """Logins and credentials of a run."""

    def __init__(self, known: Iterable[facts.Fact], times: Sequence[datetime]) -> None:
        self.times = times
        self.changes: dict[str, list[CredentialChanged]] = defaultdict(list)
        self.gone: list[ParametersGone] = []
        self.tried: dict[str, list[LoginTried]] = defaultdict(list)
        self.by_target: dict[str, list[LoginTried]] = defaultdict(list)
        self.servers: dict[str, list[facts.LoginChanged]] = defaultdict(list)
        self.passwords: dict[str, list[facts.PasswordChanged]] = defaultdict(list)
        self._died: list[int] = []
        self._began: dict[int, datetime] = {}
        for fact in known:
            match fact:
                case CredentialChanged():
                    self.changes[fact.name].append(fact)
                case ParametersGone():
                    self.gone.append(fact)
                case LoginTried():
                    self.tried[fact.name].append(fact)
                    self.by_target[fact.target].append(fact)
                case facts.LoginChanged():
                    self.servers[fact.server].append(fact)
                case facts.PasswordChanged():
                    self.passwords[fact.user.partition("@")[0]].append(fact)
                case facts.Began():
                    self._began[fact.invocation] = fact.at
                case facts.Ended() if fact.how != "well":
                    self._died.append(fact.order)

    def time(self, order: int) -> datetime:
        """When something was."""
        return self.times[min(order, len(self.times) - 1)]

    def in_force(self, name: str, since: datetime, until: datetime) -> list[CredentialChanged]:
        """What was stored of a credential at any time between two."""
        known = self.changes[name]
        first = [one for one in known if self.time(one.order) < since]
        return first[-1:] + [one for one in known if since <= self.time(one.order) < until]

    def meaning(self, test: facts.Tested) -> Meaning:
        """What a test that passed without an accepted login means for a run in which a login failed.

        docs/outages.md, "Outages of the login".
        """
        name, at = test.policy.login, self.time(test.order)
        stored = self.in_force(name, at - READ_AGAIN, at)
        if not stored or any(one.number is None or not one.readable for one in stored):
            return Meaning.DOUBTFUL
        for one in self.gone:
            begin, end = self.time(one.order), min(one.until, at)
            if begin < at and end > at - READ_AGAIN and (one.denied or end - begin > LASTING):
                return Meaning.DOUBTFUL
        if not test.login and any(self._is_left_out(test, one) for one in stored):
            return Meaning.DOUBTFUL
        counted = [self._counted(name, one, test) for one in stored]
        own = self._own_refusals(test, stored[-1], "refused")
        if (not any(counted) and not own) or (test.login and all(len(it) < MAX_REFUSALS for it in counted)):
            return Meaning.NOTHING
        waits = len(stored) == 1 and all(it and it.answer == "refused" for it in counted[-1])
        waits = waits and len(own) >= MAX_REFUSALS and at - self.time(own[-1].order) < FIRST_WAIT
        accepted = any(
            it.answer == "accepted" and waits and own[-1].order < it.order < test.order for it in self.tried[name]
        )
        return Meaning.FAILS if waits and not accepted and not test.login else Meaning.DOUBTFUL

    def _is_left_out(self, test: facts.Tested, stored: CredentialChanged) -> bool:
        """Whether a target has refused a revision twice, once with `[AUTH]`, so that its greeting decides."""
        own = self._own_refusals(test, stored, *REFUSALS)
        return len(own) >= MAX_REFUSALS and any(one.answer == "rejected" for one in own)

    def _own_refusals(self, test: facts.Tested, stored: CredentialChanged, *answers: str) -> list[LoginTried]:
        """The logins of a target that were refused with one of these, since it was last accepted."""
        found: list[LoginTried] = []
        for one in self.by_target[test.target]:
            if one.number == stored.number and one.order < test.order:
                found = [] if one.answer == "accepted" else [*found, *([one] if one.answer in answers else ())]
        return found

    def _counted(self, name: str, stored: CredentialChanged, test: facts.Tested) -> list[LoginTried | None]:
        """The logins that may count against a revision since it was last accepted; None for each of the dead.

        What another batch is accepted with as the batch of a test begins, it may not know yet.
        """
        tried = [one for one in self.tried[name] if one.number == stored.number and one.order < test.order]
        began = self._began.get(test.invocation, test.at) - NOTED_WITHIN
        known = (one for one in tried if one.invocation == test.invocation or self._answered(one) < began)
        accepted = max((one.order for one in known if one.answer in ("accepted", "in-use")), default=stored.order)
        died = bisect_left(self._died, test.order) - bisect_left(self._died, accepted)
        # One that was under way as another was accepted may have been answered after it.
        refused = [one for one in tried if one.answer in REFUSALS and self._answered(one) > self.time(accepted)]
        return [*[None] * died, *refused]

    def _answered(self, tried: LoginTried) -> datetime:
        return self.time(tried.order) + timedelta(seconds=tried.seconds)
