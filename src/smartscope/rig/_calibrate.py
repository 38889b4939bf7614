"""Measures how image and stage lie to each other, by moving and registering."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.config import Calibration
from smartscope.core import HardwareError
from smartscope.rig._geometry import to_sensor_affine
from smartscope.rig._register import measure_shift

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.core import Matrix
    from smartscope.rig._rig import Rig

_log = logging.getLogger("smartscope.rig")
LEAST_CONFIDENCE = 0.25
SHARE_OF_FIELD = 0.125
_LEAST_SHIFT_PX = 3.0
_MOST_RESIDUAL_PX = 1.0
_MOST_UNEVEN = 1.2
# Around a square and its opposite: every edge in both directions, ending at home.
_ROUND = ((1, 0), (1, 1), (0, 1), (0, 0), (-1, 0), (-1, -1), (0, -1), (0, 0))


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """A measured calibration of the objective in use.

    Attributes
    ----------
    objective : str or None
        Name in the rig file.
    affine : 2 x 2
        um per unbinned sensor pixel, see `smartscope.core.geometry`.
    pixel_um : float
        Side of one unbinned sensor pixel in the sample.
    residual_px : float
        Root mean square deviation of the shifts from the affine, image pixels.
    confidence : float
        The lowest of all shifts, 0..1.
    step_um : float
        Length of the moves.
    moves : int
        Number of shifts it rests on.
    """

    objective: str | None
    affine: Matrix
    pixel_um: float
    residual_px: float
    confidence: float
    step_um: float
    moves: int

    def to_config(self) -> Calibration:
        """Section for the rig file, under ``calibration``."""
        (a, b), (c, d) = self.affine
        return Calibration(
            pixel_um=round(self.pixel_um, 5),
            affine=((round(a, 6), round(b, 6)), (round(c, 6), round(d, 6))),
        )


def calibrate(
    rig: Rig,
    grab: Callable[[], NDArray[np.generic]],
    step_um: float | None = None,
    *,
    least_confidence: float = LEAST_CONFIDENCE,
) -> CalibrationResult:
    """Measure the affine of the objective in use; the stage returns to where it was.

    The stage goes eight steps around two squares, and each picture is registered with
    the one before. ROI, binning and orientation are taken out, so the result holds for
    the whole chip.

    Parameters
    ----------
    rig : Rig
    grab : callable
        Takes a picture at the present place, ``(y, x)``.
    step_um : float, optional
        Length of one step; default an eighth of the field by the pixel size known.
    least_confidence : float
        Shifts less sure than this are refused, 0..1.

    Raises
    ------
    HardwareError
        A picture without enough texture, one that does not follow the stage, or a
        stage that refuses.
    SafetyError
        If the steps leave the travel the rig allows; nothing has moved then.
    """
    if rig.geometry is None or not rig.can("stage"):
        raise HardwareError("this rig has no stage, so there is nothing to calibrate")
    state = rig.state(rig.clock.now_ns())
    if state.x_um is None or state.y_um is None:
        raise HardwareError("the stage does not say where it is")
    home = (state.x_um, state.y_um)
    first = grab()
    step = step_um or SHARE_OF_FIELD * min(first.shape) * rig.pixel_map().pixel_um
    try:
        moves, shifts, confidence = _go_round(rig, grab, first, home, step)
    finally:
        _go_home(rig, home)
    if confidence < least_confidence:
        raise HardwareError(
            f"the pictures show too little to register (confidence {confidence:.2f}, "
            f"needed {least_confidence:.2f}); focus on something with structure, make "
            "it brighter, or take another step with step_um"
        )
    matrix, residual = _fit(moves, shifts)
    geometry = rig.geometry
    affine = to_sensor_affine(matrix, geometry.binning, geometry.orientation)
    (a, b), (c, d) = affine
    return CalibrationResult(
        objective=rig.objective,
        affine=affine,
        pixel_um=float(np.sqrt(abs(a * d - b * c))),
        residual_px=residual,
        confidence=confidence,
        step_um=step,
        moves=len(moves),
    )


def _go_round(
    rig: Rig,
    grab: Callable[[], NDArray[np.generic]],
    first: NDArray[np.generic],
    home: tuple[float, float],
    step: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    moves, shifts, confidence = [], [], 1.0
    before, at = first, np.array(home)
    for i, j in _ROUND:
        command = rig.actuator.move_stage(home[0] + i * step, home[1] + j * step)
        rig.actuator.settle(command)
        # Where it is, not where it was sent: stages round to their own steps.
        now = np.array([command.readback["x_um"], command.readback["y_um"]], float)
        picture = grab()
        shift = measure_shift(before, picture)
        moves.append(now - at)
        shifts.append((shift.dx_px, shift.dy_px))
        confidence = min(confidence, shift.confidence)
        before, at = picture, now
    return np.array(moves), np.array(shifts), confidence


def _fit(
    moves: NDArray[np.float64], shifts: NDArray[np.float64]
) -> tuple[Matrix, float]:
    """Affine um per image pixel, and the residual in pixels.

    A thing at image offset ``d`` lies at ``stage + M d``; so when the stage moves by
    ``D`` it goes to ``d - M^-1 D``: the shift is ``-M^-1 D``.
    """
    solution, *_ = np.linalg.lstsq(moves, -shifts, rcond=None)
    inverse = solution.T
    residual = float(np.sqrt(np.mean(np.sum((shifts + moves @ solution) ** 2, axis=1))))
    length = float(np.median(np.linalg.norm(shifts, axis=1)))
    if length < _LEAST_SHIFT_PX:
        raise HardwareError(
            f"the picture moved only {length:.1f} pixels with the stage; is the right "
            "stage in the role, and the sample on it? otherwise give a longer step_um"
        )
    if residual > max(_MOST_RESIDUAL_PX, 0.03 * length):
        raise HardwareError(
            f"the picture does not follow the stage evenly ({residual:.1f} of "
            f"{length:.0f} pixels off); let the stage rest longer (settle_ms), or give "
            "a shorter step_um"
        )
    stretch = np.linalg.svd(inverse, compute_uv=False)
    if stretch[0] > _MOST_UNEVEN * stretch[1]:
        raise HardwareError(
            f"the scale differs by {stretch[0] / stretch[1]:.2f} between directions, "
            "which no camera does; the registration was misled, try another place"
        )
    (a, b), (c, d) = np.linalg.inv(inverse).tolist()
    return ((a, b), (c, d)), residual


def _go_home(rig: Rig, home: tuple[float, float]) -> None:
    command = rig.actuator.move_stage(*home)
    rig.actuator.settle(command)
