"""How long every step took: arrays of durations while reading, percentiles after.

A step has eight bytes for each time it happened; what pairs the entries of one frame
is forgotten after a few thousand others.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_MS
from smartscope.record._report_bounded import remember
from smartscope.record._report_facts import OverrunFact, StepFact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

EDGES_MS: NDArray[np.float64] = np.logspace(-3, 6, 91)
"""Ten bins for each power of ten, 1 us to 1000 s."""

STEPS = {
    "exposed to received": "exposure, readout, transfer",
    "received to published": "handed to everyone who looks",
    "published to taken": "waiting for vision",
    "taken to seen": "vision",
    "received to seen": "waiting, then vision",
    "seen to decided": "policies",
    "decided to checked": "arbitration and safety",
    "checked to applied": "command to the devices",
    "applied to verified": "devices settle and are read back",
    "received to scheduled": "whole reaction, put into the plan",
    "received to applied": "whole reaction, done",
}


class Timing:
    """Takes frames, observations, decisions and outcomes; keeps durations, ns."""

    def __init__(self) -> None:
        self.ns: dict[str, array[int]] = {name: array("q") for name in STEPS}
        self._received: OrderedDict[int, int] = OrderedDict()
        self._seen: OrderedDict[int, tuple[int, int | None]] = OrderedDict()
        self._decided: OrderedDict[str, tuple[int, int | None]] = OrderedDict()
        self._newest: dict[str, int] = {}
        self._gaps_ns = array("q")
        self._answers_ns = array("q")
        self._answer: tuple[int, int] | None = None

    def frame(self, entry: Mapping[str, Any]) -> None:
        """Take a frame."""
        received_ns = entry["t_received_ns"]
        self._add("exposed to received", entry["t_exposed_ns"], received_ns)
        if entry.get("t_published_ns") is not None:
            self._add("received to published", received_ns, entry["t_published_ns"])
        remember(self._received, entry["frame_id"], received_ns)
        if entry["role"] != "stream":
            return
        camera = entry["view"]["camera"]
        if camera in self._newest:
            self._gaps_ns.append(received_ns - self._newest[camera])
        self._newest[camera] = received_ns

    def observation(self, entry: Mapping[str, Any]) -> None:
        """Take an observation; its last frame is the one it waited for."""
        seen, stamps = entry["observation"], entry.get("stamps") or {}
        frame_ids = seen["frame_ids"]
        seen_ns = stamps.get("seen", entry["t_ns"])
        received_ns = stamps.get("received")
        if received_ns is None and frame_ids:
            received_ns = self._received.get(frame_ids[-1])
        remember(self._seen, seen["number"], (seen_ns, received_ns))
        if "taken" in stamps:
            if "published" in stamps:
                self._add("published to taken", stamps["published"], stamps["taken"])
            self._add("taken to seen", stamps["taken"], seen_ns)
        elif received_ns is not None:
            self._add("received to seen", received_ns, seen_ns)

    def decision(self, entry: Mapping[str, Any]) -> None:
        """Take what one policy answered."""
        decision = entry["decision"]
        number, requests = decision["observation"], decision["requests"]
        decided_ns = requests[0]["t_decided_ns"] if requests else entry["t_ns"]
        seen_ns, received_ns = self._seen.get(number, (None, None))
        if seen_ns is not None:
            self._add("seen to decided", seen_ns, decided_ns)
        if received_ns is not None:
            self._answered(number, decided_ns - received_ns)
        for request in requests:
            if request["action"]["do"] != "Nothing":
                at = (request["t_decided_ns"], received_ns)
                remember(self._decided, request["action_id"], at)

    def outcome(self, entry: Mapping[str, Any]) -> None:
        """Take what became of an action."""
        outcome = entry["outcome"]
        t_ns = outcome["t_ns"]
        decided_ns, received_ns = self._decided.pop(outcome["action_id"], (None, None))
        times = {"decided": decided_ns, "received": received_ns, **t_ns}
        if outcome["status"] == "scheduled":
            times["scheduled"] = t_ns.get("applied", t_ns.get("checked"))
        for since, until in (
            ("decided", "checked"),
            ("checked", "applied"),
            ("applied", "verified"),
            ("received", "scheduled"),
            ("received", "applied"),
        ):
            start_ns, end_ns = times.get(since), times.get(until)
            if start_ns is not None and end_ns is not None:
                self._add(f"{since} to {until}", start_ns, end_ns)

    def steps(self, speed: float = 1.0) -> tuple[StepFact, ...]:
        """Percentiles of each step that happened, ms; `speed` run seconds are one."""
        return tuple(
            _step(name, np.frombuffer(values, np.int64) / NS_PER_MS / speed)
            for name, values in self.ns.items()
            if values
        )

    def overruns(self, speed: float = 1.0) -> OverrunFact | None:
        """Decisions that took longer than a frame of the stream; None for a plan."""
        if self._answer is not None:
            self._answers_ns.append(self._answer[1])
            self._answer = None
        if not self._gaps_ns or not self._answers_ns:
            return None
        interval_ns = float(np.median(np.frombuffer(self._gaps_ns, np.int64)))
        answers_ns = np.frombuffer(self._answers_ns, np.int64)
        return OverrunFact(
            observations=len(answers_ns),
            late=int((answers_ns > interval_ns).sum()),
            interval_ms=interval_ns / NS_PER_MS / speed,
        )

    def _answered(self, number: int, after_ns: int) -> None:
        # Several policies answer to one observation: the last of them counts.
        if self._answer is not None and self._answer[0] != number:
            self._answers_ns.append(self._answer[1])
        self._answer = (number, after_ns)

    def _add(self, step: str, start_ns: int, end_ns: int) -> None:
        self.ns[step].append(end_ns - start_ns)


def latency_steps(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How long each step of a run took, as its report tells it.

    Parameters
    ----------
    entries : iterable of mapping
        Journal entries in order, as `RunFolder.entries` gives them.

    Returns
    -------
    dict of step to dict
        ``median``, ``p95``, ``p99`` and ``max`` in ms of the run's clock, in the order
        in which the steps happen; steps that never happened are left out.
    """
    timing = Timing()
    takers = {
        "frame": timing.frame,
        "observation": timing.observation,
        "decision": timing.decision,
        "outcome": timing.outcome,
    }
    for entry in entries:
        if take := takers.get(entry["kind"]):
            take(entry)
    return {
        step.name: {
            "median": step.p50,
            "p95": step.p95,
            "p99": step.p99,
            "max": step.max,
        }
        for step in timing.steps()
    }


def _step(name: str, ms: NDArray[np.float64]) -> StepFact:
    p50, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist()
    inside = np.clip(ms, EDGES_MS[0], EDGES_MS[-1])
    return StepFact(
        name=name,
        what=STEPS[name],
        count=len(ms),
        p50=p50,
        p95=p95,
        p99=p99,
        max=float(ms.max()),
        bins=np.histogram(inside, EDGES_MS)[0],
    )
