"""What the oracle makes of postures, in small; and an installation of days."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos import campaign, postures, record
from tests.chaos.facts import Fact, Policy, PostureAsked, PostureKept, PublishedText
from tests.chaos.faults import FaultLog, Faults, Rates
from tests.chaos.oracle_holds import Holds
from tests.chaos.oracle_postures import Appeared, Change, Postures, got_worse, merged
from tests.chaos.record import NEVER, CampaignRecord, Message

BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)
ALL: dict[str, Any] = postures.Offered().answers(implicit=False)


def with_offer(side: str, *, more: str = "", less: str = "") -> dict[str, Any]:
    """The usual answers but for one name in a reply to CAPA."""
    return {**ALL, side: (ALL[side] | {more}) - {less, ""}}


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        (ALL, ALL, []),
        (ALL, {**ALL, "stls": False}, ["stls"]),
        ({**ALL, "stls": False}, ALL, []),
        (ALL, {**ALL, "plain": True, "tls10": True, "tls11": True}, ["plain", "tls10", "tls11"]),
        ({**ALL, "tls10": True}, ALL, []),
        (ALL, {**ALL, "chain": "tls-issuer-missing"}, ["chain"]),
        ({**ALL, "chain": "tls-issuer-missing"}, {**ALL, "chain": "tls-name-mismatch"}, []),
        (ALL, {**ALL, "port 995": True}, ["port"]),
        ({**ALL, "port 995": None}, {**ALL, "port 995": True}, []),
        (ALL, with_offer("in_tls", less="SASL LOGIN"), ["removed"]),
        (ALL, with_offer("in_tls", less="UIDL"), ["removed"]),
        (ALL, with_offer("in_clear", less="UIDL"), []),
        (ALL, with_offer("in_tls", more="SASL NTLM"), ["weak"]),
        (with_offer("in_tls", more="SASL NTLM"), ALL, []),
        (with_offer("in_tls", more="SASL NTLM"), with_offer("in_clear", more="SASL NTLM"), []),
        (ALL, {**ALL, "in_tls": frozenset()}, ["removed"]),
        ({**ALL, "in_tls": frozenset()}, ALL, []),
        (ALL, {"stls": True}, []),
        ({"stls": True}, ALL, []),
    ],
)
def test_only_what_was_asked_both_times_and_is_worse_counts(
    before: dict[str, Any], now: dict[str, Any], worse: list[str]
) -> None:
    """docs/posture.md, "What is found" and "What got worse"."""
    assert [it.question for it in got_worse(before, now)] == worse


def test_what_was_removed_while_capa_was_refused_is_found_with_the_next_answer() -> None:
    """Compared with the last one; and the refusal counts once."""
    refused = {**ALL, "in_tls": frozenset()}
    known = merged(ALL, refused)
    assert [it.about for it in got_worse(ALL, refused)] == ["CAPA"]
    assert list(got_worse(known, refused)) == list(got_worse(known, ALL)) == []
    assert merged(known, refused) == known
    assert [it.about for it in got_worse(known, with_offer("in_tls", less="SASL LOGIN"))] == ["SASL LOGIN"]
    weak = Change("weak", "NTLM", "", "")
    assert not weak.holds(merged(with_offer("in_tls", more="SASL NTLM"), refused))


def test_stls_without_tls_has_its_own_sentence() -> None:
    """A server that goes on to refuse it has not got worse again."""
    in_vain = {"stls": False, "stls_reason": postures.WITHOUT_TLS}
    [change] = got_worse(ALL, {**ALL, **in_vain})
    assert postures.WITHOUT_TLS in change.sentence
    assert change.holds({"stls": False})
    assert list(got_worse(in_vain, {"stls": False})) == list(got_worse({"stls": False}, in_vain)) == []


def test_a_change_holds_until_it_is_mended() -> None:
    """A chain that is not trusted for another reason is not mended; a port that is closed shows nothing any more."""
    chain, port = Change("chain", "tls-issuer-missing", "", ""), Change("port", "995", "", "")
    assert chain.holds({"chain": "tls-name-mismatch"})
    assert not chain.holds({"chain": ""})
    assert [port.holds({"port 995": it}) for it in (True, False, None)] == [True, False, False]


@pytest.mark.parametrize(("ended", "wrong"), [(NEVER, 0), (9, 0), (7, 1)], ids=["not", "since", "before"])
def test_what_was_mended_before_its_test_was_committed_is_not_alerted(ended: int, wrong: int) -> None:
    """Its message comes with a test that was committed as fact 8."""
    test = record.Test("mail-1", 5, BEGIN, 1, BEGIN, True, Policy(), committed=8)
    words = PublishedText(10, 1, "alert", "", "", {}, answered=True)
    known = CampaignRecord([], [BEGIN])
    known.tests["mail-1"] = [test]
    judge = Postures(known, {}, Holds(known, {}), Counter())
    message = Message(words, BEGIN, "mail-1", "posture", 0, BEGIN, "")
    seen = [PostureAsked(2, 0, "mail-1", BEGIN, "mail-1 110 False", ()), PostureAsked(4, 0, "mail-1", BEGIN, "", ())]
    change = Appeared(Change("stls", "", "", ""), kept=3, ended=ended, found=2, seen=seen)
    judge._judge_message(message, change)
    assert [one.kind for one in judge.findings] == ["posture alerted though mended"] * wrong
    judge._judge_message(message, replace(change, seen=seen[:1], ended=NEVER))
    assert judge.findings[wrong:][0].kind == "posture alerted without being seen"


@pytest.mark.parametrize(
    ("answers", "kept", "invented"),
    [
        ((), "1-----.-.-..a5f1", False),
        ((), "1-n---.-.-..a5f1", True),
        ((), "1-----.0.-..a5f1", True),
        ((), "1-----.-.-.995o.a5f1", True),
        ((("stls", True),), "1y----.-.-..a5f1", False),
        (None, "1-----.-.-..a5f1", True),
    ],
    ids=["all open", "an answer", "CAPA refused", "a port", "as it answered", "not asked"],
)
def test_of_a_server_that_leaves_all_open_only_that_is_kept(
    answers: tuple[tuple[str, object], ...] | None, kept: str, invented: bool
) -> None:
    """docs/posture.md, "Once a day": the first posture may have no answer, and then its summary has none."""
    asked: list[Fact] = [] if answers is None else [PostureAsked(0, 1, "mail-1", BEGIN, "mail-1 110 False", answers)]
    known = CampaignRecord([], [BEGIN] * 2)
    judge = Postures(known, {}, Holds(known, {}), Counter())
    judge._follow("mail-1", [*asked, PostureKept(1, 1, "mail-1", kept)])
    assert [one.kind for one in judge.findings] == ["posture invented"] * invented


def test_servers_show_only_what_can_be_asked() -> None:
    """Without STLS nothing in TLS, with TLS from the first byte nothing in the clear; and no certificate, no ports."""
    in_vain = postures.Offered(stls=False, mechanisms=frozenset({"PLAIN"}))
    assert {"stls", "plain", "in_clear"} == set(in_vain.answers(implicit=False)) - {"stls_reason"}
    assert {"tls10", "tls11", "chain", "in_tls", "port 993", "port 995"} == set(ALL) - {"stls", "plain", "in_clear"}
    assert set(ALL) - {"stls", "plain", "in_clear"} == set(postures.Offered(stls=False).answers(implicit=True))
    hidden = postures.Offered(plain=True, hidden=frozenset({"plain", "certificate"})).answers(implicit=False)
    assert hidden["plain"] is True
    assert "port 995" not in hidden


def test_every_answer_changes_for_the_worse_and_for_the_better() -> None:
    """So a campaign meets each kind of change."""
    offered, faults = postures.Offered(), Faults(FaultLog(Rates()), "postures", "1")
    kinds, worse, better = set[str](), set[str](), set[str]()
    known = offered.answers(implicit=False)
    for _ in range(600):
        kinds.add(offered.change(faults))
        now = offered.answers(implicit=False)
        worse |= {it.question for it in got_worse(known, now)}
        better |= {it.question for it in got_worse(now, known)}
        known = {**known, **now}
    assert worse == better == {"stls", "plain", "tls10", "tls11", "chain", "port", "removed", "weak"}
    assert kinds >= {"hidden", "capa", "port"}


@pytest.mark.faults
def test_days_of_postures_keep_every_promise() -> None:
    """Five days of a few targets, with faults."""
    (plan,) = campaign.plans_of_days("b", 1)
    world, verdict = plan.run()
    assert not verdict.findings, verdict.findings[0]
    assert verdict.judged["postures alerted"] > 3
    assert world.faults.counts.total() > 100
