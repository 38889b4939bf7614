"""The engine under every kind: time, light, picture, noise and truth."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from smartscope.core import NS_PER_MS, NS_PER_S, SmartscopeError
from smartscope.specimen._biology import Light, Moment, Now
from smartscope.specimen._drift import Drift
from smartscope.specimen._exposure import Exposure, Scene, light_between
from smartscope.specimen._light import LightPath, Windows
from smartscope.specimen._litter import with_distractors
from smartscope.specimen._noise import noise_generator
from smartscope.specimen._stage import settling_reach_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.core import DeviceHistory, Matrix
    from smartscope.specimen._biology import Biology
    from smartscope.specimen._sample import Sample
    from smartscope.specimen._truth import Truth
    from smartscope.specimen._view import SpecimenView

_KEPT = 64

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class _Step(Generic[S]):
    """A step of the biology: its number, its state, the drift through it."""

    number: int
    state: S
    drift: Drift


class LivingSpecimen(Generic[S]):
    """A kind of sample brought to life; see `Biology` and the protocol `Specimen`."""

    def __init__(self, biology: Biology[S, Any]) -> None:
        self.biology = with_distractors(biology)
        self.seed = biology.seed
        self.sample: Sample = biology.p
        self._step_ns = round(biology.step_s * NS_PER_S)
        self._lock = threading.RLock()
        self._start_ns: int | None = None
        self._latest_ns = 0
        self._kept: deque[_Step[S]] = deque(maxlen=_KEPT)
        self._windows = Windows()
        self._scene: Scene | None = None
        self._canvas = np.zeros((0, 0), np.float32)

    def start(self, t_ns: int) -> None:
        """Begin life at `t_ns`; starting again begins anew."""
        with self._lock:
            self._start_ns = self._latest_ns = t_ns
            drift = Drift.at_start(self.sample, self.seed, self.biology.step_s)
            founded = self.biology.found(Now(0, 0.0, 0.0, drift.at(0.0)))
            self._kept.clear()
            self._kept.append(_Step(0, founded, drift))
            self._windows = Windows()
            self._scene = None

    def true_affine(self, magnification: float = 10.0) -> Matrix:
        """Um per unbinned sensor pixel, sign convention of `smartscope.core`."""
        return self.sample.true_affine(magnification)

    @property
    def needs_history_from_ns(self) -> int:
        """Device history before this time is no longer looked at."""
        with self._lock:
            if not self._kept:
                return 0
            return self._begin_ns(self._kept[0]) - settling_reach_ns(self.sample)

    def expose(
        self, view: SpecimenView, history: DeviceHistory, t0_ns: int, t1_ns: int
    ) -> NDArray[np.uint16]:
        """Image the sample over ``[t0_ns, t1_ns]``; see `Specimen.expose`."""
        with self._lock:
            start_ns = self._check_time(t0_ns, t1_ns)
            path = LightPath(
                view.gates,
                self.biology.roles(),
                view.magnification,
                view.slm_line,
                view.patterns,
            )
            self._scene = Scene(view, history, path, self._windows, self.sample)
            self._windows.add(t0_ns, t1_ns)
            step = self._advance(self._kept[-1], t0_ns)
            if step is not self._kept[-1]:
                self._kept.append(step)
            self._latest_ns = t0_ns
            self._windows.forget_before(self._begin_ns(self._kept[0]))
            exposure = self._exposure(self._scene, step, t0_ns, t1_ns)
            noise = partial(noise_generator, self.seed, t0_ns - start_ns)
            return self.sample.camera.read_out(view.shape, exposure.electrons, noise)

    def truth(self, t_ns: int) -> Truth:
        """What is really there at `t_ns`; see `Specimen.truth`."""
        with self._lock:
            start_ns = self._started()
            known = [step for step in self._kept if self._begin_ns(step) <= t_ns]
            if not known:
                since_s = (self._begin_ns(self._kept[0]) - start_ns) / NS_PER_S
                raise SmartscopeError(
                    "the specimen no longer knows what it was like then; ask for its "
                    f"truth at {since_s:.1f} s of specimen time or later"
                )
            step = self._advance(known[-1], t_ns)
            light = self._light_between(step, self._begin_ns(step), t_ns)
            moment = self._moment(step, t_ns, light)
            return self.biology.describe(step.state, moment)

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

    def _begin_ns(self, step: _Step[S]) -> int:
        return self._started() + step.number * self._step_ns

    def _advance(self, step: _Step[S], t_ns: int) -> _Step[S]:
        """Let whole steps pass until `t_ns` lies in the present one."""
        while (end_ns := self._begin_ns(step) + self._step_ns) <= t_ns:
            light = self._light_between(step, end_ns - self._step_ns, end_ns)
            number, drift = step.number + 1, step.drift.next()
            now = Now(number, number * self.biology.step_s, 0.0, drift.at(0.0))
            step = _Step(number, self.biology.step(step.state, light, now), drift)
        return step

    def _now(self, step: _Step[S], t_ns: int) -> Now:
        after_s = (t_ns - self._begin_ns(step)) / NS_PER_S
        t_s = step.number * self.biology.step_s + after_s
        return Now(step.number, t_s, after_s, step.drift.at(after_s))

    def _moment(self, step: _Step[S], t_ns: int, light: Light) -> Moment:
        now = self._now(step, t_ns)
        return Moment(
            now=now,
            points_um=self._points(step, now),
            light=light,
            focus_plane_um=self.sample.z_um + float(now.drift_um[2]),
        )

    # --- light and picture

    def _points(self, step: _Step[S], now: Now) -> NDArray[np.float64]:
        return self.biology.points(step.state, now.after_s) + now.drift_um

    def _points_at(self, step: _Step[S], t_ns: int) -> NDArray[np.float64]:
        return self._points(step, self._now(step, t_ns))

    def _light_between(self, step: _Step[S], t0_ns: int, t1_ns: int) -> Light:
        """Percent-seconds each point gets in a part of its present step."""
        count = len(self.biology.points(step.state, 0.0))
        light = {role: np.zeros(count) for role in self.biology.roles()}
        if self._scene is None or t1_ns <= t0_ns:
            return light
        for received in light_between(
            self._scene, t0_ns, t1_ns, lambda t_ns: self._points_at(step, t_ns)
        ):
            _add(light, received)
        return light

    def _exposure(
        self, scene: Scene, step: _Step[S], t0_ns: int, t1_ns: int
    ) -> Exposure:
        """Paint all parts of the exposure."""
        biology, canvas = self.biology, self._blank(scene.view.shape)
        exposure = Exposure(scene, biology.backdrop, self.seed, self._started(), canvas)
        while t0_ns < t1_ns:
            end_ns = min(t1_ns, self._begin_ns(step) + self._step_ns)
            light = self._light_between(step, self._begin_ns(step), t0_ns)
            speed = biology.speed_um_s(step.state)
            for shot in exposure.shots(t0_ns, end_ns, speed):
                moment = self._moment(step, shot.t_ns, dict(light))
                received = scene.received(moment.points_um, shot)
                with exposure.picture(shot, received) as picture:
                    biology.paint(step.state, moment, picture)
                _add(light, received)
            t0_ns = end_ns
            if t0_ns < t1_ns:
                step = self._advance(step, t0_ns)
        return exposure

    def _blank(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Zeros; the same memory again, as fresh memory of a large frame is slow."""
        if self._canvas.shape == shape:
            self._canvas.fill(0)
        else:
            self._canvas = np.zeros(shape, np.float32)
        return self._canvas


def _add(light: Light, received: Light) -> None:
    for role, amount in received.items():
        # Not in place: a moment may hold the sum so far.
        light[role] = light[role] + amount
