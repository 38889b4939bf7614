"""Films of synthetic dividing cells, with where and when they divide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_MS, NS_PER_S, DeviceHistory, Roi
from smartscope.specimen import SpecimenView, make_specimen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.specimen import Division, Truth

# Parts of the time a mitosis takes to the split, and again to the end of separation. A
# rounded nucleus may also be a bright one that does nothing: before the split either
# answer is right.
_SURE_AFTER, _MAYBE_AFTER, _MAYBE_BEFORE = 0.6, 1.0, 0.9


@dataclass(frozen=True, slots=True)
class Mark:
    """A dividing cell in one frame.

    Attributes
    ----------
    y_px, x_px : float
        The cell, or the middle between its daughters.
    diameter_px : float
        Of a typical nucleus.
    sure : bool
        False before and long after the split, when either answer is right.
    """

    y_px: float
    x_px: float
    diameter_px: float
    sure: bool = True


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """A division in a film.

    Attributes
    ----------
    y_px, x_px : float
        Where it splits.
    first_s, last_s : float
        Rounding begins; the daughters have parted.
    """

    y_px: float
    x_px: float
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """Frames of one field, and the truth.

    Attributes
    ----------
    frames : ndarray (t, y, x) uint16
    t_s : ndarray (t,)
    marks : list of list of Mark
        One list for each frame.
    events : list of TrueEvent
        Divisions that begin and end within the film, away from the border.
    diameter_px : float
        Of a typical nucleus.
    maybe : list of TrueEvent
        Cut off by the border, or by the film's beginning or end: finding them is no
        mistake, missing them neither.
    """

    frames: NDArray[np.uint16]
    t_s: NDArray[np.float64]
    marks: list[list[Mark]]
    events: list[TrueEvent]
    diameter_px: float
    maybe: list[TrueEvent]


@dataclass(frozen=True, slots=True)
class Filming:
    """How a film is made.

    Attributes
    ----------
    size_px, frames : int
    interval_s, start_s : float
        Between frames; before the first.
    exposure_ms : float
    pixel_um : float
    cells : mapping
        Parameters of the specimen `dividing_cells`.
    """

    size_px: int = 256
    frames: int = 30
    interval_s: float = 10.0
    start_s: float = 0.0
    exposure_ms: float = 50.0
    pixel_um: float = 1.0
    cells: Mapping[str, Any] | None = None


def random_filming(random: np.random.Generator, *, size_px: int = 256) -> Filming:
    """Draw optics, light, noise, biology and pace for one film."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    nucleus_um = float(random.uniform(6.5, 10))
    pixel_um = nucleus_um * 2 / log_uniform(12, 36)
    side_um = size_px * pixel_um * 1.3
    mitosis_s = log_uniform(60, 300)
    interval_s = mitosis_s * log_uniform(0.06, 0.8)
    share = log_uniform(0.02, 0.45)
    photons = log_uniform(4, 200)
    cells = {
        "area_um": (side_um, side_um),
        "cells": max(2, round(share * side_um**2 / (np.pi * nucleus_um**2))),
        "nucleus_um": nucleus_um,
        "mitosis_s": mitosis_s,
        # About one division of each cell in a film: enough to learn from.
        "cell_cycle_s": max(mitosis_s * 10, 30 * interval_s),
        "separation_um": nucleus_um * float(random.uniform(1.8, 3.2)),
        "speed_um_s": log_uniform(0.002, 0.3) * nucleus_um / interval_s,
        "photons_per_ms": photons / 50,
        "background_photons_per_ms": photons / 50 * log_uniform(0.01, 0.6),
        "autofluorescence": float(random.uniform(0, 0.15)),
        "brightness_spread": float(random.uniform(0.05, 0.5)),
        "texture": float(random.uniform(0, 1)),
        "psf_um": pixel_um * float(random.uniform(0.6, 1.8)),
        "z_spread_um": float(random.uniform(0, 3)),
        "vignetting": float(random.uniform(0, 0.3)),
        "bleach_half_dose": log_uniform(300, 1e5),
        "harm_dose": 1e5 if random.random() < 0.7 else 60.0,
        "drift_um_s": tuple(
            random.normal(0, 0.02, 3) * pixel_um / interval_s * [10, 10, 1]
        ),
        "camera": {
            "offset_adu": float(random.uniform(0, 500)),
            "gain_e_per_adu": log_uniform(0.25, 2),
            "read_noise_e": float(random.uniform(1, 3)),
        },
    }
    return Filming(
        size_px=size_px,
        frames=30,
        interval_s=interval_s,
        start_s=float(random.uniform(0, 10 * interval_s)),
        pixel_um=pixel_um,
        cells=cells,
    )


