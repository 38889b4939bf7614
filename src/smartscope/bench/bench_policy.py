"""The policy of the bench, loaded by its path as a user's own would be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from smartscope.bench._notes import NOTES
from smartscope.core import Acquire, Observation, SetProperty
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.core import Action


class BenchPolicy(Policy):
    """Reacts to every frame it sees, and notes which and when."""

    ask: Literal["property", "frame", "burst"] = "property"
    """A change of the LED, one frame more, or after a planned frame a burst."""
    frames: int = 1
    """One frame more until there are so many; frames of a burst."""

    _count: int = 0

    def react(self, seen: Observation) -> Iterator[Action]:
        """Ask, and note the frame it was asked on."""
        self._count += 1
        if NOTES.keep:
            decided = time.perf_counter_ns()
            frame_id = seen.frame_ids[-1]
            NOTES.seen.append((frame_id, seen.role, *NOTES.analysed, decided))
        if self.ask == "property":
            value = str(self._count % 2)
            yield SetProperty(
                reason="bench", device="LED", property="State", value=value
            )
        elif self.ask == "frame" and self._count < self.frames:
            yield Acquire(reason="bench")
        elif self.ask == "burst" and seen.role == "baseline":
            yield Acquire(reason="bench", frames=self.frames)
