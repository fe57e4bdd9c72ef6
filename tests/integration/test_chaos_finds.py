"""What `make chaos` has found, each as the smallest case that shows it."""

from datetime import timedelta

from integration.world import NOON, World
from popwatch.batches import from_message
from popwatch.outcomes import ErrorCode

TEN_SECONDS = timedelta(seconds=10)


def test_repeated_retest_leaves_later_ticks_alone(world: World) -> None:
    """A retest's message that SQS delivers again after later retests brings no retest of its own.

    It used to send the next retest with the newest record, which then counted a failure of an older tick once more.
    """
    world.put_target("a", delay_warn=10, failures_per_alert=10)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    bodies = []
    for step in (1, 2, 3):
        world.now = NOON + TEN_SECONDS * step
        bodies.append(world.queue[0][1])
        world.receive(world.now)
    waiting = list(world.queue)
    world.now += TEN_SECONDS / 2
    world.do(from_message(bodies[0]))
    assert world.queue == waiting
    record = world.store.read_record("a")
    assert (record.health.failures, record.tick) == (4, NOON + TEN_SECONDS * 3)
