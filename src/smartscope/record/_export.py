"""Images of a run for programs that do not read OME-Zarr."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from smartscope.core import NS_PER_S, ConfigError, RecordError
from smartscope.record._folder import RunFolder
from smartscope.record._ngff import image_folder, read_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from smartscope.record._folder import FrameRecord


def export_ome_tiff(
    run: RunFolder | str | Path, out_path: str | Path, image: str | None = None
) -> Path:
    """Write one image of a run as OME-TIFF.

    Planes that were not recorded are black. The exposure start of each plane is its
    ``DeltaT``, seconds since the first.

    Parameters
    ----------
    run : RunFolder or path
    out_path : path
        A file that does not exist yet, ``*.ome.tif``.
    image : str or None
        Name of the image; may be left out when the run has one only.

    Raises
    ------
    ConfigError
        If the image is not clear, or the file exists or cannot be written.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    out_path = Path(out_path)
    name = _choose(run, image)
    if out_path.exists():
        raise ConfigError(f"{out_path} exists", fix="choose a name that is free")
    ome = read_attributes(image_folder(run.path, name))["ome"]
    frames = {frame.at: frame for frame in run.frames if frame.array == name}
    shape = tuple(run.images[name].shape)
    if ome["multiscales"][0]["axes"][0]["name"] == "t" and len(shape) > 2:
        # Not the planned length: what was never reached is no part of the film.
        shape = (max((at[0] for at in frames), default=0) + 1, *shape[1:])
    places = list(np.ndindex(*shape[:-2]))
    unfinished = out_path.with_name(out_path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            tifffile.imwrite(
                file,
                _planes(run, frames, places, shape),
                shape=shape,
                dtype=run.images[name].dtype.numpy_dtype,
                ome=True,
                photometric="minisblack",
                compression="zlib",
                metadata=_metadata(ome, frames, places),
            )
        os.replace(unfinished, out_path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(
            f"{out_path} cannot be written ({error.strerror or error})",
            fix="choose another place",
        ) from error
    except RecordError:
        unfinished.unlink(missing_ok=True)
        raise
    return out_path


def _choose(run: RunFolder, image: str | None) -> str:
    names = list(run.images)
    if image is None and len(names) == 1:
        return names[0]
    if image in names:
        return str(image)
    what = f"no image '{image}'" if image else f"{len(names)} images"
    known = ", ".join(names) or "none"
    raise ConfigError(f"the run {run.path} has {what}", fix=f"name one of: {known}")


def _planes(
    run: RunFolder,
    frames: dict[tuple[int, ...], FrameRecord],
    places: list[tuple[int, ...]],
    shape: tuple[int, ...],
) -> Iterator[NDArray[Any]]:
    for at in places:
        if at in frames:
            yield run.image(frames[at].frame_id)
        else:
            name = next(iter(frames.values())).array
            dtype = run.images[str(name)].dtype.numpy_dtype
            yield np.zeros(shape[-2:], dtype)


def _metadata(
    ome: dict[str, Any],
    frames: dict[tuple[int, ...], FrameRecord],
    places: list[tuple[int, ...]],
) -> dict[str, Any]:
    scales = ome["multiscales"][0]
    axes = scales["axes"]
    steps = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
    known = {
        axis["name"]: step
        for axis, step in zip(axes, steps, strict=True)
        if "unit" in axis
    }
    out: dict[str, Any] = {"axes": "".join(axis["name"] for axis in axes).upper()}
    for axis, key in (("x", "X"), ("y", "Y"), ("z", "Z")):
        if axis in known:
            out[f"PhysicalSize{key}"] = known[axis]
            out[f"PhysicalSize{key}Unit"] = "µm"
    if "t" in known:
        out["TimeIncrement"], out["TimeIncrementUnit"] = known["t"], "s"
    if "omero" in ome:
        labels = [channel["label"] for channel in ome["omero"]["channels"]]
        out["Channel"] = {"Name": labels}
    start = min((frame.t_exposed_ns for frame in frames.values()), default=0)
    delta = [
        (frames[at].t_exposed_ns - start) / NS_PER_S if at in frames else 0.0
        for at in places
    ]
    out["Plane"] = {"DeltaT": delta, "DeltaTUnit": ["s"] * len(delta)}
    return out
