"""Every arm on every specimen, in parallel processes, and what is known then."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.config import load_experiment
from smartscope.core import ConfigError
from smartscope.score._arms import Duty, score_of
from smartscope.score._film import Film
from smartscope.score._run import Job, rig_with_seed, run_job
from smartscope.score._stats import NOTHING, compared, pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.config import Experiment, ScoreBar, ScoreConfig
    from smartscope.score._stats import Estimate, How

USUAL = 4
"""Specimens of each scenario where nobody says how many."""

COUNTED = ("recall", "precision", "identity_kept")
"""Measures that count hits among trials."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All films of one experiment.

    Attributes
    ----------
    file : Path
    experiment : Experiment
    seeds : tuple of int
    films : tuple of Film
        In the order of arms, then seeds; failed ones too.
    """

    file: Path
    experiment: Experiment
    seeds: tuple[int, ...]
    films: tuple[Film, ...]

    @property
    def score(self) -> ScoreConfig:
        """How it is judged."""
        return score_of(self.experiment)

    def of(self, arm: str) -> list[Film]:
        """Good films of an arm, in the order of the seeds."""
        return [f for f in self.films if f.arm == arm and not f.problem]

    def failed(self) -> list[Film]:
        """Films with a problem."""
        return [film for film in self.films if film.problem]

    def parts(
        self, arm: str, measure: str, seeds: Iterable[int]
    ) -> NDArray[np.float64]:
        """Numerator and denominator, (seeds, 2); zeros where there was nothing."""
        known = {f.seed: f.parts.get(measure, (0.0, 0.0)) for f in self.of(arm)}
        return np.array([known[seed] for seed in seeds], float).reshape(-1, 2)

    def value(self, arm: str, measure: str) -> Estimate:
        """A measure of one arm, pooled over its good films."""
        seeds = [film.seed for film in self.of(arm)]
        if not seeds:
            return NOTHING
        return pooled(self.parts(arm, measure, seeds), counted=measure in COUNTED)

    def compare(self, measure: str, of: str, against: str, how: How) -> Estimate:
        """A measure of one arm against another, paired by the seeds both have."""
        theirs = {film.seed for film in self.of(against)}
        seeds = [film.seed for film in self.of(of) if film.seed in theirs]
        if not seeds:
            return NOTHING
        return compared(
            self.parts(of, measure, seeds),
            self.parts(against, measure, seeds),
            how,
            counted=measure in COUNTED,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was reached; `met` is None where nothing can be said."""

    bar: ScoreBar
    reached: Estimate
    met: bool | None


@dataclass(frozen=True, slots=True)
class Scoreboard:
    """All scenarios, and how they were made."""

    scenarios: tuple[Scenario, ...]
    started: str
    took_s: float


def verdicts(scenario: Scenario) -> list[Verdict]:
    """Hold every bar of a scenario against what was measured."""
    return [_verdict(scenario, bar) for bar in scenario.score.bars]


def _verdict(scenario: Scenario, bar: ScoreBar) -> Verdict:
    if bar.against is None:
        reached = scenario.value(bar.of, bar.measure)
    else:
        reached = scenario.compare(bar.measure, bar.of, bar.against, bar.how)
    if np.isnan(reached.value):
        return Verdict(bar, reached, None)
    if bar.at_least is not None:
        met = reached.value >= bar.at_least
        sure = bar.sure is None or reached.low >= bar.sure
    else:
        met = reached.value <= (bar.at_most or 0.0)
        sure = bar.sure is None or reached.high <= bar.sure
    return Verdict(bar, reached, bool(met and sure))


