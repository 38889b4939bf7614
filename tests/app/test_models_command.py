"""`smartscope models`: from a file of another program to a model that is proven."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from smartscope.app.cli import app

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from tiny_onnx import folder, network, npy, package_04, package_05, zipped


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's folder of models, and a current folder beside it."""
    monkeypatch.setenv("SMARTSCOPE_MODELS", str(tmp_path / "mine"))
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "mine"


def models(*words):
    return CliRunner().invoke(app, ["models", *map(str, words)])


def good(*words):
    done = models(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(code, *words):
    done = models(*words)
    assert done.exit_code == code, done.output
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("smartscope: ")
    return done.stderr


def bare(path, op="Abs", shape=("b", 1, "y", "x")):
    path.write_bytes(network(op, list(shape)))
    return path


def test_an_onnx_file_becomes_a_package_that_proves_itself(home, tmp_path):
    file = bare(tmp_path / "net.onnx")
    said = good(
        *("import", file, "--name", "mine", "--multiple-of", "4"),
        *("--preprocess", "scale_linear: {gain: 2, offset: -300}"),
        *("--postprocess", "clip: {max: 500}"),
        *("--decoder", "{kind: spots, threshold: 0.25, grid: 1}"),
        *("--license", "MIT", "--version", "3", "--pixel", "0.5"),
    )
    assert "smartscope models check mine" in said
    facts = json.loads(good("info", "mine", "--json"))
    assert facts["licence"] == "MIT"
    assert facts["version"] == "3"
    assert facts["pixel_um"] == 0.5
    assert facts["decoder"] == {
        "kind": "spots",
        "output": 0,
        "channel": 0,
        "threshold": 0.25,
        "grid": 1,
    }
    assert facts["inputs"][0]["sizes"]["y"] == "4 + 4 n"
    assert facts["weights"][0]["as_described"] is True
    image = np.load(home / "mine/test_input.npy")
    found = np.load(home / "mine/test_output.npy")
    wanted = np.minimum(np.abs(2 * image - 300), 500)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert (found == 500).any()
    assert (found < 500).any()
    checked = json.loads(good("check", "mine", "--json"))
    assert checked["tested"] is True
    ran = {r["runtime"]: r for r in checked["runtimes"] if r["verdict"] == "agrees"}
    assert "onnxruntime" in ran
    assert ran["onnxruntime"]["relative"] < 1e-6


def test_list_shows_ones_own_and_what_cannot_be_read(home, tmp_path):
    assert str(home) in good("list")
    good("import", bare(tmp_path / "net.onnx"), "--name", "mine", "--decoder", "spots")
    folder(home / "broken", {"bioimageio.yaml": b"name: [1"})
    (home / "notes.txt").write_text("no model")
    said = good("list")
    assert [ln.split()[0] for ln in said.splitlines() if ln.endswith(" own")] == [
        "broken",
        "mine",
    ]
    assert "broken cannot be used: " in said
    assert "not readable as YAML" in said
    rows = {r["name"]: r for r in json.loads(good("list", "--json"))["models"]}
    assert rows["mine"]["decoder"] == "spots"
    assert rows["mine"]["origin"] == "own"
    assert rows["mine"]["bytes"] == sum(
        file.stat().st_size for file in (home / "mine").iterdir()
    )


def test_names_are_found_near_and_paths_go_first(home, tmp_path):
    good("import", bare(tmp_path / "net.onnx"), "--name", "nucleus")
    assert "did you mean 'nucleus'?" in refused(2, "info", "Nucles")
    assert "did you mean" in refused(2, "info", tmp_path / "ned.onnx")
    folder(Path("nucleus"), package_05({"y": 16, "x": 16}, "bcyx"))
    assert json.loads(good("info", "nucleus", "--json"))["name"] == "absolute"


def test_a_name_that_is_taken_is_not_overwritten_unless_told(home, tmp_path):
    file = bare(tmp_path / "net.onnx")
    good("import", file)
    before = (home / "net/weights.onnx").read_bytes()
    other = bare(tmp_path / "other.onnx", "Neg")
    assert "--replace" in refused(2, "import", other, "--name", "net")
    assert (home / "net/weights.onnx").read_bytes() == before
    good("import", other, "--name", "net", "--replace")
    assert (home / "net/weights.onnx").read_bytes() == other.read_bytes()
    assert "cannot be the name" in refused(2, "import", file, "--name", "../out")
    assert [path.name for path in home.iterdir()] == ["net"]


def test_a_failed_import_leaves_the_old_model(home, tmp_path):
    good("import", bare(tmp_path / "net.onnx"))
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(network("Abs", ["b", 1, "y", "x"])[:-20])
    refused(2, "import", cut, "--name", "net", "--replace")
    assert json.loads(good("check", "net", "--json"))["tested"] is True
    assert [path.name for path in home.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--axes", "yx"], "4 axes, not 'yx'"),
        (["--axes", "bqyx"], "axes"),
        (["--preprocess", "scale_liner: {gain: 2}"], "scale_liner"),
        (["--preprocess", "{a: ["], "--preprocess"),
        (["--decoder", "blobs"], "one of restored, mask"),
        (["--decoder", "{kind: spots, output: 1}"], "no output 1"),
        (["--channels", "2"], ""),
    ],
)
def test_wrong_answers_are_one_sentence(home, tmp_path, words, said):
    file = bare(tmp_path / "net.onnx", shape=("b", "c", "y", "x"))
    if not said:
        good("import", file, *words)
        assert np.load(home / "net/test_input.npy").shape[1] == 2
        return
    assert said in refused(2, "import", file, *words)
    assert not (home / "net").exists()


