"""The lookups of a run, without sockets and with a clock of the test: what is asked when, and what comes of it."""

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from popwatch.decisions.own_network import LEAST_TARGETS
from popwatch.model.fields import Family
from popwatch.prober.dns_messages import RecordType
from popwatch.prober.lookups import BEGUN_PER_SECOND, BURST, LOOKUP_SECONDS, REPEATED_PER_SECOND, Lookups, TokenBucket
from popwatch.prober.lookups import Question as Asked
from popwatch.prober.name_servers import NameServers, read_hosts, read_resolv_conf
from popwatch.prober.resolver import FRESH_SECONDS, STALE_SECONDS, AnswerCache, LookupResult, Name, Resolver

SERVERS = (("192.0.2.53", 53), ("192.0.2.54", 53))
SERVFAIL, NXDOMAIN = 2, 3

Answer = list[str] | int | None
"""Addresses of any family, a response code, or no answer."""


@dataclass
class Names:
    """A resolver whose clock is the test's, and name servers that answer as the test says."""

    answers: Mapping[str, Answer]
    ipv6: bool = False
    family: Family = Family.ANY
    search: tuple[str, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    no_aaaa: bool = False
    now: float = 1_000.0
    asked: list[tuple[float, int, str, RecordType]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resolver = Resolver(
            name_servers=lambda: NameServers(SERVERS, self.search),
            hosts=lambda: self.hosts,
            clock=lambda: self.now,
        )

    def run(self, hosts: Iterable[str]) -> dict[str, LookupResult]:
        """One run: all hosts as soon as they may begin. Each result as it came."""
        lookups, found = Lookups(self.resolver, ipv6=self.ipv6), {}
        waiting = [Name(host, self.family) for host in hosts]
        for name in list(waiting):
            known = lookups.known(name)
            if known:
                found[name.host] = known
                waiting.remove(name)
        wanted = len(found) + len(waiting)
        while len(found) < wanted:
            while waiting and lookups.may_begin(self.now):
                lookups.begin(waiting.pop(0), self.now)
            for server, question in list(lookups.sends(self.now)):
                self.answer(lookups, server, question)
            found |= {result.name.host: result for result in lookups.results()}
            due = lookups.next_due(self.now)
            begin = lookups.next_begin(self.now) if waiting else float("inf")
            self.now = max(self.now + 0.001, min(due, begin)) if len(found) < wanted else self.now
        return found

    def answer(self, lookups: Lookups, server: int, question: Asked) -> None:
        name = ".".join(_labels(question.lookup.name))
        self.asked.append((self.now, server, name, question.record_type))
        found = self.answers.get(name, NXDOMAIN)
        if found is None or server in self.dead or (self.no_aaaa and question.record_type is RecordType.AAAA):
            return
        listed = [ip_address(it) for it in found] if isinstance(found, list) else []
        packed = [it.packed for it in listed if (it.version == 6) == (question.record_type is RecordType.AAAA)]
        code = found if isinstance(found, int) else 0
        header = struct.pack("!6H", question.message_id, 0x8180 | code, 1, len(packed), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!2HIH", question.record_type, 1, 9, len(it)) + it for it in packed
        )
        lookups.receive(header + question.message[12:] + records, server, self.now)

    def record_types(self) -> list[RecordType]:
        """The record types of the questions so far."""
        return [record_type for _, _, _, record_type in self.asked]


def _labels(name: bytes) -> list[str]:
    labels = []
    while name[0]:
        labels.append(name[1 : 1 + name[0]].decode())
        name = name[1 + name[0] :]
    return labels


def test_only_ipv4_is_asked_for_without_a_route_for_ipv6() -> None:
    """One question for a name, not two."""
    names = Names({"pop.test": ["192.0.2.1", "2001:db8::1"]})
    assert names.run(["pop.test"])["pop.test"].addresses == ("192.0.2.1",)
    assert names.record_types() == [RecordType.A]


def test_a_name_with_ipv6_only_is_found_out() -> None:
    """Without a route for IPv6 too, so that the outcome can say what is wrong."""
    names = Names({"six.test": ["2001:db8::1"], "none.test": []})
    found = names.run(["six.test", "none.test"])
    assert found["six.test"].addresses == ("2001:db8::1",)
    assert found["none.test"].reason == "no-address-record"
    assert names.record_types() == [RecordType.A, RecordType.A, RecordType.AAAA, RecordType.AAAA]


def test_both_families_with_a_route() -> None:
    """Both are asked for at once, and IPv6 addresses come first (RFC 6724)."""
    names = Names({"pop.test": ["192.0.2.1", "2001:db8::1"]}, ipv6=True)
    assert names.run(["pop.test"])["pop.test"].addresses == ("2001:db8::1", "192.0.2.1")


@pytest.mark.parametrize("ipv6", [True, False])
@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
def test_one_family_on_request(family: Family, ipv6: bool) -> None:
    """Only addresses of that family are asked for, also in the hosts file, and without a route for IPv6."""
    both = ("192.0.2.1", "2001:db8::1")
    names = Names({"pop.test": list(both)}, family=family, ipv6=ipv6, hosts={"listed.test": both})
    found = names.run(["pop.test", "listed.test"])
    assert names.record_types() == [RecordType.A if family is Family.IPV4 else RecordType.AAAA]
    expected = both[:1] if family is Family.IPV4 else both[1:]
    assert found["pop.test"].addresses == found["listed.test"].addresses == expected


def test_a_name_without_addresses_of_its_family() -> None:
    """The name exists, and the outcome says which addresses it lacks. The other family's answer is not used."""
    names = Names({"pop.test": ["192.0.2.1"]}, ipv6=True)
    assert names.run(["pop.test"])["pop.test"].addresses
    names.family = Family.IPV6
    found = names.run(["pop.test"])["pop.test"]
    assert (found.addresses, found.reason) == ((), "no-address-record")
    assert found.detail == "pop.test has no IPv6 address, and no other may be used (`family`)."


def test_a_name_that_the_hosts_file_lists_with_another_family() -> None:
    """It exists, whatever the name servers say of it."""
    names = Names({}, family=Family.IPV6, ipv6=True, hosts={"listed.test": ("192.0.2.1",)})
    found = names.run(["Listed.test"])["Listed.test"]
    assert (found.addresses, found.reason) == ((), "no-address-record")
    assert names.run(["other.test"])["other.test"].reason == "no-such-name"


def test_a_final_dot_means_no_search_domain() -> None:
    """With the dot the name as it is, and only that; without it, what the monitor's own search domains make of it."""
    names = Names({"nosuch.example.corp.test": ["192.0.2.1"]}, search=("corp.test",))
    found = names.run(["nosuch.example.", "nosuch.example"])
    assert found["nosuch.example."].reason == "no-such-name"
    assert found["nosuch.example"].addresses == ("192.0.2.1",)


def test_a_server_that_drops_aaaa_costs_half_a_second() -> None:
    """The IPv4 addresses are used, long before any deadline."""
    names = Names({"pop.test": ["192.0.2.1"]}, ipv6=True, no_aaaa=True)
    began = names.now
    assert names.run(["pop.test"])["pop.test"].addresses == ("192.0.2.1",)
    assert names.now - began < 0.6


@pytest.mark.parametrize(
    ("answer", "reason", "seconds"),
    [
        (NXDOMAIN, "no-such-name", 0.1),
        ([], "no-address-record", 0.1),
        (SERVFAIL, "dns-failure", 0.4),
        (None, "dns-timed-out", 4.6),
    ],
)
@pytest.mark.parametrize("ipv6", [True, False])
def test_reasons(answer: Answer, reason: str, seconds: float, ipv6: bool) -> None:
    """Each way to have no address has its reason, after a bounded time."""
    names = Names({"pop.test": answer}, ipv6=ipv6)
    began = names.now
    found = names.run(["pop.test"])["pop.test"]
    assert (found.addresses, found.reason) == ((), reason)
    assert names.now - began <= seconds


def test_a_name_that_cannot_be_one() -> None:
    """It fails without a question."""
    names = Names({})
    assert names.run([f"{'a' * 64}.test"]).popitem()[1].reason == "dns-error"
    assert names.asked == []


def test_a_dead_name_server_is_passed_over() -> None:
    """Each repetition asks the next one, and those after the first answer begin with the one that answered."""
    names = Names({"one.test": ["192.0.2.1"], "two.test": ["192.0.2.2"]}, dead={0})
    assert names.run(["one.test"])["one.test"].addresses
    assert [server for _, server, _, _ in names.asked] == [0, 1]


def test_the_name_server_that_answered_is_asked_first() -> None:
    """So a dead one costs its time once in a run, not for each name."""
    names = Names({"one.test": ["192.0.2.1"], "two.test": ["192.0.2.2"]}, dead={0})
    lookups = Lookups(names.resolver, ipv6=False)
    for host, now in (("one.test", 0.0), ("one.test", 0.3), ("two.test", 0.4)):
        if now != 0.3:
            lookups.begin(Name(host), now)
        for server, question in list(lookups.sends(now)):
            names.answer(lookups, server, question)
    assert [(server, name) for _, server, name, _ in names.asked] == [(0, "one.test"), (1, "one.test"), (1, "two.test")]


def test_each_search_domain_is_asked_for_both_families() -> None:
    """Also without a route for IPv6, for a name that exists in the first domain but has its address in the second."""
    names = Names({"mail.other.test": [], "mail.corp.test": ["2001:db8::1"]}, search=("other.test", "corp.test"))
    assert names.run(["mail"])["mail"].addresses == ("2001:db8::1",)


def test_search_domains() -> None:
    """A short name is completed first, one with a dot only if it does not exist, one with a dot at its end never."""
    names = Names(
        {"mail.corp.test": ["192.0.2.1"], "mail.b.corp.test": ["192.0.2.2"]}, search=("other.test", "corp.test")
    )
    found = names.run(["mail", "mail.b", "mail.b."])
    assert found["mail"].addresses == ("192.0.2.1",)
    assert found["mail.b"].addresses == ("192.0.2.2",)
    assert found["mail.b."].reason == "no-such-name"
    assert [name for _, _, name, _ in names.asked if name.startswith("mail.b")][:2] == ["mail.b", "mail.b"]


def test_the_hosts_file_comes_first() -> None:
    """A listed name is not asked for, whatever its case."""
    names = Names({}, hosts={"pop.test": ("192.0.2.9",)})
    assert names.run(["POP.test"])["POP.test"].addresses == ("192.0.2.9",)
    assert names.asked == []


def test_questions_are_begun_at_a_bounded_rate() -> None:
    """800 names, 200 of them unanswered: no second has more packets than AWS's resolver takes, and those end."""
    zone: dict[str, Answer] = {f"n{n}.test": None if n % 4 == 0 else ["192.0.2.1"] for n in range(800)}
    names = Names(zone, ipv6=True)
    found = names.run(zone)
    times = sorted(at for at, _, _, _ in names.asked)
    most = max(sum(begin <= at < begin + 1 for at in times) for begin in times[::10])
    assert most <= BEGUN_PER_SECOND + REPEATED_PER_SECOND + 2 * BURST < 1024
    assert sum(bool(result.addresses) for result in found.values()) == 600


def test_no_name_waits_for_an_unanswered_one() -> None:
    """With 200 unanswered zones the others are begun no later than without them, if they were resolved before."""
    good: dict[str, Answer] = {f"g{n}.test": ["192.0.2.1"] for n in range(600)}
    names = Names(good)
    names.run(good)
    last = {}
    for dead in (0, 200):
        names.now += FRESH_SECONDS + 5
        began, names.asked = names.now, []
        names.answers = {**good, **{f"d{n}.test": None for n in range(dead)}}
        names.run([*good, *(f"d{n}.test" for n in range(dead))])
        last[dead] = max(at - began for at, _, name, _ in names.asked if name.startswith("g"))
    assert last[200] == pytest.approx(last[0], abs=0.05)


def test_an_answer_is_used_again_for_a_short_time() -> None:
    """Not asked again within FRESH_SECONDS, asked after it: a changed address is found at the next tick."""
    names = Names({"pop.test": ["192.0.2.1"]})
    names.run(["pop.test"])
    names.answers = {"pop.test": ["192.0.2.2"]}
    names.now += FRESH_SECONDS - 1
    assert names.run(["pop.test"])["pop.test"].addresses == ("192.0.2.1",)
    names.now += 2
    found = names.run(["pop.test"])["pop.test"]
    assert (found.addresses, found.age_seconds) == (("192.0.2.2",), None)


def test_times_are_short() -> None:
    """An answer is cached for two minutes at most, and the next minute's tick does not use it without asking."""
    assert FRESH_SECONDS < 60 < STALE_SECONDS <= 120


ZONES = {f"pop{n}.zone{n % 10}.test{n % 4}": ["192.0.2.1"] for n in range(40)}


@pytest.mark.parametrize("failure", [None, SERVFAIL])
def test_stale_answers_are_used_while_name_servers_fail(failure: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """For most names: each is marked with the age of its answer, in time for a test, and the log says so once."""
    names = Names(ZONES)
    names.run(ZONES)
    names.now += 60
    names.answers = dict.fromkeys(ZONES, failure)
    began = names.now
    found = names.run(ZONES)
    assert {result.addresses for result in found.values()} == {("192.0.2.1",)}
    assert all(result.age_seconds is not None and 60 <= result.age_seconds <= 63 for result in found.values())
    assert names.now - began < 2
    assert [record.name for record in caplog.records] == ["popwatch.prober.lookups"]


def test_an_outage_of_a_zone_is_seen() -> None:
    """A zone that fails while most names do not: its names have no address, although they were answered before."""
    names = Names(ZONES)
    names.run(ZONES)
    names.now += 60
    broken = {name for name in ZONES if re.search(r"\.zone[1-4]\.", name)}
    assert LEAST_TARGETS < len(broken) < len(ZONES) / 2
    names.answers = {name: SERVFAIL if name in broken else ["192.0.2.1"] for name in ZONES}
    found = names.run(ZONES)
    assert {name for name, result in found.items() if result.reason == "dns-failure"} == broken
    assert all(result.age_seconds is None for result in found.values())


def test_names_that_do_not_exist_any_more_are_no_failure_of_the_name_servers() -> None:
    """An answer that there is no address is the truth, for however many names."""
    names = Names(ZONES)
    names.run(ZONES)
    names.now += 60
    names.answers = {}
    assert {result.reason for result in names.run(ZONES).values()} == {"no-such-name"}


def test_an_answer_that_there_is_no_address_ends_what_was_cached() -> None:
    """It is newer than the address, which is not used while name servers fail after it."""
    names = Names(ZONES)
    names.run(ZONES)
    names.now += 55
    names.answers = {}
    names.run(ZONES)
    names.now += 55
    names.answers = dict.fromkeys(ZONES, None)
    assert {result.reason for result in names.run(ZONES).values()} == {"dns-timed-out"}


@pytest.mark.parametrize("ticks", [2, 3])
def test_cached_answers_end_after_two_minutes(ticks: int) -> None:
    """Name servers that fail for longer are reported."""
    names = Names(ZONES)
    names.run(ZONES)
    names.now += 60 * ticks + 1
    names.answers = dict.fromkeys(ZONES, None)
    assert {result.reason for result in names.run(ZONES).values()} == {"dns-timed-out"}


@pytest.mark.parametrize("zones", [list(ZONES)[:5], [f"pop{n}.example.net" for n in range(40)]])
def test_few_names_or_one_zone_say_nothing_of_the_name_servers(zones: list[str]) -> None:
    """Their failure may be their own: it is reported."""
    names = Names({name: ["192.0.2.1"] for name in zones})
    names.run(zones)
    names.now += 60
    names.answers = dict.fromkeys(zones, SERVFAIL)
    assert {result.reason for result in names.run(zones).values()} == {"dns-failure"}


def test_a_clock_that_is_set_back_ends_cached_answers() -> None:
    """An answer from the future has no age."""
    now = 1_000.0
    cache = AnswerCache(lambda: now)
    cache.keep(Name("pop.test"), ("192.0.2.1",))
    now = 900.0
    assert cache.find(Name("pop.test"), STALE_SECONDS) is None
    cache.forget_old()
    now = 1_000.0
    assert cache.find(Name("pop.test"), STALE_SECONDS) is None


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda data: b"\xff\xff" + data[2:], "another number"),
        (lambda data: data.replace(b"pop", b"pip"), "another name"),
    ],
)
def test_a_reply_to_another_question_is_ignored(change: object, name: str) -> None:
    """Its number and its question must be ours."""
    assert callable(change), name
    names = Names({"pop.test": ["192.0.2.1"]})
    lookups = Lookups(names.resolver, ipv6=False)
    lookups.begin(Name("pop.test"), 0.0)
    [(server, question)] = lookups.sends(0.0)
    if question.message_id == 0xFFFF:
        pytest.skip("the number was drawn")
    header = struct.pack("!6H", question.message_id, 0x8180, 1, 1, 0, 0)
    data = header + question.message[12:] + b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 9, 4) + bytes(4)
    lookups.receive(change(data), server, 0.0)
    assert lookups.results() == []
    lookups.receive(data, server, 0.0)
    assert [result.addresses for result in lookups.results()] == [("0.0.0.0",)]


