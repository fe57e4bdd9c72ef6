"""The POP3 servers of a campaign: real sockets on loopback that play scripts, and what a test of each must find."""

import time
from dataclasses import dataclass

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.chaos.faults import Faults

ANSWERING = ("healthy", "healthy", "delay:0.2", "drip:0.005", "two-replies")
FAILING = ("refused", "refused", "silent", "close", "smtp", "reset", "error", "flood")


@dataclass(slots=True)
class ScriptedTarget:
    """What a server does, since when by the monotonic clock."""

    port: int
    answers: bool
    since: float


class Servers:
    """A server for each target, whether it is configured or not; `slack` is the longest time of a test, in seconds."""

    def __init__(self, server: ScriptedServer, slack: float) -> None:
        self._server, self._slack = server, slack
        self.by_target: dict[str, ScriptedTarget] = {}

    def port_of(self, target: str) -> int:
        """The port of a target's server, which answers at first."""
        if target not in self.by_target:
            self.by_target[target] = ScriptedTarget(
                self._server.listen("healthy"), answers=True, since=time.monotonic()
            )
        return self.by_target[target].port

    def change(self, target: str, faults: Faults, *, answers: bool | None = None) -> str:
        """Have a server do otherwise, or as is said; the script that it plays from now on."""
        playing = self.by_target[target]
        answers = not playing.answers if answers is None else answers
        script = faults.choice(ANSWERING if answers else FAILING)
        self._server.play(playing.port, script)
        if answers != playing.answers:
            playing.answers, playing.since = answers, time.monotonic()
        return script

    def contradict(self, target: str, *, passed: bool) -> bool:
        """Whether a test found what its server, which has long done the same, did not do."""
        playing = self.by_target[target]
        stable = time.monotonic() - playing.since > self._slack
        return stable and playing.answers != passed
