"""Runs that choose where the light goes: plan, stream, faults, dose, report, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from small_runs import SEGMENT, experiment, rig, still

from smartscope import replay, run
from smartscope.core import ConfigError
from smartscope.record import RunFolder, write_report
from smartscope.rig.demo_devices import DemoSlm

if TYPE_CHECKING:
    from pathlib import Path

    from smartscope.config import Experiment, RigConfig

POLICY = "light_a_cell.py:LightACell"


def slm_rig(**changes: Any) -> RigConfig:
    return rig("slm_rig", specimen=still(), clock={"kind": "virtual"}, **changes)


def lit(parameters: dict[str, Any] | None = None, **fields: Any) -> Experiment:
    from pathlib import Path

    policy = {"use": str(Path(__file__).parent / POLICY), **(parameters or {})}
    return experiment(rig="slm_rig.yaml", vision=SEGMENT, policies=[policy], **fields)


class Seen:
    """What the specimen was given with each exposure."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.views: list[Any] = []
        self.images: list[np.ndarray] = []
        from smartscope.runs import _live

        make = _live.make_specimen

        def watched(*args: Any, **kwargs: Any) -> Any:
            specimen = make(*args, **kwargs)
            expose = specimen.expose

            def exposed(view: Any, history: Any, t0_ns: int, t1_ns: int) -> Any:
                self.views.append((view, int(history.at("slm", t0_ns))))
                image = expose(view, history, t0_ns, t1_ns)
                self.images.append(image.copy())
                return image

            specimen.expose = exposed
            return specimen

        monkeypatch.setattr(_live, "make_specimen", watched)


def test_a_plan_lights_what_the_policy_chose(tmp_path: Path, monkeypatch) -> None:
    seen = Seen(monkeypatch)
    result = run(lit(), rig=slm_rig(), output=tmp_path)
    assert result.outcome == "completed"
    # Dark before the first decision; then each pattern from the frame after it.
    assert [number for _, number in seen.views] == [0, 1, 0, 2, 0]
    folder = RunFolder(result.path)
    outcomes = [o for o in folder.outcomes if o.readback]
    assert [o.status for o in outcomes] == ["applied"] * 5
    assert [o.readback["pattern"] for o in outcomes] == [1.0, 0.0, 2.0, 0.0, 3.0]
    first = outcomes[0]
    assert first.readback["outside_percent"] == 0.0
    assert first.t_ns["checked"] <= first.t_ns["applied"] <= first.t_ns["verified"]
    assert first.command is not None
    # The specimen saw light where the box was: a box of the image, and nothing else.
    view, number = seen.views[1]
    assert view.slm_line == "488"
    pattern = view.patterns[number]
    assert pattern.mask.dtype == np.float32
    assert set(np.unique(pattern.mask)) == {0.0, 1.0}
    matrix = np.asarray(pattern.to_sensor)
    ys, xs = np.nonzero(pattern.mask)
    sensor = np.column_stack([xs, ys]) @ matrix[:, :2].T + matrix[:, 2]
    low, high = sensor.min(axis=0), sensor.max(axis=0)
    assert low == pytest.approx([256 - 20, 256 - 20], abs=3)
    assert high == pytest.approx([256 + 20, 256 + 20], abs=3)
    everywhere = view.patterns
    assert set(everywhere) <= {0, 1, 2, 3}


def test_the_image_is_bright_in_the_region_alone(tmp_path: Path, monkeypatch) -> None:
    seen = Seen(monkeypatch)
    run(lit({"half_px": 60.0}), rig=slm_rig(), output=tmp_path)
    dark, bright = seen.images[0].astype(float), seen.images[1].astype(float)
    gain = bright - dark
    inside = gain[200:312, 200:312].mean()
    around = np.concatenate([gain[:170].ravel(), gain[340:].ravel()]).mean()
    assert inside > 5 * abs(around)


def test_the_dose_is_charged_by_area(tmp_path: Path) -> None:
    doses = {}
    for half in (20.0, 40.0):
        result = run(lit({"half_px": half}), rig=slm_rig(), output=tmp_path)
        doses[half] = RunFolder(result.path).end["dose"]["lines"]["488"]
    ratio = doses[40.0]["energy_mj"] / doses[20.0]["energy_mj"]
    assert ratio == pytest.approx(4.0, rel=0.15)
    # Where it is lit, it is lit alike.
    worst = [dose["worst_field"]["j_cm2"] for dose in doses.values()]
    assert worst[0] == pytest.approx(worst[1])
    assert worst[0] > 3 * doses[40.0]["j_cm2"]


def test_what_lies_outside_is_told_and_all_of_it_is_refused(tmp_path: Path) -> None:
    parameters = {"half_px": 100.0, "aside_px": 250.0, "each": 2}
    result = run(lit(parameters), rig=slm_rig(), output=tmp_path)
    outcomes = [o for o in RunFolder(result.path).outcomes if o.readback]
    shares = {o.readback["outside_percent"] for o in outcomes}
    assert len(shares) == 1
    assert 20 < shares.pop() < 80
    far = {"half_px": 20.0, "aside_px": 2000.0, "each": 2}
    result = run(lit(far), rig=slm_rig(), output=tmp_path)
    outcomes = RunFolder(result.path).outcomes
    assert {o.status for o in outcomes} == {"rejected"}
    assert "all of the pattern lies outside of the SLM's 400 x 300 pixels" in (
        outcomes[0].message
    )
    assert result.outcome == "completed"


