"""The set-up script installs where it should, and says what to do where it cannot."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["start.py", "demo"])
    return module


class Calls:
    """Stands for the Python that would be run; remembers what was asked."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.seen: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> int:
        self.seen.append(arguments)
        return self.codes.pop(0) if self.codes else 0


def test_needs_only_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "start.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "python start.py demo" in done.stdout


def test_demo_installs_and_runs(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    monkeypatch.setattr(start, "call", calls)
    assert start.main(["demo", "--output", "here"]) == 0
    install, run = calls.seen
    assert install[:3] == ("-m", "pip", "install")
    assert run[:3] == ("-m", "smartscope", "run")
    assert Path(run[3]) == ROOT / "demo_configs" / "quickstart.yaml"
    assert run[4:] == ("--output", "here")


def test_tests_install_what_they_need(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    monkeypatch.setattr(start, "call", calls)
    assert start.main(["test", "-n", "2"]) == 0
    install, run = calls.seen
    assert install[-1].endswith("[test]")
    assert run[:2] == ("-m", "pytest")
    assert run[-2:] == ("-n", "2")


def test_code_of_the_command_is_handed_on(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "call", Calls(0, 3))
    assert start.main(["demo"]) == 3


@pytest.mark.parametrize(
    ("windows", "commands"),
    [
        (False, ["python3 -m venv .venv", "source .venv/bin/activate"]),
        (True, ["py -m venv .venv", ".venv\\Scripts\\activate"]),
    ],
)
def test_refused_system_install_is_explained(
    start: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    windows: bool,
    commands: list[str],
) -> None:
    calls = Calls()
    monkeypatch.setattr(start, "call", calls)
    monkeypatch.setattr(start, "is_managed", lambda: True)
    monkeypatch.setattr(start, "in_environment", lambda: False)
    monkeypatch.setattr(start, "IS_WINDOWS", windows)
    assert start.main(["demo"]) == 1
    assert calls.seen == []
    said = capsys.readouterr().out
    assert "This Python belongs to the system, and pip will not change it" in said
    for command in commands:
        assert command in said


def test_environment_without_pip_gets_one(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    have = [False, True]
    monkeypatch.setattr(start, "call", calls)
    monkeypatch.setattr(start, "has_pip", lambda: have.pop(0))
    monkeypatch.setattr(start, "in_environment", lambda: True)
    assert start.install("") == 0
    assert calls.seen[0] == ("-m", "ensurepip", "--upgrade")


def test_failed_install_ends_there(
    start: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = Calls(7)
    monkeypatch.setattr(start, "call", calls)
    assert start.main(["demo"]) == 7
    assert len(calls.seen) == 1
    assert "see its message above" in capsys.readouterr().out


def test_managed_python_is_recognised(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(start.sysconfig, "get_path", lambda name: str(tmp_path))
    assert not start.is_managed()
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert start.is_managed()


def test_old_python_is_told(
    start: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(start.sys, "version_info", (3, 9, 0))
    assert start.main(["demo"]) == 1
    assert "needs Python 3.11 or newer" in capsys.readouterr().out
