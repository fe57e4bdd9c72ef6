"""A job done by asyncio: as many tests at once as the prober has, each with its deadline."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from tests.bench.clients.job import Job, report

IN_FLIGHT = 900

Talk = Callable[[str, int, ssl.SSLContext | None], Awaitable[bool]]
"""Whether the server at a host and port greets and says goodbye."""


def do(talk: Talk) -> None:
    """Do the job of this process, and report."""
    job = Job.given()
    report(lambda: asyncio.run(_all_of(job, talk)))


async def _all_of(job: Job, talk: Talk) -> int:
    """How many servers pass."""
    context, room = job.context(), asyncio.Semaphore(IN_FLIGHT)

    async def test(host: str, port: int) -> bool:
        async with room:
            try:
                return await asyncio.wait_for(talk(host, port, context), job.deadline)
            except (OSError, TimeoutError):
                return False

    return sum(await asyncio.gather(*(test(host, port) for host, port in job.servers())))
