"""The fault proxy between the function's processes and AWS.

It refuses calls, throttles them, delays them and their answers, cuts answers off once the call has taken effect, and
kills who calls, before or after. Writes pass one at a time, so what the evidence holds is the order of their effects.
"""

import http.client
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.chaos.live.calls import HEADER, Answer, Call, read_call, refuse
from tests.chaos.live.invocations import Invocation, Register

DELAY_SECONDS = (0.02, 0.8)
STALE_SECONDS = (0.02, 0.3)
"""Real seconds."""


class Proxy:
    """Stands at `endpoint`, for the AWS at `host` and `port`.

    `refuses` says of a service whether it refuses everything now. `prepare` may change a call before it is passed on;
    `took_effect` is called for each write that did, and whether its answer will arrive, while the lock is held.
    """

    def __init__(
        self,
        host: str,
        port: int,
        register: Register,
        *,
        refuses: Callable[[str], bool],
        prepare: Callable[[Invocation, Call], Call],
        took_effect: Callable[[Invocation, Call, Answer, bool], None],
    ) -> None:
        self.address, self._register, self._refuses = (host, port), register, refuses
        self._prepare, self._took_effect = prepare, took_effect
        proxy = self

        class Handler(_Handler):
            def __init__(self, *arguments: object) -> None:
                self.proxy = proxy
                super().__init__(*arguments)  # type: ignore[arg-type]

        self._server = _Server(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True, name="chaos-proxy").start()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Let nothing through any more."""
        self._server.shutdown()
        self._server.server_close()

    def exchange(self, number: int, call: Call, forward: Callable[[Call], Answer]) -> Answer | None:
        """The answer to a call of an invocation, or None where it never gets one."""
        invocation = self._register.by_number.get(number)
        if invocation is None or invocation.over:
            return None
        if self._occurs(invocation, "killed_before"):
            self._register.kill(invocation, f"before {call.operation}")
            return None
        if self._occurs(invocation, "delayed"):
            time.sleep(self._between(invocation, DELAY_SECONDS))
        refusal = self._refusal(invocation, call)
        if refusal:
            return refusal
        lost = self._occurs(invocation, "answer_lost")
        answer = self._pass_on(invocation, call, forward, lost=lost)
        if answer is None or lost:
            return None
        if self._occurs(invocation, "killed_after"):
            self._register.kill(invocation, f"after {call.operation}")
            return None
        if not call.writes and self._occurs(invocation, "stale_read"):
            time.sleep(self._between(invocation, STALE_SECONDS))
        return answer

    def _pass_on(
        self, invocation: Invocation, call: Call, forward: Callable[[Call], Answer], *, lost: bool
    ) -> Answer | None:
        if not call.writes:
            return forward(call)
        with self._register.lock:
            if invocation.over:
                return None
            prepared = self._prepare(invocation, call)
            answer = forward(prepared)
            if answer.accepts:
                self._took_effect(invocation, prepared, answer, not lost)
        return answer

    def _refusal(self, invocation: Invocation, call: Call) -> Answer | None:
        if self._refuses(call.service) or self._occurs(invocation, "refused"):
            return refuse(call, throttled=False)
        return refuse(call, throttled=True) if self._occurs(invocation, "throttled") else None

    def _occurs(self, invocation: Invocation, kind: str) -> bool:
        with self._register.lock:
            return invocation.faults.occurs(kind)

    def _between(self, invocation: Invocation, span: tuple[float, float]) -> float:
        with self._register.lock:
            return invocation.faults.uniform(*span)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that has died takes no answer."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection of a process, and the one to AWS for it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(*self.proxy.address, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # who calls has died meanwhile
            self.close_connection = True
            return
        call = read_call(dict(self.headers), body)
        answer = self.proxy.exchange(int(self.headers.get(HEADER, 0)), call, self._forward)
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _forward(self, call: Call) -> Answer:
        headers = {
            name: value for name, value in call.headers.items() if name.lower() not in ("host", "content-length")
        }
        self._upstream.request("POST", self.path, body=call.body, headers=headers)
        response = self._upstream.getresponse()
        return Answer(response.status, response.read(), response.headers.get("Content-Type", ""))

    def log_message(self, *_: object) -> None:
        """Nothing: the campaign has its own trace."""
