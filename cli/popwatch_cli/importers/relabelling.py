"""Relabelling as Prometheus does it: rules that change, keep or drop a target by its labels.

Reference: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config; model/relabel of
Prometheus for what the text leaves open. Rules come from files that anyone may have written, and Python's regular
expressions can take years: so those that can are refused, and what the others cost is counted.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from popwatch_cli.files.yaml import Block
from popwatch_cli.importers.conversion import Budget
from popwatch_cli.target_items import shown

ACTIONS = {
    "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase",
}  # fmt: skip

LONGEST_PATTERN, LONGEST_VALUE = 500, 300
MAX_REPEATS = 3
"""Repetitions without an end in a pattern: matching may take as many loops over a value, one inside the other."""

MAX_OPTIONAL, MAX_CHOICES = 4, 3
"""Optional parts, and groups of alternatives: each multiplies the ways in which a pattern can match."""

_TEMPLATE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NOT_RE2 = re.compile(r"\(\?(?!:|P<|[ims]+\))|\\[0-9AZ]")
"""What Python has and RE2, which Prometheus uses, does not have, such as looking ahead and references."""
_NOT_PYTHON = re.compile(r"\\[pPCQEz]|\[\[:")


class NotApplicable(Exception):
    """Why a rule cannot be applied, as a sentence without its end."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `relabel_configs`."""

    action: str
    source_labels: tuple[str, ...]
    separator: str
    pattern: re.Pattern[str]
    repeats: int
    modulus: int
    target_label: str
    replacement: str

    def apply(self, labels: Mapping[str, str], budget: Budget) -> dict[str, str] | None:
        """The labels after this rule; None if it drops the target. Raises NotApplicable, FileError."""
        value = self.separator.join(labels.get(name, "") for name in self.source_labels)
        changed = dict(labels)
        match self.action:
            case "keep" | "drop":
                return changed if (self._matches(value, budget) is not None) == (self.action == "keep") else None
            case "keepequal" | "dropequal":
                equal = labels.get(self.target_label, "") == value
                return changed if equal == (self.action == "keepequal") else None
            case "hashmod":
                digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
                changed[self.target_label] = str(int.from_bytes(digest[8:], "big") % self.modulus)
            case "lowercase":
                changed[self.target_label] = value.lower()
            case "uppercase":
                changed[self.target_label] = value.upper()
            case "labelmap":
                for name, other in labels.items():
                    if found := self._matches(name, budget):
                        changed[_expanded(self.replacement, found)] = other
            case "labeldrop":
                return {name: other for name, other in labels.items() if not self._matches(name, budget)}
            case "labelkeep":
                return {name: other for name, other in labels.items() if self._matches(name, budget)}
            case _:
                self._replace(changed, value, budget)
        return changed

    def _replace(self, labels: dict[str, str], value: str, budget: Budget) -> None:
        found = self._matches(value, budget)
        if found is None:
            return
        name, result = _expanded(self.target_label, found), _expanded(self.replacement, found)
        if not _LABEL.fullmatch(name):
            return
        if result:
            labels[name] = result
        else:
            labels.pop(name, None)

    def _matches(self, value: str, budget: Budget) -> re.Match[str] | None:
        if len(value) > LONGEST_VALUE:
            raise NotApplicable(f"a value has more than {LONGEST_VALUE} characters")
        # A pattern with n repetitions may try each way to divide a value among them: about its length to the power n.
        budget.spend(4 + len(value) ** self.repeats // 8)
        return self.pattern.fullmatch(value)


def parse_rule(block: object) -> Rule:
    """The rule that an entry describes. Raises NotApplicable."""
    if not isinstance(block, Block):
        raise NotApplicable("it is not a map")
    action = str(block.get("action", "replace")).lower()
    if action not in ACTIONS:
        raise NotApplicable(f"its action {shown(action)} is unknown")
    pattern = str(block.get("regex", "(.*)"))
    sources = block.get("source_labels", [])
    modulus = block.get("modulus", 0)
    if action == "hashmod" and not (isinstance(modulus, int) and modulus > 0):
        raise NotApplicable("it has no modulus")
    return Rule(
        action,
        tuple(map(str, sources)) if isinstance(sources, list) else (str(sources),),
        str(block.get("separator", ";")),
        _compiled(pattern),
        repeats(pattern),
        modulus if isinstance(modulus, int) else 0,
        str(block.get("target_label", "")),
        str(block.get("replacement", "$1")),
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of RE2 as Python's. Raises NotApplicable if it is another thing there, or may take too long."""
    if len(pattern) > LONGEST_PATTERN or _NOT_RE2.search(pattern) or _NOT_PYTHON.search(pattern):
        raise NotApplicable(f"its regex is not understood: {shown(pattern)}")
    if repeats(pattern) > MAX_REPEATS:
        raise NotApplicable(f"its regex may take too long: {shown(pattern)}")
    try:
        return re.compile(pattern, re.ASCII | re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise NotApplicable(f"its regex is not understood: {shown(str(error))}") from None


def repeats(pattern: str) -> int:
    """How many repetitions a pattern has; more than `MAX_REPEATS` if matching could take exponential time.

    That is so if something of variable length is repeated, or if many optional parts or alternatives follow each other.
    """
    # An escaped character and a class `[...]` match one character, and the `?` of `(?` makes nothing optional.
    text = re.sub(r"\\.", "x", pattern, flags=re.DOTALL)
    text = re.sub(r"\[\^?\]?[^\]]*\]", "x", text).replace("(?", "(")
    count, groups, just_closed = 0, [False], False
    for character in text:
        if character in "*+{":
            if just_closed:
                return MAX_REPEATS + 1
            count += 1
        just_closed = character == ")" and groups[-1]
        if character == "(":
            groups.append(False)
        elif character in "*+{|?":
            groups[-1] = True
        elif character == ")" and len(groups) > 1:
            inner = groups.pop()
            groups[-1] = inner or groups[-1]
    if text.count("?") > MAX_OPTIONAL or len(re.findall(r"\([^()]*\|", text)) > MAX_CHOICES:
        return MAX_REPEATS + 1
    return count


def _expanded(template: str, found: re.Match[str]) -> str:
    """A replacement with its references, as Go's Regexp.Expand does it: unknown ones stand for nothing."""

    def value(reference: re.Match[str]) -> str:
        name = reference[2] or reference[3]
        if name is None:
            return "$"
        if name.isdecimal():
            return (found[int(name)] or "") if len(name) <= 2 and int(name) <= (found.re.groups) else ""
        return found.groupdict().get(name) or ""

    return _TEMPLATE.sub(value, template)
