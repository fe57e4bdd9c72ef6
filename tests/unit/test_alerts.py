"""Alert texts: they say what happened, fit where they go, and survive any template and any server."""

import string
import tracemalloc
import unicodedata
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samcli.yamlhelper import yaml_parse

from popwatch.alerts.character_sets import (
    DISPLAY_NAME,
    SMS_SEPTETS,
    count_septets,
    is_gsm,
    to_email,
    to_sms,
    to_subject,
)
from popwatch.alerts.default_texts import TEXTS
from popwatch.alerts.layout import wrap
from popwatch.alerts.rendering import EMAIL_LENGTH, render, summarize
from popwatch.alerts.templates import TemplateError, fill
from popwatch.alerts.tokens import LOCAL_STACK, TOKENS
from popwatch.decisions.judging import judge
from popwatch.decisions.login_attempts import without_login
from popwatch.model.credential_problems import CredentialProblem, Unusable
from popwatch.model.health import AlertEvent, Health
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import Certificate, ErrorCode, LoginResult, LoginVerdict, Outcome, Phase, Role
from popwatch.model.text import duration
from tests.examples import FAILED, HEALTHY, PASSED, START, certificate, certified, others, outage, target

PROJECT = Path(__file__).parents[2]

ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def check_fits(message: AlertMessage) -> None:
    """SNS accepts the message, and the SMS fits one part."""
    assert message.subject.isascii()
    assert message.subject.isprintable()
    assert 0 < len(message.subject) < 100
    assert all(is_gsm(character) for character in message.sms)
    assert count_septets(message.sms) <= SMS_SEPTETS
    assert "\n" not in message.sms
    assert len(message.email) <= EMAIL_LENGTH
    assert all(value for value in message.attributes.values())


SUBJECT, SMS = "Mail Berlin (pop.example.net:110)", "Mail Berlin pop.example.net:110"
EVENTS = {
    AlertEvent.POSTURE: (f"POSTURE: {SUBJECT}", f"POSTURE {SMS} plaintext-login-allowed"),
    AlertEvent.DOWN: (f"DOWN 1/3: {SUBJECT}", f"DOWN 1/3 {SMS} since 04:12 CET: timed out, no-greeting"),
    AlertEvent.RECOVERED: (f"UP again: {SUBJECT}, was down 28 min", f"UP again {SMS} after 28 min, rtt 12.5 ms"),
    AlertEvent.FLAPPING: (f"FLAPPING: {SUBJECT}", f"FLAPPING {SMS} more than 6 changes in an hour, now warn"),
    AlertEvent.STEADY: (f"STEADY again: {SUBJECT}", f"STEADY again {SMS} now up"),
    AlertEvent.DEGRADED: (f"DEGRADED: {SUBJECT}", f"DEGRADED {SMS} fails: 192.0.2.8: refused"),
    AlertEvent.RESTORED: (f"RESTORED: {SUBJECT}", f"RESTORED {SMS} all addresses pass"),
    AlertEvent.SLOW: (f"SLOW: {SUBJECT}", f"SLOW {SMS} rtt 5320 ms, more than 2000"),
    AlertEvent.NORMAL: (f"NORMAL again: {SUBJECT}", f"NORMAL again {SMS} rtt 12.5 ms, limit 2000 ms"),
    AlertEvent.CERTIFICATE: (f"CERTIFICATE: {SUBJECT}", f"CERTIFICATE {SMS} expires in 13 days"),
    AlertEvent.THROTTLED: (f"ALERTS HELD: {SUBJECT}", f"ALERTS HELD {SMS} until 05:42 CET: too many; now warn"),
    AlertEvent.UNTHROTTLED: (
        f"ALERTS RESUMED: {SUBJECT}, now lost",
        f"ALERTS RESUMED {SMS} now lost; held: 5 down, 4 up again, 1 degraded",
    ),
}


def test_words_with_hyphens_stay_whole() -> None:
    """A mechanism, an id or a host is in one line of an email, and can be searched for."""
    assert wrap("x" * 70 + " SCRAM-SHA-256") == "x" * 70 + "\nSCRAM-SHA-256"


