"""Fixtures of the tests that run whole experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from small_runs import DEMO, SLOW

from smartscope.testing import FaultyCore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def policy(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a policy whose `react` has this body; returns its entry."""

    def write(body: str, name: str = "scripted", **fields: Any) -> dict[str, Any]:
        lines = "\n".join("        " + line for line in body.strip().splitlines())
        (tmp_path / f"{name}.py").write_text(
            "from smartscope.core import *\n"
            "from smartscope.policies import Policy\n\n\n"
            "class Scripted(Policy):\n"
            f"    def react(self, seen):\n{lines}\n"
        )
        return {"use": str(tmp_path / f"{name}.py"), "name": name, **fields}

    return write


@pytest.fixture
def core() -> Iterator[FaultyCore]:
    """Real demo devices with a laser, behind a core that can be told to fail."""
    core = FaultyCore(str(DEMO / "demo_laser.cfg"))
    yield core
    core.close()


@pytest.fixture
def slow() -> Iterator[FaultyCore]:
    """A stage that takes a second for 200 um."""
    core = FaultyCore(str(SLOW))
    core.setProperty("XY", "SlewTimePerStep_s", "0.0005")
    core.defineConfig("Channel", "FITC", "Camera", "ScanMode", "1")
    yield core
    core.close()
