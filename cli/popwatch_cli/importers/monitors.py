"""Reading the configuration files of other monitors."""

from collections.abc import Sequence
from pathlib import Path

from popwatch_cli.importers.blackbox import read_blackbox
from popwatch_cli.importers.conversion import Imported
from popwatch_cli.importers.nagios import read_nagios

MONITORS = ("nagios", "blackbox")
"""The monitors whose files can be read."""


def read_monitor_files(paths: Sequence[Path], monitor: str, modules: Path | None = None) -> Imported:
    """The targets of another monitor's files, and warnings on what was not imported. Raises FileError."""
    return read_nagios(paths) if monitor == "nagios" else read_blackbox(paths, modules)
