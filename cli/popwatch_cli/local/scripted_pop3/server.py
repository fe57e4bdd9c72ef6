"""The server: many ports, each with its script, on one asyncio loop in a thread of its own."""

import asyncio
import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from popwatch_cli.local.scripted_pop3.scripts import IDLE_SECONDS, find

LARGEST_LINE = 1 << 20
"""Bytes of a line from the client; longer ones end the connection."""

ITERATIONS = 10
"""Iterations of the loop in which accepted connections are set up and aborted ones closed; two or three are needed."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Connection:
    """An accepted connection. Times are seconds since 1970, 0 for never; `lines` are the client's."""

    accepted_at: float
    greeted_at: float = 0.0
    lines: list[bytes] = field(default_factory=list)

    @property
    def quit(self) -> bool:
        """Whether the client sent QUIT."""
        return b"QUIT" in (line.strip().upper() for line in self.lines)


@dataclass(slots=True)
class _Port:
    """A port: its present script, its TLS contexts, its listener and its connections."""

    reserved: socket.socket
    script: str
    implicit: ssl.SSLContext | None
    stls: ssl.SSLContext | None
    server: asyncio.Server | None = None
    connections: list[Connection] = field(default_factory=list)
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)


class ScriptedServer:
    """A POP3 server that runs a script on each of its ports. A context manager: its end closes all connections."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="scripted-pop3")
        self._ports: dict[int, _Port] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._do(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def listen(
        self,
        script: str = "healthy",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        stls: ssl.SSLContext | None = None,
    ) -> int:
        """Run `script` on a port of `host`, by default a free one; returns the port.

        With `tls` connections begin in TLS, with `stls` STLS is accepted. Raises ScriptError for an unknown script, and
        OSError if the port is in use; one server has each port number once, whatever the host.
        """
        return self._do(self._listen(script, host, port, tls, stls))

    def play(self, port: int, script: str) -> None:
        """Run another script from the next connection on; `refused` closes the port until there is another script."""
        self._do(self._play(self._ports[port], script))

    def connections(self, port: int) -> list[Connection]:
        """The connections to a port so far, oldest first."""
        return list(self._ports[port].connections)

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(
        self, script: str, host: str, number: int, tls: ssl.SSLContext | None, stls: ssl.SSLContext | None
    ) -> int:
        port = _Port(self._reserve(host, number), script, tls, stls)
        number = int(port.reserved.getsockname()[1])
        self._ports[number] = port
        await self._play(port, script)
        return number

    def _reserve(self, host: str, number: int) -> socket.socket:
        """A bound socket that does not listen: connects are refused, and no other program is given the port."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lets the listener bind the same port
            sock.bind((host, number))
            if sock.getsockname()[1] not in self._ports:
                return sock
        except OSError:
            sock.close()
            raise
        # The same number at another address. The kernel gives out numbers by address, this server knows them by number.
        try:
            if number:
                raise OSError(errno.EADDRINUSE, f"Port {number} is in use by this server")
            return self._reserve(host, number)
        finally:
            sock.close()

    async def _play(self, port: _Port, script: str) -> None:
        if script != "refused":
            find(script)
        port.script = script
        if script == "refused" and port.server:
            server, port.server = port.server, None
            await self._stop(server)
        elif script != "refused" and not port.server:
            port.server = await self._open(port)

    async def _open(self, port: _Port) -> asyncio.Server:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(_serve(port, reader, writer))
            port.tasks.add(task)
            task.add_done_callback(port.tasks.discard)

        host, number = port.reserved.getsockname()[:2]
        return await asyncio.start_server(
            accept, host, number, ssl=port.implicit, limit=LARGEST_LINE, backlog=1024, reuse_address=True
        )

    async def _stop(self, server: asyncio.Server) -> None:
        """Close a listener. asyncio leaks a connection that it accepts in the turn in which its server is closed."""
        for sock in server.sockets:
            self._loop.remove_reader(sock.fileno())
        await _turn()
        server.close()

    async def _close(self) -> None:
        for port in self._ports.values():
            if port.server:
                await self._stop(port.server)
            port.reserved.close()
        # All tasks, not only the scripts': a TLS handshake under way is a task of asyncio's own.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _turn()


class _ClientConnection:
    """A connection as the scripts use it."""

    def __init__(
        self, port: _Port, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._port, self._connection, self._reader, self._writer = port, connection, reader, writer

    async def send(self, data: bytes, *, greets: bool = False) -> None:
        if greets:
            self._connection.greeted_at = time.time()
        self._writer.write(data)
        await self._writer.drain()

    async def line(self) -> bytes:
        async with asyncio.timeout(IDLE_SECONDS):
            line = await self._reader.readline()
        if line:
            self._connection.lines.append(line)
        return line

    async def start_tls(self) -> None:
        if self._port.stls:
            await self._writer.start_tls(self._port.stls)

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def half_close(self) -> None:
        self._writer.write_eof()

    def cut(self) -> None:
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


async def _serve(port: _Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = Connection(time.time())
    port.connections.append(connection)
    try:
        if port.script != "refused":  # else it was accepted just before its port was closed
            script, argument = find(port.script)
            with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
                await script(_ClientConnection(port, connection, reader, writer), argument)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    finally:
        writer.transport.abort()


async def _turn() -> None:
    for _ in range(ITERATIONS):
        await asyncio.sleep(0)
