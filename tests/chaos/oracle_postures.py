"""Messages about what servers offer: docs/posture.md and docs/outages.md, over the record of an installation.

What each server was asked, and what it answered, is known from its own log; that an answer was kept, from the
database's. What got worse follows from both: a posture is compared with the last one of the same server, question by
question, and what could not be asked is as it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from tests.chaos import facts
from tests.chaos.facts import Finding
from tests.chaos.oracle_holds import Holds
from tests.chaos.record import NEVER, SKEW, CampaignRecord, Message, Test

POSTURE = "posture"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SECOND = timedelta(seconds=1)
UNDER_WAY = timedelta(minutes=30)
"""For so long a test may have been planned before it is made: its message comes up to three times."""

ANEW = timedelta(minutes=15)
"""For so long the repeats of a test may come."""

JUST_BEFORE = timedelta(seconds=40)
"""A posture test was made with the test before if it is longer ago than a delay by less."""

Answers = Mapping[str, object]

_OFFER_NO_LONGER = {
    "SASL": "The server no longer offers the mechanism {}: clients that use it cannot log in.",
    "": "The server no longer offers {}: clients that need it stop working.",
}
_STATES = {
    "stls": (False, "STLS is gone: the server offered it before, and refuses it now.", "RFC 2595 section 4"),
    "plain": (
        True,
        "The server asks for a password or an access token without TLS now; before, it refused.",
        "RFC 2595 section 2.3",
    ),
    "tls10": (True, "The server accepts TLS 1.0 now; before, it refused.", "RFC 8996"),
    "tls11": (True, "The server accepts TLS 1.1 now; before, it refused.", "RFC 8997"),
}
"""By question: the answer that is the worse one, what an alert says, and the RFC that it names."""

_STLS_WITHOUT_TLS = "STLS is as good as gone: the server accepts it, and TLS is then no longer established ({})."

_CHAIN = "The certificate's chain is no longer trusted ({})."

_SIDES = ("in_clear", "in_tls")
"""The two replies to CAPA."""

_WEAK = {"CRAM-MD5": "RFC 2195", "NTLM": "MS-NLMP"}

_CAPABILITIES = {
    "TOP": "RFC 2449 section 6.1",
    "RESP-CODES": "RFC 2449 section 6.4",
    "PIPELINING": "RFC 2449 section 6.6",
    "UIDL": "RFC 2449 section 6.8",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that got worse: the question, what of it, the sentence and the RFC of its alert."""

    question: str
    about: str
    sentence: str
    source: str

    def holds(self, known: Answers) -> bool:
        """Whether it is so by these answers."""
        match self.question:
            case "chain":
                return bool(known.get("chain"))
            case "weak":
                offers = [_offers(known, side) for side in _SIDES]
                return any({"CAPA", f"SASL {self.about}"} <= offer for offer in offers)
            case "removed":
                return self.about not in _offers(known, _side(known))
            case "port":
                return known.get(f"port {self.about}") is True
            case question:
                return known.get(question) is _STATES[question][0]

    def is_shown(self, answers: Answers, known: Answers) -> bool:
        """Whether these answers by themselves say that it is so; `known` is all that was known before."""
        match self.question:
            case "removed":
                side = _side({**known, **answers})
                offered = _offers(answers, side)
                return side in answers and (self.about == "CAPA" or "CAPA" in offered) and self.about not in offered
            case _:
                return self.holds(answers)

    def sentence_of(self, answers: Answers) -> str:
        """What an alert says of it after these answers, which show it: the reason may have become another one."""
        match self.question:
            case "chain":
                return _CHAIN.format(answers["chain"])
            case "stls":
                return _stls_sentence(answers)
            case _:
                return self.sentence


def _stls_sentence(answers: Answers) -> str:
    if "stls_reason" in answers:
        return _STLS_WITHOUT_TLS.format(answers["stls_reason"])
    return _STATES["stls"][1]


def _offers(known: Answers, side: str) -> frozenset[str]:
    offers = known.get(side)
    return offers if isinstance(offers, frozenset) else frozenset()


def _side(known: Answers) -> str:
    """Where what is offered is compared: in TLS, or without it where there never was any."""
    return "in_tls" if "in_tls" in known else "in_clear"


def merged(before: Answers, now: Answers) -> dict[str, object]:
    """What is known after both: what was not asked is as it was. Once CAPA is refused, so is what it had answered."""
    last = {side: _offers(before, side) - {"CAPA"} for side in _SIDES if side in now and not now[side]}
    return {**before, **now, **last}


