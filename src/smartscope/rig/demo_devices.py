"""Devices written in Python for demo rigs, where Micro-Manager's adapters have none.

A configuration names them in a line that Micro-Manager takes for a comment::

    #py pyDevice,SLM,smartscope.rig.demo_devices,DemoSlm
"""

from __future__ import annotations

import numpy as np
from pymmcore_plus.experimental.unicore import SLMDevice

__all__ = ["DemoSlm"]


class DemoSlm(SLMDevice):
    """A mirror device of 400 x 300 pixels of 8 bit; it can be asked what it shows."""

    _shape = (300, 400)

    def __init__(self) -> None:
        super().__init__()
        self._loaded = np.zeros(self._shape, np.uint8)
        self._shown = self._loaded
        self._exposure_ms = 0.0

    def shape(self) -> tuple[int, ...]:
        """``(height, width)`` in pixels."""
        return self._shape

    def dtype(self) -> type[np.uint8]:
        """8 bit."""
        return np.uint8

    def set_image(self, pixels: np.ndarray) -> None:
        """Take an image; it shows with `display_image`."""
        self._loaded = np.array(pixels, np.uint8)

    def get_image(self) -> np.ndarray:
        """Return the image that shows."""
        return self._shown

    def display_image(self) -> None:
        """Show the image taken last."""
        self._shown = self._loaded

    def set_exposure(self, interval_ms: float) -> None:
        """Remember how long it should stay lit; it stays until the next pattern."""
        self._exposure_ms = interval_ms

    def get_exposure(self) -> float:
        """Return what `set_exposure` was given, ms."""
        return self._exposure_ms
