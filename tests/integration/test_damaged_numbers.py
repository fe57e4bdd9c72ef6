"""A number of a stored item that popwatch never writes stops nothing: each of every item, at any depth, in turn.

Each of many targets has a record, or a credential, of which another number is damaged. All are tested at two ticks with
one that is well, and the page shows them.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from popwatch.aws.items import to_item
from popwatch.aws.store import CREDENTIAL_PREFIX
from popwatch.model.credential_state import SCHEMA_VERSION, CredentialState, Refusal, revision
from popwatch.model.records import Record
from popwatch.model.serialization import serialize
from tests.chaos.tables import Tables
from tests.fuzz.tables import BEGIN, DAY, MINUTE, check_page, sweep
from tests.in_memory import Client
from tests.stored_forms import TARGET_ID, TICK, Filler

NUMBERS = (-1, -(10**12), 10**9, 10**12, 10**14, 2**53 - 1)
EARLIER = ("certificate_warnings", "throttled")
"""What the health of a record of earlier versions lacks, so that other parts of it count."""

NOW = TICK + timedelta(hours=1)
WELL = "well"


def numbers(item: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers of an item are, by the names and positions that lead to them."""
    match item:
        case dict() | list():
            for name, entry in item.items() if isinstance(item, dict) else enumerate(item):
                yield from numbers(entry, (*place, name))
        case bool() | str():
            pass
        case _:
            yield place


def damaged(item: Any, place: tuple[Any, ...], number: int) -> Any:
    """An item with another number in a place."""
    item = deepcopy(item)
    inside = item
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = number
    return item


def check(targets: Mapping[str, str], items: Mapping[str, Any], *, fail: bool = False) -> None:
    """All are tested: targets with their logins, and what Status holds. With `fail` all but one fail."""
    client = Client(Tables())
    for name, login in {**targets, WELL: "monitor"}.items():
        fields = {"target_id": name, "host": "pop.example", "tls": "implicit", "login": login, "login_every": 60}
        client.put_item(TableName="Targets", Item=to_item(fields))
    for item in items.values():
        client.put_item(TableName="Status", Item=to_item(item))
    for minute in range(2):
        tested = sweep(client, NOW + minute * MINUTE, failing=targets if fail else ())
        assert tested >= {WELL}
        if minute == 0:
            assert tested == {*targets, WELL}
    check_page(client, NOW + MINUTE, {WELL})


@pytest.mark.long
@pytest.mark.parametrize(
    ("state", "fail", "without"),
    [
        ("up", False, ()),
        ("up", False, EARLIER),
        ("down", False, ()),
        ("down", True, EARLIER),
        ("maintenance", True, ()),
    ],
)
@pytest.mark.parametrize("number", NUMBERS)
def test_records(number: int, state: str, fail: bool, without: tuple[str, ...]) -> None:
    """All that a record holds, in states that are judged and shown in different ways."""
    record = serialize(Filler().fill(Record))
    record["health"] = {name: entry for name, entry in record["health"].items() if name not in without}
    record["health"]["state"] = state
    found = {f"t-{place}": damaged(record, place, number) for place in numbers(record)}
    assert len(found) > 40
    items = {
        name: json.loads(json.dumps(item).replace(f'"{TARGET_ID}"', json.dumps(name))) for name, item in found.items()
    }
    check(dict.fromkeys(found, "monitor"), items, fail=fail)


@pytest.mark.parametrize("certain", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
def test_credentials(number: int, certain: bool) -> None:
    """All that is kept of a credential's logins."""
    state = replace(
        Filler().fill(CredentialState),
        revision=revision(1, BEGIN - DAY),
        refusals=(Refusal(TARGET_ID, 3, TICK), Refusal("other", 2, TICK)),
        certain=certain,
        problem="",
        problem_since=None,
    )
    stored = serialize(state)
    found = {f"c{at}": damaged(stored, place, number) for at, place in enumerate(numbers(stored))}
    assert len(found) == 4
    items = {
        name: {"target_id": CREDENTIAL_PREFIX + name, "form": SCHEMA_VERSION, "version": item["version"]}
        for name, item in found.items()
    }
    for name, item in found.items():
        own = json.loads(json.dumps(item).replace(f'"{TARGET_ID}"', json.dumps(name)))
        items[name]["credential"] = own | {"name": name}
    check({name: name for name in found}, items)
