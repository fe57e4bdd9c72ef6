"""The POP3 servers of a campaign: real sockets on loopback that play scripts, and what a test of each must find."""

import ssl
import time
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
    """What a server does, since when by the monotonic clock; at `tls_port` it does the same in TLS.

    `context` has its present certificate; `expiries` are the ends of all that it has shown.
    """

    port: int
    answers: bool
    since: float
    tls_port: int = 0
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    expiries: set[datetime] = field(default_factory=set)


class Servers:
    """A server for each target, whether it is configured or not; `slack` is the longest time of a test, in seconds."""

    def __init__(self, server: ScriptedServer, slack: float) -> None:
        self._server, self._slack, self._authority = server, slack, trustme.CA()
        self.by_target: dict[str, ScriptedTarget] = {}

    @property
    def ca_pem(self) -> str:
        """The authority of their certificates."""
        return self._authority.cert_pem.bytes().decode()

    def add(self, target: str, faults: Faults) -> None:
        """A server for a target, which answers at first; none if it has one."""
        if target not in self.by_target:
            new = ScriptedTarget(self._server.listen("healthy"), answers=True, since=time.monotonic())
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
            playing.answers, playing.since = answers, time.monotonic()
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

    def contradict(self, server: str, *, passed: bool) -> bool:
        """Whether a test found what a server, which has long done the same, did not do."""
        playing = self.by_target[server]
        stable = time.monotonic() - playing.since > self._slack
        return stable and playing.answers != passed

    def has_shown(self, server: str, expires: datetime) -> bool:
        """Whether a certificate that ends then is one of a server."""
        return expires in self.by_target[server].expiries
