"""The page as deployed on the local stack, in a browser: both ways to it, and how soon it shows a sweep's results."""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.page_password import read_password
from tests.browser.conftest import SERVER_ENDS, Open
from tests.e2e.deployed import PROJECT, Deployed

pytestmark = pytest.mark.debian


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with Deployed.running(PROJECT, tmp_path_factory.mktemp("stack"), Page="on") as found:
        yield found


def test_both_ways_show_what_a_sweep_has_found(
    deployed: Deployed, open_page: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """`popwatch page` and the URL with its password show the same; a change appears with the next refresh.

    A link to a target leads there after the sign-in.
    """
    with ScriptedServer() as server:
        port = server.listen("healthy")
        deployed.put_targets({"target_id": "mail", "host": "127.0.0.1", "port": port, "failures_per_alert": 1})
        now = datetime.now(UTC)
        assert deployed.tick(now - timedelta(minutes=2)) is None
        arguments, folder = deployed.popwatch("page", "--port", "0")
        with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True) as served:
            try:
                assert served.stdout is not None
                local = served.stdout.readline().split(" at ")[1].split(" until ")[0]
                url_id = urlsplit(deployed.local.outputs["ReportUrl"]).netloc.split(".")[0]
                near = open_page(local, allow=SERVER_ENDS)
                far = open_page(f"{deployed.local.endpoint}/_aws/lambda-url/{url_id}/?target=mail")
                far.fill("#password", read_password(deployed.installation))
                far.keyboard.press("Enter")
                far.wait_for_selector(".more")
                assert far.url == f"{deployed.local.endpoint}/_aws/lambda-url/{url_id}/?target=mail"
                for page in (near, far):
                    page.wait_for_selector(".target .state.up")
                server.play(port, "refused")
                assert deployed.tick(now) is None
                began = time.monotonic()
                near.wait_for_selector(".target .state.down")
                took_near = time.monotonic() - began
                far.wait_for_selector(".target .state.down")
                took_far = time.monotonic() - began
            finally:
                served.terminate()
        with capsys.disabled():
            print(f"\nA sweep's commit was on the page after {took_near:.1f} s (popwatch page), {took_far:.1f} s (URL)")
        assert near.locator(".result").inner_text() == far.locator(".result").inner_text()
        assert "Unable to connect to the remote device (refused)" in near.locator(".result").inner_text()
