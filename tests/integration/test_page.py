"""The page's server and views over tables: routes and caches."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.client import HTTPConnection
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from popwatch.aws.store import Store
from popwatch.model.posture import NO, Posture, change_of
from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch.web.authentication import Authentication, PageSecret
from popwatch.web.http import Request
from popwatch.web.site import Site
from popwatch.web.views import SAMPLES_MAY_BE_LATE, Views
from popwatch_cli.web_server import SiteServer
from tests.integration.fleet import page_of, put_fleet, watch_for
from tests.integration.world import TABLES, World


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(address)
    connection = HTTPConnection(str(place.hostname), place.port, timeout=300)
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


def test_port_80_is_not_in_the_host(world: World) -> None:
    """Browsers leave it out; of another port it must be there."""
    with SiteServer(site(world), 0) as server:
        address = server.address
        Thread(target=server.serve_forever, daemon=True).start()
        for port, status in ((8080, 421), (80, 200)):
            server.server_port = port
            assert {ask(address, "/", Host=host)[0] for host in ("127.0.0.1", "localhost")} == {status}
        assert ask(address, "/", Host="evil.example.net")[0] == 421
        server.shutdown()


@pytest.mark.parametrize(("method", "path", "status"), [("DELETE", "/api/status", 405), ("POST", "/api/x", 405)])
def test_errors_of_the_api_are_json(world: World, method: str, path: str, status: int) -> None:
    """Those of the page are sentences."""
    answer = site(world).answer(Request(method, path))
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert json.loads(answer.body) == {"error": "Only GET and HEAD are allowed here."}
    assert site(world).answer(Request(method, "/")).body == b"Only GET and HEAD are allowed here.\n"


def test_too_many_parameters_are_named(world: World) -> None:
    """In the API's form."""
    with page_of(world) as address:
        status, _, body = ask(address, "/api/timelines?" + "id=a&" * 101)
    assert (status, json.loads(body)) == (400, {"error": "There are more than 100 parameters: send fewer."})


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
        ("PUT", "/api/status", 405),
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
    content = json.loads(site(world).answer(Request("GET", "/api/targets/mail-rome-001")).body)
    assert (content["state"], content["error"]) == ("down", "timed-out")
    recent = content["recent"]
    assert (len(recent["mean_ms"]), recent["tests"], sum(recent["failed"])) == (288, 288, 12)
    assert sum(step is None for step in recent["mean_ms"]) == 12
    days = content["timeline"]["days"]
    assert len(days) in (90, 91)
    assert (
        sum(sum(value for key, value in day.items() if key != "day") for day in days)
        == timedelta(days=90).total_seconds()
    )
    assert all("attributes" not in event for event in content["events"])


def test_a_posture_is_among_the_events(world: World) -> None:
    """In words, and with what the server answered."""
    put_fleet(world, 1, samples=False)
    world.store.put_posture(
        "mail-berlin-000", change_of(None, Posture(world.now - timedelta(hours=1), "192.0.2.7", stls=NO))
    )
    content = json.loads(site(world).answer(Request("GET", "/api/targets/mail-berlin-000")).body)
    [event] = [event for event in content["events"] if event["kind"] == "posture"]
    assert event["text"] == "first test, found: stls-gone"
    assert (event["posture"]["address"], event["posture"]["stls"]) == ("192.0.2.7", "no")


