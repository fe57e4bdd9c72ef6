"""The page's server on 127.0.0.1 answers or closes any connection, and continues to serve others."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.fleet import page_of, put_fleet
from tests.integration.test_page import ask
from tests.integration.world import new_world

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINES = st.lists(
    st.binary(max_size=40)
    | st.sampled_from(
        [
            b"Host: 127.0.0.1:1",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Cookie: ;=",
            b"",
        ]
    ),
    max_size=8,
)
STARTS = st.builds(
    b" ".join,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"HEAD", b"PRI", b"get", b""]),
        st.sampled_from([b"/", b"//[", b"http://[", b"*", b"/api/status?\xff", b"/api/targets/%00"])
        | st.binary(max_size=30),
        st.sampled_from([b"HTTP/1.1", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/x", b""]),
    ),
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page of a small fleet."""
    with new_world() as world:
        put_fleet(world, 1)
        with page_of(world) as found:
            yield found


def send(address: str, *parts: bytes) -> bytes:
    """Send bytes; everything that the server sends until it closes."""
    place = urlsplit(address)
    received = b""
    with (
        socket.create_connection((str(place.hostname), place.port or 0), timeout=60) as sock,
        suppress(ConnectionError),
    ):
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65_536):
            received += piece
    return received


@BOUNDED
@given(start=STARTS, lines=LINES, rest=st.binary(max_size=200))
def test_garbage_is_answered_or_closed(address: str, start: bytes, lines: list[bytes], rest: bytes) -> None:
    """No exception in the server (pytest would report a thread's exception), and no data in the response."""
    received = send(address, b"\r\n".join([start, *lines, b"", rest]))
    assert b'"targets":' not in received or start.startswith((b"GET /api/status ", b"GET /api/status?"))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", b"400"),
        (b"GET /?" + b"a&" * 5000 + b" HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"POST /sign-in HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"POST /sign-in HTTP/1.1\r\nContent-Length: 10001\r\n\r\n", b"413"),
    ],
)
def test_requests_that_are_too_much(address: str, request_: bytes, status: bytes) -> None:
    """Paths, headers, bodies and lengths that are too large are each refused with their status."""
    assert send(address, request_).split(b" ")[1] == status


def test_slow_and_broken_connections_delay_no_other(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Fifty silent connections and a reset one: the page still answers, and nothing is printed."""
    place = urlsplit(address)
    server = (str(place.hostname), place.port or 0)
    idle = [socket.create_connection(server, timeout=60) for _ in range(50)]
    broken = socket.create_connection(server, timeout=60)
    broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    broken.sendall(b"GET /")
    broken.close()
    try:
        assert ask(address, "/api/status")[0] == 200
    finally:
        for sock in idle:
            sock.close()
    assert capfd.readouterr().err == ""
