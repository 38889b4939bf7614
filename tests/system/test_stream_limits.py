"""What bounds a stream: the light budget, the limits of the stage, its own end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from film_helpers import PATIENCE_S, film
from small_runs import DEMO, rig, slow_rig

from smartscope.config import Stream
from smartscope.control import FollowUp, LightPlan, StreamControl
from smartscope.control._switch import LightSwitch
from smartscope.core import (
    Acquire,
    HardwareError,
    RealClock,
    Request,
    SafetyError,
    SetExposure,
    ShiftPosition,
    View,
)
from smartscope.rig import Actuator, Rig
from smartscope.testing import FaultyCore, fails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.core import Action, Outcome
    from smartscope.runs import RunResult

BOX = {"stage_um": {"x": [-50, 50], "y": [-50, 50]}}
RESTART = {"capabilities": {"stage": "restart"}}


@pytest.fixture
def demo_rig(core: FaultyCore) -> Iterator[Rig]:
    config = rig("demo_laser_rig", capabilities={"exposure": "restart"})
    opened = Rig.open(config, RealClock(), base_dir=DEMO, core=core)
    yield opened
    opened.close()


def statuses(result: RunResult) -> list[str]:
    return [outcome.status for outcome in result.folder.outcomes]


# ------------------------------------------------------------------------ light budget


def test_the_budget_is_kept_between_two_lines_of_the_journal(core, tmp_path) -> None:
    result = film(
        core,
        tmp_path,
        duration_s=20,
        safety={"dose_per_fov_relative": 13.0, "on_budget": "stop"},
    )
    assert result.outcome == "stopped"
    assert "light budget" in result.message
    spent = result.folder.end["dose"]["lines"]["488"]["worst_field"]["percent_s"]
    # 10 % spends 10 in a second, which is how often the journal is told: who charges
    # only then spends 20. A computer that is busy elsewhere looks late, not that late.
    assert 6.0 < spent < 19.0


def test_setting_up_is_no_light(core, tmp_path, monkeypatch) -> None:
    """A rig that takes long to begin has spent nothing yet."""
    from smartscope.runs import _live

    start = _live.start_record

    def late(*args: Any, **fields: Any) -> Any:
        time.sleep(1.5)
        return start(*args, **fields)

    monkeypatch.setattr(_live, "start_record", late)
    result = film(
        core,
        tmp_path,
        frames=20,
        safety={"dose_per_fov_relative": 20.0, "on_budget": "stop"},
    )
    assert (result.outcome, result.frames) == ("completed", 20), result.message


# ------------------------------------------------------------------------------- moves


@pytest.mark.parametrize("changes", [{}, RESTART], ids=["live", "restart"])
def test_shifts_of_a_stream_stay_in_the_limits(changes, core, policy, tmp_path) -> None:
    body = """
if seen.number in (4, 12, 20):
    yield ShiftPosition(reason="on", dx_um=40.0)
"""
    result = film(
        core,
        tmp_path,
        frames=60,
        policies=[policy(body)],
        safety=BOX,
        rig_changes=changes,
    )
    assert result.outcome == "completed", result.message
    assert statuses(result) == ["applied", "rejected", "rejected"]
    assert core.getXYPosition("XY") == pytest.approx([40.0, 0.0], abs=0.5)


def test_a_stack_of_a_stream_is_checked_around_its_present_focus(
    core, policy, tmp_path
) -> None:
    body = """
if seen.number == 4:
    yield MoveFocus(reason="up", z_um=8.0)
if seen.number == 20:
    yield Acquire(reason="too far", z_offsets_um=(0.0, 5.0))
if seen.number == 30:
    yield Acquire(reason="within", z_offsets_um=(0.0, -15.0))
"""
    result = film(
        core,
        tmp_path,
        frames=60,
        policies=[policy(body)],
        safety={"focus_um": [-10, 10]},
    )
    assert result.outcome == "completed", result.message
    assert statuses(result) == ["applied", "rejected", "applied"]
    heights = [f.state.z_um for f in result.folder.frames if f.role == "reaction"]
    assert heights == pytest.approx([8.0, -7.0], abs=0.1)


def test_shifts_during_a_move_add_up(slow, policy, tmp_path) -> None:
    body = """
if seen.number in (5, 10, 15, 20):
    yield ShiftPosition(reason="on", dx_um=50.0)
