"""The plan of a sweep."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.planning import Plan, in_cycles, plan, unknown_fields, without_target
from popwatch.model.health import Health, State
from popwatch.model.outcomes import DETAIL_SHOWN, ErrorCode, Outcome, Phase
from popwatch.model.records import Record
from popwatch.model.targets import Target, config_fingerprint, parse_target

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BEFORE = NOON - timedelta(seconds=60)


def targets(*names: str, **fields: object) -> dict[str, Target]:
    return {name: parse_target({"target_id": name, "host": "h", **fields}) for name in names}


class CountingTargets(dict[str, Target]):
    """Counts how often a target is looked up."""

    looks = 0

    def __getitem__(self, name: str) -> Target:
        self.looks += 1
        return super().__getitem__(name)


def names(found: Plan) -> list[str]:
    return [test.target.target_id for test in found.now.tests]


def test_everything_new_is_tested_at_the_first_tick() -> None:
    """On a new stack, where no tick was ever completed, all targets are due."""
    found = plan(NOON, None, targets("a", "b", delay_up=86_400), {}, {})
    assert names(found) == ["a", "b"]
    assert found.states == {State.UNTESTED: 2}


def test_later_tests_get_their_own_time() -> None:
    """A failing target whose next test lies between the ticks is planned for that time."""
    health = Health(State.WARN, NOON, failures=1, next_test_at=NOON + timedelta(seconds=30))
    records = {"a": Record("a", 3, BEFORE + timedelta(seconds=31), health)}
    found = plan(NOON, BEFORE, targets("a", delay_warn=59), records, {})
    assert names(found) == []
    [later] = found.later
    assert (later.tick, later.next_tick) == (NOON + timedelta(seconds=30), NOON + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("tested", "began", "late", "planned", "comes"),
    [
        (-30, 29, 1, 0, 59),  # the tick before was 59 s late: its retest of -30 s begins at 0:29
        (-30, -28, 1, 0, 1),
        (-45, -44, 58, 15, 58),  # and this one is: at once, and not at 1:13; its retests are as late
        (-45, 0, 50, 15, 65),
    ],
)
def test_a_tick_goes_on_with_retests_as_late_as_they_are(
    tested: int, began: int, late: int, planned: int, comes: int
) -> None:
    """Seconds from this tick: the last test and its beginning, this sweep, the next test and its beginning."""
    health = Health(State.WARN, NOON, failures=1)
    outcome = Outcome(NOON + timedelta(seconds=began), Phase.GREETING, error=ErrorCode.TIMED_OUT)
    records = {"a": Record("a", 3, NOON + timedelta(seconds=tested), health, outcome)}
    found = plan(NOON, BEFORE, targets("a", delay_warn=30), records, {}, late_seconds=late)
    [batch] = [batch for batch in (found.now, *found.later) if batch.tests]
    assert batch.tick == NOON + timedelta(seconds=planned)
    assert (batch.tick - NOON).total_seconds() + batch.late_seconds == comes


def test_switched_off_targets_are_suspended_once() -> None:
    """A target that is switched off is suspended by the next sweep, and not again after it."""
    off = targets("a", "b", enabled=False)
    records = {"a": Record("a", 1, None, Health(State.DOWN)), "b": Record("b", 1, None, Health(State.SUSPENDED))}
    found = plan(NOON, BEFORE, off, records, {})
    assert [test.target.target_id for test in found.to_suspend] == ["a"]
    assert names(found) == []
    assert found.states == {State.SUSPENDED: 2}


def test_fleet_decides_the_number_of_batches() -> None:
    """Suspended targets do not count for the number of batches."""
    fleet = targets(*(f"t{n}" for n in range(801)))
    assert plan(NOON, BEFORE, fleet, {}, {}).batches == 2
    assert plan(NOON, BEFORE, {**fleet, **targets("t0", enabled=False)}, {}, {}).batches == 1


def test_records_without_target() -> None:
    """Removing a target from the table leaves its record without one."""
    records = [Record("a"), Record("gone")]
    assert without_target(targets("a"), records) == [Record("gone")]


def test_unknown_fields_have_a_digest_that_changes_with_them() -> None:
    """The same unknown fields have the same digest, others another; with none it is empty."""
    digest, found = unknown_fields(targets("a", "b", prot=1).values())
    assert found == ["a: prot", "b: prot"]
    assert digest == unknown_fields(targets("b", "a", prot=2).values())[0]
    assert digest != unknown_fields(targets("a", prot=1).values())[0]
    assert unknown_fields(targets("a").values()) == ("", [])


def test_unknown_fields_are_reported_short_and_in_one_line() -> None:
    """A name may have thousands of characters, of any kind."""
    digest, [reported] = unknown_fields(targets("a", **{"po\nrt" + "x" * 100_000: 1}).values())
    assert reported.startswith("a: po rtxxx")
    assert len(reported) == DETAIL_SHOWN
    assert digest != unknown_fields(targets("a", **{"po\nrt" + "x" * 100_001: 1}).values())[0]


class TestDependence:
    """Which failing target explains another's failure."""

    def parents(self, fleet: dict[str, Target], **states: State) -> dict[str, str]:
        records = {name: Record(name, 1, BEFORE, Health(state)) for name, state in states.items()}
        found = plan(NOON, BEFORE, fleet, records, {})
        return {test.target.target_id: test.failing_parent for test in found.now.tests}

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            (State.UP, ""),
            (State.UNTESTED, ""),
            (State.WARN, "gateway"),
            (State.DOWN, "gateway"),
            (State.LOST, "gateway"),
            (State.MAINTENANCE, ""),
        ],
    )
    def test_a_failing_parent_explains(self, state: State, expected: str) -> None:
        """From its first failed test on, and only while it is failing."""
        fleet = targets("gateway") | targets("child", depends_on="gateway")
        assert self.parents(fleet, gateway=state)["child"] == expected

    def test_a_parent_that_is_off_or_gone_explains_nothing(self) -> None:
        """Otherwise its children's alerts would be held for ever."""
        assert self.parents(targets("child", depends_on="gone"))["child"] == ""
        fleet = targets("gateway", enabled=False) | targets("child", depends_on="gateway")
        assert self.parents(fleet, gateway=State.DOWN)["child"] == ""

    def test_of_several_parents_all_must_fail(self) -> None:
        """One that passes is a way to the target; one that is off or removed does not count."""
        fleet = targets("a") | targets("b") | targets("off", enabled=False)
        fleet |= targets("child", depends_on=["a", "b", "off", "gone"])
        assert self.parents(fleet, a=State.DOWN, b=State.UP)["child"] == ""
        assert self.parents(fleet, a=State.DOWN, b=State.WARN, off=State.DOWN)["child"] == "a, b"

    def test_a_cycle_through_one_of_several_parents_is_one(self) -> None:
        """What lies between two cycles, or hangs on one, is in none."""
        fleet: dict[str, Target] = {}
        for name, parents in {
            "a": "xb",
            "b": "yc",
            "c": "a",
            "between": "ad",
            "d": "ed",
            "e": "d",
            "x": "",
            "y": "x",
        }.items():
            fleet |= targets(name, depends_on=list(parents))
        assert in_cycles(fleet) == {"a", "b", "c", "d", "e"}
        assert in_cycles(targets("self", depends_on="self")) == {"self"}

    @given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4)))
    def test_cycles_are_those_that_a_walk_finds(self, graph: dict[str, list[str]]) -> None:
        """A target is in a cycle if a walk from its parents comes back to it."""
        fleet: dict[str, Target] = {}
        for name, parents in graph.items():
            fleet |= targets(name, depends_on=parents)

        def reached(name: str) -> set[str]:
            found, ahead = set[str](), list(graph[name])
            while ahead:
                one = ahead.pop()
                if one in graph and one not in found:
                    found.add(one)
                    ahead += graph[one]
            return found

        assert in_cycles(fleet) == {name for name in graph if name in reached(name)}

    def test_a_cycle_explains_nothing(self) -> None:
        """Two targets that depend on each other would otherwise hold each other's alerts for ever."""
        fleet = targets("a", depends_on="b") | targets("b", depends_on="a") | targets("c", depends_on="a")
        found = self.parents(fleet, a=State.DOWN, b=State.DOWN, c=State.UNTESTED)
        assert (found["a"], found["b"], found["c"]) == ("", "", "a")
        assert in_cycles(fleet) == {"a", "b"}

    def test_a_long_chain_is_walked_once(self) -> None:
        """A thousand targets, each behind the next: a few looks at each of them, not a thousand."""
        fleet = CountingTargets(
            {f"t{n}": target for n in range(1000) for target in targets(f"t{n}", depends_on=f"t{n + 1}").values()}
        )
        assert in_cycles(fleet) == set()
        assert fleet.looks <= 2 * len(fleet)


