"""How planned events and decisions wait for each other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartscope.core import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.config import ScheduleConfig
    from smartscope.control import Monitor, RunState, Subscription
    from smartscope.runs._feed import Feed

_LOOK_WALL_S = 0.05


class Pacing:
    """Holds the next planned event until the last sight was decided, or a deadline.

    Parameters
    ----------
    config : ScheduleConfig
    frames : Subscription
        Vision's: at rest when everything taken so far was decided.
    feed : Feed
    state : RunState
    monitor : Monitor

    Attributes
    ----------
    deadlines : int
        How many have passed.
    repeat : function
        Plans the group that was taken last once more; False if it may not be.
    in_group : function
        Whether frames of the group taken last are still to come.
    """

    def __init__(
        self,
        config: ScheduleConfig,
        frames: Subscription,
        feed: Feed,
        state: RunState,
        monitor: Monitor,
    ) -> None:
        self._config = config
        self._frames = frames
        self._feed = feed
        self._state = state
        self._monitor = monitor
        self._late_for: int | None = None
        self.deadlines = 0
        self.repeat: Callable[[], bool] = lambda: False
        self.in_group: Callable[[], bool] = lambda: False

    def declare(self, *, in_step: bool) -> None:
        """Journal how this run is paced."""
        config = self._config
        words: dict[str, object] = {"pacing": "lockstep" if in_step else "free"}
        if in_step:
            words |= {
                "deadline_s": config.decision_deadline_s,
                "on_deadline": config.on_deadline,
            }
        self._feed.note("pacing", words)

    def wait_decided(self) -> None:
        """Wait for the decision on the last frame; called between planned events."""
        if self._frames.idle:
            self._late_for = None
            return
        if self._is_late():
            return
        deadline = time.perf_counter() + self._config.decision_deadline_s
        while self._state.failure is None:
            left_s = deadline - time.perf_counter()
            if left_s <= 0:
                self._deadline_passed()
                return
            # In pieces, because a failure elsewhere rings no bell here.
            if self._frames.wait_idle(min(left_s, _LOOK_WALL_S)):
                self._late_for = None
                return

    def _is_late(self) -> bool:
        """Whether a deadline has passed already, and nothing new is to be decided."""
        if self._late_for is None:
            return False
        return self._late_for == self._frames.offered or self.in_group()

    def _deadline_passed(self) -> None:
        config = self._config
        self.deadlines += 1
        self._late_for = self._frames.offered
        then: str = config.on_deadline
        if then == "repeat" and not self.repeat():
            then = "go_on"
        text = f"no decision within {config.decision_deadline_s:g} s"
        self._feed.note("deadline", {"message": text, "then": then})
        self._monitor.fault(text)
        if config.on_deadline == "stop":
            self._state.fail(
                PolicyError(
                    f"{text}; make vision and policies faster, raise "
                    "schedule.decision_deadline_s, or set schedule.on_deadline to go_on"
                )
            )
            return
        # Late is late once: what waits is not decided on when something newer is there.
        self._frames.catch_up()
