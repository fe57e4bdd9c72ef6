"""The gate of the local AWS: who may ask for what. MiniStack itself answers any origin, and checks no key.

It runs as code whatever a function is made of, as the user who started it. So a web page in that user's browser, and
other users of the machine, must not reach it: the first are known by what a browser says of a request, the others by
the key of this run, which is the id of the access key that AWS's clients send with each request.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from popwatch.web.http import is_cross_site

OWN_NAMES = ("127.0.0.1", "localhost")
OWN_DOMAIN = ".localhost"
"""Names that no one can point elsewhere, nor make their own site of: RFC 6761, section 6.3."""

HEALTH = "/_ministack/health"
FUNCTION_URL = re.compile(r"/_aws/lambda-url/([a-z0-9]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(/|$)")
"""A function's URL is for anyone; the page behind it asks for its password.

With the id of one, MiniStack looks at nothing else of a request. A path with another one would be no function's, and
then it is the parameter `Action`, or the name of the host, that says which of AWS's services is asked.
"""

INTERNAL = "/_"
"""MiniStack's own paths, which AWS does not have."""

_CREDENTIAL = re.compile(r"\bCredential=([^/,\s]+)")

Message = dict[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def guarded(app: App, key: str, *, enforces_iam: bool = False) -> App:
    """An ASGI application that only the holder of a key reaches, and no web page.

    With `enforces_iam` MiniStack checks keys and signatures of AWS's requests itself, for several users.
    """

    async def gate(scope: Any, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        refusal = refusal_of(scope, key, enforces_iam=enforces_iam) if scope["type"] != "lifespan" else ""
        if not refusal:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": f"{refusal}\n".encode()})

    return gate


def refusal_of(scope: Mapping[str, Any], key: str, *, enforces_iam: bool = False) -> str:
    """Why a request is refused; empty if it is not."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
    if host not in OWN_NAMES and not host.endswith(OWN_DOMAIN):
        return "The local AWS is at 127.0.0.1 and localhost only."
    if is_cross_site(headers):
        return "The local AWS answers no other web site."
    path = scope["path"]
    sent = credential_of(headers, scope["query_string"].decode("latin-1"))
    is_open = path == HEALTH or FUNCTION_URL.match(path)
    if is_open and not sent and host in OWN_NAMES and scope["type"] == "http":
        return ""
    if hmac.compare_digest(sent.encode(), key.encode()) or (enforces_iam and not path.startswith(INTERNAL)):
        return ""
    return "The local AWS needs the key of its run, which is in outputs.json: `popwatch --local` finds it there."


def credential_of(headers: Mapping[str, str], query: str) -> str:
    """The id of the access key that a request is signed with, by a header or in its query; empty if it is not."""
    found = _CREDENTIAL.search(headers.get("authorization", ""))
    if found:
        return found[1]
    signed = parse_qs(query).get("X-Amz-Credential", [""])[0]
    return signed.partition("/")[0]
