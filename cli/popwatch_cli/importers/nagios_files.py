"""What of a Nagios installation is read: files of object definitions, folders of them, and the main configuration.

Reference: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/configmain.html, for `cfg_file`,
`cfg_dir` and `interval_length`. Definitions may include files in the same way (`include_file`, `include_dir`, as
xdata/xodtemplate.c of Nagios reads them). There a `;` begins a comment also in quotes, unless a backslash is before it.
Lines continue as in `mmap_fgets_multiline` of common/shared.c.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from popwatch.model.text import counted
from popwatch_cli.files.entries import FileError
from popwatch_cli.files.target_files import LARGEST_FILE, read_bytes, read_given_bytes, refuse_wide_text
from popwatch_cli.importers.conversion import ImportWarnings, Place
from popwatch_cli.importers.nagios_objects import IMPORTED_KINDS, Definition
from popwatch_cli.target_items import shown, whole

MAX_FILES = 20_000
"""Files and folders that are looked at: a main configuration may name the root of a file system."""

MAX_NAMES = 200_000
"""Names in all folders, also of files that are not read: a file system such as `/proc` has no end of them."""

_DEFINE = re.compile(r"define\s+(\w+)\s*\{?\s*(.*)")
_COMMENT = re.compile(r"(?<!\\);.*")
_SETTING = re.compile(r"(\w+)\s*=\s*(.*)")

_MACRO = re.compile(r"\$\w+\$\s*=")
"""The definition of a macro, which only resource.cfg has."""

_ICINGA_2 = re.compile(r'^\s*(?:object|apply|template)\s+[A-Z]\w*\s+(?:"|for\b)', re.MULTILINE)
"""The beginning of an object in Icinga 2's own language."""

_INCLUDES = re.compile(rb"^\s*(?:cfg|include)_(?:file|dir)\s*=", re.MULTILINE)
"""In a file that names others, so that lines must be shown with their file."""

INCLUDED = {"cfg_file", "cfg_dir", "include_file", "include_dir"}
"""Settings that name a file or a folder of definitions."""

SWITCHES = {
    "enable_notifications": "Nagios sends no notifications at all, but popwatch will send alerts",
    "execute_service_checks": "Nagios checks no services at all, but popwatch will test them",
}
"""Settings which, being 0, change what all services do."""


JOINED = ("members", "hostgroup_members")
"""Directives that a definition may have several times, which together are one list (xdata/xodtemplate.c)."""

USES_PATTERNS, USES_ONLY_PATTERNS = "use_regexp_matching", "use_true_regexp_matching"
"""Settings by which names of hosts and groups may be patterns, or all are; the second has no effect alone."""


_Walk = Iterator["_Walk"]
"""What a file or a folder has within it, in order: each file and each folder of these is another one."""


