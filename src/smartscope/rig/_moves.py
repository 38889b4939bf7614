"""Moves that take time or several steps: stage, focus, objective."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import NS_PER_MS, HardwareError, SafetyError
from smartscope.rig._resources import Drive, FocusLock, Offset, Stage, Turret

if TYPE_CHECKING:
    from smartscope.rig._bench import Bench
    from smartscope.rig._commands import Command
    from smartscope.rig._issue import Issuer


class Mover:
    """Sends stage and drives off and traces where they are on the way."""

    def __init__(self, bench: Bench, issuer: Issuer) -> None:
        self._bench = bench
        self._issuer = issuer

    # --------------------------------------------------------------------- stage

    def stage(self, x_um: float, y_um: float) -> Command:
        """See `Actuator.move_stage`."""
        stage = self._bench.table.need("stage", Stage)
        self.check_stage(x_um, y_um)
        self._refuse_while_turning(stage.device)
        back = self._bench.config.backlash_um.get(stage.device, 0.0)
        here = self._bench.cache.expected("stage")
        falls = here is None or x_um < here[0] or y_um < here[1]

        def tell(command: Command) -> None:
            if back and falls:
                # Gears are always loaded from the same side: come from below.
                self._send_stage(command, stage, x_um - back, y_um - back)
                command.steps.append(lambda c: self._send_stage(c, stage, x_um, y_um))
            else:
                self._send_stage(command, stage, x_um, y_um)

        return self._issuer.issue(stage, (x_um, y_um), tell, moves=True)

    def check_stage(self, x_um: float, y_um: float) -> None:
        """Refuse what the rig file never allows."""
        _finite("stage", x_um, y_um)
        box = self._bench.config.limits.stage_um
        if box is None:
            return
        for name, value, (low, high) in (("x", x_um, box.x), ("y", y_um, box.y)):
            if not low <= value <= high:
                raise SafetyError(
                    f"stage {name} {value:g} um lies outside of the rig's "
                    f"limits.stage_um, {low:g} to {high:g} um"
                )

    def _send_stage(
        self, command: Command, stage: Stage, x_um: float, y_um: float
    ) -> None:
        bench, timing = self._bench, self._bench.config.timing
        bench.port.set_xy(stage.device, x_um, y_um)
        start = bench.clock.now_ns()
        distance = math.hypot(
            x_um - bench.history.at("x_um", start),
            y_um - bench.history.at("y_um", start),
        )
        travel_ns = int(distance / timing.stage_um_per_ms * NS_PER_MS)

        def trace(end_ns: int, at: tuple[float, float]) -> None:
            bench.history.ramp("x_um", start, max(start, end_ns), at[0])
            bench.history.ramp("y_um", start, max(start, end_ns), at[1])

        arrival = start + travel_ns
        trace(arrival, (x_um, y_um))
        command.trace = trace if command.resource == stage.name else None
        self._under_way(command, stage.device, arrival, timing.stage_settle_ms)

    def _under_way(
        self, command: Command, device: str, arrival_ns: int, settle_ms: float
    ) -> None:
        command.devices = (device,)
        command.t_arrival_ns = arrival_ns
        rest_ms = self._bench.config.settle_ms.get(device, settle_ms)
        command.t_ready_ns = arrival_ns + int(rest_ms * NS_PER_MS)

    # --------------------------------------------------------------------- focus

    def focus(self, z_um: float, *, fine: bool = False) -> Command:
        """See `Actuator.move_focus`."""
        drive = self._bench.table.need("fine_focus" if fine else "focus", Drive)
        self.check_focus(z_um)
        self._refuse_while_turning(drive.device)
        target = z_um - drive.total(0.0)
        if not fine and self._bench.cache.value("autofocus"):
            return self._focus_locked(drive, target)
        return self._issuer.issue(
            drive, target, lambda c: self._approach(c, drive, target), moves=True
        )

    def check_focus(self, z_um: float) -> None:
        """Refuse what the rig file never allows."""
        _finite("focus", z_um)
        span = self._bench.config.limits.focus_um
        if span is not None and not span[0] <= z_um <= span[1]:
            raise SafetyError(
                f"focus {z_um:g} um lies outside of the rig's limits.focus_um, "
                f"{span[0]:g} to {span[1]:g} um"
            )

    def _approach(self, command: Command, drive: Drive, target: float) -> None:
        back = self._bench.config.backlash_um.get(drive.device, 0.0)
        here = self._bench.cache.value(drive.name)
        if back and (here is None or target < here):
            self._send_drive(command, drive, target - back)
            command.steps.insert(0, lambda c: self._send_drive(c, drive, target))
        else:
            self._send_drive(command, drive, target)

    def _send_drive(self, command: Command, drive: Drive, target: float) -> None:
        bench, timing = self._bench, self._bench.config.timing
        bench.port.set_z(drive.device, target)
        start = bench.clock.now_ns()

        def trace(end_ns: int, at: float) -> None:
            bench.history.ramp("z_um", start, max(start, end_ns), drive.total(at))

        arrival = start + int(timing.focus_settle_ms * NS_PER_MS)
        trace(arrival, target)
        command.trace = trace if command.resource == drive.name else None
        self._under_way(command, drive.device, arrival, 0.0)

    def _focus_locked(self, drive: Drive, target: float) -> Command:
        """Move the focus while the hardware autofocus holds it."""
        bench = self._bench
        lock = bench.table.need("autofocus", FocusLock)
        offset = bench.table.find("focus_offset", Offset)
        if offset is not None:
            # Read now: a stale difference would add up over many small moves.
            step = target - bench.port.get_z(drive.device)
            wanted = bench.port.get_z(offset.device) + step
            return self._issuer.issue(
                offset,
                wanted,
                lambda c: self._send_offset(c, offset, wanted, drive.total(target)),
                touches=frozenset({offset.name, drive.name}),
                moves=True,
            )

        def tell(command: Command) -> None:
            bench.port.hold_focus(lock.device, False)
            self._approach(command, drive, target)
            command.steps.append(lambda c: self._relock(c, drive, target))

        return self._issuer.issue(
            drive, target, tell, touches=frozenset({drive.name, lock.name}), moves=True
        )

    def _send_offset(
        self, command: Command, offset: Offset, wanted: float, total: float
    ) -> None:
        bench, timing = self._bench, self._bench.config.timing
        bench.port.set_z(offset.device, wanted)
        start = bench.clock.now_ns()
        arrival = start + int(timing.focus_settle_ms * NS_PER_MS)
        bench.history.ramp("z_um", start, arrival, total)
        self._under_way(command, offset.device, arrival, 0.0)

    def _relock(self, command: Command, drive: Drive, target: float) -> None:
        lock = self._bench.table.need("autofocus", FocusLock)
        self._must_be_at(drive, target)
        self._bench.port.hold_focus(lock.device, True)
        command.devices = lock.devices

    def lock(self, on: bool) -> Command:
        """See `Actuator.lock_focus`."""
        lock = self._bench.table.need("autofocus", FocusLock)
        return self._issuer.issue(
            lock, on, lambda _: self._bench.port.hold_focus(lock.device, on), moves=True
        )

    # ----------------------------------------------------------------- objective

    def objective(self, wanted: str) -> Command:
        """See `Actuator.switch_objective`."""
        bench = self._bench
        turret = bench.table.need("objective", Turret)
        label = self._label_of(turret, wanted)
        self._refuse_while_turning(turret.device)
        if label == bench.cache.value("objective"):
            return self._issuer.issue(
                turret, label, lambda c: self._turn(c, turret, label)
            )
        return self._change_objective(turret, label)

    def _change_objective(self, turret: Turret, label: str) -> Command:
        bench = self._bench
        dx, dy, dz = self._offset_to(label)
        promises: dict[str, object] = {}
        drive = bench.table.find("focus", Drive)
        stage = bench.table.find("stage", Stage)
        escape = bench.config.objective_escape_um
        if drive is not None and (dz or escape is not None):
            z = bench.port.get_z(drive.device) + dz
            promises["focus"] = z
            self.check_focus(drive.total(z))
        if stage is not None and (dx or dy):
            x, y = bench.port.get_xy(stage.device)
            promises["stage"] = (x + dx, y + dy)
            self.check_stage(x + dx, y + dy)
        lock = bench.table.find("autofocus", FocusLock)
        held = lock is not None and bench.cache.value("autofocus") is True

        def tell(command: Command) -> None:
            if lock is not None and held:
                # A lock would follow the escaping focus and fight it.
                bench.port.hold_focus(lock.device, False)
            if drive is not None and escape is not None:
                self._send_drive(command, drive, escape)
                command.steps.append(lambda _: self._must_be_at(drive, escape))
                command.steps.append(lambda c: self._turn(c, turret, label))
            else:
                self._turn(command, turret, label)
            command.steps.append(lambda c: self._return(c, turret, promises))

        return self._issuer.issue(
            turret,
            label,
            tell,
            promises=promises,
            touches=turret.alone | {*promises} | ({"autofocus"} if held else set()),
            moves=True,
        )

    def _turn(self, command: Command, turret: Turret, label: str) -> None:
        bench = self._bench
        bench.port.set_property(turret.device, "Label", label)
        now = bench.clock.now_ns()
        turret.trace(now, label)
        command.devices = turret.devices
        rest_ms = bench.config.settle_ms.get(
            turret.device, bench.config.timing.property_ms
        )
        command.t_arrival_ns = now
        command.t_ready_ns = now + int(rest_ms * NS_PER_MS)

    def _return(
        self, command: Command, turret: Turret, promises: dict[str, object]
    ) -> None:
        """Go where the new objective sees what the old one saw."""
        bench = self._bench
        # Never lift the focus under a turret that has not arrived.
        found = turret.read()
        if not turret.same(command.value, found):
            raise HardwareError(
                f"the turret stopped at {found}, the focus stays down",
                device=turret.device,
            )
        drive = bench.table.find("focus", Drive)
        stage = bench.table.find("stage", Stage)
        target, at = promises.get("focus"), promises.get("stage")
        if drive is not None and isinstance(target, float):
            if "stage" in promises:
                command.steps.insert(0, lambda c: self._send_drive(c, drive, target))
            else:
                self._send_drive(command, drive, target)
        if stage is not None and isinstance(at, tuple):
            self._send_stage(command, stage, *at)

    def _offset_to(self, label: str) -> tuple[float, float, float]:
        bench = self._bench
        here = bench.config.calibration.get(bench.objective() or "")
        there = bench.config.calibration.get(bench.objective_in(label) or "")
        if here is None or there is None:
            return 0.0, 0.0, 0.0
        (a, b, c), (d, e, f) = here.offset_um, there.offset_um
        return d - a, e - b, f - c

    def _label_of(self, turret: Turret, wanted: str) -> str:
        objectives = self._bench.devices.objectives
        for name, label in objectives.items():
            if wanted in (name, label):
                return label
        labels = self._bench.port.core.getStateLabels(turret.device)
        if wanted in labels:
            return wanted
        raise HardwareError(
            f"it has no objective '{wanted}'; {did_you_mean(wanted, objectives)}",
            device=turret.device,
        )

    # ------------------------------------------------------------------- helpers

    def _must_be_at(self, drive: Drive, target: float) -> None:
        found = drive.read()
        if not drive.same(target, found):
            raise HardwareError(
                f"was sent to {target:g} um and is at {found:g} um", device=drive.device
            )

    def _refuse_while_turning(self, device: str) -> None:
        if self._bench.book.is_pending("objective"):
            raise HardwareError(
                "the objective turret is turning; settle that command first",
                device=device,
            )


def _finite(what: str, *values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise HardwareError(f"the {what} cannot go to {values}: not a finite number")