@pytest.mark.parametrize(
    "changed", [{"host": "other.example"}, {"tls": "implicit"}, {"verify_tls": False}, {"expect": "x"}, {"name": "b"}]
)
def test_changed_target_is_tested_at_the_next_tick(changed: dict[str, object]) -> None:
    """Host, TLS, verification: in `lost` too, and not after `delay_lost`. Its name does not matter to the test."""
    item = {"target_id": "a", "host": "pop.example.net", "delay_lost": 3600}
    before = parse_target(item, {})
    health = Health(State.LOST, NOON, failures=10, alerts_sent=3, next_test_at=NOON + timedelta(hours=1))
    records = {"a": Record("a", 3, NOON - timedelta(minutes=1), health, config_fingerprint=config_fingerprint(before))}
    assert names(plan(NOON, BEFORE, {"a": before}, records, {})) == []
    after = {"a": parse_target(item | changed, {})}
    assert names(plan(NOON, BEFORE, after, records, {})) == ([] if "name" in changed else ["a"])
    off = {"a": parse_target(item | changed | {"enabled": False}, {})}
    assert names(plan(NOON, BEFORE, off, records, {})) == []


def test_a_later_field_changes_no_target_that_does_not_use_it() -> None:
    """What the first version wrote of a target is what this one would: an upgrade does not test all of them anew."""
    item = {"target_id": "a", "host": "pop.example.net", "port": "110", "greeting": ["READY"]}
    assert config_fingerprint(parse_target(item)) == "b50ab046"


def test_record_of_an_earlier_version_is_not_a_change() -> None:
    """An upgrade tests no failing target earlier than planned."""
    health = Health(State.LOST, NOON, failures=10, alerts_sent=3, next_test_at=NOON + timedelta(hours=1))
    records = {"a": Record("a", 3, NOON - timedelta(minutes=1), health)}
    assert names(plan(NOON, BEFORE, targets("a", delay_lost=3600), records, {})) == []
