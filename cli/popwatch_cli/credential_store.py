"""A stack's credentials in SSM's Parameter Store: stored, listed, removed. A secret comes out only to log in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from popwatch.aws.credentials import DENIED, Credentials
from popwatch.model.credential_problems import CredentialProblem
from popwatch.model.credential_state import CredentialState, revision
from popwatch.model.credentials import Credential, Secret, UnusableCredentialError
from popwatch.model.stored_credentials import StoredCredential, from_value, path_of, to_value
from popwatch.model.text import did_you_mean
from popwatch.prober.access_tokens import LONGEST_SECONDS, AccessTokens
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation


@dataclass(frozen=True, slots=True)
class ListedCredential:
    """A credential as it may be shown: without its secret. `problem` is why it cannot be used, or empty.

    `state` is what logins have shown of this version: `untried`, `tried` if no server has said whether it is right,
    `accepted`, `rejected` once, or `blocked`, so that it is not tried any more; `rejected_by` is the target at which
    that was, and `said` what its server said. It is `unusable` if the function could not use it at its last attempt,
    since `unusable_since`, as it could not read it or got no access token.
    """

    name: str
    version: int
    changed_at: datetime
    user: str = ""
    mechanism: str = ""
    problem: str = ""
    state: str = "untried"
    rejected_by: str = ""
    said: str = ""
    unusable_since: datetime | None = None


def put_credential(installation: Installation, credential: StoredCredential) -> int:
    """Store a credential, or another version of it; its version. Raises UserError, and botocore's exceptions.

    The tier is named, or the account's own default could be one that costs money.
    """
    try:
        value = to_value(credential)
    except UnusableCredentialError as error:
        raise UserError(f"{error} Nothing was stored.") from None
    answer = installation.client("ssm").put_parameter(
        Name=path_of(installation.stack) + credential.name,
        Value=value,
        Type="SecureString",
        Tier="Standard",
        Overwrite=True,
        Description="A login of popwatch, stored by `popwatch credentials put`.",
    )
    return int(answer["Version"])


def list_credentials(installation: Installation) -> list[ListedCredential]:
    """All credentials of the stack by name. Raises botocore's exceptions."""
    pages = installation.client("ssm").get_paginator("get_parameters_by_path")
    found = pages.paginate(Path=path_of(installation.stack), WithDecryption=True)
    listed = sorted((_listed(parameter) for parameter in _parameters(found)), key=lambda one: one.name)
    return [_with_state(one, installation.store.read_credential_state(one.name)) for one in listed]


def credential_names(installation: Installation) -> list[str] | None:
    """The names of the stack's credentials; None for who may not list them. Nothing else of them is read.

    Raises botocore's exceptions.
    """
    path = path_of(installation.stack)
    pages = installation.client("ssm").get_paginator("describe_parameters")
    within = {"Key": "Path", "Option": "OneLevel", "Values": [path.rstrip("/")]}
    try:
        found = list(_parameters(pages.paginate(ParameterFilters=[within])))
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        return None
    return [parameter["Name"].removeprefix(path) for parameter in found]


def _with_state(one: ListedCredential, state: CredentialState) -> ListedCredential:
    """What logins have shown of the present version; that of another one says nothing."""
    if state.problem_since and state.problem_since >= one.changed_at:
        return replace(one, state="unusable", unusable_since=state.problem_since)
    if state.revision != revision(one.version, one.changed_at):
        return one
    if state.rejections:
        word = "blocked" if state.blocked else "rejected"
        return replace(one, state=word, rejected_by=state.rejected_by, said=state.said)
    if state.passed_at:
        return replace(one, state="accepted")
    return replace(one, state="tried") if state.tried_by else one


def read_login(installation: Installation, name: str) -> Credential:
    """What a login with a stored credential sends; for XOAUTH2 a token is fetched. Raises UserError."""

    def clock() -> datetime:
        return datetime.now(UTC)

    credentials = Credentials(lambda: installation.client("ssm"), path_of(installation.stack), clock)
    found: StoredCredential | CredentialProblem = credentials.read([name])[name]
    token: Secret | CredentialProblem | None = None
    if isinstance(found, StoredCredential) and found.token_source:
        token = AccessTokens(clock).read([found], LONGEST_SECONDS)[name]
    for problem in (found, token):
        if isinstance(problem, CredentialProblem):
            raise UserError(problem.explanation)
    assert isinstance(found, StoredCredential)  # noqa: S101 - narrows the type
    assert not isinstance(token, CredentialProblem)  # noqa: S101
    return found.credential(token)


def remove_credential(installation: Installation, name: str) -> None:
    """Remove a credential. Raises UserError if there is none, and botocore's exceptions."""
    try:
        installation.client("ssm").delete_parameter(Name=path_of(installation.stack) + name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
    else:
        return
    known = credential_names(installation) or ()
    raise UserError(f"There is no credential {name}.{did_you_mean(name, known)} `popwatch credentials list` shows all.")


def _parameters(pages: Any) -> Iterator[Any]:
    for page in pages:
        yield from page["Parameters"]


def _listed(parameter: Any) -> ListedCredential:
    name, version = parameter["Name"].rpartition("/")[2], int(parameter["Version"])
    changed_at = parameter["LastModifiedDate"].astimezone(UTC)
    try:
        found = from_value(name, parameter["Value"], version, changed_at)
    except UnusableCredentialError as error:
        return ListedCredential(name, version, changed_at, problem=str(error))
    return ListedCredential(name, version, changed_at, found.user, str(found.mechanism))
