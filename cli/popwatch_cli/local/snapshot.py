"""What `make run KEEP=1` keeps: the items of the stack's tables, in a file, from one run to the next.

The file is JSON lines in gzip: a header, `[table, item]` for each item as DynamoDB sends it, and their number at the
end. Gzip's checksum shows a byte that has changed, and the number a file that was cut off. A new file is complete
before it takes the place of the old one, so that a process that is killed leaves one of the two.
"""

import gzip
import json
import os
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.json_scans import parse_as_json
from popwatch.model.text import iso
from popwatch_cli.errors import UserError, user_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

FORMAT = 1

TABLES = ("StatusTable", "HistoryTable", "TargetsTable")
"""The tables by their outputs, in the order in which they are read while popwatch goes on writing.

A record says what is still to be written to History. So History may know more than Status, but not less.
"""

WRITES_AT_ONCE = 25
"""The most items that one BatchWriteItem takes."""

SAVE_SECONDS = 60.0
"""The least time between two savings. A saving that takes long is followed by a pause of `PAUSES` times as long."""

PAUSES = 20

Item = dict[str, Any]


class SnapshotError(UserError):
    """A file of kept tables that cannot be read or written; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The items of a file, by table, and the targets that the demo had then: id -> fields (None: it did not run)."""

    saved_at: datetime
    items: Mapping[str, list[Item]] = field(default_factory=dict)
    demo: Mapping[str, Item] | None = None

    @property
    def count(self) -> int:
        """The number of items."""
        return sum(map(len, self.items.values()))


def read_snapshot(path: Path) -> Snapshot | None:
    """What a file keeps; None if there is none. Raises SnapshotError."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return _read(file)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}.") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError):
        raise SnapshotError(
            f"{path} is damaged, or was written by another version of popwatch, so nothing was started. "
            "Move it away to begin again, or run without KEEP=1."
        ) from None


def _read(file: IO[str]) -> Snapshot:
    header = json.loads(file.readline())
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']}")
    items: dict[str, list[Item]] = {name: [] for name in TABLES}
    count = None
    for line in file:  # to its end, where the checksum is
        read = json.loads(line, object_hook=_with_bytes)
        if isinstance(read, int):
            count = read
        else:
            name, item = read
            items[name].append(dict(item))
    snapshot = Snapshot(datetime.fromisoformat(header["saved_at"]), items, header["demo"])
    if count != snapshot.count:
        raise ValueError("items are missing")
    return snapshot


def _with_bytes(value: Item) -> Item:
    """A value of the type B or BS as boto3 takes it. The attributes of a map with such a name are maps themselves."""
    match value:
        case {"B": str(text)} if len(value) == 1:
            return {"B": b64decode(text)}
        case {"BS": [*texts]} if len(value) == 1:
            return {"BS": [b64decode(text) for text in texts]}
    return value


def write_snapshot(
    path: Path, dynamodb: "DynamoDBClient", tables: Mapping[str, str], demo: Mapping[str, Item] | None, now: datetime
) -> int:
    """Keep the items of the tables, which are named by their outputs; how many they are.

    Raises SnapshotError; the file is the old one then.
    """
    parse_as_json(dynamodb)
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.open(raw, "wt", compresslevel=1, encoding="utf-8") as file:
                file.write(json.dumps({"format": FORMAT, "saved_at": iso(now), "demo": demo}) + "\n")
                count = 0
                for name, item in _items(dynamodb, tables):
                    file.write(json.dumps([name, item]) + "\n")
                    count += 1
                file.write(f"{count}\n")
            raw.flush()
            os.fsync(descriptor)
        new.replace(path)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be written: {error.strerror}. It is as it was.") from None
    except (BotoCoreError, ClientError) as error:
        raise SnapshotError(f"{path} is as it was, because the tables cannot be read: {user_message(error)}") from None
    return count


def _items(dynamodb: "DynamoDBClient", tables: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name in TABLES:
        for page in dynamodb.get_paginator("scan").paginate(TableName=tables[name], ConsistentRead=True):
            for item in page["Items"]:
                yield name, item


def restore(snapshot: Snapshot, dynamodb: "DynamoDBClient", tables: Mapping[str, str]) -> None:
    """Put the kept items into the tables of another run, whose functions must not run yet."""
    for name, items in snapshot.items.items():
        for first in range(0, len(items), WRITES_AT_ONCE):
            requests = [{"PutRequest": {"Item": item}} for item in items[first : first + WRITES_AT_ONCE]]
            pending: Any = {tables[name]: requests}
            while pending:
                pending = dynamodb.batch_write_item(RequestItems=pending)["UnprocessedItems"]


class SnapshotSaver:
    """Saves again and again in a thread of its own, and once more at the end. `save` raises SnapshotError."""

    def __init__(self, save: "Callable[[], int]", pause: float = SAVE_SECONDS) -> None:
        self._save, self._pause = save, pause
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._problem = self._shown = ""
        self._thread.start()

    def finish(self) -> int:
        """Save a last time; the number of items that are kept. Raises SnapshotError."""
        self._end.set()
        self._thread.join()
        return self._save()

    def news(self, _: float) -> str:
        """Why the last saving failed, once; otherwise empty."""
        problem, shown, self._shown = self._problem, self._shown, self._problem
        return problem if problem != shown else ""

    def _run(self) -> None:
        pause = self._pause
        while not self._end.wait(pause):
            began = monotonic()
            try:
                self._save()
                self._problem = ""
            except SnapshotError as error:  # the next saving may succeed
                self._problem = str(error)
            pause = max(self._pause, PAUSES * (monotonic() - began))
