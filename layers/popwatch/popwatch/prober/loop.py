"""The prober: tests of many targets at once in one thread, `Target` in, `Outcome` out.

A loop of its own, because the loop is what a test costs: descriptors, a heap of moments, and probes that do their I/O
without blocking. Readiness is always looked at before deadlines, so a loop that is late does not make a server late.
"""

import heapq
import logging
import resource
import socket
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue

from popwatch.model.outcomes import Outcome
from popwatch.model.targets import Target
from popwatch.prober import resolver, timestamps
from popwatch.prober.addresses import MOST_ADDRESSES, AddressGroup, is_local
from popwatch.prober.poller import make_poller
from popwatch.prober.probe import Probe
from popwatch.prober.resolver import Answer, HasRoute, Names, Resolve

MOST_IN_FLIGHT = 900
"""Tests at once; a Lambda has 1,024 descriptors, and AWS's clients, the log and second addresses need some."""

DESCRIPTOR_RESERVE = 124
"""Descriptors that tests leave to everything else."""

MOST_RACES = 60
"""Second connections beyond the tests at once; they live on the reserve, so that a full house does not stop them."""

LAUNCHES_PER_TURN = 64
"""Tests begun before the loop looks at its sockets again: a burst of connects must not delay the first answers."""

REPORT_SECONDS = 1.0
"""How often `run` yields even when nothing has come in."""

LATE_SECONDS = 0.05
"""A deadline noticed this much late was not the server's fault: it is put off once, by as much as it was missed."""

LONGEST_GRACE_SECONDS = 2.0
"""The most by which a deadline is put off."""

_log = logging.getLogger("popwatch.prober.loop")

Arrivals = list[tuple[Target, Outcome]]


class Prober:
    """Tests targets. It keeps nothing of one run for the next but threads that look up names.

    `in_flight` bounds the tests at once. `resolve` gives the addresses of a name, `has_route` says whether there is a
    way to an IPv6 address. `allow_local` false keeps it from addresses of its own machine and cloud, whatever name led
    there. `kernel_stamps` false measures round-trip times by the loop's clock only.
    """

    def __init__(
        self,
        *,
        resolve: Resolve = resolver.resolve,
        has_route: HasRoute = resolver.has_route,
        allow_local: bool = True,
        in_flight: int | None = None,
        kernel_stamps: bool = True,
    ) -> None:
        self._in_flight = in_flight or _most_in_flight()
        self._has_route, self._allow_local = has_route, allow_local
        self._names = Names(resolve)
        self._kernel_stamps = kernel_stamps

    def run(self, targets: Iterable[Target], *, end_by: float | None = None) -> Generator[Arrivals, None, None]:
        """Test `targets`, yielding outcomes as they come, and an empty list at least once a second.

        A target whose `max_test_seconds` no longer fit before `end_by`, by the monotonic clock, is left out; so is one
        whose test the prober itself could not make, which is logged.
        """
        loop = _Loop(
            self._names,
            self._has_route,
            self._in_flight,
            allow_local=self._allow_local,
            kernel_stamps=self._kernel_stamps,
        )
        try:
            yield from loop.run(iter(targets), end_by)
        finally:
            loop.close()


def probe(target: Target, prober: Prober | None = None) -> Outcome:
    """The outcome of one test of one target, made here and now."""
    [(_, outcome)] = [arrival for arrivals in (prober or Prober()).run([target]) for arrival in arrivals]
    return outcome


