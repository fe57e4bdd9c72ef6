"""Targets from Nagios: the services that check_pop, check_spop or check_tcp tests as POP3.

A service that cannot be read becomes a warning, and the others are imported: every service becomes a target for each of
its hosts, or a warning.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.importers.conversion import (
    DELAYS,
    LONGEST_IMPORTED_NAME,
    MAX_TARGETS,
    NAMES,
    Budget,
    Ids,
    Imported,
    ImportWarnings,
    Place,
    bounded,
    slug,
    without_mistakes,
)
from popwatch_cli.importers.nagios_commands import (
    PLUGINS,
    USUAL_COMMANDS,
    NotImported,
    has_unused_arguments,
    macros_of,
    parse_command,
    parse_options,
    replaced,
)
from popwatch_cli.importers.nagios_files import Files
from popwatch_cli.importers.nagios_objects import Definition, HostGroups, chosen, registered
from popwatch_cli.importers.nagios_patterns import NamePatterns, looks_like_pattern, named
from popwatch_cli.target_items import shown

LONGEST_NOTES, LONGEST_RUNBOOK = 2000, 500
"""Characters of the fields `notes` and `runbook`."""

NOTES = ("notes", "notes_url", "action_url")
IDENTITY = {"host_name", "use", "name", "register", "display_name", "contact_groups"}
KNOWN_IN_HOST = IDENTITY | {*NOTES} | {"address", "alias", "hostgroups"}
KNOWN_IN_SERVICE = IDENTITY | {*NOTES} | {
    "hostgroup_name", "servicegroups", "service_description", "check_command", "check_interval",
    "normal_check_interval", "retry_interval", "retry_check_interval", "max_check_attempts", "notification_interval",
    "notification_options",
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
KINDS = {
    "servicedependency": "set `depends_on` to the target that it depends on.",
    "hostdependency": "set `depends_on` to the target that it depends on.",
    "serviceescalation": "see docs/escalation.md.",
    "hostescalation": "see docs/escalation.md.",
    "timeperiod": "see `maintenance`.",
    "hostextinfo": "write its notes into the host itself.",
    "serviceextinfo": "write its notes into the service itself.",
}
"""Kinds of definitions that are not imported, with what to do instead."""

IMPLIED = ("contact_groups", "notification_interval")
"""Directives that a service without them has from its host (objectinheritance.html, "Implied Inheritance")."""

INTERNAL = {
    "parallelize_check", "obsess", "obsess_over_service", "obsess_over_host", "process_perf_data", "is_volatile",
    "retain_status_information", "retain_nonstatus_information", "failure_prediction_enabled", "event_handler_enabled",
    "passive_checks_enabled", "check_freshness", "freshness_threshold", "initial_state", "stalking_options",
    "icon_image", "icon_image_alt", "vrml_image", "statusmap_image", "2d_coords", "3d_coords",
}  # fmt: skip
"""Directives about how Nagios works inside and draws its maps, most of which its usual templates set."""

NOTIFIES_OF_FAILURE = {"w", "u", "c", "all", "warning", "unknown", "critical"}
NOTIFIES_OF_RECOVERY = {"r", "all", "recovery"}
"""Notification options of a service."""

_WEB = re.compile(r"https?://[^\s$'\"<>]+", re.IGNORECASE)

ALWAYS = "24x7"
"""The time period, defined in Nagios's sample configuration, that needs no equivalent."""


def read_nagios(paths: Sequence[Path]) -> Imported:
    """The POP3 services of Nagios's configuration: files, folders, or a main configuration. Raises FileError."""
    warnings, budget = ImportWarnings(), Budget()
    files = Files(warnings)
    files.read(paths)
    try:
        objects = registered(files.definitions, warnings, budget)
        patterns = NamePatterns(files.has_patterns, files.has_only_patterns, warnings, budget)
        entries = Services(objects, files.unit_seconds, patterns).entries()
    except RecursionError:
        raise FileError(["Its host groups contain each other too deeply."]) from None
    return Imported(without_mistakes(entries, warnings), warnings)


