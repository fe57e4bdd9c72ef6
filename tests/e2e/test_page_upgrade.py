"""A stack whose page had a chosen password, updated to this version: the page keeps its address, and its password ends.

MiniStack updates a secret as AWS documents it: under its ARN, with a new version where `GenerateSecretString` changes.
"""

import base64
import json
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from popwatch_cli.page_password import read_password, replace_password
from tests.e2e.deployed import Deployed
from tests.e2e.upgraded import Clone
from tests.older_versions import FLAT_VERSION

pytestmark = [pytest.mark.local_stack, pytest.mark.fresh]

CHOSEN = "correct'horse&battery"
KEPT = ("ReportUrl", "ReportFunction")


def admits(stack: Deployed, password: str) -> bool:
    """Whether the page's URL answers a program that sends a password."""
    url_id = urlsplit(stack.local.outputs["ReportUrl"]).netloc.split(".")[0]
    connection = HTTPConnection("127.0.0.1", stack.local.port, timeout=300)
    sent = base64.b64encode(f"prometheus:{password}".encode()).decode()
    connection.request("GET", f"/_aws/lambda-url/{url_id}/metrics", headers={"Authorization": f"Basic {sent}"})
    status = connection.getresponse().status
    connection.close()
    assert status in (200, 401)
    return status == 200


def stored(stack: Deployed, stage: str) -> str:
    client = stack.local.client("secretsmanager")
    arn = stack.local.outputs["ReportSecretArn"]
    return str(client.get_secret_value(SecretId=arn, VersionStage=stage)["SecretString"])


def test_the_page_keeps_its_address(tmp_path: Path) -> None:
    """With Page=on all is as before but the password, which the next deployment does not change; with off it goes."""
    with Clone.beside_cloud(tmp_path / "clone") as clone:
        old = clone.deploy_older_version(FLAT_VERSION, ReportPassword=CHOSEN)
        before = dict(old.local.outputs)
        assert admits(old, CHOSEN)

        new = clone.deploy_this_version(Page="on")
        assert {name: new.local.outputs[name] for name in KEPT} == {name: before[name] for name in KEPT}
        password = read_password(new.installation)
        assert (len(password), password.isalnum()) == (32, True)
        assert admits(new, password)
        assert not admits(new, CHOSEN)
        assert json.loads(stored(new, "AWSPREVIOUS"))["password"] == CHOSEN

        replaced = replace_password(new.installation)
        again = clone.deploy_this_version(Page="on", LogDays="30")
        assert read_password(again.installation) == replaced
        assert again.local.outputs == new.local.outputs

        # LogDays too: MiniStack does not see that the conditions of resources have changed, AWS does.
        off = clone.deploy_this_version(Page="off", LogDays="60")
        assert "ReportUrl" not in off.local.outputs
