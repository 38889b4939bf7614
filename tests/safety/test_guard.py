from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import useq
from rigs import LINE, experiment, request, rig

from smartscope.config import RigConfig, Stream
from smartscope.core import (
    NS_PER_S,
    Acquire,
    ConfigError,
    HardwareState,
    Keep,
    Mark,
    MoveFocus,
    MoveStage,
    Nothing,
    Pause,
    SafetyError,
    SetExposure,
    SetInterval,
    SetPower,
    SetProperty,
    SetRoi,
    ShiftPosition,
    ShowPattern,
    Stop,
    SwitchObjective,
)
from smartscope.safety import Guard, RateLimit

LIMITS = {
    "stage_um": {"x": [-1000, 1000], "y": [-500, 500]},
    "focus_um": [-50, 50],
    "power_percent": {488: 60},
    "power_mw": {488: 5},
    "exposure_ms": [1, 200],
    "max_lit_ms": 1000,
}
CALIBRATION = {
    "10x": {"pixel_um": 1.0},
    "20x": {"pixel_um": 0.5, "offset_um": [30, 0, 45]},
}
STATE = HardwareState(
    x_um=0.0, y_um=0.0, z_um=0.0, objective="10x", exposure_ms=20.0, channel="FITC"
)
WHERE = "rig 'stand'"
TRIANGLE = (((0.0, 0.0), (0.0, 9.0), (9.0, 0.0)),)


def guard(safety=None, **more: Any) -> Guard:
    stand = rig(limits=LIMITS, calibration=CALIBRATION, **more)
    return Guard(stand, experiment(safety=safety or {}))


def check(action, made: Guard | None = None, **more: Any) -> str | None:
    at = {
        "state": STATE,
        "planned": (900.0, 0.0, 40.0),
        "sensor_px": (512, 1024),
        **more,
    }
    return (made or guard()).check_action(request(action), **at)


ALLOWED = [
    Nothing(reason=""),
    Mark(reason=""),
    Stop(reason=""),
    Pause(reason=""),
    SetInterval(interval_s=None, reason=""),
    SetInterval(interval_s=0.1, reason=""),
    Keep(before_s=1e6, after_s=3.0, reason=""),
    MoveStage(x_um=1000.0, y_um=-500.0, reason=""),
    MoveStage(x_um=np.float32(7), y_um=3, reason=""),
    MoveFocus(z_um=-50.0, reason=""),
    ShiftPosition(dx_um=100.0, dy_um=-500.0, dz_um=10.0, reason=""),
    SetPower(line="488", power_percent=0.0, reason=""),
    SetPower(line="488", power_percent=58.0, reason=""),  # 5 mW
    SetPower(line="561", power_percent=100.0, reason=""),
    SetExposure(exposure_ms=200.0, reason=""),
    Acquire(frames=50, reason=""),  # 50 x 20 ms is 1 s
    Acquire(frames=500, interval_s=0.1, reason=""),
    Acquire(channel="Cy3", z_offsets_um=(-10.0, 10.0), reason=""),
    SetRoi(reason=""),
    SetRoi(x_px=512, y_px=256, width_px=512, height_px=256, reason=""),
    SetProperty(device="Camera", property="Gain", value="2", reason=""),
    SwitchObjective(objective="20x", reason=""),
    ShowPattern(polygons_px=TRIANGLE, reason=""),
]


@pytest.mark.parametrize("action", ALLOWED, ids=lambda action: type(action).__name__)
def test_allowed(action):
    assert check(action) is None


def test_a_ring_gives_back_no_more_than_it_holds():
    asked = experiment(
        acquisition=Stream(channel="FITC", exposure_ms=10, frames=5),
        record={"keep": "asked", "ring_s": 2.5},
    )
    made = Guard(rig(limits=LIMITS, calibration=CALIBRATION), asked)
    assert check(Keep(before_s=2.5, after_s=1e6, reason=""), made) is None
    assert check(Keep(before_s=2.6, reason=""), made) == (
        "the 2.6 s before are asked for, and only 2.5 s are held "
        "(record.ring_s of the experiment)"
    )


