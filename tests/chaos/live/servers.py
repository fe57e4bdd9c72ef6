"""The POP3 servers of a campaign: real sockets on loopback that play scripts, and what a test of each must find."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import trustme

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.chaos.faults import Faults

ANSWERING = ("healthy", "healthy", "delay:0.2", "delay:0.7", "drip:0.005", "two-replies")
FAILING = ("refused", "refused", "silent", "close", "smtp", "reset", "error", "flood")
LIFETIMES = tuple(timedelta(days=days) for days in (2, 6, 45, 90, 398))
"""Of certificates."""


@dataclass(slots=True)
class ScriptedTarget:
    """What a server does, and since when; at `tls_port` it does the same in TLS.

    `context` has its present certificate; `expiries` are the ends of all that it has shown.
    """

    port: int
    answers: bool
    since: datetime
    tls_port: int = 0
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    expiries: set[datetime] = field(default_factory=set)


class Servers:
    """A server for each target, whether it is configured or not. Times are real ones."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server, self._authority = server, trustme.CA()
        self.by_target: dict[str, ScriptedTarget] = {}

    @property
    def ca_pem(self) -> str:
        """The authority of their certificates."""
        return self._authority.cert_pem.bytes().decode()

    def add(self, target: str, faults: Faults) -> None:
        """A server for a target, which answers at first; none if it has one."""
        if target not in self.by_target:
            new = ScriptedTarget(self._server.listen("healthy"), answers=True, since=datetime.now(UTC))
            self.by_target[target] = new
            self.renew(target, faults)
            entry = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            entry.sni_callback = lambda connection, *_: setattr(connection, "context", new.context)
            new.tls_port = self._server.listen("healthy", tls=entry)

    def change(self, target: str, faults: Faults, *, answers: bool | None = None) -> str:
        """Have a server do otherwise, or as is said; the script that it plays from now on."""
        playing = self.by_target[target]
        answers = not playing.answers if answers is None else answers
        script = faults.choice(ANSWERING if answers else FAILING)
        for port in (playing.port, playing.tls_port):
            self._server.play(port, script)
        if answers != playing.answers:
            playing.answers, playing.since = answers, datetime.now(UTC)
        return script

    def renew(self, target: str, faults: Faults) -> None:
        """Have a server show another certificate from the next connection on."""
        lifetime = faults.choice(LIFETIMES)
        expires = datetime.now(UTC) + lifetime * faults.uniform(0.1, 0.9)
        expires = expires.replace(microsecond=0)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = self._authority.issue_cert("127.0.0.1", not_before=expires - lifetime, not_after=expires)
        issued.configure_cert(context)
        self.by_target[target].expiries.add(expires)
        self.by_target[target].context = context

    def contradict(self, server: str, began: datetime, *, passed: bool, timed_out: bool) -> bool:
        """Whether a test that began then found what its server does not do; but see `was_too_busy`."""
        was_too_busy = self.was_too_busy(server, began, timed_out=timed_out)
        return self._is_unlike(server, began, passed=passed) and not was_too_busy

    def was_too_busy(self, server: str, began: datetime, *, timed_out: bool) -> bool:
        """Whether a test timed out at a server that answers: the machine had no time for one of the two."""
        return timed_out and self._is_unlike(server, began, passed=False)

    def _is_unlike(self, server: str, began: datetime, *, passed: bool) -> bool:
        """Whether an outcome is not that of a server which has done the same since before the test."""
        playing = self.by_target[server]
        return began > playing.since and playing.answers != passed

    def has_shown(self, server: str, expires: datetime) -> bool:
        """Whether a certificate that ends then is one of a server."""
        return expires in self.by_target[server].expiries
