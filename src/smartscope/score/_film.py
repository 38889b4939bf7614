"""From the folder of a finished run to its measures."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_S, PixelMap, RecordError, decode
from smartscope.score import _measures as measures
from smartscope.score._match import Happened, Place, Reported, match
from smartscope.score._target import of_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.config import ScoreConfig
    from smartscope.record import RunFolder
    from smartscope.score._match import Matched
    from smartscope.score._measures import Part

_DONE = ("applied", "scheduled")


@dataclass(frozen=True, slots=True, eq=False)
class Sights:
    """Complete groups of frames, in order of time; arrays (n,) or (n, 2).

    Attributes
    ----------
    t_s : ndarray (n,)
        Exposure start of the last frame of the group, s of the run.
    position : ndarray (n,) int
    centre_um, half_um : ndarray (n, 2)
        Middle of the field, and half sides of the upright box around it, ``(x, y)``.
    to_field : ndarray (n, 2, 2)
        Takes a way from the middle, um, to half sides of the field, which may be
        turned: within -1 and 1 it is in the field.
    z_um : ndarray (n,)
        Focus position; nan without one.
    planned : ndarray (n,) bool
        Whether the plan asked for it, not a reaction.
    """

    t_s: NDArray[np.float64]
    position: NDArray[np.int64]
    centre_um: NDArray[np.float64]
    half_um: NDArray[np.float64]
    to_field: NDArray[np.float64]
    z_um: NDArray[np.float64]
    planned: NDArray[np.bool_]

    def of(self, position: int) -> Sights:
        """Those of one stage position."""
        here = self.position == position
        return Sights(*(getattr(self, one.name)[here] for one in fields(self)))

    def places(self) -> tuple[Place, ...]:
        """Fields of the plan, one for each stage position."""
        found = []
        for position in np.unique(self.position[self.planned]).tolist():
            here = self.planned & (self.position == position)
            centre = np.median(self.centre_um[here], axis=0)
            half = np.median(self.half_um[here], axis=0)
            found.append(Place(*centre.tolist(), *half.tolist()))
        return tuple(found)

    def sees(self, event: Happened) -> NDArray[np.bool_]:
        """Whether the place of an event lies in the field, for each sight."""
        away_um = np.array([event.x_um, event.y_um]) - self.centre_um
        return measures.inside(away_um, self.to_field)


@dataclass(frozen=True, slots=True)
class Course:
    """What a picture of one run shows: times in s.

    Attributes
    ----------
    events : tuple of (onset, end)
        True ones that had to be found.
    found : tuple of bool
        Which of them were.
    fast : tuple of (begin, end)
        When the target rate was filmed.
    last_s : float
    """

    events: tuple[tuple[float, float], ...] = ()
    found: tuple[bool, ...] = ()
    fast: tuple[tuple[float, float], ...] = ()
    last_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Film:
    """One run: an arm on one specimen.

    Attributes
    ----------
    arm : str
    seed : int
    problem : str
        Why there is nothing to count; empty for a good run.
    parts : mapping of measure to (numerator, denominator)
        Only measures that mean something for the scenario.
    dose_unit : str
        Unit of ``dose``.
    course : Course
    """

    arm: str
    seed: int
    problem: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    dose_unit: str = ""
    course: Course = field(default_factory=Course)


def read_film(run: RunFolder, score: ScoreConfig, *, arm: str, seed: int) -> Film:
    """Measure a finished run of a specimen.

    Parameters
    ----------
    run : RunFolder
        With the truth saved beside it.
    score : ScoreConfig
    arm : str
    seed : int

    Raises
    ------
    RecordError
        If the folder lacks the truth.
    """
    frames = list(run.entries("frame"))
    if not frames:
        return Film(arm, seed, "the run took no frame")
    sights = _sights(frames, _start_ns(run))
    truth = _columns(run, "truth")
    parts: dict[str, Part] = {
        "frames": (float(len(frames)), 1.0),
        "megabytes": (sum(map(_bytes, frames)) / 1e6, 1.0),
        **_of_cells(truth),
        **_of_focus(run, sights, score),
        **of_target(truth, sights, score.target),
        **_of_level(run, truth, score),
        **_of_path(truth, score),
    }
    snr = _measurement(run, "signal_to_noise")
    parts["snr_held"] = measures.snr_held(snr, score.snr_within)
    dose, unit = _dose(run)
    parts["dose"] = (dose, 1.0)
    course = Course(last_s=float(sights.t_s[-1]))
    if score.trigger is not None:
        of_events, course = _of_events(run, sights, score)
        parts.update(of_events)
        parts["dose_per_event"] = (dose, parts["recall"][0])
    return Film(arm, seed, parts=_meant(parts), dose_unit=unit, course=course)


def _meant(parts: Mapping[str, Part]) -> dict[str, Part]:
    return {name: part for name, part in parts.items() if part != measures.NO_PART}


# --- reading


def _sights(frames: Sequence[Mapping[str, Any]], start_ns: int) -> Sights:
    rows = [
        ((frame["t_exposed_ns"] - start_ns) / NS_PER_S, *_where(frame))
        for frame in frames
        if frame["last_of_group"]
    ]
    rows.sort(key=lambda row: row[0])
    return Sights(*(np.array(column) for column in zip(*rows, strict=True)))


def _bytes(frame: Mapping[str, Any]) -> int:
    height, width = frame["shape"]
    return int(height * width * np.dtype(frame["dtype"]).itemsize)


def _start_ns(run: RunFolder) -> int:
    for entry in run.entries("start"):
        return int(entry["start_ns"])
    raise RecordError(f"{run.path} has no start; the run was cut off before it began")


def _where(frame: Mapping[str, Any]) -> tuple[Any, ...]:
    """Position, middle, half sides, turn, focus, and whether it was planned."""
    state, shape = frame["state"], tuple(frame["shape"])
    pixels = decode(PixelMap, frame["pixel_map"])
    x_um, y_um = state["x_um"] or 0.0, state["y_um"] or 0.0
    centre = pixels.centre_sample(shape, x_um, y_um)
    corner_um = np.array(pixels.matrix) * (shape[1] / 2, shape[0] / 2)
    z_um = state["z_um"]
    return (
        frame["view"]["position"],
        tuple(centre),
        tuple(np.abs(corner_um).sum(axis=1).tolist()),
        np.linalg.inv(corner_um),
        np.nan if z_um is None else z_um,
        frame["cause"] == "plan",
    )


def _columns(run: RunFolder, table: str) -> dict[str, NDArray[Any]]:
    rows = run.table(table)
    return {name: rows[name].to_numpy() for name in rows.column_names}


def _measurement(run: RunFolder, name: str) -> NDArray[np.float64]:
    seen = (entry["observation"] for entry in run.entries("observation"))
    found = [sight["measurements"].get(name, np.nan) for sight in seen]
    return np.array(found, dtype=np.float64)


def _dose(run: RunFolder) -> tuple[float, str]:
    """Light on the field, and its unit."""
    total = ((run.end or {}).get("dose") or {}).get("total") or {}
    return float(total.get("value", 0.0)), str(total.get("unit", ""))


# --- measuring


def _of_events(
    run: RunFolder, sights: Sights, score: ScoreConfig
) -> tuple[dict[str, Part], Course]:
    events = happened(run, score.true_kind or "")
    reports = _reported(run, score.trigger or "")
    places, last_s = sights.places(), float(sights.t_s[-1])
    matched = match(events, reports, score.window, places, last_s)
    near = [e for e in events if any(p.holds(e.x_um, e.y_um) for p in places)]
    parts = {
        "recall": measures.recall(matched),
        "precision": measures.precision(len(reports), matched),
        "reported_after_s": measures.reported_after_s(matched),
        "busy": measures.busy(near, 0.0, last_s),
        "lasting_s": (
            float(sum(e.end_s - e.onset_s for e in matched.asked)),
            float(len(matched.asked)),
        ),
    }
    if score.fast_interval_s is None:
        parts["reacted_after_s"] = measures.acted_after_s(matched, _acted(run))
        return parts, _course(matched, np.empty((0, 2)), last_s)
    of_rate, spans = _of_rate(sights, matched, score.fast_interval_s)
    return {**parts, **of_rate}, _course(matched, spans, last_s)


def _of_rate(
    sights: Sights, matched: Matched, interval_s: float
) -> tuple[dict[str, Part], NDArray[np.float64]]:
    """Coverage, reaction and duty, position by position."""
    names = ("coverage", "reacted_after_s", "duty")
    total = dict.fromkeys(names, measures.NO_PART)
    spans = []
    for position in np.unique(sights.position).tolist():
        here = sights.of(position)
        seen = [(e, here.sees(e)) for e in matched.asked]
        local = [(e, sees) for e, sees in seen if sees.any()]
        events = [e for e, _ in local]
        got = (
            measures.coverage(events, here.t_s, [s for _, s in local], interval_s),
            measures.reacted_after_s(events, here.t_s, interval_s),
            measures.duty(here.t_s, interval_s),
        )
        for name, part in zip(names, got, strict=True):
            total[name] = (total[name][0] + part[0], total[name][1] + part[1])
        spans.append(measures.fast_spans(here.t_s, interval_s))
    return total, np.concatenate(spans)


def _course(matched: Matched, spans: NDArray[np.float64], last_s: float) -> Course:
    return Course(
        events=tuple((e.onset_s, e.end_s) for e in matched.asked),
        found=tuple(report is not None for report in matched.reports),
        fast=tuple((float(a), float(b)) for a, b in spans),
        last_s=last_s,
    )


def happened(run: RunFolder, kind: str) -> list[Happened]:
    """Return the true events of one kind that began, by the truth beside a run."""
    table = _columns(run, "true_events")
    rows = zip(
        table["kind"],
        *(
            table[name].astype(float).tolist()
            for name in ("onset_s", "end_s", "x_um", "y_um")
        ),
        strict=True,
    )
    return [
        Happened(onset_s, inf if np.isnan(end_s) else end_s, x_um, y_um)
        for its, onset_s, end_s, x_um, y_um in rows
        if its == kind and np.isfinite(onset_s)
    ]


def _reported(run: RunFolder, kind: str) -> list[Reported]:
    """Events as they were first reported."""
    first: dict[tuple[int, int], Reported] = {}
    for row in run.events().to_pylist():
        key = (row["position"], row["event_id"])
        if row["kind"] == kind and key not in first:
            first[key] = Reported(
                row["t_s"], row["x_um"], row["y_um"], row["event_id"], row["position"]
            )
    return list(first.values())


def _acted(run: RunFolder) -> list[tuple[int, int, float]]:
    """Position and event of every executed action about one, and when."""
    start_ns = _start_ns(run)
    done = {o.action_id: o for o in run.outcomes if o.status in _DONE}
    found = []
    for decision in run.decisions:
        for request in decision.requests:
            event_id, outcome = request.action.event_id, done.get(request.action_id)
            if event_id is not None and outcome is not None:
                t_ns = outcome.t_ns.get("applied", request.t_decided_ns)
                t_s = (t_ns - start_ns) / NS_PER_S
                found.append((request.view.position, event_id, t_s))
    return sorted(found, key=lambda row: row[2])


def _of_cells(truth: Mapping[str, NDArray[Any]]) -> dict[str, Part]:
    last = truth["t_s"] == truth["t_s"].max(initial=-inf)
    dose = truth["dose"][last]
    lit = dose > 0
    return {
        "alive": (float(truth["alive"][last].sum()), 1.0),
        "dose_per_cell": (float(dose[lit].sum()), float(lit.sum())),
    }


def _of_focus(run: RunFolder, sights: Sights, score: ScoreConfig) -> dict[str, Part]:
    if score.depth_um is None:
        return {}
    looks = _columns(run, "true_sample")
    # A sweep leaves the focus on purpose.
    t_s, z_um = sights.t_s[sights.planned], sights.z_um[sights.planned]
    plane_um = np.interp(t_s, looks["t_s"], looks["focus_plane_um"])
    return measures.focus(z_um, plane_um, score.depth_um)


def _of_level(
    run: RunFolder, truth: Mapping[str, NDArray[Any]], score: ScoreConfig
) -> dict[str, Part]:
    wanted = score.level
    if wanted is None:
        return {}
    if wanted.of in truth:
        alive = truth["alive"].astype(bool)
        t_s, which = np.unique(truth["t_s"][alive], return_inverse=True)
        values = np.bincount(which, truth[wanted.of][alive]) / np.bincount(which)
    else:
        looks = _columns(run, "true_sample")
        if wanted.of not in looks:
            known = sorted({*truth, *looks} - {"t_s"})
            raise RecordError(
                f"the truth of {run.path} has no '{wanted.of}' (score.level.of); "
                f"it has {', '.join(known)}"
            )
        t_s, values = looks["t_s"], looks[wanted.of]
    settled = values[t_s >= wanted.settle_s]
    return measures.level(settled, wanted.target, wanted.within)


def _of_path(truth: Mapping[str, NDArray[Any]], score: ScoreConfig) -> dict[str, Part]:
    if score.path is None:
        return {}
    one = truth["cell_id"] == score.path.object_id
    places = np.stack([truth["x_um"][one], truth["y_um"][one]], axis=1)
    if not len(places):
        return {}
    corners = np.array([(0.0, 0.0), *score.path.points_um])
    return measures.on_path(places - places[0], corners, score.path.within_um)
