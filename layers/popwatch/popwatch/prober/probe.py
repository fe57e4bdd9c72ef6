"""The test of one target: lookup, connection, TLS, conversation, and the outcome.

The probe's I/O does not block; the loop calls it when a socket is ready, a name resolved or a timer due. OS errors are
mapped to reasons here and nowhere else.
"""

import errno
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from popwatch.model.credentials import Credential
from popwatch.model.fields import Family, TlsMode
from popwatch.model.outcomes import (
    DETAIL_SHOWN,
    GREETING_SHOWN,
    ErrorCode,
    LoginResult,
    Outcome,
    Phase,
    RttSource,
)
from popwatch.model.targets import Problem, Target, login_problems, mailbox_excess, tls_relaxations
from popwatch.model.text import clean, counted, milliseconds
from popwatch.prober import timestamps
from popwatch.prober.addresses import MAX_CONSIDERED, choose, is_address, sockaddr
from popwatch.prober.login import Login
from popwatch.prober.poller import MAYBE_ENDED, READABLE
from popwatch.prober.pop3 import Conversation, Failed, FailureKind, Finished, Greeted, LoginEnded, TlsWanted
from popwatch.prober.resolver import LookupResult, Name
from popwatch.prober.tls import TlsEnded, TlsEngine, UnusableSetting, context
from popwatch.prober.tls_failures import TlsFailure
from popwatch.prober.x509 import X509

STAGGER_SECONDS = 0.25
"""After this time without a connection the next address is tried as well (RFC 8305 section 5)."""

RECEIVE_SIZE = 4096
"""Bytes of one read; a reply has at most 512, a TLS flight a few thousand."""

MAX_BYTES = 256 * 1024
"""The most bytes that a test reads: enough for a TLS handshake with a long chain, a limit for a flood."""

MISSING_SHOWN = 60
"""Characters of an expected text in a detail, which must leave room for what the server said."""

CLOCK_SLACK_MS = 5.0
"""A round-trip time by kernel stamp that exceeds the loop's by more means that the realtime clock has been set."""

_WORTH_READING = READABLE | MAYBE_ENDED

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
"""A non-blocking stream socket, by one system call where the system allows it."""

_RESET = (errno.ECONNRESET, errno.EPIPE)
"""Results of a connect that the server accepted and reset at once; a refused connect has its own code."""

_OF_LOOKUP = ("dns_ms", "address_age_seconds", "untested_addresses")
"""Fields of an outcome that the lookup fills: they are the same for each address."""

_TIMEOUTS = {
    Phase.DNS: (ErrorCode.NO_ADDRESS, "dns-timed-out", "The name was not resolved in time."),
    Phase.CONNECT: (ErrorCode.CANNOT_CONNECT, "connect-timed-out", "The server did not answer the connection."),
    Phase.TLS: (ErrorCode.TIMED_OUT, "no-tls-answer", "The server did not complete the TLS handshake."),
    Phase.GREETING: (ErrorCode.TIMED_OUT, "no-greeting", "The server accepted the connection and said nothing."),
    Phase.STLS: (ErrorCode.TIMED_OUT, "no-stls-reply", "The server did not answer STLS."),
    Phase.LOGIN: (ErrorCode.TIMED_OUT, "no-login-reply", ""),  # the login knows what was not answered
    Phase.QUIT: (ErrorCode.TIMED_OUT, "no-quit-reply", "The server did not answer QUIT."),
}

REMARKS = 3
"""Certificates that are not needed which an outcome names; a server may send hundreds."""


def name_of(target: Target) -> Name:
    """What is looked up for a target."""
    return Name(target.host, target.family)


