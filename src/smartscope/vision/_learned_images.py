"""Images on their way into a model and out of it: channels, planes, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.vision._stage import Input, Workspace


def as_channels(work: Workspace, inputs: Sequence[Input]) -> NDArray[Any]:
    """Present state of some inputs as one image, ``(c, y, x)`` or ``(c, z, y, x)``.

    In the camera's type where no stage has changed them, which spares a copy.

    Raises
    ------
    ModelError
        They differ in size.
    """
    images = [work.present(one) for one in inputs]
    if len(images) == 1:
        return images[0][np.newaxis]
    if len({image.shape for image in images}) != 1:
        sizes = ", ".join(
            f"{one.channel} {' x '.join(map(str, image.shape))}"
            for one, image in zip(inputs, images, strict=True)
        )
        raise ModelError(
            f"the channels of one image differ in size ({sizes}); take them with one "
            "ROI, one binning and the same planes"
        )
    return np.stack(images)


def plane_of(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """An output as ``(c, y, x)``; the maximum over its planes."""
    return output if output.ndim == 3 else output.max(axis=1)


def resized(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Another size for ``(..., y, x)``: means when smaller, linear when larger."""
    if image.shape[-2:] == shape:
        return image
    import cv2

    area = shape[0] * shape[1] < image.shape[-2] * image.shape[-1]
    way = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    planes = image.reshape(-1, *image.shape[-2:])
    if planes.dtype not in (np.uint8, np.uint16, np.float32):
        planes = planes.astype(np.float32)
    size = (shape[1], shape[0])
    out = np.stack([cv2.resize(plane, size, interpolation=way) for plane in planes])
    return out.reshape(*image.shape[:-2], *shape)


def labels_resized(
    labels: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """A label image of another size; small objects may vanish."""
    if labels.shape == shape:
        return labels
    rows = _nearest(labels.shape[0], shape[0])
    columns = _nearest(labels.shape[1], shape[1])
    return labels[rows[:, None], columns]


def _nearest(size: int, wanted: int) -> NDArray[np.int64]:
    at = (np.arange(wanted) + 0.5) * size / wanted
    return np.minimum(at.astype(np.int64), size - 1)
