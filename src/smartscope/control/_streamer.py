"""Continuous acquisition: the pump, and the tap that pymmcore-plus gets."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from useq import CustomAction, MDAEvent

from smartscope.control._outcome import outcome_of
from smartscope.control._planned import Planned
from smartscope.core import (
    NS_PER_MS,
    NS_PER_S,
    Acquire,
    HardwareError,
    SafetyError,
    StreamError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartscope.config import Stream
    from smartscope.control._engine import Engine
    from smartscope.control._stream import Interruption, StreamControl
    from smartscope.core import Frame, Outcome, Request
    from smartscope.rig import Command, Rig
    from smartscope.sources import Shot, Source

STREAM_ACTION = "smartscope.stream"
_LOOK_WALL_S = 0.005
_TAP_WALL_S = 0.03
_HUNG_WALL_S = 30.0
_PAUSE_WALL_S = 0.005


class Streamer:
    """Pumps frames on a thread of its own; pymmcore-plus gets a leaky tap.

    The pump takes frames, stamps them and hands them over. It waits for nobody: not
    for vision, not for the disk, not for listeners of ``frameReady``. It also stops
    the camera, and starts it again, for what cannot change while it runs.

    Parameters
    ----------
    rig : Rig
    source : Source
    config : Stream
    control : StreamControl
    engine : Engine
        Sets, lights and takes; makes frames of shots.
    arrived : function
        Gets the outcome of each action that the camera was stopped for.
    buffers : int
        Frames that recorder, vision and viewers may hold at once.
    """

    def __init__(
        self,
        rig: Rig,
        source: Source,
        config: Stream,
        *,
        control: StreamControl,
        engine: Engine,
        arrived: Callable[[Outcome], None],
        buffers: int,
    ) -> None:
        self._rig = rig
        self._clock = rig.clock
        self._source = source
        self._config = config
        self._control = control
        self._engine = engine
        self._hooks = engine.hooks
        self._arrived = arrived
        self._buffers = buffers
        self._newest: Frame | None = None
        self._event: MDAEvent = MDAEvent()
        self._planned = Planned(event=self._event, role="stream")
        self._error: BaseException | None = None
        self._end_ns: int | None = None
        self._restarting: list[tuple[str, str, int]] = []
        self._told_stop_ns: int | None = None
        self.pumped = 0
        self.lost = {True: 0, False: 0}

    def event(self, group: str) -> MDAEvent:
        """The one event that stands for the stream in pymmcore-plus."""
        channel = self._config.channel
        return MDAEvent(
            action=CustomAction(name=STREAM_ACTION),
            channel={"config": channel, "group": group} if channel else None,
            exposure=self._config.exposure_ms,
            metadata={"smartscope": {"role": "stream", "cause": "plan"}},
        )

    @property
    def stopping(self) -> bool:
        """Whether the stream was told to end."""
        return self._control.stopping

    # ---------------------------------------------------- the thread of pymmcore-plus

    def run(self, event: MDAEvent) -> Iterator[tuple[Frame, MDAEvent]]:
        """Pump until the end; yields the newest frame a few dozen times a second."""
        self._event = event
        self._planned = Planned(event=event, role="stream")
        pump = threading.Thread(target=self._pump, name="smartscope-pump", daemon=True)
        pump.start()
        tapped_s = 0.0
        try:
            while pump.is_alive():
                now_s = time.perf_counter()
                if self._newest is None or now_s - tapped_s < _TAP_WALL_S:
                    time.sleep(_LOOK_WALL_S)
                    continue
                tapped_s = now_s
                yield from self._tap()
            yield from self._tap()
        finally:
            self._control.stop()
            pump.join(_HUNG_WALL_S + 2 * self._control.exposure_ms / 1000)
        if pump.is_alive():
            raise HardwareError(
                f"the camera has not come back for {_HUNG_WALL_S:g} s and was left "
                "behind; look at its driver and its cable, then start again",
                device=self._rig.devices.camera,
            )
        if self._error is not None:
            raise self._error

    def _tap(self) -> Iterator[tuple[Frame, MDAEvent]]:
        frame, self._newest = self._newest, None
        if frame is not None:
            yield frame, self._event.replace(index={"t": frame.frame_id})

    # ----------------------------------------------------------------------- the pump

    def _pump(self) -> None:
        try:
            try:
                while not self._over():
                    self._between()
                    if not self._over() and self._begin():
                        self._film()
            finally:
                self._refuse_waiting()
        except BaseException as error:  # handed to the run thread, which raises it
            self._error = error

    def _begin(self) -> bool:
        """Set everything, journal the intent, put the light on; False if forbidden."""
        self._source.prepare(self._buffers)
        event = self._event.model_copy(update={"exposure": self._control.exposure_ms})
        try:
            begun = self._engine.light_stream(event, self._left())
        except BaseException:
            # A light that came half on must not wait for whoever listens to the end.
            self._engine.go_dark()
            raise
        if not begun:
            self._control.stop()
        elif self._config.duration_s is not None and self._end_ns is None:
            # Its time begins when all is set, however long that took.
            duration_ns = int(self._config.duration_s * NS_PER_S)
            self._end_ns = self._clock.now_ns() + duration_ns
        return begun

    def _film(self) -> None:
        shots = self._source.stream(
            None if self._config.frames is None else self._left(),
            lambda: self._control.exposure_ms,
            self._must_stop,
        )
        try:
            # Closed whatever happens here, or the camera would go on.
            with closing(shots):
                for shot in shots:
                    self._publish(shot)
        finally:
            self._engine.go_dark()

    def _publish(self, shot: Shot) -> None:
        if shot.lost is not None:
            self._note_lost(shot)
        if self._restarting:
            self._note_restart(shot)
        # As it was when the exposure may have begun already, so that no frame claims
        # to show what it does not.
        since_ns = shot.t_exposed_ns - shot.exposed_uncertainty_ns
        state = self._rig.state(since_ns)
        group = ("stream", self.pumped)
        frame = self._engine.framing.frame(
            shot, self._planned, state, group=group, since_ns=since_ns
        )
        self.pumped += 1
        self._hooks.publish(frame)
        self._newest = frame

    def _note_lost(self, shot: Shot) -> None:
        lost = shot.lost
        if lost is None:
            return
        self.lost[lost.certain] += lost.frames
        self._hooks.note(
            "lost",
            {
                "frames": lost.frames,
                "by": lost.by,
                "certain": lost.certain,
                "after_frame": self._engine.framing.frames - 1,
            },
        )

    def _note_restart(self, shot: Shot) -> None:
        for parameter, action_id, since_ns in self._restarting:
            dead_ms = (shot.t_exposed_ns - since_ns) / NS_PER_MS
            what = {"for": parameter, "dead_ms": dead_ms, "action_id": action_id}
            self._hooks.note("restart", what)
        self._restarting.clear()

    def _must_stop(self) -> bool:
        if not (self._control.interrupted() or self._full()):
            self._told_stop_ns = None
            return False
        if self._told_stop_ns is None:
            self._told_stop_ns = self._clock.now_ns()
        return True

    def _over(self) -> bool:
        return self._control.stopping or self._full()

    def _full(self) -> bool:
        if self._end_ns is not None:
            now_ns: int = self._clock.now_ns()
            return now_ns >= self._end_ns
        return self._left() <= 0

    def _left(self) -> int:
        if self._config.frames is not None:
            return self._config.frames - self.pumped
        if self._end_ns is not None:
            left_ms = (self._end_ns - self._clock.now_ns()) / NS_PER_MS
        else:
            left_ms = (self._config.duration_s or 0.0) * 1000
        return max(1, int(left_ms / self._control.exposure_ms))

    # ------------------------------------------------------- while the camera is idle

    def _between(self) -> None:
        """Sit out a pause, then do what the camera was stopped for."""
        if self._control.paused:
            self._sit_out_pause()
        # Stopping the camera is part of what it costs.
        since_ns = self._told_stop_ns or self._clock.now_ns()
        while not self._control.stopping:
            interruption = self._control.take_interruption()
            if interruption is None:
                return
            action_id = interruption.request.action_id
            self._restarting.append((interruption.parameter, action_id, since_ns))
            self._arrived(self._done(interruption))

    def _done(self, interruption: Interruption) -> Outcome:
        request = interruption.request
        try:
            if interruption.issue is None:
                return self._burst(request)
            return self._change(request, interruption.issue())
        except HardwareError as error:
            return outcome_of(request, "failed", str(error))
        except SafetyError as error:
            return outcome_of(request, "rejected", str(error))
        except StreamError as error:  # ends the run, and everything has its outcome
            self._arrived(outcome_of(request, "rejected", str(error)))
            raise

    def _sit_out_pause(self) -> None:
        began_ns = self._clock.now_ns()
        self._hooks.note("pause", {"paused": True})
        while self._control.paused and not self._control.stopping:
            time.sleep(_PAUSE_WALL_S)
        if self._end_ns is not None:
            self._end_ns += self._clock.now_ns() - began_ns
        self._hooks.note("pause", {"paused": False})

    def _change(self, request: Request, commands: Sequence[Command]) -> Outcome:
        applied_ns = self._clock.now_ns()
        self._rig.actuator.settle(*commands)
        return replace(
            outcome_of(request, "applied", "the camera was stopped for it"),
            readback={k: v for c in commands for k, v in c.readback.items()},
            t_ns={"applied": applied_ns, "verified": self._clock.now_ns()},
            command=commands[-1].number,
        )

    def _burst(self, request: Request) -> Outcome:
        """Take the burst a reaction asked for, hardware-timed where devices allow."""
        action = request.action
        if not isinstance(action, Acquire):
            raise TypeError(f"{type(action).__name__} is no burst")
        applied_ns = self._clock.now_ns()
        z_um = self._rig.state(applied_ns).z_um
        steps = self._steps(action, request.action_id, z_um)
        before = self._engine.framing.frames
        for payload in self._engine.take_burst(steps):
            del payload  # published by the engine; the tap shows the stream
        if action.z_offsets_um and z_um is not None:
            self._rig.actuator.settle(self._rig.actuator.move_focus(z_um))
        taken = self._engine.framing.frames - before
        words, status = f"{taken} of {len(steps)} frames", "applied"
        if taken < len(steps):
            # Cut off by the end of the run is no fault of the devices.
            ending = self._engine.is_ending
            words += ", then the run ended" if ending else ""
            status = "applied" if ending else "failed"
        return replace(
            outcome_of(request, status, words),
            t_ns={"applied": applied_ns, "verified": self._clock.now_ns()},
        )

    def _steps(
        self, action: Acquire, cause: str, z_um: float | None
    ) -> tuple[Planned, ...]:
        if action.z_offsets_um and z_um is None:
            raise HardwareError("the rig has no focus for a stack")
        update: dict[str, Any] = {
            "action": MDAEvent().action,
            "exposure": action.exposure_ms or self._control.exposure_ms,
        }
        channel = self._event.channel
        if action.channel is not None and channel is not None:
            update["channel"] = channel.model_copy(update={"config": action.channel})
        planes: tuple[float | None, ...] = action.z_offsets_um or (None,)
        return tuple(
            Planned(
                event=self._event.model_copy(
                    update={
                        **update,
                        "index": {"r": frame, "z": plane},
                        "z_pos": None if dz is None else (z_um or 0.0) + dz,
                    }
                ),
                role="reaction",
                cause=cause,
                group=("burst", cause, frame),
                last_of_group=plane == len(planes) - 1,
            )
            for frame in range(action.frames)
            for plane, dz in enumerate(planes)
        )

    def _refuse_waiting(self) -> None:
        for interruption in self._control.end():
            self._arrived(
                outcome_of(interruption.request, "rejected", "the stream is over")
            )
