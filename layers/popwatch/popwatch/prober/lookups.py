"""The lookups of one `Prober.run`: which questions to send when, and what their replies mean. No I/O; the clock is
an argument.

AWS's resolver takes 1,024 packets a second from a network interface and drops the rest
(docs.aws.amazon.com/whitepapers/latest/hybrid-cloud-dns-options-for-vpc/constraints.html). So questions are begun at a
bounded rate, and those without a reply are repeated at a rate of their own: a name never waits for an unanswered one.
"""

import heapq
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from popwatch.decisions.own_network import LEAST_NETWORKS, LEAST_TARGETS, domain_of
from popwatch.model.fields import FAMILY_NAMES, Family
from popwatch.prober.dns_messages import NO_ERROR, NO_SUCH_NAME, RecordType, Reply, encode_name, question, read_reply
from popwatch.prober.resolver import FRESH_SECONDS, STALE_SECONDS, LookupResult, Name, Resolver

BEGUN_PER_SECOND, REPEATED_PER_SECOND, BURST = 600.0, 300.0, 20
"""Questions a second, and how many may be sent at once. Together they stay below 1,024 in any second."""

WAITS = (0.3, 0.5, 0.8, 1.2)
"""Seconds from each sending of a question to the next.

If 2 % of the packets are lost in each direction, one name in ten million has no reply to any of the five.
"""

LOOKUP_SECONDS = 4.5
"""How long the name servers have, from the beginning of a lookup."""

OTHER_FAMILY_SECONDS = 0.5
"""How long a name with addresses of one family waits for those of the other: long enough for one repetition.

Some name servers never answer a question for AAAA (RFC 4074 section 4.1).
"""

UNANSWERED_SECONDS = 1.5
"""A name without an answer for so long counts as one that fails, when it is decided whether the name servers do."""

MAX_FAILURES = 2
"""Replies such as SERVFAIL until a question is given up, if there are no more name servers than that."""

_log = logging.getLogger("popwatch.prober.lookups")


