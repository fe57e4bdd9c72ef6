"""A deployed local stack for tests: ticks at chosen times, targets, alerts, the function's processes."""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import boto3

from popwatch.aws.store import Store
from popwatch.model.records import Record
from popwatch.model.serialization import deserialize
from popwatch.model.text import iso
from popwatch.queries.history import event_to_json
from popwatch_cli.installation import Installation, find_local
from popwatch_cli.local.alert_feed import QUEUE_NAME, SMS_QUEUE_NAME, AlertFeed
from popwatch_cli.local.stack import LocalStack, free_port
from popwatch_cli.options import STACK_NAME
from tests.fast_clock import SteppedClock
from tests.tables import NAMES, keys_of

PROJECT = Path(__file__).parents[2]
MINUTE = 60


@dataclass(frozen=True, slots=True)
class Deployed:
    """The stack, and operations on it."""

    local: LocalStack
    installation: Installation
    feed: AlertFeed
    original: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def running(
        cls,
        project: Path,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        trusted_pem: str = "",
        **parameters: str,
    ) -> Iterator[Self]:
        """Build and deploy, and stop at the end; `settings` are MiniStack's own.

        With `trusted_pem` the function trusts another authority beside those of its layer.
        """
        local = LocalStack(
            project,
            folder,
            port=free_port(0),
            parameters={"ScheduleState": "DISABLED", **parameters},
            settings=settings or {},
            key="testing",  # that of all tests, for other clients of it
        )
        try:
            local.start()
            build_once(local)
            for roots in folder.glob("build/**/certifi/cacert.pem") if trusted_pem else ():
                roots.write_text(f"{roots.read_text('utf-8')}\n{trusted_pem}", "utf-8")
            deploy_once(local, again=bool(trusted_pem))
            installation = find_local(folder / "outputs.json")
            yield cls(local, installation, AlertFeed(installation))
        finally:
            local.stop()

    @property
    def store(self) -> Store:
        return self.installation.store

    def put_targets(self, *items: Mapping[str, Any]) -> None:
        self.installation.target_table.write(dict(item) for item in items)

    def tick(self, at: datetime | None = None, *, wait: bool = True) -> Any:
        """Invoke the function for a tick (now, unless given); its error, or None."""
        tick_time = at or datetime.now(UTC)
        answer = self.local.client("lambda").invoke(
            FunctionName=self.local.outputs["CheckTargetsFunction"],
            InvocationType="RequestResponse" if wait else "Event",
            Payload=json.dumps({"scheduled_time": iso(tick_time.replace(microsecond=0))}),
        )
        payload = answer["Payload"].read()
        return json.loads(payload) if answer.get("FunctionError") else None

    def targets(self) -> dict[str, str]:
        """Host and port of each target, by id."""
        items = self.installation.target_table.read()
        return {name: f"{item['host']}:{item['port']}" for name, item in items.items() if "host" in item}

    def state(self, target_id: str) -> str:
        record = self.store.read_records()[1].get(target_id)
        return str(record.health.state) if record else "untested"

    def events(self, target_id: str) -> list[dict[str, Any]]:
        """Transitions and alerts in the order in which they were committed."""
        events = sorted(self.store.read_events(target_id), key=lambda event: (event.version, event.kind))
        return [event_to_json(event) for event in events]

    def configure(self, **variables: str) -> None:
        """Change variables of the function's environment until `clear`."""
        client, name = self.local.client("lambda"), self.local.outputs["CheckTargetsFunction"]
        present = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        self.original.update({key: present[key] for key in variables if key not in self.original})
        client.update_function_configuration(FunctionName=name, Environment={"Variables": {**present, **variables}})

    @contextmanager
    def handled_by(self, module: str, variables: Mapping[str, str], timeout: int = 120) -> Iterator[None]:
        """A module of the tests handles the function's invocations, which it may hand on to the deployed handler.

        Processes that run already come to their end.
        """
        client, name = self.local.client("lambda"), self.local.outputs["CheckTargetsFunction"]
        was = client.get_function_configuration(FunctionName=name)
        own = {**was["Environment"]["Variables"], **variables, "PYTHONPATH": str(PROJECT)}
        client.update_function_configuration(
            FunctionName=name, Handler=f"{module}.handler", Timeout=timeout, Environment={"Variables": own}
        )
        try:
            yield
        finally:
            client.update_function_configuration(
                FunctionName=name, Handler=was["Handler"], Timeout=was["Timeout"], Environment=was["Environment"]
            )

    @contextmanager
    def by_stepped_clock(self, speed: float) -> Iterator["SteppedStack"]:
        """The function by a clock that the test steps from the present on; delays are `speed` times shorter."""
        start = datetime.now(UTC).replace(microsecond=0)
        stepped = SteppedStack(self, SteppedClock(start.isoformat(), str(self.local.folder / "clock")))
        stepped.clock.set(0)
        stepped.journal.unlink(missing_ok=True)
        given = {"clock": asdict(stepped.clock), "speed": speed, "journal": str(stepped.journal)}
        with self.handled_by("tests.fast_function", {"FAST_CLOCK": json.dumps(given)}):
            yield stepped

    @contextmanager
    def testing_at(self, start: datetime) -> Iterator[SteppedClock]:
        """The function's tests begin when this clock says, which shows `start` at first; all else goes by real time."""
        clock = SteppedClock(start.isoformat(), str(self.local.folder / "clock"))
        clock.set(0)
        with self.handled_by("tests.fast_outcomes", {"FAST_CLOCK": json.dumps({"clock": asdict(clock)})}):
            yield clock

    def process_ids(self) -> list[int]:
        """The processes of the function that run now."""
        children = Path(f"/proc/{self.local.process_id}/task").glob("*/children")
        return [int(child) for found in children for child in found.read_text().split()]

    def wait_for(self, what: str, condition: Any, seconds: float = 300.0) -> None:
        """Wait until the condition is true; fails with `what` after `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
            time.sleep(0.1)

    def wait_for_alerts(self, count: int, seconds: float = 300.0) -> list[str]:
        """The subjects of the next `count` alerts, once they have arrived."""
        subjects: list[str] = []

        def has_all() -> bool:
            subjects.extend(alert.subject for alert in self.feed.receive())
            return len(subjects) >= count

        self.wait_for(f"{count} alerts", has_all, seconds)
        return subjects

    def with_rights_of(self, function: str) -> Callable[[str], Any]:
        """A function that makes clients with the rights of a function's role; `function` is the name of its output."""
        found = self.local.client("lambda").get_function(FunctionName=self.local.outputs[function])
        role = found["Configuration"]["Role"]
        anyone = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [anyone]})
        self.local.client("iam").update_assume_role_policy(RoleName=role.rsplit("/", 1)[-1], PolicyDocument=policy)
        session = self.local.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        make: Any = boto3.session.Session(
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
            region_name="us-east-1",
        ).client
        return lambda service: make(service, endpoint_url=self.local.endpoint)

    def physical(self, logical_id: str) -> str:
        """The physical id of one of the stack's resources."""
        return self.installation.read_resources()[logical_id][1]

    @contextmanager
    def without_actions(self, logical_id: str) -> Iterator[None]:
        """An alarm that notifies no one, for a while."""
        client, name = self.local.client("cloudwatch"), self.physical(logical_id)
        (there,) = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        names = ("MetricName", "Namespace", "Statistic", "Dimensions", "Period", "EvaluationPeriods", "Threshold")
        kept = {field: there[field] for field in (*names, "AlarmName", "ComparisonOperator", "TreatMissingData")}
        client.put_metric_alarm(**kept, AlarmActions=[])
        yield
        client.put_metric_alarm(**kept, AlarmActions=there["AlarmActions"])

    def popwatch(self, *arguments: str) -> tuple[list[str], Path]:
        """The command line of `popwatch --local`, and the folder in which to run it."""
        folder = self.local.folder.parent
        (folder / ".popwatch").mkdir(exist_ok=True)
        (folder / ".popwatch" / "outputs.json").write_text((self.local.folder / "outputs.json").read_text())
        return [sys.executable, "-c", "from popwatch_cli.main import main; main()", "--local", *arguments], folder

    def command(self, *arguments: str, said: str | None = None) -> tuple[int, str]:
        """Run `popwatch --local` with these answers; its exit code and what it printed."""
        program, folder = self.popwatch(*arguments)
        ended = subprocess.run(
            program, cwd=folder, input=said, capture_output=True, text=True, timeout=300, check=False
        )
        return ended.returncode, ended.stdout + ended.stderr

    def clear(self) -> None:
        """Empty tables and queues, remove all subscriptions but the feed's, and restore the function's environment."""
        if self.original:
            self.configure(**self.original)
            self.original.clear()
        client = self.local.client("dynamodb")
        for name in NAMES:
            table, keys = self.local.outputs[f"{name}Table"], keys_of(name)
            for page in client.get_paginator("scan").paginate(TableName=table):
                for item in page["Items"]:
                    client.delete_item(TableName=table, Key={key: item[key] for key in keys})
        sqs = self.local.client("sqs")
        for name in ("BatchQueueUrl", "DeadLetterQueueUrl"):
            sqs.purge_queue(QueueUrl=self.local.outputs[name])
        self.feed.receive()
        self.feed.receive_sms()
        sns = self.local.client("sns")
        for topic_arn in self.installation.alert_topic_arns:
            for found in sns.list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]:
                if not found["Endpoint"].endswith((f":{QUEUE_NAME}", f":{SMS_QUEUE_NAME}")):
                    sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