def test_a_stream_lights_while_the_camera_runs(tmp_path: Path, monkeypatch) -> None:
    seen = Seen(monkeypatch)
    stream = {"stream": {"channel": "FITC", "exposure_ms": 20, "frames": 6}}
    result = run(lit(acquisition=stream), rig=slm_rig(), output=tmp_path)
    assert result.outcome == "completed"
    numbers = [number for _, number in seen.views]
    assert numbers == [0, 1, 0, 2, 0, 3]
    outcomes = [o for o in RunFolder(result.path).outcomes if o.readback]
    assert {o.status for o in outcomes} == {"applied"}
    kinds = [entry["kind"] for entry in RunFolder(result.path).entries()]
    assert "restart" not in kinds


def test_a_plan_brings_its_own_patterns(tmp_path: Path, monkeypatch) -> None:
    seen = Seen(monkeypatch)
    image = np.zeros((300, 400), int)
    image[100:200, 100:200] = 255
    plan = {
        "channels": [{"config": "FITC", "exposure": 20}],
        "time_plan": {"interval": 2, "loops": 2},
        "setup": {"slm_image": {"data": image.tolist()}},
    }
    result = run(
        experiment(rig="slm_rig.yaml", acquisition=plan),
        rig=slm_rig(),
        output=tmp_path,
    )
    assert result.outcome == "completed"
    assert [number for _, number in seen.views] == [1, 1]
    assert seen.views[0][0].patterns[1].mask.sum() == 100 * 100


@pytest.mark.parametrize(
    ("name", "slm_image", "said"),
    [
        ("specimen_rig", {"data": True}, "the rig fills no slm role"),
        ("slm_rig", {"data": True, "device": "DMD"}, "its pattern is for DMD"),
        ("slm_rig", {"data": True, "exposure": 5}, "slm.dwell_ms of slm_rig.yaml"),
    ],
)
def test_a_planned_pattern_that_cannot_be_is_refused_before(
    tmp_path: Path, name: str, slm_image: dict[str, Any], said: str
) -> None:
    from useq import MDASequence

    plan = MDASequence(
        channels=[{"config": "FITC", "exposure": 20}],
        stage_positions=[{"x": 0, "y": 0}],
        setup={"slm_image": slm_image},
    )
    config = rig(name, specimen=still(), clock={"kind": "virtual"})
    with pytest.raises(ConfigError, match=said):
        run(
            experiment(rig=f"{name}.yaml", acquisition=plan),
            rig=config,
            output=tmp_path,
        )


def test_a_policy_that_needs_an_slm_is_refused_on_a_rig_without(tmp_path: Path) -> None:
    for config in (
        rig("specimen_rig", specimen=still(), clock={"kind": "virtual"}),
        slm_rig(slm={"line": "488", "calibration": {}}),
    ):
        with pytest.raises(ConfigError, match="an SLM that is calibrated"):
            run(lit(), rig=config, output=tmp_path)


@pytest.mark.parametrize("name", ["set_image", "display_image"])
def test_an_slm_that_refuses_is_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    works, calls = getattr(DemoSlm, name), []

    def fails(self: DemoSlm, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:  # dark at the start, one pattern, then this
            raise RuntimeError("the controller is overheated")
        works(self, *args)

    monkeypatch.setattr(DemoSlm, name, fails)
    result = run(lit(errors={"hardware": "skip"}), rig=slm_rig(), output=tmp_path)
    outcomes = [o for o in RunFolder(result.path).outcomes if o.status != "noted"]
    assert [o.status for o in outcomes] == [
        "applied", "failed", "applied", "applied", "applied",
    ]  # fmt: skip
    assert "overheated" in outcomes[1].message
    kinds = [e for e in RunFolder(result.path).entries() if e["kind"] == "fault"]
    assert any("overheated" in fault["message"] for fault in kinds)
    calls.clear()
    result = run(lit(), rig=slm_rig(), output=tmp_path)
    assert result.outcome == "failed"


def test_the_pattern_is_dark_at_the_end_whatever_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray] = []
    works = DemoSlm.display_image

    def noted(self: DemoSlm) -> None:
        works(self)
        shown.append(self.get_image())

    monkeypatch.setattr(DemoSlm, "display_image", noted)
    result = run(lit({"each": 4}), rig=slm_rig(), output=tmp_path)
    assert result.outcome == "completed"
    assert max(image.max() for image in shown) == 255
    assert shown[-1].max() == 0


def test_the_report_shows_the_pattern_and_the_replay_decides_it_again(
    tmp_path: Path,
) -> None:
    result = run(
        lit({"half_px": 100.0, "aside_px": 200.0}), rig=slm_rig(), output=tmp_path
    )
    page = write_report(RunFolder(result.path)).read_text(encoding="utf-8")
    assert "Where the SLM sent the light" in page
    assert page.count("<polygon") == 3
    assert "356.00,156.00" in page
    assert "of it lies outside of the SLM" in page
    assert "1 region at 255 of 255" in page
    again = replay(result.path)
    assert again.identical
    assert replay(result.path, vision=True).identical
