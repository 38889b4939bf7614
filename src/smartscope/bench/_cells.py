"""Frames of living cells, made before anything is timed, for the demo camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, NS_PER_S, DeviceHistory, Roi
from smartscope.specimen import SpecimenView, make_specimen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUNT = 32
"""Frames; they are shown forwards and backwards, so that no cell jumps."""
_SEED = 900_003
_POWER_PERCENT = 2.0
_EXPOSURE_MS = 50.0
_APART_S = 2.0


def cell_frames(size_px: int, count: int = COUNT) -> list[NDArray[np.uint16]]:
    """Images ``(y, x)`` of the demo specimen, about 25 nuclei at 512 x 512.

    The same ones every time, as bright as in ``demo_configs/full_light.yaml``.
    """
    specimen = make_specimen(
        "dividing_cells",
        seed=_SEED,
        parameters={"area_um": [1500, 1500], "cells": 220, "cell_cycle_s": 9000},
    )
    history = DeviceHistory()
    for key in ("x_um", "y_um", "z_um"):
        history.set(key, 0, 0.0)
    history.set("power:488", 0, _POWER_PERCENT)
    view = SpecimenView(
        shape=(size_px, size_px),
        roi=Roi(0, 0, size_px, size_px),
        sensor_shape=(size_px, size_px),
    )
    specimen.start(0)
    images = []
    for k in range(count):
        t0_ns = round((1 + k * _APART_S) * NS_PER_S)
        t1_ns = t0_ns + round(_EXPOSURE_MS * NS_PER_MS)
        history.set("shutter", t0_ns, 1.0)
        history.set("shutter", t1_ns, 0.0)
        images.append(specimen.expose(view, history, t0_ns, t1_ns))
    return images


def shown(images: list[NDArray[np.uint16]], number: int) -> NDArray[np.uint16]:
    """Which of them stands for the camera's frame of this number."""
    period = 2 * len(images) - 2
    k = number % period if period else 0
    return images[min(k, period - k)]
