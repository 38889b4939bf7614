"""An installed wheel is whole: policies, demos and all, from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout; needs no network."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where no checkout is near."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target)
    return target


def smartscope(installed: Path, cwd: Path, *arguments: str) -> str:
    # PYTHONPATH comes before the editable checkout of this environment.
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "smartscope", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env=env,
        cwd=cwd,
    )
    return done.stdout


def test_wheel_carries_what_ships(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    for folder in ("policies", "demo_configs"):
        for file in (ROOT / folder).rglob("*"):
            ignored = {"__pycache__", "runs"} & set(file.parts)
            if file.is_file() and not ignored and not file.name.startswith("."):
                below = file.relative_to(ROOT).as_posix()
                assert f"smartscope/_shipped/{below}" in names
    assert "smartscope/py.typed" in names
    assert not any(name.startswith(("tests/", "src/")) for name in names)


def test_wheel_does_not_pull_in_what_is_optional(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [n for n in packed.namelist() if n.endswith("METADATA")]
        lines = packed.read(name).decode().splitlines()
    needs = [line for line in lines if line.startswith("Requires-Dist:")]
    base = " ".join(line for line in needs if "extra ==" not in line).lower()
    for heavy in ("torch", "openvino", "tensorrt", "pyqt", "pandas", "matplotlib"):
        assert heavy not in base


def test_installed_wheel_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    said = smartscope(installed, tmp_path, "policies", "show", "rate_switch")
    source = Path(said.split("Source: ")[1].strip())
    assert source.is_relative_to(installed / "smartscope" / "_shipped")
    assert "quickstart" in smartscope(installed, tmp_path, "demos")
    smartscope(installed, tmp_path, "demos", "--copy", "mine")
    assert (tmp_path / "mine" / "quickstart.yaml").is_file()
