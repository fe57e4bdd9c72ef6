"""`popwatch targets import --from` as its user gives it; docs/migrating.md shows what it prints when all is well."""

from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.night import new_night

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["targets.yaml", "--modules", "blackbox.yml"], "--modules does nothing without --from blackbox"),
        (["--from", "gatus", "gatus.yaml", "--modules", "blackbox.yml"], "--modules does nothing without"),
        (["--from", "zabbix", "gatus.yaml"], "is not one of 'nagios', 'blackbox', 'gatus'"),
        (["--from", "nagios", "gatus.yaml"], "Line 1 begins no definition"),
        (["--from", "gatus", "none.yaml"], "none.yaml cannot be read"),
        (["--from", "blackbox", "prometheus.yml", "--modules", "none.yml"], "none.yml cannot be read"),
    ],
)
def test_mistakes_end_before_anything_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """A sentence and exit code 3; no stack is looked for."""
    monkeypatch.chdir(SAMPLES)
    ended = run("targets", "import", *arguments)
    assert ended.code == 3
    assert said in ended.err


def test_a_file_without_pop3_is_told(run: Run, tmp_path: Path) -> None:
    """What was left is named, and that nothing is."""
    path = tmp_path / "config.yaml"
    path.write_text("endpoints:\n- {name: a, url: 'https://www.example.net'}\n")
    ended = run("targets", "import", "--from", "gatus", path)
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "Line 2: https://www.example.net is not taken: POP3 is tcp:// or tls:// at port 110 or 995.",
        f"{path} has no POP3 server that popwatch could take.",
    ]


def test_one_bad_value_writes_nothing(run: Run, tmp_path: Path) -> None:
    """The checks of all imports hold: a mistake is named with its line, and the table stays as it was."""
    path = tmp_path / "config.yaml"
    path.write_text("endpoints:\n- name: a\n  url: 'tcp://${HOST}:110'\n- {name: b, url: 'tcp://b.example:110'}\n")
    with new_night() as night:
        before = night.dynamodb.scan(TableName="Targets")["Count"]
        ended = run("targets", "import", "--from", "gatus", path, "--yes")
        assert night.dynamodb.scan(TableName="Targets")["Count"] == before
    assert ended.code == 3
    assert "Line 3, a: The field `host` cannot be used: `${HOST}` is neither a domain name nor an IP" in ended.err
    assert "Nothing was written." in ended.err
