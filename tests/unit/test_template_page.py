"""The page's resources as AWS's own translator makes them, before and after its URL became plain CloudFormation.

An update must change none of what gives a page its address and its callers their permission, nor replace its secret.
"""

from pathlib import Path

import pytest
from samcli.commands.deploy.auth_utils import auth_per_resource
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samcli.yamlhelper import yaml_parse

from tests.older_versions import FLAT_VERSION, PROJECT, unpack
from tests.translated import Resources, translated
from tests.unit.test_template_upgrade import replacing

URL = (
    "ShowReportFunctionUrl",
    "ShowReportFunctionUrlPublicPermissions",
    "ShowReportFunctionURLInvokeAllowPublicAccess",
)
PAGE = {*URL, "ReportSecret", "ShowReportFunction", "ShowReportLog", "ShowReportRole"}


@pytest.fixture(scope="module")
def old_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template in which SAM made the URL."""
    return unpack(tmp_path_factory.mktemp("old"), "template.yaml", version=FLAT_VERSION) / "template.yaml"


@pytest.fixture(scope="module")
def old(old_template: Path) -> Resources:
    return page_of(translated(old_template))


@pytest.fixture(scope="module")
def new() -> Resources:
    return page_of(translated(PROJECT / "template.yaml"))


def page_of(made: Resources) -> Resources:
    """The resources of the page."""
    return {name: made[name] for name in made if name.startswith("ShowReport") or name == "ReportSecret"}


def test_url_and_permissions_are_those_of_sam(old: Resources, new: Resources) -> None:
    """The same logical ids, types, conditions and properties: an update leaves them as they are."""
    assert [old[name]["Type"] for name in URL] == ["AWS::Lambda::Url", *["AWS::Lambda::Permission"] * 2]
    assert {name: new[name] for name in URL} == {name: old[name] for name in URL}


def test_the_page_is_updated_in_place(old: Resources, new: Resources) -> None:
    """No resource is added, removed or replaced, by the properties that AWS's schemas call create-only."""
    assert old.keys() == new.keys() == PAGE
    for name, resource in old.items():
        assert {part: new[name].get(part) for part in ("Type", "Condition")} == {
            part: resource.get(part) for part in ("Type", "Condition")
        }
        for changing in replacing(resource["Type"]):
            assert new[name]["Properties"].get(changing) == resource["Properties"].get(changing), (name, changing)


def test_the_secret_gets_another_value(old: Resources, new: Resources) -> None:
    """`GenerateSecretString` changes, for which AWS makes a new value: nothing of the chosen password remains in it."""
    assert old["ReportSecret"]["Properties"]["GenerateSecretString"]["SecretStringTemplate"]
    assert new["ReportSecret"]["Properties"]["GenerateSecretString"] == {
        "PasswordLength": 32,
        "ExcludePunctuation": True,
    }


def test_nothing_is_reserved_by_default(new: Resources) -> None:
    """AWS refuses any reservation in accounts that may run 10 functions at a time, so the default must not make one."""
    template = yaml_parse((PROJECT / "template.yaml").read_text())
    reserved = new["ShowReportFunction"]["Properties"]["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["HasPageConcurrency", {"Ref": "PageConcurrency"}, {"Ref": "AWS::NoValue"}]}
    none = str(template["Parameters"]["PageConcurrency"]["Default"])
    assert template["Conditions"]["HasPageConcurrency"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "PageConcurrency"}, none]}]
    }
    assert "ReservedConcurrentExecutions" not in template["Resources"]["CheckTargetsFunction"]["Properties"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in SAM CLI
def test_sam_asks_nothing_about_the_url(old_template: Path) -> None:
    """The question about a URL without authentication, whose default ends the deployment; it found the old template."""
    assert questions(PROJECT / "template.yaml") == []
    assert questions(old_template) == ["ShowReportFunction Function Url"]


def questions(path: Path) -> list[str]:
    """What `sam deploy --guided` asks about, with every parameter at its default."""
    stacks, _ = SamLocalStackProvider.get_stacks(str(path))
    return [name for name, authorized in auth_per_resource(stacks) if not authorized]
