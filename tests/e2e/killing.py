"""SIGKILL of the function's process in the middle of a sweep, and sweeps until one has completed the tick."""

import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

from popwatch.model.text import iso
from tests.e2e.deployed import Deployed

Span = tuple[datetime, datetime]
"""When a sweep that was killed began and when it was killed."""


def kill_during(stack: Deployed, at: datetime, after: float) -> list[Span]:
    """Begin a sweep and kill its process so many seconds later; its span, if it was there to be killed."""
    began = datetime.now(UTC)
    sweep = threading.Thread(target=suppressed_tick, args=(stack, at))
    sweep.start()
    time.sleep(after)
    killed: list[Span] = []
    for process in stack.process_ids():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            killed = [(began, datetime.now(UTC))]
    sweep.join()
    return killed


def suppressed_tick(stack: Deployed, at: datetime) -> None:
    """The answer to an invocation that was killed is an error, of one kind or another."""
    with suppress(Exception):
        stack.tick(at)


def complete(stack: Deployed, at: datetime) -> None:
    """The same tick again and again until a sweep has completed it."""

    def is_complete() -> bool:
        suppressed_tick(stack, at)
        checkpoint = stack.store.read_records()[0]
        return checkpoint.tick is not None and checkpoint.tick >= at

    stack.wait_for(f"the sweep of {iso(at)}", is_complete)
