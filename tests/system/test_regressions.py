"""Faults found by reading: each was seen to happen before it was mended."""

from __future__ import annotations

import _thread
import threading
import time

import pytest
from small_runs import experiment, rig, specimen_rig

from smartscope import run
from smartscope.core import ConfigError
from smartscope.runs._acquisition import steadily
from smartscope.testing import fails


def on_demo(core, tmp_path, rig_changes=None, **fields):
    return run(
        experiment(rig="demo_laser_rig.yaml", **fields),
        rig=rig("demo_laser_rig", **(rig_changes or {})),
        core=core,
        output=tmp_path,
    )


def simulated(tmp_path, **fields):
    result = run(experiment(**fields), rig=specimen_rig(), output=tmp_path)
    assert result.outcome == "completed", result.message
    return result


def test_a_line_without_a_gate_is_dark_after_an_event_that_failed(
    core, tmp_path
) -> None:
    light = {"488": {"power": ["Laser", "Voltage"], "range": [0, 10], "gate": "always"}}
    lit: list[float] = []
    core.inject(
        "setXYPosition",
        lambda *args: lit.append(float(core.getProperty("Laser", "Voltage"))),
    )
    core.inject("setXYPosition", fails("stuck", on_call=2))
    plan = {
        "stage_positions": [(10, 0), (20, 0), (30, 0)],
        "channels": [{"config": "FITC", "exposure": 5}],
    }
    result = on_demo(
        core,
        tmp_path,
        {"light": light},
        acquisition=plan,
        errors={"hardware": "skip"},
    )
    assert result.outcome == "completed", result.message
    assert result.frames == 2
    assert lit == [0.0, 0.0, 0.0], "dark during every move, also after the failure"


def test_a_shutter_kept_open_closes_when_the_next_event_fails(core, tmp_path) -> None:
    open_while_moving: list[bool] = []
    core.inject(
        "setPosition",
        lambda *args: open_while_moving.append(core.getShutterOpen("Shutter")),
    )
    core.inject("setPosition", fails("stuck", on_call=2))
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "z_plan": {"range": 4, "step": 2},
        "keep_shutter_open_across": ["z"],
        "time_plan": {"interval": 0.3, "loops": 2},
    }
    result = on_demo(core, tmp_path, acquisition=plan, errors={"hardware": "skip"})
    assert result.outcome == "completed", result.message
    assert open_while_moving[1], "kept open within the stack, as the plan says"
    assert not open_while_moving[2], "but not past a failure"


def test_the_light_of_a_stream_does_not_wait_for_a_listener(core, tmp_path) -> None:
    went_dark: list[bool] = []

    def listener(img, event, meta) -> None:
        deadline = time.monotonic() + 30
        while core.getShutterOpen("Shutter") and time.monotonic() < deadline:
            time.sleep(0.01)
        went_dark.append(not core.getShutterOpen("Shutter"))

    core.mda.events.frameReady.connect(listener)
    result = on_demo(
        core,
        tmp_path,
        acquisition={"stream": {"channel": "FITC", "exposure_ms": 5, "frames": 10}},
    )
    assert result.outcome == "completed", result.message
    assert went_dark[0], "the stream ended and went dark while a listener was busy"


def test_a_stop_ends_a_burst(core, tmp_path, policy) -> None:
    stop = threading.Event()
    frames: list[int] = []

    def on_frame(img, event, meta) -> None:
        frames.append(1)
        if len(frames) == 5:
            stop.set()
            time.sleep(0.3)

    core.mda.events.frameReady.connect(on_frame)
    body = "if seen.number == 0:\n    yield Acquire(reason='r', frames=200)"
    result = run(
        experiment(
            rig="demo_laser_rig.yaml", vision=["measure"], policies=[policy(body)]
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
        stop=stop,
    )
    assert result.outcome == "stopped"
    assert result.frames < 150


def test_nothing_is_exposed_after_a_policy_said_stop(tmp_path, policy) -> None:
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0, "loops": 20},
    }
    body = "import time\ntime.sleep(0.1)\nyield Stop(reason='enough')"
    result = run(
        experiment(acquisition=plan, vision=["measure"], policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "stopped"
    assert result.frames == 1


@pytest.mark.parametrize("then", ["resume", "cancel"])
def test_a_policys_pause_can_be_resumed_and_cancelled(
    then, core, tmp_path, policy
) -> None:
    def later() -> None:
        time.sleep(0.6)
        if then == "resume":
            core.mda.set_paused(False)
        else:
            core.mda.cancel()

    core.mda.events.sequencePauseToggled.connect(
        lambda paused: threading.Thread(target=later).start() if paused else None
    )
    body = "if seen.number == 1:\n    yield Pause(reason='look at this')"
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.05, "loops": 4},
    }
    result = on_demo(
        core, tmp_path, acquisition=plan, vision=["measure"], policies=[policy(body)]
    )
    assert result.outcome == ("completed" if then == "resume" else "cancelled")
    assert result.frames == (4 if then == "resume" else 2)