def make_film(filming: Filming, seed: int) -> Film:
    """Render a film of the specimen `dividing_cells`; a seed gives the same pixels."""
    cells = {**(filming.cells or {}), "sensor_um_per_px": filming.pixel_um}
    specimen = make_specimen("dividing_cells", seed=seed, parameters=cells)
    side = filming.size_px
    view = SpecimenView(
        shape=(side, side), roi=Roi(0, 0, side, side), sensor_shape=(side, side)
    )
    history = DeviceHistory()
    for key in ("x_um", "y_um", "z_um", "shutter"):
        history.set(key, 0, 0.0)
    specimen.start(0)
    times, frames, truths = [], [], []
    exposure_ns = round(filming.exposure_ms * NS_PER_MS)
    for number in range(filming.frames):
        t_s = filming.start_s + number * filming.interval_s
        begin = round(t_s * NS_PER_S)
        history.set("shutter", begin, 1.0)
        history.set("shutter", begin + exposure_ns, 0.0)
        frames.append(specimen.expose(view, history, begin, begin + exposure_ns))
        times.append(t_s)
        truths.append(specimen.truth(begin))
    mitosis_s = float(cells.get("mitosis_s", 240.0))
    end = specimen.truth(round((times[-1] + 2 * mitosis_s) * NS_PER_S))
    place = _Place(filming, 2 * float(cells.get("nucleus_um", 8.0)) / filming.pixel_um)
    marks = [_marks(truth, end.divisions, place, mitosis_s) for truth in truths]
    events, maybe = _events(end.divisions, place, mitosis_s, times)
    return Film(
        np.stack(frames), np.array(times), marks, events, place.diameter_px, maybe
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """From sample to image: the stage stands at 0 and the sensor is not turned."""

    filming: Filming
    diameter_px: float

    def __call__(self, x_um: float, y_um: float) -> tuple[float, float]:
        middle = (self.filming.size_px - 1) / 2
        scale = self.filming.pixel_um
        return y_um / scale + middle, x_um / scale + middle

    def inside(self, y: float, x: float, margin: float) -> bool:
        side = self.filming.size_px
        return margin <= min(y, x) and max(y, x) < side - margin


def _marks(
    truth: Truth, divisions: tuple[Division, ...], place: _Place, mitosis_s: float
) -> list[Mark]:
    row = {int(cell): k for k, cell in enumerate(truth.cell_id)}
    filming = place.filming
    # However slow the film: the first frame that shows both daughters counts.
    sure_s = max(_SURE_AFTER * mitosis_s, filming.interval_s)
    found = []
    for division in divisions:
        after_s = truth.t_s - (division.onset_s + mitosis_s)
        if after_s < -_MAYBE_BEFORE * mitosis_s:
            continue
        if after_s > max(_MAYBE_AFTER * mitosis_s, sure_s):
            continue
        members = [c for c in (division.parent_id, *division.daughters) if c in row]
        if not members:
            continue
        at = [row[c] for c in members]
        y, x = place(float(truth.x_um[at].mean()), float(truth.y_um[at].mean()))
        found.append(Mark(y, x, place.diameter_px, 0 <= after_s < sure_s))
    return found


def _events(
    divisions: tuple[Division, ...],
    place: _Place,
    mitosis_s: float,
    times: list[float],
) -> tuple[list[TrueEvent], list[TrueEvent]]:
    sure: list[TrueEvent] = []
    maybe: list[TrueEvent] = []
    for division in divisions:
        y, x = place(division.x_um, division.y_um)
        if not place.inside(y, x, -place.diameter_px):
            continue
        first, last = division.onset_s, division.onset_s + 2 * mitosis_s
        if last < times[0] or first > times[-1]:
            continue
        event = TrueEvent(y, x, first, last)
        split = division.onset_s + mitosis_s
        whole = first >= times[0] and split <= times[-1]
        whole &= place.inside(y, x, place.diameter_px / 2)
        (sure if whole else maybe).append(event)
    return sure, maybe
