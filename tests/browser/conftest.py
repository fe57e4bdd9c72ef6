"""Headless Chromium from Debian's packages, driven by Playwright: `.ci/run` installs both."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fleet import page_of
from tests.integration.world import World, new_world

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[2] / ".popwatch" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
SERVER_ENDS = ("ERR_CONNECTION_", "ERR_SOCKET_NOT_CONNECTED")
"""Console messages of a page whose server has stopped, for tests that stop it."""

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without connections of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is installed by .ci/run only")
    if CHROMIUM is None or not AXE.exists():
        pytest.skip("Chromium and axe-core are installed by .ci/run only")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


Open = Callable[..., Any]
Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Servers that stop after all pages have been closed: an open page would log that its server is gone."""
    with ExitStack() as found:
        yield found


@pytest.fixture
def serve(servers: ExitStack) -> Serve:
    """Serve a world as `page_of` does, until the test's pages have been closed."""

    def serve_world(*arguments: Any, **options: Any) -> AbstractContextManager[str]:
        return nullcontext(servers.enter_context(page_of(*arguments, **options)))

    return serve_world


@pytest.fixture
def open_page(browser: Any, servers: ExitStack) -> Iterator[Open]:  # noqa: ARG001 - ends before them
    """Open an address. At the end there may be no error, no dialog, and no request to another host."""
    contexts: list[Any] = []
    problems: list[str] = []

    def open_address(
        address: str, *, size: Any = None, dark: bool = False, allow: tuple[str, ...] = (), zone: str = "UTC"
    ) -> Any:
        colours = "dark" if dark else "light"
        context = browser.new_context(viewport=size or DESKTOP, color_scheme=colours, timezone_id=zone)
        contexts.append(context)
        page = context.new_page()
        host = address.split("/")[2]
        page.on("pageerror", lambda error: problems.extend([f"error: {error}"]))
        page.on("dialog", lambda dialog: problems.extend([f"dialog: {dialog.message}"]))
        page.on("console", lambda message: problems.extend(complaint(message, allow)))
        page.on("request", lambda request: problems.extend([request.url] if host != request.url.split("/")[2] else []))
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose time is now: the page shows times by the browser's clock."""
    with new_world(now=datetime.now(UTC).replace(microsecond=0)) as found:
        yield found


def complaint(message: Any, allow: tuple[str, ...]) -> list[str]:
    """An error or warning in the browser's console that the test does not expect."""
    bad = message.type in ("error", "warning") and not any(text in message.text for text in allow)
    return [f"{message.type}: {message.text}"] if bad else []


def axe(page: Any) -> list[str]:
    """axe-core's findings for a page, by its default rules: WCAG 2 A and AA, and best practices."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document)")
    return [f"{it['id']}: {it['help']}: {[node['html'] for node in it['nodes'][:3]]}" for it in found["violations"]]
