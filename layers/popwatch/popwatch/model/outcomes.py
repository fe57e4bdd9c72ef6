"""What a test found: an `Outcome`, its error, the phase it ended in. No I/O and no decisions.

Text from a server is passed through `clean` (text.py) before it becomes part of an outcome.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.serialization import Range, TimeRange, stored_as, within
from popwatch.model.text import counted

GREETING_SHOWN = 120
"""Characters of a server's greeting in an outcome; RFC 1939 (section 3) allows 512 octets, people read one line."""

DETAIL_SHOWN = 240
"""Characters of `Outcome.detail`."""


SUBJECT_SHOWN = 64
"""Characters of a certificate's subject; a common name has at most 64 (RFC 5280, appendix A)."""


CERTIFICATE_TIMES = TimeRange(earliest=datetime(1950, 1, 1, tzinfo=UTC), ahead=None)
"""When a certificate expires: dates of certificates begin in 1950 (RFC 5280 section 4.1.2.5), and need never end."""

_LIFETIMES = Range(0, (datetime.max.replace(tzinfo=UTC) - CERTIFICATE_TIMES.earliest).total_seconds())

LONGEST_LOGIN_DELAY = 86_400
"""Seconds of a LOGIN-DELAY that are believed: with a longer one a server would never be logged in to again."""

MAILBOX_NUMBERS = Range(0, 10**15 - 1)
"""Messages and octets of a mailbox: a login takes up to 15 digits."""

TLS_ALERT_REASON = "tls-alert-"
"""A reason begins so if the server refused with an alert; the alert's name follows (RFC 8446 section 6)."""


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
    LOGIN = "login"
    QUIT = "quit"


class RttSource(StrEnum):
    """Where the greeting's time of arrival is from: the kernel's receive timestamp or, less exactly, the event loop."""

    KERNEL = "kernel"
    LOOP = "loop"


class Role(StrEnum):
    """The place of a certificate in its chain: the server's own, an authority's, the authority that is trusted."""

    LEAF = "leaf"
    INTERMEDIATE = "intermediate"
    ROOT = "root"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a test relied on. `subject` is cleaned and cut; `lifetime` is all the time it is valid.

    `address` says which addresses show it, if only some of a host's do.
    """

    role: Role
    subject: str
    expires: datetime = field(metadata=within(CERTIFICATE_TIMES))
    lifetime: timedelta = field(metadata=within(_LIFETIMES))
    address: str = ""

    @property
    def begins(self) -> datetime:
        """From when on it is valid."""
        return self.expires - min(self.lifetime, self.expires - CERTIFICATE_TIMES.earliest)

    def __str__(self) -> str:
        at = f" at {self.address}" if self.address else ""
        named = f' "{self.subject}"' if self.subject else ""
        return f"certificate{at}" if self.role is Role.LEAF else f"{self.role} certificate{named}{at}"


class LoginVerdict(StrEnum):
    """What a login came to. Only `failed` and `unclear` fail the test."""

    PASSED = "passed"
    IN_USE = "in-use"
    """The mailbox is in use by another session (RFC 2449 section 8.1.2)."""
    LOGIN_DELAY = "login-delay"
    """The server wants more time between two logins (RFC 2449 section 8.1.1)."""
    REJECTED = "rejected"
    """The server does not accept the user or the secret (RFC 3206 section 5)."""
    UNCLEAR = "unclear"
    """Refused without a response code, or by a reply that is not one of POP3: by the server's fault, or because of the
    user or the secret."""
    FAILED = "failed"
    """By the server's fault, or not answered."""

    @property
    def counts_against_credential(self) -> bool:
        """Whether it is an attempt with a credential that may be wrong."""
        return self in (LoginVerdict.REJECTED, LoginVerdict.UNCLEAR)


@dataclass(frozen=True, slots=True)
class LoginResult:
    """What a test's login came to, and what the server said of the mailbox.

    `messages` and `octets` are the mailbox's, by STAT. `login_delay` is the least seconds between two logins that the
    server states, 0 if it states none; None if it did not answer CAPA. `said` is the server's line if it refused and
    that is not a failure: cleaned and cut. It is `unanswered` if the secret was sent and the server has not said what
    it makes of it.
    """

    verdict: LoginVerdict
    messages: int | None = field(default=None, metadata=within(MAILBOX_NUMBERS))
    octets: int | None = field(default=None, metadata=within(MAILBOX_NUMBERS))
    login_delay: int | None = field(default=None, metadata=within(Range(0, LONGEST_LOGIN_DELAY)))
    said: str = ""
    unanswered: bool = False


@quick_dataclass(frozen=True, slots=True)
class Outcome:
    """What one test of one target found.

    Times are milliseconds; `None` means the test did not get that far. `rtt_ms` runs from the start of the TCP connect
    to the address that answered until the last byte of the greeting arrived, without `dns_ms`. `reason` is finer than
    `error`, an open set of names; `detail` is a sentence for people, cleaned and cut.

    `failed_addresses` are the addresses of a host that failed, each with its reason: all if the test failed and there
    are several; if it passed, those of a target with `all_addresses`. In a passed test of any other target they are
    `failed_first`. `untested_addresses` counts those that the test does not connect to, since the name has too many.
    `address_age_seconds` is the age of a cached address that was tested because the name servers failed, else `None`.

    `certificates` are those of the chain that was verified, the server's own first; if nothing is verified, that one
    alone. `certificate_expires` is the first time at which one of them expires. `remarks` are sentences about
    the server that are not faults: a few words each.

    `login` is None if the test did not try to log in. `login_ms` runs from the greeting, or from TLS after STLS, until
    the mailbox is open: CAPA, the login and STAT.
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
    certificate_expires: datetime | None = field(default=None, metadata=within(CERTIFICATE_TIMES))
    failed_addresses: tuple[str, ...] = ()
    failed_first: tuple[str, ...] = field(default=(), metadata=stored_as("passed_over"))
    untested_addresses: int = 0
    address_age_seconds: float | None = None
    certificates: tuple[Certificate, ...] = ()
    remarks: tuple[str, ...] = ()
    login: LoginResult | None = None
    login_ms: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the server did everything that the target requires."""
        return self.error is None

    @property
    def fails_login(self) -> bool:
        """Whether the login of a failed test failed, also one that was accepted, of a mailbox that is too full.

        Not where QUIT failed after a login that says nothing of the run.
        """
        if self.error is None or self.login is None:
            return False
        return self.phase is Phase.LOGIN or self.login.verdict in (LoginVerdict.FAILED, LoginVerdict.UNCLEAR)

    @property
    def message(self) -> str:
        """The error's fixed message; empty for a passed test."""
        return self.error.message if self.error else ""

    @property
    def address_remarks(self) -> list[str]:
        """A line for each address that failed, unless `detail` names it, and one if the test left some out."""
        fails = [f"Fails: {address}" for address in self.failed_addresses if address not in self.detail]
        failed_first = [f"Failed first: {address}" for address in self.failed_first]
        left_out = [untested_remark(self.untested_addresses)] if self.untested_addresses and not self.error else []
        return [*fails, *failed_first, *left_out]


def untested_remark(addresses: int) -> str:
    """That so many addresses of a name are not tested."""
    return f"Not tested: {counted(addresses, 'more address', 'more addresses')}"
