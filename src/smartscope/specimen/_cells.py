"""Dividing cells under the microscope: biology, light and picture brought together."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import NS_PER_MS, NS_PER_S, SmartscopeError
from smartscope.specimen._camera import noise_generator
from smartscope.specimen._colony import Colony, found_colony, next_step
from smartscope.specimen._light import LightPath, Lit, Windows
from smartscope.specimen._paint import Ellipses, paint_ellipses, paint_gaussians
from smartscope.specimen._population import (
    DYING,
    PHASES,
    STEP_S,
    Appearance,
    appearance,
)
from smartscope.specimen._truth import Truth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from smartscope.core import DeviceHistory, Matrix
    from smartscope.specimen._dividing import DividingCells
    from smartscope.specimen._view import SpecimenView

_STEP_NS = int(STEP_S * NS_PER_S)
_KEPT = 64
_MOST_SHOTS = 24
_BODY = 1.4
"""Standard deviation of the cell body's glow, in nucleus radii."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What light and geometry to use: the latest view and history."""

    view: SpecimenView
    history: DeviceHistory
    path: LightPath


@dataclass(frozen=True, slots=True)
class _Shot:
    """A part of an exposure in which all stood still."""

    t_ns: int
    stage_um: tuple[float, float, float]
    magnification: float
    light_ms: float
    still: bool


