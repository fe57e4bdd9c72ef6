"""Those who configure targets: what they write, and how they change their minds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.chaos import facts
from tests.chaos.facts import Policy, Window
from tests.chaos.faults import Faults

PARENT = "mail-0"
"""What most targets depend on, if they depend on any."""

SCHEDULE = "patch-night"
"""The windows in `_defaults` that some targets name."""

CLOCKS_DIFFER = timedelta(seconds=4)
"""So much before its end a suspension may be over by somebody's clock."""

RENAMED = "-renamed"
FLAPS_PER_HOUR = 6
SLOW_MS, TOO_SLOW_MS = 500, 2000
_ID = "{alert_id}: an alert may arrive twice; a copy has the same id."
OWN_SUBJECT = "{event} {alert_number} of {name}"
OWN_EMAIL = f"""Own words on {{name}}: {{event}} (alert {{alert_number}} of {{max_alerts}}).

Failing since {{failing_since}}
Failing for {{outage}}, {{failures}} failed tests in a row
Last good {{last_good}}
Server {{host}}, address {{address}}
Next test {{next_test}}
Runbook {{runbook}}

Alert {_ID}
"""
OWN_SMS = "{event} {alert_number} of {name}, {failures} failed, {outage}: {alert_id}"
RECOVERED_SUBJECT = "{name} is back after {outage}, {failures} failed"
RECOVERED_EMAIL = f"""Own words on the end: it was down for {{outage}}.

Failing since {{failing_since}}
Outage {{failures}} failed tests in a row, {{alert_number}} alerts
Last good {{last_good}}

Alert {_ID}
"""
RECOVERED_SMS = "{name} is back, {failures} failed, {outage}: {alert_id}"
RUNBOOK = "https://wiki.example.net/mail"
"""Users' own texts; each email names its alert, as the built-in ones do."""

ZONE = ZoneInfo("Europe/Berlin")
"""That of windows of each week."""


