"""Reading a run back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import (
    ConfigError,
    Decision,
    Frame,
    HardwareState,
    Observation,
    Outcome,
    PixelMap,
    RecordError,
    View,
    decode,
)
from smartscope.record._journal import read_journal
from smartscope.record._ngff import (
    LEVEL,
    SUFFIX,
    chunk_file,
    image_folder,
    label_folder,
    open_array,
)
from smartscope.record._tables import DERIVED, build_table, table_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN = (
    "t_exposed_ns",
    "exposed_uncertainty_ns",
    "t_received_ns",
    "t_published_ns",
    "image_number",
    "mixed",
    "moving",
    "planned_s",
)


class FrameRecord:
    """What the journal says about one frame; light, without pixels.

    Attributes
    ----------
    n : int
        Number of its journal entry.
    frame_id, role, cause, channel
        As on `Frame`.
    array : str or None
        Image that holds its pixels; None when pixels were not kept.
    at : tuple of int
        Index along the leading axes of that image.
    shape : (height, width)
        Image pixels.
    """

    __slots__ = ("_entry", "array", "at", "cause", "frame_id", "n", "role", "shape")

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = entry
        self.n: int = entry["n"]
        self.frame_id: int = entry["frame_id"]
        self.array: str | None = entry["array"]
        self.at: tuple[int, ...] = tuple(entry["at"])
        self.shape: tuple[int, ...] = tuple(entry["shape"])
        self.role: str = entry["role"]
        self.cause: str = entry["cause"]

    def move(self, array: str, at: Iterable[int]) -> None:
        """Say where its pixels went later than the frame was told of."""
        self.array, self.at = array, tuple(at)

    @property
    def index(self) -> Mapping[str, int]:
        """Index of the planned event, as useq has it."""
        return dict(self._entry["index"])

    @property
    def t_exposed_ns(self) -> int:
        """Exposure start, run clock."""
        return int(self._entry["t_exposed_ns"])

    @property
    def t_received_ns(self) -> int:
        """When its pixels were available, run clock."""
        return int(self._entry["t_received_ns"])

    @property
    def t_published_ns(self) -> int:
        """When it was handed to subscribers, run clock."""
        return int(self._entry["t_published_ns"])

    @property
    def planned_s(self) -> float | None:
        """Due time of the planned event, seconds since the start of the run."""
        due: float | None = self._entry["planned_s"]
        return due

    @property
    def mixed(self) -> bool:
        """The exposure overlaps a hardware change."""
        return bool(self._entry["mixed"])

    @property
    def moving(self) -> bool:
        """The stage moved during the exposure."""
        return bool(self._entry["moving"])

    @property
    def channel(self) -> str | None:
        """Channel preset it was taken in."""
        name: str | None = self._entry["state"]["channel"]
        return name

    @property
    def view(self) -> View:
        """Stage position and camera."""
        return decode(View, self._entry["view"])

    @property
    def state(self) -> HardwareState:
        """The rig during the exposure."""
        return decode(HardwareState, self._entry["state"])

    @property
    def pixel_map(self) -> PixelMap:
        """Image pixels to sample coordinates."""
        return decode(PixelMap, self._entry["pixel_map"])

    def to_frame(self, pixels: NDArray[Any]) -> Frame:
        """Return the `Frame` it was, with these pixels."""
        return Frame(
            frame_id=self.frame_id,
            pixels=pixels,
            view=self.view,
            role=self.role,
            index=self.index,
            cause=self.cause,
            state=self.state,
            pixel_map=self.pixel_map,
            group=tuple(self._entry["group"]),
            last_of_group=bool(self._entry["last_of_group"]),
            **{name: self._entry[name] for name in _PLAIN},
        )


class Images(Mapping[str, Any]):
    """The images of a run by name, each opened when first asked for.

    A value is a tensorstore: ``numpy.asarray(images["cells"][3, 0])`` reads a plane.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        found = (run / "images").glob(f"*{SUFFIX}")
        self._names = sorted(p.name.removesuffix(SUFFIX) for p in found)
        self._open: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._open:
            self._open[name] = open_array(image_folder(self._run, name) / LEVEL)
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class RunFolder:
    """A run on disk, finished or cut off; nothing is ever written into it.

    Parameters
    ----------
    path : path
        The run folder.

    Raises
    ------
    ConfigError
        If `path` is no run folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "journal.jsonl").is_file():
            what = "is no run folder" if self.path.exists() else "does not exist"
            raise ConfigError(
                f"{self.path} {what}",
                fix="name a folder that 'smartscope run' made; it holds journal.jsonl",
            )

    @cached_property
    def experiment_yaml(self) -> str:
        """The experiment as run, defaults filled in."""
        return self._text("experiment.yaml")

    @cached_property
    def rig_yaml(self) -> str:
        """The rig as run, defaults filled in."""
        return self._text("rig.yaml")

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The ``run`` entry: name, start, versions, hashes."""
        return next(self.entries("run"), {})

    @cached_property
    def end(self) -> Mapping[str, Any] | None:
        """The ``end`` entry; None for a run that crashed or is still going on."""
        return next(iter(deque(self.entries("end"), maxlen=1)), None)

    def arm_of(self, position: int) -> str:
        """Name of the arm that a stage position belongs to; "" is none."""
        arms: Mapping[str, list[int]] = self.header.get("arms") or {}
        return next((name for name, at in arms.items() if position in at), "")

    def entries(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Journal entries in order, all or of one kind, without a cut-off last line.

        Raises
        ------
        RecordError
            If the journal is damaged.
        """
        for entry in read_journal(self.path / "journal.jsonl"):
            if entry["kind"] != "torn" and kind in (None, entry["kind"]):
                yield entry

    @cached_property
    def frames(self) -> list[FrameRecord]:
        """All frames in the order of the journal."""
        found: list[FrameRecord] = []
        unplaced: dict[int, FrameRecord] = {}
        for entry in self.entries():
            if entry["kind"] == "frame":
                found.append(FrameRecord(entry))
                if entry["array"] is None:
                    unplaced[entry["frame_id"]] = found[-1]
            elif entry["kind"] == "placed" and entry["frame_id"] in unplaced:
                unplaced.pop(entry["frame_id"]).move(entry["array"], entry["at"])
        return found

    @cached_property
    def images(self) -> Mapping[str, Any]:
        """Images by name, opened when asked for."""
        return Images(self.path)

    @cached_property
    def decisions(self) -> list[Decision]:
        """All decisions in order."""
        found = self.entries("decision")
        return [decode(Decision, entry["decision"]) for entry in found]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """All outcomes in order."""
        return [decode(Outcome, entry["outcome"]) for entry in self.entries("outcome")]

    def observations(self) -> Iterator[Observation]:
        """Observations in order, without pictures."""
        for entry in self.entries("observation"):
            yield decode(Observation, entry["observation"])

    def has_image(self, frame_id: int) -> bool:
        """Whether the pixels of this frame are on disk; a crash may have lost them."""
        frame = self._by_id.get(frame_id)
        if frame is None or frame.array is None:
            return False
        folder = image_folder(self.path, frame.array) / LEVEL
        return chunk_file(folder, frame.at).is_file()

    def image(self, frame_id: int) -> NDArray[Any]:
        """Pixels of one frame, ``(y, x)``, as acquired.

        Raises
        ------
        RecordError
            If there is no such frame, or its pixels were not kept or are lost.
        """
        frame = self._by_id.get(frame_id)
        if frame is None:
            raise RecordError(f"{self.path} has no frame {frame_id}")
        if frame.array is None:
            raise RecordError(
                f"the pixels of frame {frame_id} were not kept (record.images: false, "
                "or record.keep: asked and nobody asked for them)"
            )
        if not self.has_image(frame_id):
            raise RecordError(
                f"the pixels of frame {frame_id} never reached the disk; the run was "
                "cut off while they waited"
            )
        return _read(self.images[frame.array], frame.at, f"frame {frame_id}")

    def frame(self, frame_id: int) -> Frame:
        """One frame as vision received it; raises as `image` does."""
        pixels = self.image(frame_id)
        return self._by_id[frame_id].to_frame(pixels)

    def labels(self, frame_id: int) -> NDArray[np.int32] | None:
        """Label image ``(y, x)`` made from this frame; None if there is none."""
        place = self._label_places.get(frame_id)
        if place is None:
            return None
        name, at = place
        folder = label_folder(self.path, name) / LEVEL
        if not chunk_file(folder, at).is_file():
            return None
        array = self._label_arrays.get(name)
        if array is None:
            array = self._label_arrays[name] = open_array(folder)
        return _read(array, at, f"labels of frame {frame_id}")

    def table(self, name: str) -> Any:
        """Table `name` as a pyarrow table; derived ones are made if they are missing.

        Raises
        ------
        RecordError
            If there is no such table, or its file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = table_file(self.path, name)
        if path.is_file():
            try:
                return pq.read_table(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise RecordError(
                    f"the table {path} is damaged; delete it, and it is made again "
                    "from the journal if it is one of " + ", ".join(DERIVED)
                ) from error
        if name not in DERIVED:
            raise RecordError(f"{self.path} has no table '{name}'")
        return build_table(self.path, name)

    def detections(self) -> Any:
        """Detections, one row for each object and observation (pyarrow table)."""
        return self.table("detections")

    def tracks(self) -> Any:
        """Tracks, one row for each track and observation (pyarrow table)."""
        return self.table("tracks")

    def events(self) -> Any:
        """Events, one row for each event and observation (pyarrow table)."""
        return self.table("events")

    def verify(self) -> tuple[str, ...]:
        """Check that journal, images, labels and tables agree, without writing.

        Returns
        -------
        tuple of str
            One sentence for each problem; empty for a whole run.
        """
        from smartscope.record._verify import verify_run

        return verify_run(self)

    @cached_property
    def _by_id(self) -> dict[int, FrameRecord]:
        return {frame.frame_id: frame for frame in self.frames}

    @cached_property
    def _label_places(self) -> dict[int, tuple[str, tuple[int, ...]]]:
        # Labels written again at the same place replaced those of earlier frames.
        newest = {(e["array"], tuple(e["at"])): e for e in self.entries("labels")}
        return {
            frame_id: place
            for place, entry in newest.items()
            for frame_id in entry["frame_ids"]
        }

    @cached_property
    def _label_arrays(self) -> dict[str, Any]:
        return {}

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except OSError as error:
            raise RecordError(
                f"{self.path / name} cannot be read; restore it from a copy of the run"
            ) from error


def _read(array: Any, at: tuple[int, ...], what: str) -> NDArray[Any]:
    try:
        pixels = np.asarray(array[at].read().result())
    except Exception as error:  # tensorstore raises by status, without a base class
        raise RecordError(
            f"{what} cannot be read, its file is damaged; restore it from a copy"
        ) from error
    pixels.flags.writeable = False
    return pixels
