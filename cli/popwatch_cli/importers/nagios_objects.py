"""The object configuration of Nagios: definitions with their lines, templates resolved.

Reference: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/objectdefinitions.html and
objectinheritance.html. A definition is a block of directives, each a name and the rest of its line.

Inheritance, as Nagios does it: a definition names its templates in `use`, and a directive that it does not have itself
is inherited from the first template that has it. A value `null` stops the inheritance of a directive, and a value with
`+` in front is added to the inherited one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from popwatch_cli.files.entries import FileError
from popwatch_cli.importers.conversion import DIRECTIVE, Budget
from popwatch_cli.target_items import shown

_DEFINE = re.compile(r"define\s+(\w+)\s*\{?\s*")
_COMMENT = re.compile(r"(?<!\\);.*")
DEEPEST = 20
"""Levels of templates; templates that use each other in a cycle are refused at this depth."""

LONGEST_VALUE = 100_000
"""Characters of a value with what is added to it; with `+` in each of 20 levels it could grow without end."""

NOT_INHERITED = {"use", "name", "register"}


@dataclass(frozen=True, slots=True)
class Definition:
    """An object: its kind, its first line, its directives, and the line of each."""

    kind: str
    line: int
    values: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def names(self, directive: str) -> list[str]:
        """The names in a directive that is a list."""
        return [name.strip() for name in self.values.get(directive, "").split(",") if name.strip()]

    def line_of(self, directive: str) -> int:
        """The line of a directive, maybe in a template; the definition's first line if the directive is missing."""
        return self.lines.get(directive, self.line)

    @property
    def is_registered(self) -> bool:
        """Whether it is an object and not just a template."""
        return self.values.get("register", "1") != "0"


def read_objects(text: str, budget: Budget) -> list[Definition]:
    """All registered objects of a file, with the directives of their templates. Raises FileError."""
    definitions = _definitions(text)
    templates = Templates(definitions, budget)
    return [_finished(templates.resolve(definition)) for definition in definitions if definition.is_registered]


class Templates:
    """The templates of a file.

    Each is resolved once: else templates that use the next one twice, 20 levels deep, would take 2 to the 20th steps.
    """

    def __init__(self, definitions: Iterable[Definition], budget: Budget) -> None:
        self._budget = budget
        self._named = {(found.kind, found.values["name"]): found for found in definitions if "name" in found.values}
        self._resolved: dict[tuple[str, str], Definition] = {}

    def resolve(self, definition: Definition, depth: int = 0) -> Definition:
        """The definition with the directives of its templates; `null` and `+` remain, for those that use it in turn."""
        if depth > DEEPEST:
            raise FileError([f"Line {definition.line}: its templates use each other in a cycle."])
        values, lines = dict(definition.values), dict(definition.lines)
        for name in dict.fromkeys(definition.names("use")):
            parent = self._template(definition, name, depth)
            self._budget.spend(DIRECTIVE * len(parent.values))
            for directive in parent.values.keys() - NOT_INHERITED:
                value = _joined(values.get(directive), parent.values[directive])
                if directive in definition.values:
                    self._budget.spend(len(value) // 8)
                if len(value) > LONGEST_VALUE:
                    raise FileError([f"Line {definition.line}: with its templates, `{shown(directive)}` is too long."])
                values[directive] = value
                lines.setdefault(directive, parent.lines[directive])
        return Definition(definition.kind, definition.line, values, lines)

    def _template(self, definition: Definition, name: str, depth: int) -> Definition:
        key = (definition.kind, name)
        if key not in self._named:
            raise FileError([f"Line {definition.line_of('use')}: there is no template {shown(name)} in this file."])
        if key not in self._resolved:
            self._resolved[key] = self.resolve(self._named[key], depth + 1)
        return self._resolved[key]


def _finished(definition: Definition) -> Definition:
    """The definition without `null` and `+`, once nothing can inherit from it any more."""
    values = {name: value.removeprefix("+") for name, value in definition.values.items() if value != "null"}
    return Definition(definition.kind, definition.line, values, definition.lines)


def _definitions(text: str) -> list[Definition]:
    found: list[Definition] = []
    current: tuple[str, int] | None = None
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        content = "" if line.lstrip().startswith("#") else _COMMENT.sub("", line).strip()
        if not content:
            continue
        if current is None:
            current, values, lines = (_begin(content, number), number), {}, {}
        elif content == "}":
            found.append(Definition(*current, values, lines))
            current = None
        elif content != "{":
            name, _, value = content.replace("\t", " ").partition(" ")
            values[name], lines[name] = value.strip().replace("\\;", ";"), number
    if current is not None:
        raise FileError([f"Line {current[1]}: the definition has no end; close it with a line `}}`."])
    return found


def _begin(content: str, number: int) -> str:
    match = _DEFINE.fullmatch(content)
    if match is None:
        hint = "; give the files that define objects, not nagios.cfg" if "=" in content else ""
        raise FileError(
            [f"Line {number} does not begin a definition such as `define service {{`: {shown(content)}{hint}."]
        )
    return match[1].lower()


def _joined(own: str | None, inherited: str) -> str:
    """The value of a directive that a template has, too."""
    if own is None:
        return inherited
    return f"{inherited.rstrip(',')},{own[1:]}" if own.startswith("+") else own


def members(groups: Iterable[Definition], hosts: Iterable[Definition], budget: Budget) -> dict[str, list[str]]:
    """The hosts of each host group: groups list their members, and hosts list their groups."""
    found: dict[str, list[str]] = {}
    for group in groups:
        if "hostgroup_name" in group.values:
            found[group.values["hostgroup_name"]] = list(dict.fromkeys(group.names("members")))
            budget.spend(len(group.values.get("members", "")))
    for host in hosts:
        budget.spend(len(host.values.get("hostgroups", "")))
        for name in dict.fromkeys(host.names("hostgroups")) if "host_name" in host.values else ():
            found.setdefault(name, []).append(host.values["host_name"])
    return found
