"""`popwatch page`: serves the page on 127.0.0.1, with the user's own AWS credentials."""

import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import click

from popwatch.web.site import Site
from popwatch.web.views import Views
from popwatch_cli.installation import Installation, find
from popwatch_cli.web_server import served

USUAL_PORT = 8110
REFRESH_SECONDS, LOCAL_REFRESH_SECONDS = 15.0, 2.0
"""Each refresh reads two tables, which AWS charges for; on a local stack it is free."""


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=USUAL_PORT,
    show_default=True,
    help="TCP port; 0 chooses a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@click.pass_obj
def page(choice: Any, *, port: int, opens: bool) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C: states, history, a JSON API, /metrics.

    It reads the stack's tables with your own AWS credentials. Nothing is deployed, and nothing is public.

    \b
    Examples:
      popwatch page --open
      popwatch --local page
    """
    with page_of(find(choice), port) as address:
        click.echo(f"The page is at {address} until Ctrl-C.")
        if opens:
            webbrowser.open(address)
        Event().wait()


@contextmanager
def page_of(installation: Installation, port: int) -> Iterator[str]:
    """Serve the page of a stack while the block runs; yields its address. Raises UserError."""
    seconds = LOCAL_REFRESH_SECONDS if installation.endpoint else REFRESH_SECONDS
    fresh = timedelta(seconds=seconds / 2)
    views = Views(installation.store, lambda: datetime.now(UTC), fresh=fresh)
    with served(Site(views, None, refresh_seconds=seconds), port) as address:
        yield address
