"""Errors that the command reports to its user, with those of AWS, and what the user can do about them."""

import sys

from popwatch.model.text import clean

SIGN_IN = "Sign in again, or choose other credentials with --profile or AWS_PROFILE."
ASK = "Ask for the permission, or choose another one with --profile or AWS_PROFILE."

NEXT_STEPS = {
    "NoRegionError": "Choose one with --region or AWS_REGION, such as --region eu-central-1.",
    "InvalidRegionError": "Correct --region or AWS_REGION, such as --region eu-central-1.",
    "ConfigParseError": "Correct it, or name another one with AWS_CONFIG_FILE.",
    "NoCredentialsError": "Sign in with `aws sso login` or `aws configure`, or choose a profile with --profile.",
    "PartialCredentialsError": "Set both the key and the secret, or choose a profile with --profile or AWS_PROFILE.",
    "ProfileNotFound": "Choose one that exists with --profile or AWS_PROFILE.",
    "EndpointConnectionError": "Check the network, and the region in --region or AWS_REGION.",
    "ConnectTimeoutError": "Check the network, and the region in --region or AWS_REGION.",
    "UnauthorizedSSOTokenError": SIGN_IN,
    "SSOTokenLoadError": SIGN_IN,
    "TokenRetrievalError": SIGN_IN,
    "ExpiredToken": SIGN_IN,
    "ExpiredTokenException": SIGN_IN,
    "InvalidClientTokenId": SIGN_IN,
    "UnrecognizedClientException": SIGN_IN,
    "SignatureDoesNotMatch": SIGN_IN,
    "AccessDenied": ASK,
    "AccessDeniedException": ASK,
    "AuthorizationError": ASK,  # SNS: docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
    "NotFound": "The stack's topic does not exist: deploy the stack again.",  # SNS, too
    "ResourceNotFoundException": "One of the stack's tables does not exist: deploy the stack again.",
}
"""What to do, by the name of botocore's exception or by AWS's error code."""


IN_OUR_WORDS = {
    "InvalidRegionError": "{region_name} is not a region",
    "ProfileNotFound": "There is no profile {profile} in your AWS configuration",
    "ConfigParseError": "{path} cannot be read as an AWS configuration",
}
"""What is wrong with a setting, in place of botocore's sentence about its parameter, by the name of its exception."""

VALUE_SHOWN = 60
"""Characters of a value that messages quote, or that a line of a terminal shows."""


class UserError(Exception):
    """Something that the user can correct; the text is a sentence that says what is wrong and what to do."""


def user_message(error: Exception) -> str | None:
    """The sentences for an error that the user can do something about, or None for a bug in popwatch."""
    if isinstance(error, UserError):
        return str(error)
    # Not imported here: loading botocore is slow, and without it no error can come from AWS.
    botocore = sys.modules.get("botocore.exceptions")
    if botocore is None or not isinstance(error, (botocore.BotoCoreError, botocore.ClientError)):
        return None
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    step = NEXT_STEPS.get(code, "")
    values = {name: clean(str(value), VALUE_SHOWN) for name, value in getattr(error, "kwargs", {}).items()}
    said = IN_OUR_WORDS[code].format_map(values) if code in IN_OUR_WORDS else str(error).rstrip(".")
    return f"{said}. {step}".rstrip()