def test_an_alert_says_what_to_do() -> None:
    """Advice for the reason, the runbook, and two commands to be copied; once acknowledged, one."""
    runbook = "https://wiki.example.net/mail#pop3"
    watched = target(target_id="mail berlin's", runbook=runbook, notes="Behind the old firewall.")
    first, *_, recovered = outage(watched)
    advice = "A TLS server waits for the client: is this a port for implicit TLS\n(`tls=implicit`)?"
    assert f"\nReason: no-greeting\n{advice}\n" in first.email
    assert f"\nRunbook       {runbook}\n" in first.email
    name = "'mail berlin'\"'\"'s'"
    assert f"\nStatus        popwatch status {name}\nAcknowledge   popwatch ack {name}\n" in first.email
    assert f"\nStatus        popwatch status {name}\n\n" in recovered.email
    assert "popwatch ack" not in recovered.email
    judgement = judge(HEALTHY, FAILED, (one := target(failures_per_alert=1)).policy, START)
    assert (
        "popwatch --stack mail-eu ack mail-berlin"
        in render(one, HEALTHY, judgement, FAILED, START, stack="mail-eu").email
    )
    local = render(one, HEALTHY, judgement, FAILED, START, stack=LOCAL_STACK)
    assert "\nStatus        popwatch --local status mail-berlin\n" in local.email
    assert "\nAcknowledge   popwatch --local ack mail-berlin\n" in local.email
    assert local.subject == render(one, HEALTHY, judgement, FAILED, START).subject


def test_a_recovery_may_have_texts_of_its_own() -> None:
    """Those of the fields `recovered_*`; where there are none, those for both, else the built-in ones."""
    both = {"subject": "{name}: {state}", "sms": "{name} {event}"}
    *downs, recovered = outage(target(**both, recovered_sms="{name} is back", recovered_email="{runbook}|{notes}"))
    assert (downs[0].subject, downs[0].sms) == ("Mail Berlin: down", "Mail Berlin down")
    assert (recovered.subject, recovered.sms, recovered.email) == ("Mail Berlin: up", "Mail Berlin is back", "|")
    *_, faulty = outage(target(recovered_sms="{nmae}"))
    assert faulty.sms.startswith("UP again")
    assert "the field `recovered_sms` of the target mail-berlin was not used" in " ".join(faulty.email.split())


def test_every_event_has_texts() -> None:
    """A new event needs an entry in `TEXTS`, and one here."""
    assert set(TEXTS) == set(AlertEvent) == set(EVENTS)


@pytest.mark.parametrize(("event", "texts"), EVENTS.items())
def test_subject_and_sms_of_each_event(event: AlertEvent, texts: tuple[str, str]) -> None:
    """Word for word."""
    first, *_, recovered = outage(target())
    message = {AlertEvent.DOWN: first, AlertEvent.RECOVERED: recovered, **others(target())}[event]
    assert (message.subject, message.sms) == texts
    check_fits(message)


@pytest.mark.parametrize("length", [7, 128])
def test_another_stack_says_its_name(length: int) -> None:
    """Subject and SMS begin with it, cut to 20 characters, and the email has it whole; a summary too; all fit."""
    stack = ("mail-eu" * 19)[:length]
    shown = stack if length < 20 else f"{stack[:17]}..."
    health = judge(HEALTHY, FAILED, (watched := target(failures_per_alert=1)).policy, START)
    message = render(watched, HEALTHY, health, FAILED, START, stack=stack)
    assert message.subject.startswith(f"{shown}: DOWN 1/3: Mail Berlin")
    assert message.sms.startswith(f"{shown}: DOWN 1/3 Mail Berlin")
    assert f"\nStack         {stack}\n" in message.email
    assert stack not in message.line
    summary = summarize([message, message], START, stack)
    assert summary.subject == f"{shown}: 2 alerts at once: 2 down"
    assert summary.sms.startswith(f"{shown}: 2 alerts at once")
    check_fits(message)
    check_fits(summary)
    own = render(replace(watched, subject="{stack}", sms="{stack}"), HEALTHY, health, FAILED, START, stack=stack)
    assert own.subject.startswith(stack[:90])
    assert own.sms == stack


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (
            timedelta(days=13, hours=6),
            "expires in 13 days. | {} The next warning about it comes 7 days before it expires.",
        ),
        (timedelta(days=2), "expires in 2 days. | {} The next warning about it comes 1 day before it expires."),
        (timedelta(days=1), "expires in 1 day. | {} This was the last warning about it."),
        (timedelta(hours=30), "expires in 1 d 6 h. | {} The next warning about it comes 1 day before it expires."),
        (timedelta(hours=6), "expires in 6 h. | {} This was the last warning about it."),
        (timedelta(hours=-6), "has expired. | {} This was the last warning about it."),
    ],
)
def test_certificate_warnings_say_when(left: timedelta, said: str) -> None:
    """Days in the singular and the plural, and what comes after."""
    watched = target(tls="implicit", certificate_warn_days=[30, 14, 7, 3, 1, 0])
    outcome = certified(PASSED, certificate(START + left))
    message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
    opening, _, what_next, *_ = message.email.split("\n\n")
    found = f"{opening} | {what_next}".replace("\n", " ")
    renewal = "Renew it, and let the server load it; if renewal is automatic, check that it works."
    assert found == f"The certificate of Mail Berlin {said.format(renewal)} Once it has expired, tests fail."


