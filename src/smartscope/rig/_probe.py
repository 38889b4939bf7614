"""Tries out, in the dark, what a camera bears while it runs, and how fast it is."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from smartscope.core import HardwareError, SafetyError
from smartscope.rig._capabilities import sequenceable_parameters
from smartscope.rig._film import (
    Film,
    Interrupted,
    counters,
    gaps,
    has_numbers,
    intervals_ms,
)
from smartscope.rig._home import Home
from smartscope.rig._port import Port, words_of
from smartscope.rig._trials import Trial, Trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.rig._film import Seen
    from smartscope.rig._rig import Rig

How = Literal["live", "restart", "sequenceable", "refused"]
_BASE_MS, _OTHER_MS = 20.0, 40.0
_RATE_MS = (2.0, 10.0, 50.0)
_WARM_FRAMES = 4
_FRAMES_AFTER = 5
_LATE_FRAMES = 8
_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened when one parameter was changed while the camera ran.

    Attributes
    ----------
    parameter : str
        As in `Capabilities.table`.
    how : str or None
        ``live``: the stream went on. ``sequenceable``: and the device says that it can
        follow the camera's trigger. ``restart``: the stream ended, lost frames or
        changed their shape, or the device takes it only while the camera rests.
        ``refused``: not even then. None: it was not tried.
    blocked_ms : float or None
        Longest time a command took to return.
    after_frames : int or None
        Exposure only: frames that began after the command and show the old value.
    note : str
        What was seen, or why it was not tried.
    """

    parameter: str
    how: How | None
    blocked_ms: float | None = None
    after_frames: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """Frame interval at one exposure.

    `jitter_ms`: 95 % of the intervals lie that near to `interval_ms`, their median.
    """

    exposure_ms: float
    interval_ms: float
    jitter_ms: float
    frames: int


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Findings of `probe`.

    Attributes
    ----------
    camera : str
    channels : int
        Pictures the camera delivers for each exposure.
    verdicts : tuple of Verdict
    rates : tuple of Rate
    first_frame_ms, stop_ms, restart_ms : float or None
        From start to the first frame less its exposure; stopping; stop, set a ROI,
        start and first frame, less its exposure.
    readout_ms : float or None
        Most that readout and transfer can take: the longest interval less its
        exposure, or `first_frame_ms` where that is less.
    has_image_number : bool
    counters : tuple of str
        Metadata tags in which the adapter seems to count its frames.
    lost : int
        Frames lost while nothing was changed: the computer was too slow to say much.
    is_complete : bool
        False if it was interrupted.
    not_restored : tuple of str
        What could not be put back, a sentence each.
    """

    camera: str
    channels: int
    verdicts: tuple[Verdict, ...] = ()
    rates: tuple[Rate, ...] = ()
    first_frame_ms: float | None = None
    stop_ms: float | None = None
    restart_ms: float | None = None
    readout_ms: float | None = None
    has_image_number: bool = False
    counters: tuple[str, ...] = ()
    lost: int = 0
    is_complete: bool = True
    not_restored: tuple[str, ...] = ()

    def to_config(self) -> dict[str, dict[str, Any]]:
        """Sections ``capabilities`` and ``camera`` of the rig file."""
        table = {
            v.parameter: v.how
            for v in self.verdicts
            if v.how is not None and v.how != "refused"
        }
        camera: dict[str, Any] = {}
        if self.counters:
            camera["frame_counter"] = self.counters[0]
        if self.readout_ms is not None:
            camera["readout_ms"] = self.readout_ms
        late = {v.parameter: v.after_frames for v in self.verdicts if v.after_frames}
        if late:
            camera["effect_after_frames"] = late
        found = {"capabilities": table, "camera": camera}
        return {section: keys for section, keys in found.items() if keys}


def probe(
    rig: Rig,
    *,
    turn_objective: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> ProbeReport:
    """Try out what changes while the camera runs. The light stays off throughout.

    The rig is put back as it was, also after an error; only the light is off then, and
    an SLM shows a dark pattern.

    Parameters
    ----------
    rig : Rig
    turn_objective : bool
        Turn the objective too; the sample must be clear of all of them.
    stopped : function
        Asked between frames; True ends the probe early, with what it knows by then.

    Raises
    ------
    HardwareError
        If a run drives this rig, the light cannot be switched off, or the camera gives
        no frames.
    """
    with rig.exclusive("doctor --probe"):
        if rig.core.isSequenceRunning():
            raise HardwareError(
                "the camera is running; stop it first", device=rig.devices.camera
            )
        home = Home(rig)
        prober = _Prober(rig, home, stopped)
        complete = False
        try:
            prober.darken()
            prober.measure()
            prober.try_all(turn_objective=turn_objective)
            complete = True
        except Interrupted:
            pass
        finally:
            failures = home.restore_all(prober.touched)
        return replace(prober.report(), is_complete=complete, not_restored=failures)


class _Prober:
    def __init__(self, rig: Rig, home: Home, stopped: Callable[[], bool]) -> None:
        self._rig, self._home, self._stopped = rig, home, stopped
        self._act, self._camera = rig.actuator, rig.devices.camera
        self._trials = Trials(rig, home)
        follows = sequenceable_parameters(Port(rig.core), rig.config, rig.devices)
        self._follows = frozenset(follows)
        self._base_ms = self._trials.exposure_within(_BASE_MS)
        self._verdicts: list[Verdict] = []
        self._rates: list[Rate] = []
        self._films: list[list[Seen]] = []
        self._firsts_ms: list[float] = []
        self._stops_ms: list[float] = []
        self._restart_ms: float | None = None
        self.touched: set[str] = set()

    def darken(self) -> None:
        """Switch the light off, and every line to zero."""
        if failures := self._rig.apply_safe_state():
            raise HardwareError(f"the light does not go off: {'; '.join(failures)}")
        commands = [self._act.set_power(line, 0.0) for line in self._rig.lights]
        self._act.settle(*commands)

    def measure(self) -> None:
        """Film at a few exposures and see how fast the camera is."""
        within = self._trials.exposure_within
        for exposure_ms in sorted({within(ms) for ms in _RATE_MS}):
            self._measure_rate(exposure_ms)
        self._expose(self._base_ms)
        self._measure_restart()

    def try_all(self, *, turn_objective: bool) -> None:
        """Try every parameter of the table that the rig fills."""
        self._try_exposure()
        for trial in self._trials.all(turn_objective=turn_objective):
            self._try(trial)

    def report(self) -> ProbeReport:
        """What is known so far."""
        beyond = [rate.interval_ms - rate.exposure_ms for rate in self._rates]
        films, median = self._films, statistics.median
        first_ms = median(self._firsts_ms) if films else None
        return ProbeReport(
            camera=self._camera,
            channels=self._rig.core.getNumberOfCameraChannels(),
            verdicts=tuple(self._verdicts),
            rates=tuple(self._rates),
            first_frame_ms=first_ms,
            stop_ms=median(self._stops_ms) if films else None,
            restart_ms=self._restart_ms,
            # A camera that reads out while it exposes shows it at short exposures only;
            # one that waits for a trigger shows mostly that.
            readout_ms=(
                None if first_ms is None else round(min(first_ms, max(0, *beyond)), 1)
            ),
            has_image_number=bool(films) and all(map(has_numbers, films)),
            counters=counters(films),
            lost=sum(map(gaps, films)),
        )

    # ----------------------------------------------------------------- measuring

    def _expose(self, exposure_ms: float) -> None:
        self.touched.add("exposure")
        self._act.settle(self._act.set_exposure(exposure_ms))

    def _film(self) -> Film:
        return Film(self._rig.core, self._camera, self._stopped)

    def _patience_s(self) -> float:
        """Long enough for any camera that still runs."""
        slowest = max((r.interval_ms for r in self._rates), default=0.0)
        return 2.0 + 20 * max(slowest, _OTHER_MS, self._base_ms) / 1e3

    def _need(self, film: Film, count: int) -> None:
        if not film.wait(count, self._patience_s()):
            raise HardwareError(
                "it gave no frames; look at its trigger, its cable and its power",
                device=self._camera,
            )

    def _measure_rate(self, exposure_ms: float) -> None:
        self._expose(exposure_ms)
        with self._film() as film:
            self._need(film, max(12, min(40, int(400 / exposure_ms))))
        frames = list(film.frames)
        # The first intervals hold what the camera does once.
        every = intervals_ms(frames)[2:]
        middle = statistics.median(every)
        off = sorted(abs(each - middle) for each in every)
        jitter = off[int(0.95 * (len(off) - 1))]
        self._rates.append(
            Rate(round(exposure_ms, 3), round(middle, 3), round(jitter, 3), len(frames))
        )
        first_ms = (frames[0].t_s - film.started_s) * 1e3 - exposure_ms
        self._firsts_ms.append(round(max(0.0, first_ms), 2))
        self._stops_ms.append(round(film.stop_ms, 2))
        self._films.append(frames)

    def _measure_restart(self) -> None:
        self.touched.add("roi")
        took_ms = [self._restart_once() for _ in range(_RESTARTS)]
        self._restart_ms = round(max(0.0, statistics.median(took_ms)), 2)

    def _restart_once(self) -> float:
        there, back = self._trials.region().steps
        with self._film() as film:
            self._need(film, _WARM_FRAMES)
            start_s = time.perf_counter()
        # Where the camera refuses the ROI it is the restart alone; the verdict says so.
        with suppress(HardwareError):
            there()
        with self._film() as film:
            self._need(film, 1)
        back()
        return (film.frames[0].t_s - start_s) * 1e3 - self._base_ms

    # -------------------------------------------------------------------- trials

    def _try(self, trial: Trial) -> None:
        name = trial.parameter
        if not trial.steps:
            self._verdicts.append(Verdict(name, None, note=trial.note))
            return
        self.touched.add(name)
        try:
            verdict = self._while_filming(trial)
        except SafetyError as error:
            verdict = Verdict(name, None, note=words_of(error))
        self._verdicts.append(verdict)
        if verdict.how in ("restart", "refused"):
            # The stream may have ended on the way there. What cannot be put back now
            # is tried again, and reported, at the end.
            with suppress(HardwareError):
                self._home.restore(name)

    def _while_filming(self, trial: Trial) -> Verdict:
        blocked_ms, refusal = 0.0, ""
        with self._film() as film:
            self._need(film, _WARM_FRAMES)
            for step in trial.steps:
                start = time.perf_counter()
                try:
                    command = step()
                    blocked_ms = max(blocked_ms, (time.perf_counter() - start) * 1e3)
                    if command is not None:
                        self._act.settle(command)
                except HardwareError as error:
                    refusal = _why(error)
                    break
                if trouble := self._trouble(film):
                    return self._verdict(trial.parameter, blocked_ms, trouble)
        if refusal:
            return self._at_rest(trial, refusal)
        return self._verdict(trial.parameter, blocked_ms, "")

    def _verdict(self, parameter: str, blocked_ms: float, trouble: str) -> Verdict:
        how: How = "restart" if trouble else "live"
        if how == "live" and parameter in self._follows:
            how = "sequenceable"
        return Verdict(parameter, how, round(blocked_ms, 2), note=trouble)

    def _trouble(self, film: Film) -> str:
        """What a change did to the stream, "" when it went on as before."""
        if not film.wait(_FRAMES_AFTER, self._patience_s()):
            if film.is_running:
                return "no further frames came"
            return "the stream ended without an error"
        frames = list(film.frames)
        if lost := gaps(frames):
            return f"{lost} frames were lost"
        if any(seen.shape != frames[0].shape for seen in frames):
            return "the frames changed their shape"
        return ""

    def _at_rest(self, trial: Trial, refusal: str) -> Verdict:
        """Whether what was refused while filming is taken while the camera rests."""
        try:
            for step in trial.steps:
                if (command := step()) is not None:
                    self._act.settle(command)
        except HardwareError as error:
            return Verdict(trial.parameter, "refused", note=_why(error))
        note = f"refused while the camera runs: {refusal}"
        return Verdict(trial.parameter, "restart", note=note)

    # ------------------------------------------------------------------ exposure

    def _try_exposure(self) -> None:
        old_ms, new_ms = self._base_ms, self._trials.other_exposure(self._base_ms)
        if new_ms is None:
            note = "the limits leave no second exposure to compare with"
            self._try(Trial("exposure", (), note))
            return
        expose = self._act.set_exposure
        self._try(Trial("exposure", (partial(expose, new_ms), partial(expose, old_ms))))
        verdict = self._verdicts[-1]
        if verdict.how in ("live", "sequenceable"):
            self._expose(old_ms)
            self._verdicts[-1] = self._when_it_shows(verdict, old_ms, new_ms)
        self._expose(old_ms)

    def _when_it_shows(self, verdict: Verdict, old_ms: float, new_ms: float) -> Verdict:
        turns = ((old_ms, new_ms), (new_ms, old_ms), (old_ms, new_ms))
        with self._film() as film:
            self._need(film, _LATE_FRAMES)
            late = [self._frames_late(film, *turn) for turn in turns]
        seen = [each for each in late if each is not None]
        if len(seen) == len(turns):
            # A frame that ends while the command returns may fall to either side.
            return replace(verdict, after_frames=statistics.median_low(seen))
        if abs(self._interval_ms(new_ms) - self._interval_ms(old_ms)) < 0.5 * abs(
            new_ms - old_ms
        ):
            note = "the frame interval does not follow it, so when it shows is unknown"
            return replace(verdict, note=note)
        note = "taken without an error, but it shows only after a restart"
        return replace(verdict, how="restart", note=note)

    def _frames_late(self, film: Film, from_ms: float, to_ms: float) -> int | None:
        """Frames begun after the command and still as before; None if all are."""
        before_ms = statistics.median(intervals_ms(film.frames[-_WARM_FRAMES:]))
        command = self._act.set_exposure(to_ms)
        t_s = time.perf_counter()
        self._act.settle(command)
        self._need(film, _LATE_FRAMES + 2)
        # The first of them was being exposed already.
        after = [seen for seen in film.frames if seen.t_s > t_s]
        half_way_ms = before_ms + (to_ms - from_ms) / 2
        for late, interval_ms in enumerate(intervals_ms(after)):
            if (interval_ms > half_way_ms) == (to_ms > from_ms):
                return late
        return None

    def _interval_ms(self, exposure_ms: float) -> float:
        self._expose(exposure_ms)
        with self._film() as film:
            self._need(film, _LATE_FRAMES)
        return statistics.median(intervals_ms(film.frames))


def _why(error: HardwareError) -> str:
    """Micro-Manager's own words, where it was the one to refuse."""
    return words_of(error.__cause__ or error)
