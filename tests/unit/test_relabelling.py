"""Relabelling: what each action does, as Prometheus's documentation has it, and which patterns are refused."""

import time
from collections import deque
from typing import Any

import pytest

from popwatch_cli.files.entries import FileError
from popwatch_cli.files.yaml import Block
from popwatch_cli.importers.conversion import Budget
from popwatch_cli.importers.relabelling import LONGEST_VALUE, NotApplicable, parse_rule

LABELS = {"__address__": "Mail.example.net:110", "team": "mail", "empty": ""}


def applied(labels: dict[str, str], **rule: Any) -> dict[str, str] | None:
    return parse_rule(Block(rule, 1, {})).apply(labels, Budget())


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ({"source_labels": ["__address__"], "target_label": "x"}, {"x": "Mail.example.net:110"}),
        ({"source_labels": ["team", "empty"], "separator": "-", "target_label": "x"}, {"x": "mail-"}),
        ({"source_labels": ["__address__"], "regex": "(.+):(.+)", "replacement": "${2}/$1", "target_label": "x"},
         {"x": "110/Mail.example.net"}),
        ({"source_labels": ["__address__"], "regex": "Mail", "target_label": "x"}, {}),
        ({"source_labels": ["team"], "regex": "(?P<a>.*)", "replacement": "$a-$1x-$9-$$", "target_label": "x"},
         {"x": "mail---$"}),
        ({"target_label": "x", "replacement": "fixed"}, {"x": "fixed"}),
        ({"target_label": "not a name", "replacement": "fixed"}, {}),
        ({"source_labels": ["team"], "regex": "(.*)", "target_label": "${1}_x", "replacement": "y"}, {"mail_x": "y"}),
        ({"action": "lowercase", "source_labels": ["__address__"], "target_label": "x"}, {"x": "mail.example.net:110"}),
        ({"action": "uppercase", "source_labels": ["team"], "target_label": "x"}, {"x": "MAIL"}),
        ({"action": "labelmap", "regex": "te(.*)", "replacement": "x_$1"}, {"x_am": "mail"}),
        ({"action": "keep", "source_labels": ["team"], "regex": "mail|web"}, {}),
        ({"action": "drop", "source_labels": ["team"], "regex": "mai"}, {}),
        ({"action": "keepequal", "source_labels": ["team"], "target_label": "team"}, {}),
        # the md5 of `mail` ends in 9ac15473fd6f1788
        ({"action": "hashmod", "source_labels": ["team"], "modulus": 2, "target_label": "x"}, {"x": "0"}),
    ],
)  # fmt: skip
def test_rules_that_change_labels(rule: dict[str, Any], changed: dict[str, str]) -> None:
    """Patterns match the whole value; references that stand for nothing are empty; other labels stay."""
    assert applied(LABELS, **rule) == LABELS | changed


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "drop", "source_labels": ["team"], "regex": "mail"},
        {"action": "keep", "source_labels": ["team"], "regex": "mai"},
        {"action": "dropequal", "source_labels": ["team"], "target_label": "team"},
        {"action": "keepequal", "source_labels": ["team"], "target_label": "none"},
    ],
)
def test_rules_that_drop_a_target(rule: dict[str, Any]) -> None:
    """Then there are no labels any more."""
    assert applied(LABELS, **rule) is None


def test_rules_that_remove_labels() -> None:
    """By name, or by a replacement that is empty."""
    assert applied(LABELS, action="labeldrop", regex="team|empty") == {"__address__": LABELS["__address__"]}
    assert applied(LABELS, action="labelkeep", regex="team") == {"team": "mail"}
    assert applied(LABELS, source_labels=["empty"], target_label="team") == {
        name: value for name, value in LABELS.items() if name != "team"
    }


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+", "((a+))*b", "(a|a)*b", "(a?){40}a{40}", "(?:a*)+", "a?a?a?a?a?a?b", "(a|a)(a|a)(a|a)(a|a)b",
        "(.*)(.*)(.*)(.*)", r"(?=a)b", r"(a)\1", "(?<!a)b", "(", r"\pL", "[[:alpha:]]", "x" * 501,
    ],
)  # fmt: skip
def test_patterns_that_are_refused(pattern: str) -> None:
    """Those that could take long, and those that Go reads in another way, or not at all."""
    with pytest.raises(NotApplicable, match="its regex"):
        applied(LABELS, source_labels=["team"], regex=pattern, target_label="x")


@pytest.mark.parametrize("pattern", ["(.*)", "([^:]+)(?::[0-9]+)?", "(.*):(.*)", "https?://([^/]+)/?.*", "a|b|(c|d)x"])
def test_patterns_that_are_usual(pattern: str) -> None:
    """They are applied."""
    assert applied(LABELS, source_labels=["team"], regex=pattern, target_label="x") is not None


def test_what_patterns_may_cost_is_bounded() -> None:
    """The slowest that is accepted, on the longest value, over and over: an error within seconds, not hours."""
    rule = parse_rule(Block({"source_labels": ["x"], "regex": ".*.*.*y", "target_label": "z"}, 1, {}))
    budget, began = Budget(), time.process_time()
    with pytest.raises(FileError, match="expands to too much"):
        deque(rule.apply({"x": "x" * LONGEST_VALUE}, budget) for _ in range(100))
    assert time.process_time() - began < 20
    with pytest.raises(NotApplicable, match="more than"):
        rule.apply({"x": "x" * (LONGEST_VALUE + 1)}, Budget())


@pytest.mark.parametrize("rule", [{"action": "none"}, {"action": "hashmod"}, {"action": "hashmod", "modulus": "2"}])
def test_rules_that_are_not_understood(rule: dict[str, Any]) -> None:
    """They are refused with a reason, as is what is not a map."""
    with pytest.raises(NotApplicable):
        parse_rule(Block(rule, 1, {}))
    with pytest.raises(NotApplicable, match="not a map"):
        parse_rule("keep")
