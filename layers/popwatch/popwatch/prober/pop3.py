"""The POP3 conversation of one test, without I/O: greeting, STLS if asked for, QUIT.

    GREETING --good--> [STLS --good--> TLS --tls_established()-->] QUIT --reply--> DONE
        any state --bad line or end of stream--> DONE

Feed what arrives to `receive_data` and `receive_eof`, take `next_event` until it is None, send what `data_to_send`
gives. The same bytes give the same events however they are split. Buffers hold one line: RFC 1939 section 3 allows a
reply 512 octets with its CRLF. A line may also end in a bare LF, as every mail client takes it.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

LONGEST_LINE = 512
"""Octets of a line with its line end (RFC 1939 section 3)."""

_OK = re.compile(rb"\+OK(?![A-Za-z0-9])")
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")

_FOREIGN = (
    (re.compile(rb"-ERR"), "service-unavailable"),
    (re.compile(rb"220[ -].*SMTP", re.IGNORECASE), "smtp-greeting"),
    (re.compile(rb"220[ -].*FTP", re.IGNORECASE), "ftp-greeting"),
    (re.compile(rb"[245]\d\d[ -]"), "smtp-or-ftp-greeting"),
    (re.compile(rb"\* (OK|PREAUTH|BYE)", re.IGNORECASE), "imap-greeting"),
    (re.compile(rb"SSH-"), "ssh-greeting"),
    (re.compile(rb"HTTP/|<!DOCTYPE|<html", re.IGNORECASE), "http-greeting"),
)
"""How other services greet: the likely mistake is a wrong port. First match wins."""


class FailureKind(StrEnum):
    """Who is to blame for a conversation that failed: what was said, or that the stream ended."""

    PROTOCOL = "protocol"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Greeted:
    """The greeting has arrived whole and is good; `line` is without its line end."""

    line: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """The server agreed to STLS (RFC 2595 section 4): what follows on the wire is TLS, in both directions."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The conversation is over as it should be; `line` is the reply to QUIT, empty if none was asked for."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The conversation is over, and not as it should be. `line` is what was seen, cut to one line."""

    kind: FailureKind
    reason: str
    line: bytes


Event = Greeted | TlsWanted | Finished | Failed


class _State(Enum):
    GREETING = auto()
    STLS = auto()
    TLS = auto()
    QUIT = auto()
    DONE = auto()


_GREETING, _STLS, _TLS, _QUIT, _DONE = _State
"""Names of their own: to look a member up in its enumeration takes three times as long, some ten times a test."""


class Conversation:
    """One conversation. `greetings` are other accepted beginnings of the greeting, beside `+OK`.

    With `check_quit` false QUIT is sent, but its reply is not waited for.
    """

    def __init__(self, *, starttls: bool = False, greetings: Sequence[bytes] = (), check_quit: bool = True) -> None:
        self._starttls, self._greetings, self._check_quit = starttls, tuple(greetings), check_quit
        self._state = _GREETING
        self._buffer = self._out = b""
        self._events: deque[Event] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes that have arrived; what follows the end of the conversation is dropped."""
        if self._state is _TLS and data:
            self._fail("stls-injection", b"")  # plain text behind the reply to STLS could pass for encrypted (RFC 2595)
        while data and self._state is not _DONE:
            room = LONGEST_LINE + 1 - len(self._buffer)
            self._buffer += data[:room]
            data = data[room:]
            self._read_lines()

    def receive_eof(self) -> None:
        """Take the end of the stream."""
        reasons = {
            _GREETING: "closed-before-greeting",
            _STLS: "closed-before-stls-reply",
            _QUIT: "closed-before-quit-reply",
        }
        reason = reasons.get(self._state)
        if reason:
            self._end(Failed(FailureKind.DISCONNECTED, "closed-mid-line" if self._buffer else reason, self._seen()))

    def tls_established(self) -> None:
        """Go on after the TLS handshake that followed `TlsWanted`; the server greets no second time (RFC 2595)."""
        if self._state is _TLS:
            self._quit()

    def next_event(self) -> Event | None:
        """The next event, or None until more has arrived."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """What is to be sent now; empty if nothing is."""
        data, self._out = self._out, b""
        return data

    @property
    def in_mid_line(self) -> bool:
        """Whether a line has begun and not ended: the server stopped in the middle."""
        return bool(self._buffer)

    def _read_lines(self) -> None:
        while self._buffer and self._state is not _TLS:
            line, ended, rest = self._buffer.partition(b"\n")
            if not ended or len(line) >= LONGEST_LINE:
                self._check_unfinished()
                return
            self._buffer = rest
            self._take(line.removesuffix(b"\r"))
        if self._buffer:
            self._fail("stls-injection", b"")

    def _check_unfinished(self) -> None:
        record = _TLS_RECORD.match(self._buffer) if self._state is _GREETING else None
        if record:
            self._fail("tls-on-plain-port", record.group())
        elif len(self._buffer) > LONGEST_LINE:
            self._fail("overlong-line", self._seen())

    def _take(self, line: bytes) -> None:
        if self._state is _GREETING:
            self._take_greeting(line)
        elif not _OK.match(line):
            refused = "stls-refused" if self._state is _STLS else "quit-refused"
            self._fail(refused if line.startswith(b"-ERR") else "unexpected-reply", line)
        elif self._state is _STLS:
            self._state = _TLS
            self._events.append(TlsWanted())
        else:
            self._end(Finished(line))

    def _take_greeting(self, line: bytes) -> None:
        if not (_OK.match(line) or line.startswith(self._greetings)):
            record = _TLS_RECORD.match(line)
            self._fail(*(("tls-on-plain-port", record.group()) if record else (_foreign(line), line)))
        elif b"\0" in line:
            self._fail("not-text", line)
        else:
            self._events.append(Greeted(line))
            if self._starttls:
                self._state = _STLS
                self._out = b"STLS\r\n"
            else:
                self._quit()

    def _quit(self) -> None:
        self._out += b"QUIT\r\n"
        self._state = _QUIT
        if not self._check_quit:
            self._end(Finished(b""))

    def _fail(self, reason: str, line: bytes) -> None:
        """End in a violation; QUIT goes out all the same, since most services know it and take their leave."""
        if self._state in (_GREETING, _STLS):
            self._out += b"QUIT\r\n"
        self._end(Failed(FailureKind.PROTOCOL, reason, line[:LONGEST_LINE]))

    def _end(self, event: Event) -> None:
        self._state = _DONE
        self._buffer = b""
        self._events.append(event)

    def _seen(self) -> bytes:
        return self._buffer[:LONGEST_LINE]


def _foreign(line: bytes) -> str:
    if b"\0" in line:
        return "not-text"
    return next((reason for pattern, reason in _FOREIGN if pattern.match(line)), "unexpected-greeting")