class Loop(Protocol):
    """What a probe needs of the loop that runs it."""

    def register(self, sock: socket.socket, probe: "Probe") -> None:
        """Call `probe.ready` for every event of the socket."""

    def connected(self, sock: socket.socket) -> None:
        """The socket has connected."""

    def unregister(self, sock: socket.socket) -> None:
        """The socket is about to be closed."""

    def wake_at(self, due: float, probe: "Probe") -> None:
        """Call `probe.on_timer` at a time of the monotonic clock."""

    def look_up(self, name: Name, probe: "Probe") -> None:
        """Call `probe.resolved` with the addresses of the name."""

    def has_route(self, address: str, port: int) -> bool:
        """Whether there is a route to an IPv6 address."""

    def allows(self, address: str) -> bool:
        """Whether an address may be connected to at all."""

    def may_race(self) -> bool:
        """Whether there is a descriptor left for a second connection of a probe."""

    def test_further_addresses(self, probe: "Probe", addresses: Sequence[str]) -> None:
        """Test each of a host's further addresses with a probe of its own."""

    def try_others(self, probe: "Probe", addresses: Sequence[str]) -> None:
        """Try a host's other addresses with a second probe: the one that was connected to has not passed."""

    def may_log_in(self, probe: "Probe") -> bool:
        """Whether the probe may log in now: one of each test does. If it may, no other one of its test may later."""

    def finish(self, probe: "Probe", outcome: Outcome) -> None:
        """The probe has ended with this outcome."""


@dataclass(slots=True)
class _Attempt:
    """A connection to one address, and when its connect began by the monotonic and the realtime clock.

    `stamped` until the greeting: while the kernel's stamps are read.
    """

    sock: socket.socket
    descriptor: int
    address: str
    began: float
    began_real: float
    stamped: bool


