"""The beginning of every program of popwatch: Ctrl-C is one line, too, while its modules are still being loaded.

Nothing is imported here that takes time itself; so not typing either.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED_CODE = 130
"""What shells have for a program that Ctrl-C ended: 128 and the number of its signal."""


def popwatch() -> NoReturn:
    """The command `popwatch`."""
    run("popwatch_cli.main")


def run(module: str) -> NoReturn:
    """Load a module, run its `main`, and exit with what that returns."""
    try:
        usual = signal.getsignal(signal.SIGINT)
        if usual is signal.default_int_handler:  # not where it is ignored, as by nohup
            # An exception would come out in the middle of an import, which may ignore it or say more than one line.
            signal.signal(signal.SIGINT, _end_at_once)
        loaded = importlib.import_module(module)
        signal.signal(signal.SIGINT, usual)
        code = loaded.main()
    except KeyboardInterrupt:
        _end_at_once()
    sys.exit(code)


def _end_at_once(_signal: int = signal.SIGINT, _frame: FrameType | None = None) -> NoReturn:
    os.write(2, b"Cancelled.\n")
    os._exit(INTERRUPTED_CODE)


if __name__ == "__main__":
    run(f"popwatch_cli.{sys.argv.pop(1)}")
