"""The Runtime API of Lambda, as Amazon's runtime interface client asks it for events and gives it answers.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True, slots=True)
class Invocation:
    """An event on its way to the function."""

    event: Any
    seconds: float
    request_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function answered: a result, or an error as Lambda shows it to whoever invoked it."""

    kind: str
    payload: Any


class RuntimeApi(ThreadingHTTPServer):
    """One function's Runtime API: invocations go in, answers come out."""

    daemon_threads = True

    def __init__(self, function_arn: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.function_arn = function_arn
        self.invocations: queue.Queue[Invocation] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.ready = threading.Event()
        """Set once the function's module is imported, and the runtime asks for the first event."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @classmethod
    @contextmanager
    def running(cls, function_arn: str) -> Iterator["RuntimeApi"]:
        with cls(function_arn) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        """`invocation/next`: the next event, once there is one."""
        assert self.path == f"{PREFIX}invocation/next", self.path
        self.server.ready.set()
        invocation = self.server.invocations.get()
        self._reply(
            200,
            json.dumps(invocation.event).encode(),
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invocation.seconds) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": self.server.function_arn,
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        """`invocation/ID/response`, `invocation/ID/error`, `init/error`."""
        body = self._body()
        kind = self.path.removeprefix(PREFIX).rpartition("/")[2]
        if self.path == f"{PREFIX}init/error":
            kind = "init error"
        self._reply(202, b'{"status":"OK"}', {"Content-Type": "application/json"})
        self.server.answers.put(Answer(kind, json.loads(body or b"null")))

    def log_message(self, *_: Any) -> None:
        """Nothing: only what the function prints is of interest."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
