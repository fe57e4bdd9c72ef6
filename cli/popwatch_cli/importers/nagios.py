"""Targets from Nagios: the services that check_pop, check_spop or check_tcp tests as POP3.

A command is defined by the file's own `define command`, or else by the definitions that come with Nagios and with the
plugins. Intervals are in units of 60 seconds, the default of Nagios's `interval_length`.
"""

import getopt
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from popwatch.model.fields import Family, TlsMode
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.importers.conversion import (
    DELAYS,
    MOST_TARGETS,
    POP3_PORTS,
    TEST_SECONDS,
    Budget,
    Imported,
    Notes,
    bounded,
    slug,
)
from popwatch_cli.importers.nagios_objects import Definition, members, read_objects
from popwatch_cli.target_items import shown

UNIT_SECONDS = 60
USUAL_COMMANDS = {
    "check_pop": "check_pop -H $HOSTADDRESS$ $ARG1$ $ARG2$ $ARG3$ $ARG4$",
    "check_spop": "check_spop -H $HOSTADDRESS$ $ARG1$ $ARG2$ $ARG3$ $ARG4$",
    "check_tcp": "check_tcp -H $HOSTADDRESS$ -p $ARG1$ $ARG2$ $ARG3$ $ARG4$",
}
PLUGINS = set(USUAL_COMMANDS)

SHORT = "H:p:w:c:t:46SD:e:Es:q:r:M:m:d:jvAVh"
LONG = {
    "hostname=": "H", "port=": "p", "warning=": "w", "critical=": "c", "timeout=": "t", "use-ipv4": "4",
    "use-ipv6": "6", "ssl": "S", "certificate=": "D", "expect=": "e", "send=": "s", "quit=": "q", "refuse=": "r",
    "mismatch=": "M", "maxbytes=": "m", "delay=": "d", "hide-output": "j", "verbose": "v", "all": "A",
    "sni=": "sni", "escape": "E",
}  # fmt: skip
"""The options of check_tcp (monitoring-plugins 2.4); the long ones with the letter of the short one."""

FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}

IDENTITY = {"host_name", "use", "name", "register", "display_name", "contact_groups"}
KNOWN_IN_HOST = IDENTITY | {"address", "alias", "hostgroups"}
KNOWN_IN_SERVICE = IDENTITY | {
    "hostgroup_name", "service_description", "check_command", "check_interval", "normal_check_interval",
    "retry_interval", "retry_check_interval", "max_check_attempts", "notification_interval", "notification_options",
    "notifications_enabled", "active_checks_enabled", "flap_detection_enabled",
}  # fmt: skip
"""Directives that are imported, or that only structure the file."""

EQUIVALENTS = {
    "contacts": "receivers subscribe to the alert topic themselves; see docs/escalation.md.",
    "parents": "set `depends_on` to the target that it depends on.",
    "check_period": "popwatch tests at all hours; see `maintenance`.",
    "notification_period": "popwatch alerts at all hours; see `maintenance`.",
    "first_notification_delay": "see `failures_per_alert`.",
    "low_flap_threshold": "see `flap_per_hour`.",
    "high_flap_threshold": "see `flap_per_hour`.",
    "event_handler": "subscribe a function to the alert topic.",
}
NOTIFIES_OF_FAILURE = {"w", "u", "c", "all", "warning", "unknown", "critical"}
NOTIFIES_OF_RECOVERY = {"r", "all", "recovery"}
"""Notification options of a service."""

ALWAYS = "24x7"
"""The time period, defined in Nagios's sample configuration, that needs no equivalent."""

LONGEST_COMMAND = 10_000
"""Characters that the macros of a command line may add to it."""

_MACRO = re.compile(r"\$(\w+)\$")


def read_nagios(text: str) -> Imported:
    """The POP3 services of Nagios's object configuration. Raises FileError."""
    budget = Budget()
    return Services(read_objects(text, budget), budget).imported()


