"""`write_report`: one HTML file that tells what a run did, saw and decided."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from smartscope.core import RecordError
from smartscope.record._journal import read_journal
from smartscope.record._report_facts import (
    Counts,
    DoseFact,
    EventFact,
    Facts,
    FrameTimes,
    MapFact,
    TrackFact,
)
from smartscope.record._report_gather import FrameSeries, Gatherer, Sight, start_ns
from smartscope.record._report_page import page
from smartscope.record._report_patterns import pattern_facts
from smartscope.record._report_pictures import (
    backdrop,
    best_sights,
    film_strip,
    frame_entries,
    wanted_frames,
)
from smartscope.record._report_together import ArmFact
from smartscope.record._report_truth import compare, true_divisions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from smartscope.record._folder import RunFolder

MAX_STRIPS = 12
MAX_MAPS = 4
MAX_TRACKS = 300
MAX_DOSE_POINTS = 2000


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    The file needs nothing else: no network, no scripts. A run that crashed, saw
    nothing or took ten thousand frames has a report too, of bounded size. An earlier
    report is replaced.

    Parameters
    ----------
    run : RunFolder

    Raises
    ------
    RecordError
        If the journal is damaged or the file cannot be written.
    """
    text = page(facts_of(run))
    target = run.path / "report.html"
    unfinished = target.with_suffix(".part")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        os.replace(unfinished, target)
    except OSError as error:
        raise RecordError(
            f"the report {target} cannot be written ({error.strerror or error}); free "
            "space or ask for write permission, then use 'smartscope report'"
        ) from error
    return target


def facts_of(run: RunFolder) -> Facts:
    """Gather everything the report tells about a run."""
    journal = run.path / "journal.jsonl"
    got = Gatherer(start_ns(read_journal(journal))).take(read_journal(journal))
    end = got.end or {}
    experiment, rig = _file(run.experiment_yaml), _file(run.rig_yaml)
    events, maps = _pictured(run, got)
    truth = true_divisions(run, got)
    if truth is not None:
        events = [replace(e, true=bool(truth.near(e).any())) for e in events]
    budget, budget_unit = _budget(experiment)
    return Facts(
        name=str(got.header.get("name") or run.path.name),
        description=str(experiment.get("description") or ""),
        folder=run.path.name,
        started=_started(got.header),
        duration_s=got.last_s,
        outcome=str(end.get("outcome") or ""),
        message=str(end.get("message") or ""),
        setting=_setting(rig, got.header),
        counts=_counts(got),
        frames=_frame_times(got),
        events=tuple(events),
        more_events=dict(got.more_sights),
        decided=got.decided.fact(),
        together=got.together.fact(_arms(got)),
        quiet=got.quiet(),
        dose=_dose(got),
        budget=budget,
        budget_unit=budget_unit,
        maps=maps,
        patterns=pattern_facts(run, got.patterns.last),
        **_timing(got),
        delivery=got.delivery.fact(),
        models=got.models.facts(),
        faults=got.faults.facts(),
        interlocks=got.interlocks.facts(),
        truth=None if truth is None else compare(run, got, events, truth),
        versions=_versions(got.header),
    )


def _started(header: Mapping[str, Any]) -> str:
    return str(header.get("started") or "")[:19].replace("T", ", ")


def _file(text: str) -> Mapping[str, Any]:
    """What a file as run says; nothing when it is damaged, the journal has the rest."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _setting(rig: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    parts = [str(rig.get("name") or "")]
    if rig.get("specimen"):
        parts.append("simulated sample")
    if rig.get("recording"):
        parts.append("recorded pixels")
    clock = header.get("clock") or {}
    kind = clock.get("kind") if isinstance(clock, dict) else clock
    if kind == "scaled":
        parts.append(f"{clock.get('speed', 1):g} times real speed")
    if kind == "virtual":
        parts.append("virtual clock")
    if header.get("shadow"):
        parts.append("shadow: decided, but acted on nothing")
    return ", ".join(part for part in parts if part)


def _counts(got: Gatherer) -> Counts:
    taken = sum(got.roles.values())
    end = got.end or {}
    certain, possible = got.delivery.lost_frames()
    return Counts(
        planned=_whole(end.get("planned", got.header.get("planned"))),
        taken=taken,
        reactions=got.roles["reaction"],
        superseded=_whole(end.get("superseded")) or got.kinds["superseded"],
        failed=got.failed,
        unfinished=max(0, got.intended - taken - got.failed) if got.intended else 0,
        skipped=_whole(end.get("skipped")) or got.skipped or got.kinds["skipped"],
        lost_certain=certain,
        lost_possible=possible,
        stream=bool(got.roles["stream"]),
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _timing(got: Gatherer) -> dict[str, Any]:
    """Durations: the journal's, in real time where the clock has a speed."""
    clock = got.header.get("clock") or {}
    kind = str(clock.get("kind") or "real")
    speed = float(clock.get("speed") or 1.0) if kind == "scaled" else 1.0
    steps, wall = got.timing.steps(speed), {}
    if kind == "virtual":
        # Computing takes no time on such a clock, and a recording has no devices.
        steps = tuple(step for step in steps if step.max > 0)
        wall = dict((got.end or {}).get("latency_ms") or {})
    return {
        "steps": steps,
        "wall": wall,
        "clock_kind": kind,
        "speed": speed,
        "overruns": got.timing.overruns(speed),
    }


