"""Debian's Prometheus scrapes `/metrics` with the password, and promtool accepts it."""

import json
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from popwatch.web.authentication import Authentication, PageSecret
from popwatch.web.metrics import to_metrics
from popwatch.web.views import Views
from popwatch_cli.local.stack import free_port
from tests.integration.fleet import page_of, put_fleet
from tests.integration.world import World, new_world

pytestmark = pytest.mark.debian

PASSWORD = "correct-horse-battery"


def test_promtool_finds_no_fault() -> None:
    """Neither in the format nor in the names."""
    with new_world() as world:
        put_fleet(world, 10)
        rows = Views(world.store, lambda: world.now, max_age=timedelta()).now().fleet_status.targets
        text = to_metrics(rows, world.now)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_prometheus_scrapes(tmp_path: Path) -> None:
    """It authenticates, takes every sample, and a query for failing targets returns them."""
    with new_world() as world:
        put_fleet(world, 10)
        authentication = Authentication(lambda: PageSecret(PASSWORD), lambda: world.now, lambda: None)
        with page_of(world, authentication) as address:
            port = free_port(0)
            config = tmp_path / "prometheus.yml"
            config.write_text(
                json.dumps(
                    {
                        "scrape_configs": [
                            {
                                "job_name": "popwatch",
                                "scrape_interval": "1s",
                                "basic_auth": {"username": "popwatch", "password": PASSWORD},
                                "static_configs": [{"targets": [address.split("/")[2]]}],
                            }
                        ]
                    }
                )
            )
            command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
            with (tmp_path / "log").open("wb") as log:
                running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
            try:
                down = wait_for(port, "probe_success == 0", world)
                up = ask(port, "up")
                scraped = ask(port, "scrape_samples_scraped")
            finally:
                running.terminate()
                running.wait(20)
    assert {found["metric"]["target_id"] for found in down} == {"mail-rome-001", "mail-oslo-002"}
    assert up[0]["value"][1] == "1"
    assert int(scraped[0]["value"][1]) > 10 * 10


def ask(port: int, query: str) -> Any:
    asked = Request(f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}")
    with urlopen(asked, timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def wait_for(port: int, query: str, world: World) -> Any:
    """The result of a query, once there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if found := ask(port, query):
                return found
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"Prometheus has nothing for {query}; {world.calls[-5:]}")
