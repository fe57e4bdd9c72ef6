"""The local AWS: MiniStack, in a process of its own that ends with its parent.

`python -m popwatch_cli.local.ministack`, configured by the environment that `stack` gives it. It corrects these
differences between MiniStack and AWS:

- MiniStack does not fill in the context attributes in a schedule's input, of which popwatch needs the scheduled time
  (AWS: managing-schedule-context-attributes);
- it leaves parameters of type Number as strings, where CloudFormation makes numbers of them;
- it creates a template's tables without their expiry (TTL) and point-in-time recovery;
- it lets two stacks have one schedule, where Scheduler refuses a name that its group has already (AWS: CreateSchedule,
  ConflictException) and CloudFormation replaces a schedule whose name changes (AWS: aws-resource-scheduler-schedule);
- it puts punctuation into a generated secret whose template excludes it;
- it accepts messages that SNS refuses, and delivers attributes that SNS drops (sns_rules.py);
- it takes values of parameters that SSM refuses, and enforces IAM without the names of parameters that are read
  together (ssm_rules.py);
- it refuses alarms on metric math: here they are created and never fire, as it reads no metrics from logs either;
  `tests/cloudwatch.py` simulates how CloudWatch evaluates them;
- it answers anyone (gate.py), and gives functions its account's number as the key, which the gate would refuse;
- it unpacks the code and the layer again for each process of a function, looking at each name, and Python compiles them
  again: half of the time of a cold start;
- functions see every package of this environment, also those with which SAM has botocore work in another way, and begin
  later, than on Lambda (AWS: lambda-python).
"""

import os
import signal
import string
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any
from uuid import uuid4
from zipfile import BadZipFile, ZipFile

from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.core.responses import error_response_json
from ministack.services import dynamodb, eventbridge, lambda_svc, scheduler, sns, ssm
from ministack.services.cloudformation import provisioners

from popwatch_cli.local import ssm_rules
from popwatch_cli.local.gate import guarded
from popwatch_cli.local.sns_rules import attributes_delivered, refusal_of


def fill_context(text: str, at: datetime) -> str:
    """A schedule's input with Scheduler's context attributes, for a schedule that fires at `at`."""
    attributes = {
        "scheduled-time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "execution-id": str(uuid4()),
        "attempt-number": "1",
    }
    for name, value in attributes.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    return text


def with_whole_numbers(mapping: dict[str, Any]) -> dict[str, Any]:
    """An event source mapping with its concurrency as a number, which a parameter gave as a string."""
    scaling = mapping.get("ScalingConfig") or {}
    return {**mapping, "ScalingConfig": {name: int(value) for name, value in scaling.items()}}


def set_up_table(name: str, properties: dict[str, Any]) -> None:
    """Apply a table's TTL and point-in-time recovery from the template."""
    expiry, recovery = properties.get("TimeToLiveSpecification"), properties.get("PointInTimeRecoverySpecification")
    if expiry:
        dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": expiry})
    if recovery:
        dynamodb._update_continuous_backups({"TableName": name, "PointInTimeRecoverySpecification": recovery})


