"""The object configuration of Nagios: definitions with their lines, templates resolved.

Reference: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/objectdefinitions.html and
objectinheritance.html. A definition is a block of directives, each a name and the rest of its line.

Inheritance, as Nagios does it: a definition names its templates in `use`, and a directive that it does not have itself
is inherited from the first template that has it. A value `null` stops the inheritance of a directive, and a value with
`+` in front is added to the inherited one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from popwatch_cli.files.entries import FileError
from popwatch_cli.importers.conversion import DIRECTIVE, Budget, ImportWarnings, Place
from popwatch_cli.importers.nagios_patterns import NamePatterns
from popwatch_cli.target_items import shown

DEEPEST = 20
"""Levels of templates; templates that use each other in a cycle are refused at this depth."""

LONGEST_VALUE = 100_000
"""Characters of a value with what is added to it; with `+` in each of 20 levels it could grow without end."""

NOT_INHERITED = {"use", "name", "register"}


IMPORTED_KINDS = {"host", "hostgroup", "service", "command"}
NAMED_BY = {"host": "host_name", "hostgroup": "hostgroup_name", "command": "command_name"}
"""The directive that holds the name of an object, which no other one of its kind may have."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An object: its kind, its first line, its directives, and the line of each."""

    kind: str
    place: Place
    values: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def names(self, directive: str) -> list[str]:
        """The names in a directive that is a list."""
        return [name.strip() for name in self.values.get(directive, "").split(",") if name.strip()]

    def place_of(self, directive: str) -> Place:
        """The line of a directive, maybe in a template; the definition's first line if the directive is missing."""
        return self.places.get(directive, self.place)

    @property
    def is_registered(self) -> bool:
        """Whether it is an object and not just a template."""
        return self.values.get("register", "1") != "0"


class Cycle(Exception):
    """A definition's templates use each other in a cycle, which no value can come out of."""


def registered(definitions: Sequence[Definition], warnings: ImportWarnings, budget: Budget) -> list[Definition]:
    """The objects that are not just templates; those of `IMPORTED_KINDS` have the directives of their templates.

    What is missing or wrong becomes a warning. Raises FileError if the templates expand to too much.
    """
    templates = Templates(definitions, warnings, budget)
    found: list[Definition] = []
    for definition in definitions:
        if not definition.is_registered:
            continue
        if definition.kind not in IMPORTED_KINDS:
            found.append(definition)
            continue
        try:
            found.append(_finished(templates.resolve(definition)))
        except Cycle:
            warnings.add(definition.place, "It is not imported: its templates use each other in a cycle.")
    return [*_without_repeated(found, warnings)]


def _without_repeated(definitions: Iterable[Definition], warnings: ImportWarnings) -> Iterator[Definition]:
    """The objects without those whose name an earlier one of their kind has: Nagios does not start with them.

    They come together if files of several installations, or a copy, are read. `Services` knows which of several
    services counts, which Nagios does not treat as a mistake.
    """
    first: dict[tuple[str, str], Definition] = {}
    for definition in definitions:
        name = definition.values.get(NAMED_BY.get(definition.kind, ""))
        if name is not None and (known := first.setdefault((definition.kind, name), definition)) is not definition:
            _leave_repeated(definition, known, f"{definition.kind} {shown(name)}", warnings)
        else:
            yield definition


def _leave_repeated(repeated: Definition, first: Definition, what: str, warnings: ImportWarnings) -> None:
    line = f"{first.place.file} line {first.place.line}".strip()
    sentence = f"This {what} is not imported: {line} defines one of the same name, and Nagios accepts only one."
    warnings.add(repeated.place, sentence)


