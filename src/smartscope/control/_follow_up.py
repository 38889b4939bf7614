"""Sees issued commands through on threads of its own, and tells what came of them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from smartscope.control._outcome import outcome_of
from smartscope.core import HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.core import Outcome, Request
    from smartscope.rig import Command, Rig

_GATHER_WALL_S = 0.001
_Job = tuple["Request", tuple["Command", ...], int]


class FollowUp:
    """Waits for commands, reads them back and verifies them.

    Parameters
    ----------
    rig : Rig
    arrived : function
        Gets each outcome that comes later, on a thread of this class.
    inline : bool
        True waits in `finish` itself, as a plan needs it (no frame before everything
        has arrived) and virtual time (nothing may depend on which thread is faster).
        False watches each resource on a thread of its own, so that a policy can go on
        while the stage still moves.
    failed : function
        Gets what goes wrong on a thread of this class, an outcome that cannot be
        recorded for one.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        arrived: Callable[[Outcome], None],
        inline: bool,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._rig = rig
        self._arrived = arrived
        self._failed = failed
        self._inline = inline
        self._lock = threading.Lock()
        self._closed = False
        self._watchers: dict[
            str, tuple[SimpleQueue[_Job | None], threading.Thread]
        ] = {}

    def finish(self, request: Request, *commands: Command) -> Outcome | None:
        """See the commands of one action through; None if the outcome comes later.

        Raises
        ------
        HardwareError
            If a command did not arrive, where it is waited for.
        """
        job = (request, commands, self._rig.clock.now_ns())
        with self._lock:
            # Nobody would take it off a queue that is closed.
            if not self._inline and not self._closed:
                self._queue_of(commands[0].resource).put(job)
                return None
        self._rig.actuator.settle(*commands)
        return self._applied(job)

    def close(self, patience_s: float) -> None:
        """End the threads once everything has settled, at most after `patience_s`."""
        with self._lock:
            self._closed = True
            watchers = list(self._watchers.values())
            for queue, _ in watchers:
                queue.put(None)
        until = time.perf_counter() + patience_s
        for _, thread in watchers:
            thread.join(max(0.0, until - time.perf_counter()))

    def _queue_of(self, resource: str) -> SimpleQueue[_Job | None]:
        if resource not in self._watchers:
            queue: SimpleQueue[_Job | None] = SimpleQueue()
            thread = threading.Thread(
                target=self._watch,
                args=(queue,),
                name=f"smartscope-{resource}",
                daemon=True,  # a device that hangs must not keep the process
            )
            self._watchers[resource] = (queue, thread)
            thread.start()
        return self._watchers[resource][0]

    def _watch(self, queue: SimpleQueue[_Job | None]) -> None:
        try:
            self._see_through(queue)
        except BaseException as error:  # nobody stands above a thread
            self._failed(error)

    def _see_through(self, queue: SimpleQueue[_Job | None]) -> None:
        ending = False
        while not ending:
            jobs = [queue.get()]
            # A policy that sets a value for every frame asks for one look, not for
            # hundreds: the newest command closes those it has overtaken.
            time.sleep(_GATHER_WALL_S)
            while not queue.empty():
                jobs.append(queue.get())
            ending = None in jobs
            outcomes = [self._settled(job) for job in reversed(jobs) if job]
            for outcome in reversed(outcomes):
                self._arrived(outcome)

    def _settled(self, job: _Job) -> Outcome:
        request, commands, applied_ns = job
        try:
            self._rig.actuator.settle(*commands)
        except HardwareError as error:
            return replace(
                outcome_of(request, "failed", str(error)), t_ns={"applied": applied_ns}
            )
        return self._applied(job)

    def _applied(self, job: _Job) -> Outcome:
        request, commands, applied_ns = job
        overtaken = any(command.superseded for command in commands)
        return replace(
            outcome_of(
                request, "applied", "overtaken by a later command" if overtaken else ""
            ),
            readback={k: v for c in commands for k, v in c.readback.items()},
            t_ns={"applied": applied_ns, "verified": self._rig.clock.now_ns()},
            command=commands[-1].number,
        )
