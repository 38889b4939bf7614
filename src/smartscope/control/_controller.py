"""From a published frame to outcomes: see, decide, arbitrate, act, record."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from smartscope.control._host import Undone
from smartscope.control._outcome import outcome_of
from smartscope.core import (
    NS_PER_S,
    HardwareError,
    Nothing,
    Outcome,
    PolicyError,
    SmartscopeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.config import Errors
    from smartscope.control._actor import Actor
    from smartscope.control._arbiter import Arbiter
    from smartscope.control._host import PolicyHost
    from smartscope.control._monitor import Monitor
    from smartscope.control._phases import PhaseChange
    from smartscope.control._reload import Reload
    from smartscope.control._subscription import Subscription
    from smartscope.core import (
        Clock,
        Decision,
        Frame,
        HardwareState,
        Observation,
        Request,
        View,
    )
    from smartscope.rig import ExternalChange
    from smartscope.vision import Alarm, Pipeline


class Records(Protocol):
    """What the controller needs of the record; `smartscope.record.RunWriter` has it."""

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Journal an entry of any kind."""
        ...

    def observed(
        self,
        seen: Observation,
        stamps: Mapping[str, int],
        costs: Mapping[str, float],
    ) -> None:
        """Journal what vision saw, when, what models took for it; keep its labels."""
        ...

    def decided(self, decision: Decision) -> None:
        """Journal what a policy answered."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Journal what became of an action."""
        ...


class RunState:
    """Why a run has to end: the first failure wins. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.failure: BaseException | None = None
        self.interlocks: Callable[[], tuple[str, ...]] = tuple
        self.external: Callable[[], tuple[ExternalChange, ...]] = tuple
        self.unfamiliar: Callable[[tuple[Alarm, ...]], None] = lambda alarms: None
        self.on_failure: Callable[[], None] = lambda: None
        self.reloads: Callable[[], tuple[Reload, ...]] = tuple
        self.on_over: Callable[[str], None] = lambda reason: None

    def fail(self, error: BaseException) -> None:
        """Keep the first failure and call `on_failure`."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = error
        self.on_failure()


