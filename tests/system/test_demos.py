"""Every shipped experiment runs as it is, from any folder, by its name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from small_runs import DEMO

from smartscope import check, replay
from smartscope.config import load_experiment, rig_of, shipped_files
from smartscope.core import SetInterval
from smartscope.record import RunFolder

NAMES = [path.stem for path in shipped_files("experiment")]
LONGEST_S = 90


def run_as_it_is(name: str, tmp_path) -> RunFolder:
    done = subprocess.run(
        [sys.executable, "-m", "smartscope", "run", name, "--output", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = (tmp_path / "out").iterdir()
    assert (path / "report.html").is_file()
    assert str(path.name) in done.stdout
    return RunFolder(path)


def test_the_demos_are_those_the_readme_names() -> None:
    assert NAMES == [
        "burst_on_transient",
        "clamp_reporter",
        "control_arms",
        "demo_camera",
        "dose_planner",
        "endocytosis_roi",
        "focus_guard",
        "follow_cell",
        "follow_fast_animal",
        "full_light",
        "hold_density",
        "hold_signal",
        "label_free_then_fluorescence",
        "photoactivate_on_event",
        "quarter_light",
        "quickstart",
        "replay",
        "revisit_mosaic",
        "steer_cell",
        "stop_rule",
        "survey_then_zoom",
        "uncertainty_gate",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_demo_is_planned_to_be_long(name) -> None:
    report = check(name)
    clock = rig_of(load_experiment(DEMO / f"{name}.yaml")).clock
    planned_s = report.forecast.get("duration_s", 0.0) / clock.speed
    assert planned_s < LONGEST_S
    if name == "quickstart":
        assert 20 <= planned_s <= 60


def test_quickstart_films_true_divisions_fast(tmp_path) -> None:
    folder = run_as_it_is("quickstart", tmp_path)
    truth = folder.table("divisions").to_pydict()
    switched = [
        request
        for decision in folder.decisions
        for request in decision.requests
        if isinstance(request.action, SetInterval) and request.action.interval_s
    ]
    events = {e.event_id: e for o in folder.observations() for e in o.events}
    true = 0
    for request in switched:
        event = events[request.action.event_id]
        away = np.hypot(
            np.array(truth["x_um"]) - event.x_um, np.array(truth["y_um"]) - event.y_um
        )
        when = np.array(truth["onset_s"])
        true += bool(((away < 15) & (np.abs(when - event.onset_s) < 120)).any())
    assert true >= 1
    reactions = [f for f in folder.frames if f.role == "reaction"]
    assert len(reactions) > 20
    assert {f.cause for f in reactions} <= {r.action_id for r in switched}
    assert folder.verify() == ()
    assert replay(folder.path, vision=True).identical
    assert "division" in (folder.path / "report.html").read_text(encoding="utf-8")


def test_follow_cell_keeps_its_cell_in_the_middle(tmp_path) -> None:
    folder = run_as_it_is("follow_cell", tmp_path)
    truth = folder.table("truth").to_pydict()
    runner = np.array(truth["cell_id"]) == 1
    t_s = np.array(truth["t_s"])[runner]
    x, y = (np.array(truth[k])[runner] for k in ("x_um", "y_um"))
    start = next(folder.entries("start"))["start_ns"]
    away = []
    for frame in folder.frames:
        k = np.argmin(np.abs(t_s - (frame.t_exposed_ns - start) / 1e9))
        away.append(np.hypot(x[k] - frame.state.x_um, y[k] - frame.state.y_um))
    assert away[0] > 60, "it starts off the middle"
    assert np.median(away[20:]) < 10
    assert np.hypot(x[-1] - x[0], y[-1] - y[0]) > 50, "and it went far"


def test_hold_signal_raises_the_light_against_bleaching(tmp_path) -> None:
    folder = run_as_it_is("hold_signal", tmp_path)
    seen = list(folder.observations())
    noise = [o.measurements["signal_to_noise"] for o in seen]
    power = [o.state.power_percent["488"] for o in seen]
    assert np.abs(np.array(noise[15:]) / 100 - 1).max() < 0.15
    assert power[-1] > 1.5 * min(power)


def test_demo_camera_takes_hardware_timed_bursts(tmp_path) -> None:
    folder = run_as_it_is("demo_camera", tmp_path)
    bursts = list(folder.entries("intent"))
    timed = [e for e in bursts if e["role"] == "reaction"]
    assert timed
    assert all(e["frames"] == 12 for e in timed), "one sequence of the camera each"
    assert {f.view.position for f in folder.frames if f.role == "reaction"} == {3, 4}
    assert folder.verify() == ()


def test_replay_reacts_to_a_real_recording(tmp_path) -> None:
    folder = run_as_it_is("replay", tmp_path)
    assert any(o.status == "replay" for o in folder.outcomes)
    assert folder.verify() == ()
