"""Reading the configuration files of other monitors."""

from collections.abc import Sequence
from pathlib import Path

from popwatch_cli.importers.blackbox import read_blackbox
from popwatch_cli.importers.conversion import Imported
from popwatch_cli.importers.nagios import read_nagios

MONITORS = ("nagios", "icinga", "naemon", "blackbox")
"""The monitors whose files can be read; those of Icinga 1 and Naemon are in the language of Nagios."""

INSTEAD = {
    "icinga2": "Icinga 2's own language is not read: write its hosts into a file of targets, docs/targets.md.",
    "prometheus": "Did you mean blackbox?",
}
"""What to do for monitors that are not among these."""


def likely_monitor(path: Path) -> str:
    """The monitor whose files have names like this; "" if it could be any."""
    return {".cfg": "nagios", ".conf": "nagios", ".yml": "blackbox", ".yaml": "blackbox"}.get(path.suffix.lower(), "")


def read_monitor_files(paths: Sequence[Path], monitor: str, modules: Path | None = None) -> Imported:
    """The targets of another monitor's files, and warnings on what was not imported. Raises FileError."""
    return read_blackbox(paths, modules) if monitor == "blackbox" else read_nagios(paths)
