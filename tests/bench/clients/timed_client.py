"""A run of popwatch's prober that prints for each test when it began to connect, and its `rtt_ms`.

It waits for a line on its input before it begins, so that it can be held to slices of CPU time from then on.
"""

import json
import socket
import sys
import time
from dataclasses import replace
from typing import Any

from popwatch.model.targets import parse_target
from popwatch.prober.loop import Prober
from tests.bench.clients.job import Job


class TimedSocket(socket.socket):
    """A socket that records when it began to connect to an address, by the realtime clock."""

    began: dict[str, float] = {}  # noqa: RUF012 - shared on purpose

    def connect_ex(self, address: Any) -> int:
        """Note the time, and connect."""
        TimedSocket.began[address[0]] = time.time()
        return super().connect_ex(address)


def main() -> None:
    """Test, and print a JSON object: address to when it began, rtt_ms, and by whose clock."""
    job, kernel_stamps = Job.given(), sys.argv[2] == "kernel"
    tls = {"tls": "implicit", "ca_pem": job.authority, "tls_name": "127.0.0.1"} if job.authority else {}
    targets = [
        parse_target({"target_id": host, "host": host, "port": port, "max_test_seconds": job.deadline, **tls})
        for host, port in replace(job, authority="").servers()
    ]
    prober = Prober(in_flight=max(len(targets), 1), kernel_stamps=kernel_stamps)
    print("ready", flush=True)
    sys.stdin.readline()
    socket.socket = TimedSocket  # type: ignore[misc]
    outcomes = [arrival for arrivals in prober.run(targets) for arrival in arrivals]
    found = {target.host: (outcome.rtt_ms, outcome.rtt_source) for target, outcome in outcomes if outcome.passed}
    print(json.dumps({host: (TimedSocket.began[host], *rest) for host, rest in found.items()}))


if __name__ == "__main__":
    main()