@dataclass(slots=True)
class Configured:
    """A target as its user has written it last; `connection_fields` are the fields of its server, beside the host."""

    policy: Policy
    silence: Window | None = None
    maintenance: tuple[Window, ...] = ()
    weekly: tuple[Window, ...] = ()
    """The first of windows that repeat each week: a campaign is shorter."""
    suspended: Window | None = None
    """When it is not tested; it is resumed by itself."""
    scheduled: bool = False
    """Whether `maintenance` names the schedule."""
    server: str = ""
    """Whose server it is, if not its own: the target's that was renamed, or another's."""
    connection_fields: dict[str, Any] = field(default_factory=dict)
    posture: bool = True
    """Whether its posture is tested."""

    def windows(self, schedule: Sequence[Window] = ()) -> tuple[Window, ...]:
        """When no one is to be alerted."""
        own = (self.silence,) if self.silence else ()
        return (*own, *self.maintenance, *self.weekly, *(schedule if self.scheduled else ()))

    def is_enabled(self, time: datetime) -> bool:
        """Whether it is tested then."""
        return self.policy.enabled and not (self.suspended and self.suspended[0] <= time < self.suspended[1])

    def at(self, time: datetime, schedule: Sequence[Window] = ()) -> Policy:
        """The policy at a time: silenced or not."""
        silenced = any(begin <= time < end for begin, end in self.windows(schedule))
        return replace(self.policy, silenced=silenced)

    def at_last(self, time: datetime, schedule: Sequence[Window] = ()) -> Policy:
        """The policy that the state shows after a while without faults: at a time, suspended or not as well."""
        return replace(self.at(time, schedule), enabled=self.is_enabled(time))

    def fact(
        self, order: int, name: str, at: datetime, schedule: Sequence[Window], *, by_schedule: bool
    ) -> facts.Configured:
        """That it was written, or the schedule that it names: see `facts.Configured`."""
        return facts.Configured(
            order,
            name,
            at,
            replace(self.policy, enabled=self.is_enabled(at)),
            self.windows(schedule),
            by_schedule=by_schedule,
            server=self.server or name,
            connection_fields=tuple(sorted(self.connection_fields.items())),
            posture=self.posture,
        )

    def item(self, name: str, number: int, **more: object) -> dict[str, object]:
        """What is written of the target; `tags` number the configuration, so that each test shows which it had."""
        written = {key: value for key, value in asdict(self.policy).items() if key not in ("silenced", "acknowledged")}
        fields: dict[str, object] = {
            "target_id": name,
            **written,
            **self.connection_fields,
            **more,
            "tags": [str(number)],
        }
        if not self.policy.login:  # older versions do not know these
            fields = {key: value for key, value in fields.items() if key not in ("login_every", "max_messages")}
        if not self.posture:
            fields["posture"] = False
        fields["depends_on"] = list(self.policy.depends_on)
        fields = {key: value for key, value in fields.items() if value not in ("", [], None)}
        if self.policy.certificate_warn_days is not None:
            fields["certificate_warn_days"] = list(self.policy.certificate_warn_days)
        if self.silence:
            fields["silence"] = as_written(self.silence)
        if self.suspended:
            fields["suspended"] = as_written(self.suspended)
        if self.maintenance or self.weekly or self.scheduled:
            names = [SCHEDULE] if self.scheduled else []
            fields["maintenance"] = [*map(as_written, self.maintenance), *map(as_weekly, self.weekly), *names]
        if self.policy.acknowledged:
            fields["acknowledged"] = {"outage": self.policy.acknowledged.isoformat()}
        return fields

    def __str__(self) -> str:
        """What it says beside the defaults."""
        usual = asdict(Policy())
        said = [f"{name}={value!r:.30}" for name, value in asdict(self.policy).items() if value != usual[name]]
        said += [f"{name}={value}" for name, value in self.connection_fields.items()]
        said += [] if self.posture else ["posture=False"]
        said += [f"at {self.server}"] if self.server else []
        said += [f"silent from {begin:%H:%M:%S} until {end:%H:%M:%S}" for begin, end in self.windows()]
        said += [f"suspended until {self.suspended[1]:%H:%M:%S}"] if self.suspended else []
        return ", ".join([*said, *([SCHEDULE] if self.scheduled else [])])


def as_written(window: Window) -> dict[str, str]:
    """A window as its user writes it."""
    return {"from": window[0].isoformat(), "until": window[1].isoformat()}


def as_weekly(window: Window) -> dict[str, object]:
    """A window of whole minutes as one that its user has each week."""
    begin, end = (time.astimezone(ZONE) for time in window)
    return {"days": [f"{begin:%a}".lower()], "from": f"{begin:%H:%M}", "until": f"{end:%H:%M}", "timezone": ZONE.key}


def as_read(window: Any) -> Window:
    """What a window says that somebody wrote."""
    return datetime.fromisoformat(window["from"]), datetime.fromisoformat(window["until"])


def draw_policy(name: str, faults: Faults, *, independent: bool = False) -> Policy:
    """What somebody may write for a new target; an `independent` one neither flaps nor depends on another."""
    delays = [10, 30, 60, 60, 60, 90, 120]
    flaps = faults.choice([0, 0, FLAPS_PER_HOUR])
    depends = name != PARENT and faults.choice([False, False, True])
    if independent:
        flaps, depends = 0, False
    return Policy(
        failures_per_alert=faults.choice([1, 2, 3, 3, 5]),
        max_alerts=faults.choice([1, 2, 3] if flaps else [0, 1, 2, 3, 3]),
        flap_per_hour=flaps,
        depends_on=(PARENT,) if depends else (),
        alert_recovery=faults.uniform(0, 1) < 0.9,
        delay_up=faults.choice([30, 60, 60, 60, 120, 300]),
        delay_lost=faults.choice([60, 120, 300]),
        delay_warn=faults.choice(delays),
        delay_down=faults.choice(delays),
    )


