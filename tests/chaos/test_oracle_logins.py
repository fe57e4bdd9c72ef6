"""What the oracle makes of logins, in small: attempts in a row, and the tests of a run in which a login failed."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from popwatch.model.credentials import Credential, Secret
from tests.chaos import accounts, facts, record
from tests.chaos.engine import Engine, Process, Task
from tests.chaos.facts import Policy
from tests.chaos.oracle_logins import LoginRules, login_interval
from tests.chaos.oracle_times import Times
from tests.chaos.record import CampaignRecord, Lifetime, _without_login
from tests.chaos.record_logins import Meaning

BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)
ANSWERS = {"a": "accepted", "r": "rejected", "u": "refused", "n": "nothing", "f": "failed", "i": "in-use"}
MEANINGS = {"n": Meaning.NOTHING, "h": Meaning.FAILS, "?": Meaning.DOUBTFUL}


def rules_of(attempts: str, minutes_apart: float = 5.0, *, targets: int = 1, batches: int = 99) -> LoginRules:
    """Logins with one revision, each of an invocation of its own: `a` accepted, `r` rejected, `u` refused, ...

    The first `batches` invocations begin before the first login, if there are fewer than attempts.
    """
    known: list[facts.Fact] = []
    times: list[datetime] = []

    def add(fact: facts.Fact, at: datetime) -> None:
        known.append(fact)
        times.append(at)

    add(facts.CredentialChanged(0, "shared", 1, right=False), BEGIN)
    early = range(batches) if batches <= len(attempts) else ()
    for number in early:
        add(facts.Began(len(known), number, BEGIN), BEGIN)
    for number, attempt in enumerate(attempts):
        at = BEGIN + number * timedelta(minutes=minutes_apart)
        if number not in early:
            add(facts.Began(len(known), number, at), at)
        what = number, f"mail-{number % targets}", "mail", "shared", 1, attempt == "a", ANSWERS[attempt]
        add(facts.LoginTried(len(known), *what, codes=True), at)
        add(facts.Ended(len(known), number, "well", at), at)
    happened = CampaignRecord(known, times)
    return LoginRules(happened, Times(happened, {}, Counter()), Counter())


@pytest.mark.parametrize(
    ("attempts", "minutes_apart", "wrong"),
    [
        ("rr", 5, 0),
        ("rrr", 5, 1),
        ("rrr", 300, 1),
        ("uu", 5, 0),
        ("uuu", 5, 1),
        ("uuu", 61, 0),
        ("uuuu", 61, 1),
        ("ruu", 300, 1),
        ("nnn", 5, 1),
        ("annnn", 5, 0),
        ("rfffr", 5, 0),
        ("auuu", 16, 0),
        ("auuu", 5, 1),
    ],
)
def test_two_logins_in_a_row_count(attempts: str, minutes_apart: float, wrong: int) -> None:
    """docs/outages.md, "Outages of the login": a third one comes never after `[AUTH]`, and else after the waits."""
    rules = rules_of(attempts, minutes_apart, targets=50)
    assert len(list(rules._judge_in_a_row(rules.logins.tried["shared"]))) == wrong


def test_each_message_under_way_may_try_a_changed_password_once() -> None:
    """Of a password that was accepted, those that had begun before the second refusal may have tried it."""
    for batches, wrong in ((4, 0), (3, 1)):
        rules = rules_of("arrr", 0.01, targets=50, batches=batches)
        assert len(list(rules._judge_in_a_row(rules.logins.tried["shared"]))) == wrong


def test_a_target_that_rejects_twice_is_left_out() -> None:
    """Though others are accepted in between."""
    for attempts, wrong in (("arar", 0), ("arara", 0), ("ararar", 1)):
        rules = rules_of(attempts, targets=2)
        assert len(list(rules._judge_targets(rules.logins.tried["shared"]))) == wrong


def test_an_older_credential_is_not_tried() -> None:
    """By no target that begins after a newer one was tried."""
    rules = rules_of("aaa")
    tried = rules.logins.tried["shared"]
    newer = [tried[0], replace(tried[1], number=2), tried[2]]
    assert [len(list(rules._judge_older(one))) for one in (tried, newer)] == [0, 1]


def message_of(rules: LoginRules, stored: datetime, subject: str = "Login fails: credential shared") -> None:
    """Add one about the credential, at the end."""
    record, words = rules.record, f"Two logins with the credential shared (stored {stored:%Y-%m-%d %H:%M} UTC)"
    text = facts.PublishedText(len(record.facts), 0, "alert", words, subject, {"event": "credential"}, answered=True)
    record.facts, record.times = [*record.facts, text], [*record.times, record.times[-1]]


@pytest.mark.parametrize(
    ("attempts", "seconds", "wrong"),
    [("uau", 2.0, 1), ("uau", 30.0, 0), ("auu", 2.0, 0), ("ufu", 2.0, 0), ("uuau", 2.0, 1)],
)
def test_a_login_that_was_accepted_at_the_same_time_may_come_before_a_refusal(
    attempts: str, seconds: float, wrong: int
) -> None:
    """What counts is when it was answered: the first one takes so long, and each begins half a minute after another."""
    rules = rules_of(attempts, 0.5, targets=2)
    tried = rules.logins.tried["shared"]
    tried[0] = replace(tried[0], seconds=seconds)
    message_of(rules, BEGIN)
    assert [one.kind for one in rules._judge_messages()] == ["credential called wrong"] * wrong


@pytest.mark.parametrize(
    ("attempts", "minutes", "waits"),
    [
        ("auu", 14, True),
        ("auu", 16, False),
        ("auuu", 119, True),
        ("auuu", 121, False),
        ("auuuu", 239, True),
        ("aur", 10_000, True),
        ("au", 1, False),
        ("auua", 1, False),
        ("auau", 1, False),
        ("annn", 1, False),
    ],
)
def test_refusals_in_a_row_keep_an_accepted_credential_from_all(attempts: str, minutes: int, waits: bool) -> None:
    """docs/outages.md, "Outages of the login": so long after the last one of them no one hears of a dead login."""
    rules = rules_of(attempts, targets=50)
    tried = rules.logins.tried["shared"]
    assert rules._may_wait(tried, rules.record.time(tried[-1].order) + timedelta(minutes=minutes)) is waits


def test_an_acceptance_at_the_time_of_a_refusal_may_be_none_between_two() -> None:
    """Who was accepted had read before what was known of the credential, and did not write it again."""
    rules = rules_of("auau", 0.05, targets=50)
    tried = rules.logins.tried["shared"]
    assert rules._may_wait(tried, rules.record.time(tried[-1].order) + timedelta(minutes=1))


def test_a_message_is_about_the_revision_that_it_names() -> None:
    """A newer one may have been stored, but not read yet; and one of which nothing was stored is a wrong figure."""
    rules = rules_of("rrrr")
    changes, at = rules.logins.changes["shared"], rules.record.times[-2]
    changes.append(replace(changes[0], order=len(rules.record.facts) - 2, number=2))
    for stored in (BEGIN, at):
        message_of(rules, stored, "Login rejected: credential shared")
    assert not list(rules._judge_messages())
    message_of(rules, at, "Login rejected: credential shared")
    assert [one.kind for one in rules._judge_messages()] == ["sent twice"]
    message_of(rules, BEGIN + timedelta(minutes=7), "Login rejected: credential shared")
    assert [one.kind for one in rules._judge_messages()] == ["sent twice", "wrong figure"]


def of_outcomes(outcomes: str, passes_per_recovery: int) -> list[record.Test]:
    """`L` failed at the login, `M` so in maintenance, `f` failed before it, `a` logged in; `n`, `h` and `?` greeted."""
    usual = Policy(2, login="shared", passes_per_recovery=passes_per_recovery)
    found = []
    for number, outcome in enumerate(outcomes):
        began = BEGIN + timedelta(minutes=number)
        policy = replace(usual, silenced=outcome == "M")
        what = "mail-1", 2 * number, began, number, began, outcome not in "LMf", policy, 2 * number + 1
        login = {"L": "failed", "a": "accepted"}.get(outcome, "")
        meaning = MEANINGS.get(outcome, Meaning.DOUBTFUL)
        found.append(record.Test(*what, login=login, login_failed=outcome in "LM", meaning=meaning))
    return found


@pytest.mark.parametrize(
    ("outcomes", "passes_per_recovery", "nothing", "failed", "doubtful"),
    [
        ("nLnna", 1, [2, 3], [], []),
        ("LLhha", 1, [], [2, 3], []),
        ("L?na", 1, [], [], [1, 2]),
        ("fnn", 1, [], [], []),
        ("Lann", 1, [], [], []),
        ("LLana", 2, [3], [], []),
        ("LLaha", 2, [3], [], []),
        ("Lan", 2, [], [], []),
        ("Mhnf", 1, [], [], []),
        ("Mfhn", 1, [], [], []),
        ("LMna", 1, [2], [], []),
    ],
    ids=[
        *("left", "held back", "doubtful until a login", "no login failed", "ended", "in a recovery"),
        *("held back in a recovery", "brief", "in maintenance only", "in maintenance before the run"),
        "in maintenance within a run",
    ],
)
def test_in_a_run_of_the_login_a_greeting_alone_says_little(
    outcomes: str, passes_per_recovery: int, nothing: list[int], failed: list[int], doubtful: list[int]
) -> None:
    """docs/outages.md, "Outages of the login"."""
    lifetime = Lifetime("mail-1", of_outcomes(outcomes, passes_per_recovery))
    found = list(_without_login(lifetime))
    assert [one.invocation for one in found if one.says_nothing] == nothing
    assert [one.invocation for one in found if not one.passed] == failed
    assert [one.invocation for one in found if one.may_end_run] == doubtful


@pytest.mark.parametrize(
    ("attempts", "meaning"),
    [("rara", Meaning.DOUBTFUL), ("rafa", Meaning.NOTHING), ("naraf", Meaning.DOUBTFUL), ("ra", Meaning.NOTHING)],
)
def test_a_target_that_is_left_out_alone_is_judged_by_its_greeting(attempts: str, meaning: Meaning) -> None:
    """It has refused twice, once with `[AUTH]`, what another one accepts: nothing keeps its outage open."""
    logins = rules_of(attempts, targets=2).logins
    at = BEGIN + timedelta(minutes=5 * len(attempts))
    test = facts.Tested(10**6, 99, "mail-0", at, at, Policy(login="shared"), passed=True)
    assert logins.meaning(test) is meaning


@pytest.mark.parametrize(("seconds", "meaning"), [(2, Meaning.DOUBTFUL), (10, Meaning.NOTHING)])
def test_a_batch_may_not_know_what_is_accepted_as_it_begins(seconds: float, meaning: Meaning) -> None:
    """Another batch's login is under way then: the tests of this one may be held back, as a refusal still counts."""
    logins = rules_of("fna", targets=2).logins
    at = BEGIN + timedelta(minutes=10, seconds=seconds)
    test = facts.Tested(10**6, 99, "mail-0", at, at, Policy(login="shared"), passed=True)
    assert logins.meaning(test) is meaning


