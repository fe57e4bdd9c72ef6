"""Logins of a simulated installation: accounts and what servers make of logins, Parameter Store, environments.

A secret is `PASSWORD/REVISION`: servers compare the password, and their log names the revision that was tried.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from greenlet import getcurrent, greenlet

from popwatch.aws.credentials import Credentials
from popwatch.model.credentials import Credential
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict
from popwatch.sweep.logins import Logins
from tests.chaos.engine import Process, Threads
from tests.chaos.tables import refusal

PATH = "/popwatch/simulated/credentials/"
NAMES = ("shared", "other", "third")
"""The credentials of an installation: most targets share the first."""

WORKS, IN_USE, DELAY, TEMPORARY, PERMANENT, REFUSES, GARBLES, HANGS, CLOSES = (
    *("works", "in-use", "login-delay", "sys-temp", "sys-perm", "refuses", "garbles", "hangs", "closes"),
)
MODES = (IN_USE, DELAY, TEMPORARY, TEMPORARY, PERMANENT, REFUSES, REFUSES, GARBLES, HANGS, HANGS, CLOSES)
"""What servers may do beside logging users in."""

DEAD = (TEMPORARY, PERMANENT, REFUSES, GARBLES, HANGS, CLOSES)
"""Of these the ones that are outages: no one can log in."""

BUSY = (IN_USE, DELAY)
"""The ones that show neither that users can log in nor that they cannot."""

_ERRORS = {"no-login-reply": ErrorCode.TIMED_OUT, "closed-before-login-reply": ErrorCode.DISCONNECTED}

FEW, MANY = 7, 1000
"""Messages in a mailbox."""


@dataclass(slots=True)
class Mailboxes:
    """How a server treats logins: its mode, whether it gives response codes, messages in each mailbox.

    One that is `detached` does not know the passwords of the directory, and rejects everybody.
    """

    mode: str = WORKS
    codes: bool = True
    messages: int = FEW
    detached: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """What a login came to: for the prober, and in the server's log. `seconds` is 0 if it takes the whole deadline."""

    answer: str
    right: bool
    number: int
    result: LoginResult
    seconds: float
    error: ErrorCode | None = None
    reason: str = ""


def log_in(credential: Credential, passwords: dict[str, str], server: Mailboxes) -> Login:
    """What a server makes of a login."""
    password, _, number = credential.secret.reveal().partition("/")
    right = not server.detached and passwords.get(credential.user) == password

    def answer(
        words: str, verdict: LoginVerdict, seconds: float = 0.3, reason: str = "", *, said: str = "", **more: Any
    ) -> Login:
        failed = _ERRORS.get(reason, ErrorCode.PROTOCOL)
        result = LoginResult(verdict, login_delay=0, said=said, **more)
        return Login(words, right, int(number), result, seconds, failed if reason else None, reason)

    match server.mode:
        case "hangs":
            return answer("nothing", LoginVerdict.FAILED, 0.0, "no-login-reply", unanswered=True)
        case "closes":
            return answer("nothing", LoginVerdict.FAILED, 0.3, "closed-before-login-reply", unanswered=True)
        case "garbles":
            return answer("refused", LoginVerdict.UNCLEAR, 0.3, "unexpected-reply")
        case "sys-temp" | "sys-perm":
            return answer("failed", LoginVerdict.FAILED, 0.3, f"login-{server.mode}")
        case "refuses" if server.codes:
            return answer("failed", LoginVerdict.FAILED, 0.3, "login-failed")
        case "refuses":
            return answer("refused", LoginVerdict.UNCLEAR, 0.3, "login-refused")
    if not right and server.codes:
        return answer("rejected", LoginVerdict.REJECTED, 2.0, said="-ERR [AUTH]")
    if not right:
        return answer("refused", LoginVerdict.UNCLEAR, 2.0, "login-refused")
    match server.mode:
        case "in-use":
            return answer("in-use", LoginVerdict.IN_USE, said="-ERR [IN-USE]")
        case "login-delay":
            return answer("login-delay", LoginVerdict.LOGIN_DELAY, said="-ERR [LOGIN-DELAY]")
    return answer("accepted", LoginVerdict.PASSED, messages=server.messages, octets=100 * server.messages)


@dataclass(slots=True)
class Parameter:
    """A parameter as it is stored."""

    value: str
    version: int
    changed_at: datetime


class ParameterStore:
    """An SSM client over the parameters of a path, for a time without an answer, or one that denies.

    It is called in threads of `Credentials`, so nothing here is drawn, and nothing waits.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.parameters: dict[str, Parameter] = {}
        self.unavailable_until = self.denied_until = now()

    def put(self, name: str, value: str) -> None:
        """Store a parameter, or its next version."""
        known = self.parameters.get(name)
        self.parameters[name] = Parameter(value, known.version + 1 if known else 1, self._now())

    def get_parameters(self, *, Names: list[str], WithDecryption: bool) -> dict[str, Any]:
        """GetParameters."""
        if self._now() < self.unavailable_until:
            raise refusal("InternalServerError", "GetParameters")
        if self._now() < self.denied_until:
            raise refusal("AccessDeniedException", "GetParameters")
        found = {name: self.parameters[name.removeprefix(PATH)] for name in Names if name.removeprefix(PATH) in self}
        return {
            "Parameters": [
                {
                    "Name": name,
                    "Value": one.value if WithDecryption else "encrypted",
                    "Version": one.version,
                    "LastModifiedDate": one.changed_at,
                }
                for name, one in found.items()
            ]
        }

    def __contains__(self, name: str) -> bool:
        return name in self.parameters


def value_of(name: str, password: str, number: int) -> str:
    """What `popwatch credentials put` stores."""
    return json.dumps({"user": user_of(name), "secret": f"{password}/{number}"})


def user_of(name: str) -> str:
    """The user of a credential."""
    return f"{name}@example.net"


@dataclass(slots=True)
class Environment:
    """What one environment of the function keeps from one invocation to the next: the credentials that it has read."""

    world_now: Callable[[], datetime]
    store: ParameterStore
    credentials: Credentials = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = Credentials(lambda: self.store, PATH, self.world_now, seconds=120.0)


class GreenletLock:
    """A lock for the greenlets of a process, which wait in simulated time."""

    def __init__(self, process: Process) -> None:
        self._process, self._held, self._waiting = process, False, list[greenlet]()

    def __enter__(self) -> None:
        while self._held:
            self._waiting.append(getcurrent())
            self._process.wait()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._process.engine.at(self._process.engine.now, one.switch)


class SimulatedLogins(Logins):
    """The product's, whose threads are greenlets."""

    def __init__(self, process: Process, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, threads=lambda: Threads(process), **options)
        self._lock = GreenletLock(process)  # type: ignore[assignment]
