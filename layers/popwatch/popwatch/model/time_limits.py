"""How far from now a time may lie that popwatch reads: what lies beyond is damaged or forged, and is refused.

The limits differ, as each kind of time has its own reason to be early or late.
"""

from datetime import timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

TICK_AHEAD = timedelta(minutes=1)
"""A tick of the schedule: Scheduler never fires early, and clocks differ by seconds."""

OLDEST_TICK = timedelta(hours=30)
"""A tick of the schedule: whatever its settings, Scheduler gives it up after 24 hours, and Lambda after another 6 (AWS:
API_RetryPolicy, invocation-async-configuring)."""

REQUEST_AHEAD = timedelta(minutes=15)
"""A request for tests: by the clock of the user's machine. Nothing is written of it."""

LONGEST_DELAY = timedelta(minutes=15)
"""The delay of a message: SQS takes no longer one (AWS: API_SendMessage)."""

OLDEST_MESSAGE = timedelta(hours=1)
"""The tick of a message: a test that comes an hour late has been made since, whoever moved its message."""

STORED_AHEAD = timedelta(minutes=2)
"""What a record or a checkpoint says was: written by another process, whose clock may differ, at a tick just before
it. So the tick of a message, too, which is received once its delay is over: its tests write that tick."""

NEXT_TEST_AHEAD = DAY + STORED_AHEAD
"""The next test of a target: a day is the most that the fields of the delays take."""

ALLOWANCE_AHEAD = DAY + HOUR + STORED_AHEAD
"""When a target may cause as many alerts as ever: a day, and the share of an alert that is sent then."""

UNTIL_AHEAD = 20 * 365 * DAY
"""The end of a silence: commands take 10 years. Python has no time after the year 9999, in which a time near its end
would be in a zone east of UTC."""
