"""Parts that the tests of the record share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.config import RecordConfig
from smartscope.core import (
    Detections,
    Event,
    Frame,
    HardwareState,
    Observation,
    Pictures,
    PixelMap,
    Roi,
    Track,
    View,
    VirtualClock,
)
from smartscope.record import ImageLayout, RunWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STARTED = datetime(2026, 11, 22, 14, 5, 3, tzinfo=UTC)


def make_writer(
    parent: Path,
    layouts: Sequence[ImageLayout] = (),
    *,
    name: str = "film divisions",
    **config: Any,
) -> RunWriter:
    # Patience far beyond any hiccup of the machine: only tests of the backlog set it.
    settings = {"max_backlog_s": 60.0} | config
    return RunWriter.create(
        parent,
        name,
        experiment_yaml="name: film\n",
        rig_yaml="name: demo\n",
        header={"version": "0"},
        config=RecordConfig(**settings),
        layouts=layouts,
        clock=VirtualClock(),
        started=STARTED,
    )


def layout(**changes: Any) -> ImageLayout:
    fields: dict[str, Any] = {
        "name": "pos0",
        "sizes": {"t": 4, "c": 2},
        "shape_yx": (24, 32),
        "channels": ("FITC", "DAPI"),
        "pixel_um": 0.5,
        "time_interval_s": 2.0,
    }
    return ImageLayout(**(fields | changes))


def pixels(seed: int, shape: tuple[int, int] = (24, 32), dtype: str = "uint16") -> Any:
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    return rng.integers(0, top, shape, dtype=dtype, endpoint=True)


def make_frame(frame_id: int, image: Any, position: int = 0, **changes: Any) -> Frame:
    state = HardwareState(
        x_um=1.5,
        channel="FITC",
        power_percent={"488": 12.5},
        roi_px=Roi(0, 0, image.shape[1], image.shape[0]),
    )
    fields: dict[str, Any] = {
        "frame_id": frame_id,
        "pixels": image,
        "view": View(position, "Camera"),
        "t_exposed_ns": 1000 * frame_id,
        "t_received_ns": 1000 * frame_id + 1,
        "t_published_ns": 1000 * frame_id + 2,
        "state": state,
        "pixel_map": PixelMap(((0.5, 0.0), (0.0, -0.5)), (15.5, 11.5)),
        "image_number": frame_id,
        "group": ("plan", frame_id),
    }
    return Frame(**(fields | changes))


def observation(
    number: int,
    frame_ids: tuple[int, ...],
    *,
    labels: Any = None,
    features: Sequence[str] = ("mean_FITC",),
    objects: int = 2,
) -> Observation:
    ramp = np.arange(objects, dtype=np.float64)
    return Observation(
        number=number,
        view=View(0, "Camera"),
        frame_ids=frame_ids,
        t_ns=number,
        t_s=float(number),
        detections=Detections(
            label=np.arange(1, objects + 1),
            y_px=ramp,
            x_px=ramp + 0.1,
            x_um=ramp,
            y_um=ramp,
            area_um2=ramp + 1,
            score=ramp / 3,
            features=dict.fromkeys(features, ramp + number),
        ),
        tracks=tuple(
            Track(
                track_id=k + 1,
                state="active",
                x_um=float(k),
                y_um=0.5,
                detection=k,
                features=dict.fromkeys(features, 1.0 / (k + 3)),
            )
            for k in range(objects)
        ),
        events=(
            Event(
                event_id=number,
                kind="mitosis",
                score=0.9,
                state="onset",
                onset_s=float(number),
                x_um=1.0,
                y_um=2.0,
                track_id=1,
            ),
        ),
        pictures=Pictures(labels=labels),
    )
