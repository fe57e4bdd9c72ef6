"""A site served on 127.0.0.1 by Python's own HTTP server: for one person's browser, not for the internet."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from popwatch.cli.errors import UserError
from popwatch.page.exchange import Request, Response, cookies_of
from popwatch.page.site import Site

QUIET_SECONDS = 30
"""A connection that says nothing for so long is closed."""

LARGEST_BODY = 10_000

WRONG_HOST = Response(421, b"This page is at 127.0.0.1 and localhost only.\n")
"""For a page of elsewhere whose name was made to point here (DNS rebinding)."""


class SiteServer(ThreadingHTTPServer):
    """A server on 127.0.0.1 that answers with a site. `port` 0 takes a free one. Raises UserError."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} of 127.0.0.1 cannot be had ({error.strerror}): choose another with --port."
            ) from None

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
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self._send(Response(413, b"This is too much.\n"))
            return
        self._answer(self.rfile.read(int(length)).decode("utf-8", "replace"))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed of requests: the terminal is the live view's."""

    def _answer(self, body: str) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0]
        request = _request(self, body)
        if host not in ("127.0.0.1", "localhost"):
            self._send(WRONG_HOST.finished(request))
        else:
            self._send(self.server.site.answer(request))

    def _send(self, response: Response) -> None:
        with suppress(ConnectionError, TimeoutError):
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)


def _request(handler: BaseHTTPRequestHandler, body: str) -> Request:
    parts = urlsplit(handler.path)
    return Request(
        method=handler.command,
        path=parts.path,
        query=parse_qs(parts.query),
        headers={name.lower(): value for name, value in handler.headers.items()},
        cookies=cookies_of(handler.headers.get("Cookie", "")),
        body=body,
        source=str(handler.client_address[0]),
    )
