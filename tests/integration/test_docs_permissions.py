"""docs/deploying.md lists the AWS actions that commands need: those that they really call, and no others."""

import re
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import time_machine

from tests.examples import START
from tests.integration.conftest import Run
from tests.integration.night import Night, new_night

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()
ROWS = dict(
    re.findall(r"^\| ([^|]+) \| ([^|]*(?:`\w+:\w+`|`\w+`)[^|]*) \|$", PAGE.partition("| to | actions |")[2], re.M)
)

FIND = "find the stack"
READ = "read (`status`, `page`, `report`, `replay`, `targets list`)"
COMMANDS = {
    READ: [
        "status",
        "report --since 90m",
        "replay --since 90m --set failures_per_alert=2",
        "targets list",
    ],
    "write targets, `silence`, `ack`, `suspend`": [
        "silence mail-oslo --for 2h",
        "ack mail-berlin",
        "suspend mail-rome",
        "targets put new host=pop.example.net",
        "targets remove new",
        "targets show mail-rome",
    ],
    "`page --password`": ["page --password"],
    "`page --new-password`": ["page --new-password"],
    "`history`": ["history mail-berlin --since 90m"],
    "`simulate` with a target": ["simulate mail-berlin"],
    "`alert-test`": ["alert-test mail-berlin"],
}


def documented(row: str) -> set[str]:
    """The actions of a row; one without a service belongs to the service before it."""
    service, found = "", set()
    for prefix, action in re.findall(r"`(?:(\w+):)?([A-Z]\w+)`", ROWS[row]):
        service = prefix or service
        found.add(f"{service}:{action}")
    return found


@pytest.fixture
def night() -> Iterator[Night]:
    with new_night() as found:
        found.advance_to(START.replace(minute=15))
        yield found


@pytest.mark.parametrize("row", COMMANDS)
def test_commands_call_what_the_page_says(night: Night, run: Run, row: str) -> None:
    """The row lists what its commands call beyond finding and reading, and every action in it is called."""
    called: set[str] = set()
    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register_first(
        "before-call.*.*", lambda model, **_: called.add(f"{model.service_model.service_name}:{model.name}")
    )
    with time_machine.travel(night.now, tick=False):
        for command in COMMANDS[row]:
            ended = run(*command.split())
            assert ended.code != 3, ended.err
    named = documented(FIND) | documented(READ) | documented(row)
    assert called <= named
    assert documented(row) <= called
