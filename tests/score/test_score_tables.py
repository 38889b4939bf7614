"""Tables, JSON and pictures of scoreboards made by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from boards import made_by_hand

from smartscope.core import ConfigError
from smartscope.score import (
    from_json,
    page,
    picture,
    to_json,
    to_markdown,
    to_text,
    verdicts,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_bars_are_met_by_what_reaches_them() -> None:
    scenario = made_by_hand().scenarios[0]
    found = verdicts(scenario)
    assert [verdict.met for verdict in found] == [True, True, True]
    assert [round(v.reached.value, 3) for v in found] == [6.0, 1.0, 7.0]
    brighter = made_by_hand(scale=1.3).scenarios[0]
    assert [verdict.met for verdict in verdicts(brighter)] == [False, True, True]


def test_a_failed_run_is_told_and_its_pair_left_out() -> None:
    board = made_by_hand(problem="the camera fell off")
    scenario = board.scenarios[0]
    assert "failed: policy, specimen 0: the camera fell off" in to_text(board)
    assert len(scenario.of("policy")) == 19
    saving = scenario.compare("dose", "policy", "fixed_fast", "saving")
    assert saving.value == pytest.approx(6.0)


def test_json_is_read_again_as_it_was() -> None:
    board = made_by_hand(problem="the camera fell off")
    text = json.dumps(to_json(board), allow_nan=False)
    assert from_json(json.loads(text)) == board
    with pytest.raises(ConfigError, match="no scoreboard"):
        from_json({"format": 0})


def test_the_page_defines_what_it_shows() -> None:
    board = made_by_hand()
    text = page(board, "images")
    assert to_markdown(board, "images") in text
    assert "](images/score-rate-switch-cells.svg)" in text
    assert "**filmed at target rate**: Coverage: " in text
    line = next(row for row in text.splitlines() if row.startswith("| light on the"))
    assert line.startswith("| light on the field, J/cm2 | 1.1 (")


def test_the_picture_shows_every_arm_and_event() -> None:
    svg = ElementTree.fromstring(picture(made_by_hand().scenarios[0]))
    words = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    for arm in ("policy", "fixed fast", "fixed slow", "random, same duty"):
        assert words.count(arm) == 2
    dots = list(svg.iter("{http://www.w3.org/2000/svg}circle"))
    # Recall, precision, coverage, light, and the legend.
    assert len(dots) == 5 * 4


def test_nothing_measured_is_no_number(tmp_path: Path) -> None:
    scenario = made_by_hand(seeds=1, problem="gone").scenarios[0]
    assert [verdict.met for verdict in verdicts(scenario)] == [None, None, None]
    ElementTree.fromstring(picture(scenario))