def test_answers_for_a_bare_network_do_not_change_a_package(home, tmp_path):
    package = folder(tmp_path / "package", package_04())
    said = refused(2, "import", package, "--multiple-of", "8")
    assert "states its own axes" in said
    good("import", package, "--name", "fresh", "--decoder", "restored")
    assert json.loads(good("info", "fresh", "--json"))["decoder"]["kind"] == "restored"


def test_packages_go_out_and_come_back_the_same(home, tmp_path):
    package = folder(tmp_path / "package", package_04())
    good("import", package, "--name", "first")
    good("export", "first", "out", "--zip")
    good("import", "out.zip", "--name", "second")
    a, b = (json.loads(good("info", n, "--json")) for n in ("first", "second"))
    assert a["inputs"] == b["inputs"]
    assert a["outputs"] == b["outputs"]
    assert a["weights"] == b["weights"]
    good("check", "second")
    good("export", "second", "net", "--format", "onnx")
    assert Path("net.onnx").read_bytes() == (home / "first/weights.onnx").read_bytes()
    assert "not overwritten" in refused(2, "export", "second", "out", "--zip")
    said = refused(2, "export", "second", "more", "--format", "onnx", "--zip")
    assert "one file already" in said


def test_a_zeiss_model_comes_in_with_test_images_and_goes_out_again(home, tmp_path):
    given = Path(__file__).parents[1] / "data/models/tiny_czann/tiny.czann"
    good("import", given, "--name", "zeiss", "--full-scale", "4095")
    assert json.loads(good("check", "zeiss", "--json"))["tested"] is True
    good("export", "zeiss", "out", "--format", "czann")
    good("import", "out.czann", "--name", "again", "--full-scale", "4095")
    a, b = (json.loads(good("info", n, "--json")) for n in ("zeiss", "again"))
    assert a["weights"] == b["weights"]
    assert a["decoder"] == b["decoder"]
    assert "imported first" in refused(2, "info", given)
    file = bare(tmp_path / "net.onnx")
    assert "full scale" in refused(2, "import", file, "--full-scale", "255")


def test_a_package_that_lies_is_refused(home, tmp_path):
    content = package_04()
    cases = {
        "hash": (
            package_05({"y": 16, "x": 16}, "bcyx")
            | {"net.onnx": network("Neg", [1] * 4)},
            "SHA-256 differs",
        ),
        "missing": (
            {k: v for k, v in content.items() if k != "out.npy"},
            "there is no 'out.npy'",
        ),
        "wrong": (
            content | {"out.npy": npy(np.ones((1, 1, 12, 16), np.float32) + 5)},
            "does not give its own test output",
        ),
        "nan": (
            content | {"in.npy": npy(np.full((1, 1, 12, 16), np.nan, np.float32))},
            "finite",
        ),
        "escape": (
            content
            | {
                "rdf.yaml": content["rdf.yaml"].replace(
                    b"source: net.onnx", b"source: ../net.onnx"
                )
            },
            "outside",
        ),
    }
    for name, (files, said) in cases.items():
        package = folder(tmp_path / name, files)
        assert said in refused(2, "check", package), name


def test_a_cut_zip_and_a_folder_without_a_model(home, tmp_path):
    file = zipped(tmp_path / "whole.zip", package_04())
    cut = tmp_path / "cut.zip"
    cut.write_bytes(file.read_bytes()[:-40])
    refused(2, "check", cut)
    refused(2, "info", cut)
    (tmp_path / "empty").mkdir()
    refused(2, "info", tmp_path / "empty")


def test_check_without_test_images_says_so(home, tmp_path):
    said = good("check", bare(tmp_path / "net.onnx"))
    assert "no test images" in said
    assert "agrees" in said


def test_bench_measures_each_runtime_and_size(home, tmp_path):
    good("import", bare(tmp_path / "net.onnx"), "--decoder", "spots")
    out = tmp_path / "bench.json"
    said = good(
        *("bench", "net", "-n", 4, "--shape", "32x48", "--shape", "64x64"),
        *("--runtime", "onnxruntime", "--threads", 1, "--json", out),
    )
    assert "decoder p50" in said
    found = json.loads(out.read_text())
    assert found["work"] == "models"
    assert [row["shape"] for row in found["rows"]] == [[32, 48], [64, 64]]
    for row in found["rows"]:
        assert row["problem"] == ""
        assert row["bare_call"] == "InferenceSession.run"
        assert row["error"] == 0
        assert row["tiles"] == 1
        for part in ("bare_ms", "whole_ms", "decode_ms"):
            assert row[part]["n"] == 4
            assert 0 < row[part]["min"] <= row[part]["p95"] <= row[part]["max"]
        extra = row["own_percent"] / 100 * row["bare_ms"]["median"]
        assert extra == pytest.approx(row["own_ms"])


