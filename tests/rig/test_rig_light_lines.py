"""The demo microscope with several light lines, and the samples that need them."""

from __future__ import annotations

from typing import Any

import pytest
from rig_helpers import rig_config


@pytest.mark.parametrize(
    ("file", "lines", "objectives"),
    [
        ("crawling_animal_rig.yaml", {"lamp", "488"}, {"10x", "20x"}),
        ("blinking_molecules_rig.yaml", {"405", "561"}, {"100x"}),
        ("steer_rig.yaml", {"488", "561"}, {"40x"}),
        ("rare_events_rig.yaml", {"lamp", "488"}, {"10x", "20x"}),
        ("thick_sample_rig.yaml", {"488"}, {"10x", "20x", "40x"}),
    ],
)
def test_rigs_of_several_lines_open_dark(
    open_rig: Any, file: str, lines: set[str], objectives: set[str]
):
    config = rig_config(file)
    rig = open_rig(config)
    state = rig.state(rig.clock.now_ns())
    assert set(state.power_percent) == lines
    assert all(power == 0 for power in state.power_percent.values())
    assert set(config.calibration) == objectives
    assert state.objective in objectives
