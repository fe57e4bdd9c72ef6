"""Finding a stack: its tables by CloudFormation's outputs, or the local one by `.popwatch/outputs.json`."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from popwatch.aws.store import Store, Tables
from popwatch_cli.errors import UserError
from popwatch_cli.options import Choice
from popwatch_cli.target_table import TargetTable

LOCAL_OUTPUTS = Path(".popwatch") / "outputs.json"
PATIENCE_SECONDS = 2.0
"""How long a local stack may take to accept a connection."""


STACK_NAME = "popwatch"
"""The name of the local stack, and of one in AWS unless another is given."""

_MAKING_CLIENTS = Lock()
"""Clients are safe to share between threads; making them of one session is not."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A deployed stack: its outputs, and where its AWS is (`endpoint` None: Amazon's own)."""

    name: str
    outputs: Mapping[str, str]
    endpoint: str | None = None
    region: str | None = None

    @property
    def stack(self) -> str:
        """The stack's name in CloudFormation."""
        return STACK_NAME if self.endpoint else self.name

    def client(self, service: str) -> Any:
        """A boto3 client of the stack's account and region."""
        if self.endpoint and self.region:
            return local_client(service, self.endpoint, self.region)
        import boto3  # noqa: PLC0415 - `popwatch test` starts without it

        return boto3.client(service, region_name=self.region)  # type: ignore[call-overload]

    @property
    def target_table(self) -> TargetTable:
        """The Targets table, to write to."""
        return TargetTable(self.client("dynamodb"), self.outputs["TargetsTable"])

    @property
    def samples_kept(self) -> timedelta:
        """How long the result of every test is kept."""
        return timedelta(days=int(self.outputs.get("SamplesDays", "30")))

    @property
    def records_kept(self) -> timedelta:
        """How long transitions, alerts, notes and totals are kept."""
        return timedelta(days=int(self.outputs.get("RecordsDays", "400")))

    @property
    def store(self) -> Store:
        """All three tables, to read."""
        tables = Tables(
            self.outputs["TargetsTable"],
            self.outputs["StatusTable"],
            self.outputs["HistoryTable"],
            samples_kept=self.samples_kept,
            records_kept=self.records_kept,
        )
        return Store(self.client("dynamodb"), tables, lambda: datetime.now(UTC))


def find(choice: Choice) -> Installation:
    """The stack that the options of the command name. Raises UserError."""
    return find_local() if choice.local else find_stack(choice.stack)


def find_local(outputs_file: Path = LOCAL_OUTPUTS) -> Installation:
    """The local stack that runs now. Raises UserError."""
    try:
        found = json.loads(outputs_file.read_text())
        installation = Installation("the local stack", found["outputs"], found["endpoint"], found["region"])
    except OSError:
        raise UserError(
            f"No local stack is running: there is no {outputs_file} here. Start one with `make run`, "
            "or run this in the folder in which it runs."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{outputs_file} cannot be read. Stop the local stack and start it again.") from None
    if not _listens(found["endpoint"]):
        raise UserError(f"The local stack of {outputs_file} does not run any more. Start it again with `make run`.")
    return installation


def _listens(endpoint: str) -> bool:
    """Whether anything is at an address; boto3 would try for half a minute."""
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port), PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


def find_stack(name: str) -> Installation:
    """The stack of a name in the caller's AWS account and region. Raises UserError."""
    import boto3  # noqa: PLC0415 - `popwatch test` starts without it
    from botocore.exceptions import ClientError  # noqa: PLC0415

    region = os.environ.get("AWS_REGION")  # the name of all other AWS tools; boto3 reads AWS_DEFAULT_REGION only
    try:
        stacks = boto3.client("cloudformation", region_name=region).describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise UserError(
            f"There is no stack {name} in this AWS account and region: name it with --stack or POPWATCH_STACK, "
            "choose the region with AWS_REGION, or deploy it with `sam deploy --guided`."
        ) from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
    if "TargetsTable" not in outputs:
        raise UserError(f"The stack {name} is no popwatch: it has no output TargetsTable.")
    return Installation(name, outputs, region=region)


def local_client(service: str, endpoint: str, region: str) -> Any:
    """A boto3 client for an endpoint of a local AWS, whatever the caller's own AWS configuration is."""
    with _MAKING_CLIENTS:
        return _session(region).client(service, endpoint_url=endpoint)


@cache
def _session(region: str) -> Any:
    """One session for all clients: it reads botocore's descriptions of AWS once."""
    import boto3  # noqa: PLC0415 - only what talks to AWS pays for it

    return boto3.session.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - opens nothing
        region_name=region,
    )