def test_the_interval_of_logins_is_a_multiple_of_the_delay() -> None:
    """docs/interventions.md, "The longest time until an alert"."""
    policies = [Policy(delay_up=delay, login_every=every) for delay, every in ((60, 300), (120, 300), (300, 60))]
    assert [login_interval(policy) / timedelta(minutes=1) for policy in policies] == [5, 6, 5]


@pytest.mark.parametrize(
    ("mailboxes", "password", "answer"),
    [
        (accounts.Mailboxes(), "right", "accepted"),
        (accounts.Mailboxes(), "wrong", "rejected"),
        (accounts.Mailboxes(codes=False), "wrong", "refused"),
        (accounts.Mailboxes(detached=True), "right", "rejected"),
        (accounts.Mailboxes("in-use"), "right", "in-use"),
        (accounts.Mailboxes("in-use"), "wrong", "rejected"),
        (accounts.Mailboxes("refuses"), "right", "failed"),
        (accounts.Mailboxes("refuses", codes=False), "right", "refused"),
        (accounts.Mailboxes("hangs"), "wrong", "nothing"),
        (accounts.Mailboxes("closes"), "right", "nothing"),
        (accounts.Mailboxes("garbles"), "right", "refused"),
    ],
)
def test_servers_answer_logins(mailboxes: accounts.Mailboxes, password: str, answer: str) -> None:
    """As the docs say of each kind of server."""
    credential = Credential("shared", accounts.user_of("shared"), Secret(f"{password}/7"))
    login = accounts.log_in(credential, {accounts.user_of("shared"): "right"}, mailboxes)
    assert (login.answer, login.number) == (answer, 7)


def test_a_result_is_waited_for_until_a_time() -> None:
    """Whoever has waited for so long is not woken again when the work is done."""
    engine = Engine()
    process, seen = Process(engine, 1), list[str]()
    task = Task(process)

    def wait() -> None:
        try:
            task.result(timeout=11.5)
        except TimeoutError:
            seen.append(f"no result at {engine.now}")
        process.sleep(100.0)
        seen.append(f"went on at {engine.now}")

    engine.spawn(wait)
    engine.at(30.0, lambda: engine.spawn(lambda: task.finish(lambda: "done")))
    engine.run(200.0)
    assert seen == ["no result at 12.0", "went on at 112.0"]
    assert task.result(timeout=1.0) == "done"
