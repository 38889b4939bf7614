"""What ships can be listed, copied, shown, and is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.config import shipped, shipped_files

ROOT = Path(__file__).parents[2]


def test_demos_are_listed_with_what_they_show() -> None:
    done = CliRunner().invoke(app, ["demos"])
    assert done.exit_code == 0
    for file in shipped_files("experiment"):
        (line,) = [
            ln for ln in done.stdout.splitlines() if ln.split()[:1] == [file.stem]
        ]
        assert len(line.split()) > 3


def test_copies_are_whole_and_can_be_edited(tmp_path: Path) -> None:
    target = tmp_path / "my scope"
    done = CliRunner().invoke(app, ["demos", "--copy", str(target)])
    assert done.exit_code == 0, done.output
    source = shipped("demo_configs")
    for file in source.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert (target / file.relative_to(source)).read_bytes() == file.read_bytes()
    policies = {p.name for p in (target / "policies").glob("*.py")}
    assert policies == {p.name for p in shipped("policies").glob("*.py")}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "policies"
    mine.mkdir()
    (mine / "rate_switch.py").write_text("mine")
    done = CliRunner().invoke(app, ["demos", "--copy", str(tmp_path)])
    assert done.exit_code == 2
    assert "exists already" in done.stderr
    assert (mine / "rate_switch.py").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["policies"]


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    way = tmp_path / "way"
    way.write_text("x")
    done = CliRunner().invoke(app, ["demos", "--copy", str(way)])
    assert done.exit_code == 2
    assert "a file, not a folder" in done.stderr


def test_policies_are_listed() -> None:
    done = CliRunner().invoke(app, ["policies", "list", "--json"])
    found = json.loads(done.stdout)
    assert {"rate_switch", "follow_cell", "hold_signal"} <= set(found)
    assert all(found.values())


@pytest.mark.parametrize("name", ["rate_switch", "follow_cell", "hold_signal"])
def test_shown_yaml_can_be_pasted(name: str) -> None:
    import yaml

    from smartscope.config import PolicyUse
    from smartscope.policies import load_policy_class

    done = CliRunner().invoke(app, ["policies", "show", name])
    assert done.exit_code == 0, done.output
    piece = done.stdout.split("In an experiment")[1].split("Source:")[0]
    (raw,) = yaml.safe_load(piece)["policies"]
    use = PolicyUse.model_validate(raw)
    fields = load_policy_class(name).model_fields
    assert set(use.parameters) == set(fields)
    for field in fields:
        assert f"  {field}: " in done.stdout


def test_own_policy_is_shown_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crowded.py").write_text(readme_policy(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["policies", "show", "crowded.py"])
    assert done.exit_code == 0, done.output
    assert "Take a stack wherever many cells are." in done.stdout
    assert "cells: whole number; default 20" in done.stdout


def readme_policy() -> str:
    """The policy of the README, as a reader would copy it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in text.split("```python\n")[1:] if "class Crowded" in b]
    return block.split("```")[0]
