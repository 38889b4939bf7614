"""The pipeline: frames in, observations out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import (
    ConfigError,
    Frame,
    ModelError,
    Observation,
    Pictures,
    PixelMap,
    PolicyError,
    SmartscopeError,
    View,
)
from smartscope.core.geometry import UNCALIBRATED
from smartscope.vision._gather import Gathered, Gatherer
from smartscope.vision._registry import check_order, make_stage
from smartscope.vision._stage import On, Stage, StageContext, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.config import StageUse
    from smartscope.vision._learned_run import Learned
    from smartscope.vision._stage import Alarm


@dataclass(slots=True)
class _Memory:
    """What the pipeline keeps for one view."""

    states: list[Any]
    new_event_id: Callable[[], int] = field(default_factory=lambda: count(1).__next__)


class Pipeline:
    """A chain of stages with one memory per view.

    Not thread-safe: called by the vision thread alone. The same frames give bitwise
    the same observations, whatever the wall clock does.

    Parameters
    ----------
    stages : sequence of (name, Stage)
        In order; names are used in messages.
    context : StageContext
        As given to the stages.
    """

    def __init__(
        self, stages: Sequence[tuple[str, Stage[Any, Any]]], context: StageContext
    ) -> None:
        self._stages = tuple(stages)
        required = [i for _, stage in stages for i in stage.inputs()]
        optional = [i for _, stage in stages for i in stage.optional_inputs()]
        default = context.resolve(On())
        self._primary = next(iter((*required, *optional, *default)))
        if not required and not optional:
            required = [self._primary]
        self._gatherer = Gatherer(required, optional, context.channels)
        self._memory: dict[View, _Memory] = {}
        self._learned = _numbered(stages)
        self._alarms: dict[View, tuple[Alarm, ...]] = {}
        self._costs: Mapping[str, float] = {}

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(name for name, _ in self._stages)

    @property
    def dropped_groups(self) -> int:
        """Groups of frames given up because a frame of them never came."""
        return self._gatherer.dropped

    def see(self, frame: Frame, t_s: float) -> Observation | None:
        """Take one frame.

        Parameters
        ----------
        frame : Frame
            Read-only u8 or u16 pixels ``(y, x)``.
        t_s : float
            Its exposure start, seconds since the start of the run.

        Returns
        -------
        Observation or None
            None while the group is not complete, and for frames no stage wants.
            `number`, `outcomes`, `interlocks` and `skipped` are left to the caller.

        Raises
        ------
        PolicyError
            A stage raised; the message names it.
        """
        gathered = self._gatherer.add(frame)
        if gathered is None:
            return None
        memory = self._memory.get(frame.view)
        if memory is None:
            memory = self._memory[frame.view] = self._start(frame.view)
        main = gathered.first_of.get(self._primary, gathered.frames[0])
        work = self._run(gathered, main, t_s, memory)
        self._costs = work.costs
        if work.alarms:
            self._alarms[frame.view] = tuple(work.alarms)
        elif self._alarms:
            self._alarms.pop(frame.view, None)
        return _observation(gathered, main, work)

    def forget(self, view: View) -> None:
        """Drop everything remembered of a view; ids count from 1 again."""
        self._memory.pop(view, None)
        self._alarms.pop(view, None)
        self._gatherer.forget(view)

    def reset(self) -> None:
        """Drop everything remembered of all views."""
        self._memory.clear()
        self._alarms.clear()
        self._gatherer.reset()

    def warm_up(
        self,
        shape: tuple[int, int],
        *,
        planes: int = 1,
        pixel_map: PixelMap = UNCALIBRATED,
    ) -> None:
        """Run all stages once on a made-up frame of this shape, leaving no trace.

        Lets imports, allocations and models happen before the first real frame; a
        model that is to run at another pixel size needs to know the one of the frames.
        Where models are, OpenCV is kept to one thread for the whole process: the
        cores are for the models and for the camera.

        Parameters
        ----------
        shape : (int, int)
            Of the camera's frames ``(y, x)``.
        planes : int
            Of the plan's z axis.
        pixel_map : PixelMap
            Of the frames.

        Raises
        ------
        ModelError
            A model takes nothing of this size, or no runtime here runs it.
        """
        self._ready_models(shape, planes, pixel_map)
        view = View(-1, "warm-up")
        pixels = _blobs(shape)
        stack = np.broadcast_to(pixels, (planes, *shape))
        frame = Frame(frame_id=-1, pixels=pixels, view=view, pixel_map=pixel_map)
        gathered = Gathered(frames=[frame])
        for _, stage in self._stages:
            for wanted in (*stage.inputs(), *stage.optional_inputs()):
                gathered.images[wanted] = stack if wanted.z == "all" else pixels
        gathered.images.setdefault(self._primary, pixels)
        memory = self._start(view)
        for t_s in (0.0, 1.0):
            self._run(gathered, frame, t_s, memory)
        for learned in self._learned:
            learned.begin()
        self._costs = {}

    def _ready_models(
        self, shape: tuple[int, int], planes: int, pixel_map: PixelMap
    ) -> None:
        if not self._learned:
            return
        import cv2

        cv2.setNumThreads(1)
        known = None if pixel_map == UNCALIBRATED else pixel_map.pixel_um
        for _, stage in self._stages:
            stage.warm_up(shape, planes, known)

    def reach_servers(self) -> None:
        """Ask the servers of models whether they are there; runs nothing.

        Raises
        ------
        ConfigError
            One is not, or does not have the model.
        """
        for number, (name, stage) in enumerate(self._stages):
            try:
                if stage.learned is not None:
                    stage.learned.reach()
            except ModelError as error:
                place = f"vision.{number}.{name}.runtime"
                raise ConfigError(str(error), field=place) from error

    def models(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Name of each stage with a model, and the facts of that for the journal.

        Complete after `warm_up`: only then it is known what runs them.
        """
        return tuple((learned.stage, learned.facts()) for learned in self._learned)

    def reports(self) -> list[str]:
        """What is to be said since the last call, each a sentence.

        A model that failed or works again, one made ready too late, images unlike
        those of its training.
        """
        return [text for learned in self._learned for text in learned.take_reports()]

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that hold now, of all views."""
        if not self._alarms:
            return ()
        return tuple(alarm for held in self._alarms.values() for alarm in held)

    @property
    def costs(self) -> Mapping[str, float]:
        """Wall time of models and their decoders in the last frame, ms by name."""
        return self._costs

    def _start(self, view: View) -> _Memory:
        return _Memory([stage.start(view) for _, stage in self._stages])

    def _run(
        self, gathered: Gathered, main: Frame, t_s: float, memory: _Memory
    ) -> Workspace:
        frames = gathered.frames
        alone = len(frames) == 1
        work = Workspace(
            view=main.view,
            t_s=t_s,
            shape=main.shape,
            pixel_map=main.pixel_map,
            state=main.state,
            raw=gathered.images,
            new_event_id=memory.new_event_id,
            moving=main.moving if alone else any(f.moving for f in frames),
        )
        for (name, stage), state in zip(self._stages, memory.states, strict=True):
            try:
                stage.process(work, state)
            except ModelError as error:
                raise ModelError(
                    f"vision stage '{name}' failed on frame {main.frame_id}: {error}"
                ) from error
            except SmartscopeError:
                raise
            except Exception as error:
                # A user's stage may raise anything; the run must learn which one did.
                raise PolicyError(
                    f"vision stage '{name}' failed on frame {main.frame_id}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return work


def build_pipeline(
    stages: Sequence[StageUse],
    *,
    seed: int,
    base_dir: Path,
    channels: Sequence[str],
) -> Pipeline:
    """Build the pipeline of an experiment.

    Parameters
    ----------
    stages : sequence of StageUse
        The experiment's ``vision:`` list.
    seed : int
        Seed for anything random in stages.
    base_dir : Path
        Folder that paths of user stages and files are relative to.
    channels : sequence of str
        Channel presets of the plan, in order; empty when it names none.

    Raises
    ------
    ConfigError
        Unknown stage, field, channel or feature, or stages in an impossible order.
    """
    context = StageContext(channels=tuple(channels), seed=seed, base_dir=base_dir)
    built, places = [], []
    for number, use in enumerate(stages):
        place = f"vision.{number}.{use.use}"
        stage = make_stage(use, context, field=place)
        built.append((use.use, stage))
        places.append((place, stage))
    check_order(places)
    return Pipeline(built, context)


def _observation(gathered: Gathered, main: Frame, work: Workspace) -> Observation:
    frames, last = gathered.frames, main
    ids: tuple[int, ...] = (main.frame_id,)
    if len(frames) > 1:
        frames = sorted(frames, key=lambda f: (f.t_exposed_ns, f.frame_id))
        last = frames[-1]
        ids = tuple(frame.frame_id for frame in frames)
    raw: dict[str, NDArray[Any]] = {}
    for wanted, image in gathered.images.items():
        # One picture per channel; only a mean over planes is no longer whole counts.
        if image.dtype.kind == "f":
            image = np.rint(image).astype(np.uint16)
        if image.ndim == 3:
            image = image.max(axis=0)
        raw.setdefault(wanted.channel, image)
    return Observation(
        number=0,
        view=main.view,
        frame_ids=ids,
        t_ns=last.t_exposed_ns,
        t_s=work.t_s,
        role=main.role,
        cause=main.cause,
        index=main.index,
        channel=main.state.channel,
        shape=main.shape,
        state=main.state,
        pixel_map=main.pixel_map,
        moving=work.moving,
        detections=work.detections,
        tracks=work.tracks,
        events=tuple(work.events),
        measurements=work.measurements,
        notes=tuple(work.notes),
        pictures=Pictures(raw=raw, processed=work.processed, labels=work.labels),
    )


def _numbered(stages: Sequence[tuple[str, Stage[Any, Any]]]) -> tuple[Learned, ...]:
    """Models of the stages; the second of a name is ``segment_2`` and so on."""
    found = [stage.learned for _, stage in stages if stage.learned is not None]
    seen: dict[str, int] = {}
    for learned in found:
        number = seen[learned.stage] = seen.get(learned.stage, 0) + 1
        if number > 1:
            learned.stage = f"{learned.stage}_{number}"
    return tuple(found)


def _blobs(shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Some bright disks on noise, a few of them touching."""
    y, x = np.indices(shape)
    disk = ((y % 40 - 20) ** 2 + (x % 50 - 20) ** 2 < 80) | (
        (y % 40 - 20) ** 2 + (x % 50 - 35) ** 2 < 80
    )
    noise = np.random.default_rng(0).integers(95, 106, size=shape)
    return (noise + 400 * disk).astype(np.uint16)