"""
    result = film(
        slow, tmp_path, frames=150, policies=[policy(body)], config=slow_rig()
    )
    assert result.outcome == "completed", result.message
    assert statuses(result) == ["applied"] * 4
    overtaken = [o for o in result.folder.outcomes if "overtaken" in o.message]
    assert overtaken, "nothing is shown unless the moves overlap"
    assert slow.getXYPosition("XY") == pytest.approx([200.0, 0.0], abs=1.0)


def test_the_limits_hold_for_shifts_during_a_move(slow, policy, tmp_path) -> None:
    body = """
if seen.number in (5, 7):
    yield ShiftPosition(reason="on", dx_um=40.0)
if seen.number == 9:
    yield ShiftPosition(reason="back", dx_um=-20.0)
"""
    result = film(
        slow,
        tmp_path,
        frames=100,
        policies=[policy(body)],
        config=slow_rig(),
        safety=BOX,
    )
    assert result.outcome == "completed", result.message
    assert sorted(statuses(result)) == ["applied", "applied", "rejected"]
    assert slow.getXYPosition("XY") == pytest.approx([20.0, 0.0], abs=1.0)


# --------------------------------------------------- one control, asked by hand


@pytest.fixture
def control(demo_rig: Rig) -> Iterator[StreamControl]:
    later: list[Any] = []
    follow_up = FollowUp(
        demo_rig, arrived=later.append, inline=False, failed=later.append
    )
    yield StreamControl(
        demo_rig,
        Stream(channel="FITC", exposure_ms=10, frames=10),
        LightPlan(("488",), {"FITC": {"488": 10.0}}),
        follow_up,
        pause=lambda: None,
    )
    follow_up.close(PATIENCE_S)
    assert [o for o in later if isinstance(o, BaseException)] == []


def ask(control: StreamControl, action: Action) -> Outcome | None:
    request = Request(
        action_id="1.0",
        policy="by hand",
        view=View(0, "Camera"),
        action=action,
        t_decided_ns=0,
        observation=0,
    )
    return control.handlers()[type(action)](request, action)


def test_a_shift_refused_half_way_leaves_nothing_pending(
    core, demo_rig, control
) -> None:
    core.inject("setPosition", fails("stuck", when=lambda *args: args[-1] == 6.0))
    with pytest.raises(HardwareError, match="stuck"):
        ask(control, ShiftPosition(reason="both", dx_um=10.0, dz_um=6.0))
    state = demo_rig.state(demo_rig.clock.now_ns())
    assert state.pending == ()
    assert state.x_um == pytest.approx(10.0, abs=0.5), "the stage had gone already"
    assert control.heading_um() == (None, None, None)


def test_a_shift_beyond_the_focus_limits_of_the_rig_leaves_nothing_pending(
    demo_rig, control
) -> None:
    with pytest.raises(SafetyError, match="focus"):
        ask(control, ShiftPosition(reason="both", dx_um=10.0, dz_um=600.0))
    assert demo_rig.state(demo_rig.clock.now_ns()).pending == ()


LATE = [
    SetExposure(reason="late", exposure_ms=20.0),
    Acquire(reason="late", frames=3),
]


@pytest.mark.parametrize("action", LATE, ids=["restart", "burst"])
def test_what_comes_after_the_end_is_told_so(action, control) -> None:
    assert ask(control, action) is None
    (left,) = control.end()
    assert left.request.action == action
    outcome = ask(control, action)
    assert outcome is not None
    assert (outcome.status, outcome.message) == ("rejected", "the stream is over")
    assert control.end() == []
    assert control.take_interruption() is None


# --------------------------------------------------------------------- the light


def test_a_light_barred_while_it_comes_on_is_shut_before_anybody_waits(
    core, demo_rig, monkeypatch
) -> None:
    log: list[str] = []
    switch = LightSwitch(demo_rig)
    settle = Actuator.settle

    def waits(self: Actuator, *commands: Any, **options: Any) -> None:
        if commands:
            log.append("waits")
        settle(self, *commands, **options)

    def shutter(*args: Any) -> None:
        log.append("open" if args[-1] else "shut")
        switch.bar()

    monkeypatch.setattr(Actuator, "settle", waits)
    core.watch("setShutterOpen", shutter)
    switch.on({"488": 10.0})
    switch.close()
    assert log == ["open", "shut", "waits"]
    assert not core.getShutterOpen("Shutter")
    assert demo_rig.state(demo_rig.clock.now_ns()).pending == ()
