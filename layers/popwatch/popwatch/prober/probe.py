"""The test of one target: names, addresses, a connection, TLS, the conversation, and the outcome they come to.

A probe does its I/O without blocking; the loop tells it what is ready. OS errors become reasons here and nowhere else.
"""

import errno
import socket
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from popwatch.model.fields import TlsMode
from popwatch.model.outcomes import DETAIL_SHOWN, GREETING_SHOWN, ErrorCode, Outcome, Phase, RttSource
from popwatch.model.targets import Problem, Target
from popwatch.model.text import clean
from popwatch.prober import timestamps
from popwatch.prober.poller import DOUBTFUL, READABLE
from popwatch.prober.pop3 import Conversation, Failed, FailureKind, Finished, Greeted, TlsWanted
from popwatch.prober.resolver import Answer, interleave, is_address, sockaddr
from popwatch.prober.tls import TlsEnded, TlsEngine, TlsFailure, context

STAGGER_SECONDS = 0.25
"""How long one address may take to connect before the next is tried beside it (RFC 8305 section 5)."""

RECEIVE_SIZE = 4096
"""Bytes of one read; a reply has 512, a TLS flight a few thousand."""

MOST_BYTES = 256 * 1024
"""Bytes that a test reads at most: TLS handshakes with long chains fit, floods do not."""

CLOCK_SLACK_MS = 5.0
"""How far a kernel stamp may lie beyond the loop's own time before the realtime clock must have been set."""

_WORTH_READING = READABLE | DOUBTFUL

_CONNECT_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ETIMEDOUT: "connect-timed-out",
    errno.EMFILE: "out-of-descriptors",
    errno.ENFILE: "out-of-descriptors",
    errno.EACCES: "not-permitted",
    errno.EPERM: "not-permitted",
}

_OPEN = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
"""A stream socket that never blocks, in one call where the system has it."""

_RESET = (errno.ECONNRESET, errno.EPIPE)
"""What a connect ends in where the server took the connection and broke it off at once; a refusal has its own code."""

_TIMEOUTS = {
    Phase.DNS: (ErrorCode.NO_ADDRESS, "dns-timed-out", "The name was not resolved in time."),
    Phase.CONNECT: (ErrorCode.CANNOT_CONNECT, "connect-timed-out", "The server did not answer the connection."),
    Phase.TLS: (ErrorCode.TIMED_OUT, "no-tls-answer", "The server did not complete the TLS handshake."),
    Phase.GREETING: (ErrorCode.TIMED_OUT, "no-greeting", "The server accepted the connection and said nothing."),
    Phase.STLS: (ErrorCode.TIMED_OUT, "no-stls-reply", "The server did not answer STLS."),
    Phase.QUIT: (ErrorCode.TIMED_OUT, "no-quit-reply", "The server did not answer QUIT."),
}


class Loop(Protocol):
    """What a probe asks of the loop that runs it."""

    def watch(self, sock: socket.socket, probe: "Probe") -> None:
        """Call `probe.ready` when something happens on the socket."""

    def connected(self, sock: socket.socket) -> None:
        """The socket has connected."""

    def unwatch(self, sock: socket.socket) -> None:
        """The socket is about to be closed."""

    def wake_at(self, moment: float, probe: "Probe") -> None:
        """Call `probe.tick` at a moment of the monotonic clock."""

    def look_up(self, host: str, probe: "Probe") -> None:
        """Call `probe.resolved` with what the name resolves to."""

    def has_route(self, address: str, port: int) -> bool:
        """Whether there is a way to an IPv6 address."""

    def allows(self, address: str) -> bool:
        """Whether an address may be connected to at all."""

    def may_race(self) -> bool:
        """Whether there are descriptors for a second connection of a probe."""

    def spread(self, probe: "Probe", addresses: tuple[str, ...]) -> None:
        """Test each of a host's further addresses beside the one that the probe takes."""

    def finish(self, probe: "Probe", outcome: Outcome) -> None:
        """The probe is over."""


@dataclass(slots=True)
class _Attempt:
    """A connection on its way to one address, and when it began by both clocks. `stamped` until a stamp has served."""

    sock: socket.socket
    descriptor: int
    address: str
    began: float
    began_real: float
    stamped: bool


