"""The function, whose process crashes after its first invocation: for the text that Python writes then.

Lambda calls `handler`, which hands the invocation on to the deployed one. CRASH_TEXT names the file for the text.
"""

import faulthandler
import importlib
import os
from pathlib import Path
from typing import Any


def handler(event: dict[str, Any], context: object) -> None:
    """Make the tests of an invocation, and abort the process with all that it knows."""
    importlib.import_module("check_targets").handler(event, context)
    with Path(os.environ["CRASH_TEXT"]).open("a", encoding="utf-8") as file:
        faulthandler.enable(file)
        os.abort()
