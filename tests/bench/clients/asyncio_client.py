"""Streams of asyncio, as many at once as the prober has."""

import asyncio
import ssl

from tests.bench.clients.asyncio_job import do


async def talk(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a server greets and says goodbye."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        greeting = await reader.readline()
        writer.write(b"QUIT\r\n")
        reply = await reader.readline()
    finally:
        writer.close()
    return greeting.startswith(b"+OK") and reply.startswith(b"+OK")


if __name__ == "__main__":
    do(talk)