ADDRESSES = tuple(f"192.0.2.{number}: refused" for number in range(1, 17))


def test_degraded_names_each_address() -> None:
    """In the email; the SMS has their number, and as many as fit. What was left out is said as well."""
    watched, outcome = target(failures_per_alert=1), replace(PASSED, failed_addresses=ADDRESSES, untested_addresses=24)
    message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
    assert all(f"\nFails: {address}\n" in message.email for address in ADDRESSES)
    assert "\nNot tested: 24 more addresses\n" in message.email
    assert "when all of its tested addresses pass again" in message.email.replace("\n", " ")
    assert "16 fail: 192.0.2.1: refused, 192.0.2.2: refused" in message.sms
    check_fits(message)


def test_restored_says_which_addresses_were_tested() -> None:
    """Not that all pass if some are never tested."""
    watched, outcome = target(failures_per_alert=1, all_addresses=True), replace(PASSED, untested_addresses=24)
    degraded = judge(HEALTHY, replace(outcome, failed_addresses=ADDRESSES), watched.policy, START).health
    message = render(watched, degraded, judge(degraded, outcome, watched.policy, START), outcome, START)
    assert message.sms.endswith("all tested addresses pass")
    assert "all of its tested addresses pass." in message.email.replace("\n", " ")
    assert "\nNot tested: 24 more addresses\n" in message.email


FLAPPED = replace(HEALTHY, flapping=True, changes=(START - timedelta(minutes=2),))