def why(**kwargs):
    return {"reason": "", **kwargs}


REFUSED = [
    # -- numbers that are none
    (
        MoveStage(**why(x_um=math.nan, y_um=0.0)),
        "x_um is nan, which is no number to act on",
    ),
    (MoveFocus(**why(z_um=math.inf)), "z_um is inf, which is no number to act on"),
    (
        ShiftPosition(**why(dy_um=-math.inf)),
        "dy_um is -inf, which is no number to act on",
    ),
    (MoveFocus(**why(z_um=None)), "z_um is None, expected float"),
    (MoveStage(**why(x_um="1", y_um=0.0)), "x_um is '1', expected float"),
    (Acquire(**why(frames=2.5)), "frames is 2.5, expected int"),
    (
        Acquire(**why(z_offsets_um=(0.0, math.nan))),
        "z_offsets_um is nan, which is no number to act on",
    ),
    (Keep(**why(before_s=-1.0)), "before_s -1 is below 0"),
    (Keep(**why(before_s=1.0, after_s=-0.5)), "after_s -0.5 is below 0"),
    (
        Keep(**why(before_s=math.inf)),
        "before_s is inf, which is no number to act on",
    ),
    (
        SetInterval(**why(interval_s=0.0)),
        "interval 0 s is not above 0",
    ),
    (
        Mark(**why(deadline_ms=math.nan)),
        "deadline_ms is nan, which is no number to act on",
    ),
    # -- travel
    (
        MoveStage(**why(x_um=1001.0, y_um=0.0)),
        "stage x 1001 um is outside of -1000 to 1000 um (limits.stage_um.x of "
        f"{WHERE})",
    ),
    (
        MoveStage(**why(x_um=0.0, y_um=-501.0)),
        f"stage y -501 um is outside of -500 to 500 um (limits.stage_um.y of {WHERE})",
    ),
    (
        MoveFocus(**why(z_um=50.1)),
        f"focus 50.1 um is outside of -50 to 50 um (limits.focus_um of {WHERE})",
    ),
    (
        ShiftPosition(**why(dx_um=101.0)),
        "stage x 1001 um is outside of -1000 to 1000 um (limits.stage_um.x of "
        f"{WHERE})",
    ),
    (
        ShiftPosition(**why(dz_um=11.0)),
        f"focus 51 um is outside of -50 to 50 um (limits.focus_um of {WHERE})",
    ),
    # -- light
    (
        SetPower(**why(line="448", power_percent=1.0)),
        "the rig has no light line 448; did you mean '488'?",
    ),
    (
        SetPower(**why(line="488", power_percent=-1.0)),
        "power -1 % of line 488 is not between 0 and 100 %",
    ),
    (
        SetPower(**why(line="561", power_percent=101.0)),
        "power 101 % of line 561 is not between 0 and 100 %",
    ),
    (
        SetPower(**why(line="488", power_percent=61.0)),
        f"power 61 % of line 488 is above 60 % (limits.power_percent.488 of {WHERE})",
    ),
    (
        SetPower(**why(line="488", power_percent=59.0)),
        "power 5.17 mW of line 488 at 59 % is above 5 mW (limits.power_mw.488 of "
        f"{WHERE})",
    ),
    (
        SetExposure(**why(exposure_ms=-5.0)),
        "exposure -5 ms is no exposure",
    ),
    (SetExposure(**why(exposure_ms=0.0)), "exposure 0 ms is no exposure"),
    (
        SetExposure(**why(exposure_ms=201.0)),
        f"exposure 201 ms is outside of 1 to 200 ms (limits.exposure_ms of {WHERE})",
    ),
    # -- bursts
    (Acquire(**why(frames=0)), "a burst of 0 frames is none"),
    (Acquire(**why(frames=2, interval_s=-1.0)), "interval -1 s is below 0"),
    (
        Acquire(**why(frames=51)),
        "light would stay on for 1020 ms, longer than 1000 ms (limits.max_lit_ms of "
        f"{WHERE})",
    ),
    (
        Acquire(**why(frames=26, z_offsets_um=(0.0, 1.0))),
        "light would stay on for 1040 ms, longer than 1000 ms (limits.max_lit_ms of "
        f"{WHERE})",
    ),
    (
        Acquire(**why(z_offsets_um=(-1.0, 11.0))),
        f"focus 51 um is outside of -50 to 50 um (limits.focus_um of {WHERE})",
    ),
    (
        Acquire(**why(channel="FITZ")),
        "nothing says how strong the light of channel FITZ is; did you mean 'FITC'?",
    ),
    # -- camera
    (
        SetRoi(**why(x_px=0)),
        "a region needs x_px, y_px, width_px and height_px, or none of them",
    ),
    (
        SetRoi(**why(x_px=0, y_px=0, width_px=0, height_px=9)),
        "the region 0, 0, 0 x 9 px is no region",
    ),
    (
        SetRoi(**why(x_px=-1, y_px=0, width_px=9, height_px=9)),
        "the region -1, 0, 9 x 9 px is no region",
    ),
    (
        SetRoi(**why(x_px=1020, y_px=0, width_px=9, height_px=9)),
        "the region 1020, 0, 9 x 9 px is outside of the sensor's 1024 x 512 px",
    ),
    (
        SetRoi(**why(x_px=0, y_px=504, width_px=9, height_px=9)),
        "the region 0, 504, 9 x 9 px is outside of the sensor's 1024 x 512 px",
    ),
    # -- properties that have a guarded way of their own
    (
        SetProperty(**why(device="Laser", property="Voltage", value="10")),
        "Laser.Voltage is the power of line 488: use SetPower",
    ),
    (
        SetProperty(**why(device="Camera", property="Exposure", value="10")),
        "Camera.Exposure has an action of its own: use SetExposure",
    ),
    (
        SetProperty(**why(device="Z", property="Position", value="900")),
        "Z is the rig's focus: its properties are not set by hand",
    ),
    (
        SetProperty(**why(device="Core", property="AutoShutter", value="0")),
        "Core.AutoShutter keeps the rig safe and is not set by a policy",
    ),
    (
        SetProperty(**why(device="Enable", property="State", value="1")),
        "Enable.State keeps the rig safe and is not set by a policy",
    ),
    # -- slm
    (
        ShowPattern(**why(polygons_px=(((0.0, 0.0),),))),
        "a polygon of 1 points encloses nothing",
    ),
    (
        ShowPattern(**why(polygons_px=TRIANGLE, intensity=256)),
        "intensity 256 is not between 0 and 255",
    ),
    (
        ShowPattern(**why(polygons_px=(((0.0, math.nan),) * 3,))),
        "polygons_px is nan, which is no number to act on",
    ),
    (
        ShowPattern(**why(polygons_px=(((0.0, 0.0, 0.0),) * 3,))),
        "a point of a polygon is (y, x)",
    ),
]