class Files:
    """The definitions of files, of folders, and of the files that these name; each file is read once.

    Once there are too many or too large ones, nothing more is read.
    """

    def __init__(self, warnings: ImportWarnings) -> None:
        self.definitions: list[Definition] = []
        self.unit_seconds = 60.0
        self.has_patterns = self.has_only_patterns = False
        self._warnings = warnings
        self._seen: set[Path] = set()
        self._left = LARGEST_FILE
        self._names_left = MAX_NAMES
        self._limit = ""
        self._several = False

    def read(self, paths: Sequence[Path]) -> None:
        """Read files and folders that the user named. Raises FileError."""
        if len(paths) == 1 and not paths[0].is_dir():
            content = read_given_bytes(paths[0])  # once: it may be a pipe
            self._several = _INCLUDES.search(content) is not None
            _finish(self._opened_file(paths[0], lambda _: content))
            return
        self._several = True
        for path in paths:
            _finish(self._opened_folder(path) if path.is_dir() else self._opened_file(path, read_given_bytes))

    def _opened_folder(self, folder: Path) -> _Walk:
        """All files of a folder and of its subfolders whose names end in `.cfg`, as Nagios does it."""
        if not self._is_new(folder):
            return iter(())
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            raise FileError([f"{folder} cannot be read: {error.strerror}."]) from None
        self._names_left -= len(found)
        if self._names_left < 0:
            self._stop(f"The folders have more than {MAX_NAMES:,} files: import some of them.")
        return self._members(found)

    def _members(self, found: Sequence[Path]) -> _Walk:
        for path in found:
            if self._limit:
                return
            if not path.name.startswith("."):
                try:
                    member = self._opened_member(path)
                except (FileError, OSError) as error:
                    reason = whole(str(error).removeprefix(f"{path}: "))
                    rest = ", nor what follows" if self._limit else ""
                    self._warnings.add(Place(str(path), 1), f"It is not read{rest}: {reason}")
                else:
                    yield member

    def _opened_member(self, path: Path) -> _Walk:
        if path.is_dir():
            return self._opened_folder(path)
        return self._opened_file(path, read_bytes) if path.suffix == ".cfg" and path.is_file() else iter(())

    def _is_new(self, path: Path) -> bool:
        """Whether a file or folder is not read yet. Raises FileError if there are too many."""
        if self._limit:
            raise FileError([self._limit])
        real = path.resolve()
        if real in self._seen:
            return False
        self._seen.add(real)
        if len(self._seen) > MAX_FILES:
            self._stop(f"There are more than {MAX_FILES:,} files: import some of the folders.")
        return True

    def _stop(self, reason: str) -> NoReturn:
        """Read nothing more. Raises FileError."""
        self._limit = reason
        raise FileError([reason])

    def _opened_file(self, path: Path, read: Callable[[Path], bytes]) -> _Walk:
        """The definitions of a file, and then what its settings name."""
        if not self._is_new(path):
            return iter(())
        content = read(path)
        self._left -= len(content)
        if self._left < 0:
            self._stop(f"The files are larger than {LARGEST_FILE // 1024 // 1024} MB together: import fewer.")
        file = str(path) if self._several else ""
        refuse_wide_text(str(path), content)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
            self._warnings.add(Place(file, 1), "The file is not UTF-8: it is read as Latin-1. Check its names.")
        if "\n" not in text:
            text = text.replace("\r", "\n")
        if _ICINGA_2.search(text):
            raise FileError(
                [
                    f"{path}: this is configuration of Icinga 2, which is not read. Write its hosts into a file of "
                    "targets: see docs/targets.md."
                ]
            )
        definitions, settings = parse(text, file, self._warnings)
        self.definitions += definitions
        others = [
            place
            for name, _, place in settings
            if name not in INCLUDED | SWITCHES.keys() | {USES_PATTERNS, USES_ONLY_PATTERNS, "interval_length"}
        ]
        if others:
            sentence = f"{counted(len(others), 'setting')} of Nagios itself from here on: not imported."
            self._warnings.add(others[0], sentence)
        return self._included(settings, path.parent)

    def _included(self, settings: Sequence[tuple[str, str, Place]], folder: Path) -> _Walk:
        """Use settings, in order: a later one counts after the files that an earlier one includes."""
        for name, value, place in settings:
            if name not in INCLUDED:
                self._apply(name, value, place)
                continue
            path = folder / value
            try:
                included = self._opened(name, path)
            except (FileError, OSError, ValueError) as error:
                self._warnings.add(place, f"{shown(value)} is not read: {whole(str(error).removeprefix(f'{path}: '))}")
            else:
                yield included

    def _opened(self, name: str, path: Path) -> _Walk:
        """What a setting includes. Raises FileError, OSError or ValueError."""
        if not path.exists():
            raise FileError(["it does not exist here; import it by its name, too."])
        if name.endswith("dir"):
            return self._opened_folder(path)
        return self._opened_file(path, read_bytes) if path.is_file() else iter(())

    def _apply(self, name: str, value: str, place: Place) -> None:
        """Use a setting of the main configuration that includes nothing."""
        if name == "interval_length":
            try:
                self.unit_seconds = max(1.0, float(int(value)))
            except ValueError:
                self._warnings.add(place, f"`interval_length` is not a number: {shown(value)}; 60 is used.")
        elif name == USES_PATTERNS:
            self.has_patterns = _is_on(value)
        elif name == USES_ONLY_PATTERNS:
            self.has_only_patterns = _is_on(value)
        elif name in SWITCHES and value == "0":
            self._warnings.add(place, f"`{name}=0` is not imported: {SWITCHES[name]}.")


