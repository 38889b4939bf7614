"""The kind `vesicles`: endocytic spots on the membrane of a flat cell.

A coat assembles at a place, brightens and stays; shortly before the vesicle leaves, a
second protein (dynamin, say) gathers for some seconds; then both are gone. Many coats
give up early and never recruit it (Merrifield et al., Nature Cell Biology 2002;
Loerke et al., PLoS Biology 2009). Spots are smaller than the point-spread function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy import special

from smartscope.specimen._biology import BLEACHING, EXCITATION, HARM, Biology
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

ABORTIVE, ENDOCYTOSIS, STATIC = 0, 1, 2
KINDS = np.array(["abortive", "endocytosis", "static"])
_SPOT_UM = 0.07
_GROWING = 0.6
"""Share of a life after which the coat is complete."""
_GATHERS_S, _LEAVES_S = 5.0, 2.0
"""Standard deviations of the recruitment before and after its peak."""
_WAVES = ((2, 0.14), (3, 0.09), (5, 0.05))
"""Outline of the cell: harmonics of its radius."""
_LARGEST = 1.0 + sum(size for _, size in _WAVES)


class Vesicles(Sample):
    """Parameters; `channels: {PRESET: coat | recruit}`.

    Attributes
    ----------
    cell_um : float
        Mean radius of the cell's footprint, which is around ``(0, 0)``.
    starts_per_um2_min : float
        Rate at which coats appear.
    max_spots : int
        No new ones beyond this number.
    endocytosis_share : float
        Of all coats; the others are abortive.
    life_s, life_spread : float
        Mean life of a coat that succeeds, and relative standard deviation.
    abortive_s : float
        Mean life of one that does not (never less than a quarter of it).
    vanish_s : float
        From the peak of the second protein until all is gone.
    static_spots : int
        Bright ones that never change, a third of them in both channels.
    diffusion_um2_s : float
        How fast coats wander.
    recruit_photons_per_ms : float
        As `photons_per_ms`, at the second protein's peak: brightness in the middle of
        a full spot in focus.
    membrane : float
        Even glow of the footprint, relative to a full spot; replenished, so it does
        not bleach.
    """

    contents = ("coat", "recruit")

    # At 10x; at 100x they are a tenth, as those of an oil objective.
    psf_um: PositiveFloat = 1.0
    depth_of_field_um: PositiveFloat = 5.0
    photons_per_ms: NonNegativeFloat = 20.0
    cell_um: PositiveFloat = 30.0
    starts_per_um2_min: NonNegativeFloat = 0.08
    max_spots: PositiveInt = 3000
    endocytosis_share: float = Field(0.5, ge=0, le=1)
    life_s: PositiveFloat = 60.0
    life_spread: float = Field(0.25, ge=0, le=0.4)
    abortive_s: PositiveFloat = 14.0
    vanish_s: PositiveFloat = 5.0
    static_spots: NonNegativeInt = 40
    diffusion_um2_s: NonNegativeFloat = 0.0003
    recruit_photons_per_ms: NonNegativeFloat = 20.0
    membrane: NonNegativeFloat = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class Spots(Columns):
    """One row per coat."""

    cell_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    kind: NDArray[np.int8]
    xy_um: NDArray[np.float64]
    moving_um_s: NDArray[np.float64]
    onset_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    bleached: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Membrane:
    """All of a step; `dose` is the cell's."""

    spots: Spots
    next_id: int
    dose: float
    events: tuple[TrueEvent, ...]