def build_once(local: LocalStack) -> None:
    """`sam build`, or a copy of what another test of this run has built, in the same worker of xdist or in another."""
    shared, own = _of_run(local, "built"), local.folder / "build"
    if shared is None:
        local.build()
        return

    def build(folder: Path) -> None:
        local.build()
        shutil.copytree(own, folder, symlinks=True)

    _made_now(shared, build)
    if not own.exists():
        shutil.copytree(shared, own, symlinks=True)


def deploy_once(local: LocalStack, *, again: bool = False) -> None:
    """`sam deploy`, or what it had sent to AWS for another test of this run, sent anew with this stack's parameters.

    `again`: what is built here is not what the others have built.
    """
    shared = _of_run(local, "packaged")
    if again or shared is None:
        local.deploy()
        return

    def deploy(folder: Path) -> None:
        local.deploy()
        _keep_package(local, folder)

    if not _made_now(shared, deploy):
        _deploy_package(local, shared)


def _of_run(local: LocalStack, name: str) -> Path | None:
    """A folder that all workers of a run of xdist share; None in a run without."""
    worker = local.folder.parent  # .../popen-gw0/stack0, in pytest's folder of this run
    return worker.parent / name if worker.name.startswith("popen-") else None


def _made_now(shared: Path, make: Callable[[Path], None]) -> bool:
    """Make a folder, unless a test of this run has made it before."""
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shared.exists():
            return False
        make(shared.with_suffix(".new"))
        shared.with_suffix(".new").rename(shared)
        return True


