"""A newcomer's first ten minutes: a policy, its experiment and its test, that work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import smartscope
from smartscope.app.cli import app
from smartscope.config import load_experiment
from smartscope.policies import describe, load_policy_class


def new(*arguments):
    return CliRunner().invoke(app, ["policies", "new", *map(str, arguments)])


def test_what_is_written_passes_its_own_test_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "my lab"
    done = new("burst_on_flash", "--path", folder)
    assert done.exit_code == 0, done.output
    written = {file.name for file in folder.iterdir()}
    own = {"burst_on_flash.py", "burst_on_flash.yaml", "test_burst_on_flash.py"}
    assert written == own | {"specimen_rig.yaml", "demo_laser.cfg"}
    assert all(name in done.stdout for name in written)

    info = describe(load_policy_class("burst_on_flash.py", folder))
    assert info.name == "BurstOnFlash"
    assert all(parameter.doc for parameter in info.parameters)
    (use,) = load_experiment(folder / "burst_on_flash.yaml").policies
    assert set(use.parameters) == {parameter.name for parameter in info.parameters}

    source = str(Path(smartscope.__file__).parents[1])
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "4 passed" in tested.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "test_mine.py"
    mine.write_text("mine")
    done = new("mine", "--path", tmp_path)
    assert done.exit_code == 2
    assert "exists already and is not overwritten" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]
    assert mine.read_text() == "mine"


def test_a_second_policy_uses_the_rig_that_is_there(tmp_path: Path) -> None:
    assert new("first", "--path", tmp_path).exit_code == 0
    rig = tmp_path / "specimen_rig.yaml"
    rig.write_text("# mine\n" + rig.read_text(encoding="utf-8"), encoding="utf-8")
    done = new("second", "--path", tmp_path)
    assert done.exit_code == 0
    assert "specimen_rig" not in done.stdout
    assert rig.read_text(encoding="utf-8").startswith("# mine")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("BurstOnFlash", "'BurstOnFlash' cannot be the name of a policy"),
        ("my policy", "'my policy' cannot be the name of a policy"),
        ("../mine", "'../mine' cannot be the name of a policy"),
        ("2nd", "'2nd' cannot be the name of a policy"),
        ("class", "'class' cannot be the name of a policy"),
        ("caf\u00e9", "cannot be the name of a policy"),
        ("aux", "Windows allows no file called 'aux.py'"),
        ("rate_switch", "there is a policy 'rate_switch' already"),
        ("test_me", "pytest takes a file 'test_me.py' for a test"),
        ("burst_test", "pytest takes a file 'burst_test.py' for a test"),
        ("specimen_rig", "'specimen_rig.yaml' is the simulated microscope"),
    ],
)
def test_a_name_that_will_not_do(tmp_path: Path, name: str, sentence: str) -> None:
    done = new(name, "--path", tmp_path)
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "way").write_text("x")
    done = new("mine", "--path", tmp_path / "way")
    assert done.exit_code == 2
    assert "cannot be written there" in done.stderr
