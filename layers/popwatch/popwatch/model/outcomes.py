"""The words for what a test found: an `Outcome`, its error, the phase it ended in.

No I/O and no decisions. What a server said is cleaned here, by `clean`, before it becomes part of an outcome.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

GREETING_SHOWN = 120
"""Characters of a server's greeting that an outcome keeps; RFC 1939 allows 512 octets, people read one line."""

DETAIL_SHOWN = 240
"""Characters of `Outcome.detail`."""


class ErrorCode(StrEnum):
    """The six errors of a failed test; results, reports and alerts show `message`, word for word."""

    MISSING_FIELDS = "missing-fields"
    CANNOT_CONNECT = "cannot-connect"
    NO_ADDRESS = "no-address"
    TIMED_OUT = "timed-out"
    DISCONNECTED = "disconnected"
    PROTOCOL = "protocol"

    @property
    def message(self) -> str:
        """The fixed sentence that people read."""
        return _MESSAGES[self]


_MESSAGES = {
    ErrorCode.MISSING_FIELDS: "Configuration information for this item is missing some required fields",
    ErrorCode.CANNOT_CONNECT: "Unable to connect to the remote device",
    ErrorCode.NO_ADDRESS: "Could not obtain an IP address for the remote device",
    ErrorCode.TIMED_OUT: "The remote device timed out before sending a response",
    ErrorCode.DISCONNECTED: "Unexpected disconnection from the remote device",
    ErrorCode.PROTOCOL: "The response from the remote device does not adhere to protocol specification",
}


class Phase(StrEnum):
    """The part of a test in which it ended."""

    CONFIGURATION = "configuration"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    STLS = "stls"
    QUIT = "quit"


class RttSource(StrEnum):
    """Who saw the greeting arrive: the kernel's receive stamp, or, later and less exactly, the program's loop."""

    KERNEL = "kernel"
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one test of one target found.

    Times are milliseconds; `None` means the test did not get that far. `rtt_ms` runs from the start of the TCP connect
    to the address that answered until the last byte of the greeting arrived, without `dns_ms`. `reason` is a word of an
    open set, finer than `error`; `detail` is a sentence for people, cleaned and cut. `failed_addresses` are those of
    a host's addresses that failed although another passed, each with its reason, where all of them are tested.
    """

    started_at: datetime
    phase: Phase
    error: ErrorCode | None = None
    reason: str = ""
    detail: str = ""
    rtt_ms: float | None = None
    rtt_source: RttSource | None = None
    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    greeting_ms: float | None = None
    quit_ms: float | None = None
    address: str = ""
    greeting: str = ""
    tls_version: str = ""
    certificate_expires: datetime | None = None
    failed_addresses: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the server did all that the target asks of it."""
        return self.error is None

    @property
    def message(self) -> str:
        """The error's fixed message; empty for a passed test."""
        return self.error.message if self.error else ""
