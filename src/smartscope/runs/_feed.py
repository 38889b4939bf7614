"""Where the frames of a live run go, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.control import Hub
from smartscope.core import NS_PER_S, RecordError, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.control import Engine, Monitor, RunState
    from smartscope.core import Frame
    from smartscope.record import RunWriter
    from smartscope.sources import Source

_SLOW_SOURCE_WAITS_S = 30.0


class Feed:
    """Records a frame, then hands it to all subscribers. Waits for nobody.

    Parameters
    ----------
    hub : Hub
    state : RunState
        Told when the record can no longer be kept, or a reader that must not lose
        anything does not read.
    monitor : Monitor
    simulated : bool
        The source can wait for the disk; a camera cannot.

    Attributes
    ----------
    writer : RunWriter or None
        The record, once it is open.
    each : function or None
        Called after each frame; for what must go in step with a simulated source.
    """

    def __init__(self, state: RunState, monitor: Monitor, *, simulated: bool) -> None:
        self.hub = Hub(self._full, self._left_out)
        self.writer: RunWriter | None = None
        self.each: Callable[[Frame], None] | None = None
        self.start_ns = 0
        self._state = state
        self._monitor = monitor
        self._waits_s = _SLOW_SOURCE_WAITS_S if simulated else 0.0

    def publish(self, frame: Frame) -> None:
        """Take a frame from the thread that acquires."""
        writer = self._need_writer()
        try:
            writer.frame(frame, wait_s=self._waits_s)
        except RecordError as error:
            self._state.fail(error)
        self._monitor.framed(frame, (frame.t_exposed_ns - self.start_ns) / NS_PER_S)
        # Last, because whoever takes the frame needs the interpreter that we hold.
        self.hub.publish(frame)
        if self.each is not None:
            self.each(frame)

    def note(self, kind: str, data: Mapping[str, Any], *, flush: bool = False) -> None:
        """Write a journal entry; a journal that is full ends the run.

        Raises
        ------
        RecordError
            Only with `flush`, for those who may not go on without the line.
        """
        if kind == "pause":
            self._monitor.set(phase="paused" if data["paused"] else "running")
        if self.writer is None:
            return
        try:
            self.writer.note(kind, data, flush=flush, wait=flush)
        except RecordError as error:
            self._state.fail(error)
            if flush:
                raise

    def note_subscribers(self, engine: Engine, source: Source) -> None:
        """Write what each subscriber got, and what became of the frames."""
        record = self._need_writer().counts
        buffers, misses = source.buffers
        streamer = engine.streamer
        lost = streamer.lost if streamer is not None else {True: 0, False: 0}
        self.note(
            "subscribers",
            {
                "subscribers": [
                    {
                        "name": "record",
                        "appetite": "lossless",
                        "delivered": record.delivered,
                        "skipped": 0,
                        "dropped": record.dropped,
                    },
                    *self.hub.counts(),
                ],
                "pool": {"buffers": buffers, "misses": misses},
                "frames": {
                    "published": engine.framing.frames,
                    "lost_certain": lost[True],
                    "lost_possible": lost[False],
                },
            },
        )

    def _need_writer(self) -> RunWriter:
        if self.writer is None:
            raise RuntimeError("the record is not open yet")
        return self.writer

    def _left_out(self, name: str, frame: Frame) -> None:
        # Others look at what they like; what vision did not see has to be explained.
        if name == "vision":
            self.note("skipped", {"frame_id": frame.frame_id, "by": name})

    def _full(self, name: str) -> None:
        self._state.fail(
            StreamError(
                f"'{name}' wants every frame and does not read fast enough; give it a "
                "longer backlog, or let it take the latest"
            )
        )
