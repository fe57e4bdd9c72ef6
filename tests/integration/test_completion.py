"""Completion in a real bash: what is completed, from where, and that no name of a target is ever executed."""

import json
import os
import pty
import select
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import CompletionItem

from popwatch.model.fields import FIELDS, FIELDS_BY_NAME
from popwatch_cli.installation import Installation
from popwatch_cli.main import cli
from popwatch_cli.shells import SCRIPTS, _bash_words, answer
from popwatch_cli.verification.temporary import prefix_of
from tests.integration.conftest import Run

ODD = [
    "$(touch executed)",
    "`touch executed`",
    "x;touch executed",
    "x'$(touch executed)",
    'x"$(touch executed)',
    "x y",
    "x*",
    "~x",
    "x\ttouch executed",
    "x\\",
    "!x",
    "--local",
    "zürich",
]
"""Ids that a shell would understand, and two that it would not."""

Bash = Callable[[str], list[str]]


@pytest.fixture
def home(stack: Installation, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has `popwatch`, a local stack in this folder, and an empty cache."""
    saved = tmp_path / ".popwatch" / "outputs.json"
    saved.write_text(json.dumps({**json.loads(saved.read_text()), "key": "testing"}))
    program = tmp_path / "bin" / "popwatch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from popwatch_cli.main import main; main()" "$@"\n')
    program.chmod(0o700)
    stack.target_table.write({"target_id": name, "host": "pop.example.net", "tags": ["it"]} for name in ODD)
    for shell, script in SCRIPTS.items():
        (tmp_path / f"completion.{shell}").write_text(script)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


@pytest.fixture
def bash(home: dict[str, str]) -> Bash:
    """What bash is given for a line whose end is being typed."""

    def complete(line: str) -> list[str]:
        script = f"""
            . ./completion.bash
            COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
            _popwatch_completion popwatch
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "--norc", "-c", script], env=home, capture_output=True, text=True, check=True, timeout=300
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return complete


def known(bash: Bash, line: str) -> list[str]:
    """What is completed once the names of the stack are known: until then a user presses the key again."""
    end = time.monotonic() + 120
    while (found := bash(line)) == [""] and time.monotonic() < end:
        time.sleep(0.1)
    return found


