from __future__ import annotations

import numpy as np
import pytest

from smartscope.core import NS_PER_MS, NS_PER_S, DeviceHistory, Orientation, Roi
from smartscope.specimen import SpecimenView, make_specimen

PLAIN = {
    "cells": 1,
    "speed_um_s": 0.0,
    "texture": 0.0,
    "vignetting": 0.0,
    "autofluorescence": 0.0,
    "brightness_spread": 0.0,
    "z_spread_um": 0.0,
    "drift_um_s": (0.0, 0.0, 0.0),
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
    "cell_cycle_s": 1e9,
}
"""One smooth cell that does nothing."""


def full_view(side=256, **changes):
    """A square sensor read out whole."""
    sensor = changes.pop("sensor_shape", (side, side))
    roi = changes.pop("roi", Roi(0, 0, sensor[1], sensor[0]))
    binning = changes.get("binning", 1)
    orientation = changes.get("orientation", Orientation())
    shape = (roi.height_px // binning, roi.width_px // binning)
    if orientation.transpose:
        shape = shape[::-1]
    return SpecimenView(shape=shape, roi=roi, sensor_shape=sensor, **changes)


class Bench:
    """A specimen with devices in a history of its own; times in s."""

    def __init__(
        self, seed=3, view=None, shutter=True, kind="dividing_cells", **parameters
    ):
        self.view = view or full_view()
        self.specimen = make_specimen(kind, seed=seed, parameters=parameters)
        self.history = DeviceHistory()
        for key in ("x_um", "y_um", "z_um"):
            self.history.set(key, 0, 0.0)
        if shutter:
            self.history.set("shutter", 0, 0)
        self.specimen.start(0)

    def set(self, t_s, **values):
        for key, value in values.items():
            self.history.set(key, round(t_s * NS_PER_S), value)

    def light(self, t0_s, t1_s):
        self.set(t0_s, shutter=1)
        self.set(t1_s, shutter=0)

    def expose(self, t_s, ms=20.0, view=None):
        t0 = round(t_s * NS_PER_S)
        return self.specimen.expose(
            view or self.view, self.history, t0, t0 + round(ms * NS_PER_MS)
        )

    def snap(self, t_s, ms=20.0, view=None):
        """Expose with the shutter open just then."""
        self.light(t_s, t_s + ms / 1000)
        return self.expose(t_s, ms, view)

    def truth(self, t_s):
        return self.specimen.truth(round(t_s * NS_PER_S))


class Helpers:
    PLAIN = PLAIN
    Bench = Bench
    full_view = staticmethod(full_view)

    @staticmethod
    def photons(image, background=0.0, gain=0.5, offset=100.0):
        """Electrons above background, summed."""
        return float((image.astype(float) - offset).sum() * gain) - background

    @staticmethod
    def moments(image, floor):
        """Centroid (y, x) and variances (y, x) of what is above `floor`."""
        weight = np.clip(image.astype(float) - floor, 0, None)
        y, x = np.indices(image.shape)
        total = weight.sum()
        cy, cx = (weight * y).sum() / total, (weight * x).sum() / total
        vy = (weight * (y - cy) ** 2).sum() / total
        vx = (weight * (x - cx) ** 2).sum() / total
        return (cy, cx), (vy, vx)


@pytest.fixture
def lab():
    return Helpers
