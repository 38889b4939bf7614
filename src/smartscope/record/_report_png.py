"""Small pictures as PNG data URIs, with nothing but the standard library."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode an 8-bit grey image (y, x) as PNG."""
    height, width = image.shape
    rows = np.zeros((height, width + 1), np.uint8)  # filter byte 0 before each row
    rows[:, 1:] = image
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def data_uri(image: NDArray[np.uint8]) -> str:
    """Encode an 8-bit grey image (y, x) as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def stretched(images: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """Bring images of any type to 8 bit with *one* common contrast.

    The darkest 1 % become black and the brightest 0.3 % white, over all of them, so
    that a cell that fades in a strip is seen to fade.
    """
    if not images:
        return []
    sample = np.concatenate([image.ravel()[::7] for image in images])
    low, high = np.percentile(sample, (1.0, 99.7))
    scale = 255.0 / max(float(high - low), 1e-9)
    return [
        np.clip((image.astype(np.float64) - low) * scale, 0, 255).astype(np.uint8)
        for image in images
    ]


def cut(
    image: NDArray[Any], y_px: float, x_px: float, side_px: int
) -> tuple[NDArray[Any], bool]:
    """Square cut-out around a place, shifted inside at the border.

    Returns
    -------
    (cut-out, centred)
        `centred` is False when the place lies outside the image.
    """
    height, width = image.shape
    tall, wide = min(side_px, height), min(side_px, width)
    top = int(np.clip(round(y_px - tall / 2), 0, height - tall))
    left = int(np.clip(round(x_px - wide / 2), 0, width - wide))
    inside = 0 <= y_px < height and 0 <= x_px < width
    return image[top : top + tall, left : left + wide], inside


def shrunk(image: NDArray[Any], longest_px: int) -> tuple[NDArray[Any], int]:
    """Average whole blocks until no side is longer; also returns the block side."""
    step = max(1, -(-max(image.shape) // longest_px))
    if step == 1:
        return image, 1
    height, width = (side // step for side in image.shape)
    blocks = image[: height * step, : width * step].astype(np.float32)
    return blocks.reshape(height, step, width, step).mean(axis=(1, 3)), step
