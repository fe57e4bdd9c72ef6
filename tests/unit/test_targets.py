"""Targets as people write them: read leniently, checked strictly, never an exception."""

import base64
import json
import ssl
from datetime import UTC, datetime

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.fields import FIELDS, FIELDS_BY_NAME, Family, Field, TlsMode
from popwatch.model.targets import (
    LARGEST_ITEM,
    POLICY_FIELDS,
    Policy,
    Target,
    message_fields,
    parse_target,
    tls_relaxations,
    with_interventions,
)
from popwatch.model.text import natural_order
from popwatch.reports.status import NewestTests, target_statuses


def parse(**fields: object) -> Target:
    return parse_target({"target_id": "mail", "host": "pop.example.net", **fields})


def problems(**fields: object) -> list[str]:
    return [problem.field for problem in parse(**fields).problems]


def test_only_host_is_required() -> None:
    """Everything but the key and the host has a default."""
    target = parse()
    assert target == Target("mail", "mail", "pop.example.net", tls_name="pop.example.net")
    assert (target.port, target.tls, target.max_test_seconds, target.policy) == (110, TlsMode.NONE, 10.0, Policy())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_each_field_is_an_attribute_with_the_documented_default(field: Field) -> None:
    """Of the policy if it changes how outcomes are judged, else of the target."""
    target = parse()
    value = getattr(target.policy if field.name in POLICY_FIELDS else target, field.name)
    match field.default:
        case "required" | "`target_id`" | "`host`":
            assert value in ("mail", "pop.example.net")
        case "none" | "the built-in text" | "the public root CAs" if field.kind != "enumeration":
            assert not value
        case "by the share of the lifetime left" | "`subject`" | "`email`" | "`sms`":
            assert not value
        case default:
            assert str(value) == str(field.parse(default.partition(";")[0]))


def test_a_target_with_a_login_has_more_time() -> None:
    """Dovecot waits ten seconds before it says that a mailbox is in use; a time that is given stays."""
    secure = {"tls": "implicit", "login": "monitor"}
    assert parse(**secure).max_test_seconds == 20
    assert parse(**secure, max_test_seconds=8).max_test_seconds == 8
    assert parse(tls="implicit", login="").max_test_seconds == 10
    defaults = {"max_test_seconds": 12}
    assert parse_target({"target_id": "a", "host": "h", **secure}, defaults).max_test_seconds == 12


def test_numbers_and_words_as_people_write_them() -> None:
    """Numbers as strings and words in any letter case mean the same."""
    target = parse(port="995", tls=" Implicit ", verify_tls="FALSE", delay_up="300", enabled=0, max_test_seconds="2.5")
    assert (target.port, target.tls, target.verify_tls) == (995, TlsMode.IMPLICIT, False)
    assert (target.policy.delay_up, target.policy.enabled, target.max_test_seconds) == (300, False, 2.5)
    assert not target.problems


def test_implicit_tls_has_its_own_port() -> None:
    """995 is the default with implicit TLS, and a port given stays (RFC 8314)."""
    assert parse(tls="implicit").port == 995
    assert parse(tls="implicit", port=110).port == 110


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("POP.Example.NET", "pop.example.net"),
        ("POP.example.net.", "pop.example.net."),
        ("10.200.50.11", "10.200.50.11"),
        ("[2001:db8::0:1]", "2001:db8::1"),
        ("büro.example", "xn--bro-hoa.example"),
        ("mail_1.example.net", "mail_1.example.net"),
        ("localhost", "localhost"),
    ],
)
def test_hosts(written: str, host: str) -> None:
    """IPv4, IPv6 in brackets or not, names in any case, internationalized names."""
    assert parse(host=written).host == host
    assert not parse(host=written).problems


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pop.example.net.", "pop.example.net"),
        ("fe80::1%eth0", "fe80::1"),
        ("pop.example.net", "pop.example.net"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_name_in_a_certificate(host: str, name: str) -> None:
    """It has no final dot and no zone: the zone is of this machine, and a certificate cannot name it."""
    assert parse(host=host).tls_name == name
    assert parse(tls_name=host).tls_name == name


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1", "fe80::1%eth0", "pop.example.net", "7.example"])
@pytest.mark.parametrize("family", [*Family, "IPv4"])
def test_an_address_of_another_family_is_a_problem_of_the_field(host: str, family: str) -> None:
    """Only for addresses: which families a name has is for the DNS to say."""
    contradicts = (":" in host and family in ("ipv4", "IPv4")) or (host == "192.0.2.7" and family == "ipv6")
    found = parse(host=host, family=family).problems
    assert [problem.field for problem in found] == (["family"] if contradicts else [])
    assert all(f"and {host} is not an IPv" in problem.explanation for problem in found)


@pytest.mark.parametrize(
    "written",
    ["pop://x", "pop.example.net:110", "10.0.0.256", "a b", "-x.example", "x" * 64, "a..b", "1.2.3", "\x00", "ü" * 70],
)
def test_hosts_that_are_not_hosts(written: str) -> None:
    """What is neither a name nor an address is a problem of the field `host`."""
    assert problems(host=written) == ["host"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", "pop3"),
        ("port", "1_000"),
        ("port", 110.5),
        ("port", True),
        ("tls", "ssl"),
        ("family", "ipv5"),
        ("verify_tls", "maybe"),
        ("max_test_seconds", 61),
        ("max_test_seconds", "nan"),
        ("delay_up", 9),
        ("delay_lost", 86_401),
        ("failures_per_alert", 0),
        ("max_alerts", -1),
        ("maintenance", "tonight"),
        ("maintenance", [{"from": "22:00"}]),
        ("ca_pem", "certificate"),
        ("timezone", "Mars/Olympus"),
        ("name", ["a"]),
        ("name", "line\nbreak"),
        ("email", "x" * 20_001),
        ("greeting", {"a": "b" * 200}),
        ("expect", "x" * 201),
        ("expect", ["x"] * 11),
        ("target_id", "_mine"),
    ],
)
def test_bad_field_is_named(field: str, value: object) -> None:
    """A field that cannot be used is a problem that names it and says what to do, in a sentence."""
    target = parse(**{field: value})
    assert [problem.field for problem in target.problems] == [field]
    assert f"`{field}`" in target.problems[0].explanation
    assert target.problems[0].explanation.endswith((".", "?"))


