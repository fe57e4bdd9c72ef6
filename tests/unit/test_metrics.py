"""`/metrics` as text: names, labels, and that a user's strings cannot break a line."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.health import Health, State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.samples import Mailbox
from popwatch.model.targets import parse_target
from popwatch.reports.status import TargetStatus
from popwatch.web.metrics import OPENMETRICS, TEXT, media_type, to_metrics

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def row(health: Health, **fields: object) -> TargetStatus:
    target = parse_target({"target_id": "mail-berlin", "host": "pop.example.net", "group": "customers", **fields})
    return TargetStatus(target, health, NOW, 12.5)


def values(text: str) -> dict[str, float]:
    """Each sample by its name and labels, without the labels of the target."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    labels = '{target_id="mail-berlin",name="mail-berlin",group="customers",server="pop.example.net:110"'
    return {name.replace(labels + "}", "").replace(labels + ",", "{"): value for name, value in found.items()}


def test_a_target_that_is_up() -> None:
    """Success, seconds, certificate and state; an error of each kind, none of them set."""
    expires = datetime(2026, 12, 25, tzinfo=UTC)
    found = values(to_metrics([row(Health(State.UP, certificate_expires=expires))], NOW))
    assert found["probe_success"] == 1
    assert found["probe_duration_seconds"] == 0.0125
    assert found["probe_ssl_earliest_cert_expiry"] == expires.timestamp()
    assert {name for name, value in found.items() if "state=" in name and value} == {
        'popwatch_target_state{state="up"}'
    }
    assert [value for name, value in found.items() if "error=" in name] == [0] * len(ErrorCode)
    assert found["popwatch_last_sweep_timestamp_seconds"] == NOW.timestamp()


def test_the_mailbox_of_the_last_login() -> None:
    """Messages and octets, of targets that have one."""
    found = values(to_metrics([replace(row(Health(State.UP)), mailbox=(NOW, Mailbox(3, 4096)))], NOW))
    assert found["popwatch_target_mailbox_messages"] == 3
    assert found["popwatch_target_mailbox_octets"] == 4096
    assert "mailbox" not in to_metrics([row(Health(State.UP))], NOW)


def test_a_target_that_is_down() -> None:
    """No duration, no success, its error set."""
    failed = TargetStatus(row(Health()).target, Health(State.DOWN, failures=3), NOW, None, ErrorCode.TIMED_OUT)
    found = values(to_metrics([failed], NOW))
    assert found["probe_success"] == 0
    assert "probe_duration_seconds" not in found
    assert found['popwatch_target_error{error="timed-out"}'] == 1
    assert found["popwatch_target_failures"] == 3


def test_targets_that_are_not_tested_have_no_probe() -> None:
    """Neither an untested target nor a suspended one has passed or failed."""
    untested = TargetStatus(row(Health()).target, Health())
    off = row(Health(State.UP), enabled=False)
    assert "probe_" not in to_metrics([untested, off], None)


def test_families_are_whole() -> None:
    """All samples of a family follow its type, and the last line marks the end."""
    lines = to_metrics([row(Health(State.UP)), row(Health(State.DOWN), target_id="other")], NOW).splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    samples = [line.partition("{")[0].split()[0] for line in lines if not line.startswith("#")]
    assert list(dict.fromkeys(samples)) == families
    assert lines[-1] == "# EOF"


@given(st.text())
def test_no_name_breaks_a_line(name: str) -> None:
    """A sample is one line, whatever the name of its target, and the name can be read from it."""
    target = parse_target({"target_id": "t", "host": "h"})
    object.__setattr__(target, "name", name)
    text = to_metrics([TargetStatus(target, Health(State.UP), NOW, 1.0)], NOW)
    [line] = [line for line in text.split("\n") if line.startswith("probe_success{")]
    written = line.split('name="', 1)[1].rsplit('",group=', 1)[0]
    back = written.replace(r"\\", "\0").replace(r"\n", "\n").replace(r"\"", '"').replace("\0", "\\")
    assert back == name or "\0" in name


def test_media_types() -> None:
    """OpenMetrics for scrapers that accept it."""
    assert media_type("application/openmetrics-text;version=1.0.0,text/plain;q=0.5") == OPENMETRICS
    assert media_type("*/*") == TEXT
