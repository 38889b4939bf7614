"""`smartscope check` on wrong uses of models: one clear sentence each, nothing run."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from smartscope import check
from smartscope.config import shipped
from smartscope.core import ConfigError

sys.path.append(str(Path(__file__).parents[1] / "vision"))

from learned_nets import conv, identity, package, plain

ONE = [[[[1.0]]]]
# Name: the stage, and what its sentence says after the line (the place comes first).
WRONG = {
    # ------------------------------------------------------------ which model
    "misspelt": ({"segment": {"model": "nucleii"}}, "segment.model: ", "'nuclei'?"),
    "no such path": ({"segment": {"model": "m/x.onnx"}}, "segment.model: m/x.onnx: "),
    "nothing": ({"segment": {"model": None}}, "segment.model: no model is named; "),
    "a list": ({"segment": {"model": ["a", "b"]}}, "segment.model: this is no model; "),
    "a number": ({"segment": {"model": 5}}, "segment.model: this is no model; "),
    "no path": (
        {"spots": {"model": {"axes": "bcyx"}}},
        "spots.model: 'path' is missing",
    ),
    "needed": ({"detect": {}}, "detect: 'detect' needs a model; give the name"),
    "cut-off zip": ({"segment": {"model": "cut.zip"}}, "segment.model: ", "cut.zip: "),
    "cut-off network": (
        {"spots": {"model": "cut.onnx"}},
        "spots.model: ",
        "cut.onnx: cannot be read as ONNX: it is damaged or cut off",
    ),
    "empty network": ({"spots": {"model": "empty.onnx"}}, "spots.model: "),
    # -------------------------------------------------------- where it belongs
    "spots as masks": (
        {"segment": {"model": "spots"}},
        "segment.model: ",
        "the model gives 'spots', this stage needs 'mask', 'stardist' or 'flows'; use "
        "it in 'spots', 'detect' or 'localise'",
    ),
    "masks as an image": (
        {"denoise": {"model": "mask"}},
        "denoise.model: ",
        "this stage needs 'restored'; use it in 'segment' or 'detect'",
    ),
    "masks as classes": (
        {"classify": {"model": "mask", "each": "image"}},
        "classify.model: ",
        "the model gives 'mask', this stage needs 'classes'; use it in 'segment'",
    ),
    "too few rays": (
        {"segment": {"model": "rays"}},
        "segment.model: ",
        "'stardist' needs 4 channels, output 0 of the model has 2",
    ),
    "too few maps": (
        {"localise": {"model": "maps"}},
        "localise.model: ",
        "'emitters' needs 10 channels, output 0 of the model has 1",
    ),
    "no such channel": (
        {"segment": {"model": {"path": "mask", "channel": 3}}},
        "segment.model: ",
        "there is no channel 3; output 0 of the model has 1, counted from 0",
    ),
    "no such output": (
        {"spots": {"model": {"path": "net.onnx", "output": 2}}},
        "spots.model: ",
        "there is no output 2; the model has 1, counted from 0",
    ),
    # ------------------------------------------------------------------ images
    "two channels": (
        {"segment": {"model": "two"}},
        "segment.on.channel: ",
        "the model wants 2 channels, and gets 1 (FITC); name as many",
    ),
    "one channel": (
        {"segment": {"model": "mask", "on": {"channel": ["FITC", "FITC"]}}},
        "segment.on.channel: ",
        "the model wants 1 channel, and gets 2 (FITC, FITC)",
    ),
    "no stack": (
        {"segment": {"model": "mask", "on": {"z": "all"}}},
        "segment.on.z: ",
        "the model knows no planes",
    ),
    "pixel size": (
        {"segment": {"model": "mask", "scale": "auto"}},
        "segment.scale: ",
        "does not say for which pixel size it was made",
    ),
    "big": ({"segment": {"model": "mask", "scale": "big"}}, "segment.scale: found "),
    "no scale": ({"segment": {"model": "mask", "scale": 0}}, "segment.scale: found 0"),
    "crops": (
        {"classify": {"model": "mask", "scale": 2}},
        "classify.scale: crops of objects are resized by 'crop_um'",
    ),
    "axes": (
        {"spots": {"model": {"path": "net.onnx", "axes": "bczyx"}}},
        "spots.model: ",
        "axes: the network takes 4 axes, not 'bczyx'",
    ),
    "operation": (
        {"spots": {"model": {"path": "net.onnx", "preprocessing": [{"scal": {}}]}}},
        "spots.model: ",
        "preprocessing[0]: the operation 'scal' is not supported",
    ),
    "operations": (
        {"spots": {"model": {"path": "net.onnx", "preprocessing": "zscore"}}},
        "spots.model.preprocessing: found 'zscore', expected a list",
    ),
    # ----------------------------------------------------------------- runtimes
    "runtime": (
        {"segment": {"model": "mask", "runtime": "onnx_runtime"}},
        "segment.runtime: there is no runtime 'onnx_runtime'; did you mean 'onnxrunti",
    ),
    "weights": (
        {"segment": {"model": "mask", "runtime": "onnxruntime-int8"}},
        "segment.runtime: runtime 'onnxruntime-int8' cannot be used here: the model "
        "has no int8 weights for it; write 'auto', or ",
    ),
    "server as text": (
        {"segment": {"model": "mask", "runtime": "grpc://box:8001/mask"}},
        "segment.runtime: ",
        "write a server as {remote: host:port, model: NAME}",
    ),
    "no port": (
        {"segment": {"model": "mask", "runtime": {"remote": "gpu-box"}}},
        "segment.runtime.remote: 'gpu-box' is no address of a server; write host:port",
    ),
    "server's key": (
        {"segment": {"model": "mask", "runtime": {"remote": "a:1", "modle": "x"}}},
        "segment.runtime.modle: unknown key 'modle'; did you mean 'model'?",
    ),
    "threads": ({"segment": {"model": "mask", "threads": 0}}, "segment.threads: found"),
    # ------------------------------------------------------ failures, the alarm
    "on_failure": (
        {"segment": {"model": "mask", "on_failure": "ignore"}},
        "segment.on_failure: found 'ignore', expected 'stop' or 'skip'",
    ),
    "no model fails": (
        {"segment": {"on_failure": "skip"}},
        "segment: 'on_failure' belongs to 'model', which is not given",
    ),
    "action": (
        {"segment": {"model": "mask", "unfamiliar": {"action": "halt"}}},
        "segment.unfamiliar.action: found 'halt', expected 'note', 'pause' or 'stop'",
    ),
    "action alone": (
        {"segment": {"model": "mask", "unfamiliar": "pause"}},
        "segment.unfamiliar: found 'pause', expected 'key: value' lines",
    ),
    "unfamiliar's key": (
        {"segment": {"model": "mask", "unfamiliar": {"frames": 3}}},
        "segment.unfamiliar.frames: unknown key 'frames'; did you mean 'after_frames'?",
    ),
    "no domain": (
        {"segment": {"model": "mask", "unfamiliar": {"action": "stop"}}},
        "segment.unfamiliar: ",
        "does not say what images it knows, so none would be unfamiliar; leave",
    ),
    # ---------------------------------------------------------------- the rest
    "no probability": (
        {"segment": {"model": "mask", "threshold": 5}},
        "segment.threshold: 'threshold' is a probability, between 0 and 1 (found 5)",
    ),
    "detect likewise": (
        {"detect": {"model": "mask", "threshold": 5}},
        "detect.threshold: 'threshold' is a probability, between 0 and 1 (found 5)",
    ),
    "both": (
        {"segment": {"model": "mask", "method": "otsu"}},
        "segment: 'method' does not go with 'model'; leave one of them out",
    ),
    "key": (
        {"segment": {"model": "mask", "tresh": 1}},
        "segment.tresh: unknown field of 'segment' 'tresh'; did you mean 'threshold'?",
    ),
    "model's key": (
        {"spots": {"model": {"path": "net.onnx", "preprocess": []}}},
        "spots.model.preprocess: unknown key 'preprocess'; did you mean 'preprocessin",
    ),
    "event's name": (
        {"event": {"model": "film"}},
        "event.kind: ",
        "the model does not say what its events are called; give 'kind'",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small models, right and wrong."""
    place = tmp_path_factory.mktemp("models")
    one = conv(ONE)
    mask = Path(package(place / "mask", one, {"kind": "mask"}))
    package(place / "spots", one, {"kind": "spots"})
    package(place / "maps", one, {"kind": "emitters"})
    package(place / "two", conv([[[[1.0]], [[1.0]]]]), {"kind": "mask"}, channels=2)
    package(place / "rays", conv([ONE[0], ONE[0]]), {"kind": "stardist"}, out=2)
    frames = conv(identity(3)[:1])
    package(place / "film", frames, {"kind": "events"}, channels=3, window=3)
    plain(place / "net.onnx")
    with zipfile.ZipFile(place / "whole.zip", "w") as file:
        for each in mask.iterdir():
            file.write(each, each.name)
    whole = (place / "whole.zip").read_bytes()
    (place / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (place / "cut.onnx").write_bytes(one[: len(one) // 2])
    (place / "empty.onnx").write_bytes(b"")
    return place


def written(folder, stage, before=()):
    rig = shipped("demo_configs") / "specimen_rig.yaml"
    lines = [
        "name: wrong",
        f"rig: {json.dumps(str(rig))}",
        "acquisition:",
        "  channels: [{config: FITC, exposure: 50}]",
        "  time_plan: {interval: 10, loops: 3}",
        "light: {FITC: {488: {power_percent: 10}}}",
        "vision:",
        *(f"  - {json.dumps(each)}" for each in (*before, stage)),
    ]
    path = folder / "experiment.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def nothing_runs(monkeypatch):
    from smartscope.inference import Model

    def refuse(*_):
        raise AssertionError("a model was run")

    monkeypatch.setattr(Model, "run", refuse)
    monkeypatch.setattr(Model, "prepare", refuse)


def refused(path):
    with pytest.raises(ConfigError) as caught:
        check(path)
    text = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in text
    return text


@pytest.mark.parametrize("name", WRONG)
def test_check_names_line_field_and_fix(name, folder, nothing_runs) -> None:
    stage, *parts = WRONG[name]
    before = ("segment",) if "classify" in stage else ()
    text = refused(written(folder, stage, before))
    start = f"experiment.yaml, line {8 + len(before)}: vision.{len(before)}."
    assert start + parts[0] in text
    for part in parts[1:]:
        assert part in text


@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt", "onnxruntime-cuda"])
def test_a_runtime_that_is_not_here_is_refused(name, folder, nothing_runs) -> None:
    from smartscope.inference import RUNTIMES

    if RUNTIMES[name].missing() is None:
        pytest.skip(f"{name} can be used here")
    text = refused(written(folder, {"segment": {"model": "mask", "runtime": name}}))
    start = f"vision.0.segment.runtime: runtime '{name}' cannot be used here: "
    assert start in text
    assert "no NVIDIA card" in text or "pip install " in text


def test_a_server_that_is_not_there_is_found_before_the_run(
    folder, nothing_runs
) -> None:
    pytest.importorskip("grpc", reason="needs grpcio: pip install smartscope[remote]")
    server = {"remote": "localhost:1"}
    path = written(folder, {"segment": {"model": "mask", "runtime": server}})
    text = refused(path)
    assert "experiment.yaml, line 8: vision.0.segment.runtime: " in text
    assert "localhost:1 cannot be reached" in text
    server |= {"remote": "grpcs://localhost:1", "certificate": "none.pem"}
    path = written(folder, {"segment": {"model": "mask", "runtime": server}})
    assert "runtime.certificate: there is no file 'none.pem'" in refused(path)


@pytest.mark.parametrize(
    "stage",
    [
        {"segment": {"model": "mask", "runtime": "auto", "scale": 0.5}},
        {"segment": {"model": "whole.zip", "on_failure": "skip", "threads": 1}},
        {"spots": {"model": {"path": "net.onnx", "multiple_of": 8}}},
        {"detect": {"model": "net.onnx"}},
        {"event": {"model": "film", "kind": "flash"}},
    ],
)
def test_what_is_right_passes_and_is_not_run(stage, folder, nothing_runs) -> None:
    assert check(written(folder, stage)).ok
