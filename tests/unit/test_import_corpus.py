"""Configurations in the manner of real ones: each object that concerns POP3 is a target, or a line names it.

Each folder of tests/samples/imports has an `expected.yaml`, written by what Nagios and Prometheus do with its files:
the targets, and the lines of what is left. What concerns POP3 is found here in another way than by the importers: by
blocks and addresses in the bare text.
"""

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from popwatch.model.targets import Target, parse_target
from popwatch_cli.files.yaml import read_blocks
from popwatch_cli.importers.conversion import Imported, split_address
from popwatch_cli.importers.monitors import read_monitor_files

CORPUS = Path(__file__).parents[1] / "samples" / "imports"
NAMES = sorted(folder.name for folder in CORPUS.iterdir())

CONCERNS_POP3 = re.compile(r"pop|\b110\b|\b995\b", re.IGNORECASE)
ADDRESS = re.compile(
    r"[\w.-]*pop[\w.-]*\.example\.net(?::\w+)?|\b[\w.-]+\.example\.net:(?:110|995)|\[2001:db8::1\]:995"
)
NAME = re.compile(r"\bpop\d\b")


@dataclass(frozen=True)
class Object:
    """A service, or an address of a job: its file, its lines (of an address also its job's first), and its text.

    `around` are the lines of the service, or of the whole job: a target from elsewhere is another one.
    """

    file: str
    lines: Set[int]
    text: str
    around: range


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Imported]:
    """What is expected of a configuration, and its import."""
    monkeypatch.chdir(CORPUS / name)
    expected = read_blocks(Path("expected.yaml").read_text("utf-8"))
    monitor = expected["monitor"]
    default = sorted(str(path) for path in Path().iterdir() if path.suffix == ".cfg")
    paths = [Path(path) for path in expected.get("read") or default]
    modules = Path(expected["modules"]) if "modules" in expected else None
    return expected, read_monitor_files(paths, monitor, modules)


def shown(target: Target) -> str:
    """A target in the words of `expected.yaml`."""
    policy = target.policy
    parts = (
        f"{target.host}:{target.port} {target.tls}",
        target.family.value if target.family != "any" else "",
        f"expect={','.join(target.expect)}" if target.expect else "",
        f"slow={policy.slow_rtt_ms:g}" if policy.slow_rtt_ms else "",
        f"max={target.max_rtt_ms:g}" if target.max_rtt_ms else "",
        "" if policy.enabled else "off",
    )
    return " ".join(filter(None, parts))


OWN_WORDS: dict[str, Callable[[Target], str]] = {
    "timeout": lambda target: f"{target.max_test_seconds:g}",
    "delay": lambda target: f"{target.policy.delay_up}",
    "days": lambda target: ",".join(map(str, target.policy.certificate_warn_days or ())),
    "sni": lambda target: target.tls_name,
    "name": lambda target: target.name,
}
"""What `expected.yaml` says only where it matters."""


@pytest.mark.parametrize("name", NAMES)
def test_targets_and_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the targets that are expected, and at least the lines."""
    expected, found = imported(name, monkeypatch)
    targets = {str(entry.fields["target_id"]): parse_target(entry.fields) for entry in found.entries}
    assert set(targets) == set(expected["targets"])
    for target_id, written in expected["targets"].items():
        words = re.findall(rf"\b({'|'.join(OWN_WORDS)})=(\S+)", written)
        assert [(word, OWN_WORDS[word](targets[target_id])) for word, _ in words] == words
        plain = re.sub(rf" ?\b({'|'.join(OWN_WORDS)})=\S+", "", written)
        assert shown(targets[target_id]) == plain
    warnings = list(found.warnings)
    for place in expected.get("named") or []:
        assert any(is_about(place, warning) for warning in warnings), (place, warnings)


def is_about(place: str, warning: str) -> bool:
    """Whether a warning names a line, maybe among others."""
    file, _, number = place.rpartition(" ")
    file = file.removesuffix("line").removesuffix("Line").strip()
    listed = re.search(rf"(?:^|; ){re.escape(file)}\s*[Ll]ines? ([\d, ]+)", warning)
    return listed is not None and number in listed[1].strip().split(", ")


def objects(folder: Path, monitor: str) -> Iterator[Object]:
    """What concerns POP3 in the files of a configuration, but templates and what no monitor reads."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".cfg", ".yml", ".json") and path.name not in ("blackbox.yml", "expected.yaml"):
            text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
            file = str(path.relative_to(folder))
            yield from _services(file, text) if monitor == "nagios" else _addresses(file, text)


def _services(file: str, text: str) -> Iterator[Object]:
    begins = list(re.finditer(r"^define\s+(\w+)", text, re.MULTILINE))
    ends = [*(begin.start() for begin in begins), len(text)][1:]
    for begin, end in zip(begins, ends, strict=True):
        block = text[begin.start() : end].rstrip("\n")
        is_template = re.search(r"^\s*register\s+0", block, re.MULTILINE)
        if begin[1] == "service" and not is_template and CONCERNS_POP3.search(block):
            line = text.count("\n", 0, begin.start()) + 1
            lines = range(line, line + block.count("\n") + 1)
            yield Object(file, set(lines), block, lines)


def _addresses(file: str, text: str) -> Iterator[Object]:
    lines = text.split("\n")
    jobs = [1, *(number for number, line in enumerate(lines, start=1) if "job_name" in line), len(lines) + 1]
    for number, line in enumerate(lines, start=1):
        job, end = next((job, end) for job, end in pairwise(jobs) if job <= number < end)
        found = ADDRESS.findall(line) or (NAME.findall(line) if "targets:" in line else [])
        for address in found if "replacement" not in line else ():
            yield Object(file, {job, number}, address, range(job, end))


LEFT = re.compile(r"not imported|not read|is no host|is listed twice")
"""How a warning says that an object does not become a target; others say what is different in one."""


def is_made(thing: Object, found: Imported) -> bool:
    """Whether a target comes from an object: from its lines or, if it is an address, with its host or its name."""
    for entry in found.entries:
        names = (entry.fields["host"], entry.fields["name"])
        here = entry.file in (thing.file, "") and entry.line in thing.around
        is_meant = thing.text.startswith("define") or {thing.text, split_address(thing.text)[0]}.intersection(names)
        if here and is_meant:
            return True
    return False


def is_left(thing: Object, found: Imported) -> bool:
    """Whether a warning says that an object is left: with its address, or with one of its lines."""
    warnings = [warning for warning in found.warnings if LEFT.search(warning)]
    files = (f"{thing.file} line", "Line")
    places = [f"{file} {line}" for file in files for line in thing.lines]
    return any(thing.text in warning or any(is_about(place, warning) for place in places) for warning in warnings)


def test_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum: every object is the origin of a target or is left with a line, and each configuration has some."""
    read = made = left = targets = lines = 0
    assert len(NAMES) >= 30
    for name in NAMES:
        expected, found = imported(name, monkeypatch)
        things = list(objects(CORPUS / name, expected["monitor"]))
        assert things, name
        of_targets = [thing for thing in things if is_made(thing, found)]
        named = [thing for thing in things if thing not in of_targets and is_left(thing, found)]
        lost = [thing for thing in things if thing not in of_targets and thing not in named]
        assert not lost, (name, lost, list(found.warnings))
        read, made, left = read + len(things), made + len(of_targets), left + len(named)
        targets, lines = targets + len(found.entries), lines + len(found.warnings.places())
    print(f"{len(NAMES)} configurations, {read} objects of POP3 read: {made} made {targets} targets, {left} are left.")
    print(f"Lines named for this, and for what is different in a target: {lines}.")
    assert read == made + left
