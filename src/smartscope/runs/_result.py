"""What a run gives back to whoever started it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from smartscope.core import RecordError
from smartscope.record import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smartscope.control import Monitor
    from smartscope.record import RunWriter
    from smartscope.runs._ending import Ending


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    path : Path
        The run folder.
    outcome : str
        ``completed``; ``stopped`` (a policy, a budget or a person ended it in order);
        ``cancelled`` (through pymmcore-plus); ``failed``.
    message : str
        Why it ended, in a sentence.
    exit_code : int
        What the command line exits with, see ``docs/exit-codes.md``.
    frames, reactions : int
        Frames acquired, and how many of them reactions asked for.
    summary : mapping
        Counts, dose, latency percentiles: the journal's ``end`` entry.
    """

    path: Path
    outcome: str
    message: str
    exit_code: int
    frames: int
    reactions: int
    summary: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def folder(self) -> RunFolder:
        """The run on disk: images, tables, journal."""
        return RunFolder(self.path)

    @property
    def images(self) -> Mapping[str, Any]:
        """Arrays of the run by name, opened when asked for."""
        return self.folder.images

    @property
    def tracks(self) -> Any:
        """Tracks as a `pyarrow.Table`."""
        return self.folder.tracks()

    @property
    def detections(self) -> Any:
        """Detections as a `pyarrow.Table`."""
        return self.folder.detections()

    @property
    def events(self) -> Any:
        """Events as a `pyarrow.Table`."""
        return self.folder.events()


def close_record(
    writer: RunWriter, ending: Ending, monitor: Monitor, summary: Mapping[str, Any]
) -> RunResult:
    """Write the ``end`` entry, close the record, and say how the run went."""
    state = monitor.snapshot()
    whole = {
        "outcome": ending.outcome,
        "message": ending.message,
        "exit_code": ending.exit_code,
        "frames": state.frames,
        "reactions": state.reactions,
        **summary,
        "latency_ms": monitor.latencies(),
    }
    try:
        writer.close(whole)
    except RecordError as error:
        # What was written stays; the run cannot claim to be whole.
        writer.abort()
        if ending.outcome != "failed":
            ending = ending.after(error)
    if ending.trace:
        with contextlib.suppress(OSError):  # the message stands in the journal
            (writer.path / "traceback.txt").write_text(ending.trace, encoding="utf-8")
    monitor.set(phase="done")
    return RunResult(
        path=writer.path,
        outcome=ending.outcome,
        message=ending.message,
        exit_code=ending.exit_code,
        frames=state.frames,
        reactions=state.reactions,
        summary=whole,
    )
