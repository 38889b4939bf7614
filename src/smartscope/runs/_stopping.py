"""The end of a live run: light off at once, and why it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.runs._ending import INTERRUPTED, Ending

if TYPE_CHECKING:
    from smartscope.control import Engine, RunState, Schedule
    from smartscope.core import SafetyError
    from smartscope.rig import Rig
    from smartscope.runs._acquisition import Acquisition
    from smartscope.runs._acting import Acting


class Stopping:
    """Lets anybody end a run, from any thread; the first reason is kept.

    Parameters
    ----------
    rig : Rig
    state : RunState
        Its failure goes before every other reason.
    schedule : Schedule
    acting : Acting
    """

    def __init__(
        self, rig: Rig, state: RunState, schedule: Schedule, acting: Acting
    ) -> None:
        self._rig = rig
        self._state = state
        self._schedule = schedule
        self._actor = acting.actor
        self._stream = acting.stream
        self._reason: Ending | None = None

    @property
    def has_reason(self) -> bool:
        """Whether somebody gave a reason to end, or something failed."""
        return self._reason is not None or self._state.failure is not None

    def halt(self) -> None:
        """Let what is being exposed come to its end, and begin nothing new."""
        self._schedule.stop()
        if self._stream is not None:
            self._stream.stop()

    def go_dark(self, engine: Engine) -> None:
        """Light off at once, past all that is under way, and for good."""
        self._actor.close()
        engine.stay_dark()
        self.halt()
        self._rig.apply_safe_state()

    def complete(self, reason: str) -> None:
        """End in order: what the experiment asked for is done."""
        self._end(Ending("completed", reason, 0))

    def end_by(self, error: SafetyError) -> None:
        """End in order: the sample gets no more."""
        self._end(Ending("stopped", str(error), error.exit_code))

    def heed(self, engine: Engine, acquisition: Acquisition, *, told: bool) -> None:
        """Go dark if a person said so (`told`), or somebody cancelled outside."""
        if told and self._reason is None:
            self._reason = Ending("stopped", "stopped by a person", INTERRUPTED)
            self.go_dark(engine)
        elif acquisition.cancelled and not self._schedule.stopped:
            self.go_dark(engine)

    def ending(self, acquisition: Acquisition) -> Ending:
        """How the run ended, once the acquisition is over."""
        if self._state.failure is not None:
            return Ending.failed(self._state.failure)
        if acquisition.failure is not None:
            return Ending.failed(acquisition.failure)
        if self._reason is not None:
            return self._reason
        if acquisition.cancelled:
            return Ending("cancelled", "cancelled through pymmcore-plus", INTERRUPTED)
        by_policy = self._schedule.stopped or (
            self._stream is not None and self._stream.ended_by_policy
        )
        if by_policy:
            return Ending("stopped", "a policy ended the run", 0)
        return Ending("completed", "the plan is done", 0)

    def _end(self, ending: Ending) -> None:
        if self._reason is None:
            self._reason = ending
        self.halt()
