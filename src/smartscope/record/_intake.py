"""Frames and labels on their way in: their line, their place, their queue."""

from __future__ import annotations

import dataclasses
import threading
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from smartscope.core import Clock, Frame, RecordError
from smartscope.record._places import Places
from smartscope.record._recorder import Job, Recorder
from smartscope.record._ring import Ring
from smartscope.record._store import Hands

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.config import RecordConfig
    from smartscope.record._journal import Journal
    from smartscope.record._layout import ImageLayout
    from smartscope.record._store import Store

_FIELDS = tuple(f.name for f in dataclasses.fields(Frame) if f.name != "pixels")
_LINE = (*_FIELDS, "shape", "dtype", "array", "at")
_values = attrgetter(*_FIELDS)

# A decision that comes late is better than a run that ends for want of labels.
_LABELS_WAIT_S = 5.0


class RecordCounts(NamedTuple):
    """Frames the record took (`delivered`) and refused (`dropped`)."""

    delivered: int
    dropped: int


class Intake:
    """What `RunWriter` does with pixels, under the one lock that a camera takes.

    Nobody ever waits while holding it, neither for the disk nor for room: whoever may
    wait does so before. Keep it that way.

    Parameters
    ----------
    run : Path
        Run folder.
    config : RecordConfig
    journal : Journal
    clock : Clock
    """

    def __init__(
        self, run: Path, config: RecordConfig, journal: Journal, clock: Clock
    ) -> None:
        self._config = config
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        hands = Hands()
        self._places = Places(run, config.compression, hands)
        asked = config.keep == "asked"
        self._ring = Ring(config.ring_s, config.ring_mb) if asked else None
        self._dtypes: dict[Any, str] = {}
        self._delivered = 0
        self._refused = 0
        self._recorder = Recorder(
            journal, run, config, clock.now_ns, self._place_kept, hands
        )

    @property
    def backlog_bytes(self) -> int:
        """Bytes of pixels that were to be written and are not on disk yet."""
        return self._recorder.backlog_bytes

    @property
    def counts(self) -> RecordCounts:
        """Frames taken and refused so far."""
        return RecordCounts(self._delivered, self._refused)

    def plan(self, layout: ImageLayout) -> Store:
        """See `Places.plan`."""
        with self._lock:
            return self._places.plan(layout)

    def grow(
        self,
        base: str,
        shape_yx: tuple[int, int],
        dtype: str,
        *,
        pixel_um: float | None,
        interval_s: float | None,
    ) -> tuple[str, Store]:
        """See `Places.grow`."""
        with self._lock:
            return self._places.grow(
                base, shape_yx, dtype, pixel_um=pixel_um, interval_s=interval_s
            )

    def frame(self, frame: Frame, array: str | None, wait_s: float) -> None:
        """See `RunWriter.frame`."""
        try:
            if wait_s:
                self._recorder.check_room(frame.pixels.nbytes, wait_s)
                self._journal.wait_for_room()
            with self._lock:
                # All checks come before the line: what is refused leaves no trace.
                if not self._config.images:
                    self._tell(frame, None, ())
                elif self._ring is not None and frame.role == "stream":
                    self._pass_ring(self._ring, frame, array)
                else:
                    if not wait_s:
                        self._recorder.check_room(frame.pixels.nbytes, 0.0)
                    self._queue(frame, array)
                self._delivered += 1
        except RecordError:
            with self._lock:
                self._refused += 1
            raise

    def keep(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """Hand over the frames of the ring since `from_ns`, and those until `to_ns`.

        Returns
        -------
        int
            Frames that were in the ring.
        int
            Time since `from_ns` of which the frames are gone, ns.

        Raises
        ------
        RecordError
            If they do not fit into the backlog; nothing is kept then.
        """
        if self._ring is None:
            return 0, 0
        with self._lock:
            count, n_bytes = self._ring.held_since(from_ns)
            self._recorder.check_room(n_bytes, 0.0)
            self._recorder.put(self._ring.take(count, (from_ns, to_ns)))
            return count, self._ring.lost_since(from_ns)

    def labels(
        self, frame_ids: tuple[int, ...], image: NDArray[np.int32], t_ns: int
    ) -> None:
        """See `RunWriter.labels`."""
        last = frame_ids[-1]
        with self._lock:
            if self._ring is not None and not self._places.knows(last):
                return
        self._recorder.check_room(image.nbytes, _LABELS_WAIT_S)
        self._journal.wait_for_room()
        with self._lock:
            place = self._places.take_labels(last, (image.shape[0], image.shape[1]))
            if place is None:
                raise RecordError(
                    f"labels for frame {last} came after it was forgotten; let "
                    "vision look at the latest frame only"
                )
            line = {"frame_ids": frame_ids, "array": place.name, "at": place.at}
            number = self._journal.write("labels", line, t_ns=t_ns, wait=False)
            self._recorder.put((Job(last, image, place.store, place.at, number),))

    def close(self) -> None:
        """Write what waits, trim the growing arrays, end the threads.

        Raises
        ------
        RecordError
            If a plane could not be written.
        """
        self._recorder.close(self._places.trim)

    def abort(self) -> None:
        """Forget what waits and end the threads."""
        self._recorder.abort()

    def _queue(self, frame: Frame, array: str | None) -> None:
        place = self._places.find(frame, array)
        line = self._tell(frame, place.name, place.at)
        self._places.occupy(place, frame.frame_id)
        job = Job(frame.frame_id, frame.pixels, place.store, place.at, line)
        self._recorder.put((job,))

    def _pass_ring(self, ring: Ring, frame: Frame, array: str | None) -> None:
        wanted = ring.arrive(frame.t_exposed_ns)
        if wanted:
            self._recorder.check_room(frame.pixels.nbytes, 0.0)
        self._tell(frame, None, ())
        job = Job(frame.frame_id, frame.pixels, frame=frame, array=array)
        if wanted:
            self._recorder.put((job,))
        else:
            ring.put(job)

    def _tell(self, frame: Frame, array: str | None, at: tuple[int, ...]) -> int:
        # Without the pixels, which must not wait for the line to be written.
        pixels = frame.pixels
        dtype = self._dtypes.get(pixels.dtype)
        if dtype is None:
            dtype = self._dtypes[pixels.dtype] = pixels.dtype.name
        values = (*_values(frame), pixels.shape, dtype, array, at)
        line = dict(zip(_LINE, values, strict=True))
        return self._journal.write("frame", line, t_ns=frame.t_published_ns, wait=False)

    def _place_kept(self, job: Job) -> None:
        """Find the place of a frame that was asked for, on the recorder thread."""
        frame = job.frame
        if frame is None:
            raise ValueError(f"frame {job.frame_id} cannot be placed twice")
        self._journal.wait_for_room()
        now_ns = self._clock.now_ns()
        with self._lock:
            place = self._places.find(frame, job.array)
            line = {"frame_id": job.frame_id, "array": place.name, "at": place.at}
            job.line = self._journal.write("placed", line, t_ns=now_ns, wait=False)
            self._places.occupy(place)
        job.store, job.at, job.frame = place.store, place.at, None