class Probe:
    """One test, or the part of one that follows another probe.

    With `kernel_stamps` false the kernel's stamps are not used. `addresses` are those to try, without a lookup. `after`
    is the probe that looked them up; with `same_deadline` the part ends when that one ends. With a `credential` it logs
    in, if all that is connected to is verified by TLS.
    """

    def __init__(
        self,
        target: Target,
        loop: Loop,
        *,
        kernel_stamps: bool = True,
        addresses: Sequence[str] = (),
        after: "Probe | None" = None,
        same_deadline: bool = False,
        credential: Credential | None = None,
    ) -> None:
        self.target, self._loop, self._kernel_stamps = target, loop, kernel_stamps
        self._given = tuple(addresses) or ((target.host,) if is_address(target.host) else ())
        self._started_at, self._phase_began = datetime.now(UTC), time.monotonic()
        self.deadline = self._phase_began + target.max_test_seconds
        self._fields: dict[str, object] = {}
        if after:
            self._started_at = after._started_at
            self._fields = {name: after._fields[name] for name in _OF_LOOKUP if name in after._fields}
            if same_deadline:
                self.deadline = after.deadline
        self._phase = Phase.DNS
        self._addresses: deque[str] = deque()
        self._failed_connects: list[tuple[str, str]] = []
        self._racing: dict[int, _Attempt] = {}
        self._connection: _Attempt | None = None
        self._engine: TlsEngine | None = None
        self._unsent = b""
        self._send_error: OSError | None = None
        self._received = 0
        self._stamp: float | None = None
        self._connect_ms = self._tls_ms = 0.0
        self._others: list[str] = []
        self._try_others_at = float("inf")
        self._ended = self._extended = False
        self.credential = credential
        self._login: Login | None = None
        self._conversation = self._begin_conversation()

    def start(self) -> None:
        """Begin with the lookup, or with the connect if the host is an address."""
        problems = self.target.problems or self._tls_problems()
        if self.credential:
            problems = problems or login_problems(self.target)
        if problems:
            self._end_with_problems(problems)
            return
        self._loop.wake_at(self.deadline, self)
        if self._given:
            self._connect_to(self._given)
        else:
            self._loop.look_up(name_of(self.target), self)

    def resolved(self, result: LookupResult) -> None:
        """The lookup of the name has ended."""
        if self._ended:
            return
        self._fields["dns_ms"] = self._end_phase()
        self._fields["address_age_seconds"] = result.age_seconds
        if result.addresses:
            self._connect_to(result.addresses)
        else:
            detail = result.detail or f"{self.target.host} has no address."
            self._end(ErrorCode.NO_ADDRESS, result.reason, detail)

    def ready(self, descriptor: int, bits: int) -> None:
        """One of the probe's sockets has an event; `bits` are the poller's."""
        attempt = self._racing.get(descriptor)
        if attempt:
            self._check_connected(attempt, bits)
        if self._connection and not self._ended:
            if self._unsent:
                self._send(b"")
            if bits & _WORTH_READING:
                self._receive(to_the_end=bool(bits & MAYBE_ENDED))

    def extend_deadline(self, seconds: float) -> None:
        """The loop was late by `seconds`, and the server gets this time back; once, so that every test ends."""
        if not self._ended and not self._extended:
            self._extended = True
            self.deadline = time.monotonic() + seconds
            self._loop.wake_at(self.deadline, self)

    def on_timer(self, now: float) -> None:
        """A timer of the probe is due: to try the next address, or the deadline."""
        if self._ended:
            return
        if now >= self.deadline:
            error, reason, detail = _TIMEOUTS[self._phase]
            if self._phase is Phase.CONNECT and self._racing:
                self._failed_connects += ((attempt.address, reason) for attempt in self._racing.values())
                self._fields["address"] = self._failed_connects[0][0]
            if self._phase is Phase.GREETING and self._conversation.in_mid_line:
                reason, detail = "unfinished-line", "The server began its greeting and did not end it."
            elif self._phase is Phase.LOGIN and self._login:
                detail = _without_reply(self._login, "The server", in_part=self._conversation.in_mid_line)
            self._end(error, reason, detail)
        elif self._phase is Phase.CONNECT and self._addresses:
            if self._loop.may_race():
                self._connect_next()
            else:
                self._loop.wake_at(now + STAGGER_SECONDS, self)
        elif now >= self._try_others_at:
            self._try_others()

    def abandon(self) -> None:
        """Close all sockets, without an outcome."""
        self._ended = True
        while self._racing:
            self._close(self._racing.popitem()[1])
        if self._connection:
            self._close(self._connection)

    def _begin_conversation(self) -> Conversation:
        target = self.target
        return Conversation(
            starttls=target.tls is TlsMode.STARTTLS,
            greetings=[prefix.encode() for prefix in target.greeting] if target.greeting else (),
            expected=[text.encode() for text in target.expect] if target.expect else (),
            check_quit=target.check_quit,
        )

    def _tls_problems(self) -> tuple[Problem, ...]:
        """A CA that OpenSSL cannot read is a configuration problem, like any other invalid field."""
        if self.target.tls is TlsMode.NONE:
            return ()
        try:
            self._tls_context()
        except UnusableSetting as error:
            return (Problem(error.field, f"The field `{error.field}` cannot be used: {error.why}."),)
        return ()

    def _tls_context(self) -> ssl.SSLContext:
        target = self.target
        return context(target.verify_tls, target.ca_pem, target.tls_min, target.legacy_renegotiation)

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
        considered = choose(addresses, MAX_CONSIDERED)
        allowed = [it for it in considered if self._loop.allows(it)]
        if not allowed:
            self._fields["address"] = addresses[0]
            why = f"{addresses[0]} is an address of the monitor's own machine, which AllowLocalTargets does not allow."
            self._end(ErrorCode.CANNOT_CONNECT, "forbidden-address", why)
            return
        routed = [it for it in allowed if ":" not in it or self._loop.has_route(it, self.target.port)]
        chosen = choose(routed)
        untested = len(addresses) - len(considered) + len(routed) - len(chosen)
        if untested:
            self._fields["untested_addresses"] = untested
        if self.target.all_addresses and len(chosen) > 1:
            self._loop.test_further_addresses(self, chosen[1:])
            chosen = chosen[:1]
        self._addresses.extend(chosen)
        self._others = chosen
        if self._addresses:
            self._connect_next()
        else:
            only = "Only IPv6 is to be used" if self.target.family is Family.IPV6 else "It has only IPv6 addresses"
            advice = f"{only}, and there is no route for IPv6 from here (a VPC can give one)."
            self._fields["address"] = allowed[0]
            self._end(ErrorCode.CANNOT_CONNECT, "no-ipv6-route", advice)

    def _connect_next(self) -> None:
        """Begin a connect to the next address; if that fails at once, to those after it.

        This is the race of RFC 8305 ("Happy Eyeballs"): every STAGGER_SECONDS one more connect begins, the earlier ones
        continue, and the first that succeeds is used.
        """
        while self._addresses and not self._ended:
            address = self._addresses.popleft()
            try:
                self._connect(address)
            except OSError as error:
                self._add_failed(address, error.errno or 0)
            else:
                if self._addresses:
                    self._loop.wake_at(time.monotonic() + STAGGER_SECONDS, self)
                return
        if not self._racing and not self._connection:
            self._end_unconnected()

    def _connect(self, address: str) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _OPEN)
        try:
            if _OPEN == socket.SOCK_STREAM:
                sock.setblocking(False)
            # Before the connect: a greeting can arrive together with the connection.
            stamped = self._kernel_stamps and timestamps.AVAILABLE and timestamps.enable(sock)
            attempt = _Attempt(sock, sock.fileno(), address, time.monotonic(), time.time(), stamped)
            code = sock.connect_ex(sockaddr(address, self.target.port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "connect")
        except OSError:
            sock.close()
            raise
        self._racing[attempt.descriptor] = attempt
        self._loop.register(sock, self)

    def _check_connected(self, attempt: _Attempt, bits: int) -> None:
        """Handle an event of a connecting socket: it has connected, or SO_ERROR has the reason why not (connect(2))."""
        code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if bits & MAYBE_ENDED else 0
        if code in _RESET:
            self._use_connection(attempt)
            self._end_broken(OSError(code, "the server reset it"))
        elif code:
            self._drop_attempt(attempt)
            self._add_failed(attempt.address, code)
            self._connect_next()
        else:
            self._use_connection(attempt)

    def _use_connection(self, attempt: _Attempt) -> None:
        """Use the first connection that is established, and close the others (RFC 8305 section 5)."""
        del self._racing[attempt.descriptor]
        while self._racing:
            self._close(self._racing.popitem()[1])
        self._connection = attempt
        self._loop.connected(attempt.sock)
        self._phase_began = attempt.began
        self._fields["address"] = attempt.address
        self._fields["connect_ms"] = self._connect_ms = self._end_phase()
        used = {attempt.address, *(address for address, _ in self._failed_connects)}
        self._others = [address for address in self._others if address not in used]
        if self._others:  # the addresses share the time that is left: a silent server must not use it all up
            now = time.monotonic()
            self._try_others_at = now + (self.deadline - now) / (1 + len(self._others))
            self._loop.wake_at(self._try_others_at, self)
        if self.target.tls is TlsMode.IMPLICIT:
            self._start_tls()
        else:
            self._phase = Phase.GREETING

    def _try_others(self) -> None:
        """Let a second probe try the addresses that are left, once; a mail client's user would try again as well."""
        others, self._others, self._try_others_at = self._others, [], float("inf")
        if others:
            self._loop.try_others(self, others)

    def _drop_attempt(self, attempt: _Attempt) -> None:
        del self._racing[attempt.descriptor]
        self._close(attempt)

    def _close(self, attempt: _Attempt) -> None:
        self._loop.unregister(attempt.sock)  # first, while the socket still has its descriptor
        attempt.sock.close()

    def _add_failed(self, address: str, code: int) -> None:
        reason = _CONNECT_REASONS.get(code) or errno.errorcode.get(code, "os-error").lower()
        self._failed_connects.append((address, reason))

    def _end_unconnected(self) -> None:
        self._others = []  # all of them have failed
        self._fields["address"] = self._failed_connects[0][0]
        reason = self._failed_connects[0][1]
        self._end(ErrorCode.CANNOT_CONNECT, reason, f"{self._fields['address']} port {self.target.port}: {reason}.")

    def _start_tls(self) -> None:
        self._phase = Phase.TLS
        self._phase_began = time.monotonic()
        try:
            self._engine = TlsEngine(self._tls_context(), self.target.tls_name)
        except ValueError as error:  # a name that cannot be sent as SNI
            self._end(ErrorCode.PROTOCOL, "tls-name-mismatch", str(error))
            return
        self._advance_tls(self._engine)

    def _advance_tls(self, engine: TlsEngine) -> None:
        """Continue the handshake, or read decrypted bytes; a failure ends the test."""
        try:
            if not engine.established and engine.handshake():
                self._handle_established(engine)
            while engine.established and not self._ended and (data := engine.read()):
                self._receive_plaintext(data)
        except TlsFailure as failure:
            self._phase = Phase.TLS  # in TLS 1.3 a server refuses a client only after the handshake (RFC 8446 4.4.2.4)
            self._end(ErrorCode.PROTOCOL, failure.reason, failure.detail)
        except TlsEnded:
            self._receive_end()
        finally:
            if not self._ended:
                self._send(engine.data_to_send())

    def _handle_established(self, engine: TlsEngine) -> None:
        self._tls_ms = self._end_phase()
        certificates, unneeded = engine.certificates, engine.unneeded
        self._fields |= {
            "tls_ms": self._tls_ms,
            "tls_version": engine.version,
            "certificates": certificates,
            "certificate_expires": min((it.expires for it in certificates), default=None),
            "remarks": (*tls_relaxations(self.target), *map(_unneeded, unneeded[:REMARKS])),
        }
        if self.credential:
            self._login = Login(self.credential, engine)
        self._conversation.tls_established(self._login, self._may_log_in)
        if self.target.tls is TlsMode.STARTTLS:
            self._phase = Phase.LOGIN if self._login else Phase.QUIT
            self._handle_events()
        else:
            self._phase = Phase.GREETING

    def _receive(self, *, to_the_end: bool) -> None:
        """Read until the socket is empty: the poller is edge-triggered and reports each arrival only once.

        `to_the_end`: the end of the stream or an error may have arrived as well.
        """
        # Usually one recv: a read shorter than its buffer has emptied the socket (epoll(7)), and the call that would
        # only return EAGAIN is saved. Two exceptions: the end of the stream is a read of its own, with no second edge;
        # and a read stops early at a byte of urgent data (tcp(7)), which shows as a line without its end.
        more = True
        while more and self._connection and not self._ended:
            try:
                data, self._stamp = self._read(self._connection)
            except BlockingIOError:
                return
            except OSError as error:
                self._end_broken(error)
                return
            self._received += len(data)
            if self._received > MAX_BYTES:
                self._end(ErrorCode.PROTOCOL, "too-much-data", f"The server sent more than {MAX_BYTES} bytes.")
                return
            self._handle_data(data)
            more = to_the_end or len(data) == RECEIVE_SIZE or self._conversation.in_mid_line

    def _handle_data(self, data: bytes) -> None:
        """Handle bytes that were read, cleartext or TLS; empty bytes are the end of the stream."""
        if self._engine:
            self._engine.receive_data(data)
            self._advance_tls(self._engine)
        elif data:
            self._receive_plaintext(data)
        if not data:
            self._receive_end()

    def _end_broken(self, error: OSError) -> None:
        where = f" before the reply to {self._login.command}" if self._phase is Phase.LOGIN and self._login else ""
        why = (error.strerror or str(error)).lower()
        self._end(ErrorCode.DISCONNECTED, "reset", f"The connection broke{where}: {why}.")

    def _read(self, attempt: _Attempt) -> tuple[bytes, float | None]:
        if attempt.stamped:
            return timestamps.receive(attempt.sock, RECEIVE_SIZE)
        return attempt.sock.recv(RECEIVE_SIZE), None

    def _receive_plaintext(self, data: bytes) -> None:
        self._conversation.receive_data(data)
        self._handle_events()

    def _receive_end(self) -> None:
        """The end of the stream, or of TLS. A send that failed before explains it better."""
        if self._ended:
            return
        if self._send_error:
            self._end_broken(self._send_error)
        elif self._phase is Phase.TLS:
            self._end(ErrorCode.DISCONNECTED, "closed-in-tls-handshake", "The server closed during the TLS handshake.")
        else:
            self._conversation.receive_eof()
            self._handle_events()

    def _handle_events(self) -> None:
        while not self._ended and (event := self._conversation.next_event()):
            match event:
                case Greeted(line):
                    self._record_greeting(line)
                case TlsWanted():
                    self._start_tls()
                case LoginEnded():
                    self._record_login()
                    self._phase = Phase.QUIT
                case Finished():
                    self._fields["quit_ms"] = self._end_phase() if self.target.check_quit else None
                    self._end_well()
                case Failed():
                    self._handle_failure(event)
        if not self._ended:
            self._reply()

    def _record_greeting(self, line: bytes) -> None:
        assert self._connection  # noqa: S101 - a greeting needs a connection
        self._phase_began = time.monotonic()
        rtt_ms, source = self._rtt(self._connection)
        # The loop may have noticed the connection later than the kernel received the greeting.
        connect_ms = min(self._connect_ms, rtt_ms)
        fields = self._fields
        fields["rtt_ms"], fields["rtt_source"] = rtt_ms, source
        fields["connect_ms"] = connect_ms
        fields["greeting_ms"] = max(0.0, rtt_ms - connect_ms - self._tls_ms)
        fields["greeting"] = clean(line, GREETING_SHOWN)
        self._connection.stamped = False  # recv is cheaper than recvmsg, and no later time needs a stamp
        if self.target.tls is TlsMode.STARTTLS:
            self._phase = Phase.STLS
        else:
            self._phase = Phase.LOGIN if self._login else Phase.QUIT

    def _may_log_in(self) -> bool:
        """Whether this address is logged in to: the one that is ready for it first."""
        if not self._loop.may_log_in(self):
            self._login = None
            return False
        self._others, self._try_others_at = [], float("inf")
        return True

    def _record_login(self) -> None:
        assert self._login  # noqa: S101 - it has answered
        self._fields["login_ms"] = self._end_phase()
        self._fields["login"] = self._result_of(self._login)

    @staticmethod
    def _result_of(login: Login) -> LoginResult:
        return login.result(lambda line: clean(line, GREETING_SHOWN))

    def _handle_failure(self, failure: Failed) -> None:
        error = ErrorCode.PROTOCOL if failure.kind is FailureKind.PROTOCOL else ErrorCode.DISCONNECTED
        line = clean(failure.line, GREETING_SHOWN)
        if self._phase is Phase.GREETING:
            self._fields["greeting"] = line
        elif self._phase is Phase.LOGIN and failure.kind is FailureKind.PROTOCOL:
            self._record_login()
        if self._phase is Phase.LOGIN and self._login:
            said = _said_at_login(self._login, failure, line)
        else:
            said = f"The server said: {line}" if line else "The server said nothing more."
        if failure.missing:
            said = f"The greeting lacks the text `{clean(failure.missing, MISSING_SHOWN)}`. {said}"
        self._end(error, failure.reason, said)

    def _rtt(self, connection: _Attempt) -> tuple[float, RttSource]:
        """The time from the start of the connect to the arrival of the bytes read last, and whose clock measured it."""
        by_loop = (self._phase_began - connection.began) * 1000
        if self._stamp is not None:
            # Stamps are of the realtime clock, which can be set between the two readings; the loop's is an upper bound.
            by_kernel = (self._stamp - connection.began_real) * 1000
            if 0 <= by_kernel <= by_loop + CLOCK_SLACK_MS:
                return by_kernel, RttSource.KERNEL
        return by_loop, RttSource.LOOP

    def _reply(self) -> None:
        data = self._conversation.data_to_send()
        if data:
            self._send(self._engine.encrypt(data) if self._engine else data)

    def _send(self, data: bytes) -> None:
        """Send what the socket accepts now, the rest when it is ready.

        If the connection is broken the test does not end here: what the server sent before may still be in the socket.
        """
        self._unsent += data
        if self._unsent and self._connection:
            try:
                sent = self._connection.sock.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as error:
                self._send_error, sent = error, len(self._unsent)
            self._unsent = self._unsent[sent:]

    def _end_phase(self) -> float:
        """Milliseconds since the current phase began; begins the next."""
        now = time.monotonic()
        spent, self._phase_began = (now - self._phase_began) * 1000, now
        return spent

    def _end_well(self) -> None:
        """The server has done all that is asked of it, if it was not too slow."""
        rtt_ms, allowed = self._fields["rtt_ms"], self.target.max_rtt_ms
        if allowed and isinstance(rtt_ms, float) and rtt_ms > allowed:
            took = f"The round trip took {milliseconds(rtt_ms)} ms, more than the {milliseconds(allowed)} ms allowed."
            self._end(ErrorCode.TIMED_OUT, "too-slow", took)
        elif too_full := self._what_is_too_full():
            self._phase = Phase.LOGIN
            self._end(ErrorCode.PROTOCOL, "mailbox-too-full", too_full)
        else:
            self._end()

    def _what_is_too_full(self) -> str:
        """What the login counted that is above a limit of the target, as a sentence; empty if nothing is."""
        login = self._fields.get("login")
        excess = mailbox_excess(self.target, login.messages, login.octets) if isinstance(login, LoginResult) else None
        if excess is None:
            return ""
        count, allowed, noun = excess
        return f"The mailbox has {counted(count, noun)}, more than the {allowed} allowed."

    def _end(self, error: ErrorCode | None = None, reason: str = "", detail: str = "") -> None:
        """Send QUIT or close_notify if one is queued, close, and give the outcome to the loop."""
        age = self._fields.get("address_age_seconds")
        if error and isinstance(age, float):
            detail = f"{detail} The name servers failed: this is the address of {age:.0f} seconds ago."
        if self._connection:
            self._reply()
            if self._engine:
                self._engine.close()
                self._send(self._engine.data_to_send())
        self.abandon()
        if error and self._connection and time.monotonic() < self.deadline:
            self._try_others()
        self._loop.finish(self, self._outcome(error, reason, clean(detail, DETAIL_SHOWN) if detail else ""))

    def _outcome(self, error: ErrorCode | None, reason: str, detail: str) -> Outcome:
        if self._login and (self._phase is Phase.LOGIN or self._login.unanswered):  # begun, and failed: answered or not
            self._fields.setdefault("login", self._result_of(self._login))
        failed = [f"{address}: {why}" for address, why in self._failed_connects]
        if error and self._connection and failed:
            failed.append(f"{self._connection.address}: {reason}")
        if len(failed) > 1 or (failed and not error):
            self._fields["failed_addresses" if error else "failed_first"] = tuple(failed)
        return Outcome(self._started_at, self._phase, error, reason, detail, **self._fields)  # type: ignore[arg-type]


def _said_at_login(login: Login, failure: Failed, line: str) -> str:
    """What a server said to which command of a login, as a sentence."""
    if failure.kind is FailureKind.DISCONNECTED:
        return _without_reply(login, "The server closed the connection and", in_part=bool(line))
    if login.lacks:
        return login.lacks
    return f"The server answered {login.command} with {line or 'an empty line'}"


def _without_reply(login: Login, who: str, *, in_part: bool) -> str:
    """That a command of a login was not answered, or that its reply was not ended."""
    did_not = "end its reply to" if in_part or login.in_reply else "answer"
    return f"{who} did not {did_not} {login.command}."


def _unneeded(certificate: X509) -> str:
    return f'the server also sends "{certificate.subject}" (until {certificate.expires:%Y-%m-%d}), which is not needed'
