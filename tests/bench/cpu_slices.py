"""A process that gets its CPU in slices, as a Lambda function with little memory does.

By a cgroup where this machine lets us make one (root, cgroup 1 or 2), else by stopping and continuing the process on
the same period. Lambda's own period is 20 ms: with 512 MB a function runs for 5.8 ms of it, with 256 MB for 2.9 ms.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERIOD_SECONDS = 0.02
GROUPS = Path("/sys/fs/cgroup")


def way() -> str:
    """How a process is held to its slices here."""
    return "cgroup" if _can_make_group() else "SIGSTOP"


@contextmanager
def slices(process: int, share: float) -> Iterator[None]:
    """Hold a process to a share of one core while the block runs; a share of 1 leaves it alone."""
    if share >= 1:
        yield
    elif _can_make_group():
        with _in_group(process, share):
            yield
    else:
        with _stopped(process, share):
            yield


def _controller() -> Path:
    """Where groups with a CPU quota are made: of cgroup 1 or of cgroup 2."""
    return GROUPS / "cpu" if (GROUPS / "cpu" / "cpu.cfs_quota_us").exists() else GROUPS


def _can_make_group() -> bool:
    folder = _controller() / f"popwatch-bench-{os.getpid()}-try"
    try:
        folder.mkdir()
        there = (folder / "cpu.cfs_quota_us").exists() or (folder / "cpu.max").exists()
        folder.rmdir()
    except OSError:
        return False
    return there


@contextmanager
def _in_group(process: int, share: float) -> Iterator[None]:
    folder = _controller() / f"popwatch-bench-{process}"
    folder.mkdir()
    period, quota = round(PERIOD_SECONDS * 1e6), round(PERIOD_SECONDS * share * 1e6)
    try:
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text(f"{quota} {period}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(period))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        (folder / "cgroup.procs").write_text(str(process))
        yield
    finally:
        if Path(f"/proc/{process}").exists():
            (_controller() / "cgroup.procs").write_text(str(process))
        folder.rmdir()


@contextmanager
def _stopped(process: int, share: float) -> Iterator[None]:
    ended = threading.Event()

    def alternate() -> None:
        while not ended.is_set():
            os.kill(process, signal.SIGSTOP)
            ended.wait(PERIOD_SECONDS * (1 - share))
            os.kill(process, signal.SIGCONT)
            ended.wait(PERIOD_SECONDS * share)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
