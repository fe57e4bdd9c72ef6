"""The POP3 conversation of one test, without I/O: greeting, STLS if wanted, a login if wanted, QUIT.

Theory of operation. Feed bytes that arrive to `receive_data`, the end of the stream to `receive_eof`; take events from
`next_event` until it returns None; send what `data_to_send` returns. One line at a time decides the next state:

| state    | input                     | event                  | sends        | next state   |
|----------|---------------------------|------------------------|--------------|--------------|
| GREETING | accepted greeting         | Greeted                | QUIT or STLS | QUIT or STLS |
| GREETING | it lacks an expected text | Failed (PROTOCOL)      | QUIT         | DONE         |
| GREETING | any other line            | Failed (PROTOCOL)      | QUIT         | DONE         |
| STLS     | +OK                       | TlsWanted              |              | TLS          |
| STLS     | any other line            | Failed (PROTOCOL)      | QUIT         | DONE         |
| TLS      | `tls_established()`       |                        | QUIT         | QUIT         |
| TLS      | cleartext bytes           | Failed (PROTOCOL)      |              | DONE         |
| LOGIN    | a line                    | as the login says      | its commands | LOGIN        |
| LOGIN    | the last line of the login| LoginEnded             | QUIT         | QUIT         |
| LOGIN    | a line that it fails at   | Failed (PROTOCOL)      | QUIT         | DONE         |
| QUIT     | +OK                       | Finished               |              | DONE         |
| QUIT     | any other line            | Failed (PROTOCOL)      |              | DONE         |
| all      | line of over 512 octets   | Failed (PROTOCOL)      | as above     | DONE         |
| not TLS  | end of the stream         | Failed (DISCONNECTED)  |              | DONE         |

With a login, which `tls_established` alone takes, the state LOGIN comes before QUIT, and what is sent there is the
login's. A server may close after it has refused a login (RFC 1939 section 4): the reply to QUIT is then not awaited.

Without `check_quit` the state QUIT ends at once, with Finished. The commands are those of RFC 1939 (QUIT) and RFC 2595
(STLS). The same bytes give the same events however they are split. The buffer holds one line, at most 512 octets with
its CRLF (RFC 1939 section 3; RFC 2449 section 4 leaves that limit for greetings and first lines of replies). A line may
also end in a bare LF, which mail clients accept too.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

LONGEST_LINE = 512
"""Octets of a line with its line end (RFC 1939 section 3)."""

# Upper case only (RFC 1939 section 3: "Servers MUST send the +OK and -ERR in upper case"). A blank need not follow:
# some servers send "+OK" alone, or "+OK<timestamp>"; but "+OKAY" is another word.
OK = re.compile(rb"\+OK(?![A-Za-z0-9])")
# A TLS server that got no ClientHello may send an alert in clear: content type, version 3.x (RFC 8446 section 5.1).
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")

_OTHER_GREETINGS = (
    (re.compile(rb"-ERR"), "service-unavailable"),
    (re.compile(rb"220[ -].*SMTP", re.IGNORECASE), "smtp-greeting"),
    (re.compile(rb"220[ -].*FTP", re.IGNORECASE), "ftp-greeting"),
    (re.compile(rb"[245]\d\d[ -]"), "smtp-or-ftp-greeting"),
    (re.compile(rb"\* (OK|PREAUTH|BYE)", re.IGNORECASE), "imap-greeting"),
    (re.compile(rb"SSH-"), "ssh-greeting"),
    (re.compile(rb"HTTP/|<!DOCTYPE|<html", re.IGNORECASE), "http-greeting"),
)
"""Greetings of other services, where the port is probably wrong, and -ERR. The first match is taken."""


class FailureKind(StrEnum):
    """Why a conversation failed: the server broke the protocol, or the stream ended."""

    PROTOCOL = "protocol"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Greeted:
    """The greeting is complete and accepted; `line` is without its line end."""

    line: bytes


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """The server accepted STLS: "a TLS negotiation begins immediately after the CRLF" (RFC 2595 section 4)."""


@dataclass(frozen=True, slots=True)
class LoginEnded:
    """The login has ended, and the server has done what it should."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The conversation has ended as it should; `line` is the reply to QUIT, empty without `check_quit`."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The conversation has failed; `line` is what the server sent, at most one line.

    `missing` is the expected text that the greeting lacks, if that is why.
    """

    kind: FailureKind
    reason: str
    line: bytes
    missing: bytes = b""


Event = Greeted | TlsWanted | LoginEnded | Finished | Failed


class LoginSteps(Protocol):
    """What a conversation needs of a login (`Login` in login.py): line by line what it sends, and how it ends."""

    failure: str
    ended: bool

    @property
    def passed(self) -> bool:
        """Whether the server has logged the user in."""

    def begin(self, greeting: bytes) -> bytes:
        """The first command, after this greeting."""

    def receive_line(self, line: bytes) -> bytes:
        """Take a line; what to send now."""

    def receive_part(self, part: bytes) -> None:
        """Take the beginning of a line without its end."""

    def hide(self, line: bytes) -> bytes:
        """A line as it may be shown."""


class _State(Enum):
    GREETING = auto()
    STLS = auto()
    TLS = auto()
    LOGIN = auto()
    QUIT = auto()
    DONE = auto()


_GREETING, _STLS, _TLS, _LOGIN, _QUIT, _DONE = _State
"""Module constants: a look-up through the enumeration takes three times as long, about ten times in each test."""


class Conversation:
    """One conversation. `greetings` are accepted beginnings of the greeting, besides `+OK`.

    The greeting must also contain each text of `expected`, where `*` stands for any bytes. Without `check_quit` QUIT is
    sent, but its reply is not awaited.
    """

    def __init__(
        self,
        *,
        starttls: bool = False,
        greetings: Sequence[bytes] = (),
        expected: Sequence[bytes] = (),
        check_quit: bool = True,
    ) -> None:
        self._starttls, self._greetings, self._check_quit = starttls, tuple(greetings), check_quit
        self._expected = expected
        self._state = _GREETING
        self._buffer = self._out = b""
        self._events: deque[Event] = deque()
        self._login: LoginSteps | None = None
        self._may_log_in: Callable[[], bool] = _always
        self._greeting = b""

    def receive_data(self, data: bytes) -> None:
        """Take bytes that have arrived; bytes after the end of the conversation are dropped."""
        if self._state is _TLS and data:
            # Plain text after the reply to STLS. In the buffer it would later pass for the server's encrypted reply, so
            # that an attacker on the path could inject one ("response injection", CVE-2020-14954). Servers send none.
            self._fail("stls-injection", b"")
        # In pieces, so that the buffer never holds more than one line and one octet, however much has arrived.
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
            _LOGIN: "closed-before-login-reply",
            _QUIT: "closed-before-quit-reply",
        }
        reason = reasons.get(self._state)
        if reason:
            self._end(Failed(FailureKind.DISCONNECTED, "closed-mid-line" if self._buffer else reason, self._seen()))

    def tls_established(self, login: LoginSteps | None = None, may_log_in: Callable[[], bool] | None = None) -> None:
        """TLS is established: before the greeting, or after `TlsWanted`; with `login` the conversation logs in.

        `may_log_in` is called when the login is about to begin; if it says no there is none. After `TlsWanted` there is
        no second greeting: the server remains in its AUTHORIZATION state (RFC 2595 section 4).
        """
        self._login, self._may_log_in = login, may_log_in or _always
        if self._state is _TLS:
            self._proceed()

    def next_event(self) -> Event | None:
        """The next event, or None until more has arrived."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """The bytes to be sent now, empty if there are none."""
        data, self._out = self._out, b""
        return data

    @property
    def in_mid_line(self) -> bool:
        """Whether the server has begun a line and not ended it."""
        return bool(self._buffer)

    def _read_lines(self) -> None:
        while self._buffer and self._state is not _TLS:
            line, ended, rest = self._buffer.partition(b"\n")
            if not ended or len(line) >= LONGEST_LINE:
                self._check_unfinished()
                return
            self._buffer = rest
            self._handle_line(line.removesuffix(b"\r"))
        if self._buffer:  # in the same segment as the reply to STLS: see `receive_data`
            self._fail("stls-injection", b"")

    def _check_unfinished(self) -> None:
        if self._login and self._state is _LOGIN:
            self._login.receive_part(self._buffer)
        # A TLS record has no line end that could be awaited: it is recognized by its first bytes.
        record = _TLS_RECORD.match(self._buffer) if self._state is _GREETING else None
        if record:
            self._fail("tls-on-plain-port", record.group())
        elif len(self._buffer) > LONGEST_LINE:
            self._fail("overlong-line", self._seen())

    def _handle_line(self, line: bytes) -> None:
        if self._state is _GREETING:
            self._handle_greeting(line)
        elif self._login and self._state is _LOGIN:
            self._continue_login(self._login, line)
        elif not OK.match(line):
            if not line.startswith(b"-ERR"):
                reason = "unexpected-reply"
            else:
                reason = "stls-refused" if self._state is _STLS else "quit-refused"
            self._fail(reason, line)
        elif self._state is _STLS:
            self._state = _TLS
            self._events.append(TlsWanted())
        else:
            self._end(Finished(line))

    def _handle_greeting(self, line: bytes) -> None:
        if not (OK.match(line) or line.startswith(self._greetings)):
            record = _TLS_RECORD.match(line)
            if record:
                self._fail("tls-on-plain-port", record.group())
            else:
                self._fail(_reason_of(line), line)
        elif b"\0" in line:
            self._fail("not-text", line)
        elif missing := next((text for text in self._expected if not _contains(line, text)), b""):
            self._fail("expected-text-missing", line, missing)
        else:
            self._greeting = line
            self._events.append(Greeted(line))
            if self._starttls:
                self._ask_for_tls()
            else:
                self._proceed()

    def _proceed(self) -> None:
        """Log in if that is wanted, otherwise QUIT."""
        if self._login and not self._may_log_in():
            self._login = None
        if self._login:
            self._state = _LOGIN
            self._out += self._login.begin(self._greeting)
        else:
            self._quit()

    def _continue_login(self, login: LoginSteps, line: bytes) -> None:
        self._out += login.receive_line(line)
        if login.failure:
            self._fail(login.failure, line)
        elif login.ended:
            self._events.append(LoginEnded())
            self._check_quit = self._check_quit and login.passed
            self._quit()

    def _ask_for_tls(self) -> None:
        self._out += b"STLS\r\n"
        self._state = _STLS

    def _send_at_end(self, command: bytes) -> None:
        """Send QUIT, or what a subclass asks in place of it: nothing of the test itself follows."""
        self._out += command + b"\r\n"
        self._state = _QUIT

    def _quit(self) -> None:
        self._send_at_end(b"QUIT")
        if not self._check_quit:
            self._end(Finished(b""))

    def _fail(self, reason: str, line: bytes, missing: bytes = b"") -> None:
        """End with a protocol error. QUIT is still sent: most services know it and then end the session in order."""
        if self._state in (_GREETING, _STLS, _LOGIN):
            self._out += b"QUIT\r\n"
        self._end(Failed(FailureKind.PROTOCOL, reason, self._shown(line), missing))

    def _end(self, event: Event) -> None:
        self._state = _DONE
        self._buffer = b""
        self._events.append(event)

    def _seen(self) -> bytes:
        return self._shown(self._buffer)

    def _shown(self, line: bytes) -> bytes:
        return (self._login.hide(line) if self._login else line)[:LONGEST_LINE]


def _always() -> bool:
    return True


def _contains(line: bytes, text: bytes) -> bool:
    """Whether a line contains the parts of a text between its `*`, one after another.

    The first place of each part leaves the most room for those after it, so nothing is ever tried again.
    """
    begin = 0
    for part in text.split(b"*"):
        found = line.find(part, begin)
        if found < 0:
            return False
        begin = found + len(part)
    return True


def _reason_of(line: bytes) -> str:
    """The reason for a greeting that is not accepted."""
    if b"\0" in line:
        return "not-text"
    return next((reason for pattern, reason in _OTHER_GREETINGS if pattern.match(line)), "unexpected-greeting")
