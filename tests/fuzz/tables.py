"""What a damaged item of a table may do: stop nothing but itself.

Tables of a small fleet, in memory: targets in several states, with outboxes, samples, hours, days, gaps, events, and
logins with a credential. Each execution damages one field of one item by chance, then sweeps twice and asks the page
for everything.
"""

import random
from collections.abc import Generator, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

from botocore.exceptions import ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.credentials import Credentials, Found
from popwatch.aws.items import to_item
from popwatch.aws.store import CREDENTIAL_PREFIX, Store
from popwatch.aws.store import Tables as Names
from popwatch.config import Settings
from popwatch.decisions.batches import Work
from popwatch.model.credentials import Credential, Secret
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.outcomes import Certificate, ErrorCode, LoginResult, LoginVerdict, Outcome, Phase, Role
from popwatch.model.records import Action, InterventionEvent, Record
from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.targets import Target
from popwatch.prober.access_tokens import AccessTokens
from popwatch.prober.loop import MayLogIn, Prober
from popwatch.queries.history import read_totals
from popwatch.reports.availability import Period
from popwatch.sweep.logins import Logins
from popwatch.sweep.sweep import Dependencies, Sweep
from popwatch.web.http import Request
from popwatch.web.site import Site
from popwatch.web.views import Views
from tests.chaos.tables import Item, Tables
from tests.in_memory import Client, Inline
from tests.stored_forms import Filler

BEGIN = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WELL = ("well-1", "well-2", "well-3", "login", "login-delay")
FAILING = ("refused", "pending", "no-login")
LOGINS = ("login", "login-delay", "no-login", "whole")
CREDENTIAL = "monitor"
SHOWN = (*WELL, *FAILING, "off", "quiet", "whole")
CERTIFICATE = Certificate(Role.LEAF, "pop.example.net", BEGIN + 5 * DAY, 90 * DAY)
PLACES = Names("Targets", "Status", "History")

STRINGS = (
    *("", " ", "x", "-1", "1e400", "NaN", "null", "up", "down", "sick", "a" * 5000, "\x00\x1b[2J\u202e", "{name} {{"),
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"),
    *("2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00:00+02:00", "2099-01-01T00:00:00Z", "1999-12-31T00:00:00Z"),
    *(
        "2026-02-30T00:00:00Z",
        "transition#2026-11-23T22:00:00Z",
        "#",
        "##",
        "~",
        "Europe/Berlin",
        "mon-fri",
        "implicit",
    ),
    *("[" * 3000, "[]", "5", '{"tests": "many"}', '{"tests": 1, "buckets": {"x": 1}}', '{"buckets": {"999999": 1}}'),
    *('{"rtt_mean_ms": NaN}', '{"passes": -1, "rtt_mean_ms": 5}', '{"failures": {"timed-out": null}}'),
    *("9 2099-01-01T00:00:00Z", "9 9999-12-31T23:59:59-14:00", "9 2026-11-23T21:00:00Z", "x 2026-11-23T21:00:00Z", "9"),
)
NUMBERS = (
    *("0", "-1", "1", "0.5", "1E+125", "-1E-130", "9" * 38, "-" + "9" * 38, "1E+20", "9007199254740993", "65536"),
    *("-65537", "86400", "86401", "1E+6", "1E+9", "1000000001", "1E+11", "1E+12", "1E+14", "-1E+12", str(2**53 - 1)),
)

DEEP: dict[str, Any] = {"S": "deep"}
for _ in range(30):
    DEEP = {"M": {"health": DEEP}}

OTHERS: tuple[Item, ...] = (
    *({"NULL": True}, {"BOOL": True}, {"BOOL": False}, {"B": b"\xff"}, {"BS": [b"x"]}, {"SS": ["a"]}, {"NS": ["1"]}),
    *({"L": []}, {"M": {}}, {"L": [{"N": "1"}, {"S": "x"}, {"M": {}}, {"NULL": True}]}, {"M": {"": {"S": ""}}}, DEEP),
    {"L": [{"M": {"version": {"N": "1"}, "tick": {"S": "2026-11-23T22:00:00Z"}}}]},
)
"""Values of every type, in DynamoDB's own form."""


