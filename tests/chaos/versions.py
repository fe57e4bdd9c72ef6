"""An older version of popwatch beside this one, in one process: its modules are imported from a commit under no name.

So records, messages and History that it wrote are read by this version, and the other way round, as in an upgrade.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.chaos.world import Code

PACKAGE = "layers/popwatch/popwatch"
_threads: ContextVar[Callable[[], object]] = ContextVar("threads")


def code_of(revision: str, repository: Path, folder: Path) -> Code:
    """The classes of a revision; raises CalledProcessError where the repository does not have it."""
    archive = subprocess.run(
        ["git", "archive", revision, PACKAGE], cwd=repository, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    with _as_popwatch(folder / PACKAGE):
        return _code(importlib.import_module)


def _code(load: Callable[[str], ModuleType]) -> Code:
    modules = {name: load(f"popwatch.{name}") for name in ("store", "notifier", "dispatcher", "sweep", "config")}
    batches, testing = load("popwatch.batches"), load("popwatch.testing")
    vars(testing)["ThreadPoolExecutor"] = lambda _: _threads.get()()

    def edges(store: Any, prober: Any, notifier: Any, dispatcher: Any, threads: Callable[[], object]) -> Any:
        _threads.set(threads)
        return modules["sweep"].Edges(store, prober, notifier, dispatcher)

    def settings(*names: str, largest_batch: int, **rest: Any) -> Any:  # noqa: ARG001 - it knows one size only
        return modules["config"].Settings(*names, **rest)

    return Code(
        modules["store"].Store,
        modules["notifier"].Notifier,
        modules["dispatcher"].Dispatcher,
        modules["sweep"].Sweep,
        edges,
        settings,
        batches.from_message,
        testing.UnfinishedError,
    )


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
