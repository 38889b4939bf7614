"""Which phase of the experiment a run is in, from observations alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.config import PhaseConfig
    from smartscope.core import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChange:
    """One phase ended before an observation was handed to the policies.

    Attributes
    ----------
    observation : int
        The first one of the new phase.
    t_s : float
        Its time.
    ended : str
    begins : str
        "" after the last phase: the run is over.
    reason : str
        In words.
    """

    observation: int
    t_s: float
    ended: str
    begins: str
    reason: str


class PhaseClock:
    """Goes through the phases, one after the other. Used from one thread.

    Parameters
    ----------
    phases : sequence of PhaseConfig
        Empty: there is one phase, without a name and without an end.
    """

    def __init__(self, phases: Sequence[PhaseConfig] = ()) -> None:
        self._phases = tuple(phases)
        self._at = 0
        self._since_s = 0.0
        self._frames = 0

    @property
    def names(self) -> tuple[str, ...]:
        """All phases, in order."""
        return tuple(phase.name for phase in self._phases)

    @property
    def over(self) -> bool:
        """Whether the last phase has ended."""
        return bool(self._phases) and self._at == len(self._phases)

    @property
    def now(self) -> str:
        """Name of the present phase; "" where there is none."""
        at_one = bool(self._phases) and not self.over
        return self._phases[self._at].name if at_one else ""

    def update(
        self, seen: Observation, asked: tuple[str | None, str] | None
    ) -> PhaseChange | None:
        """Count an observation; return the change that happens before it, if any.

        Parameters
        ----------
        seen : Observation
        asked : (phase or None for the next, why) or None
            What a policy has asked for.
        """
        if not self._phases or self.over:
            return None
        ended, at, why = self.now, self._at, self._why(seen)
        if asked is not None:
            name, why = asked
            at = at + 1 if name is None else self.names.index(name)
        elif why:
            at += 1
        else:
            self._frames += _frames(seen)
            return None
        self._at, self._since_s, self._frames = at, seen.t_s, _frames(seen)
        return PhaseChange(
            observation=seen.number,
            t_s=seen.t_s,
            ended=ended,
            begins=self.now,
            reason=why,
        )

    def _why(self, seen: Observation) -> str:
        phase = self._phases[self._at]
        if phase.after_frames is not None and self._frames >= phase.after_frames:
            return f"after {self._frames} frames"
        if phase.after_s is not None and seen.t_s - self._since_s >= phase.after_s:
            return f"after {phase.after_s:g} s"
        if phase.on_event is not None:
            for event in seen.events_of(phase.on_event):
                if event.state != "ended" and event.score >= phase.on_score:
                    return f"{event.kind} with score {event.score:.2f}"
        return ""


def _frames(seen: Observation) -> int:
    return len(seen.frame_ids) + seen.skipped
