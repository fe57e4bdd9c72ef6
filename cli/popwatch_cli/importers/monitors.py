"""Reading the configuration files of other monitors."""

from pathlib import Path

from popwatch_cli.files.target_files import read_text, with_ids
from popwatch_cli.importers.blackbox import read_blackbox
from popwatch_cli.importers.conversion import Imported
from popwatch_cli.importers.nagios import read_nagios

MONITORS = ("nagios", "blackbox")
"""The monitors whose files can be read."""


def read_monitor_file(path: Path, monitor: str, modules: Path | None = None) -> Imported:
    """The entries of another monitor's file, and notes on what was not imported. Raises FileError."""
    text = read_text(path)
    modules_text = None if modules is None else read_text(modules)
    imported = read_nagios(text) if monitor == "nagios" else read_blackbox(text, modules_text)
    return Imported(with_ids(list(imported.entries)), imported.notes)
