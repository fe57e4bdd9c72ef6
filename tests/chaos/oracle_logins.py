"""What docs/targets.md, docs/outages.md and docs/threats.md promise of logins, over the servers' own log.

No account is locked by popwatch, and a login that is dead is reported whatever other targets do with its credential.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

from tests.chaos import facts
from tests.chaos.facts import Finding, LoginTried, Policy
from tests.chaos.oracle_times import MINUTE, SLACK, Times, longest_test, longest_time
from tests.chaos.record import SKEW, CampaignRecord
from tests.chaos.record_logins import MAX_REFUSALS, REFUSALS, Logins

ACCEPTED = ("accepted", "in-use")
WORKS, LET_IN = "works", ("works", "in-use", "login-delay")
NORMAL_MESSAGES = 100
HOUR = timedelta(hours=1)
OTHERS_WAIT = timedelta(minutes=15)
"""Of a version that was accepted, before a target tries it that has not refused it, to show whether it is right."""

LONGEST_WAIT = timedelta(hours=24)

CACHED = timedelta(minutes=5)
"""A changed credential is used within so long, with the next login."""

STEADY = timedelta(minutes=10)
"""A server that has been so for so long is up, whatever it was before."""

UNUSABLE_FOR = timedelta(minutes=15)
"""How long a credential cannot be used before an email says so."""

_SUBJECT = re.compile(r"(Login rejected|Login fails|No login): credential (\S+?)(?:, at (\S+)| cannot be used)?")
_STORED = re.compile(r"\(stored (\d{4}-\d\d-\d\d \d\d:\d\d) UTC\)")
_SINCE = re.compile(r"Since (\d{4}-\d\d-\d\d \d\d:\d\d) UTC no target logs in")


@dataclass(frozen=True, slots=True)
class LoginRules:
    """Judges the logins of a run; `times` knows when nothing of weight went wrong, `counted` what was judged."""

    record: CampaignRecord
    times: Times
    counted: Counter[str]

    @property
    def logins(self) -> Logins:
        """The logs."""
        return self.record.logins

    def judge(self) -> Iterator[Finding]:
        """Which attempts were made, and what was said of credentials."""
        for tried in self.logins.tried.values():
            self.counted["logins"] += len(tried)
            self.counted["logins with a wrong password"] += sum(not one.right for one in tried)
            yield from self._judge_older(tried)
            yield from self._judge_in_a_row(tried)
            yield from self._judge_targets(tried)
        yield from self._judge_messages()

    def judge_how_soon(self) -> Iterator[Finding]:
        """How soon a dead login is reported, and a stored credential used."""
        for server in self.logins.servers:
            yield from self._judge_dead(server)
        for name in self.logins.changes:
            yield from self._judge_stored(name)
            yield from self._judge_notified(name)

    # ---- attempts

    def _judge_older(self, tried: list[LoginTried]) -> Iterator[Finding]:
        """One that is older than the one tried last is never tried, but by who had begun before that."""
        newest: LoginTried | None = None
        for one in tried:
            began = self.record.began[one.invocation].order
            if newest and one.number < newest.number and began > newest.order:
                text = f"revision {one.number} of {one.name} after revision {newest.number}"
                yield Finding("older credential tried", one.order, one.target, text)
            newest = one if newest is None or one.number > newest.number else newest

    def _judge_in_a_row(self, tried: list[LoginTried]) -> Iterator[Finding]:
        """Two in a row that count, whoever made them; then none if one was `[AUTH]`, else one after each wait.

        Of a password that was accepted each message that is under way may try it once.
        """
        rows: dict[int, list[LoginTried]] = defaultdict(list)
        accepted: set[int] = set()
        for one in tried:
            row = rows[one.number]
            if one.answer in ACCEPTED:
                accepted.add(one.number)
                row.clear()
            elif one.answer in REFUSALS and not (one.answer == "nothing" and one.number in accepted):
                if len(row) >= MAX_REFUSALS and not self._is_under_way(one, row, was_accepted=one.number in accepted):
                    waited = self.record.time(one.order) - self.record.time(row[-1].order)
                    wait = OTHERS_WAIT if one.number in accepted else HOUR * 2 ** (len(row) - MAX_REFUSALS)
                    certain = any(it.answer == "rejected" for it in row)
                    if certain or waited < wait - SKEW:
                        text = f"login {len(row) + 1} in a row that counts, of {one.name} {one.number}, after {waited}"
                        yield Finding("third attempt", one.order, one.target, text)
                        return
                row.append(one)

    def _is_under_way(self, one: LoginTried, row: list[LoginTried], *, was_accepted: bool) -> bool:
        """Whether a login is of a message that had begun before, or something of weight went wrong since."""
        if not was_accepted:
            return False
        begun = self.record.began[one.invocation].order < row[MAX_REFUSALS - 1].order
        first = all(it.invocation != one.invocation for it in row)
        begin, now = self.record.time(row[0].order) - MINUTE, self.record.time(one.order)
        return (begun and first) or self.times.went_wrong(begin, now)

    def _judge_targets(self, tried: list[LoginTried]) -> Iterator[Finding]:
        """A target that answers `[AUTH]` twice in a row is left out, though others are accepted in between."""
        rejected: Counter[tuple[str, int]] = Counter()
        for one in tried:
            if one.answer == "accepted":
                rejected.pop((one.target, one.number), None)
            rejected[one.target, one.number] += one.answer == "rejected"
            if rejected[one.target, one.number] > MAX_REFUSALS:
                begin, now = self.record.time(one.order) - 3 * HOUR, self.record.time(one.order)
                if not self.times.went_wrong(begin, now):
                    text = f"a third login with {one.name} {one.number}, rejected twice"
                    yield Finding("third attempt", one.order, one.target, text)
                    return

    # ---- messages about credentials

    def _judge_messages(self) -> Iterator[Finding]:
        """Each has its reason, and is sent once for each row of refusals of a revision."""
        said: dict[tuple[str, str, str, datetime], facts.PublishedText] = {}
        for text in self._messages():
            found = _SUBJECT.fullmatch(text.subject)
            if not found:
                yield Finding("wrong text", text.order, "", f"of a credential: {text.subject}")
                continue
            kind, name, target = found[1], found[2], found[3] or ""
            self.counted["messages about credentials"] += 1
            if kind == "No login":
                yield from self._judge_unusable(text, name)
                continue
            stored = _STORED.search(" ".join(text.text.split()))
            at = datetime.fromisoformat(f"{stored[1]}+00:00") if stored else self.record.times[0]
            changes = [it for it in self.logins.changes[name] if it.order < text.order]
            numbers = {it.number for it in changes if at <= self.record.time(it.order) < at + MINUTE}
            if not numbers:
                yield Finding("wrong figure", text.order, target, f"{text.subject}: nothing was stored at {at}")
            yield from self._judge_refused(text, name, target)
            first = said.setdefault((kind, name, target, at), text)
            between = (it for it in self.logins.tried[name] if first.order < it.order < text.order)
            if any(it.answer in ACCEPTED and it.number in numbers for it in between):
                said[kind, name, target, at] = text  # of another row of refusals
            elif first is not text and self._is_unexplained(first):
                yield Finding("sent twice", text.order, target, f"{text.subject}, stored at {at}")

    def _judge_notified(self, name: str) -> Iterator[Finding]:
        """Those who read emails are notified at once of a credential that two servers in a row have called wrong.

        Also after a refusal without a code by the same one, of which another message may have been sent.
        """
        sent = [it.order for it in self._messages() if it.subject.startswith(f"Login rejected: credential {name}")]
        for before, one in pairwise(self.logins.tried[name]):
            at, end = self.record.time(before.order), self.record.time(one.order) + 2 * MINUTE
            if before.number != one.number or one.answer != "rejected":
                continue
            if before.answer != "rejected" and (before.answer, before.target) != ("refused", one.target):
                continue
            if end > self.record.times[-1] or self.times.went_wrong(at - MINUTE, end):
                continue
            self.counted["credentials called wrong twice"] += 1
            if not any(before.order < order and self.record.time(order) < end for order in sent):
                yield Finding("alert lost", one.order, one.target, f"{name} {one.number} was rejected twice in a row")

    def _messages(self) -> list[facts.PublishedText]:
        texts = (one for one in self.record.facts if isinstance(one, facts.PublishedText))
        return [one for one in texts if one.attributes.get("event") == "credential"]

    def _is_unexplained(self, first: facts.PublishedText) -> bool:
        """Whether who sent a message came to its end, and could write that it did."""
        began, end = self.record.time(first.order), self.record.time(first.order) + 2 * MINUTE
        went_wrong = any(began - MINUTE < one.at < end for one in self.record.failed)
        return first.answered and self.record.ended_well(first.invocation) and not went_wrong

    def _judge_refused(self, text: facts.PublishedText, name: str, target: str) -> Iterator[Finding]:
        """Two logins in a row were refused, at one target if it is about one."""
        tried = [one for one in self.logins.tried[name] if one.order < text.order]
        tried = [one for one in tried if not target or one.target == target]
        died = any(not self.record.ended_well(one.invocation) for one in tried)
        if not died and self.record.failed:
            died = any(one.at < self.record.time(text.order) for one in self.record.failed)
        if not died and max(map(len, self._in_a_row(tried).values()), default=0) < MAX_REFUSALS:
            yield Finding("credential called wrong", text.order, target, text.subject)

    def _in_a_row(self, tried: Sequence[LoginTried]) -> dict[int, list[LoginTried]]:
        """The refusals of each revision that may be in a row after these logins.

        Of an acceptance and a refusal that were answered at about the same time either may count first.
        """
        answered = {one.order: self._answered(one) for one in tried}
        refused = [answered[one.order] for one in tried if one.answer in REFUSALS]
        rows: dict[int, list[LoginTried]] = defaultdict(list)
        for one in sorted(tried, key=lambda it: answered[it.order]):
            if one.answer in REFUSALS:
                rows[one.number].append(one)
            elif one.answer in ACCEPTED and not any(abs(at - answered[one.order]) < SKEW for at in refused):
                rows[one.number].clear()
        return rows

    def _answered(self, one: LoginTried) -> datetime:
        return self.record.time(one.order) + timedelta(seconds=one.seconds)

    def _judge_unusable(self, text: facts.PublishedText, name: str) -> Iterator[Finding]:
        """It could not be used for a quarter of an hour, since the minute that the text says."""
        at, since = self.record.time(text.order), _SINCE.search(" ".join(text.text.split()))
        begun = datetime.fromisoformat(f"{since[1]}+00:00") if since else at
        if at - begun < UNUSABLE_FOR - SKEW:
            yield Finding("alert too early", text.order, name, f"{text.subject}, since {begun}")
        gone = [it for it in self.logins.gone if self.record.time(it.order) < begun + MINUTE + SKEW]
        gone = [it for it in gone if it.until > begun - CACHED - SKEW]
        stored = self.logins.in_force(name, begun - CACHED - SKEW, begun + MINUTE + SKEW)
        if not gone and all(it.number is not None and it.readable for it in stored):
            yield Finding("credential called unusable", text.order, name, f"{text.subject}, since {begun}")

    # ---- how soon

    def _judge_dead(self, server: str) -> Iterator[Finding]:
        """People are notified of a dead login within the stated time, whatever others do with its credential."""
        changes = self.logins.servers[server]
        for before, change, after in zip([None, *changes], changes, [*changes[1:], None], strict=False):
            if before is not None and not (before.mode == WORKS and before.messages < NORMAL_MESSAGES):
                continue
            for target in list(self.record.configured):
                known = self.record.in_force(target, change.order)
                if known is None or known.policy is None or known.server != server or not known.policy.login:
                    continue
                if not self._is_dead(change, known.policy, target):
                    continue
                began = self.record.time(change.order)
                end = began + longest_login_time(known) + SLACK
                lasts = after is None or self.record.time(after.order) > end
                steady = before is None or self.record.time(before.order) < began - STEADY
                if lasts and steady and self._is_right(known, began, end, change.order):
                    yield from self._judge_time(target, known, change, end)

    def _is_dead(self, change: facts.LoginChanged, policy: Policy, target: str) -> bool:
        """Whether no one can log in now; without a code only the target that has its credential for itself is down."""
        if change.mode == WORKS:
            return 0 < policy.max_messages < change.messages
        if change.mode == "garbles" or (change.mode == "refuses" and not change.codes):
            known = self.record.configured.items()
            using = {name for name, all_of in known for it in all_of if it.policy and it.policy.login == policy.login}
            return using == {target}
        return change.mode not in (*LET_IN, "detached")

    def _judge_time(
        self, target: str, known: facts.Configured, change: facts.LoginChanged, end: datetime
    ) -> Iterator[Finding]:
        began = self.record.time(change.order)
        answers = self.record.server_changes[known.server]
        near = [one for one in answers if began - STEADY < self.record.time(one.order) < end]
        last = [one for one in answers if one.order < change.order]
        if near or (last and not last[-1].answers) or end > self.record.times[-1]:
            return
        assert known.policy is not None
        was_up = self.times.was_up(target, known.policy, change.order)
        if not was_up or not self.times.is_quiet(target, known, began - STEADY, end):
            return
        self.counted["times to alert, of logins"] += 1
        said = [it for it in self.times.messages[target] if it.event == "down" and it.channel == "alert"]
        if not any(began < it.time <= end for it in said):
            text = f"logins at {known.server} are {change.mode} from {began}, and no one was alerted by {end}"
            yield Finding("outage not reported in time", change.order, target, text)

    def _is_right(self, known: facts.Configured, began: datetime, end: datetime, order: int) -> bool:
        """Whether the credential of a target could be read, was accepted, and not refused so that its targets wait."""
        assert known.policy is not None
        name, logins = known.policy.login, self.logins
        stored = logins.in_force(name, began - 15 * MINUTE, end)
        gone = any(logins.time(it.order) < end and it.until > began - 15 * MINUTE for it in logins.gone)
        changed = any(began - 15 * MINUTE < logins.time(it.order) < end for it in logins.passwords[name])
        if len(stored) != 1 or not stored[0].right or gone or changed:
            return False
        tried = [it for it in logins.tried[name] if it.number == stored[0].number and logins.time(it.order) < end]
        wrong = any(not it.right and it.answer in REFUSALS for it in tried)
        refused = [at for it in tried if it.answer in REFUSALS and began < (at := self._answered(it)) < end]
        wait = any(self._may_wait(tried, at) for at in (began, *refused))
        return not wrong and not wait and any(it.answer == "accepted" and it.order < order for it in tried)

    def _may_wait(self, tried: Sequence[LoginTried], now: datetime) -> bool:
        """Whether refusals in a row of one revision, which was accepted before, may keep it from all targets.

        docs/outages.md, "Outages of the login": for good if one was `[AUTH]`, else for 15 minutes after the second, and
        for two, four, ... up to 24 hours after each further one.
        """
        rows = self._in_a_row([one for one in tried if self._answered(one) <= now]).values()
        row = [one for it in rows for one in it if one.answer != "nothing"]  # that counts only before it was accepted
        if len(row) < MAX_REFUSALS:
            return False
        further = len(row) - MAX_REFUSALS
        wait = min(HOUR * 2**further, LONGEST_WAIT) if further else OTHERS_WAIT
        return any(one.answer == "rejected" for one in row) or now < self._answered(row[-1]) + wait + SKEW

    def _judge_stored(self, name: str) -> Iterator[Finding]:
        """A right credential is used again within the stated time after it was stored, and then at each interval."""
        for one, after in pairwise([*self.logins.changes[name], None]):
            if one is None or not one.right:
                continue
            begin = self.record.time(one.order)
            for target in list(self.record.configured):
                known = self.record.in_force(target, one.order)
                if known is None or known.policy is None or known.policy.login != name:
                    continue
                every = login_interval(known.policy)
                end = begin + CACHED + 2 * every + 2 * MINUTE + SLACK
                until = self.record.time(after.order) if after else self.record.times[-1]
                if end < until and self._lets_in(name, target, known, begin, end):
                    yield from self._judge_use(target, one, begin, end)

    def _judge_use(
        self, target: str, stored: facts.CredentialChanged, begin: datetime, end: datetime
    ) -> Iterator[Finding]:
        self.counted["times to use a stored credential"] += 1
        tried = [it for it in self.logins.by_target[target] if it.number == stored.number]
        accepted = [it for it in tried if it.answer == "accepted" and begin < self.record.time(it.order) <= end]
        if not accepted:
            text = f"{stored.name} {stored.number} was stored at {begin}, and not used by {end}"
            yield Finding("stored credential not used", stored.order, target, text)

    def _lets_in(self, name: str, target: str, known: facts.Configured, begin: datetime, end: datetime) -> bool:
        """Whether all servers of a credential let it in all the time, and nothing of weight went wrong."""
        record, logins, policy = self.record, self.logins, known.policy
        assert policy is not None
        gone = any(logins.time(it.order) < end and it.until > begin for it in logins.gone)
        changed = any(begin < logins.time(it.order) < end for it in logins.passwords[name])
        configured = any(begin - MINUTE < record.time(it.order) < end for it in record.configured[target])
        answers = record.server_changes[known.server]
        failed = any(begin - STEADY < record.time(it.order) < end for it in answers)
        failed = failed or any(not it.answers for it in [it for it in answers if record.time(it.order) < begin][-1:])
        slow = policy.max_rtt_ms or not policy.enabled
        suspended = known.policy and any(since < end and begin < until for since, until in known.windows)
        if gone or changed or configured or failed or slow or suspended or self.times.went_wrong(begin, end):
            return False
        for other in record.configured:
            before = record.in_force(other, self._order_at(begin))
            now = [it for it in record.configured[other] if begin < record.time(it.order) < end]
            for it in [*([before] if before else []), *now]:
                if it.policy and it.policy.login == name and not self._server_works(it.server, begin, end):
                    return False
        return True

    def _order_at(self, time: datetime) -> int:
        return sum(1 for it in self.record.times if it <= time)

    def _server_works(self, server: str, begin: datetime, end: datetime) -> bool:
        known = self.logins.servers[server]
        before = [it for it in known if self.record.time(it.order) <= begin][-1:]
        within = [it for it in known if begin < self.record.time(it.order) < end]
        return all(it.mode == WORKS and it.messages < NORMAL_MESSAGES for it in (*before, *within))


def login_interval(policy: Policy) -> timedelta:
    """From one login of a target that is up to the next: `login_every`, rounded up to a multiple of `delay_up`."""
    each = max(timedelta(seconds=policy.delay_up), MINUTE)
    return ceil(timedelta(seconds=policy.login_every) / each) * each


def longest_login_time(known: facts.Configured) -> timedelta:
    """The longest time from the beginning of an outage of the login alone to its first alert: docs/interventions.md."""
    policy = known.policy
    assert policy is not None
    of_greeting = longest_time(policy, longest_test(known))
    whole = ceil(timedelta(seconds=policy.delay_up) / MINUTE) * MINUTE
    interval = ceil(login_interval(policy) / MINUTE) * MINUTE
    return of_greeting - whole + interval
