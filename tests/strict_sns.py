"""moto's SNS, as strict as SNS: it refuses the messages that SNS refuses, and drops the attributes that SNS drops."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.sns.exceptions import SNSException
from moto.sns.models import SNSBackend

from popwatch_cli.local.sns_rules import attributes_delivered, refusal_of


@contextmanager
def strict_sns() -> Iterator[None]:
    """Within this, Publish follows the rules of SNS."""
    publish = SNSBackend.publish

    def publish_strictly(self: SNSBackend, message: str, *topic: Any, **options: Any) -> Any:
        attributes = options.get("message_attributes") or {}
        values = {name: (str(found["Type"]), str(found["Value"])) for name, found in attributes.items()}
        refusal = refusal_of(message, options.get("subject"), values)
        if refusal:
            raise SNSException(*refusal)
        kept = attributes_delivered(options.get("message_structure"), values)
        options["message_attributes"] = {name: attributes[name] for name in kept}
        return publish(self, message, *topic, **options)

    SNSBackend.publish = publish_strictly  # type: ignore[method-assign]
    try:
        yield
    finally:
        SNSBackend.publish = publish  # type: ignore[method-assign]
