"""`make deploy` and `sam deploy --guided` with Enter at every question, by AWS's own SAM CLI, against the local AWS.

Each test prints its transcript: `pytest -m deploys -s tests/e2e/test_deploy.py`.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from popwatch_cli.local.stack import LocalStack, free_port
from tests.e2e.conftest import PROJECT
from tests.e2e.terminal import Transcript, press_enter

pytestmark = [pytest.mark.deploys, pytest.mark.timeout(1500)]

PARTS = ("Makefile", "template.yaml", "samconfig.yaml", ".gitignore", "functions", "layers", "requirements", "events")
VENV = Path(sys.prefix)
MAKE = f"make VENV={VENV} -o {VENV}/run.installed"
"""make with this environment in place of a new one, which the tests of the marker `fresh` install."""


@dataclass(slots=True)
class Checkout:
    """A user's checkout beside a local AWS."""

    folder: Path
    aws: LocalStack

    def enter(self, command: str) -> Transcript:
        """Run a command in a terminal, with Enter at every question; print what it showed."""
        transcript = press_enter(command.replace("make ", f"{MAKE} ", 1), self.folder, self.environment)
        print(f"\n{transcript}")
        return transcript

    def without_terminal(self, command: str) -> Transcript:
        """Run a command as a pipeline would; print what it showed."""
        ended = subprocess.run(
            ["sh", "-c", command.replace("make ", f"{MAKE} ", 1)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        transcript = Transcript(command, ended.returncode, ended.stdout + ended.stderr, ())
        print(f"\n{transcript}")
        return transcript

    @property
    def environment(self) -> dict[str, str]:
        packages = f"{PROJECT / 'layers' / 'popwatch'}:{PROJECT / 'cli'}"
        return self.aws.environment() | {"PYTHONPATH": packages, "HOME": str(self.folder.parent / "home")}

    def stack(self, name: str) -> dict[str, Any]:
        """A stack as CloudFormation describes it."""
        found: dict[str, Any] = self.aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def parameters(self, name: str) -> dict[str, str]:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self.stack(name)["Parameters"]}

    def outputs(self, name: str) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.stack(name)["Outputs"]}

    def schedules(self) -> list[str]:
        return sorted(found["Name"] for found in self.aws.client("scheduler").list_schedules()["Schedules"])

    def pull(self) -> None:
        """What `git pull` may bring: other code, and a new parameter with a default."""
        template = self.folder / "template.yaml"
        new = 'Parameters:\n  NewParameter:\n    Type: String\n    Default: "new"\n'
        template.write_text(template.read_text().replace("Parameters:\n  AlertEmail", f"{new}  AlertEmail", 1))
        handler = self.folder / "functions" / "check_targets.py"
        handler.write_text(handler.read_text() + "\n# a newer version\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout without answers, and an AWS without stacks."""
    folder = tmp_path / "popwatch"
    folder.mkdir()
    (tmp_path / "home").mkdir()
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(PROJECT / part, folder / part)
    aws = LocalStack(PROJECT, tmp_path / "aws", port=free_port(0))
    try:
        aws.start()
        yield Checkout(folder, aws)
    finally:
        aws.stop()


def answers(path: Path) -> dict[str, Any]:
    """The options of `sam deploy` in a file of answers."""
    options: dict[str, Any] = tomllib.loads(path.read_text())["default"]["deploy"]["parameters"]
    return options


def test_make_deploy_with_enter_alone(checkout: Checkout) -> None:
    """It deploys; again, with nothing changed and after a pull, it asks nothing; two stacks live side by side."""
    first = checkout.enter("make deploy")
    assert first.code == 0
    assert any("AlertEmail" in question for question in first.questions)
    assert "Changeset created successfully" in first.text
    assert "Successfully created/updated stack - popwatch" in first.text
    assert "NO ONE RECEIVES ALERTS" in first.text
    assert "NO ONE RECEIVES ALARMS ABOUT POPWATCH ITSELF" in first.text
    assert not (checkout.folder / "samconfig.toml").exists()
    kept = answers(checkout.folder / ".popwatch" / "popwatch.toml")
    assert 'AlertEmail=""' in kept["parameter_overrides"]

    second = checkout.enter("make deploy")
    assert (second.code, second.questions) == (0, ())
    assert "Stack popwatch is up to date" in second.text

    checkout.pull()
    third = checkout.enter("make deploy")
    assert (third.code, third.questions) == (0, ())
    assert "* Modify" in third.text
    assert "Successfully created/updated stack - popwatch" in third.text
    assert checkout.parameters("popwatch")["NewParameter"] == "new"

    other = checkout.enter("make deploy STACK=mail-eu")
    assert other.code == 0
    assert "Successfully created/updated stack - mail-eu" in other.text
    assert len(set(checkout.schedules())) == 2
    assert answers(checkout.folder / ".popwatch" / "popwatch.toml") == kept
    assert answers(checkout.folder / ".popwatch" / "mail-eu.toml")["stack_name"] == "mail-eu"
    assert checkout.outputs("popwatch")["TargetsTable"] != checkout.outputs("mail-eu")["TargetsTable"]
