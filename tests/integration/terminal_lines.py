"""Runs command lines of popwatch, each on a terminal of its own with 80 columns and 24 lines.

`python -m tests.integration.terminal_lines < lines.json > ended.json`: a list of lists of arguments; what each showed,
and its exit code. One process, which has imported the command once, forks for each line: importing it anew for 150
lines would take two minutes. It has no threads, as a process that forks must not.
"""

import fcntl
import gc
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from functools import cache
from importlib import import_module

from popwatch_cli import installation
from popwatch_cli.main import COMMANDS, main

LINES, COLUMNS = 24, 80
SECONDS = 20.0
"""After that a command is ended: it waits for something that no one types."""


def run(arguments: list[str]) -> tuple[str, int]:
    """What a command line shows on a terminal, with its escape sequences, and its exit code."""
    process, terminal = pty.fork()
    if process == 0:
        _be_the_command(arguments)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    os.write(terminal, b"\n")  # the command waits for it, so that it never sees another size
    shown, end = b"", time.monotonic() + SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                more = os.read(terminal, 65536)
            except OSError:  # Linux: the other side was closed
                break
            if not more:
                break
            shown += more
    else:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        shown += b"\r\n[ended: it waited for an answer]"
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    return shown.decode(errors="replace").replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


def _be_the_command(arguments: list[str]) -> None:
    """What the child does: run popwatch, and end as its process would."""
    attributes = termios.tcgetattr(0)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    os.read(0, 1)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - those of a terminal
    sys.argv = ["popwatch", *arguments]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _warm_up() -> None:
    """Import all that a command imports, and have AWS's clients ready, which take longer than most commands."""
    for place in COMMANDS.values():
        import_module(place.partition(":")[0])
    installation.local_client = cache(installation.local_client)
    found = installation.find_local()
    for service in ("dynamodb", "sns", "cloudformation"):
        found.client(service)
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    json.dump([run(line) for line in json.load(sys.stdin)], sys.stdout)
