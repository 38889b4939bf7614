"""Runs tasks: a fresh process for each repetition of each peer, interleaved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.bench._bars import bars_of
from smartscope.bench._catalogue import (
    DENOISER,
    DETECTOR,
    WORKS,
    Entrant,
    Task,
    denoise_detect,
    soak,
)
from smartscope.bench._machine import (
    MOST_LOAD,
    commit,
    disk_rates,
    load,
    machine,
    versions,
)
from smartscope.bench._stats import over_runs, ratio
from smartscope.config import did_you_mean, shipped
from smartscope.core import ConfigError
from smartscope.inference import find_model
from smartscope.rig import import_quietly

import_quietly()
from pymmcore_plus import find_micromanager  # noqa: E402  after the quiet import

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.bench._job import Job

_PATIENCE_S = 180.0
LOOP = "denoise-detect"
MOST_PER_S = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What the loop with models is measured with.

    Attributes
    ----------
    rates : tuple of float
        Frames per second; empty are 10, 20 and 30.
    denoiser, detector : str
        Names or paths of models.
    """

    rates: tuple[float, ...] = ()
    denoiser: str = DENOISER
    detector: str = DETECTOR

    def tasks(self, *, full: bool) -> tuple[Task, ...]:
        """The tasks, with models that are there.

        Raises
        ------
        ConfigError
            A rate is no rate, or there is no such model.
        """
        for rate in self.rates:
            if not 0 < rate <= MOST_PER_S:
                raise ConfigError(
                    f"{rate:g} frames per second cannot be measured",
                    field="--rate",
                    fix=f"give more than 0 and at most {MOST_PER_S:g}",
                )
        return denoise_detect(
            self.rates,
            denoiser=str(find_model(self.denoiser).resolve()),
            detector=str(find_model(self.detector).resolve()),
            full=full,
        )


@dataclass(slots=True, kw_only=True)
class Run:
    """One repetition of one peer; `got` is None if it failed: `problem` says why."""

    got: dict[str, Any] | None
    problem: str = ""
    load_start: float | None = None
    load_end: float | None = None

    @property
    def loaded(self) -> bool:
        """The machine was too busy with something for this to be published."""
        return any(
            now is not None and now > MOST_LOAD
            for now in (self.load_start, self.load_end)
        )


@dataclass(slots=True, kw_only=True)
class Table:
    """One task with all that was measured of it.

    Attributes
    ----------
    runs : mapping of row name to list of Run
    medians : mapping of row name to dict
        As in `Measured`, over the runs that did not fail.
    """

    task: Task
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, dict[str, Any]]:
        """Medians over the runs of every row."""
        return {
            name: over_runs([run.got for run in runs if run.got is not None])
            for name, runs in self.runs.items()
        }

    def x_floor(self, name: str) -> float | None:
        """Median latency of a row over that of the reference row."""
        medians = self.medians
        reference = medians.get(self.reference, {})
        return ratio(_median_ms(medians[name]), _median_ms(reference))

    @property
    def reference(self) -> str:
        """Name of the row the others are compared with; empty without one."""
        names = [self.task.name_of(e) for e in self.task.entrants if e.reference]
        return names[0] if names else ""

    def bars(self) -> list[dict[str, Any]]:
        """Whether smartscope's row reaches what it must; plain values."""
        medians = self.medians
        mine = medians.get("smartscope", {})
        floor = medians.get(self.reference, {})
        return [bar.judge(mine, floor) for bar in bars_of(self.task.name)]


@dataclass(slots=True, kw_only=True)
class Bench:
    """All tables of one call of `bench`, and what they were measured on."""

    work: str
    repetitions: int
    tables: list[Table] = field(default_factory=list)
    machine: Mapping[str, Any] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)
    commit: str | None = field(default_factory=commit)
    disk: Mapping[str, float] = field(default_factory=dict)
    scratch: str = ""
    started: str = ""
    load_start: float | None = None
    load_end: float | None = None

    @property
    def why_not(self) -> list[str]:
        """Why this is not for publication, a sentence each; empty if it is."""
        runs = [r for t in self.tables for rs in t.runs.values() for r in rs]
        reasons = []
        if busy := sum(run.loaded for run in runs):
            reasons.append(
                f"the load average was above {MOST_LOAD:g} at the start or end of "
                f"{busy} of {len(runs)} runs"
            )
        if failed := [run.problem for run in runs if run.got is None]:
            reasons.append(f"{len(failed)} of {len(runs)} runs failed: {failed[0]}")
        if self.repetitions < 5 and self.work != "soak":
            reasons.append(f"{self.repetitions} repetitions are fewer than 5")
        return reasons


