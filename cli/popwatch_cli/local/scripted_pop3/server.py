"""The server that plays the scripts: one asyncio loop in a thread of its own, many ports."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from popwatch_cli.local.scripted_pop3.scripts import PATIENCE_SECONDS, find

LARGEST_LINE = 1 << 20
_T = TypeVar("_T")


@dataclass(slots=True)
class Connection:
    """What the server knows of one connection, by its own realtime clock: seconds since 1970, 0 for never."""

    accepted_at: float
    greeted_at: float = 0.0
    lines: list[bytes] = field(default_factory=list)

    @property
    def quit(self) -> bool:
        """Whether the client took its leave."""
        return b"QUIT" in (line.strip().upper() for line in self.lines)


@dataclass(slots=True)
class _Port:
    """A port: the script it plays now, its TLS, who listens, who called."""

    reserved: socket.socket
    script: str
    implicit: ssl.SSLContext | None
    stls: ssl.SSLContext | None
    server: asyncio.Server | None = None
    connections: list[Connection] = field(default_factory=list)
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)


class ScriptedServer:
    """Plays a script on each of its ports. A context manager; it ends with all its connections."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="scripted-pop3")
        self._ports: dict[int, _Port] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
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
        """Play `script` on a port of `host`, a free one unless given; returns the port.

        `tls` makes it TLS from the first byte, `stls` is what STLS leads to.
        """
        return self._do(self._listen(script, host, port, tls, stls))

    def play(self, port: int, script: str) -> None:
        """Play another script from the next connection on; `refused` closes the port until another is played."""
        self._do(self._play(self._ports[port], script))

    def connections(self, port: int) -> list[Connection]:
        """The connections so far, oldest first."""
        return list(self._ports[port].connections)

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(
        self, script: str, host: str, number: int, tls: ssl.SSLContext | None, stls: ssl.SSLContext | None
    ) -> int:
        port = _Port(_reserve(host, number), script, tls, stls)
        found = int(port.reserved.getsockname()[1])
        self._ports[found] = port
        await self._play(port, script)
        return found

    async def _play(self, port: _Port, script: str) -> None:
        if script != "refused":
            find(script)
        port.script = script
        if script == "refused" and port.server:
            port.server.close()
            port.server = None
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

    async def _close(self) -> None:
        tasks = [task for port in self._ports.values() for task in port.tasks]
        for port in self._ports.values():
            if port.server:
                port.server.close()
            port.reserved.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # aborted transports close in the loop's next turns


class _Wire:
    """One connection as a script sees it."""

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
        async with asyncio.timeout(PATIENCE_SECONDS):
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
    script, argument = find(port.script)
    try:
        with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            await script(_Wire(port, connection, reader, writer), argument)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    finally:
        writer.transport.abort()


def _reserve(host: str, number: int) -> socket.socket:
    """A socket that is bound and does not listen: connects are refused, and nobody else is given the port."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a listener may join it
    sock.bind((host, number))
    return sock
