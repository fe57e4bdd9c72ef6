"""The most messages of one target in 24 hours, whatever its server does, beside the bound of docs/outages.md.

Servers that know the code and the settings choose the outcome of each test for two days: by a fixed program, by looking
ahead some tests, and by the best of many random programs. Due is what would be sent in 24 hours without the bound.
"""

from collections.abc import Iterator

from popwatch.decisions.throttling import allowance
from popwatch.model.targets import Policy
from tests.adversary import Program, ProgramResult, look_ahead, play, search

PROGRAMS: dict[str, Program] = {
    "another certificate at each test": [("c", 1)],
    "one address comes and goes": [("d", 3), (".", 1)],
    "outages, 3 an hour": [("x", 9), (".", 11)],
    "passes and fails in turn": [("x", 1), (".", 1)],
}
SEARCHED = 400
"""Random programs for each seed."""

SEEDS = ("1", "2", "3")
AHEAD = (2, 3)
POLICIES = {"defaults": Policy(), "max_alerts 10": Policy(max_alerts=10), "no flapping": Policy(flap_per_hour=0)}


def servers(policy: Policy) -> Iterator[tuple[str, ProgramResult]]:
    """What each server got."""
    for name, program in PROGRAMS.items():
        yield name, play(policy, program)
    for tests in AHEAD:
        yield f"looks {tests} tests ahead", look_ahead(policy, tests)
    for seed in SEEDS:
        program, played = search(policy, SEARCHED, seed)
        shown = " ".join(f"{times}{move}" for move, times in program)
        yield f"best of {SEARCHED:,}, seed {seed}: {shown}", played


def main() -> None:
    """Print what each server got under each policy."""
    print("moves: . passes, x fails, d one address fails, c another certificate, b both; 3d is d three times")
    for title, policy in POLICIES.items():
        print(f"\n{title}: at most {2 * allowance(policy)} messages in 24 h\n{'due':>8}{'best day':>10}  server")
        for name, played in servers(policy):
            print(f"{played.due_each_day:>8,.0f}{played.best_day:>10}  {name}")


if __name__ == "__main__":
    main()
