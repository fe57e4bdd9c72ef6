"""When postures are tested, and which alerts their changes bring. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from popwatch.decisions.judging import judge
from popwatch.decisions.posture_tests import HOUR_OF_DAY, is_posture_due, with_present_posture
from popwatch.decisions.posture_tests import with_posture as with_posture_of
from popwatch.decisions.schedule import next_due
from popwatch.model.health import Alert, AlertEvent, Health, State
from popwatch.model.outcomes import Certificate, Outcome, Phase, Role
from popwatch.model.posture import (
    NO,
    NOT_TESTED,
    YES,
    CapaReply,
    Posture,
    PostureFindingKind,
    PostureSummary,
    Sibling,
    finding_names,
    parse_summary,
)
from popwatch.model.targets import Target, parse_target, server_fingerprint

START = datetime(2026, 11, 1, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
GOOD = Posture(
    START,
    stls=YES,
    user_in_clear=NO,
    tls_1_0=NO,
    tls_1_1=NO,
    chain=YES,
    in_tls=CapaReply(("UIDL", "USER"), ("PLAIN", "LOGIN")),
)
WORSE = replace(GOOD, user_in_clear=YES, tls_1_0=YES, in_tls=replace(GOOD.in_tls or CapaReply(), mechanisms=("PLAIN",)))
CHANGES = ["plaintext-login-allowed", "tls10-accepted", "mechanism-removed"]
UP = Health(State.UP, START)


def target(**fields: object) -> Target:
    return parse_target({"target_id": "mail", "host": "pop.example.net", **fields})


def passed(now: datetime) -> Outcome:
    return Outcome(now, Phase.QUIT, rtt_ms=12.5)


def with_posture(health: Health, posture: Posture) -> Health:
    return with_posture_of(target(), health, posture)


def got_worse(seen_at: datetime = START, before: Posture = GOOD, now: Posture = WORSE) -> Health:
    """What two posture tests in a row make of a target that has got worse: the second one has seen it again."""
    health = with_posture(with_posture(UP, before), now)
    return with_posture(health, replace(now, tested_at=seen_at))


def kept(health: Health) -> PostureSummary:
    found = parse_summary(health.posture)
    assert found
    return found


@pytest.mark.parametrize("delay", [10, 60, 90, 300, 420, 3600, 86_400])
@pytest.mark.parametrize("name", ["mail", "pop", "t7"])
def test_once_a_day_at_a_time_of_its_own(name: str, delay: int) -> None:
    """With one of the tests of each day, at the same time of it as near as they come."""
    watched = target(target_id=name, delay_up=delay)
    ticks = [START + MINUTE * number for number in range(5 * 1440)]
    made = [
        it for it in ticks if next_due(name, UP, watched.policy, tested_tick=None, after=it - MINUTE, tick=it) == it
    ]
    tested = [it for it in made if is_posture_due(watched, UP, it)]
    assert len(tested) == 5
    apart = max(timedelta(seconds=delay) if 86_400 % delay else timedelta(), MINUTE if delay == 90 else timedelta())
    assert all(abs(later - earlier - DAY) <= apart for earlier, later in pairwise(tested))


def test_a_fleet_is_spread_over_the_day() -> None:
    """After an upgrade, too: no slot has many more than its share, and each target has its turn within a day."""
    fleet = [target(target_id=f"t{number}") for number in range(960)]
    due: Counter[datetime] = Counter()
    for number in range(DAY // HOUR_OF_DAY):
        due[START + HOUR_OF_DAY * number] = sum(is_posture_due(it, UP, START + HOUR_OF_DAY * number) for it in fleet)
    assert sum(due.values()) == 960
    assert max(due.values()) <= 80


@pytest.mark.parametrize("state", [state for state in State if state is not State.UP])
def test_only_while_up(state: State) -> None:
    """A server that fails is not asked more, and in maintenance no one wants to know."""
    ticks = [START + MINUTE * number for number in range(1440)]
    assert sum(is_posture_due(target(), UP, tick) for tick in ticks) == 1
    assert not any(is_posture_due(target(), replace(UP, state=state), tick) for tick in ticks)
    assert not any(is_posture_due(target(posture=False), UP, tick) for tick in ticks)


def test_a_posture_that_stays_changes_nothing() -> None:
    """So nothing is written of it; the same if nothing could be asked, the first time too."""
    health = with_posture(UP, GOOD)
    assert health.posture
    assert with_posture(health, replace(GOOD, tested_at=START + DAY, tls_1_0=NOT_TESTED)) == health
    unknown = Posture(START, problem="The connection was refused.")
    assert with_posture(health, unknown) == health
    assert with_posture(UP, unknown) == UP


def run(
    health: Health, ticks: Sequence[datetime], servers: Callable[[datetime], Posture]
) -> tuple[Health, list[Alert]]:
    """Tests that pass at these times, and posture tests as they are due: the health after them, and their alerts."""
    watched, alerts, asked = target(), [], 0
    for tick in ticks:
        judged = judge(health, passed(tick), watched.policy, tick)
        due = is_posture_due(watched, health, tick)
        health = with_posture(judged.health, replace(servers(tick), tested_at=tick + SECOND)) if due else judged.health
        alerts += [judged.alert] if judged.alert else []
        asked += due
    return health, alerts


SLOT = next(START + MINUTE * number for number in range(1440) if is_posture_due(target(), UP, START + MINUTE * number))
"""The first time at which the posture of the target is tested."""
EACH_MINUTE = [SLOT + MINUTE * number for number in range(-1, 1500)]


def test_each_change_is_alerted_once_one_with_each_test() -> None:
    """Found, seen again with the next test, and alerted from the one after it on; then nothing more."""
    known = with_posture(UP, GOOD)
    health, alerts = run(known, EACH_MINUTE, lambda _: WORSE)
    assert [it.worse.kind if it.worse else None for it in alerts] == CHANGES
    assert [it.at - SLOT for it in alerts] == [MINUTE * number for number in (2, 3, 4)]
    assert [it.worse_seen_at for it in alerts] == [it.at - MINUTE + SECOND for it in alerts]
    assert {it.event for it in alerts if it} == {AlertEvent.POSTURE}
    assert (health.posture_pending, health.posture_seen_at) == ((), None)
    assert with_posture(health, WORSE).posture_pending == ()
    assert [it.split()[0] for it in finding_names(kept(health))] == CHANGES[:2]


@pytest.mark.parametrize("answer", [GOOD, replace(GOOD, user_in_clear=NOT_TESTED, tls_1_0=NOT_TESTED, in_tls=None)])
def test_what_is_seen_only_once_is_not_alerted(answer: Posture) -> None:
    """A server that has too many connections at that time, or refuses for another reason that passes."""
    _, alerts = run(with_posture(UP, GOOD), EACH_MINUTE, lambda tick: WORSE if tick == SLOT else answer)
    assert alerts == []


def test_what_could_not_be_asked_again_waits_for_the_next_day() -> None:
    """It is asked for ten minutes with each test, then once a day."""
    unknown = Posture(START, problem="no-greeting")
    asked: list[datetime] = []

    def servers(tick: datetime) -> Posture:
        asked.append(tick)
        return WORSE if tick in (SLOT, SLOT + DAY) else unknown

    _, alerts = run(with_posture(UP, GOOD), EACH_MINUTE, servers)
    assert asked[:10] == [SLOT + MINUTE * number for number in range(10)]
    assert asked[10] == SLOT + DAY
    assert alerts[0].at == SLOT + DAY + MINUTE


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"since": START + SECOND}, START + MINUTE),
        ({}, START + 7 * MINUTE),
        ({"posture_seen_at": None}, START),
        ({"state": State.WARN, "failures": 1, "failing_since": START}, START + MINUTE),
    ],
    ids=["up again since", "long ago", "seen once", "fails"],
)
def test_what_was_not_seen_with_the_last_test_is_asked_before_it_is_alerted(
    fields: dict[str, Any], at: datetime
) -> None:
    """As after an outage, a silence, a suspension: a restart may have mended it."""
    health = replace(got_worse(), **fields)
    judged = judge(health, passed(at), target().policy, at)
    assert (judged.alert, len(judged.health.posture_pending)) == (None, 3)
    later = at + MINUTE
    up = replace(judged.health, state=State.UP)
    assert is_posture_due(target(), up, later)
    assert not is_posture_due(target(max_alerts=0), up, later)
    assert with_posture(up, GOOD).posture_pending == ()
    assert judge(with_posture(up, replace(WORSE, tested_at=later)), passed(later), target().policy, later).alert


def test_the_words_are_those_of_the_last_posture() -> None:
    """Why a chain is not trusted, and how STLS fails, may be another reason by then."""
    first = replace(GOOD, chain=NO, chain_reason="tls-issuer-missing", stls=NO)
    then = replace(first, chain_reason="tls-name-mismatch", stls_reason="reset")
    health = with_posture(with_posture(with_posture(UP, GOOD), first), then)
    assert health.posture_pending == ("stls-gone:reset", "chain-not-trusted:tls-name-mismatch")


def test_what_holds_alerts_holds_these() -> None:
    """Maintenance, a silence and an outage, and `max_alerts` 0: they are sent afterwards, if they are so still."""
    health = got_worse()
    maintained = target(maintenance=[{"from": "2026-10-31", "until": "2026-11-02"}])
    within = judge(health, passed(START), maintained.policy, START)
    assert (within.alert, len(within.health.posture_pending)) == (None, 3)
    silenced = judge(health, passed(START), target().policy, START, silenced=True)
    assert (silenced.alert, len(silenced.health.posture_pending)) == (None, 3)
    failed = judge(health, Outcome(START, Phase.GREETING), target().policy, START)
    assert len(failed.health.posture_pending) >= 2
    first = judge(within.health, passed(START + 3 * DAY), maintained.policy, START + 3 * DAY)
    assert first.alert is None
    assert is_posture_due(maintained, first.health, START + 3 * DAY + MINUTE)
    seen = with_posture_of(maintained, first.health, replace(WORSE, tested_at=START + 3 * DAY + MINUTE))
    after = judge(seen, passed(START + 3 * DAY + 2 * MINUTE), maintained.policy, START + 3 * DAY + 2 * MINUTE)
    assert after.alert
    assert after.alert.event is AlertEvent.POSTURE
    mute = judge(health, passed(START), target(max_alerts=0).policy, START)
    assert (mute.alert, len(mute.health.posture_pending)) == (None, 3)


FULL = replace(
    GOOD,
    tls_1_1=NO,
    in_clear=CapaReply(("STLS",)),
    certificate=Certificate(Role.LEAF, "pop.example.net", START + 85 * DAY, 90 * DAY),
    siblings=(Sibling(465, Certificate(Role.LEAF, "pop.example.net", START + 85 * DAY, 90 * DAY), covers_names=True),),
)
RENEWED = (Sibling(465, Certificate(Role.LEAF, "pop.example.net", START + 90 * DAY, 90 * DAY), covers_names=True),)
MENDED: dict[str, dict[str, Any]] = {
    "stls-gone": {"stls": NO},
    "plaintext-login-allowed": {"user_in_clear": YES},
    "tls10-accepted": {"tls_1_0": YES},
    "tls11-accepted": {"tls_1_1": YES},
    "chain-not-trusted": {"chain": NO, "chain_reason": "tls-issuer-missing"},
    "certificate-not-reloaded": {"siblings": RENEWED},
    "weak-mechanism-offered": {"in_clear": CapaReply(("STLS",), ("NTLM",))},
    "mechanism-removed": {"in_tls": CapaReply(("UIDL", "USER"), ("PLAIN",))},
    "capability-removed": {"in_tls": CapaReply(("USER",), ("PLAIN", "LOGIN"))},
    "capabilities-gone": {"in_tls": CapaReply(capa_supported=False)},
}


@pytest.mark.parametrize("kind", PostureFindingKind)
def test_what_was_mended_before_its_alert_is_not_alerted(kind: PostureFindingKind) -> None:
    """It waits as long as it is so, or not tested; `refuses it now` would be untrue afterwards."""
    worse = replace(FULL, **MENDED[kind])
    health = with_posture(with_posture(UP, FULL), worse)
    assert [it.split(":")[0] for it in health.posture_pending] == [kind]
    later = START + MINUTE
    assert with_posture(health, replace(worse, tested_at=later)) == replace(health, posture_seen_at=later)
    assert with_posture(health, Posture(START, stls=YES)).posture_pending == (
        () if kind is PostureFindingKind.STLS_GONE else health.posture_pending
    )
    mended = with_posture(health, FULL)
    assert (mended.posture_pending, finding_names(kept(mended))) == ((), [])


def test_a_port_that_is_no_longer_asked_is_forgotten() -> None:
    """Or one that is closed; but not one that did not answer this time, and none where no certificate was seen."""
    found = with_posture(UP, replace(FULL, siblings=RENEWED))
    fault = ["certificate-not-reloaded 465"]
    assert finding_names(kept(found)) == fault
    for siblings, expected in (
        ((), []),
        ((Sibling(993),), []),
        ((Sibling(465, reason="refused"),), []),
        ((Sibling(465, reason="no-answer"),), fault),
    ):
        assert finding_names(kept(with_posture(found, replace(FULL, siblings=siblings)))) == expected
    assert finding_names(kept(with_posture(found, replace(GOOD, siblings=())))) == fault


def test_a_posture_that_is_switched_off_is_forgotten() -> None:
    """No remark of it stays, and what waits is not sent."""
    health = with_posture(with_posture(UP, GOOD), WORSE)
    assert with_present_posture(target(), health) is health
    assert with_present_posture(target(posture=False), health) == UP


@pytest.mark.parametrize(
    "moved",
    [
        {"host": "new.example.net"},
        {"port": 1110},
        {"tls": "implicit"},
        {"tls_name": "mail.example.net"},
        {"family": "ipv6"},
    ],
    ids=lambda it: next(iter(it)),
)
def test_another_server_under_the_same_id_is_not_compared(moved: dict[str, object]) -> None:
    """Nothing of it got worse: nothing is alerted of the old one any more either, and none is shown."""
    health = with_posture(with_posture(UP, GOOD), WORSE)
    assert with_present_posture(target(**moved), health) == UP
    assert with_posture_of(target(**moved), with_posture(UP, GOOD), WORSE).posture_pending == ()
    for stays in ({"tls": "starttls"}, {"verify_tls": False}, {"max_test_seconds": 3}, {"name": "Mail"}):
        assert with_present_posture(target(**stays), health) is health


def test_a_posture_of_an_earlier_version_is_compared() -> None:
    """It does not say of which server it is."""
    health = with_posture(replace(UP, posture=str(GOOD.summary)), WORSE)
    assert [it.split(":")[0] for it in health.posture_pending] == CHANGES


def test_a_kind_of_a_later_version_is_passed_over() -> None:
    """Without an alert, and without an exception."""
    health = replace(UP, posture_pending=("of-a-later-version:x", "tls10-accepted:"), posture_seen_at=START)
    first = judge(health, passed(START), target().policy, START)
    assert first.alert is None
    second = judge(first.health, passed(START), target().policy, START)
    assert second.alert
    assert second.alert.worse


@pytest.mark.long
def test_thirty_quiet_days_bring_no_alert() -> None:
    """Each day the same posture, some days without an answer to this or that: thirty tests, not one alert."""
    watched, health, tested = target(), UP, 0
    gaps: tuple[dict[str, Any], ...] = (
        {},
        {"tls_1_0": NOT_TESTED, "in_tls": None},
        {"problem": "no time", "stls": NOT_TESTED, "user_in_clear": NOT_TESTED, "chain": NOT_TESTED, "in_tls": None},
    )
    for number in range(30 * 1440):
        now = START + MINUTE * number
        judged = judge(health, passed(now), watched.policy, now)
        assert judged.alert is None
        health = judged.health
        if is_posture_due(watched, health, now):
            health = with_posture(health, replace(GOOD, tested_at=now, **gaps[tested % 3]))
            tested += 1
    assert tested == 30
    assert kept(health) == replace(GOOD.summary, server=server_fingerprint(watched))