def create_schedule(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    """Create a schedule for a stack. Raises ValueError if its name exists already."""
    name, group = properties.get("Name"), properties.get("GroupName", "default")
    if name and f"{group}/{name}" in scheduler._schedules:
        raise ValueError(f"Schedule {name} already exists. (Service: Scheduler, Status Code: 409, ConflictException)")
    created: tuple[str, dict[str, Any]] = provisioners._scheduler_schedule_create(logical_id, properties, stack)
    return created


def update_schedule(
    name: str, old: dict[str, Any], new: dict[str, Any], stack: str, logical_id: str
) -> tuple[str, dict[str, Any]]:
    """Update a schedule of a stack; if the template's name for it has changed, create another and delete this one."""
    updated: tuple[str, dict[str, Any]]
    if old.get("Name") == new.get("Name"):
        updated = provisioners._scheduler_schedule_update(name, old, new, stack)
        return updated
    updated = create_schedule(logical_id, new, stack)
    provisioners._delete_predecessor(provisioners._scheduler_schedule_delete, name, old)
    return updated


def without_punctuation(properties: dict[str, Any]) -> dict[str, Any]:
    """A secret's properties with the punctuation listed that `ExcludePunctuation` excludes."""
    rules = properties.get("GenerateSecretString")
    if not rules or not rules.get("ExcludePunctuation"):
        return properties
    excluded = rules.get("ExcludeCharacters", "") + string.punctuation
    return {**properties, "GenerateSecretString": {**rules, "ExcludeCharacters": excluded}}


def published_strictly(publish: Callable[..., Any]) -> Callable[..., Any]:
    """MiniStack's way to publish to a topic, with SNS's own rules for a message and its attributes."""

    def publish_strictly(topic: str, message: str, subject: str = "", **options: Any) -> Any:
        attributes = options.get("message_attributes") or {}
        values = {name: (found["DataType"], found.get("StringValue", "")) for name, found in attributes.items()}
        refusal = refusal_of(message, subject or None, values)
        if refusal:
            raise sns.SnsPublishError(*refusal)
        kept = attributes_delivered(options.get("message_structure"), values)
        options["message_attributes"] = {name: attributes[name] for name in kept}
        return publish(topic, message, subject, **options)

    return publish_strictly


def stored_strictly(put: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """MiniStack's way to put a parameter, with SSM's own rules for its value."""

    def put_strictly(request: dict[str, Any]) -> Any:
        refusal = ssm_rules.refusal_of(request.get("Value", ""), request.get("Tier", "Standard"))
        return error_response_json(*refusal, 400) if refusal else put(request)

    return put_strictly


def with_parameters(extract: Callable[..., str]) -> Callable[..., str]:
    """MiniStack's way to find the resource that a request is about, also if it names several parameters."""

    def extract_with_parameters(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        found = extract(service, method, path, headers, body, *rest)
        if (service, found) != ("ssm", "*"):
            return found
        _, region, account = rest
        return ssm_rules.resource_of(body, region, account)

    return extract_with_parameters


def without_metric_math(properties: dict[str, Any]) -> dict[str, Any]:
    """An alarm's properties, with the first of its metrics in the place of metric math."""
    if "Metrics" not in properties:
        return properties
    rest = {name: value for name, value in properties.items() if name != "Metrics"}
    first = next(entry["MetricStat"] for entry in properties["Metrics"] if "MetricStat" in entry)
    watched = {**first["Metric"], "Period": first["Period"], "Statistic": first["Stat"]}
    return {**rest, **watched, "TreatMissingData": "missing"}


WITHOUT_PACKAGES_OF_SAM = """\
import sys
sys.modules |= {"awscrt": None, "OpenSSL": None}
"""
"""The start of a function's program: to import these fails, as on Lambda."""


class ZipUnpackedOnce(ZipFile):
    """The code of a function or layer: one folder for all processes that run it, and so compiled by the first alone.

    No process may write there: on Lambda these folders are read-only.
    """

    _unpacking = threading.Lock()

    @cached_property
    def _unpacked(self) -> Path:
        content = Path(str(self.filename)).read_bytes()
        return Path(gettempdir()) / "unpacked" / sha256(content).hexdigest()

    def namelist(self) -> list[str]:
        """None once they are unpacked: MiniStack, which looks for names that lead out of the folder, has done so."""
        return [] if self._unpacked.exists() else super().namelist()

    def extractall(self, path: Any = None, *_: Any) -> None:
        """Put a link to the folder in the place of an empty one."""
        with self._unpacking:
            if not self._unpacked.exists():
                incomplete = self._unpacked.with_suffix(".new")
                super().extractall(incomplete)
                incomplete.rename(self._unpacked)
        Path(path).rmdir()
        Path(path).symlink_to(self._unpacked)


def main() -> None:
    """Run until a signal arrives, or until the parent process ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    invoke, limit = eventbridge._invoke_target, lambda_svc._sqs_esm_concurrency
    generate, alarm = provisioners._sm_secret_string, provisioners._cw_metric_alarm_record
    tables = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create = tables["create"]

    def invoke_with_context(target: dict[str, Any], event: dict[str, Any], rule: Any, view: Any = None) -> None:
        if event.get("Source") == "aws.scheduler" and "Input" in target:
            at = datetime.fromtimestamp(event["Time"], UTC)
            target = {**target, "Input": fill_context(target["Input"], at)}
        invoke(target, event, rule, view)

    def create_with_settings(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        name, attributes = create(logical_id, properties, stack)
        set_up_table(name, properties)
        return name, attributes

    eventbridge._invoke_target = invoke_with_context
    sns.publish_internal = published_strictly(sns.publish_internal)
    ssm._put_parameter = stored_strictly(ssm._put_parameter)
    iam_actions.extract_resource_arn = with_parameters(iam_actions.extract_resource_arn)
    tables["create"] = create_with_settings
    provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"] |= {
        "create": create_schedule,
        "update": update_schedule,
        "update_with_logical_id": True,
    }
    provisioners._cw_metric_alarm_record = lambda name, properties: alarm(name, without_metric_math(properties))
    lambda_svc._sqs_esm_concurrency = lambda mapping, *rest: limit(with_whole_numbers(mapping), *rest)
    provisioners._sm_secret_string = lambda properties: generate(without_punctuation(properties))
    lambda_runtime._PYTHON_WORKER_SCRIPT = WITHOUT_PACKAGES_OF_SAM + lambda_runtime._PYTHON_WORKER_SCRIPT
    lambda_runtime.zipfile = SimpleNamespace(ZipFile=ZipUnpackedOnce, BadZipFile=BadZipFile)
    key = os.environ["AWS_ACCESS_KEY_ID"]
    if not app.AUTH:
        lambda_runtime.execution_credentials = lambda _: {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": key}
    app.app = guarded(app.app, key, enforces_iam=app.AUTH)
    sys.argv = sys.argv[:1]
    app.main()


def _end_with_parent() -> None:
    """End this process and the functions it runs when the parent ends, even if it is killed.

    The parent holds the other end of the standard input, which the kernel then closes.
    """
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
