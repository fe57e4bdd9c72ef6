"""Other programs that test POP3 servers, as the bench runs them: what each takes, or why it cannot run.

Debian's packages are unpacked, not installed, by .ci/install-peers. Each gets its work in the way that it is meant to
be used: check_pop a process a test, blackbox_exporter a request a test, xymonnet a file of hosts.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from popwatch_cli.local.stack import free_port
from tests.bench.clients.job import Job
from tests.bench.fast_stub import built

BENCH = Path(__file__).parent
UNPACKED = BENCH.parents[1] / ".popwatch" / "peers"
LIBRARIES = [str(folder) for pattern in ("lib/*", "usr/lib/*") for folder in UNPACKED.glob(pattern)]
THREADS = 16
"""Processes or requests of one peer at a time."""

BLACKBOX = """
modules:
  pop3:
    prober: tcp
    timeout: 10s
    tcp:
      preferred_ip_protocol: ip4
      query_response: [{expect: '^\\+OK'}, {send: "QUIT\\r"}, {expect: '^\\+OK'}]
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run: tests that passed, seconds of wall and CPU time, peak memory (0: not known)."""

    passed: int
    wall: float
    cpu: float
    peak_mb: float


class MissingError(Exception):
    """A peer that is not installed here."""


Peer = Callable[[Job], Run]


def python_client(name: str) -> Peer:
    """A client in Python of the folder `clients`, in a process of its own."""

    def run(job: Job) -> Run:
        return _reported([sys.executable, "-m", f"tests.bench.clients.{name}_client", json.dumps(asdict(job))])

    return run


def limit(job: Job) -> Run:
    """The client in C."""
    program = built("limit_client")
    if program is None:
        raise MissingError("there is no C compiler (cc)")
    return _reported([str(program), str(job.port), str(job.tests), "900"])


def _reported(program: list[str]) -> Run:
    variables = {**os.environ, "PYTHONPATH": str(BENCH.parents[1])}
    found = subprocess.run(program, env=variables, capture_output=True, text=True, check=True).stdout.split()
    return Run(int(found[0]), float(found[1]), float(found[2]), int(found[3]) / 1024)


def check_pop(job: Job) -> Run:
    """check_pop of Debian's monitoring-plugins-basic, a process a test. It does not read QUIT's reply."""
    program = _found("check_pop", UNPACKED / "usr/lib/nagios/plugins/check_pop")

    def test(server: tuple[str, int]) -> bool:
        arguments = [str(program), "-H", server[0], "-p", str(server[1])]
        return subprocess.run(arguments, stdout=subprocess.DEVNULL, check=False).returncode == 0

    with ThreadPoolExecutor(THREADS) as pool:
        return _of_children(lambda: sum(pool.map(test, job.servers())))


def xymonnet(job: Job) -> Run:
    """xymonnet of Debian's xymon: all hosts of a file in one run. It does not read QUIT's reply."""
    program = _found("xymonnet", UNPACKED / "usr/lib/xymon/server/bin/xymonnet")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "etc").mkdir()
        (home / "etc" / "protocols.cfg").write_text(
            f'[pop3]\n   send "quit\\r\\n"\n   expect "+OK"\n   options banner\n   port {job.port}\n'
        )
        hosts = home / "hosts.cfg"
        hosts.write_text("".join(f"{host} t{n} # noconn testip pop3\n" for n, (host, _) in enumerate(job.servers())))
        variables = {
            "XYMONHOME": folder,
            "XYMONTMP": folder,
            "HOSTSCFG": str(hosts),
            "XYMONNETSVCS": "pop3",
            "LD_LIBRARY_PATH": ":".join(LIBRARIES),
        }
        arguments = [str(program), "--no-update", "--concurrency=900", "--timeout=10", "--noping"]

        def run() -> int:
            ran = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=True)
            return ran.stdout.count("green")

        return _of_children(run)


def blackbox(job: Job) -> Run:
    """blackbox_exporter, asked as Prometheus asks, with a module that says QUIT; its own CPU time only."""
    with blackbox_exporter() as (address, process):
        before, began = _cpu_of(process), time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            passed = sum(pool.map(lambda server: _probe(address, *server), job.servers()))
        wall = time.perf_counter() - began
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        return Run(passed, wall, _cpu_of(process) - before, peak)


@contextmanager
def blackbox_exporter() -> Iterator[tuple[str, int]]:
    """A running exporter: its address and its process."""
    program = _found("prometheus-blackbox-exporter", UNPACKED / "usr/bin/prometheus-blackbox-exporter")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "blackbox.yml"
        config.write_text(BLACKBOX)
        address = f"127.0.0.1:{free_port(0)}"
        arguments = [str(program), f"--config.file={config}", f"--web.listen-address={address}", "--log.level=error"]
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        try:
            _await(f"http://{address}/-/healthy")
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


def _probe(address: str, host: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{address}/probe?module=pop3&target={host}:{port}", timeout=30) as answer:
        return b"\nprobe_success 1\n" in answer.read()


def _await(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise MissingError("it did not start")


def _cpu_of(process: int) -> float:
    return time.clock_gettime(~process << 3 | 2)  # the clock of a process, as clock_getcpuclockid(3) makes it


def _of_children(run: Callable[[], int]) -> Run:
    """What a run takes whose work is done by child processes."""
    before, began = _children(), time.perf_counter()
    passed = run()
    wall, after = time.perf_counter() - began, _children()
    return Run(passed, wall, after - before, 0.0)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _found(name: str, unpacked: Path) -> Path:
    """Where a peer is. Raises MissingError."""
    there = shutil.which(name)
    if there is None and not unpacked.exists():
        raise MissingError("not installed: run .ci/install-peers")
    return Path(there) if there else unpacked
