"""What PyYAML says of a text that it cannot read, in the words of those who write such files."""

import re

import yaml
from yaml.reader import ReaderError

_UNRELATED = "the fields of a target are not indented alike, or a quote or a bracket ends too early"

# The sentences of PyYAML 6 (scanner.py, parser.py, composer.py, constructor.py), and what to say instead of each.
_AT_ITS_BEGINNING = (
    (r"found unexpected (?:end of stream|document separator)", "a quote begins here and has no end"),
    (
        r"expected ',' or '(?P<end>.)'",
        "a bracket begins here, and after one of its entries `{end}` or a comma is missing",
    ),
)
_WHERE_IT_IS = (
    (r"found character '\\t'", "a tab is here: YAML is indented by blanks"),
    (r"found character '(?P<character>.)'", "a text cannot begin with `{character}`: put it in quotes"),
    (r"could not find expected ':'", "the line before has no `: ` after a name: write `name: value`"),
    (r"mapping values are not allowed", "no value can begin here: put a text with `: ` in quotes, or indent alike"),
    (r"sequence entries are not allowed", "a list cannot begin here: write each `- ` on a line of its own"),
    (r"mapping keys are not allowed", f"a name cannot begin here: {_UNRELATED}"),
    (r"found unknown escape character", r"in double quotes a backslash begins an escape: use single quotes"),
    (r"expected <block end>|expected '<document start>'", f"this does not belong to what is before it: {_UNRELATED}"),
    (r"expected the node content", "a value is missing before this"),
    (r"expected chomping|expected a comment or a line break", "after `|` or `>` the text begins on the next line"),
    (r"found unhashable key", "a name must be a string, not a list or a map"),
    (r"found undefined alias|expected alphabetic", "a `*` or `&` begins an alias here: put the text in quotes"),
    (r"but found another document", "there is more than one document in the file"),
)  # fmt: skip
_MORE = "There may be more mistakes after it."


class RefusedError(yaml.MarkedYAMLError):
    """What popwatch does not take although it is YAML; the problem is a sentence of ours."""


def yaml_mistake(error: yaml.YAMLError, text: str) -> str:
    """A sentence on an error, with its line and column. PyYAML reads nothing after one, so there may be more."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"Line {line}, column {column}: the character U+{ord(text[error.position]):04X} is not allowed. {_MORE}"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"The file is not YAML: {' '.join(str(error).split())}. {_MORE}"
    if isinstance(error, RefusedError):
        return f"Line {error.problem_mark.line + 1}: {error.problem}. {_MORE}"
    problem, mark = error.problem or "", error.problem_mark
    for sentences, place in ((_AT_ITS_BEGINNING, error.context_mark or mark), (_WHERE_IT_IS, mark)):
        for pattern, sentence in sentences:
            if found := re.search(pattern, problem):
                said = sentence.format(**found.groupdict()) if found.groupdict() else sentence
                return f"Line {place.line + 1}, column {place.column + 1}: {said}. {_MORE}"
    return f"Line {mark.line + 1}, column {mark.column + 1}: this is not YAML: {problem}. {_MORE}"
