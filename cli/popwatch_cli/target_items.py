"""Checking, comparing and showing items of the Targets table. Pure.

Everything that is shown of an item is cleaned: otherwise whoever may write to the table could send control characters
to a colleague's terminal.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar
from unicodedata import normalize
from zoneinfo import available_timezones

from popwatch.alerts.tokens import TEMPLATES, TOKENS_LISTED, template_fault
from popwatch.model.fields import DEFAULTS_ID, FIELDS_BY_NAME
from popwatch.model.targets import Item, Problem, Target, parse_target, target_at
from popwatch.model.text import clean, clean_whole, counted, did_you_mean, natural_order
from popwatch_cli.errors import VALUE_SHOWN, UserError
from popwatch_cli.files.entries import (
    LISTS,
    LISTS_OF_NUMBERS,
    FileEntry,
    FileError,
    by_line,
    first_repeated,
    load_json,
    split_list,
    to_number,
)
from popwatch_cli.suggestions import field_hint

TEXTS = ("string", "string or list", "enumeration")
"""Kinds of fields of which a number, such as a name 007 in YAML or 1.2 of TLS, is a text."""

_NAMING = re.compile(r"The field `maintenance` cannot be used: window \d+: ")

ID_SHOWN = 128
"""Characters of an id (model/fields.py): what is longer is not one, and is cut."""


ZONE_OF = {
    "CEST": "Europe/Berlin", "EEST": "Europe/Helsinki", "BST": "Europe/London", "EDT": "America/New_York",
    "CDT": "America/Chicago", "CST": "America/Chicago", "MDT": "America/Denver", "PDT": "America/Los_Angeles",
    "PST": "America/Los_Angeles", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "AEST": "Australia/Sydney",
}  # fmt: skip
"""Abbreviations that people write for a zone, of which the IANA database has no name; one zone of each."""

MAX_SAME_PROBLEMS = 5

TEMPORARY = "popwatch-verify-"
"""How the ids begin that `popwatch verify` gives to what it makes for a time."""

Value = TypeVar("Value")

INTERVENTION_FIELDS = ("silence", "suspended", "acknowledged")
"""The fields that say what people do about a target now: not configuration, so files neither have nor change them."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an import would change, and the lines that show it."""

    put: Sequence[Item]
    delete: Sequence[str]
    lines: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


def without_temporary(items: Mapping[str, Value]) -> dict[str, Value]:
    """What is kept by the ids of targets, without those that `popwatch verify` has made for a time."""
    return {name: value for name, value in items.items() if not name.startswith(TEMPORARY)}


def without_intervention_fields(item: Mapping[str, Any]) -> Item:
    """The item's configuration: all but `INTERVENTION_FIELDS`."""
    return {name: value for name, value in item.items() if name not in INTERVENTION_FIELDS}


def with_interventions_of(present: Mapping[str, Item], items: Iterable[Item]) -> list[Item]:
    """Items to write, each with the `INTERVENTION_FIELDS` that it has in the table now."""
    return [
        without_intervention_fields(item)
        | {name: value for name, value in present.get(item["target_id"], {}).items() if name in INTERVENTION_FIELDS}
        for item in items
    ]


def interventions_in(entries: Iterable[FileEntry]) -> list[str]:
    """A warning for each entry of a file that has one of `INTERVENTION_FIELDS`."""
    return [
        f"{_line(entry, Problem(name, ''))}{shown_id(entry.fields['target_id'])}: `{name}` is left alone: it is not "
        f"configuration, but what someone does about the target now. Use `popwatch {command}`."
        for entry in entries
        for name, command in zip(INTERVENTION_FIELDS, ("silence", "suspend --for", "ack"), strict=True)
        if name in entry.fields
    ]


def compare(present: Mapping[str, Item], wanted: Mapping[str, Item], *, replace: bool, cut: bool = False) -> Change:
    """The difference between the table and a file, without `INTERVENTION_FIELDS`; `cut`: with values of `VALUE_SHOWN`.

    A number written as a string is the same number.
    """
    before = {name: typed_item(without_intervention_fields(item)) for name, item in present.items()}
    changed = [item for name, item in wanted.items() if before.get(name) != item]
    delete = sorted((name for name in present if name not in wanted), key=natural_order) if replace else []
    lines = [_change_line(item, before.get(item["target_id"]), cut=cut) for item in changed]
    return Change(changed, delete, lines + [f"- {whole(name)}" for name in delete])


