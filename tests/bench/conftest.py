"""Models that the benchmarks of the whole loop are run with in small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "vision"))

from learned_nets import conv, package


@pytest.fixture
def denoiser(tmp_path) -> str:
    return package(tmp_path / "same", conv([[[[1.0]]]]), {"kind": "restored"})


@pytest.fixture
def detector(tmp_path) -> str:
    """Foreground above 125 counts."""
    net = conv([[[[0.2]]]], [-25.0], then=["Sigmoid"])
    return package(tmp_path / "above", net, {"kind": "mask"}, version="1.2.3")
