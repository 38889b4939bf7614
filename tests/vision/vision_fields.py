"""Made-up fields with known truth, and frames around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import StageUse
from smartscope.core import Frame, HardwareState, PixelMap, View
from smartscope.vision import build_pipeline

ONE_UM = PixelMap(((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0))


def field(points_yx, *, shape=(160, 200), radius=7.0, height=300.0, noise=5.0, seed=0):
    """Soft disks on an offset of 100 counts; `radius` and `height` may be lists."""
    y, x = np.indices(shape)
    image = np.full(shape, 100.0)
    n = len(points_yx)
    radii = np.broadcast_to(radius, n)
    heights = np.broadcast_to(height, n)
    for (cy, cx), r, h in zip(points_yx, radii, heights, strict=True):
        edge = np.clip((np.hypot(y - cy, x - cx) - r) / 0.7, -30, 30)
        image += h / (1 + np.exp(edge))
    image += np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def frame(pixels, number=0, **changes):
    """A frame with read-only pixels; takes `channel`, `stage` and Frame fields."""
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    x_um, y_um = changes.pop("stage", (0.0, 0.0))
    channel = changes.pop("channel", "FITC")
    fields = {
        "frame_id": number,
        "pixels": pixels,
        "view": View(),
        "index": {"t": number},
        "t_exposed_ns": number * 1_000_000_000,
        "state": HardwareState(x_um=x_um, y_um=y_um, channel=channel),
        "pixel_map": ONE_UM,
        "group": ("t", number),
    }
    return Frame(**(fields | changes))


def pipeline(*stages, channels=("FITC",), base_dir=Path(), seed=0):
    """Build from what a user would write."""
    uses = [StageUse.model_validate(stage) for stage in stages]
    return build_pipeline(uses, seed=seed, base_dir=base_dir, channels=channels)


def film(pipe, images, *, dt_s=5.0, **changes):
    """Observations of a list of images."""
    return [
        pipe.see(frame(image, number, **changes), number * dt_s)
        for number, image in enumerate(images)
    ]


def track_at(observation, y_px, x_px, *, within=6.0):
    """The track whose detection lies at an image point, or None."""
    found = observation.detections
    for track in observation.tracks:
        row = track.detection
        if row is not None:
            off = np.hypot(found.y_px[row] - y_px, found.x_px[row] - x_px)
            if off <= within:
                return track
    return None
