"""What a vision stage is: its settings, its inputs, and the bench it works on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from smartscope.core.objects import NO_DETECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from smartscope.core import (
        Detections,
        Event,
        HardwareState,
        PixelMap,
        Track,
        View,
    )
    from smartscope.vision._learned_run import Learned
    from smartscope.vision._regions import Regions

UNNAMED = "image"
"""Stands for the channel where neither plan nor rig names one."""


class Input(NamedTuple):
    """One image a stage looks at: a channel, and a plane, projection or stack."""

    channel: str
    z: str | int = "max"


class On(BaseModel):
    """Where a stage looks: ``on: {channel: FITC, z: max}``.

    Attributes
    ----------
    channel : str or list of str
        Channel preset(s) of the plan; None is the first channel of the plan. Only
        stages that say so take several.
    z : str or int
        ``max`` or ``mean`` over the planes of the group, or the number of one plane
        (0-based index of the plan's z axis). Without a z plan all three are the
        one plane there is. ``all`` is the stack itself, for models that want one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str | tuple[str, ...] | None = None
    z: str | int = "max"

    @field_validator("channel", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        # YAML reads a channel called 488 as a number.
        if isinstance(value, list | tuple):
            return tuple(str(v) for v in value)
        return str(value) if isinstance(value, int) else value

    @field_validator("z", mode="before")
    @classmethod
    def _plane(cls, value: Any) -> str | int:
        if isinstance(value, str) and value.strip().isdigit():
            value = int(value)
        if value in ("max", "mean", "all"):
            return str(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise ValueError(
            "z must be 'max', 'mean', 'all' or the number of a plane (0, 1, ...)"
        )


class StageConfig(BaseModel):
    """Base of the settings of every stage: what may stand in the experiment file.

    Unknown keys are refused. Lengths are in um of the sample and become pixels
    through each frame's pixel map.

    Attributes
    ----------
    on : On
        The input of the stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    on: On = Field(default_factory=On)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage may know when it is built.

    Attributes
    ----------
    channels : tuple of str
        Channel presets of the plan, in order; empty when the plan names none.
    seed : int
        Seed for anything random; the same seed must give the same result.
    base_dir : Path
        Folder of the experiment file: relative paths start here.
    """

    channels: tuple[str, ...] = ()
    seed: int = 0
    base_dir: Path = field(default_factory=Path)

    def resolve(self, on: On) -> tuple[Input, ...]:
        """Inputs that `on` names, with the default channel filled in."""
        named = on.channel
        if named is None:
            named = self.channels[0] if self.channels else UNNAMED
        names = (named,) if isinstance(named, str) else named
        return tuple(Input(name, on.z) for name in names)


class Alarm(NamedTuple):
    """Images are unlike those that a model was made for, for too long.

    Attributes
    ----------
    stage : str
    action : str
        ``note``, ``pause`` or ``stop``: what the experiment wants to happen.
    reason : str
        A sentence.
    """

    stage: str
    action: str
    reason: str


@dataclass(slots=True, kw_only=True, eq=False)
class Workspace:
    """One frame (or gathered group) on the bench: stages read and add to it in order.

    Arrays are replaced, never written in place: raw pixels are shared with recorder
    and screen.

    Attributes
    ----------
    raw : mapping of Input to ndarray (y, x)
        Pixels as acquired, projected over z where asked, ``(z, y, x)`` where a stack
        was asked for; read-only.
    images : mapping of Input to ndarray (y, x) float32
        What earlier stages made of an input; read it through `image`.
    processed : ndarray (y, x) float32 or None
        What segmentation saw; shown and recorded.
    labels : ndarray (y, x) int32 or None
        0 is background; row ``i`` of `detections` is label ``i + 1``.
    regions : Regions or None
        Pixels of each detection, for measurements.
    stage_um : (float, float)
        Stage position ``(x_um, y_um)`` of the exposure; zeros without a stage.
    moving : bool
        The stage moved during the exposure: nothing may be linked.
    notes : list of str
        What the journal shall say of this frame: a model that failed, an image unlike
        those of its training.
    alarms : list of Alarm
        Those that hold now.
    costs : mapping of str to float
        Wall time of models in this frame, ms; never part of what is decided on.
    """

    view: View
    t_s: float
    shape: tuple[int, int]
    pixel_map: PixelMap
    state: HardwareState
    raw: dict[Input, NDArray[Any]]
    new_event_id: Callable[[], int]
    moving: bool = False
    images: dict[Input, NDArray[np.float32]] = field(default_factory=dict)
    processed: NDArray[np.float32] | None = None
    labels: NDArray[np.int32] | None = None
    regions: Regions | None = None
    detections: Detections = NO_DETECTIONS
    tracks: tuple[Track, ...] = ()
    events: list[Event] = field(default_factory=list)
    measurements: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)
    # Raw pixels as float, made once; not in `images`, where only stages put theirs.
    _floats: dict[Input, NDArray[np.float32]] = field(default_factory=dict)

    def present(self, where: Input) -> NDArray[Any]:
        """Present state of an input, of the camera's type if no stage changed it."""
        found = self.images.get(where)
        return self.raw[where] if found is None else found

    def image(self, where: Input) -> NDArray[np.float32]:
        """Present state of an input, ``(y, x)`` float32; do not write into it."""
        found = self.images.get(where)
        if found is None:
            found = self._floats.get(where)
        if found is None:
            found = self._floats[where] = self.raw[where].astype(np.float32)
        return found

    def flat(self, where: Input) -> NDArray[np.float32]:
        """As `image`; of a stack the maximum over its planes."""
        image = self.image(where)
        return image if image.ndim == 2 else image.max(axis=0)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep what the wall clock says of a part, under `costs`."""
        began = time.perf_counter()
        yield
        self.costs[name] = 1e3 * (time.perf_counter() - began)

    def px(self, length_um: float) -> float:
        """Length in image pixels of `length_um` in the sample."""
        return length_um / self.pixel_map.pixel_um

    @property
    def pixel_area_um2(self) -> float:
        """Area of one image pixel in the sample, um^2."""
        return self.pixel_map.pixel_um**2

    @property
    def stage_um(self) -> tuple[float, float]:
        """Stage position ``(x_um, y_um)`` of the exposure; zeros without a stage."""
        return self.state.x_um or 0.0, self.state.y_um or 0.0


ConfigT = TypeVar("ConfigT", bound=StageConfig)
StateT = TypeVar("StateT")


class Stage(ABC, Generic[ConfigT, StateT]):
    """One step of the pipeline. Subclass it to write your own.

    A stage object is shared by all views and keeps nothing between frames; what it
    must remember lives in the state that `start` makes for each view. Called on the
    vision thread, one frame at a time.

    Attributes
    ----------
    Config : type of StageConfig
        Fields allowed in the experiment file.
    needs : tuple of str
        ``objects`` and ``tracks``: what stages before this one must have given.
    gives : tuple of str
        The same words: what later stages find when this one has run.
    learned : Learned or None
        The model of the stage; the pipeline warms it up and names it in the journal.

    Examples
    --------
    ``brightest.py``, used as ``- brightest.py: {share: 0.01}``:

    >>> class Brightest(Stage):
    ...     class Config(StageConfig):
    ...         share: float = 0.01
    ...
    ...     def process(self, work, state):
    ...         level = np.quantile(work.image(self.input), 1 - self.config.share)
    ...         work.measurements["brightest"] = float(level)
    """

    Config: ClassVar[type[StageConfig]] = StageConfig
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    learned: Learned | None = None

    @classmethod
    def chosen(cls, values: Mapping[str, Any]) -> type[Stage[Any, Any]]:
        """Class that runs with these fields; some do one thing in two ways."""
        return cls

    def __init__(self, config: ConfigT, context: StageContext) -> None:
        self.config = config
        self.context = context
        self.input = context.resolve(config.on)[0]

    def named(self) -> tuple[Input, ...]:
        """All images that ``on`` names, in its order."""
        return self.context.resolve(self.config.on)

    def inputs(self) -> tuple[Input, ...]:
        """Images without which this stage cannot run; default the one named by `on`."""
        return (self.input,)

    def optional_inputs(self) -> tuple[Input, ...]:
        """Images waited for while their group is open, but not missed."""
        return ()

    def features(self) -> frozenset[str] | None:
        """Object features this stage adds; None if only running it can tell."""
        return None

    def reads(self) -> frozenset[str]:
        """Object features this stage looks at; checked before the run."""
        return frozenset()

    def warm_up(
        self, shape: tuple[int, int], planes: int, pixel_um: float | None
    ) -> None:
        """Get ready for frames of this shape, before the first one.

        Parameters
        ----------
        shape : (int, int)
        planes : int
            Of the plan's z axis; 1 without.
        pixel_um : float or None
            None where it is not known yet.
        """
        if self.learned is not None:
            self.learned.warm_up(shape, planes, pixel_um)

    def start(self, view: View) -> StateT | None:
        """Fresh memory for one view; whatever `process` shall get back as `state`."""
        return None

    @abstractmethod
    def process(self, work: Workspace, state: Any) -> None:
        """Look at `work` and add to it; `state` is this view's memory."""
