"""Divisions found at full light and at a quarter of it, with and without models."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import smartscope
from smartscope.bench._denoise_detect import told
from smartscope.bench._machine import commit
from smartscope.bench._quarter_score import Difference, Rule, Score, difference, score
from smartscope.bench._smartscope import BenchError
from smartscope.config import (
    Experiment,
    RigConfig,
    StageUse,
    load_experiment,
    shipped,
)
from smartscope.core import ConfigError
from smartscope.inference import find_model
from smartscope.score import Reported, happened, rig_with_seed, with_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.record import RunFolder

FIRST_SEED = 900_006
"""Specimens of this seed and the hundreds after it are in no training of a model."""
SEEDS, FULL_SEEDS = 12, 60
FULL, QUARTER = "full_light.yaml", "quarter_light.yaml"
PLAIN_FULL = "plain, full light"
PLAIN_QUARTER = "plain, quarter"
BOTH = "denoise + detect, quarter"
DENOISE_ONLY = "denoise only, quarter"
DETECT_ONLY = "detect only, quarter"
FILTERED = "Gaussian filter + plain, quarter"
FILTER_UM = 1.5
_DENOISE, _KIND = "denoise", "mitosis"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to film and to look."""

    name: str
    experiment: Experiment


@dataclass(frozen=True, slots=True)
class Film:
    """One specimen, filmed and looked at in one way.

    Attributes
    ----------
    arm : str
    seed : int
        Of the specimen.
    score : Score
    dose_j_cm2 : float or None
        Light that the field got, by the ledger; None without calibration.
    models : mapping of stage to str
        Name and version of each model, and what ran it.
    unfamiliar : float
        Share of the frames that a model's alarm called unlike its training.
    """

    arm: str
    seed: int
    score: Score
    dose_j_cm2: float | None
    models: Mapping[str, str]
    unfamiliar: float = 0.0


