"""The stub server in C, built when it is first needed; without a C compiler, the one in Python, which is slower."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.bench.stubs import greeted, stub

SOURCES = Path(__file__).parent
BUILT = SOURCES.parents[1] / ".popwatch" / "bench"


@dataclass(frozen=True, slots=True)
class FastStub:
    """A running server: the port on which it greets, and the one on which it is silent."""

    port: int
    silent_port: int
    process: subprocess.Popen[str] | None

    def stop(self) -> dict[str, float]:
        """End it; when it greeted last at each address, in seconds of the realtime clock."""
        assert self.process
        return greeted(self.process)


@cache
def built(name: str) -> Path | None:
    """A program of the bench's own in C, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / name
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(program), str(SOURCES / f"{name}.c")], check=True)
    return program


@contextmanager
def fast_stub(delay_seconds: float = 0.0) -> Iterator[FastStub]:
    """A server on all loopback addresses while the block runs."""
    program = built("stub_server")
    if program is None:
        print(
            "There is no C compiler (cc): the stub server is the one in Python, and may be the limit.",
            file=sys.stderr,
        )
        with stub(str(delay_seconds)) as good, stub("silent") as silent:
            yield FastStub(good.ports[0], silent.ports[0], None)
        return
    process = subprocess.Popen(
        [str(program), str(round(delay_seconds * 1e6))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        port, silent_port = process.stdout.readline().split()
        yield FastStub(int(port), int(silent_port), process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
