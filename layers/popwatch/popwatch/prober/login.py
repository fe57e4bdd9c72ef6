"""The login of one test, line by line, without I/O: CAPA, one way to log in, STAT. Nothing else is ever sent.

Theory of operation. `begin` gives the first command; `receive_line` takes each line of the server and gives what to
send next, until `ended` or `failure`. QUIT, and what a line may be, are the conversation's (pop3.py).

| waits for the reply to | +OK                     | -ERR                | +                                 |
|------------------------|-------------------------|---------------------|-----------------------------------|
| CAPA                   | its lines, then a login | a login             | failed                            |
| USER                   | PASS                    | refused             | failed                            |
| AUTH, nothing sent yet | failed                  | refused, no attempt | the response                      |
| PASS, APOP             | STAT                    | refused             | refused                           |
| a response             | STAT                    | refused             | see `_handle_sasl_answer`         |
| STAT                   | passed                  | failed              | failed                            |

What a refusal means depends on its response code (RFC 2449 section 8, RFC 3206): `[IN-USE]` and `[LOGIN-DELAY]` are how
a server in order answers; `[AUTH]` is about the user or the secret; `[SYS/TEMP]` and `[SYS/PERM]` are about the server.
A server that announces AUTH-RESP-CODE gives the code `[AUTH]` if it is about the user, so without a code its refusal is
its own fault; of any other server it is not known. A reply to the secret that is not one of POP3, or does not end,
is a refusal as well, of which it is not known.

What a server says once the login has begun is not shown, but for that code: its words may hold the secret in any form.

The user and the secret are sent only if TLS was verified: a `Login` cannot be made without, and a conversation is given
one only when TLS is established.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Protocol, assert_never

from popwatch.model.credentials import Credential, Mechanism
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.prober.capabilities import NO_CAPA, Capabilities, CapabilityReader, TooManyLinesError
from popwatch.prober.pop3 import OK

LONGEST_COMMAND = 255
"""Octets of a command with its CRLF (RFC 2449 section 4). A SASL response may be longer (RFC 5034 section 4)."""

HIDDEN = b"(the rest is not shown: it could repeat the password)"
"""In place of the server's own words."""
ALL_HIDDEN = b"(a line that is not shown: it could repeat the password)"

_CHALLENGE = re.compile(rb"\+(?!OK)")
_CODE = re.compile(rb"-ERR[ \t]+\[([!-Z\\^-~]{1,60})\]")
_STAT = re.compile(rb"\+OK[ \t]+(\d{1,15})[ \t]+(\d{1,15})(?!\S)")
_TIMESTAMP = re.compile(rb"<[^<>\s]+@[^<>\s]+>")
"""In the greeting of a server with APOP: a message id (RFC 1939 section 7, RFC 822)."""

_STATUSES = b"-ERR", b"+OK", b"+"
_SHOWN_CODES = b"AUTH", b"IN-USE", b"LOGIN-DELAY", b"SYS/TEMP", b"SYS/PERM", b"SYS", b"UTF8"
"""The response codes of RFC 2449, 3206 and 6856; any other one is the server's own word."""

_VERDICTS = {
    b"IN-USE": LoginVerdict.IN_USE,
    b"LOGIN-DELAY": LoginVerdict.LOGIN_DELAY,
    b"AUTH": LoginVerdict.REJECTED,
}


class Tls(Protocol):
    """What a login needs to know of the connection that it is sent over."""

    @property
    def verified(self) -> bool:
        """Whether TLS is established, and the certificate's chain and name were verified."""


class UnverifiedError(Exception):
    """The connection is not one that a user and a secret may be sent over."""


