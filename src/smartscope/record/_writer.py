"""Writing one run: folder, journal, images, labels, tables."""

from __future__ import annotations

import dataclasses
import json
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import (
    Clock,
    ConfigError,
    Decision,
    Frame,
    Observation,
    Outcome,
    RealClock,
    RecordError,
    encode,
)
from smartscope.record._journal import Journal
from smartscope.record._layout import (
    ImageLayout,
    check_disk_space,
    forecast_bytes,
    slug,
)
from smartscope.record._places import Places
from smartscope.record._recorder import Recorder
from smartscope.record._tables import rebuild_tables, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.config import RecordConfig
    from smartscope.record._recorder import Store

FORMAT = 1
_FRAME_FIELDS = tuple(f.name for f in dataclasses.fields(Frame) if f.name != "pixels")

# A decision that comes late is better than a run that ends for want of labels.
_LABELS_WAIT_S = 5.0


class RunWriter:
    """Writes one run; made by `RunWriter.create`.

    `frame`, `labels` and the entry methods may be called from any thread. They wait for
    the disk only when its backlog is full, and raise `RecordError` when the record can
    no longer be kept.

    Attributes
    ----------
    path : Path
        The run folder.
    journal : Journal
        For entries of any kind.
    """

    def __init__(self, path: Path, config: RecordConfig, clock: Clock) -> None:
        self.path = path
        self.journal = Journal(path / "journal.jsonl")
        self._config = config
        self._clock = clock
        self._recorder = Recorder(self.journal, path, config, clock.now_ns)
        self._lock = threading.Lock()
        self._places = Places(path, config.compression)
        self._closed = False

    @classmethod
    def create(
        cls,
        parent: Path,
        name: str,
        *,
        experiment_yaml: str,
        rig_yaml: str,
        header: Mapping[str, Any],
        config: RecordConfig,
        layouts: Sequence[ImageLayout] = (),
        clock: Clock | None = None,
        started: datetime | None = None,
    ) -> RunWriter:
        """Make the run folder and open the journal.

        Parameters
        ----------
        parent : Path
            Made if absent. A new folder ``YYYY-MM-DDTHH-MM-SS_name`` appears in it; an
            existing one is never written into.
        name : str
            Name of the experiment, shortened for the folder.
        experiment_yaml, rig_yaml : str
            As run, defaults filled in.
        header : mapping
            Versions, hashes, calibration, host: into the ``run`` entry.
        config : RecordConfig
        layouts : sequence of ImageLayout
            Opened at once, as by `plan_images`.
        clock : Clock or None
            The run's clock; None is real time.
        started : datetime or None
            Local wall-clock time in the folder name; None is now.

        Raises
        ------
        ConfigError
            If the folder cannot be made or the disk is too small.
        """
        check_disk_space(parent, forecast_bytes(layouts), config.min_free_mb)
        started = started or datetime.now().astimezone()
        path = _make_folder(parent, f"{started:%Y-%m-%dT%H-%M-%S}_{slug(name)}")
        for file, text in (("experiment", experiment_yaml), ("rig", rig_yaml)):
            target = path / f"{file}.yaml"
            target.write_text(text, encoding="utf-8", newline="\n")
        writer = cls(path, config, clock or RealClock())
        first = {"name": name, "started": started.isoformat(), **header}
        writer.note("run", first | {"format": FORMAT}, flush=True)
        writer.plan_images(layouts)
        return writer

    # -- opening ------------------------------------------------------------------

    def plan_images(self, layouts: Sequence[ImageLayout]) -> None:
        """Create the images of the plan, before the first exposure.

        Raises
        ------
        ConfigError
            If they may not fit on the disk.
        RecordError
            If they cannot be created.
        """
        if not self._config.images:
            return
        check_disk_space(self.path, forecast_bytes(layouts), self._config.min_free_mb)
        for layout in layouts:
            with self._lock:
                store = self._places.plan(layout)
            _open(store)

    def open_growing(
        self,
        role: str,
        camera: str,
        shape_yx: tuple[int, int],
        dtype: str = "uint16",
        *,
        pixel_um: float | None = None,
        interval_s: float | None = None,
    ) -> str:
        """Create the growing ``(t, y, x)`` array of a stream or of reactions.

        Opened at warm-up it costs the first frame nothing; otherwise it is opened when
        the first frame needs it. Returns its name.

        Raises
        ------
        RecordError
            If it cannot be created.
        """
        with self._lock:
            name, store = self._places.grow(
                f"{role}-{camera}",
                shape_yx,
                np.dtype(dtype).name,
                pixel_um=pixel_um,
                interval_s=interval_s,
            )
        if self._config.images:
            _open(store)
        return name

    # -- while running ------------------------------------------------------------

    def frame(
        self, frame: Frame, *, array: str | None = None, wait_s: float = 0.0
    ) -> None:
        """Record one frame: its journal line, then its pixels.

        A planned frame goes to its place in the image of its position, if it fits and
        the place is free; every other one into the growing array of its role, camera,
        shape and type.

        Parameters
        ----------
        frame : Frame
            Its pixels must not change until they are on disk.
        array : str or None
            Name of the growing array instead of role and camera.
        wait_s : float
            How long to wait for room in a full backlog, wall time: 0 for a camera,
            more for a source that can be slowed.

        Raises
        ------
        RecordError
            If the backlog is full or something could not be written; the frame was
            not recorded then.
        """
        line = {field: getattr(frame, field) for field in _FRAME_FIELDS}
        line |= {"shape": frame.shape, "dtype": frame.pixels.dtype.name}
        line |= {"array": None, "at": ()}
        place = None
        if self._config.images:
            self._recorder.check_room(frame.pixels.nbytes, wait_s)
        with self._lock:
            if self._config.images:
                place = self._places.take(frame, array)
                line |= {"array": place.name, "at": place.at}
            self.journal.write("frame", line, t_ns=frame.t_published_ns)
            if place is not None:
                self._recorder.put(place.store, place.at, frame.pixels, frame.frame_id)

    def labels(
        self,
        frame_ids: int | Sequence[int],
        labels: NDArray[np.int32],
        *,
        t_ns: int | None = None,
    ) -> None:
        """Record the label image that was made from these frames.

        It lies under the image of the last of them, at the same index without ``c``.

        Parameters
        ----------
        frame_ids : int or sequence of int
            As `Observation.frame_ids`.
        labels : ndarray (y, x) int32
            0 is background.

        Raises
        ------
        RecordError
            As for `frame`; or if the frame was not among the last 4096.
        """
        if not (self._config.images and self._config.labels):
            return
        ids = (frame_ids,) if isinstance(frame_ids, int) else tuple(frame_ids)
        image = np.asarray(labels, dtype=np.int32)
        # Not under the lock: frames must not wait for labels that wait.
        self._recorder.check_room(image.nbytes, _LABELS_WAIT_S)
        with self._lock:
            place = self._places.take_labels(ids[-1], (image.shape[0], image.shape[1]))
            if place is None:
                raise RecordError(
                    f"labels for frame {ids[-1]} came after it was forgotten; let "
                    "vision look at the latest frame only"
                )
            line = {"frame_ids": ids, "array": place.name, "at": place.at}
            now_ns = self._clock.now_ns() if t_ns is None else t_ns
            self.journal.write("labels", line, t_ns=now_ns)
            self._recorder.put(place.store, place.at, image, ids[-1])

    def observed(
        self, seen: Observation, stamps: Mapping[str, int] | None = None
    ) -> None:
        """Journal what vision saw and record its label image.

        The tables are made from these entries. `stamps` are further run-clock times,
        for example ``received`` and ``seen``.
        """
        self.note("observation", {"observation": seen, "stamps": stamps or {}})
        if seen.pictures.labels is not None and seen.frame_ids:
            self.labels(seen.frame_ids, seen.pictures.labels)

    def decided(self, decision: Decision) -> None:
        """Journal what a policy answered."""
        self.note("decision", {"decision": decision})

    def outcome(self, outcome: Outcome) -> None:
        """Journal what became of an action."""
        self.note("outcome", {"outcome": outcome})

    def note(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        t_ns: int | None = None,
        flush: bool = False,
    ) -> None:
        """Journal an entry of any kind; `t_ns` is now on the run's clock if not given.

        See `Journal.write` for the rest.
        """
        now_ns = self._clock.now_ns() if t_ns is None else t_ns
        self.journal.write(kind, data, t_ns=now_ns, flush=flush)

    def write_table(self, name: str, columns: Mapping[str, Any]) -> Path:
        """Write a whole table, for example the ``truth`` of a simulated run.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        return write_table(self.path, name, columns)

    @property
    def backlog_bytes(self) -> int:
        """Bytes of pixels that have not reached the disk yet."""
        return self._recorder.backlog_bytes

    # -- ending -------------------------------------------------------------------

    def close(self, end: Mapping[str, Any], *, t_ns: int | None = None) -> None:
        """Write what waits, trim the arrays, make the tables, write the ``end`` entry.

        A second call does nothing. As much as possible is written even after a
        failure; the ``end`` entry then says so under ``record``.

        Raises
        ------
        RecordError
            If anything of the run could not be written.
        """
        if self._closed:
            return
        self._closed = True
        problems: list[str] = []

        def attempt(act: Callable[[], None]) -> None:
            try:
                act()
            except RecordError as error:
                problems.append(str(error))

        def write_end() -> None:
            failed = {"record": problems[0]} if problems else {}
            self.note("end", {**last, **failed}, t_ns=t_ns)

        last, problem = _writable(end)
        problems += problem
        try:
            attempt(lambda: self._recorder.close(self._places.trim))
            attempt(self._make_tables)
        finally:
            attempt(self.journal.check)
            attempt(write_end)
            attempt(self.journal.close)
        if problems:
            raise RecordError(problems[0])

    def abort(self) -> None:
        """Let go of files and threads at once, as a crash would; no ``end`` entry."""
        if self._closed:
            return
        self._closed = True
        self._recorder.abort()
        self.journal.close()

    def _make_tables(self) -> None:
        self.journal.flush()
        rebuild_tables(self.path)


def _writable(end: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    # A number that JSON cannot hold must not make a whole run look cut off.
    try:
        json.dumps(encode(end), allow_nan=False)
    except (TypeError, ValueError) as error:
        return {}, [f"the summary of the run could not be written: {error}"]
    return end, []


def _open(store: Store) -> None:
    try:
        store.open()
    except (OSError, ValueError) as error:
        raise RecordError(
            f"the image {store.image_folder} cannot be created ({error}); check the "
            "disk, or choose another folder with 'record: path'"
        ) from error


def _make_folder(parent: Path, name: str) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for k in range(1, 1000):
            path = parent / (name if k == 1 else f"{name}-{k}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{parent} cannot be a folder for runs, there is a file in the way",
            field="record.path",
            fix="choose another folder",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"no run folder can be made in {parent} ({error.strerror or error})",
            field="record.path",
            fix="choose a folder where you may write",
        ) from error
    raise ConfigError(
        f"{parent} has a thousand runs called {name}",
        field="record.path",
        fix="choose another folder",
    )
