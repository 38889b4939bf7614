"""Models in whole runs: the alarm on a live microscope, failures, the record."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_runs import experiment, rig

from smartscope import replay, run
from smartscope.inference import Domain
from smartscope.record import RunFolder

sys.path.append(str(Path(__file__).parents[1] / "vision"))

from film_runs import on_film
from learned_nets import conv, package
from vision_fields import field

FAST = {"runtime": "onnxruntime", "threads": 1}
POINTS = [(30, 40), (70, 90), (50, 130), (100, 60)]


def image(seed, **more):
    return field(POINTS, shape=(120, 160), seed=seed, **more)


def glare():
    return np.full((120, 160), 2000, dtype=np.uint16)


def masks(tmp_path, **more):
    """Foreground above 250 counts; not finite above 1000."""
    net = conv([[[[-1.0]]]], [1000.0], then=["Log"])
    model = package(tmp_path / "net", net, {"kind": "mask"}, **more)
    return {"model": model, "min_area_um2": 20} | FAST


@pytest.fixture
def card():
    return Domain.fit(image(seed) for seed in range(30)).to_card()


def on_devices(core, tmp_path, stage, *, loops):
    """Run on demo devices with this stage."""
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.05, "loops": loops},
    }
    return run(
        experiment(rig="demo_laser_rig.yaml", acquisition=plan, vision=[stage]),
        rig=rig("demo_laser_rig"),
        output=tmp_path / "runs",
        core=core,
    )


def test_a_model_that_fails_ends_the_run_with_its_reason(tmp_path):
    images = [image(0), image(1), glare(), image(2)]
    vision = [{"segment": masks(tmp_path)}, "measure", "track"]
    result = on_film(tmp_path, images, vision)
    assert result.outcome == "failed" and result.exit_code == 7
    assert "vision stage 'segment' failed on frame 2" in result.message
    assert "not finite" in result.message
    assert len(list(RunFolder(result.path).observations())) == 2


def test_a_run_goes_on_without_a_model_and_can_be_seen_again(tmp_path):
    images = [image(0), image(1), glare(), glare(), image(2)]
    use = masks(tmp_path) | {"on_failure": "skip"}
    result = on_film(tmp_path, images, [{"segment": use}, "measure", "track"])
    assert result.outcome == "completed"
    folder = RunFolder(result.path)
    assert [len(seen.notes) for seen in folder.observations()] == [0, 0, 1, 1, 0]
    faults = [entry["message"] for entry in folder.entries("fault")]
    assert len(faults) == 2
    assert "the run goes on without" in faults[0]
    assert "works again after 2 frames" in faults[1]
    again = replay(result.path, vision=True)
    assert again.identical, again.differences
    assert again.observations == 5


def test_an_alarm_pauses_a_microscope_once_in_a_spell(core, tmp_path, card):
    resumed = []

    def resume(paused):
        if paused:
            resumed.append(paused)
            threading.Timer(0.3, lambda: core.mda.set_paused(False)).start()

    core.mda.events.sequencePauseToggled.connect(resume)
    # What the demo camera draws is nothing like nuclei.
    net = conv([[[[0.001]]]])
    decoder = {"kind": "mask"}
    model = package(tmp_path / "net", net, decoder, domain=card)
    wanted = {"after_frames": 2, "action": "pause"}
    use = {"model": model, "unfamiliar": wanted} | FAST
    result = on_devices(core, tmp_path, {"detect": use}, loops=5)
    assert result.outcome == "completed", result.message
    folder = RunFolder(result.path)
    assert [entry["paused"] for entry in folder.entries("pause")] == [True, False]
    assert len(resumed) == 1
    locks = list(folder.entries("interlock"))
    assert [lock["name"] for lock in locks] == ["unfamiliar"]
    held = [seen.interlocks for seen in folder.observations()]
    assert held == [(), *([("unfamiliar",)] * 4)]


def test_an_alarm_ends_a_run_on_a_microscope(core, tmp_path, card):
    net = conv([[[[0.001]]]])
    model = package(tmp_path / "net", net, {"kind": "mask"}, domain=card)
    wanted = {"after_frames": 2, "action": "stop"}
    use = {"model": model, "unfamiliar": wanted} | FAST
    result = on_devices(core, tmp_path, {"detect": use}, loops=20)
    assert result.outcome == "stopped" and result.exit_code == 4
    assert "2 images in a row are unlike those that net was made for" in result.message
    assert result.frames == 2
    assert core.getShutterOpen() is False
