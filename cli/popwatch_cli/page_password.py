"""The password of the page's URL, in Secrets Manager: shown to whoever may read it, and replaced."""

import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from popwatch.web.authentication import PageSecret
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation

LENGTH = 32
"""Characters of a password, as many as those that the template has Secrets Manager generate: 190 bits."""

ALPHABET = string.ascii_letters + string.digits
"""The characters of the template's passwords: none that a shell, a URL or a configuration file treats specially."""


def read_password(installation: Installation) -> str:
    """The present password. Raises UserError if there is none, and botocore's exceptions."""
    with _explained(installation) as (client, secret_id):
        stored = client.get_secret_value(SecretId=secret_id)
    try:
        return PageSecret.parse(stored.get("SecretString", "")).password
    except ValueError as error:
        raise UserError(str(error)) from None


def replace_password(installation: Installation) -> str:
    """Store a new password, and return it. Raises UserError if the stack has no page, and botocore's exceptions."""
    password = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    with _explained(installation) as (client, secret_id):
        client.put_secret_value(SecretId=secret_id, SecretString=password)
    return password


@contextmanager
def _explained(installation: Installation) -> Iterator[tuple[Any, str]]:
    """A client and the secret's ARN; raises UserError where there is no page or its secret was deleted."""
    secret_id = installation.outputs.get("ReportSecretArn")
    if secret_id is None:
        raise UserError(_no_page(installation))
    try:
        yield installation.client("secretsmanager"), secret_id
    except ClientError as error:
        # Deleted, or marked for it: docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
        if error.response["Error"]["Code"] not in ("ResourceNotFoundException", "InvalidRequestException"):
            raise
        raise UserError(
            f"The secret with the page's password was deleted ({error.response['Error']['Code']}): restore it with "
            f"`aws secretsmanager restore-secret --secret-id {secret_id}`, or deploy with Page=off and then with "
            "Page=on, which gives the page a new address."
        ) from None


def _no_page(installation: Installation) -> str:
    if "ReportUrl" in installation.outputs:
        return f"An earlier version of popwatch deployed the page of {installation.name}: deploy this one with Page=on."
    if installation.endpoint:
        return "The local stack has no page with a password: `make run` prints the address of its page."
    return (
        f"The stack {installation.name} has no page with a password: deploy it with Page=on, or use `popwatch page`, "
        "which needs none."
    )
