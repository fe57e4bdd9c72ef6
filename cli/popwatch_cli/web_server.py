"""A site served on 127.0.0.1 by Python's own HTTP server: for one person's browser, not for the internet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.web.http import LARGEST_BODY, Request, Response, cookies_of, query_of
from popwatch.web.site import Site
from popwatch_cli.errors import UserError, user_message

QUIET_SECONDS = 30
"""A connection that says nothing for so long is closed."""

LONGEST_LENGTH = 10
"""Digits of a `Content-Length`; Python refuses to read a number of thousands of them."""

TOO_LARGE = Response(413, b"This is too much.\n")
NOT_UNDERSTOOD = Response(400, b"This is no request for a page.\n")

WRONG_HOST = Response(421, b"This page is at 127.0.0.1 and localhost only.\n")
"""For a page of elsewhere whose name was made to point here (DNS rebinding)."""


class SiteServer(ThreadingHTTPServer):
    """A server on 127.0.0.1 that answers with a site. `port` 0 takes a free one. Raises UserError."""

    daemon_threads = True
    request_queue_size = 128
    """Connections that wait to be taken; with the library's 5 a burst of them has the browser wait for seconds."""

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} of 127.0.0.1 cannot be had ({error.strerror}): choose another with --port."
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection ended in an exception: one that its other end broke off is nobody's concern."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def served(site: Site, port: int) -> Iterator[str]:
    """Serve a site while the block runs; its address. Raises UserError."""
    with SiteServer(site, port) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection. The names of its methods are the library's."""

    server_version, sys_version = "popwatch", ""
    timeout = QUIET_SECONDS
    server: SiteServer

    def do_GET(self) -> None:
        self._answer("")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > LONGEST_LENGTH or int(length) > LARGEST_BODY:
            self._send(TOO_LARGE)
            return
        self._answer(self.rfile.read(int(length)).decode("utf-8", "replace"))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed of requests: the terminal is the live view's."""

    def _answer(self, body: str) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0]
        try:
            request = _request(self, body)
        except ValueError:
            self._send(NOT_UNDERSTOOD)
            return
        if host not in ("127.0.0.1", "localhost"):
            self._send(WRONG_HOST.finished(request))
        else:
            self._send(_answer(self.server.site, request))

    def _send(self, response: Response) -> None:
        with suppress(ConnectionError, TimeoutError):
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)


def _answer(site: Site, request: Request) -> Response:
    """The site's answer, or what AWS refused it for; the page asks again by itself."""
    try:
        return site.answer(request)
    except (BotoCoreError, ClientError) as error:
        return Response(503, f"{user_message(error)}\n".encode()).finished(request)


def _request(handler: BaseHTTPRequestHandler, body: str) -> Request:
    """The request. Raises ValueError for a path or a query that is none."""
    parts = urlsplit(handler.path)
    return Request(
        method=handler.command,
        path=parts.path,
        query=query_of(parts.query),
        headers={name.lower(): value for name, value in handler.headers.items()},
        cookies=cookies_of(handler.headers.get("Cookie", "")),
        body=body,
        source=str(handler.client_address[0]),
    )