class Services:
    """The services of a file, each of which becomes a target for each of its hosts."""

    def __init__(self, objects: Sequence[Definition], budget: Budget) -> None:
        self._objects, self._budget = objects, budget
        self._hosts = {host.values["host_name"]: host for host in self._of("host") if "host_name" in host.values}
        self._groups = members(self._of("hostgroup"), self._of("host"), budget)
        self._commands = USUAL_COMMANDS | {
            command.values["command_name"]: command.values.get("command_line", "")
            for command in self._of("command")
            if "command_name" in command.values
        }
        self._notes = Notes()
        self._pairs = 0

    def imported(self) -> Imported:
        """The targets, and notes on what was not imported."""
        entries = [entry for service in self._of("service") for entry in self._entries(service)]
        for other in self._objects:
            if other.kind not in ("host", "hostgroup", "service", "command"):
                self._notes.add(other.line, f"`define {shown(other.kind)}` is not imported: only services are.")
        return Imported(entries, self._notes)

    def _of(self, kind: str) -> list[Definition]:
        return [definition for definition in self._objects if definition.kind == kind]

    def _entries(self, service: Definition) -> Iterator[FileEntry]:
        for name in self._hosts_of(service):
            self._pairs += 1
            if self._pairs > MOST_TARGETS:
                raise FileError([f"The file has more than {MOST_TARGETS:,} services, one for each host: split it."])
            host = self._hosts.get(name)
            if host is None:
                self._notes.add(service.line_of("host_name"), f"There is no host {shown(name)} in this file.")
                continue
            self._budget.spend(len(service.values) + len(host.values))
            test = self._test(service, host)
            if test is not None:
                yield self._entry(service, host, test)

    def _hosts_of(self, service: Definition) -> list[str]:
        """The names of a service's hosts. In lists of hosts `*` means all hosts, and `!` excludes a host or a group."""
        names = list(dict.fromkeys(service.names("host_name")))
        for group in dict.fromkeys(service.names("hostgroup_name")):
            self._budget.spend(len(self._groups.get(group.removeprefix("!"), ())) + 1)
            if group.startswith("!"):
                names += [f"!{name}" for name in self._groups.get(group[1:], [])]
            elif group in self._groups:
                names += self._groups[group]
            else:
                sentence = f"There is no host group {shown(group)} in this file."
                self._notes.add(service.line_of("hostgroup_name"), sentence)
        self._budget.spend(len(names))
        excluded = {name[1:] for name in names if name.startswith("!")}
        included = [*self._hosts, *names] if "*" in names else names
        return [
            name
            for name in dict.fromkeys(included)
            if name != "*" and not name.startswith("!") and name not in excluded
        ]

    def _test(self, service: Definition, host: Definition) -> dict[str, object] | None:
        """What the service's command tests, as fields of a target; None, with a note, if it does not test POP3."""
        line, written = service.line_of("check_command"), service.values.get("check_command", "")
        name, *arguments = re.split(r"(?<!\\)!", written)  # a backslash escapes Nagios's separator
        command = self._commands.get(name.strip())
        try:
            line_of_words = _with_values(command or name, _macros(service, host, arguments))
            self._budget.spend(len(line_of_words))
            words = shlex.split(line_of_words)
            plugin = words[0].rpartition("/")[2] if words else ""
            if plugin not in PLUGINS:
                self._notes.add(
                    line, f"{shown(written)} is not imported: it does not run check_pop, check_spop or check_tcp."
                )
                return None
            options, rest = getopt.gnu_getopt(words[1:], SHORT, [*LONG])
        except (ValueError, getopt.GetoptError) as error:
            self._notes.add(line, f"{shown(written)} is not imported: {shown(str(error))}.")
            return None
        return self._fields(plugin, [(_letter(option), value) for option, value in options], rest, line)

    def _fields(
        self, plugin: str, options: Sequence[tuple[str, str]], rest: Sequence[str], line: int
    ) -> dict[str, object] | None:
        given = dict(options)
        expected = [value for letter, value in options if letter == "e"]
        secure = plugin == "check_spop" or not {"S", "D", "sni"}.isdisjoint(given)
        port = given.get("p", "")
        if not port and plugin != "check_tcp":
            port = "995" if secure else "110"
        is_pop3 = plugin != "check_tcp" or any("+OK" in text for text in expected)
        if not is_pop3 and port not in map(str, POP3_PORTS):
            self._notes.add(line, f"check_tcp at port {shown(port)} is not imported: POP3 is at port 110 or 995.")
            return None
        if port == "995" and not secure:
            secure = True
            self._notes.add(line, "The test of port 995 will use TLS, as POP3 does at that port.")
        fields: dict[str, object] = {"host": given.get("H") or (rest[0] if rest else ""), "port": port}
        if secure:
            fields["tls"] = TlsMode.IMPLICIT.value
            self._notes.add(
                line, "The certificate will be verified, unlike by the plugin; `verify_tls: false` switches that off."
            )
        if "t" in given:
            fields["max_test_seconds"] = self._seconds(given["t"], line)
        if "D" in given:
            fields["certificate_warn_days"] = [days for days in given["D"].split(",") if days]
        if "sni" in given:
            fields["tls_name"] = given["sni"]
        if greetings := [text for text in expected if "+OK" not in text]:
            fields["greeting"] = greetings
        for letter in given.keys() & FAMILIES.keys():
            fields["family"] = FAMILIES[letter].value
        for letter in given.keys() & set("wcsqrMmd"):
            self._notes.add(line, f"The option -{letter} has no equivalent.")
        return fields

    def _seconds(self, text: str, line: int) -> object:
        try:
            return bounded(float(text), TEST_SECONDS, line, "-t", self._notes)
        except ValueError:
            return text

    def _entry(self, service: Definition, host: Definition, test: Mapping[str, object]) -> FileEntry:
        self._note_unsupported(host, KNOWN_IN_HOST)
        self._note_unsupported(service, KNOWN_IN_SERVICE)
        host_name, description = host.values["host_name"], service.values.get("service_description", "")
        display_name = service.values.get("display_name", description)
        fields: dict[str, object] = {
            "target_id": f"{slug(host_name)}-{slug(description)}".strip("-"),
            "name": f"{host.values.get('alias') or host_name} {display_name}".strip(),
            **test,
            **self._policy(service),
        }
        groups = service.names("contact_groups") or host.names("contact_groups")
        if groups:
            fields["group"] = groups[0]
        if len(groups) > 1:
            self._notes.add(
                service.line_of("contact_groups"),
                f"Of `contact_groups` only {shown(groups[0])} is imported, as `group`.",
            )
        if tags := host.names("hostgroups"):
            fields["tags"] = tags
        lines = {field: service.line_of("check_command") for field in ("port", "tls", *test)}
        lines["host"] = host.line_of("address")
        return FileEntry(service.line, fields, lines)

    def _note_unsupported(self, definition: Definition, known: set[str]) -> None:
        for name in definition.values.keys() - known:
            if not name.startswith("_") and definition.values[name] != ALWAYS:
                is_host_check = definition.kind == "host" and name in KNOWN_IN_SERVICE
                default = "it belongs to the host's own check." if is_host_check else "it has no equivalent."
                sentence = f"`{shown(name)}` is not imported: {EQUIVALENTS.get(name, default)}"
                self._notes.add(definition.line_of(name), sentence)

    def _policy(self, service: Definition) -> dict[str, object]:
        """The fields on when it is tested and when alerts are sent."""
        values, fields = service.values, dict[str, object]()
        usual = self._interval(service, ("check_interval", "normal_check_interval"))
        retry = self._interval(service, ("retry_interval", "retry_check_interval"))
        fields |= {} if usual is None else {"delay_up": usual, "delay_down": usual}
        fields |= {} if retry is None else {"delay_warn": retry}
        if "max_check_attempts" in values:
            fields["failures_per_alert"] = values["max_check_attempts"]
        if values.get("notification_interval") == "0":
            fields["max_alerts"] = 1
        elif "notification_interval" in values:
            self._notes.add(
                service.line_of("notification_interval"),
                "`notification_interval` is not imported: alerts repeat by failed tests, `max_alerts` times.",
            )
        options = set(service.names("notification_options"))
        if values.get("notifications_enabled") == "0" or (options and not options & NOTIFIES_OF_FAILURE):
            fields["max_alerts"] = 0
        if options and not options & NOTIFIES_OF_RECOVERY:
            fields["alert_recovery"] = False
        if values.get("active_checks_enabled") == "0":
            fields["enabled"] = False
        if values.get("flap_detection_enabled") == "0":
            fields["flap_per_hour"] = 0
        return fields

    def _interval(self, service: Definition, names: Sequence[str]) -> Any:
        """Seconds of an interval; its text (a mistake of that field) if it is not a number; None if there is none."""
        for name in names:
            if name in service.values:
                text, line = service.values[name], service.line_of(name)
                try:
                    return round(bounded(float(text) * UNIT_SECONDS, DELAYS, line, name, self._notes))
                except ValueError:
                    return text
        return None