def test_missing_host_is_named() -> None:
    """No host, or a blank one, is the one missing field."""
    for item in ({"target_id": "x"}, {"target_id": "x", "host": "  "}):
        assert [problem.field for problem in parse_target(item).problems] == ["host"]


def test_a_target_overrides_the_defaults() -> None:
    """The user's defaults fill in what the item leaves out, and a problem of a default says that it is one."""
    defaults = {"delay_up": 300, "group": "all", "port": "x"}
    target = parse_target({"target_id": "a", "host": "h", "group": "own"}, defaults)
    assert (target.policy.delay_up, target.group) == (300, "own")
    assert "`_defaults`" in target.problems[0].explanation
    assert not parse_target({"target_id": "a", "host": "h", "port": 110}, defaults).problems


def test_unknown_fields_are_tolerated_and_listed() -> None:
    """An unknown field is listed, and the target is tested all the same."""
    target = parse(prot=110, Host="x")
    assert target.unknown_fields == ("Host", "prot")
    assert not target.problems


def test_lists_and_tags() -> None:
    """Tags come as a list, a set, a map or a string with commas; greetings as one string or a list."""
    assert parse(tags="a, b").tags == parse(tags=["a", "b"]).tags == parse(tags={"b", "a"}).tags == ("a", "b")
    assert parse(tags={"site": "berlin"}).tags == ("site=berlin",)
    assert parse(greeting="READY").greeting == parse(greeting=["READY"]).greeting == ("READY",)
    assert parse(expect="mail").expect == parse(expect=["mail", ""]).expect == ("mail",)


def test_windows_are_read_in_the_targets_zone() -> None:
    """`timezone` applies to windows, before or after them in the item."""
    [window] = parse(maintenance={"from": "02:00", "until": "04:00"}, timezone="Europe/Berlin").policy.maintenance
    assert str(getattr(window, "zone", UTC)) == "Europe/Berlin"


NIGHT, SUNDAY = {"days": "tue", "from": "22:00", "until": "24:00"}, {"days": "sun", "from": "02:00", "until": "04:00"}
DEFAULTS = {"schedules": {"patch-night": [NIGHT, SUNDAY], "broken": [{"from": "1"}]}}


