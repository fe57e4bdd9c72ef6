"""What mutmut found, set against the survivors that are explained in `equivalent.toml`, and both as Markdown. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

KILLED, TIMED_OUT, UNFINISHED = ("killed", "caught by type check"), "timeout", "not checked"
"""mutmut's words. A mutant with any other result survived: no test failed, no test runs it, or it is not known."""


@dataclass(frozen=True, slots=True)
class Change:
    """A mutant, by what it changes: the position of its lines and the number that mutmut gives it do not matter.

    `function` is such as `decisions.judging._pass` or `prober.pop3.Conversation._fail`; `lines` are those of the
    difference, each with its sign, without the space between that and the code.
    """

    function: str
    lines: tuple[str, ...]

    @property
    def markdown(self) -> str:
        """The function, and its changed lines."""
        return "\n".join((f"`{self.function}`", "", "```diff", *self.lines, "```"))


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why no test can notice a change."""

    change: Change
    reason: str


def read_change(function: str, difference: str) -> Change:
    """The change of a function; of a unified difference only the changed lines count."""
    lines = re.findall(r"^([-+])(?![-+]{2}) *(.*?) *$", difference, re.MULTILINE)
    return Change(function, tuple(f"{sign} {code}" for sign, code in lines))


def read_explanations(items: Iterable[dict[str, str]]) -> list[Explanation]:
    """Those of the file's items: `function`, `change` and `reason`; KeyError if one lacks any."""
    return [Explanation(read_change(item["function"], item["change"]), item["reason"].strip()) for item in items]


def function_of(name: str) -> str:
    """`decisions.judging._pass` of `popwatch.decisions.judging.x__pass__mutmut_3`; methods are `xǁClassǁ_fail`."""
    found = name.removeprefix("popwatch.").rpartition("__mutmut_")[0]
    return re.sub(r"\.x(_|ǁ)", ".", found, count=1).replace("ǁ", ".")


def survivors_of(results: dict[str, str]) -> list[str]:
    """The names of the mutants that no test noticed."""
    return sorted(name for name, result in results.items() if result not in (*KILLED, TIMED_OUT, UNFINISHED))


def unexplained(survivors: Iterable[Change], explanations: Collection[Explanation]) -> list[Change]:
    """The survivors that nothing explains."""
    known = {explanation.change for explanation in explanations}
    return [change for change in survivors if change not in known]


def outdated(survivors: Collection[Change], explanations: Iterable[Explanation]) -> list[Change]:
    """What is explained and does not survive: a test notices it now, or there is no such mutant."""
    return [explanation.change for explanation in explanations if explanation.change not in survivors]


def table(modules: Sequence[str], results: dict[str, str], left: Sequence[Change]) -> str:
    """A row for each module; `left` are the survivors that nothing explains."""
    lines = [
        "| module | mutants | killed | timed out | explained | unexplained | not run |",
        "|---|---|---|---|---|---|---|",
    ]
    for module in modules:
        counts = Counter(result for name, result in results.items() if name.startswith(f"popwatch.{module}."))
        killed = sum(counts[word] for word in KILLED)
        open_ = sum(change.function.startswith(f"{module}.") for change in left)
        explained = counts.total() - killed - counts[TIMED_OUT] - counts[UNFINISHED] - open_
        row = (counts.total(), killed, counts[TIMED_OUT], explained, open_, counts[UNFINISHED])
        lines.append(f"| `{module}` | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)
