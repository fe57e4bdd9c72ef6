"""Finding a stack: in AWS by the outputs of CloudFormation, the local one by `.popwatch/outputs.json`."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from popwatch.alerts.tokens import LOCAL_STACK
from popwatch.aws.store import Store, Tables
from popwatch_cli.errors import UserError, user_message
from popwatch_cli.options import STACK_NAME, StackChoice, region_hint
from popwatch_cli.output.terminal import say
from popwatch_cli.target_table import TargetTable

LOCAL_OUTPUTS = Path(".popwatch") / "outputs.json"
CONNECT_SECONDS = 2.0
"""How long a local stack may take to accept a connection."""


SLOW_CLOCK = timedelta(minutes=15)
"""How slow this machine's clock may be: AWS refuses requests that are signed by a slower one."""

_CLIENT_LOCK = Lock()
"""Clients may be shared between threads, but a session that creates them may not.

boto3.amazonaws.com/v1/documentation/api/latest/guide/session.html"""


USUAL_KEY = "local"
"""The key of a local endpoint that needs none."""

_KEYS: dict[str, str] = {}
"""The keys of the local stacks that this process has started or found, by their endpoints."""


Resources = Mapping[str, tuple[str, str]]
"""A stack's resources: logical id -> type and physical id."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A deployed stack: its outputs, and the endpoint of its AWS (None for the real one)."""

    name: str
    outputs: Mapping[str, str]
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def stack(self) -> str:
        """The stack's name in CloudFormation."""
        return STACK_NAME if self.endpoint else self.name

    def client(self, service: str) -> Any:
        """The boto3 client of a service, for the stack's account and region: one, since to make it takes long."""
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def _new_client(self, service: str) -> Any:
        if self.endpoint and self.region:
            return local_client(service, self.endpoint, self.region)
        return _aws_client(service, self.region, self.profile)

    def read_resources(self) -> Resources:
        """The stack's resources. Raises what botocore raises."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            summary["LogicalResourceId"]: (summary["ResourceType"], summary.get("PhysicalResourceId", ""))
            for page in pages.paginate(StackName=self.stack)
            for summary in page["StackResourceSummaries"]
        }

    @property
    def target_table(self) -> TargetTable:
        """The Targets table, to write to."""
        return TargetTable(self.client("dynamodb"), self.outputs["TargetsTable"])

    @property
    def alert_topic_arns(self) -> list[str]:
        """The topics of alerts; stacks of versions before the SMS topic have one."""
        return [self.outputs[name] for name in ("AlertTopicArn", "SmsTopicArn") if name in self.outputs]

    @property
    def samples_kept(self) -> timedelta:
        """How long the result of every test is kept."""
        return timedelta(days=int(self.outputs.get("SamplesDays", "30")))

    @property
    def history_kept(self) -> timedelta:
        """How long transitions, alerts, interventions and totals are kept."""
        return timedelta(days=int(self.outputs.get("RecordsDays", "400")))

    @property
    def store(self) -> Store:
        """All three tables, to read."""
        tables = Tables(
            self.outputs["TargetsTable"],
            self.outputs["StatusTable"],
            self.outputs["HistoryTable"],
            samples_kept=self.samples_kept,
            history_kept=self.history_kept,
        )
        return Store(self.client("dynamodb"), tables, lambda: datetime.now(UTC), clock_error=SLOW_CLOCK)


def find(choice: StackChoice) -> Installation:
    """The stack that the options name. Raises UserError, and what botocore raises."""
    if choice.local and choice.for_aws_alone:
        raise UserError(
            f"{choice.for_aws_alone[0]} does nothing with --local, the stack of `make run`: leave out one of them."
        )
    installation = find_local() if choice.local else _find_in_aws(choice)
    if choice.verbose:
        region = f", region {installation.region}" if installation.region else ""
        where = f"at {installation.endpoint}" if installation.endpoint else "in AWS"
        say(f"Using {installation.name} {where}{region}.", err=True)
    return installation


def _find_in_aws(choice: StackChoice) -> Installation:
    """The stack in AWS. Raises UserError, which names a local stack if there is one, and what botocore raises."""
    try:
        return find_stack(choice.stack, choice.region, choice.profile)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        message += region_hint(choice.region or os.environ.get("AWS_REGION"))
        if not local_runs():
            raise UserError(message) from error
        replaced = " and ".join(f"`{option}`" for option in choice.for_aws_alone)
        instead = f" in place of {replaced}" if replaced else ""
        raise UserError(f"{message} A local stack is running here: to use it, add `--local`{instead}.") from error


def local_runs() -> bool:
    """Whether a local stack runs in this folder."""
    try:
        find_local()
    except UserError:
        return False
    return True


def find_local(outputs_file: Path = LOCAL_OUTPUTS) -> Installation:
    """The local stack that is running. Raises UserError."""
    try:
        saved = json.loads(outputs_file.read_text())
        installation = Installation(LOCAL_STACK, saved["outputs"], saved["endpoint"], saved["region"])
        if "key" in saved:  # not in those of earlier versions
            remember_key(saved["endpoint"], saved["key"])
    except FileNotFoundError:
        raise UserError(
            f"No local stack is running: there is no {outputs_file} here. Start one with `make run`, "
            "or give this command in the folder where it was started."
        ) from None
    except OSError as error:
        raise UserError(f"{outputs_file} of the local stack cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{outputs_file} cannot be read. Stop the local stack and start it again.") from None
    _connect(outputs_file, saved["endpoint"])
    return installation


def _connect(outputs_file: Path, endpoint: str) -> None:
    """Try whether the endpoint accepts a connection: boto3 would retry for half a minute. Raises UserError."""
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port), CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        raise UserError(
            f"The local stack of {outputs_file} is no longer running. Start it again with `make run`."
        ) from None
    except OSError as error:
        why = error.strerror or f"no answer within {CONNECT_SECONDS:g} s"  # a time-out has no text of the system
        raise UserError(f"The local stack of {outputs_file} cannot be reached at {endpoint}: {why}.") from None


def find_stack(name: str, region: str | None = None, profile: str | None = None) -> Installation:
    """The stack with this name in the caller's AWS account, or that of `profile`. Raises UserError.

    Without a region it is that of the environment.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    region = region or os.environ.get("AWS_REGION")  # boto3, unlike AWS's other tools, reads AWS_DEFAULT_REGION only
    try:
        stacks = _aws_client("cloudformation", region, profile).describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html: "If the stack doesn't
        # exist, a ValidationError is returned."
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise UserError(
            f"There is no stack {name} in this AWS account and region: name it with --stack or POPWATCH_STACK, "
            "choose the region with --region or AWS_REGION, or deploy it with `make deploy`."
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
    if "TargetsTable" not in outputs:
        raise UserError(f"{name} is not a popwatch stack: it has no output TargetsTable.")
    return Installation(name, outputs, region=region, profile=profile)


def _aws_client(service: str, region: str | None, profile: str | None) -> Any:
    """A boto3 client for AWS, with the caller's own configuration."""
    import boto3  # noqa: PLC0415 - `popwatch test` starts without it

    if profile is None:
        return boto3.client(service, region_name=region)  # type: ignore[call-overload]
    with _CLIENT_LOCK:
        return _profile_session(profile).client(service, region_name=region)


@cache
def _profile_session(profile: str) -> Any:
    """One session for all clients of a profile. Raises what botocore raises for one that does not exist."""
    import boto3  # noqa: PLC0415 - `popwatch test` starts without it

    return boto3.session.Session(profile_name=profile)


def remember_key(endpoint: str, key: str) -> None:
    """Let clients of a local endpoint use the key of its run from here on."""
    _KEYS[endpoint] = key


def local_key(endpoint: str) -> str:
    """The key of a local endpoint's run, as far as it is known here."""
    return _KEYS.get(endpoint, USUAL_KEY)


def local_client(service: str, endpoint: str, region: str) -> Any:
    """A boto3 client for a local endpoint, independent of the caller's own AWS configuration."""
    with _CLIENT_LOCK:
        return _session(region, local_key(endpoint)).client(service, endpoint_url=endpoint)


@cache
def _session(region: str, key: str) -> Any:
    """One session for all clients, because each session reads botocore's service descriptions again."""
    import boto3  # noqa: PLC0415 - `popwatch test` starts without it
    import botocore.session  # noqa: PLC0415 - likewise

    # No profile, and no files of them: a wrong one would end the command although the local stack needs none.
    nothing = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    alone = botocore.session.Session(session_vars={"profile": (None, None, None, None), **nothing})
    return boto3.session.Session(
        aws_access_key_id=key, aws_secret_access_key=key, region_name=region, botocore_session=alone
    )
