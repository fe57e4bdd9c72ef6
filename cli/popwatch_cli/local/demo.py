"""The demo: a bundled POP3 server that plays healthy and broken mail servers, one of which breaks and is repaired."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popwatch_cli.local.scripted_pop3 import ScriptedServer

BREAKS_AFTER_SECONDS = 40.0
REPAIRED_AFTER_SECONDS = 150.0

DEFAULTS: dict[str, Any] = {
    "target_id": "_defaults",
    "delay_up": 20,
    "delay_warn": 10,
    "delay_down": 15,
    "delay_lost": 60,
    "failures_per_alert": 3,
    "max_alerts": 2,
    "max_test_seconds": 3,
}
"""Shorter delays than the real defaults, so that a visitor sees an outage from warn to recovery within minutes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A target of the demo: its name, the script that its server plays, and more fields."""

    name: str
    script: str
    fields: dict[str, Any]


PARTS = (
    Part("breaks-and-is-repaired", "healthy", {}),
    Part("healthy", "healthy", {}),
    Part("slow-greeting", "delay:0.4", {}),
    Part("tls", "healthy", {"tls": "implicit"}),
    Part("stls", "healthy", {"tls": "starttls"}),
    Part("accepts-and-is-silent", "silent", {}),
    Part("nobody-listens", "refused", {}),
    Part("speaks-smtp", "smtp", {}),
    Part("temporary-error", "error:[SYS/TEMP] Mailbox store is offline", {}),
    Part("proprietary-greeting", "say:READY pop3-ng", {"greeting": ["READY"]}),
    Part("wrong-certificate-name", "healthy", {"tls": "implicit", "tls_name": "pop.example.net"}),
    Part("bad-field", "healthy", {"failures_per_alert": "many"}),
    Part("under-maintenance", "silent", {"maintenance": [{"days": "daily", "from": "00:00", "until": "24:00"}]}),
    Part("switched-off", "healthy", {"enabled": False}),
)


class Demo:
    """The servers of the demo and their plot."""

    def __init__(self, server: "ScriptedServer", authority: Any) -> None:
        self._server = server
        self._authority_pem = authority.cert_pem.bytes().decode()
        self._tls = _server_context(authority)
        self._broken = self._repaired = False
        self._ports = {part.name: self._listen(part) for part in PARTS}

    @property
    def targets(self) -> list[dict[str, Any]]:
        """The items of the demo's targets, the defaults among them."""
        return [DEFAULTS, *(self._target(part) for part in PARTS)]

    def play(self, seconds: float) -> str:
        """Follow the plot, so many seconds in; what has happened just now, if anything has."""
        first = PARTS[0].name
        if not self._broken and seconds >= BREAKS_AFTER_SECONDS:
            self._broken = True
            self._server.play(self._ports[first], "silent")
            return f"The server of {first} has just stopped answering."
        if not self._repaired and seconds >= REPAIRED_AFTER_SECONDS:
            self._repaired = True
            self._server.play(self._ports[first], "healthy")
            return f"The server of {first} has just been repaired."
        return ""

    def _listen(self, part: Part) -> int:
        tls = part.fields.get("tls")
        return self._server.listen(
            part.script,
            tls=self._tls if tls == "implicit" else None,
            stls=self._tls if tls == "starttls" else None,
        )

    def _target(self, part: Part) -> dict[str, Any]:
        known = {
            "target_id": f"demo-{part.name}",
            "name": part.name,
            "host": "127.0.0.1",
            "port": self._ports[part.name],
        }
        own_ca = {"ca_pem": self._authority_pem} if "tls" in part.fields else {}
        return {**known, **own_ca, **part.fields}


@contextmanager
def running_demo() -> Iterator[Demo]:
    """The demo, while it runs."""
    import trustme  # noqa: PLC0415 - only the demo needs it

    from popwatch_cli.local.scripted_pop3 import ScriptedServer  # noqa: PLC0415 - and its certificates

    with ScriptedServer() as server:
        yield Demo(server, trustme.CA())


def _server_context(authority: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context
