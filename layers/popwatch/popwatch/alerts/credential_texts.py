"""The messages about a credential that servers refuse, or that cannot be used: they are not about a target. Pure.

`targets` are those of the message at hand that use it: whoever receives alerts of one of them by its id, its group or
a tag receives these messages, too.
"""

from collections.abc import Iterable, Sequence

from popwatch.alerts.character_sets import to_attribute, to_email, to_sms, to_subject
from popwatch.alerts.layout import command_of, with_stack_name, wrap
from popwatch.alerts.rendering import IDS_LISTED
from popwatch.model.credential_problems import CredentialProblem
from popwatch.model.credential_state import MAX_REJECTIONS, CredentialState, Refusal
from popwatch.model.messages import AlertMessage, Attributes
from popwatch.model.targets import Target
from popwatch.model.text import how_often

EVENT = "credential"
"""The attribute `event` of these messages."""

_RARELY = "waits longer and longer before it logs in again: an hour, then two, four, up to a day."


def blocked(state: CredentialState, targets: Sequence[Target], stack: str) -> AlertMessage:
    """The message to the receivers of alerts by email that a credential is not tried any more, by any target."""
    if state.certain:
        rest = "does not log in with it any more until it changes. Its targets are still tested, without a login."
    else:
        other = (
            " If another target uses it, that one tries it after a quarter of an hour." if state.was_accepted else ""
        )
        rest = f"{_RARELY}{other} Where it was refused the tests fail meanwhile; elsewhere they do not log in."
    how_many = "Two" if state.rejections == MAX_REJECTIONS else str(state.rejections)
    paragraphs = [
        f"{how_many} logins in a row with the credential {state.shown} were rejected or not "
        f"answered, the last one at the target {state.rejected_by}. So that no account is locked, popwatch {rest}",
        _said(state),
        _remedy(certain=state.certain),
    ]
    attributes = _attributes(state.rejected_by, targets)
    headline = f"Login {_word(certain=state.certain)}: credential {state.name}"
    return _message(state.name, headline, paragraphs, attributes, stack)


def refused(state: CredentialState, refusal: Refusal, targets: Sequence[Target], stack: str) -> AlertMessage:
    """The message that a target refuses a credential which was accepted."""
    name, target_id = state.name, refusal.target_id
    if refusal.certain:
        meaning = (
            "So that no account is locked, popwatch does not log in there with it any more until the credential "
            "changes. The target is still tested, without a login; other targets log in as before."
        )
    else:
        meaning = (
            "Its server does not say why: the user or the password may be wrong there, or the server cannot check "
            f"them. So that no account is locked, popwatch {_RARELY}"
        )
    paragraphs = [
        f"The target {target_id} has refused the credential {state.shown} {how_often(refusal.count)} in a row. "
        f"{meaning}",
        _said(state) if state.rejected_by == target_id else "",
        _remedy(certain=refusal.certain),
    ]
    attributes = _attributes(target_id, [one for one in targets if one.target_id == target_id])
    headline = f"Login {_word(certain=refusal.certain)}: credential {name}, at {target_id}"
    return _message(name, headline, paragraphs, attributes, stack)


def _word(*, certain: bool) -> str:
    """What a login does; without a response code, or an answer, it may be the server's fault."""
    return "rejected" if certain else "fails"


def _remedy(*, certain: bool) -> str:
    if certain:
        return "Correct the user or the password. It is tried again once it is stored, also if the server was wrong:"
    return (
        "See whether the server's authentication and its mailboxes work; 'popwatch retest' then logs in at once. If "
        "the user or the password is wrong, store the right one:"
    )


def unusable(problem: CredentialProblem, since: str, targets: Sequence[Target], stack: str) -> AlertMessage:
    """The message about a credential with which no login can be tried, and since when."""
    paragraphs = [
        f"Since {since} no target logs in with the credential {problem.name}. Its targets are still tested, without a "
        "login: an outage of the login alone would not be noticed.",
        problem.explanation.replace("`popwatch ", f"`{command_of(stack)} ").replace("`", "'"),
        "Look at the credentials of the stack with",
    ]
    headline = f"No login: credential {problem.name} cannot be used"
    return _message(problem.name, headline, paragraphs, _attributes("", targets), stack, command="list")


def _said(state: CredentialState) -> str:
    return f"The server said: {state.said}" if state.said else ""


def _attributes(target_id: str, targets: Sequence[Target]) -> Attributes:
    """Attributes that match a filter policy for one of the targets; for `target_id` alone if none is at hand."""
    ids = _values([target_id, *(one.target_id for one in targets)])
    found: dict[str, str | int | tuple[str, ...]] = {
        "event": EVENT,
        "target_id": ids[0] if len(ids) == 1 else ids,
        "group": _values(one.group for one in targets),
        "tags": _values(tag for one in targets for tag in one.tags),
    }
    return {name: value for name, value in found.items() if value}


def _values(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(to_attribute(text) for text in texts if text))[:IDS_LISTED]


def _message(
    name: str,
    text: str,
    paragraphs: Sequence[str],
    attributes: Attributes,
    stack: str,
    *,
    command: str = "",
) -> AlertMessage:
    headline = with_stack_name(stack, text)
    body = "\n\n".join(wrap(each) for each in paragraphs if each)
    do = f"    {command_of(stack)} credentials {command or f'put {name} --user USER'}"
    email = to_email(f"{headline}\n\n{body}\n\n{do}\n")
    return AlertMessage("", to_subject(headline), email, to_sms(headline), headline, attributes)
