"""Logins that are not tried, although targets name them: their servers may be dead behind the greeting. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from shlex import quote

from popwatch.decisions.login_attempts import REPORTED_AFTER
from popwatch.model.credential_state import CredentialState
from popwatch.model.text import clean, counted, how_often
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, some, warning

DETAIL_LENGTH = 300
"""Characters of a detail that are shown."""

LOOK = "See whether the authentication and the mailboxes of its server work."

RARELY = "It is tried again, more and more rarely: `popwatch retest ID` of a target does so at once."

NEWER = "A revision that was stored since then is tried with the next login."


def check_credentials(
    states: Iterable[CredentialState], users: Mapping[str, Sequence[str]], now: datetime
) -> Iterator[Finding]:
    """The credentials that cannot be used, or that servers refuse; `users` are the targets of each by its name."""
    for state in states:
        names = users[state.name]
        shown = clean(state.name, DETAIL_LENGTH)
        put = f"Store the right one: `popwatch credentials put {quote(shown)} --user USER`."
        if state.problem_since and now - state.problem_since >= REPORTED_AFTER:
            yield warning(
                FindingKind.CREDENTIAL_UNUSABLE,
                f"The credential {shown} could not be used when it was last read, since "
                f"{state.problem_since:%Y-%m-%d %H:%M} UTC ({clean(state.problem, DETAIL_LENGTH)}): "
                f"{counted(len(names), 'target is', 'targets are')} tested without a login.",
                "See whether it is there with `popwatch credentials list`, and what the function's log says. "
                f"{put} {NEWER}",
                names,
            )
        refusals = [one for one in state.refusals if one.repeated] if state.was_accepted else []
        which = clean(state.shown, DETAIL_LENGTH + len(state.shown) - len(state.name))
        if state.blocked:
            how = "refused" if state.certain else "refused or not answered"
            yield warning(
                FindingKind.CREDENTIAL_REFUSED,
                f"The credential {which} was {how} {how_often(state.rejections)}, "
                f"last by {clean(state.rejected_by, DETAIL_LENGTH)}: "
                f"{counted(len(names), 'target is', 'targets are')} tested without a login.",
                f"{put} {NEWER}"
                if state.certain
                else f"{LOOK} {RARELY} If the credential is wrong: {put[0].lower()}{put[1:]}",
                names,
            )
        elif refusals:
            refusing = [one.target_id for one in refusals]
            certain = all(one.certain for one in refusals)
            yield warning(
                FindingKind.CREDENTIAL_REFUSED,
                f"The credential {which} was refused twice or more by {some(refusing)}, and is accepted by others.",
                f"Correct the user or the password there. {put} {NEWER}" if certain else f"{LOOK} {RARELY} Or: {put}",
                refusing,
            )
