"""Lead a cell along a path by light on the part of its edge that is to go ahead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    field_validator,
)

from smartscope.core import Action, Nothing, Observation, ShowPattern, Track
from smartscope.policies import Policy, edge_um, pick, to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[float, float]

_ARC = 13
"""Corners of each arc of the lit region."""


class SteerCell(Policy):
    """Aim a little ahead of the cell on its path, and light the edge on that side.

    The aim runs along the path at `lookahead_um` before the point that the cell has
    reached, so a cell beside the path is led back to it. What is lit is a sector of the
    cell's own edge, as vision outlines it; without an outline, of the disk of its area.
    At the end of the path the cell is held there.

    For optogenetic cells that protrude where they are lit, with the SLM on a light line
    of its own: a plan with one channel to see them and one to light them.

    Photoactivatable Rac steers cells: Wu et al., "A genetically encoded
    photoactivatable Rac controls the motility of living cells", Nature 461, 104 (2009),
    https://doi.org/10.1038/nature08241; the aim that runs ahead is pure pursuit:
    Coulter, "Implementation of the Pure Pursuit Path Tracking Algorithm", Carnegie
    Mellon University, CMU-RI-TR-92-01 (1992).
    """

    requires = ("slm", "affine")

    path_um: tuple[Place, ...]
    """Corners (x, y) of the path, from where the cell is first seen."""
    absolute: bool = False
    """They are sample coordinates instead."""
    channel: str | None = None
    """Look at frames of this channel only."""
    lookahead_um: PositiveFloat = 8.0
    """How far ahead on the path it is led to; short follows corners, long is calm."""
    tolerance_um: NonNegativeFloat = 1.0
    """No light while the cell is closer to its aim than this, as at the end."""
    half_angle_deg: float = Field(50.0, gt=0, le=180)
    """The lit part of the edge reaches so far to both sides of the way ahead."""
    inside_um: PositiveFloat = 3.0
    """How far the light reaches into the cell."""
    outside_um: PositiveFloat = 2.0
    """And beyond its edge, so that what protrudes stays lit."""
    intensity: int = Field(255, ge=1, le=255)
    """Of the light that the SLM can let through; the power is that of the channel."""
    reach_um: PositiveFloat = 20.0
    """After a loss, a cell so near to the last place is taken for the same."""

    _cell: int | None = PrivateAttr(None)
    _last_um: Place | None = PrivateAttr(None)
    _corners: NDArray[np.float64] | None = PrivateAttr(None)
    _along_um: float = PrivateAttr(0.0)
    _lit: bool = PrivateAttr(False)

    @field_validator("path_um")
    @classmethod
    def _goes_somewhere(cls, path: tuple[Place, ...]) -> tuple[Place, ...]:
        if not path:
            raise ValueError("a path needs at least one point to go to")
        return path

    def react(self, seen: Observation) -> Iterator[Action]:
        """Light the side of the cell that is nearest to its aim."""
        if self.channel is not None and seen.channel != self.channel:
            return
        if seen.moving or seen.state.x_um is None or seen.state.y_um is None:
            yield Nothing(reason="the stage moved during this frame", state="waiting")
            return
        cell = self._find(seen)
        if cell is None:
            yield self._dark("no cell to lead is in sight", None)
            return
        self._cell, self._last_um = cell.track_id, (cell.x_um, cell.y_um)
        aim, aside_um = self._aim(cell)
        left_um = math.hypot(aim[0] - cell.x_um, aim[1] - cell.y_um)
        where = f"{aside_um:.2g} um beside its path, {left_um:.2g} um to its aim"
        if left_um <= self.tolerance_um:
            yield self._dark(f"it is there: {where}", left_um)
            return
        self._lit = True
        yield ShowPattern(
            polygons_px=(self._sector(seen, cell, aim),),
            intensity=self.intensity,
            reason=where,
            track_id=cell.track_id,
        )

    def _find(self, seen: Observation) -> Track | None:
        if self._last_um is None:
            start = seen.field_centre_um()
            if self.absolute:
                start = self.path_um[0]
            return pick(seen.tracks, "nearest", near_um=start)
        found = pick(seen.tracks, "nearest", near_um=self._last_um, current=self._cell)
        if found is None or found.track_id == self._cell:
            return found
        away = math.hypot(found.x_um - self._last_um[0], found.y_um - self._last_um[1])
        return found if away <= self.reach_um else None

    def _dark(self, why: str, left_um: float | None) -> Action:
        if self._lit:
            self._lit = False
            return ShowPattern(polygons_px=(), reason=f"dark: {why}")
        return Nothing(
            reason=why, score=left_um, threshold=self.tolerance_um, state="dark"
        )

    # ------------------------------------------------------------------- the path

    def _aim(self, cell: Track) -> tuple[Place, float]:
        """Where the cell is led to now, and how far it is beside its path, um."""
        here = np.array([cell.x_um, cell.y_um])
        if self._corners is None:
            corners = np.array(self.path_um, dtype=float)
            start = here if self.absolute else np.zeros(2)
            corners = np.vstack([start, corners])
            self._corners = corners if self.absolute else corners + here
        # Never back, and no further than it may have come: a path may cross itself.
        window = np.linspace(0, 2 * self.lookahead_um, 65)
        points = along(self._corners, self._along_um + window)
        away = np.linalg.norm(points - here, axis=1)
        nearest = int(np.argmin(away))
        self._along_um += float(window[nearest])
        aim = along(self._corners, np.array([self._along_um + self.lookahead_um]))[0]
        return (float(aim[0]), float(aim[1])), float(away[nearest])

    # ------------------------------------------------------------------ the light

    def _sector(self, seen: Observation, cell: Track, aim: Place) -> tuple[Place, ...]:
        """Corners (y, x) of the lit part of the edge, pixels of the image seen."""
        ahead = math.atan2(aim[1] - cell.y_um, aim[0] - cell.x_um)
        half = math.radians(self.half_angle_deg)
        angles = ahead + np.linspace(-half, half, _ARC)
        edge = edge_um(seen, cell, angles)
        rays = np.column_stack([np.cos(angles), np.sin(angles)])
        inner = rays * np.maximum(edge - self.inside_um, 0.0)[:, None]
        outer = rays * (edge + self.outside_um)[:, None]
        middle = np.array([cell.x_um, cell.y_um])
        ring = middle + np.concatenate([outer, inner[::-1]])
        return to_pixels(seen, ring)


def along(
    corners: NDArray[np.float64], at_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (n, 2) at these distances from the start of a path; its end beyond."""
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    x = np.interp(at_um, reached, corners[:, 0])
    y = np.interp(at_um, reached, corners[:, 1])
    return np.column_stack([x, y])