@pytest.mark.parametrize(
    ("fields", "before", "outcome", "short", "opening"),
    [
        (
            {},
            replace(HEALTHY, degraded_tests=3, degraded_alerted=True),
            replace(PASSED, failed_first=("192.0.2.8: refused",)),
            "NOT COUNTED AS DEGRADED | not every address is tested any more",
            "Mail Berlin no longer counts as degraded, as not every address is tested any more (`all_addresses` is "
            "false): a test ends with the first address that passes.",
        ),
        (
            {},
            replace(HEALTHY, slow=True, slow_tests=2),
            replace(PASSED, rtt_ms=3000.0),
            "NOT COUNTED AS SLOW | rtt 3000 ms, not compared any more",
            "Mail Berlin no longer counts as slow, as round trips are not compared any more (`slow_rtt_ms` is 0): its "
            "round trip took 3000 ms.",
        ),
        (
            {"slow_rtt_ms": 5000},
            replace(HEALTHY, slow=True, slow_tests=2),
            replace(PASSED, rtt_ms=3000.0),
            "NORMAL again | rtt 3000 ms, limit 5000 ms",
            "Mail Berlin no longer counts as slow: its round trip took 3000 ms, and the limit (`slow_rtt_ms`) is 5000 "
            "ms now.",
        ),
        (
            {"flap_per_hour": 0},
            FLAPPED,
            PASSED,
            "NOT COUNTED AS FLAPPING | now up; changes are not counted",
            "Mail Berlin no longer counts as flapping, as its changes are not counted any more (`flap_per_hour` is "
            "0). It is up.",
        ),
        (
            {"flap_per_hour": 0},
            FLAPPED,
            FAILED,
            "NOT COUNTED AS FLAPPING | now warn; changes are not counted",
            "Mail Berlin no longer counts as flapping, as its changes are not counted any more (`flap_per_hour` is "
            "0). It is warn.",
        ),
        (
            {"flap_per_hour": 60},
            FLAPPED,
            PASSED,
            "STEADY again | now up",
            "Mail Berlin is steady again, without a change that counts for 2 min or more. It is up.",
        ),
        (
            {"flap_per_hour": 60},
            FLAPPED,
            FAILED,
            "STEADY again | now warn",
            "Mail Berlin was steady, without a change that counts for 2 min or more. It has failed now: it is warn.",
        ),
        (
            {"slow_rtt_ms": 2000},
            replace(HEALTHY, slow_tests=2),
            replace(PASSED, rtt_ms=3000.0),
            "SLOW | rtt 3000 ms, more than 2000",
            "Mail Berlin is slow: its round trip took 3000 ms. Each of the last 3 tests exceeded the limit "
            "(`slow_rtt_ms`), which is now 2000 ms.",
        ),
    ],
)
def test_what_a_change_of_the_item_does_is_not_said_of_the_server(
    fields: dict[str, object], before: Health, outcome: Outcome, short: str, opening: str
) -> None:
    """Where addresses, round trips or changes are not looked at any more, no one knows whether the server is better.

    Where a limit was changed, the text has the one of now, and says of the tests before no more than is so.
    """
    watched = target(**fields)
    message = render(watched, before, judge(before, outcome, watched.policy, START), outcome, START)
    headline, sms = short.split(" | ")
    assert message.subject == f"{headline}: {SUBJECT}"
    assert message.sms == f"{headline} {SMS} {sms}"
    assert message.email.split("\n\n")[0].replace("\n", " ") == opening
    check_fits(message)


def test_a_warning_names_the_next_one_about_the_same_certificate() -> None:
    """One about another certificate of the chain may come before it; those that expire together have it together."""
    leaf, root = certificate(START + timedelta(days=10)), certificate(START + timedelta(days=9), 9000, Role.ROOT, "Own")
    watched = target(tls="implicit")

    def said(*chain: Certificate) -> str:
        outcome = certified(PASSED, *chain)
        message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
        return message.email.replace("\n", " ")

    assert "The next warning about it comes 5 d 6 h before it expires." in said(leaf, root)
    together = said(leaf, replace(root, expires=leaf.expires))
    assert "The next warning about them comes 5 d 6 h before they expire." in together
    last = said(*(replace(it, expires=START + timedelta(days=1)) for it in (leaf, root)))
    assert "This was the last warning about them." in last


def test_down_names_each_address() -> None:
    """Those that the detail has no room for are listed."""
    outcome = replace(FAILED, failed_addresses=ADDRESSES, detail="All 16 addresses fail: 16 refused.")
    watched = target(failures_per_alert=1)
    message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
    assert all(f"\nFails: {address}\n" in message.email for address in ADDRESSES)


def test_a_recovery_says_that_its_login_is_not_tested_any_more() -> None:
    """A greeting ended the outage, since nothing else can be asked."""
    watched = target(failures_per_alert=1)
    down = judge(HEALTHY, FAILED, watched.policy, START).health
    outcome = without_login(PASSED, CredentialProblem("monitor", Unusable.MISSING))
    message = render(watched, down, judge(down, outcome, watched.policy, START), outcome, START)
    assert message.subject.startswith("UP again")
    said = "The login is not tested any more. There is no credential `monitor`: store it with"
    assert said in " ".join(message.email.split())