def score(
    files: Sequence[Path],
    *,
    count: int | None = None,
    full: bool = False,
    tuning: bool = False,
    jobs: int | None = None,
    output: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Scoreboard:
    """Run every arm of every experiment on specimens, in virtual time, and measure.

    Parameters
    ----------
    files : sequence of path
        Experiments.
    count : int, optional
        Specimens of each, instead of 4.
    full : bool
        As many as the scenario publishes.
    tuning : bool
        Take seeds that are never published: for choosing parameters.
    jobs : int, optional
        Processes; default one for each core. 1 runs everything in this process.
    output : path, optional
        Keep the run folders (truth and journal, no images) below this one.
    progress : callable
        Told of every run that is done.

    Raises
    ------
    ConfigError
        If an experiment cannot be scored; found before anything runs.
    """
    started, began = time.strftime("%Y-%m-%d %H:%M"), time.perf_counter()
    plans = [_plan(file, count=count, full=full, tuning=tuning) for file in files]
    if not plans:
        raise ConfigError("no experiment to score", fix="name one or more")
    _check_names(files)
    films = _films(plans, jobs or os.cpu_count() or 1, output, progress)
    scenarios = tuple(
        Scenario(file, experiment, seeds, tuple(films[file]))
        for file, experiment, seeds in plans
    )
    return Scoreboard(scenarios, started, time.perf_counter() - began)


_Plan = tuple["Path", "Experiment", tuple[int, ...]]


def _plan(file: Path, *, count: int | None, full: bool, tuning: bool) -> _Plan:
    experiment = load_experiment(file)
    seeds = score_of(experiment).seeds
    number = count or (seeds.published if full else USUAL)
    first = seeds.tuning_first if tuning else seeds.first
    room = seeds.first - seeds.tuning_first
    if tuning and 0 < room < number:
        raise ConfigError(
            f"only {room} seeds are for tuning '{experiment.name}'",
            field="--seeds",
            fix="take fewer, or move score.seeds.first",
        )
    rig_with_seed(experiment, first)
    return file, experiment, tuple(range(first, first + number))


def _check_names(files: Sequence[Path]) -> None:
    stems = [file.stem for file in files]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(
                f"two experiments are called '{stem}'",
                fix="name each file once; rename one of them",
            )


def _films(
    plans: Sequence[_Plan],
    processes: int,
    output: Path | None,
    progress: Callable[[str], None],
) -> dict[Path, list[Film]]:
    """All films of each experiment, in the order of arms and seeds."""
    made: dict[tuple[Path, str, int], Film] = {}
    sections = {file: score_of(experiment) for file, experiment, _ in plans}

    def run_all(jobs: Sequence[Job]) -> None:
        for job, film in _run_all(jobs, processes):
            made[job.file, job.arm, job.seed] = film
            words = film.problem or "done"
            progress(f"{job.file.stem}, {job.arm}, specimen {job.seed}: {words}")

    keys = [
        (file, arm, seed)
        for file, _, seeds in plans
        for arm in sections[file].arms
        for seed in seeds
    ]
    run_all(
        [
            Job(file=file, arm=arm, seed=seed, output=output)
            for file, arm, seed in keys
            if arm != "random"
        ]
    )
    # How long the random arm films fast is only known when the policy has run.
    later = []
    for file, arm, seed in keys:
        if arm == "random":
            duty = _duty(sections[file], made[file, "policy", seed])
            if isinstance(duty, str):
                made[file, arm, seed] = Film(arm, seed, duty)
            else:
                job = Job(file=file, arm=arm, seed=seed, duty=duty, output=output)
                later.append(job)
    run_all(later)
    films: dict[Path, list[Film]] = {file: [] for file, _, _ in plans}
    for file, arm, seed in keys:
        films[file].append(made[file, arm, seed])
    return films


def _duty(scenario: ScoreConfig, film: Film) -> Duty | str:
    """How the policy filmed fast; or why it is not known."""
    if film.problem:
        return f"the arm it is to equal failed ({film.problem})"
    fast_s, whole_s = film.parts.get("duty", (0.0, 0.0))
    lengths = [end - begin for begin, end in film.course.fast]
    usual_s = scenario.slow_interval_s or scenario.fast_interval_s or 1.0
    lasts_s = sum(lengths) / len(lengths) if lengths else usual_s
    return Duty(fast_s / whole_s if whole_s else 0.0, lasts_s)


def _run_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Film]]:
    if processes == 1 or len(jobs) < 2:
        yield from ((job, run_job(job)) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        waiting = {pool.submit(run_job, job): job for job in jobs}
        for future in as_completed(waiting):
            job = waiting[future]
            try:
                yield job, future.result()
            except BrokenProcessPool:
                died = "a process that runs experiments was killed or crashed"
                yield job, Film(job.arm, job.seed, died)
