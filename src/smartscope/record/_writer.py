"""Writing one run: folder, journal, images, labels, tables."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import (
    NS_PER_S,
    Clock,
    ConfigError,
    Decision,
    Observation,
    Outcome,
    RealClock,
    RecordError,
    encode,
)
from smartscope.record._intake import Intake
from smartscope.record._journal import Journal
from smartscope.record._layout import (
    ImageLayout,
    check_disk_space,
    forecast_bytes,
    slug,
)
from smartscope.record._tables import rebuild_tables, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.config import RecordConfig
    from smartscope.core import Frame
    from smartscope.record._intake import RecordCounts
    from smartscope.record._store import Store

FORMAT = 1
_SEEN_FIELDS = tuple(
    f.name for f in dataclasses.fields(Observation) if f.name != "pictures"
)
_seen_values = attrgetter(*_SEEN_FIELDS)


class RunWriter:
    """Writes one run; made by `RunWriter.create`.

    `frame`, `labels`, `keep` and the entry methods may be called from any thread. They
    wait for the disk only when its backlog is full, and raise `RecordError` when the
    record can no longer be kept. No lock that `frame` takes is ever held while
    somebody waits, so a camera thread that asks for no waiting gets none.

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
        self._intake = Intake(path, config, self.journal, clock)
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
            _open(self._intake.plan(layout))

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
        name, store = self._intake.grow(
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
        shape and type. With ``record.keep: asked`` the pixels of a stream wait in
        memory for `keep`.

        Parameters
        ----------
        frame : Frame
            Its pixels must not change while anybody holds them; the record lets go of
            them as soon as they are on disk.
        array : str or None
            Name of the growing array instead of role and camera.
        wait_s : float
            How long to wait for room in a full backlog, wall time: 0 for a camera,
            which then waits for nothing at all; more for a source that can be slowed.

        Raises
        ------
        RecordError
            If the backlog is full or something could not be written; the frame was
            not recorded then, and is counted in `refused`.
        """
        self._intake.frame(frame, array, wait_s)

    def keep(self, before_s: float, after_s: float = 0.0, *, action_id: str) -> int:
        """Keep the frames around now, where ``record.keep: asked`` holds them back.

        Those exposed within the last `before_s` go from memory to disk, in order, and
        so will those exposed until `after_s` from now. A ``kept`` entry says what was
        asked and how much was no longer there; a ``placed`` entry for each frame says
        where it went.

        Parameters
        ----------
        before_s, after_s : float
            Run clock, not negative.
        action_id : str
            Who asked.

        Returns
        -------
        int
            Frames that were in memory; 0 if every frame is kept anyway.

        Raises
        ------
        RecordError
            If they do not fit into the backlog, or something could not be written.
        """
        now_ns = self._clock.now_ns()
        from_ns, to_ns = now_ns - _ns(before_s), now_ns + _ns(after_s)
        kept, missing_ns = self._intake.keep(from_ns, to_ns)
        if not self._config.images:
            missing_ns = now_ns - from_ns
        line = {
            "action_id": action_id,
            "frames": kept,
            "from_ns": from_ns,
            "to_ns": to_ns,
            "missing_s": missing_ns / NS_PER_S,
        }
        self.note("kept", line, t_ns=now_ns)
        return kept

    def labels(
        self,
        frame_ids: int | Sequence[int],
        labels: NDArray[np.int32],
        *,
        t_ns: int | None = None,
    ) -> None:
        """Record the label image that was made from these frames.

        It lies under the image of the last of them, at the same index without ``c``.
        Frames that had to be asked for (``record.keep: asked``) have none.

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
        now_ns = self._clock.now_ns() if t_ns is None else t_ns
        self._intake.labels(ids, image, now_ns)

    def observed(
        self,
        seen: Observation,
        stamps: Mapping[str, int] | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        """Journal what vision saw and record its label image.

        The tables are made from these entries. `stamps` are further run-clock times,
        for example ``received`` and ``seen``; `costs` is the wall time of models and
        their decoders, ms by name, which no decision is made from.
        """
        # Without the pictures, which must not wait for the disk with it.
        told = dict(zip(_SEEN_FIELDS, _seen_values(seen), strict=True))
        data: dict[str, Any] = {"observation": told, "stamps": stamps or {}}
        if costs:
            data["costs"] = {name: round(ms, 4) for name, ms in costs.items()}
        self.note("observation", data)
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
        wait: bool = True,
    ) -> None:
        """Journal an entry of any kind; `t_ns` is now on the run's clock if not given.

        See `Journal.write` for the rest.
        """
        now_ns = self._clock.now_ns() if t_ns is None else t_ns
        self.journal.write(kind, data, t_ns=now_ns, flush=flush, wait=wait)

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
        return self._intake.backlog_bytes

    @property
    def refused(self) -> int:
        """Frames that were not recorded because the record could not take them."""
        return self._intake.counts.dropped

    @property
    def counts(self) -> RecordCounts:
        """Frames taken and refused so far."""
        return self._intake.counts

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
            attempt(self._intake.close)
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
        self._intake.abort()
        self.journal.close()

    def _make_tables(self) -> None:
        self.journal.flush()
        rebuild_tables(self.path)


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


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
