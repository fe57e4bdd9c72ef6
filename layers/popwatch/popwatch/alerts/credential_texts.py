"""The message that a login was rejected twice: it is about a credential, and not about a target. Pure."""

from textwrap import fill as wrap

from popwatch.alerts.character_sets import to_attribute, to_email, to_sms, to_subject
from popwatch.alerts.layout import WIDTH, with_stack_name
from popwatch.model.credential_state import CredentialState
from popwatch.model.messages import AlertMessage

EVENT = "credential"
"""The attribute `event` of this message."""


def blocked(state: CredentialState, stack: str) -> AlertMessage:
    """The message to the receivers of alerts by email that a credential is not tried any more."""
    headline = with_stack_name(stack, f"Login rejected: credential {state.name}")
    paragraphs = [
        f"Two logins in a row with the credential {state.name} were rejected, the last one at the target "
        f"{state.rejected_by}. So that no account is locked, popwatch does not log in with it any more until it "
        "changes. Its targets are still tested, without a login.",
        f"The server said: {state.said}" if state.said else "",
        "Correct the user or the password at the server, or store the right one:",
    ]
    command = f"    popwatch credentials put {state.name} --user USER"
    body = "\n\n".join(wrap(each, WIDTH) for each in paragraphs if each)
    return AlertMessage(
        "",
        to_subject(headline),
        to_email(f"{headline}\n\n{body}\n\n{command}\n"),
        to_sms(headline),
        headline,
        {"event": EVENT, "target_id": to_attribute(state.rejected_by)},
    )
