"""Those who configure targets: what they write, and how they change their minds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from tests.chaos import facts
from tests.chaos.faults import Faults

PARENT = "mail-0"
"""What other targets depend on, if they depend on any."""

FLAPS_PER_HOUR = 6


@dataclass(slots=True)
class Configured:
    """A target as its user has written it last."""

    policy: facts.Policy
    silence: tuple[datetime, datetime] | None = None

    def at(self, time: datetime) -> facts.Policy:
        """The policy at a time: silenced or not."""
        silenced = self.silence is not None and self.silence[0] <= time < self.silence[1]
        return replace(self.policy, silenced=silenced)

    def item(self, name: str, number: int, **where: object) -> dict[str, object]:
        """What is written of the target; `tags` number the configuration, so that each test shows which it had."""
        policy = {key: value for key, value in asdict(self.policy).items() if key not in ("silenced", "acknowledged")}
        fields: dict[str, object] = {"target_id": name, **policy, **where, "tags": [str(number)]}
        if self.silence:
            fields["silence"] = dict(zip(("from", "until"), (it.isoformat() for it in self.silence), strict=True))
        if self.policy.acknowledged:
            fields["acknowledged"] = {"outage": self.policy.acknowledged.isoformat()}
        return fields

    def __str__(self) -> str:
        """What it says beside the defaults."""
        usual = asdict(facts.Policy())
        said = [f"{name}={value}" for name, value in asdict(self.policy).items() if value != usual[name]]
        span = [f"{it:%H:%M:%S}" for it in self.silence or ()]
        return ", ".join([*said, *(["silent from " + " until ".join(span)] if span else [])])


def draw_policy(name: str, faults: Faults, *, basic: bool = False) -> facts.Policy:
    """What somebody may write for a new target; a `serialization` one neither flaps nor depends on another."""
    delays = [10, 30, 60, 60, 60, 90, 120]
    flaps = faults.choice([0, 0, FLAPS_PER_HOUR])
    depends = name != PARENT and faults.choice([False, False, True])
    if basic:
        flaps, depends = 0, False
    return facts.Policy(
        failures_per_alert=faults.choice([1, 2, 3, 3, 5]),
        max_alerts=faults.choice([1, 2, 3] if flaps else [0, 1, 2, 3, 3]),
        flap_per_hour=flaps,
        depends_on=PARENT if depends else "",
        alert_recovery=faults.uniform(0, 1) < 0.9,
        delay_up=faults.choice([30, 60, 60, 60, 120, 300]),
        delay_lost=faults.choice([60, 120, 300]),
        delay_warn=faults.choice(delays),
        delay_down=faults.choice(delays),
    )


def change_mind(
    known: Configured, faults: Faults, now: datetime, failing_since: Callable[[], datetime | None]
) -> Configured:
    """One change: another threshold, another delay, silence, suspension, an acknowledgement."""
    policy, silence = known.policy, known.silence
    match faults.choice(range(7)):
        case 0:
            policy = replace(policy, failures_per_alert=faults.choice([1, 2, 3, 4]))
        case 1:
            policy = replace(policy, max_alerts=faults.choice([1, 2, 4] if policy.flap_per_hour else [0, 1, 2, 4]))
        case 2:
            policy = replace(policy, delay_up=faults.choice([30, 60, 120, 300]))
        case 3:
            policy = replace(policy, delay_warn=faults.choice([10, 30, 60]), delay_lost=faults.choice([60, 120]))
        case 4:
            silence = (now, now + timedelta(minutes=faults.choice(range(1, 15))))
        case 5:
            policy = replace(policy, enabled=not policy.enabled)
        case _:
            policy = replace(policy, acknowledged=failing_since())
    return Configured(policy, silence)
