"""What people type who come from another program, and what it is here: commands, options, fields."""

from collections.abc import Collection, Mapping

from popwatch.model.fields import FIELDS_BY_NAME
from popwatch.model.text import did_you_mean

COMMANDS = {
    "add": "popwatch targets put",
    "alert-history": "popwatch history",
    "alerts": "popwatch history",
    "availability": "popwatch report",
    "check": "popwatch test",
    "dashboard": "popwatch page",
    "delete": "popwatch targets remove",
    "deploy": "make deploy",
    "describe": "popwatch status ID",
    "diagnose": "popwatch doctor",
    "disable": "popwatch suspend",
    "down": "popwatch status --state down",
    "downtime": "popwatch silence",
    "enable": "popwatch resume",
    "events": "popwatch history",
    "export": "popwatch targets export",
    "get": "popwatch targets show",
    "health": "popwatch status",
    "import": "popwatch targets import",
    "incidents": "popwatch history",
    "info": "popwatch status ID",
    "list": "popwatch targets list",
    "log": "popwatch history",
    "logs": "popwatch history",
    "ls": "popwatch targets list",
    "maintenance": "popwatch silence",
    "man": "popwatch help",
    "metrics": "popwatch report",
    "mute": "popwatch silence",
    "notify": "popwatch alert-test",
    "open": "popwatch page",
    "outages": "popwatch history",
    "pause": "popwatch suspend",
    "ping": "popwatch test",
    "put": "popwatch targets put",
    "remove": "popwatch targets remove",
    "rm": "popwatch targets remove",
    "run": "make run",
    "serve": "popwatch page",
    "set": "popwatch targets put",
    "schedule": "popwatch silence",
    "setup": "make deploy",
    "show": "popwatch targets show",
    "silences": "popwatch status",
    "sla": "popwatch report",
    "start": "make run",
    "stats": "popwatch status",
    "subscribers": "popwatch receivers",
    "subscriptions": "popwatch receivers",
    "tail": "popwatch history",
    "top": "popwatch status --watch",
    "ui": "popwatch page",
    "unmute": "popwatch unsilence",
    "unsuspend": "popwatch resume",
    "up": "make run",
    "update": "make deploy",
    "upgrade": "make deploy",
    "uptime": "popwatch report",
    "watch": "popwatch status --watch",
    "web": "popwatch page",
    "who": "popwatch receivers",
    "?": "popwatch help",
}
"""The command that does it here."""

_RECEIVERS = (
    "Receivers subscribe to the stack's topics by `aws sns subscribe`: docs/alerts.md. `popwatch receivers` shows them."
)
_NO_SETTINGS = (
    "popwatch needs no configuration of its own: `make run` starts it here, `make deploy` in AWS, and "
    "`popwatch targets put mail-berlin host=pop.example.net` adds a server."
)
_STOPPED = (
    "`make run` ends with Ctrl-C; a stack in AWS goes on until it is deleted (docs/operating.md). "
    "`popwatch suspend ID` ends the tests of a target."
)
SENTENCES = {
    **dict.fromkeys(("contacts", "email", "recipients", "sms", "subscribe", "unsubscribe", "users"), _RECEIVERS),
    **dict.fromkeys(("config", "configure", "init", "install", "settings"), _NO_SETTINGS),
    **dict.fromkeys(("destroy", "restart", "stop", "uninstall"), _STOPPED),
    "unack": "An acknowledgement ends with its outage: nothing has to be undone.",
    "login": "popwatch uses your AWS credentials: `aws configure` or `aws sso login`, and --profile.",
}
"""What to do where no command does it."""

_OPTIONS = {
    "--comment": "--why",
    "--count": "--since 24h",
    "--csv": "--format csv",
    "--duration": "--for",
    "--filter": "--group",
    "--follow": "--watch",
    "--format": "--json",
    "--html": "--format html",
    "--insecure": "--no-verify",
    "--interval": "--delay",
    "--last": "--since 24h",
    "--limit": "--since 24h",
    "--message": "--why",
    "--name": "--group",
    "--reason": "--why",
    "--ssl-verify": "--no-verify",
    "--starttls": "--tls starttls",
    "--stls": "--tls starttls",
    "--until": "--for",
    "--force": "--yes",
    "--live": "--watch",
    "--user": "--by",
    "-d": "--for",
    "-f": "--yes",
    "-g": "--group",
    "-k": "--no-verify",
    "-l": "--local",
    "-m": "--why",
    "-n": "--since 24h",
    "-o": "--output",
    "-r": "--region",
    "-s": "--ssl",
    "-u": "--user",
}
"""Options of other programs; only one that the command has is suggested."""

_FIELDS = {
    "action_url": "runbook",
    "address": "host",
    "alias": "name",
    "check_interval": "delay_up",
    "comment": "notes",
    "contacts": "group",
    "description": "notes",
    "disabled": "enabled",
    "display_name": "name",
    "domain": "host",
    "frequency": "delay_up",
    "hostname": "host",
    "id": "target_id",
    "interval": "delay_up",
    "ip": "host",
    "labels": "tags",
    "max_check_attempts": "failures_per_alert",
    "max_retries": "failures_per_alert",
    "notes_url": "runbook",
    "parent": "depends_on",
    "parents": "depends_on",
    "paused": "enabled",
    "period": "delay_up",
    "repeat": "max_alerts",
    "retries": "failures_per_alert",
    "retry_interval": "delay_warn",
    "server": "host",
    "ssl": "tls",
    "starttls": "tls",
    "threshold": "failures_per_alert",
    "timeout": "max_test_seconds",
    "url": "host",
}
"""Fields of other programs."""


def option_hint(written: str, known: Collection[str]) -> str:
    """` Did you mean X?` for an option that a command does not have; `known` are those that it has. Otherwise ""."""
    meant = _OPTIONS.get(written, "")
    return f" Did you mean {meant}?" if meant.partition(" ")[0] in known else ""


def field_hint(written: str, names: Mapping[str, object] = FIELDS_BY_NAME) -> str:
    """` Did you mean `X`?` for a field that there is not; otherwise ""."""
    meant = _FIELDS.get(written.lower().replace("-", "_"))
    return f" Did you mean `{meant}`?" if meant else did_you_mean(written, names)
