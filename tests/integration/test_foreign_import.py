"""`popwatch targets import --from` as its user runs it; docs/migrating.md shows what it prints if all goes well."""

from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.night import new_night

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["targets.yaml", "--modules", "blackbox.yml"], "--modules has no effect without --from blackbox"),
        (["--from", "nagios", "nagios.cfg", "--modules", "blackbox.yml"], "--modules has no effect without"),
        (["--from", "zabbix", "nagios.cfg"], "is not one of nagios, icinga, naemon, blackbox"),
        (["--from", "nagios", "targets.yaml"], "Line 1: This line and 7 lines after it belong to no definition"),
        (["--from", "blackbox", "none.yaml"], "none.yaml cannot be read"),
        (["--from", "blackbox", "prometheus.yml", "--modules", "none.yml"], "none.yml cannot be read"),
    ],
)
def test_mistakes_end_before_anything_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """A sentence and exit code 3; the stack is not looked for."""
    monkeypatch.chdir(SAMPLES)
    ended = run("targets", "import", *arguments)
    assert ended.code == 3
    assert said in ended.err


def test_a_file_without_pop3_is_reported(run: Run, tmp_path: Path) -> None:
    """Each target that was not imported is listed, and the command ends with an error."""
    path = tmp_path / "file_sd.yml"
    path.write_text("- targets: ['www.example.net:443']\n")
    ended = run("targets", "import", "--from", "blackbox", path)
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "Line 1: www.example.net:443 is not imported: POP3 is at port 110 or 995.",
        f"{path}: no POP3 server to import. docs/migrating.md says what is read.",
    ]


@pytest.mark.parametrize(
    ("monitor", "name", "text"),
    [("nagios", "prom.yml", "scrape_configs: []\n"), ("blackbox", "hosts.cfg", "define host {\n  host_name a\n}\n")],
)
def test_files_of_another_monitor(run: Run, tmp_path: Path, monitor: str, name: str, text: str) -> None:
    """Nothing is found in them; the message names the monitor that their names speak of."""
    (tmp_path / name).write_text(text)
    ended = run("targets", "convert", "--from", monitor, tmp_path / name)
    assert (ended.code, ended.out) == (3, "")
    meant = {"nagios": "blackbox", "blackbox": "nagios"}[monitor]
    assert ended.err.endswith(f"Did you mean `--from {meant}`?\n")


def test_one_bad_value_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    """What cannot be used is left with its line and its reason; the other target is written."""
    path = tmp_path / "file_sd.yml"
    path.write_text("- labels: {}\n  targets: ['${HOST}:110', 'b.example:110']\n")
    with new_night() as night:
        before = night.dynamodb.scan(TableName="Targets")["Count"]
        ended = run("targets", "import", "--from", "blackbox", path, "--yes")
        assert night.dynamodb.scan(TableName="Targets")["Count"] == before + 1
    assert ended.code == 0
    assert (
        "Line 2: host-110 is not imported: The field `host` cannot be used: `${HOST}` is neither a domain name nor an"
        in ended.err
    )
    assert "+ b.example-110  b.example" in ended.out


def test_convert_needs_no_stack(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It prints YAML, which import and check read, and what is not imported on the standard error."""
    monkeypatch.chdir(SAMPLES)
    ended = run("targets", "convert", "--from", "nagios", "nagios.cfg")
    assert ended.code == 0
    assert "Line 18: `parents` is not imported" in ended.err
    (tmp_path / "made.yaml").write_text(ended.out)
    assert run("targets", "check", tmp_path / "made.yaml").out == "4 items, 0 mistakes.\n"
    csv = run("targets", "convert", tmp_path / "made.yaml", "-o", tmp_path / "made.csv")
    assert csv.out == f"4 items written to {tmp_path / 'made.csv'}.\n"
    assert sorted(run("targets", "convert", tmp_path / "made.csv").out.split("\n")) == sorted(ended.out.split("\n"))


def test_several_files_of_targets(run: Run, tmp_path: Path) -> None:
    """They are one set of targets; mistakes name their file."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.csv"
    one.write_text("- {target_id: a, host: a.example}\n")
    two.write_text("target_id,host\nb,b.example\n")
    assert run("targets", "convert", one, two).out.count("target_id") == 2
    two.write_text("target_id,host\na,b.example\n")
    ended = run("targets", "convert", one, two)
    assert ended.code == 3
    assert f"{two} line 2: `a` is also in {one} line 1: ids must differ." in ended.err
