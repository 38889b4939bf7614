"""Objects as columns: frozen dataclasses of arrays with one entry per object."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

if TYPE_CHECKING:
    from dataclasses import Field

    from numpy.typing import NDArray

C = TypeVar("C", bound="Columns")


class Columns:
    """Base of a frozen dataclass whose fields are arrays (n, ...), one row per object.

    Such a table is never changed: a step of the biology makes a new one. So the past
    can be kept by keeping it, and the future tried without committing to it.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def rows(self: C, keep: NDArray[Any]) -> C:
        """Keep some of the objects, by mask or index."""
        return type(self)(*(getattr(self, f.name)[keep] for f in fields(self)))

    def followed_by(self: C, other: C) -> C:
        """These objects and then `other`."""
        return type(self)(
            *(
                np.concatenate([getattr(self, f.name), getattr(other, f.name)])
                for f in fields(self)
            )
        )
