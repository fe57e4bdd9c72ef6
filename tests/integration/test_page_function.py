"""The function behind the page's URL: when a new password holds, the metric of wrong ones, answers of large fleets."""

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
import time_machine

import show_report
from popwatch.aws.store import StatusTable, Store, SweepCheckpoint
from popwatch.model.health import Health, State
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import Record
from popwatch.model.samples import Sample
from popwatch.web.authentication import COOKIE
from popwatch.web.http import Response, accepts_gzip
from popwatch.web.site import Site
from popwatch.web.views import Views
from tests.integration.test_hostile_events import Context
from tests.integration.world import World

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def secret(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ARN of the page's secret, of a function that has just started."""
    arn: str = boto3.client("secretsmanager").create_secret(Name="page", SecretString="first")["ARN"]
    for name, value in {
        "TARGETS_TABLE": "Targets",
        "STATUS_TABLE": "Status",
        "HISTORY_TABLE": "History",
        "REPORT_SECRET_ARN": arn,
        "POWERTOOLS_METRICS_NAMESPACE": "popwatch",
        "POWERTOOLS_SERVICE_NAME": "popwatch-page",
    }.items():
        monkeypatch.setenv(name, value)
    world.put_target("mail", host="pop.example.net")
    show_report._site.cache_clear()
    yield arn
    show_report._site.cache_clear()


def ask(path: str, method: str = "GET", body: str = "", **headers: str) -> dict[str, Any]:
    """What the function returns for a request of its URL."""
    context: Any = Context()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    event = {"requestContext": {"http": {"method": method}}, "rawPath": path, "headers": named, "body": body}
    return show_report.handler(event, context)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


def test_a_new_password_holds_after_a_minute(secret: str) -> None:
    """Until then the old one does; after that neither the old one nor its sessions do."""

    def admitted(**headers: str) -> bool:
        return bool(ask("/api/status", **headers)["statusCode"] == 200)

    with time_machine.travel(NOW, tick=False) as clock:
        [cookie] = ask("/sign-in", "POST", "password=first")["cookies"]
        session = {"cookie": cookie.partition(";")[0]}
        assert session["cookie"].startswith(COOKIE)
        boto3.client("secretsmanager").put_secret_value(SecretId=secret, SecretString="second")
        clock.shift(show_report.SECRET_SECONDS)
        assert admitted(authorization=basic("first"))
        assert admitted(**session)
        assert not admitted(authorization=basic("second"))
        clock.shift(0.001)
        assert admitted(authorization=basic("second"))
        assert not admitted(authorization=basic("first"))
        assert not admitted(**session)
    assert show_report.SECRET_SECONDS == 60


def test_the_form_of_a_chosen_password_is_read(secret: str) -> None:
    """A function that starts before an update has changed the secret, or that is rolled back."""
    chosen = json.dumps({"password": "correct horse", "key": "k" * 64})
    boto3.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=chosen)
    assert ask("/api/status", authorization=basic("correct horse"))["statusCode"] == 200
    assert ask("/api/status", authorization=basic(chosen))["statusCode"] == 401


