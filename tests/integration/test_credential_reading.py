"""How the function reads credentials: once, ten at a time, and whatever fails is a problem of that credential alone."""

import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from popwatch.aws.credentials import (
    CACHED_FOR,
    CACHED_WITHOUT_AWS_FOR,
    MAX_NAMES,
    PARAMETER_READERS,
    Credentials,
)
from popwatch.model.credential_problems import PROBLEM_CACHED_FOR, CredentialProblem, Unusable
from popwatch.model.credentials import Secret
from popwatch.model.stored_credentials import StoredCredential, to_value
from tests.integration.test_store import Body

CANARY = "canary-4b1e"
PATH = "/popwatch/popwatch/credentials/"
NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@dataclass
class Reading:
    """Credentials over moto's SSM, with a clock and what was asked for."""

    ssm: Any
    now: datetime = NOON
    asked: list[list[str]] = field(default_factory=list)
    decrypted: list[list[str]] = field(default_factory=list)
    clients: int = 0

    def __post_init__(self) -> None:
        self.credentials = Credentials(self._client, PATH, lambda: self.now)
        self.ssm.meta.events.register("provide-client-params.ssm.GetParameters", self._count)

    def _client(self) -> Any:
        self.clients += 1
        return self.ssm

    def _count(self, params: Any, **_: Any) -> None:
        names = [name.removeprefix(PATH) for name in params["Names"]]
        self.asked.append(names)
        if params["WithDecryption"]:
            self.decrypted.append(names)

    def put(self, name: str, value: str | None = None) -> None:
        """Store a credential whose secret is the canary, or another value."""
        value = value or to_value(StoredCredential(name, f"{name}@example.net", Secret(CANARY)))
        self.ssm.put_parameter(Name=PATH + name, Value=value, Type="SecureString", Overwrite=True)

    def problem(self, name: str) -> CredentialProblem:
        """What is wrong with a credential."""
        found = self.credentials.read([name])[name]
        assert isinstance(found, CredentialProblem)
        return found

    def user(self, name: str) -> str:
        """The user of one that can be read."""
        found = self.credentials.read([name])[name]
        assert isinstance(found, StoredCredential), found
        return found.user


@pytest.fixture
def reading() -> Iterator[Reading]:
    """Nothing is read yet."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    with mock_aws():
        yield Reading(boto3.client("ssm", config=config))


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the level of the functions' root logger: botocore's debug lines have whole answers in them."""
    logging.getLogger().setLevel(logging.WARNING)
    yield
    assert CANARY not in caplog.text
    assert not any(CANARY in str(vars(record)) for record in caplog.records)


def failing(reading: Reading, error: Exception, only: str = "") -> Callable[[], None]:
    """Let GetParameters fail, for requests that have this name; returns what ends that."""

    def fail(params: Any, **_: Any) -> None:
        if not only or PATH + only in params["body"].decode():
            raise error

    reading.ssm.meta.events.register("before-call.ssm.GetParameters", fail)
    return lambda: reading.ssm.meta.events.unregister("before-call.ssm.GetParameters", fail)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{CANARY} refused"}}, "GetParameters")


def test_nothing_is_asked_for_while_no_target_has_a_login(reading: Reading) -> None:
    """No client is made either: that takes a function without logins no time."""
    assert reading.credentials.read([]) == {}
    assert (reading.clients, reading.asked) == (0, [])


def test_read_once_and_kept_for_minutes(reading: Reading) -> None:
    """Then again, with what has changed since; version and time of change are the parameter's."""
    reading.put("a")
    assert reading.user("a") == "a@example.net"
    reading.put("a", to_value(StoredCredential("a", "other", Secret(CANARY))))
    reading.now += CACHED_FOR - timedelta(seconds=1)
    assert reading.user("a") == "a@example.net"
    reading.now += timedelta(seconds=1)
    found = reading.credentials.read(["a"])["a"]
    assert isinstance(found, StoredCredential)
    assert (found.user, found.version, found.secret.reveal()) == ("other", 2, CANARY)
    assert found.changed_at is not None
    assert found.changed_at.tzinfo is UTC
    assert (reading.clients, reading.asked) == (1, [["a"], ["a"], ["a"]])
    assert reading.decrypted == [["a"], ["a"]]


def test_only_what_was_changed_is_decrypted_again(reading: Reading) -> None:
    """Each decryption costs money. One that was removed and stored again has version 1, too, and is another."""
    for name in ("a", "b", "c", "d"):
        reading.put(name)
    reading.credentials.read(["a", "b", "c"])
    reading.put("b")
    reading.ssm.delete_parameter(Name=f"{PATH}c")
    reading.now += CACHED_FOR
    first = reading.credentials.read(["a", "b", "c", "d"])
    assert [type(one) for one in first.values()] == [*2 * [StoredCredential], CredentialProblem, StoredCredential]
    assert reading.asked[1:] == [["a", "b", "c"], ["d", "b", "c"]]
    assert reading.decrypted == [["a", "b", "c"], ["d", "b", "c"]]
    reading.ssm.delete_parameter(Name=f"{PATH}a")
    time.sleep(0.01)
    reading.put("a", to_value(StoredCredential("a", "other", Secret(CANARY))))
    reading.now += CACHED_FOR
    assert reading.user("a") == "other"
    reading.now += CACHED_WITHOUT_AWS_FOR * 24
    assert reading.user("a") == "other"
    assert reading.decrypted[2:] == [["a"]]


