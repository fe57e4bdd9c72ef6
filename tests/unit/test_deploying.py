"""The answers of `make deploy`: written so that AWS's own SAM CLI reads what was meant, and kept across versions."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig

from popwatch_cli.deploying import Answers, choose_stack, parse_parameters, with_stack
from popwatch_cli.errors import UserError

PROJECT = Path(__file__).parents[2]
VALUES = st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\\'\x7f"), max_size=40)
"""What values of this template's parameters are made of, and more."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_by_sam(path: Path) -> dict[str, str]:
    """The parameters of a file of answers, as `sam deploy` reads them."""
    options = SamConfig(path.parent, path.name).get_all(["deploy"], "parameters")
    found: dict[str, str] = CfnParameterOverridesType().convert(options["parameter_overrides"], None, None)
    return found


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Za-z0-9]{0,20}", fullmatch=True), VALUES, min_size=1))
def test_sam_reads_what_was_written(parameters: dict[str, str]) -> None:
    """Blanks, quotes, commas and empty values arrive as they were given, and popwatch reads them so too."""
    path = Path("popwatch.toml")
    path.unlink(missing_ok=True)
    Answers(path).write("popwatch", "eu-central-1", parameters)
    assert read_by_sam(path) == parameters
    assert Answers(path, SamConfig(Path.cwd(), path.name).get_all(["deploy"], "parameters")).parameters == parameters


def test_parameters_as_sam_may_write_them() -> None:
    """A text, a list of texts, or a table (`sam deploy --save-params`)."""
    expected = {"AlertEmail": "a@example.net", "ReferenceHosts": "a:1, b:2", "AlertPhone": ""}
    written = 'AlertEmail="a@example.net" ReferenceHosts="a:1, b:2" AlertPhone=""'
    assert parse_parameters(written) == expected
    assert parse_parameters(written.replace(", ", ",").split()) == {**expected, "ReferenceHosts": "a:1,b:2"}
    assert parse_parameters(expected) == expected
    for wrong in ("AlertEmail", '"', "=x"):
        with pytest.raises(UserError, match="cannot be read as parameters"):
            parse_parameters(wrong)


def test_answers_of_an_earlier_version_are_taken(folder: Path) -> None:
    """From samconfig.toml, of the same stack only, without the question whose Enter deploys nothing."""
    (folder / "samconfig.toml").write_text(
        'version = 0.1\n[default.global.parameters]\nstack_name = "popwatch"\nregion = "eu-west-1"\n'
        "[default.deploy.parameters]\nconfirm_changeset = true\n"
        "s3_bucket = 'mine'\nparameter_overrides = 'AlertEmail=\"a@example.net\" ReportPassword=\"secret secret\"'\n"
    )
    assert not Answers.read("mail-eu").options
    answers = Answers.read("popwatch")
    assert answers.are_complete
    answers.write("popwatch", "eu-west-1", {"AlertEmail": "a@example.net"})
    assert read_by_sam(answers.path) == {"AlertEmail": "a@example.net"}
    kept = Answers.read("popwatch").options
    assert (kept["region"], kept["s3_bucket"], kept["resolve_s3"]) == ("eu-west-1", "mine", False)
    assert "confirm_changeset" not in kept
    assert "secret" not in answers.path.read_text()


def test_answers_for_another_name_are_kept_under_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Who answers "Stack Name" with another one gets a file for that, and the first stack's is not taken for it."""
    answers = Answers.read("popwatch")
    answers.write("popwatch", "eu-west-1", {"AlertEmail": ""})
    written = SamConfig(answers.path.parent, answers.path.name)
    written.put(["deploy"], "parameters", "stack_name", "mail-eu")
    written.put(["deploy"], "parameters", "region", "eu-central-1")
    written.flush()
    assert answers.follow_name("popwatch") == ("mail-eu", "eu-central-1")
    assert "Next time: `make deploy STACK=mail-eu`." in capsys.readouterr().out
    assert not Answers.read("popwatch").options
    assert Answers.read("mail-eu").options["region"] == "eu-central-1"


def test_a_file_that_is_right_stays_as_it_is() -> None:
    """A user's own comment in the answers is kept."""
    answers = Answers.read("popwatch")
    answers.write("popwatch", "eu-west-1", {"AlertEmail": "a@example.net"})
    own = "# ours\n" + answers.path.read_text()
    answers.path.write_text(own)
    Answers.read("popwatch").write("popwatch", "eu-west-1", {"AlertEmail": "a@example.net"})
    assert answers.path.read_text() == own


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    """With the next step."""
    (folder / ".popwatch").mkdir()
    (folder / ".popwatch" / "popwatch.toml").write_text("[default")
    with pytest.raises(UserError, match=r"popwatch\.toml cannot be read: .* Correct it or delete it"):
        Answers.read("popwatch")


def test_cleaning_keeps_the_answers(folder: Path) -> None:
    """`make clean` removes what was built, and answers were not."""
    (folder / "Makefile").write_text((PROJECT / "Makefile").read_text())
    (folder / ".popwatch" / "build").mkdir(parents=True)
    (folder / ".popwatch" / "outputs.json").write_text("{}")
    (folder / ".popwatch" / "popwatch.toml").write_text("version = 0.1\n")
    for _ in range(2):
        subprocess.run(["make", "clean"], cwd=folder, check=True, capture_output=True)
        assert [path.name for path in (folder / ".popwatch").iterdir()] == ["popwatch.toml"]
    shutil.rmtree(folder / ".popwatch")
    subprocess.run(["make", "clean"], cwd=folder, check=True, capture_output=True)


def test_pull_over_a_changed_samconfig(folder: Path) -> None:
    """git refuses to pull over answers that it tracked; the commands of docs/operating.md keep them, ignored."""
    page = (PROJECT / "docs" / "operating.md").read_text()
    [block] = re.findall(r"because of `samconfig\.toml`[\s\S]*?\n\n((?:    .*\n)+)", page)
    commands = [line.strip() for line in block.splitlines() if not line.strip().startswith("make")]
    upstream, clone = folder / "upstream", folder / "clone"
    upstream.mkdir()
    (upstream / "samconfig.toml").write_text("version = 0.1\n")
    git(upstream, "init", "--quiet")
    commit(upstream)
    git(folder, "clone", "--quiet", str(upstream), str(clone))
    (clone / "samconfig.toml").write_text("version = 0.1\n# answers\n")
    (upstream / "samconfig.toml").unlink()
    (upstream / ".gitignore").write_text((PROJECT / ".gitignore").read_text())
    commit(upstream)
    refused = subprocess.run(["git", "pull"], cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "samconfig.toml" in refused.stderr
    for command in commands:
        ended = subprocess.run(command.split(), cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
    assert (clone / "samconfig.toml").read_text() == "version = 0.1\n# answers\n"
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "HEAD") == git(upstream, "rev-parse", "HEAD")


ENVIRONMENT = os.environ | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


def test_commands_that_are_named_are_for_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name, and the region and the profile that the user's shell does not have."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    hint = "`make deploy ASK=1`, `popwatch verify`"
    choose_stack("popwatch", "eu-west-1", "")
    assert with_stack(hint) == hint
    choose_stack("mail", "us-east-1", "ours")
    verify = "popwatch --stack mail --region us-east-1 --profile ours verify"
    assert with_stack(hint) == f"`make deploy STACK=mail ASK=1`, `{verify}`"