@pytest.mark.parametrize(
    ("action", "said"),
    REFUSED,
    ids=[f"{type(action).__name__}-{i}" for i, (action, _) in enumerate(REFUSED)],
)
def test_refused(action, said):
    assert check(action) == said


def test_a_pattern_needs_a_calibration_of_the_objective_and_all_off_does_not():
    other = HardwareState(objective="20x")
    lit = ShowPattern(polygons_px=TRIANGLE, reason="")
    assert check(lit) is None
    assert check(lit, state=other) == (
        f"the SLM is not calibrated for objective 20x (slm.calibration of {WHERE}); "
        "run 'smartscope calibrate --slm'"
    )
    assert check(ShowPattern(polygons_px=(), reason=""), state=other) is None


def test_an_offset_that_is_there_already_counts():
    shift = ShiftPosition(dx_um=60.0, reason="")
    assert check(shift, offset=(40.0, 0.0, 0.0)) is None
    assert "stage x 1001 um" in (check(shift, offset=(41.0, 0.0, 0.0)) or "")


def test_a_position_that_is_not_planned_starts_where_the_stage_is():
    shift = ShiftPosition(dx_um=60.0, reason="")
    here = HardwareState(x_um=950.0, y_um=0.0)
    assert "stage x 1010 um" in (
        check(shift, planned=(None, None, None), state=here) or ""
    )
    nowhere = check(shift, planned=(None, None, None), state=HardwareState())
    assert nowhere == "the stage position is unknown"
    focus = ShiftPosition(dz_um=1.0, reason="")
    nowhere = check(focus, planned=(None, None, None), state=HardwareState())
    assert nowhere == "the focus position is unknown"


