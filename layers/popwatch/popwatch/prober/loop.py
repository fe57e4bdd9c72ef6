"""The prober's event loop: tests many targets at once in one thread, `Target` in, `Outcome` out.

A loop of its own, because most of a test's CPU time is the loop's (`make bench` compares it with asyncio): descriptors,
a heap of timers, and probes whose I/O does not block. Sockets are always read before deadlines are checked: if the loop
is late, an answer that is already in the socket still counts.
"""

import heapq
import logging
import resource
import socket
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property, partial
from itertools import count
from typing import Self

from popwatch.model.credentials import Credential
from popwatch.model.outcomes import Outcome
from popwatch.model.targets import Target
from popwatch.prober import addresses, timestamps
from popwatch.prober.addresses import AddressGroup, HasRoute, combine, is_address, is_local
from popwatch.prober.lookup_sockets import LookupSockets
from popwatch.prober.lookups import Lookups
from popwatch.prober.poller import make_poller
from popwatch.prober.probe import Probe, name_of
from popwatch.prober.resolver import LookupResult, Name, Resolver

MAX_IN_FLIGHT = 900
"""Tests at once; Lambda allows 1,024 descriptors, and AWS's clients, the log and second addresses need some."""

DESCRIPTOR_RESERVE = 124
"""Descriptors that the tests leave for everything else."""

MAX_RACES = 60
"""Second connections beyond MAX_IN_FLIGHT; they use the reserve, so that they are possible at full load too."""

LAUNCHES_PER_ITERATION = 64
"""Tests begun before the loop polls its sockets again: a burst of connects must not delay the first answers."""

YIELD_SECONDS = 1.0
"""How often `run` yields even if there is no outcome."""

LATE_SECONDS = 0.05
"""If the loop checks a deadline later than this, the loop was slow: the deadline is extended once, by the delay."""

LONGEST_GRACE_SECONDS = 2.0
"""The most by which a deadline is extended."""

PUBLIC_IPV6 = "2000::1", 110
"""An address of the public internet (RFC 4291 section 2.4): a route to it is asked for, and nothing is sent there."""

_log = logging.getLogger("popwatch.prober.loop")

MakeProbe = Callable[..., Probe]
"""A class of probes, or what makes one from the arguments of `Probe`."""

MayLogIn = Callable[[str], bool | None]
"""Whether a target, by its id, logs in now: it does, it does not in this test, or (None) its test does not begin yet.

It is called in the loop's thread, again and again, and must not block.
"""

TargetOutcomes = list[tuple[Target, Outcome]]
"""Tests that have ended: each target with its outcome, in the order of their ends."""


