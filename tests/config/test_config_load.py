"""Files and Python values become the same validated models."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import useq

import smartscope
from smartscope.config import (
    Experiment,
    RigConfig,
    Stream,
    dump_yaml,
    find_experiment,
    load_experiment,
    load_rig,
    resolve,
    rig_of,
    shipped,
)
from smartscope.core import ConfigError

HEAD = "name: test\nrig: rig.yaml\n"
PLAN = "acquisition: {channels: [FITC]}\n"
RIG = "name: rig\nmicromanager: {config: demo.cfg}\nroles: {camera: Camera}\n"


def experiment(tmp_path: Path, text: str, name: str = "e.yaml") -> Experiment:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def refused(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        experiment(tmp_path, text)
    return caught.value


def test_stages_and_policies_in_a_file_and_in_python(tmp_path: Path) -> None:
    text = (
        HEAD + PLAN + "vision:\n- background\n"
        "- segment: {method: otsu, on: {channel: FITC, z: 0}}\n- track:\n"
        "policies:\n- use: rate_switch\n  name: fast\n  priority: 3\n"
        "  positions: [1]\n  trigger: mitosis\n"
    )
    from_file = experiment(tmp_path, text)
    in_python = Experiment(
        name="test",
        rig="rig.yaml",
        acquisition={"channels": ["FITC"]},
        vision=[
            "background",
            {"segment": {"method": "otsu", "on": {"channel": "FITC", "z": 0}}},
            {"track": None},
        ],
        policies=[
            {
                "use": "rate_switch",
                "name": "fast",
                "priority": 3,
                "positions": [1],
                "trigger": "mitosis",
            }
        ],
    )
    assert from_file.model_copy(update={"source_file": None}) == in_python
    assert from_file.source_file == tmp_path / "e.yaml"
    stage, policy = from_file.vision[1], from_file.policies[0]
    assert stage.use == "segment"
    assert stage.on == {"channel": "FITC", "z": "0"}
    assert stage.parameters == {"method": "otsu"}
    assert policy.parameters == {"trigger": "mitosis"}
    assert (policy.called, policy.priority, policy.positions) == ("fast", 3, (1,))


def test_top_level_name_loads(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(HEAD + PLAN, encoding="utf-8")
    assert smartscope.Experiment.load(tmp_path / "e.yaml").name == "test"


def test_a_sequence_given_in_python_is_the_one_that_is_run() -> None:
    plan = useq.MDASequence(channels=["FITC"], z_plan={"range": 2, "step": 1})
    made = Experiment(name="a", rig="r.yaml", acquisition=plan)
    assert made.acquisition is plan


@pytest.mark.parametrize(
    "interval", ["5", "{seconds: 5}", "'0:00:05'", "0:00:05", "PT5S", "5.0"]
)
def test_times_as_useq_takes_them(tmp_path: Path, interval: str) -> None:
    plan = f"acquisition: {{time_plan: {{interval: {interval}, loops: 3}}}}\n"
    acquisition = experiment(tmp_path, HEAD + plan).acquisition
    assert isinstance(acquisition, useq.MDASequence)
    assert [e.min_start_time for e in acquisition] == [0.0, 5.0, 10.0]


@pytest.mark.parametrize("line", ["488", "'488'"])
def test_a_light_line_is_a_number_or_a_text(tmp_path: Path, line: str) -> None:
    light = f"light: {{{line}: {{{line}: {{power_percent: 5}}}}}}\n"
    limits = f"safety: {{power_percent: {{{line}: 20}}}}\n"
    plan = f"acquisition: {{channels: [{line}, {{config: {line}}}]}}\n"
    made = experiment(tmp_path, HEAD + plan + light + limits)
    assert made.light["488"]["488"].power_percent == 5
    assert made.safety.power_percent == {"488": 20}
    assert [c.config for c in made.acquisition.channels] == ["488", "488"]  # type: ignore[union-attr]


def test_a_light_line_is_a_number_in_python_too() -> None:
    made = Experiment(
        name="a",
        rig="r",
        acquisition=Stream(channel=488, exposure_ms=1, frames=1),
        light={488: {488: {"power_mw": 1}}},
        safety={"power_mw": {488: 2}},
    )
    assert list(made.light["488"]) == ["488"]
    assert made.safety.power_mw == {"488": 2}


def test_words_of_devices_stay_words(tmp_path: Path) -> None:
    setup = "acquisition: {channels: [NO, 1e3], setup: {properties: [[L, S, Off]]}}\n"
    vision = "vision: [segment: {on: {channel: yes}, t: 1e-3, n: 010, d: 2026-11-22}]\n"
    made = experiment(tmp_path, HEAD + setup.replace("1e3", "'1e3'") + vision)
    plan, stage = made.acquisition, made.vision[0]
    assert isinstance(plan, useq.MDASequence) and plan.setup is not None
    assert [c.config for c in plan.channels] == ["NO", "1e3"]
    assert plan.setup.properties == [("L", "S", "Off")]
    assert stage.on == {"channel": "yes"}
    assert stage.parameters == {"t": 0.001, "n": 10, "d": "2026-11-22"}


def test_booleans_may_be_yes_and_no(tmp_path: Path) -> None:
    text = HEAD + PLAN + "record: {images: no, labels: true}\n"
    assert experiment(tmp_path, text).record.images is False


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = (
        HEAD + PLAN + "vision:\n- segment: &s {method: otsu, min_um2: 3}\n"
        "- split: {<<: *s, min_um2: 5}\n"
    )
    made = experiment(tmp_path, text)
    assert made.vision[1].parameters == {"method": "otsu", "min_um2": 5}


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_plan_in_a_file_of_its_own(tmp_path: Path, ending: str) -> None:
    data = {
        "channels": [{"config": "FITC", "exposure": 20}],
        "stage_positions": [[0, 0], {"x": 5, "y": 6}],
        "z_plan": {"range": 2, "step": 1},
    }
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / f"plan.{ending}").write_text(json.dumps(data))
    text = HEAD + f"acquisition: {{useq: plans/plan.{ending}}}\n"
    assert len(list(experiment(tmp_path, text).acquisition)) == 6  # type: ignore[arg-type]


def test_a_stream(tmp_path: Path) -> None:
    text = HEAD + "acquisition: {stream: {exposure_ms: 5, duration_s: 2}}\n"
    assert experiment(tmp_path, text).acquisition == Stream(exposure_ms=5, duration_s=2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("time_plan: {interval: 0, duration: 5}", "never fills a duration"),
        ("time_plan: {duration: 5, loops: 1}", "single loop has no duration"),
        ("time_plan: {interval: -1, loops: 2}", "found -1 s"),
        ("time_plan: {interval: 1, loops: 100000000000}", "more than a plan can hold"),
        ("time_plan: {interval: {secs: 1}, loops: 2}", "did you mean 'seconds'?"),
        ("time_plan: {interval: 1, loops: 2, duration: 5}", "does not go with"),
        ("z_plan: {range: 1.0e12, step: 1}", "more than a plan can hold"),
        ("z_plan: {relative: []}", "takes no image"),
        ("channels: FITC", "found 'FITC', expected a list; write [FITC]"),
        ("axis_order: tpx", "some of the letters t, p, g, c, z"),
        ("setup: {action: {name: x}}", "'type' is missing; add 'type: custom'"),
        ("setup: {action: {type: custm}}", "expected one of hardware_autofocus"),
        ("stage_positions: {plate: 96well, a1_center_xy: [0, 0]}", "'96-well'?"),
        ("stage_positions: [{x: left}]", "stage_positions[0].x: found 'left'"),
        ("autofocus_plan: {axs: [p]}", "did you mean 'axes'?"),
        ("channels: [F], uid: 5, metadata: {any: [1]}, exposre: 3", "exposre"),
        ("z_plan: {range: 4, step: 1}, range: 3", "belongs under 'z_plan'"),
        (
            "stage_positions: [[0, 0]], grid_plan: {top: 1, left: 0, bottom: 0, "
            "right: 1}",
            "is ignored when using a global absolute grid plan",
        ),
    ],
)
def test_plans_that_cannot_be(tmp_path: Path, text: str, sentence: str) -> None:
    error = refused(tmp_path, HEAD + f"acquisition: {{{text}}}\n")
    assert sentence in str(error)
    assert error.line == 3


def test_plans_are_read_as_useq_reads_them(tmp_path: Path) -> None:
    plans = [
        {"channels": ["DAPI"], "uid": "12345678-1234-5678-1234-567812345678"},
        {"stage_positions": [{"x": 1, "y": 2, "row": 3, "col": 4}]},
        {"stage_positions": {"plate": "96-well", "a1_center_xy": [0, 0],
                             "selected_wells": [[0, 1], [2, 3]],
                             "well_points_plan": {"num_points": 2, "random_seed": 1}}},
        {"grid_plan": {"rows": 2, "columns": 2, "overlap": 10, "mode": "spiral"}},
        {"grid_plan": {"top": 9, "left": 0, "bottom": 0, "right": 9, "fov_width": 3,
                       "fov_height": 3}},
        {"grid_plan": {"vertices": [[0, 0], [9, 0], [0, 9]], "fov_width": 3,
                       "fov_height": 3}},
        {"z_plan": {"absolute": [1, 2]}, "keep_shutter_open_across": "z"},
        {"time_plan": {"phases": [{"interval": 1, "loops": 2}]}},
        {"time_plan": [{"interval": 1, "duration": 5}, {"duration": 4, "loops": 2}]},
        {"autofocus_plan": {"axes": ["p"], "autofocus_motor_offset": 5},
         "stage_positions": [{"z": 1, "sequence": {"z_plan": {"top": 3, "bottom": 0,
                                                              "step": 1}}}]},
        {"channels": ["A"], "setup": {"roi": [0, 0, 8, 8], "channel": "FITC",
                                      "slm_image": [[0, 1]], "index": {"t": 1}}},
        {"channels": ["A"], "setup": {"action": {"type": "custom", "name": "wash",
                                                 "data": {"any": ["thing"]}}}},
        {"axis_order": "pt", "z_plan": None, "stage_positions": [{"name": "a"}]},
    ]  # fmt: skip
    for plan in plans:
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(plan))
        ours = experiment(tmp_path, HEAD + "acquisition: {useq: plan.json}\n")
        assert ours.acquisition == useq.MDASequence.from_file(path)


def test_problems_carry_lines_after_loading(tmp_path: Path) -> None:
    text = (
        HEAD + PLAN + "vision:\n- segment:\n    method: otzu\n"
        "policies:\n- use: rate_switch\n  triger: mitosis\n"
    )
    made = experiment(tmp_path, text)
    stage = made.problem("vision[0].parameters.method", "no such method", "fix it")
    assert (stage.line, stage.file) == (6, str(tmp_path / "e.yaml"))
    loose = ConfigError("unknown", field="policies.0.triger", fix="fix it")
    assert made.located(loose).line == 9
    assert made.located(loose).problem == "unknown"
    assert made.located(stage) is stage


def test_errors_in_python_speak_as_plainly() -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment(name="a", rig="r", acquisition={"chanels": ["F"]}, sed=3)
    assert str(caught.value) == (
        "acquisition: unknown key 'chanels'; did you mean 'channels'? "
        "(1 more problem after this one)"
    )
    assert caught.value.line is None


@pytest.mark.parametrize("key", ["[", "str", "float", "a[b]", "function-after[f]", "7"])
def test_odd_keys_are_named(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment(name="a", rig="r", acquisition={"channels": ["F"]}, **{key: 1})
    assert caught.value.problem == f"unknown key '{key}'"


def test_models_can_be_copied_to_another_process(tmp_path: Path) -> None:
    made = experiment(tmp_path, HEAD + PLAN)
    assert pickle.loads(pickle.dumps(made)) == made


def test_source_file_is_no_key(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + PLAN + "source_file: other.yaml\n")
    assert "unknown key 'source_file'" in str(error)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &a [*a]\n", "contains itself"),
        ("[" * 5000 + "\n", "nested too deeply"),
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("? [1, 2]\n: 3\n", "a key is a list or a mapping"),
        ("a: 1" + "0" * 5000 + "\n", "the number is too large"),
        ("a: 1e999\n", "the number is too large"),
        ("a: \0\n", "a character that text files do not have"),
        ("a: !!set {b}\n", "the tag '!!set' is not allowed"),
        ("a: !!binary aGk=\n", "the tag '!!binary' is not allowed"),
        ("<<: 3\n", "merges something else than a mapping"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{y}: &{y} [{', '.join([f'*{x}'] * 10)}]\n"
                for x, y in zip("abcdef", "bcdefg", strict=True)
            ),
            "unfolds without end",
        ),
    ],
)
def test_yaml_that_cannot_be(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in str(refused(tmp_path, text))


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + PLAN).replace("\n", "\r\n").encode())
    assert load_experiment(path).name == "test"


def test_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, sentence in [
        (tmp_path, "this is a folder"),
        (tmp_path / "no.yaml", "no such file"),
        ("x" * 5000 + ".yaml", "there is no experiment"),
        ("\0", "there is no experiment"),
    ]:
        with pytest.raises(ConfigError, match=sentence):
            load_experiment(name)
    (tmp_path / "e.yaml").write_text("a" * 5_000_000)
    with pytest.raises(ConfigError, match="5 MB is too much"):
        load_experiment(tmp_path / "e.yaml")

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "denied", str(path))

    # Whoever runs the tests may be allowed everything.
    (tmp_path / "e.yaml").write_text(HEAD + PLAN)
    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(ConfigError, match="you may not read this file"):
        load_experiment(tmp_path / "e.yaml")


def test_a_misspelt_file_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "divisions.yaml").write_text(HEAD + PLAN)
    with pytest.raises(ConfigError, match=r"did you mean 'divisions\.yaml'\?"):
        load_experiment(tmp_path / "division.yaml")


def test_shipped_experiments_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo_configs"
    folder.mkdir()
    (folder / "quickstart.yaml").write_text(HEAD + PLAN)
    (folder / "demo_rig.yaml").write_text(RIG)
    monkeypatch.setattr("smartscope.config._paths.shipped", lambda _: folder)
    assert find_experiment("quickstart") == folder / "quickstart.yaml"
    assert find_experiment("quickstart.yaml") == folder / "quickstart.yaml"
    assert load_rig("demo_rig").name == "rig"
    with pytest.raises(ConfigError, match=r"did you mean 'quickstart'\?"):
        find_experiment("quikstart")
    with pytest.raises(ConfigError, match="one of: quickstart"):
        find_experiment("demo_rig")


def test_shipped_folders_are_there() -> None:
    assert shipped("policies").name == "policies"
    assert shipped("demo_configs").is_dir()


def test_paths_are_seen_from_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "here.cfg").write_text("")
    monkeypatch.chdir(tmp_path / "b")
    base = tmp_path / "a" / "rig.yaml"
    assert resolve(base, Path("here.cfg")) == Path("here.cfg")
    (tmp_path / "a" / "here.cfg").write_text("")
    assert resolve(base, Path("here.cfg")) == tmp_path / "a" / "here.cfg"
    assert resolve(base, Path("none.cfg")) == tmp_path / "a" / "none.cfg"
    assert resolve(None, Path("none.cfg")) == Path("none.cfg")
    assert resolve(base, tmp_path / "x") == tmp_path / "x"


def test_the_rig_of_an_experiment(tmp_path: Path) -> None:
    made = experiment(tmp_path, HEAD + PLAN)
    with pytest.raises(ConfigError, match=r"there is no file 'rig\.yaml'") as caught:
        rig_of(made)
    assert (caught.value.field, caught.value.line) == ("rig", 2)
    (tmp_path / "rig.yaml").write_text(RIG)
    rig = rig_of(made)
    assert isinstance(rig, RigConfig)
    assert rig.source_file == tmp_path / "rig.yaml"


def test_a_micromanager_configuration_is_no_rig(tmp_path: Path) -> None:
    (tmp_path / "demo.cfg").write_text("Property,Core,Initialize,0\n")
    with pytest.raises(ConfigError, match="this is a Micro-Manager configuration"):
        load_rig(tmp_path / "demo.cfg")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")
def test_the_camera_of_a_rig(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text(RIG, encoding="utf-8")
    plain = load_rig(file)
    assert plain.camera.effect_after_frames == {}
    assert plain.readout_ms == plain.timing.readout_ms
    file.write_text(
        f"{RIG}camera:\n  frame_counter: FrameNumber\n  readout_ms: 0\n"
        "  effect_after_frames: {exposure: 2, Laser.Voltage: 1}\n",
        encoding="utf-8",
    )
    told = load_rig(file)
    assert told.camera.frame_counter == "FrameNumber"
    assert told.readout_ms == 0.0
    assert told.camera.effect_after_frames == {"exposure": 2, "Laser.Voltage": 1}
    assert told.camera.spin_ms == plain.camera.spin_ms
    file.write_text(dump_yaml(told), encoding="utf-8")
    assert load_rig(file).camera == told.camera


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.yaml")
    with pytest.raises(ConfigError, match="no ordinary file"):
        load_experiment(tmp_path / "e.yaml")
