"""`make run`: start the local stack, deploy the template to it, watch targets until Ctrl-C."""

import json
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from popwatch.model.targets import parse_target
from popwatch.model.text import counted
from popwatch.queries.status import read_fleet_status
from popwatch_cli.commands.page import USUAL_PORT as USUAL_PAGE_PORT
from popwatch_cli.commands.page import page_of
from popwatch_cli.errors import UserError
from popwatch_cli.files.entries import FileError
from popwatch_cli.files.target_files import read_entries
from popwatch_cli.installation import Installation, find_local
from popwatch_cli.local.alert_feed import AlertFeed
from popwatch_cli.local.demo import running_demo
from popwatch_cli.local.stack import USUAL_PORT, LocalStack, LocalStackError, free_port
from popwatch_cli.output.live_view import View

REFRESH_SECONDS = 1.0
"""Time between two reads of the tables."""

Items = list[dict[str, Any]]


def main() -> int:
    """Run until a signal arrives; returns the exit code."""
    parser = ArgumentParser(prog="make run", description="Watch POP3 servers on a local AWS.")
    parser.add_argument("--targets", type=Path, help="a file of your own targets (.yaml, .csv, .jsonl)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    console = Console(soft_wrap=not sys.stdout.isatty())
    try:
        items = _read_targets(options.targets) if options.targets else None
        _run(console, Path.cwd(), items)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (LocalStackError, FileError, UserError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(console: Console, project: Path, items: Items | None) -> None:
    folder = project / ".popwatch"
    _refuse_second(folder / "outputs.json")
    with ExitStack() as cleanup:
        play: Callable[[float], str] = lambda _: ""  # noqa: E731 - without the demo nothing happens
        if items is None:
            demo = cleanup.enter_context(running_demo())
            items, play = demo.targets, demo.play
        stack = LocalStack(project, folder)
        cleanup.callback(stack.stop)
        _start(console, stack)
        installation = find_local(folder / "outputs.json")
        installation.target_table.write(items)
        feed = AlertFeed(installation)
        _fire_first_tick(installation)
        address = cleanup.enter_context(page_of(installation, free_port(USUAL_PAGE_PORT)))
        watched = counted(len(items), "item")
        console.print(f"Watching {watched}. Ctrl-C ends it; `popwatch --local ...` works in another terminal.")
        console.print(f"The page is at {address}")
        _watch(console, installation, feed, play)


def _start(console: Console, stack: LocalStack) -> None:
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Starting the local AWS", stack.start),
        ("Building the function and its layer (sam build)", stack.build),
        ("Deploying template.yaml (sam deploy)", stack.deploy),
    ]
    for text, step in steps:
        began = time.monotonic()
        console.print(f"{text} ...", end=" ")
        step()
        console.print(f"{time.monotonic() - began:.0f} s")
    if stack.port != USUAL_PORT:
        console.print(f"Port {USUAL_PORT} is in use, so the local AWS listens at {stack.endpoint}.")


def _fire_first_tick(installation: Installation) -> None:
    """Run the first sweep now: the schedule fires for the first time a minute after the deployment."""
    tick = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    installation.client("lambda").invoke(
        FunctionName=installation.outputs["CheckTargetsFunction"],
        InvocationType="Event",
        Payload=json.dumps({"scheduled_time": tick}),
    )


def _watch(console: Console, installation: Installation, feed: AlertFeed, play: Callable[[float], str]) -> NoReturn:
    store, began = installation.store, time.monotonic()
    with View(console, f"popwatch on {installation.endpoint}") as view:
        while True:
            happened = play(time.monotonic() - began)
            if happened:
                view.show_event(happened)
            for alert in feed.receive():
                view.show_alert(alert)
            for sms in feed.receive_sms():
                view.show_sms(sms)
            now = datetime.now(UTC)
            view.show(read_fleet_status(store, now), now)
            time.sleep(REFRESH_SECONDS)


def _read_targets(path: Path) -> Items:
    """The targets of the user's file. Invalid fields are printed, and their targets fail every test."""
    items = [dict(entry.fields) for entry in read_entries(path)]
    for item in items:
        for problem in parse_target(item).problems if item["target_id"] != "_defaults" else ():
            print(f"{item['target_id']}: {problem.explanation}", file=sys.stderr)
    return items


def _refuse_second(outputs_file: Path) -> None:
    """Allow one local stack in a folder: the outputs of a running one name its process."""
    try:
        process = int(json.loads(outputs_file.read_text())["process"])
        os.kill(process, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return
    raise LocalStackError(f"A local stack is already running here (process {process}): stop it with Ctrl-C first.")


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
