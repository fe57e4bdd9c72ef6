"""How far from the present a time may lie that popwatch reads: what lies beyond is damaged or forged, and is refused.

They differ, as each kind of time has its own reason to be early or late.
"""

from datetime import timedelta

TICK_AHEAD = timedelta(minutes=1)
"""A tick of the schedule: Scheduler never fires early, and clocks differ by seconds."""

OLDEST_TICK = timedelta(hours=30)
"""A tick of the schedule: whatever its settings, Scheduler gives it up after 24 hours, and Lambda after another 6 (AWS:
API_RetryPolicy, invocation-async-configuring)."""

MESSAGE_AHEAD = timedelta(minutes=15)
"""The tick of a message: SQS delays by 15 minutes at most."""

OLDEST_MESSAGE = timedelta(hours=1)
"""The tick of a message: a test that comes an hour late has been made since, whoever moved its message."""

STORED_AHEAD = timedelta(minutes=2)
"""What a record or a checkpoint says was: written by another process, whose clock may differ, at a tick just before
it."""