class CellSpecimen:
    """The kind `dividing_cells`; see `DividingCells` and the protocol `Specimen`."""

    def __init__(self, seed: int, parameters: DividingCells) -> None:
        self.seed = seed
        self.parameters = parameters
        self._lock = threading.RLock()
        self._start_ns: int | None = None
        self._latest_ns = 0
        self._kept: deque[Colony] = deque(maxlen=_KEPT)
        self._windows = Windows()
        self._scene: _Scene | None = None

    def start(self, t_ns: int) -> None:
        """Begin life at `t_ns`; starting again begins anew."""
        with self._lock:
            self._start_ns = self._latest_ns = t_ns
            self._kept.clear()
            self._kept.append(found_colony(self.parameters, self.seed))
            self._windows = Windows()
            self._scene = None

    def true_affine(self, magnification: float = 10.0) -> Matrix:
        """Um per unbinned sensor pixel, sign convention of `smartscope.core`."""
        return self.parameters.true_affine(magnification)

    @property
    def needs_history_from_ns(self) -> int:
        """Device history before this time is no longer looked at."""
        with self._lock:
            return self._begin_ns(self._kept[0]) if self._kept else 0

    def expose(
        self, view: SpecimenView, history: DeviceHistory, t0_ns: int, t1_ns: int
    ) -> NDArray[np.uint16]:
        """Image the sample over ``[t0_ns, t1_ns]``; see `Specimen.expose`."""
        with self._lock:
            start_ns = self._check_time(t0_ns, t1_ns)
            p = self.parameters
            path = LightPath(view.gates, p.excitation, view.magnification)
            self._scene = scene = _Scene(view, history, path)
            self._windows.add(t0_ns, t1_ns)
            colony = self._advance(self._kept[-1], t0_ns)
            if colony is not self._kept[-1]:
                self._kept.append(colony)
            self._latest_ns = t0_ns
            self._windows.forget_before(self._begin_ns(self._kept[0]))
            electrons = self._electrons(scene, colony, t0_ns, t1_ns)
            noise = noise_generator(self.seed, t0_ns - start_ns)
            return p.camera.read_out(electrons, noise)

    def truth(self, t_ns: int) -> Truth:
        """What is really there at `t_ns`; see `Specimen.truth`."""
        with self._lock:
            self._started()
            known = [c for c in self._kept if self._begin_ns(c) <= t_ns]
            if not known:
                since_s = (self._begin_ns(self._kept[0]) - (self._start_ns or 0)) / 1e9
                raise SmartscopeError(
                    "the specimen no longer knows what it was like then; ask for its "
                    f"truth at {since_s:.1f} s of specimen time or later"
                )
            colony = self._advance(known[-1], t_ns)
            dose = self._dose_at(colony, t_ns)
            return self._describe(colony, dose, self._after_s(colony, t_ns))

    # --- time

    def _started(self) -> int:
        if self._start_ns is None:
            raise SmartscopeError(
                "the specimen is not alive yet; call start() before the first exposure"
            )
        return self._start_ns

    def _check_time(self, t0_ns: int, t1_ns: int) -> int:
        start_ns = self._started()
        if t0_ns < self._latest_ns:
            back_ms = (self._latest_ns - t0_ns) / NS_PER_MS
            raise SmartscopeError(
                "the specimen cannot go back in time: this exposure starts "
                f"{back_ms:g} ms before the one rendered last; expose in order of time"
            )
        if t1_ns < t0_ns:
            raise SmartscopeError("an exposure cannot end before it starts")
        return start_ns

    def _begin_ns(self, colony: Colony) -> int:
        return self._started() + colony.step * _STEP_NS

    def _after_s(self, colony: Colony, t_ns: int) -> float:
        return (t_ns - self._begin_ns(colony)) / NS_PER_S

    def _advance(self, colony: Colony, t_ns: int) -> Colony:
        """Let whole steps pass until `t_ns` lies in the present one."""
        while (end_ns := self._begin_ns(colony) + _STEP_NS) <= t_ns:
            light = self._dose_between(colony, end_ns - _STEP_NS, end_ns)
            colony = next_step(colony, light, self.parameters, self.seed)
        return colony

    # --- light

    def _dose_at(self, colony: Colony, t_ns: int) -> NDArray[np.float64]:
        begin_ns = self._begin_ns(colony)
        return colony.cells.dose + self._dose_between(colony, begin_ns, t_ns)

    def _dose_between(
        self, colony: Colony, t0_ns: int, t1_ns: int
    ) -> NDArray[np.float64]:
        """Percent-seconds each cell gets in a part of the colony's present step."""
        dose = np.zeros(len(colony.cells))
        scene = self._scene
        if scene is None or t1_ns <= t0_ns:
            return dose
        for lit in scene.path.lit(scene.history, t0_ns, t1_ns, self._windows):
            # The field is wide: it is enough to look where it is now and then.
            parts = _parts(_travel_um(lit) / 20.0)
            for shot in _shots(lit, parts):
                dose += self._dose_of(scene.view, colony, shot)
        return dose

    def _dose_of(
        self, view: SpecimenView, colony: Colony, shot: _Shot
    ) -> NDArray[np.float64]:
        xy_um = self._places(colony, shot.t_ns)[:, :2]
        share = self.parameters.irradiance(
            xy_um - np.array(shot.stage_um[:2]), view.sensor_shape, shot.magnification
        )
        return share * (shot.light_ms * 0.1)  # full ms to percent-seconds

    def _places(self, colony: Colony, t_ns: int) -> NDArray[np.float64]:
        """``(x, y, z)`` of the cells with drift, (n, 3)."""
        after_s = self._after_s(colony, t_ns)
        xy = colony.cells.position(after_s)
        xyz = np.concatenate([xy, colony.cells.z_um[:, None]], axis=1)
        return np.asarray(xyz + colony.drift_um(self.parameters, after_s))

    def _unbleached(self, dose: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp2(-dose / self.parameters.bleach_half_dose))

    def _mean_unbleached(
        self, dose: NDArray[np.float64], received: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean of the exponential decay while `received` is added to `dose`."""
        decay = received * np.log(2.0) / self.parameters.bleach_half_dose
        mean = np.where(decay > 1e-9, -np.expm1(-decay) / np.maximum(decay, 1e-9), 1.0)
        return np.asarray(self._unbleached(dose) * mean)

    # --- picture

    def _electrons(
        self, scene: _Scene, colony: Colony, t0_ns: int, t1_ns: int
    ) -> NDArray[np.float32]:
        """Expected electrons (y, x) of the exposure."""
        p, view = self.parameters, scene.view
        canvas = np.zeros(view.shape, np.float32)
        light_ms = 0.0
        while t0_ns < t1_ns:
            end_ns = min(t1_ns, self._begin_ns(colony) + _STEP_NS)
            dose = self._dose_at(colony, t0_ns)
            for shot in self._exposed(scene, colony, t0_ns, end_ns):
                received = self._dose_of(view, colony, shot)
                self._paint(canvas, view, colony, shot, dose, received)
                dose += received
                light_ms += shot.light_ms
            t0_ns = end_ns
            if t0_ns < t1_ns:
                colony = self._advance(colony, t0_ns)
        canvas += np.float32(p.background_photons_per_ms * view.binning**2 * light_ms)
        flat = p.flat_field(view) if light_ms else None
        if flat is not None:
            canvas *= flat
        return canvas

    def _exposed(
        self, scene: _Scene, colony: Colony, t0_ns: int, t1_ns: int
    ) -> Iterator[_Shot]:
        """Parts of the exposure in which all stand still, as few as possible."""
        p, view = self.parameters, scene.view
        cells = colony.cells
        speed = float(np.hypot(cells.vx_um_s, cells.vy_um_s).max()) if len(cells) else 0
        held: _Shot | None = None
        for lit in scene.path.lit(scene.history, t0_ns, t1_ns, self._windows):
            pixel_um = p.pixel_map(view, lit.magnification).pixel_um
            seconds = (lit.t1_ns - lit.t0_ns) / NS_PER_S
            depth_um = p.depth_of_field_um * 10.0 / lit.magnification
            focus = abs(lit.z_um[1] - lit.z_um[0]) / (0.5 * depth_um)
            travel = (_travel_um(lit) + speed * seconds) / pixel_um
            tremble = 100.0 * seconds if p.stage_wobble_um else 0.0
            for shot in _shots(lit, _parts(max(travel, focus, tremble))):
                joined = _join(held, shot)
                if joined is None and held is not None:
                    yield held
                held = joined or shot
        if held is not None:
            yield held

    def _paint(
        self,
        canvas: NDArray[np.float32],
        view: SpecimenView,
        colony: Colony,
        shot: _Shot,
        dose: NDArray[np.float64],
        received: NDArray[np.float64],
    ) -> None:
        p, cells = self.parameters, colony.cells
        after_s = self._after_s(colony, shot.t_ns)
        looks = self._looks(colony, after_s)
        places = self._places(colony, shot.t_ns)
        wobble = p.wobble(self.seed, colony.t_s + after_s)
        stage = (shot.stage_um[0] + wobble[0], shot.stage_um[1] + wobble[1])
        blur = p.blur_um(places[:, 2] - shot.stage_um[2], shot.magnification)
        full = p.photons_per_ms * shot.light_ms * view.binning**2
        full *= p.channel_brightness.get(view.channel or "", 1.0)
        pixel_map = p.pixel_map(view, shot.magnification)
        stretch = np.sqrt(looks.aspect)
        shapes = Ellipses(
            x_um=places[:, 0],
            y_um=places[:, 1],
            long_um=looks.radius_um * stretch,
            short_um=looks.radius_um / stretch,
            angle=looks.angle,
            blur_um=blur,
            peak=full * looks.strength * self._mean_unbleached(dose, received),
            texture=p.texture * looks.texture,
            tile=(cells.key >> np.uint64(40)).astype(np.int64),
        )
        paint_ellipses(canvas, shapes, pixel_map, stage)
        if p.autofluorescence:
            body = _BODY * p.nucleus_um
            spread = np.hypot(body, blur)
            paint_gaussians(
                canvas,
                pixel_map.to_image(places[:, :2], *stage),
                spread / pixel_map.pixel_um,
                full * p.autofluorescence * looks.presence * (body / spread) ** 2,
            )

    def _looks(self, colony: Colony, after_s: float) -> Appearance:
        p = self.parameters
        return appearance(
            colony.cells,
            after_s,
            nucleus_um=p.nucleus_um,
            mitosis_s=p.mitosis_s,
            death_s=p.death_s,
        )

    # --- truth

    def _describe(
        self, colony: Colony, dose: NDArray[np.float64], after_s: float
    ) -> Truth:
        p, cells = self.parameters, colony.cells
        places = self._places(colony, self._begin_ns(colony) + round(after_s * 1e9))
        looks = self._looks(colony, after_s)
        t_s = colony.t_s + after_s
        drift_x, drift_y, drift_z = colony.drift_um(p, after_s).tolist()
        return Truth(
            t_s=t_s,
            cell_id=cells.cell_id.copy(),
            parent_id=cells.parent_id.copy(),
            x_um=places[:, 0],
            y_um=places[:, 1],
            z_um=places[:, 2],
            radius_um=looks.radius_um,
            phase=PHASES[cells.phase],
            brightness=self._unbleached(dose),
            dose=dose,
            alive=cells.phase != DYING,
            divisions=tuple(
                replace(d, end_s=float("nan")) if d.end_s > t_s else d
                for d in colony.divisions
            ),
            focus_plane_um=p.z_um + drift_z,
            drift_um=(drift_x, drift_y, drift_z),
        )


def _travel_um(lit: Lit) -> float:
    return float(np.hypot(lit.x_um[1] - lit.x_um[0], lit.y_um[1] - lit.y_um[0]))


def _parts(needed: float) -> int:
    return int(min(max(np.ceil(needed), 1), _MOST_SHOTS))


def _shots(lit: Lit, parts: int) -> Iterator[_Shot]:
    length_ns = lit.t1_ns - lit.t0_ns
    for i in range(parts):
        fraction = (i + 0.5) / parts
        yield _Shot(
            lit.t0_ns + round(fraction * length_ns),
            lit.at(fraction),
            lit.magnification,
            lit.light_ms / parts,
            still=parts == 1,
        )


def _join(held: _Shot | None, shot: _Shot) -> _Shot | None:
    """Make one of two still shots of the same place."""
    if held is None or not (held.still and shot.still):
        return None
    same = held.stage_um == shot.stage_um and held.magnification == shot.magnification
    if not same:
        return None
    light_ms = held.light_ms + shot.light_ms
    middle = held.t_ns + (shot.t_ns - held.t_ns) * shot.light_ms / light_ms
    return replace(held, t_ns=round(middle), light_ms=light_ms)
