"""What a run does when images are unlike those a model was made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import SafetyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.control import Monitor
    from smartscope.safety import Interlocks
    from smartscope.vision import Alarm

_NAME = "unfamiliar"


class FamiliarityWatch:
    """Trips the interlock ``unfamiliar`` and pauses or ends the run, as it is told to.

    Each stage acts once in a spell: somebody who resumes a paused run is not stopped
    again before images have been familiar in between.

    Parameters
    ----------
    interlocks : Interlocks
    monitor : Monitor
    note : function
        Writes a journal entry of a kind.
    pause : function
        Pauses the run, with the reason.
    end : function
        Ends the run in order, with the reason.
    """

    def __init__(
        self,
        interlocks: Interlocks,
        monitor: Monitor,
        *,
        note: Callable[..., object],
        pause: Callable[[str], object],
        end: Callable[[SafetyError], object],
    ) -> None:
        self._interlocks = interlocks
        self._monitor = monitor
        self._note = note
        self._pause = pause
        self._end = end
        self._held: set[str] = set()

    def __call__(self, alarms: Sequence[Alarm]) -> None:
        """Heed the alarms that hold after a frame; called on the vision thread."""
        if not alarms and not self._held:
            return
        acting = [alarm for alarm in alarms if alarm.action != "note"]
        new = [alarm for alarm in acting if alarm.stage not in self._held]
        self._held = {alarm.stage for alarm in acting}
        if not acting and self._interlocks.clear(_NAME):
            self._note("interlock", {"name": _NAME, "cleared": True})
            self._monitor.set(interlocks=self._interlocks.active)
        for alarm in new:
            self._interlocks.trip(_NAME, alarm.reason)
            self._note("interlock", {"name": _NAME, "message": alarm.reason})
            self._monitor.set(interlocks=self._interlocks.active)
            if alarm.action == "stop":
                self._end(SafetyError(alarm.reason))
            else:
                self._pause(alarm.reason)