def test_ten_in_a_call(reading: Reading) -> None:
    """Each once, however often it is named; one that was read already is not asked for."""
    names = [f"m-{number:02}" for number in range(23)]
    for name in names:
        reading.put(name)
    reading.user(names[0])
    found = reading.credentials.read([*names, *names])
    assert list(found) == names
    assert all(isinstance(one, StoredCredential) for one in found.values())
    assert sorted(len(asked) for asked in reading.asked) == [1, 2, MAX_NAMES, MAX_NAMES]


def test_each_problem_is_one_of_its_own_credential(reading: Reading) -> None:
    """One that is missing, one that is damaged, and one that can be read, in one call."""
    reading.put("good")
    reading.put("damaged", f'{{"user": "anna", "secret": "{CANARY}')
    found = reading.credentials.read(["good", "damaged", "gone"])
    assert isinstance(found["good"], StoredCredential)
    damaged, gone = found["damaged"], found["gone"]
    assert isinstance(damaged, CredentialProblem)
    assert isinstance(gone, CredentialProblem)
    assert (damaged.reason, gone.reason) == (Unusable.DAMAGED, Unusable.MISSING)
    assert "it is not a JSON object" in damaged.explanation
    assert "`popwatch credentials put gone" in gone.explanation
    assert [len(asked) for asked in reading.asked] == [3]


def test_a_problem_is_asked_about_again_at_the_next_sweep(reading: Reading) -> None:
    """Not within one, which may ask for each of its batches."""
    assert reading.problem("a").reason is Unusable.MISSING
    reading.put("a")
    assert reading.problem("a").reason is Unusable.MISSING
    reading.now += PROBLEM_CACHED_FOR
    assert reading.user("a") == "a@example.net"


def test_a_key_of_the_users_own_denies_that_credential_alone(reading: Reading) -> None:
    """AWS denies the whole request for one such parameter: the others are asked for alone."""
    for name in ("a", "b", "own-key"):
        reading.put(name)
    end = failing(reading, refusal("AccessDeniedException"), "own-key")
    found = reading.credentials.read(["a", "own-key", "b"])
    assert [type(one) for one in found.values()] == [StoredCredential, CredentialProblem, StoredCredential]
    denied = found["own-key"]
    assert isinstance(denied, CredentialProblem)
    assert (denied.reason, denied.code) == (Unusable.DENIED, "AccessDeniedException")
    assert "a key of your own" in denied.explanation
    end()


