"""Python's poplib in a hundred threads: what a script would do."""

import poplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench.clients.job import Job, report

THREADS = 100


def test(job: Job, context: ssl.SSLContext | None, server: tuple[str, int]) -> bool:
    """Whether a server greets and says goodbye."""
    host, port = server
    try:
        if context:
            connection: poplib.POP3 = poplib.POP3_SSL(host, port, context=context, timeout=job.deadline)
        else:
            connection = poplib.POP3(host, port, timeout=job.deadline)
        connection.quit()
    except (OSError, poplib.error_proto):
        return False
    return True


def main() -> None:
    """Test all, and count what passed."""
    job = Job.given()
    context = job.context()
    with ThreadPoolExecutor(THREADS) as pool:
        report(lambda: sum(pool.map(partial(test, job, context), job.servers())))


if __name__ == "__main__":
    main()
