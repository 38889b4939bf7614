from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from smartscope.core import Pictures
from smartscope.policies import edge_um, outline_px, to_pixels
from smartscope.testing import cell, sight


def test_without_an_outline_it_is_the_disk_of_the_area():
    track = cell(1, 5.0, 0.0, area_um2=math.pi * 16)
    seen = sight(tracks=[track])
    assert edge_um(seen, track, [0.0, 1.0, -2.0]) == pytest.approx(4.0)
    corners = np.array(outline_px(seen, track, margin_um=1.0))
    assert np.linalg.norm(corners - [50, 60], axis=1) == pytest.approx(10.0)


@pytest.mark.parametrize("area", [math.nan, math.inf, -5.0, 1e300])
def test_a_senseless_area_gives_finite_places(area):
    track = cell(1, 0.0, 0.0, area_um2=area)
    assert np.isfinite(outline_px(sight(tracks=[track]), track)).all()


def test_the_outline_of_vision_goes_before():
    labels = np.zeros((101, 101), np.int32)
    labels[45:56, 30:71] = 7  # 20 um wide and 5 um high
    track = replace(cell(1, 0.0, 0.0, area_um2=1.0), detection=0)
    seen = sight(tracks=[track], pictures=Pictures(labels=labels))
    found = replace(seen.detections, label=np.array([7]))
    seen = replace(seen, detections=found)
    right, up = edge_um(seen, track, [0.0, math.pi / 2])
    assert right == pytest.approx(10.0, abs=0.5)
    assert up == pytest.approx(2.5, abs=0.5)


def test_places_become_pixels():
    seen = sight(at_um=(100.0, 0.0, 0.0))
    assert to_pixels(seen, [(100.0, 0.0), (105.0, 1.0)]) == ((50.0, 50.0), (52.0, 60.0))
