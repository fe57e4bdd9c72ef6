"""The routes: page, sign-in, API and `/metrics`. Read-only: no request changes a target."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, tzinfo
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from urllib.parse import unquote, urlencode

from popwatch.model.windows import parse_timezone
from popwatch.web.authentication import Authentication
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
"""Served without authentication: what the sign-in page needs. It holds nothing about the installation."""

VIEW = ("target", "state", "group", "tag", "search", "sort")
"""Parameters of the page's address: which target is open, and which are shown in which order. The page reads them."""

LONGEST_PARAMETER = 300

MESSAGE_PLACE = b"<!-- message -->"
"""Where the sign-in page shows why a sign-in failed."""

PAGE_HEADER = "x-popwatch-page"
"""A header of the page's own requests: their 401 has no `WWW-Authenticate`, or browsers would open a login dialog."""


class Site:
    """Answers requests; with `authentication` None, of anyone who can reach it."""

    def __init__(self, views: Views, authentication: Authentication | None, *, refresh_seconds: float) -> None:
        self._views, self._authentication, self._refresh_seconds = views, authentication, refresh_seconds

    def answer(self, request: Request) -> Response:
        """The response to a request, ready to be sent."""
        return self._answer(request).finished(request)

    def _answer(self, request: Request) -> Response:
        path = request.path or "/"
        if self._authentication and request.method == "POST":
            return _post(self._authentication, request)
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"Only GET and HEAD are allowed here.\n", headers={"Allow": "GET, HEAD"})
        if self._authentication and path not in PUBLIC and not self._authentication.admits(request):
            return _denied(request)
        return _asset(request) if path in ASSETS else self._data(request)

    def _data(self, request: Request) -> Response:
        match request.path.split("/")[1:]:
            case ["api", "status"]:
                extra = {"refresh_seconds": self._refresh_seconds, "signed_in": self._authentication is not None}
                return Response.of_json(self._views.status() | extra)
            case ["api", "timelines"]:
                return Response.of_json(self._views.timelines(request.query.get("id", ()), _zone_of(request)))
            case ["api", "targets", *parts]:
                # An id may hold a slash or a percent sign, and a function URL may pass the path on decoded already.
                name = "/".join(parts)
                zone = _zone_of(request)
                target = self._views.target(unquote(name), zone) or self._views.target(name, zone)
                return Response.of_json(target) if target else _not_found("There is no target with this id.")
            case ["metrics"]:
                fleet_status = self._views.now().fleet_status
                text = to_metrics(fleet_status.targets, fleet_status.last_tick)
                return Response(200, text.encode(), media_type(request.headers.get("accept", "")))
            case _:
                return _not_found("There is no such path: the page is at /, its API at /api/status.")


def _zone_of(request: Request) -> tzinfo:
    """The time zone whose days are asked for; UTC if there is none, or one that this machine does not know."""
    with suppress(ValueError):
        return parse_timezone(_first(request, "zone"))
    return UTC


def _first(request: Request, name: str) -> str:
    """The first value of a parameter in the address, or ""."""
    return next(iter(request.query.get(name, ())), "")


def _view_of(request: Request) -> str:
    """What the address says about what is shown, to be put behind another path; "" if it says nothing."""
    given = {name: _first(request, name)[:LONGEST_PARAMETER] for name in VIEW}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"?{query}" if query else ""


def _post(authentication: Authentication, request: Request) -> Response:
    """Sign in or out. Browsers say where a form comes from (Fetch Metadata): one of another site is refused."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return Response(403, b"Forms from other sites are refused.\n")
    if len(request.body) > LARGEST_BODY:
        return Response(413, b"The request is too large.\n")
    match request.path:
        case "/sign-in":
            cookie = authentication.sign_in(_password_in(request.body))
            if cookie is None:
                return _sign_in_page("The password is wrong.", 401)
            return Response.redirect(f"./{_view_of(request)}", **{"Set-Cookie": cookie})
        case "/sign-out":
            return Response.redirect("sign-in", **{"Set-Cookie": authentication.sign_out()})
        case _:
            return _not_found("Only /sign-in and /sign-out accept POST.")


def _password_in(form: str) -> str:
    try:
        return query_of(form).get("password", [""])[0]
    except ValueError:  # hundreds of fields: not a form of the sign-in page
        return ""


def _denied(request: Request) -> Response:
    """A redirect to the sign-in page for people; for programs a 401 that says how to authenticate."""
    if request.path == "/":
        return Response.redirect(f"sign-in{_view_of(request)}")
    challenge = (
        {} if PAGE_HEADER in request.headers else {"WWW-Authenticate": 'Basic realm="popwatch", charset="UTF-8"'}
    )
    return Response.of_json({"error": "Sign in, or send the password with HTTP Basic."}, 401).with_headers(challenge)


def _sign_in_page(message: str, status: int) -> Response:
    """The sign-in page with a message, which must not hold what a client sent: it is not escaped."""
    body, media, _ = _read_asset("/sign-in")
    return Response(status, body.replace(MESSAGE_PLACE, f'<p role="alert">{message}</p>'.encode()), media)


def _not_found(message: str) -> Response:
    return Response.of_json({"error": message}, 404)


def _asset(request: Request) -> Response:
    """A file of the page; 304 if the browser has it already."""
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
