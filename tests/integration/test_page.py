"""The page's server and views over tables: routes and caches."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from popwatch.aws.store import Store
from popwatch.model.samples import Sample
from popwatch.web.http import Request
from popwatch.web.site import Site
from popwatch.web.views import LATEST, Views
from tests.integration.fleet import page_of, put_fleet
from tests.integration.world import TABLES, World


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(address)
    connection = HTTPConnection(str(place.hostname), place.port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def site(world: World, max_age: timedelta = timedelta()) -> Site:
    return Site(Views(world.store, lambda: world.now, max_age=max_age), None, refresh_seconds=5)


def test_the_server_answers_its_own_name_only(world: World) -> None:
    """A request for another name that points to 127.0.0.1 (DNS rebinding) is refused."""
    put_fleet(world, 1, samples=False)
    with page_of(world) as address:
        assert ask(address, "/api/status")[0] == 200
        for host in ("evil.example.net", "evil.example.net:80", "127.0.0.1.evil.example.net:1"):
            status, headers, body = ask(address, "/api/status", Host=host)
            assert (status, b"targets" in body) == (421, False)
            assert headers["content-security-policy"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_other_sites_are_refused(world: World, headers: dict[str, str], status: int) -> None:
    """A page of the internet cannot make the browser ask for anything here: neither the page, its files nor the API."""
    put_fleet(world, 1)
    with page_of(world) as address:
        sent = {name: value.format(host=urlsplit(address).netloc) for name, value in headers.items()}
        for path in ("", "page.css", "api/status", "metrics"):
            found, _, body = ask(address, f"/{path}", "GET", **sent)
            assert found == status, path
            assert (b"Another web site" in body) == (status == 403)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/page.js", 200),
        ("GET", "/../config.py", 404),
        ("GET", "/assets/index.html", 404),
        ("GET", "/api/targets/", 404),
        ("GET", "/api/targets/unknown", 404),
        ("GET", "/api/targets/%ff", 404),
        ("GET", "/api/timelines", 200),
        ("GET", "/api/timelines?id=unknown", 200),
        ("PUT", "/api/status", 501),
        ("POST", "/sign-in", 405),
    ],
)
def test_every_request_is_answered(world: World, method: str, path: str, status: int) -> None:
    """Found, not found, or not allowed; without a password there is nothing to POST to."""
    put_fleet(world, 1, samples=False)
    with page_of(world) as address:
        assert ask(address, path, method)[0] == status


def test_readings_of_a_target(world: World) -> None:
    """The target's status, its days, a day of round-trip times in steps, outages and events without texts."""
    put_fleet(world, 3)
    plain = json.loads(site(world).answer(Request("GET", "/api/targets/mail-rome-001")).body)
    assert (plain["state"], plain["error"]) == ("down", "timed-out")
    recent = plain["recent"]
    assert (len(recent["mean_ms"]), recent["tests"], sum(recent["failed"])) == (288, 288, 12)
    assert sum(step is None for step in recent["mean_ms"]) == 12
    days = plain["timeline"]["days"]
    assert len(days) in (90, 91)
    assert (
        sum(sum(value for key, value in day.items() if key != "day") for day in days)
        == timedelta(days=90).total_seconds()
    )
    assert all("email" not in event for event in plain["events"])


class RecordingStore(Store):
    """Records since when samples are read."""

    def read_samples(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, Mapping[str, Sample]]]:
        asked_since.append(since)
        return super().read_samples(batches, batch, since, until, only)


asked_since: list[datetime] = []


def test_samples_are_read_once(world: World) -> None:
    """The second request reads only the last minutes: a day of a large batch costs hundreds of read units."""
    put_fleet(world, 3)
    asked_since.clear()
    store = RecordingStore(world.dynamodb, TABLES, lambda: world.now)
    found = Site(Views(store, lambda: world.now, max_age=timedelta()), None, refresh_seconds=5)
    for _ in range(2):
        found.answer(Request("GET", "/api/targets/mail-berlin-000"))
    newest = world.now - timedelta(seconds=20)
    assert asked_since == [world.now - timedelta(days=1), newest - LATEST]
    world.now += LATEST
    world.store.put_samples(1, 0, world.now - timedelta(seconds=1), "0", {"mail-berlin-000": Sample(99.0)})
    plain = json.loads(found.answer(Request("GET", "/api/targets/mail-berlin-000")).body)
    assert plain["recent"]["max_ms"][-1] == 99.0
    assert plain["recent"]["tests"] == 288


def test_many_that_look_read_once(world: World) -> None:
    """The status is read once while it is fresh, however many ask for it at once."""
    put_fleet(world, 3)
    found = site(world, max_age=timedelta(minutes=1))
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(found.answer, [Request("GET", "/api/status")] * 20))) == 20
    reads = world.store.capacity.read["Targets"]
    found.answer(Request("GET", "/metrics"))
    assert world.store.capacity.read["Targets"] == reads