FAULTS = [
    refusal("ThrottlingException"),
    refusal("InternalServerError"),
    EndpointConnectionError(endpoint_url="https://ssm"),
    ValueError(CANARY),
    RuntimeError(f"{{'Parameters': [{{'Value': '{CANARY}'}}]}}"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_faults_of_aws(reading: Reading, fault: Exception) -> None:
    """A problem with AWS's code or the exception's name, never its text; after the first no other call is begun."""
    end = failing(reading, fault)
    names = [f"m-{number:03}" for number in range(250)]
    found = reading.credentials.read(names)
    problems = [one for one in found.values() if isinstance(one, CredentialProblem)]
    assert len(problems) == 250
    assert {one.reason for one in problems} == {Unusable.UNAVAILABLE}
    assert len(reading.asked) <= PARAMETER_READERS
    assert CANARY not in "".join(one.explanation + repr(one) for one in problems)
    end()


def test_a_slow_service_takes_its_time_once() -> None:
    """However many credentials there are: the others wait for the next sweep, and what was answered is used."""
    begun: list[str] = []
    over = threading.Event()

    class Slow:
        @staticmethod
        def get_parameters(Names: list[str], **_: Any) -> dict[str, Any]:
            begun.append(Names[0])
            if Names[0] != f"{PATH}m-000":
                over.wait(20)
            value = to_value(StoredCredential("n", "anna", Secret(CANARY)))
            return {"Parameters": [{"Name": n, "Value": value, "Version": 1, "LastModifiedDate": NOON} for n in Names]}

    credentials = Credentials(Slow, PATH, lambda: NOON, seconds=0.3)
    names = [f"m-{number:03}" for number in range(800)]
    before = time.monotonic()
    found = credentials.read(names)
    took = time.monotonic() - before
    over.set()
    assert took < 5
    assert len(begun) == 1 + PARAMETER_READERS
    assert all(isinstance(found[name], StoredCredential) for name in names[:MAX_NAMES])
    late = found[names[-1]]
    assert isinstance(late, CredentialProblem)
    assert (late.reason, late.code) == (Unusable.UNAVAILABLE, "TimeoutError")


def test_what_is_denied_is_asked_for_alone_once_in_minutes(reading: Reading) -> None:
    """Eleven requests for ten credentials: not at each sweep. Whoever permits it waits for five minutes at most."""
    names = [f"m-{number}" for number in range(MAX_NAMES)]
    for name in names:
        reading.put(name)
    end = failing(reading, refusal("AccessDeniedException"))
    for _ in range(4):
        found = reading.credentials.read(names)
        assert {one.reason for one in found.values() if isinstance(one, CredentialProblem)} == {Unusable.DENIED}
        reading.now += PROBLEM_CACHED_FOR
    assert len(reading.asked) == 1 + MAX_NAMES
    end()
    reading.now += CACHED_FOR
    assert reading.user("m-0") == "m-0@example.net"


def test_what_was_read_is_used_while_aws_does_not_answer(reading: Reading) -> None:
    """Up to an hour: a fault of SSM is not one of the mail server. A secret that was removed is not such a fault."""
    reading.put("a")
    reading.user("a")
    end = failing(reading, refusal("ThrottlingException"))
    reading.now += CACHED_WITHOUT_AWS_FOR - timedelta(seconds=1)
    assert reading.user("a") == "a@example.net"
    reading.now += timedelta(seconds=1)
    assert reading.problem("a").reason is Unusable.UNAVAILABLE
    end()
    reading.now += PROBLEM_CACHED_FOR
    assert reading.user("a") == "a@example.net"
    reading.ssm.delete_parameter(Name=f"{PATH}a")
    reading.now += CACHED_FOR
    assert reading.problem("a").reason is Unusable.MISSING


def test_a_clock_that_was_set_back(reading: Reading) -> None:
    """What was read in the future is read again."""
    reading.put("a")
    reading.user("a")
    reading.now -= timedelta(days=1)
    reading.user("a")
    assert len(reading.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        f'{{"Parameters": [{{"Name": "{PATH}a", "Value": "{CANARY}"'.encode(),
        f'{{"Parameters": [{{"Name": "{PATH}a", "Type": "SecureString", "Value": "{CANARY}"}}]}}'.encode(),
        f'{{"Parameters": [{{"Name": "a", "Value": "{CANARY}", "Version": 1, "LastModifiedDate": "x"}}]}}'.encode(),
        b"[]",
    ],
    ids=["cut", "no-version", "no-time", "a-list"],
)
def test_an_answer_that_cannot_be_read(body: bytes) -> None:
    """botocore's exceptions quote the answer, with the secret in it: they do not get out, nor are they logged."""
    ssm = boto3.client("ssm", config=Config(retries={"mode": "standard", "total_max_attempts": 1}))
    ssm.meta.events.register(
        "before-send.ssm.GetParameters", lambda **_: AWSResponse("https://ssm", 200, HTTPHeaders(), Body(body))
    )
    credentials = Credentials(lambda: ssm, PATH, lambda: NOON)
    try:
        found = credentials.read(["a"])["a"]
    except Exception as error:  # what a test must never see
        pytest.fail("".join(traceback.format_exception(error)))
    assert isinstance(found, CredentialProblem)
    assert CANARY not in repr(found) + found.explanation


CRASH = """
import faulthandler, os, resource, sys
from datetime import UTC, datetime
from popwatch.aws.credentials import Credentials

def permit_core_dumps():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

class Client:
    def get_parameters(self, **_):
        value = '{"user": "anna", "secret": "%s"}' % "-".join(["can" + "ary", "4b1e"])
        changed = {"Version": 1, "LastModifiedDate": datetime.now(UTC)}
        return {"Parameters": [{"Name": "/monitor", "Value": value, **changed}]}

permit_core_dumps()
faulthandler.enable()
credentials = Credentials(Client, "/", lambda: datetime.now(UTC))
if sys.argv[1] != "nothing read":
    credentials.read(["monitor"])
if sys.argv[1] == "permitted after":
    permit_core_dumps()
os.abort()
"""
"""A process that crashes with a credential in its memory, unless it has read none. Its own text has no canary."""


@pytest.mark.parametrize("how", ["nothing read", "read", "permitted after"])
def test_a_crash_writes_no_core_once_a_credential_was_read(how: str, tmp_path: Path) -> None:
    """A core would have it, as the search shows where one is permitted. Python's own text of the crash has none."""
    ended = subprocess.run([sys.executable, "-c", CRASH, how], cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGABRT
    assert b"Fatal Python error: Aborted" in ended.stderr
    assert CANARY.encode() not in ended.stdout + ended.stderr
    cores = [path.read_bytes() for path in tmp_path.iterdir()]
    if how == "read":
        assert cores == []
    elif Path("/proc/sys/kernel/core_pattern").read_text("ascii")[0] not in "/|":  # else it is not in this folder
        assert [CANARY.encode() in core for core in cores] == [how == "permitted after"]
