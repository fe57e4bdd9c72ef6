"""`make run`: start the local stack, deploy the template to it, watch targets until Ctrl-C."""

import fcntl
import json
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.text import counted, utc
from popwatch.queries.status import read_fleet_status
from popwatch_cli.commands.before_writing import warn_of_ineffective_fields, warn_of_parents_of_file
from popwatch_cli.commands.page import USUAL_PORT as USUAL_PAGE_PORT
from popwatch_cli.commands.page import page_of
from popwatch_cli.errors import UserError
from popwatch_cli.files.target_files import read_entries
from popwatch_cli.installation import Installation, find_local
from popwatch_cli.local.alert_feed import AlertFeed
from popwatch_cli.local.demo import Demo, running_demo
from popwatch_cli.local.snapshot import Snapshot, SnapshotSaver, read_snapshot, restore, write_snapshot
from popwatch_cli.local.stack import USUAL_PORT, LocalStack, LocalStackError, free_port
from popwatch_cli.options import StackChoice, choose
from popwatch_cli.output.live_view import View
from popwatch_cli.output.terminal import repeat_options
from popwatch_cli.target_items import (
    all_mistakes,
    interventions_in,
    typed_item,
    unknown_fields,
    with_interventions_of,
    without_intervention_fields,
)
from popwatch_cli.target_table import TargetTable

REFRESH_SECONDS = 1.0
"""Time between two reads of the tables."""

SNAPSHOT = "kept.jsonl.gz"

Items = list[dict[str, Any]]
News = Callable[[float], str]
"""What has happened, given the seconds since the start; empty if nothing has."""


