"""`popwatch test --file`: tests many targets and prints each outcome as it arrives."""

import json
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import DESCRIPTOR_RESERVE, Prober
from popwatch_cli.errors import UserError
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.files.target_files import read_fields
from popwatch_cli.output.outcome import summary, to_json, to_line
from popwatch_cli.output.terminal import say
from popwatch_cli.target_items import shown, unknown_fields, without_id

FAILED_CODE = 2
DESCRIPTORS_PER_TEST = 2
"""A second address may be tried while the first is still connecting."""


def test_file(path: str, in_flight: int | None, *, as_json: bool) -> int:
    """Test the targets of a file; returns the exit code. Raises FileError for what is not a target."""
    return test_targets(read_targets(path), in_flight, as_json=as_json)


def read_targets(path: str) -> list[Target]:
    """The targets of a file, after warnings of what has no effect. Raises FileError, also if there are none."""
    entries = [replace(entry, fields={**entry.fields, "target_id": _id_of(entry)}) for entry in read_fields(Path(path))]
    targets = _targets(entries)
    if not targets:
        raise FileError(['The file has no targets: write one line such as {"host": "pop.example.net"} for each.'])
    for warning in (*unknown_fields([entry.fields for entry in entries], "it has no effect"), *_repeated(entries)):
        say(warning, err=True)
    return targets


def _repeated(entries: Iterable[FileEntry]) -> Iterator[str]:
    """A warning for each id that several entries have: `import` would refuse them."""
    lines: dict[str, list[int]] = {}
    for entry in entries:
        lines.setdefault(str(entry.fields["target_id"]), []).append(entry.line_of("target_id"))
    for name, found in lines.items():
        if len(found) > 1:
            kept = "only the first is used" if name == DEFAULTS_ID else "each is tested"
            yield f"{shown(name)} is given {len(found)} times, first on lines {found[0]} and {found[1]}: {kept}."


def test_targets(targets: Sequence[Target], in_flight: int | None, *, as_json: bool) -> int:
    """Test targets, with a line for each outcome as it arrives; returns the exit code."""
    if in_flight:
        allow_descriptors(in_flight)
    results: Counter[bool] = Counter()
    with progress(len(targets)) as advance:
        for arrivals in Prober(in_flight=in_flight).run(targets):
            for target, outcome in arrivals:
                results[outcome.passed] += 1
                if as_json:
                    click.echo(json.dumps(to_json(target, outcome)))
                else:
                    say(to_line(target, outcome))
            advance(len(arrivals))
    if not as_json:
        say(summary(passed=results[True], failed=results[False]))
    return FAILED_CODE if results[False] else 0


def _targets(entries: Sequence[FileEntry]) -> list[Target]:
    """The targets; `_defaults` applies to all of them."""
    defaults = next((entry.fields for entry in entries if entry.fields["target_id"] == DEFAULTS_ID), {})
    return [
        parse_target(entry.fields, without_id(defaults))
        for entry in entries
        if entry.fields["target_id"] != DEFAULTS_ID
    ]


def _id_of(entry: FileEntry) -> object:
    """The id; for an entry without one the number of its line."""
    written = entry.fields.get("target_id")
    return str(entry.line) if written is None else written


@contextmanager
def progress(count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, unless the outcomes themselves are shown there; nothing elsewhere."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda _: None
        return
    with click.progressbar(range(count), label="Testing", file=sys.stderr) as bar:
        yield bar.update


def allow_descriptors(in_flight: int) -> None:
    """Raise this process's limit of descriptors for so many tests at once. Raises UserError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = in_flight * DESCRIPTORS_PER_TEST + DESCRIPTOR_RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        most = (hard - DESCRIPTOR_RESERVE) // DESCRIPTORS_PER_TEST
        raise UserError(f"This process may open {hard} files: use --in-flight {most} or less, or raise `ulimit -Hn`.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
