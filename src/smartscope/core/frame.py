"""A frame: one 2-D image with identity, times and the state it was exposed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.core.geometry import UNCALIBRATED, UPRIGHT, Orientation, PixelMap, Roi

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class View:
    """A stage position seen by a camera; vision and policies keep state per view."""

    position: int = 0
    camera: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareState:
    """What the rig was like during an exposure, from the cache, never queried.

    A role the rig does not fill is None. Power is in percent of the line's range;
    `power_mw` holds lines with a calibration only.
    """

    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    channel: str | None = None
    objective: str | None = None
    exposure_ms: float | None = None
    power_percent: Mapping[str, float] = field(default_factory=dict)
    power_mw: Mapping[str, float] = field(default_factory=dict)
    shutter_open: bool | None = None
    roi_px: Roi | None = None
    binning: int = 1
    orientation: Orientation = UPRIGHT
    """What the driver did to the image it read."""
    epoch: int = 0
    """Highest n such that commands 1..n had all settled before the exposure began."""
    settled_later: tuple[int, ...] = ()
    """Commands above `epoch` that had settled too; of the newest 256, not of older."""
    pending: tuple[int, ...] = ()
    """Commands above `epoch` that were still under way; of the newest 256."""
    confirmed_ns: Mapping[str, int] = field(default_factory=dict)
    """When each device last confirmed its value, run clock; renewed when a new value is
    confirmed, else about once a second. ``frame.t_exposed_ns - confirmed_ns[name]`` is
    its age, below 0 where the confirmation came after the exposure."""
    external: tuple[str, ...] = ()
    """Resources changed by somebody else (joystick, knob) since the last frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image as it left the source.

    Attributes
    ----------
    frame_id : int
        Unique in the run, counts from 0 in the order of arrival.
    pixels : ndarray, (y, x), u8 or u16, read-only
    role : str
        ``baseline``, ``reaction`` or ``stream``.
    index : mapping of axis name to int
        useq index of the planned event (t, p, c, z, g and free axes).
    cause : str
        ``plan`` or the id of the action that asked for it.
    t_exposed_ns, t_received_ns, t_published_ns : int
        Run-clock times: exposure start (estimated, see `exposed_uncertainty_ns`),
        pixels available to us, handed to subscribers.
    mixed : bool
        The exposure overlaps a hardware change; counts as before the change.
    moving : bool
        The stage moved during the exposure; such frames are marked, not linked.
    planned_s : float or None
        Due time of the planned event, seconds since the start of the run.
    group : tuple
        Frames with equal `view` and `group` belong together over c and z.
    last_of_group : bool
        No further frame of this group is planned.
    """

    frame_id: int
    pixels: NDArray[np.uint16]
    view: View
    role: str = "baseline"
    index: Mapping[str, int] = field(default_factory=dict)
    cause: str = "plan"
    t_exposed_ns: int = 0
    exposed_uncertainty_ns: int = 0
    t_received_ns: int = 0
    t_published_ns: int = 0
    state: HardwareState = field(default_factory=HardwareState)
    pixel_map: PixelMap = UNCALIBRATED
    image_number: int | None = None
    mixed: bool = False
    moving: bool = False
    planned_s: float | None = None
    group: tuple[str | int, ...] = ()
    last_of_group: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in image pixels."""
        height, width = self.pixels.shape
        return height, width

    @property
    def channel(self) -> str | None:
        """Channel preset the frame was taken in."""
        return self.state.channel
