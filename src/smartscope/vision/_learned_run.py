"""A learned model at work inside a stage: its input, its failures, its alarm."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ConfigError, ModelError
from smartscope.core.geometry import UNCALIBRATED
from smartscope.core.objects import NO_DETECTIONS
from smartscope.vision._learned_checks import (
    check_inputs,
    check_output,
    check_runtime,
    check_scale,
    kind_of,
)
from smartscope.vision._learned_images import as_channels, plane_of, resized
from smartscope.vision._learned_window import Place, Window
from smartscope.vision._stage import Alarm, ConfigT, Input, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.core import View
    from smartscope.inference import Domain, Familiarity, Model
    from smartscope.vision._learned import LearnedConfig, Remote
    from smartscope.vision._stage import StageContext, Workspace

_log = logging.getLogger("smartscope.vision")
# Nearer to the pixel size of the training nothing is gained by resizing.
_SAME_SCALE = 0.05
_MOST_SHAPES = 64


@dataclass(slots=True, eq=False)
class LearnedView:
    """What a learned stage remembers of one view.

    Attributes
    ----------
    window : Window or None
        The last frames, for a model that wants several.
    place : Place
        Where the view was last seen.
    strange : int
        Unfamiliar images in a row.
    own : object
        Memory of the stage itself.
    """

    window: Window | None = None
    place: Place = field(default_factory=Place)
    strange: int = 0
    own: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model gave for one image.

    Attributes
    ----------
    outputs : tuple of ndarray (c, y, x)
        They belong to the model until its next run.
    shape : (int, int)
        Size of the image that the model was given.
    zoom : (float, float)
        Its pixels for one image pixel, along y and x.
    jumped : bool
        The field is another one than in the frame before.
    """

    outputs: tuple[NDArray[np.float32], ...]
    shape: tuple[int, int]
    zoom: tuple[float, float]
    jumped: bool = False

    def points(
        self, y_px: NDArray[np.float64], x_px: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Image points ``(n, 2)`` of points in the image the model was given."""
        y = (y_px + 0.5) / self.zoom[0] - 0.5
        return np.column_stack([y, (x_px + 0.5) / self.zoom[1] - 0.5])


class Learned:
    """A model loaded for one stage, shared by all views.

    Parameters
    ----------
    config : LearnedConfig
        With a model.
    context : StageContext
        Knows the folder of the experiment.
    stage : str
        Name of the stage, for messages and columns.
    kinds : sequence of str
        Decoders the stage takes; a model that names none is taken for the first of
        them that its channels are enough for.
    inputs : sequence of Input
        Channels, in the order of the model's.
    frames : bool
        The model sees whole frames, so window, familiarity and scale apply.
    stack : bool
        Planes that the model gives are wanted one by one, not their maximum.

    Raises
    ------
    ModelError, ConfigError
        The model cannot be loaded, was made for another stage, or wants another
        number of channels or planes.
    """

    def __init__(
        self,
        config: LearnedConfig,
        context: StageContext,
        *,
        stage: str,
        kinds: Sequence[str],
        inputs: Sequence[Input],
        frames: bool = True,
        stack: bool = False,
    ) -> None:
        # Only here: a run without models must not pay for a runtime.
        from smartscope.inference import Domain, find_model, load_model

        use = config.model
        if use is None:
            raise ConfigError(
                f"'{stage}' needs a model", fix="give the name or path of one"
            )
        path = find_model(use.path, context.base_dir)
        self._asked = _runtime(config.runtime, context, path)
        self.model: Model = load_model(
            path,
            axes=use.axes,
            preprocessing=use.preprocessing,
            postprocessing=use.postprocessing,
            multiple_of=use.multiple_of,
            runtime=self._asked,
            threads=config.threads,
        )
        check_runtime(config.runtime, self.model, context)
        self.stage = stage
        self.inputs = tuple(inputs)
        self._config = config
        self._stack = stack
        self._choose_output()
        self.kind = kind_of(self.model, kinds, self.output)
        check_output(self.model, self.kind, self.output, self.channel)
        card = self.model.card
        self.planes = self.model.inputs[0].layout.image_order == "czyx"
        self._window = card.window if frames else 1
        check_inputs(self.model, self.inputs, self._window)
        check_scale(config.scale, self.model)
        self._domain: Domain | None = None
        if card.domain and frames:
            self._domain = Domain.from_card(card.domain, file=self.model.file)
        elif "unfamiliar" in config.model_fields_set:
            raise ConfigError(
                f"{self.model.file}: "
                + ("the model" if frames else "a model of crops")
                + " does not say what images it knows, so none would be unfamiliar",
                field="unfamiliar",
                fix="leave 'unfamiliar' out",
            )
        self._prepared: set[tuple[int, ...]] = set()
        self._now: tuple[tuple[int, ...], Any] | None = None
        self._warm = self._rehearsing = False
        self._failing = 0
        self._said: list[str] = []

    def _choose_output(self) -> None:
        use, decoder = self._config.model, self.model.decoder
        self.output, self.channel = decoder.output, decoder.channel
        if use is not None and use.output is not None:
            self.output = use.output
        if use is not None and use.channel is not None:
            self.channel = use.channel

    # ------------------------------------------------------------------- running

    def start(self, own: Any = None) -> LearnedView:
        """Fresh memory for one view."""
        window = Window(self._window) if self._window > 1 else None
        return LearnedView(window=window, own=own)

    def threshold(self, wanted: float | None) -> float:
        """Where to cut: as the experiment says, else the package, else one half.

        Of ``flows``, which give a logit, 0: the same probability.
        """
        stated = self.model.decoder.threshold
        half = 0.0 if self.kind == "flows" else 0.5
        return next(t for t in (wanted, stated, half) if t is not None)

    def option(self, name: str, default: Any = None) -> Any:
        """Option of the model's decoder."""
        return self.model.decoder.options.get(name, default)

    def warm_up(
        self, shape: tuple[int, int], planes: int = 1, pixel_um: float | None = None
    ) -> None:
        """Get ready for frames of this shape; what comes later is late.

        Raises
        ------
        ModelError
            The model takes nothing of this size, or cannot run at all.
        """
        zoom = self._zoom(pixel_um)
        size = _zoomed(shape, zoom)
        stack = (planes,) if self.planes else ()
        self.prepare((self._window * len(self.inputs), *stack, *size))
        self._warm = self._rehearsing = True

    def prepare(self, shape: tuple[int, ...], dtype: Any = np.uint16) -> None:
        """Have the model ready for images ``(c, [z,] y, x)`` of this shape and type."""
        if self._now == (shape, dtype):
            return
        began = time.perf_counter()
        self.model.prepare(shape, dtype=dtype)
        self._now = (shape, dtype)
        if self._warm and shape not in self._prepared:
            size = " x ".join(map(str, shape[-2:]))
            took_s = time.perf_counter() - began
            self._said.append(
                f"{self.stage}: {self.model.name} was made ready for {size} pixels in "
                f"the middle of the run, which took {took_s:.2f} s"
            )
        if len(self._prepared) < _MOST_SHAPES:
            self._prepared.add(shape)

    def reach(self) -> None:
        """Ask the server of the model, if it has one, whether it is there.

        Raises
        ------
        ModelError
            It is not, or has no such model. Nothing is run.
        """
        if isinstance(self._asked, str):
            return
        from smartscope.inference import RemoteRuntime

        settings = dict(self._asked)
        url, name = settings.pop("remote"), settings.pop("model")
        RemoteRuntime(url, name, file=self.model.file, **settings).close()

    def see(self, work: Workspace, view: LearnedView) -> Answer | None:
        """Give the model the present frame.

        Returns
        -------
        Answer or None
            None where it failed and the run goes on without it.

        Raises
        ------
        ModelError
            It failed, and that stops the run.
        """
        # Where it stood before it moved is what the next still frame is held against.
        jumped = not work.moving and view.place.jumped(work)
        if view.window is not None and (jumped or work.moving):
            view.window.restart()
        began = time.perf_counter()
        try:
            image = as_channels(work, self.inputs)
            size = (image.shape[-2], image.shape[-1])
            self._check_pixel_size(work)
            image = resized(image, _zoomed(size, self._zoom(_pixel_um(work))))
            self._look(work, view, image)
            given = image if view.window is None else view.window.take(image)
            answer = self.run(given)
        except ModelError as error:
            self.failed(work, error)
            return None
        finally:
            # A blurred frame is no past that the next one could be compared with.
            if view.window is not None and work.moving:
                view.window.restart()
        self.worked(work)
        work.costs[f"{self.stage}.model"] = 1e3 * (time.perf_counter() - began)
        shape = (image.shape[-2], image.shape[-1])
        zoom = shape[0] / size[0], shape[1] / size[1]
        return Answer(answer, shape, zoom, jumped)

    def run(self, image: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the model on ``(c, [z,] y, x)``; what it gives is finite."""
        self.prepare(image.shape, image.dtype)
        outputs = self.model.run(image)
        if not self._stack:
            outputs = tuple(plane_of(output) for output in outputs)
        if self.channel >= len(outputs[self.output]):
            raise ModelError(
                f"{self.model.file}: output {self.output} has "
                f"{len(outputs[self.output])} channels, not channel {self.channel}; "
                "they are counted from 0"
            )
        return outputs

    def _check_pixel_size(self, work: Workspace) -> None:
        if self._config.scale == "auto" and _pixel_um(work) is None:
            raise ModelError(
                f"{self.model.file}: 'scale: auto' needs the pixel size, and the "
                "frames have none; calibrate the rig, or give scale as a number"
            )

    def _zoom(self, pixel_um: float | None) -> float:
        """Pixels of the model for one image pixel."""
        scale = self._config.scale
        if scale == "none":
            return 1.0
        if scale == "auto":
            made_for = self.model.card.pixel_um
            if pixel_um is None or made_for is None:
                return 1.0
            scale = pixel_um / made_for
        return 1.0 if abs(float(scale) - 1) < _SAME_SCALE else float(scale)

    # ------------------------------------------------------------------ failures

    def failed(self, work: Workspace, error: ModelError) -> None:
        """Follow the declared policy; raises the error where that is ``stop``.

        Always before the first frame: what never worked is not gone on without.
        """
        if self._config.on_failure == "stop" or self._rehearsing:
            raise error
        work.notes.append(f"{self.stage}: {error}")
        self._failing += 1
        if self._failing == 1:
            text = f"{self.stage}: the model failed, the run goes on without: {error}"
            self._say(text)

    def worked(self, work: Workspace) -> None:
        """End a spell of failures."""
        if self._failing:
            self._say(
                f"{self.stage}: {self.model.name} works again after {self._failing} "
                "frames without it"
            )
            self._failing = 0

    def _say(self, text: str) -> None:
        _log.warning(text)
        self._said.append(text)

    def take_reports(self) -> list[str]:
        """What is to be said since the last time."""
        said, self._said = self._said, []
        return said

    def begin(self) -> None:
        """The rehearsal is over: say nothing of it, and follow `on_failure`."""
        self._said.clear()
        self._rehearsing = False

    def facts(self) -> Mapping[str, Any]:
        """What the journal says of the model."""
        return self.model.facts()

    # --------------------------------------------------------------------- alarm

    def _look(self, work: Workspace, view: LearnedView, image: NDArray[Any]) -> None:
        """Hold the frame against the images of the training."""
        if self._domain is None:
            return
        from smartscope.inference import frame_statistics

        flat = image if image.ndim == 3 else image.max(axis=1)
        if self._domain.channels != len(flat):
            raise ModelError(
                f"{self.model.file}: its domain is of {self._domain.channels} channels "
                f"and the image has {len(flat)}; fit the domain again"
            )
        found = self._domain.judge(frame_statistics(flat))
        column = f"unfamiliar_{self.stage}"
        work.measurements[column] = found.ratio
        work.measurements[f"{column}_count"] = float(len(found.outside))
        if found.usual or work.moving:
            view.strange = 0 if found.usual else view.strange
            return
        work.notes.append(f"{self.stage}: unfamiliar ({', '.join(found.outside)})")
        view.strange += 1
        self._alarm(work, view, found)

    def _alarm(self, work: Workspace, view: LearnedView, found: Familiarity) -> None:
        wanted = self._config.unfamiliar
        if view.strange < wanted.after_frames:
            return
        reason = (
            f"{self.stage}: {view.strange} images in a row are unlike those that "
            f"{self.model.name} was made for ({', '.join(found.outside)})"
        )
        work.alarms.append(Alarm(self.stage, wanted.action, reason))
        if view.strange == wanted.after_frames:
            self._say(reason)


class LearnedStage(Stage[ConfigT, LearnedView]):
    """Base of the stages that take a model; it gets all channels that ``on`` names."""

    def inputs(self) -> tuple[Input, ...]:
        """All channels it names."""
        return self.named()

    def start(self, view: View) -> LearnedView | None:
        """Memory of the model, where there is one."""
        return None if self.learned is None else self.learned.start()

    def _cleared(self, work: Workspace) -> NDArray[np.float32]:
        """Image to find objects in, which is shown; earlier objects are gone."""
        work.labels, work.regions, work.detections = None, None, NO_DETECTIONS
        work.processed = image = work.flat(self.input)
        return image


def _runtime(
    written: str | Remote, context: StageContext, path: Path
) -> str | dict[str, Any]:
    if isinstance(written, str):
        return written
    asked = written.model_dump(exclude_none=True)
    asked.setdefault("model", path.name if path.is_dir() else path.stem)
    if written.certificate is not None:
        asked["certificate"] = str(context.base_dir / written.certificate)
    return asked


def _pixel_um(work: Workspace) -> float | None:
    # Read back from a journal it is equal, not the same object.
    return None if work.pixel_map == UNCALIBRATED else work.pixel_map.pixel_um


def _zoomed(shape: tuple[int, int], zoom: float) -> tuple[int, int]:
    return max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom))
