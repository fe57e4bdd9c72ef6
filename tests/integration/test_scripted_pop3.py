"""The scripted POP3 server: its ports, and that its end closes everything."""

import socket
import ssl
from contextlib import ExitStack

import pytest
import trustme

from popwatch_cli.local.scripted_pop3 import ScriptedServer, ScriptError
from tests.open_sockets import descriptors


def test_a_port_number_is_used_once() -> None:
    """Ports are known by number, so the same number at another address is refused, and the first port stays."""
    with ScriptedServer() as server:
        port = server.listen("healthy", host="127.0.0.3")
        with pytest.raises(OSError, match="in use"):
            server.listen("silent", host="127.0.0.2", port=port)
        with socket.create_connection(("127.0.0.3", port), timeout=60) as client:
            assert client.recv(100) == b"+OK scripted POP3 ready\r\n"


def test_an_unknown_script_is_refused() -> None:
    """The message lists the scripts."""
    with ScriptedServer() as server, pytest.raises(ScriptError, match=r"no script 'mute'; there are refused, bare-lf"):
        server.listen("mute")


@pytest.mark.parametrize("script", ["healthy", "silent", "refused"])
def test_the_end_closes_all_sockets(script: str) -> None:
    """Connections that have just been accepted, that wait, and that are in a TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    before = len(descriptors())
    with ExitStack() as clients:
        with ScriptedServer() as server:
            ports = [server.listen("healthy"), server.listen("healthy", tls=context)]
            for number in range(40):
                clients.enter_context(socket.create_connection(("127.0.0.1", ports[number % 2]), timeout=60))
            server.play(ports[0], script)
        assert len(descriptors()) <= before + 40  # the clients' own
    assert len(descriptors()) <= before