def test_bench_as_markdown_and_wrong_arguments(home, tmp_path):
    file = bare(tmp_path / "net.onnx")
    said = good(
        *("bench", file, "-n", 2, "--shape", "32x32"),
        *("--runtime", "onnxruntime", "--markdown"),
    )
    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert "no runtime 'fast'" in refused(2, "bench", file, "--runtime", "fast")
    assert "--shape" in refused(2, "bench", file, "--shape", "512")
    assert "--json" in refused(2, "bench", file, "--json", "-", "--markdown")
    assert "no folder" in refused(2, "bench", file, "--json", "none/there.json")


def test_a_runtime_that_was_named_and_fails_is_told(home, tmp_path):
    pytest.importorskip("grpc", reason="needs grpcio")
    file = bare(tmp_path / "net.onnx")
    done = models(
        *("bench", file, "-n", 2, "--shape", "32x32"),
        *("--runtime", "grpc://127.0.0.1:1/net"),
    )
    assert done.exit_code == 1
    assert "cannot be reached" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runtime", "cuda"], "--runtime"),
        (["--runtime", "openvino", "--precision", "fp16"], "--precision"),
        (["--runtime", "openvino", "--precision", "int8"], "--calibrate"),
        (["--runtime", "tensorrt", "--sm", "86"], "--sm"),
    ],
)
def test_build_says_what_is_missing(home, tmp_path, words, said):
    file = bare(tmp_path / "net.onnx")
    assert said in refused(2, "build", file, *words)


def test_build_compiles_for_cards_that_are_not_here(home, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs smartscope[tensorrt-rtx]")
    file = bare(tmp_path / "net.onnx")
    said = json.loads(
        good(
            *("build", file, "--runtime", "tensorrt-rtx", "--sm", "86,89"),
            *("--precision", "fp16", "--shape", "64x64", "-o", "net.engine", "--json"),
        )
    )
    assert Path(said["path"]).stat().st_size == round(said["size_mb"] * 1e6)
    assert said["path"] == "net.engine"
    assert said["precision"] == "fp16"
    assert "8.6, 8.9" in said["target"]


def test_a_package_keeps_its_description_when_exported(home, tmp_path):
    package = folder(tmp_path / "package", package_04(license="CC0-1.0"))
    good("import", package, "--name", "kept")
    good("export", "kept", "there")
    rdf = yaml.safe_load(Path("there/bioimageio.yaml").read_text())
    assert rdf["license"] == "CC0-1.0"
    assert rdf["format_version"].startswith("0.5.")


def test_a_file_that_is_not_there_is_no_misspelt_name(home):
    said = refused(2, "import", "nothing.onnx")
    assert "nothing.onnx: there is no such file or folder; check the path" in said


def test_the_precision_that_is_built_follows_the_runtime(home, tmp_path):
    bare(tmp_path / "net.onnx")
    # Nobody wrote fp16, so nobody is told that it is wrong.
    said = refused(2, "build", tmp_path / "net.onnx", "--runtime", "openvino")
    assert "--calibrate: int8 needs images like those of the experiment" in said


def test_info_is_for_people_and_json_for_programs(home, tmp_path):
    domain = {
        **{"format": 1, "channels": 1, "images": 468},
        "ranges": {"noise": [0.00158152745, 0.0379147154]},
        "mean": [-2.15164912] * 8,
        "precision": [[34.6550819] * 8] * 8,
        "limit": 8.4,
    }
    metrics = {"onnxruntime": {"images": 27, "f1": {"0.5": 0.93, "0.7": 0.84}}}
    own = {"training": {"metrics": metrics, "seed": 0}, "domain": domain}
    # Pixels of any number have no formula.
    sizes = {"y": {"min": 1, "step": 1}, "x": {"min": 16, "step": 4}}
    package = package_05(sizes, "bcyx", config={"smartscope": own})
    folder(tmp_path / "known", package)
    said = good("info", tmp_path / "known").splitlines()
    assert "  noise: 0.00158 to 0.0379" in said
    assert "      f1: 0.5 0.93, 0.7 0.84" in said
    assert max(map(len, said)) < 200 and "34.65" not in "".join(said)
    assert any("y: any, x: 16 + 4 n" in line for line in said)
    told = json.loads(good("info", tmp_path / "known", "--json"))
    assert told["domain"]["precision"] == domain["precision"]


def test_a_bench_without_numbers_has_no_table(home, tmp_path):
    file = bare(tmp_path / "net.onnx")
    done = models("bench", file, "--runtime", "tensorrt", "-n", "1")
    assert done.exit_code == 1
    assert "Not measured:\n* net on tensorrt: " in done.stdout
    assert "p50 ms" not in done.stdout
