"""Mutants: which survivors are explained, and which explanations are out of date."""

from tests.mutants.findings import (
    Change,
    function_of,
    outdated,
    read_change,
    read_explanations,
    survivors_of,
    table,
    unexplained,
)

SHOWN = """# popwatch.decisions.judging.x__resumed__mutmut_1: survived
--- src/popwatch/decisions/judging.py
+++ src/popwatch/decisions/judging.py
@@ -1,3 +1,3 @@
 match state:
-    return health.state_before_maintenance or None
+    return health.state_before_maintenance and None
"""
RESUMED = Change(
    "decisions.judging._resumed",
    ("- return health.state_before_maintenance or None", "+ return health.state_before_maintenance and None"),
)
ITEM = {
    "function": "decisions.judging._resumed",
    "change": SHOWN.partition("@@\n")[2].replace("    ", ""),
    "reason": "None.\n",
}
OTHER = Change("decisions.judging._resumed", ("- return 1", "+ return 2"))
RESULTS = {
    "popwatch.decisions.judging.x__resumed__mutmut_1": "survived",
    "popwatch.decisions.judging.x__resumed__mutmut_2": "killed",
    "popwatch.decisions.judging.x_judge__mutmut_1": "no tests",
    "popwatch.prober.pop3.xǁConversationǁ_fail__mutmut_1": "timeout",
    "popwatch.prober.pop3.xǁConversationǁ_fail__mutmut_2": "suspicious",
    "popwatch.prober.pop3.xǁConversationǁ_fail__mutmut_3": "not checked",
}


def test_change_is_known_by_its_lines_wherever_they_are() -> None:
    """The number of the mutant, the lines around and how far the code is indented do not matter."""
    assert read_change("decisions.judging._resumed", SHOWN) == RESUMED == read_explanations([ITEM])[0].change


def test_function_is_named_as_in_the_source() -> None:
    """Functions by module and name, methods with their class."""
    assert [function_of(name) for name in RESULTS][::3] == [
        "decisions.judging._resumed",
        "prober.pop3.Conversation._fail",
    ]


def test_mutant_survives_unless_a_test_failed_or_never_ended() -> None:
    """One that no test runs has survived, and so has one with an unknown result; one not run yet has not."""
    assert [name[-8:] for name in survivors_of(RESULTS)] == ["mutmut_1", "mutmut_1", "mutmut_2"]


def test_survivors_and_explanations_must_match() -> None:
    """What is not explained is found, and so is what is explained and does not survive."""
    explanations = read_explanations([ITEM])
    assert unexplained([RESUMED, OTHER], explanations) == [OTHER]
    assert outdated([RESUMED, OTHER], explanations) == []
    assert outdated([OTHER], explanations) == [RESUMED]


def test_table_counts_each_mutant_once() -> None:
    """Mutants, killed, timed out, explained, unexplained, not run."""
    rows = table(["decisions.judging", "prober.pop3"], RESULTS, [OTHER])
    assert rows.splitlines()[2:] == [
        "| `decisions.judging` | 3 | 1 | 0 | 1 | 1 | 0 |",
        "| `prober.pop3` | 3 | 0 | 1 | 1 | 0 | 1 |",
    ]
