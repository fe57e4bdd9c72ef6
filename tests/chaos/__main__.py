"""`make chaos`: run a campaign, print its figures; exit 1 with the seed and a small trace if a promise was broken."""

import argparse
import logging
import sys
from pathlib import Path
from time import process_time

from chaos import campaign

REPOSITORY = Path(__file__).resolve().parents[2]
MEASUREMENTS = REPOSITORY / "docs" / "measurements-chaos.md"


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", default="1", help="any word; the same one makes the same campaign")
    parser.add_argument("--hours", type=float, default=1200.0, help="simulated hours")
    parser.add_argument("--only", default="", help="one installation, as a failure names it: SEED/NUMBER")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {MEASUREMENTS.name}")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
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
        return _tell_failure(options.seed, options.hours, figures)
    if options.write:
        _write(options.seed, options.hours, figures)
    return 0


def _tell_failure(seed: str, hours: float, figures: campaign.Figures) -> int:
    plan, finding = figures.findings[0]
    print(f"\nBROKEN in {plan.seed}: {finding}", file=sys.stderr)
    print(f"See it again: make chaos SEED={seed} HOURS={hours:g} ONLY={plan.seed}", file=sys.stderr)
    print("Making it smaller ...", file=sys.stderr)
    smaller, world, found = campaign.shrink(plan, finding)
    kept = world.faults.counts.total()
    print(f"\nWith {kept} faults in {sum(smaller.rounds):.1f} hours: {found}\n", file=sys.stderr)
    print(campaign.trace(world, found), file=sys.stderr)
    return 1


def _write(seed: str, hours: float, figures: campaign.Figures) -> None:
    command = f"make chaos SEED={seed} HOURS={hours:g} WRITE=1"
    about = f"What is simulated and what must hold: [chaos.md](chaos.md). `{command}` printed:"
    text = f"# The last campaign of chaos\n\n{about}\n\n```\n{campaign.report(figures)}\n```\n"
    MEASUREMENTS.write_text(text, encoding="utf-8")
    print(f"\nWritten into {MEASUREMENTS}.")


if __name__ == "__main__":
    sys.exit(main())