class Probe:
    """One test. `kernel_stamps` false leaves the kernel's receive stamps unused; `address` is the only one to try."""

    def __init__(self, target: Target, loop: Loop, *, kernel_stamps: bool = True, address: str = "") -> None:
        self.target, self._loop, self._kernel_stamps = target, loop, kernel_stamps
        self._only = address or (target.host if is_address(target.host) else "")
        self._started_at, self._mark = datetime.now(UTC), time.monotonic()
        self.deadline = self._mark + target.max_test_seconds
        self._phase = Phase.DNS
        self._addresses: deque[str] = deque()
        self._tried: list[tuple[str, str]] = []
        self._racing: dict[int, _Attempt] = {}
        self._won: _Attempt | None = None
        self._engine: TlsEngine | None = None
        self._unsent = b""
        self._broken: OSError | None = None
        self._received = 0
        self._stamp: float | None = None
        self._connect_ms = self._tls_ms = 0.0
        self._facts: dict[str, object] = {}
        self._over = self._put_off = False
        self._conversation = Conversation(
            starttls=target.tls is TlsMode.STARTTLS,
            greetings=[prefix.encode() for prefix in target.greeting] if target.greeting else (),
            check_quit=target.check_quit,
        )

    def start(self) -> None:
        """Begin: with the name, or at once with the address."""
        problems = self.target.problems
        if problems or (problems := self._tls_problems()):
            self._end_with_problems(problems)
            return
        self._loop.wake_at(self.deadline, self)
        if self._only:
            self._connect_to((self._only,))
        else:
            self._loop.look_up(self.target.host, self)

    def resolved(self, answer: Answer) -> None:
        """The name has been looked up."""
        if self._over:
            return
        self._facts["dns_ms"] = self._lap()
        if answer.addresses:
            self._connect_to(answer.addresses)
        else:
            detail = answer.detail or f"{self.target.host} has no address."
            self._end(ErrorCode.NO_ADDRESS, answer.reason, detail)

    def ready(self, descriptor: int, bits: int) -> None:
        """Something has happened on one of the probe's sockets; `bits` are the poller's, which name what."""
        attempt = self._racing.get(descriptor)
        if attempt:
            self._check_connected(attempt, bits)
        if self._won and not self._over:
            if self._unsent:
                self._send(b"")
            if bits & _WORTH_READING:
                self._receive(to_the_end=bool(bits & DOUBTFUL))

    def put_off_deadline(self, seconds: float) -> None:
        """The loop was late by so much; the server gets the time back, once."""
        if not self._over and not self._put_off:
            self._put_off = True
            self.deadline = time.monotonic() + seconds
            self._loop.wake_at(self.deadline, self)

    def tick(self, now: float) -> None:
        """A moment that the probe asked for has come: the next address's turn, or the deadline."""
        if self._over:
            return
        if now >= self.deadline:
            error, reason, detail = _TIMEOUTS[self._phase]
            if self._phase is Phase.GREETING and self._conversation.in_mid_line:
                reason, detail = "unfinished-line", "The server began its greeting and did not end it."
            self._end(error, reason, detail)
        elif self._phase is Phase.CONNECT and self._addresses:
            if self._loop.may_race():
                self._connect_next()
            else:
                self._loop.wake_at(now + STAGGER_SECONDS, self)

    def abandon(self) -> None:
        """Close whatever is open; no outcome."""
        self._over = True
        while self._racing:
            self._close(self._racing.popitem()[1])
        if self._won:
            self._close(self._won)

    def _tls_problems(self) -> tuple[Problem, ...]:
        """A CA that OpenSSL cannot read is a problem of the configuration, like any other bad field."""
        if self.target.tls is TlsMode.NONE or not self.target.ca_pem:
            return ()
        try:
            context(self.target.verify_tls, self.target.ca_pem)
        except ValueError as error:
            return (Problem("ca_pem", f"The field `ca_pem` cannot be used: {error}."),)
        return ()

    def _end_with_problems(self, problems: tuple[Problem, ...]) -> None:
        self._phase = Phase.CONFIGURATION
        reason = "missing-field" if all(problem.missing for problem in problems) else "invalid-field"
        self._end(
            ErrorCode.MISSING_FIELDS,
            f"{reason}: {', '.join(dict.fromkeys(problem.field for problem in problems))}",
            " ".join(problem.explanation for problem in problems),
        )

    def _connect_to(self, addresses: tuple[str, ...]) -> None:
        self._phase = Phase.CONNECT
        allowed = [it for it in addresses if self._loop.allows(it)]
        if not allowed:
            self._facts["address"] = addresses[0]
            why = f"{addresses[0]} is an address of the monitor's own machine, which AllowLocalTargets does not allow."
            self._end(ErrorCode.CANNOT_CONNECT, "forbidden-address", why)
            return
        routed = [it for it in allowed if ":" not in it or self._loop.has_route(it, self.target.port)]
        self._addresses.extend(interleave(tuple(routed)))
        if self.target.all_addresses and len(self._addresses) > 1:
            mine = self._addresses.popleft()
            self._loop.spread(self, tuple(self._addresses))
            self._addresses = deque([mine])
        if self._addresses:
            self._connect_next()
        else:
            advice = "It has only IPv6 addresses, and there is no route for IPv6 from here (a VPC can give one)."
            self._facts["address"] = allowed[0]
            self._end(ErrorCode.CANNOT_CONNECT, "no-ipv6-route", advice)

    def _connect_next(self) -> None:
        """Try the next address, and the ones behind it until one is on its way."""
        while self._addresses and not self._over:
            address = self._addresses.popleft()
            try:
                self._connect(address)
            except OSError as error:
                self._note_failed(address, error.errno or 0)
            else:
                if self._addresses:
                    self._loop.wake_at(time.monotonic() + STAGGER_SECONDS, self)
                return
        if not self._racing and not self._won:
            self._end_unconnected()

    def _connect(self, address: str) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _OPEN)
        try:
            if _OPEN == socket.SOCK_STREAM:
                sock.setblocking(False)
            stamped = self._kernel_stamps and timestamps.AVAILABLE and timestamps.enable(sock)
            attempt = _Attempt(sock, sock.fileno(), address, time.monotonic(), time.time(), stamped)
            code = sock.connect_ex(sockaddr(address, self.target.port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "connect")
        except OSError:
            sock.close()
            raise
        self._racing[attempt.descriptor] = attempt
        self._loop.watch(sock, self)

    def _check_connected(self, attempt: _Attempt, bits: int) -> None:
        """Take a report of a socket that was connecting: it has connected, or says why not if it is asked."""
        code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if bits & DOUBTFUL else 0
        if code in _RESET:
            self._win(attempt)
            self._end_broken(OSError(code, "the server reset it"))
        elif code:
            self._lose(attempt)
            self._note_failed(attempt.address, code)
            self._connect_next()
        else:
            self._win(attempt)

    def _win(self, attempt: _Attempt) -> None:
        """The first connection that stands is the one; the others are given up."""
        del self._racing[attempt.descriptor]
        while self._racing:
            self._close(self._racing.popitem()[1])
        self._won = attempt
        self._loop.connected(attempt.sock)
        self._mark = attempt.began
        self._facts["address"] = attempt.address
        self._facts["connect_ms"] = self._connect_ms = self._lap()
        if self.target.tls is TlsMode.IMPLICIT:
            self._start_tls()
        else:
            self._phase = Phase.GREETING

    def _lose(self, attempt: _Attempt) -> None:
        del self._racing[attempt.descriptor]
        self._close(attempt)

    def _close(self, attempt: _Attempt) -> None:
        self._loop.unwatch(attempt.sock)
        attempt.sock.close()

    def _note_failed(self, address: str, code: int) -> None:
        self._tried.append((address, _CONNECT_REASONS.get(code, errno.errorcode.get(code, "os-error").lower())))

    def _end_unconnected(self) -> None:
        self._facts["address"] = self._tried[0][0]
        seen = ", ".join(f"{address} port {self.target.port}: {reason}" for address, reason in self._tried)
        self._end(ErrorCode.CANNOT_CONNECT, self._tried[0][1], f"{seen}.")

    def _start_tls(self) -> None:
        self._phase = Phase.TLS
        self._mark = time.monotonic()
        try:
            shared = context(self.target.verify_tls, self.target.ca_pem)
            self._engine = TlsEngine(shared, self.target.tls_name)
        except ValueError as error:  # a name that TLS cannot carry
            self._end(ErrorCode.PROTOCOL, "tls-name-mismatch", str(error))
            return
        self._advance_tls(self._engine)

    def _advance_tls(self, engine: TlsEngine) -> None:
        """Go on with the handshake or read what has been decrypted; a failure ends the test."""
        try:
            if not engine.established and engine.handshake():
                self._take_established(engine)
            while engine.established and not self._over and (data := engine.read()):
                self._hear(data)
        except TlsFailure as failure:
            self._end(ErrorCode.PROTOCOL, failure.reason, failure.detail)
        except TlsEnded:
            self._hear_end()
        finally:
            if not self._over:
                self._send(engine.data_to_send())

    def _take_established(self, engine: TlsEngine) -> None:
        self._tls_ms = self._lap()
        self._facts |= {
            "tls_ms": self._tls_ms,
            "tls_version": engine.version,
            "certificate_expires": engine.certificate_expires,
        }
        if self.target.tls is TlsMode.STARTTLS:
            self._phase = Phase.QUIT
            self._conversation.tls_established()
            self._take_events()
        else:
            self._phase = Phase.GREETING

    def _receive(self, *, to_the_end: bool) -> None:
        """Read until nothing is left, which a read that was not filled says as well, unless it stopped before an end.

        The poller reports each arrival once. `to_the_end` says that the end of the stream has come, or something worse.
        """
        more = True
        while more and self._won and not self._over:
            try:
                data, self._stamp = self._read(self._won)
            except BlockingIOError:
                return
            except OSError as error:
                self._end_broken(error)
                return
            self._received += len(data)
            if self._received > MOST_BYTES:
                self._end(ErrorCode.PROTOCOL, "too-much-data", f"The server sent more than {MOST_BYTES} bytes.")
                return
            self._take(data)
            more = to_the_end or len(data) == RECEIVE_SIZE or self._conversation.in_mid_line

    def _take(self, data: bytes) -> None:
        """Take what was read: bytes, in plain or for TLS, or the end of the stream."""
        if self._engine:
            self._engine.receive_data(data)
            self._advance_tls(self._engine)
        elif data:
            self._hear(data)
        if not data:
            self._hear_end()

    def _end_broken(self, error: OSError) -> None:
        self._end(ErrorCode.DISCONNECTED, "reset", f"The connection broke: {(error.strerror or str(error)).lower()}.")

    def _read(self, attempt: _Attempt) -> tuple[bytes, float | None]:
        if attempt.stamped:
            return timestamps.receive(attempt.sock, RECEIVE_SIZE)
        return attempt.sock.recv(RECEIVE_SIZE), None

    def _hear(self, data: bytes) -> None:
        self._conversation.receive_data(data)
        self._take_events()

    def _hear_end(self) -> None:
        if self._over:
            return
        if self._broken:
            self._end_broken(self._broken)
        elif self._phase is Phase.TLS:
            self._end(ErrorCode.DISCONNECTED, "closed-in-tls-handshake", "The server closed during the TLS handshake.")
        else:
            self._conversation.receive_eof()
            self._take_events()

    def _take_events(self) -> None:
        while not self._over and (event := self._conversation.next_event()):
            match event:
                case Greeted(line):
                    self._take_greeting(line)
                case TlsWanted():
                    self._start_tls()
                case Finished():
                    self._facts["quit_ms"] = self._lap() if self.target.check_quit else None
                    self._end()
                case Failed():
                    self._take_failure(event)
        if not self._over:
            self._reply()

    def _take_greeting(self, line: bytes) -> None:
        assert self._won  # noqa: S101 - nobody greets before there is a connection
        self._mark = time.monotonic()
        facts = self._facts
        facts["rtt_ms"], facts["rtt_source"] = rtt_ms, _ = self._rtt(self._won)
        facts["connect_ms"] = connect_ms = min(self._connect_ms, rtt_ms)
        facts["greeting_ms"] = max(0.0, rtt_ms - connect_ms - self._tls_ms)
        facts["greeting"] = clean(line, GREETING_SHOWN)
        self._won.stamped = False
        self._phase = Phase.STLS if self.target.tls is TlsMode.STARTTLS else Phase.QUIT

    def _take_failure(self, failure: Failed) -> None:
        error = ErrorCode.PROTOCOL if failure.kind is FailureKind.PROTOCOL else ErrorCode.DISCONNECTED
        seen = clean(failure.line, GREETING_SHOWN)
        if self._phase is Phase.GREETING:
            self._facts["greeting"] = seen
        self._end(error, failure.reason, f"The server said: {seen}" if seen else "The server said nothing more.")

    def _rtt(self, won: _Attempt) -> tuple[float, RttSource]:
        """The time from the start of the connect to the arrival of what was read last, and by whose clock."""
        by_loop = (self._mark - won.began) * 1000
        if self._stamp is not None:
            by_kernel = (self._stamp - won.began_real) * 1000
            if 0 <= by_kernel <= by_loop + CLOCK_SLACK_MS:
                return by_kernel, RttSource.KERNEL
        return by_loop, RttSource.LOOP

    def _reply(self) -> None:
        data = self._conversation.data_to_send()
        if data:
            self._send(self._engine.encrypt(data) if self._engine else data)

    def _send(self, data: bytes) -> None:
        """Send what there is, the rest when the socket is ready. A broken connection ends once it has been read."""
        self._unsent += data
        if self._unsent and self._won:
            try:
                sent = self._won.sock.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as error:
                self._broken, sent = error, len(self._unsent)
            self._unsent = self._unsent[sent:]

    def _lap(self) -> float:
        """Milliseconds since the last mark, which is set anew."""
        now = time.monotonic()
        spent, self._mark = (now - self._mark) * 1000, now
        return spent

    def _end(self, error: ErrorCode | None = None, reason: str = "", detail: str = "") -> None:
        """Take leave, close, and hand the outcome to the loop."""
        if self._won:
            self._reply()
            if self._engine:
                self._engine.close()
                self._send(self._engine.data_to_send())
        self.abandon()
        self._loop.finish(self, self._outcome(error, reason, clean(detail, DETAIL_SHOWN) if detail else ""))

    def _outcome(self, error: ErrorCode | None, reason: str, detail: str) -> Outcome:
        return Outcome(self._started_at, self._phase, error, reason, detail, **self._facts)  # type: ignore[arg-type]
