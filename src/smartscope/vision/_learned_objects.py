"""What a model gives, as objects: labels and regions, or points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import ModelError
from smartscope.vision._labels import Pixels, numbered
from smartscope.vision._learned_images import labels_resized, resized

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.vision._learned_run import Answer, Learned
    from smartscope.vision._regions import Regions
    from smartscope.vision.decode import Points, Stars


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects of one image; row ``i`` is label ``i + 1``.

    Attributes
    ----------
    labels : ndarray (y, x) int32
    regions : Regions
    score : ndarray (n,) float64
    note : str
        What is to be said of this image; mostly nothing.
    """

    labels: NDArray[np.int32]
    regions: Regions
    score: NDArray[np.float64]
    note: str = ""


def objects_of(
    learned: Learned,
    answer: Answer,
    shape: tuple[int, int],
    *,
    threshold: float,
    areas_px: tuple[float, float],
    split: Callable[[NDArray[np.bool_]], Pixels],
    fill_holes: bool = True,
) -> Objects:
    """Objects of a model that gives ``mask``, ``stardist`` or ``flows``.

    Parameters
    ----------
    shape : (int, int)
        Of the image; the labels have it.
    areas_px : (float, float)
        Least and largest area of an object.
    split : function
        Makes objects of a mask, for models that do not part what touches.

    Raises
    ------
    ModelError
        The outputs are not those of the decoder.
    """
    if learned.kind == "stardist":
        stars = _stars(learned, answer, threshold)
        pixels = Pixels.of(labels_resized(stars.labels, shape), len(stars))
        labels, regions, rows = numbered(pixels, *areas_px)
        note = f"{stars.left_out} of the model's proposals not looked at, too many"
        return Objects(
            labels, regions, stars.score[rows], note if stars.left_out else ""
        )
    output = answer.outputs[learned.output]
    if learned.kind == "flows":
        labels, likely = _flows(learned, output, threshold)
    elif (parted := _parted(learned, output, threshold, fill_holes)) is not None:
        labels, likely = parted, output[learned.channel]
    else:
        likely = resized(output[learned.channel], shape)
        pixels = split(likely > np.float32(threshold))
        labels, regions, _ = numbered(pixels, *areas_px)
        return Objects(labels, regions, regions.mean(likely))
    pixels = _pixels(labels_resized(labels, shape))
    labels, regions, _ = numbered(pixels, *areas_px)
    return Objects(labels, regions, regions.mean(resized(likely, shape)))


def points_of(
    learned: Learned, answer: Answer, *, threshold: float, apart_px: float, said: bool
) -> Points:
    """Peaks of a ``spots`` model, in pixels of the image it was given.

    No two lie closer than `apart_px`, pixels of the frame, where the experiment `said`
    so; else the model's package decides, if it says anything.
    """
    from smartscope.vision.decode import heat_to_points

    output = answer.outputs[learned.output]
    grid = learned.option("grid", _grid(answer, output))
    offsets = learned.option("offset_channels")
    apart = apart_px * answer.zoom[0]
    return heat_to_points(
        output[learned.channel],
        threshold=threshold,
        min_distance_px=apart if said else learned.option("min_distance_px", apart),
        grid=grid,
        offsets=None if offsets is None else output[list(offsets)],
    )


def _grid(answer: Answer, output: NDArray[np.float32]) -> int:
    """Pixels of the image per pixel of an output."""
    return int(max(1, round(answer.shape[0] / output.shape[-2])))


def _stars(learned: Learned, answer: Answer, threshold: float) -> Stars:
    from smartscope.vision.decode import rays_to_labels

    output = answer.outputs[learned.output]
    rays_output = learned.option("rays_output")
    if rays_output is None:
        # As a rule the probability comes first, and a slice is no copy.
        first = learned.channel == 0
        rays = output[1:] if first else np.delete(output, learned.channel, axis=0)
    else:
        rays = answer.outputs[rays_output]
    if len(rays) < 3:
        raise ModelError(
            f"{learned.model.file}: 'stardist' needs at least 3 rays, the model gives "
            f"{len(rays)}"
        )
    return rays_to_labels(
        output[learned.channel],
        rays,
        shape=answer.shape,
        grid=learned.option("grid", _grid(answer, output)),
        threshold=threshold,
        nms=learned.option("nms", 0.4),
    )


def _flows(
    learned: Learned, output: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels, and how likely each pixel is object."""
    from smartscope.vision.decode import flows_to_labels

    if len(output) < 3:
        raise ModelError(
            f"{learned.model.file}: 'flows' needs 3 channels, the model gives "
            f"{len(output)}"
        )
    labels = flows_to_labels(
        output[:2],
        output[2],
        threshold=threshold,
        steps=learned.option("steps", 200),
        flow_threshold=learned.option("flow_threshold", 0.4),
        min_area_px=learned.option("min_size", 0),
    )
    # From the logit: what the other models give is a probability.
    return labels, 1.0 / (1.0 + np.exp(-np.clip(output[2], -50, 50)))


def _parted(
    learned: Learned, output: NDArray[np.float32], threshold: float, fill_holes: bool
) -> NDArray[np.int32] | None:
    """Labels of a model that says where objects touch; None of one that does not."""
    border = learned.option("border_channel")
    distance = learned.option("distance_channel")
    if border is None and distance is None:
        return None
    from smartscope.vision.decode import masks_to_labels

    return masks_to_labels(
        output[learned.channel],
        border=None if border is None else output[border],
        distance=None if distance is None else output[distance],
        threshold=threshold,
        fill_holes=fill_holes,
    )


def _pixels(labels: NDArray[np.int32]) -> Pixels:
    return Pixels.of(labels, int(labels.max(initial=0)))