def _finish(walk: _Walk) -> None:
    """Go through a file or a folder and all within it, depth first; without recursion, as nothing bounds the depth."""
    open_walks = [walk]
    while open_walks:
        inner = next(open_walks[-1], None)
        if inner is None:
            open_walks.pop()
        else:
            open_walks.append(inner)


def _is_on(value: str) -> bool:
    """A number above 0, as `atoi` of C reads it."""
    found = re.match(r"\s*\+?(\d+)", value, re.ASCII)
    return found is not None and found[1].strip("0") != ""


def parse(text: str, file: str, warnings: ImportWarnings) -> tuple[list[Definition], list[tuple[str, str, Place]]]:
    """The definitions of a file, and its settings: name, value and place. What is neither becomes a warning."""
    found: list[Definition] = []
    settings: list[tuple[str, str, Place]] = []
    unknown_lines: list[tuple[Place, str]] = []
    current: Definition | None = None
    values: dict[str, str] = {}
    places: dict[str, Place] = {}
    members: dict[str, list[str]] = {}
    for number, content in _lines(text):
        place = Place(file, number)
        begin = _DEFINE.fullmatch(content)
        if begin is not None:
            _warn_of_unclosed(current, warnings)
            values, places, members = {}, {}, {}
            current = Definition(begin[1].lower(), place, values, places)
            if begin[2]:
                warnings.add(place, "What follows `{` is left out; Nagios does not read it either.")
        elif current is None:
            setting = _SETTING.fullmatch(content)
            if setting is not None:
                settings.append((setting[1], setting[2], place))
            elif _MACRO.match(content):
                warnings.add(place, "Macros of resource.cfg are not read: they may hold passwords.")
            else:
                unknown_lines.append((place, content))
        elif content == "}":
            values.update((name, ",".join(parts)) for name, parts in members.items())
            found.append(current)
            current = None
        elif content != "{":
            name, _, value = content.replace("\t", " ").partition(" ")
            if name in JOINED:
                members.setdefault(name, []).append(value.strip())
            else:
                _warn_of_repeated(current, name, value.strip(), place, warnings)
                values[name] = value.strip()
            places[name] = place
    _warn_of_unclosed(current, warnings)
    if unknown_lines:
        place, content = unknown_lines[0]
        more = len(unknown_lines) - 1
        what = f"This line and {counted(more, 'line')} after it belong" if more else "This line belongs"
        # of a line that may hold anything the first word is enough
        warnings.add(place, f"{what} to no definition such as `define service {{`: {shown(content.split()[0])}")
    return found, settings


def _warn_of_repeated(definition: Definition, name: str, value: str, place: Place, warnings: ImportWarnings) -> None:
    """Name a directive whose value another one of the same definition replaces, as for Nagios."""
    if definition.kind in IMPORTED_KINDS and definition.values.get(name, value) != value:
        line = definition.places[name].line
        warnings.add(place, f"`{shown(name)}` is given twice: what line {line} says is not imported, as for Nagios.")


def _warn_of_unclosed(definition: Definition | None, warnings: ImportWarnings) -> None:
    if definition is not None:
        sentence = f"`define {shown(definition.kind)}` has no end, so it is not imported: close it with a line `}}`."
        warnings.add(definition.place, sentence)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments and blanks at their ends, each with its number.

    A line that ends in a backslash goes on in the next one, also if it is a comment; two stand for one that does not.
    """
    pieces: list[str] = []
    begin = 1
    for number, line in enumerate(text.split("\n"), start=1):
        piece = line.removesuffix("\r")
        if not pieces:
            begin = number
        if piece.endswith("\\") and not piece.endswith("\\\\"):
            pieces.append(piece[:-1].lstrip(" \t") if pieces else piece[:-1])
            continue
        pieces.append(piece.lstrip(" \t") if pieces else piece)
        joined = "".join(pieces)
        pieces = []
        if content := _content(joined.removesuffix("\\") if joined.endswith("\\\\") else joined):
            yield begin, content
    if pieces and (content := _content("".join(pieces))):
        yield begin, content


def _content(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    return _COMMENT.sub("", line).replace("\\;", ";").strip()
