"""Names of hosts and host groups that are patterns, as Nagios has them with `use_regexp_matching`.

Reference: xdata/xodtemplate.c of Nagios (`xodtemplate_expand_hosts`, `xodtemplate_expand_hostgroups`). A name is a
POSIX extended regular expression, which may match anywhere in a name, if it has `*`, `?`, `+` or `\\.` in it; with
`use_true_regexp_matching` each name is. After one that is, all further hosts of the same list are. `!` then excludes
nothing: it is part of the expression. What Python reads in another way than POSIX is not applied, but named.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from popwatch_cli.importers.conversion import NAMES, Budget, ImportWarnings, Place
from popwatch_cli.importers.relabelling import LONGEST_VALUE, MAX_REPEATS, repeats
from popwatch_cli.target_items import shown

MARKS = ("*", "?", "+", r"\.")
"""What makes a name a pattern."""

_NOT_POSIX = re.compile(r"\\[A-Za-z0-9]|\[\[[:.=]|\(\?|[*+?}][*+?{]")
"""What POSIX and Python read in different ways, such as `a+?`, or only one of them has."""


@dataclass(slots=True)
class NamePatterns:
    """Which names in lists of hosts and groups are patterns, and what they match; `always`: each name is one."""

    enabled: bool
    always: bool
    warnings: ImportWarnings
    budget: Budget
    _found: dict[tuple[str, str], list[str] | None] = field(default_factory=dict)

    def expanded(
        self, names: Sequence[str], known: Mapping[str, object], kind: str, place: Place, owner: str = ""
    ) -> list[str]:
        """A list with the names that its patterns match in their place; those that match none become a warning.

        `kind` is `host` or `host group`, `owner` the service whose list it is, if it is one of a service.
        """
        if not self.enabled:
            return [*names]
        expanded: list[str] = []
        goes_on = False
        for name in names:
            is_pattern = self.always or goes_on or looks_like_pattern(name)
            goes_on = is_pattern and kind == "host"
            if not is_pattern:
                expanded.append(name)
                continue
            matched = self._matched(name, known, kind)
            expanded += matched or []
            if matched is None:
                sentence = f"The pattern {NAMES} is not understood, so what it stands for is not imported."
                self.warnings.add(place, sentence, named(name, owner))
            elif not matched:
                sentence = (
                    f"There is no {kind} here that matches the pattern {NAMES}: give the file that defines it too."
                )
                self.warnings.add(place, sentence, named(name, owner))
        return expanded

    def _matched(self, pattern: str, known: Iterable[str], kind: str) -> list[str] | None:
        """The known names that match; None if the pattern is not understood, or could take too long."""
        if (kind, pattern) not in self._found:
            self._found[kind, pattern] = self._search(pattern, known)
        found = self._found[kind, pattern]
        self.budget.spend(len(found or ()) + 1)
        return found

    def _search(self, pattern: str, known: Iterable[str]) -> list[str] | None:
        text = pattern.lstrip("*")  # at the beginning, where there is nothing to repeat, glibc leaves it out
        loops = repeats(text)
        if len(text) > LONGEST_VALUE or _NOT_POSIX.search(text) or loops > MAX_REPEATS:
            return None
        try:
            compiled = re.compile(text, re.ASCII | re.DOTALL)
        except (re.error, OverflowError, RecursionError):
            return None
        found = []
        for name in known:
            if len(name) > LONGEST_VALUE:
                return None
            self.budget.spend(4 + len(name) ** (loops + 1) // 8)  # it may begin anywhere
            if compiled.search(name):
                found.append(name)
        return found


def looks_like_pattern(name: str) -> bool:
    """Whether a name is a pattern if Nagios has patterns at all."""
    return any(mark in name for mark in MARKS)


def named(name: str, owner: str) -> str:
    """A name for a warning, with the service that it is missing for."""
    return f"{shown(name)} ({shown(owner)})" if owner else shown(name)
