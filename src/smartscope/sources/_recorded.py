"""Frames of a recording, in its own time, as if a microscope were taking them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from smartscope.core import (
    NS_PER_S,
    ConfigError,
    Frame,
    HardwareError,
    HardwareState,
    PixelMap,
    View,
)
from smartscope.record import RecordingReader, RunFolder, open_recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.config import Recording

CAMERA = "recording"


class RecordedFrames(Protocol):
    """Frames in order; their times count from the first one."""

    count: int
    shape: tuple[int, int]
    dtype: str
    pixel_um: float
    sizes: dict[str, int] | None
    """Lengths of t and z where the recording is one regular image, else None."""

    def frames(self, start_ns: int) -> Iterator[Frame]:
        """Yield frames; the first is exposed at `start_ns`."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def recorded_frames(config: Recording, path: Path, channel: str) -> RecordedFrames:
    """Open the recording of a rig file.

    Parameters
    ----------
    config : Recording
    path : Path
        Of the recording, resolved.
    channel : str
        Channel preset its frames claim to be taken in.

    Raises
    ------
    ConfigError
        If it is no recording, or does not say what is needed.
    """
    if (path / "journal.jsonl").is_file() and not config.mosaic:
        return OwnRun(RunFolder(path))
    try:
        reader = open_recording(path, config.axes)
    except ConfigError as error:
        raise ConfigError(
            error.problem, field="recording.path", fix=error.fix
        ) from error
    try:
        if config.channel >= reader.sizes["c"]:
            raise ConfigError(
                f"the recording has {reader.sizes['c']} channel(s), counted from 0",
                field="recording.channel",
                fix=f"use 0 to {reader.sizes['c'] - 1}",
            )
        kind = Mosaic if config.mosaic else Film
        return kind(reader, config, channel)
    except ConfigError:
        reader.close()
        raise


class OwnRun:
    """Frames of a smartscope run with the state they were taken in."""

    sizes: dict[str, int] | None = None

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        # Of a run that was killed, only what reached the disk can be shown again.
        self._records = [r for r in folder.frames if folder.has_image(r.frame_id)]
        records = self._records
        if not records:
            raise ConfigError(
                f"{folder.path} holds no frames",
                fix="name a run that acquired some",
            )
        first = folder.frame(records[0].frame_id)
        self.count = len(records)
        self.shape = first.shape
        self.dtype = first.pixels.dtype.name
        self.pixel_um = first.pixel_map.pixel_um

    def frames(self, start_ns: int) -> Iterator[Frame]:
        """Yield frames; see `RecordedFrames.frames`."""
        records = self._records
        shift = start_ns - records[0].t_exposed_ns
        for record in records:
            frame = self._folder.frame(record.frame_id)
            yield replace(
                frame,
                t_exposed_ns=frame.t_exposed_ns + shift,
                t_received_ns=frame.t_received_ns + shift,
                t_published_ns=frame.t_published_ns + shift,
            )

    def close(self) -> None:
        """Nothing is held open."""


