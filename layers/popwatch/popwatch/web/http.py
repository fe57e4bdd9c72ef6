"""Requests and responses of the page, independent of the server: a function URL or one on 127.0.0.1. No I/O."""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any, Self
from urllib.parse import parse_qs

WORTH_COMPRESSING = 1000
"""Responses with at least so many bytes are compressed if the client accepts that."""

LARGEST_BODY = 10_000
"""Bytes of a request's body. The limit holds before authentication, for anyone."""

MAX_PARAMETERS = 100

TEXT = "text/plain; charset=utf-8"

_NEVER = re.compile(r"q=0(\.0*)?")

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response: no other origins, nothing inline, no frames."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` begins with `/`; headers have lower-case names."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A response: status, body, its media type, and further headers."""

    status: int
    body: bytes = field(default=b"", repr=False)
    media_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of_json(cls, content: Any, status: int = 200) -> Self:
        """A response with a JSON body."""
        return cls(status, json.dumps(content, separators=(",", ":")).encode(), "application/json")

    @classmethod
    def redirect(cls, location: str, **headers: str) -> Self:
        """A redirect by GET. The location is relative, because the page may be below a path prefix."""
        return cls(303, headers={"Location": location, **headers})

    def as_json(self) -> Self:
        """The sentence of an error, as programs read it from the API."""
        error = Response.of_json({"error": self.body.decode().strip()})
        return replace(self, body=error.body, media_type=error.media_type)

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """A copy with further headers."""
        return replace(self, headers={**self.headers, **headers})

    def finished(self, request: Request) -> Self:
        """The response to send: with the headers of all responses, compressed if the client accepts that."""
        if self.status >= 400 and self.media_type == TEXT and request.path.startswith("/api/"):
            return self.as_json().finished(request)
        headers = {"Cache-Control": "no-store", "Content-Type": self.media_type, **SECURITY, **self.headers}
        response = replace(self, headers=headers)
        if len(self.body) < WORTH_COMPRESSING or not accepts_gzip(request.headers.get("accept-encoding", "")):
            return response
        compressed = replace(response, body=gzip.compress(self.body, compresslevel=6, mtime=0))
        return compressed.with_headers({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


TOO_MANY_PARAMETERS = Response(400, f"There are more than {MAX_PARAMETERS} parameters: send fewer.\n".encode())


class TooManyParametersError(ValueError):
    """A query string or a form has more than `MAX_PARAMETERS`."""


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that another site than the request's own has made it; names are in lower case.

    By `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header), which a page cannot set; without
    it by `Origin`, which older browsers send with what is not a plain link or image. Programs send neither. The page's
    own form has the origin `null`, as the page lets no referrer out.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    own = {f"{scheme}://{headers.get('host', '')}".lower() for scheme in ("http", "https")}
    return origin is not None and origin.lower() not in own


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a header `Accept-Encoding` (RFC 9110 section 12.5.3) names gzip, with a weight other than 0."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding == "gzip":
            return _NEVER.fullmatch(weight) is None
    return False


def cookies_of(header: str) -> dict[str, str]:
    """The cookies of a header `Cookie` (RFC 6265 section 4.2); none if the header cannot be parsed."""
    cookies: SimpleCookie = SimpleCookie()
    with suppress(CookieError):
        cookies.load(header)
    return {name: morsel.value for name, morsel in cookies.items()}


def query_of(text: str) -> dict[str, list[str]]:
    """The parameters of a query string or a form. Raises TooManyParametersError."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise TooManyParametersError from None
