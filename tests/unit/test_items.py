"""Items of DynamoDB: what a user or popwatch wrote is read as JSON would have it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.aws.items import from_item, to_item

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-(10**30), 10**30)
    | st.integers(-999, 999).map(lambda n: n / 8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=6))
def test_what_is_written_is_read(values: dict[str, Any]) -> None:
    """Strings, numbers, booleans, lists and maps, nested."""
    assert from_item(to_item(values)) == values


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"N": "110"}, 110),
        ({"N": "-5"}, -5),
        ({"N": "12.50"}, 12.5),
        ({"N": "3.0"}, 3),
        ({"N": "1E+120"}, 10**120),
        ({"N": "1E-7"}, 1e-7),
        ({"N": "12345678901234567890.5"}, 12345678901234567890.5),
        ({"SS": ["b", "a"]}, ["a", "b"]),
        ({"NS": ["2", "1"]}, [1, 2]),
        ({"NULL": True}, None),
        ({"B": b"x"}, "(binary data)"),
        ({"BS": [b"x", b"y"]}, ["(binary data)", "(binary data)"]),
    ],
)
def test_what_users_write_by_hand(value: dict[str, object], read: object) -> None:
    """Every type that the AWS console offers; sets become lists, binary data a string that says so."""
    assert from_item({"field": value}) == {"field": read}
