"""Film strips of events, and the frame under the sample map, cut from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import PixelMap, RecordError, decode
from smartscope.record._report_facts import Backdrop, Thumb
from smartscope.record._report_png import cut, shrunk, stretched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.record._folder import RunFolder
    from smartscope.record._report_gather import FrameSeries, Sight

BEFORE, AFTER = 2, 5
STRIP_UM = 40.0
MIN_PX, MAX_PX = 24, 72
BACKDROP_PX = 320

Entries = dict[int, "Mapping[str, Any]"]


def frame_entries(run: RunFolder, wanted: set[int]) -> Entries:
    """Journal lines of these frames, by frame id."""
    found: Entries = {}
    for entry in run.entries("frame"):
        if entry["frame_id"] in wanted:
            found[entry["frame_id"]] = entry
    return found


def strip_frames(sight: Sight, row: FrameSeries) -> list[int]:
    """Rows of `row` that show an event: two before, the onset, then over its course."""
    count = len(row.t_s)
    if not count:
        return []
    t_s = np.frombuffer(row.t_s, dtype=np.float64)
    start = min(int(np.searchsorted(t_s, sight.onset_s - 1e-9)), count - 1)
    over = int(np.searchsorted(t_s, sight.last_s, side="right")) - 1
    last = min(count - 1, max(over, start + AFTER))
    later = {round(i) for i in np.linspace(start, last, AFTER + 1)}
    return sorted({*range(max(0, start - BEFORE), start), *later})


def film_strip(
    run: RunFolder, sight: Sight, row: FrameSeries, entries: Entries
) -> tuple[Thumb, ...]:
    """Cut-outs around the place of an event, with one common contrast."""
    cuts: list[tuple[NDArray[Any], bool, int]] = []
    for i in strip_frames(sight, row):
        entry = entries.get(row.frame_id[i])
        image = _image(run, row.frame_id[i])
        if entry is None or image is None:
            continue
        y_px, x_px, pixel_um = place_of(entry, sight.x_um, sight.y_um)
        side = int(np.clip(STRIP_UM / pixel_um, MIN_PX, MAX_PX))
        part, centred = cut(image, y_px, x_px, side)
        cuts.append((part, centred, i))
    return tuple(
        Thumb(
            pixels=pixels,
            after_s=row.t_s[i] - sight.onset_s,
            reaction=bool(row.reaction[i]),
            centred=centred,
        )
        for pixels, (_, centred, i) in zip(
            stretched([c[0] for c in cuts]), cuts, strict=True
        )
    )


def backdrop(
    run: RunFolder, frame_id: int, t_s: float, entry: Mapping[str, Any] | None
) -> Backdrop | None:
    """One frame, shrunk, with the matrix that lays it into the sample."""
    image = _image(run, frame_id)
    if image is None or entry is None:
        return None
    pixel_map, x_um, y_um = _geometry(entry)
    small, step = shrunk(image, BACKDROP_PX)
    (a, b), (c, d) = pixel_map.matrix
    # A picture is drawn from the corner of its first pixel; ours count from centres.
    corner = pixel_map.to_sample((-0.5, -0.5), x_um, y_um)
    return Backdrop(
        pixels=stretched([small])[0],
        matrix=(
            a * step,
            c * step,
            b * step,
            d * step,
            float(corner[0]),
            float(corner[1]),
        ),
        t_s=t_s,
    )


def wanted_frames(
    sights: Iterable[Sight], series: Mapping[Any, FrameSeries]
) -> set[int]:
    """Ids of all frames the film strips of `sights` need."""
    return {
        series[s.series].frame_id[i]
        for s in sights
        if s.series in series
        for i in strip_frames(s, series[s.series])
    }


def best_sights(sights: Sequence[Sight], most: int) -> list[Sight]:
    """Return the surest ones, in order of time."""
    return sorted(
        sorted(sights, key=lambda s: -s.score)[:most], key=lambda s: s.onset_s
    )


def _image(run: RunFolder, frame_id: int) -> NDArray[Any] | None:
    # A crashed run may know a frame whose pixels never reached the disk.
    try:
        return run.image(frame_id)
    except RecordError:
        return None


def _geometry(entry: Mapping[str, Any]) -> tuple[PixelMap, float, float]:
    state = entry["state"]
    x_um, y_um = state.get("x_um") or 0.0, state.get("y_um") or 0.0
    return decode(PixelMap, entry["pixel_map"]), x_um, y_um


def place_of(
    entry: Mapping[str, Any], x_um: float, y_um: float
) -> tuple[float, float, float]:
    """``(y_px, x_px, pixel_um)`` of a place of the sample in a frame."""
    pixel_map, stage_x_um, stage_y_um = _geometry(entry)
    y_px, x_px = pixel_map.to_image((x_um, y_um), stage_x_um, stage_y_um)
    return float(y_px), float(x_px), pixel_map.pixel_um