class Controller:
    """Runs on a thread of its own (or inline, for a replay); owns vision and policies.

    Parameters
    ----------
    pipeline : Pipeline
    host : PolicyHost
    actor : Actor
    records : Records
    clock : Clock
    errors : Errors
        What a failing policy or stage does to the run.
    arbiter : Arbiter
    state : RunState
    monitor : Monitor
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        host: PolicyHost,
        actor: Actor,
        records: Records,
        clock: Clock,
        errors: Errors,
        arbiter: Arbiter,
        state: RunState,
        monitor: Monitor,
    ) -> None:
        self._pipeline = pipeline
        self._host = host
        self._actor = actor
        self._records = records
        self._clock = clock
        self._errors = errors
        self._arbiter = arbiter
        self._state = state
        self._monitor = monitor
        self._arrived: deque[Outcome] = deque()
        self._acting: dict[str, int] = {}
        self._skipped: dict[View, int] = {}
        self._start_ns = 0
        self._thread: threading.Thread | None = None
        actor.arrived = self._arrive

    def start(self, start_ns: int, frames: Subscription | None = None) -> None:
        """Set the zero of run time and serve a subscription on a thread, if given."""
        self._start_ns = start_ns
        if frames is not None:
            self._thread = threading.Thread(
                target=self._serve,
                args=(frames,),
                name="smartscope-controller",
                daemon=True,  # a policy that never returns must not keep the process
            )
            self._thread.start()

    def join(self, patience_s: float) -> bool:
        """Wait for the thread; the subscription must be closed first.

        Returns False if a policy or stage has not come back within `patience_s`; the
        thread is left behind then.
        """
        if self._thread is None:
            return True
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def handle(self, frame: Frame, skipped: int = 0) -> None:
        """Take one frame all the way; failures end the run as the experiment says."""
        t_taken = self._clock.now_ns()
        # What was skipped is told with the next observation, not with every frame.
        if skipped:
            self._skipped[frame.view] = self._skipped.get(frame.view, 0) + skipped
        seen = self._see(frame)
        if seen is None:
            return
        t_seen = self._clock.now_ns()
        for report in self._pipeline.reports():
            self._fault("vision", report)
        # Before the observation is told, so that it says which interlocks hold.
        self._state.unfamiliar(self._pipeline.alarms)
        seen = self._host.number(
            seen,
            state=self._with_external(seen.state),
            outcomes=self._take_arrived(),
            interlocks=self._state.interlocks(),
            skipped=self._skipped.pop(frame.view, 0),
        )
        stamps = {
            "received": frame.t_received_ns,
            "published": frame.t_published_ns,
            "taken": t_taken,
            "seen": t_seen,
        }
        self._records.observed(seen, stamps, self._pipeline.costs)
        self._arbiter.undone(seen.outcomes)
        for reload in self._state.reloads():
            self._reload(reload, seen)
        decisions = self._host.decide(seen, self._clock.now_ns)
        for told in self._host.take_told():
            self._tell(told, seen)
        for decision in decisions:
            self._records.decided(decision)
        self._act([r for d in decisions for r in d.requests], frame)
        # Those who look come last: the microscope does not wait for them.
        self._monitor.observed(seen, frame)
        for decision in decisions:
            self._monitor.decided(decision, seen.t_s)
        self._complain(decisions)

    def _reload(self, reload: Reload, seen: Observation) -> None:
        """Take over what was edited, between one sight and the next."""
        name = reload.factory.name
        before = self._host.factory(name)
        if not reload.differs(before):
            return
        entry = reload.entry(before, seen.number)
        if why := self._host.reload(reload.factory):
            words = f"not reloaded, the policy goes on as it was: {why}"
            entry |= {"refused": why, "message": words}
            self._records.note("reload", entry)
            self._monitor.fault(f"{name}: {words}")
            return
        words = f"reloaded: {reload.words(before)}"
        self._records.note("reload", entry | {"message": words})
        self._monitor.told(seen.t_s, name, words)

    def _tell(self, told: PhaseChange | Undone, seen: Observation) -> None:
        if isinstance(told, Undone):
            words = (
                "the reload is undone, the policy goes on as it was before: it failed "
                f"when it first reacted, {told.reason}"
            )
            what: dict[str, Any] = {
                "policy": told.policy,
                "observation": told.observation,
            }
            what |= {"undone": told.reason, "message": words}
            self._records.note("reload", what)
            self._monitor.fault(f"{told.policy}: {words}")
            return
        words = f"phase {told.ended} is over ({told.reason})"
        words += f", {told.begins} begins" if told.begins else ""
        self._records.note("phase", asdict(told))
        self._monitor.told(seen.t_s, "run", words)
        self._monitor.set(experiment_phase=told.begins)
        if told.begins:
            self._arbiter.released(self._host.resting)
        else:
            self._state.on_over(f"the last phase, {told.ended}, is over: {told.reason}")

    def _take_arrived(self) -> tuple[Outcome, ...]:
        arrived: list[Outcome] = []
        while self._arrived:
            arrived.append(self._arrived.popleft())
        return tuple(arrived)

    def _with_external(self, state: HardwareState) -> HardwareState:
        """Tell policies, with this sight, what somebody else has changed."""
        changes = self._state.external()
        for change in changes:
            before, now = dict(change.before), dict(change.now)
            what = {"change": change.resource, "before": before, "now": now}
            self._records.note("external", what)
        if not changes and not state.external:
            return state
        return replace(state, external=tuple(c.resource for c in changes))

    def _serve(self, frames: Subscription) -> None:
        try:
            while self._state.failure is None:
                if (item := frames.get()) is None:
                    return
                self.handle(*item)
        except BaseException as error:  # handed to the run thread, which raises it
            self._state.fail(error)

    def _see(self, frame: Frame) -> Observation | None:
        t_s = (frame.t_exposed_ns - self._start_ns) / NS_PER_S
        try:
            return self._pipeline.see(frame, t_s)
        except SmartscopeError as error:
            self._fault("vision", str(error))
            if self._errors.vision == "stop":
                self._state.fail(error)
            return None

    def _complain(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            if decision.error:
                text = f"policy {decision.policy} failed: {decision.error}"
                self._fault("policy", text)
                if self._errors.policy == "stop":
                    self._state.fail(PolicyError(text))

    def _act(self, requests: list[Request], frame: Frame) -> None:
        allowed = []
        for request in requests:
            if why := self._host.refuses(request):
                self._arrive(outcome_of(request, "rejected", why))
            else:
                allowed.append(request)
        verdict = self._arbiter.settle(allowed)
        if verdict.rulings:
            number = requests[0].observation
            rulings = [asdict(ruling) for ruling in verdict.rulings]
            told = {"observation": number, "rulings": rulings}
            self._records.note("arbitration", told)
        for outcome in verdict.outcomes:
            self._arrive(outcome)
        for request in verdict.granted:
            self._acting[request.action_id] = frame.frame_id
            done = self._actor.act(request)
            if isinstance(request.action, Nothing):
                # The decision line says all there is to say.
                del self._acting[request.action_id]
            elif done is not None:
                self._arrive(done)

    def _arrive(self, outcome: Outcome) -> None:
        """Journal an outcome and keep it for the next sight; from any thread."""
        frame_id = self._acting.pop(outcome.action_id, None)
        self._arrived.append(outcome)
        self._records.outcome(outcome)
        self._monitor.acted(outcome, frame_id)
        if outcome.status == "failed":
            self._fault("hardware", outcome.message)
            if self._errors.hardware == "stop":
                self._state.fail(HardwareError(outcome.message))

    def _fault(self, where: str, message: str) -> None:
        self._records.note("fault", {"where": where, "message": message})
        self._monitor.fault(message)
