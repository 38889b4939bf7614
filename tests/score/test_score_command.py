"""`smartscope score` on the command line, without running anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from boards import made_by_hand
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.score import page, picture, to_json

if TYPE_CHECKING:
    from pathlib import Path


def score(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["score", *words])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rate_swich_cells",), "did you mean 'rate_switch_cells'"),
        (("rate_switch_cells", "--json", "-", "--markdown"), "both print"),
        (("rate_switch_cells", "--full", "--seeds", "3"), "give one of"),
        (("rate_switch_cells", "--full", "--tuning"), "never published"),
        (("--read", "nowhere.json"), "cannot be read"),
        (("rate_switch_cells", "--write-docs", "no/where.md"), "is no folder"),
        (("replay",), "nobody knows what truly happened"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    words: tuple[str, ...], said: str
) -> None:
    code, output = score(*words)
    assert code == 2
    assert said in " ".join(output.split())


def test_earlier_results_become_the_page_and_its_picture(tmp_path: Path) -> None:
    board = made_by_hand()
    results, docs = tmp_path / "results.json", tmp_path / "scoreboard.md"
    results.write_text(json.dumps(to_json(board)), encoding="utf-8")
    code, output = score("--read", str(results), "--write-docs", str(docs))
    assert code == 0, output
    assert docs.read_text(encoding="utf-8") == page(board, "images")
    drawn = tmp_path / "images" / "score-rate-switch-cells.svg"
    assert drawn.read_text(encoding="utf-8") == picture(board.scenarios[0])
    assert "light on the field, saving" in output


@pytest.mark.parametrize(("scale", "code"), [(1.0, 0), (1.3, 1)])
def test_strict_fails_where_a_bar_is_not_met(
    tmp_path: Path, scale: float, code: int
) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps(to_json(made_by_hand(scale=scale))), encoding="utf-8")
    assert score("--read", str(results), "--strict")[0] == code
    assert score("--read", str(results))[0] == 0
