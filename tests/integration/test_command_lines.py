"""What a new user types works, or says in a line what to type."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from popwatch.model.records import Action, InterventionEvent
from popwatch_cli.commands.page import USUAL_PORT
from popwatch_cli.installation import LOCAL_OUTPUTS, Installation, local_key
from popwatch_cli.main import cli
from popwatch_cli.options import long_name
from tests.command_lines import SCRIPT
from tests.integration.conftest import InsteadOfSleep, Run
from tests.integration.terminal_lines import COLUMNS

PROJECT = Path(__file__).parents[2]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07")
FOR_PROGRAMS = {"--json", "completion"}
"""Words of lines whose output is for programs, which no terminal's width changes."""

PYTHON = ("Traceback", "<class", " object at 0x", "This is a bug", "'None'")
"""What no message may have: it is about the program, and not about what to type."""


@pytest.mark.long
def test_the_script(run: Run, stack: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the script ends and says as it should; all that do not are listed, with what they said.

    The whole conversation is in `.popwatch/command-lines/pipe.txt`.
    """
    assert stack.endpoint
    as_a_new_user(monkeypatch)
    ended = [run(*shlex.split(typed.line)) for typed in SCRIPT]
    check("pipe", [(it.out + it.err, it.code) for it in ended])


@pytest.mark.long
def test_the_script_on_a_terminal(stack: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a terminal of 80 columns and 24 lines, which shows no line that is wider.

    The whole conversation is in `.popwatch/command-lines/terminal.txt`.
    """
    assert stack.endpoint
    as_a_new_user(monkeypatch)
    outputs = json.loads(LOCAL_OUTPUTS.read_text())
    LOCAL_OUTPUTS.write_text(json.dumps(outputs | {"key": local_key(stack.endpoint)}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.terminal_lines"],
        input=json.dumps([shlex.split(typed.line) for typed in SCRIPT]),
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ended = [(ESCAPE.sub("", shown), code) for shown, code in json.loads(done.stdout)]
    check("terminal", ended)
    for_people = [
        shown for typed, (shown, _) in zip(SCRIPT, ended, strict=True) if not FOR_PROGRAMS & set(typed.line.split())
    ]
    wide = {line for shown in for_people for line in shown.splitlines() if cell_len(line) > COLUMNS}
    assert not wide, "\n".join(sorted(wide))


def as_a_new_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings of AWS or of popwatch, and of the terminal."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "POPWATCH_STACK", "COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def flat(text: str) -> str:
    """A text without the breaks and blanks that depend on the width of a terminal."""
    return " ".join(text.split())


def check(kind: str, ended: list[tuple[str, int]]) -> None:
    """Compare what the lines of the script said with what they should; write down all of it."""
    transcript, wrong = [], []
    for line, (said, code) in zip(SCRIPT, ended, strict=True):
        text = flat(said) if kind == "terminal" else said
        as_it_should = (
            code == line.code
            and all(it in text or flat(it) in text for it in line.says)
            and not any(it in text for it in (*line.never, *PYTHON))
        )
        transcript.append(f"$ popwatch {line.line}\n{said}[{code}]\n")
        if not as_it_should:
            wrong.append(f"{transcript[-1]} instead of [{line.code}] {line.says}\n")
    folder = PROJECT / ".popwatch" / "command-lines"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}.txt").write_text("\n".join(transcript), "utf-8")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("words", [(), ("targets",), ("credentials",)])
def test_no_summary_of_a_command_is_cut(words: tuple[str, ...], run: Run) -> None:
    """Each is a sentence, or its beginning up to a mark, and fits into 80 columns."""
    [listed] = re.findall(r"Commands:\n((?:  .*\n)+)", run(*words, "--help").out)
    assert all(line.endswith(".") and not line.endswith("..") for line in listed.splitlines()), listed
    assert max(map(len, listed.splitlines())) <= COLUMNS


def options_of_all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The words of each command, with each of its options that takes one value."""
    context = click.Context(group, **group.context_settings)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from options_of_all_commands(command, (*path, name))
        else:
            for option in command.params if command else ():
                if isinstance(option, click.Option) and not (option.is_flag or option.multiple):
                    yield (*path, name), long_name(option)


def test_an_option_that_takes_one_value_is_not_taken_twice(run: Run) -> None:
    """Of each command: the first value would be dropped without a word."""
    found = list(options_of_all_commands(cli))
    assert len(found) > 100
    for words, option in found:
        ended = run(*words, option, "1", option, "2")
        assert (ended.code, ended.err.partition(",")[0]) == (3, f"{option} is given twice"), words


def test_watching_as_json_ends_well(run: Run, stack: Installation, instead_of_sleep: InsteadOfSleep) -> None:
    """One line of JSON at each refresh, and exit code 0 at Ctrl-C, which is the usual end."""
    refreshes = iter([None])

    def wait(_: float) -> None:
        if next(refreshes, KeyboardInterrupt) is KeyboardInterrupt:
            raise KeyboardInterrupt

    assert stack.endpoint
    instead_of_sleep(wait)
    ended = run("status", "--watch", "--json", "--local")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [len(json.loads(line)["targets"]) for line in lines] == [3, 3]


def test_a_page_at_another_port_says_so(stack: Installation) -> None:
    """Where the usual one is taken, as by `make run`, which has a page of its own."""
    outputs = json.loads(LOCAL_OUTPUTS.read_text())
    LOCAL_OUTPUTS.write_text(json.dumps(outputs | {"key": local_key(str(stack.endpoint))}))
    said = said_by_a_page_at_a_taken_port()
    while len(said) == 1:  # who else had the port gave it back
        said = said_by_a_page_at_a_taken_port()
    assert (
        said[0] == f"Port {USUAL_PORT} is in use, as by `make run`, which has a page of its own: here is another one.\n"
    )
    assert re.fullmatch(r"The page is at http://127\.0\.0\.1:\d+/ until Ctrl-C\.\n", said[1])


def said_by_a_page_at_a_taken_port() -> list[str]:
    """What a page says that begins while this test has the usual port, or someone else has."""
    command = [sys.executable, "-c", "from popwatch_cli.main import main; main()", "--local", "page"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path]), "PYTHONUNBUFFERED": "1"}
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections of another test still have it
        with suppress(OSError):
            taken.bind(("127.0.0.1", USUAL_PORT))
            taken.listen()
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as page:
            assert page.stdout
            said = [page.stdout.readline()]
            if said[0].startswith("Port"):
                said.append(page.stdout.readline())
            page.send_signal(signal.SIGINT)
            assert (page.wait(), page.stdout.read()) == (0, "")
    return said


def test_a_page_at_a_free_port_is_as_asked_for(stack: Installation) -> None:
    """`--port 0` asks for one: nothing is said of a port in use."""
    outputs = json.loads(LOCAL_OUTPUTS.read_text())
    LOCAL_OUTPUTS.write_text(json.dumps(outputs | {"key": local_key(str(stack.endpoint))}))
    command = [sys.executable, "-c", "from popwatch_cli.main import main; main()", "--local", "page", "--port", "0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path]), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as page:
        assert page.stdout
        assert page.stdout.readline().startswith("The page is at http://127.0.0.1:")
        page.send_signal(signal.SIGINT)
        assert (page.wait(), page.stdout.read()) == (0, "")


def test_a_terminal_that_cannot_show_a_character(tmp_path: Path) -> None:
    """It shows a replacement."""
    path = tmp_path / "targets.yaml"
    path.write_text("- target_id: zürich-☃\n  host: pop.example.net\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", "from popwatch_cli.main import main; main()", "targets", "convert", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert b"z\xfcrich-?" in ended.stdout


WIDE = [
    "targets put m host=pop.example.net --local",
    f"targets put {'mail-' * 12}berlin host={'pop.' * 15}example.net group=customers-of-the-north tls=implicit --local",
    "targets put m zweck=1 'notes=a long note about this server and the people who look after it' --force --local",
    "targets list --local",
    "targets list a c --local",
    "targets check --local",
    "targets show m --local",
    "doctor --local",
    "credentials list --local",
    "alert-test a --local",
    "status --local",
    "status m --local",
    "targets convert none.cfg --from nagios",
    "targets rm m --local",
]
"""Lines whose output is wide, beside those of the script."""

ITS_OWN_WIDTH = FOR_PROGRAMS | {"--plugin", "--width", "export", "convert", "-h", "--help", "help"}
"""Words of lines whose output is for programs, or is not made for a width: help has examples to be copied."""


@pytest.mark.long
@pytest.mark.parametrize("width", [40, 60])
def test_each_command_keeps_to_a_width(
    run: Run, stack: Installation, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """In a pipe. Longer lines have one word, or one command to be copied, and nothing else.

    But not what is said of the options before the command, of which --width is one, if they cannot be read.
    """
    assert stack.endpoint
    as_a_new_user(monkeypatch)
    readable = [it.line for it in SCRIPT if not (it.line.startswith("-") and it.code == 3)]
    lines = [line for line in [*readable, *WIDE] if ITS_OWN_WIDTH.isdisjoint(line.split())]
    wide = set()
    for line in lines:
        ended = run("--width", width, *shlex.split(line))
        wide |= {(line, it) for it in (ended.out + ended.err).splitlines() if cell_len(it) > width and not single(it)}
    assert not wide, "\n".join(f"{line}: {it}" for line, it in sorted(wide))


def single(line: str) -> bool:
    """Whether a line is one word, or one command, which is not broken so that it can be copied."""
    return " " not in re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", "_"), line.strip())


def test_a_long_id_is_whole_at_any_width(run: Run, stack: Installation) -> None:
    """Wherever people read it: they copy it."""
    name = f"{'mail-' * 14}example1"
    at_60 = ("--local", "--width", 60)
    stack.target_table.write([{"target_id": name, "host": "pop.example.net"}])
    topic = {"TopicArn": stack.outputs["AlertTopicArn"]}
    stack.client("sns").subscribe(**topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:000000000000:queue")
    stack.store.put_intervention(name, InterventionEvent(Action.SUSPENDED, datetime.now(UTC), "anna", name))
    lines = (
        ("silence", name, "--for", "5m"),
        ("history", name),
        ("status", name),
        ("targets", "show", name),
        ("targets", "list"),
        ("receivers", "--at", "now"),
        ("unsilence", name),
        ("receivers", name),
        ("simulate", "a", name),
        ("report",),
        ("targets", "remove", name),
    )
    broken = [words for words in lines if name not in run(*at_60, *words).out]
    assert not broken
