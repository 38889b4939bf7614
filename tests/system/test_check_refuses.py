"""`smartscope check` on wrong files: one clear sentence each, exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smartscope import check, run
from smartscope.core import ConfigError

WRONG = Path(__file__).parent / "wrong"

SENTENCES = {
    "cut_off_tiff": (
        "rig_cut_off_tiff.yaml, line 2: recording.path: ",
        "cut_off.tif ends early: page 5 of 6 is cut off",
    ),
    "flash_in_a_stream": (
        "flash_in_a_stream.yaml, line 6: policies[0].use: ",
        "photoactivate_on_event needs a plan whose intervals it can change",
        "which a stream does not give; plan a time series",
    ),
    "foreign_channel": (
        "foreign_channel.yaml, line 7: vision.0.segment.on.channel: ",
        "unknown channel 'Cy5'; known: FITC",
    ),
    "long_exposure": (
        "long_exposure.yaml, line 4: acquisition.channels[0].exposure: ",
        "exposure 20000 ms is outside of 1 to 2000 ms",
        "limits.exposure_ms of specimen_rig.yaml",
    ),
    "loosened_limit": (
        "loosened_limit.yaml, line 9: safety.exposure_ms: ",
        "1 to 5000 is looser than the rig's 1 to 2000",
    ),
    "missing_cfg": (
        "rig_missing_cfg.yaml: micromanager.config: ",
        "'nowhere.cfg' does not exist",
    ),
    "missing_device": (
        "rig_missing_device.yaml: roles.camera: ",
        "device 'Camrea' is not in demo_laser.cfg; did you mean 'Camera'?",
    ),
    "missing_rig": (
        "missing_rig.yaml, line 2: rig: ",
        "there is no file 'no_such_rig.yaml'",
    ),
    "misspelt_policy": (
        "misspelt_policy.yaml, line 8: policies[0].use: ",
        "there is no policy 'rate_swich'; did you mean 'rate_switch'?",
    ),
    "no_light_named": (
        "no_light_named.yaml, line 6: light: ",
        "channel FITC is planned, but nothing says how strong its light is",
    ),
    "no_recording": (
        "rig_no_recording.yaml, line 2: recording.path: ",
        "notes.tif is no TIFF file",
    ),
    "not_yaml": ("not_yaml.yaml, line 2: ", "this is not YAML"),
    "policy_parameter": (
        "policy_parameter.yaml, line 8: policies[0].fast_intervall_s: ",
        "did you mean 'fast_interval_s'?",
    ),
    "stages_out_of_order": (
        "stages_out_of_order.yaml, line 7: ",
        "'track' needs objects from a stage before it",
    ),
    "uncalibrated_objective": (
        "rig_uncalibrated_objective.yaml: calibration: ",
        "10x is turned in, and only 20x is calibrated; turn in a calibrated objective",
    ),
    "unknown_channel": (
        "unknown_channel.yaml, line 4: acquisition.channels: ",
        "there is no channel preset 'FTIC'",
        "did you mean 'FITC'?",
    ),
    "unknown_key": (
        "unknown_key.yaml, line 9: ",
        "unknown key 'polices'; did you mean 'policies'?",
    ),
    "unknown_line": (
        "unknown_line.yaml, line 6: light.FITC.561: ",
        "the rig has no light line 561; known are: 488",
    ),
    "unknown_stage": (
        "unknown_stage.yaml, line 7: ",
        "unknown stage 'segmnt'; did you mean 'segment'?",
    ),
    "unreachable_position": (
        "unreachable_position.yaml, line 6: acquisition.stage_positions[1]: ",
        "stage x 9000 um is outside of -5000 to 5000 um",
    ),
    "useless_affine": (
        "useless_affine.yaml, line 8: policies[0].use: ",
        "follow_cell needs a calibrated affine",
    ),
    "useq_typo": (
        "useq_typo.yaml, line 5: acquisition.time_plan: ",
        "unknown key 'intervall'; did you mean 'interval'?",
    ),
}


def test_every_wrong_file_has_its_sentence() -> None:
    files = {p.stem for p in WRONG.glob("*.yaml") if not p.name.startswith("rig_")}
    assert files == set(SENTENCES)


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_check_names_file_field_and_fix(name) -> None:
    with pytest.raises(ConfigError) as caught:
        check(WRONG / f"{name}.yaml")
    text = str(caught.value)
    for part in SENTENCES[name]:
        assert part in text
    assert "\n" not in text


def test_a_run_with_an_objective_that_is_not_calibrated_does_nothing(tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        run(WRONG / "uncalibrated_objective.yaml", output=tmp_path)
    assert SENTENCES["uncalibrated_objective"][-1] in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing was written, no frame taken"


@pytest.mark.parametrize("name", ["misspelt_policy", "cut_off_tiff", "not_yaml"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_the_command_line_prints_the_sentence_alone(command, name, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smartscope", command, str(WRONG / f"{name}.yaml")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert SENTENCES[name][-1] in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_a_right_file_gets_a_forecast() -> None:
    report = check("quickstart")
    assert report.ok
    assert report.kind == "experiment"
    assert report.forecast["frames"] == 60
    assert "J/cm2" in report.forecast["dose"]["FITC"]


def test_check_prints_json(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smartscope", "check", "quickstart", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["forecast"]["frames"] == 60
