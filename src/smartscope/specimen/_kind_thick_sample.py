"""The kind `thick_sample`: nuclei at many depths of a tissue, a layer among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from smartscope.specimen._biology import BLEACHING, HARM, Biology
from smartscope.specimen._columns import Columns
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._population import spread_out
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_TREMBLE_HZ = 0.02
_ASPECT = 1.4


class ThickSample(Sample):
    """Tissue in which a layer of nuclei lies between others at all depths.

    `z_um` is the plane of the layer, `Truth.focus_plane_um` where it is now. The tissue
    begins `depth_um` before it (at lower focus positions, nearer to the objective) and
    is `thickness_um` thick. What lies deeper is dimmer, by a factor of e for every
    `attenuation_um`. The tissue shines by itself, so that the background is high while
    the focus is in it, and out-of-focus nuclei add theirs. The default drift is that
    of a warming microscope: a steady one and a random walk.

    Attributes
    ----------
    area_um : (x, y)
        Extent around stage position (0, 0).
    thickness_um, depth_um : float
    layer_cells : int
        Nuclei in the layer.
    other_cells : int
        Nuclei elsewhere in the tissue.
    layer_spread_um : float
        Standard deviation of the layer's nuclei around its plane.
    other_brightness : float
        Of nuclei elsewhere, relative to the layer's.
    nucleus_um : float
        Typical radius.
    tremble_um : float
        Nuclei tremble around their places with this amplitude.
    attenuation_um : float
        Depth that dims by a factor of e.
    haze_photons_per_ms : float
        Of the tissue itself at its surface, per pixel.
    """

    contents = ("nuclei",)

    area_um: tuple[PositiveFloat, PositiveFloat] = (640.0, 640.0)
    thickness_um: PositiveFloat = 80.0
    depth_um: NonNegativeFloat = 35.0
    layer_cells: NonNegativeInt = 120
    other_cells: NonNegativeInt = 260
    layer_spread_um: NonNegativeFloat = 1.0
    other_brightness: NonNegativeFloat = 0.7
    nucleus_um: PositiveFloat = 7.0
    tremble_um: NonNegativeFloat = 0.2
    texture: float = Field(0.8, ge=0, le=1)
    attenuation_um: PositiveFloat = 60.0
    haze_photons_per_ms: NonNegativeFloat = 2.0
    drift_um_s: tuple[float, float, float] = (0.0005, -0.0003, 0.02)
    drift_noise_um: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (
        0.1,
        0.1,
        1.0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei(Columns):
    """One row per nucleus; those of the layer come first.

    Attributes
    ----------
    xyz_um : ndarray (n, 3)
    angle, aspect : ndarray (n,)
    brightness : ndarray (n,)
        At the surface, over that of a typical one of the layer.
    """

    cell_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    xyz_um: NDArray[np.float64]
    in_layer: NDArray[np.bool_]
    angle: NDArray[np.float64]
    aspect: NDArray[np.float64]
    brightness: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]


class ThickSampleBiology(Biology[Nuclei, ThickSample]):
    """See `ThickSample`."""

    model = ThickSample
    step_s = 1.0

    def found(self, now: Now) -> Nuclei:
        """The layer, and the rest of the tissue around it."""
        p = self.p
        layer = _layer(p, self.seed)
        other = _other(p, self.seed)
        xyz_um = np.concatenate([layer, other])
        n = len(xyz_um)
        key = mix(seed_key(self.seed, n), 70)
        in_layer = np.arange(n) < len(layer)
        return Nuclei(
            cell_id=1 + np.arange(n),
            key=key,
            xyz_um=xyz_um,
            in_layer=in_layer,
            angle=np.pi * uniform(key, 1),
            aspect=1 + (_ASPECT - 1) * uniform(key, 2),
            brightness=np.where(in_layer, 1.0, p.other_brightness)
            * np.exp(0.2 * normal(key, 3)),
            dose=np.zeros(n),
            bleached=np.zeros(n),
        )

    def step(self, state: Nuclei, light: Light, now: Now) -> Nuclei:
        """Collect light."""
        return replace(
            state,
            dose=state.dose + light[HARM],
            bleached=state.bleached + light[BLEACHING],
        )

    def points(self, state: Nuclei, after_s: float) -> NDArray[np.float64]:
        """Middle of each nucleus, at rest."""
        return state.xyz_um

    def paint(self, state: Nuclei, moment: Moment, picture: Picture) -> None:
        """Nuclei at their depths, and the glow of the tissue in focus."""
        p = self.p
        left = mean_unbleached(
            state.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            p.bleach_half_dose,
        )
        dim = np.exp(-self._depths_um(state) / p.attenuation_um)
        stretch = np.sqrt(state.aspect)
        picture.ellipses(
            self._places(state, moment),
            long_um=p.nucleus_um * stretch,
            short_um=p.nucleus_um / stretch,
            angle=state.angle,
            peak=picture.photons(p.photons_per_ms) * state.brightness * left * dim,
            texture=p.texture,
            tile=(state.key >> np.uint64(40)).astype(np.int64),
        )
        into_um = picture.stage_um[2] - (moment.focus_plane_um - p.depth_um)
        haze = picture.photons(p.haze_photons_per_ms) * self.haze(into_um)
        picture.canvas[...] += np.float32(haze)

    def describe(self, state: Nuclei, moment: Moment) -> Truth:
        """All nuclei; `in_layer` and `depth_um` are measures."""
        p = self.p
        dose = state.dose + moment.light[HARM]
        bleached = state.bleached + moment.light[BLEACHING]
        return moment.truth(
            state.cell_id,
            xyz_um=self._places(state, moment),
            radius_um=p.nucleus_um,
            brightness=unbleached(bleached, p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            measures={
                "in_layer": state.in_layer.astype(np.int64),
                "depth_um": self._depths_um(state),
            },
        )

    def haze(self, into_um: float) -> float:
        """Glow of the tissue with the focus so deep in it, of `haze_photons_per_ms`.

        A column of tissue seen in focus and out of it: half at its surface, all from
        some ten micrometres on, and dimmer the deeper.
        """
        p = self.p
        soft_um = 8.0
        enters = 0.5 * (1 + math.tanh(into_um / soft_um))
        leaves = 0.5 * (1 - math.tanh((into_um - p.thickness_um) / soft_um))
        return enters * leaves * math.exp(-max(into_um, 0.0) / p.attenuation_um)

    def _depths_um(self, state: Nuclei) -> NDArray[np.float64]:
        """Below the surface of the tissue."""
        surface_um = self.p.z_um - self.p.depth_um
        return np.maximum(state.xyz_um[:, 2] - surface_um, 0.0)

    def _places(self, state: Nuclei, moment: Moment) -> NDArray[np.float64]:
        """Where nuclei are: they tremble until light has killed them."""
        able = vigour(state.dose, self.p.harm_dose)
        places = moment.points_um.copy()
        for axis in (0, 1):
            phase = 2 * np.pi * uniform(state.key, 8 + axis)
            rate = 2 * np.pi * _TREMBLE_HZ * (0.5 + uniform(state.key, 10 + axis))
            swing = np.sin(rate * moment.now.t_s + phase)
            places[:, axis] += self.p.tremble_um * able * swing
        return places


def _layer(p: ThickSample, seed: int) -> NDArray[np.float64]:
    """Nuclei of the layer, (n, 3): side by side, as in an epithelium."""
    if not p.layer_cells:
        return np.zeros((0, 3))
    xy_um = spread_out(
        p.layer_cells, p.area_um, np.random.default_rng([seed & 0xFFFFFFFF, 7])
    )
    z_um = p.z_um + p.layer_spread_um * normal(seed_key(seed, p.layer_cells), 71)
    return np.column_stack([xy_um, z_um])


def _other(p: ThickSample, seed: int) -> NDArray[np.float64]:
    """Nuclei elsewhere, (n, 3), at all depths."""
    key = mix(seed_key(seed, p.other_cells), 72)
    xy_um = np.stack([uniform(key, 1), uniform(key, 2)], 1) - 0.5
    z_um = p.z_um - p.depth_um + p.thickness_um * uniform(key, 3)
    return np.column_stack([xy_um * np.array(p.area_um), z_um])