def _kept(known: Answers) -> Answers:
    """What a summary has of answers: not why STLS or a chain is of no use, and nothing of a port that is closed."""
    chain = {"chain": bool(known["chain"])} if "chain" in known else {}
    return {name: it for name, it in known.items() if it is not None and name != "stls_reason"} | chain


def _says_something(kept: str) -> bool:
    """Whether a summary has any answer: a server that greets may leave all of them open."""
    head, in_clear, in_tls, ports, *_ = kept.split(".")
    return any(it.strip("-") for it in (head[1:], in_clear, in_tls, ports))


def got_worse(before: Answers, now: Answers) -> Iterator[Change]:
    """What is worse than before, of what was asked both times: docs/posture.md, "What is found"."""
    for question, (worse, sentence, source) in _STATES.items():
        if now.get(question) is worse and before.get(question) is (not worse):
            yield Change(question, "", _stls_sentence(now) if question == "stls" else sentence, source)
    if now.get("chain") and before.get("chain") == "":
        reason = str(now["chain"])
        yield Change("chain", reason, _CHAIN.format(reason), "RFC 8446 section 4.4.2")
    for question in now:
        port = question.removeprefix("port ")
        if port != question and now[question] is True and before.get(question) is False:
            sentence = f"Port {port} of the host shows a newer certificate now: renewed, not reloaded."
            yield Change("port", port, sentence, "RFC 7817")
    for name, source in _WEAK.items():
        sides = [side for side in _SIDES if f"SASL {name}" in _offers(now, side)]
        was = any(f"SASL {name}" in _offers(before, side) for side in _SIDES)
        # A side on which CAPA was not answered before says nothing of what was offered there.
        if not was and any(_offers(before, side) for side in sides):
            sentence = f"The server offers the weak mechanism {name} now; before, it did not."
            yield Change("weak", name, sentence, source)
    yield from _removed(before, now)


def _removed(before: Answers, now: Answers) -> Iterator[Change]:
    side = _side({**before, **now})
    was, offered = _offers(before, side), _offers(now, side)
    if not was or side not in now:
        return
    if "CAPA" not in offered:
        sentence = "The server no longer answers CAPA: clients cannot see what it offers."
        if "CAPA" in was:
            yield Change("removed", "CAPA", sentence, "RFC 2449 section 5")
        return
    for name in sorted(was - offered):
        kind, _, mechanism = name.rpartition(" ")
        if mechanism not in _WEAK:
            source = "RFC 5034 section 3" if kind else _CAPABILITIES[mechanism]
            yield Change("removed", name, _OFFER_NO_LONGER[kind].format(mechanism), source)


@dataclass(slots=True)
class Appeared:
    """A change for the worse, when it was found and kept (orders of facts), and when it was known to be over."""

    change: Change
    kept: int
    ended: int = NEVER
    found: int = -1
    seen: list[facts.PostureAsked] = field(default_factory=list)
    """The posture tests that have shown it."""
    sentences: set[str] = field(default_factory=set)
    """What an alert may say, as the reasons of these were others."""

    def is_said_by(self, words: str) -> bool:
        """Whether an email is about it."""
        return any(it in words for it in {self.change.sentence} | self.sentences)


@dataclass(slots=True)
class _Known:
    """What is known of a target's server so far."""

    asked: str = ""
    answers: dict[str, object] = field(default_factory=dict)
    open: list[Appeared] = field(default_factory=list)

    def forget(self, order: int) -> None:
        for one in self.open:
            one.ended = order
        self.asked, self.answers, self.open = "", {}, []


def _see(known: _Known, asked: facts.PostureAsked) -> None:
    """A posture test shows changes that are open; its reasons may be others."""
    answers = dict(asked.answers)
    for one in known.open:
        if known.asked == asked.asked and one.change.is_shown(answers, known.answers):
            one.seen.append(asked)
            one.sentences.add(one.change.sentence_of(answers))


