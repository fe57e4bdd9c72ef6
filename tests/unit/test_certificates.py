"""Warnings of certificates: when they are due, of which certificate, and how many there can be."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popwatch.alerts.rendering import render
from popwatch.decisions.early_warnings import WARNINGS_KEPT, WARNINGS_PER_DAY, certificate_limits, with_warnings
from popwatch.decisions.judging import changes_nothing, judge, suspend
from popwatch.model.health import UNTESTED, AlertEvent, CertificateWarning, Health, State
from popwatch.model.outcomes import Certificate, Outcome, Phase, Role
from popwatch.model.serialization import deserialize
from popwatch.model.targets import Policy
from popwatch.reports.status import certificate_remark
from tests.examples import HEALTHY, certificate, certified, target

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.5)
SHARES = Policy(flap_per_hour=0)
DAYS = Policy(flap_per_hour=0, certificate_warn_days=(30, 14, 7, 3, 1))
UP = judge(UNTESTED, PASSED, SHARES, START - MINUTE).health


def warnings(
    shown: Iterable[Certificate], policy: Policy = DAYS, every: timedelta = DAY, health: Health = UP
) -> list[str]:
    """The warnings of tests that are shown these certificates, as `test:days`."""
    found = []
    for number, each in enumerate(shown):
        judgement = judge(health, certified(PASSED, each), policy, START + number * every)
        assert judgement.health.state is State.UP
        if judgement.alert:
            assert judgement.alert.event is AlertEvent.CERTIFICATE
            found.append(f"{number}:{judgement.alert.number}")
        health = judgement.health
    return found


def lasting(days: float, lifetime: float = 90) -> Certificate:
    """A certificate that expires so many days after the first test."""
    return certificate(START + days * DAY, lifetime)


class TestLifetimes:
    """Without days of the user's own, warnings are by the share of the lifetime that is left."""

    @pytest.mark.parametrize(
        ("lifetime", "limits"),
        [
            (6, (36, 18, 9)),
            (47, (282, 141, 70.5)),
            (90, (504, 252, 126)),
            (3650, (504, 252, 126)),
            (0, (0, 0, 0)),
        ],
    )
    def test_limits(self, lifetime: int, limits: tuple[float, ...]) -> None:
        """A quarter, an eighth and a sixteenth, as long as that begins within 21 days; hours here."""
        assert certificate_limits(lifetime * DAY, None) == tuple(number * HOUR for number in limits)


class TestDays:
    """Days of the user's own, once each."""

    def test_once_at_each_of_the_days(self) -> None:
        """A certificate that lasts 40 days more is warned of five times."""
        assert warnings([lasting(40)] * 42) == ["10:30", "26:14", "33:7", "37:3", "39:1"]

    def test_days_are_whole(self) -> None:
        """Not before 30 days are left: certbot renews in that hour."""
        assert warnings([lasting(31)] * 50, every=HOUR) == ["24:30"]

    def test_renewal_starts_over(self) -> None:
        """A new certificate ends the warnings, and is warned of in its own time."""
        old, new = lasting(20), lasting(100)
        assert warnings([old] * 10 + [new] * 80) == ["0:30", "6:14", "70:30", "86:14"]

    def test_zero_days_are_the_last_day(self) -> None:
        """A target that verifies certificates fails once it has expired, which is too late for a warning."""
        policy = replace(DAYS, certificate_warn_days=(0,))
        assert warnings([lasting(30 / 24)] * 2, policy) == ["1:1"]

    def test_no_days_no_warnings(self) -> None:
        """An empty list switches them off; the certificate is shown as usual."""
        policy = replace(DAYS, certificate_warn_days=())
        assert warnings([lasting(0)] * 3, policy) == []


