"""What a run's journal says of its models: which, on what, how well, how long."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PARTS = {"model": "model", "decode": "decoder"}
_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFact:
    """One runtime that was looked at for a model."""

    name: str
    status: str
    reason: str
    runtime: str = ""
    median_ms: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFact:
    """Wall time of one part of a model in the frames it saw, ms."""

    part: str
    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFact:
    """One model of a run, and how it did.

    Attributes
    ----------
    hashes : mapping of file to str
        Beginning of the SHA-256 of each file of weights.
    looked, unfamiliar : int
        Frames held against the images of its training, and those unlike them.
    strangest : float or None
        Largest distance from them; 1 is the limit.
    failures : int
        Frames on which it failed and the run went on without.
    """

    stage: str
    name: str
    version: str = ""
    file: str = ""
    hashes: Mapping[str, str]
    runtime: str = ""
    precision: str = ""
    threads: int | None = None
    tolerance: float | None = None
    error: float | None = None
    from_cache: bool = False
    reference: str = ""
    candidates: tuple[CandidateFact, ...] = ()
    reports: tuple[str, ...] = ()
    looked: int = 0
    unfamiliar: int = 0
    strangest: float | None = None
    failures: int = 0
    costs: tuple[CostFact, ...] = ()


class _Familiarity:
    def __init__(self) -> None:
        self.looked = self.unfamiliar = 0
        self.strangest: float | None = None

    def add(self, ratio: float, outside: float) -> None:
        self.looked += 1
        self.unfamiliar += outside > 0
        self.strangest = max(self.strangest or 0.0, ratio)


class Models:
    """Takes ``model`` and ``observation`` entries; keeps a few numbers a frame."""

    def __init__(self) -> None:
        self._told: dict[str, Mapping[str, Any]] = {}
        self._familiar: dict[str, _Familiarity] = defaultdict(_Familiarity)
        self._failures: dict[str, int] = defaultdict(int)
        self._ms: dict[str, array[float]] = defaultdict(lambda: array("d"))

    def model(self, entry: Mapping[str, Any]) -> None:
        """Take what the run said of one model; said again, the last counts."""
        self._told[str(entry.get("stage"))] = entry

    def observation(self, entry: Mapping[str, Any]) -> None:
        """Take what one sight cost, and whether the models knew such images."""
        for name, ms in (entry.get("costs") or {}).items():
            self._ms[name].append(ms)
        if not self._told:
            return
        seen = entry["observation"]
        measured, notes = seen.get("measurements") or {}, seen.get("notes") or ()
        for stage in self._told:
            column = f"unfamiliar_{stage}"
            if column in measured:
                outside = measured.get(f"{column}_count", 0.0)
                self._familiar[stage].add(measured[column], outside)
            self._failures[stage] += any(
                note.startswith(f"{stage}: ")
                and not note.startswith(f"{stage}: unfamiliar (")
                for note in notes
            )

    def facts(self) -> tuple[ModelFact, ...]:
        """The models, in the order of the stages."""
        return tuple(self._fact(stage, told) for stage, told in self._told.items())

    def _fact(self, stage: str, told: Mapping[str, Any]) -> ModelFact:
        familiar = self._familiar[stage]
        hashes = told.get("sha256") or {}
        return ModelFact(
            stage=stage,
            name=str(told.get("name") or ""),
            version=str(told.get("version") or ""),
            file=str(told.get("file") or ""),
            hashes={str(k): str(v)[:_SHORT] for k, v in hashes.items()},
            runtime=str(told.get("runtime") or ""),
            precision=str(told.get("precision") or ""),
            threads=told.get("threads"),
            tolerance=told.get("tolerance"),
            error=told.get("error"),
            from_cache=bool(told.get("from_cache")),
            reference=str(told.get("reference") or ""),
            candidates=tuple(_candidates(told.get("candidates") or ())),
            reports=tuple(str(text) for text in told.get("reports") or ()),
            looked=familiar.looked,
            unfamiliar=familiar.unfamiliar,
            strangest=familiar.strangest,
            failures=self._failures[stage],
            costs=tuple(self._costs(stage)),
        )

    def _costs(self, stage: str) -> Iterable[CostFact]:
        for part, words in PARTS.items():
            values = self._ms.get(f"{stage}.{part}")
            if not values:
                continue
            ms = np.frombuffer(values)
            p50, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist()
            yield CostFact(
                part=words,
                count=len(ms),
                p50=p50,
                p95=p95,
                p99=p99,
                max=float(ms.max()),
            )


def _candidates(told: Iterable[Mapping[str, Any]]) -> Iterable[CandidateFact]:
    for trial in told:
        yield CandidateFact(
            name=str(trial.get("name") or ""),
            status=str(trial.get("status") or ""),
            reason=str(trial.get("reason") or ""),
            runtime=str(trial.get("runtime") or ""),
            median_ms=trial.get("median_ms"),
            error=trial.get("error"),
        )
