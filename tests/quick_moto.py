"""moto without work that it does again for each call, always with the same result.

It reads the model of a service, lists the methods of a class, and finds out under which names a member of an answer may
stand in moto's own objects. Together they take a third of what a call to DynamoDB costs here.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from moto.core import responses, serialize, utils


def be_quick() -> None:
    """Have this process remember them from now on."""
    vars(responses)["get_service_model"] = cache(utils.get_service_model)
    vars(responses)["method_names_from_class"] = cache(utils.method_names_from_class)
    picker: Any = serialize.XFormedAttributePicker
    names_of = picker.get_possible_keys

    def remembered(self: Any, context: Any) -> Iterator[str]:
        """The names depend on the member's shape, and on the class of the object that is asked for it."""
        known: dict[object, list[str]] = vars(context.shape).setdefault("names_in_moto", {})
        key = context.key, type(context.obj), tuple(self.alias_providers)
        if key not in known:
            known[key] = list(names_of(self, context))
        return iter(known[key])

    picker.get_possible_keys = remembered
