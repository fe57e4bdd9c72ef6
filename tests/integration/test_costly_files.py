"""What a foreign file may cost: each is read in a process of its own, whose memory and time are bounded.

On the version before, the first two took gigabytes, and reading `/dev/zero` had no end.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from popwatch_cli.files.entries import FileError
from popwatch_cli.importers.blackbox import read_blackbox

LARGEST_MEMORY = 500 * 1024 * 1024
"""Bytes; a process that reads a file of a few targets takes 60 MB."""

LONGEST_SECONDS = 60.0

READ = """
import resource, sys
from pathlib import Path
from popwatch_cli.errors import UserError
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
try:
    if sys.argv[2] == "targets":
        from popwatch_cli.files.target_files import read_entries
        read_entries(Path(sys.argv[3]))
    else:
        from popwatch_cli.importers.monitors import read_monitor_files
        read_monitor_files([Path(sys.argv[3])], sys.argv[2])
except UserError as error:
    print(error)
"""


def doubled(kind: str, directive: str, value: str, levels: int = 15) -> str:
    """Templates `t0` and `u0`, which double a value at each level."""
    steps = [
        f"define {kind} {{\nname {t}{n}\nuse t{n + 1},u{n + 1}\nregister 0\n{directive} +{value}\n}}\n"
        for n in range(levels)
        for t in "tu"
    ]
    ends = [f"define {kind} {{\nname {t}{levels}\nregister 0\n{directive} {value}\n}}\n" for t in "tu"]
    return "".join(steps + ends)


HOSTS = "define host {\nhost_name h\naddress h.example\n}\n"
GROUPS = (
    doubled("hostgroup", "members", "h")
    + "".join(f"define hostgroup {{\nhostgroup_name g{n}\nuse t0\n}}\n" for n in range(2000))
    + HOSTS
    + "define service {\nhostgroup_name "
    + ",".join(f"g{n}" for n in range(2000))
    + "\ncheck_command check_pop\n}\n"
)
SAME_GROUP = (
    HOSTS
    + doubled("hostgroup", "members", "h")
    + "define hostgroup {\nhostgroup_name g\nuse t0\n}\n"
    + doubled("service", "hostgroup_name", "g")
    + "define service {\nuse t0\ncheck_command check_pop\n}\n"
)
MACROS = (
    HOSTS
    + doubled("command", "command_line", "$ARG1$", 13)
    + "define command {\ncommand_name c\nuse t0\n}\n"
    + doubled("service", "check_command", "A", 13)
    + f"define service {{\nhost_name h\nuse t0\ncheck_command c!{'A' * 50_000}\n}}\n"
)
TEMPLATES = "".join(
    f"define service {{\nname t{n}\nregister 0\n" + "".join(f"d{n}x{m} 1\n" for m in range(300)) + "}\n"
    for n in range(300)
) + "".join(f"define service {{\nuse {','.join(f't{n}' for n in range(300))}\n}}\n" for _ in range(300))

NAGIOS = {"groups": GROUPS, "same group": SAME_GROUP, "macros": MACROS, "templates": TEMPLATES}

TARGETS = {
    "list.yaml": "- {target_id: a, x: [" + "[]," * 700_000 + "]}\n",
    "dashes.yaml": "- " * 300_000,
    "items.yaml": "-\n" * 1_000_000,
    "list.jsonl": '{"target_id": "a", "x": [' + "[]," * 20_000_000 + "[]]}",
    "lists.jsonl": ('{"x": [' + "[]," * 900_000 + "[]]}\n") * 20,
    "cells.csv": "," * 60_000_000,
    "rows.csv": "a,b\n" + "x,y\n" * 15_000_000,
}


def read(form: str, path: Path) -> tuple[str, float]:
    """What is said of a file, and the seconds that it took."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(LARGEST_MEMORY), form, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout, time.monotonic() - began


@pytest.mark.long
@pytest.mark.parametrize("name", NAGIOS)
def test_nagios_files_expand_to_little(tmp_path: Path, name: str) -> None:
    """Templates, groups and macros that repeat each other end in a sentence, or in a few targets."""
    path = tmp_path / "nagios.cfg"
    path.write_text(NAGIOS[name])
    said, seconds = read("nagios", path)
    assert said == "" or "expands to too much" in said or "is too long" in said, said
    assert seconds < LONGEST_SECONDS


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_files_of_targets_cost_little(tmp_path: Path, name: str) -> None:
    """Too many values are refused before they fill the memory."""
    path = tmp_path / name
    path.write_text(TARGETS[name])
    said, seconds = read("targets", path)
    assert said
    assert seconds < LONGEST_SECONDS


def test_a_prometheus_file_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read as a whole, so it may have fewer values: 200,000 take 200 MB, and 10 seconds here."""
    monkeypatch.setattr("popwatch_cli.files.yaml.MAX_VALUES", 1000)
    path = tmp_path / "prometheus.yml"
    path.write_text("scrape_configs: [" + "[]," * 1000 + "]\n")
    with pytest.raises(FileError, match="Line 1: there are too many values"):
        read_blackbox([path])
    path.write_text("x: &a0 [1]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)))
    with pytest.raises(FileError, match="expand to too many values"):
        read_blackbox([path])


@pytest.mark.parametrize("form", ["targets", "nagios", "blackbox"])
def test_a_device_without_an_end_is_refused(tmp_path: Path, form: str) -> None:
    """`/dev/zero` has the size 0, and never ends."""
    path = tmp_path / "zero.csv"
    path.symlink_to("/dev/zero")
    said, seconds = read(form, path)
    assert "is larger than 64 MB" in said
    assert seconds < LONGEST_SECONDS


def test_the_limit_of_memory_holds() -> None:
    """The measure itself: a process that takes more than it may does not get it."""
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2); x = b'x' * 2**29"
    )
    command = [sys.executable, "-c", limited, str(LARGEST_MEMORY)]
    assert "MemoryError" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
