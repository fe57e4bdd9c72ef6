"""The deployed handler by the fast clock, whose alerts lose their attributes, as those with a message structure do."""

from typing import Any

import boto3

import tests.fast_function as fast


def _without_attributes(params: dict[str, Any], **_: Any) -> None:
    params.pop("MessageAttributes", None)


boto3.setup_default_session()
assert boto3.DEFAULT_SESSION is not None
boto3.DEFAULT_SESSION.events.register("provide-client-params.sns.Publish", _without_attributes)
handler = fast.handler
