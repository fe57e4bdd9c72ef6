"""Figures that commands write into the docs, each in a section of its own, with the day and the machine."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
TESTS_TESTED = DOCS / "measurements-tests.md"


def where() -> str:
    """The machine, and the day."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {model}, {os.cpu_count()} cores, {system}, "
        f"Python {platform.python_version()}."
    )


def write_section(document: Path, title: str, body: str) -> None:
    """Put a section into a document: where the one of this title was, else at the end."""
    head, *sections = document.read_text("utf-8").split("\n## ")
    titles = [section.partition("\n")[0] for section in sections]
    section = f"{title}\n\n{body}"
    if title in titles:
        sections[titles.index(title)] = section
    else:
        sections.append(section)
    document.write_text("\n## ".join((head, *(section.rstrip() + "\n" for section in sections))), "utf-8")