class Prober:
    """Tests targets. Only the resolver, with the addresses that it caches, goes from one call of `run` to the next.

    `in_flight` limits the tests at once. `resolver` knows how names are resolved, `has_route` says whether there is a
    route to an IPv6 address. With `allow_local` false no address of its own machine or cloud is connected to, whatever
    name resolves to it. With `kernel_stamps` false round-trip times are measured by the loop's clock only. `make_probe`
    makes the probe of each connection: another class asks a server other things. The targets whose ids have one of
    `credentials` are logged in to with it, if `may_log_in` lets them when their tests begin.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        has_route: HasRoute = addresses.has_route,
        allow_local: bool = True,
        in_flight: int | None = None,
        kernel_stamps: bool = True,
        make_probe: MakeProbe = Probe,
        credentials: Mapping[str, Credential] | None = None,
        may_log_in: MayLogIn | None = None,
    ) -> None:
        self._credentials, self._may_log_in = credentials or {}, may_log_in
        self._in_flight = in_flight or _most_in_flight()
        self._make_probe = make_probe
        self._has_route, self._allow_local = has_route, allow_local
        self._resolver = resolver or Resolver()
        self._kernel_stamps = kernel_stamps

    def with_credentials(self, credentials: Mapping[str, Credential], may_log_in: MayLogIn | None = None) -> Self:
        """The same prober, with the same resolver, which logs in to other targets."""
        found = copy(self)
        found._credentials, found._may_log_in = credentials, may_log_in
        return found

    def run(self, targets: Iterable[Target], *, end_by: float | None = None) -> Generator[TargetOutcomes, None, None]:
        """Test `targets` and yield outcomes as they arrive; an empty list at least once a second.

        There is no outcome for a target whose `max_test_seconds` do not end before `end_by` (monotonic clock), nor for
        one whose test raised an exception in the prober, which is logged.
        """
        loop = _Loop(
            self._resolver,
            self._has_route,
            self._in_flight,
            allow_local=self._allow_local,
            kernel_stamps=self._kernel_stamps,
            make_probe=self._make_probe,
            credentials=self._credentials,
            may_log_in=self._may_log_in,
        )
        try:
            yield from loop.run(iter(targets), end_by)
        finally:
            loop.close()


def probe(target: Target, prober: Prober | None = None) -> Outcome:
    """Test one target now and return the outcome."""
    [(_, outcome)] = [found for outcomes in (prober or Prober()).run([target]) for found in outcomes]
    return outcome


class _Loop:
    """One `Prober.run`: its sockets, timers, lookups and outcomes."""

    def __init__(
        self,
        resolver: Resolver,
        has_route: HasRoute,
        in_flight: int,
        *,
        allow_local: bool,
        kernel_stamps: bool,
        make_probe: MakeProbe,
        credentials: Mapping[str, Credential],
        may_log_in: MayLogIn | None,
    ) -> None:
        self._allow_local, self._make_probe, self._credentials = allow_local, make_probe, credentials
        self._may_log_in = may_log_in
        # Targets that wait until it is known whether another one's login with the same credential is accepted.
        self._waiting_for_login: deque[Target] = deque()
        self._resolver, self._in_flight, self._kernel_stamps = resolver, in_flight, kernel_stamps
        self.has_route = has_route
        self._poller = make_poller()
        self._probes: set[Probe] = set()
        self._by_descriptor: dict[int, Probe] = {}
        # Registered since the last wait: an event for one of these belongs to a closed socket with the same descriptor.
        self._just_registered: set[int] = set()
        # A heap of (time, order, probe). Weak references: a finished probe is freed at once; its timers expire later,
        # which is cheaper than to search the heap for them. `order` keeps the heap from comparing references.
        self._timers: list[tuple[float, int, weakref.ref[Probe]]] = []
        self._order = count()
        self._waits_for_names = False
        self._waiting: defaultdict[Name, list[Probe]] = defaultdict(list)
        self._resolved: dict[Name, LookupResult] = {}
        self._outcomes: TargetOutcomes = []
        self._groups: dict[Probe, AddressGroup] = {}
        self._postponed: deque[tuple[Callable[[], Probe], AddressGroup]] = deque()
        self._stamping_socket = timestamps.keep_enabled() if kernel_stamps else None
        # Targets that have not begun: those whose address is known, those whose name was resolved in the last minutes,
        # and other names. So a name that probably has an answer does not wait for one that may have none.
        self._known: deque[Target] = deque()
        self._cached: deque[Target] = deque()
        self._unknown: deque[Target] = deque()

    @cached_property
    def _lookups(self) -> Lookups:
        return Lookups(self._resolver, ipv6=self.has_route(*PUBLIC_IPV6))

    @cached_property
    def _lookup_sockets(self) -> LookupSockets:
        return LookupSockets(self._lookups, self._poller)

    def run(self, targets: Iterator[Target], end_by: float | None) -> Iterator[TargetOutcomes]:
        """Begin tests, wait, handle sockets, then lookups, then timers; until all tests have ended."""
        for target in targets:
            self._queue(target)
        yielded = time.monotonic()
        while self._are_left() or self._probes or self._outcomes or self._postponed:
            self._launch(end_by)
            self._turn(0.0 if self._outcomes else min(yielded + YIELD_SECONDS, self._next_launch()))
            if self._outcomes or time.monotonic() >= yielded + YIELD_SECONDS:
                outcomes, self._outcomes, yielded = self._outcomes, [], time.monotonic()
                yield outcomes

    def _are_left(self) -> bool:
        """Whether there are targets that have not begun."""
        return bool(self._known or self._cached or self._unknown or self._waiting_for_login)

    def close(self) -> None:
        """Close every descriptor."""
        for probe in self._probes:
            probe.abandon()
        if self._waits_for_names:
            self._lookup_sockets.close()
        self._poller.close()
        if self._stamping_socket:
            self._stamping_socket.close()

    def register(self, sock: socket.socket, probe: Probe) -> None:
        """Call `probe.ready` for every event of a socket."""
        descriptor = sock.fileno()
        self._by_descriptor[descriptor] = probe
        self._just_registered.add(descriptor)
        self._poller.register(sock)

    def connected(self, sock: socket.socket) -> None:
        """A socket has connected."""
        self._poller.connected(sock)

    def unregister(self, sock: socket.socket) -> None:
        """A socket is about to be closed."""
        del self._by_descriptor[sock.fileno()]
        self._poller.unregister(sock)

    def wake_at(self, due: float, probe: Probe) -> None:
        """Call `probe.on_timer` at a time of the monotonic clock."""
        heapq.heappush(self._timers, (due, next(self._order), weakref.ref(probe)))

    def look_up(self, name: Name, probe: Probe) -> None:
        """Resolve a name once for all targets of this `Prober.run` that have it."""
        result = self._resolved.get(name) or self._lookups.known(name)
        if result:
            probe.resolved(result)
            return
        self._waiting[name].append(probe)
        if len(self._waiting[name]) == 1:
            self._waits_for_names = True
            self._lookups.begin(name, time.monotonic())

    def allows(self, address: str) -> bool:
        """Whether an address may be connected to. The very address that is then used is checked."""
        return self._allow_local or not is_local(address)

    def may_race(self) -> bool:
        """Whether there is a descriptor left for a second connection of a test."""
        return len(self._by_descriptor) < self._in_flight + MAX_RACES

    def test_further_addresses(self, probe: Probe, addresses: Sequence[str]) -> None:
        """Test each of a host's further addresses, as soon as there are descriptors for them."""
        for address in addresses:
            self._postpone(probe, (address,), same_deadline=False)

    def try_others(self, probe: Probe, addresses: Sequence[str]) -> None:
        """Try a host's other addresses with a second probe, as soon as there is a descriptor for it."""
        self._postpone(probe, addresses, same_deadline=True)

    def may_log_in(self, probe: Probe) -> bool:
        """Whether a probe may log in: of a host's addresses the first that is ready for it.

        From then on the others are no longer tried, or with `all_addresses` only greeted: the mailbox is the same.
        """
        group = self._groups.get(probe)
        if not group:
            return True
        if probe.target.all_addresses:
            is_first = not group.login_begun
            group.login_begun = True
            return is_first
        del self._groups[probe]  # so that it is not abandoned with the others
        self._abandon(group)
        self._groups[probe], group.missing = group, 1
        self._postponed = deque(waiting for waiting in self._postponed if waiting[1] is not group)
        return True

    def finish(self, probe: Probe, outcome: Outcome) -> None:
        """A probe has ended, and with it the test, unless other addresses of the host are still being tested."""
        self._probes.discard(probe)
        group = self._groups.pop(probe, None)
        combined = group.add(outcome) if group else combine([outcome], every=probe.target.all_addresses)
        if combined:
            self._outcomes.append((probe.target, combined))
            if group and group.missing:
                self._abandon(group)

    def _postpone(self, probe: Probe, addresses: Sequence[str], *, same_deadline: bool) -> None:
        group = self._groups.setdefault(probe, AddressGroup(probe.target))
        group.missing += 1
        make_probe = partial(
            self._make_probe,
            probe.target,
            self,
            kernel_stamps=self._kernel_stamps,
            addresses=addresses,
            after=probe,
            same_deadline=same_deadline,
            credential=probe.credential,
        )
        self._postponed.append((make_probe, group))

    def _abandon(self, group: AddressGroup) -> None:
        """End the tests of a host's other addresses: one has passed."""
        for probe in [probe for probe, other in self._groups.items() if other is group]:
            probe.abandon()
            self._probes.discard(probe)
            del self._groups[probe]

    def _room(self) -> bool:
        return len(self._probes) < self._in_flight and len(self._by_descriptor) < self._in_flight

    def _queue(self, target: Target) -> None:
        name = name_of(target)
        if not target.host or target.problems or is_address(target.host) or self._lookups.known(name):
            self._known.append(target)
        elif self._lookups.has_cached(name):
            self._cached.append(target)
        else:
            self._unknown.append(target)

    def _next_target(self) -> Target | None:
        """The next target that may begin now: a lookup may not begin before its time."""
        if self._known:
            return self._known.popleft()
        queue = self._cached or self._unknown
        if not queue:
            return None
        name = name_of(queue[0])
        under_way = name in self._resolved or name in self._waiting
        return queue.popleft() if under_way or self._lookups.may_begin(time.monotonic()) else None

    def _next_launch(self) -> float:
        """When the next target may begin."""
        if not self._room():
            return float("inf")
        if self._known:
            return 0.0
        return self._lookups.next_begin(time.monotonic()) if self._cached or self._unknown else float("inf")

    def _launch(self, end_by: float | None) -> None:
        while self._postponed and self.may_race():
            make_probe, group = self._postponed.popleft()
            if not group.ended:
                probe = make_probe()
                self._groups[probe] = group
                self._begin(probe)
        for _ in range(len(self._waiting_for_login)):
            if self._room():
                self._launch_test(self._waiting_for_login.popleft(), end_by)
        for _ in range(LAUNCHES_PER_ITERATION):
            target = self._next_target() if self._room() else None
            if target is None:
                return
            self._launch_test(target, end_by)

    def _launch_test(self, target: Target, end_by: float | None) -> None:
        """Begin a test, or let it wait while its login waits for another one's."""
        if end_by is not None and time.monotonic() + target.max_test_seconds > end_by:
            return
        credential = self._credentials.get(target.target_id)
        if credential and self._may_log_in:
            allowed = self._may_log_in(target.target_id)
            if allowed is None:
                self._waiting_for_login.append(target)
                return
            credential = credential if allowed else None
        self._begin(self._make_probe(target, self, kernel_stamps=self._kernel_stamps, credential=credential))

    def _begin(self, probe: Probe) -> None:
        self._probes.add(probe)
        self._call(probe, probe.start)

    def _call(self, probe: Probe, method: Callable[..., None], *arguments: object) -> None:
        """Call a method of a probe. A bug of the prober ends this test without an outcome, and no other test."""
        try:
            method(*arguments)
        except Exception:
            _log.exception("The test of %r could not be made.", probe.target.target_id)
            with suppress(KeyError, OSError):
                probe.abandon()
            self._probes.discard(probe)
            self._groups.pop(probe, None)

    def _turn(self, until: float) -> None:
        if self._timers:
            until = min(until, self._timers[0][0])
        if self._waits_for_names:
            until = min(until, self._lookups.next_due(time.monotonic()))
        self._just_registered.clear()
        for descriptor, bits in self._poller.wait(max(0.0, until - time.monotonic())):
            probe = self._by_descriptor.get(descriptor)
            # All events are read in one call. An earlier one may have closed this descriptor, and the kernel gives its
            # number to the next socket: the event is then not for that socket.
            if probe and descriptor not in self._just_registered:
                self._call(probe, probe.ready, descriptor, bits)
            elif self._waits_for_names:
                self._lookup_sockets.ready(descriptor)
        if self._waits_for_names:
            self._handle_lookup_results()
        self._fire_timers()

    def _handle_lookup_results(self) -> None:
        for result in self._lookup_sockets.advance(time.monotonic()):
            self._resolved[result.name] = result
            for probe in self._waiting.pop(result.name, []):
                self._call(probe, probe.resolved, result)

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, reference = heapq.heappop(self._timers)
            probe = reference()
            if probe is None:
                continue
            # The sockets have been read, but what the probe sent just now (QUIT, after a greeting that was read late)
            # has had no time for a reply: without the extension a busy loop would fail good servers.
            if now - due > LATE_SECONDS and due == probe.deadline:
                probe.extend_deadline(min(now - due, LONGEST_GRACE_SECONDS))
            self._call(probe, probe.on_timer, now)


def _most_in_flight() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_IN_FLIGHT
    return max(1, min(MAX_IN_FLIGHT, soft - DESCRIPTOR_RESERVE))