@pytest.mark.parametrize(
    ("action", "role"),
    [
        (MoveStage(x_um=0, y_um=0, reason=""), "stage"),
        (ShiftPosition(dx_um=1.0, reason=""), "stage"),
        (ShiftPosition(dz_um=1.0, reason=""), "focus"),
        (MoveFocus(z_um=0, reason=""), "focus"),
        (Acquire(z_offsets_um=(1.0,), reason=""), "focus"),
        (SwitchObjective(objective="20x", reason=""), "objective"),
        (ShowPattern(polygons_px=TRIANGLE, reason=""), "slm"),
    ],
)
def test_an_unfilled_role_refuses(action, role):
    bare = guard(roles={"camera": "Camera"})
    assert check(action, bare) == (
        f"the rig fills no {role} role (roles.{role} of {WHERE})"
    )


def test_a_mosaic_has_a_stage_and_a_plain_recording_has_none():
    move = request(MoveStage(x_um=1.0, y_um=1.0, reason=""))
    for mosaic in (True, False):
        recorded = RigConfig.model_validate(
            {"name": "r", "recording": {"path": "x.tif", "mosaic": mosaic}}
        )
        made = Guard(recorded, experiment(light={}))
        refused = made.check_action(move, state=HardwareState())
        assert (refused is None) == mosaic


def test_the_experiments_own_limit_is_named_as_such():
    tight = guard(safety={"focus_um": [-1, 1], "power_mw": {488: 1}})
    assert check(MoveFocus(z_um=2.0, reason=""), tight) == (
        "focus 2 um is outside of -1 to 1 um (safety.focus_um of the experiment)"
    )
    assert (
        check(SetPower(line="488", power_percent=30.0, reason=""), tight) or ""
    ).endswith("is above 1 mW (safety.power_mw.488 of the experiment)")


def test_a_power_in_mw_that_nobody_knows_is_refused():
    elsewhere = HardwareState(objective="20x")
    assert check(
        SetPower(line="488", power_percent=1.0, reason=""), state=elsewhere
    ) == (
        "power of line 488 cannot be compared with 5 mW (limits.power_mw.488 of "
        f"{WHERE}"
        "): there is no power calibration for objective 20x"
    )
    # Off is off, whatever the objective.
    off = SetPower(line="488", power_percent=0.0, reason="")
    assert check(off, state=elsewhere) is None


def test_turning_an_objective_in_is_checked_where_it_ends():
    turn = SwitchObjective(objective="20x", reason="")
    high = HardwareState(x_um=0.0, y_um=0.0, z_um=6.0, objective="10x")
    assert "focus 51 um is outside" in (check(turn, state=high) or "")
    # 20x has no power calibration, so the limit in mW could not be kept.
    lit = check(turn, powers={"488": 10.0})
    assert "power of line 488 cannot be compared with 5 mW" in (lit or "")