class Postures:
    """Judges postures and the messages about them."""

    def __init__(
        self, record: CampaignRecord, messages: Mapping[str, Sequence[Message]], holds: Holds, counted: Counter[str]
    ) -> None:
        self._record, self._messages, self._holds, self._counted = record, messages, holds, counted
        self._tested = {(it.invocation, it.target, it.tick): it for it in record.facts if isinstance(it, facts.Tested)}
        self.findings: list[Finding] = []

    def judge(self) -> list[Finding]:
        """What is wrong."""
        kinds = facts.PostureAsked | facts.PostureKept | facts.Forgotten
        events: dict[str, list[facts.Fact]] = {name: [] for name in self._record.configured}
        for fact in self._record.facts:
            if isinstance(fact, kinds):
                events[fact.target].append(fact)
        for target, of_target in events.items():
            asked = [it for it in of_target if isinstance(it, facts.PostureAsked)]
            self._counted["postures asked"] += len(asked)
            for one in asked:
                self._judge_asked(one)
            appeared = self._follow(target, of_target)
            said = self._judge_messages(target, appeared)
            for first, second in pairwise(asked):
                waiting = [it for it in appeared if it.kept < second.order and it.ended > first.order]
                if all(said[it.kept, it.change.sentence] < first.order for it in waiting):
                    self._judge_often(first, second)
            if not any(it.event == "throttled" for it in self._messages.get(target, ())):
                for one in asked:
                    self._judge_what_follows(one, asked, appeared, said)
        return self.findings

    def _report(self, kind: str, order: int, target: str, text: str) -> None:
        self.findings.append(Finding(kind, order, target, text))

    # ---- when it is asked

    def _judge_asked(self, asked: facts.PostureAsked) -> None:
        """Never in maintenance or in a silence, of a suspended target, of one that has just failed, or switched off."""
        at = self._record.time(asked.order)
        test = self._tested[asked.invocation, asked.target, asked.tick]
        if not test.passed or not test.asks:
            what = "failed" if not test.passed else "is not to be asked"
            self._report("posture tested without reason", asked.order, asked.target, f"at {at} it {what}")
        since = at - UNDER_WAY
        written = [it for it in self._record.configured[asked.target] if it.order < asked.order]
        if not written or self._record.time(written[-1].order) > since:
            return
        known = written[-1]
        if known.policy is None or not known.policy.enabled:
            self._report("posture tested without reason", asked.order, asked.target, f"at {at} it was suspended")
        if any(begin < at - 2 * MINUTE and at + SKEW < end for begin, end in known.windows):
            self._report("posture tested in maintenance", asked.order, asked.target, f"at {at}")

    def _judge_often(self, first: facts.PostureAsked, second: facts.PostureAsked) -> None:
        """Once a day, if nothing is to be alerted; anew only if the test was, or the target was changed, or failed."""
        time, again = self._record.time(first.order), self._record.time(second.order)
        if again - time > DAY / 2 or first.asked != second.asked or first.tick == second.tick:
            return
        changed = [it for it in self._record.configured[first.target] if time - HOUR < it.at < again]
        tests = [it for it in self._record.tests[first.target] if first.order < it.made_order < second.order]
        if not changed and all(it.passed for it in tests) and not self._failed(time - ANEW, again):
            self._report("posture tested too often", second.order, first.target, f"at {time}, and again at {again}")

    def _failed(self, begin: datetime, end: datetime) -> bool:
        """Whether anything went wrong in a time."""
        return any(begin <= it.at <= end for it in self._record.failed)

    def judge_how_soon(self) -> list[Finding]:
        """A target that passes all its tests, outside of maintenance, is asked within a day and two delays."""
        self.findings = []
        asked = [it for it in self._record.facts if isinstance(it, facts.PostureAsked)]
        if not any(it.asks for it in self._tested.values()):
            return []
        for target, written in self._record.configured.items():
            marks = [self._record.time(it.order) for it in asked if it.target == target]
            marks += [self._record.time(it.order) for it in written]
            marks += [time for it in written for window in it.windows for time in window]
            tests = sorted(self._record.tests[target], key=lambda it: it.began)
            marks += [it.began for it in tests if not it.passed or not self._record.ended_well(it.invocation)]
            for before, after in pairwise(tests):
                if after.began - before.began > timedelta(seconds=before.policy.delay_up) + 3 * MINUTE:
                    marks += [before.began, after.began]
            known = [it for it in marks if it < self._record.times[-1]]
            for begin, end in pairwise(sorted([*known, self._record.times[-1]])):
                self._judge_gap(target, begin, end)
        return self.findings

    def _judge_gap(self, target: str, begin: datetime, end: datetime) -> None:
        there = [it for it in self._record.configured[target] if it.at <= begin]
        if not there or there[-1].policy is None or not there[-1].posture or not there[-1].policy.enabled:
            return
        most = DAY + timedelta(seconds=2 * there[-1].policy.delay_up) + ANEW
        held = any(since < end and begin < until for since, until in there[-1].windows)
        if end - begin > most and not held:
            order = bisect_left(self._record.times, end)
            self._report("posture not tested", order, target, f"from {begin} until {end}")

    # ---- what is known, and what got worse

    def _follow(self, target: str, events: Sequence[facts.Fact]) -> list[Appeared]:
        """Each change for the worse, in order."""
        known, found = _Known(), list[Appeared]()
        asked: dict[int, facts.PostureAsked] = {}
        for fact in events:
            match fact:
                case facts.PostureAsked():
                    asked[fact.invocation] = fact
                    self._judge_kept(known, fact, events)
                    _see(known, fact)
                case facts.PostureKept(text=""):
                    self._judge_forgotten(known, fact)
                    known.forget(fact.order)
                case facts.PostureKept():
                    of = asked.get(fact.invocation)
                    if of is None or (not of.answers and _says_something(fact.text)):
                        self._report("posture invented", fact.order, target, "it was not asked")
                        continue
                    found += self._keep(known, of, fact.order)
                case facts.Forgotten():
                    known.forget(fact.order)
        return found

    def _keep(self, known: _Known, asked: facts.PostureAsked, order: int) -> list[Appeared]:
        self._counted["postures kept"] += 1
        if known.asked != asked.asked:
            known.forget(order)
        before, now = known.answers, dict(asked.answers)
        worse = list(got_worse(before, now)) if known.asked else []
        known.asked, known.answers = asked.asked, merged(before, now)
        for one in [it for it in known.open if not it.change.holds(known.answers)]:
            one.ended = order
            known.open.remove(one)
        new = [Appeared(change, order, found=asked.order, seen=[asked]) for change in worse]
        known.open += new
        self._counted["changes for the worse"] += len(new)
        return new

    def _judge_kept(self, known: _Known, asked: facts.PostureAsked, events: Sequence[facts.Fact]) -> None:
        """What an invocation has found that came to its end without a fault is kept, if it is anything new."""
        end = self._record.ended.get(asked.invocation)
        if not asked.answers or end is None or end.how != "well":
            return
        after = _kept(merged(known.answers, dict(asked.answers)))
        new = known.asked != asked.asked or after != _kept(known.answers)
        at = self._record.time(asked.order)
        # What was written shortly before may not have been known when the test was planned.
        written = [it.order for it in events if not isinstance(it, facts.PostureAsked) and it.order < end.order]
        recent = any(self._record.time(order) > at - UNDER_WAY for order in written)
        if new and not recent and not self._failed(at - SECOND, end.at):
            self._report("posture not kept", asked.order, asked.target, f"{asked.answers}")

    def _judge_forgotten(self, known: _Known, forgotten: facts.PostureKept) -> None:
        """Only what is switched off, of another server by now, or of a target that was removed."""
        tests = [it for it in self._tested.values() if it.target == forgotten.target]
        own = [it for it in tests if it.invocation == forgotten.invocation and it.order < forgotten.order]
        removed = [it for it in self._record.configured[forgotten.target] if it.policy is None]
        gone = any(it.order < forgotten.order for it in removed) and not own
        if known.asked and not gone and not any(it.asks != known.asked for it in own):
            self._report("posture forgotten", forgotten.order, forgotten.target, f"of {known.asked}")

    # ---- messages

    def _judge_messages(self, target: str, appeared: Sequence[Appeared]) -> Mapping[tuple[int, str], int]:
        """One for each change that still holds, none else. Returns when each was said, as the order of the message."""
        messages = [it for it in self._messages.get(target, ()) if it.event == POSTURE]
        sent = {it.id_time: it for it in reversed(messages) if it.channel == "alert" and it.id_time}
        said: dict[tuple[int, str], list[Message]] = {}
        for message in sorted(sent.values(), key=lambda it: it.order):
            self._counted["postures alerted"] += 1
            words, latest = " ".join(message.text.split()), (message.id_time or message.time) + SECOND + SKEW
            known = [it for it in appeared if self._record.time(it.kept) <= latest]
            fits = [it for it in known if it.is_said_by(words)]
            if not fits:
                self._report("posture alerted without reason", message.order, target, words[:160])
                continue
            said.setdefault((fits[-1].kept, fits[-1].change.sentence), []).append(message)
            if fits[-1].change.source not in words:
                self._report("wrong text", message.order, target, f"{words[:160]}: not of {fits[-1].change.source}")
            self._judge_message(message, fits[-1])
        for one in appeared:
            its = said.get((one.kept, one.change.sentence), [])
            if len(its) > 1:
                self._report("posture alerted twice", its[1].order, target, one.change.sentence)
        return defaultdict(lambda: NEVER, {which: its[0].order for which, its in said.items()})

    def _judge_message(self, message: Message, one: Appeared) -> None:
        """It came with a passed test that nothing held, before it was mended."""
        tests = [
            it
            for it in self._record.tests[message.target]
            if it.began.replace(microsecond=0) == message.id_time and it.made_order < message.order
        ]
        if not tests or not any(it.passed for it in tests):
            self._report("posture alerted without a test", message.order, message.target, one.change.sentence)
        elif all(self._holds.full_hold(it).certain or not it.policy.max_alerts for it in tests):
            self._report("alert in spite of a hold", message.order, message.target, one.change.sentence)
        elif all(NEVER > it.committed > one.ended for it in tests):
            self._report("posture alerted though mended", message.order, message.target, one.change.sentence)
        elif not any(self._was_seen_before(it, one) for it in tests):
            self._report("posture alerted without being seen", message.order, message.target, one.change.sentence)

    def _was_seen_before(self, test: Test, one: Appeared) -> bool:
        """Whether a posture test has seen it again, shortly before a test, and the target passed since."""
        longest = timedelta(seconds=test.policy.delay_up) + MINUTE + SKEW
        seen = [it for it in one.seen if it.order != one.found and it.order < test.made_order]
        return any(
            test.began - self._record.time(it.order) <= longest
            and all(
                made.passed for made in self._record.tests[test.target] if it.order < made.made_order < test.made_order
            )
            for it in seen
        )

    def _judge_what_follows(
        self,
        asked: facts.PostureAsked,
        others: Sequence[facts.PostureAsked],
        appeared: Sequence[Appeared],
        said: Mapping[tuple[int, str], int],
    ) -> None:
        """After a posture test that shows again what is to be alerted, the next test says it, and asks for the rest.

        After one that was the first of the day to show it, the next test asks.
        """
        test = self._next_test(asked)
        waiting = [it for it in appeared if it.kept < (test.made_order if test else 0) and it.ended > asked.order]
        waiting = [it for it in waiting if test and said[it.kept, it.change.sentence] > asked.order]
        if not test or not waiting or not all(asked in it.seen and self._is_free(test, it) for it in waiting):
            return
        about = [it for it in self._messages.get(test.target, ()) if it.id_time == test.began.replace(microsecond=0)]
        if any(it.event != POSTURE for it in about):
            return
        is_first = any(it.found == asked.order for it in waiting)
        words = [" ".join(it.text.split()) for it in about]
        rest = [it for it in waiting if not any(it.is_said_by(text) for text in words)]
        text = f"{[it.change.sentence for it in rest]} Asked at {self._record.time(asked.order)}."
        if not is_first and len(rest) == len(waiting):
            self._report("posture not alerted", test.made_order, test.target, text)
        is_asked = any(it.invocation == test.invocation for it in others)
        is_daily = not any(
            DAY / 2 > self._record.time(asked.order) - self._record.time(it.order) > timedelta() for it in others
        )
        if rest and not is_asked and (is_daily or not is_first) and self._record.ended_well(test.invocation):
            self._report("posture not asked again", test.made_order, test.target, text)

    def _next_test(self, asked: facts.PostureAsked) -> Test | None:
        """The test after a posture test that ended well, if it came in time and was planned since; else None."""
        end, at = self._record.ended.get(asked.invocation), self._record.time(asked.order)
        later = [it for it in self._record.tests[asked.target] if it.made_order > asked.order]
        if end is None or end.how != "well" or not later or self._failed(at - SECOND, end.at):
            return None
        test = min(later, key=lambda it: it.made_order)
        in_time = test.began - at <= timedelta(seconds=test.policy.delay_up) + JUST_BEFORE
        changed = [it for it in self._record.configured[asked.target] if at - UNDER_WAY < it.at < test.began + SKEW]
        return test if in_time and test.planned > end.at and not changed else None

    def _is_free(self, test: Test, one: Appeared) -> bool:
        """Whether it is certain that a message could come with a test."""
        test = replace(test, committed=self._record.committed_by_its_end(test))
        if test.committed == NEVER:
            return False
        held = self._holds.full_hold(test).possible or not test.policy.max_alerts
        return test.committed < one.ended and not held and test.unambiguous and test.ends_runs