@pytest.mark.usefixtures("secret")
def test_refused_passwords_are_a_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of EMF for each; right passwords, sessions and requests without credentials write none."""
    ask("/api/status", authorization=basic("guess"))
    ask("/sign-in", "POST", "password=guess")
    lines = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    ask("/api/status", authorization=basic("first"))
    ask("/sign-in", "POST", "password=first")
    ask("/api/status")
    ask("/api/status", cookie=f"{COOKIE}=1.x")
    assert "_aws" not in capsys.readouterr().out
    assert len(lines) == 2
    for line in map(json.loads, lines):
        [described] = line["_aws"]["CloudWatchMetrics"]
        assert described == {
            "Namespace": "popwatch",
            "Dimensions": [["service"]],
            "Metrics": [{"Name": "RefusedSignIns", "Unit": "Count"}],
        }
        assert (line["service"], line["RefusedSignIns"]) == ("popwatch-page", [1.0])
        assert "guess" not in json.dumps(line)


class LargeFleet(Store):
    """Tables of many targets, one in ten of them down, without a database."""

    def __init__(self, count: int) -> None:
        self.names = [f"mail-berlin-{number:05}" for number in range(count)]

    def read_targets(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return {}, [
            {
                "target_id": name,
                "name": f"Mail Berlin {number:05}",
                "host": f"pop{number}.customers.example.net",
                "group": "customers",
            }
            for number, name in enumerate(self.names)
        ]

    def read_status(self) -> StatusTable:
        failed = Outcome(NOW, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting", "The server said nothing for 20 s.")
        records = {
            name: Record(
                name, 3, NOW, Health(State.UP if number % 10 else State.DOWN, NOW), None if number % 10 else failed
            )
            for number, name in enumerate(self.names)
        }
        return StatusTable(SweepCheckpoint(NOW, None, {"1": NOW.isoformat()}), records)

    def read_samples_back(
        self,
        batches: int,  # noqa: ARG002 - all are in one batch
        batch: int,  # noqa: ARG002
        since: datetime,  # noqa: ARG002
    ) -> Iterator[tuple[datetime, Mapping[str, Sample]]]:
        yield NOW, {name: Sample(12.5 + number % 700 / 7) for number, name in enumerate(self.names)}


@pytest.fixture
def fleet_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The function shows a fleet of this many targets to anyone."""

    def show(count: int) -> None:
        views = Views(LargeFleet(count), lambda: NOW, max_age=timedelta(hours=1))
        site = Site(views, None, refresh_seconds=15)
        monkeypatch.setattr(show_report, "_site", lambda: site)

    return show


def payload(answer: dict[str, Any]) -> int:
    """The bytes that Lambda counts: what the runtime sends to it, the function's return value as JSON."""
    return len(json.dumps(answer).encode())


@pytest.mark.long
@pytest.mark.parametrize("count", [1_500, 2_000, 7_000, 20_000])
def test_lambda_can_send_the_answers_of_large_fleets(
    fleet_of: Callable[[int], None], capsys: pytest.CaptureFixture[str], count: int
) -> None:
    """Whole and far below the limit with gzip; without it a sentence from 2,000 (`/metrics`) and 7,000 targets on."""
    fleet_of(count)
    for path, fits_up_to in (("/metrics", 1_500), ("/api/status", 5_000)):
        packed = ask(path, accept_encoding="gzip")
        whole = gzip.decompress(base64.b64decode(packed["body"]))
        with capsys.disabled():
            print(
                f"\n{count:>6} {path:<12} {payload(packed) / 1e6:.2f} MB with gzip, {len(whole) / 1e6:.1f} MB without"
            )
        assert (packed["statusCode"], packed["headers"]["Content-Encoding"]) == (200, "gzip")
        assert whole.count(f"mail-berlin-{count - 1:05}".encode()) > 0
        assert payload(packed) < 3e6  # as docs/page.md says
        if count == 20_000:
            continue  # without gzip it is as with 7,000, and takes seconds
        plain = ask(path)
        assert payload(plain) < show_report.LARGEST_PAYLOAD
        if count <= fits_up_to:
            assert (plain["statusCode"], base64.b64decode(plain["body"])) == (200, whole)
        else:
            error = json.loads(base64.b64decode(plain["body"]))["error"]
            assert (plain["statusCode"], "Accept-Encoding: gzip" in error) == (406, True)
            assert f"{len(whole) / 1e6:.1f} MB" in error


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize(("headers", "status"), [({}, 406), ({"Content-Encoding": "gzip"}, 500)])
def test_the_limit_is_exact(headers: dict[str, str], status: int, more: int) -> None:
    """The largest body fits with all headers; with one byte more a sentence is sent instead."""
    cookie = {"Set-Cookie": "x" * 200}
    full = Response(200, b"x" * (show_report.LARGEST_SENT + more), headers=headers | cookie)
    sent = show_report._to_url(show_report._sendable(full.finished(show_report._PLAIN)))
    assert sent["statusCode"] == (status if more else 200)
    assert payload(sent) <= show_report.LARGEST_PAYLOAD
    assert more or payload(sent) > show_report.LARGEST_PAYLOAD - show_report.ENVELOPE


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZip;q=0.5, br", True),
        ("gzip;q=1.0", True),
        ("gzip;q=0", False),
        ("gzip ; q=0.000, br", False),
        ("br", False),
        ("notgzip", False),
        ("", False),
    ],
)
def test_gzip_is_accepted_as_the_rfc_says(header: str, accepted: bool) -> None:
    """A weight of 0 refuses it."""
    assert accepts_gzip(header) is accepted
