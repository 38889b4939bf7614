"""Replaying: decide again from a journal, see again, or run a recording."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from smartscope.config import (
    Experiment,
    Recording,
    RigConfig,
    load_experiment,
    load_rig,
)
from smartscope.control import PhaseChange, PolicyHost, same_decision
from smartscope.core import (
    NS_PER_S,
    Decision,
    Observation,
    Pictures,
    RecordError,
    SmartscopeError,
    decode,
    encode,
)
from smartscope.record import RunFolder
from smartscope.runs._files import Files, open_files
from smartscope.runs._loop import arbiter_of, from_header, pipeline_of, policies_of
from smartscope.runs._plan import survey
from smartscope.runs._replay_models import ModelsThen
from smartscope.runs._replay_reloads import ReloadsThen
from smartscope.runs._result import RunResult
from smartscope.runs._run import run

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence, Set

    from smartscope.control import Arbiter, Monitor
    from smartscope.policies import PolicyFactory

_SHOWN = 5
_GIVEN_LATER = ("number", "outcomes", "interlocks", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What deciding again from a journal gave.

    Attributes
    ----------
    path : Path
        The run.
    identical : bool
        Every decision, and with `observations` every observation, came out the same;
        where a model runs on something else than in the run, which `message` says,
        observations within its tolerance.
    decisions, observations : int
        How many were compared; `observations` is 0 unless vision was recomputed.
    differences : tuple of str
        The first few, in words.
    message : str
        The result in a sentence.
    exit_code : int
        0, or 9 if anything differs.
    tolerance : float or None
        Within which observations were compared, where a model runs on something else
        than in the run; None: they had to come out exactly.
    """

    path: Path
    identical: bool
    decisions: int
    observations: int
    differences: tuple[str, ...]
    message: str
    exit_code: int
    tolerance: float | None = None


def replay(
    path: str | Path | RunResult,
    *,
    experiment: Experiment | str | Path | None = None,
    output: str | Path | None = None,
    vision: bool = False,
    monitor: Monitor | None = None,
    stop: threading.Event | None = None,
) -> ReplayResult | RunResult:
    """Re-decide a run from its journal, or run an experiment on a recording.

    Parameters
    ----------
    path : path or RunResult
        A run folder: its policies decide again on what the journal says they saw, and
        are compared action by action. Or a recording (OME-Zarr, OME-TIFF, TIFF): the
        whole loop runs on it and writes a run. With an `experiment` also a run folder
        is used as a recording.
    experiment : Experiment or path, optional
        For recordings; the shipped ``replay`` if left out.
    output : path, optional
        Parent of the new run folder, for recordings.
    vision : bool
        For a run folder: also see again from the recorded pixels.

    Raises
    ------
    ConfigError
        If `path` is neither.
    """
    path = Path(path.path if isinstance(path, RunResult) else path)
    if experiment is None and (path / "journal.jsonl").is_file():
        return _Redecision(RunFolder(path)).run(vision=vision)
    files = open_files(experiment if experiment is not None else "replay")
    return run(
        files.experiment,
        rig=_with_recording(files.rig, path),
        output=output,
        monitor=monitor,
        stop=stop,
    )


def _with_recording(rig: RigConfig, path: Path) -> RigConfig:
    path = path.resolve()
    recording = (
        rig.recording.model_copy(update={"path": path})
        if rig.recording is not None
        else Recording(path=path)
    )
    return RigConfig(
        name=rig.name,
        recording=recording,
        clock=rig.clock,
        limits=rig.limits,
        source_file=rig.source_file,
    )


