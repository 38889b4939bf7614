"""How a stage swings around its target for a while after a move."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from smartscope.core import DeviceHistory
    from smartscope.specimen._optics import Optics

_GONE = 5.0
"""Time constants after which a swing no longer counts: 0.7 % of it is left."""


def settling_reach_ns(p: Optics) -> int:
    """How long a move is felt, ns; 0 where the stage does not swing."""
    return int(_GONE * p.stage_settle_ms * NS_PER_MS) if p.stage_settle_um else 0


def settling_um(p: Optics, history: DeviceHistory, t_ns: int) -> tuple[float, float]:
    """How far the stage is off its target at `t_ns`, um: a damped swing.

    Each move adds ``A exp(-t/tau) cos(2 pi f t)`` along its way, `t` since its end, as
    a lightly damped spring does that is stopped short.
    """
    reach_ns = settling_reach_ns(p)
    off_x = off_y = 0.0
    if not reach_ns:
        return off_x, off_y
    for end_ns, dx, dy in _moves(history, t_ns - reach_ns, t_ns):
        way = math.hypot(dx, dy)
        after_s = (t_ns - end_ns) / NS_PER_S
        swing = min(p.stage_settle_um, way) / way
        swing *= math.exp(-after_s * 1e3 / p.stage_settle_ms)
        swing *= math.cos(2 * math.pi * p.stage_settle_hz * after_s)
        off_x += swing * dx
        off_y += swing * dy
    return off_x, off_y


def _moves(
    history: DeviceHistory, t0_ns: int, t1_ns: int
) -> list[tuple[int, float, float]]:
    """``(end, dx_um, dy_um)`` of the moves that ended in ``[t0_ns, t1_ns]``."""
    written = set(history.keys())
    keys: tuple[str, ...] = tuple(key for key in ("x_um", "y_um") if key in written)
    moves: list[tuple[int, float, float]] = []
    start: dict[str, float] = {}
    last: dict[str, float] = {}
    moving = False
    # One ns more: a jump right at the end counts.
    for a_ns, _, values in history.segments(keys, t0_ns, t1_ns + 1):
        jumped = any(last and values[k][0] != last[k] for k in keys)
        goes = any(values[k][0] != values[k][1] for k in keys)
        if not last:
            start = {k: values[k][0] for k in keys}
        if (jumped or moving) and not goes:
            here = {k: values[k][0] for k in keys}
            dx, dy = (here.get(k, 0.0) - start.get(k, 0.0) for k in ("x_um", "y_um"))
            if dx or dy:
                moves.append((a_ns, dx, dy))
            start = here
        last = {k: values[k][1] for k in keys}
        moving = goes
    return moves
