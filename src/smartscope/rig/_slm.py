"""The SLM: which pattern it shows, told through Micro-Manager's own calls."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import NS_PER_MS, HardwareError
from smartscope.rig._resources import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from smartscope.config import SlmConfig
    from smartscope.core import DeviceHistory
    from smartscope.rig._port import Port

DARK = 0
"""Number of the pattern that lets no light through."""
UNKNOWN = -1
"""Number of what somebody else has put there, or the device showed before us."""
_KEPT = 4
_RGB_BYTES = 4


class Slm(Resource):
    """What the SLM shows; values are the numbers of patterns.

    Most SLMs cannot be asked what they show: the last pattern they took without
    complaint is then taken to be there. Those that can are read back.

    Attributes
    ----------
    device : str
    config : SlmConfig or None
        The ``slm`` section; None where the rig file describes only the role.
    """

    def __init__(
        self,
        port: Port,
        device: str,
        config: SlmConfig | None,
        history: DeviceHistory,
    ) -> None:
        super().__init__("slm", (device,))
        self.device = device
        self.config = config
        self._port = port
        self._history = history
        self._off = config.off_level if config is not None else 0
        self._on = config.on_level if config is not None else 255
        self._dwell_ms = config.dwell_ms if config is not None else None
        self._numbers = count(DARK + 1)
        self._known: dict[int, tuple[NDArray[np.uint8], Mapping[str, float]]] = {}
        self._shape: tuple[int, int] | None = None
        self._prepared = False
        self.shown = UNKNOWN

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels.

        Raises
        ------
        HardwareError
            If the device does not say.
        """
        if self._shape is None:
            self._shape = self._port.slm_shape(self.device)
        return self._shape

    def levels_of(self, light: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixel values that let through this light (0..255), in its shape."""
        if (self._off, self._on) == (0, 255):
            return light
        share = light.astype(np.float32) / 255
        return np.rint(self._off + (self._on - self._off) * share).astype(np.uint8)

    def light_of(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Light (0..255) that these pixel values let through, in their shape."""
        if (self._off, self._on) == (0, 255):
            return levels
        share = (levels.astype(np.float32) - self._off) / (self._on - self._off)
        return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)

    def checked(self, image: ArrayLike) -> NDArray[np.uint8]:
        """Pixel values from what a plan gives: an image, or one value for all.

        Raises
        ------
        HardwareError
            If it is not of the SLM's shape, or not of 8 bit.
        """
        pixels = np.asarray(image)
        if pixels.dtype == np.bool_:
            pixels = np.where(pixels, self._on, self._off).astype(np.uint8)
        elif pixels.dtype.kind in "iu" and pixels.size:
            if 0 <= pixels.min() and pixels.max() <= 255:
                pixels = pixels.astype(np.uint8)
        if pixels.ndim == 0 and pixels.dtype == np.uint8:
            return np.full(self.shape, pixels, np.uint8)
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            height, width = self.shape
            raise HardwareError(
                f"a pattern must be uint8 of {height} x {width} (y, x), not "
                f"{pixels.dtype} of {pixels.shape}",
                device=self.device,
            )
        return np.array(pixels, order="C")

    def number(self, levels: NDArray[np.uint8], facts: Mapping[str, float]) -> int:
        """Give pixel values the number by which they are known; dark is always 0."""
        light = self.light_of(levels)
        lit = int(np.count_nonzero(light))
        number = next(self._numbers) if lit else DARK
        facts = {"lit_percent": round(100 * lit / light.size, 4), **facts}
        levels.setflags(write=False)
        self._known[number] = (levels, facts)
        for old in list(self._known)[:-_KEPT]:
            del self._known[old]
        return number

    def dark(self) -> NDArray[np.uint8]:
        """Pixel values that let nothing through."""
        return np.full(self.shape, self._off, np.uint8)

    def show(self, number: int, levels: NDArray[np.uint8]) -> None:
        """Tell the device; raises `HardwareError` if it refuses."""
        if self._dwell_ms is not None and not self._prepared:
            self._port.set_slm_exposure(self.device, self._dwell_ms)
            self._prepared = True
        self._port.show(self.device, levels)
        self.shown = number

    def force_dark(self) -> None:
        """Go dark by either of the two ways there are; raises as `show`."""
        levels = self.dark()
        number = self.number(levels, {})
        try:
            self.show(number, levels)
        except HardwareError:
            self._port.fill(self.device, self._off)
            self.shown = number

    # ------------------------------------------------------------------ as resource

    def read(self) -> int:
        """Number of the pattern the device took last, or says that it shows."""
        known = self._known.get(self.shown)
        if known is None or self._dwell_ms is not None:
            return self.shown
        found = self._port.slm_image(self.device)
        if found is None or np.array_equal(found, known[0]):
            return self.shown
        return UNKNOWN

    def trace(self, t_ns: int, value: int) -> None:
        """Number the pattern in the history, and keep the light it lets through."""
        history = self._history
        if history.at("slm", t_ns, UNKNOWN - 1) == value:
            return
        known = self._known.get(value)
        light = None if known is None else self.light_of(known[0])
        history.set_pattern(t_ns, value, light)
        if self._dwell_ms is not None and value > DARK and light is not None:
            until_ns = t_ns + int(self._dwell_ms * NS_PER_MS)
            history.set_pattern(until_ns, DARK, np.zeros_like(light))

    def describe(self, value: int) -> Mapping[str, float | str]:
        """``pattern``: its number; with it, which share of the SLM is lit."""
        if value == UNKNOWN:
            return {"pattern": "unknown"}
        _, facts = self._known.get(value, (None, {}))
        return {"pattern": float(value), **facts}