def test_a_burst_is_taken_where_the_field_has_been_shifted_to(
    core, tmp_path, policy
) -> None:
    body = """
if seen.number == 0:
    yield ShiftPosition(reason="r", dx_um=50)
if seen.number == 1:
    yield Acquire(reason="r", frames=4)
"""
    plan = {
        "stage_positions": [(10, 0)],
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.3, "loops": 3},
    }
    result = on_demo(
        core, tmp_path, acquisition=plan, vision=["measure"], policies=[policy(body)]
    )
    assert result.outcome == "completed", result.message
    places = [(f.role, round(f.state.x_um)) for f in result.folder.frames]
    assert places == [
        ("baseline", 10),
        ("baseline", 60),
        *[("reaction", 60)] * 4,
        ("baseline", 60),
    ]


def test_a_reaction_in_a_channel_the_plan_does_not_use_is_lit(tmp_path, policy) -> None:
    body = """
if seen.number == 0:
    yield Acquire(reason="r", channel="DAPI")
    yield Acquire(reason="r", channel="Nonsense")
"""
    result = simulated(
        tmp_path,
        vision=["measure"],
        policies=[policy(body)],
        light={
            "FITC": {488: {"power_percent": 10}},
            "DAPI": {488: {"power_percent": 30}},
        },
    )
    (extra,) = [f for f in result.folder.frames if f.role == "reaction"]
    assert extra.channel == "DAPI"
    assert extra.state.power_percent["488"] == 30.0
    first, second = result.folder.outcomes
    assert (first.status, second.status) == ("scheduled", "rejected")
    assert "Nonsense" in second.message


def test_a_stream_reads_out_the_region_it_names(tmp_path) -> None:
    region = {"x_px": 64, "y_px": 32, "width_px": 128, "height_px": 96}
    stream = {"channel": "FITC", "exposure_ms": 5, "frames": 4, "roi": region}
    result = simulated(tmp_path, acquisition={"stream": stream}, vision=["measure"])
    assert {f.shape for f in result.folder.frames} == {(96, 128)}


def test_exposure_changes_take_effect_in_a_stream(tmp_path, policy) -> None:
    body = "if seen.number == 1:\n    yield SetExposure(reason='r', exposure_ms=50.0)"
    stream = {"channel": "FITC", "exposure_ms": 5, "frames": 6}
    result = simulated(
        tmp_path,
        acquisition={"stream": stream},
        vision=["measure"],
        policies=[policy(body)],
    )
    folder = result.folder
    exposures = [f.state.exposure_ms for f in folder.frames]
    assert exposures == [5.0] * 2 + [50.0] * 4
    bright = [folder.image(f.frame_id).mean() - 100 for f in folder.frames]
    assert min(bright[2:]) > 5 * max(bright[:2])


def test_z_offsets_of_a_burst_count_from_the_middle_of_the_stack(
    tmp_path, policy
) -> None:
    plan = {
        "axis_order": "tcz",
        "channels": [{"config": "FITC", "exposure": 5}],
        "z_plan": {"range": 8, "step": 4},
        "time_plan": {"interval": 5, "loops": 2},
    }
    body = """
if seen.number == 0:
    yield Acquire(reason="r", z_offsets_um=(-1.0, 0.0, 1.0))
"""
    result = simulated(
        tmp_path,
        acquisition=plan,
        vision=[{"segment": {"on": {"z": "max"}}}],
        policies=[policy(body)],
    )
    heights = [f.state.z_um for f in result.folder.frames if f.role == "reaction"]
    assert heights == [-1.0, 0.0, 1.0]


def test_a_burst_keeps_an_exposure_that_was_changed_before(tmp_path, policy) -> None:
    body = """
if seen.number == 0:
    yield SetExposure(reason="r", exposure_ms=40.0)
if seen.number == 1:
    yield Acquire(reason="r", frames=2)
    yield Acquire(reason="r", frames=1, exposure_ms=7.0)
"""
    result = simulated(tmp_path, vision=["measure"], policies=[policy(body)])
    exposures = [
        f.state.exposure_ms for f in result.folder.frames if f.role == "reaction"
    ]
    assert exposures == [40.0, 40.0, 7.0]


