from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from rig_helpers import DEMOS, rig_config

from smartscope.core import VirtualClock
from smartscope.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.config import RigConfig
    from smartscope.core import Clock


@pytest.fixture
def open_rig() -> Iterator[Callable[..., Rig]]:
    """Opens rigs and closes them; a test that leaks a thread of theirs fails."""
    opened: list[Rig] = []

    def opener(
        config: RigConfig | None = None, clock: Clock | None = None, **kwargs: Any
    ) -> Rig:
        rig = Rig.open(
            config or rig_config(), clock or VirtualClock(), base_dir=DEMOS, **kwargs
        )
        opened.append(rig)
        return rig

    yield opener
    for rig in opened:
        rig.close()
    left = [t.name for t in threading.enumerate() if t.name.startswith("smartscope-")]
    assert not left, f"threads left behind: {left}"


@pytest.fixture
def rig(open_rig: Callable[..., Rig]) -> Rig:
    return open_rig()
