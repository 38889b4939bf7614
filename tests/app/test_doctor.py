"""`doctor` looks at everything, and every gap comes with what to do."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from smartscope.app import _doctor
from smartscope.app._paste import paste, sections_as_yaml
from smartscope.app._probe import _lines
from smartscope.app.cli import app
from smartscope.config import load_rig, shipped
from smartscope.core import ConfigError
from smartscope.rig import ProbeReport, Rate, Rig, Verdict

if TYPE_CHECKING:
    from pathlib import Path


def test_doctor_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    answer = json.loads(done.stdout)
    assert done.exit_code == 0
    assert answer["ok"] is True
    by_name = {check["name"]: check for check in answer["checks"]}
    assert by_name["pymmcore-plus"]["found"] == "0.18.1"
    assert by_name["numpy"]["state"] == "ok"
    assert "MB/s" in by_name["writing"]["found"]
    adapters = [c for c in answer["checks"] if "DemoCamera works" in c["found"]]
    assert adapters
    assert list(tmp_path.iterdir()) == []


def test_doctor_in_words() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert "Ready: try 'smartscope run quickstart'." in done.stdout
    for area in ("System", "Packages", "Micro-Manager", "Runtimes", "GPU", "Disk"):
        assert f"\n{area}\n" in done.stdout


def test_every_gap_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_required", lambda: ["no-such-package"])
    monkeypatch.setattr(_doctor, "_probe", lambda: "the probe died")
    monkeypatch.setattr(_doctor.importlib.util, "find_spec", lambda name: None)
    checks = list(_doctor.check_all(tmp_path))
    problems = [check for check in checks if check.state == "problem"]
    assert {check.name for check in problems} == {
        "no-such-package",
        "device adapters",
        "onnxruntime",
    }
    assert all(check.fix for check in problems)


def test_folder_of_another_interface_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "incompatible device interface version (required = 75; found = 70)"
    folder = {"path": "C:/MM", "adapters": ["DemoCamera"], "problem": why}
    probed = {"core": "MMCore 12", "device_interface": 75, "folders": [folder]}
    monkeypatch.setattr(_doctor, "_probe", lambda: probed)
    found = {check.name: check for check in _doctor._adapters()}
    assert found["C:/MM"].state == "problem"
    assert "found = 70" in found["C:/MM"].found
    assert "device interface 75" in found["C:/MM"].fix


def test_probe_reports_a_folder_without_adapters(tmp_path: Path) -> None:
    from smartscope.app._adapters import _folder

    found = _folder(str(tmp_path))
    assert found["adapters"] == []
    assert "no DemoCamera" in found["problem"]


def test_probe_survives_a_broken_adapter(tmp_path: Path) -> None:
    from smartscope.app._adapters import _folder

    suffix = {"win32": "mmgr_dal_DemoCamera.dll"}.get(
        sys.platform, "libmmgr_dal_DemoCamera"
    )
    name = suffix if sys.platform == "win32" else suffix + ".so.0"
    (tmp_path / name).write_bytes(b"not a library")
    found = _folder(str(tmp_path))
    if found["adapters"]:
        assert found["problem"]


def test_unwritable_folder_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_doctor, "_write_rate_mb_s", refuse)
    *_, writing = _doctor._disk(tmp_path)
    assert (writing.state, writing.found) == ("problem", "Permission denied")


def test_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("probe", 60)

    monkeypatch.setattr(_doctor.subprocess, "run", hang)
    assert "TimeoutExpired" in str(_doctor._probe())


# ------------------------------------------------------------------- doctor --probe

RIG = "name: mine  # a name\nmicromanager: {config: demo_laser.cfg}\n"
RIG += "roles: {camera: Camera}\n"
FOUND = {
    "capabilities": {"exposure": "live", "roi": "restart"},
    "camera": {"readout_ms": 1.5, "effect_after_frames": {"exposure": 2}},
}


def test_probe_writes_what_the_file_does_not_say(tmp_path: Path) -> None:
    shutil.copy(shipped("demo_configs") / "demo_laser.cfg", tmp_path)
    file = tmp_path / "mine.yaml"
    before = (
        f"{RIG}capabilities: {{exposure: restart}}\n\n# how it is lit\nlight: {{}}\n"
    )
    file.write_text(before, encoding="utf-8")
    command = ["doctor", "--probe", str(file), "--write", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["is_complete"] is True
    by_name = {row["parameter"]: row["how"] for row in answer["verdicts"]}
    assert by_name == {
        "exposure": "live",
        "roi": "restart",
        "binning": "restart",
        "channel": "live",
    }
    written = load_rig(file)
    assert written.capabilities == {**by_name, "exposure": "restart"}
    assert written.camera.readout_ms == answer["readout_ms"]
    assert "# a name" in file.read_text(encoding="utf-8")
    assert "\n\n# how it is lit\nlight: {}\n" in file.read_text(encoding="utf-8")
    assert (tmp_path / "mine.yaml.bak").read_text(encoding="utf-8") == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine.yaml",
        "mine.yaml.bak",
        "demo_laser.cfg",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write"], "--write: there is no rig to probe; name one with"),
        (["--turn-objective"], "--turn-objective: there is no rig to probe"),
        (["--probe", "demo_laser_rig", "--write"], "came with smartscope and stays as"),
        (["--probe", "recording_rig"], "a recording has no camera to probe"),
        (["--probe", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_probe_that_cannot_be(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["doctor", *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_probe_that_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(shipped("demo_configs") / "demo_laser.cfg", tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(RIG, encoding="utf-8")
    opened = Rig.open

    def open_and_interrupt(*args: Any, **kwargs: Any) -> Rig:
        rig = opened(*args, **kwargs)
        start = rig.core.startContinuousSequenceAcquisition

        def interrupt(*args: Any) -> None:
            start(*args)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(rig.core, "startContinuousSequenceAcquisition", interrupt)
        return rig

    monkeypatch.setattr(Rig, "open", open_and_interrupt)
    done = CliRunner().invoke(app, ["doctor", "--probe", str(file), "--write"])
    assert done.exit_code == 130
    assert "The probe was interrupted." in done.stdout
    assert "putting the microscope back" in done.output
    assert file.read_text(encoding="utf-8") == RIG


def test_probe_in_words(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{RIG}capabilities: {{roi: live}}\n", encoding="utf-8")
    report = ProbeReport(
        camera="Camera",
        channels=1,
        verdicts=(
            Verdict("exposure", "sequenceable", 0.123, 2),
            Verdict("roi", "restart", 0.2, note="the stream ended without an error"),
            Verdict("focus", "refused", note="drive is locked"),
            Verdict("objective", None, note="not turned"),
        ),
        rates=(Rate(2.0, 3.0, 0.25, 40),),
        readout_ms=1.0,
        counters=("FrameNo",),
        lost=3,
    )
    text = "\n".join(_lines(report, load_rig(file), file))
    for words in (
        "exposure   live, or by trigger  takes 0.12 ms; shows 2 frames later",
        "roi        needs a restart      takes 0.2 ms; the stream ended without an "
        "error; the rig file says 'live', and that holds",
        "focus      refused              drive is locked",
        "objective  not tried            not turned",
        "exposure 2 ms: a frame every 3.00 ms, give or take 0.25 ms",
        "3 frames were lost while nothing changed",
        "ImageNumber: missing",
        "counted by the camera in: FrameNo",
    ):
        assert words in text
    snippet = text[text.index("capabilities:") :]
    assert yaml.safe_load(snippet) == {
        "capabilities": {"exposure": "sequenceable", "roi": "restart"},
        "camera": {
            "frame_counter": "FrameNo",
            "readout_ms": 1.0,
            "effect_after_frames": {"exposure": 2},
        },
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (RIG, "# a name"),
        (RIG.rstrip(), "roles: {camera: Camera}"),
        ("\ufeff" + RIG, "\ufeffname: mine"),
        (
            RIG + "camera:\n  # measured\n  spin_ms: 0\n# end\nlight: {}\n",
            "# end\nlight",
        ),
        (RIG + "capabilities:\n  exposure: live\n\ntiming: {}\n", "\n\ntiming: {}"),
        (RIG + "camera: {pool_mb: 9,\n  spin_ms: 1}\ntiming: {}\n", "\ntiming: {}"),
    ],
)
def test_sections_are_put_into_a_file(
    tmp_path: Path, text: str, kept: str, end: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.replace("\n", end).encode())
    before = load_rig(file)
    backup = paste(file, FOUND)
    assert backup is not None
    assert backup.read_bytes() == text.replace("\n", end).encode()
    now = file.read_bytes().decode()
    assert kept.replace("\n", end) in now
    assert now.count("\n") == now.count(end)
    after = load_rig(file)
    assert after.capabilities == {**FOUND["capabilities"], **before.capabilities}
    assert after.camera.effect_after_frames == {"exposure": 2}
    assert after.camera.spin_ms == before.camera.spin_ms
    assert after.camera.pool_mb == before.camera.pool_mb
    assert after.roles == before.roles and after.timing == before.timing
    # A second time there is nothing to add.
    assert paste(file, FOUND) is None
    assert file.read_bytes().decode() == now


def test_what_the_file_says_is_not_overwritten(tmp_path: Path) -> None:
    said = {
        "capabilities": {"roi": "live"},
        "camera": {"readout_ms": 9.0, "effect_after_frames": {"exposure": 0, "roi": 1}},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(RIG + sections_as_yaml(said), encoding="utf-8")
    paste(file, FOUND)
    rig = load_rig(file)
    assert rig.capabilities == {"exposure": "live", "roi": "live"}
    assert rig.camera.readout_ms == 9.0
    assert rig.camera.effect_after_frames == {"exposure": 0, "roi": 1}


@pytest.mark.parametrize(
    "text",
    [
        "{name: mine, micromanager: {config: a.cfg}, roles: {camera: Camera}}\n",
        RIG + "camera: {spin_ms: 0\n}\n",
    ],
)
def test_a_file_of_another_layout_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="paste the lines by hand"):
        paste(file, FOUND)
    assert file.read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