class Film:
    """Time points, and planes where there are some, of one regular image."""

    def __init__(
        self, reader: RecordingReader, config: Recording, channel: str
    ) -> None:
        self._reader = reader
        self._c = config.channel
        self._channel = channel
        self._interval_s = config.interval_s or reader.interval_s
        if self._interval_s is None and reader.times_s is None and reader.n_times > 1:
            raise ConfigError(
                "the recording does not say how far apart its time points are",
                field="recording.interval_s",
                fix="add it, in seconds",
            )
        pixel_um = config.pixel_um or reader.pixel_um
        if pixel_um is None:
            raise ConfigError(
                "the recording does not say how large its pixels are",
                field="recording.pixel_um",
                fix="add it, in um",
            )
        self.pixel_um = float(pixel_um)
        self.sizes: dict[str, int] | None = {"t": reader.n_times}
        if reader.sizes["z"] > 1:
            self.sizes["z"] = reader.sizes["z"]
        self.count = reader.n_times * reader.sizes["z"]
        self.shape = (reader.sizes["y"], reader.sizes["x"])
        self.dtype = reader.dtype.name
        self._state = HardwareState(x_um=0.0, y_um=0.0, channel=channel)

    def frames(self, start_ns: int) -> Iterator[Frame]:
        """Yield frames; see `RecordedFrames.frames`."""
        planes = self._reader.sizes["z"]
        for t in range(self._reader.n_times):
            at_ns = start_ns + int(self._time_s(t) * NS_PER_S)
            for z in range(planes):
                if not self._reader.has(t, self._c, z):
                    continue
                index = {"t": t, "z": z} if planes > 1 else {"t": t}
                yield Frame(
                    frame_id=t * planes + z,
                    pixels=self._pixels(t, z),
                    view=View(0, CAMERA),
                    index=index,
                    t_exposed_ns=at_ns,
                    t_received_ns=at_ns,
                    t_published_ns=at_ns,
                    state=self._state,
                    pixel_map=self._map(),
                    planned_s=self._time_s(t),
                    group=("plan", t),
                    last_of_group=z == planes - 1,
                )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _time_s(self, t: int) -> float:
        if self._reader.times_s is not None:
            return self._reader.times_s[t]
        return t * (self._interval_s or 0.0)

    def _pixels(self, t: int, z: int) -> NDArray[np.uint16]:
        return self._reader.read(t, self._c, z)

    def _map(self) -> PixelMap:
        height, width = self.shape
        um = self.pixel_um
        return PixelMap(((um, 0.0), (0.0, um)), ((width - 1) / 2, (height - 1) / 2))


class Mosaic(Film):
    """A field of view that moves in a recorded mosaic: a stage made of pixels.

    The middle of the mosaic is stage position (0, 0); moves land on whole pixels, and
    the stage says where it really is.
    """

    def __init__(
        self, reader: RecordingReader, config: Recording, channel: str
    ) -> None:
        super().__init__(reader, config, channel)
        self._whole = self.shape
        self.shape = config.view_px
        for side, whole, view in zip("yx", self._whole, self.shape, strict=True):
            if view > whole:
                raise ConfigError(
                    f"the mosaic is {whole} pixels along {side}, the view {view}",
                    field="recording.view_px",
                    fix="make the view smaller",
                )
        self._corner = tuple(
            (whole - view) // 2
            for whole, view in zip(self._whole, self.shape, strict=True)
        )
        self._home = self._corner
        self._settle()

    @property
    def stage_um(self) -> tuple[float, float]:
        """Where the stage stands, ``(x_um, y_um)``."""
        y, x = (
            (at - home) * self.pixel_um
            for at, home in zip(self._corner, self._home, strict=True)
        )
        return x, y

    def move_to(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Move the field of view; returns where it stands then.

        Raises
        ------
        HardwareError
            If the mosaic ends before.
        """
        wanted = tuple(
            home + round(um / self.pixel_um)
            for home, um in zip(self._home, (y_um, x_um), strict=True)
        )
        for at, whole, view in zip(wanted, self._whole, self.shape, strict=True):
            if not 0 <= at <= whole - view:
                raise HardwareError(
                    f"the mosaic ends before {x_um:.1f}, {y_um:.1f} um",
                    device=CAMERA,
                )
        self._corner = wanted
        self._settle()
        return self.stage_um

    def _settle(self) -> None:
        x_um, y_um = self.stage_um
        self._state = HardwareState(x_um=x_um, y_um=y_um, channel=self._channel)

    def _pixels(self, t: int, z: int) -> NDArray[np.uint16]:
        y, x = self._corner
        height, width = self.shape
        view = self._reader.read(t, self._c, z)[y : y + height, x : x + width].copy()
        view.setflags(write=False)
        return view
