"""A small picture of what the camera sees, made of half-block characters.

Each character cell shows two pixels, one above the other, as text and background
colour of an upper half block.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["CameraPicture", "shrink"]

LEVELS = 32
Colour = tuple[int, int, int]
# Ink to mint for the sample, embers for what is tracked: told apart at a glance, and
# by brightness alone in a terminal with few colours.
SAMPLE = ((10, 14, 24), (24, 58, 78), (84, 160, 152), (232, 248, 230))
TRACKED = ((34, 22, 14), (140, 74, 18), (244, 162, 52), (255, 244, 214))
REACH = 1
GAMMA = 0.8

Mark = tuple[float, float, int]
"""``(y_px, x_px, track_id)`` in pixels of the frame."""


def shrink(image: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Average `image` (y, x) down to ``(height, width)``; repeat pixels where smaller.

    A large image is thinned first: this is drawn several times a second beside a run.
    """
    for axis, wanted in ((0, height), (1, width)):
        step = max(1, image.shape[axis] // (4 * wanted))
        image = image[::step] if axis == 0 else image[:, ::step]
    small = image.astype(np.float32)
    for axis, wanted in ((0, height), (1, width)):
        size = small.shape[axis]
        if size <= wanted:
            small = np.take(small, np.arange(wanted) * size // wanted, axis=axis)
            continue
        edges = np.linspace(0, size, wanted + 1).astype(int)
        counts = np.diff(edges).astype(np.float32)
        small = np.add.reduceat(small, edges[:-1], axis=axis)
        small /= counts[:, None] if axis == 0 else counts
    return small


def _stretched(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(small, (2.0, 99.7))
    span = max(float(high - low), 1e-6)
    levels = np.clip((small - low) / span, 0.0, 1.0) ** GAMMA * (LEVELS - 1)
    return np.asarray(levels, dtype=np.uint8)


@cache
def _shade(level: int, stops: tuple[Colour, ...]) -> Colour:
    at = level / (LEVELS - 1) * (len(stops) - 1)
    k = min(int(at), len(stops) - 2)
    low, high = stops[k], stops[k + 1]
    red, green, blue = (
        round(a + (b - a) * (at - k)) for a, b in zip(low, high, strict=True)
    )
    return red, green, blue


@cache
def _style(top: Colour, bottom: Colour) -> Style:
    return Style.parse("rgb({},{},{}) on rgb({},{},{})".format(*top, *bottom))


class CameraPicture:
    """A frame with its tracked cells marked, as a rich renderable.

    Parameters
    ----------
    image : ndarray (y, x)
        What the camera sees, any numeric type.
    marks : sequence of (y_px, x_px, track_id)
        Cells to mark.
    columns, rows : int
        Room there is, in characters; the picture keeps its shape within it.
    """

    def __init__(
        self,
        image: NDArray[Any],
        marks: Sequence[Mark],
        *,
        columns: int,
        rows: int,
    ) -> None:
        height, width = image.shape
        scale = min(columns / width, 2 * rows / height)
        self.columns = max(2, round(width * scale))
        self.rows = max(1, round(height * scale / 2))
        self._image = image
        self._marks = marks

    def colours(self) -> list[list[Colour]]:
        """Colour of every pixel shown, ``2 * rows`` lines of `columns`."""
        levels = _stretched(shrink(self._image, 2 * self.rows, self.columns)).tolist()
        shown = [[_shade(level, SAMPLE) for level in line] for line in levels]
        for row, column in self.marked():
            shown[row][column] = _shade(levels[row][column], TRACKED)
        return shown

    def marked(self) -> set[tuple[int, int]]:
        """Pixels of the picture on and around the marks."""
        height, width = self._image.shape
        found = set()
        for y_px, x_px, _ in self._marks:
            row = int(y_px / height * 2 * self.rows)
            column = int(x_px / width * self.columns)
            for r in range(row - REACH, row + REACH + 1):
                for c in range(column - REACH, column + REACH + 1):
                    if 0 <= r < 2 * self.rows and 0 <= c < self.columns:
                        found.add((r, c))
        return found

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Draw line by line."""
        shown = self.colours()
        for top, bottom in zip(shown[::2], shown[1::2], strict=True):
            for a, b in zip(top, bottom, strict=True):
                yield Segment("▀", _style(a, b))
            yield Segment.line()

    def __rich_measure__(
        self, console: Console, options: ConsoleOptions
    ) -> Measurement:
        """Exactly `columns` wide."""
        return Measurement(self.columns, self.columns)
