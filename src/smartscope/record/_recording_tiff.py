"""Recordings in TIFF: OME, ImageJ and plain, whole or cut off."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from smartscope.core import ConfigError, RecordError
from smartscope.record._recording import RecordingReader
from smartscope.record._tiff_chain import find_cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.record._tiff_chain import Cut

_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UM = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
}
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
_COLOURS = ("red", "green", "blue", "alpha")
_UNNAMED = "QI"


def open_tiff(path: Path, axes: str | None, image: str | None) -> RecordingReader:
    """Open a TIFF as a recording.

    Raises
    ------
    ConfigError
        If it is no TIFF, is cut off, or its axes are unclear.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head not in _HEADS:
        raise ConfigError(
            f"{path} is {'no TIFF file' if head else 'empty'}",
            fix="name a TIFF, an OME-Zarr folder or a smartscope run",
        )
    cut = find_cut(path)
    page = f"page {cut.page + 1 if cut else 1}"
    with _quiet():
        try:
            tiff = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, ValueError, struct.error) as error:
            raise _early(path, page) from error
        try:
            if not len(tiff.pages):
                raise _early(path, page)
            _check_whole(path, tiff, cut)
            return _reader(path, tiff, axes, image)
        except BaseException:
            tiff.close()
            raise


def _early(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path} ends early: {what} is cut off",
        fix="copy the file again from where it was recorded",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # What tifffile logs about damage is said better by the error that follows.
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reader(
    path: Path, tiff: tifffile.TiffFile, axes: str | None, image: str | None
) -> RecordingReader:
    pages, shape, letters = _layout(path, tiff, image)
    letters = _named(path, shape, letters, axes)
    sizes = dict(zip(letters, shape, strict=True))
    colour = "s" in sizes
    if colour:
        sizes["c"] = sizes.pop("s")
    kind, interval_s, pixel_um, channels = _facts(tiff)
    return RecordingReader(
        path,
        kind,
        sizes=sizes,
        dtype=pages[0].dtype,
        plane=_plane_of(path, pages, shape, letters.replace("s", "c")),
        close=tiff.close,
        channels=_COLOURS[: sizes["c"]] if colour else channels,
        interval_s=interval_s,
        pixel_um=pixel_um,
    )


def _check_whole(path: Path, tiff: tifffile.TiffFile, cut: Cut | None) -> None:
    """Refuse a file whose tail is missing: tifffile reads what is left in silence."""
    first: Any = tiff.pages.first
    expected = _expected_pages(tiff)
    whole = None
    if first.is_contiguous:
        # Where all pixels come first, what is left of the file tells which are whole.
        whole = (path.stat().st_size - first.dataoffsets[0]) // first.nbytes
    if cut is None:
        # ImageJ's large stacks have one page only, which says how many it stands for.
        if tiff.is_imagej and expected and whole is not None and whole < expected:
            raise _early(path, f"page {whole + 1} of {expected}")
        return
    if cut.description and cut.page == 0:
        # That of the whole film comes last; without it nobody knows how long it was.
        raise _early(path, "its description")
    page = cut.page
    if expected and expected > 1 and page <= 1 and whole is not None:
        page = min(max(whole, page), expected - 1)
    of = f" of {expected}" if expected and expected > page else ""
    raise _early(path, f"page {page + 1}{of}")


def _expected_pages(tiff: tifffile.TiffFile) -> int | None:
    first: Any = tiff.pages.first
    try:
        if tiff.is_imagej:
            found = tiff.imagej_metadata or {}
            return int(found.get("images", 0)) or None
        if tiff.is_ome:
            pixels = _ome_pixels(tiff)
            return math.prod(int(pixels[f"Size{axis}"]) for axis in "TCZ")
        shape = json.loads(first.description)["shape"]
        return int(math.prod(shape) // math.prod(first.shape))
    except (KeyError, TypeError, ValueError):
        return None


def _layout(
    path: Path, tiff: tifffile.TiffFile, image: str | None
) -> tuple[Any, tuple[int, ...], str]:
    """Pages, shape and axis letters (tifffile's, lower case) of one image."""
    series = tiff.series
    first = series[0]
    alike = {(one.shape, one.dtype, len(one.pages)) for one in series}
    if image is None and len(series) > 1 and len(alike) == 1 and not tiff.is_ome:
        if len(first.pages) == 1:
            # Pages written one by one are found as one image each: they are a stack.
            return list(tiff.pages), (len(series), *first.shape), f"I{first.axes}"
    try:
        chosen = series[int(image or 0)]
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"{path} has no image {image}", fix=f"choose 0 to {len(series) - 1}"
        ) from error
    page: Any = chosen.pages[0]
    if len(chosen.pages) == 1 and chosen.shape != page.shape:
        # One page that stands for many: a hyperstack too large for its pages.
        stack = tifffile.memmap(path, series=int(image or 0), mode="r")
        planes = stack.reshape(-1, *page.shape)
        return [_Plane(plane) for plane in planes], chosen.shape, chosen.axes
    return chosen.pages, chosen.shape, chosen.axes


