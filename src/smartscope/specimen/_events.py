"""True events: what happened to which object, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

NAN = math.nan


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """Something that really happened; times in s of specimen time.

    Attributes
    ----------
    kind : str
        As vision reports it, for example ``mitosis``.
    object_id : int
        `Truth.cell_id` of the object; 0 where it is none.
    onset_s, end_s, peak_s : float
        nan until they happen, and where there is no such time.
    x_um, y_um : float
        Sample coordinates, drift included.
    """

    kind: str
    object_id: int
    onset_s: float
    end_s: float
    x_um: float
    y_um: float
    peak_s: float = NAN

    def known_at(self, t_s: float) -> TrueEvent | None:
        """The event as it is known at `t_s`: without what is still to come."""
        if not self.onset_s <= t_s:
            return None
        if self.end_s <= t_s and not self.peak_s > t_s:
            return self
        return replace(
            self,
            end_s=self.end_s if self.end_s <= t_s else NAN,
            peak_s=self.peak_s if self.peak_s <= t_s else NAN,
        )
