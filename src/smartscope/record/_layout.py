"""What a run is going to write: the shape of its images, and whether they fit."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from smartscope.core import Frame

_PLANNED = ("t", "c", "z")
_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """One image of the plan: one stage position in its natural axes.

    Attributes
    ----------
    name : str
        Folder name, ``images/NAME.ome.zarr``; made legal for every file system.
    sizes : mapping of ``t``, ``c``, ``z`` to int
        Planned axes and their lengths, in this order; an axis may be left out.
    shape_yx : (height, width)
        In pixels.
    dtype : str
        ``uint8`` or ``uint16``.
    channels : tuple of str
        Channel presets along ``c``.
    pixel_um, time_interval_s, z_step_um : float or None
        Scale of the axes; None where it is unknown or varies.
    position : int
        `View.position` of the frames that belong here.
    position_name : str
        For people.
    camera : str
        `View.camera` of the frames that belong here; "" takes any.
    fixed : mapping of axis to int
        Values of further index axes (``g`` or free ones) that belong here; an axis
        that is not named must be 0 or absent.
    """

    name: str
    sizes: Mapping[str, int]
    shape_yx: tuple[int, int]
    dtype: str = "uint16"
    channels: tuple[str, ...] = ()
    pixel_um: float | None = None
    time_interval_s: float | None = None
    z_step_um: float | None = None
    position: int = 0
    position_name: str = ""
    camera: str = ""
    fixed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [axis for axis in _PLANNED if axis in self.sizes]
        if list(self.sizes) != known or min(self.sizes.values(), default=1) < 1:
            raise ValueError(
                f"sizes of image '{self.name}' must be positive and in the order "
                f"t, c, z, found {dict(self.sizes)}"
            )

    @property
    def axes(self) -> str:
        """For example ``tcyx``."""
        return "".join(self.sizes) + "yx"

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all `axes`."""
        return (*self.sizes.values(), *self.shape_yx)

    @property
    def n_bytes(self) -> int:
        """Bytes of all pixels, uncompressed."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def place(self, frame: Frame) -> tuple[int, ...] | None:
        """Index of `frame` along the leading axes, or None if it belongs elsewhere."""
        view, pixels = frame.view, frame.pixels
        if view.position != self.position or self.camera not in ("", view.camera):
            return None
        if pixels.shape != self.shape_yx or pixels.dtype != np.dtype(self.dtype):
            return None
        for axis, value in frame.index.items():
            if axis in self.sizes:
                if not 0 <= value < self.sizes[axis]:
                    return None
            elif axis != "p" and value != self.fixed.get(axis, 0):
                return None
        return tuple(frame.index.get(axis, 0) for axis in self.sizes)


def forecast_bytes(layouts: Iterable[ImageLayout]) -> int:
    """Most the pixels of `layouts` can need on disk, bytes.

    Uncompressed, because what noise compresses to is not known before.
    """
    return sum(layout.n_bytes for layout in layouts)


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of `folder`, which need not exist yet."""
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    return shutil.disk_usage(here).free


def check_disk_space(folder: Path, needed_bytes: int, min_free_mb: float) -> None:
    """Refuse a run that may not fit.

    Parameters
    ----------
    folder : Path
        Where the run will be written; need not exist.
    needed_bytes : int
        See `forecast_bytes`.
    min_free_mb : float
        What must stay free, MB.

    Raises
    ------
    ConfigError
        With both numbers.
    """
    free_mb = free_bytes(folder) / _MB
    needed_mb = needed_bytes / _MB
    if free_mb < needed_mb + min_free_mb:
        raise ConfigError(
            f"the run may need {needed_mb:.0f} MB and {min_free_mb:.0f} MB must stay "
            f"free, but the disk of {folder} has {free_mb:.0f} MB left",
            field="record.path",
            fix="free space, choose another disk, or acquire less",
        )


def slug(name: str, *, limit: int = 40) -> str:
    """Short lower-case name that every file system takes; "run" if nothing is left."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain[:limit].strip("-") or "run"
