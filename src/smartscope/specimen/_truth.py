"""Ground truth: what is really in the sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.specimen._events import TrueEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """One division; times in s of specimen time, nan until they happen.

    Attributes
    ----------
    onset_s, split_s, end_s : float
        Rounding begins; two daughters appear; they have separated.
    x_um, y_um : float
        Sample coordinates at the latest of onset and split.
    """

    parent_id: int
    daughters: tuple[int, ...]
    onset_s: float
    split_s: float
    end_s: float
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Everything there is at one moment; arrays have one entry per object.

    Objects are cells in most kinds, hence ``cell_id``.

    Attributes
    ----------
    t_s : float
        Specimen time, s since its start.
    cell_id, parent_id : ndarray (n,) int64
        Ascending and never reused; parent 0 means there from the start.
    x_um, y_um : ndarray (n,) float64
        Sample coordinates, drift included: where the stage must be to have the cell
        on the reference pixel.
    z_um : ndarray (n,) float64
        Focus position at which the cell is sharp, drift included.
    radius_um : ndarray (n,) float64
        Of the disc with the area of the nucleus.
    phase : ndarray (n,) str
        ``interphase``, ``mitosis`` (rounding, before the split), ``separation``
        (daughters moving apart) or ``dying``.
    brightness : ndarray (n,) float64
        Fraction not bleached.
    dose : ndarray (n,) float64
        Light received, percent-seconds (power percent x lit seconds), as in the
        relative unit of the dose ledger. Daughters start with their parent's.
    alive : ndarray (n,) bool
    divisions : tuple of Division
        All since the start, in order of onset.
    focus_plane_um : float
        Focus position of the middle of the sample.
    drift_um : (x, y, z)
        How far the sample has drifted since the start.
    events : tuple of TrueEvent
        All since the start, in order of onset; divisions are of kind ``mitosis``.
    measures : mapping of name to ndarray (n,)
        The kind's own columns, for example ``calcium``.
    scalars : mapping of name to float
        What the kind says of the sample as a whole, for example ``density_per_um2``.
    """

    t_s: float
    cell_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    z_um: NDArray[np.float64]
    radius_um: NDArray[np.float64]
    phase: NDArray[np.str_]
    brightness: NDArray[np.float64]
    dose: NDArray[np.float64]
    alive: NDArray[np.bool_]
    divisions: tuple[Division, ...] = ()
    focus_plane_um: float = 0.0
    drift_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    events: tuple[TrueEvent, ...] = ()
    measures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cell_id)


_COLUMNS = (
    "cell_id",
    "parent_id",
    "x_um",
    "y_um",
    "z_um",
    "radius_um",
    "phase",
    "brightness",
    "dose",
    "alive",
)


def truth_rows(truth: Truth) -> dict[str, list[float | int | str | bool]]:
    """Columns of a table with one row per object, ``t_s`` first, `measures` last."""
    rows: dict[str, list[float | int | str | bool]] = {"t_s": [truth.t_s] * len(truth)}
    for name in _COLUMNS:
        rows[name] = getattr(truth, name).tolist()
    for name, values in truth.measures.items():
        rows[name] = values.tolist()
    return rows