def test_schedules_are_windows_by_name() -> None:
    """Those of `_defaults` serve all targets, beside a target's own windows, and in the zone of each."""
    item = {"target_id": "a", "host": "h", "maintenance": ["patch-night", SUNDAY], "timezone": "Europe/Berlin"}
    target = parse_target(item, DEFAULTS)
    assert target.problems == ()
    assert len(target.policy.maintenance) == 3
    assert {str(getattr(window, "zone", UTC)) for window in target.policy.maintenance} == {"Europe/Berlin"}
    assert (
        parse_target(item | {"maintenance": "patch-night"}, DEFAULTS).policy.maintenance
        == target.policy.maintenance[:2]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "patch-nite",
            'window 1: `patch-nite` is neither a window such as {days: sun, from: "02:00", until: "04:00"} nor a name '
            "in `schedules` (also of `_defaults`), which are: `broken`, `patch-night`",
        ),
        ("broken", "window 1: schedule `broken`: a window needs both `from` and `until`"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_a_problem_of_the_target(name: str, said: str) -> None:
    """It names the schedule and those that there are."""
    [problem] = parse_target({"target_id": "a", "host": "h", "maintenance": [name]}, DEFAULTS).problems
    assert said in problem.explanation


def test_present_interventions_know_the_schedules() -> None:
    """An alert is decided by the item as it is then, which names what `_defaults` defined when it was planned."""
    item = {"target_id": "a", "host": "h", "maintenance": ["patch-night"], "timezone": "Europe/Berlin"}
    target = parse_target(item, DEFAULTS)
    assert with_interventions(target, item) == target.policy


def test_own_ca_is_not_shown() -> None:
    """`repr` of a target is short and holds no certificates."""
    pem = "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----"
    assert "secret" not in repr(parse(ca_pem=pem))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([field.name for field in FIELDS]) | st.text(max_size=12), JSON, max_size=12))
def test_any_item_is_read(item: dict[str, object]) -> None:
    """Whatever an item holds, the result is a target; what cannot be used is one of its problems."""
    target = parse_target(item, item)
    assert target.host or target.problems
    assert all(problem.explanation.endswith((".", "?")) for problem in target.problems)
    assert parse_target(target.fields).host == parse_target(item).host


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 10**400),
        ("delay_up", "9" * 5000),
        ("host", nested(3000)),
        ("tags", nested(3000)),
        ("maintenance", nested(3000)),
        ("name", nested(31)),
        ("silence", {"from": nested(31), "until": "x"}),
        ("certificate_warn_days", {"a", 1}),
        ("host", "\u00fc" * 190_000),
        ("host", "fe80::1%" + "x" * 100_000),
        ("email", "x" * 400_000),
        ("timezone", "../" * 60_000),
    ],
)
def test_size_and_depth_are_problems_of_the_field(field: str, value: object) -> None:
    """Numbers without a float, nestings deeper than Python's stack, 400 KB in one value: named, never raised."""
    target = parse(**{field: value})
    assert {problem.field for problem in target.problems} == {field}
    assert all(len(problem.explanation) < 500 for problem in target.problems)


def test_ids_that_are_not_strings_are_shown_as_strings() -> None:
    """A message could hold any JSON as an id."""
    for written in (nested(3000), 10**5000, None, ["a"]):
        assert isinstance(parse_target({"target_id": written, "host": "h"}).target_id, str)


@pytest.mark.parametrize("scope", ["\u00b2", "\0", "9" * 30, "eth 0", "\x1b[31m", "e" * 16])
def test_scopes_that_the_kernel_cannot_take(scope: str) -> None:
    """`connect` raises for these, which would end the tests of all targets."""
    assert problems(host=f"2001:db8::1%{scope}") == ["host"]
    assert parse(host="fe80::1%eth0").host == "fe80::1%eth0"


def test_certificates_between_anything_else() -> None:
    """A bundle with a byte order mark, comments in any encoding, a private key: the certificates count."""
    pem = "-----BEGIN CERTIFICATE-----\r\nMII=\r\n-----END CERTIFICATE-----"
    key = "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----"
    found = parse(ca_pem=f"\ufeff# Autoridade de Certifica\ufffd\ufffdo\r\n{pem}\n{key}\n# Zert\u00e9\n{pem}")
    assert found.problems == ()
    assert found.ca_pem == f"{pem}\n{pem}\n"
    [problem] = parse(ca_pem=key).problems
    assert "openssl x509 -in FILE" in problem.explanation


def test_trusted_certificates() -> None:
    """OpenSSL's own format has settings of trust after the certificate, which Python's ssl does not take."""
    authority = trustme.CA()
    plain = authority.cert_pem.bytes().decode()
    der = ssl.PEM_cert_to_DER_cert(plain)
    trusted = base64.b64encode(der + bytes.fromhex("300c300a06082b06010505070301")).decode()
    block = f"-----BEGIN TRUSTED CERTIFICATE-----\n{trusted}\n-----END TRUSTED CERTIFICATE-----"
    found = parse(ca_pem=f"{plain}{block}").ca_pem
    assert found is not None
    first, second = found.split("-----END CERTIFICATE-----\n")[:2]
    assert ssl.PEM_cert_to_DER_cert(f"{second}-----END CERTIFICATE-----\n") == der
    assert ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n") == der
    ssl.create_default_context(cadata=found)
    assert "BEGIN" in (parse(ca_pem=block.replace(trusted, "MI")).ca_pem or "")


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("5m", 300), ("2h30m", 9000), (" 1 H ", 3600), ("300", 300), (300, 300)]
)
def test_seconds_as_durations(written: object, seconds: int) -> None:
    """A delay is written as a number of seconds or as a duration."""
    found = parse(delay_up=written)
    assert (found.problems, found.policy.delay_up) == ((), seconds)


