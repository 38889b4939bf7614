"""The fastest runtime that is right is chosen, and all others are accounted for."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runtime_nets import one, sum_and_product, torch_sum_and_product
from tiny_onnx import UNET

from smartscope.core import ModelError
from smartscope.inference._choose import choose, deviation
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._registry import RUNTIMES, RuntimeKind
from smartscope.inference._verdicts import (
    Trial,
    Verdict,
    cache_folder,
    read_verdict,
    verdict_key,
    write_verdict,
)

SHAPE = (1, 1, 16, 20)
IMAGE = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)


class Faulty(OrtRuntime):
    """A real runtime with a fault that begins at one of its runs."""

    fault: object = None
    opened = 0
    begins_at = 0

    def __init__(self, weights, threads):
        super().__init__(weights, threads=threads)
        type(self).opened += 1
        self.name = "faulty"
        self.runs = 0

    def run(self):
        self.runs += 1
        found = super().run()
        fault = type(self).fault
        if fault is None or self.runs < self.begins_at:
            return found
        if isinstance(fault, ModelError):
            raise fault
        return tuple(fault(out) for out in found)


@pytest.fixture
def faulty(monkeypatch):
    """Add the faulty runtime under its own name; faults are set on its class."""

    class Own(Faulty):
        pass

    kind = RuntimeKind(Own, "onnxruntime", "onnxruntime")
    monkeypatch.setitem(RUNTIMES, "faulty", kind)
    return Own


def pick(folder, weights, shapes=(SHAPE,), tolerance=0.01, **more):
    """A choice on one thread that is quickly made."""
    settings = {"threads": 1, "cache": folder, "budget_s": 0.2} | more
    return choose(weights, shapes, tolerance=tolerance, **settings)


def statuses(verdict):
    return {trial.name: trial.status for trial in verdict.trials}


def files(folder):
    return sorted((folder / "runtimes").iterdir())


def test_the_fastest_of_those_that_agree_is_handed_over_prepared(tmp_path):
    runtime, verdict = pick(tmp_path, [one("Abs")])
    assert verdict.trial.runtime == runtime.name and not verdict.from_cache
    assert verdict.chosen in RUNTIMES and verdict.threads == 1
    assert verdict.shapes == (SHAPE,)
    assert "onnxruntime" in verdict.reference and "synthetic" in verdict.reference
    timed = [t for t in verdict.trials if t.median_ms is not None]
    assert verdict.trial.median_ms == min(t.median_ms for t in timed)
    assert all(t.p95_ms >= t.median_ms > 0 and t.error <= 0.01 for t in timed)
    assert list(statuses(verdict).values()).count("chosen") == 1
    assert verdict.reports() == []
    (array,) = runtime.prepare([SHAPE])
    array[...] = -IMAGE
    np.testing.assert_array_equal(runtime.run()[0], np.abs(IMAGE))


def test_a_runtime_that_disagrees_is_reported_and_never_chosen(tmp_path):
    wrong = one("Neg", precision="int8")
    runtime, verdict = pick(tmp_path, [one("Abs"), wrong], tolerance=0.2)
    found = {trial.name: trial for trial in verdict.trials}
    assert found["onnxruntime-int8"].status == "disagrees"
    assert found["onnxruntime-int8"].error > 1
    assert found["onnxruntime-int8"].median_ms is None
    assert runtime.precision != "int8"
    (report,) = [r for r in verdict.reports() if r.startswith("onnxruntime-int8 ")]
    assert "is not used: its output deviates by" in report
    assert report.endswith("0.2 is allowed")


def test_values_that_are_not_finite_disagree(tmp_path, faulty):
    faulty.fault = lambda out: np.where(out > 1, np.nan, out)
    _, verdict = pick(tmp_path, [one("Abs")], candidates=["onnxruntime", "faulty"])
    assert statuses(verdict) == {"onnxruntime": "chosen", "faulty": "disagrees"}
    assert "not finite" in verdict.reports()[0]
    assert verdict.trials[1].error is None


@pytest.mark.parametrize("begins_at", [1, 2, 4])
def test_a_runtime_that_fails_is_reported_and_never_chosen(tmp_path, faulty, begins_at):
    faulty.fault, faulty.begins_at = ModelError("net.onnx: out of memory"), begins_at
    both = ["faulty", "onnxruntime"]
    _, verdict = pick(tmp_path, [one("Abs")], candidates=both)
    assert statuses(verdict) == {"faulty": "failed", "onnxruntime": "chosen"}
    assert verdict.reports() == ["faulty is not used: net.onnx: out of memory"]


def test_weights_of_another_size_fail_and_the_rest_goes_on(tmp_path):
    other = one("Abs", [1, 1, 8, 8], precision="int8")
    _, verdict = pick(
        tmp_path,
        [one("Abs"), other],
        candidates=["onnxruntime", "onnxruntime-int8"],
    )
    assert statuses(verdict)["onnxruntime-int8"] == "failed"
    assert "it was offered (1, 1, 16, 20)" in verdict.reports()[0]


def test_nobody_is_right_and_each_reason_is_told(tmp_path, faulty):
    faulty.fault = lambda out: out + 1
    with pytest.raises(ModelError, match=r"no runtime here .*faulty: its output"):
        pick(tmp_path, [one("Abs")], candidates=["faulty", "onnxruntime-cuda"])
    assert not (tmp_path / "runtimes").exists()


def test_several_inputs_and_outputs_are_compared(tmp_path, faulty):
    faulty.fault = lambda out: out * 1.1
    both = ["onnxruntime", "faulty"]
    for tolerance in (0.05, 0.15):
        _, verdict = pick(
            tmp_path,
            [sum_and_product()],
            [SHAPE, SHAPE],
            tolerance=tolerance,
            candidates=both,
        )
        found = {trial.name: trial for trial in verdict.trials}["faulty"]
        assert 0.1 <= found.error < 0.13
        assert (found.status == "disagrees") == (tolerance == 0.05)


def test_integer_inputs_get_counts(tmp_path):
    runtime, verdict = pick(
        tmp_path, [one("Identity", kind=4)], candidates=["onnxruntime"]
    )
    (array,) = runtime.prepare([SHAPE])
    assert array.dtype == np.uint16 and 500 < np.ptp(array) <= 4095
    assert verdict.trial.error == 0


def test_a_verdict_is_kept_and_checked_when_found_again(tmp_path, faulty):
    candidates = ["faulty"]
    _, first = pick(tmp_path, [one("Abs")], candidates=candidates)
    assert len(files(tmp_path)) == 1 and files(tmp_path)[0].suffix == ".json"
    runtime, again = pick(tmp_path, [one("Abs")], candidates=candidates)
    assert again == replace(first, from_cache=True)
    # One run for warm-up is the runtime's own; here it runs to be compared, no more.
    assert runtime.runs == 1 and faulty.opened == 2
    assert runtime.run()[0].shape == SHAPE


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda out: out + 1, "its output deviates by"),
        (ModelError("net.onnx: the driver is gone"), "net.onnx: the driver is gone"),
    ],
)
def test_a_kept_verdict_that_is_no_longer_right_is_made_anew(
    tmp_path, faulty, fault, told
):
    both = ["onnxruntime", "faulty"]
    _, first = pick(tmp_path, [one("Abs")], candidates=both)
    trials = tuple(
        replace(t, status="chosen" if t.name == "faulty" else "slower")
        for t in first.trials
    )
    write_verdict(tmp_path, replace(first, chosen="faulty", trials=trials))
    faulty.fault = fault
    runtime, verdict = pick(tmp_path, [one("Abs")], candidates=both)
    assert verdict.chosen == "onnxruntime" and not verdict.from_cache
    note, report = verdict.reports()
    assert note.startswith("faulty was chosen earlier and is not used any more: ")
    assert told in note and note.endswith("the choice was made anew")
    assert report.startswith("faulty is not used: ") and told in report
    assert runtime.name.startswith("onnxruntime")
    assert read_verdict(tmp_path, verdict.key).chosen == "onnxruntime"


def test_a_kept_verdict_for_a_runtime_that_is_gone_is_made_anew(
    tmp_path, faulty, monkeypatch
):
    _, first = pick(tmp_path, [one("Abs")], candidates=["faulty"])
    _, other = pick(tmp_path, [one("Abs")], candidates=["onnxruntime", "faulty"])
    write_verdict(tmp_path, replace(first, key=other.key))
    monkeypatch.setitem(RUNTIMES, "faulty", replace(RUNTIMES["faulty"], module="nope"))
    _, verdict = pick(tmp_path, [one("Abs")], candidates=["onnxruntime", "faulty"])
    assert statuses(verdict) == {"onnxruntime": "chosen", "faulty": "absent"}
    assert "faulty was chosen earlier" in verdict.reports()[0]
    assert "not installed" in verdict.reports()[0]


DAMAGES = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "of another version": lambda text: text.replace('"format": 1', '"format": 99'),
    "of another model": lambda text: text.replace('"key": "', '"key": "0'),
    "nothing chosen": lambda text: text.replace('"chosen",', '"slower",'),
    "another chosen": lambda text: text.replace(
        '"chosen": "onnxruntime"', '"chosen": "openvino"'
    ),
    "unknown field": lambda text: text.replace('"reason"', '"reasons"'),
    "unknown status": lambda text: text.replace('"status": "c', '"status": "d'),
    "not text": lambda text: "\udcff",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_verdict_is_made_anew(tmp_path, name):
    arguments = {"candidates": ["onnxruntime"]}
    pick(tmp_path, [one("Abs")], **arguments)
    (file,) = files(tmp_path)
    whole = file.read_text()
    damaged = DAMAGES[name](whole)
    assert damaged != whole
    file.write_bytes(damaged.encode(errors="surrogateescape"))
    _, verdict = pick(tmp_path, [one("Abs")], **arguments)
    assert not verdict.from_cache and verdict.notes == ()
    assert files(tmp_path) == [file]
    assert read_verdict(tmp_path, verdict.key) == replace(verdict, from_cache=True)


def test_a_verdict_holds_for_all_it_depends_on_and_nothing_else(monkeypatch):
    facts = {"threads": 1, "tolerance": 0.1, "candidates": None}
    base = verdict_key([one("Abs")], [SHAPE], **facts)
    assert base == verdict_key([one("Abs")], [SHAPE], **facts)
    both = [one("Abs"), one("Neg")]
    assert verdict_key(both, [SHAPE], **facts) == verdict_key(
        both[::-1], [SHAPE], **facts
    )
    keys = [
        base,
        verdict_key([one("Neg")], [SHAPE], **facts),
        verdict_key(both, [SHAPE], **facts),
        verdict_key([one("Abs")], [SHAPE, SHAPE], **facts),
        verdict_key([one("Abs")], [(1, 1, 16, 24)], **facts),
        verdict_key([one("Abs")], [SHAPE], **facts | {"threads": 2}),
        verdict_key([one("Abs")], [SHAPE], **facts | {"tolerance": 0.2}),
        verdict_key([one("Abs")], [SHAPE], **facts | {"candidates": ["openvino"]}),
    ]
    for name, value in {
        "os.cpu_count": 77,
        "smartscope.inference._verdicts._cpu": "another",
        "smartscope.inference._verdicts.nvidia_cards": ("a card",),
        "smartscope.inference._verdicts._versions": {"openvino": "0"},
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(name, lambda value=value: value)
            keys.append(verdict_key([one("Abs")], [SHAPE], **facts))
    assert len(set(keys)) == len(keys)


def test_a_folder_that_takes_no_file_is_told_and_harms_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    runtime, verdict = pick(blocked, [one("Abs")], candidates=["onnxruntime"])
    assert runtime.run()[0].shape == SHAPE
    (report,) = verdict.reports()
    assert "could not be kept" in report and "will be made again" in report


def test_a_verdict_survives_json():
    trial = Trial("openvino", "chosen", "the fastest", "openvino 1", "fp32", "n.onnx")
    verdict = Verdict(
        chosen="openvino",
        shapes=((1, 2, 3),),
        threads=2,
        tolerance=0.1,
        reference="r",
        trials=(trial, Trial("torch", "failed", "broken", error=0.5, p95_ms=1.25)),
        key="k",
        notes=("a note",),
    )
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert json.loads(verdict.to_json())["trials"][1]["p95_ms"] == 1.25
    assert verdict.trial is trial
    assert verdict.reports() == ["a note", "torch is not used: broken"]
    with pytest.raises(ModelError, match="the verdict on runtimes is damaged"):
        Verdict.from_json("{")


def test_outputs_given_for_this_very_size_are_the_reference(tmp_path):
    right = ((IMAGE,), (np.abs(IMAGE),))
    only = {"candidates": ["onnxruntime"]}
    runtime, verdict = pick(tmp_path, [one("Abs")], reference=right, **only)
    assert verdict.reference == "the test output of the model"
    assert verdict.trial.error == 0
    np.testing.assert_array_equal(runtime.prepare([SHAPE])[0], IMAGE)
    wrong = ((IMAGE,), (np.abs(IMAGE) * 1.5,))
    with pytest.raises(ModelError, match="from the test output of the model"):
        pick(tmp_path / "b", [one("Abs")], reference=wrong, **only)


def test_a_test_input_of_another_size_is_continued(tmp_path):
    small = IMAGE[:, :, :5, :7]
    reference = ((small,), (np.abs(small),))
    runtime, verdict = pick(
        tmp_path, [one("Abs")], reference=reference, candidates=["onnxruntime"]
    )
    (array,) = runtime.prepare([SHAPE])
    np.testing.assert_array_equal(array[:, :, :5, :7], small)
    np.testing.assert_array_equal(array[:, :, 5:10, :7], small[:, :, ::-1])
    np.testing.assert_array_equal(array[:, :, :5, 7:14], small[:, :, :, ::-1])
    assert "on the test input, continued" in verdict.reference
    lie = ((small,), (small,))
    with pytest.raises(ModelError, match="does not reproduce the model's own test"):
        pick(tmp_path / "b", [one("Abs")], reference=lie)
    with pytest.raises(ModelError, match="other axes than the network"):
        pick(tmp_path / "c", [one("Abs")], reference=((small[0],), None))


def test_a_network_of_nan_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"net\.onnx: the network gives values that"):
        pick(tmp_path, [one("Log")])


def test_the_real_network_reproduces_its_own_output(tmp_path):
    pytest.importorskip("openvino")
    content = (UNET / "weights.onnx").read_bytes()
    image = np.load(UNET / "test_input.npy").astype(np.float32)
    image = (image - image.mean()) / (image.std() + 1e-6)
    net = replace(one("Abs"), content=content, file="weights.onnx")
    runtime, verdict = pick(
        tmp_path, [net], [image.shape], reference=((image,), None), tolerance=0.05
    )
    found = 1 / (1 + np.exp(-runtime.run()[0].astype(np.float64)))
    assert deviation([found], [np.load(UNET / "test_output.npy")]) < 0.05
    errors = {t.name: t.error for t in verdict.trials if t.error is not None}
    assert errors["onnxruntime"] == 0 and errors["openvino"] < 1e-4
    assert errors.get("openvino-bf16", 0) < 0.05


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
def test_torch_is_tried_where_there_is_nothing_else(tmp_path):
    net = torch_sum_and_product()
    _, verdict = pick(tmp_path, [net], [SHAPE, SHAPE])
    assert statuses(verdict)["torch"] in ("chosen", "slower")
    assert "torch" in verdict.reference
    assert set(statuses(verdict)) >= {"torch", "torch-bf16", "torch-cuda"}
    _, verdict = pick(tmp_path, [sum_and_product(), net], [SHAPE, SHAPE])
    assert not {"torch", "torch-bf16", "torch-compiled"} & set(statuses(verdict))
    assert "torch-cuda" in statuses(verdict)
    named = ["onnxruntime", "torch"]
    _, verdict = pick(
        tmp_path, [sum_and_product(), net], [SHAPE, SHAPE], candidates=named
    )
    assert sorted(statuses(verdict).values()) == ["chosen", "slower"]


def test_a_choice_for_onnx_never_imports_torch(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_choose import SHAPE, one, pick\n"
        "pick(Path(sys.argv[2]), [one('Abs')])\n"
        "assert 'onnxruntime' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    folder = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, folder, str(tmp_path)], check=True)


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(ModelError, match=r"no runtime 'fast'; use one of auto, onnx"):
        pick(tmp_path, [one("Abs")], candidates=["fast"])


def test_deviations_by_hand():
    image = np.array([[1.0, 3.0], [1.0, 3.0]])
    assert deviation([image], [image]) == 0
    assert deviation([image + 0.5], [image]) == pytest.approx(0.5)
    assert deviation([image + 0.5], [image + 100.5]) == pytest.approx(100)
    assert deviation([image, image + 2], [image, image]) == pytest.approx(2)
    flat = np.full((2, 2), 4.0)
    assert deviation([flat + 1], [flat]) == pytest.approx(0.25)
    assert deviation([flat * 0], [flat * 0]) == 0
    assert deviation([flat * 0 + 1], [flat * 0]) == 1
    assert deviation([image > 2], [image > 2]) == 0
    counts = np.array([[0, 255]], np.uint8)
    assert deviation([counts], [counts[:, ::-1]]) == pytest.approx(2)
    assert deviation([image], [image, image]) is None
    assert deviation([image[:1]], [image]) is None
    for broken in (math.nan, math.inf):
        assert deviation([image * broken], [image]) is None
        assert deviation([image], [image * broken]) is None
    assert deviation([np.zeros((0, 2))], [np.zeros((0, 2))]) == 0


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"SMARTSCOPE_CACHE": "/a/b"}, Path("/a/b")),
        ("linux", {"XDG_CACHE_HOME": "/c"}, Path("/c/smartscope")),
        ("linux", {}, Path("/home/me/.cache/smartscope")),
        ("darwin", {}, Path("/home/me/Library/Caches/smartscope")),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/smartscope/cache")),
    ],
)
def test_the_place_of_the_cache(monkeypatch, system, variables, expected):
    for name in ("SMARTSCOPE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_folder() == expected


def test_without_a_folder_the_users_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))
    pick(None, [one("Abs")], candidates=["onnxruntime"])
    assert len(files(tmp_path)) == 1
