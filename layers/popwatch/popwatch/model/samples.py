"""Samples: what History keeps of one test. No I/O."""

from collections.abc import Mapping

from popwatch.model.outcomes import Outcome


def sample_of(outcome: Outcome, *, maintenance: bool = False, inconclusive: bool = False) -> object:
    """What a samples item keeps of an outcome: the bare rtt in ms, to three digits; a map of anything but a pass."""
    if outcome.error is None:
        rtt_ms = float(f"{outcome.rtt_ms or 0.0:.3g}")
        failed = len(outcome.failed_addresses)
        return {"rtt_ms": rtt_ms, "degraded": failed} if failed else rtt_ms
    flags = {"maintenance": maintenance, "inconclusive": inconclusive}
    found = {"error": outcome.error.value, "reason": outcome.reason}
    return found | {name: True for name, flag in flags.items() if flag}


def rtt_of(sample: object) -> float | None:
    """The rtt in ms of a sample that passed, or None."""
    value = sample.get("rtt_ms") if isinstance(sample, Mapping) else sample
    return float(value) if isinstance(value, int | float) else None


def is_inconclusive(sample: object) -> bool:
    """Whether a sample is of a test that was not judged."""
    return isinstance(sample, Mapping) and bool(sample.get("inconclusive"))
