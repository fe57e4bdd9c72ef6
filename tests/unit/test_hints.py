"""Commands that texts name: with the options, and by the path, with which they can be given as they are printed."""

import sys
from pathlib import Path

import pytest

from popwatch_cli.options import StackChoice, choose
from popwatch_cli.output.terminal import repeat_options

AWS_HINT = "By `aws sns subscribe`, or see `popwatch receivers`, `popwatch test mail`."


@pytest.fixture(autouse=True)
def a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which popwatch is called by its name."""
    monkeypatch.setattr(sys, "argv", ["popwatch"])
    monkeypatch.delenv("POPWATCH_STACK", raising=False)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (StackChoice(), AWS_HINT),
        (
            StackChoice(local=True),
            "By `(. .popwatch/aws-env; aws sns subscribe)`, or see `popwatch --local receivers`, `popwatch test mail`.",
        ),
        (
            StackChoice("mail", region="eu-west-1", profile="our own"),
            "By `aws sns subscribe --region eu-west-1 --profile 'our own'`, or see "
            "`popwatch --stack mail --region eu-west-1 --profile 'our own' receivers`, `popwatch test mail`.",
        ),
    ],
)
def test_the_options_in_use(choice: StackChoice, said: str) -> None:
    """Of popwatch those that name the stack, of the AWS CLI those for the account and the region."""
    choose(choice)
    assert repeat_options(AWS_HINT) == said


def test_a_region_that_a_command_names() -> None:
    """It stays alone: it is that of the stack."""
    choose(StackChoice(region="eu-west-1"))
    command = "`aws sns subscribe --region eu-west-1 --topic-arn arn`"
    assert repeat_options(command) == command


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("program", ["cli/popwatch_cli/local/__main__.py", "cli/popwatch_cli/start.py"])
def test_what_make_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, before: int) -> None:
    """The Makefile puts the environment's folder into its PATH; a user's shell has it only if it was activated."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "popwatch").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / program)])
    monkeypatch.setenv("PATH", f"{folder}:" * before + "/nowhere")
    choose(StackChoice(local=True))
    called = ".venv/bin/popwatch" if before == 1 else "popwatch"
    assert (
        repeat_options("`popwatch --local ...`, `popwatch status`")
        == f"`{called} --local ...`, `{called} --local status`"
    )
