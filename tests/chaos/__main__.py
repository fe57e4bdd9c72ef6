"""`make chaos`: run a campaign, print its figures; exit 1 with the seed and a small trace if a promise was broken.

Simulated, or with `--live` for so many minutes over the real template, deployed to the local stack.
"""

import argparse
import logging
import sys
from pathlib import Path
from time import process_time

from chaos import campaign
from chaos.live import campaign as live
from measured import where

REPOSITORY = Path(__file__).resolve().parents[2]
MEASUREMENTS = REPOSITORY / "docs" / "measurements-chaos.md"
SIMULATED, LIVE = "Simulated", "Over the deployed local stack"
ABOUT = {
    SIMULATED: "What is simulated and what must hold: [chaos.md](chaos.md).",
    LIVE: "Real processes, sockets, tables and messages, twenty times as fast: [chaos.md](chaos.md).",
}


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", default="1", help="any word; the same one makes the same campaign")
    parser.add_argument("--hours", type=float, default=1200.0, help="simulated hours")
    parser.add_argument("--live", type=float, default=0.0, help="minutes over the deployed local stack instead")
    parser.add_argument("--only", default="", help="one installation, as a failure names it: SEED/NUMBER")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {MEASUREMENTS.name}")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    return _run_live(options) if options.live else _run_simulated(options)


def _run_simulated(options: argparse.Namespace) -> int:
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
        _write(SIMULATED, f"make chaos SEED={options.seed} HOURS={options.hours:g} WRITE=1", campaign.report(figures))
    return 0


def _run_live(options: argparse.Namespace) -> int:
    figures = live.Figures()
    with live.stack() as stack:
        for plan in live.rounds(options.seed, options.live):
            installation = live.run(stack, plan, figures)
            if figures.findings:
                print(f"\nBROKEN in {plan.seed}: {figures.findings[0]}\n", file=sys.stderr)
                print(campaign.trace(installation, figures.findings[0]), file=sys.stderr)
                return 1
    print(f"seed {options.seed}\n\n{live.report(figures)}")
    if options.write:
        _write(LIVE, f"make chaos SEED={options.seed} LIVE={options.live:g} WRITE=1", live.report(figures))
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


def _write(title: str, command: str, report: str) -> None:
    """Put a campaign into the document, and leave that of the other kind as it is."""
    sections = _sections() | {title: f"{ABOUT[title]} {where()} `{command}` printed:\n\n```\n{report}\n```\n"}
    written = "".join(f"\n## {title}\n\n{sections[title]}" for title in ABOUT if title in sections)
    MEASUREMENTS.write_text(f"# The last campaigns of chaos\n{written}", encoding="utf-8")
    print(f"\nWritten into {MEASUREMENTS}.")


def _sections() -> dict[str, str]:
    parts = MEASUREMENTS.read_text(encoding="utf-8").split("\n## ")[1:]
    return {title: text.lstrip("\n") for title, _, text in (part.partition("\n") for part in parts)}


if __name__ == "__main__":
    sys.exit(main())