def draw_newer(policy: Policy, faults: Faults) -> Policy:
    """The same with fields that earlier versions do not know."""
    texts: dict[str, Any] = {name: faults.choice(["", "", *choices[1:]]) for name, choices in TEXTS.items()}
    return replace(
        policy,
        slow_rtt_ms=faults.choice([0, SLOW_MS]),
        max_rtt_ms=faults.choice([0, 0, 0, TOO_SLOW_MS]),
        all_addresses=faults.choice([False, True]),
        passes_per_recovery=faults.choice([1, 1, 2, 3]),
        certificate_warn_days=faults.choice([None, None, *WARN_DAYS]),
        **texts,
    )


def draw_login(known: Configured, credentials: Sequence[str], faults: Faults) -> Configured:
    """The same target, which may log in: with one of several credentials, of which most targets share the first."""
    if faults.uniform(0, 1) < 0.3:
        return known
    name = faults.choice([credentials[0], credentials[0], *credentials])
    every, most = faults.choice(LOGIN_EVERY), faults.choice([0, 0, MAX_MESSAGES])
    policy = replace(known.policy, login=name, login_every=every, max_messages=most)
    return replace(known, policy=policy, connection_fields={**known.connection_fields, "tls": "implicit"})


@dataclass(frozen=True, slots=True)
class Situation:
    """When somebody changes a target, and among which others."""

    now: datetime
    faults: Faults
    failing_since: Callable[[], datetime | None]
    others: Sequence[str] = ()
    credentials: Sequence[str] = ()


Change = Callable[[Configured, Situation], Configured | None]
"""One change; None if there is nothing to change."""


def change_policy(**fields: Callable[[Policy, Situation], Any]) -> Change:
    """The change of fields of the policy, each as drawn."""

    def change(known: Configured, there: Situation) -> Configured | None:
        new = {name: draw(known.policy, there) for name, draw in fields.items()}
        policy = replace(known.policy, **new)
        return replace(known, policy=policy) if policy != known.policy else None

    return change


def _one_of(*choices: Any) -> Callable[[Policy, Situation], Any]:
    return lambda _, there: there.faults.choice(choices)


def _flap_per_hour(policy: Policy, there: Situation) -> int:
    return there.faults.choice([0, 3, FLAPS_PER_HOUR, 10]) if policy.max_alerts else 0


def _max_alerts(policy: Policy, there: Situation) -> int:
    return there.faults.choice([1, 2, 4] if policy.flap_per_hour else [0, 1, 2, 4])


def _silence(known: Configured, there: Situation) -> Configured:
    return replace(known, silence=(there.now, there.now + timedelta(minutes=there.faults.choice(range(1, 15)))))


def _unsilence(known: Configured, there: Situation) -> Configured | None:
    return replace(known, silence=None) if known.silence and there.now < known.silence[1] else None


def _suspend_for(known: Configured, there: Situation) -> Configured | None:
    end = there.now + timedelta(minutes=there.faults.choice(range(3, 20)))
    return replace(known, suspended=(there.now, end)) if known.policy.enabled else None


def _resume(known: Configured, there: Situation) -> Configured | None:
    resumed = replace(known, policy=replace(known.policy, enabled=True), suspended=None)
    return resumed if not known.is_enabled(there.now) else None


def _acknowledge(known: Configured, there: Situation) -> Configured | None:
    since = there.failing_since()
    return replace(known, policy=replace(known.policy, acknowledged=since)) if since else None


def _plan_maintenance(known: Configured, there: Situation) -> Configured:
    begin = there.now + timedelta(minutes=there.faults.choice([0, 0, 3, 8]))
    window = begin, begin + timedelta(minutes=there.faults.choice(range(2, 15)))
    return replace(known, maintenance=(*known.maintenance[-2:], window))


def _plan_weekly(known: Configured, there: Situation) -> Configured:
    begin = there.now.replace(second=0, microsecond=0) + timedelta(minutes=there.faults.choice([1, 1, 3, 8]))
    return replace(known, weekly=((begin, begin + timedelta(minutes=there.faults.choice(range(2, 15)))),))


