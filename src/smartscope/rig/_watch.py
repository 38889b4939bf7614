"""Listens to the devices and looks after them when idle: notices what others change."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S, HardwareError
from smartscope.rig._cache import ExternalChange
from smartscope.rig._resources import Drive, Resource, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.rig._bench import Bench

_log = logging.getLogger("smartscope.rig")
IDLE_POLL_S = 0.5
_FRESH_NS = NS_PER_S // 4
_PACE_S = 0.02
"""Shortest time between two rounds of announcing and looking."""


class Watcher:
    """Keeps the cache true to what devices say and do by themselves.

    Micro-Manager notifies asynchronously on a thread of its own, in part long after
    the fact. So a notification that does not fit what we commanded is only a
    suspicion: this thread then asks the device, and its answer decides. Devices that
    notify nothing are asked when the rig is idle, on real and scaled clocks (with a
    virtual clock nothing may depend on when a thread happens to run).

    It also tells outside listeners of properties that were set past them: the newest
    value of each, at most every 20 ms, however often they are set.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        # Two threads use these at once: every access is a single step of a dict.
        self._suspects: dict[str, Resource] = {}
        self._news: dict[tuple[str, str], str] = {}
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._called = False
        self._next_round_s = 0.0
        self._next_poll_s = time.perf_counter() + IDLE_POLL_S
        self._to_poll: list[Resource] = []
        self._thread = threading.Thread(
            target=self._run, name="smartscope-rig-watcher", daemon=True
        )
        self._polls = bench.clock.kind != "virtual"
        self._slots: list[tuple[str, Callable[..., None]]] = []

    def start(self) -> None:
        """Connect to the core's signals and begin."""
        bench = self._bench
        get, devices = bench.table.get, bench.devices
        for signal, name, device, hear in (
            ("XYStagePositionChanged", "stage", devices.stage, self._on_xy),
            ("stagePositionChanged", "focus", devices.focus, self._on_value),
            ("stagePositionChanged", "fine_focus", devices.fine_focus, self._on_value),
            ("exposureChanged", "exposure", devices.camera, self._on_value),
            ("shutterOpenChanged", "shutter", devices.shutter, self._on_value),
            ("roiSet", "roi", devices.camera, self._on_roi),
        ):
            if (resource := get(name)) is not None and device is not None:
                self._slots.append((signal, partial(hear, resource, device)))
        self._slots.append(("propertyChanged", self._on_property))
        for signal, slot in self._slots:
            getattr(bench.port.core.events, signal).connect(slot)
        self._bench.port.on_set = self._set_by_us
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end; returns when the thread has ended."""
        self._bench.port.on_set = None
        for signal, slot in self._slots:
            getattr(self._bench.port.core.events, signal).disconnect(slot)
        self._calls.put(False)
        self._thread.join()

    def poll(self) -> None:
        """Ask every device about everything, now; external changes are noted."""
        for resource in self._bench.table:
            self._check(resource)

    # -------------------------------------------------- slots: any thread, no waiting

    # Micro-Manager's own thread runs these for every echo of every command of ours, so
    # what is expected must be known for that in a step or two.

    def _on_xy(
        self, stage: Resource, wanted: str, device: str, x_um: float, y_um: float
    ) -> None:
        if device == wanted:
            self._heard(stage, (x_um, y_um))

    def _on_value(
        self, resource: Resource, wanted: str, device: str, value: Any
    ) -> None:
        if device == wanted:
            self._heard(resource, value)

    def _on_roi(self, region: Resource, wanted: str, device: str, *_: int) -> None:
        if device == wanted:
            self._suspect(region)

    def _on_property(self, device: str, prop: str, text: str) -> None:
        for resource in self._bench.table.concerned(device, prop):
            try:
                self._heard(resource, resource.parse(prop, text))
            except (NotImplementedError, ValueError, IndexError):
                # Not a value of its own; the device will say what it means.
                self._suspect(resource)

    def _heard(self, resource: Resource, value: Any) -> None:
        bench = self._bench
        if bench.book.is_pending(resource.name):
            # On its way for us; settling will read it back.
            if self._polls and isinstance(resource, Stage | Drive):
                now = bench.clock.now_ns()
                bench.cache.glimpse(resource.name, value, now, "notified")
            return
        expected = bench.cache.expected(resource.name)
        if expected != value and not resource.same(expected, value):
            self._suspect(resource)

    def _suspect(self, resource: Resource) -> None:
        self._suspects[resource.name] = resource
        self._call()

    def _set_by_us(self, device: str, prop: str, value: str) -> None:
        self._news[device, prop] = value
        self._call()

    def _call(self) -> None:
        # Between a test and a call that cross, at most one call too many is made.
        if not self._called:
            self._called = True
            self._calls.put(True)

    # ------------------------------------------------------------------- own thread

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            patience_s = None
            if self._polls:
                patience_s = max(0.0, self._next_poll_s - time.perf_counter())
            try:
                goes_on = self._calls.get(timeout=patience_s)
                self._look_and_announce()
            except Empty:
                self._poll_when_idle()

    def _look_and_announce(self) -> None:
        time.sleep(max(0.0, self._next_round_s - time.perf_counter()))
        # Before looking: what comes from now on calls again.
        self._called = False
        for name in list(self._suspects):
            self._check(self._suspects.pop(name))
        for at in list(self._news):
            self._announce(*at, self._news.pop(at))
        self._next_round_s = time.perf_counter() + _PACE_S

    def _announce(self, device: str, prop: str, value: str) -> None:
        try:
            self._bench.port.announce(device, prop, value)
        except HardwareError as error:
            _log.warning("%s", error)

    def _poll_when_idle(self) -> None:
        """Ask about all that is polled; goes on soon where a command came between."""
        bench = self._bench
        snapping = bench.history.at("camera", bench.clock.now_ns()) > 0
        if snapping and not bench.port.core.isSequenceRunning():
            # A snap holds its adapter: a question now would wait for the exposure and
            # then stand before the next command.
            self._next_poll_s = time.perf_counter() + IDLE_POLL_S
            return
        if not self._to_poll:
            self._to_poll = [each for each in bench.table if each.polled]
        while self._to_poll:
            if bench.gate.is_shut or bench.book.any_pending():
                self._next_poll_s = time.perf_counter() + _PACE_S
                return
            resource = self._to_poll.pop()
            if not self._is_fresh(resource):
                self._check(resource)
        self._next_poll_s = time.perf_counter() + IDLE_POLL_S

    def _is_fresh(self, resource: Resource) -> bool:
        # The read-back of a command serves as well, and took the device's time already.
        confirmed_ns = self._bench.cache.confirmed_ns(resource.name)
        if confirmed_ns is None:
            return False
        return self._bench.clock.now_ns() - confirmed_ns < _FRESH_NS

    def _check(self, resource: Resource) -> None:
        bench, name = self._bench, resource.name
        version = bench.book.version(name)
        if bench.gate.is_shut or bench.book.is_pending(name):
            return
        expected = bench.cache.expected(name)
        try:
            found = resource.read_for(expected)
        except HardwareError as error:
            # It stays as old as it is, which its age in every state shows.
            _log.warning("%s", error)
            return
        bench.book.if_unchanged(
            name, version, lambda: self._accept(resource, expected, found)
        )

    def _accept(self, resource: Resource, expected: Any, found: Any) -> None:
        bench, name = self._bench, resource.name
        now = bench.clock.now_ns()
        if resource.same(expected, found):
            bench.cache.glimpse(name, found, now, "read")
            return
        bench.store(resource, found, "read")
        if isinstance(resource, Drive) and bench.cache.value("autofocus") is True:
            # Holding the focus is what a hardware autofocus moves it for.
            return
        bench.cache.note_external(
            ExternalChange(
                resource=name,
                before=resource.describe(expected),
                now=resource.describe(found),
                t_ns=now,
            )
        )