def test_the_days_are_those_of_the_zone_asked_for(world: World) -> None:
    """A day of Auckland begins at its midnight; a zone that is not known counts as UTC."""
    put_fleet(world, 1, samples=False)

    def days(zone: str) -> list[dict[str, Any]]:
        answer = site(world).answer(Request("GET", "/api/timelines", {"id": ["mail-berlin-000"], "zone": [zone]}))
        found: list[dict[str, Any]] = json.loads(answer.body)["mail-berlin-000"]["days"]
        return found

    today = world.now.astimezone(ZoneInfo("Pacific/Auckland"))
    since_midnight = (today - today.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    assert days("Pacific/Auckland")[-1]["day"] == f"{today:%Y-%m-%d}"
    assert sum(value for key, value in days("Pacific/Auckland")[-1].items() if key != "day") == since_midnight
    assert days("Mars/Olympus") == days("") == days("UTC") != days("Pacific/Auckland")


def test_a_young_target_has_its_tests_and_hours(world: World) -> None:
    """Single tests until it has been watched for an hour, hours for three days, and days from the beginning on."""
    begin = world.now
    world.put_target("later")
    watch_for(world, 6)
    found = json.loads(site(world).answer(Request("GET", "/api/timelines", {"id": ["broken", "slow", "none"]})).body)
    assert set(found) == {"broken", "slow"}
    broken = found["broken"]
    assert [test["error"] for test in broken["tests"]] == [None] * 3 + ["timed-out"] * 3
    assert [test["rtt_ms"] for test in broken["tests"]] == [12.5] * 3 + [None] * 3
    assert broken["known_since"] == iso(begin)
    assert broken["hours"] == [{"hour": iso(begin), "up": 180.0, "down": 140.0}]
    world.now = begin + timedelta(hours=1)
    assert "tests" not in site(world).answer(Request("GET", "/api/timelines", {"id": ["broken"]})).body.decode()
    world.now = begin + timedelta(days=3)
    assert "hours" not in site(world).answer(Request("GET", "/api/timelines", {"id": ["broken"]})).body.decode()


def test_an_alert_is_there_as_it_was_sent(world: World) -> None:
    """Its texts, the topics that took it, and who receives such a one, as far as that is known."""
    watch_for(world, 6)
    for receivers in (None, ["m...@example.net"]):
        views = Views(world.store, lambda: world.now, max_age=timedelta(), receivers=lambda _, found=receivers: found)  # type: ignore[misc]
        target = views.target("broken")
        assert target is not None
        [alert] = [event for event in target["events"] if event["kind"] == "alert"]
        assert "The remote device timed out before sending a response" in alert["email"]
        assert "DOWN" in alert["sms"]
        assert set(alert["deliveries"]) == {"alert", "sms"}
        assert alert["receivers"] == receivers


def test_a_link_survives_the_sign_in(world: World) -> None:
    """What the address shows is carried to the sign-in page and back; nothing else is, and to no other place."""
    found = Site(
        Views(world.store, lambda: world.now, max_age=timedelta()),
        Authentication(lambda: PageSecret("right"), lambda: world.now, lambda: None),
        refresh_seconds=5,
    )
    query = {"target": ["a&b/c"], "state": ["down", "up"], "search": ["x" * 999], "next": ["https://evil.example"]}
    view = f"?target=a%26b%2Fc&state=down&search={'x' * 300}"
    assert found.answer(Request("GET", "/", query)).headers["Location"] == f"sign-in{view}"
    assert found.answer(Request("GET", "/")).headers["Location"] == "sign-in"
    signed_in = found.answer(Request("POST", "/sign-in", query, body="password=right"))
    assert (signed_in.status, signed_in.headers["Location"]) == (303, f"./{view}")
    assert found.answer(Request("POST", "/sign-in", body="password=right")).headers["Location"] == "./"


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
    assert asked_since == [world.now - timedelta(days=1), newest - SAMPLES_MAY_BE_LATE]
    world.now += SAMPLES_MAY_BE_LATE
    world.store.put_samples(1, 0, world.now - timedelta(seconds=1), "0", {"mail-berlin-000": Sample(99.0)})
    content = json.loads(found.answer(Request("GET", "/api/targets/mail-berlin-000")).body)
    assert content["recent"]["max_ms"][-1] == 99.0
    assert content["recent"]["tests"] == 288


def test_many_that_look_read_once(world: World) -> None:
    """The status is read once while it is fresh, however many ask for it at once."""
    put_fleet(world, 3)
    found = site(world, max_age=timedelta(minutes=1))
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(found.answer, [Request("GET", "/api/status")] * 20))) == 20
    reads = world.store.capacity.read["Targets"]
    found.answer(Request("GET", "/metrics"))
    assert world.store.capacity.read["Targets"] == reads