class Login:
    """The login of one test. Raises UnverifiedError unless TLS was verified.

    It is `unanswered` from the time at which the secret is sent until the server has said what it makes of it.
    `command` is what the next line of the server answers, for people, and `in_reply` whether it answers that in part.
    `lacks` is a sentence on what the server does not offer, if the login fails for that.
    """

    def __init__(self, credential: Credential, tls: Tls) -> None:
        if not tls.verified:
            raise UnverifiedError
        self._credential = credential
        self.command = "CAPA"
        self._step: Callable[[bytes], bytes] = self._handle_capa
        self.in_reply = False
        self._reader = CapabilityReader()
        self._capabilities: Capabilities = NO_CAPA
        self._login_delay: int | None = None
        self._greeting = b""
        self._response_repeated = False
        self._begun = False
        self.verdict = LoginVerdict.FAILED
        self.failure = ""
        self.ended = False
        self._mailbox: tuple[int, int] | None = None
        self._said = b""
        self.unanswered = False
        self._part = b""
        self.lacks = ""

    def begin(self, greeting: bytes) -> bytes:
        """The first command; `greeting` has the timestamp of APOP."""
        self._greeting, self._begun = greeting, True
        return b"CAPA\r\n"

    def receive_line(self, line: bytes) -> bytes:
        """Take a line without its end. Returns what to send now; nothing once the login has ended or failed."""
        self._part = b""
        return self._step(line)

    def receive_part(self, part: bytes) -> None:
        """Take the beginning of a line whose end has not arrived, or never will."""
        self._part = part

    def hide(self, line: bytes) -> bytes:
        """A line as it may be shown: since the login has begun without the server's own words.

        A server knows the secret, at the latest since the test before, and may write it in any form, also by mistake.
        """
        if not self._begun:
            return line
        status = next(filter(line.startswith, _STATUSES), b"")
        stated = _code_of(line)
        code = next((known for known in _SHOWN_CODES if stated == known or stated.startswith(known + b"/")), b"")
        shown = b"%b [%b]" % (status, code) if code else status
        # The line has nothing but the status and the code: blanks and case can hold nothing of a secret.
        is_whole = b"".join(line.upper().split()) == b"".join(shown.split())
        if is_whole:
            return shown
        return b"%b %b" % (shown, HIDDEN) if status else ALL_HIDDEN

    @property
    def passed(self) -> bool:
        """Whether the server has logged the user in."""
        return self.verdict is LoginVerdict.PASSED

    def result(self, clean: Callable[[bytes], str]) -> LoginResult:
        """What the login has come to so far; `clean` makes text of the server's line."""
        messages, octets = self._mailbox or (None, None)
        said = clean(self._said)
        is_refused = self.unanswered and bool(self._part) and not _may_be_ok(self._part)
        verdict, unanswered = (LoginVerdict.UNCLEAR, False) if is_refused else (self.verdict, self.unanswered)
        return LoginResult(verdict, messages, octets, self._login_delay, said, unanswered)

    def _handle_capa(self, line: bytes) -> bytes:
        if line.startswith(b"-ERR"):
            return self._authenticate()
        if not OK.match(line):
            return self._fail("unexpected-reply")
        self._step, self.in_reply = self._handle_capability, True
        return b""

    def _handle_capability(self, line: bytes) -> bytes:
        try:
            found = self._reader.receive_line(line)
        except TooManyLinesError:
            return self._fail("too-many-capabilities")
        if not found:
            return b""
        self._capabilities, self.in_reply = found, False
        return self._authenticate()

    def _authenticate(self) -> bytes:
        self._login_delay = self._capabilities.login_delay or 0  # CAPA was answered, be it with -ERR
        mechanism, user = self._credential.mechanism, self._credential.user.encode()
        match mechanism:
            case Mechanism.USER:
                return self._send("USER", b"USER " + user, self._handle_user)
            case Mechanism.APOP:
                return self._begin_apop(user)
            case Mechanism.PLAIN | Mechanism.XOAUTH2:
                return self._begin_sasl(mechanism)
        assert_never(mechanism)

    def _handle_user(self, line: bytes) -> bytes:
        if not OK.match(line):
            return self._refuse(line)
        return self._send_secret("PASS", b"PASS " + self._secret(), self._handle_answer)

    def _begin_apop(self, user: bytes) -> bytes:
        timestamp = _TIMESTAMP.search(self._greeting)
        if not timestamp:
            return self._fail_for_lack("The greeting has no timestamp, which APOP needs.")
        digest = hashlib.md5(timestamp.group() + self._secret(), usedforsecurity=False).hexdigest().encode()
        return self._send_secret("APOP", b"APOP " + user + b" " + digest, self._handle_answer)

    def _begin_sasl(self, mechanism: Mechanism) -> bytes:
        """AUTH, with PLAIN's response in the same line if the server knows that (RFC 2449 section 6.3) and it fits.

        Microsoft takes XOAUTH2's in a line of its own only, after its `+`
        (https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth).
        """
        name = mechanism.value.upper()
        if self._capabilities.capa_supported and name not in self._capabilities.mechanisms:
            return self._fail_for_lack(f"The server's CAPA does not list the SASL mechanism {name}.")
        command = f"AUTH {name}"
        if mechanism is Mechanism.PLAIN and self._capabilities.capa_supported:
            whole = command.encode() + b" " + self._response()
            if len(whole + b"\r\n") <= LONGEST_COMMAND:
                return self._send_secret(command, whole, self._handle_sasl_answer)
        return self._send(command, command.encode(), self._handle_ready)

    def _response(self) -> bytes:
        secret = self._secret()
        user = self._credential.user.encode()
        if self._credential.mechanism is Mechanism.XOAUTH2:
            response = b"user=" + user + b"\x01auth=Bearer " + secret + b"\x01\x01"
        else:
            response = b"\0" + user + b"\0" + secret
        return b64encode(response)

    def _handle_ready(self, line: bytes) -> bytes:
        """The reply to AUTH alone: the server waits for the response, or does not want this mechanism."""
        if line.startswith(b"-ERR"):
            return self._refuse(line, attempted=False)
        if not _CHALLENGE.match(line):
            return self._fail("unexpected-reply")
        return self._respond()

    def _handle_sasl_answer(self, line: bytes) -> bytes:
        if not _CHALLENGE.match(line):
            return self._handle_answer(line)
        if self._credential.mechanism is Mechanism.XOAUTH2:
            # The challenge says what is wrong with the token; after an empty line comes the -ERR.
            return self._send("the empty line after AUTH XOAUTH2", b"", self._handle_rejected_token)
        if self._response_repeated:
            return self._refuse(line)
        return self._respond()  # a server that passed over the response in the line of AUTH

    def _respond(self) -> bytes:
        """The response in a line of its own, once."""
        self._response_repeated = True
        mechanism = self._credential.mechanism.value.upper()
        return self._send_secret(f"the response after AUTH {mechanism}", self._response(), self._handle_sasl_answer)

    def _handle_rejected_token(self, line: bytes) -> bytes:
        if line.startswith(b"-ERR") and not _CODE.match(line):
            self.unanswered = False
            return self._end(LoginVerdict.REJECTED, line)
        return self._refuse(line)

    def _handle_answer(self, line: bytes) -> bytes:
        if not OK.match(line):
            return self._refuse(line)
        self.unanswered = False
        return self._send("STAT", b"STAT", self._handle_stat)

    def _handle_stat(self, line: bytes) -> bytes:
        found = _STAT.match(line)
        if not found:
            return self._fail("stat-refused" if line.startswith(b"-ERR") else "unexpected-reply")
        self._mailbox = int(found[1]), int(found[2])
        return self._end(LoginVerdict.PASSED)

    def _refuse(self, line: bytes, *, attempted: bool = True) -> bytes:
        """Judge a refusal by its response code; `attempted` if the server has seen the user or the secret."""
        was_sent, self.unanswered = self.unanswered, False
        if not line.startswith(b"-ERR"):
            self.verdict = LoginVerdict.UNCLEAR if was_sent else self.verdict
            return self._fail("unexpected-reply")
        kind, _, of_system = _code_of(line).partition(b"/")  # a code may have parts (RFC 2449 section 8)
        if kind in _VERDICTS:
            return self._end(_VERDICTS[kind], line)
        if kind == b"SYS":
            return self._fail("login-sys-temp" if of_system.startswith(b"TEMP") else "login-sys-perm")
        if "AUTH-RESP-CODE" in self._capabilities or not attempted:
            return self._fail("login-failed")
        self.verdict = LoginVerdict.UNCLEAR
        return self._fail("login-refused")

    def _send(self, command: str, line: bytes, step: Callable[[bytes], bytes]) -> bytes:
        """A line to send; `command` is what people read of it, which holds no secret."""
        self.command, self._step = command, step
        return line + b"\r\n"

    def _send_secret(self, command: str, line: bytes, step: Callable[[bytes], bytes]) -> bytes:
        self.unanswered = True
        return self._send(command, line, step)

    def _fail(self, reason: str) -> bytes:
        self.failure = reason
        return b""

    def _fail_for_lack(self, sentence: str) -> bytes:
        self.lacks = sentence
        return self._fail("mechanism-not-offered")

    def _end(self, verdict: LoginVerdict, line: bytes = b"") -> bytes:
        self.verdict, self.ended, self._said = verdict, True, self.hide(line)
        return b""

    def _secret(self) -> bytes:
        return self._credential.secret.reveal().encode()


def _may_be_ok(part: bytes) -> bool:
    """Whether the beginning of a line may be that of +OK."""
    return part.startswith(b"+OK") or b"+OK".startswith(part)


def _code_of(line: bytes) -> bytes:
    """The response code of a refusal (RFC 2449 section 8), in upper case; empty without one."""
    found = _CODE.match(line)
    return found[1].upper() if found else b""
