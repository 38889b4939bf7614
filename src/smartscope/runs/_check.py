"""`smartscope.check`: what would go wrong, and what it would cost; touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.core import ConfigError, DeviceHistory
from smartscope.record import RunFolder, check_disk_space, forecast_bytes, free_bytes
from smartscope.rig import check_configuration
from smartscope.runs._files import Files, open_files
from smartscope.runs._loop import context_of, pipeline_of, policies_of
from smartscope.runs._plan import PlanFacts, layouts, survey
from smartscope.runs._preflight import check_limits, check_objective
from smartscope.runs._record import arms_of
from smartscope.runs._recorded import open_recorded
from smartscope.safety import (
    Dose,
    DoseLedger,
    Guard,
    budget_verdict,
    channel_powers,
)
from smartscope.specimen import make_specimen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.config import Experiment, RigConfig
    from smartscope.rig import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    ok : bool
    kind : str
        ``experiment`` or ``run``.
    problems : tuple of str
        What is wrong with a run, a sentence each. An experiment that is wrong raises
        instead, at its first problem.
    forecast : mapping
        ``duration_s``, ``frames``, ``bytes``, ``free_bytes``, ``dose`` by field.
    lines : tuple of str
        The result in words, ready to print.
    """

    ok: bool
    kind: str
    problems: tuple[str, ...] = ()
    forecast: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def check(
    path: Experiment | str | Path, *, rig: RigConfig | str | Path | None = None
) -> CheckReport:
    """Validate an experiment against its rig, or verify a finished run.

    Touches no hardware, runs no model and writes nothing; a server that is to run a
    model is asked whether it has it.

    Parameters
    ----------
    path : Experiment, path or name
        An experiment, or a run folder.
    rig : RigConfig or path, optional
        Instead of the rig the experiment names.

    Raises
    ------
    ConfigError
        For the first thing that is wrong with an experiment or its rig.
    """
    if isinstance(path, str | Path) and (Path(path) / "journal.jsonl").is_file():
        return _check_run(RunFolder(path))
    return _check_experiment(open_files(path, rig=rig))


def _check_run(folder: RunFolder) -> CheckReport:
    problems = folder.verify()
    end = folder.end
    frames = len(folder.frames)
    lines = [f"{frames} frames in the journal"]
    if end is None:
        lines.append("no end entry: the run was cut off, or still goes on")
    else:
        lines.append(f"{end['outcome']}: {end['message']}")
    lines += problems or ["every frame in the journal has its pixels"]
    return CheckReport(
        ok=not problems, kind="run", problems=problems, lines=tuple(lines)
    )


def _check_experiment(files: Files) -> CheckReport:
    facts = survey(files.experiment, files.rig.timing)
    if files.rig.recording is not None:
        return _check_recording(files, facts)
    found = check_configuration(files.rig, base_dir=files.rig_dir)
    found.check_plan(files.experiment, facts.channels)
    check_objective(files.rig, found.objective)
    guard = Guard(files.rig, files.experiment)
    check_limits(guard, files.experiment, objective=found.objective)
    if files.rig.specimen is not None:
        config = files.rig.specimen
        make_specimen(config.kind, seed=config.seed, parameters=config.parameters)
    _check_models(files, facts)
    context = context_of(files, facts, objective=found.objective)
    arms = arms_of(policies_of(files, context, facts))
    return _report(files, facts, found, arms)


def _check_models(files: Files, facts: PlanFacts) -> None:
    """Build the vision, and ask the servers that it names whether they are there."""
    pipeline = pipeline_of(files, facts.channels)
    try:
        pipeline.reach_servers()
    except ConfigError as error:
        raise files.experiment.located(error) from error


def _check_recording(files: Files, facts: PlanFacts) -> CheckReport:
    recording = files.rig.recording
    if recording is None:
        raise TypeError("the rig has no recording")
    channel = (facts.channels or (recording.channel_name,))[0]
    source = open_recorded(files, channel)
    source.close()
    facts.channels = facts.channels or (channel,)
    _check_models(files, facts)
    policies_of(files, context_of(files, facts, pixel_um=source.pixel_um), facts)
    height, width = source.shape
    size = source.count * height * width * (1 if source.dtype == "uint8" else 2)
    forecast = {"frames": source.count, "bytes": size, "dose": {}}
    line = f"{source.count} recorded frames of {width} x {height} pixels, no devices"
    return CheckReport(ok=True, kind="experiment", forecast=forecast, lines=(line,))


def _report(
    files: Files,
    facts: PlanFacts,
    found: Configuration,
    arms: Mapping[str, Sequence[int]],
) -> CheckReport:
    images = layouts(
        facts, shape_yx=found.shape_yx, dtype="uint16", pixel_um=None, camera=""
    )
    needed = forecast_bytes(images)
    if not images:
        needed = facts.frames * found.shape_yx[0] * found.shape_yx[1] * 2
    record = files.experiment.record
    check_disk_space(record.path, needed, record.min_free_mb)
    dose = {c: f"{c} {d}" for c, d in _doses(files, facts, found).items()}
    free = free_bytes(record.path)
    forecast = {
        "duration_s": facts.duration_s,
        "frames": facts.frames,
        "bytes": needed,
        "free_bytes": free,
        "dose": dose,
    }
    fields = len(facts.names) or 1
    lines = [
        f"{facts.frames} frames in {fields} field(s), {_time(facts.duration_s)}",
        f"disk: up to {needed / 1e6:.0f} MB of {free / 1e9:.1f} GB",
        *(f"light of the plan on each field: {text}" for text in dose.values()),
        "reactions come on top: the plan alone is forecast",
        *(f"arm {a}: position {', '.join(map(str, at))}" for a, at in arms.items()),
    ]
    if over := _over_budget(files, facts, found):
        lines.append(over)
    return CheckReport(
        ok=True, kind="experiment", forecast=forecast, lines=tuple(lines)
    )


def _doses(files: Files, facts: PlanFacts, found: Configuration) -> dict[str, Dose]:
    """Dose of each channel of the plan on one field."""
    ledger = DoseLedger(
        files.rig, DeviceHistory(), start_ns=0, objective=found.objective
    )
    each = max(1, len(facts.names)) * max(1, len(facts.channels))
    frames = max(1, facts.frames // each)
    doses = {}
    for channel in facts.channels:
        powers = channel_powers(files.rig, files.experiment, channel, found.objective)
        exposure_ms = facts.exposure_ms.get(channel, 0.0)
        if any(powers.values()):
            doses[channel] = ledger.forecast(exposure_ms, powers, frames=frames)
    return doses


def _over_budget(files: Files, facts: PlanFacts, found: Configuration) -> str:
    """Say that the plan alone passes the light budget, "" if it does not."""
    planned = sum(_doses(files, facts, found).values(), start=Dose())
    safety = files.experiment.safety
    verdict = budget_verdict(safety, charged=Dose(), planned=planned)
    if verdict.do == "ok":
        return ""
    then = {
        "stop": "the run will end early",
        "dark": "the rest will be dark",
        "warn": "the run will only say so",
    }[verdict.do]
    return f"light budget: {verdict.reason}; {then}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
