"""Fixtures of all tests: no test reaches AWS or the caller's own account."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import botocore.session
import pytest
from hypothesis import settings

from tests.open_sockets import listeners
from tests.quick_moto import be_quick
from tests.strict_calls import be_strict

if TYPE_CHECKING:
    from tests.e2e.deployed import Deployed

be_strict()
be_quick()

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each worker, and each program that a test starts,
sys.dont_write_bytecode = False  # compiles this project again: for a worker, that is half of its start

settings.register_profile("popwatch", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("popwatch")

vars(botocore.session)["create_loader"] = cache(botocore.session.create_loader)
"""moto makes a new session for each test, and each would parse botocore's models of the services again."""

LONGEST = (
    "chaos/test_oracle_elsewhere.py",
    "chaos/test_oracle_judge.py",
    "chaos/test_time_to_alert.py",
    "e2e/test_newcomer.py",
    "chaos/live/",
    "chaos/test_campaign.py",
    "integration/test_sweep.py",
    "e2e/test_upgrade.py",
    "integration/test_month.py",
    "e2e/",
    "integration/",
    "chaos/",
)
"""Where the tests that take long are. They begin first, so that no worker has a long one left when all else is done,
and so that those that compute run beside those that wait.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle=SEED`: files in another order, and the tests of each file too."""
    parser.addoption("--shuffle", metavar="SEED", help="run files, and tests within each file, in the order of a seed")


def pytest_configure() -> None:
    """A shell starts a background job with Ctrl-C ignored, and the programs that tests start would inherit that."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; or another order, in which a file's tests stay together since they share what takes long."""
    seed = config.getoption("--shuffle")
    if seed is None:
        items.sort(key=_rank)
        return
    rng = Random(seed)
    rng.shuffle(items)
    files = sorted({item.path for item in items})
    rng.shuffle(files)
    items.sort(key=lambda item: files.index(item.path))


def pytest_sessionstart(session: pytest.Session) -> None:
    """In a new clone, each worker compiles its share of the tests, and not all of them beside the others.

    pytest compiles what it imports for its assertions, and keeps that: the others find it. It takes longer than all
    else that comes before the first test.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or "tests" not in session.config.args:
        return
    first, workers = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in sorted(Path(__file__).parent.rglob("test_*.py"))[first::workers]:
        name = ".".join(path.relative_to(session.config.rootpath).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # collection says what is wrong
            import_module(name)


def pytest_collection_finish() -> None:
    """The half million objects of the collected tests stay to the end: garbage collection need not look at them.

    Nor at the others as often as usual, which takes a tenth of the time of all tests.
    """
    gc.freeze()
    gc.set_threshold(20_000, 5, 20)


@pytest.fixture(autouse=True, scope="session")
def fake_credentials() -> Iterator[None]:
    """Credentials that open nothing, and no profile of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as environment:
        _fake(environment)
        yield


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Deployed]":
    """The real template on the local stack, built and deployed once for all tests of a process.

    Its schedule is off, since tests give the ticks, and it sends no summaries, since they count alerts.
    """
    from tests.e2e.deployed import PROJECT, Deployed  # noqa: PLC0415 - most tests need none of what it imports

    with Deployed.running(PROJECT, tmp_path_factory.mktemp("stack"), StormThreshold="1000") as found:
        yield found


@pytest.fixture(autouse=True)
def no_listener_is_forgotten() -> Iterator[None]:
    """A test that forgets a listener fails itself: the garbage collector's ResourceWarning comes before its end.

    A listener that something still holds is not forgotten: it may be that of a fixture of the whole module. What a
    test leaves is among the young objects, which are looked through in a hundredth of the time that all take.
    """
    before = listeners()
    yield
    if not listeners() <= before:
        gc.collect(1)


@pytest.fixture(autouse=True, scope="module")
def no_module_forgets_a_listener() -> Iterator[None]:
    """The last test of a file fails if one has forgotten a listener that was no young object any more."""
    before = listeners()
    yield
    if not listeners() <= before:
        gc.collect()


def _fake(environment: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "POPWATCH_STACK", "AWS_SESSION_TOKEN"):
        environment.delenv(name, raising=False)
    environment.setenv("AWS_ACCESS_KEY_ID", "testing")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    environment.setenv("AWS_CONFIG_FILE", "/nonexistent")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


def _rank(item: pytest.Item) -> int:
    path = item.path.relative_to(item.config.rootpath / "tests").as_posix()
    return next((rank for rank, begin in enumerate(LONGEST) if path.startswith(begin)), len(LONGEST))
