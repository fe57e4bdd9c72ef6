"""A run of popwatch's prober: `popwatch_client.py JOB` (see clients.job)."""

from popwatch.model.targets import parse_target
from popwatch.prober.loop import Prober
from tests.bench.clients.job import Job, report


def main() -> None:
    """Test all, and count what passed."""
    job = Job.given()
    fields = {"max_test_seconds": job.deadline} | (
        {"tls": "implicit", "ca_pem": job.authority} if job.authority else {}
    )
    targets = [
        parse_target({"target_id": f"t{n}", "host": host, "port": port, **fields})
        for n, (host, port) in enumerate(job.servers())
    ]
    report(lambda: sum(o.passed for arrivals in Prober().run(targets) for _, o in arrivals))


if __name__ == "__main__":
    main()