@pytest.mark.parametrize(
    ("login_delay", "said"),
    [
        (0, "Next test in 1 min, at 03:15:00 UTC. Alert 2 of 3 follows in about 3 min if"),
        (30, "Next test in 1 min, at 03:15:00 UTC. Alert 2 of 3 follows in about 3 min if"),
        (
            600,
            "at 03:15:00 UTC. It only reads the greeting, since the server asks for 600 s between logins "
            "(LOGIN-DELAY): the next login comes after 03:24:00 UTC. Alert 2 of 3 follows in about 30 min if",
        ),
        (
            86_400,
            "asks for 86400 s between logins (LOGIN-DELAY): the next login comes after 03:29:00 UTC. Alert 2 of 3 "
            "follows in about 45 min if",
        ),
    ],
)
def test_an_alert_of_a_failed_login_says_when_the_next_login_is(login_delay: int, said: str) -> None:
    """Between two logins of a server that states a LOGIN-DELAY the tests only greet, and cannot fail as that did."""
    login = LoginResult(LoginVerdict.FAILED, login_delay=login_delay)
    failed = replace(FAILED, phase=Phase.LOGIN, login=login)
    first = next(outage(target(login="monitor", tls="implicit"), failed=failed))
    assert said in " ".join(first.email.split())
    unreachable = next(outage(target(login="monitor", tls="implicit"), failed=replace(failed, phase=Phase.CONNECT)))
    assert "follows in about 3 min" in " ".join(unreachable.email.split())


def test_an_outage_is_alerted_from_first_failure_to_recovery() -> None:
    """Three alerts, numbered, the last of which says so, and the recovery with the outage's length."""
    first, second, third, recovered = outage(target())
    assert [message.subject for message in (first, second, third)] == [
        f"DOWN {number}/3: Mail Berlin (pop.example.net:110)" for number in (1, 2, 3)
    ]
    assert recovered.subject == "UP again: Mail Berlin (pop.example.net:110), was down 28 min"
    assert "Alert 2 of 3 follows in about 3 min" in first.email.replace("\n", " ")
    last = "This was the last alert of this outage. Tests continue; no further alerts until it recovers."
    assert last in third.email.replace("\n", " ")
    assert "It was down for 28 min." in recovered.email
    assert "12 failed tests in a row, 3 alerts" in recovered.email


def test_a_down_email_says_all_that_is_known() -> None:
    """The exact message, the reason, what was seen, since when in both zones, the last good test, what comes next."""
    email = next(outage(target())).email
    for words in (
        "The remote device timed out before sending a response.",
        "The server accepted the connection and said nothing.",
        "Reason: no-greeting",
        "2026-11-23 03:12:00 UTC (04:12 CET)",
        "2 min, 3 failed tests in a row",
        "2026-11-23 03:11:00 UTC, 12.5 ms",
        "Next test in 1 min, at 03:15:00 UTC.",
        "pop.example.net:110, no TLS, address 192.0.2.7",
        "customers",
        "berlin, dovecot",
        "mail-berlin/down/1/2026-11-23 03:12:00 UTC",
    ):
        assert words in email


@pytest.mark.parametrize("error", list(ErrorCode))
def test_every_error_has_its_message_in_the_email(error: ErrorCode) -> None:
    """The email has the fixed message word for word, and the SMS a shorter one."""
    message = next(outage(target(), failed=replace(FAILED, error=error)))
    assert error.message in message.email
    assert message.attributes["error"] == error.value
    assert "no-greeting" in message.sms


def test_attributes_route() -> None:
    """What filter policies need: a recovery has the number of the last alert before it."""
    first, *_, recovered = outage(target())
    assert first.attributes == {
        "event": "down",
        "state": "down",
        "target_id": "mail-berlin",
        "group": "customers",
        "tags": ("berlin", "dovecot"),
        "error": "timed-out",
        "alert_number": 1,
    }
    assert (recovered.attributes["event"], recovered.attributes["alert_number"]) == ("recovered", 3)
    assert "error" not in recovered.attributes


def test_own_texts_are_used() -> None:
    """Templates of the target replace all three texts."""
    own = target(subject="{name} {state}", email="{message}\n{{x}} {outage}", sms="{target_id} {alert_number}")
    message = next(outage(own))
    assert message.subject == "Mail Berlin down"
    assert message.email == "The remote device timed out before sending a response\n{x} 2 min"
    assert message.sms == "mail-berlin 1"


