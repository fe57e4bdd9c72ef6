"""Texts with tokens: `{name}` stands for a value, `{{` and `}}` for braces. Pure.

Nothing else is understood: no attributes, no formats, no conditions (so not `str.format`, which has them). A template
is configuration and the values come from servers; neither can reach anything but the values given here.
"""

import re
from collections.abc import Mapping

from popwatch.model.text import truncate

_PART = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}|[{}]")
"""A doubled brace, a token, or a brace that is neither: a mistake. The order matters: the first that matches counts."""


class TemplateError(ValueError):
    """A template that cannot be filled; the text says where and why."""


def fill(template: str, values: Mapping[str, str], limit: int) -> str:
    """The template with its tokens replaced, cut to `limit` characters. Raises TemplateError.

    One pass from left to right: a token inside a value, which a server may have sent, is not replaced. Beyond the limit
    the template is still checked but no text is kept, or a thousand tokens with long values would fill the memory.
    """
    pieces: list[str] = []
    length = begin = 0
    for part in _PART.finditer(template):
        piece = template[begin : part.start()] + _replacement(part, values)
        begin = part.end()
        if length <= limit:
            pieces.append(piece)
            length += len(piece)
    return truncate("".join([*pieces, template[begin:]]), limit)


def _replacement(part: re.Match[str], values: Mapping[str, str]) -> str:
    written, token = part.group(), part.group(1)
    if token is not None:
        if token not in values:
            raise TemplateError(f"there is no token {written}")
        return values[token]
    if len(written) == 1:
        raise TemplateError(f"the brace at character {part.start() + 1} is not part of a token; write it twice")
    return written[0]
