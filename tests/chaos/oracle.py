"""The second, independent judge of a campaign: what docs/outages.md promises, over the whole record of a campaign.

Each rule is a statement over lists and intervals: of tests that servers saw, of what people wrote, of what SNS took.
Nothing here steps from state to state as popwatch does, and nothing is imported from it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from tests.chaos import facts
from tests.chaos.facts import Finding
from tests.chaos.oracle_bounds import Throttled, allowance, endless, throttled, too_many, wrong_counts
from tests.chaos.oracle_delivery import Deliveries
from tests.chaos.oracle_figures import agrees, figures_of, span, wrong_figures
from tests.chaos.oracle_holds import Certainty, Holds
from tests.chaos.oracle_logins import LoginRules
from tests.chaos.oracle_postures import POSTURE, Postures
from tests.chaos.oracle_servers import Servers, reported, undelivered
from tests.chaos.oracle_texts import wants_own_sms, wrong_texts
from tests.chaos.oracle_times import Times
from tests.chaos.record import NEVER, SKEW, CampaignRecord, Lifetime, Message, Run, Test, runs

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

Alerts = dict[tuple[str, int], list[Message]]
"""Of one outage: by event and number, each time that it was said."""


class Oracle:
    """Judges one installation of a campaign.

    How soon tests and messages come is judged only if it is `simulated`, as a real machine may be slow.
    """

    def __init__(self, known: Sequence[facts.Fact], times: Sequence[datetime], *, simulated: bool = True) -> None:
        self._simulated = simulated
        self.record = CampaignRecord(known, times)
        self.findings: list[Finding] = []
        self.counted: Counter[str] = Counter()
        self._of_target: dict[str, list[Message]] = defaultdict(list)
        for message in self.record.messages:
            self._of_target[message.target].append(message)
        self.holds = Holds(self.record, self._of_target)
        self._deliveries = Deliveries(self.record, self._of_target, simulated)
        self._explained: set[int] = set()
        self._of_run: dict[int, list[Message]] = defaultdict(list)
        self._recovered_with: dict[str, dict[int, Certainty]] = defaultdict(dict)

    def run(self) -> list[Finding]:
        """What is wrong."""
        for target, lifetimes in self.record.lifetimes.items():
            by_lifetime = [(lifetime, runs(lifetime)) for lifetime in lifetimes]
            self._sort_messages(target, [run for _, found in by_lifetime for run in found])
            for lifetime, found in by_lifetime:
                self._judge_throttling(lifetime)
                self._judge_held(lifetime, found)
                for run in found:
                    self._recovered_with[target] |= self._tests_of_recovered(run)
                for run in found:
                    self._judge_run(run)
                self._judge_flapping(target, lifetime)
                self._judge_servers(lifetime)
        for message in self.record.messages:
            known = (
                message.order in self._explained or message.event == POSTURE or self._may_begin_without_login(message)
            )
            if not known and message.channel != "history":
                text = f"{message.event} {message.number} of {message.id_time}, without a reason: {message.subject}"
                self._report("alert about a target that was well", message.order, message.target, text)
        self._judge_copies()
        self.findings += self._deliveries.judge_order()
        order = Times(self.record, self._of_target, self.counted)
        logins = LoginRules(self.record, order, self.counted)
        self.findings += [*order.judge(), *(order.judge_how_soon() if self._simulated else ())]
        self.findings += [*logins.judge(), *(logins.judge_how_soon() if self._simulated else ())]
        postures = Postures(self.record, self._of_target, self.holds, self.counted)
        self.findings += [*postures.judge(), *(postures.judge_how_soon() if self._simulated else ())]
        return self.findings

    def _report(self, kind: str, order: int, target: str, text: str) -> None:
        self.findings.append(Finding(kind, order, target, text))

    def _may_begin_without_login(self, message: Message) -> bool:
        """Whether it may be about a run that begins with a test held back, as a login failed in maintenance."""
        tests = [it for it in self.record.tests[message.target] if it.may_end_run and it.made_order < message.order]
        return bool(tests) and (message.summary or message.id_time in [_to_second(it.began) for it in tests])

    # ---- outages

    def _judge_run(self, run: Run) -> None:
        """A run and its messages: each `down` that was due, none that was not, and `recovered`."""
        said = self._alerts_of(run)
        downs = [said["down", number] for number in sorted(n for event, n in said if event == "down")]
        self.counted["runs"] += 1
        if not run.unambiguous or self._is_throttled_in(run):
            self.counted["runs that are not clear, or throttled"] += 1
            self._explained |= {message.order for messages in said.values() for message in messages}
            self._judge_ambiguous(run, [message for messages in downs for message in messages])
            return
        self.counted["outages"] += run.is_outage
        self.counted["passed tests with which an outage went on"] += len(run.between) + len(run.passes[:-1])
        failure_indexes = self._judge_downs(run, downs)
        self._judge_texts(run, said, failure_indexes)
        self._judge_recovered(
            run,
            [messages for (event, _), messages in said.items() if event == "recovered"],
            failure_indexes,
        )
        for messages in said.values():
            for message in messages:
                self._explained.add(message.order)
                for what in wrong_figures(self.record, run, message, failure_indexes):
                    self._report("wrong figure", message.order, run.lifetime.target, what)

    def _judge_texts(self, run: Run, said: Alerts, failure_indexes: Sequence[int]) -> None:
        """Each text is of the user's own field, or of popwatch, as the target said."""
        target, emails = run.lifetime.target, [one for copies in said.values() for one in copies]
        sms = [it for it in self.record.own_sms if it.target == target and it.id_time == _to_second(run.since)]
        for message in (*emails, *sms):
            self.counted["texts of the user"] += message.channel == "sms" or bool(figures_of(message.text).own)
            for what in wrong_texts(run, message, failure_indexes):
                self._report("wrong text", message.order, target, what)
        sent = {(message.event, message.number) for message in sms}
        for message in emails:
            known = message.channel != "alert" or message.summary or (message.event, message.number) in sent
            known = known or not self.record.ended_well(message.published.invocation)
            if not known and wants_own_sms(run, message, failure_indexes):
                text = f"{message.event} {message.number} of {run.since}: its SMS is not of the user's words"
                self._report("wrong text", message.order, target, text)

    def _judge_ambiguous(self, run: Run, downs: Sequence[Message]) -> None:
        """Of a run of which it is not certain which tests count: none of its messages came under a silence."""
        for message in downs:
            length = span(figures_of(message.text).failing_for)[0] if not message.summary else 0
            if not 0 < length < HOUR.total_seconds() or message.channel != "alert":
                continue
            at = (message.id_time or run.since) + timedelta(seconds=length)
            tests = [
                test
                for test in run.lifetime.tests
                if abs(test.began - at) < 2 * SECOND and test.made_order < message.order
            ]
            if tests and all(self.holds.full_hold(test).certain for test in tests):
                text = f"down {message.number} of {run.since}, with the test at {tests[0].began}"
                self._report("alert in spite of a hold", message.order, run.lifetime.target, text)

    def _alerts_of(self, run: Run) -> Alerts:
        """The messages of a run."""
        said: Alerts = defaultdict(list)
        for message in self._of_run[run.failed[0].made_order]:
            said[message.event, message.number].append(message)
        return said

    def _sort_messages(self, target: str, runs_of_target: Sequence[Run]) -> None:
        """Each message is about the run whose first failed test it names; a line of a summary about the last such."""
        for message in self._of_target[target]:
            if message.event in ("down", "recovered"):
                about = [run for run in runs_of_target if self._is_about(message, run)]
                for run in about[-1:]:
                    self._of_run[run.failed[0].made_order].append(message)

    @staticmethod
    def _is_about(message: Message, run: Run) -> bool:
        if message.id_time:
            return message.id_time in map(_to_second, run.may_begin) and run.failed[0].made_order < message.order
        if message.event == "down":
            near = message.time - run.since < 12 * HOUR
            return near and f"{run.since:%H:%M}Z" in message.text and run.failed[0].made_order < message.order
        if run.end is None or run.confirmed is None or not run.confirmed.made_order < message.order:
            return False
        near = message.time - run.confirmed.began < 2 * HOUR
        return near and agrees(message.text.partition("): after ")[2], run.end.began - run.since)

    def _judge_downs(self, run: Run, downs: list[list[Message]]) -> list[int]:
        """Each `down` comes with the failed test with which it is due, unless it is held; which ones those are."""
        target, failed = run.lifetime.target, run.failed
        failure_indexes: list[int] = []
        for number, messages in enumerate(downs, 1):
            if messages[0].number != number:
                self._report(
                    "wrong number",
                    messages[0].order,
                    target,
                    f"down {messages[0].number} is the {number}. one of {run.since}",
                )
            failures = [figures_of(message.text).failures for message in messages if not message.summary]
            failure_index = next(iter(failures), 0)
            if not 1 <= failure_index <= len(failed):
                self._report(
                    "wrong figure",
                    messages[0].order,
                    target,
                    f"down {number} says {failure_index} failures of {len(failed)}",
                )
                return failure_indexes
            failure_indexes.append(failure_index)
        last = 0
        for number, failure_index in enumerate([*failure_indexes, len(failed) + 1], 1):
            due_since = 0
            for index in range(last + 1, min(failure_index, len(failed)) + 1):
                test = failed[index - 1]
                due = index - last >= test.policy.failures_per_alert and number <= test.policy.max_alerts
                due_since = due_since or (index if due else 0)
                held = self.holds.down(
                    run, test, self._held_by_flapping(run.lifetime, test) | self._held_by_recovered(run, test)
                )
                if index == failure_index:
                    if not due_since:
                        self._report(
                            "alert too early",
                            test.order,
                            target,
                            f"down {number} with failure {index}, the one before with {last}",
                        )
                    elif held.certain:
                        self._report(
                            "alert in spite of a hold",
                            test.order,
                            target,
                            f"down {number} with failure {index} of {run.since}",
                        )
                    self._judge_delivery(test, downs[number - 1], f"down {number} of {run.since}")
                elif due_since and number <= test.policy.max_alerts and not held.possible:
                    text = (
                        f"down {number} was due with failure {index} of the outage since {run.since}, at {test.began}"
                    )
                    self._report("outage not reported", test.order, target, text)
                    return failure_indexes
            last = failure_index
        return failure_indexes

    def _judge_recovered(self, run: Run, said: list[list[Message]], downs: list[int]) -> None:
        """One `recovered` for each outage that was alerted or is acknowledged and ended; none else."""
        target, end = run.lifetime.target, run.confirmed
        copies = [message for messages in said for message in messages]
        numbers = {message.number for message in copies if not message.summary}
        if len(numbers) > 1:
            self._report("recovered twice", copies[-1].order, target, f"{numbers} of the outage since {run.since}")
        elif numbers - {len(downs)}:
            self._report("wrong number", copies[0].order, target, f"recovered {numbers} after {len(downs)} alerts")
        if end is None:
            if copies:
                self._report("recovered too early", copies[0].order, target, f"the outage of {run.since} has not ended")
            return
        wanted = self._wants_recovered(run, end, alerted=bool(downs))
        if copies and not wanted.possible:
            self._report("recovered of no outage", copies[0].order, target, f"the run since {run.since}")
        held_once = False
        committed = {test.tick for test in run.lifetime.tests if test.committed != NEVER}
        for test in (test for test in run.lifetime.tests if test.order >= end.order):
            # Of two tests of one tick the other one counts; and none does whose invocation died.
            lost = test.tick in committed or self.record.committed_by_its_end(test) == NEVER
            if test.committed == NEVER and lost:
                continue
            held = Certainty(test.policy.silenced, test.policy.silenced) | self.holds.full_hold(test)
            held_once = held_once or (held.possible and not held.certain)
            if held.certain and not held_once and any(message.order < test.order for message in copies):
                self._report("alert in spite of a hold", copies[0].order, target, f"recovered of {run.since}")
                return
            if held.possible:
                continue
            if self._is_throttled_at(run.lifetime, test):
                return
            if copies and not held_once:
                self._judge_delivery(test, copies, f"recovered of {run.since}")
            elif wanted.certain and not copies and test.policy.alert_recovery:
                text = f"recovered of {run.since} was due at {test.began}"
                self._report("end of an outage not reported", test.order, target, text)
            return

    def _wants_recovered(self, run: Run, end: Test, *, alerted: bool) -> Certainty:
        """Whether `recovered` is due: the outage was alerted or is acknowledged, and the user wants recoveries."""
        acknowledged = self.holds.acknowledged(run, end) if run.is_outage and not alerted else Certainty()
        due = Certainty(
            alerted or acknowledged.possible, alerted or (acknowledged.certain and end.policy.max_alerts > 0)
        )
        return due if end.policy.alert_recovery else Certainty()

    def _judge_delivery(self, test: Test, copies: Sequence[Message], what: str) -> None:
        self.counted["alerts"] += 1
        self.findings += self._deliveries.judge(test, copies, what)

    # ---- too many messages

    def _is_throttled_in(self, run: Run) -> bool:
        """Whether any test of a run came under the hold of too many messages: what is held counts as sent."""
        return any(self._is_throttled_at(run.lifetime, test) for test in (*run.failed, *run.passes))

    def _is_throttled_at(self, lifetime: Lifetime, test: Test) -> bool:
        return any(hold.holds_at(test.order) for hold in self._throttled(lifetime))

    def _throttled(self, lifetime: Lifetime) -> list[Throttled]:
        return throttled(lifetime, self._of_target[lifetime.target])

    def _judge_throttling(self, lifetime: Lifetime) -> None:
        """There are never too many messages; a hold ends, and says so."""
        messages = self._of_target[lifetime.target]
        most = max(allowance(test.policy.max_alerts) for test in lifetime.tests)
        self.findings += too_many(lifetime, messages, most=most)
        seconds = {test.began.replace(microsecond=0) for test in lifetime.tests}
        for message in messages:
            if message.event in ("throttled", "unthrottled"):
                self.counted[message.event] += message.channel == "alert"
                if message.summary or figures_of(message.text).tested_at in seconds:
                    self._explained.add(message.order)
        for hold in self._throttled(lifetime):
            self.findings += endless(lifetime, hold, lambda test: self.holds.full_hold(test).possible)

    def _judge_held(self, lifetime: Lifetime, found: Sequence[Run]) -> None:
        """How many messages were held, where nothing but the hold of too many held any."""
        for hold in self._throttled(lifetime):
            if hold.end is None:
                continue
            begin, end = hold.begin.order, hold.end.order
            within = [
                run
                for run in found
                if run.failed[0].order <= end and (run.confirmed is None or run.confirmed.order >= begin)
            ]
            since = min([begin, *(run.failed[0].order for run in within)])
            tests = [test for test in lifetime.tests if since <= test.order <= end]
            policies = {replace(test.policy, acknowledged=None) for test in tests}
            own = policies == {hold.begin.policy} and not _has_other_messages(hold.begin.policy)
            held = any(test.policy.acknowledged or self.holds.full_hold(test).possible for test in tests)
            if own and not held and all(run.unambiguous for run in within):
                self.counted["messages held, counted"] += 1
                self.findings += wrong_counts(hold, within, self._of_target[lifetime.target])

    # ---- flapping

    def _held_by_flapping(self, lifetime: Lifetime, test: Test) -> Certainty:
        """`flapping` came with an earlier test, or this one, and `steady` with none before this one."""
        flapping = [one for one in self._flaps(lifetime) if one[0].order <= test.order]
        last = flapping[-1] if flapping else None
        held = bool(last and (last[1] == "flapping" or last[0] is test))
        # What was held as there were too many messages counts as sent: it may flap, or be steady again.
        was_throttled = any(hold.begin.order <= test.order for hold in self._throttled(lifetime))
        return Certainty(held or was_throttled, held and not was_throttled)

    def _held_by_recovered(self, run: Run, test: Test) -> Certainty:
        """The `recovered` of the outage before this one, which a maintenance held, came with this test."""
        return self._recovered_with[run.lifetime.target].get(test.order, Certainty())

    def _flaps(self, lifetime: Lifetime) -> list[tuple[Test, str, Message]]:
        """The messages `flapping` and `steady` of a lifetime, each with its test."""
        found: dict[tuple[str, datetime], tuple[Test, str, Message]] = {}
        for message in self._of_target[lifetime.target]:
            at = figures_of(message.text).tested_at
            if message.event in ("flapping", "steady") and at:
                test = lifetime.test_at(at, message.order)
                if test:
                    found.setdefault((message.event, at), (test, message.event, message))
        return sorted(found.values(), key=lambda one: one[0].order)

    def _judge_flapping(self, target: str, lifetime: Lifetime) -> None:
        """`flapping` and `steady` come in pairs, each with the test with which it is due."""
        flaps = self._flaps(lifetime)
        seconds = {test.began.replace(microsecond=0) for test in lifetime.tests}
        for message in self._of_target[target]:
            if message.event in ("flapping", "steady") and (
                figures_of(message.text).tested_at in seconds or message.summary
            ):
                self._explained.add(message.order)
        first_hold = min(self._judge_alternation(lifetime, flaps), _first_doubtful(lifetime))
        said = {test.order: event for test, event, _ in flaps}
        changes = list(_changes(lifetime))
        flapping, steady, was_due = False, -1, False
        for test in lifetime.tests:
            if test.order >= first_hold:
                return
            event = said.get(test.order)
            limit = test.policy.flap_per_hour
            near = [
                one
                for one in changes
                if steady < one[0].order <= test.order and test.began - one[0].began < HOUR + SKEW
            ]
            most = len(near)
            forgot = max((one.order for one, _ in near if not one.policy.flap_per_hour), default=-1)
            least = sum(
                1 for one, certain in near if certain and test.began - one.began < HOUR - SKEW and one.order > forgot
            )
            unheld = not (
                test.policy.silenced
                or self.holds.full_hold(test).possible
                or test.order in self._recovered_with[target]
                or test.committed == NEVER
            )
            last = max((one.began for one, _ in changes if one.order < test.order), default=lifetime.tests[0].began)
            sure = max(
                (one.began for one, it in changes if it and one.order < test.order), default=lifetime.tests[0].began
            )
            quiet, most_quiet = test.began - last, test.began - sure
            rest = 2 * HOUR / limit if limit else timedelta(0)
            was_due = flapping and (was_due or most_quiet >= rest - SKEW)
            if event == "flapping":
                figure = figures_of(next(m.text for t, e, m in flaps if t is test and e == event)).changes
                if not limit or most <= limit:
                    self._report(
                        "flapping without reason", test.order, target, f"{most} changes in the hour before {test.began}"
                    )
                elif figure != limit:
                    self._report(
                        "wrong figure", test.order, target, f"flapping says more than {figure} changes, not {limit}"
                    )
            elif event == "steady":
                if limit and not was_due:
                    self._report("steady too early", test.order, target, f"after {most_quiet} without a change")
            elif flapping and unheld and (not limit or quiet > rest + SKEW) and test.policy.max_alerts:
                self._report(
                    "hold without an end", test.order, target, f"flaps, did not change for {quiet}, and is not steady"
                )
                return
            elif not flapping and unheld and limit and least > limit and test.policy.max_alerts:
                self._report(
                    "flapping not reported", test.order, target, f"{least} changes in the hour before {test.began}"
                )
                return
            steady = test.order if event == "steady" else steady
            flapping = event == "flapping" or (flapping and event != "steady")
            was_due = was_due and flapping

    def _judge_servers(self, lifetime: Lifetime) -> None:
        """What was said of a server that passes."""
        messages = self._of_target[lifetime.target]
        said = reported(lifetime, messages)
        self._explained |= said.explained
        flaps = {test.order for test, _, _ in self._flaps(lifetime)}
        doubtful = _first_doubtful(lifetime)
        recovered, holds = self._recovered_with[lifetime.target], self._throttled(lifetime)
        first = lifetime.tests[0].order
        gone = [it.order for it in self.record.writes[lifetime.target] if isinstance(it, facts.Forgotten)]
        begun = max((order for order in gone if order < first), default=-1)

        def is_unheld(test: Test) -> bool:
            test = replace(test, committed=self.record.committed_by_its_end(test))
            if test.committed == NEVER:
                return False
            held = self.holds.full_hold(test).possible or not test.policy.max_alerts
            with_another = recovered.keys() | flaps | said.by_test.keys()
            return not held and test.order not in with_another and test.unambiguous and test.ends_runs

        servers = Servers(
            lifetime,
            said,
            is_unheld,
            is_lost=lambda test: self.record.committed_by_its_end(test) == NEVER,
            is_unknown=lambda test: test.order >= doubtful or any(one.begin.order <= test.order for one in holds),
            cleared=lambda test: test.order in recovered,
            before=[message for message in messages if begun < message.order < lifetime.tests[0].made_order],
            held_before=self._held_certificates(lifetime, begun),
        )
        self.counted.update(event for known in said.by_test.values() for event in known)
        self.findings += servers.judge()
        for message in undelivered(said, messages):
            self._report("alert lost", message.order, lifetime.target, f"SNS never took {message.event}")

    def _held_certificates(self, lifetime: Lifetime, since: int) -> set[datetime]:
        """The ends of the certificates that were tested under a hold of too many messages before a lifetime."""
        return {
            one.expires.replace(microsecond=0)
            for earlier in self.record.lifetimes[lifetime.target]
            for test in earlier.tests
            if since < test.order < lifetime.tests[0].order and self._is_throttled_at(earlier, test)
            for one in test.certificates
        }

    def _judge_alternation(self, lifetime: Lifetime, flaps: Sequence[tuple[Test, str, Message]]) -> int:
        """The two come in turn, until too many messages are held; the order of that."""
        target = lifetime.target
        first_hold = min((hold.begin.order for hold in self._throttled(lifetime)), default=NEVER)
        for (_, before, _), (test, after, _) in pairwise([(None, "steady", None), *flaps]):
            if before == after and test and test.order < first_hold:
                self._report("flapping and steady not in turn", test.order, target, f"{before}, then {after}")
        return first_hold

    def _tests_of_recovered(self, run: Run) -> dict[int, Certainty]:
        """The orders of the tests that `recovered` of a run may have come with.

        It came with the first after its end without a hold, and one that may have been held may be that.
        """
        sent = [message.order for message in self._of_run[run.failed[0].made_order] if message.event == "recovered"]
        if not sent or run.confirmed is None:
            return {}
        due = run.confirmed.order
        written = [test for test in run.lifetime.tests if due <= test.committed < sent[0]]
        after = [test for test in written if not test.policy.silenced]
        holds = [(test.order, self.holds.full_hold(test)) for test in after]
        first = next((number for number, (_, held) in enumerate(holds) if not held.possible), len(holds))
        may_be = [order for order, held in holds[: first + 1] if not held.certain]
        return {order: Certainty(possible=True, certain=len(may_be) == 1) for order in may_be}

    # ---- all messages

    def _judge_copies(self) -> None:
        """SNS takes each message once, unless who sent it died, or could not record that, or SNS's answer was lost."""
        said: dict[tuple[object, ...], list[Message]] = defaultdict(list)
        for message in self.record.messages:
            if message.channel == "alert" and message.id_time:
                said[message.target, message.event, message.number, message.id_time].append(message)
        for key, copies in said.items():
            for first in copies[:-1]:
                died = self.record.ended.get(first.published.invocation)
                explained = (
                    not first.published.answered
                    or self.record.refused[first.published.invocation]
                    or died is None
                    or died.how != "well"
                )
                if not explained:
                    self._report(
                        "sent twice",
                        first.order,
                        first.target,
                        f"{key}, by invocations {[one.published.invocation for one in copies]}",
                    )


def _to_second(time: datetime) -> datetime:
    return time.replace(microsecond=0)


def _first_doubtful(lifetime: Lifetime) -> int:
    """The order of the first test of which it is doubtful whether it ends a run in which a login failed."""
    return min((test.order for test in lifetime.tests if test.may_end_run), default=NEVER)


def _has_other_messages(policy: facts.Policy) -> bool:
    """Whether a target may bring other messages than those of its outages."""
    return bool(policy.flap_per_hour or policy.depends_on or policy.slow_rtt_ms or policy.all_addresses)


def _changes(lifetime: Lifetime) -> Iterator[tuple[Test, bool]]:
    """Where a lifetime's tests change from passed to failed or back, and whether that is one for certain."""
    last: Test | None = None
    passed_since = False
    for before, after in pairwise(lifetime.tests):
        last, passed_since = (before, False) if not before.policy.silenced else (last, passed_since or before.ends_runs)
        differ = {
            before.ends_runs != after.ends_runs,
            (last is not None and last.ends_runs != after.ends_runs) or (passed_since and not after.ends_runs),
        }
        if any(differ) and not after.policy.silenced:
            yield after, all(differ) and not before.policy.silenced and before.unambiguous and after.unambiguous