class _Redecision:
    """Decides again from one journal."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        rig = load_rig(folder.path / "rig.yaml")
        self._reloads = ReloadsThen(folder)
        experiment = self._reloads.as_it_began(
            load_experiment(folder.path / "experiment.yaml")
        )
        base = Path(folder.header.get("base_dir") or folder.path)
        self._files = Files(
            experiment=experiment, rig=rig, base_dir=base, rig_dir=folder.path
        )
        context = from_header(folder.header["policy_context"])
        facts = survey(experiment, rig.timing)
        self._policies = policies_of(self._files, context, facts)
        self._models: ModelsThen | None = None

    def run(self, *, vision: bool) -> ReplayResult:
        """Compare decisions, and observations where asked."""
        differences, decisions = self._decide()
        changed = [_changed(p, self._folder.header) for p in self._policies]
        observations = 0
        if vision:
            more, observations = self._see()
            differences += more
        same = not differences
        what = f"{decisions} decisions"
        if vision:
            what += f" and {observations} observations"
        message = f"identical: {what} came out as in the run"
        models = self._models
        if models is not None and models.tolerance is not None:
            message = (
                f"within tolerance: {what} came out as in the run, what models see "
                f"within {models.tolerance:g}"
            )
        if same and not decisions + observations:
            message = "nothing was decided in this run, so there is nothing to compare"
        if not same:
            message = f"{len(differences)} of {what} differ; first: {differences[0]}"
        changed += models.notes if models is not None else ()
        message += "".join(f"; {note}" for note in changed if note)
        return ReplayResult(
            path=self._folder.path,
            identical=same,
            decisions=decisions,
            observations=observations,
            differences=tuple(differences[:_SHOWN]),
            message=message,
            exit_code=0 if same else 9,
            tolerance=None if models is None else models.tolerance,
        )

    def _decide(self) -> tuple[list[str], int]:
        host = PolicyHost(self._policies, self._files.experiment.phases)
        arbiter = arbiter_of(self._files, self._policies)
        outbid = {o.action_id for o in self._folder.outcomes if o.status == "outbid"}
        recorded: dict[int, list[Decision]] = defaultdict(list)
        for decision in self._folder.decisions:
            recorded[decision.observation].append(decision)
        record = self._files.experiment.record
        kept = record.images and record.labels and record.keep == "all"
        differences: list[str] = []
        count = 0
        for seen in self._folder.observations():
            pictures = _RecordedPictures(self._folder, seen, keeps_labels=kept)
            self._reloads.apply(host, seen.number)
            again = host.decide(
                replace(host.number(seen), pictures=cast("Pictures", pictures)),
                lambda: 0,
            )
            before = recorded.pop(seen.number, [])
            differences += _settled_otherwise(host, arbiter, seen, before, outbid)
            count += len(before)
            if len(before) != len(again):
                differences.append(
                    f"observation {seen.number}: {len(before)} policies decided, "
                    f"now {len(again)}"
                )
                continue
            for old, new in zip(before, again, strict=True):
                if words := same_decision(old, new):
                    differences.append(words)
        return differences, count

    def _see(self) -> tuple[list[str], int]:
        channels = tuple(self._folder.header["channels"])
        pipeline = pipeline_of(self._files, channels)
        expected = list(self._folder.entries("observation"))
        differences: list[str] = []
        again = self._observations(pipeline)
        for entry in expected:
            new = next(again, None)
            if new is None:
                differences.append("vision now gives fewer observations")
                break
            if self._models is None:
                # Only now it is known what runs them.
                told = self._folder.entries("model")
                self._models = ModelsThen(told, pipeline.models())
            old = decode(Observation, entry["observation"])
            if words := self._compare(old, new):
                differences.append(f"observation {old.number}: {words}")
        if self._models is not None and self._models.tolerance is not None:
            differences += filter(None, [self._models.in_all()])
        return differences, len(expected)

    def _compare(self, old: Observation, new: Observation) -> str:
        models = self._models
        if models is None or models.tolerance is None:
            return _difference(old, new)
        return models.difference(old, new)

    def _observations(self, pipeline: Any) -> Iterator[Observation]:
        start_ns = next(self._folder.entries("start"))["start_ns"]
        skipped = {entry["frame_id"] for entry in self._folder.entries("skipped")}
        for record in self._folder.frames:
            if record.frame_id in skipped:
                continue
            frame = self._folder.frame(record.frame_id)
            try:
                seen = pipeline.see(frame, (frame.t_exposed_ns - start_ns) / NS_PER_S)
            except SmartscopeError:
                continue  # it failed in the run as well, which went on without it
            if seen is not None:
                yield seen


class _RecordedPictures:
    """Images of an observation, read from the record when a policy looks at them."""

    def __init__(
        self, folder: RunFolder, seen: Observation, *, keeps_labels: bool
    ) -> None:
        self._folder = folder
        self._seen = seen
        self._keeps_labels = keeps_labels

    @property
    def raw(self) -> Mapping[str, Any]:
        """Frames by channel."""
        found: dict[str, Any] = {}
        for frame_id in self._seen.frame_ids:
            frame = self._folder.frame(frame_id)
            name = frame.channel or "image"
            before = found.get(name, frame.pixels)
            # Planes are projected as stages do it unless they are told otherwise.
            found[name] = np.maximum(before, frame.pixels)
        return found

    @property
    def labels(self) -> Any:
        """Label image, None if there was none."""
        labels = self._folder.labels(self._seen.frame_ids[-1])
        if labels is None and not self._keeps_labels:
            raise RecordError(
                "a policy looks at labels, and the run kept none (record.images, "
                "record.labels, record.keep)"
            )
        return labels

    @property
    def processed(self) -> Any:
        """Not recorded."""
        raise RecordError(
            "a policy looks at the processed image, which is not recorded; it cannot "
            "be decided again from the journal"
        )


def _settled_otherwise(
    host: PolicyHost,
    arbiter: Arbiter,
    seen: Observation,
    decisions: Sequence[Decision],
    outbid: Set[str],
) -> Iterator[str]:
    """Settle again who got what on this sight, from what was asked for in the run."""
    arbiter.undone(seen.outcomes)
    if any(isinstance(told, PhaseChange) for told in host.take_told()):
        arbiter.released(host.resting)
    asked = [r for d in decisions for r in d.requests if not host.refuses(r)]
    lost = {o.action_id for o in arbiter.settle(asked).outcomes if o.status == "outbid"}
    for request in asked:
        was, now = request.action_id in outbid, request.action_id in lost
        if was != now:
            words = ("granted", "outbid")
            yield (
                f"observation {seen.number}: action {request.action_id} of "
                f"{request.policy} was {words[was]}, is now {words[now]}"
            )


def _changed(policy: PolicyFactory, header: Mapping[str, Any]) -> str:
    for known in header.get("policies", ()):
        if known["name"] == policy.name:
            if known["source_sha256"] != policy.source_hash:
                return f"the file of policy {policy.name} has changed since the run"
            return ""
    return f"policy {policy.name} was not in the run"


def _difference(old: Observation, new: Observation) -> str:
    a, b = encode(old), encode(new)
    for name in a:
        if name not in _GIVEN_LATER and a[name] != b[name]:
            return f"{name} was {_short(a[name])}, is now {_short(b[name])}"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