def _cancel_maintenance(known: Configured, _: Situation) -> Configured | None:
    cancelled = replace(known, maintenance=(), weekly=(), scheduled=False)
    return cancelled if cancelled != known else None


def _end_maintenance(known: Configured, there: Situation) -> Configured | None:
    present = [window for window in known.maintenance if window[0] < there.now < window[1]]
    ended = tuple((begin, there.now) if (begin, end) in present else (begin, end) for begin, end in known.maintenance)
    return replace(known, maintenance=ended) if present else None


def _name_schedule(known: Configured, _: Situation) -> Configured:
    return replace(known, scheduled=not known.scheduled)


def _add_parent(known: Configured, there: Situation) -> Configured | None:
    new = [name for name in there.others if name not in known.policy.depends_on]
    if not new or len(known.policy.depends_on) >= 3:
        return None
    return _with_parents(known, (*known.policy.depends_on, there.faults.choice(new)))


def _change_parent(known: Configured, there: Situation) -> Configured | None:
    new = [name for name in there.others if name not in known.policy.depends_on]
    return _with_parents(known, (there.faults.choice(new),)) if new and known.policy.depends_on else None


def _remove_parent(known: Configured, _: Situation) -> Configured | None:
    return _with_parents(known, known.policy.depends_on[1:]) if known.policy.depends_on else None


def _with_parents(known: Configured, parents: tuple[str, ...]) -> Configured:
    return replace(known, policy=replace(known.policy, depends_on=parents))


def change_connection(**fields: Sequence[object]) -> Change:
    """The change of fields of the connection to one of several values each."""

    def change(known: Configured, there: Situation) -> Configured | None:
        new = {name: there.faults.choice(choices) for name, choices in fields.items()}
        before = {"tls": "none", "max_test_seconds": MAX_TEST_SECONDS, **known.connection_fields}
        return (
            replace(known, connection_fields={**known.connection_fields, **new})
            if before != {**before, **new}
            else None
        )

    return change


def _change_tls(known: Configured, there: Situation) -> Configured | None:
    """TLS or none; a login needs it."""
    return None if known.policy.login else change_connection(tls=("none", "implicit"))(known, there)


def _change_login(known: Configured, there: Situation) -> Configured | None:
    names = [name for name in ("", *there.credentials) if name != known.policy.login]
    policy = replace(known.policy, login=there.faults.choice(names))
    return replace(known, policy=policy, connection_fields={**known.connection_fields, "tls": "implicit"})


def _if_it_logs_in(change: Change) -> Change:
    return lambda known, there: change(known, there) if known.policy.login else None


def _move(known: Configured, there: Situation) -> Configured | None:
    return replace(known, server=there.faults.choice(there.others)) if there.others else None


INTERVENTIONS: dict[str, Change] = {
    "silence": _silence,
    "unsilence": _unsilence,
    "acknowledge": _acknowledge,
    "suspend": change_policy(enabled=_one_of(False)),
    "resume": _resume,
    "maintenance added": _plan_maintenance,
    "maintenance removed": _cancel_maintenance,
    "maintenance ended": _end_maintenance,
    "failures_per_alert changed": change_policy(failures_per_alert=_one_of(1, 2, 3, 4)),
    "max_alerts changed": change_policy(max_alerts=_max_alerts),
    "delays changed": change_policy(delay_up=_one_of(30, 60, 120, 300)),
    "delays of failing changed": change_policy(delay_warn=_one_of(10, 30, 60), delay_lost=_one_of(60, 120)),
}
"""What people do to a target at any time."""