class VesiclesBiology(Biology[Membrane, Vesicles]):
    """See `Vesicles`."""

    model = Vesicles
    step_s = 1.0

    # --- life

    def found(self, now: Now) -> Membrane:
        """Static spots, and coats of all ages as if it had gone on for long."""
        p = self.p
        key = mix(seed_key(self.seed, p.static_spots), 3)
        xy_um, _ = self._places(key)
        # Those outside of the cell are pulled in: the number is as asked for.
        xy_um *= self._reach(xy_um)[:, None]
        n = len(key)
        still = Spots(
            cell_id=1 + np.arange(n),
            key=key,
            kind=np.full(n, STATIC, np.int8),
            xy_um=xy_um,
            moving_um_s=np.zeros((n, 2)),
            onset_s=np.full(n, -np.inf),
            end_s=np.full(n, np.inf),
            bleached=np.zeros(n),
        )
        before_s = 2.5 * max(p.life_s, p.abortive_s)
        state = self._start(
            Membrane(still, 1 + n, 0.0, ()), now, -before_s, before_s + self.step_s
        )
        return self._without_gone(state, now)

    def step(self, state: Membrane, light: Light, now: Now) -> Membrane:
        """Wander, collect light, vanish, appear."""
        old = state.spots
        n = len(old)
        spots = replace(
            old,
            xy_um=old.xy_um + old.moving_um_s * self.step_s,
            bleached=old.bleached + light[BLEACHING][:n],
        )
        state = replace(state, spots=spots, dose=state.dose + float(light[HARM][n]))
        state = self._start(self._without_gone(state, now), now, now.t_s, self.step_s)
        spots = state.spots
        pace = np.sqrt(2 * self.p.diffusion_um2_s / self.step_s)
        pace = pace * (spots.kind != STATIC) * self._vigour(state)
        walk = mix(spots.key, 1000 + now.step)
        moving = np.stack([normal(walk, 1), normal(walk, 2)], axis=1) * pace[:, None]
        return replace(state, spots=replace(spots, moving_um_s=moving))

    def _vigour(self, state: Membrane) -> float:
        return float(vigour(np.array([state.dose]), self.p.harm_dose)[0])

    def _without_gone(self, state: Membrane, now: Now) -> Membrane:
        kept = state.spots.rows(state.spots.end_s > now.t_s)
        return replace(state, spots=kept)

    def _start(
        self, state: Membrane, now: Now, begin_s: float, lasts_s: float
    ) -> Membrane:
        """Coats that appear in ``[begin_s, begin_s + lasts_s)``."""
        p = self.p
        most_um2 = np.pi * (p.cell_um * _LARGEST) ** 2
        mean = p.starts_per_um2_min * most_um2 * lasts_s / 60 * self._vigour(state)
        draw = mix(seed_key(self.seed, 1), 500 + now.step)
        tried = _poisson(float(uniform(draw, 1)[0]), mean)
        key = mix(seed_key(int(draw[0]), tried), 2)
        xy_um, inside = self._places(key)
        key, xy_um = key[inside], xy_um[inside]
        room = max(p.max_spots - len(state.spots), 0)
        key, xy_um = key[:room], xy_um[:room]
        n = len(key)
        onset_s = begin_s + lasts_s * uniform(key, 4)
        works = uniform(key, 5) < p.endocytosis_share
        spread = 1 + p.life_spread * np.clip(normal(key, 6), -2, 2)
        short_s = p.abortive_s * (0.25 - 0.75 * np.log1p(-uniform(key, 7)))
        life_s = np.where(works, np.maximum(p.life_s * spread, p.vanish_s), short_s)
        new = Spots(
            cell_id=np.zeros(n, np.int64),
            key=key,
            kind=np.where(works, ENDOCYTOSIS, ABORTIVE).astype(np.int8),
            xy_um=xy_um,
            moving_um_s=np.zeros((n, 2)),
            onset_s=onset_s,
            end_s=onset_s + life_s,
            bleached=np.zeros(n),
        )
        # Those of the time before that are gone by now were never here.
        new = new.rows(new.end_s > now.t_s)
        new = new.rows(np.argsort(new.onset_s, kind="stable"))
        new = replace(new, cell_id=state.next_id + np.arange(len(new)))
        return replace(
            state,
            spots=state.spots.followed_by(new),
            next_id=state.next_id + len(new),
            events=state.events + self._events(new, now),
        )

    def _events(self, new: Spots, now: Now) -> tuple[TrueEvent, ...]:
        places, peak_s = new.xy_um + now.drift_um[:2], self._peak_s(new)
        return tuple(
            TrueEvent(
                str(KINDS[new.kind[i]]),
                int(new.cell_id[i]),
                float(new.onset_s[i]),
                float(new.end_s[i]),
                x_um=float(places[i, 0]),
                y_um=float(places[i, 1]),
                peak_s=float(peak_s[i]),
            )
            for i in range(len(new))
        )

    def _peak_s(self, spots: Spots) -> NDArray[np.float64]:
        """Of the second protein; nan where there is none."""
        peak_s = spots.end_s - self.p.vanish_s
        return np.where(spots.kind == ENDOCYTOSIS, peak_s, np.nan)

    # --- the cell's footprint

    def _radius(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        phase = 2 * np.pi * uniform(mix(seed_key(self.seed, len(_WAVES)), 8), 1)
        radius = np.ones_like(angle)
        for (wave, size), start in zip(_WAVES, phase, strict=True):
            radius += size * np.cos(wave * angle + start)
        return self.p.cell_um * radius

    def _reach(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radius of the footprint there, relative to the largest it could be."""
        angle = np.arctan2(xy_um[:, 1], xy_um[:, 0])
        return self._radius(angle) / (self.p.cell_um * _LARGEST)

    def _places(
        self, key: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Places spread evenly over a disc, and which lie in the footprint."""
        angle = 2 * np.pi * uniform(key, 10)
        away = np.sqrt(uniform(key, 11)) * self.p.cell_um * _LARGEST
        xy_um = away[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return xy_um, away < 0.96 * self._radius(angle)

    # --- looks

    def points(self, state: Membrane, after_s: float) -> NDArray[np.float64]:
        """Coats, then the middle of the cell."""
        spots = state.spots
        xy_um = np.concatenate(
            [spots.xy_um + spots.moving_um_s * after_s, np.zeros((1, 2))]
        )
        return np.column_stack([xy_um, np.full(len(xy_um), self.p.z_um)])

    def paint(self, state: Membrane, moment: Moment, picture: Picture) -> None:
        """Spots in one channel or the other, on the glow of the membrane."""
        p, spots = self.p, state.spots
        if not picture.full_ms[EXCITATION]:
            return
        n, recruit = len(spots), picture.content == "recruit"
        per_ms = p.recruit_photons_per_ms if recruit else p.photons_per_ms
        level = picture.photons(per_ms)
        angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        outline = self._radius(angle)[:, None] * ring + moment.points_um[n, :2]
        picture.outlines(
            [outline], z_um=moment.points_um[n:, 2], peak=level * p.membrane
        )
        left = mean_unbleached(
            spots.bleached + moment.light[BLEACHING][:n],
            picture.light[BLEACHING][:n],
            p.bleach_half_dose,
        )
        coat, recruited = self._strengths(spots, moment.now.t_s)
        size = 0.6 + 0.8 * uniform(spots.key, 12)
        strength = (recruited if recruit else coat) * size * left
        lit = np.flatnonzero(strength > 0.003)
        focus_um = picture.blur_um(np.array([picture.stage_um[2]]))[0]
        spot_px = np.hypot(_SPOT_UM, focus_um) / picture.pixel_map.pixel_um
        picture.spots(
            moment.points_um[lit],
            total=level * strength[lit] * 2 * np.pi * spot_px**2,
            sigma_um=_SPOT_UM,
        )

    def _strengths(
        self, spots: Spots, t_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How much of a full coat, and of the full second protein, is there."""
        static, works = spots.kind == STATIC, spots.kind == ENDOCYTOSIS
        life_s = np.where(static, 1.0, spots.end_s - spots.onset_s)
        age_s = np.where(static, 0.0, t_s - spots.onset_s)
        rest_s = np.where(static, 0.0, spots.end_s - t_s)
        grown = np.clip(age_s / (_GROWING * life_s), 0.0, 1.0)
        leaving_s = np.minimum(self.p.vanish_s, life_s * (1 - _GROWING))
        there = np.clip(rest_s / leaving_s, 0.0, 1.0)
        coat = np.sqrt(grown) * there * np.where(works, 1.0, 0.5)
        from_peak_s = self.p.vanish_s - rest_s
        width_s = np.where(from_peak_s < 0, _GATHERS_S, _LEAVES_S)
        recruited = np.exp(-0.5 * (from_peak_s / width_s) ** 2)
        recruited *= works * (grown > 0) * (rest_s > 0)
        both = uniform(spots.key, 13) < 1 / 3
        return np.where(static, 1.5, coat), np.where(static & both, 0.8, recruited)

    def describe(self, state: Membrane, moment: Moment) -> Truth:
        """Coats and static spots that are there, and all that have been."""
        p, spots = self.p, state.spots
        n, t_s = len(spots), moment.now.t_s
        bleached = spots.bleached + moment.light[BLEACHING][:n]
        coat, recruited = self._strengths(spots, t_s)
        dose = state.dose + moment.light[HARM][n]
        begun = (spots.onset_s <= t_s) & (t_s < spots.end_s)
        now = np.flatnonzero(begun)
        return moment.truth(
            spots.cell_id[now],
            xyz_um=moment.points_um[now],
            radius_um=_SPOT_UM,
            phase=KINDS[spots.kind[now]],
            brightness=unbleached(bleached, p.bleach_half_dose)[now],
            dose=dose,
            alive=bool(dose < 2 * p.harm_dose),
            events=state.events,
            measures={"coat": coat[now], "recruited": recruited[now]},
            scalars={"cell_dose": float(dose)},
        )


def _poisson(chance: float, mean: float) -> int:
    """The Poisson number whose cumulative probability is `chance`."""
    number = max(np.ceil(special.pdtrik(chance, mean)), 0.0) if mean > 0 else 0.0
    return int(number)