def test_a_pace() -> None:
    """BURST at once, then by its rate."""
    bucket, done = TokenBucket(100.0), 0
    for step in range(1001):
        while bucket.allows(5.0 + step / 1000):
            bucket.count()
            done += 1
    assert done == BURST + 100


def test_resolv_conf() -> None:
    """As resolv.conf(5) says; what is not understood is ignored."""
    found = read_resolv_conf(
        "# comment\nnameserver 169.254.78.1\nnameserver fe80::1%eth0 ; second\nnameserver nonsense\n"
        "nameserver 192.0.2.3\nnameserver 192.0.2.4\ndomain old.test\nsearch Corp.test. ec2.internal\n"
        "options timeout:1 ndots:2 ndots:x rotate\n"
    )
    assert found.servers == (("169.254.78.1", 53), ("fe80::1%eth0", 53), ("192.0.2.3", 53))
    assert (found.search, found.ndots) == (("corp.test", "ec2.internal"), 2)
    assert read_resolv_conf("").servers == (("127.0.0.1", 53),)


def test_hosts() -> None:
    """Every name of a line, and every line of a name."""
    found = read_hosts("127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # comment\n192.0.2.1 Pop.test pop\nx y\n")
    assert found == {
        "localhost": ("127.0.0.1", "::1"), "ip6-localhost": ("::1",), "pop.test": ("192.0.2.1",), "pop": ("192.0.2.1",)
    }  # fmt: skip


def test_the_time_of_a_lookup_leaves_time_for_a_test() -> None:
    """The default of `max_test_seconds` is 10."""
    assert LOOKUP_SECONDS < 5