WARN_DAYS = ((), (30, 7, 0), (3,))
MAX_TEST_SECONDS = 10
TEXTS: dict[str, tuple[str, ...]] = {
    "subject": ("", OWN_SUBJECT),
    "email": ("", OWN_EMAIL),
    "sms": ("", OWN_SMS),
    "recovered_subject": ("", RECOVERED_SUBJECT),
    "recovered_email": ("", RECOVERED_EMAIL),
    "recovered_sms": ("", RECOVERED_SMS),
    "runbook": ("", RUNBOOK),
}
"""What may be written into the fields of texts."""

NEWER: dict[str, Change] = {
    "suspend for": _suspend_for,
    "maintenance of each week added": _plan_weekly,
    "deadline changed": change_connection(max_test_seconds=(5, MAX_TEST_SECONDS, 20)),
    "certificate_warn_days changed": change_policy(certificate_warn_days=_one_of(None, *WARN_DAYS)),
    "flap_per_hour changed": change_policy(flap_per_hour=_flap_per_hour),
    "alert_recovery changed": change_policy(alert_recovery=lambda policy, _: not policy.alert_recovery),
    "schedule named": _name_schedule,
    "parent added": _add_parent,
    "parent changed": _change_parent,
    "parent removed": _remove_parent,
    "host changed": _move,
    "port changed": change_connection(port=(1110, 2110)),
    "tls changed": _change_tls,
    "limits of round trips changed": change_policy(
        slow_rtt_ms=_one_of(0, SLOW_MS), max_rtt_ms=_one_of(0, 0, TOO_SLOW_MS)
    ),
    "all_addresses changed": change_policy(all_addresses=lambda policy, _: not policy.all_addresses),
    "passes_per_recovery changed": change_policy(passes_per_recovery=_one_of(1, 2, 3)),
    "texts changed": change_policy(**{name: _one_of(*texts) for name, texts in TEXTS.items()}),
}
"""What people do beside that, with fields that older versions do not know."""

ONLY_SIMULATED = ("port changed",)
"""What only simulated people do: live servers have one port each for tests with TLS, and one for those without."""

LOGIN_EVERY = (60, 120, 120, 300, 300)
MAX_MESSAGES = 100
OF_LOGINS: dict[str, Change] = {
    "login changed": _change_login,
    "login_every changed": _if_it_logs_in(change_policy(login_every=_one_of(*LOGIN_EVERY))),
    "max_messages changed": _if_it_logs_in(change_policy(max_messages=_one_of(0, MAX_MESSAGES))),
}
"""What they do where targets log in."""


def rename(name: str, known: Configured) -> tuple[str, Configured]:
    """Another id for the same server: what is state, a silence or an acknowledgement, does not go with it."""
    new = name.removesuffix(RENAMED) if name.endswith(RENAMED) else name + RENAMED
    policy = replace(known.policy, acknowledged=None)
    return new, replace(known, policy=policy, silence=None, suspended=None, server=known.server or name)


def draw_import(faults: Faults) -> Callable[[Configured], Configured]:
    """A file that sets fields of all targets, and leaves silences and acknowledgements alone."""
    failures, seconds = faults.choice([1, 2, 3]), faults.choice([30, 60, 120])
    return lambda known: replace(known, policy=replace(known.policy, failures_per_alert=failures, delay_down=seconds))


def draw_schedule(now: datetime, faults: Faults) -> tuple[Window, ...]:
    """What somebody may write into the schedule."""
    begin = now + timedelta(minutes=faults.choice([0, 4, 8]))
    return ((begin, begin + timedelta(minutes=faults.choice(range(2, 15)))),)


def change_mind(
    known: Configured,
    there: Situation,
    kinds: Collection[str] = tuple(INTERVENTIONS),
    more: Mapping[str, Change] | None = None,
) -> tuple[str, Configured]:
    """One change that is one, and its kind; `more` are further ones."""
    changes = {**INTERVENTIONS, **NEWER, **OF_LOGINS, **(more or {})}
    left = list(kinds)
    while left:
        kind = there.faults.choice(left)
        left.remove(kind)
        changed = changes[kind](known, there)
        if changed is not None:
            return kind, changed
    return "nothing", known
