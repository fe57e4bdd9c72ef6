"""The POP3 conversation of a posture test, without I/O: a few questions between the greeting and QUIT.

No password and no name of a user is ever sent: USER names no real user, and PASS does not follow.
"""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from popwatch.prober.capabilities import NO_CAPA, Capabilities, CapabilityReader, TooManyLinesError
from popwatch.prober.pop3 import Conversation

NOBODY = "nobody@popwatch.invalid"
"""A user who cannot exist (RFC 2606 section 2): it shows in the server's log."""


def in_trouble(line: bytes) -> bool:
    """Whether a reply says that the server cannot work now: `[SYS/TEMP]`, `[SYS/PERM]` (RFC 3206 section 4)."""
    return b"[SYS/" in line.upper()


def is_temporary(line: bytes) -> bool:
    """Whether a refusal says that it may succeed soon: `[SYS/TEMP]`. `[SYS/PERM]` says that someone must act."""
    return b"[SYS/TEMP]" in line.upper()


def wants_tls(line: bytes) -> bool:
    """Whether a refusal says that it is for the lack of TLS, as in `-ERR TLS required to log in.` (Courier)."""
    words = (b"TLS", b"STLS", b"SSL", b"SECUR", b"ENCRYPT", b"PLAINTEXT", b"CLEARTEXT")
    return any(word in line.upper() for word in words)


class PostureQuestion(StrEnum):
    """A command that is sent to learn what a server answers."""

    CAPA = "CAPA"
    USER = f"USER {NOBODY}"
    STLS = "STLS"


class PostureConversation(Conversation):
    """Asks `questions` one after another, then QUIT. STLS that is refused is the last one, and the conversation fails.

    `replies` are the replies to CAPA in their order; `None` stands for one that says nothing, such as that of a server
    in trouble (RFC 3206). `user_reply` is the line that answered USER, empty without one.
    """

    def __init__(
        self, questions: Sequence[PostureQuestion], *, greetings: Sequence[bytes] = (), check_quit: bool = True
    ) -> None:
        super().__init__(greetings=greetings, check_quit=check_quit)
        self._left = deque(questions)
        self._asked: PostureQuestion | None = None
        self._reader: CapabilityReader | None = None
        self.replies: list[Capabilities | None] = []
        self.user_reply = b""

    def _quit(self) -> None:
        """Ask the next question, which follows the greeting, an answer, or the TLS handshake; QUIT after the last."""
        self._asked = self._left.popleft() if self._left else None
        match self._asked:
            case None:
                super()._quit()
            case PostureQuestion.STLS:
                self._asked = None  # the answer is for the conversation's own state
                self._ask_for_tls()
            case question:
                self._send_at_end(question.encode())

    def _handle_line(self, line: bytes) -> None:
        if self._reader:
            self._read_capabilities(self._reader, line)
        elif self._asked is PostureQuestion.USER:
            self.user_reply = line
            self._quit()
        elif self._asked is PostureQuestion.CAPA and line.startswith(b"+OK"):
            self._reader = CapabilityReader()
        elif self._asked is PostureQuestion.CAPA:
            self._take_capabilities(None if in_trouble(line) else NO_CAPA)
        else:
            super()._handle_line(line)

    def _read_capabilities(self, reader: CapabilityReader, line: bytes) -> None:
        try:
            capabilities = reader.receive_line(line)
        except TooManyLinesError:
            self._fail("endless-capabilities", line)
            return
        if capabilities is not None:
            self._take_capabilities(capabilities)

    def _take_capabilities(self, capabilities: Capabilities | None) -> None:
        self._reader = None
        self.replies.append(capabilities)
        self._quit()
