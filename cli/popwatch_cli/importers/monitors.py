"""Reading the configuration files of other monitors."""

from collections.abc import Sequence
from pathlib import Path

from popwatch_cli.importers.blackbox import read_blackbox
from popwatch_cli.importers.conversion import Imported
from popwatch_cli.importers.nagios import read_nagios

MONITORS = ("nagios", "icinga", "naemon", "blackbox")
"""The monitors whose files can be read; those of Icinga 1 and Naemon are in the language of Nagios."""


def read_monitor_files(paths: Sequence[Path], monitor: str, modules: Path | None = None) -> Imported:
    """The targets of another monitor's files, and warnings on what was not imported. Raises FileError."""
    return read_blackbox(paths, modules) if monitor == "blackbox" else read_nagios(paths)
