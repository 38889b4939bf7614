"""`doctor` looks at everything, and every gap comes with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from smartscope.app import _doctor
from smartscope.app.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