class Scripted(Prober):
    """Some targets fail, the others pass; one greets and fails at its login. Each certificate expires soon."""

    def __init__(self, now: datetime, failing: Iterable[str]) -> None:
        self.now, self.tested, self._failing, self._credentials = now, set[str](), set(failing), {}

    def with_credentials(self, credentials: Mapping[str, Credential], may_log_in: MayLogIn | None = None) -> Self:
        self._credentials, self._may_log_in = credentials, may_log_in
        return self

    def run(
        self,
        targets: Iterable[Target],
        *,
        end_by: float | None = None,  # noqa: ARG002 - nothing takes time here
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        for target in targets:
            self.tested.add(target.target_id)
            yield [(target, self._outcome(target.target_id))]

    def _outcome(self, name: str) -> Outcome:
        if name in self._failing and name not in LOGINS:
            return Outcome(self.now, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting")
        found = Outcome(self.now, Phase.QUIT, rtt_ms=12.5, certificates=(CERTIFICATE,))
        if name not in self._credentials or not (self._may_log_in and self._may_log_in(name)):
            return found
        delay = 120 if name == "login-delay" else 0
        if name in self._failing:
            login = LoginResult(LoginVerdict.UNCLEAR, login_delay=delay, said="-ERR")
            return replace(found, phase=Phase.LOGIN, error=ErrorCode.PROTOCOL, reason="login-refused", login=login)
        return replace(found, login=LoginResult(LoginVerdict.PASSED, 3, 4096, delay))


class StoredCredentials(Credentials):
    """One credential, which was stored before the fleet was first tested."""

    def __init__(self) -> None:
        pass

    def read(self, names: Iterable[str], *, refresh: bool = False) -> dict[str, Found]:  # noqa: ARG002
        return {name: StoredCredential(name, "anna", Secret("x"), version=1, changed_at=BEGIN - DAY) for name in names}

    def forget(self, name: str) -> None:
        pass


class NoQueue(BatchQueue):
    """Takes messages, and delivers none."""

    def __init__(self) -> None:
        pass

    def send(self, work: Work, delay_seconds: int = 0) -> int:  # noqa: ARG002
        return 1


class Sns:
    """Takes every alert; or none of a target, so that its outbox is left."""

    def __init__(self, refused: str = "") -> None:
        self._refused = refused

    def publish(self, **request: Any) -> dict[str, str]:
        if self._refused and self._refused in str(request):
            raise ClientError({"Error": {"Code": "InternalError", "Message": "no"}}, "Publish")
        return {"MessageId": "id"}


def sweep(client: Client, now: datetime, refused: str = "", failing: Iterable[str] = FAILING) -> set[str]:
    """One tick; the targets that were tested."""
    prober = Scripted(now, failing)
    topics = AlertTopics(Sns(refused), "arn:alerts", "arn:sms")  # type: ignore[arg-type]
    store = _store(client, now)
    tokens = AccessTokens(lambda: now)
    logins = Logins(store, StoredCredentials(), tokens, topics, lambda: now, stack="popwatch", threads=Inline)
    dependencies = Dependencies(store, prober, topics, NoQueue(), lambda *_: None, Inline, logins)
    settings = Settings("Targets", "Status", "History", "arn:alerts", "queue", "arn:sms")
    Sweep(dependencies, settings, writer=f"{now:%H%M}", end_by=0.0, clock=lambda: now).run_tick(now)
    return prober.tested


def _store(client: Client, now: datetime) -> Store:
    return Store(client, PLACES, lambda: now)  # type: ignore[arg-type]


@cache
def fleet() -> tuple[dict[str, list[Item]], datetime]:
    """The items of a fleet's tables, and the time of its last tick: its day has been added up, and there is a gap."""
    client = Client(Tables())
    names = (*WELL, *FAILING, "gone", "whole", "off", "quiet")
    targets: dict[str, dict[str, Any]] = {name: {"target_id": name, "host": f"{name}.example"} for name in names}
    for name in LOGINS:
        targets[name] |= {"tls": "implicit", "login": CREDENTIAL, "login_every": 60}
    targets["well-1"] |= {"tags": ["a"], "port": 995, "tls": "implicit", "email": "{name}", "timezone": "Europe/Berlin"}
    targets["well-2"] |= {"silence": {"from": "2026-11-20T00:00Z", "until": "2026-11-21T00:00Z", "by": "x"}}
    acknowledged = {"outage": "2026-11-20T00:00Z", "at": "2026-11-20T00:00Z"}
    targets["refused"] |= {"acknowledged": acknowledged, "depends_on": "off"}
    targets["off"] |= {"enabled": False}
    targets["quiet"] |= {"maintenance": [{"from": "00:00", "until": "24:00"}]}
    targets[DEFAULTS_ID] = {"target_id": DEFAULTS_ID, "failures_per_alert": 2, "max_alerts": 2}
    for item in targets.values():
        client.put_item(TableName="Targets", Item=to_item(item))
    now = BEGIN
    for minute in (*range(6), *range(20, 24), 130, 131, 190, 191):
        now = BEGIN + minute * MINUTE
        sweep(client, now, "pending")
    _put_whole_record(_store(client, now), now)
    for name, action in (("well-1", Action.SILENCED), ("refused", Action.ACKNOWLEDGED)):
        _store(client, now).put_intervention(name, InterventionEvent(action, now, "someone", "why", now + DAY))
    client.delete_item(TableName="Targets", Key=to_item({"target_id": "gone"}))
    tables = {name: list(table.items.values()) for name, table in client.tables.by_name.items()}
    kinds = {item["pk"]["S"].split("#")[0] for item in tables["History"]}
    assert kinds == {"samples", "hours", "days", "target", "gaps"}
    assert any("pending" in item for item in tables["Status"])
    assert any(item["target_id"] == {"S": CREDENTIAL_PREFIX + CREDENTIAL} for item in tables["Status"])
    return tables, now


def _put_whole_record(store: Store, now: datetime) -> None:
    """A record in which every field is set, at every depth."""
    record = Filler().fill(Record)
    known = store.read_record("whole")
    times = {"version": known.version + 1, "tick": now, "target_id": "whole"}
    assert store.commit(replace(record, **times), known.version, known.tick) is None


def damage(rng: random.Random, item: Item, fixed: Iterable[str]) -> Item:
    """An item with one field, at any depth, replaced or missing; those of its key stay strings."""
    item = deepcopy(item)
    inside: Any = item
    name: Any = rng.choice(list(item))
    while name not in fixed and rng.random() < 0.7:
        [(kind, held)] = inside[name].items()
        if kind not in ("M", "L") or not held:
            break
        inside, name = held, rng.choice(list(held)) if kind == "M" else rng.randrange(len(held))
    if inside is item and name in fixed:
        if name == "sk":  # a key of History that begins as it did, so that it is read
            inside[name] = {"S": inside[name]["S"][: rng.randrange(1, 40)] + rng.choice(STRINGS)[:200]}
    elif isinstance(inside, dict) and rng.random() < 0.1:
        del inside[name]
    else:
        inside[name] = rng.choice([{"S": rng.choice(STRINGS)}, {"N": rng.choice(NUMBERS)}, rng.choice(OTHERS)])
    return item


def check_tables(data: bytes) -> None:
    """One field of one item of a table is damaged: all other targets are tested at two ticks, and the page answers."""
    rng = random.Random(data)
    items, last = fleet()
    tables = Tables()
    for name, table in tables.by_name.items():
        for item in items[name]:
            table.put(item, -1.0)
    name = rng.choice(list(items))
    item = rng.choice(items[name])
    table = tables.by_name[name]
    keys = [key for key in (table.hash_name, table.range_name) if key]
    damaged = damage(rng, item, keys)
    if damaged[keys[-1]] != item[keys[-1]] and rng.random() < 0.5:
        table.delete(table.key_of(item), -1.0)
    table.put(damaged, -1.0)
    owner = item["target_id"]["S"] if name == "Targets" else ""
    others = set() if owner == DEFAULTS_ID else {*WELL} - {owner}
    client = Client(tables)
    for minute in (1, 2):
        now = last + minute * MINUTE
        assert others <= sweep(client, now), (name, damaged)
    about = item["target_id"]["S"] if "target_id" in item else item["pk"]["S"].removeprefix("target#")
    check_page(client, now, {about if about in SHOWN else rng.choice(SHOWN)})


def check_page(client: Client, now: datetime, names: set[str]) -> None:
    """The page, with some targets, and the report read all there is."""
    store = _store(client, now)
    site = Site(Views(store, lambda: now, max_age=timedelta()), None, refresh_seconds=5)
    for path in ("/api/status", "/metrics", *(f"/api/targets/{name}" for name in names)):
        answer = site.answer(Request("GET", path))
        assert answer.status == 200 or (answer.status, path.count("/")) == (404, 3), (path, answer.status)
    read_totals(store, store.read_checkpoint(), Period(now - 2 * DAY, now))
