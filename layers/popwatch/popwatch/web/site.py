"""What is at which path: the page, sign-in, the API and `/metrics`. Read-only: nothing here changes a target."""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from urllib.parse import unquote

from popwatch.web.authentication import Door, Entry
from popwatch.web.http import LARGEST_BODY, Request, Response, query_of
from popwatch.web.metrics import media_type, to_metrics
from popwatch.web.views import Views

ASSETS: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/sign-in": ("sign-in.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PUBLIC = ("/sign-in", "/page.css", "/icon.svg")
"""What the sign-in page needs, and what is in everybody's copy of popwatch."""

NO_PROBLEM = b"<!-- no problem -->"
"""Where the sign-in page says what was wrong."""

PAGE_HEADER = "x-popwatch-page"
"""Sent by the page itself with its requests: the browser is then not told to ask for a password in a box of its own."""


class Site:
    """The answers to requests: behind a door, or (`door` None) open to whoever can reach it."""

    def __init__(self, readings: Views, door: Door | None, *, refresh_seconds: float) -> None:
        self._readings, self._door, self._refresh_seconds = readings, door, refresh_seconds

    def answer(self, request: Request) -> Response:
        """The response to a request, ready to be sent."""
        return self._answer(request).finished(request)

    def _answer(self, request: Request) -> Response:
        path = request.path or "/"
        if self._door and request.method == "POST":
            return self._post(self._door, request)
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"Only GET is answered here.\n", headers={"Allow": "GET, HEAD"})
        if self._door and path not in PUBLIC:
            match self._door.admit(request):
                case Entry.BARRED:
                    return self._door.barred()
                case Entry.CLOSED:
                    return _closed(request)
                case Entry.OPEN:
                    pass
        return _asset(request) if path in ASSETS else self._reading(request)

    def _reading(self, request: Request) -> Response:
        match request.path.split("/")[1:]:
            case ["api", "status"]:
                extra = {"refresh_seconds": self._refresh_seconds, "signed_in": self._door is not None}
                return Response.of_json(self._readings.status() | extra)
            case ["api", "timelines"]:
                return Response.of_json(self._readings.timelines(request.query.get("id", ())))
            case ["api", "targets", *parts]:
                name = "/".join(parts)  # AWS may have decoded an id with a slash in it already
                found = self._readings.target(unquote(name)) or self._readings.target(name)
                return Response.of_json(found) if found else _missing("There is no target of this id.")
            case ["metrics"]:
                moment = self._readings.now()
                text = to_metrics(moment.fleet_status.rows, moment.fleet_status.swept_at)
                return Response(200, text.encode(), media_type(request.headers.get("accept", "")))
            case _:
                return _missing("There is nothing here: the page is at /, its API at /api/status.")

    def _post(self, door: Door, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Response(403, b"This came from another site.\n")
        if len(request.body) > LARGEST_BODY:
            return Response(413, b"This is too much.\n")
        match request.path:
            case "/sign-in":
                entry, cookie = door.sign_in(request, _password_in(request.body))
                if entry is Entry.BARRED:
                    barred = door.barred()
                    return _sign_in_page(barred.body.decode(), barred.status).with_headers(barred.headers)
                if entry is Entry.CLOSED:
                    return _sign_in_page("This is not the password.", 401)
                return Response.redirect("./", **{"Set-Cookie": cookie})
            case "/sign-out":
                return Response.redirect("sign-in", **{"Set-Cookie": door.sign_out()})
            case _:
                return _missing("There is nothing here to send to.")


def _password_in(form: str) -> str:
    try:
        return query_of(form).get("password", [""])[0]
    except ValueError:  # hundreds of fields are not what the sign-in page sends
        return ""


def _closed(request: Request) -> Response:
    """To the sign-in page for people; for programs a 401 that says how to come in."""
    if request.path == "/":
        return Response.redirect("sign-in")
    ask = {} if PAGE_HEADER in request.headers else {"WWW-Authenticate": 'Basic realm="popwatch", charset="UTF-8"'}
    return Response.of_json({"error": "Sign in, or send the password with HTTP Basic."}, 401).with_headers(ask)


def _sign_in_page(problem: str, status: int) -> Response:
    """The sign-in page with what was wrong; `problem` is a text of our own."""
    body, media, _ = _read_asset("/sign-in")
    return Response(status, body.replace(NO_PROBLEM, f'<p role="alert">{problem}</p>'.encode()), media)


def _missing(why: str) -> Response:
    return Response.of_json({"error": why}, 404)


def _asset(request: Request) -> Response:
    """A file of the page; one that the browser has already is not sent again."""
    body, media, tag = _read_asset(request.path)
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", media, headers)
    return Response(200, body, media, headers)


@cache
def _read_asset(path: str) -> tuple[bytes, str, str]:
    name, media = ASSETS[path]
    body = files("popwatch.web").joinpath("assets", name).read_bytes()
    return body, media, f'"{blake2b(body, digest_size=8).hexdigest()}"'