def main() -> int:
    """Run until a signal arrives; returns the exit code."""
    parser = ArgumentParser(prog="make run", description="Watch POP3 servers on a local AWS.")
    parser.add_argument("--targets", type=Path, help="a file of your own targets (.yaml, .csv, .json)")
    parser.add_argument("--keep", action="store_true", help="go on with the targets and the history of the last time")
    options = parser.parse_args()
    choose(StackChoice(local=True))  # for the commands in texts
    os.umask(0o077)
    for sign in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(sign) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(sign, _stop)
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    try:
        items = _read_targets(options.targets) if options.targets else None
        with _only_run(Path.cwd() / ".popwatch") as folder:
            _run(console, folder, items, keeps=options.keep)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (LocalStackError, UserError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(console: Console, folder: Path, items: Items | None, *, keeps: bool) -> None:
    snapshot = read_snapshot(folder / SNAPSHOT) if keeps else None
    with ExitStack() as cleanup:
        demo = cleanup.enter_context(running_demo()) if _has_demo(snapshot, items) else None
        # Sweeps must not begin before all that is kept is in the tables again.
        stack = LocalStack(folder.parent, folder, parameters={"ScheduleState": "DISABLED"} if snapshot else {})
        cleanup.callback(stack.stop)
        _start(console, stack)
        installation = find_local(folder / "outputs.json")
        if snapshot:
            what = f"Restoring {counted(snapshot.count, 'item')} of {utc(snapshot.saved_at)}"
            _take(console, what, lambda: restore(snapshot, stack.client("dynamodb"), stack.outputs))
        watched = _write_targets(installation.target_table, items, demo, snapshot)
        feed = AlertFeed(installation)
        if snapshot:
            _enable_schedule(installation)
        _fire_first_tick(installation)
        ending = _keeping(console, folder, stack, demo) if keeps else _losing(console, folder)
        news = [cleanup.enter_context(ending), *([demo.play] if demo else [])]
        address = cleanup.enter_context(page_of(installation, free_port(USUAL_PAGE_PORT)))
        hint = "`popwatch --local ...` works in another terminal."
        console.print(repeat_options(f"Watching {counted(watched, 'target')}. Ctrl-C ends it; {hint}"))
        if not watched:
            console.print(repeat_options("Add one there: `popwatch targets put mail-berlin host=pop.example.net`"))
        console.print(f"The page is at {address}")
        _watch(console, installation, feed, news, f"popwatch, page at {address}")


def _has_demo(snapshot: Snapshot | None, items: Items | None) -> bool:
    """Whether the demo's servers are needed: where nothing else is watched, or where its targets are kept."""
    return snapshot.demo is not None if snapshot else items is None


def _write_targets(table: TargetTable, items: Items | None, demo: Demo | None, snapshot: Snapshot | None) -> int:
    """Write the targets of the user's file and of the demo to those that are there; how many targets there are then."""
    if demo:
        table.write(demo.revised(table.read(), snapshot.demo or {}) if snapshot else demo.targets)
    if items:
        table.write(with_interventions_of(table.read(), items))
    return sum(target_id != DEFAULTS_ID for target_id in table.read())


@contextmanager
def _keeping(console: Console, folder: Path, stack: LocalStack, demo: Demo | None) -> Iterator[News]:
    """Keep the tables meanwhile and at the end; yields what says that this fails. Raises SnapshotError at the end."""
    targets = {item["target_id"]: item for item in demo.targets} if demo else None
    saver = SnapshotSaver(
        lambda: write_snapshot(folder / SNAPSHOT, stack.client("dynamodb"), stack.outputs, targets, datetime.now(UTC))
    )
    try:
        yield saver.news
    finally:
        count = saver.finish()
        console.print(f"Kept {counted(count, 'item')}: `make run KEEP=1` goes on with these targets and their history.")


@contextmanager
def _losing(console: Console, folder: Path) -> Iterator[News]:
    """Say at the end what is lost."""
    try:
        yield lambda _: ""
    finally:
        there = " `make run KEEP=1` goes on with those that were kept before."
        how = there if (folder / SNAPSHOT).exists() else " `make run KEEP=1` keeps them from one run to the next."
        console.print(f"The targets and the history of this run are gone.{how}")


def _start(console: Console, stack: LocalStack) -> None:
    _take(console, "Starting the local AWS", stack.start)
    _take(console, "Building the function and its layer (sam build)", stack.build)
    _take(console, "Deploying template.yaml (sam deploy)", stack.deploy)
    if stack.port != USUAL_PORT:
        console.print(f"Port {USUAL_PORT} is in use, so the local AWS listens at {stack.endpoint}.")


def _take(console: Console, text: str, step: Callable[[], None]) -> None:
    """Take a step of the start, and say how long it took."""
    began = time.monotonic()
    console.print(f"{text} ...", end=" ")
    step()
    console.print(f"{time.monotonic() - began:.0f} s")


def _enable_schedule(installation: Installation) -> None:
    """Let the sweeps begin, of a stack that was deployed without them."""
    resources = installation.read_resources().values()
    name = next(physical for kind, physical in resources if kind == "AWS::Scheduler::Schedule")
    scheduler = installation.client("scheduler")
    found = scheduler.get_schedule(Name=name)
    present = {field: found[field] for field in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**present, State="ENABLED")


def _fire_first_tick(installation: Installation) -> None:
    """Run the first sweep now: the schedule fires for the first time a minute after the deployment."""
    tick = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    installation.client("lambda").invoke(
        FunctionName=installation.outputs["CheckTargetsFunction"],
        InvocationType="Event",
        Payload=json.dumps({"scheduled_time": tick}),
    )


def _watch(console: Console, installation: Installation, feed: AlertFeed, news: Sequence[News], title: str) -> NoReturn:
    store, began = installation.store, time.monotonic()
    with View(console, title) as view:
        while True:
            for happened in filter(None, (read(time.monotonic() - began) for read in news)):
                view.show_event(happened)
            for alert in feed.receive():
                view.show_alert(alert)
            for sms in feed.receive_sms():
                view.show_sms(sms)
            now = datetime.now(UTC)
            view.show(read_fleet_status(store, now), now)
            time.sleep(REFRESH_SECONDS)


def _read_targets(path: Path) -> Items:
    """The targets of the user's file.

    Mistakes are printed, and their targets fail every test; so are unknown fields, those without an effect, and what
    people do about targets now, which is not read from files.
    """
    read = read_entries(path)
    entries = [replace(entry, fields=without_intervention_fields(entry.fields)) for entry in read]
    mistakes = all_mistakes(entries, {})
    for line in (*interventions_in(read), *unknown_fields(entry.fields for entry in entries), *mistakes):
        print(line, file=sys.stderr)
    by_id = {str(entry.fields["target_id"]): dict(entry.fields) for entry in entries}
    warn_of_ineffective_fields(by_id.values(), by_id.get(DEFAULTS_ID, {}))
    warn_of_parents_of_file(by_id)
    if mistakes:
        print("It starts nevertheless: what is wrong fails every test until it is corrected.", file=sys.stderr)
    return [typed_item(entry.fields) for entry in entries]


@contextmanager
def _only_run(folder: Path) -> Iterator[Path]:
    """The folder of the local stack, made the user's alone; one run at a time, whose lock ends with its process."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalStackError("A local stack is already running here: stop it with Ctrl-C first.") from None
        yield folder


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