class _Plane:
    """A plane of a memory map, read like a page."""

    def __init__(self, pixels: NDArray[Any]) -> None:
        self.shape = pixels.shape
        self.dtype = pixels.dtype
        self._pixels = pixels

    def asarray(self) -> NDArray[Any]:
        return np.asarray(self._pixels)


def _named(path: Path, shape: tuple[int, ...], letters: str, axes: str | None) -> str:
    if axes is not None:
        named = axes.lower()
        if len(named) != len(shape):
            raise ConfigError(
                f"{path} has {len(shape)} axes of lengths {shape}, not '{axes}'",
                field="recording.axes",
                fix="name each axis once, for example 'tyx'",
            )
    else:
        named = letters.lower()
        unnamed = [letter for letter in letters if letter in _UNNAMED]
        if len(unnamed) == 1 and "t" not in named:
            # A stack of unnamed pages is a film unless somebody says otherwise.
            named = named.replace(unnamed[0].lower(), "t")
    plain = len(set(named)) == len(named) and set("yx") <= set(named)
    if not plain or not set(named) <= set("tczyxs") or set("cs") <= set(named):
        raise ConfigError(
            f"the axes of {path} are unclear ('{named}', lengths {shape})",
            field="recording.axes",
            fix="name them in order with the letters t, c, z, y, x, for example 'tyxc'",
        )
    return named


def _plane_of(path: Path, pages: Any, shape: tuple[int, ...], letters: str) -> Any:
    inside = len(pages[0].shape)
    lead, within = letters[:-inside], letters[-inside:]
    lengths = shape[: len(lead)]

    def plane(t: int, c: int, z: int) -> NDArray[Any]:
        where: dict[str, Any] = {"t": t, "c": c, "z": z}
        at = tuple(where[axis] for axis in lead)
        number = int(np.ravel_multi_index(at, lengths)) if lead else 0
        try:
            pixels: NDArray[Any] = pages[number].asarray()
        except (AttributeError, OSError, ValueError, RuntimeError, zlib.error) as error:
            raise RecordError(
                f"{path}: page {number + 1} is damaged; copy the file again"
            ) from error
        pixels = pixels[tuple(where.get(axis, slice(None)) for axis in within)]
        rest = [axis for axis in within if axis in "yx"]
        turned: NDArray[Any] = pixels if rest == ["y", "x"] else pixels.T
        return turned

    return plane


def _facts(
    tiff: tifffile.TiffFile,
) -> tuple[str, float | None, float | None, tuple[str, ...]]:
    """Kind, interval in s, pixel in um and channel names, as far as the file says."""
    if tiff.is_ome:
        pixels = _ome_pixels(tiff)
        found = pixels.get("Channel", [])
        found = found if isinstance(found, list) else [found]
        interval = _quantity(pixels, "TimeIncrement", "s", _SECONDS)
        pixel = _quantity(pixels, "PhysicalSizeX", "µm", _UM)
        names = tuple(str(channel.get("Name", "")) for channel in found)
        return "ome-tiff", interval, pixel, names
    if tiff.is_imagej:
        facts = tiff.imagej_metadata or {}
        interval = float(facts.get("finterval") or 0.0) or None
        unit = _UM.get(str(facts.get("unit", "")).lower())
        per_unit = float(tiff.pages.first.resolution[0])
        return (
            "imagej-tiff",
            interval,
            unit / per_unit if unit and per_unit else None,
            (),
        )
    # The resolution of a plain TIFF is a printer's, not a microscope's.
    return "tiff", None, None, ()


def _ome_pixels(tiff: tifffile.TiffFile) -> dict[str, Any]:
    image = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]
    image = image[0] if isinstance(image, list) else image
    pixels: dict[str, Any] = image["Pixels"]
    return pixels


def _quantity(
    pixels: dict[str, Any], name: str, default: str, units: dict[str, float]
) -> float | None:
    factor = units.get(str(pixels.get(f"{name}Unit", default)).lower())
    value = pixels.get(name)
    return float(value) * factor if value and factor else None
