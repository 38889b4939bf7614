"""The classical stages on the same films, and recordings with true lineages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from smartscope.core import NS_PER_S, ConfigError, Frame, HardwareState, PixelMap, View
from smartscope.training._divisions_films import Film, TrueEvent
from smartscope.training._divisions_score import EventScores, Sighting, score_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.core import Event

    Links = NDArray[np.integer]

_SCALE_UM = 16.0
"""The classical stages are set for nuclei of this diameter: films are told so."""


def classical_sightings(film: Film) -> list[Sighting]:
    """Mitoses that ``background, segment, measure, track, mitosis`` report in a film.

    Raises
    ------
    ConfigError
        The stages cannot be built.
    """
    from pathlib import Path

    from smartscope.config import StageUse
    from smartscope.vision import build_pipeline

    step_s = float(np.diff(film.t_s).mean()) if len(film.t_s) > 1 else 1.0
    uses = [
        StageUse(use="background", parameters={"radius_um": 2 * _SCALE_UM}),
        StageUse(use="segment"),
        StageUse(use="measure"),
        StageUse(use="track"),
        StageUse(use="mitosis", parameters={"max_duration_s": 30 * step_s}),
    ]
    pipeline = build_pipeline(uses, seed=0, base_dir=Path(), channels=("light",))
    pixel_um = _SCALE_UM / film.diameter_px
    known: dict[int, Sighting] = {}
    for frame, t_s in _as_frames(film, pixel_um):
        seen = pipeline.see(frame, t_s)
        for event in seen.events if seen is not None else ():
            known[event.event_id] = _merged(known.get(event.event_id), event, film, t_s)
    return list(known.values())


def _as_frames(film: Film, pixel_um: float) -> Iterator[tuple[Frame, float]]:
    state = HardwareState(x_um=0.0, y_um=0.0, z_um=0.0, channel="light")
    pixel_map = PixelMap(((pixel_um, 0.0), (0.0, pixel_um)), _middle(film)[::-1])
    for number, (pixels, t_s) in enumerate(zip(film.frames, film.t_s, strict=True)):
        now = round(float(t_s) * NS_PER_S)
        yield (
            Frame(
                frame_id=number,
                pixels=pixels,
                view=View(),
                index={"t": number},
                t_exposed_ns=now,
                t_received_ns=now,
                t_published_ns=now,
                state=state,
                pixel_map=pixel_map,
                group=(number,),
            ),
            float(t_s),
        )


def _middle(film: Film) -> tuple[float, float]:
    height, width = film.frames.shape[1:]
    return (height - 1) / 2, (width - 1) / 2


def _merged(before: Sighting | None, event: Event, film: Film, t_s: float) -> Sighting:
    scale = film.diameter_px / _SCALE_UM
    middle = _middle(film)
    here = Sighting(
        event.y_um * scale + middle[0],
        event.x_um * scale + middle[1],
        event.onset_s,
        t_s,
        event.score,
    )
    if before is None or event.score > before.score:
        return here
    return Sighting(before.y_px, before.x_px, before.first_s, t_s, before.score)


def evaluate_classical(films: Sequence[Film]) -> EventScores:
    """Score the classical stages on films."""
    return score_events(films, [classical_sightings(film) for film in films])


def read_recording(folder: Path, diameter_px: float | None = None) -> Film:
    """Read a recording with tracked nuclei; its time is counted in frames.

    ``images.tif`` (t, y, x), ``tracks_labels.tif`` with one number for each nucleus in
    all of its frames, and ``man_track*.txt`` with rows ``number first last parent`` as
    in the Cell Tracking Challenge.

    Raises
    ------
    ConfigError
        A file is missing.
    """
    import tifffile

    tables = sorted(folder.glob("man_track*.txt"))
    for path in (folder / "images.tif", folder / "tracks_labels.tif", *tables[:1]):
        if not path.is_file() or not tables:
            raise ConfigError(
                "is no recording with lineages",
                file=str(folder),
                fix="it needs images.tif, tracks_labels.tif and man_track.txt",
            )
    frames = np.asarray(tifffile.imread(folder / "images.tif"))
    labels = np.asarray(tifffile.imread(folder / "tracks_labels.tif"))
    table = np.loadtxt(tables[0], dtype=np.int64, ndmin=2)
    if diameter_px is None:
        areas = np.bincount(labels[0].ravel())[1:]
        diameter_px = 2 * float(np.sqrt(np.median(areas[areas > 0]) / np.pi))
    events, maybe = lineage_events(labels, table)
    times = np.arange(len(frames), dtype=np.float64)
    none: list[list[object]] = [[] for _ in frames]
    return Film(frames, times, none, events, diameter_px, maybe)  # type: ignore[arg-type]


def lineage_events(
    labels: Links, table: Links
) -> tuple[list[TrueEvent], list[TrueEvent]]:
    """Divisions of tracked nuclei; in the second list those not seen whole.

    A division lasts from the last frame of the mother to the first of the daughters,
    and lies in the middle of the three.

    Parameters
    ----------
    labels : ndarray (t, y, x)
        One number for each nucleus.
    table : ndarray (n, 4)
        Number, first frame, last frame, number of the parent or 0.
    """
    sure: list[TrueEvent] = []
    maybe: list[TrueEvent] = []
    for parent in np.unique(table[table[:, 3] > 0, 3]):
        young = table[table[:, 3] == parent]
        first = int(young[:, 1].min())
        if not 0 < first < len(labels):
            continue
        places = [_centre(labels[first], int(one)) for one in young[:, 0]]
        mother = _centre(labels[first - 1], int(parent))
        there = [place for place in (*places, mother) if place is not None]
        if not there:
            continue
        y, x = np.mean(there, axis=0)
        event = TrueEvent(float(y), float(x), first - 1.0, float(first))
        whole = len(places) == 2 and len(there) == 3
        (sure if whole else maybe).append(event)
    return sure, maybe


def _centre(labels: Links, number: int) -> tuple[float, float] | None:
    if not (labels == number).any():
        return None
    y, x = ndimage.center_of_mass(labels == number)
    return float(y), float(x)