def test_without_powers_of_its_own_an_objective_is_checked_at_the_present_ones():
    lit = HardwareState(x_um=0.0, y_um=0.0, z_um=0.0, power_percent={"488": 10.0})
    turn = SwitchObjective(objective="20x", reason="")
    assert "cannot be compared" in (check(turn, state=lit) or "")
    assert check(turn, state=lit, powers={"488": 0.0}) is None


@pytest.mark.parametrize(
    ("limits", "points", "highest"),
    [
        ({}, None, 100),
        ({"power_percent": {488: 60}}, None, 60),
        ({"power_mw": {488: 2}}, None, 40),
        ({"power_mw": {488: 7}, "power_percent": {488: 60}}, None, 60),
        ({"power_mw": {488: 99}}, None, 100),
        ({"power_mw": {488: 99}}, [[0, 0], [4, 2]], 40),  # not known beyond
        ({"power_mw": {488: 2}}, [[1, 3], [10, 9]], 0),
        ({"power_mw": {488: 2}}, [[0, 0], [2, 4], [4, 0]], 10),  # rises, then falls
    ],
)
def test_the_highest_power_is_allowed_and_no_more(limits, points, highest):
    light = {488: {**LINE, "calibration": {"10x": points}} if points else LINE}
    made = Guard(rig(limits=limits, light=light), experiment(light={}))
    assert made.highest_percent("10x") == pytest.approx({"488": highest})
    power = made.highest_percent("10x")["488"]
    assert check(SetPower(line="488", power_percent=power, reason=""), made) is None
    more = SetPower(line="488", power_percent=power + 0.01, reason="")
    assert check(more, made) is not None


def test_a_limit_in_mw_that_nobody_can_translate_allows_nothing():
    assert guard().highest_percent("20x") == {"488": 0.0, "561": 100.0}


# --------------------------------------------------------------------------- rate


def test_hardware_actions_are_limited_in_any_second():
    made = guard(safety={"actions_per_s": 3})
    move = MoveFocus(z_um=0.0, reason="")

    def at(ms: int) -> str | None:
        return check(move, made, t_ns=ms * 1_000_000)

    assert [at(ms) is None for ms in (0, 400, 900, 950, 999)] == [True] * 3 + [
        False
    ] * 2
    assert at(999) == (
        "more than 3 hardware actions per second (safety.actions_per_s of the "
        "experiment)"
    )
    # What was refused does not count; the first leaves the window after a second.
    assert [at(ms) is None for ms in (1000, 1001, 1400)] == [True, False, True]


def test_what_moves_nothing_is_not_counted():
    made = guard(safety={"actions_per_s": 1})
    for action in (
        Nothing(reason=""),
        Mark(reason=""),
        Stop(reason=""),
        Pause(reason=""),
        SetInterval(interval_s=1.0, reason=""),
    ):
        assert all(check(action, made, t_ns=0) is None for _ in range(3))
    assert check(MoveFocus(z_um=0.0, reason=""), made, t_ns=0) is None
    assert check(MoveFocus(z_um=0.0, reason=""), made, t_ns=1) is not None


def test_a_refused_action_does_not_use_up_the_rate():
    made = guard(safety={"actions_per_s": 1})
    assert check(MoveFocus(z_um=99.0, reason=""), made, t_ns=0) is not None
    assert check(MoveFocus(z_um=0.0, reason=""), made, t_ns=0) is None


def test_less_than_one_per_second():
    rare = RateLimit(0.25)
    assert [rare.admit(s * NS_PER_S) for s in (0, 1, 3, 4)] == [
        True,
        False,
        False,
        True,
    ]


# --------------------------------------------------------------------------- plans


def plan(**kwargs: Any) -> useq.MDASequence:
    return useq.MDASequence(
        **{"channels": [{"config": "FITC", "exposure": 20}], **kwargs}
    )


