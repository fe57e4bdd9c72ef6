"""`popwatch retest`: targets of a stack tested now, by the stack."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any

import click

from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.store import Store
from popwatch.decisions.batches import RequestedTests
from popwatch.decisions.schedule import LARGEST_BATCH, batch_of
from popwatch.model.health import State
from popwatch.model.outcomes import DETAIL_SHOWN, LoginVerdict
from popwatch.model.records import Record
from popwatch.model.samples import Sample
from popwatch.model.targets import Target, endpoint
from popwatch.model.text import clean, counted, duration, milliseconds, natural_order
from popwatch.queries.status import batches_of
from popwatch.reports.status import LOGINS, next_login, why_login_outage_lasts, why_without_login
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import DURATION
from popwatch_cli.output.outcome import NAME_SHOWN
from popwatch_cli.output.terminal import say
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.target_items import targets_of, whole

FAILED_CODE, UNKNOWN_CODE = 2, 3

PATIENCE = timedelta(seconds=45)
"""How long the queue, a cold start and the reading of the tables may take beside the test itself."""

TICKS_BACK = timedelta(minutes=3)
"""How much earlier than now the tick may be that a test is recorded under: one that was late stays late."""

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Retested:
    """What a test found: its sample, the record after it, and whether it was judged, or only recorded.

    `without_login` is why a passed test of a target with a `login` did not log in.
    """

    target: Target
    before: Record
    after: Record
    sample: Sample
    counts: bool
    without_login: str = ""


@click.command()
@selecting(required=True)
@click.option(
    "--timeout",
    type=DURATION,
    metavar="DURATION",
    help="How long to wait for the outcomes.  [default: the longest deadline and 45 s]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each target.")
@click.pass_obj
def retest(choice: Any, *, selection: Selection, timeout: timedelta | None, as_json: bool) -> None:
    """Test targets now, from the stack, and show what it finds. A pass counts as any other; a failure counts only if a
    test of the target was due, so that trying again causes no alert sooner.

    \b
    Examples:
      popwatch retest mail-berlin
      popwatch retest --group customers --json

    Exit codes: 0 all passed, 2 some failed, 3 some were not tested.
    """
    installation = find(choice)
    now = datetime.now(UTC)
    found = selection.of(targets_of(installation.target_table.read(), now))
    chosen = {name: found[name] for name in sorted(found, key=natural_order)}
    targets = {name: target for name, target in chosen.items() if target.policy.enabled}
    for name in (name for name in chosen if name not in targets):
        say(f"{whole(name)}: suspended, so it is not tested. Run `popwatch resume {quote(name)}` first.", err=True)
    if not targets:
        sys.exit(UNKNOWN_CODE)
    wait = timeout or PATIENCE + timedelta(seconds=max(target.max_test_seconds for target in targets.values()))
    failed, left = 0, dict(targets)
    for retested in _retest(installation, targets, now, wait):
        left.pop(retested.target.target_id)
        failed += retested.sample.error is not None
        if as_json:
            click.echo(json.dumps(retested_to_json(retested)))
        else:
            say("\n".join(lines_of(retested)))
    for name in left:
        say(
            f"{whole(name)}: no outcome within {duration(wait)}. See `popwatch status {quote(name)}` in a minute, and "
            "`popwatch doctor`.",
            err=True,
        )
    sys.exit(UNKNOWN_CODE if left or len(targets) < len(chosen) else FAILED_CODE if failed else 0)


def _retest(
    installation: Installation, targets: Mapping[str, Target], now: datetime, wait: timedelta
) -> Iterator[Retested]:
    """Ask for the tests, and yield what each found as it is there; what is late is left out. Raises UserError."""
    store = installation.store
    checkpoint, records = store.read_records()
    if checkpoint.tick is None:
        raise UserError("There was no sweep yet: all targets are tested with the first one. See `popwatch doctor`.")
    batches = batches_of(checkpoint)
    known = {name: {tick for tick, _ in found} for name, found in _samples(store, targets, batches, now).items()}
    queue = BatchQueue(installation.client("sqs"), installation.outputs["BatchQueueUrl"])
    ids = tuple(targets)
    for first in range(0, len(ids), LARGEST_BATCH):
        queue.send(RequestedTests(now, ids[first : first + LARGEST_BATCH]))
    waiting, end = dict(targets), time.monotonic() + wait.total_seconds()
    while waiting and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        found = _samples(store, waiting, batches, now)
        for name in sorted(found, key=natural_order):
            samples = found[name]
            new = [(tick, sample) for tick, sample in samples if tick not in known.get(name, set())]
            if new:
                tick, sample = new[-1]
                after = store.read_record(name)
                target, before = waiting.pop(name), records.get(name, Record(name))
                why = ""
                if target.policy.login and sample.error is None and not (sample.mailbox or sample.login):
                    why = why_without_login(target, store.read_credential_state(target.policy.login), before, now)
                yield Retested(target, before, after, sample, sample.error is None or after.tick == tick, why)


def _samples(
    store: Store, targets: Mapping[str, Target], batches: int, now: datetime
) -> dict[str, list[tuple[datetime, Sample]]]:
    """The newest samples of those targets, oldest first."""
    found: defaultdict[str, list[tuple[datetime, Sample]]] = defaultdict(list)
    for batch in {batch_of(name, batches) for name in targets}:
        for tick, samples in store.read_samples(batches, batch, now - TICKS_BACK, now + timedelta(hours=1)):
            for name in targets.keys() & samples.keys():
                found[name].append((tick, samples[name]))
    return found


def lines_of(found: Retested) -> Sequence[str]:
    """The result, the change of state that it brought, and what a failure means."""
    target, sample, health = found.target, found.sample, found.after.health
    name = clean(target.target_id, NAME_SHOWN)
    if sample.error is None:
        first = f"passed  {name}  {endpoint(target)}  {milliseconds(sample.rtt_ms)} ms"
        if found.without_login:
            first += f", tested without a login: {found.without_login}"
        elif sample.login and sample.login in LOGINS:
            first += f"; {LOGINS[sample.login]}"
        if health.recovery:
            passed = f"{health.recovery.passes} of {target.policy.passes_per_recovery} passed"
            return [first, f"        It is {health.state} yet, and recovering: {passed}."]
        why = "; ".join(filter(None, (why_login_outage_lasts(health), next_login(health, target.policy))))
        why = why if target.policy.login else ""
        return [first, *_change(found), *([f"        It is {health.state} yet: {why}."] if why else [])]
    reason = clean(sample.reason, DETAIL_SHOWN)
    lines = [f"failed  {name}  {endpoint(target)}  {sample.error.message} ({reason})"]
    outcome = found.after.outcome if found.counts else None
    lines += [f"        {outcome.detail}"] if outcome and outcome.detail else []
    if sample.in_maintenance or health.state is State.MAINTENANCE:
        return [*lines, "        It is in maintenance: this failure does not count."]
    if not found.counts:
        return [
            *lines,
            "        No test was due yet, so this failure does not count; the next test is made as planned.",
        ]
    counts = f"        It counts: {counted(health.failures, 'failed test', 'failed tests in a row')}."
    return [*lines, counts, *_change(found)]


def _change(found: Retested) -> list[str]:
    before, after = found.before.health.state, found.after.health.state
    return [] if before is after else [f"        It was {before}, and is {after} now."]


def retested_to_json(found: Retested) -> dict[str, Any]:
    """The result for programs; `login` is the result of a passed test's login, null if it did not log in."""
    sample, health = found.sample, found.after.health
    return {
        "target_id": found.target.target_id,
        "result": "failed" if sample.error else "passed",
        "rtt_ms": sample.rtt_ms,
        "error": sample.error.value if sample.error else None,
        "message": sample.error.message if sample.error else None,
        "reason": sample.reason or None,
        "login": _login_of(sample),
        "login_problem": found.without_login or None,
        "counts": found.counts,
        "previous_state": found.before.health.state.value,
        "state": health.state.value,
        "failures": health.failures,
    }


def _login_of(sample: Sample) -> LoginVerdict | None:
    if sample.error:
        return None
    return LoginVerdict.PASSED if sample.mailbox else sample.login
