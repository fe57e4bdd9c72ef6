"""`popwatch page`: serves the page on 127.0.0.1, with the user's own AWS credentials; and the password of its URL."""

import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from popwatch.model.records import PublishedAlert
from popwatch.web.site import Site
from popwatch.web.views import ReadReceivers, Views
from popwatch_cli.commands.history import receivers_of
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import WholeNumber, given_options, refuse_ineffective
from popwatch_cli.output.terminal import say
from popwatch_cli.page_password import read_password, replace_password
from popwatch_cli.subscriptions import Subscribers, read_subscriptions
from popwatch_cli.web_server import served

USUAL_PORT = 8110
REFRESH_SECONDS, LOCAL_REFRESH_SECONDS = 15.0, 2.0
"""Each refresh reads two tables, which AWS charges for; on a local stack it is free."""

SUBSCRIPTIONS_KEPT = timedelta(minutes=1)
"""How long the page shows the subscriptions that it has read."""


@click.command()
@click.option(
    "--port",
    type=WholeNumber(0, 65_535),
    default=USUAL_PORT,
    show_default=True,
    help="TCP port; 0 chooses a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@click.option(
    "--password",
    "shows",
    is_flag=True,
    help="Print the password of the stack's page and its URL; serve nothing.",
)
@click.option("--new-password", "replaces", is_flag=True, help="Give that page another password, and print it.")
@click.pass_obj
def page(choice: Any, *, port: int, opens: bool, shows: bool, replaces: bool) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C: states, history, a JSON API, /metrics.

    It reads the stack's tables with your own AWS credentials. Nothing is deployed, and nothing is public.

    A stack that was deployed with Page=on has its page at a URL as well. --password prints that page's password.
    --new-password replaces it: within a minute the page accepts the new one only, and everyone is signed out.

    \b
    Examples:
      popwatch page --open
      popwatch page --password
      popwatch --local page
    """
    if shows and replaces:
        raise click.UsageError("--password and --new-password contradict each other: leave out one of them.")
    if shows or replaces:
        refuse_ineffective({"port", "opens"}, "with --password or --new-password: nothing is served then")
        _print_password(find(choice), replace=replaces)
        return
    installation = find(choice)
    # `make run` itself serves the page of its stack at the usual port
    or_another = bool(installation.endpoint) and "port" not in given_options(click.get_current_context())
    with page_of(installation, port, or_another=or_another) as address, suppress(KeyboardInterrupt):  # the usual end
        if port and not address.endswith(f":{port}/"):
            say(f"Port {port} is in use, as by `make run`, which has a page of its own: here is another one.", err=True)
        say(f"The page is at {address} until Ctrl-C.")
        if opens:
            webbrowser.open(address)
        while True:  # not without end: Python misses a signal that comes just before a wait, until that is over
            time.sleep(1)


def _print_password(installation: Installation, *, replace: bool) -> None:
    """Print the password alone to the standard output, so that a program can take it, and what to know beside it."""
    if replace:
        password = replace_password(installation)
        note = "Within a minute this password alone is accepted, and all sessions end, at"
    else:
        password = read_password(installation)
        note = "This is the password of"
    say(f"{note} {installation.outputs['ReportUrl']}:", err=True)
    click.echo(password)


@contextmanager
def page_of(installation: Installation, port: int, *, or_another: bool = False) -> Iterator[str]:
    """Serve the page of a stack while the block runs; yields its address. Raises UserError.

    `or_another`: at a free port, if this one is taken.
    """
    seconds = LOCAL_REFRESH_SECONDS if installation.endpoint else REFRESH_SECONDS
    max_age = timedelta(seconds=seconds / 2)
    receivers = receivers_by_present_subscriptions(installation, lambda: datetime.now(UTC))
    views = Views(installation.store, lambda: datetime.now(UTC), max_age=max_age, receivers=receivers)
    with served(Site(views, None, refresh_seconds=seconds), port, or_another=or_another) as address:
        yield address


def receivers_by_present_subscriptions(installation: Installation, clock: Callable[[], datetime]) -> ReadReceivers:
    """Who receives an alert, as SNS lists the subscriptions; None if it does not say, as without the permissions."""
    read_at: datetime | None = None
    subscribers: Subscribers | None = None
    lock = Lock()

    def receivers(alert: PublishedAlert) -> list[str] | None:
        nonlocal read_at, subscribers
        with lock:
            if read_at is None or clock() - read_at > SUBSCRIPTIONS_KEPT:
                read_at, subscribers = clock(), _read(installation)
        return receivers_of(alert, subscribers)

    return receivers


def _read(installation: Installation) -> Subscribers | None:
    try:
        sns = installation.client("sns")
        return Subscribers(tuple(read_subscriptions(sns, *installation.alert_topic_arns)))
    except (BotoCoreError, ClientError, KeyError):
        return None
