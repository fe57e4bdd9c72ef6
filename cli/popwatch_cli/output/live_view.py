"""The live view: a table that is updated on a terminal, plain lines elsewhere, and every alert with its texts."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import indent

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from popwatch.queries.status import FleetStatus
from popwatch_cli.options import NARROWEST
from popwatch_cli.output.status_table import LAST_TEST, banner, cells, headline, table_of
from popwatch_cli.output.terminal import fitted, print_fitted, room_of, too_narrow, wrapped

MARGIN = "  | "
"""Before each line of an email: with it, the lines that default texts are wrapped to fit into 80 columns."""

LINES_AROUND = 3
"""Lines of the view that are neither its head nor targets: the titles, one below the head, and one for the cursor."""


@dataclass(frozen=True, slots=True)
class SentAlert:
    """A message of the alert topic, as a subscriber received it."""

    message_id: str
    published_at: datetime
    subject: str
    email: str


@dataclass(frozen=True, slots=True)
class SentSms:
    """A message of the SMS topic, as a subscriber received it."""

    message_id: str
    text: str


class View:
    """Shows the status of the fleet repeatedly, and each event once."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> "View":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, fleet_status: FleetStatus, now: datetime, *, with_banner: bool = False) -> None:
        """Show the status; without a terminal, what has changed since the last call.

        `with_banner`: also show whether popwatch itself has stopped.
        """
        if self._live:
            head = self._head(fleet_status, now, with_banner=with_banner)
            columns = shutil.get_terminal_size().columns  # for a console whose width is fixed, too
            if columns < NARROWEST:
                self._live.update(Text(too_narrow(columns)), refresh=True)
                return
            width, height = self._console.width, self._console.height
            room = height - len(head.wrap(self._console, width)) - LINES_AROUND
            table = table_of(fleet_status, now, width, max(room, 2))
            if table.caption:
                table = table_of(fleet_status, now, width, max(room - str(table.caption).count("\n") - 1, 2))
            self._live.update(Group(head, table), refresh=True)
        else:
            if with_banner and banner(fleet_status, now):
                print_fitted(self._console, banner(fleet_status, now))
            self._print_changes(fleet_status, now)

    def _head(self, fleet_status: FleetStatus, now: datetime, *, with_banner: bool) -> Text:
        """The title and the summary, on one line if both fit."""
        title, summary = Text(self._title, "bold"), Text.from_markup(headline(fleet_status, now))
        between = "  " if title.cell_len + summary.cell_len + 2 <= self._console.width else "\n"
        lines = [Text(), Text(between).join([title, summary])]
        if with_banner and banner(fleet_status, now):
            lines.append(Text.from_markup(banner(fleet_status, now)))
        return Text("\n").join([*lines, Text()])

    def show_event(self, text: str) -> None:
        """Print a line about something that has happened."""
        self._print(escape(text))

    def show_alert(self, alert: SentAlert) -> None:
        """Print an alert with its texts."""
        self._print(f"[bold]ALERT  {escape(alert.subject)}[/]")
        width = self._console.width - len(MARGIN)
        # Indented lines are commands, which can be copied only if they are one line.
        lines = [
            wrapped(line, width) if self._live and not line.startswith(" ") else line
            for line in alert.email.rstrip().split("\n")
        ]
        marked = indent("\n".join(lines), MARGIN, lambda _: True)
        self._console.print(escape(marked), highlight=False, soft_wrap=True)

    def show_sms(self, sms: SentSms) -> None:
        """Print an SMS."""
        self._print(f"SMS: {escape(sms.text)}")

    def _print(self, text: str) -> None:
        """Print rich markup after the time; what does not fit goes on beside the time."""
        clock = _clock() + " "
        room = room_of(self._console) - len(clock)
        lines = fitted(text, room).split("\n")
        between = Text("\n" + " " * len(clock))
        self._console.print(Text(clock, "dim") + between.join(lines), highlight=False, soft_wrap=True)

    def _print_changes(self, fleet_status: FleetStatus, now: datetime) -> None:
        for row in fleet_status.targets:
            found = cells(row, now)
            fresh = f"{row.tested_at} {row.state}"
            if self._shown.get(row.target.target_id) != fresh and row.tested_at:
                self._shown[row.target.target_id] = fresh
                counts = "".join(f" {title.lower()} {found[title]}" for title in ("Failures", "Alerts") if found[title])
                line = f"{_clock()} {found['State']} {found['Target']} {found['Server']} {found[LAST_TEST]}{counts}"
                self._console.print(line, highlight=False, soft_wrap=True)


def _clock() -> str:
    return datetime.now(UTC).strftime("%H:%M:%SZ")
