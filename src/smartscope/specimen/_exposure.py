"""Cuts an exposure into parts in which all stands still, and lights each of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import NS_PER_S
from smartscope.specimen._biology import TRANSMISSION
from smartscope.specimen._light import Beam, LightPath, Lit, Windows
from smartscope.specimen._picture import Picture
from smartscope.specimen._stage import settling_reach_ns, settling_um

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from smartscope.core import DeviceHistory
    from smartscope.specimen._biology import Backdrop, Light
    from smartscope.specimen._sample import Sample
    from smartscope.specimen._view import SpecimenView

_MOST_SHOTS = 24


@dataclass(frozen=True, slots=True)
class Shot:
    """A part of an exposure in which all stood still.

    Attributes
    ----------
    full_ms : mapping of role to Beam
        Milliseconds of full light.
    pattern : int or None
        Number of what the SLM showed.
    still : bool
        Stage and focus did not move.
    lasts_ns : int
        Length of the part, `t_ns` is its middle.
    """

    t_ns: int
    stage_um: tuple[float, float, float]
    magnification: float
    full_ms: Mapping[str, Beam]
    pattern: int | None
    still: bool
    lasts_ns: int

    @property
    def weight(self) -> float:
        """Light that it counts for."""
        return max(beam.whole for beam in self.full_ms.values())


@dataclass(frozen=True, slots=True)
class Scene:
    """What light and geometry to use: the latest view and history."""

    view: SpecimenView
    history: DeviceHistory
    path: LightPath
    windows: Windows
    sample: Sample

    def lit(self, t0_ns: int, t1_ns: int) -> Iterator[Lit]:
        """Lit stretches of a span of time."""
        return self.path.lit(self.history, t0_ns, t1_ns, self.windows)

    def received(self, points_um: NDArray[np.float64], shot: Shot) -> Light:
        """Percent-seconds that points (n, 3) get in a shot."""
        p, shape = self.sample, self.view.sensor_shape
        offset = points_um[:, :2] - np.array(shot.stage_um[:2])
        share = p.irradiance(offset, shape, shot.magnification)
        shaped = share
        if shot.pattern is not None:
            affine = np.asarray(p.true_affine(shot.magnification))
            pattern = self.view.patterns[shot.pattern]
            shaped = share * pattern.at_points(offset, affine, shape)
        light: Light = {}
        for role, beam in shot.full_ms.items():
            light[role] = share * (beam.even * 0.1)  # full ms to percent-seconds
            if beam.shaped:
                light[role] += shaped * (beam.shaped * 0.1)
        return light


def light_between(
    scene: Scene,
    t0_ns: int,
    t1_ns: int,
    points_at: Callable[[int], NDArray[np.float64]],
) -> Iterator[Light]:
    """Yield what points get in each lit part of a span of time."""
    for lit in scene.lit(t0_ns, t1_ns):
        # The field is wide: it is enough to look where it is now and then.
        for shot in _shots(lit, _parts(_travel_um(lit) / 20.0)):
            yield scene.received(points_at(shot.t_ns), shot)


class Exposure:
    """Collects the electrons of one exposure.

    Parameters
    ----------
    backdrop : callable
        From the content of the channel to what is seen beside objects.
    canvas : ndarray (y, x) float32
        Zeros; overwritten.
    """

    def __init__(
        self,
        scene: Scene,
        backdrop: Callable[[str], Backdrop],
        seed: int,
        start_ns: int,
        canvas: NDArray[np.float32],
    ) -> None:
        self._scene = scene
        self._seed = seed
        self._start_ns = start_ns
        self._content = scene.sample.content(scene.view.channel)
        self._backdrop = backdrop(self._content)
        self._canvas = canvas
        self._flat_field = scene.sample.flat_field(scene.view)
        self._backdrop_ms = 0.0

    def shots(self, t0_ns: int, t1_ns: int, speed_um_s: float) -> Iterator[Shot]:
        """Parts in which all stand still, as few as possible."""
        held: Shot | None = None
        for lit in self._scene.lit(t0_ns, t1_ns):
            for shot in _shots(lit, _parts(self._restlessness(lit, speed_um_s))):
                joined = _join(held, shot)
                if joined is None and held is not None:
                    yield held
                held = joined or shot
        if held is not None:
            yield held

    def _restlessness(self, lit: Lit, speed_um_s: float) -> float:
        """How many parts a lit stretch needs."""
        p = self._scene.sample
        pixel_um = p.pixel_map(self._scene.view, lit.magnification).pixel_um
        seconds = (lit.t1_ns - lit.t0_ns) / NS_PER_S
        depth_um = p.depth_of_field_um * 10.0 / lit.magnification
        focus = abs(lit.z_um[1] - lit.z_um[0]) / (0.5 * depth_um)
        travel = (_travel_um(lit) + speed_um_s * seconds) / pixel_um
        tremble = 100.0 * seconds if p.stage_wobble_um else 0.0
        swing = 0.0
        if settling_reach_ns(p) and any(settling_um(p, self._scene.history, lit.t0_ns)):
            swing = 8.0 * p.stage_settle_hz * seconds
        return max(travel, focus, tremble, swing)

    @contextmanager
    def picture(self, shot: Shot, received: Light) -> Iterator[Picture]:
        """Make the picture of a part; what is painted on it counts afterwards."""
        scene = self._scene
        p, view = scene.sample, scene.view
        shaped = shot.pattern is not None and any(
            beam.shaped for beam in shot.full_ms.values()
        )
        picture = Picture(
            canvas=np.zeros_like(self._canvas) if shaped else self._canvas,
            sample=p,
            pixel_map=p.pixel_map(view, shot.magnification),
            stage_um=self._true_stage(shot),
            magnification=shot.magnification,
            binning=view.binning,
            channel=view.channel,
            content=self._content,
            full_ms={role: beam.whole for role, beam in shot.full_ms.items()},
            light=received,
            lasts_s=shot.lasts_ns / NS_PER_S,
        )
        yield picture
        beam = shot.full_ms[self._backdrop.role]
        if shaped and shot.pattern is not None:
            self._add_shaped(picture.canvas, shot.pattern, beam)
        else:
            self._backdrop_ms += beam.whole

    def _true_stage(self, shot: Shot) -> tuple[float, float, float]:
        p, x_um, y_um = self._scene.sample, *shot.stage_um[:2]
        wobble = p.wobble(self._seed, (shot.t_ns - self._start_ns) / NS_PER_S)
        swing = settling_um(p, self._scene.history, shot.t_ns)
        return (
            x_um + wobble[0] + swing[0],
            y_um + wobble[1] + swing[1],
            shot.stage_um[2],
        )

    def _add_shaped(
        self, canvas: NDArray[np.float32], pattern: int, beam: Beam
    ) -> None:
        """Dim a part painted in full light to what its pattern leaves of it."""
        if not beam.whole:
            return
        canvas += np.float32(self._flat_electrons(beam.whole))
        share = self._scene.view.patterns[pattern].on_image(self._scene.view)
        share *= np.float32(beam.shaped / beam.whole)
        share += np.float32(beam.even / beam.whole)
        canvas *= share
        self._canvas += canvas

    def _flat_electrons(self, full_ms: float) -> float:
        return self._backdrop.photons_per_ms * self._scene.view.binning**2 * full_ms

    def electrons(self, rows: slice) -> NDArray[np.float32]:
        """Expected electrons (y, x) of some rows, >= 0; ask for each row once."""
        canvas = self._canvas[rows]
        if level := self._flat_electrons(self._backdrop_ms):
            canvas += np.float32(level)
        if self._flat_field is not None:
            down, across = self._flat_field
            canvas *= np.add.outer(down[rows], across)
        if self._backdrop.role == TRANSMISSION:
            # Things in the way take light away, together more than there is.
            np.maximum(canvas, 0, out=canvas)
        return canvas


def _travel_um(lit: Lit) -> float:
    return float(np.hypot(lit.x_um[1] - lit.x_um[0], lit.y_um[1] - lit.y_um[0]))


def _parts(needed: float) -> int:
    return int(min(max(np.ceil(needed), 1), _MOST_SHOTS))


def _shots(lit: Lit, parts: int) -> Iterator[Shot]:
    length_ns = lit.t1_ns - lit.t0_ns
    full_ms = lit.full_ms(parts)
    for i in range(parts):
        fraction = (i + 0.5) / parts
        yield Shot(
            lit.t0_ns + round(fraction * length_ns),
            lit.at(fraction),
            lit.magnification,
            full_ms,
            lit.pattern,
            still=parts == 1,
            lasts_ns=round(length_ns / parts),
        )


def _join(held: Shot | None, shot: Shot) -> Shot | None:
    """Make one of two still shots of the same place."""
    if held is None or not (held.still and shot.still):
        return None
    same = (
        held.stage_um == shot.stage_um
        and held.magnification == shot.magnification
        and held.pattern == shot.pattern
    )
    if not same:
        return None
    weight = held.weight + shot.weight
    middle = held.t_ns + (shot.t_ns - held.t_ns) * shot.weight / weight
    full_ms = {
        role: Beam(beam.even + more.even, beam.shaped + more.shaped)
        for (role, beam), more in zip(
            held.full_ms.items(), shot.full_ms.values(), strict=True
        )
    }
    lasts_ns = held.lasts_ns + shot.lasts_ns
    return replace(held, t_ns=round(middle), full_ms=full_ms, lasts_ns=lasts_ns)
