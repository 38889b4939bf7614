"""What a camera asks of a specimen, and what a specimen must be able to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from smartscope.core import Orientation, Roi

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.core import DeviceHistory, Matrix
    from smartscope.specimen._pattern import Pattern
    from smartscope.specimen._truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecimenView:
    """How the camera is set for one exposure.

    Attributes
    ----------
    shape : (height, width)
        Of the image handed over, after binning and transposition.
    roi : Roi
        Region read out, unbinned sensor pixels.
    binning : int
    orientation : Orientation
        What the driver does to the image it read.
    sensor_shape : (height, width)
        Unbinned sensor; also the part of the sample that is lit.
    gates : mapping of light line to gate
        ``camera_ttl`` (lit while the camera exposes), ``shutter`` (while the shutter
        is open) or ``always``. A line that is not named is behind the shutter.
    channel : str or None
        Channel preset.
    magnification : float
        Of the objective, where the history has no ``magnification`` trace.
    slm_line : str or None
        The light line that the SLM shapes; None is none.
    patterns : mapping of number to Pattern
        What the history's trace ``slm`` means. A number that is not among them, and
        a history without that trace, is even light.
    """

    shape: tuple[int, int]
    roi: Roi
    sensor_shape: tuple[int, int]
    binning: int = 1
    orientation: Orientation = field(default_factory=Orientation)
    gates: Mapping[str, str] = field(default_factory=dict)
    channel: str | None = None
    magnification: float = 10.0
    slm_line: str | None = None
    patterns: Mapping[int, Pattern] = field(default_factory=dict)


class Specimen(Protocol):
    """A living synthetic sample. Its methods may be called from any thread."""

    def start(self, t_ns: int) -> None:
        """Begin life: `t_ns` is time 0 of the biology. Starting again begins anew."""
        ...

    def expose(
        self, view: SpecimenView, history: DeviceHistory, t0_ns: int, t1_ns: int
    ) -> NDArray[np.uint16]:
        """Image the sample as the devices were over ``[t0_ns, t1_ns]``.

        All light since the previous exposure counts, also that between the two.

        Returns
        -------
        ndarray (y, x) uint16

        Raises
        ------
        SmartscopeError
            If not started, or `t0_ns` lies before the previous exposure's start.
        """
        ...

    def truth(self, t_ns: int) -> Truth:
        """What is really there at `t_ns`; does not change the specimen.

        Reaches back over the latest 64 exposures; beyond the latest exposure it
        takes the devices to stay as they are.
        """
        ...

    def true_affine(self, magnification: float = 10.0) -> Matrix:
        """Um per unbinned sensor pixel; sign convention of `smartscope.core`."""
        ...

    @property
    def needs_history_from_ns(self) -> int:
        """Device history before this time is no longer looked at."""
        ...
