"""Policy of a test: lights a box around a cell through the SLM, then goes dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import Action, Observation, ShowPattern
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable


class LightACell(Policy):
    """Lights a box of `half_px` around the middle, shifted by `aside_px`; every other
    sight it goes dark."""

    requires = ("slm",)
    half_px: float = 20.0
    aside_px: float = 0.0
    each: int = 1

    def react(self, seen: Observation) -> Iterable[Action]:
        if seen.number % self.each:
            return []
        if seen.number % 2:
            return [ShowPattern(polygons_px=(), reason="all dark")]
        y, x = seen.shape[0] / 2, seen.shape[1] / 2 + self.aside_px
        h = self.half_px
        box = ((y - h, x - h), (y - h, x + h), (y + h, x + h), (y + h, x - h))
        return [ShowPattern(polygons_px=(box,), reason="light the middle")]