def bench(
    work: str,
    *,
    repetitions: int = 5,
    scratch: Path | None = None,
    full: bool = False,
    frames: int | None = None,
    loop: Loop | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Bench:
    """Measure one work, every peer in fresh processes, interleaved.

    Parameters
    ----------
    work : str
        A key of `WORKS`.
    repetitions : int
        Runs of each peer; a soak is run once.
    scratch : path, optional
        Where runs are written, and deleted again; default the system's own folder for
        temporary files. A RAM disk measures the software, not the disk.
    full : bool
        The soak in its full length: an hour and a quarter of an hour; the loop with
        models for a minute at each rate.
    frames : int, optional
        At most so many frames, to try it out.
    loop : Loop, optional
        Models and camera rates, for ``denoise-detect``.
    progress : function
        Told in a line what is run next.

    Raises
    ------
    ConfigError
        Unknown work or model, no repetition, or a scratch folder that is none or too
        full.
    """
    tasks = _tasks(work, full=full, frames=frames, loop=loop)
    if repetitions < 1:
        raise ConfigError(
            f"{repetitions} repetitions measure nothing",
            field="--repetitions",
            fix="give 1 or more; what is published needs 5",
        )
    folder = check_scratch(scratch, max(task.scratch_mb for task in tasks))
    whole = Bench(
        work=work,
        repetitions=1 if work == "soak" else repetitions,
        disk=disk_rates(folder) if frames is None else {},
        scratch=str(folder),
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        load_start=load(),
    )
    for task in tasks:
        whole.tables.append(_run_task(task, whole.repetitions, folder, progress))
    whole.load_end = load()
    return whole


def _tasks(
    work: str, *, full: bool, frames: int | None, loop: Loop | None
) -> Sequence[Task]:
    if work not in WORKS:
        raise ConfigError(
            f"there is no work '{work}' to measure", fix=did_you_mean(work, WORKS)
        )
    if full and work not in ("soak", LOOP):
        raise ConfigError(
            f"'{work}' has one length only",
            field="--full",
            fix=f"use it with soak or {LOOP}",
        )
    if loop is not None and work != LOOP:
        raise ConfigError(
            f"'{work}' has no models and no camera rate to choose",
            field="--rate, --denoiser, --detector",
            fix=f"use them with {LOOP}",
        )
    if work == LOOP:
        tasks = (loop or Loop()).tasks(full=full)
    else:
        tasks = soak(full=True) if full else WORKS[work]
    return tasks if frames is None else [task.shortened(frames) for task in tasks]


def check_scratch(scratch: Path | None, needed_mb: float) -> Path:
    """The folder to write in, if it is one and has room.

    Raises
    ------
    ConfigError
        If not.
    """
    folder = scratch if scratch is not None else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is no folder", field="--scratch", fix="name one that exists"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written in ({error.strerror or error})",
            field="--scratch",
            fix="name a folder where you may write",
        ) from error
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < needed_mb:
        raise ConfigError(
            f"{folder} has {free_mb:.0f} MB free, this work needs {needed_mb:.0f}",
            field="--scratch",
            fix="free some, or name another folder",
        )
    return folder.resolve()


def _run_task(
    task: Task, repetitions: int, scratch: Path, progress: Callable[[str], None]
) -> Table:
    table = Table(task=task)
    for k in range(repetitions):
        for entrant in task.entrants:
            name = task.name_of(entrant)
            progress(f"{task.title}: {name}, {k + 1} of {repetitions}")
            table.runs.setdefault(name, []).append(_run(task, entrant, scratch))
    return table


def _run(task: Task, entrant: Entrant, scratch: Path) -> Run:
    """One repetition in a process and a folder of its own."""
    load_start = load()
    with tempfile.TemporaryDirectory(
        dir=scratch, prefix="smartscope-bench-", ignore_cleanup_errors=True
    ) as folder:
        got, problem = _child(job_of(task, entrant, Path(folder)))
    return Run(got=got, problem=problem, load_start=load_start, load_end=load())


def job_of(task: Task, entrant: Entrant, scratch: Path) -> Job:
    """The job of one repetition, as its process is asked for it.

    Raises
    ------
    ConfigError
        If there are no device adapters.
    """
    adapters = find_micromanager()
    if not adapters:
        raise ConfigError(
            "no Micro-Manager device adapters were found on this computer",
            fix="install them with 'python -m pip install mm-test-adapters'",
        )
    return replace(
        task.job,
        peer=entrant.peer,
        recorded=entrant.recorded,
        scratch=str(scratch),
        adapters=str(adapters),
        cfg=str(shipped("demo_configs") / "demo_laser.cfg"),
    )


def _child(job: Job) -> tuple[dict[str, Any] | None, str]:
    who = f"{job.peer} ({job.kind})"
    # The clock of the start-up starts as late as can be.
    text = replace(job, spawned_ns=time.time_ns()).to_json()
    command = [sys.executable, "-m", "smartscope.bench", text]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S + 2 * job.hold_s,
        )
    except subprocess.TimeoutExpired as error:
        return None, f"{who} did not end within {error.timeout:.0f} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return None, f"{who} failed: {last}"
    got: dict[str, Any] = json.loads(lines[-1])
    return got, ""


def _median_ms(row: Mapping[str, Any]) -> float | None:
    latency = row.get("latency_ms") or {}
    found: float | None = latency.get("median")
    return found