class Services:
    """The services of some files, each of which becomes a target for each of its hosts."""

    def __init__(self, objects: Sequence[Definition], unit_seconds: float, patterns: NamePatterns) -> None:
        self._objects, self._unit_seconds, self._patterns = objects, unit_seconds, patterns
        self._warnings, self._budget = patterns.warnings, patterns.budget
        self._hosts = {host.values["host_name"]: host for host in self._of("host") if "host_name" in host.values}
        self._groups = HostGroups(self._of("hostgroup"), self._hosts, patterns)
        self._commands = USUAL_COMMANDS | {
            command.values["command_name"]: command.values.get("command_line", "")
            for command in self._of("command")
            if "command_name" in command.values
        }
        self._ids = Ids()
        self._pairs = 0
        self._internal: set[str] = set()
        self._internal_places: dict[Place, None] = {}

    def entries(self) -> list[FileEntry]:
        """The targets; what is not imported becomes a warning."""
        services = [(service, self._hosts_of(service)) for service in self._of("service")]
        own = self._own_services(services)
        entries = [entry for service, names in services for entry in self._entries(service, names, own)]
        for other in self._objects:
            if other.kind not in ("host", "hostgroup", "service", "command"):
                instead = KINDS.get(other.kind, "only services are.")
                self._warnings.add(other.place, f"`define {shown(other.kind)}` is not imported: {instead}")
        names = ", ".join(f"`{name}`" for name in sorted(self._internal))
        for place in self._internal_places:
            self._warnings.add(place, f"Not imported, since it is about Nagios itself: {names}.")
        return entries

    def _of(self, kind: str) -> list[Definition]:
        return [definition for definition in self._objects if definition.kind == kind]

    def _own_services(
        self, services: Iterable[tuple[Definition, Sequence[str]]]
    ) -> Mapping[tuple[str, str], Definition]:
        """The service that counts for each host and description: the last one that names the host itself.

        If only groups define it, the last one of those. Nagios warns of the others (xodtemplate_duplicate_services).
        """
        found: dict[tuple[str, str], Definition] = {}
        of_host: set[tuple[str, str]] = set()
        for service, names in services:
            named_itself = {*self._named_hosts(service)}
            self._budget.spend(len(named_itself))
            for name in names:
                key = (name, _description(service))
                is_named = name in named_itself or "*" in named_itself
                if is_named or key not in of_host:
                    found[key] = service
                if is_named:
                    of_host.add(key)
        return found

    def _entries(
        self, service: Definition, names: Sequence[str], own: Mapping[tuple[str, str], Definition]
    ) -> Iterator[FileEntry]:
        if not names:
            self._warnings.add(
                service.place, "The service is not imported: it has no host.", shown(_description(service))
            )
        for name in names:
            host, other = self._hosts.get(name), own[name, _description(service)]
            if host is None:
                self._warn_of_missing("host", name, service.place_of("host_name"), service)
            elif other is not service:
                line = f"{other.place.file} line {other.place.line}".strip()
                sentence = f"For {shown(name)} it is not imported: {line} defines this service of the same host."
                self._warnings.add(service.place, sentence)
            else:
                self._budget.spend(len(service.values) + len(host.values))
                yield from self._entry_if_pop3(service, host)

    def _hosts_of(self, service: Definition) -> list[str]:
        """The names of a service's hosts."""
        names = list(dict.fromkeys(self._named_hosts(service)))
        for group in dict.fromkeys(self._groups.named_by(service, "hostgroup_name", _description(service))):
            hosts = self._groups.hosts_of(group.removeprefix("!"))
            self._budget.spend(len(hosts or ()) + 1)
            if hosts is None:
                self._warn_of_missing("host group", group, service.place_of("hostgroup_name"), service)
            else:
                names += [f"!{name}" for name in hosts] if group.startswith("!") else hosts
        self._budget.spend(len(names))
        found = chosen(names, self._hosts)
        self._pairs += len(found)
        if self._pairs > MAX_TARGETS:
            raise FileError([f"There are more than {MAX_TARGETS:,} services, one for each host: import fewer."])
        return found

    def _named_hosts(self, service: Definition) -> list[str]:
        """The hosts that a service names itself, its patterns replaced by those that they match."""
        place = service.place_of("host_name")
        return self._patterns.expanded(service.names("host_name"), self._hosts, "host", place, _description(service))

    def _warn_of_missing(self, kind: str, name: str, place: Place, service: Definition) -> None:
        """Name a host, or a group, that no file defines, and the service that is missing for it."""
        step = "give the file that defines it too"
        if looks_like_pattern(name) and not self._patterns.enabled:
            step = "it is a pattern only with `use_regexp_matching=1`, so give the nagios.cfg that says so too"
        self._warnings.add(place, f"There is no {kind} {NAMES} here: {step}.", named(name, _description(service)))

    def _entry_if_pop3(self, service: Definition, host: Definition) -> Iterator[FileEntry]:
        """The service's target; or a warning, if its command does not test POP3 or cannot be read."""
        place, written = service.place_of("check_command"), service.values.get("check_command", "")
        try:
            command = parse_command(written, self._commands, service, host, self._budget)
            if command.program not in PLUGINS:
                raise NotImported("it does not run check_pop, check_spop or check_tcp")
            if has_unused_arguments(written, self._commands):
                sentence = "The command has no place (`$ARGn$`) for some of its arguments: Nagios leaves them out, too."
                self._warnings.add(place, sentence, _described(service, host))
            test = parse_options(command, place, self._warnings)
        except NotImported as error:
            # without the arguments, of which one may be a password
            name = written.partition("!")[0].split()
            sentence = f"{shown(name[0] if name else 'The service')} is not imported: {error}."
            self._warnings.add(place, sentence, _described(service, host))
            return
        yield self._entry(service, host, test)

    def _entry(self, service: Definition, host: Definition, test: Mapping[str, object]) -> FileEntry:
        self._warn_of_unsupported(host, KNOWN_IN_HOST)
        self._warn_of_unsupported(service, KNOWN_IN_SERVICE)
        service = _with_implied(service, host)
        host_name, description = host.values["host_name"], _description(service)
        display_name = service.values.get("display_name", description)
        name = f"{host.values.get('alias') or host_name} {display_name}".strip()
        if len(name) > LONGEST_IMPORTED_NAME:
            self._warnings.add(service.place, f"The name is cut to {LONGEST_IMPORTED_NAME} characters: {shown(name)}")
        fields: dict[str, object] = {
            "target_id": self._ids.new(f"{slug(host_name)}-{slug(description)}".strip("-")),
            "name": name[:LONGEST_IMPORTED_NAME],
            **test,
            **self._policy(service),
            **self._notes(service, host),
        }
        groups = service.names("contact_groups")
        if groups:
            fields["group"] = groups[0]
        if len(groups) > 1:
            self._warnings.add(
                service.place_of("contact_groups"),
                f"Of `contact_groups` only {shown(groups[0])} is imported, as `group`.",
            )
        if tags := [*dict.fromkeys([*self._groups.groups_of(host_name), *service.names("servicegroups")])]:
            fields["tags"] = tags
        places = {field: service.place_of("check_command") for field in ("port", "tls", *test)}
        places["host"] = host.place_of("address")
        file = service.place.file
        lines = {field: place.line for field, place in places.items() if place.file == file}
        return FileEntry(service.place.line, fields, lines, file)

    def _notes(self, service: Definition, host: Definition) -> dict[str, object]:
        """The runbook, which is the first address of the web, and notes, in which the others are lines of their own."""
        texts: dict[str, None] = {}
        runbook = ""
        for definition in (service, host):
            for name in NOTES:
                text = self._note(definition, name, service, host)
                if name == "notes" or runbook or len(text) > LONGEST_RUNBOOK:
                    texts[text] = None
                else:
                    runbook = text
        notes = "\n".join(text for text in texts if text not in ("", runbook))
        if len(notes) > LONGEST_NOTES:
            owner = service if "notes" in service.values else host
            self._warnings.add(owner.place_of("notes"), f"`notes` are cut to {LONGEST_NOTES} characters.")
        fields = {"runbook": runbook, "notes": notes[:LONGEST_NOTES]}
        return {name: text for name, text in fields.items() if text}

    def _note(self, definition: Definition, name: str, service: Definition, host: Definition) -> str:
        """The text of a directive of `NOTES`, its macros replaced; empty if it cannot be kept, with a warning."""
        written = definition.values.get(name, "")
        macros = macros_of(service, host)
        if name != "notes":  # Nagios, too, encodes macros there (URL_ENCODE_MACRO_CHARS in common/macros.c)
            macros = {macro: quote(value, safe="") for macro, value in macros.items()}
        try:
            text = replaced(written, macros)
        except ValueError as error:
            self._warnings.add(definition.place_of(name), f"`{name}` is not imported: {error}.")
            return ""
        self._budget.spend(len(text))
        if text and name != "notes" and not _WEB.fullmatch(text):
            sentence = f"`{name}` is not imported: it is not an address that begins with http:// or https://."
            self._warnings.add(definition.place_of(name), sentence)
            return ""
        return text

    def _warn_of_unsupported(self, definition: Definition, known: set[str]) -> None:
        for name in definition.values.keys() - known:
            if name in INTERNAL:
                self._internal.add(name)
                self._internal_places[definition.place_of(name)] = None
            elif not name.startswith("_") and definition.values[name] != ALWAYS:
                is_host_check = definition.kind == "host" and name in KNOWN_IN_SERVICE
                default = "it belongs to the host's own check." if is_host_check else "it has no equivalent."
                sentence = f"`{shown(name)}` is not imported: {EQUIVALENTS.get(name, default)}"
                self._warnings.add(definition.place_of(name), sentence)

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
            self._warnings.add(
                service.place_of("notification_interval"),
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
                text, place = service.values[name], service.place_of(name)
                try:
                    return round(bounded(float(text) * self._unit_seconds, DELAYS, place, name, self._warnings))
                except ValueError:
                    return text
        return None


def _described(service: Definition, host: Definition) -> str:
    return shown(f"{host.values['host_name']} {_description(service)}".strip())


def _description(service: Definition) -> str:
    return service.values.get("service_description", "")


def _with_implied(service: Definition, host: Definition) -> Definition:
    """The service with what it has from its host; a directive that it sets to `null` it does not have from there."""
    names = [name for name in IMPLIED if name not in service.places and name in host.values]
    return Definition(
        service.kind,
        service.place,
        {**service.values, **{name: host.values[name] for name in names}},
        {**service.places, **{name: host.place_of(name) for name in names}},
    )
