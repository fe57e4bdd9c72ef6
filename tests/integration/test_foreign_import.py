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
        (["--from", "zabbix", "nagios.cfg"], "is not one of 'nagios', 'blackbox'"),
        (["--from", "nagios", "targets.yaml"], "Line 1 does not begin a definition"),
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
        f"{path} has no POP3 server to import.",
    ]


def test_one_bad_value_writes_nothing(run: Run, tmp_path: Path) -> None:
    """The checks of all imports apply: a mistake is reported with its line, and the table is unchanged."""
    path = tmp_path / "file_sd.yml"
    path.write_text("- labels: {}\n  targets: ['${HOST}:110', 'b.example:110']\n")
    with new_night() as night:
        before = night.dynamodb.scan(TableName="Targets")["Count"]
        ended = run("targets", "import", "--from", "blackbox", path, "--yes")
        assert night.dynamodb.scan(TableName="Targets")["Count"] == before
    assert ended.code == 3
    assert (
        "Line 2, host-110: The field `host` cannot be used: `${HOST}` is neither a domain name nor an IP" in ended.err
    )
    assert "Nothing was written." in ended.err
