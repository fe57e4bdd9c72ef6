"""Fields that can never have an effect: each rule, and what differs from it by a little and is quiet."""

import pytest

from popwatch_cli.ineffective_fields import ineffective_fields, ineffective_fields_of

TLS: dict[str, object] = {"tls": "implicit"}
PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

IDLE: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("slow_rtt_ms", {"slow_rtt_ms": 5000, "max_rtt_ms": 3000}, {"max_rtt_ms": 5001}),
    ("slow_rtt_ms", {"slow_rtt_ms": 3000, "max_rtt_ms": 3000}, {"max_rtt_ms": 0}),
    ("slow_rtt_ms", {"slow_rtt_ms": 10_000}, {"slow_rtt_ms": 9999}),
    ("max_rtt_ms", {"max_rtt_ms": 5000, "max_test_seconds": "5s"}, {"max_test_seconds": 6}),
    ("delay_warn", {"delay_warn": 30, "failures_per_alert": 1}, {"failures_per_alert": 2}),
    ("delay_warn", {"delay_warn": 30, "failures_per_alert": 1}, {"passes_per_recovery": 2}),
    ("delay_down", {"delay_down": 30, "max_alerts": 0}, {"max_alerts": 1}),
    ("recovered_sms", {"recovered_sms": "{name}", "alert_recovery": "no"}, {"alert_recovery": True}),
    ("login_every", {"login_every": 600}, {"login": "monitor", **TLS}),
    ("max_messages", {"max_messages": 600}, {"login": "monitor", **TLS}),
    ("siblings", {"siblings": [993], "posture": False}, {"posture": True}),
    ("verify_tls", {"verify_tls": False}, TLS),
    ("verify_tls", {"verify_tls": False}, {"verify_tls": True}),
    ("certificate_warn_days", {"certificate_warn_days": [7]}, TLS),
    ("certificate_warn_days", {"certificate_warn_days": [7]}, {"certificate_warn_days": []}),
    ("ca_pem", {"ca_pem": PEM, "posture": False}, {"posture": True}),
    ("tls_name", {"tls_name": "x.example", "posture": False}, TLS),
    ("tls_min", {"tls_min": 1.3, "posture": False}, {"tls_min": 1.2}),
    ("legacy_renegotiation", {"legacy_renegotiation": True, "posture": False}, TLS),
    ("legacy_renegotiation", {"legacy_renegotiation": True, "tls_min": "1.3", **TLS}, {"tls_min": "1.2"}),
    ("port", {"port": 995}, TLS),
    ("port", {"port": 995, "tls": "starttls"}, {"port": 996}),
    ("port", {"port": 110, **TLS}, {"tls": "starttls"}),
    ("port", {"port": 110, **TLS}, {"tls": "none"}),
    ("family", {"host": "192.0.2.1", "family": "ipv4"}, {"host": "pop.example.net"}),
    ("all_addresses", {"host": "2001:db8::1", "all_addresses": True}, {"all_addresses": False}),
    ("group", {"group": "it,ops"}, {"group": "it-ops"}),
    ("group", {"group": "it, ops"}, {"group": "Smith and Co, Berlin"}),
    ("schedules", {"schedules": {"night": [{"from": "22:00", "until": "23:00"}]}}, {"maintenance": "night"}),
]


@pytest.mark.parametrize(("name", "fields", "otherwise"), IDLE)
def test_a_field_without_an_effect(name: str, fields: dict[str, object], otherwise: dict[str, object]) -> None:
    """It is named if it is the target's own, and not if another value of either field gives it an effect."""
    item = {"target_id": "a", "host": "pop.example.net", **fields}
    assert [problem.field for problem in ineffective_fields_of(item, {})] == [name]
    assert ineffective_fields_of({**item, **otherwise}, {}) == []
    from_defaults = {key: value for key, value in item.items() if key != name}
    assert ineffective_fields_of(from_defaults, {name: item[name]}) == []
    assert ineffective_fields_of({**item, "target_id": "_defaults"}, {}) == []


def test_the_other_field_may_be_of_the_defaults() -> None:
    """A sentence says what it is, once for many targets."""
    items = [{"target_id": f"a{number}", "host": "h", "slow_rtt_ms": 5000} for number in range(9)]
    assert ineffective_fields(items, {"target_id": "_defaults", "max_rtt_ms": "3000"}) == [
        "a0 and 8 others: The field `slow_rtt_ms` has no effect: a test that is so slow has failed already, as "
        "`max_rtt_ms` is 3000."
    ]


def test_a_window_of_a_whole_day() -> None:
    """One that ends when it begins is rarely meant: no alert would ever be sent on its days."""

    def said(until: str) -> list[str]:
        window = {"from": "22:00", "until": until}
        return ineffective_fields([{"target_id": "a", "host": "h", "maintenance": [window]}], {})

    assert said("21:59") == []
    [sentence] = said("22:00")
    assert sentence.startswith("a: The field `maintenance` has a window from 22:00 until 22:00: it is 24 hours long")
