"""The ids, groups and tags of a stack, for completing what is typed: from a file that is a minute old at most.

A shell waits for the answer, so nothing here raises, asks or prints, and nothing lasts: what AWS does not say in
`PATIENCE_SECONDS` is known when the next key is pressed, since a child process goes on reading.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

from popwatch_cli.options import StackChoice

KEPT_SECONDS, FAILURE_KEPT_SECONDS = 60, 10
"""How long the names of a stack count as known, and that they cannot be read."""

PATIENCE_SECONDS = 1.5
"""How long a shell waits for them."""

LONGEST_READ_SECONDS = 20
"""How long the child process that reads them may take."""

_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE")
"""What else decides which stack is meant."""


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The names that a stack's targets have, unsorted."""

    ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    schedules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names in `schedules` of each item that has that field; of `_defaults` they are for targets without it."""


def known_names(choice: StackChoice) -> KnownNames:
    """The names of a stack; none if they cannot be read, or not in time."""
    try:
        path = cache_folder() / f"{_key(choice)}.json"
        return _cached(path) or _read_by_child(path, choice) or KnownNames()
    except OSError:
        return KnownNames()


def cache_folder() -> Path:
    """The folder of these files, which only its user can read."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "popwatch"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _key(choice: StackChoice) -> str:
    """A name for the stack that is meant, in this environment."""
    parts = [choice.stack, choice.region, choice.profile, *map(os.environ.get, _ENVIRONMENT)]
    if choice.local:
        from popwatch_cli.installation import LOCAL_OUTPUTS  # noqa: PLC0415 - slow, and a fresh file needs nothing of it

        parts = [str(LOCAL_OUTPUTS.resolve()), str(LOCAL_OUTPUTS.stat().st_mtime_ns)]
    return blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _cached(path: Path) -> KnownNames | None:
    """The names in a file, or None if it is too old or not there."""
    try:
        age = time.time() - path.stat().st_mtime
        stored = json.loads(path.read_text("utf-8"))
        if not 0 <= age < (KEPT_SECONDS if stored else FAILURE_KEPT_SECONDS):
            return None
        names = stored or {}
        lists = {name: tuple(map(str, names.get(name, ()))) for name in ("ids", "groups", "tags")}
        schedules = {str(owner): tuple(map(str, found)) for owner, found in names.get("schedules", {}).items()}
        return KnownNames(**lists, schedules=schedules)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _read_by_child(path: Path, choice: StackChoice) -> KnownNames | None:
    """The names that a child process reads and writes into the file, if it has written them in time."""
    end = time.monotonic() + PATIENCE_SECONDS
    lock = path.with_suffix(".lock")
    if not _take(lock):
        child = 0  # another one reads
    elif (child := os.fork()) == 0:
        _read_and_exit(path, lock, choice)
    while time.monotonic() < end:
        found = _cached(path)
        ended = found is not None or (child and os.waitpid(child, os.WNOHANG)[0])
        if ended:
            return found or _cached(path)
        time.sleep(0.02)
    return None


def _take(lock: Path) -> bool:
    """Whether no other process reads now; one that was killed leaves a lock behind, which counts for a time."""
    with suppress(FileNotFoundError):
        if time.time() - lock.stat().st_mtime > LONGEST_READ_SECONDS:
            lock.unlink(missing_ok=True)
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def _read_and_exit(path: Path, lock: Path, choice: StackChoice) -> None:
    """What the child does. It has no terminal, so nothing can ask there for a password or a code."""
    import signal  # noqa: PLC0415 - for the child alone

    stored: dict[str, object] | None = None
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        signal.alarm(LONGEST_READ_SECONDS)
        with suppress(Exception):
            stored = asdict(_read(choice))
        write_private(path, json.dumps(stored))
    finally:
        lock.unlink(missing_ok=True)
        os._exit(0)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its user can read."""
    new = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _read(choice: StackChoice) -> KnownNames:
    from popwatch_cli.installation import find  # noqa: PLC0415 - slow, and a fresh file needs nothing of it
    from popwatch_cli.target_items import targets_of, without_temporary  # noqa: PLC0415

    items = without_temporary(find(choice).target_table.read())
    targets = targets_of(items).values()
    groups = dict.fromkeys(target.group for target in targets if target.group)
    tags = dict.fromkeys(tag for target in targets for tag in target.tags)
    schedules = {
        name: tuple(map(str, item["schedules"]))
        for name, item in items.items()
        if isinstance(item.get("schedules"), Mapping)
    }
    return KnownNames(tuple(target.target_id for target in targets), tuple(groups), tuple(tags), schedules)