class TestBounded:
    """No server brings more than a few warnings a day, whatever it shows."""

    def test_two_certificates_in_turn_are_warned_of_once_each(self) -> None:
        """Servers behind one name: each limit once for each of them, not at each test."""
        assert warnings([lasting(5), lasting(25)] * 1440, every=MINUTE) == ["0:7", "1:30"]

    def test_the_second_certificate_is_warned_of_before_the_first_has_expired(self) -> None:
        """Each of the two has its own limits."""
        assert warnings([lasting(6), lasting(20)] * 9, SHARES, every=8 * HOUR) == ["0:10", "1:21", "4:5"]

    def test_a_certificate_that_is_a_minute_shorter_each_time(self) -> None:
        """1,440 tests of a day bring 3 warnings."""
        shown = [certificate(START + 20 * DAY - number * MINUTE) for number in range(2 * 1440)]
        assert warnings(shown, SHARES, every=MINUTE) == ["0:21", "1:21", "2:21", "1440:21", "1441:21", "1442:21"]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(-90, 90), st.integers(0, 400)), min_size=1, max_size=12), st.booleans())
    def test_no_certificates_bring_more(self, shown: list[tuple[int, int]], by_days: bool) -> None:
        """Any certificates in turn, expired ones too: 3 warnings in 24 hours, and a few are remembered."""
        policy, health, sent = DAYS if by_days else SHARES, UP, []
        for number in range(600):
            now = START + number * 5 * MINUTE
            expires, lifetime = shown[number % len(shown)]
            judgement = judge(health, certified(PASSED, lasting(expires, lifetime)), policy, now)
            health = judgement.health
            assert len(health.certificate_warnings) <= WARNINGS_KEPT
            sent += [now] if judgement.alert else []
        assert all(sum(at <= other < at + DAY for other in sent) <= WARNINGS_PER_DAY for at in sent)

    def test_certificates_of_a_few_hours(self) -> None:
        """Limits that follow one another in an hour count for the day, also of one certificate."""
        shown = [certificate(START + (4 + minute // 240 * 4) * HOUR, 1 / 6) for minute in range(1440)]
        assert warnings(shown, SHARES, every=MINUTE) == ["180:0", "210:0", "225:0"]

    def test_a_warning_that_did_not_fit_into_a_day_follows(self) -> None:
        """The fourth certificate of a day is warned of on the next one."""
        shown = [lasting(9), lasting(8), lasting(7), lasting(6)]
        assert warnings([*shown, *[lasting(6)] * 1440], SHARES, every=MINUTE) == ["0:10", "1:10", "2:10", "1440:5"]


class TestChains:
    """Each certificate of the chain that was verified counts, by its own lifetime."""

    LEAF = lasting(60)
    SHORT = certificate(START + 20 * DAY, 1000, Role.INTERMEDIATE, "R11")
    ROOT = certificate(START + 4000 * DAY, 7000, Role.ROOT, "Root X1")

    def test_an_intermediate_that_expires_first(self) -> None:
        """The leaf lasts; the text says which one it is and what to do."""
        watched, outcome = target(tls="implicit"), certified(PASSED, self.LEAF, self.SHORT, self.ROOT)
        judgement = judge(HEALTHY, outcome, watched.policy, START)
        message = render(watched, HEALTHY, judgement, outcome, START)
        text = " ".join(message.email.split())
        assert 'The intermediate certificate "R11" of Mail Berlin expires in 20 days.' in text
        assert "The server must send another: install the chain that its authority issues now." in text
        assert message.sms.endswith('(intermediate certificate "R11") expires in 20 days')
        assert judgement.health.expiring_certificate == self.SHORT

    def test_a_root_that_expires_first(self) -> None:
        """As for an intermediate, by another advice."""
        root = replace(self.ROOT, expires=START + 3 * DAY)
        watched, outcome = target(tls="implicit"), certified(PASSED, self.LEAF, root)
        message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
        assert 'The root certificate "Root X1" of Mail Berlin expires in 3 days.' in message.email
        assert "from a root that lasts longer" in message.email

    def test_several_at_once_are_one_warning(self) -> None:
        """A private authority made together with its certificate; another one that expires soon is named too."""
        leaf, root = lasting(10), certificate(START + 10 * DAY, 90, Role.ROOT, "Own root")
        middle = replace(self.SHORT, expires=START + 12 * DAY)
        watched, outcome = target(tls="implicit"), certified(PASSED, leaf, middle, root)
        judgement = judge(HEALTHY, outcome, watched.policy, START)
        text = " ".join(render(watched, HEALTHY, judgement, outcome, START).email.split())
        assert 'The certificate and the root certificate "Own root" of Mail Berlin expire in 10 days.' in text
        assert 'Expires too intermediate certificate "R11", 2026-12-05 03:00:00 UTC' in text

    @pytest.mark.parametrize(
        ("lifetime", "warned"),
        [(60, ["504", "360", "252", "180", "126", "90"]), (6, ["504", "252", "126", "36", "18", "9"])],
    )
    def test_a_certificate_that_was_cut_to_the_end_of_its_authority(self, lifetime: int, warned: list[str]) -> None:
        """Each of the two is warned of within its own limits, in hours here, and each text names the next of all."""
        leaf, root = lasting(22, lifetime), certificate(START + 22 * DAY, 3650, Role.ROOT, "Own root")
        watched, health = target(tls="implicit"), UP
        sent, named = [], []
        for hour in range(22 * 24):
            now, outcome = START + hour * HOUR, certified(PASSED, leaf, root)
            judgement = judge(health, outcome, watched.policy, now)
            if judgement.alert:
                text = " ".join(render(watched, health, judgement, outcome, now).email.split())
                found = re.search(
                    r"The next warning about them comes (?:(\d+) d(?:ays?)?)? ?(?:(\d+) h)? ?before they expire", text
                )
                named.append(str(int(found[1] or 0) * 24 + int(found[2] or 0)) if found else "")
                assert found or "This was the last warning about them." in text
                assert "The server must send" not in text
                assert "from a root that lasts longer" in text
                sent.append(str(22 * 24 - hour))
            health = judgement.health
        assert sent == warned
        assert named == [*warned[1:], ""]

    def test_what_expires_together_is_one_alert(self) -> None:
        """Eight addresses with certificates of their own, issued within minutes: three alerts, not 24."""
        chain = [replace(lasting(20 - number / 1440), address=f"192.0.2.{number}") for number in range(8)]
        health, sent = UP, []
        for hour in range(22 * 24):
            judgement = judge(health, certified(PASSED, *chain), SHARES, START + hour * HOUR)
            health = judgement.health
            sent += [hour // 24] if judgement.alert else []
        assert sent == [0, 9, 14]

    def test_a_certificate_of_some_addresses_says_which(self) -> None:
        """Where each address of a host is tested."""
        found = replace(lasting(5), address="192.0.2.8")
        watched, outcome = target(tls="implicit"), certified(PASSED, found, lasting(60))
        message = render(watched, HEALTHY, judge(HEALTHY, outcome, watched.policy, START), outcome, START)
        assert message.email.startswith("The certificate at 192.0.2.8 of Mail Berlin expires in 5 days.")
        assert message.sms.endswith("(certificate at 192.0.2.8) expires in 5 days")

    @pytest.mark.parametrize(("left", "said"), [(20, "20 days left"), (1, "1 day left"), (-1, "expired")])
    def test_remark(self, left: int, said: str) -> None:
        """Status and page name the certificate unless it is the server's own."""
        near = replace(self.SHORT, expires=START + left * DAY)
        separator = " " if said == "expired" else ": "
        assert certificate_remark(near, START) == f'intermediate certificate "R11"{separator}{said}'
        assert certificate_remark(lasting(20), START) == "certificate: 20 days left"


class TestState:
    """What a target's health keeps of certificates."""

    def test_certificate_never_changes_the_state(self) -> None:
        """An expired certificate of a target that passes (`verify_tls: false`) leaves it up."""
        judgement = judge(UP, certified(PASSED, lasting(-3)), SHARES, START)
        assert (judgement.health.state, judgement.transition) == (State.UP, None)
        assert judgement.alert is not None

    def test_warning_is_due_once_somebody_wants_alerts(self) -> None:
        """With `max_alerts` 0 no one is warned; the warning comes when that is raised."""
        outcome = certified(PASSED, lasting(20))
        quiet = judge(UP, outcome, replace(SHARES, max_alerts=0), START)
        assert quiet.alert is None
        assert judge(quiet.health, outcome, SHARES, START + MINUTE).alert is not None

    def test_suspension_keeps_what_was_warned_of(self) -> None:
        """What was warned of is not warned of again after `popwatch suspend` and `resume`."""
        outcome = certified(PASSED, lasting(20))
        health = judge(UP, outcome, SHARES, START).health
        suspended = suspend(health, START).health
        resumed = judge(suspended, outcome, SHARES, START + MINUTE)
        assert resumed.alert is None
        names = [field.name for field in fields(Health) if "certificate" in field.name]
        assert len(names) == 5
        assert all(getattr(suspended, name) == getattr(health, name) for name in names)
        assert all(getattr(suspended, name) for name in names)

    def test_an_alerted_warning_is_written_once(self) -> None:
        """Further tests change nothing that would have to be written."""
        outcome = certified(PASSED, lasting(20))
        health = judge(UP, outcome, SHARES, START).health
        assert changes_nothing(health, judge(health, outcome, SHARES, START + MINUTE))

    @pytest.mark.parametrize("days", [30, 21, 14])
    def test_an_upgrade_repeats_no_warning(self, days: int) -> None:
        """A record of a version that knew days alone: the next warning is at the next limit, 10.5 days before."""
        stored = {
            "state": "up",
            "certificate_expires": (START + 13 * DAY).isoformat(),
            "certificate_warned": days,
            "certificate_warned_of": (START + 13 * DAY).isoformat(),
        }
        health = deserialize(Health, stored)
        assert warnings([lasting(13)] * 13, SHARES, health=health) == ["3:10", "8:5"]

    def test_after_an_upgrade_the_users_days_go_on(self) -> None:
        """What was warned of at 14 days is warned of at 7 days next."""
        health = replace(UP, certificate_warned=14, certificate_warned_of=START + 13 * DAY)
        assert warnings([lasting(13)] * 8, health=health) == ["6:7"]

    def test_after_an_upgrade_a_renewed_certificate_is_warned_of(self) -> None:
        """The last warning was of another one."""
        health = replace(UP, certificate_warned=1, certificate_warned_of=START)
        assert warnings([lasting(15)], SHARES, health=health) == ["0:21"]

    def test_an_earlier_version_repeats_no_warning_either(self) -> None:
        """It reads the last warning by its days, as it wrote them itself."""
        health = judge(UP, certified(PASSED, lasting(9)), SHARES, START).health
        assert (health.certificate_warned, health.certificate_warned_of) == (10, START + 9 * DAY)

    def test_after_an_upgrade_what_the_users_days_missed_is_not_made_up_for(self) -> None:
        """A target that was warned of at 30 days, and not tested since: the next warning is at 7 days."""
        health = replace(UP, certificate_warned=30, certificate_warned_of=START + 13 * DAY)
        assert warnings([lasting(13)] * 8, health=health) == ["6:7"]

    def test_after_an_upgrade_another_certificate_is_seen_first(self) -> None:
        """The one that was warned of at 3 days is warned of at 1 day next."""
        health = replace(UP, certificate_warned=3, certificate_warned_of=START + 2 * DAY)
        assert warnings([lasting(60), lasting(2)], health=health) == ["1:1"]

    def test_the_last_warning_of_an_earlier_version_is_none_of_today(self) -> None:
        """Three new certificates have their warnings."""
        health = replace(UP, certificate_warned=3, certificate_warned_of=START + 2 * DAY)
        shown = [lasting(2), lasting(6), lasting(5), lasting(4)]
        assert warnings(shown, health=health, every=MINUTE) == ["1:7", "2:7", "3:7"]

    @pytest.mark.parametrize(("number", "expires"), [(None, START + 2 * DAY), (3, None)])
    def test_half_a_warning_of_an_earlier_version_is_none(self, number: int | None, expires: datetime | None) -> None:
        """A record damaged by hand."""
        health = replace(UP, certificate_warned=number, certificate_warned_of=expires)
        assert warnings([lasting(2)], health=health) == ["0:3"]

    def test_what_has_been_replaced_is_forgotten_after_a_day(self) -> None:
        """Until then it counts among the alerts of the day."""
        old, new = (CertificateWarning(START, limit * DAY, START + at) for limit, at in ((2, HOUR), (1, DAY + HOUR)))
        assert with_warnings((old,), (new,)) == (new,)
        assert with_warnings((old,), (replace(new, at=new.at - MINUTE),))[0] == old
