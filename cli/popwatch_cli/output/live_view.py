"""The live view: a table that is updated on a terminal, plain lines elsewhere, and every alert with its texts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import indent

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from popwatch.queries.status import FleetStatus
from popwatch_cli.output.status_table import banner, cells, headline, table_of

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
            most = max(self._console.height - len(head.wrap(self._console, self._console.width)) - LINES_AROUND, 2)
            self._live.update(Group(head, table_of(fleet_status, now, self._console.width, most)), refresh=True)
        else:
            if with_banner and banner(fleet_status, now):
                self._console.print(banner(fleet_status, now), highlight=False)
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
        self._console.print(f"[dim]{_clock()}[/] {escape(text)}", highlight=False)

    def show_alert(self, alert: SentAlert) -> None:
        """Print an alert with its texts."""
        self._console.print(f"[dim]{_clock()}[/] [bold]ALERT  {escape(alert.subject)}[/]", highlight=False)
        self._console.print(escape(indent(alert.email.rstrip(), "         | ", lambda _: True)), highlight=False)

    def show_sms(self, sms: SentSms) -> None:
        """Print an SMS."""
        self._console.print(f"[dim]{_clock()}[/] SMS: {escape(sms.text)}", highlight=False)

    def _print_changes(self, fleet_status: FleetStatus, now: datetime) -> None:
        for row in fleet_status.targets:
            state, name, server, _, result, failures, alerts, _ = cells(row, now)
            fresh = f"{row.tested_at} {row.state}"
            if self._shown.get(row.target.target_id) != fresh and row.tested_at:
                self._shown[row.target.target_id] = fresh
                counts = f" failures {failures}" if failures else ""
                counts += f" alerts {alerts}" if alerts else ""
                self._console.print(
                    f"{_clock()} {state} {name} {server} {result}{counts}", highlight=False, soft_wrap=True
                )


def _clock() -> str:
    return datetime.now(UTC).strftime("%H:%M:%SZ")
