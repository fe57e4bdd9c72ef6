"""What the command says about errors."""

from typing import Any

import boto3
import botocore.exceptions
import click
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from popwatch_cli.commands.interventions import _without_length
from popwatch_cli.commands.targets import field_line
from popwatch_cli.errors import NEXT_STEPS, UserError, user_message
from popwatch_cli.given_secrets import given_secret
from popwatch_cli.installation import find, find_stack
from popwatch_cli.main import is_interrupt
from popwatch_cli.options import StackChoice
from popwatch_cli.selection import Selection
from popwatch_cli.web_server import served
from tests.aws_calls import SERVICES, model_of
from tests.closed_port import closed_port


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "No."}}, "Scan")


def test_a_users_mistake_is_told_as_it_is() -> None:
    """The sentence was written for people, so it is not changed."""
    assert user_message(UserError("Do this.")) == "Do this."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "Unable to locate credentials. Sign in with"),
        (refused("ExpiredToken"), "operation: No. Sign in again"),
        (refused("AccessDeniedException"), "operation: No. Ask for the permission"),
        (refused("AuthorizationError"), "operation: No. Ask for the permission"),
        (refused("NotFound"), "operation: No. The stack's topic does not exist"),
    ],
)
def test_errors_of_aws_come_with_the_next_step(error: Exception, said: str) -> None:
    """What botocore says, and what to do about it."""
    assert said in (user_message(error) or "")


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"])
@pytest.mark.parametrize("value", ["é", "eu central 1", "\udcff", "x" * 300])
def test_a_setting_that_is_none(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Our own sentence, which names the setting, and no parameter of botocore."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(botocore.exceptions.BotoCoreError) as found:
        find_stack("popwatch")
    said = user_message(found.value) or ""
    expected = {"AWS_PROFILE": "There is no profile "}
    assert expected.get(variable, " is not a region. Correct --region or AWS_REGION, such as --region eu") in said
    assert "region_name" not in said
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize(("region", "hint"), [("us-est-1", " Did you mean us-east-1 or us-west-1?"), ("eu-west-3", "")])
def test_a_region_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, region: str, hint: str) -> None:
    """A mistyped one is said to be so; for one that exists, it may be the network."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with closed_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(UserError) as raised:
            find(StackChoice(region=region))
    assert str(raised.value).endswith(f"Check the network, and the region in --region or AWS_REGION.{hint}")


def test_a_configuration_that_is_none() -> None:
    """It names the file."""
    said = user_message(botocore.exceptions.ConfigParseError(path="/home/a/.aws/config", error="No section"))
    assert said == "/home/a/.aws/config cannot be read as an AWS configuration. " + NEXT_STEPS["ConfigParseError"]


def test_an_error_without_advice_is_told_all_the_same() -> None:
    """Not every error of AWS has a next step."""
    assert (user_message(refused("LimitExceeded")) or "").endswith("operation: No.")


def test_a_defect_is_no_message() -> None:
    """A bug in popwatch has no message, so that its traceback is shown."""
    assert user_message(KeyError("x")) is None


def test_advice_names_errors_that_exist() -> None:
    """Names of exceptions are those of botocore; codes that end alike are those of its models."""
    codes = {error.error_code for service in SERVICES for error in model_of(service).error_shapes}
    classes = [name for name in NEXT_STEPS if name.endswith("Error") or name == "ProfileNotFound"]
    assert [name for name in classes if not hasattr(botocore.exceptions, name) and name not in codes] == []


@pytest.mark.parametrize(("cause", "interrupted"), [(KeyboardInterrupt, True), (EOFError, False)])
@pytest.mark.parametrize("hidden", [True, False])
def test_ctrl_c_at_a_question(
    monkeypatch: pytest.MonkeyPatch, cause: type[BaseException], interrupted: bool, hidden: bool
) -> None:
    """It has the exit code of Ctrl-C, also where a password is asked for; an input that ends has another."""

    def ends(_prompt: str) -> str:
        raise cause

    monkeypatch.setattr(f"click.termui.{'hidden' if hidden else 'visible'}_prompt_func", ends)
    with pytest.raises(click.Abort) as caught:
        click.prompt("Password", hide_input=hidden)
    assert is_interrupt(caught.value) is interrupted


@pytest.mark.parametrize("width", [44, 60, 80, 200])
def test_fields_fit_into_the_terminal(width: int) -> None:
    """Nothing is lost: what has no room goes on below."""
    written = "Call Anna first, then the carrier, then the on-duty manager of this week"
    for name, value, origin in (
        ("notes", written, "from _defaults"),
        ("host", "pop.example.net", ""),
        ("tls", "-", "default"),
    ):
        line = field_line(name, value, origin, width)
        assert all(len(part) <= width for part in line.split("\n"))
        assert line.split() == [name, *value.split(), *origin.split()]
    assert field_line("host", "a", "default", 80) == f"{'host':<22}{'a':<40} default"


def test_a_silence_without_its_option() -> None:
    """A time among the ids is what --for would take."""
    assert _without_length(Selection(("j2", "2h"))).message == "Missing option '--for'. Did you mean --for 2h?"
    assert _without_length(Selection(("j2",))).message == "Missing option '--for'."


def test_another_port_if_the_usual_one_is_taken() -> None:
    """`make run` has the page of its stack there already; a port that someone asked for is not replaced."""
    site: Any = None
    with served(site, 0) as first:
        port = int(first.rstrip("/").rpartition(":")[2])
        with served(site, port, or_another=True) as second:
            assert second != first
        with pytest.raises(UserError, match="choose another with --port"), served(site, port):
            pass


def test_a_password_that_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that differs the second time is asked for again; an empty one ends the command, with what was not done."""
    typed = iter(["one", "other", "one", "one", "", "one", ""])
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(typed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert given_secret(None, "Password", confirm=True).reveal() == "one"
    for _ in range(2):
        with pytest.raises(UserError, match=r"^No password was typed\. Nothing was stored\.$"):
            given_secret(None, "Password", confirm=True, outcome="Nothing was stored.")
