"""Completion in bash, zsh and fish: the script for each, and the answer that it asks the command for.

The names come from a stack, where anyone who may write a target chooses them. So no script expands what it is given,
and for bash, which inserts a word as it is, each character that the shell might understand has a backslash.

The answer is a line that says what follows, `words`, `stems` (words after which no blank comes), `files` or `folders`,
and then a line for each word.
"""

import os
import re
import sys
from collections.abc import Sequence

import click
from click.parser import split_arg_string
from click.shell_completion import CompletionItem, ShellComplete

from popwatch_cli.command_tree import shared_options

VARIABLE = "_POPWATCH_COMPLETE"
"""The environment variable with which a script asks for the answer; its value names the shell."""

SCRIPTS = {
    "bash": r"""_popwatch_completion() {
    local kind word program=${1/#\~/$HOME}
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS= read -r word; do COMPREPLY+=("$word"); done
    } < <(_POPWATCH_COMPLETE=bash_complete "$program" "${COMP_LINE:0:$COMP_POINT}" "$COMP_WORDBREAKS" \
        2>/dev/null </dev/null)
    case $kind in
        stems) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default 2>/dev/null ;;
        folders) compopt -o dirnames 2>/dev/null ;;
    esac
}
complete -o nosort -F _popwatch_completion popwatch 2>/dev/null || complete -F _popwatch_completion popwatch
""",
    "zsh": r"""#compdef popwatch
_popwatch() {
    local kind program=${${(Q)words[1]}/#\~/$HOME}
    local -a found
    found=("${(@f)$(_POPWATCH_COMPLETE=zsh_complete $program "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" \
        2>/dev/null </dev/null)}")
    kind=$found[1]
    found=("${(@)found[2,-1]}")
    case $kind in
        words) compadd -V popwatch -a found ;;
        stems) compadd -V popwatch -S '' -a found ;;
        files) _files ;;
        folders) _files -/ ;;
        *) return 1 ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _popwatch "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _popwatch popwatch
fi
""",
    "fish": r"""function __popwatch_complete
    set -l words (commandline -opc)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -e words[1]
    set -l begun (string unescape -- (commandline -ct))
    set -l found (env _POPWATCH_COMPLETE=fish_complete $program $words "$begun" 2>/dev/null </dev/null)
    switch "$found[1]"
        case files
            __fish_complete_path (commandline -ct)
        case folders
            __fish_complete_directories (commandline -ct)
        case words stems
            set -e found[1]
            printf '%s\n' $found
    end
end
complete --no-files --command popwatch --arguments '(__popwatch_complete)'
""",
}

_RAW_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"].*\Z|\\\Z)+""", re.DOTALL)
"""A word of a shell's line as it is written; the quote of the last one may be open."""

_NOT_PLAIN = re.compile(r"[^\w@%+=:,./-]")
"""A character that may mean something to a shell."""


class _Completer(ShellComplete):
    """click's part: which option or argument comes next. The rest of it is not used."""

    name, source_template = "popwatch", ""


def answer(cli: click.Command, shell: str, given: Sequence[str]) -> str:
    """What a shell's script asks for; `given` are its arguments. Raises whatever click raises.

    From bash they are the line up to the cursor and COMP_WORDBREAKS, from the others the words after the program, of
    which the last is begun.
    """
    if shell != "bash":
        *before, begun = given
        items = completions(cli, before, begun)
        return "\n".join([_kind(items), *(item.value for item in items)])
    line, breaks = given
    words = list(_RAW_WORD.finditer(line))
    raw = words.pop()[0] if words and words[-1].end() == len(line) else ""
    items = completions(cli, [_unquoted(word[0]) for word in words][1:], _unquoted(raw))
    return "\n".join([_kind(items), *_bash_words(items, raw, breaks)])


def completions(cli: click.Command, before: Sequence[str], begun: str) -> list[CompletionItem]:
    """What may stand in place of a begun word, as whole words; none that a line cannot show or an option could be."""
    option, equals, _ = begun.partition("=")
    prefix = f"{option}=" if equals and option.startswith("--") else ""
    found = _Completer(cli, {}, "popwatch", VARIABLE).get_completions(list(before), begun)
    if begun.startswith("-") and not prefix:  # the options that every command takes are hidden in its help
        known = {item.value for item in found}
        found += [CompletionItem(name) for name in shared_options() if name.startswith(begun) and name not in known]
    return [
        CompletionItem(prefix + item.value, type=item.type)
        for item in found
        if item.value.isprintable() and (begun.startswith("-") or not item.value.startswith("-"))
    ]


def _kind(items: Sequence[CompletionItem]) -> str:
    kinds = {item.type for item in items}
    if kinds & {"file", "dir"}:
        return "folders" if kinds == {"dir"} else "files"
    return "stems" if items and all(item.value.endswith("=") for item in items) else "words"


def _bash_words(items: Sequence[CompletionItem], raw: str, breaks: str) -> list[str]:
    """The words as bash inserts them: without what stands before the last of `breaks`, which it leaves as it is.

    After an open quote only words that need no quoting: what they need depends on the quote.
    """
    cut = max((raw.rfind(character) for character in "=:@" if character in breaks), default=-1) + 1
    if "'" in raw or '"' in raw:
        return [item.value for item in items if not cut and not _NOT_PLAIN.search(item.value)]
    quoted = (_NOT_PLAIN.sub(r"\\\g<0>", item.value) for item in items if item.type == "plain")
    return [word[cut:] for word in quoted if word.startswith(raw)]


def _unquoted(raw: str) -> str:
    return "".join(split_arg_string(raw))


def answer_and_exit(cli: click.Command) -> None:
    """Print what a shell asks for, or nothing: an error must not be printed into the line that is being typed."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        print(answer(cli, os.environ[VARIABLE].partition("_")[0], sys.argv[1:]), flush=True)
    finally:
        os._exit(0)