def take_cache_of(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the names that bash has had read, as of now also by a clock that is set for the tests and not for files."""
    monkeypatch.setenv("XDG_CACHE_HOME", home["XDG_CACHE_HOME"])
    [names] = Path(home["XDG_CACHE_HOME"], "popwatch").glob("*.json")
    os.utime(names, (time.time(), time.time()))


def test_what_is_completed(bash: Bash, home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options that every command takes, ids, groups, tags, fields, values, zones, files; else nothing."""
    assert known(bash, "popwatch --local history a") == ["a"]
    take_cache_of(home, monkeypatch)

    def complete(line: str) -> list[str]:
        return answer(cli, "bash", [line, " =:@"]).splitlines()[1:]

    assert complete("popwatch sta") == ["status"]
    assert complete("popwatch --local targets sh") == ["show"]
    assert complete("popwatch status --loc") == ["--local"]
    assert complete("popwatch help targets ch") == ["check"]
    assert complete("popwatch --local history a ")[:3] == [
        "\\!x",
        "\\$\\(touch\\ executed\\)",
        "\\`touch\\ executed\\`",
    ]
    assert complete("popwatch --local status --group ") == ["g"]
    assert complete("popwatch --local status --group=") == ["g"]  # bash replaces what stands after the =
    assert complete("popwatch targets list --local --tag i") == ["it"]
    assert complete("popwatch --local targets put a slow_") == ["slow_rtt_ms="]
    assert complete("popwatch --local targets put a target") == []  # an id stays as it is
    assert complete("popwatch --local targets put a tls=i") == ["implicit"]
    assert complete("popwatch --local targets put a group=") == ["g"]
    assert complete("popwatch simulate --set delay_w") == ["delay_warn="]
    assert complete("popwatch report --timezone Europe/Berl") == ["Europe/Berlin"]
    assert complete("popwatch targets put a timezone=Europe/Berl") == ["Europe/Berlin"]
    for nothing in ("popwatch test pop", "popwatch targets import x"):
        assert complete(nothing) == []
    with pytest.raises(click.UsageError):
        complete("popwatch xyzzy ")
    assert bash("popwatch xyzzy ") == [""]


WINDOW = {"days": "sun", "from": "02:00", "until": "04:00"}


@pytest.mark.long
def test_nothing_is_completed_that_is_refused(
    bash: Bash, home: dict[str, str], stack: Installation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each completion is typed: commands, and fields with each of their values, in `put` and `replay`."""
    target = {"target_id": "a", "host": "pop.example.net", "tls": "implicit"}
    temporary = {"target_id": f"{prefix_of(stack.stack)}20261127193138-1", "host": "pop.example.net", "group": "x"}
    own = {"target_id": "own", "host": "pop.example.net", "schedules": {"mine": [WINDOW]}}
    defaults = {"target_id": "_defaults", "schedules": {"patch-night": [WINDOW], "nights": [WINDOW]}}
    stack.target_table.write([target, temporary, own, defaults], ODD)
    assert known(bash, "popwatch --local status a") == ["a"]
    take_cache_of(home, monkeypatch)

    def complete(line: str) -> list[str]:
        return answer(cli, "bash", [f"popwatch {line}", " =:@"]).splitlines()[1:]

    assert complete("--local status ") == ["a", "b", "c", "own"]
    assert complete("--local targets put a maintenance=") == ["nights", "patch-night"]
    assert complete("--local targets put own maintenance=") == ["mine"]
    assert complete("--local targets put a own maintenance=") == complete("simulate --set maintenance=") == []
    assert complete("--local targets put a depends_on=") == ["b", "c", "own"]
    for group in ("", "targets ", "credentials "):
        for name in complete(group):
            assert run(*group.split(), name, "--help").code == 0, name
    fields = [word for word in complete("--local targets put a ") if word.endswith("=")]
    assert len(fields) == len(FIELDS) - 1
    for field in fields:
        removes = "" if field != "host=" else "pop.example.org"
        for value in complete(f"--local targets put a {field}")[:4] or [removes]:
            ended = run("--local", "targets", "put", "a", f"{field}{value}")
            assert (ended.code, "Nothing was written" in ended.err) == (0, False), (field, value, ended.err)
            stack.target_table.write([target])
    for field in complete("--local replay a --set "):
        ended = run("--local", "replay", "a", "--set", f"{field}{FIELDS_BY_NAME[field[:-1]].example}")
        assert "has no effect" not in ended.err, field


@pytest.mark.long
def test_the_names_are_kept_for_a_minute(bash: Bash, stack: Installation, home: dict[str, str]) -> None:
    """In a file of the user's own for each stack; an old one is read again."""
    assert known(bash, "popwatch --local status a") == ["a"]
    [cached] = (Path(home["XDG_CACHE_HOME"]) / "popwatch").glob("*.json")
    assert (stat.S_IMODE(cached.stat().st_mode), stat.S_IMODE(cached.parent.stat().st_mode)) == (0o600, 0o700)
    stack.target_table.write([{"target_id": "ab", "host": "pop.example.net"}])
    assert bash("popwatch --local status a") == ["a"]
    os.utime(cached, (time.time() - 61,) * 2)
    assert known(bash, "popwatch --local status a") == ["a", "ab"]


@pytest.mark.long
def test_a_stack_that_does_not_answer(bash: Bash, home: dict[str, str], tmp_path: Path) -> None:
    """Nothing is completed or printed, and the shell does not wait for it."""
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as silent:
        saved = tmp_path / ".popwatch" / "outputs.json"
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        saved.write_text(json.dumps({**json.loads(saved.read_text()), "endpoint": endpoint}))
        began = time.monotonic()
        assert bash("popwatch --local status a") == [""]
        assert time.monotonic() - began < 40  # botocore alone waits for a minute, five times
    assert (Path(home["XDG_CACHE_HOME"]) / "popwatch").is_dir()


@pytest.mark.parametrize("number", range(len(ODD)))
def test_ids_as_a_shell_sees_them(number: int, home: dict[str, str]) -> None:
    """The word that is inserted is the id, by bash's own reading, or is not offered."""
    [*words] = _bash_words([CompletionItem(ODD[number])], "", " =:@")
    if not ODD[number].isprintable():
        return
    script = f"printf %s {words[0]}"
    done = subprocess.run(["bash", "--norc", "-c", script], env=home, capture_output=True, text=True, check=True)
    assert done.stdout == ODD[number]


@pytest.mark.parametrize("quote", ["'", '"', "'a", '"$('])
def test_after_an_open_quote_only_plain_words(quote: str) -> None:
    """What another word needs depends on the quote."""
    assert _bash_words([CompletionItem(name) for name in [*ODD, "plain"]], quote, "=") == ["--local", "zürich", "plain"]


TYPED = [
    ("bash", ["bash", "--norc", "--noprofile", "-i"], ". ./completion.bash; PS1='$ '"),
    ("zsh", ["zsh", "-f", "-i"], ". ./completion.zsh; PS1='$ '"),
    ("fish", ["fish", "--no-config", "-i"], "source completion.fish"),
]


@pytest.mark.parametrize(
    ("shell", "command", "prepare"),
    [pytest.param(*case, marks=[] if case[0] == "bash" else [pytest.mark.debian], id=case[0]) for case in TYPED],
)
def test_typed_at_a_terminal(
    shell: str, command: list[str], prepare: str, home: dict[str, str], tmp_path: Path
) -> None:
    """A key completes a part of an odd id, Enter runs the command with the whole id, and nothing of the id is run."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: run .ci/install-debian")
    (tmp_path / "bin" / "popwatch").rename(tmp_path / "bin" / "real")
    recorder = tmp_path / "bin" / "popwatch"
    recorder.write_text(
        '#!/bin/sh\n[ -n "$_POPWATCH_COMPLETE" ] && exec real "$@"\nprintf "%s\\n" "$@" >> given; echo re""corded\n'
    )
    recorder.chmod(0o700)
    with Terminal(command, home, tmp_path) as terminal:
        terminal.type(f"{prepare}; echo pre''pared\n", "prepared")
        for begun, completed in (("\\$", "touch"), ("x\\;", "touch"), ("x\\ ", "y")):
            terminal.type(f"popwatch --local status {begun}\t", completed)
            terminal.type("\n", "recorded")
    ids = ("$(touch executed)", "x;touch executed", "x y")
    given = [word for name in ids for word in ("--local", "status", name)]
    assert (tmp_path / "given").read_text().splitlines() == given
    assert not list(tmp_path.rglob("executed"))


class Terminal:
    """A program on a pseudo-terminal, which is killed at the end."""

    def __init__(self, command: list[str], env: dict[str, str], folder: Path) -> None:
        self.command, self.env, self.folder = command, env, folder

    def __enter__(self) -> "Terminal":
        self.child, self.device = pty.fork()
        if self.child == 0:
            os.chdir(self.folder)
            os.execvpe(self.command[0], self.command, self.env)
        return self

    def type(self, text: str, awaited: str) -> None:
        """Type a text and wait until the awaited one has been printed, for a quarter of a minute at most."""
        os.write(self.device, text.encode())
        end, printed = time.monotonic() + 15, ""
        while awaited not in printed.replace(text.strip(), "") and time.monotonic() < end:
            if select.select([self.device], [], [], 0.1)[0]:
                printed += os.read(self.device, 4096).decode(errors="replace")
        assert awaited in printed, printed

    def __exit__(self, *_: object) -> None:
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)
        os.close(self.device)
