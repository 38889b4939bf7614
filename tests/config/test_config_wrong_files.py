"""Every wrong file gets the one sentence it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartscope.config import load_experiment, load_rig
from smartscope.core import ConfigError

WRONG = Path(__file__).parent / "wrong"
SENTENCES = {
    "a_rig.yaml": (
        "a_rig.yaml: this is a rig file; give the experiment file that names it"
    ),
    "bad_yaml.yaml": (
        "bad_yaml.yaml, line 4: this is not YAML (expected ',' or '}', but got "
        "'<scalar>'); look for a missing colon, quote, bracket or space there or just"
        " above"
    ),
    "duplicate_key.yaml": (
        "duplicate_key.yaml, line 4: key 'name' is there twice; remove one"
    ),
    "empty.yaml": ("empty.yaml: the file is empty; write 'key: value' lines"),
    "empty_plan.yaml": (
        "empty_plan.yaml, line 3: acquisition: the plan takes no image; add "
        "'channels', 'stage_positions', 'time_plan', 'z_plan' or a grid"
    ),
    "empty_value.yaml": (
        "empty_value.yaml, line 2: rig: found nothing, expected the name of a file; "
        "write a value, or remove the line"
    ),
    "latin1.yaml": (
        "latin1.yaml: this is not UTF-8 text; save it as UTF-8 in your editor"
    ),
    "limits_reversed.yaml": (
        "limits_reversed.yaml, line 5: safety.focus_um: 100 is not below -100; write "
        "[lowest, highest]"
    ),
    "literal.yaml": (
        "literal.yaml, line 4: schedule.pacing: found 'lockstop', expected 'lockstep'"
        " or 'free'; did you mean 'lockstep'?"
    ),
    "misplaced_key.yaml": (
        "misplaced_key.yaml, line 5: unknown key 'pacing'; it belongs under 'schedule'"
    ),
    "no_acquisition.yaml": (
        "no_acquisition.yaml: 'acquisition' is missing; add 'acquisition: {channels: "
        "[{config: FITC, exposure: 20}]}'"
    ),
    "not_a_mapping.yaml": (
        "not_a_mapping.yaml, line 1: the top level is not a mapping; write 'key: "
        "value' lines"
    ),
    "not_finite.yaml": ("not_finite.yaml, line 5: found .inf; write a finite number"),
    "number.yaml": (
        "number.yaml, line 4: seed: found 'lucky', expected a whole number"
    ),
    "out_of_range.yaml": (
        "out_of_range.yaml, line 6: light.FITC.488.power_percent: found 120, expected"
        " at most 100"
    ),
    "plan_with_typo.yaml": (
        "plan_with_typo.yaml: this is a useq plan; name it in an experiment: "
        "'acquisition: {useq: ...}'"
    ),
    "policy_twice.yaml": (
        "policy_twice.yaml, line 6: policies[1]: two policies are called "
        "'rate_switch'; give one of them a 'name'"
    ),
    "policy_without_use.yaml": (
        "policy_without_use.yaml, line 5: policies[0]: 'use' is missing; write '- "
        "use: rate_switch' with the policy's fields below"
    ),
    "rig_affine.yaml": (
        "rig_affine.yaml, line 7: calibration.10x.affine: the affine maps the image "
        "onto a line; run 'smartscope calibrate'"
    ),
    "rig_calibration.yaml": (
        "rig_calibration.yaml, line 7: light.488.calibration.10x: a calibration needs"
        " two or more points with rising values; write [[property value, mW at the "
        "sample], ...]"
    ),
    "rig_camera_counter.yaml": (
        "rig_camera_counter.yaml, line 4: camera.frame_counter: a metadata tag needs a "
        "name; name it, or remove the line"
    ),
    "rig_camera_effect.yaml": (
        "rig_camera_effect.yaml, line 7: camera.effect_after_frames.Laser.Voltage: "
        "found -1, expected at least 0"
    ),
    "rig_camera_key.yaml": (
        "rig_camera_key.yaml, line 6: camera: unknown key 'spin'; did you mean "
        "'spin_ms'?"
    ),
    "rig_camera_missing.yaml": (
        "rig_camera_missing.yaml, line 3: roles: 'camera' is missing; add 'camera: ...'"
    ),
    "rig_clock.yaml": (
        "rig_clock.yaml, line 4: clock.kind: a virtual clock needs a specimen or a "
        "recording; write 'kind: real', the time a camera lives in"
    ),
    "rig_experiment.yaml": (
        "rig_experiment.yaml: this is an experiment file; give the rig file that it "
        "names"
    ),
    "rig_limit_of_no_line.yaml": (
        "rig_limit_of_no_line.yaml, line 7: limits.power_mw.489: the rig has no light"
        " line '489'; did you mean '488'?"
    ),
    "rig_no_microscope.yaml": (
        "rig_no_microscope.yaml: a rig needs exactly one of 'micromanager' and "
        "'recording'; name a microscope, or a file with its pixels"
    ),
    "rig_no_roles.yaml": (
        "rig_no_roles.yaml, line 2: micromanager: a microscope needs 'roles'; add "
        "'roles: {camera: Camera}'"
    ),
    "rig_power_range.yaml": (
        "rig_power_range.yaml, line 7: light.488.range: the range does not rise; "
        "write [value at 0 %, value at 100 %]"
    ),
    "rig_safe_state.yaml": (
        "rig_safe_state.yaml, line 5: safe_state[0]: value 3 of the list is missing"
    ),
    "stage_indent.yaml": (
        "stage_indent.yaml, line 5: vision[0]: a stage needs one name; indent "
        "'method' below 'segment:'"
    ),
    "stream_bare.yaml": (
        "stream_bare.yaml, line 3: acquisition: 'exposure_ms' belongs to a stream; "
        "write these keys under 'stream:'"
    ),
    "stream_two_ends.yaml": (
        "stream_two_ends.yaml, line 4: acquisition.stream: a stream needs exactly one"
        " of 'frames' and 'duration_s'; write one of them"
    ),
    "tab.yaml": ("tab.yaml, line 4: a tab is used to indent; indent with spaces"),
    "two_problems.yaml": (
        "two_problems.yaml, line 4: schedule: unknown key 'pace'; did you mean "
        "'pacing'? (1 more problem after this one)"
    ),
    "two_units.yaml": (
        "two_units.yaml, line 6: light.FITC.488: a power needs exactly one of "
        "'power_percent' and 'power_mw'; write one of them"
    ),
    "unknown_key.yaml": (
        "unknown_key.yaml, line 4: unknown key 'polices'; did you mean 'policies'?"
    ),
    "unsafe_tag.yaml": (
        "unsafe_tag.yaml, line 1: the tag '!!python/object/apply:os.system' is not "
        "allowed; write plain values"
    ),
    "useq_channel_key.yaml": (
        "useq_channel_key.yaml, line 6: acquisition.channels[0]: unknown key "
        "'exposure_ms'; did you mean 'exposure'?"
    ),
    "useq_file_missing.yaml": (
        "useq_file_missing.yaml, line 3: acquisition.useq: there is no file "
        "'no_such_plan.yaml'; put it beside this file"
    ),
    "useq_file_wrong.yaml": (
        "plan_with_typo.yaml, line 4: time_plan: unknown key 'loop'; did you mean "
        "'loops'?"
    ),
    "useq_grid.yaml": (
        "useq_grid.yaml, line 5: acquisition.grid_plan: unknown key 'colums'; did you"
        " mean 'columns'?"
    ),
    "useq_key.yaml": (
        "useq_key.yaml, line 6: acquisition.time_plan: unknown key 'intervall'; did "
        "you mean 'interval'?"
    ),
    "useq_mixed_plan.yaml": (
        "useq_mixed_plan.yaml, line 5: acquisition.z_plan.range: 'range' does not go "
        "with 'top' and 'bottom'; remove the one or the other"
    ),
    "useq_phase_key.yaml": (
        "useq_phase_key.yaml, line 7: acquisition.time_plan[1]: unknown key 'lops'; "
        "did you mean 'loops'?"
    ),
    "useq_position_key.yaml": (
        "useq_position_key.yaml, line 10: "
        "acquisition.stage_positions[1].sequence.z_plan: unknown key 'stp'; did you "
        "mean 'step'?"
    ),
    "useq_setup_key.yaml": (
        "useq_setup_key.yaml, line 6: acquisition.setup: unknown key 'propertys'; did"
        " you mean 'properties'?"
    ),
    "useq_value.yaml": (
        "useq_value.yaml, line 5: acquisition.channels[0].exposure: found 'long', "
        "expected a number"
    ),
}


def test_every_wrong_file_has_a_sentence() -> None:
    assert {path.name for path in WRONG.glob("*.yaml")} == SENTENCES.keys()


@pytest.mark.parametrize("name", SENTENCES)
def test_wrong_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    load = load_rig if name.startswith("rig_") else load_experiment
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert str(caught.value) == SENTENCES[name]
    assert caught.value.exit_code == 2
    assert (
        caught.value.fix
        or "expected" in caught.value.problem
        or "missing" in (caught.value.problem)
    )


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_the_line_is_where_it_says(name: str) -> None:
    load = load_rig if name.startswith("rig_") else load_experiment
    with pytest.raises(ConfigError) as caught:
        load(WRONG / name)
    error = caught.value
    assert Path(error.file).parent == WRONG
    if error.line is not None:
        text = Path(error.file).read_text(encoding="utf-8")
        assert 1 <= error.line <= text.count("\n") + 1
        word = error.problem.partition("unknown key '")[2].partition("'")[0]
        assert word in text.splitlines()[error.line - 1]