def _macros(service: Definition, host: Definition, arguments: Sequence[str]) -> dict[str, str]:
    """The macros of a command whose values are in the file."""
    name = host.values["host_name"]
    return (
        {f"ARG{number}": argument for number, argument in enumerate(arguments, start=1)}
        | {"HOSTADDRESS": host.values.get("address", name), "HOSTNAME": name}
        | {f"_HOST{key[1:].upper()}": value for key, value in host.values.items() if key.startswith("_")}
        | {f"_SERVICE{key[1:].upper()}": value for key, value in service.values.items() if key.startswith("_")}
    )


def _with_values(command: str, values: Mapping[str, str]) -> str:
    """A command line with its macros replaced; unknown ones, such as `$USER1$` and missing arguments, by nothing.

    Raises ValueError for one that would be too long.
    """
    found = [values.get(name.upper(), "") for name in _MACRO.findall(command)]
    if sum(map(len, found)) > LONGEST_COMMAND:
        raise ValueError("its macros make it too long")
    return _MACRO.sub(lambda macro: values.get(macro[1].upper(), ""), command)


def _letter(option: str) -> str:
    """The letter of an option, which may be written in its long form."""
    long = option.removeprefix("--")
    return LONG.get(f"{long}=") or LONG.get(long) or option[1:]
