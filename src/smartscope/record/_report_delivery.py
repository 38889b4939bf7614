"""What became of the frames on their way: subscribers, losses, restarts, hands."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.record._report_bounded import Notices
from smartscope.record._report_facts import (
    DeliveryFact,
    KeptFact,
    LossFact,
    RestartFact,
    SubscriberFact,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_KEPT = 50
UNTOLD = "untold"


class _Restarts:
    def __init__(self, t_s: float) -> None:
        self.dead_ms = array("d")
        self.first_s = self.last_s = t_s


class Delivery:
    """Takes the entries that tell of losses, restarts, pauses and hands."""

    def __init__(self) -> None:
        self.external = Notices()
        self._losses: dict[tuple[str, bool], LossFact] = {}
        self._restarts: dict[str, _Restarts] = {}
        self._kept: list[KeptFact] = []
        self._kept_more = 0
        self._told: Mapping[str, Any] = {}
        self._pacing: Mapping[str, Any] = {}
        self._deadlines: Counter[str] = Counter()
        self._pauses = 0
        self._paused_s = 0.0
        self._since_s: float | None = None

    def lost(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take a loss; older journals do not say whether it is certain."""
        by = str(entry.get("by") or "camera")
        certain = bool(entry.get("certain", by != "estimate"))
        known = self._losses.get((by, certain))
        self._losses[by, certain] = LossFact(
            by=by,
            certain=certain,
            frames=entry["frames"] + (known.frames if known else 0),
            times=1 + (known.times if known else 0),
            first_s=known.first_s if known else t_s,
            last_s=t_s,
        )

    def restart(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take a restart of the camera."""
        what = str(entry.get("for") or "another setting")
        row = self._restarts.setdefault(what, _Restarts(t_s))
        row.dead_ms.append(float(entry.get("dead_ms") or 0.0))
        row.last_s = t_s

    def change(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take a change nobody here commanded."""
        now = entry.get("now")
        words = f"{entry.get('change')}: now {_now(now)}" if now is not None else ""
        self.external.add(t_s, words or str(entry.get("change")))

    def pause(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take the beginning or the end of a pause."""
        if entry["paused"] and self._since_s is None:
            self._since_s = t_s
            self._pauses += 1
        elif not entry["paused"]:
            self.ended(t_s)

    def ended(self, t_s: float) -> None:
        """End a pause that is still going on."""
        if self._since_s is not None:
            self._paused_s += t_s - self._since_s
            self._since_s = None

    def deadline(self, entry: Mapping[str, Any]) -> None:
        """Take a decision that came too late."""
        self._deadlines[str(entry.get("then") or "go_on")] += 1

    def pacing(self, entry: Mapping[str, Any]) -> None:
        """Take how the plan waits for decisions."""
        self._pacing = entry

    def subscribers(self, entry: Mapping[str, Any]) -> None:
        """Take the closing account."""
        self._told = entry

    def kept(
        self, from_s: float, to_s: float, entry: Mapping[str, Any], reason: str
    ) -> None:
        """Take frames from before an event that were put on disk."""
        if len(self._kept) >= MOST_KEPT:
            self._kept_more += 1
            return
        self._kept.append(
            KeptFact(
                frames=entry["frames"],
                from_s=from_s,
                to_s=to_s,
                missing_s=entry.get("missing_s") or 0.0,
                reason=reason,
            )
        )

    def lost_frames(self) -> tuple[int, int]:
        """Certain and possible losses; the closing account knows them best."""
        told = self._told.get("frames") or {}
        counts = []
        for certain, key in ((True, "lost_certain"), (False, "lost_possible")):
            lines = sum(x.frames for x in self._losses.values() if x.certain is certain)
            counts.append(max(lines, told.get(key) or 0))
        return counts[0], counts[1]

    def _untold(self) -> Iterator[LossFact]:
        """Losses the closing account knows of and no entry told when they happened."""
        for certain, frames in zip((True, False), self.lost_frames(), strict=True):
            told = sum(x.frames for x in self._losses.values() if x.certain is certain)
            if frames > told:
                yield LossFact(by=UNTOLD, certain=certain, frames=frames - told)

    def fact(self) -> DeliveryFact:
        """Return everything so far."""
        pool = self._told.get("pool") or {}
        return DeliveryFact(
            subscribers=tuple(
                SubscriberFact(
                    name=str(row["name"]),
                    appetite=str(row.get("appetite") or ""),
                    delivered=row.get("delivered") or 0,
                    skipped=row.get("skipped") or 0,
                    dropped=row.get("dropped") or 0,
                )
                for row in self._told.get("subscribers") or ()
            ),
            losses=(*self._losses.values(), *self._untold()),
            restarts=tuple(_restart(k, row) for k, row in self._restarts.items()),
            external=self.external.facts(),
            kept=tuple(self._kept),
            kept_more=self._kept_more,
            buffers=pool.get("buffers") or 0,
            misses=pool.get("misses") or 0,
            pauses=self._pauses,
            paused_s=self._paused_s,
            pacing=_pacing(self._pacing, late=bool(self._deadlines)),
            deadlines=dict(self._deadlines),
        )


def _restart(what: str, row: _Restarts) -> RestartFact:
    dead_ms = np.frombuffer(row.dead_ms)
    return RestartFact(
        what=what,
        times=len(dead_ms),
        dead_ms=float(dead_ms.sum()),
        p50_ms=float(np.median(dead_ms)),
        max_ms=float(dead_ms.max()),
        first_s=row.first_s,
        last_s=row.last_s,
    )


def _now(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_now(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_now(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pacing(entry: Mapping[str, Any], *, late: bool) -> str:
    kind, deadline_s = entry.get("pacing"), entry.get("deadline_s")
    if kind == "lockstep":
        most = f", at most {deadline_s:g} s" if deadline_s else ""
        waited = f"Each planned frame waited for the decision on the one before{most}"
        return f"{waited}; no deadline passed." if not late else f"{waited}."
    if kind == "free":
        return "Planned frames did not wait for decisions."
    return ""