TEMPLATE = "template"
"""The file of a kept package that holds the packaged template; its folders are buckets."""


def _keep_package(local: LocalStack, folder: Path) -> None:
    s3 = local.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        (folder / bucket["Name"]).mkdir(parents=True)
        for found in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            body = s3.get_object(Bucket=bucket["Name"], Key=found["Key"])["Body"].read()
            (folder / bucket["Name"] / found["Key"]).write_bytes(body)
    sent = local.client("cloudformation").get_template(StackName=STACK_NAME, TemplateStage="Original")["TemplateBody"]
    (folder / TEMPLATE).write_text(sent if isinstance(sent, str) else json.dumps(sent))


def _deploy_package(local: LocalStack, folder: Path) -> None:
    s3, cloudformation = local.client("s3"), local.client("cloudformation")
    for bucket in folder.iterdir():
        if bucket.is_dir():
            s3.create_bucket(Bucket=bucket.name)
            for found in bucket.iterdir():
                s3.put_object(Bucket=bucket.name, Key=found.name, Body=found.read_bytes())
    cloudformation.create_stack(
        StackName=STACK_NAME,
        TemplateBody=(folder / TEMPLATE).read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in local.all_parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=STACK_NAME, WaiterConfig={"Delay": 1})
    local.write_outputs()


@dataclass(frozen=True, slots=True)
class SteppedStack:
    """The stack whose function goes by a clock that the test steps."""

    stack: Deployed
    clock: SteppedClock

    @property
    def journal(self) -> Path:
        """The file to which the function adds each record of Status that it has written."""
        return self.stack.local.folder / "journal"

    @property
    def start(self) -> datetime:
        """The first tick."""
        return datetime.fromisoformat(self.clock.began)

    def records(self, target_id: str) -> dict[float, Record]:
        """The first record of each tick that judged a target, by the seconds from the first tick to it."""
        found: dict[float, Record] = {}
        for line in self.journal.read_text().splitlines() if self.journal.exists() else ():
            record = deserialize(Record, json.loads(line))
            if record.target_id == target_id and record.tick:
                found.setdefault((record.tick - self.start).total_seconds(), record)
        return found

    def run(
        self, target_id: str, expected: Sequence[float], before: Callable[[timedelta], None] = lambda _: None
    ) -> dict[float, Record]:
        """A tick each minute until a target has been tested at all of these seconds; the records of those tests.

        The clock steps from one tick or expected test to the next. `before` is called before each tick.
        """
        ticks = range(0, int(expected[-1]) + 1, MINUTE)
        for seconds in sorted({*ticks, *expected}):
            self.clock.set(seconds)
            if seconds in ticks:
                before(timedelta(seconds=seconds))
                error = self.stack.tick(self.start + timedelta(seconds=seconds))
                assert error is None, error
            if seconds in expected:
                self.stack.wait_for(f"the test at {seconds:.0f} s", partial(self._has, target_id, seconds), 120)
        return self.records(target_id)

    def _has(self, target_id: str, seconds: float) -> bool:
        return seconds in self.records(target_id)