def changes_of(before: Mapping[str, Item], after: Iterable[Item], *, cut: bool = False) -> dict[str, str]:
    """A line for each item that differs from the one before, by id; `cut`: with values of `VALUE_SHOWN`."""
    return {
        item["target_id"]: _change_line(item, before.get(item["target_id"]), cut=cut)
        for item in after
        if before.get(item["target_id"]) != item
    }


def _change_line(after: Item, before: Item | None, *, cut: bool) -> str:
    name = whole(after["target_id"])
    written = shown if cut else whole
    if before is None:
        return f"+ {name}  {written(after.get('host', ''))}".rstrip()
    fields = [*after, *(field for field in before if field not in after)]
    changes = [
        f"{written(field)}: {_difference(field, before.get(field, 'nothing'), after.get(field, 'nothing'), cut=cut)}"
        for field in fields
        if before.get(field) != after.get(field)
    ]
    return f"~ {name}  {', '.join(changes)}"


def _difference(field: str, before: Any, after: Any, *, cut: bool) -> str:
    """Two values, which may be the same in what is shown of them, as 10 and "10" are."""
    if field == "ca_pem":
        before, after = _certificates(before), _certificates(after)
        return f"{before} -> {after}" if before != after else f"{before} -> others ({after})"
    written = shown if cut else whole
    if written(before) != written(after):
        return f"{written(before)} -> {written(after)}"
    if len(exact := f"{json.dumps(before)} -> {json.dumps(after)}") <= 2 * VALUE_SHOWN or not cut:
        return exact
    if whole(before) == whole(after):
        return f"{shown(before)} (in characters that are not shown)"
    return f"{shown(before)} -> {shown(after)} (they differ after that)"


def _certificates(value: Any) -> str:
    """How many certificates a `ca_pem` has, which may be a hundred kilobytes; any other text as it is."""
    count = str(value).count("-----BEGIN CERTIFICATE-----")
    return counted(count, "certificate") if count else whole(value)


