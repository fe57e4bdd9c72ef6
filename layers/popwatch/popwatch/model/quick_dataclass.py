"""`quick_dataclass`: dataclasses that only mypy keeps frozen, so that their objects are made in a tenth of the time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

__all__ = ["quick_dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as quick_dataclass
else:

    def quick_dataclass(*, frozen: bool, slots: bool):
        """As `dataclass`, but that mypy alone keeps the objects from being changed.

        At run time that has a price: a frozen class sets each of its fields by a call of `object.__setattr__`. For the
        forty of a `Health` that is 10 us in place of 1, and a sweep makes four of each target.
        """
        return dataclass(slots=slots, unsafe_hash=frozen)
