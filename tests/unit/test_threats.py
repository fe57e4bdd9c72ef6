"""The numbers in docs/threats.md are those of the code."""

from datetime import timedelta
from pathlib import Path

from popwatch.model.time_limits import OLDEST_MESSAGE, REQUEST_AHEAD, STORED_AHEAD

THREATS = Path(__file__).parents[2] / "docs" / "threats.md"


def test_the_times_of_messages() -> None:
    """A batch's tick and a request's time have limits of their own."""
    batch, request = (ahead // timedelta(minutes=1) for ahead in (STORED_AHEAD, REQUEST_AHEAD))
    assert timedelta(hours=1) == OLDEST_MESSAGE
    assert (
        f"the tick of a batch is at most an hour old and {batch} minutes ahead, "
        f"the time of a request for tests at most an hour old and {request} minutes ahead"
    ) in THREATS.read_text()
