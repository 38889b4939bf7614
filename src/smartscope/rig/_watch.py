"""Listens to the devices and looks after them when idle: notices what others change."""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from smartscope.core import HardwareError
from smartscope.rig._cache import ExternalChange
from smartscope.rig._resources import Drive, Region, Resource, Shutter, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.rig._bench import Bench

_log = logging.getLogger("smartscope.rig")
_Announcement = tuple[str, str, str]
IDLE_POLL_S = 0.5


class Watcher:
    """Keeps the cache true to what devices say and do by themselves.

    Micro-Manager notifies asynchronously on a thread of its own, in part long after
    the fact. So a notification that does not fit what we commanded is only a
    suspicion: this thread then asks the device, and its answer decides. Devices that
    notify nothing are asked when the rig is idle, on real and scaled clocks (with a
    virtual clock nothing may depend on when a thread happens to run).

    It also tells outside listeners of properties that were set past them.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._jobs: SimpleQueue[Resource | _Announcement | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name="smartscope-rig-watcher", daemon=True
        )
        self._polls = bench.clock.kind != "virtual"
        self._signals: dict[str, Callable[..., None]] = {
            "XYStagePositionChanged": self._on_xy,
            "stagePositionChanged": self._on_z,
            "propertyChanged": self._on_property,
            "exposureChanged": self._on_exposure,
            "shutterOpenChanged": self._on_shutter,
            "roiSet": self._on_roi,
        }

    def start(self) -> None:
        """Connect to the core's signals and begin."""
        events = self._bench.port.core.events
        for name, slot in self._signals.items():
            getattr(events, name).connect(slot)
        self._bench.port.on_set = self._set_by_us
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end; returns when the thread has ended."""
        self._bench.port.on_set = None
        events = self._bench.port.core.events
        for name, slot in self._signals.items():
            getattr(events, name).disconnect(slot)
        self._jobs.put(None)
        self._thread.join()

    def poll(self) -> None:
        """Ask every device about everything, now; external changes are noted."""
        for resource in self._bench.table:
            self._check(resource)

    # -------------------------------------------------- slots: any thread, no waiting

    def _on_xy(self, device: str, x_um: float, y_um: float) -> None:
        stage = self._bench.table.find("stage", Stage)
        if stage is not None and stage.device == device:
            self._heard(stage, (x_um, y_um))

    def _on_z(self, device: str, z_um: float) -> None:
        for name in ("focus", "fine_focus"):
            drive = self._bench.table.find(name, Drive)
            if drive is not None and drive.device == device:
                self._heard(drive, z_um)

    def _on_property(self, device: str, prop: str, text: str) -> None:
        for resource in self._bench.table.concerned(device, prop):
            try:
                self._heard(resource, resource.parse(prop, text))
            except (NotImplementedError, ValueError, IndexError):
                # Not a value of its own; the device will say what it means.
                self._jobs.put(resource)

    def _on_exposure(self, device: str, exposure_ms: float) -> None:
        exposure = self._bench.table.get("exposure")
        if exposure is not None and device in exposure.devices:
            self._heard(exposure, exposure_ms)

    def _on_shutter(self, device: str, is_open: bool) -> None:
        shutter = self._bench.table.find("shutter", Shutter)
        if shutter is not None and shutter.device == device:
            self._heard(shutter, is_open)

    def _on_roi(self, device: str, x: int, y: int, width: int, height: int) -> None:
        region = self._bench.table.find("roi", Region)
        if region is not None:
            self._jobs.put(region)

    def _heard(self, resource: Resource, value: Any) -> None:
        bench = self._bench
        if bench.book.is_pending(resource.name):
            # On its way for us; settling will read it back.
            if self._polls and isinstance(resource, Stage | Drive):
                now = bench.clock.now_ns()
                bench.cache.glimpse(resource.name, value, now, "notified")
            return
        if not resource.same(bench.cache.expected(resource.name), value):
            self._jobs.put(resource)

    def _set_by_us(self, device: str, prop: str, value: str) -> None:
        self._jobs.put((device, prop, value))

    # ------------------------------------------------------------------- own thread

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_POLL_S if self._polls else None)
            except Empty:
                self._poll_when_idle()
                continue
            if job is None:
                return
            if isinstance(job, Resource):
                self._check(job)
            else:
                self._announce(*job)

    def _announce(self, device: str, prop: str, value: str) -> None:
        try:
            self._bench.port.announce(device, prop, value)
        except HardwareError as error:
            _log.warning("%s", error)

    def _poll_when_idle(self) -> None:
        bench = self._bench
        snapping = bench.history.at("camera", bench.clock.now_ns()) > 0
        if snapping and not bench.port.core.isSequenceRunning():
            # A snap holds its adapter: a question now would wait for the exposure and
            # then stand before the next command.
            return
        for resource in bench.table:
            if bench.gate.is_shut or bench.book.any_pending():
                return
            if resource.polled:
                self._check(resource)

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
