"""Decide again, see again, and run the loop on recorded pixels."""

from __future__ import annotations

import pytest
from small_runs import DEMO, SEGMENT, experiment, specimen_rig

from smartscope import replay, run
from smartscope.core import ConfigError
from smartscope.record import RunFolder
from smartscope.runs import ReplayResult, RunResult

BODY = """
if seen.number == 1:
    yield SetInterval(interval_s=0.5, reason="faster")
elif seen.number == 4:
    yield SetInterval(interval_s=None, reason="slower")
else:
    mean = float(seen.pictures.raw["FITC"].mean())
    cells = len(seen.tracks)
    yield Nothing(reason=f"{cells} cells, mean {mean:.3f}", score=cells)
"""


@pytest.fixture
def finished(tmp_path, policy) -> RunResult:
    result = run(
        experiment(vision=SEGMENT, policies=[policy(BODY)]),
        rig=specimen_rig(speed_um_s=0.05),
        output=tmp_path / "runs",
    )
    assert result.outcome == "completed", result.message
    return result


def test_a_run_is_decided_again_exactly(finished) -> None:
    again = replay(finished.path)
    assert isinstance(again, ReplayResult)
    assert again.identical
    assert again.exit_code == 0
    assert again.decisions == len(finished.folder.decisions) > 5


def test_observations_come_out_of_the_pixels_exactly(finished) -> None:
    again = replay(finished.path, vision=True)
    assert again.identical, again.differences
    assert again.observations == again.decisions


def test_a_changed_policy_is_noticed_and_the_difference_named(
    finished, tmp_path
) -> None:
    file = tmp_path / "scripted.py"
    file.write_text(file.read_text().replace("interval_s=0.5", "interval_s=0.6"))
    again = replay(finished.path)
    assert not again.identical
    assert again.exit_code == 9
    assert "0.6" in again.differences[0]
    assert "scripted has changed" in again.message


def test_changed_vision_is_noticed(finished) -> None:
    file = finished.path / "experiment.yaml"
    text = file.read_text()
    assert "min_area_um2: 30" in text
    file.write_text(text.replace("min_area_um2: 30", "min_area_um2: 250"))
    assert replay(finished.path).identical
    again = replay(finished.path, vision=True)
    assert not again.identical
    assert "observation" in again.differences[0]


def test_replaying_writes_nothing(finished) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in finished.path.rglob("*"))
    replay(finished.path, vision=True)
    after = sorted((p, p.stat().st_mtime_ns) for p in finished.path.rglob("*"))
    assert before == after


def test_the_real_recording_is_seen_tracked_and_reacted_to(tmp_path) -> None:
    result = replay(DEMO / "recordings/sirdna_nuclei/images.tif", output=tmp_path)
    assert isinstance(result, RunResult)
    assert result.outcome == "completed", result.message
    folder = RunFolder(result.path)
    counts = [len(o.tracks) for o in folder.observations()]
    assert len(counts) == 6
    assert min(counts) >= 30
    assert any(e.kind == "mitosis" for o in folder.observations() for e in o.events)
    asked = [o for o in folder.outcomes if o.status == "replay"]
    assert asked, "the policy asked for fast filming, and nothing could be done"
    assert folder.verify() == ()
    assert replay(result.path, vision=True).identical


def test_a_run_can_be_the_recording_of_another_experiment(finished, tmp_path) -> None:
    other = experiment(
        vision=SEGMENT,
        policies=[{"use": "rate_switch"}],
        name="another",
        rig=str(DEMO / "specimen_rig.yaml"),
    )
    result = replay(finished.path, experiment=other, output=tmp_path / "again")
    assert isinstance(result, RunResult)
    assert result.outcome == "completed", result.message
    assert result.frames == finished.frames
    first = RunFolder(result.path).frames[0]
    assert first.state == finished.folder.frames[0].state


def test_a_field_moves_in_a_mosaic(tmp_path, policy) -> None:
    import numpy as np
    import tifffile

    from smartscope.config import RigConfig

    mosaic = np.zeros((6, 400, 600), np.uint16)
    mosaic[:, 150:160, 400:410] = 1000  # one thing, away from the middle
    tifffile.imwrite(tmp_path / "mosaic.tif", mosaic)
    made = RigConfig(
        name="mosaic",
        recording={
            "path": str(tmp_path / "mosaic.tif"),
            "axes": "tyx",
            "interval_s": 10,
            "pixel_um": 0.5,
            "mosaic": True,
            "view_px": [300, 300],
            "channel_name": "FITC",
        },
    )
    result = run(
        experiment(
            vision=[{"segment": {"method": "threshold", "level": 500,
                                 "min_area_um2": 1, "smooth_um": 0}},
                    {"track": {"min_frames": 1, "max_distance_um": 60}}],
            policies=[{"use": "follow_cell", "max_step_um": 100}],
        ),
        rig=made,
        output=tmp_path / "runs",
    )  # fmt: skip
    assert result.outcome == "completed", result.message
    last = list(result.folder.observations())[-1]
    assert last.tracks[0].x_um == pytest.approx((404.5 - 299.5) * 0.5, abs=0.6)
    assert last.state.x_um == pytest.approx((404.5 - 299.5) * 0.5, abs=2.1)


@pytest.mark.parametrize("name", ["notes.txt", "film.tif", "empty"])
def test_what_is_no_recording_gets_a_sentence(name, tmp_path) -> None:
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    else:
        path.write_text("this is no film")
    with pytest.raises(ConfigError) as caught:
        replay(path, output=tmp_path / "runs")
    assert name in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_paths_with_dots_are_paths(tmp_path, monkeypatch) -> None:
    from smartscope import check

    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    result = run(experiment(vision=SEGMENT), rig=specimen_rig(), output="../runs")
    assert result.outcome == "completed", result.message
    (name,) = (path.name for path in (tmp_path / "runs").iterdir())
    assert check(f"../runs/{name}").ok
    assert replay(f"../runs/{name}", vision=True).identical


def test_a_policy_file_without_a_name_is_found_again(tmp_path, policy) -> None:
    entry = policy(BODY)
    del entry["name"]
    result = run(
        experiment(vision=SEGMENT, policies=[entry]),
        rig=specimen_rig(),
        output=tmp_path / "runs",
    )
    again = replay(result)
    assert again.identical, again.message
    assert again.decisions == len(result.folder.decisions) > 0
    copy = result.path / "policies" / "scripted.py"
    assert copy.read_text() == (tmp_path / "scripted.py").read_text()
