"""A request and its response, whatever brought it: a function URL or a server on 127.0.0.1. Words, no I/O."""

import gzip
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any, Self
from urllib.parse import parse_qs

WORTH_COMPRESSING = 1000
"""Bytes of a body above which it is compressed for those who take it so."""

LARGEST_BODY = 10_000
"""Bytes of a request's body; a password has 128. Anyone may send one, before the door is reached."""

MOST_PARAMETERS = 100

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
"""Sent with every response: nothing of other origins, nothing inline, in nobody's frame."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. `path` begins with `/`; headers have lower-case names; `source` is an address."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered: status, body, its media type, and further headers."""

    status: int
    body: bytes = field(default=b"", repr=False)
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of_json(cls, plain: Any, status: int = 200) -> Self:
        """A JSON body, which nobody may keep."""
        return cls(status, json.dumps(plain, separators=(",", ":")).encode(), "application/json")

    @classmethod
    def redirect(cls, place: str, **headers: str) -> Self:
        """To another place, by GET. It is relative, as the page may lie below a prefix."""
        return cls(303, headers={"Location": place, **headers})

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """The response with further headers."""
        return replace(self, headers={**self.headers, **headers})

    def finished(self, request: Request) -> Self:
        """The response as it leaves: with the headers that all have, compressed if the request takes it."""
        headers = {"Cache-Control": "no-store", "Content-Type": self.media_type, **SECURITY, **self.headers}
        whole = replace(self, headers=headers)
        if len(self.body) < WORTH_COMPRESSING or "gzip" not in request.headers.get("accept-encoding", ""):
            return whole
        packed = replace(whole, body=gzip.compress(self.body, compresslevel=6, mtime=0))
        return packed.with_headers({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


def cookies_of(header: str) -> dict[str, str]:
    """The cookies in a header `Cookie` (RFC 6265 section 4.2); those of a header that is none are none."""
    cookies: SimpleCookie = SimpleCookie()
    with suppress(CookieError):
        cookies.load(header)
    return {name: morsel.value for name, morsel in cookies.items()}


def query_of(text: str) -> dict[str, list[str]]:
    """The parameters of a query or a form. Raises ValueError for more than `MOST_PARAMETERS`."""
    return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
