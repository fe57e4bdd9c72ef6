"""Reading the files of other monitors."""

from pathlib import Path

from popwatch_cli.files.target_files import read_text, with_ids
from popwatch_cli.importers.conversion import Imported

MONITORS = ("nagios", "blackbox", "gatus")
"""Other monitors whose files can be read."""


def read_foreign(path: Path, monitor: str, modules: Path | None = None) -> Imported:
    """The entries of another monitor's file, and what of it was left. Raises FileError."""
    text = read_text(path)
    taken = _parse_foreign(monitor, text, None if modules is None else read_text(modules))
    return Imported(with_ids(list(taken.entries)), taken.notes)


def _parse_foreign(monitor: str, text: str, modules: str | None) -> Imported:
    match monitor:
        case "nagios":
            from popwatch_cli.importers.nagios import read_nagios  # noqa: PLC0415

            return read_nagios(text)
        case "blackbox":
            from popwatch_cli.importers.blackbox import read_blackbox  # noqa: PLC0415

            return read_blackbox(text, modules)
        case _:
            from popwatch_cli.importers.gatus import read_gatus  # noqa: PLC0415

            return read_gatus(text)
