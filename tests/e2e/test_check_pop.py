"""check_pop's `-w` and `-c`, imported from Nagios, beside check_pop itself on the same slow servers."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from popwatch.decisions.judging import judge
from popwatch.model.health import AlertEvent, Health, State
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober
from popwatch_cli.importers.nagios import read_nagios
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.real_servers import UNPACKED

pytestmark = pytest.mark.debian

PLUGINS = Path("usr/lib/nagios/plugins")
OK, WARNING, CRITICAL = 0, 1, 2
DELAYS = (0.0, 0.4, 1.2, 2.0, 4.0)
"""Seconds before the greeting: between all thresholds, 0.4 s from each, and after the deadline of three seconds."""

SERVICES = {
    "-w 0.8 -c 1.6": [OK, OK, WARNING, CRITICAL, CRITICAL],
    "-w 0.8": [OK, OK, WARNING, WARNING, CRITICAL],
    "-c 0.8": [OK, OK, CRITICAL, CRITICAL, CRITICAL],
    "-w 1.6 -c 0.8": [OK, OK, CRITICAL, CRITICAL, CRITICAL],
    "": [OK, OK, OK, OK, CRITICAL],
}
"""What a service's options mean for each of the delays."""

CONFIGURATION = """
define command {
    command_name check_pop
    command_line $USER1$/check_pop -H $HOSTADDRESS$ $ARG1$
}
define host {
    host_name slow
    address 127.0.0.1
}
define service {
    host_name slow
    service_description POP
    check_command check_pop!-p %d -t 3 %s
}
"""


@pytest.fixture(scope="module")
def check_pop() -> str:
    """The plugin of Debian's monitoring-plugins-basic."""
    unpacked = UNPACKED / "monitoring-plugins-basic" / PLUGINS
    found = shutil.which("check_pop", path=f"{unpacked}:/{PLUGINS}")
    if found is None:
        pytest.skip("monitoring-plugins-basic is not unpacked: run .ci/install-debian")
    return found


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    """A server for each delay."""
    with ScriptedServer() as server:
        yield [server.listen(f"delay:{delay}" if delay else "healthy") for delay in DELAYS]


def by_plugin(program: list[str], port: int, options: str) -> int:
    """A plugin's exit code."""
    arguments = [*program, "-H", "127.0.0.1", "-p", str(port), "-t", "3", *options.split()]
    return subprocess.run(arguments, stdout=subprocess.DEVNULL, timeout=30, check=False).returncode


def imported(port: int, options: str, folder: Path) -> Target:
    """The target that the service becomes."""
    path = folder / f"{port}.cfg"
    path.write_text(CONFIGURATION % (port, options))
    [entry] = read_nagios([path]).entries
    return parse_target({**entry.fields, "failures_per_alert": 1})


def verdict(target: Target) -> int:
    """What popwatch makes of a test of the target: an alert, an alert that it is slow, or none."""
    now = datetime.now(UTC)
    [outcome] = [found for finished in Prober().run([target]) for _, found in finished]
    judgement = judge(Health(State.UP, now), outcome, target.policy, now)
    match judgement.alert and judgement.alert.event:
        case AlertEvent.DOWN:
            return CRITICAL
        case AlertEvent.SLOW:
            return WARNING
        case other:
            assert other is None
            return OK


@pytest.mark.parametrize(("options", "expected"), SERVICES.items())
def test_the_same_verdict_for_each_delay(
    options: str, expected: list[int], check_pop: str, ports: list[int], tmp_path: Path
) -> None:
    """Slower than `-w` is a warning, than `-c` critical: for the plugin, for the target, and for `popwatch test`."""
    popwatch = [str(Path(sys.executable).parent / "popwatch"), "test", "--plugin"]
    with ThreadPoolExecutor() as pool:
        plugin = pool.map(lambda port: by_plugin([check_pop], port, options), ports)
        target = pool.map(lambda port: verdict(imported(port, options, tmp_path)), ports)
        assert (list(plugin), list(target)) == (expected, expected)
        assert list(pool.map(lambda port: by_plugin(popwatch, port, options), ports)) == expected
