"""Recordings in Zarr: OME-Zarr 0.4 and 0.5, and our own runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_S, ConfigError, RecordError
from smartscope.record._folder import RunFolder
from smartscope.record._ngff import image_folder, read_attributes
from smartscope.record._recording import AXES, RecordingReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_UM = {
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "angstrom": 1e-4,
    "millimeter": 1e3,
    "meter": 1e6,
}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "minute": 60.0, "hour": 3600.0}
_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether the folder is a Zarr group or array of version 2 or 3."""
    return any((path / name).is_file() for name in _FILES)


def open_zarr(path: Path, image: str | None) -> RecordingReader:
    """Open an OME-Zarr image.

    Raises
    ------
    ConfigError
        If there is none, or it is damaged.
    """
    ome, version = _metadata(path)
    if "plate" in ome:
        raise ConfigError(
            f"{path} is a plate",
            fix="name the image of one well, for example A/1/0 inside it",
        )
    if "multiscales" not in ome and ("bioformats2raw.layout" in ome or image):
        # Several images as sub-folders 0, 1, ...
        path = path / (image or "0")
        ome, version = _metadata(path)
    try:
        scales = ome["multiscales"][0]
        axes = [_axis(axis) for axis in scales["axes"]]
        dataset = scales["datasets"][0]
        names = "".join(name for name, _ in axes)
        if not set(names) <= set(AXES) or names[-2:] != "yx":
            raise ValueError(f"its axes are {names}")
        scale = _scale(scales, dataset, len(axes))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is Zarr, but its OME-Zarr metadata cannot be read ({error})",
            fix="name an OME-Zarr image of version 0.4 or 0.5 with axes tczyx",
        ) from error
    array = _open(path / dataset["path"], version)
    if array.rank != len(axes):
        raise ConfigError(
            f"{path} has an array of {array.rank} axes, its metadata name {names}",
            fix="write the image again",
        )
    units = dict(zip(names, (unit for _, unit in axes), strict=True))
    steps = dict(zip(names, scale, strict=True))
    return RecordingReader(
        path,
        "ome-zarr",
        sizes=dict(zip(names, array.shape, strict=True)),
        dtype=array.dtype.numpy_dtype,
        plane=_plane_of(array, names, path),
        close=_nothing,
        channels=_channels(ome),
        interval_s=_known(steps.get("t"), _SECONDS.get(units.get("t", ""))),
        pixel_um=_known(steps["x"], _UM.get(units["x"])),
    )


def open_run(path: Path, image: str | None) -> RecordingReader:
    """Open one image of a smartscope run; the journal says which planes exist.

    Raises
    ------
    ConfigError
        If the run has no such image.
    """
    run = RunFolder(path)
    frames = [frame for frame in run.frames if run.has_image(frame.frame_id)]
    name = image or (frames[0].array if frames else None)
    mine = [frame for frame in frames if frame.array == name]
    if name is None or not mine or name not in run.images:
        known = ", ".join(run.images) or "none"
        raise ConfigError(
            f"the run {path} has no image {image or 'with frames'}",
            fix=f"choose one of its images: {known}",
        )
    reader = open_zarr(image_folder(path, name), None)
    axes = read_attributes(image_folder(path, name))["ome"]["multiscales"][0]["axes"]
    lead = [axis["name"] for axis in axes[:-2]]
    at: dict[tuple[int, ...], int] = {}
    exposed: dict[int, int] = {}
    for frame in mine:
        index = dict(zip(lead, frame.at, strict=True))
        key = tuple(index.get(axis, 0) for axis in "tcz")
        at[key] = frame.frame_id
        exposed.setdefault(key[0], frame.t_exposed_ns)
    n_times = max(exposed) + 1
    whole = len(exposed) == n_times
    start = min(exposed.values())
    times = [(exposed[t] - start) / NS_PER_S for t in sorted(exposed)]
    interval = float(np.median(np.diff(times))) if len(times) > 1 else None
    return RecordingReader(
        path,
        "run",
        sizes={**reader.sizes, "t": n_times},
        dtype=reader.dtype,
        plane=lambda t, c, z: run.image(at[(t, c, z)]),
        close=_nothing,
        channels=reader.channels,
        interval_s=reader.interval_s or interval or None,
        pixel_um=reader.pixel_um,
        times_s=tuple(times) if whole else None,
        present=lambda t, c, z: (t, c, z) in at,
    )


def _metadata(path: Path) -> tuple[dict[str, Any], int]:
    """Return the OME metadata of a group and the Zarr version."""
    if (path / "zarr.json").is_file():
        ome = read_attributes(path).get("ome", {})
        return (ome if isinstance(ome, dict) else {}), 3
    try:
        found = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is Zarr without OME metadata",
            fix="name the folder of an OME-Zarr image, with 'multiscales' in it",
        ) from error
    return (found if isinstance(found, dict) else {}), 2


def _axis(axis: Any) -> tuple[str, str]:
    return str(axis["name"]).lower(), str(axis.get("unit", ""))


def _scale(scales: Any, dataset: Any, rank: int) -> list[float]:
    total = [1.0] * rank
    for holder in (dataset, scales):
        for step in holder.get("coordinateTransformations", ()):
            if step["type"] == "scale":
                total = [a * b for a, b in zip(total, step["scale"], strict=True)]
    return total


def _channels(ome: Mapping[str, Any]) -> tuple[str, ...]:
    found = ome.get("omero", {}).get("channels", ())
    return tuple(str(channel.get("label", "")) for channel in found)


def _known(step: float | None, unit: float | None) -> float | None:
    return None if step is None or unit is None else step * unit


def _open(folder: Path, version: int) -> Any:
    import tensorstore as ts

    driver = "zarr3" if version == 3 else "zarr"
    store = {"driver": "file", "path": folder.resolve().as_posix()}
    try:
        return ts.open(
            {"driver": driver, "kvstore": store}, read=True, open=True
        ).result()
    except Exception as error:  # tensorstore raises by status, without a base class
        raise ConfigError(
            f"{folder} is no readable Zarr array", fix="copy the recording again"
        ) from error


def _plane_of(array: Any, names: str, path: Path) -> Any:
    def plane(t: int, c: int, z: int) -> NDArray[Any]:
        where = {"t": t, "c": c, "z": z}
        at = tuple(where[axis] for axis in names[:-2])
        try:
            return np.asarray(array[at].read().result())
        except Exception as error:  # as in `_open`
            raise RecordError(
                f"{path}: plane t={t}, c={c}, z={z} is damaged; copy the "
                "recording again"
            ) from error

    return plane


def _nothing() -> None:
    pass
