"""Several policies on one run, for the report: arms, phases, who won, reloads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.record._report_words import without_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_RULINGS = 200
MOST_RELOADS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFact:
    """One arm of a comparison, and what it got; `dose` in words, "" without light."""

    name: str
    policies: tuple[str, ...]
    positions: tuple[int, ...]
    frames: int = 0
    reactions: int = 0
    events: int = 0
    dose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFact:
    """One phase that has ended; seconds of run time."""

    ended: str
    from_s: float
    to_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RulingFact:
    """Who got what another wanted, over all times with the same answer."""

    claim: str
    winner: str
    loser: str
    why: str
    times: int
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadFact:
    """Something that was edited while the run went on."""

    t_s: float
    policy: str
    words: str
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TogetherFact:
    """How the policies of a run shared it; empty for one policy on its own."""

    arms: tuple[ArmFact, ...] = ()
    phases: tuple[PhaseFact, ...] = ()
    rulings: tuple[RulingFact, ...] = ()
    rulings_more: int = 0
    """Further times somebody won, of which only the number was kept."""
    reloads: tuple[ReloadFact, ...] = ()
    reloads_more: int = 0

    def arm_of(self, position: int) -> str:
        """Name of the arm that a stage position belongs to; "" is none."""
        return next((a.name for a in self.arms if position in a.positions), "")


class Together:
    """Takes journal entries; keeps a bounded number of them."""

    def __init__(self) -> None:
        self._phases: list[PhaseFact] = []
        self._rulings: dict[tuple[str, str, str, str], RulingFact] = {}
        self._reloads: list[ReloadFact] = []
        self._more: Counter[str] = Counter()

    def phase(self, entry: Mapping[str, Any]) -> None:
        """Take a change of phase."""
        from_s = self._phases[-1].to_s if self._phases else 0.0
        ended, reason = entry["ended"], entry["reason"]
        self._phases.append(
            PhaseFact(ended=ended, from_s=from_s, to_s=entry["t_s"], reason=reason)
        )

    def arbitration(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take what was settled on one sight."""
        for ruling in entry["rulings"]:
            claim, winner, loser = (ruling[k] for k in ("claim", "winner", "loser"))
            key = (claim, winner, loser, without_numbers(ruling["why"]))
            known = self._rulings.get(key)
            if known is None and len(self._rulings) >= MOST_RULINGS:
                self._more["rulings"] += 1
                continue
            self._rulings[key] = RulingFact(
                claim=claim,
                winner=winner,
                loser=loser,
                why=ruling["why"],
                times=known.times + 1 if known else 1,
                first_s=known.first_s if known else t_s,
                last_s=t_s,
            )

    def reload(self, t_s: float, entry: Mapping[str, Any]) -> None:
        """Take a reload, one that was refused, or one that was undone."""
        if len(self._reloads) >= MOST_RELOADS:
            self._more["reloads"] += 1
            return
        done = "refused" not in entry and "undone" not in entry
        words, policy = entry["message"], entry["policy"]
        self._reloads.append(ReloadFact(t_s=t_s, policy=policy, words=words, done=done))

    def fact(self, arms: tuple[ArmFact, ...]) -> TogetherFact:
        """Return everything so far."""
        return TogetherFact(
            arms=arms,
            phases=tuple(self._phases),
            rulings=tuple(sorted(self._rulings.values(), key=lambda r: r.first_s)),
            rulings_more=self._more["rulings"],
            reloads=tuple(self._reloads),
            reloads_more=self._more["reloads"],
        )
