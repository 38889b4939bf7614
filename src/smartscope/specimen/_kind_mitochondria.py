"""The kind `mitochondria`: thin tubes that move, constrict, part and now and then fuse.

What it takes from nature, and what an event-driven microscope waits for, is described
in Mahecic et al., Nature Methods 2022: a tube narrows at one place over tens of
seconds while the division protein Drp1 gathers there, then it parts and the ends draw
back. Many Drp1 spots never lead to a fission, and some constrictions relax again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import BLEACHING, EXCITATION, HARM, Biology
from smartscope.specimen._harm import mean_unbleached, unbleached
from smartscope.specimen._mitochondria import (
    GRAIN,
    GRAIN_UM,
    MOST_DECOYS,
    NECK_UM,
    STEP_S,
    Mitochondria,
    Network,
    Tubes,
    found_network,
    next_step,
)
from smartscope.specimen._random import mix, uniform
from smartscope.specimen._tubes import beads_of, curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_SPOT_UM = 0.12
"""Standard deviation of a marker spot without blur."""
_DECOY_S = 45.0
"""A decoy comes and goes in this time."""
_FADE_S = 8.0
"""The marker leaves the new ends in about this time."""
_RELAXING = 0.45
"""How far an abortive constriction goes."""


class MitochondriaBiology(Biology[Network, Mitochondria]):
    """See `Mitochondria`."""

    model = Mitochondria
    step_s = STEP_S

    def found(self, now: Now) -> Network:
        """Tubes around the nuclei of cells."""
        return found_network(self.p, self.seed, now)

    def step(self, state: Network, light: Light, now: Now) -> Network:
        """Move, part, fuse, suffer; see `next_step`."""
        return next_step(state, light, self.p, now)

    def points(self, state: Network, after_s: float) -> NDArray[np.float64]:
        """Middle of each mitochondrion."""
        t = state.tubes
        middle = (t.nodes_um + t.moving_um_s * after_s).mean(axis=1)
        return np.concatenate([middle, t.z_um[:, None]], axis=1)

    def speed_um_s(self, state: Network) -> float:
        """Of the fastest node."""
        return float(np.linalg.norm(state.tubes.moving_um_s, axis=2).max(initial=0.0))

    def paint(self, state: Network, moment: Moment, picture: Picture) -> None:
        """Tubes, or the marker's spots; and a faint glow of the cells."""
        p, t = self.p, state.tubes
        if not picture.full_ms[EXCITATION]:
            return
        marker = picture.content == "marker"
        level = picture.photons(p.marker_photons_per_ms if marker else p.photons_per_ms)
        homes = np.column_stack(
            [
                state.homes_um + moment.now.drift_um[:2],
                np.full(len(state.homes_um), moment.focus_plane_um),
            ]
        )
        picture.glows(homes, sigma_um=0.45 * p.cell_um, peak=level * p.autofluorescence)
        left = mean_unbleached(
            t.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            p.bleach_half_dose,
        )
        if marker:
            self._paint_marker(t, moment, picture, level * left)
        else:
            self._paint_tubes(t, moment, picture, level * left)

    def _paint_tubes(
        self, t: Tubes, moment: Moment, picture: Picture, level: NDArray[np.float64]
    ) -> None:
        seen = np.flatnonzero(_near_view(t, moment, picture))
        nodes_um = _nodes_at(t.rows(seen), moment)
        beads = beads_of(nodes_um, t.length_um[seen])
        row = seen[beads.tube]
        from_neck_um = beads.along_um - (t.site * t.length_um)[row]
        neck = np.exp(-0.5 * (from_neck_um / NECK_UM) ** 2)
        width = 1 - self._narrowing(t, moment)[row] * neck
        grain = np.sin(t.grain[row] + 2 * np.pi * beads.along_um / GRAIN_UM)
        share = width**2 * (1 + GRAIN * grain)
        # What leaves the neck goes to the rest of the tube: no light is lost.
        share /= np.bincount(row, share, len(t))[row]
        sigma_um = self.p.width_um / 4
        per_um = level * np.sqrt(2 * np.pi) * sigma_um / picture.pixel_map.pixel_um**2
        picture.spots(
            np.column_stack([beads.xy_um, (t.z_um + moment.now.drift_um[2])[row]]),
            total=(per_um * t.mass_um)[row] * share,
            sigma_um=sigma_um,
        )

    def _paint_marker(
        self, t: Tubes, moment: Moment, picture: Picture, level: NDArray[np.float64]
    ) -> None:
        strengths = [self._gathered(t, moment), _scars(t, moment)]
        places = [t.site, t.scar]
        for number in range(MOST_DECOYS):
            place, strength = self._decoy(t, moment, number)
            places.append(place)
            strengths.append(strength)
        strength = np.concatenate(strengths)
        row = np.tile(np.arange(len(t)), len(strengths))
        lit = np.flatnonzero(strength > 0.01)
        xy_um = curve(_nodes_at(t, moment), row[lit], np.concatenate(places)[lit])
        z_um = t.z_um[row[lit]] + moment.now.drift_um[2]
        spot_px = _SPOT_UM / picture.pixel_map.pixel_um
        picture.spots(
            np.column_stack([xy_um, z_um]),
            total=strength[lit] * level[row[lit]] * 2 * np.pi * spot_px**2,
            sigma_um=_SPOT_UM,
        )

    def _progress(self, t: Tubes, moment: Moment) -> NDArray[np.float64]:
        """Of the constriction: 0 at onset (and without one), 1 at the end."""
        lasts_s = np.maximum(t.last_step * STEP_S - t.onset_s, 1e-6)
        progress = (moment.now.t_s - t.onset_s) / lasts_s
        return np.clip(np.nan_to_num(progress, nan=0.0), 0.0, 1.0)

    def _narrowing(self, t: Tubes, moment: Moment) -> NDArray[np.float64]:
        """Share of the width that is missing in the middle of the neck."""
        done = self._progress(t, moment)
        relaxing = _RELAXING * np.sin(np.pi * done) ** 2
        return np.where(t.parts, done * (2 - done), relaxing)

    def _gathered(self, t: Tubes, moment: Moment) -> NDArray[np.float64]:
        """Marker at the neck, 1 is a full spot."""
        done = self._progress(t, moment)
        return np.where(t.parts, np.minimum(done / 0.7, 1.0), np.sin(np.pi * done))

    def _decoy(
        self, t: Tubes, moment: Moment, number: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Place and strength of a passing marker spot of each mitochondrion."""
        mine = mix(t.key, 40 + number)
        turns = moment.now.t_s / _DECOY_S + uniform(mine, 0)
        turn = np.floor(turns)
        mine = mix(mine + turn.astype(np.uint64), 1)
        there = uniform(mine, 1) < 2 * self.p.decoys / MOST_DECOYS
        height = (0.3 + 0.7 * uniform(mine, 2)) * np.sin(np.pi * (turns - turn)) ** 2
        return uniform(mine, 3), np.where(there, height, 0.0)

    def describe(self, state: Network, moment: Moment) -> Truth:
        """Mitochondria, and all fissions, fusions and abortive constrictions."""
        p, t = self.p, state.tubes
        dose = t.dose + moment.light[HARM]
        bleached = t.bleached + moment.light[BLEACHING]
        begun = t.onset_s <= moment.now.t_s
        return moment.truth(
            t.cell_id,
            parent_id=t.parent_id,
            radius_um=np.sqrt(t.length_um * p.width_um / np.pi),
            phase=np.where(begun, "constriction", "interphase"),
            brightness=unbleached(bleached, p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            events=state.events,
            measures={
                "length_um": t.length_um,
                "narrowing": self._narrowing(t, moment),
                "marker": self._gathered(t, moment),
            },
            scalars={"network_um": float(t.length_um.sum())},
        )


def _nodes_at(t: Tubes, moment: Moment) -> NDArray[np.float64]:
    now = moment.now
    moved = t.nodes_um + t.moving_um_s * now.after_s
    return np.asarray(moved + now.drift_um[:2])


def _near_view(t: Tubes, moment: Moment, picture: Picture) -> NDArray[np.bool_]:
    """Which may reach into the picture."""
    centre = picture.to_image(moment.points_um[:, :2])
    # The ends are not further from the middle than the tube is long.
    reach_um = t.length_um + 5 * picture.blur_um(moment.points_um[:, 2])
    reach = (reach_um / picture.pixel_map.pixel_um)[:, None]
    inside = (centre > -reach) & (centre < np.array(picture.canvas.shape) + reach)
    return np.asarray(inside.all(axis=1))


def _scars(t: Tubes, moment: Moment) -> NDArray[np.float64]:
    """Marker left on the ends that a fission made."""
    return np.asarray(0.5 * np.exp(-(moment.now.t_s - t.scar_s) / _FADE_S))
