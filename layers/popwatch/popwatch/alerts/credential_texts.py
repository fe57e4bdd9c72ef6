"""The messages about a credential that servers refuse: they are about a credential, and not about a target. Pure."""

from textwrap import fill as wrap

from popwatch.alerts.character_sets import to_attribute, to_email, to_sms, to_subject
from popwatch.alerts.layout import WIDTH, with_stack_name
from popwatch.model.credential_state import CredentialState, Refusal
from popwatch.model.messages import AlertMessage

EVENT = "credential"
"""The attribute `event` of these messages."""


def blocked(state: CredentialState, stack: str) -> AlertMessage:
    """The message to the receivers of alerts by email that a credential is not tried any more, by any target."""
    until = "more than once an hour until one accepts it" if state.may_be_right else "any more until it changes"
    paragraphs = [
        f"Two logins in a row with the credential {state.name} were rejected or not answered, the last one at the "
        f"target {state.rejected_by}. So that no account is locked, popwatch does not log in with it {until}. Its "
        "targets are still tested, without a login.",
        _said(state),
        "Correct the user or the password at the server, or store the right one:",
    ]
    return _message(state.name, state.rejected_by, f"Login rejected: credential {state.name}", paragraphs, stack)


def refused(state: CredentialState, refusal: Refusal, stack: str) -> AlertMessage:
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
            "them. So that no account is locked, popwatch logs in there again after ten minutes, and then once an hour."
        )
    paragraphs = [
        f"The target {target_id} has refused the credential {name} twice in a row. {meaning}",
        _said(state) if state.rejected_by == target_id else "",
        "Correct the user or the password at the server, or store the right one:",
    ]
    return _message(name, target_id, f"Login rejected: credential {name}, at {target_id}", paragraphs, stack)


def _said(state: CredentialState) -> str:
    return f"The server said: {state.said}" if state.said else ""


def _message(name: str, target_id: str, text: str, paragraphs: list[str], stack: str) -> AlertMessage:
    headline = with_stack_name(stack, text)
    body = "\n\n".join(wrap(each, WIDTH) for each in paragraphs if each)
    command = f"    popwatch credentials put {name} --user USER"
    return AlertMessage(
        "",
        to_subject(headline),
        to_email(f"{headline}\n\n{body}\n\n{command}\n"),
        to_sms(headline),
        headline,
        {"event": EVENT, "target_id": to_attribute(target_id)},
    )
