"""What a run promises: order of entries, shadow, budgets, pacing, deadlines, files."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import tifffile
import zarr
from small_runs import SEGMENT, experiment, rig, specimen_rig

from smartscope import check, run
from smartscope.core import ConfigError
from smartscope.record import export_ome_tiff

FASTER = """
if seen.number == 1:
    yield SetInterval(interval_s=0.5, reason="faster")
if seen.number == 5:
    yield SetInterval(interval_s=None, reason="slower")
"""


def test_every_image_is_in_the_journal_with_times_place_light_and_cause(
    tmp_path, policy
) -> None:
    result = run(
        experiment(vision=SEGMENT, policies=[policy(FASTER)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    folder = result.folder
    causes = {
        r.action_id: r.action.interval_s for d in folder.decisions for r in d.requests
    }
    fast = [action_id for action_id, interval in causes.items() if interval]
    assert result.reactions == 3
    for frame in folder.frames:
        assert frame.t_exposed_ns < frame.t_received_ns <= frame.t_published_ns
        assert frame.state.x_um is not None
        assert frame.state.power_percent == {"488": 10.0}
        assert frame.state.shutter_open is True
        assert frame.cause == ("plan" if frame.role == "baseline" else fast[0])
        group = zarr.open_group(folder.path / "images" / f"{frame.array}.ome.zarr")
        pixels = np.asarray(group["0"][frame.at])
        assert np.array_equal(pixels, folder.image(frame.frame_id))
    shapes = {name: image.shape for name, image in result.images.items()}
    assert sorted(shapes.values()) == [(3, 512, 512), (5, 1, 512, 512)]


def test_independent_readers_open_the_images(tmp_path) -> None:
    from ome_zarr_models.v05.image import Image

    result = run(experiment(vision=SEGMENT), rig=specimen_rig(), output=tmp_path)
    path = result.path / "images" / "p0.ome.zarr"
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    assert [a.name for a in image.attributes.ome.multiscales[0].axes] == list("tcyx")
    out = tmp_path / "p0.ome.tiff"
    export_ome_tiff(result.folder, out)
    with tifffile.TiffFile(out) as tiff:
        assert tiff.is_ome
        assert np.array_equal(
            tiff.asarray().reshape(5, 512, 512),
            np.asarray(result.images["p0"])[:, 0],
        )


def test_an_intent_is_written_before_each_light(core, tmp_path) -> None:
    written: list[int] = []

    def count_intents() -> None:
        (journal,) = tmp_path.glob("*/journal.jsonl")
        kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
        written.append(kinds.count("intent"))

    core.inject("snapImage", lambda: count_intents())
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.1, "loops": 3},
    }
    result = run(
        experiment(acquisition=plan, rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert written == [1, 2, 3], "on disk before the camera exposed"
    kinds = [e["kind"] for e in result.folder.entries()]
    assert [k for k in kinds if k in ("intent", "frame")] == ["intent", "frame"] * 3
    assert kinds[0] == "run"
    assert kinds[-1] == "end"


def test_shadow_decides_but_acts_on_nothing(tmp_path, policy) -> None:
    result = run(
        experiment(vision=SEGMENT, policies=[policy(FASTER)]),
        rig=specimen_rig(),
        output=tmp_path,
        shadow=True,
    )
    assert result.reactions == 0
    assert [o.status for o in result.folder.outcomes] == ["shadow"]
    assert result.folder.header["shadow"] is True


@pytest.mark.parametrize(
    ("rule", "outcome", "frames", "powers"),
    [
        ("stop", "stopped", 4, [10, 10, 10, 10]),
        ("dark", "completed", 5, [10, 10, 10, 10, 0]),
        ("warn", "completed", 5, [10] * 5),
    ],
)
def test_a_light_budget_holds(rule, outcome, frames, powers, tmp_path) -> None:
    result = run(
        experiment(safety={"dose_per_fov_relative": 0.9, "on_budget": rule}),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == outcome
    assert result.frames == frames
    assert [f.state.power_percent["488"] for f in result.folder.frames] == powers
    tripped = [e["name"] for e in result.folder.entries("interlock")]
    assert tripped == ["dose_budget"]
    if rule == "stop":
        assert result.exit_code == 4
        assert "budget" in result.message
        total = result.summary["dose"]["total"]["percent_s"]
        assert total <= 0.9


def test_pacing_free_sees_or_counts_every_frame(tmp_path) -> None:
    plan = {
        "channels": [{"config": "FITC", "exposure": 2}],
        "time_plan": {"interval": 0.01, "loops": 40},
    }
    result = run(
        experiment(
            acquisition=plan,
            rig="demo_laser_rig.yaml",
            vision=SEGMENT,
            schedule={"pacing": "free"},
        ),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    assert result.frames == 40
    seen = sum(1 for _ in result.folder.entries("observation"))
    assert seen + result.summary["skipped"] == 40
    assert result.summary["skipped"] == sum(1 for _ in result.folder.entries("skipped"))


@pytest.mark.parametrize(
    ("rule", "outcome"), [("go_on", "completed"), ("stop", "failed")]
)
def test_a_decision_that_takes_too_long(rule, outcome, tmp_path, policy) -> None:
    body = "import time\nif seen.number == 1:\n    time.sleep(0.6)\nreturn ()"
    result = run(
        experiment(
            vision=SEGMENT,
            policies=[policy(body)],
            schedule={"decision_deadline_s": 0.2, "on_deadline": rule},
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == outcome
    late = list(result.folder.entries("deadline"))
    assert late
    assert late[0]["then"] == rule
    if rule == "go_on":
        assert result.frames == 5


def test_stopping_from_another_thread(tmp_path) -> None:
    stop = threading.Event()
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 30, "loops": 9},
    }
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    result = run(
        experiment(acquisition=plan, rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
        stop=stop,
    )
    timer.join()
    assert result.outcome == "stopped"
    assert result.exit_code == 130
    assert result.folder.end["outcome"] == "stopped"


def test_an_action_beyond_the_limits_is_rejected_and_nothing_moves(
    tmp_path, policy
) -> None:
    body = """
