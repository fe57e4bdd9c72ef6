"""The deployed handler, whose tests begin when a clock says that a test steps. All else goes by the real time.

The function's handler is set to `tests.fast_outcomes.handler`. What runs is the code that was deployed, over real
sockets.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from tests.fast_clock import SteppedClock

settings: dict[str, Any] = json.loads(os.environ["FAST_CLOCK"])
clock = SteppedClock(**settings["clock"])
deployed: Any = import_module("check_targets")
handler = deployed.handler


class FastProber(deployed.Prober):  # type: ignore[misc]
    """The real prober, over real sockets, whose outcomes bear the time of the test's clock."""

    def run(self, *targets: Any, **options: Any) -> Iterator[list[tuple[Any, Any]]]:
        for arrivals in super().run(*targets, **options):
            yield [(target, replace(outcome, started_at=clock.now())) for target, outcome in arrivals]


deployed.Prober = FastProber
deployed._probe_postures = lambda *_: ()  # each is tested at a time of the real day
