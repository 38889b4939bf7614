"""Recorded pixels from whatever file holds them, one plane at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ConfigError, RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

AXES = "tczyx"


class RecordingReader:
    """Planes of a recording, 8 or 16 bit, in any order; made by `open_recording`.

    Attributes
    ----------
    path : Path
    kind : str
        ``run``, ``ome-zarr``, ``ome-tiff``, ``imagej-tiff`` or ``tiff``.
    sizes : mapping
        Lengths of ``t``, ``c``, ``z``, ``y`` and ``x``, all of them.
    dtype : numpy dtype
        ``uint8`` or ``uint16``.
    channels : tuple of str
        One name for each channel, invented where the file has none.
    interval_s : float or None
        Time between time points, s.
    pixel_um : float or None
        Side of a pixel in the sample, um.
    times_s : tuple of float or None
        Time of each time point since the first, s, where it was recorded.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        *,
        sizes: Mapping[str, int],
        dtype: np.dtype[Any],
        plane: Callable[[int, int, int], NDArray[Any]],
        close: Callable[[], None],
        channels: Sequence[str] = (),
        interval_s: float | None = None,
        pixel_um: float | None = None,
        times_s: tuple[float, ...] | None = None,
        present: Callable[[int, int, int], bool] | None = None,
    ) -> None:
        self.path = path
        self.kind = kind
        self.sizes = {axis: int(sizes.get(axis, 1)) for axis in AXES}
        self.dtype = unsigned(dtype, path)
        count = self.sizes["c"]
        named = len(channels) == count and all(channels)
        invented = (f"channel {c}" for c in range(count))
        self.channels = tuple(channels) if named else tuple(invented)
        self.interval_s = interval_s
        self.pixel_um = pixel_um
        self.times_s = times_s
        self._plane = plane
        self._present = present
        self._close = close

    @property
    def n_times(self) -> int:
        """Number of time points."""
        return self.sizes["t"]

    def has(self, t: int, c: int = 0, z: int = 0) -> bool:
        """Whether this plane was recorded; a run may lack some of its plan."""
        inside = all(
            0 <= i < self.sizes[axis] for axis, i in zip("tcz", (t, c, z), strict=True)
        )
        return inside and (self._present is None or self._present(t, c, z))

    def read(self, t: int, c: int = 0, z: int = 0) -> NDArray[Any]:
        """Return one plane, ``(y, x)``, read-only.

        Raises
        ------
        RecordError
            If it was not recorded or cannot be read.
        """
        if not self.has(t, c, z):
            sizes = {axis: self.sizes[axis] for axis in "tcz"}
            raise RecordError(
                f"{self.path} has no plane t={t}, c={c}, z={z}; it holds {sizes}, "
                "less what its run left out"
            )
        pixels = np.ascontiguousarray(self._plane(t, c, z), dtype=self.dtype)
        if pixels.base is not None or not pixels.flags.owndata:
            pixels = pixels.copy()
        pixels.flags.writeable = False
        return pixels

    def close(self) -> None:
        """Close the file."""
        self._close()


def open_recording(
    path: str | Path,
    axes: str | None = None,
    *,
    image: str | None = None,
    interval_s: float | None = None,
    pixel_um: float | None = None,
) -> RecordingReader:
    """Open a smartscope run, OME-Zarr (0.4, 0.5), OME-TIFF, ImageJ or plain TIFF.

    Parameters
    ----------
    path : path
    axes : str or None
        Axes of a TIFF, for example ``tyx`` or ``tyxc``, where the file names them
        wrongly or not at all.
    image : str or None
        Which image of several: a name in a run, a number elsewhere; None is the first.
    interval_s, pixel_um : float or None
        Override what the file says.

    Raises
    ------
    ConfigError
        If it is no recording, is cut off, or has pixels that are not 8 or 16 bit.
    """
    path = Path(path)
    if path.is_file():
        from smartscope.record._recording_tiff import open_tiff

        reader = open_tiff(path, axes, image)
    elif path.is_dir():
        reader = _open_folder(path, image)
    else:
        raise ConfigError(f"the recording {path} does not exist", fix="check the path")
    reader.interval_s = interval_s or reader.interval_s
    reader.pixel_um = pixel_um or reader.pixel_um
    return reader


def unsigned(dtype: np.dtype[Any], path: Path) -> np.dtype[Any]:
    """Type of the pixels as they are handed out.

    Raises
    ------
    ConfigError
        If they cannot be 8 or 16 bit unsigned without loss.
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return dtype.newbyteorder("=")
    raise ConfigError(
        f"{path} has {dtype.name} pixels, and only 8- and 16-bit unsigned ones can be "
        "replayed without loss",
        fix="convert it, for example in Fiji with Image > Type > 16-bit",
    )


def _open_folder(path: Path, image: str | None) -> RecordingReader:
    from smartscope.record._recording_zarr import is_zarr, open_run, open_zarr

    if (path / "journal.jsonl").is_file():
        return open_run(path, image)
    if is_zarr(path):
        return open_zarr(path, image)
    what = "holds no recording" if any(path.iterdir()) else "is empty"
    raise ConfigError(
        f"the folder {path} {what}",
        fix="name a smartscope run, an OME-Zarr folder (*.ome.zarr) or a TIFF file",
    )
