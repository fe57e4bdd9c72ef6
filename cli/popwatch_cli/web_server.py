"""Serves the page on 127.0.0.1 with Python's HTTP server: for a browser on this machine, not for the internet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.web.http import (
    LARGEST_BODY,
    TOO_MANY_PARAMETERS,
    Request,
    Response,
    TooManyParametersError,
    cookies_of,
    is_cross_site,
    query_of,
)
from popwatch.web.site import Site
from popwatch_cli.errors import UserError, user_message

IDLE_SECONDS = 30
"""An idle connection is closed after this time."""

LONGEST_LENGTH = 10
"""Digits of a `Content-Length`; `int` raises ValueError for thousands of them."""

TOO_LARGE = Response(413, b"The request is too large.\n")
NOT_UNDERSTOOD = Response(400, b"The request is not valid.\n")

WRONG_HOST = Response(421, b"This page is at 127.0.0.1 and localhost only.\n")
"""Against DNS rebinding: a name of another web site that resolves to 127.0.0.1."""


CROSS_SITE = Response(403, b"Another web site asked for this page. Open its address yourself.\n")
"""Nothing that a page of the internet makes this machine's browser ask for is answered."""


class SiteServer(ThreadingHTTPServer):
    """A server of a site on 127.0.0.1. With `port` 0 it takes a free one. Raises UserError."""

    daemon_threads = True
    request_queue_size = 128
    """Connections that wait to be accepted; with the library's 5 a browser's burst of them would wait for seconds."""

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} of 127.0.0.1 is not available ({error.strerror}): choose another with --port."
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception of a connection, unless the client broke the connection."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def served(site: Site, port: int, *, or_another: bool = False) -> Iterator[str]:
    """Serve a site while the block runs; yields its address. Raises UserError.

    `or_another`: at a free port, if this one is taken.
    """
    with _server(site, port, or_another=or_another) as server:
        thread = Thread(target=server.serve_forever, args=(0.1,), daemon=True)  # how soon it ends at Ctrl-C
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def _server(site: Site, port: int, *, or_another: bool) -> SiteServer:
    try:
        return SiteServer(site, port)
    except UserError:
        if not or_another:
            raise
        return SiteServer(site, 0)


class _Handler(BaseHTTPRequestHandler):
    """One connection. The method names are those of the library."""

    server_version, sys_version = "popwatch", ""
    timeout = IDLE_SECONDS
    server: SiteServer

    def do_GET(self) -> None:
        self._answer("")

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > LONGEST_LENGTH or int(length) > LARGEST_BODY:
            self._send(TOO_LARGE)
            return
        self._answer(self.rfile.read(int(length)).decode("utf-8", "replace"))

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the live view uses the terminal."""

    def _answer(self, body: str) -> None:
        host = self.headers.get("Host", "")
        try:
            request = _request(self, body)
        except TooManyParametersError:
            self._send(TOO_MANY_PARAMETERS.finished(Request(self.command, self.path.partition("?")[0])))
            return
        except ValueError:
            self._send(NOT_UNDERSTOOD)
            return
        if not _is_own(host, self.server.server_port):
            self._send(WRONG_HOST.finished(request))
        elif is_cross_site(request.headers):
            self._send(CROSS_SITE.finished(request))
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


def _is_own(host: str, port: int) -> bool:
    """Whether a header `Host` names this machine; with port 80 browsers leave the port out (RFC 9110 section 7.2)."""
    own = ("127.0.0.1", "localhost")
    return host.rpartition(":")[0] in own or (port == 80 and host in own)


def _answer(site: Site, request: Request) -> Response:
    """The site's response, or AWS's error; the page repeats the request by itself."""
    try:
        return site.answer(request)
    except (BotoCoreError, ClientError) as error:
        return Response(503, f"{user_message(error)}\n".encode()).finished(request)


def _request(handler: BaseHTTPRequestHandler, body: str) -> Request:
    """The request. Raises ValueError for an invalid path or query."""
    parts = urlsplit(handler.path)
    return Request(
        method=handler.command,
        path=parts.path,
        query=query_of(parts.query),
        headers={name.lower(): value for name, value in handler.headers.items()},
        cookies=cookies_of(handler.headers.get("Cookie", "")),
        body=body,
    )