def _frame_times(got: Gatherer) -> tuple[FrameTimes, ...]:
    by_position: dict[int, list[FrameSeries]] = {}
    for (position, _, _), row in got.series.items():
        by_position.setdefault(position, []).append(row)
    facts = []
    for position, rows in sorted(by_position.items()):
        t_s = np.concatenate([np.frombuffer(row.t_s) for row in rows])
        reaction = np.concatenate([np.frombuffer(row.reaction, bool) for row in rows])
        facts.append(
            FrameTimes(
                position=position,
                baseline_s=np.sort(t_s[~reaction]),
                reaction_s=np.sort(t_s[reaction]),
            )
        )
    return tuple(facts)


def _pictured(
    run: RunFolder, got: Gatherer
) -> tuple[list[EventFact], tuple[MapFact, ...]]:
    sights = sorted(got.sights.values(), key=lambda s: s.onset_s)
    with_strip = best_sights(sights, MAX_STRIPS)
    last = _last_frames(got)
    wanted = wanted_frames(with_strip, got.series) | {i for i, _ in last.values()}
    entries = frame_entries(run, wanted)
    events = []
    for number, sight in enumerate(sights, start=1):
        row = got.series.get(sight.series)
        picked = row is not None and any(s is sight for s in with_strip)
        strip = film_strip(run, sight, row, entries) if picked and row else ()
        events.append(_event(number, sight, strip))
    maps = tuple(
        _map(
            position,
            got,
            backdrop(run, last[position][1], entries.get(last[position][0])),
        )
        for position in sorted(last)[:MAX_MAPS]
    )
    return events, tuple(m for m in maps if m.tracks or m.backdrop is not None)


def _event(number: int, sight: Sight, strip: Sequence[Any]) -> EventFact:
    return EventFact(
        number=number,
        kind=sight.kind,
        position=sight.series[0],
        score=sight.score,
        onset_s=sight.onset_s,
        seen_s=sight.seen_s,
        last_s=sight.last_s,
        x_um=sight.x_um,
        y_um=sight.y_um,
        track_id=sight.track_id,
        strip=tuple(strip),
    )


def _last_frames(got: Gatherer) -> dict[int, tuple[int, float]]:
    last: dict[int, tuple[int, float]] = {}
    for (position, _, _), row in got.series.items():
        if position not in last or row.t_s[-1] > last[position][1]:
            last[position] = (row.frame_id[-1], row.t_s[-1])
    return last


def _map(position: int, got: Gatherer, under: Any) -> MapFact:
    paths = [(track, p) for (at, track), p in got.tracks.items() if at == position]
    paths.sort(key=lambda item: -item[1].points)
    tracks = tuple(
        TrackFact(
            position=position,
            track_id=track_id,
            x_um=np.frombuffer(path.x_um),
            y_um=np.frombuffer(path.y_um),
            parent=path.parent,
        )
        for track_id, path in paths[:MAX_TRACKS]
    )
    left_out = max(0, len(paths) - MAX_TRACKS) + got.more_tracks[position]
    return MapFact(position=position, tracks=tracks, left_out=left_out, backdrop=under)


def _dose(got: Gatherer) -> tuple[DoseFact, ...]:
    facts = []
    for (position, unit), (t_s, dose) in sorted(got.dose.items()):
        step = max(1, -(-len(t_s) // MAX_DOSE_POINTS))
        # The last point is what the numbers are read from: it always stays.
        keep = sorted({*range(0, len(t_s), step), len(t_s) - 1})
        times, values = np.frombuffer(t_s)[keep], np.frombuffer(dose)[keep]
        name = f"position {position}"
        facts.append(DoseFact(name=name, t_s=times, dose=values, unit=unit))
    return tuple(facts)


def _arms(got: Gatherer) -> tuple[ArmFact, ...]:
    facts = []
    for name, positions in (got.header.get("arms") or {}).items():
        told = got.header.get("policies") or ()
        rows = [row for key, row in got.series.items() if key[0] in positions]
        dose: dict[str, float] = {}
        for (position, unit), (_, values) in got.dose.items():
            if position in positions and len(values):
                dose[unit] = dose.get(unit, 0.0) + values[-1]
        facts.append(
            ArmFact(
                name=name,
                policies=tuple(p["name"] for p in told if p.get("arm") == name),
                positions=tuple(positions),
                frames=sum(len(row.t_s) for row in rows),
                reactions=sum(sum(row.reaction) for row in rows),
                events=sum(s.series[0] in positions for s in got.sights.values()),
                dose=", ".join(f"{value:.3g} {unit}" for unit, value in dose.items()),
            )
        )
    return tuple(facts)


def _budget(experiment: Mapping[str, Any]) -> tuple[float | None, str]:
    safety = experiment.get("safety") or {}
    for key, unit in (
        ("dose_per_fov_j_cm2", "J/cm2"),
        ("dose_per_fov_relative", "percent-seconds"),
    ):
        if safety.get(key):
            return float(safety[key]), unit
    return None, ""


def _versions(header: Mapping[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for key in ("versions", "host"):
        out |= {str(k): str(v) for k, v in (header.get(key) or {}).items()}
    for policy in header.get("policies") or ():
        digest = str(policy.get("source_sha256") or "")[:12]
        out[f"policy {policy.get('name')}"] = f"{policy.get('class')}, sha256 {digest}"
    return out
