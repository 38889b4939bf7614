"""Where each frame of a run goes: which image, which index in it."""

from __future__ import annotations

import dataclasses
import shutil
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from smartscope.core.geometry import UNCALIBRATED
from smartscope.record._layout import slug
from smartscope.record._ngff import ArraySpec, image_folder
from smartscope.record._store import Hands, Store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.core import Frame
    from smartscope.record._layout import ImageLayout

_REMEMBERED = 4096
_FIRST_LENGTH = 64

_Key = tuple[str, tuple[int, int], str]


class Place(NamedTuple):
    """One plane of one image: `name` is what the journal calls it.

    `taken` says which places of a planned image are used; None is a growing one.
    """

    name: str
    store: Store
    at: tuple[int, ...]
    taken: NDArray[np.bool_] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Planned:
    name: str
    layout: ImageLayout
    store: Store
    taken: NDArray[np.bool_]


class Places:
    """The images of a run and which of their places are used. Not thread-safe.

    Parameters
    ----------
    run : Path
        Run folder.
    compression : str
        ``none`` or ``zstd``.
    hands : Hands
        Who writes uncompressed planes.
    """

    def __init__(self, run: Path, compression: str, hands: Hands) -> None:
        self._hands = hands
        self._run = run
        self._compression = compression
        self._stores: dict[str, Store] = {}
        self._planned: dict[int, list[_Planned]] = {}
        self._growing: dict[_Key, str] = {}
        # The same, by what a frame has at hand.
        self._known: dict[Any, tuple[str, Store]] = {}
        self._next: dict[str, int] = {}
        self._labels: dict[str, Store] = {}
        self._recent: OrderedDict[int, Place] = OrderedDict()

    def plan(self, layout: ImageLayout) -> Store:
        """Add an image of the plan; the caller opens it."""
        name = self._free_name(layout.name)
        spec = ArraySpec(
            axes=layout.axes,
            shape=layout.shape,
            dtype=layout.dtype,
            compression=self._compression,
            name=layout.position_name or name,
            channels=layout.channels,
            scale={
                "t": layout.time_interval_s,
                "z": layout.z_step_um,
                "y": layout.pixel_um,
                "x": layout.pixel_um,
            },
            attributes={
                "growing": False,
                "position": layout.position,
                "camera": layout.camera,
            },
        )
        store = self._add(name, spec, growing=False)
        taken = np.zeros(tuple(layout.sizes.values()), dtype=np.bool_)
        planned = _Planned(name, layout, store, taken)
        self._planned.setdefault(layout.position, []).append(planned)
        return store

    def grow(
        self,
        base: str,
        shape_yx: tuple[int, int],
        dtype: str,
        *,
        pixel_um: float | None = None,
        interval_s: float | None = None,
    ) -> tuple[str, Store]:
        """Return the growing array of these frames, added when it is new."""
        # By the full name: long camera names may differ at their end only.
        key = (base, shape_yx, dtype)
        if key not in self._growing:
            kind = "" if dtype == "uint16" else f"-{dtype}"
            size = f"{shape_yx[0]}x{shape_yx[1]}{kind}"
            name = self._free_name(f"{slug(base, limit=24)}-{size}")
            spec = ArraySpec(
                axes="tyx",
                shape=(_FIRST_LENGTH, *shape_yx),
                dtype=dtype,
                compression=self._compression,
                name=name,
                scale={"t": interval_s, "y": pixel_um, "x": pixel_um},
                attributes={"growing": True},
            )
            self._add(name, spec, growing=True)
            self._growing[key] = name
            self._next[name] = 0
        name = self._growing[key]
        return name, self._stores[name]

    def find(self, frame: Frame, array: str | None) -> Place:
        """Place for `frame`: the same one until somebody occupies it."""
        place = self._in_plan(frame) if array is None else None
        if place is not None:
            return place
        pixels = frame.pixels
        key = (array, frame.role, frame.view.camera, pixels.shape, pixels.dtype)
        known = self._known.get(key)
        if known is None:
            calibrated = frame.pixel_map != UNCALIBRATED
            known = self._known[key] = self.grow(
                array or f"{frame.role}-{frame.view.camera}",
                frame.shape,
                pixels.dtype.name,
                pixel_um=frame.pixel_map.pixel_um if calibrated else None,
            )
        name, store = known
        return Place(name, store, (self._next[name],))

    def occupy(self, place: Place, frame_id: int | None = None) -> None:
        """Take a place that was found; `frame_id` is remembered for its labels."""
        if place.taken is None:
            self._next[place.name] += 1
        else:
            place.taken[place.at] = True
        if frame_id is None:
            return
        self._recent[frame_id] = place
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def knows(self, frame_id: int) -> bool:
        """Whether labels of this frame have a place."""
        return frame_id in self._recent

    def take_labels(self, frame_id: int, shape_yx: tuple[int, int]) -> Place | None:
        """Place of the labels of a frame; None if that was too long ago."""
        image = self._recent.get(frame_id)
        if image is None:
            return None
        axes, shape = image.store.spec.axes, image.store.spec.shape
        lead = [i for i, axis in enumerate(axes[:-2]) if axis != "c"]
        if image.name not in self._labels:
            spec = dataclasses.replace(
                image.store.spec,
                axes="".join(axes[i] for i in lead) + "yx",
                shape=(*(shape[i] for i in lead), *shape_yx),
                dtype="int32",
                name="objects",
                channels=(),
            )
            self._labels[image.name] = Store(
                image.store.image_folder,
                spec,
                self._hands,
                labels=True,
                growing=image.store.growing,
            )
        at = tuple(image.at[i] for i in lead)
        return Place(image.name, self._labels[image.name], at)

    def trim(self) -> None:
        """Cut growing arrays to what was used; called on the recorder thread."""
        for name, store in self._stores.items():
            if store.growing and not store.used:
                # Opened at warm-up and never needed; an image without a time point
                # is more than most readers can take.
                shutil.rmtree(store.image_folder, ignore_errors=True)
                continue
            store.finish()
            if name in self._labels:
                self._labels[name].finish(store.used)

    def _in_plan(self, frame: Frame) -> Place | None:
        if frame.role != "baseline":
            return None
        for planned in self._planned.get(frame.view.position, ()):
            at = planned.layout.place(frame)
            # A place is used once: a frame taken again is one more frame.
            if at is not None and not planned.taken[at]:
                return Place(planned.name, planned.store, at, planned.taken)
        return None

    def _add(self, name: str, spec: ArraySpec, *, growing: bool) -> Store:
        folder = image_folder(self._run, name)
        self._stores[name] = Store(
            folder, spec, self._hands, labels=False, growing=growing
        )
        return self._stores[name]

    def _free_name(self, wanted: str) -> str:
        # `slug` is lower case: names that differ in case only are one file on Windows.
        base = slug(wanted)
        name, k = base, 1
        while name in self._stores:
            k += 1
            name = f"{base}-{k}"
        return name