class TokenBucket:
    """Limits how often something is done: `rate` times a second, `BURST` times at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._tokens, self._as_of = rate, float(BURST), 0.0

    def allows(self, now: float, number: int = 1) -> bool:
        """Whether it may be done now, `number` times."""
        if now > self._as_of:
            gained = (now - self._as_of) * self._rate if self._as_of else 0.0
            self._tokens, self._as_of = min(BURST, self._tokens + gained), now
        return self._tokens >= number

    def count(self, number: int = 1) -> None:
        """It has been done."""
        self._tokens -= number

    def next_time(self, now: float) -> float:
        """When to look again: not for each single one, but when half of BURST may be done."""
        return now if self.allows(now, BURST // 2) else now + (BURST // 2 - self._tokens) / self._rate


@dataclass(slots=True, eq=False)
class _Lookup:
    """The lookup of a host: the names still to be tried, the open questions, and what was found so far."""

    wanted: Name
    candidates: deque[str]
    cached: bool
    name: bytes = b""
    open: dict[RecordType, "Question"] = field(default_factory=dict)
    found: dict[RecordType, tuple[str, ...]] = field(default_factory=dict)
    asked: set[RecordType] = field(default_factory=set)
    exists: bool = False
    failure: tuple[str, str] | None = None
    waits_for_other: bool = False
    ended: bool = False


@dataclass(slots=True, eq=False)
class Question:
    """A question, how often it has been sent, and how many replies said that the name server had failed."""

    lookup: _Lookup
    message_id: int
    record_type: RecordType
    sent: int = 0
    failures: int = 0
    ended: bool = False

    @property
    def message(self) -> bytes:
        """What is sent."""
        return question(self.message_id, self.lookup.name, self.record_type)


class Lookups:
    """The lookups of one `Prober.run`. Each host is looked up once.

    With `ipv6` false there is no route for IPv6. Then IPv6 addresses are asked for only if a name has no IPv4 address,
    so that its outcome can say so.
    """

    def __init__(self, resolver: Resolver, *, ipv6: bool) -> None:
        self._cache, self._hosts = resolver.cache, resolver.read_hosts()
        self.name_servers = resolver.read_name_servers()
        self._cache.forget_old()
        self._record_types = {
            Family.ANY: (RecordType.A, RecordType.AAAA) if ipv6 else (RecordType.A,),
            Family.IPV4: (RecordType.A,),
            Family.IPV6: (RecordType.AAAA,),
        }
        self._open: dict[int, Question] = {}
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._first: deque[Question] = deque()
        self._repeated: deque[Question] = deque()
        self._begin_bucket, self._repeat_bucket = TokenBucket(BEGUN_PER_SECOND), TokenBucket(REPEATED_PER_SECOND)
        self._results: list[LookupResult] = []
        self._server = 0
        # Only names with a cached answer show whether the name servers fail: others may be zones that are out of order.
        self._cached_begun = 0
        self._failing: dict[Name, _Lookup] = {}
        self._served_stale: set[Name] = set()

    @property
    def under_way(self) -> bool:
        """Whether a question is open."""
        return bool(self._open)

    def known(self, name: Name) -> LookupResult | None:
        """The addresses of a host that need no question: from the hosts file, or from an answer that is still fresh."""
        listed = self._hosts.get(name.host.lower().removesuffix("."), ())
        wanted = tuple(address for address in listed if name.family.includes(address))
        if wanted:
            return LookupResult(name, wanted)
        answer = self._cache.find(name, FRESH_SECONDS)
        return LookupResult(name, answer[1]) if answer else None

    def has_cached(self, name: Name) -> bool:
        """Whether there is a cached answer of a host."""
        return self._cache.find(name, STALE_SECONDS) is not None

    def may_begin(self, now: float) -> bool:
        """Whether a lookup may begin now without exceeding the rate."""
        return self._begin_bucket.allows(now, len(self._record_types[Family.ANY]))

    def next_begin(self, now: float) -> float:
        """When to ask again whether a lookup may begin."""
        return self._begin_bucket.next_time(now)

    def begin(self, name: Name, now: float) -> None:
        """Begin the lookup of a host that is not known."""
        cached = self.has_cached(name)
        lookup = _Lookup(name, deque(self.name_servers.candidates(name.host)), cached)
        self._at(now + LOOKUP_SECONDS, partial(self._time_out, lookup))
        if cached:
            self._cached_begun += 1
            self._at(now + UNANSWERED_SECONDS, partial(self._count_unanswered, lookup))
        self._begin_bucket.count(len(self._record_types[name.family]))
        self._ask_next(lookup, now, self._first)

    def sends(self, now: float) -> Iterator[tuple[int, Question]]:
        """What to send now: the number of a name server, and a question for it."""
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2](now)
        while self._first:
            yield self._send(self._first.popleft(), now)
        while self._repeated and self._repeat_bucket.allows(now):
            question = self._repeated.popleft()
            if not question.ended:
                self._repeat_bucket.count()
                yield self._send(question, now)

    def next_due(self, now: float) -> float:
        """When `sends` should be called again; infinity if nothing is under way."""
        if self._first or self._results:
            return now
        due = self._timers[0][0] if self._timers else float("inf")
        return min(due, self._repeat_bucket.next_time(now)) if self._repeated else due

    def receive(self, data: bytes, server: int, now: float) -> Question | None:
        """Take a message from a name server. Returns the question if its reply has to be fetched by TCP."""
        reply = read_reply(data)
        question = self._open.get(reply.message_id) if reply else None
        if not reply or not question or (reply.name, reply.record_type) != (question.lookup.name, question.record_type):
            return None
        if reply.code in (NO_ERROR, NO_SUCH_NAME):
            self._server = server
            if reply.truncated and not reply.addresses:
                return question
            self._answer(question, reply, now)
        else:
            self.fail(question, f"The name server failed (code {reply.code}).", now)
        return None

    def fail(self, question: Question, detail: str, now: float) -> None:
        """A name server could not answer, or could not be reached. The question is repeated, to a limit."""
        question.failures += 1
        if question.failures >= max(MAX_FAILURES, len(self.name_servers.servers)):
            self._give_up(question, detail, now)

    def results(self) -> list[LookupResult]:
        """What has ended since the last call."""
        results, self._results = self._results, []
        return results

    def _at(self, due: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._timers, (due, next(self._order), action))

    def _ask_next(self, lookup: _Lookup, now: float, queue: deque[Question]) -> None:
        """Ask for the next of the names that are to be tried, or end with what was found out."""
        while lookup.candidates:
            candidate = lookup.candidates.popleft()
            try:
                lookup.name = encode_name(candidate)
            except UnicodeError as error:
                lookup.failure = lookup.failure or ("dns-error", str(error))
                continue
            lookup.found.clear()
            lookup.asked.clear()
            for record_type in self._record_types[lookup.wanted.family]:
                self._ask(lookup, record_type, queue)
            return
        if lookup.failure:
            self._end_failed(lookup, now)
        elif lookup.exists or lookup.wanted.host.lower().removesuffix(".") in self._hosts:
            self._end_without(lookup, "no-address-record", _no_address(lookup.wanted))
        else:
            self._end_without(lookup, "no-such-name", f"There is no name {lookup.wanted.host}.")

    def _ask(self, lookup: _Lookup, record_type: RecordType, queue: deque[Question]) -> None:
        message_id = secrets.randbelow(1 << 16)
        while message_id in self._open:
            message_id = secrets.randbelow(1 << 16)
        question = self._open[message_id] = lookup.open[record_type] = Question(lookup, message_id, record_type)
        lookup.asked.add(record_type)
        queue.append(question)

    def _send(self, question: Question, now: float) -> tuple[int, Question]:
        """Send a question, each time to the next name server, beginning with the one that answered last."""
        server = (self._server + question.sent) % len(self.name_servers.servers)
        if question.sent < len(WAITS):
            self._at(now + WAITS[question.sent], partial(self._repeat, question))
        question.sent += 1
        return server, question

    def _repeat(self, question: Question, _: float) -> None:
        if not question.ended:
            self._repeated.append(question)

    def _give_up(self, question: Question, detail: str, now: float) -> None:
        if not question.ended:
            question.lookup.failure = "dns-failure", detail
            self._close(question)
            self._conclude(question.lookup, now)

    def _answer(self, question: Question, reply: Reply, now: float) -> None:
        lookup = question.lookup
        self._close(question)
        if reply.code == NO_SUCH_NAME:
            self._close_all(lookup)
            self._ask_next(lookup, now, self._repeated)
        else:
            lookup.exists = True
            lookup.found[question.record_type] = reply.addresses
            self._conclude(lookup, now)

    def _close(self, question: Question) -> None:
        question.ended = True
        del self._open[question.message_id], question.lookup.open[question.record_type]

    def _close_all(self, lookup: _Lookup) -> None:
        for still_open in list(lookup.open.values()):
            self._close(still_open)

    def _conclude(self, lookup: _Lookup, now: float) -> None:
        """One question of a lookup has ended: end the lookup, wait for the other family, or ask what is left to ask."""
        if lookup.ended:
            return
        if any(lookup.found.values()):
            if not lookup.open:
                self._end_found(lookup, now)
            elif not lookup.waits_for_other:
                lookup.waits_for_other = True
                self._at(now + OTHER_FAMILY_SECONDS, partial(self._end_found, lookup))
        elif not lookup.open:
            only_ipv4 = {RecordType.A}
            if lookup.wanted.family is Family.ANY and lookup.asked == only_ipv4 and lookup.found.keys() == only_ipv4:
                self._ask(lookup, RecordType.AAAA, self._repeated)
            else:
                self._ask_next(lookup, now, self._repeated)

    def _end_found(self, lookup: _Lookup, _: float) -> None:
        if not lookup.ended:
            addresses = (*lookup.found.get(RecordType.AAAA, ()), *lookup.found.get(RecordType.A, ()))
            self._cache.keep(lookup.wanted, addresses)
            self._end(lookup, LookupResult(lookup.wanted, addresses))

    def _end_without(self, lookup: _Lookup, reason: str, detail: str) -> None:
        """A name server says that there is no address: that is an answer, and ends what was cached."""
        self._cache.forget(lookup.wanted)
        self._end(lookup, LookupResult(lookup.wanted, (), reason, detail))

    def _end_failed(self, lookup: _Lookup, now: float) -> None:
        """The name servers failed. With a cached answer, its time tells whether they fail for most names."""
        if lookup.cached:
            self._count_unanswered(lookup, now)
        else:
            self._time_out(lookup, now)

    def _time_out(self, lookup: _Lookup, now: float) -> None:
        """The time of a lookup is over, or no more can come of it."""
        self._count_unanswered(lookup, now)
        reason, detail = lookup.failure or ("dns-timed-out", "The name servers did not answer.")
        self._end(lookup, LookupResult(lookup.wanted, (), reason, detail))

    def _count_unanswered(self, lookup: _Lookup, _: float) -> None:
        """A name that was answered before has no answer. If that is so for most of them, stale answers are used."""
        if lookup.ended or not lookup.cached:
            return
        self._failing[lookup.wanted] = lookup
        number = len(self._failing) + len(self._served_stale)
        if number < LEAST_TARGETS or 2 * number <= self._cached_begun:
            return
        if len({domain_of(name.host) for name in (*self._failing, *self._served_stale)}) < LEAST_NETWORKS:
            return
        if not self._served_stale:
            _log.warning("The name servers fail for most names: addresses of up to two minutes ago are used.")
        for unanswered in list(self._failing.values()):
            answer = self._cache.find(unanswered.wanted, STALE_SECONDS)
            if answer:
                self._served_stale.add(unanswered.wanted)
                self._end(unanswered, LookupResult(unanswered.wanted, answer[1], age_seconds=answer[0]))

    def _end(self, lookup: _Lookup, result: LookupResult) -> None:
        if lookup.ended:
            return
        lookup.ended = True
        self._close_all(lookup)
        self._failing.pop(lookup.wanted, None)
        self._results.append(result)


def _no_address(name: Name) -> str:
    if name.family is Family.ANY:
        return f"{name.host} has no address."
    return f"{name.host} has no {FAMILY_NAMES[name.family]} address, and no other may be used (`family`)."
