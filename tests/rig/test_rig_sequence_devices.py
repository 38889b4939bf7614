"""What the actuator settled was set on the devices before the exposure began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rig_helpers import rig_config

pytest.importorskip("msgpack")


def test_settled_commands_come_before_the_exposure(open_rig: Any):
    from pymmcore_plus.seq_tester import decode_image

    cfg = Path(__file__).parent / "sequence_devices.cfg"
    rig = open_rig(
        rig_config(
            micromanager={"config": str(cfg)},
            roles={"objective": None, "autofocus": None, "channel_group": None},
            light=None,
            safe_state=None,
            calibration=None,
        )
    )
    a, core = rig.actuator, rig.core
    core.snapImage()
    core.getImage()
    a.settle(a.move_stage(10, -20), a.move_focus(3), a.set_exposure(7))
    a.settle(a.set_shutter(True))
    core.snapImage()
    info = decode_image(core.getImage())
    now = {(s.device, s.property): s.value for s in info.current_state}
    assert now["TXYStage-0", "XPositionSteps"] == 100
    assert now["TXYStage-0", "YPositionSteps"] == -200
    assert now["TZStage-0", "ZPositionUm"] == 3.0
    assert now["TCamera-0", "Exposure"] == 7.0
    assert now["TShutter-0", "ShutterState"] is True
    order = [s.device for s in info.history if s.property != "Busy"]
    assert order.index("TXYStage-0") < order.index("TShutter-0")
    assert order.index("TZStage-0") < order.index("TShutter-0")