def test_a_plan_within_the_limits():
    sequence = plan(
        stage_positions=[(1000, -500, 0), (-1000, 500, 40)],
        z_plan={"range": 20, "step": 5},
        time_plan={"interval": 1, "loops": 3},
    )
    events = list(sequence)
    assert guard().check_plan(iter(events), objective="10x") == len(events) == 30


FIX = "change it, or ask whoever owns the rig file"


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        (
            plan(stage_positions=[(0, 0, 0), (1001, 0, 0)]),
            "acquisition.stage_positions[1]: planned event 1 (p=1, c=0): stage x "
            "1001 um "
            f"is outside of -1000 to 1000 um (limits.stage_um.x of {WHERE}); {FIX}",
        ),
        (
            plan(stage_positions=[(0, 0, 51)]),
            "acquisition.stage_positions[0]: planned event 0 (p=0, c=0): focus 51 "
            "um is "
            f"outside of -50 to 50 um (limits.focus_um of {WHERE}); {FIX}",
        ),
        (
            plan(stage_positions=[(0, 0, 45)], z_plan={"range": 12, "step": 6}),
            "acquisition.z_plan: planned event 2 (p=0, c=0, z=2): focus 51 um is "
            "outside "
            f"of -50 to 50 um (limits.focus_um of {WHERE}); {FIX}",
        ),
        (
            plan(channels=["FITC", {"config": "Cy3", "exposure": 300}]),
            "acquisition.channels[1].exposure: planned event 1 (c=1): exposure "
            "300 ms is "
            f"outside of 1 to 200 ms (limits.exposure_ms of {WHERE}); {FIX}",
        ),
        (
            plan(channels=["DAPI"]),
            "light: channel DAPI is planned, but nothing says how strong its light is; "
            "add 'light: {DAPI: {'488': {power_percent: 10}}}'",
        ),
        (
            plan(
                channels=[{"config": "FITC", "exposure": 100}],
                z_plan={"range": 20, "step": 2},
                stage_positions=[(0, 0, 0)],
                keep_shutter_open_across=("z",),
            ),
            "acquisition.keep_shutter_open_across: planned event 10 (p=0, c=0, z=10): "
            "light would stay on for 1100 ms, longer than 1000 ms "
            "(limits.max_lit_ms of "
            f"{WHERE}); {FIX}",
        ),
    ],
)
def test_the_first_event_that_breaks_a_limit(sequence, said):
    with pytest.raises(ConfigError) as caught:
        guard().check_plan(sequence, objective="10x")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("light", "said"),
    [
        (
            {"FITC": {488: {"power_percent": 61}}},
            "light.FITC: planned event 0 (c=0): power 61 % of line 488 is above 60 %",
        ),
        (
            {"FITC": {488: {"power_mw": 6}}},
            "light.FITC: planned event 0 (c=0): power 6 mW of line 488 at 64 % is "
            "above",
        ),
    ],
)
def test_planned_light(light, said):
    limits = {**LIMITS, "power_percent": {488: 60} if "61" in said else {}}
    made = Guard(rig(limits=limits), experiment(light=light))
    with pytest.raises(ConfigError) as caught:
        made.check_plan(plan(), objective="10x")
    assert str(caught.value).startswith(said)


def test_offsets_are_added_to_the_plan():
    sequence = plan(stage_positions=[(990, 0, 0), (0, 0, 0)])
    shifts = {0: (0.0, 0.0, 0.0), 1: (995.0, 0.0, 0.0)}

    def offset_of(event):
        return shifts[event.index["p"]]

    made = guard()
    made.check_plan(sequence, offset_of=offset_of, objective="10x")
    shifts[0] = (11.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="stage x 1001 um"):
        made.check_plan(sequence, offset_of=offset_of, objective="10x")
    # Without a planned position the rig stays where it is.
    far = {"offset_of": lambda event: (11.0, 0.0, 0.0), "objective": "10x"}
    made.check_plan(plan(), home=(980.0, 0.0, 0.0), **far)
    with pytest.raises(ConfigError, match="stage x 1001 um"):
        made.check_plan(plan(), home=(990.0, 0.0, 0.0), **far)


