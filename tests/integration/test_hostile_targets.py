"""One bad target does not affect others: items of any kind in tables, a whole sweep, the queue and the alerts."""

from typing import Any

from popwatch.decisions.batches import from_message, to_messages
from popwatch.decisions.planning import plan
from popwatch.model.fields import FIELDS
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import parse_target
from popwatch.prober.loop import Prober
from tests.integration.world import MINUTE, NOON, World

PEM = "-----BEGIN CERTIFICATE-----\n"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(depth):
        value = {"M": {"a": {"L": [value]}}}
    return value


BAD: dict[str, dict[str, Any]] = {
    "numbers": {"port": {"N": "9.9E+125"}, "delay_up": {"N": "-1E-130"}, "max_alerts": {"NS": ["1", "2"]}},
    "sets": {"tags": {"SS": ["a", "b"]}, "certificate_warn_days": {"BS": [b"x"]}, "host": {"SS": ["h"]}},
    "binary": {"host": {"B": b"\xff"}, "email": {"B": b"x"}, "name": {"B": b"\0"}},
    "nested": {name: nested(14) for name in ("host", "tags", "silence", "maintenance", "name")},
    "nulls": {field.name: {"NULL": True} for field in FIELDS if field.name != "target_id"},
    "booleans": {field.name: {"BOOL": True} for field in FIELDS if field.name != "target_id"},
    "large": {"email": {"S": "x" + "\x1c" * 380_000}},
    "umlauts": {"host": {"S": "\u00fc" * 190_000}},
    "windows": {"maintenance": {"L": [{"S": "x"}] * 1_000}},
    "tags": {"tags": {"L": [{"S": f"{number}"} for number in range(1_000)]}},
    "zone": {"timezone": {"S": "a/" * 2_000 + "b"}},
    "scope": {"host": {"S": "2001:db8::1%\u00b2"}},
    "bomb": {"host": {"S": "fe80::1%" + "x" * 300_000}, "email": {"S": "{host}" * 3_000}},
    "pem": {"tls": {"S": "implicit"}, "ca_pem": {"S": PEM + "\u00e9"}},
    "control": {"email": {"S": "\x00{name}\x9b"}, "subject": {"S": "{nmae}"}, "sms": {"S": "{"}},
    "cycle": {"depends_on": {"S": "cycle"}},
    "fields": {f"field-{number}": {"S": "x"} for number in range(500)},
}


def put(world: World, name: str) -> None:
    fields = {"failures_per_alert": {"N": "1"}, "host": {"S": "pop.example.net"}, **BAD[name]}
    world.dynamodb.put_item(TableName="Targets", Item={"target_id": {"S": name}, **fields})


def test_a_fleet_with_every_bad_target(world: World) -> None:
    """Through a sweep, an outage and its alerts: each bad target is judged by itself, and the good one is tested."""
    world.storm_threshold = 100
    for name in BAD:
        put(world, name)
        world.failing[name] = ErrorCode.MISSING_FIELDS
    world.put_target("good")
    for minute in range(2):
        report = world.tick(NOON + MINUTE * minute)
        assert report is not None
        assert (report.undelivered, report.requeued) == (0, 0)
    assert world.state("good") == "up"
    assert {world.state(name) for name in BAD if name not in ("booleans", "nulls")} == {"down"}
    assert {alert["target_id"] for alert in world.received()} >= BAD.keys() - {"booleans", "nulls"}


def test_bad_targets_are_sent_and_probed(world: World) -> None:
    """Each fits into a message and is read from it with the same problems, and none of them stops the prober."""
    for name in BAD:
        put(world, name)
    defaults, items = world.store.read_targets()
    targets = {target.target_id: target for target in (parse_target(item, defaults) for item in items)}
    for body in to_messages(plan(NOON, None, targets, {}, defaults).now):
        assert len(body) < 1_000_000
        for test in from_message(body).tests:  # type: ignore[union-attr]
            assert test.target.problems == targets[test.target.target_id].problems
    bad = [target for target in targets.values() if target.problems]
    assert len(bad) > 8
    tested = [target.target_id for arrivals in Prober().run(bad) for target, _ in arrivals]
    assert sorted(tested) == sorted(target.target_id for target in bad)
