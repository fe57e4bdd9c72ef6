"""moto's SSM, as strict as SSM: it refuses the values that SSM refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.ssm.exceptions import ValidationException
from moto.ssm.models import SimpleSystemManagerBackend

from popwatch_cli.local.ssm_rules import refusal_of


@contextmanager
def strict_ssm() -> Iterator[None]:
    """Within this, PutParameter follows the rules of SSM."""
    put = SimpleSystemManagerBackend.put_parameter

    def put_strictly(
        self: SimpleSystemManagerBackend, name: str, description: str, value: str, *rest: Any, **options: Any
    ) -> Any:
        refusal = refusal_of(value, options["tier"] or "Standard")
        if refusal:
            raise ValidationException(refusal[1])
        return put(self, name, description, value, *rest, **options)

    SimpleSystemManagerBackend.put_parameter = put_strictly  # type: ignore[method-assign]
    try:
        yield
    finally:
        SimpleSystemManagerBackend.put_parameter = put  # type: ignore[method-assign]
