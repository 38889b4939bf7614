"""Hand-made observations: what a policy sees, without a microscope."""

from __future__ import annotations

from smartscope.core import (
    Event,
    HardwareState,
    Observation,
    Outcome,
    PixelMap,
    Track,
    View,
)

# 0.5 um pixels, a 101 x 101 image whose middle pixel shows the stage position.
MAP = PixelMap(((0.5, 0.0), (0.0, 0.5)), (50.0, 50.0))


def see(
    t_s: float = 0.0, *, x_um: float = 0.0, y_um: float = 0.0, **more
) -> Observation:
    """An observation at `t_s`, taken with the stage at (x_um, y_um)."""
    power = more.pop("power", {})
    return Observation(
        number=more.pop("number", 0),
        view=more.pop("view", View(0, "Camera")),
        frame_ids=(0,),
        t_ns=int(t_s * 1e9),
        t_s=t_s,
        shape=(101, 101),
        pixel_map=MAP,
        state=HardwareState(x_um=x_um, y_um=y_um, power_percent=power),
        **more,
    )


def mitosis(score: float, state: str = "active", event_id: int = 1) -> Event:
    return Event(
        event_id=event_id,
        kind="mitosis",
        score=score,
        state=state,
        onset_s=0.0,
        x_um=0.0,
        y_um=0.0,
        track_id=5,
    )


def cell(
    track_id: int, x_um: float, y_um: float, state: str = "active", **more
) -> Track:
    return Track(track_id=track_id, state=state, x_um=x_um, y_um=y_um, **more)


def outcome(policy: str, status: str, action_id: str = "0.0") -> Outcome:
    return Outcome(action_id=action_id, policy=policy, status=status)
