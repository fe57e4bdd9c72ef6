"""What a server offers: the reply to CAPA (RFC 2449), read line by line, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from popwatch.model.outcomes import LONGEST_LOGIN_DELAY

MAX_LINES = 100
"""Lines of a reply to CAPA; servers send about ten."""


class TooManyLinesError(ValueError):
    """The reply to CAPA has more lines than any server needs."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server says it offers: the arguments of each capability by its name, all in upper case.

    `capa_supported` is false for a server that does not know CAPA, of which nothing is known.
    """

    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capa_supported: bool = True

    def __contains__(self, name: str) -> bool:
        return name in self.arguments

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms (RFC 2449 section 6.3)."""
        return self.arguments.get("SASL", ())

    @property
    def login_delay(self) -> int | None:
        """The least seconds between two logins of a user (RFC 2449 section 6.5), if the server states them.

        Where users have different ones, a server states the largest before the login.
        """
        stated = self.arguments.get("LOGIN-DELAY", ())
        if not stated or not stated[0].isdecimal() or len(stated[0]) > 9:
            return None
        return min(int(stated[0]), LONGEST_LOGIN_DELAY)


NO_CAPA = Capabilities(capa_supported=False)
"""Of a server that does not know CAPA."""


class CapabilityReader:
    """Reads the lines that follow the +OK to CAPA, until the line with a period."""

    def __init__(self) -> None:
        self._arguments: dict[str, tuple[str, ...]] = {}
        self._lines = 0

    def receive_line(self, line: bytes) -> Capabilities | None:
        """Take a line without its end; the capabilities once it was the last one. Raises TooManyLinesError.

        A capability that is listed twice has the arguments of both lines. A period that begins a line is doubled (RFC
        1939 section 3).
        """
        if line == b".":
            return Capabilities(self._arguments)
        self._lines += 1
        if self._lines > MAX_LINES:
            raise TooManyLinesError
        words = line.removeprefix(b".").decode("ascii", "replace").upper().split()
        if words:
            name, *given = words
            self._arguments[name] = tuple(dict.fromkeys((*self._arguments.get(name, ()), *given)))
        return None
