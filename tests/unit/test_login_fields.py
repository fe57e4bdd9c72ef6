"""What `doctor` says of a target whose login cannot be sent safely."""

import pytest

from popwatch.model.targets import parse_target
from popwatch_cli.doctor.rules.targets import check_items


@pytest.mark.parametrize(
    ("fields", "do"),
    [
        ({"tls": "none"}, "Set `tls` to implicit or starttls"),
        ({}, "Set `tls` to implicit or starttls"),
        ({"tls": "implicit", "verify_tls": False}, "Set `verify_tls` to true"),
        ({"tls": "implicit", "tls_min": "1.0"}, "Set `tls_min` to 1.2 or 1.3"),
    ],
)
def test_what_to_do_about_a_login_without_safe_tls(fields: dict[str, object], do: str) -> None:
    """Removing the field would not help where its default is no better."""
    found = parse_target({"target_id": "a", "host": "192.0.2.1", "login": "monitor", **fields})
    [finding] = check_items({"a": found.problems}, {"a": found})
    assert f"{do}, or test without a login: `popwatch targets put a login=`." in str(finding)
