"""Texts with tokens: `{name}` stands for a value, `{{` and `}}` for braces. Pure.

Nothing else is understood: no attributes, no formats, no conditions. A template is somebody's configuration and the
values come from servers, so neither can reach anything but the values given here.
"""

import re
from collections.abc import Mapping

from popwatch.model.text import cut

_PART = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}|[{}]")


class TemplateError(ValueError):
    """A template that cannot be filled; the text says where and why."""


def fill(template: str, values: Mapping[str, str], limit: int) -> str:
    """The template with its tokens replaced, at most `limit` characters. Raises TemplateError.

    Values are put in as they are: a token that a server smuggles into one is not replaced. What lies beyond the limit
    is looked at for mistakes, but not put together: a thousand tokens with long values must not fill the memory.
    """
    pieces: list[str] = []
    length = begin = 0
    for part in _PART.finditer(template):
        piece = template[begin : part.start()] + _replacement(part, values)
        begin = part.end()
        if length <= limit:
            pieces.append(piece)
            length += len(piece)
    return cut("".join([*pieces, template[begin:]]), limit)


def _replacement(part: re.Match[str], values: Mapping[str, str]) -> str:
    found, token = part.group(), part.group(1)
    if token is not None:
        if token not in values:
            raise TemplateError(f"there is no token {found}")
        return values[token]
    if len(found) == 1:
        raise TemplateError(f"the brace at character {part.start() + 1} is not part of a token; write it twice")
    return found[0]
