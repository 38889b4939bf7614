"""The kind `dividing_cells`: nuclei that move, grow, divide, bleach and are harmed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import (
    BLEACHING,
    EXCITATION,
    HARM,
    TRANSMISSION,
    Biology,
)
from smartscope.specimen._bystanders import dead_cells, floating_cells
from smartscope.specimen._colony import Colony, found_colony, next_step
from smartscope.specimen._dividing import DividingCells
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached
from smartscope.specimen._population import (
    DYING,
    PHASES,
    STEP_S,
    Appearance,
    appearance,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._distractors import Distractors
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Division, Truth

_BODY = 1.4
"""Standard deviation of the cell body's glow, in nucleus radii."""


_BODY_RADIUS = 1.8
"""Radius of the cell, in radii of its nucleus before it condenses."""
_CYTOPLASM = 0.4
"""Brightness of a flat cell's cytoplasm over that of a nucleus."""
BRIGHTFIELD = "brightfield"


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """Cells around their nuclei; `rounded` from 0 to 1, `flat` the relative area."""

    rounded: NDArray[np.float64]
    flat: NDArray[np.float64]
    axes: dict[str, NDArray[np.float64]]


class DividingCellsBiology(Biology[Colony, DividingCells]):
    """Dividing cells; see `DividingCells`."""

    model = DividingCells
    step_s = STEP_S

    def found(self, now: Now) -> Colony:
        """Cells spread over the area, each at its own age."""
        return found_colony(self.p, self.seed, now)

    def step(self, state: Colony, light: Light, now: Now) -> Colony:
        """Walk, grow, divide, suffer; see `next_step`."""
        return next_step(state, light, self.p, now)

    def points(self, state: Colony, after_s: float) -> NDArray[np.float64]:
        """Middle of each nucleus."""
        xy_um = state.cells.position(after_s)
        return np.concatenate([xy_um, state.cells.z_um[:, None]], axis=1)

    def speed_um_s(self, state: Colony) -> float:
        """Of the fastest cell."""
        speed = np.hypot(state.cells.vx_um_s, state.cells.vy_um_s)
        return float(speed.max(initial=0.0))

    def distractors(self) -> Sequence[Distractors]:
        """Cells that float above, and dead ones."""
        return floating_cells(self.p, self.seed), dead_cells(self.p, self.seed)

    def paint(self, state: Colony, moment: Moment, picture: Picture) -> None:
        """What the channel shows: nuclei, cell bodies, or both without any label."""
        looks = self._looks(state, moment)
        if picture.content == BRIGHTFIELD:
            self._paint_shadows(state, looks, moment, picture)
        elif not picture.full_ms[EXCITATION]:
            return
        elif picture.content == "cytoplasm":
            self._paint_bodies(state, looks, moment, picture)
        else:
            self._paint_nuclei(state, looks, moment, picture)

    def _left(
        self, state: Colony, moment: Moment, picture: Picture
    ) -> NDArray[np.float64]:
        return mean_unbleached(
            state.cells.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            self.p.bleach_half_dose,
        )

    def _paint_nuclei(
        self, state: Colony, looks: Appearance, moment: Moment, picture: Picture
    ) -> None:
        """Nuclei with chromatin, and the glow of the cell bodies."""
        p, cells = self.p, state.cells
        full = picture.photons(p.photons_per_ms)
        stretch = np.sqrt(looks.aspect)
        picture.ellipses(
            moment.points_um,
            long_um=looks.radius_um * stretch,
            short_um=looks.radius_um / stretch,
            angle=looks.angle,
            peak=full * looks.strength * self._left(state, moment, picture),
            texture=p.texture * looks.texture,
            tile=(cells.key >> np.uint64(40)).astype(np.int64),
        )
        if p.autofluorescence:
            picture.glows(
                moment.points_um,
                sigma_um=_BODY * p.nucleus_um,
                peak=full * p.autofluorescence * looks.presence,
            )

    def _paint_bodies(
        self, state: Colony, looks: Appearance, moment: Moment, picture: Picture
    ) -> None:
        """Cytoplasm around dark nuclei; it rounds up and fills the cell in mitosis."""
        body = self._body(state, looks)
        full = picture.photons(_CYTOPLASM * self.p.photons_per_ms)
        expressed = state.cells.signal * looks.presence
        level = full * expressed * self._left(state, moment, picture)
        # A rounded cell is thicker: what it gives in all stays the same.
        picture.ellipses(moment.points_um, peak=level / body.flat, **body.axes)
        stretch = np.sqrt(looks.aspect)
        picture.ellipses(
            moment.points_um,
            long_um=looks.radius_um * stretch,
            short_um=looks.radius_um / stretch,
            angle=looks.angle,
            # The envelope of the nucleus is gone in mitosis.
            peak=-0.7 * level * (1 - body.rounded),
        )

    def _paint_shadows(
        self, state: Colony, looks: Appearance, moment: Moment, picture: Picture
    ) -> None:
        """Flat cells hardly show without a label; rounded ones do, with a halo."""
        body = self._body(state, looks)
        bright = picture.photons(self.p.brightfield_photons_per_ms, TRANSMISSION)
        contrast = bright * looks.presence * (0.03 + 0.12 * body.rounded)
        wider = {
            name: 1.2 * axis for name, axis in body.axes.items() if name != "angle"
        }
        angle = body.axes["angle"]
        picture.ellipses(moment.points_um, angle=angle, peak=contrast, **wider)
        picture.ellipses(moment.points_um, peak=-2.5 * contrast, **body.axes)

    def _body(self, state: Colony, looks: Appearance) -> _Body:
        rounded = looks.rounded
        flat = 1 - 0.5 * rounded
        radius = _BODY_RADIUS * looks.radius_um / np.sqrt(1 - 0.4 * rounded)
        radius = radius * np.sqrt(flat)
        stretch = np.sqrt(1 + (looks.aspect - 1) * (1 - rounded))
        axes = {
            "long_um": radius * stretch,
            "short_um": radius / stretch,
            "angle": looks.angle,
        }
        return _Body(rounded, flat, axes)

    def describe(self, state: Colony, moment: Moment) -> Truth:
        """Cells, and all divisions since the start."""
        cells, t_s = state.cells, moment.now.t_s
        bleached = cells.bleached + moment.light[BLEACHING]
        return moment.truth(
            cells.cell_id,
            parent_id=cells.parent_id,
            radius_um=self._looks(state, moment).radius_um,
            phase=PHASES[cells.phase],
            brightness=unbleached(bleached, self.p.bleach_half_dose),
            dose=cells.dose + moment.light[HARM],
            alive=cells.phase != DYING,
            divisions=[
                replace(d, end_s=float("nan")) if d.end_s > t_s else d
                for d in state.divisions
            ],
            events=[_mitosis(division) for division in state.divisions],
        )

    def _looks(self, state: Colony, moment: Moment) -> Appearance:
        p = self.p
        return appearance(
            state.cells,
            moment.now.after_s,
            nucleus_um=p.nucleus_um,
            mitosis_s=p.mitosis_s,
            death_s=p.death_s,
        )


def _mitosis(division: Division) -> TrueEvent:
    return TrueEvent(
        kind="mitosis",
        object_id=division.parent_id,
        onset_s=division.onset_s,
        peak_s=division.split_s,
        end_s=division.end_s,
        x_um=division.x_um,
        y_um=division.y_um,
    )
