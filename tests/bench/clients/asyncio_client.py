"""Streams of asyncio, as many at once as the prober has."""

import asyncio
import ssl

from clients.job import Job, report

IN_FLIGHT = 900


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


async def all_of(job: Job) -> int:
    """How many servers pass."""
    context, room = job.context(), asyncio.Semaphore(IN_FLIGHT)

    async def test(host: str, port: int) -> bool:
        async with room:
            try:
                return await asyncio.wait_for(talk(host, port, context), job.deadline)
            except (OSError, TimeoutError):
                return False

    return sum(await asyncio.gather(*(test(host, port) for host, port in job.servers())))


def main() -> None:
    """Test all, and count what passed."""
    job = Job.given()
    report(lambda: asyncio.run(all_of(job)))


if __name__ == "__main__":
    main()