if seen.number == 1:
    yield MoveStage(reason="too far", x_um=90000, y_um=0)
    yield SetPower(reason="no such line", line="405", power_percent=5)
    yield ShiftPosition(reason="too far as well", dx_um=6000)
    yield SetExposure(reason="no exposure", exposure_ms=-1.0)
"""
    result = run(
        experiment(vision=SEGMENT, policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    assert [o.status for o in result.folder.outcomes] == ["rejected"] * 4
    assert "stage x 90000 um is outside" in result.folder.outcomes[0].message
    assert {f.state.x_um for f in result.folder.frames} == {0.0}


def test_two_policies_that_want_the_same_are_arbitrated(tmp_path, policy) -> None:
    once = """
if seen.number == 1:
    yield SetPower(reason="r", line="488", power_percent={})
"""
    result = run(
        experiment(
            vision=SEGMENT,
            policies=[
                policy(once.format(20), name="low"),
                policy(once.format(30), name="high", priority=5),
            ],
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    outcomes = {o.policy: o for o in result.folder.outcomes}
    assert outcomes["high"].status == "scheduled"
    assert outcomes["low"].status == "outbid"
    assert outcomes["low"].winner == outcomes["high"].action_id
    powers = [f.state.power_percent["488"] for f in result.folder.frames]
    assert powers == [10.0, 10.0, 30.0, 30.0, 30.0]


def test_somebody_elses_move_is_noticed(core, tmp_path) -> None:
    moved = []

    def joystick(img, event, meta) -> None:
        if not moved:
            moved.append(event)
            core.setXYPosition(40.0, 15.0)
            core.waitForDevice("XY")

    core.mda.events.frameReady.connect(joystick)
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.5, "loops": 4},
    }
    result = run(
        experiment(acquisition=plan, rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    changes = [e["change"] for e in result.folder.entries("external")]
    assert "stage" in changes
    assert any("stage" in f.state.external for f in result.folder.frames)
    assert result.folder.frames[-1].state.x_um == pytest.approx(40.0, abs=1)


def test_a_run_folder_is_never_written_into(tmp_path) -> None:
    first = run(experiment(), rig=specimen_rig(), output=tmp_path / "runs")
    before = sorted(first.path.rglob("*"))
    with pytest.raises(ConfigError, match="is a run folder"):
        run(experiment(), rig=specimen_rig(), output=first.path)
    second = run(experiment(), rig=specimen_rig(), output=tmp_path / "runs")
    assert second.path != first.path
    assert sorted(first.path.rglob("*")) == before


def test_check_verifies_a_finished_run_and_writes_nothing(tmp_path) -> None:
    result = run(experiment(vision=SEGMENT), rig=specimen_rig(), output=tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    report = check(result.path)
    assert report.ok
    assert report.kind == "run"
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    frame = result.folder.frames[2]
    chunks = result.path / "images" / f"{frame.array}.ome.zarr" / "0" / "c"
    victim = chunks.joinpath(*map(str, frame.at), "0", "0")
    victim.unlink()
    broken = check(result.path)
    assert not broken.ok
    assert any(str(frame.frame_id) in problem for problem in broken.problems)


def test_z_bursts_return_the_focus(tmp_path, policy) -> None:
    body = """
if seen.number == 1:
    yield Acquire(reason="stack", frames=1, z_offsets_um=(-2.0, 0.0, 2.0))
"""
    result = run(
        experiment(vision=SEGMENT, policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    heights = [(f.role, f.state.z_um) for f in result.folder.frames]
    assert heights == (
        [("baseline", 0.0)] * 2
        + [("reaction", z) for z in (-2.0, 0.0, 2.0)]
        + [("baseline", 0.0)] * 3
    )


def test_a_number_that_is_none_is_blamed_on_the_policy(tmp_path, policy) -> None:
    body = "yield SetExposure(reason='x', exposure_ms=float('nan'))"
    result = run(
        experiment(vision=SEGMENT, policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.exit_code == 8
    assert "scripted" in result.message
    assert "SetExposure.exposure_ms" in result.message
