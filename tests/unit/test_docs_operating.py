"""The commands in docs/operating.md for restoring an earlier state."""

import re
import shlex
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from popwatch_cli.files.target_files import read_entries
from popwatch_cli.target_table import TargetTable
from tests.tables import definition

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def test_a_restored_table_becomes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of Python in the page writes what `targets import` reads, unchanged from the table."""
    [command] = re.findall(r"^    \.venv/bin/python -c (.*) > restored\.jsonl$", PAGE, re.MULTILINE)
    [code] = shlex.split(command)
    item = {"target_id": "mail-berlin", "host": "pop.example.net", "port": 995, "tags": ["berlin"], "enabled": True}
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(TableName="restored", **definition("Targets"))
        TargetTable(dynamodb, "restored").write([item])
        exec(compile(code, "docs/operating.md", "exec"), {})
    (tmp_path / "restored.jsonl").write_text(capsys.readouterr().out)
    [entry] = read_entries(tmp_path / "restored.jsonl")
    assert entry.fields == item
