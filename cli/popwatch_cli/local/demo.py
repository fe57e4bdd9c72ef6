"""The demo of `make run`: healthy and failing POP3 servers, one of which fails and is repaired after a while."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popwatch_cli.local.scripted_pop3 import ScriptedServer

BREAKS_AFTER_SECONDS = 40.0
REPAIRED_AFTER_SECONDS = 150.0

CERTIFICATE_LIFETIME = timedelta(days=90)

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
"""Shorter delays than the defaults: an outage goes from warn to recovery within minutes."""


OWN = ("port", "ca_pem")
"""The fields that are new for each demo."""


@dataclass(frozen=True, slots=True)
class DemoTarget:
    """A target of the demo: its name, the script of its server, and further fields."""

    name: str
    script: str
    fields: dict[str, Any]


DEMO_TARGETS = (
    DemoTarget("breaks-and-is-repaired", "healthy", {}),
    DemoTarget("healthy", "healthy", {}),
    DemoTarget("slow-greeting", "delay:0.4", {}),
    DemoTarget("tls", "healthy", {"tls": "implicit"}),
    DemoTarget("stls", "healthy", {"tls": "starttls"}),
    DemoTarget("accepts-and-is-silent", "silent", {}),
    DemoTarget("port-is-closed", "refused", {}),
    DemoTarget("speaks-smtp", "smtp", {}),
    DemoTarget("temporary-error", "error:[SYS/TEMP] Mailbox store is offline", {}),
    DemoTarget("proprietary-greeting", "say:READY pop3-ng", {"greeting": ["READY"]}),
    DemoTarget("wrong-certificate-name", "healthy", {"tls": "implicit", "tls_name": "pop.example.net"}),
    DemoTarget("bad-field", "healthy", {"failures_per_alert": "many"}),
    DemoTarget("under-maintenance", "silent", {"maintenance": [{"days": "daily", "from": "00:00", "until": "24:00"}]}),
    DemoTarget("switched-off", "healthy", {"enabled": False}),
)


class Demo:
    """The servers of the demo, and the outage of one of them."""

    def __init__(self, server: "ScriptedServer", authority: Any) -> None:
        self._server = server
        self._authority_pem = authority.cert_pem.bytes().decode()
        self._tls = _server_context(authority)
        self._broken = self._repaired = False
        self._ports = {demo_target.name: self._listen(demo_target) for demo_target in DEMO_TARGETS}

    @property
    def targets(self) -> list[dict[str, Any]]:
        """The items of the demo's targets, including `_defaults`."""
        return [DEFAULTS, *(self._target(demo_target) for demo_target in DEMO_TARGETS)]

    def revised(
        self, present: Mapping[str, dict[str, Any]], before: Mapping[str, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The items to write where those of an earlier demo are kept: as they are now, and as it wrote them.

        Ports and certificates are those of this demo, unless the user has written others. A target that the user has
        removed stays away.
        """
        revised = []
        for item in self.targets:
            target_id = item["target_id"]
            if target_id in present:
                was, kept = before.get(target_id, {}), present[target_id]
                new = {name: item[name] for name in OWN if name in item and kept.get(name) == was.get(name)}
                revised.append({**kept, **new})
            elif target_id not in before:
                revised.append(item)
        return revised

    def play(self, seconds: float) -> str:
        """Break or repair the first server, `seconds` after the start; says what happened, or is empty."""
        first = DEMO_TARGETS[0].name
        if not self._broken and seconds >= BREAKS_AFTER_SECONDS:
            self._broken = True
            self._server.play(self._ports[first], "silent")
            return f"The server of demo-{first} has just stopped answering."
        if not self._repaired and seconds >= REPAIRED_AFTER_SECONDS:
            self._repaired = True
            self._server.play(self._ports[first], "healthy")
            return f"The server of demo-{first} has just been repaired."
        return ""

    def _listen(self, demo_target: DemoTarget) -> int:
        tls = demo_target.fields.get("tls")
        return self._server.listen(
            demo_target.script,
            tls=self._tls if tls == "implicit" else None,
            stls=self._tls if tls == "starttls" else None,
        )

    def _target(self, demo_target: DemoTarget) -> dict[str, Any]:
        fields = {
            "target_id": f"demo-{demo_target.name}",
            "host": "127.0.0.1",
            "port": self._ports[demo_target.name],
        }
        own_ca = {"ca_pem": self._authority_pem} if "tls" in demo_target.fields else {}
        return {**fields, **own_ca, **demo_target.fields}


@contextmanager
def running_demo() -> Iterator[Demo]:
    """The demo, whose servers run during the block."""
    import trustme  # noqa: PLC0415 - only the demo needs it

    from popwatch_cli.local.scripted_pop3 import ScriptedServer  # noqa: PLC0415 - and its certificates

    with ScriptedServer() as server:
        yield Demo(server, trustme.CA())


def _server_context(authority: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + CERTIFICATE_LIFETIME).configure_cert(context)
    return context