def test_a_duration_out_of_range() -> None:
    """The range is that of the seconds."""
    assert problems(delay_up="5s") == ["delay_up"]
    assert problems(max_test_seconds="2m") == ["max_test_seconds"]
    assert parse(max_test_seconds="5s").max_test_seconds == 5


def test_a_value_that_may_have_been_meant() -> None:
    """A mistyped value of an enumeration is answered with the one that is most like it."""
    [problem] = parse(tls="implict").problems
    assert problem.explanation.endswith("is not one of none, implicit, starttls. Did you mean `implicit`?")


def test_natural_order() -> None:
    """Numbers in names are compared as numbers, and letters without regard to case."""
    names = ["mail-10", "mail-2", "mail", "2", "Mail-3", "10", "mail-2b"]
    assert sorted(names, key=natural_order) == ["2", "10", "mail", "mail-2", "mail-2b", "Mail-3", "mail-10"]


def test_certificates_that_openssl_cannot_take_as_text() -> None:
    """Python's ssl raises TypeError unless the text is ASCII."""
    [problem] = parse(ca_pem="-----BEGIN CERTIFICATE-----\u00e9").problems
    assert problem.field == "ca_pem"


def test_explanations_are_fit_for_a_terminal() -> None:
    """They quote the item: whoever may write to the table must not write to a colleague's terminal."""
    windows = [{"\x1b]0;x\x07": 1}, {"days": "\x1b[2J", "from": "02:00", "until": "03:00"}]
    for fields in ({"maintenance": windows}, {"silence": {"\x1b[2J": 1}}, {"tls": "\x1b[2J"}, {"host": "\u202ehost"}):
        found = parse(**fields).problems
        assert found
        assert all(problem.explanation.isprintable() for problem in found)


@pytest.mark.parametrize("size", [1, 40, 200_000])
def test_what_travels_is_bounded(size: int) -> None:
    """An item of any size leaves room in a message for the defaults and the record."""
    item = {name: "\x1c" * size for name in FIELDS_BY_NAME if name != "target_id"} | {"target_id": "a", "host": "h"}
    assert len(json.dumps(message_fields(item))) < LARGEST_ITEM + 50_000
    assert message_fields(item)["host"] == "h"


def test_an_empty_field_is_left_out() -> None:
    """The default applies, in the planner and in the worker, whose message has no empty fields."""
    target = parse_target({"target_id": "a", "host": "h", "group": "", "port": None}, {"group": "all", "port": 995})
    assert (target.group, target.port) == ("all", 995)
    assert parse_target(target.fields, {"group": "all", "port": 995}) == target


@pytest.mark.parametrize(
    ("written", "lowest"), [(1.1, "1.1"), ("1.0", "1.0"), (1, "1.0"), ("TLSv1.3", "1.3"), (" tls 1.2 ", "1.2")]
)
def test_the_lowest_tls_version_as_people_write_it(written: object, lowest: str) -> None:
    """As a number, of which DynamoDB drops the zero, or with the word."""
    found = parse(tls="implicit", tls_min=written)
    assert (found.tls_min, found.problems) == (lowest, ())
    assert bool(tls_relaxations(found)) == (lowest < "1.2")


@pytest.mark.parametrize("written", ["SSLv3", "1.4", 0, True, [], "2"])
def test_a_tls_version_that_does_not_exist(written: object) -> None:
    """The explanation lists the versions."""
    [problem] = parse(tls_min=written).problems
    assert problem.field == "tls_min"
    assert problem.explanation.endswith("is not one of 1.0, 1.1, 1.2, 1.3.")


def test_exceptions_of_tls_are_shown_where_there_is_tls() -> None:
    """A default for all is not an exception of a target without TLS."""
    fields = {"tls_min": "1.0", "legacy_renegotiation": True}
    assert tls_relaxations(parse(**fields)) == ()
    both = parse(tls="starttls", **fields)
    assert tls_relaxations(both) == ("TLS from 1.0 on is accepted", "legacy renegotiation is accepted")
    now = datetime(2026, 11, 27, tzinfo=UTC)
    [status] = target_statuses({"mail": both}, {}, NewestTests(), now)
    assert status.remarks(now) == list(tls_relaxations(both))
