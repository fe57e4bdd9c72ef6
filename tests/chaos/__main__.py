"""`make chaos`: run a campaign, print its figures; exit 1 with the seed and a trace if a promise was broken.

Simulated hours, unless it is to be `--live`: minutes over the deployed local stack.
"""

import argparse
import logging
import os
import platform
import sys
from pathlib import Path
from time import process_time

from tests.chaos import campaign
from tests.chaos.live import campaign as live

REPOSITORY = Path(__file__).resolve().parents[2]
MEASUREMENTS = REPOSITORY / "docs" / "measurements-chaos.md"
SIMULATED, LIVE = "Simulated", "Over the deployed local stack"
"""Its sections."""


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", default="1", help="any word; the same one makes the same campaign")
    parser.add_argument("--hours", type=float, default=1200.0, help="simulated hours")
    parser.add_argument("--live", action="store_true", help="over the deployed local stack, in real time")
    parser.add_argument("--minutes", type=float, default=12.0, help="how long a live campaign takes")
    parser.add_argument("--only", default="", help="one installation, as a failure names it: SEED/NUMBER")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {MEASUREMENTS.name}")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    return _run_live(options) if options.live else _run(options)


def _run(options: argparse.Namespace) -> int:
    figures = campaign.Figures()
    for plan in campaign.plans(options.seed, options.hours):
        if options.only and plan.seed != options.only:
            continue
        figures.add(plan, *plan.run())
        if figures.findings:
            break
    figures.cpu_seconds = process_time()
    print(f"seed {options.seed}\n\n{campaign.report(figures)}")
    if figures.findings:
        return _report_failure(options.seed, options.hours, figures)
    if options.write:
        _write(options.seed, options.hours, figures)
    return 0


def _report_failure(seed: str, hours: float, figures: campaign.Figures) -> int:
    plan, finding = figures.findings[0]
    print(f"\nBROKEN in {plan.seed}: {finding}", file=sys.stderr)
    print(f"See it again: make chaos SEED={seed} HOURS={hours:g} ONLY={plan.seed}", file=sys.stderr)
    print("Making it smaller ...", file=sys.stderr)
    smaller, world, found = campaign.shrink(plan, finding)
    kept = world.faults.counts.total()
    print(f"\nWith {kept} faults in {sum(smaller.rounds):.1f} hours: {found}\n", file=sys.stderr)
    print(campaign.trace(world, found), file=sys.stderr)
    return 1


def _run_live(options: argparse.Namespace) -> int:
    figures = live.Figures()
    with live.stack() as stack:
        for plan in live.rounds(options.seed, options.minutes):
            installation = live.run(stack, plan, figures)
            if figures.findings:
                break
    print(f"seed {options.seed}\n\n{live.report(figures)}")
    if figures.findings:
        for finding in figures.findings:
            print(f"\nBROKEN in {plan.seed}: {finding}", file=sys.stderr)
        print(f"\n{campaign.trace(installation, figures.findings[0])}", file=sys.stderr)
        return 1
    if options.write:
        _write_live(options.seed, options.minutes, figures)
    return 0


def _write(seed: str, hours: float, figures: campaign.Figures) -> None:
    command = f"make chaos SEED={seed} HOURS={hours:g} WRITE=1"
    about = f"What is simulated and what must hold: [chaos.md](chaos.md). `{command}` printed:"
    _put(SIMULATED, f"{about}\n\n```\n{campaign.report(figures)}\n```")


def _write_live(seed: str, minutes: float, figures: live.Figures) -> None:
    command = f"make chaos LIVE=1 SEED={seed} MINUTES={minutes:g} WRITE=1"
    method = "What is real, and which faults occur: [chaos.md](chaos.md#over-the-deployed-stack)."
    about = f"{method} `{command}` printed, {_machine()}:"
    _put(LIVE, f"{about}\n\n```\n{live.report(figures)}\n```")


def _machine() -> str:
    return f"on {os.cpu_count()} cores ({platform.machine()}, {platform.system()}, Python {platform.python_version()})"


def _put(heading: str, text: str) -> None:
    """Replace one section of the measurements, and leave the other as it is."""
    MEASUREMENTS.write_text(with_section(MEASUREMENTS.read_text(encoding="utf-8"), heading, text), encoding="utf-8")
    print(f"\nWritten into {MEASUREMENTS}.")


def with_section(page: str, heading: str, text: str) -> str:
    """A page whose section of that heading says this; it comes last if there was none."""
    before, found, after = page.partition(f"\n## {heading}\n")
    rest = after.partition("\n## ")
    following = f"\n## {rest[2]}" if found and rest[1] else ""
    return f"{before.rstrip()}\n\n## {heading}\n\n{text}\n{following}"


if __name__ == "__main__":
    sys.exit(main())
