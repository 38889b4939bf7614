"""One array on disk, and the threads that write its planes."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from smartscope.record._ngff import (
    LABELS,
    LEVEL,
    OBJECTS,
    ArraySpec,
    create_image,
    create_labels,
    resize,
    write_plane,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_FIRST_BLOCK = 64
_LARGEST_BLOCK = 1024
_HANDS = 4
_PATIENCE_S = 5.0

_Plane = tuple["Future[None]", "Path", tuple[int, ...], "NDArray[np.generic]"]


class Hands:
    """A few threads that write uncompressed planes side by side.

    One would do for the bytes; a new file can take a millisecond of waiting, on
    Windows and on network drives, and there is one for each plane.
    """

    def __init__(self) -> None:
        self._todo: SimpleQueue[_Plane | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def write(
        self, folder: Path, at: tuple[int, ...], pixels: NDArray[np.generic]
    ) -> Future[None]:
        """Have one plane written; see `write_plane`."""
        if len(self._threads) < _HANDS:
            # Daemons: a disk that hangs must not keep the process alive.
            name = f"smartscope-recorder-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        future: Future[None] = Future()
        self._todo.put((future, folder, at, pixels))
        return future

    def close(self) -> None:
        """End the threads, when what was given to them is written."""
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def _run(self) -> None:
        # Each in a call of its own, so that nothing here holds the last pixels.
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        plane = self._todo.get()
        if plane is None:
            return False
        future, folder, at, pixels = plane
        try:
            write_plane(folder, at, pixels)
        except Exception as error:  # raised to the recorder, which asks for it
            future.set_exception(error)
        else:
            future.set_result(None)
        return True


class Store:
    """One array on disk; all methods but `open` run on the recorder thread.

    Parameters
    ----------
    image_folder : Path
        ``images/NAME.ome.zarr``.
    spec : ArraySpec
    labels : bool
        The array is the label image under `image_folder`.
    growing : bool
        The first axis is extended in blocks and trimmed by `finish`.
    hands : Hands
        Who writes what is not compressed.
    """

    def __init__(
        self,
        image_folder: Path,
        spec: ArraySpec,
        hands: Hands,
        *,
        labels: bool,
        growing: bool,
    ) -> None:
        self._hands = hands
        self.image_folder = image_folder
        self.spec = spec
        self.labels = labels
        self.growing = growing
        self.used = 0
        self._length = spec.shape[0]
        self._array: Any = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Create it on disk unless that was done."""
        with self._lock:
            if self._array is None:
                create = create_labels if self.labels else create_image
                self._array = create(self.image_folder, self.spec)

    def write(self, at: tuple[int, ...], pixels: NDArray[np.generic]) -> Any:
        """Start writing one plane; return the future of its being on disk."""
        self.open()
        if self.growing:
            self.used = max(self.used, at[0] + 1)
            if at[0] >= self._length:
                block = min(max(self._length, _FIRST_BLOCK), _LARGEST_BLOCK)
                self._resize(max(at[0] + 1, self._length + block))
        if self.spec.compression == "none":
            return self._hands.write(self.folder / LEVEL, at, pixels)
        return self._array[at].write(pixels).commit

    def finish(self, length: int | None = None) -> None:
        """Trim a growing array to `length`, or to what was used."""
        if self.growing and self._array is not None:
            self._resize(self.used if length is None else length)

    @property
    def folder(self) -> Path:
        """Folder of the array's group."""
        here = self.image_folder
        return here / LABELS / OBJECTS if self.labels else here

    def _resize(self, length: int) -> None:
        if length != self._length:
            self._array = resize(self._array, length)
            self._length = length