@pytest.mark.parametrize("template", ["{nmae} is down", "{", "}", "{name", "{name.__class__}", "{name!r}", "{0}", "{}"])
@pytest.mark.parametrize("field", ["subject", "email", "sms"])
def test_a_template_with_a_mistake_loses_no_alert(field: str, template: str) -> None:
    """The built-in text is sent instead, and the email says which field is wrong."""
    built_in, message = next(outage(target())), next(outage(target(**{field: template})))
    assert (message.subject, message.sms) == (built_in.subject, built_in.sms)
    assert message.email.startswith(built_in.email.rstrip())
    assert f"`{field}` of the target mail-berlin was not used" in message.email.replace("\n", " ")


@given(template=st.text(st.sampled_from(string.printable + "{}é€世"), max_size=200), said=ANYTHING, name=ANYTHING)
def test_rendering_never_raises_and_always_fits(template: str, said: str, name: str) -> None:
    """Whatever is configured and whatever a server sends, there is a message that SNS accepts."""
    watched = target(
        name=name or "x", subject=template, email=template, sms=template, ca_pem="-----BEGIN CERTIFICATE-----SECRET"
    )
    failed = replace(FAILED, detail=said, reason=said, greeting=said, address=said[:20])
    for message in outage(watched, failed=failed):
        check_fits(message)
        assert "SECRET" not in message.email + message.sms + message.subject


@given(said=ANYTHING)
def test_no_control_character_gets_through(said: str) -> None:
    """Text from a server reaches an email without control, format or bidi characters."""
    failed = replace(FAILED, detail=said, reason=said, greeting=said)
    message = next(outage(target(email="{detail}{reason}{greeting}"), failed=failed))
    assert not [character for character in message.email if unicodedata.category(character).startswith("C")]


def test_a_value_with_braces_is_not_a_template() -> None:
    """A token that a server sends is not replaced."""
    failed = replace(FAILED, detail="{target_id} {{")
    assert next(outage(target(email="{detail}"), failed=failed)).email == "{target_id} {{"


def test_long_names_leave_room_for_the_story() -> None:
    """The name is cut before the error is, in subject and SMS; an alert of any event fits."""
    watched = target(name="Mail " + "x" * 95, host="a" * 60 + "." + "b" * 60 + ".example.net")
    message, *later = outage(watched)
    for each in (message, *later, *others(watched).values()):
        check_fits(each)
    assert message.sms.endswith("since 04:12 CET: timed out, no-greeting")
    assert message.subject.startswith("DOWN 1/3: Mail xxx")


def test_the_name_is_not_shown_twice() -> None:
    """A target without a name of its own is shown once in an SMS."""
    message = next(outage(target(name="pop.example.net")))
    assert message.sms.count("pop.example.net") == 1


def test_summary_lists_every_alert_and_matches_every_policy() -> None:
    """One message for many: counted, listed, and with attributes that match whatever one of them would match."""
    first, *_, recovered = outage(target())
    other = next(outage(target(target_id="mail-rom", name="Mail Rom", group="own")))
    summary = summarize([first, other, recovered], START + timedelta(minutes=3))
    check_fits(summary)
    assert summary.event == "summary"
    assert summary.subject == "3 alerts at once: 2 down, 1 up again"
    assert summarize(list(others(target()).values()), START).line == (
        "10 alerts at once: 1 flapping, 1 no longer counted as flapping, 1 degraded, 1 no longer counted as degraded, "
        "1 slow, 1 no longer counted as slow, 1 certificate warning, 1 throttled, "
        "1 no longer throttled, 1 with a worse posture"
    )
    assert all(message.line in summary.email for message in (first, other, recovered))
    assert summary.attributes["event"] == ("summary", "down", "recovered")
    assert summary.attributes["group"] == ("customers", "own")
    assert summary.attributes["target_id"] == ("mail-berlin", "mail-rom")
    assert summary.attributes["alert_number"] == 3


def test_a_summary_is_in_natural_order() -> None:
    """By event as in its headline, then by the ids, in whatever order the tests ended."""
    found = {name: [*outage(target(target_id=name, name=name))] for name in ("mail-10", "mail-2", "mail-9")}
    messages = [found["mail-9"][-1], *(found[name][0] for name in ("mail-10", "mail-2", "mail-9"))]
    summary = summarize(messages, START)
    lines = [message.line for message in (messages[2], messages[3], messages[1], messages[0])]
    places = [summary.email.index(line) for line in lines]
    assert places == sorted(places)
    assert summary.sms.endswith(": mail-2, mail-9, mail-10, mail-9")