def test_a_plan_that_moves_what_the_rig_has_not():
    bare = guard(roles={"camera": "Camera"})
    with pytest.raises(ConfigError, match="the rig fills no stage role"):
        bare.check_plan(plan(stage_positions=[(0, 0)]), objective="10x")
    with pytest.raises(ConfigError, match="the rig fills no focus role"):
        bare.check_plan([useq.MDAEvent(z_pos=1)], objective="10x")


def test_a_planned_property_may_not_pass_the_limit_either():
    event = useq.MDAEvent(properties=[("Laser", "Voltage", 5.8)])
    assert guard().check_plan([event], objective="10x") == 1
    event = useq.MDAEvent(properties=[("Laser", "Voltage", 6.5)])
    with pytest.raises(ConfigError, match="power 65 % of line 488 is above 60 %"):
        guard().check_plan([event], objective="10x")
    event = useq.MDAEvent(properties=[("Laser", "Voltage", "bright")])
    with pytest.raises(ConfigError, match="'bright' is no power for line 488"):
        guard().check_plan([event], objective="10x")


def test_a_budget_that_nobody_could_keep():
    budget = {"dose_per_fov_j_cm2": 10}
    made = guard(safety=budget)
    made.check_plan(plan(), objective="10x")
    with pytest.raises(ConfigError) as caught:
        made.check_plan(plan(channels=["Cy3"]), objective="10x")
    assert str(caught.value) == (
        "safety.dose_per_fov_j_cm2: line 561 has no calibration for objective 10x, so "
        "its dose is known in relative units only; add light.561.calibration to rig "
        "'stand', or use dose_per_fov_relative"
    )


def test_streams():
    made = guard()
    made.check_stream(
        Stream(channel="FITC", exposure_ms=10, frames=100), objective="10x"
    )
    made.check_stream(Stream(exposure_ms=10, frames=10_000), objective="10x")  # dark
    for stream, said in (
        (
            Stream(channel="FITC", exposure_ms=10, frames=101),
            "acquisition.stream: light would stay on for 1010 ms, longer than 1000 ms",
        ),
        (
            Stream(channel="FITC", exposure_ms=10, duration_s=2),
            "acquisition.stream: light would stay on for 2000 ms, longer than 1000 ms",
        ),
        (
            Stream(channel="FITC", exposure_ms=300, frames=1),
            "acquisition.stream.exposure_ms: exposure 300 ms is outside of 1 to 200 ms",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            made.check_stream(stream, objective="10x")
        assert str(caught.value).startswith(said)


def test_the_last_look_at_an_event():
    made = guard()
    event = useq.MDAEvent(index={"t": 3, "p": 1}, x_pos=10, exposure=20)
    made.check_event(event, powers={"488": 20.0}, objective="10x")
    with pytest.raises(SafetyError) as caught:
        made.check_event(event.replace(x_pos=2000), powers={}, objective="10x")
    assert str(caught.value) == (
        "planned event (t=3, p=1): stage x 2000 um is outside of -1000 to 1000 um "
        f"(limits.stage_um.x of {WHERE})"
    )
    with pytest.raises(SafetyError, match="power 61 % of line 488 is above 60 %"):
        made.check_event(event, powers={"488": 61.0}, objective="10x")
    with pytest.raises(SafetyError, match=r"^planned event: focus 60 um"):
        made.check_event(useq.MDAEvent(z_pos=60))


def test_not_a_number_is_refused_before_the_hardware_sees_it():
    with pytest.raises(SafetyError, match="stage x nan is no position"):
        guard().check_event(useq.MDAEvent(x_pos=math.nan))