@dataclass(frozen=True, slots=True)
class QuarterLight:
    """All films, and what they were made with."""

    films: tuple[Film, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rule: Rule
    started: str
    took_s: float
    commit: str | None

    def of(self, arm: str) -> list[Film]:
        """Films of an arm, in the order of the seeds."""
        return [film for film in self.films if film.arm == arm]

    def total(self, arm: str) -> Score:
        """Counts of an arm over all specimens."""
        return sum((film.score for film in self.of(arm)), Score())

    def dose_j_cm2(self, arm: str) -> float | None:
        """Mean dose of a field; None where it is not known."""
        doses = [film.dose_j_cm2 for film in self.of(arm)]
        known = [dose for dose in doses if dose is not None]
        return sum(known) / len(known) if len(known) == len(doses) else None

    def differences(
        self, arm: str = BOTH, base: str = PLAIN_FULL
    ) -> dict[str, Difference | None]:
        """``recall`` and ``precision`` of an arm less those of another, paired."""
        mine, theirs = self.of(arm), self.of(base)
        return {
            "recall": difference(_recalls(mine), _recalls(theirs)),
            "precision": difference(_precisions(mine), _precisions(theirs)),
        }


def _recalls(films: Sequence[Film]) -> NDArray[np.int64]:
    return np.array([(f.score.found, f.score.true) for f in films], dtype=np.int64)


def _precisions(films: Sequence[Film]) -> NDArray[np.int64]:
    counts = [(f.score.found, f.score.found + f.score.false) for f in films]
    return np.array(counts, dtype=np.int64)


def arms_of(full: Experiment, quarter: Experiment) -> tuple[Arm, ...]:
    """The two experiments, and what lies between them.

    Parameters
    ----------
    full : Experiment
        Classical stages.
    quarter : Experiment
        The same film with less light, a `denoise` stage and a learned detector.

    Raises
    ------
    ConfigError
        They differ in more than light and vision, or there is no `denoise` stage.
    """
    for name in ("acquisition", "safety", "schedule", "policies"):
        if getattr(full, name) != getattr(quarter, name):
            raise ConfigError(
                f"'{full.name}' and '{quarter.name}' differ in '{name}'",
                field=name,
                fix="let them differ in light and vision alone",
            )
    denoise = [use for use in quarter.vision if use.use == _DENOISE]
    if not denoise:
        raise ConfigError(
            f"'{quarter.name}' has no denoise stage", field="vision", fix="add one"
        )
    detect = [use for use in quarter.vision if use.use != _DENOISE]
    gaussian = StageUse(use=_DENOISE, parameters={"sigma_um": FILTER_UM})

    def looked_at(vision: Sequence[StageUse]) -> Experiment:
        return quarter.model_copy(update={"vision": tuple(vision)})

    return (
        Arm(PLAIN_FULL, full),
        Arm(PLAIN_QUARTER, looked_at(full.vision)),
        Arm(BOTH, quarter),
        Arm(DENOISE_ONLY, looked_at([*denoise, *full.vision])),
        Arm(DETECT_ONLY, looked_at(detect)),
        # What no model is needed for: the fair opponent of the learned denoiser.
        Arm(FILTERED, looked_at([gaussian, *full.vision])),
    )


def quarter_light(
    seeds: Sequence[int],
    *,
    full: Path | None = None,
    quarter: Path | None = None,
    scratch: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> QuarterLight:
    """Film every specimen in every way, in virtual time, and count divisions.

    Parameters
    ----------
    seeds : sequence of int
        Of the specimens.
    full, quarter : path, optional
        Experiments; default the shipped ``full_light`` and ``quarter_light``.
    scratch : path, optional
        Folder for the runs, which are deleted again.
    progress : callable
        Told what is filmed next.

    Raises
    ------
    ConfigError
        No specimen, or a model is not there.
    BenchError
        A run did not end as it must.
    """
    if not seeds:
        raise ConfigError("no specimen to film", field="--seeds", fix="give 1 or more")
    folder = shipped("demo_configs")
    plain = load_experiment(full or folder / FULL)
    learned = load_experiment(quarter or folder / QUARTER)
    arms = arms_of(plain, learned)
    _find_models(learned)
    started, began = time.strftime("%Y-%m-%d %H:%M"), time.perf_counter()
    films, rules = [], []
    for number, seed in enumerate(seeds, start=1):
        rig = rig_with_seed(plain, seed)
        for arm in arms:
            progress(f"specimen {number} of {len(seeds)}, {arm.name}")
            film, rule = _film(arm, rig, seed, scratch)
            films.append(film)
            rules.append(rule)
    names = tuple(arm.name for arm in arms)
    took_s = time.perf_counter() - began
    return QuarterLight(
        tuple(films), names, tuple(seeds), rules[0], started, took_s, commit()
    )


def _find_models(experiment: Experiment) -> None:
    """Complain of a model that is not there before an hour of filming."""
    base = experiment.source_file.parent if experiment.source_file else None
    for use in experiment.vision:
        model = use.parameters.get("model")
        if isinstance(model, str):
            find_model(model, base)


def _film(
    arm: Arm, rig: RigConfig, seed: int, scratch: Path | None
) -> tuple[Film, Rule]:
    experiment = with_seed(arm.experiment, seed)
    with tempfile.TemporaryDirectory(
        dir=scratch, prefix="smartscope-quarter-", ignore_cleanup_errors=True
    ) as folder:
        result = smartscope.run(experiment, rig=rig, output=folder)
        if result.outcome != "completed":
            raise BenchError(f"{arm.name}, specimen {seed}: {result.message}")
        return film_of(result.folder, arm.name, seed)


def film_of(run: RunFolder, arm: str, seed: int) -> tuple[Film, Rule]:
    """Read what was found, and what happened, from the folder of a run."""
    rule = rule_of(run)
    seen = list(run.observations())
    counts = [f"unfamiliar_{entry['stage']}_count" for entry in run.entries("model")]
    strange = sum(any(s.measurements.get(n, 0.0) > 0 for n in counts) for s in seen)
    dose = next(iter(run.entries("end")))["dose"].get("total", {})
    film = Film(
        arm,
        seed,
        score(happened(run, _KIND), _reported(run), rule),
        dose.get("j_cm2"),
        {entry["stage"]: told(entry) for entry in run.entries("model")},
        strange / len(seen) if seen else 0.0,
    )
    return film, rule


def rule_of(run: RunFolder) -> Rule:
    """The rule for the field and the length of a film."""
    seen = list(run.observations())
    if not seen:
        raise BenchError(f"nothing was seen in {run.path}")
    pixel_um = seen[0].pixel_map.pixel_um
    height, width = seen[0].shape
    return Rule(
        half_um=(width * pixel_um / 2, height * pixel_um / 2),
        last_s=max(sight.t_s for sight in seen),
    )


def _reported(run: RunFolder) -> list[Reported]:
    """Events as they were first reported."""
    first: dict[int, Reported] = {}
    for seen in run.observations():
        for event in seen.events:
            first.setdefault(
                event.event_id,
                Reported(seen.t_s, event.x_um, event.y_um, onset_s=event.onset_s),
            )
    return list(first.values())
