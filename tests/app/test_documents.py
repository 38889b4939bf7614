"""What the documents say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_demos_and_policies import readme_policy
from typer.testing import CliRunner

from smartscope import config
from smartscope.app.cli import app
from smartscope.config import RigConfig, shipped
from smartscope.core import Acquire, Nothing, Observation, Track, View
from smartscope.policies import PolicyContext, load_policy_class
from smartscope.vision import list_stages

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RIG = {"RigConfig", "MicroManager", "Autofocus", "Roles", "LightLine", "Limits"}
RIG |= {"CameraConfig", "Calibration", "Timing", "ClockConfig", "Specimen"}
RIG |= {"Recording", "SlmConfig"}
EXPERIMENT = {"Experiment", "ScheduleConfig", "Errors", "Power", "PolicyUse", "Stream"}
EXPERIMENT |= {"RoiConfig", "RecordConfig", "ScoreConfig", "ScoreWindow"}
EXPERIMENT |= {"ScoreTarget", "ScoreLevel", "ScoreBar", "ScoreSeeds"}
HIDDEN = {"source_file"}


def words(name: str) -> set[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))


@pytest.mark.parametrize(
    ("document", "model"),
    [("rig-file.md", m) for m in sorted(RIG)]
    + [("experiment-file.md", m) for m in sorted(EXPERIMENT)],
)
def test_every_key_of_a_file_is_documented(document: str, model: str) -> None:
    kind: type[BaseModel] = getattr(config, model)
    missing = set(kind.model_fields) - HIDDEN - words(document)
    assert not missing


def test_every_stage_is_documented() -> None:
    assert set(list_stages()) <= words("experiment-file.md")


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    groups = {g.name for g in app.registered_groups}
    for name in commands | groups:
        assert f"`smartscope {name}" in text


def test_experiment_of_the_readme_is_possible(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n")[1].split("```")[0]
    rig = (shipped("demo_configs") / "specimen_rig.yaml").as_posix()
    file = tmp_path / "readme.yaml"
    file.write_text(block.replace("specimen_rig.yaml", rig), encoding="utf-8")
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code == 0, done.output
    assert "200 frames" in done.stdout


def test_rig_of_the_reference_loads(tmp_path: Path) -> None:
    text = (DOCS / "rig-file.md").read_text(encoding="utf-8")
    file = tmp_path / "rig.yaml"
    file.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    rig = RigConfig.load(file)
    assert rig.light["488"].gate == "shutter"


def test_policy_of_the_readme_works(tmp_path: Path) -> None:
    file = tmp_path / "crowded.py"
    file.write_text(readme_policy(), encoding="utf-8")
    policy = load_policy_class("crowded.py", tmp_path)(cells=2)
    policy.start(PolicyContext())
    tracks = tuple(
        Track(track_id=k, state="active", x_um=0.0, y_um=0.0) for k in range(3)
    )
    (few,) = policy.react(_seen(tracks[:1]))
    (many,) = policy.react(_seen(tracks))
    assert isinstance(few, Nothing)
    assert isinstance(many, Acquire)
    assert many.reason == "3 cells"


def _seen(tracks: tuple[Track, ...]) -> Observation:
    head = {"number": 0, "view": View(), "frame_ids": (0,), "t_ns": 0, "t_s": 0.0}
    return Observation(tracks=tracks, shape=np.zeros((4, 4)).shape, **head)


def test_links_between_documents_lead_somewhere() -> None:
    for file in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        text = file.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" in target or target.endswith(".png"):
                continue
            assert (file.parent / target).exists(), f"{file.name} -> {target}"
