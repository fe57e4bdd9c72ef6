"""What the command says about errors."""

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from popwatch_cli.errors import NEXT_STEPS, UserError, user_message
from tests.aws_calls import SERVICES, model_of


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