class Templates:
    """The templates of all files.

    Each is resolved once: else templates that use the next one twice, 20 levels deep, would take 2 to the 20th steps.
    """

    def __init__(self, definitions: Iterable[Definition], warnings: ImportWarnings, budget: Budget) -> None:
        self._warnings, self._budget = warnings, budget
        self._named: dict[tuple[str, str], Definition] = {}
        for definition in definitions:
            name = definition.values.get("name")
            if name is not None and definition.kind in IMPORTED_KINDS:
                known = self._named.setdefault((definition.kind, name), definition)
                if known is not definition:
                    _leave_repeated(definition, known, f"template {shown(name)}", warnings)
        self._resolved: dict[tuple[str, str], Definition] = {}

    def resolve(self, definition: Definition, depth: int = 0) -> Definition:
        """The definition with the directives of its templates; `null` and `+` remain, for those that use it in turn."""
        if depth > DEEPEST:
            raise Cycle
        values, places = dict(definition.values), dict(definition.places)
        for name in dict.fromkeys(definition.names("use")):
            parent = self._template(definition, name, depth)
            if parent is None:
                continue
            self._budget.spend(DIRECTIVE * len(parent.values))
            for directive in parent.values.keys() - NOT_INHERITED:
                value = _joined(values.get(directive), parent.values[directive])
                if directive in definition.values:
                    self._budget.spend(len(value) // 8)
                if len(value) > LONGEST_VALUE:
                    line = definition.place.line
                    raise FileError([f"Line {line}: with its templates, `{shown(directive)}` is too long."])
                values[directive] = value
                places.setdefault(directive, parent.places[directive])
        return Definition(definition.kind, definition.place, values, places)

    def _template(self, definition: Definition, name: str, depth: int) -> Definition | None:
        key = (definition.kind, name)
        if key not in self._named:
            sentence = f"There is no template {shown(name)} here, so what it sets is missing: give its file too."
            self._warnings.add(definition.place_of("use"), sentence)
            return None
        if key not in self._resolved:
            self._resolved[key] = self.resolve(self._named[key], depth + 1)
        return self._resolved[key]


def _finished(definition: Definition) -> Definition:
    """The definition without `null` and `+`, once nothing can inherit from it any more."""
    values = {name: value.removeprefix("+") for name, value in definition.values.items() if value != "null"}
    return Definition(definition.kind, definition.place, values, definition.places)


def _joined(own: str | None, inherited: str) -> str:
    """The value of a directive that a template has, too."""
    if own is None:
        return inherited
    return f"{inherited.rstrip(',')},{own[1:]}" if own.startswith("+") else own


class HostGroups:
    """Which hosts are in which group: groups list members and other groups, and hosts list their groups."""

    def __init__(self, groups: Iterable[Definition], hosts: Mapping[str, Definition], patterns: NamePatterns) -> None:
        self._hosts, self._patterns = hosts, patterns
        self._warnings, self._budget = patterns.warnings, patterns.budget
        self._groups = {group.values["hostgroup_name"]: group for group in groups if "hostgroup_name" in group.values}
        self._listed: dict[str, list[str]] = {}
        for name, host in hosts.items():
            self._budget.spend(len(host.values.get("hostgroups", "")))
            for group_name in dict.fromkeys(self.named_by(host, "hostgroups")):
                self._listed.setdefault(group_name, []).append(name)
        self._members: dict[str, list[str]] = {}
        self._groups_of: dict[str, list[str]] | None = None

    def named_by(self, definition: Definition, directive: str, owner: str = "") -> list[str]:
        """The names of groups in a directive, its patterns replaced by the groups that they match."""
        known = self._groups | dict.fromkeys(self._listed)
        place = definition.place_of(directive)
        names = self._patterns.expanded(definition.names(directive), known, "host group", place, owner)
        return [group for name in names for group in (known if name == "*" else [name])]

    def hosts_of(self, name: str) -> list[str] | None:
        """The names of a group's hosts; None if no group has this name."""
        if name not in self._groups and name not in self._listed:
            return None
        if name not in self._members:
            self._members[name] = []  # while its groups are expanded, in case that one of them has this one in turn
            self._members[name] = self._expanded(name)
        return self._members[name]

    def groups_of(self, host: str) -> list[str]:
        """The groups that a host is in, whoever says so."""
        if self._groups_of is None:
            self._groups_of = {}
            for group in dict.fromkeys([*self._listed, *self._groups]):
                names = self.hosts_of(group) or []
                self._budget.spend(len(names))
                for name in names:
                    self._groups_of.setdefault(name, []).append(group)
        return self._groups_of.get(host, [])

    def _expanded(self, name: str) -> list[str]:
        group = self._groups.get(name)
        found = list(self._listed.get(name, []))
        if group is not None:
            self._budget.spend(len(group.values.get("members", "")) + len(group.values.get("hostgroup_members", "")))
            found += self._patterns.expanded(group.names("members"), self._hosts, "host", group.place_of("members"))
            for inner in dict.fromkeys(self.named_by(group, "hostgroup_members")):
                hosts = self.hosts_of(inner)
                if hosts is None:
                    sentence = f"There is no host group {shown(inner)} here: give its file too."
                    self._warnings.add(group.place_of("hostgroup_members"), sentence)
                self._budget.spend(len(hosts or ()) + 1)
                found += hosts or []
        return chosen(found, self._hosts)


def chosen(names: Sequence[str], hosts: Iterable[str]) -> list[str]:
    """The names of a list of hosts, in which `*` means all hosts, and `!` excludes one."""
    excluded = {name[1:] for name in names if name.startswith("!")}
    included = [*hosts, *names] if "*" in names else names
    return [
        name for name in dict.fromkeys(included) if name != "*" and not name.startswith("!") and name not in excluded
    ]