def mistakes_of(item: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with an item's own fields; `_defaults` is checked as if it were a target.

    A mistake in `defaults` is not repeated for each item.
    """
    if item["target_id"] == DEFAULTS_ID:
        found = parse_target({"host": "any.example", **item, "target_id": "any"}).problems
    else:
        found = parse_target(item, without_id(defaults)).problems
    own = [problem for problem in found if problem.field in item or problem.field not in defaults]
    own += _mistakes_of_schedules(item) if not own else []
    own = [_with_hint(problem, item) if problem.field == "timezone" else problem for problem in own]
    texts = ((name, value) for name in TEMPLATES if isinstance(value := item.get(name), str))
    faults = ((name, template_fault(text)) for name, text in texts)
    return own + [
        Problem(name, f"The field `{name}` cannot be used: {fault}; {TOKENS_LISTED}.")
        for name, fault in faults
        if fault
    ]


def _mistakes_of_schedules(item: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the first wrong schedule of an item, also if no `maintenance` names it yet."""
    if not item.get("schedules"):
        return []
    naming_all = {"host": "any.example", **item, "target_id": "any", "maintenance": [*item["schedules"]]}
    found = (problem.explanation for problem in parse_target(naming_all).problems)
    return [Problem("schedules", _NAMING.sub("The field `schedules` cannot be used: ", it)) for it in found]


def _with_hint(problem: Problem, item: Mapping[str, Any]) -> Problem:
    """The problem of a time zone, with the one that may have been meant."""
    return replace(problem, explanation=problem.explanation + _zone_hint(str(item.get("timezone"))[:VALUE_SHOWN]))


@lru_cache(64)  # reading the names of all zones takes some time, and a mistake may be in many targets
def _zone_hint(text: str) -> str:
    meant = ZONE_OF.get(text.strip().upper())
    return f" Did you mean `{meant}`?" if meant else did_you_mean(text, available_timezones())


def targets_of(items: Mapping[str, Item], now: datetime | None = None) -> dict[str, Target]:
    """The targets of a table's items in natural order, with its `_defaults` for fields that they leave out.

    With `now` as they are at that time (see `target_at`), else as they are configured.
    """
    defaults = without_id(items.get(DEFAULTS_ID, {}))
    names = sorted((name for name in items if name != DEFAULTS_ID), key=natural_order)
    targets = {name: parse_target(items[name], defaults) for name in names}
    return {name: target_at(target, now) for name, target in targets.items()} if now else targets


def known_id(written: str, known: Collection[str]) -> str:
    """The one of the known ids, groups or tags that is meant; if there is none, what was written, in Unicode's NFC.

    `ö` may be one character or two (NFD, as in names of files on macOS), which no one can see.
    """
    if written in known or written.isascii():
        return written
    composed = normalize("NFC", written)
    return next((name for name in known if normalize("NFC", name) == composed), composed)


def missing_target(target_id: str, items: Collection[str], names: Mapping[str, str] | None = None) -> str:
    """The message if there is no target with this id, with the id that may have been meant.

    `names`: the name that is shown of a target -> its id.
    """
    owner = (names or {}).get(target_id.strip().lower())
    if owner and owner.lower() != target_id.strip().lower():  # else it has no name beside its id
        return f"There is no target {shown_id(target_id)}: that is the name of {whole(owner)}."
    parts = [part.strip() for part in target_id.split(",")]
    if len(parts) > 1 and all(part in items for part in parts):
        return f"There is no target {shown_id(target_id)}. Separate ids by blanks: {whole(' '.join(parts))}"
    hint = clean_whole(did_you_mean(target_id, items, mark="")) or "`popwatch targets list` shows all targets."
    if target_id.lower() == "all" or "*" in target_id:
        hint = "For several targets use --group, --tag or --all."
    return f"There is no target {shown_id(target_id)}. {hint}"


def all_mistakes(entries: Iterable[FileEntry], defaults: Mapping[str, Any]) -> list[str]:
    """The mistakes of many targets, by line; an entry `_defaults` replaces `defaults`.

    What is the same in more than `MAX_SAME_PROBLEMS` of them, such as a column that a file does not have, is said
    once.
    """
    entries = list(entries)
    own = next((entry.fields for entry in entries if entry.fields["target_id"] == DEFAULTS_ID), defaults)
    owners_by_problem: dict[str, list[str]] = {}
    for entry in entries:
        for problem in mistakes_of(entry.fields, own):
            whose = f"{_line(entry, problem)}{shown_id(entry.fields['target_id'])}"
            owners_by_problem.setdefault(problem.explanation, []).append(whose)
    return by_line(problem_lines(owners_by_problem))


def broken_by_defaults(items: Mapping[str, Item], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What becomes wrong of targets that stay as they are if `_defaults` changes, such as schedules that they name."""
    owners_by_problem: dict[str, list[str]] = {}
    for name, item in items.items():
        if name != DEFAULTS_ID:
            present = set(parse_target(item, without_id(before)).problems)
            for problem in parse_target(item, without_id(after)).problems:
                if problem not in present:
                    owners_by_problem.setdefault(problem.explanation, []).append(shown_id(name))
    return problem_lines(owners_by_problem)


def problem_lines(owners_by_problem: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each owner of a problem; for many of the same the first, and how many others there are."""
    mistakes: list[str] = []
    for explanation, owners in owners_by_problem.items():
        if len(owners) > MAX_SAME_PROBLEMS:
            mistakes.append(f"{owners[0]} and {counted(len(owners) - 1, 'other')}: {explanation}")
        else:
            mistakes += [f"{whose}: {explanation}" for whose in owners]
    return mistakes


def _line(entry: FileEntry, problem: Problem) -> str:
    return f"{entry.place_of(problem.field)}, " if entry.line_of(problem.field) else ""


def unknown_fields(items: Iterable[Mapping[str, Any]], consequence: str = "it is kept but has no effect") -> list[str]:
    """A warning for each unknown field, with the targets that have it and the field that may have been meant."""
    owners: dict[str, list[str]] = {}
    for item in items:
        for name in item.keys() - FIELDS_BY_NAME.keys():
            owners.setdefault(name, []).append(item["target_id"])
    return [_unknown_field(name, owners[name], consequence) for name in sorted(owners)]


def _unknown_field(name: str, owners: Sequence[str], consequence: str) -> str:
    others = f" and {len(owners) - 1} more" if len(owners) > 1 else ""
    blanks = "" if name == name.strip() else " (with blanks at its ends)"
    return f"{shown_id(owners[0])}{others}: unknown field `{shown(name)}`{blanks}: {consequence}.{field_hint(name)}"


def assigned(item: Item, name: str, text: str) -> Item:
    """The item with a field set from the command line, or without it if the text is empty."""
    others = {field: value for field, value in item.items() if field != name}
    return {**others, name: _typed(name, _from_text(name, text))} if text else others


def refuse_repeated_fields(names: Iterable[str], consequence: str = "") -> None:
    """Raise UserError for a field that is set twice on a command line, where only one value could count.

    `consequence` is a sentence at the end.
    """
    repeated = first_repeated(names)
    if repeated is not None:
        several = f", or all of them in one list: {repeated}=first,second" if repeated in LISTS else ""
        raise UserError(f"The field `{shown(repeated)}` is given twice: leave out one{several}. {consequence}".rstrip())


def typed_item(fields: Mapping[str, Any]) -> Item:
    """An item to write: numbers and booleans as such, without empty fields."""
    return {name: _typed(name, value) for name, value in fields.items() if value not in (None, "")}


def without_id(item: Mapping[str, Any]) -> Item:
    """The item without its key: of `_defaults`, the defaults of all targets."""
    return {name: value for name, value in item.items() if name != "target_id"}


def effective(name: str, item: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, str]:
    """A field's effective value, and where it comes from (empty: the target itself)."""
    if item.get(name) not in (None, ""):
        return whole(item[name]), ""
    if name != "target_id" and defaults.get(name) not in (None, ""):
        return whole(defaults[name]), f"from {DEFAULTS_ID}"
    return FIELDS_BY_NAME[name].default, "default"


def whole(value: Any) -> str:
    """A value on one line, cleaned."""
    return clean_whole(_written(value))


def shown_id(value: Any) -> str:
    """What stands for an id on one line: cleaned, and cut only if it is too long for one, so that it can be copied."""
    return clean(_written(value), ID_SHOWN)


def shown(value: Any) -> str:
    """A value on one line, cleaned and cut."""
    return clean(_written(value), VALUE_SHOWN)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _typed(name: str, value: Any) -> Any:
    """A number, days, or a boolean that were written as text, and a text that was written as a number, converted.

    Whole numbers are without a fraction. Anything else is unchanged.
    """
    field = FIELDS_BY_NAME.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and field and field.kind in TEXTS:
        return str(value)
    if name in LISTS_OF_NUMBERS and isinstance(value, list):
        return [to_number(entry) if isinstance(entry, str) and entry.isdecimal() else entry for entry in value]
    if field is None or field.kind not in ("number", "boolean"):
        return value
    try:
        parsed = field.parse(value)
    except ValueError:
        return value
    return int(parsed) if isinstance(parsed, float) and parsed.is_integer() else parsed


def _from_text(name: str, text: str) -> Any:
    """The value of a command-line argument: JSON or YAML for lists, maps and unknown fields, otherwise the text."""
    field = FIELDS_BY_NAME.get(name)
    if field and not {"list", "map"} & set(field.kind.split()):
        return text
    with suppress(ValueError, RecursionError):
        return load_json(text)
    if name in LISTS and "," in text and not text.lstrip().startswith(("[", "{")):
        return split_list(name, text, ",")
    if not text.lstrip().startswith(("[", "{")):
        return text
    from popwatch_cli.files.yaml import read_value  # noqa: PLC0415 - loading PyYAML is slow

    with suppress(FileError, RecursionError):
        return read_value(text)
    if field:
        raise UserError(
            f"`{name}` begins as a list or a map and is not one: {shown(text)}. Close its brackets and quotes."
        )
    return text