class _Loop:
    """One run: what is watched, what is waited for, what has come in."""

    def __init__(
        self, lookups: Names, has_route: HasRoute, in_flight: int, *, allow_local: bool, kernel_stamps: bool
    ) -> None:
        self._allow_local = allow_local
        self._lookups, self._in_flight, self._kernel_stamps = lookups, in_flight, kernel_stamps
        self.has_route = has_route
        self._poller = make_poller()
        self._probes: set[Probe] = set()
        self._by_descriptor: dict[int, Probe] = {}
        self._fresh: set[int] = set()  # watched since the last wait: what it reports of them is of a closed namesake
        self._moments: list[tuple[float, int, weakref.ref[Probe]]] = []  # a test that is over leaves only its moment
        self._order = count()
        self._waiting: defaultdict[str, list[Probe]] = defaultdict(list)
        self._known: dict[str, Answer] = {}
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._arrivals: Arrivals = []
        self._parties: dict[Probe, AddressGroup] = {}
        self._postponed: deque[tuple[str, AddressGroup]] = deque()
        self._keeper = timestamps.keeper() if kernel_stamps else None
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._poller.watch(self._ear)
        self._poller.connected(self._ear)

    def run(self, targets: Iterator[Target], end_by: float | None) -> Iterator[Arrivals]:
        """Launch, wait, look at sockets, then at answers, then at moments; until all is over."""
        queue, reported = deque(targets), time.monotonic()
        while queue or self._probes or self._arrivals or self._postponed:
            self._launch(queue, end_by)
            self._turn(0.0 if queue and self._room() else reported + REPORT_SECONDS)
            if self._arrivals or time.monotonic() >= reported + REPORT_SECONDS:
                arrivals, self._arrivals, reported = self._arrivals, [], time.monotonic()
                yield arrivals

    def close(self) -> None:
        """Give back every descriptor."""
        for probe in self._probes:
            probe.abandon()
        self._poller.close()
        for sock in (self._bell, self._ear, self._keeper):
            if sock:
                sock.close()

    def watch(self, sock: socket.socket, probe: Probe) -> None:
        """Tell `probe` what happens on a socket."""
        descriptor = sock.fileno()
        self._by_descriptor[descriptor] = probe
        self._fresh.add(descriptor)
        self._poller.watch(sock)

    def connected(self, sock: socket.socket) -> None:
        """A socket has connected."""
        self._poller.connected(sock)

    def unwatch(self, sock: socket.socket) -> None:
        """A socket is about to be closed."""
        del self._by_descriptor[sock.fileno()]
        self._poller.unwatch(sock)

    def wake_at(self, moment: float, probe: Probe) -> None:
        """Call on `probe` at a moment."""
        heapq.heappush(self._moments, (moment, next(self._order), weakref.ref(probe)))

    def look_up(self, host: str, probe: Probe) -> None:
        """Resolve a name once for all targets of the run that have it."""
        if host in self._known:
            probe.resolved(self._known[host])
            return
        self._waiting[host].append(probe)
        if len(self._waiting[host]) == 1:
            self._lookups.look_up(host, self._deliver)

    def allows(self, address: str) -> bool:
        """Whether an address may be connected to: the check is of the very address that is then used."""
        return self._allow_local or not is_local(address)

    def may_race(self) -> bool:
        """Whether there is a descriptor for a second connection of a test."""
        return len(self._by_descriptor) < self._in_flight + MOST_RACES

    def spread(self, probe: Probe, addresses: tuple[str, ...]) -> None:
        """Test a host's further addresses, as soon as there are descriptors for them."""
        others = addresses[: MOST_ADDRESSES - 1]
        party = self._parties[probe] = AddressGroup(probe.target, 1 + len(others))
        self._postponed.extend((address, party) for address in others)

    def finish(self, probe: Probe, outcome: Outcome) -> None:
        """A probe is over, and with it the test, unless other addresses are still being tested."""
        self._probes.discard(probe)
        party = self._parties.pop(probe, None)
        whole = party.take(outcome) if party else outcome
        if whole:
            self._arrivals.append((probe.target, whole))

    def _room(self) -> bool:
        return len(self._probes) < self._in_flight and len(self._by_descriptor) < self._in_flight

    def _launch(self, queue: deque[Target], end_by: float | None) -> None:
        while self._postponed and self.may_race():
            address, party = self._postponed.popleft()
            probe = Probe(party.target, self, kernel_stamps=self._kernel_stamps, address=address)
            self._parties[probe] = party
            self._begin(probe)
        for _ in range(LAUNCHES_PER_TURN):
            if not queue or not self._room():
                return
            target = queue.popleft()
            if end_by is None or time.monotonic() + target.max_test_seconds <= end_by:
                self._begin(Probe(target, self, kernel_stamps=self._kernel_stamps))

    def _begin(self, probe: Probe) -> None:
        self._probes.add(probe)
        self._tell(probe, probe.start)

    def _tell(self, probe: Probe, what: Callable[..., None], *arguments: object) -> None:
        """Call on a probe. A fault of the prober's own ends the test that meets it, without an outcome; no other."""
        try:
            what(*arguments)
        except Exception:
            _log.exception("The test of %r could not be made.", probe.target.target_id)
            with suppress(KeyError, OSError):
                probe.abandon()
            self._probes.discard(probe)
            self._parties.pop(probe, None)

    def _turn(self, until: float) -> None:
        if self._moments:
            until = min(until, self._moments[0][0])
        self._fresh.clear()
        for descriptor, bits in self._poller.wait(max(0.0, until - time.monotonic())):
            probe = self._by_descriptor.get(descriptor)
            if probe and descriptor not in self._fresh:
                self._tell(probe, probe.ready, descriptor, bits)
        self._take_answers()
        self._take_moments()

    def _take_answers(self) -> None:
        with suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass
        with suppress(Empty):
            while True:
                answer = self._answers.get_nowait()
                self._known[answer.host] = answer
                for probe in self._waiting.pop(answer.host, []):
                    self._tell(probe, probe.resolved, answer)

    def _take_moments(self) -> None:
        now = time.monotonic()
        while self._moments and self._moments[0][0] <= now:
            moment, _, reference = heapq.heappop(self._moments)
            probe = reference()
            if probe is None:
                continue
            if now - moment > LATE_SECONDS and moment == probe.deadline:
                probe.put_off_deadline(min(now - moment, LONGEST_GRACE_SECONDS))
            self._tell(probe, probe.tick, now)

    def _deliver(self, answer: Answer) -> None:
        """Called from a thread of the lookups; after the run has ended it rings a bell that is gone."""
        self._answers.put(answer)
        with suppress(OSError):
            self._bell.send(b"!")


def _most_in_flight() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_IN_FLIGHT
    return max(1, min(MOST_IN_FLIGHT, soft - DESCRIPTOR_RESERVE))
