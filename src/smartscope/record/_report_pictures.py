"""Film strips of events, and the frame under the sample map, cut from the record."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import PixelMap, decode
from smartscope.record._ngff import LEVEL, chunk_file, image_folder
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
_FRAME = re.compile(rb'"kind":\s*"(frame|placed)".*?"frame_id":\s*(\d+)')
_HEAD_BYTES = 160

Entries = dict[int, dict[str, Any]]


def frame_entries(run: RunFolder, wanted: set[int]) -> Entries:
    """Journal lines of these frames, by frame id."""
    found: Entries = {}
    if not wanted:
        return found
    with (run.path / "journal.jsonl").open("rb") as file:
        for line in file:
            # Parsing every line again would take longer than all the rest.
            named = _FRAME.search(line, 0, _HEAD_BYTES)
            if named is None or int(named[2]) not in wanted:
                continue
            with contextlib.suppress(ValueError):  # cut off by a crash
                entry = json.loads(line)
                # Pixels that somebody asked for later are placed later.
                known = found.setdefault(entry["frame_id"], entry)
                known["array"], known["at"] = entry["array"], entry["at"]
    return {k: entry for k, entry in found.items() if entry["kind"] == "frame"}


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
        image = _image(run, entry)
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
    run: RunFolder, t_s: float, entry: Mapping[str, Any] | None
) -> Backdrop | None:
    """One frame, shrunk, with the matrix that lays it into the sample."""
    image = _image(run, entry)
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


def picture(
    run: RunFolder, entry: Mapping[str, Any] | None
) -> tuple[NDArray[np.uint8], int] | None:
    """One frame, 8 bit and shrunk, and every how many pixels of it were kept."""
    image = _image(run, entry)
    if image is None:
        return None
    small, step = shrunk(image, BACKDROP_PX)
    return stretched([small])[0], step


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


def _image(run: RunFolder, entry: Mapping[str, Any] | None) -> NDArray[Any] | None:
    # `run.image` would keep what the journal says about every frame.
    if entry is None or entry["array"] is None:
        return None
    name, at = entry["array"], tuple(entry["at"])
    # A crashed run may know a frame whose pixels never reached the disk.
    if not chunk_file(image_folder(run.path, name) / LEVEL, at).is_file():
        return None
    try:
        return np.asarray(run.images[name][at].read().result())
    except Exception:  # tensorstore raises by status, without a base class
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
