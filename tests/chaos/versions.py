"""An older version of popwatch beside this one, in one process: its modules come from a commit.

So records, messages and History that it wrote are read by this version, and the other way round, as in an upgrade. The
older versions have all their modules in one package; the oldest takes neither threads nor the size of a batch.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, fields
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from popwatch.aws.store import Tables as TableNames
from tests.chaos.world import Code

PACKAGE = "layers/popwatch/popwatch"
_threads: ContextVar[Callable[[], object]] = ContextVar("threads")


def code_of(revision: str, repository: Path, folder: Path) -> Code:
    """The classes of a commit; raises CalledProcessError where the repository does not have it."""
    archive = subprocess.run(
        ["git", "archive", revision, PACKAGE], cwd=repository, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    with _as_popwatch(folder / PACKAGE):
        return _code(importlib.import_module)


def _code(load: Callable[[str], ModuleType]) -> Code:
    modules = {name: load(f"popwatch.{name}") for name in ("store", "notifier", "dispatcher", "sweep", "config")}
    batches, testing = load("popwatch.batches"), load("popwatch.testing")
    make_edges, make_settings = modules["sweep"].Edges, modules["config"].Settings
    if not _has_field(make_edges, "threads"):
        vars(testing)["ThreadPoolExecutor"] = lambda _: _threads.get()()

    def store(client: Any, tables: TableNames, clock: Callable[[], datetime]) -> Any:
        return modules["store"].Store(client, modules["store"].Tables(*astuple(tables)), clock)

    def edges(*clients: Any, threads: Callable[[], object]) -> Any:
        if _has_field(make_edges, "threads"):
            return make_edges(*clients, threads=threads)
        _threads.set(threads)
        return make_edges(*clients)

    def settings(*names: str, largest_batch: int, **rest: Any) -> Any:
        size = {"largest_batch": largest_batch} if _has_field(make_settings, "largest_batch") else {}
        return make_settings(*names[:5], **size, **rest)  # it has no SMS topic

    return Code(
        store,
        lambda sns, alert_topic, _: modules["notifier"].Notifier(sns, alert_topic),
        modules["dispatcher"].Dispatcher,
        modules["sweep"].Sweep,
        edges,
        settings,
        batches.from_message,
        testing.UnfinishedError,
    )


def _has_field(kind: Any, name: str) -> bool:
    return name in {known.name for known in fields(kind)}


@contextmanager
def _as_popwatch(package: Path) -> Iterator[None]:
    """Within this, `import popwatch` is another folder's."""
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "popwatch"}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(package.parent))
    try:
        yield
    finally:
        sys.path.remove(str(package.parent))
        for name in [name for name in sys.modules if name.partition(".")[0] == "popwatch"]:
            del sys.modules[name]
        sys.modules.update(ours)