def test_a_setup_event_must_stay_within_the_limits(tmp_path) -> None:
    plan = {
        "setup": {"x_pos": 9000, "y_pos": 0},
        "channels": [{"config": "FITC", "exposure": 5}],
    }
    with pytest.raises(ConfigError, match="stage x 9000 um is outside"):
        run(experiment(acquisition=plan), rig=specimen_rig(), output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_decisions_within_a_burst_do_not_depend_on_how_busy_we_are(
    tmp_path, policy
) -> None:
    body = """
import random, time
time.sleep(random.random() / 50)
if seen.number == 1:
    yield Acquire(reason="r", frames=6)
if seen.number == 4:
    yield SetInterval(reason="r", interval_s=0.3)
"""

    def times() -> list[int]:
        result = simulated(tmp_path, vision=["measure"], policies=[policy(body)])
        start = next(result.folder.entries("start"))["start_ns"]
        return [f.t_exposed_ns - start for f in result.folder.frames]

    assert times() == times()


def test_interlocks_reach_the_policies(tmp_path, policy) -> None:
    body = "yield Mark(reason=','.join(seen.interlocks) or 'none')"
    result = simulated(
        tmp_path,
        vision=["measure"],
        policies=[policy(body)],
        safety={"dose_per_fov_relative": 0.5, "on_budget": "warn"},
    )
    told = [r.action.reason for d in result.folder.decisions for r in d.requests]
    assert told[0] == "none"
    assert told[-1] == "dose_budget"


def test_free_pacing_never_tears_a_stack_apart(tmp_path) -> None:
    plan = {
        "axis_order": "tcz",
        "channels": [{"config": "FITC", "exposure": 2}],
        "z_plan": {"range": 4, "step": 2},
        "time_plan": {"interval": 0, "loops": 15},
    }
    result = run(
        experiment(
            rig="demo_laser_rig.yaml",
            acquisition=plan,
            vision=[{"segment": {"on": {"z": "max"}}}],
            schedule={"pacing": "free"},
        ),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    assert result.summary["dropped_groups"] == 0
    seen = [o.frame_ids for o in result.folder.observations()]
    assert all(len(ids) == 3 for ids in seen)
    assert 3 * len(seen) + result.summary["skipped"] == 45


def test_an_ending_is_finished_however_often_ctrl_c_is_pressed() -> None:
    steps = []

    def step() -> str:
        for n in range(3):
            _thread.interrupt_main()
            time.sleep(0.05)
            steps.append(n)
        return "done"

    assert steadily(step) == "done"
    assert steps == [0, 1, 2], "it was neither broken off nor begun again"


def test_an_ending_that_fails_says_so() -> None:
    with pytest.raises(ZeroDivisionError):
        steadily(lambda: 1 // 0)


def test_a_policy_that_never_stops_asking_is_stopped(tmp_path, policy) -> None:
    body = "while True:\n    yield Mark(reason='more')"
    result = run(
        experiment(vision=["measure"], policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.exit_code == 8
    assert "more than 1000 actions" in result.message


def test_a_policy_that_never_comes_back_is_left_behind(tmp_path, policy) -> None:
    body = "import time\nif seen.number == 1:\n    time.sleep(25)\nreturn ()"
    result = run(
        experiment(
            vision=["measure"],
            policies=[policy(body)],
            schedule={"decision_deadline_s": 0.2},
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "failed"
    assert result.exit_code == 8
    assert "did not come back" in result.message
    assert result.frames == 5
    assert result.folder.verify() == ()


def test_a_policy_that_cannot_be_made_is_blamed_itself(tmp_path) -> None:
    (tmp_path / "broken.py").write_text(
        "from smartscope.policies import Policy\n\n\n"
        "class Broken(Policy):\n"
        "    def start(self, context):\n        raise RuntimeError('not today')\n\n"
        "    def react(self, seen):\n        return ()\n"
    )
    with pytest.raises(ConfigError, match="not today") as caught:
        run(
            experiment(policies=[{"use": str(tmp_path / "broken.py")}]),
            rig=specimen_rig(),
            output=tmp_path / "runs",
        )
    assert "broken.py" in str(caught.value)


def test_a_shift_in_a_stream_verifies_stage_and_focus(core, tmp_path, policy) -> None:
    core.inject("setXYPosition", lambda *args: (*args[:-2], 500.0, 500.0))
    body = "if seen.number == 1:\n    yield ShiftPosition(reason='r', dx_um=5, dz_um=1)"
    result = on_demo(
        core,
        tmp_path,
        acquisition={"stream": {"channel": "FITC", "exposure_ms": 5, "frames": 400}},
        vision=["measure"],
        policies=[policy(body)],
    )
    assert result.outcome == "failed"
    assert result.exit_code == 3
    assert "XY" in result.message