def test_summary_of_thousands_is_bounded() -> None:
    """A thousand alerts become one message that SNS accepts and that says how many it leaves out."""
    messages = [next(outage(target(target_id=f"mail-{number:04}", name="N" * 100))) for number in range(1000)]
    summary = summarize(messages, START)
    assert len(summary.email.encode()) < 64_000
    assert "... and 800 more" in summary.email
    assert count_septets(summary.sms) <= SMS_SEPTETS
    assert len(str(summary.attributes)) < 16_000


@pytest.mark.parametrize(
    ("text", "subject", "sms"),
    [
        ("Büro", "Buro", "Büro"),
        ("Łódź ß Ångström", "Lodz ss Angstrom", "Lodz ß Ångström"),
        ("a\nb\tc", "a b c", "a b c"),
        ("東京", "??", "??"),
        ("", "popwatch", ""),
        ("“x” – €5", '"x" - ?5', '"x" - €5'),  # noqa: RUF001 - the dash is what is tested
    ],
)
def test_character_sets(text: str, subject: str, sms: str) -> None:
    """A character that the set lacks is replaced by a similar one."""
    assert (to_subject(text), to_sms(text)) == (subject, sms)


def test_extension_characters_count_twice() -> None:
    """150 septets are 75 braces: SNS puts `popwatch> ` before them."""
    assert SMS_SEPTETS == 150
    assert to_sms("{" * 75) == "{" * 75
    assert to_sms("{" * 76) == "{" * 73 + "..."


def test_the_room_of_an_sms_is_what_the_display_name_of_its_topic_leaves() -> None:
    """The name in the template is the one that the room is computed from; its characters take a septet each."""
    template = yaml_parse((PROJECT / "template.yaml").read_text())
    assert template["Resources"]["SmsTopic"]["Properties"]["DisplayName"] == DISPLAY_NAME
    assert count_septets(DISPLAY_NAME) == len(DISPLAY_NAME)
    for message in (*outage(target()), *others(target()).values()):
        assert all(map(is_gsm, message.sms))  # with one other character there would be room for 60 only
        assert count_septets(f"{DISPLAY_NAME}> {message.sms}") <= 160


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7500, "2 h 5 min"), (90_061, "1 d 1 h"), (-5, "0 s"), (86_460, "1 d")],
)
def test_durations(seconds: int, text: str) -> None:
    """A duration has its two largest units."""
    assert duration(timedelta(seconds=seconds)) == text


def test_template_errors_say_where() -> None:
    """The text of the error names the token or the place."""
    with pytest.raises(TemplateError, match=r"there is no token \{nmae\}"):
        fill("{nmae}", {"name": "x"}, 100)
    with pytest.raises(TemplateError, match="character 5"):
        fill("abc {", {}, 100)


def test_a_text_beyond_the_limit_is_not_kept() -> None:
    """Three thousand tokens with long values would be a gigabyte; what is cut off is still checked."""
    tracemalloc.start()
    text = fill("{host} " * 3000, {"host": "x" * 400_000}, 8000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(text), text[-3:]) == (8000, "...")
    assert most < 10_000_000
    with pytest.raises(TemplateError, match="character 9001"):
        fill("x" * 9000 + "}", {}, 100)


def test_what_sns_refuses_is_in_no_message() -> None:
    """SNS would refuse an alert with a control character, from a template or an id, at every attempt."""
    watched = target(target_id="a\0b\x1b", name="", email="one\r\ntwo\x00\x9b{target_id}\u202e\ud800\n\N{WOMAN}\u200d")
    for message in outage(watched):
        assert message.email == "one\ntwo??a?b???\n\N{WOMAN}\u200d"
        assert message.attributes["target_id"] == "a?b?"
        assert message.line == to_email(message.line)
        assert summarize([message] * 2, START).email == to_email(summarize([message] * 2, START).email)


def test_every_token_has_a_value_in_both_alerts() -> None:
    """Each token can be used in a `down` alert and in a `recovered` one."""
    template = "|".join(f"{{{token.name}}}" for token in TOKENS)
    for message in outage(target(email=template)):
        assert message.email.count("|") == len(TOKENS) - 1
