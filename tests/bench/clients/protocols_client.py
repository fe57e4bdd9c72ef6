"""Protocols of asyncio, without streams: as many at once as the prober has."""

import asyncio
import ssl

from tests.bench.clients.asyncio_job import do


class Talk(asyncio.Protocol):
    """Reads a greeting, says QUIT, reads the reply; `passed` is whether both were good."""

    def __init__(self) -> None:
        self.passed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Something has arrived: the greeting, or the reply to QUIT."""
        good = data.startswith(b"+OK")
        if good and not self._greeted:
            self._greeted = True
            self._transport.write(b"QUIT\r\n")
        else:
            self._end(good)

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is gone."""
        self._end(passed=False)

    def _end(self, passed: bool) -> None:
        self._transport.close()
        if not self.passed.done():
            self.passed.set_result(passed)


async def talk(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a server greets and says goodbye."""
    _, talking = await asyncio.get_running_loop().create_connection(Talk, host, port, ssl=context)
    return await talking.passed


if __name__ == "__main__":
    do(talk)
