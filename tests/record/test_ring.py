"""Frames that wait in memory until a policy asks for them."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from record_helpers import make_frame, make_writer, observation, pixels

from smartscope.config import RecordConfig
from smartscope.core import NS_PER_MS, NS_PER_S, RecordError, VirtualClock
from smartscope.record import RunFolder, RunWriter, _store, open_recording

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FRAME_MB = 24 * 32 * 2 / 1e6


class Stream:
    """Ten frames a second of run time, each exposed 50 ms before it arrives."""

    def __init__(self, parent: Path, **config: Any) -> None:
        settings = {"keep": "asked", "ring_s": 100.0, "compression": "none"} | config
        self.writer: RunWriter = make_writer(parent, **settings)
        assert isinstance(self.writer._clock, VirtualClock)
        self.clock = self.writer._clock
        self.start_ns = self.clock.now_ns()
        self.n = 0

    def run(self, frames: int, **changes: Any) -> None:
        for _ in range(frames):
            self.clock.sleep_ns(100 * NS_PER_MS)
            exposed = self.clock.now_ns() - 50 * NS_PER_MS
            settings = {"role": "stream", "t_exposed_ns": exposed} | changes
            self.writer.frame(make_frame(self.n, pixels(self.n), **settings))
            self.n += 1

    def keep(self, before_s: float, after_s: float = 0.0) -> int:
        return self.writer.keep(before_s, after_s, action_id=f"{self.n}.0")

    def close(self) -> RunFolder:
        self.writer.close({})
        return RunFolder(self.writer.path)


def kept(run: RunFolder) -> list[int]:
    found = [frame for frame in run.frames if frame.array is not None]
    # One place each, in the order in which they were taken.
    assert [frame.at for frame in found] == [(k,) for k in range(len(found))]
    for frame in found:
        expected = pixels(frame.frame_id)
        np.testing.assert_array_equal(run.image(frame.frame_id), expected)
    return [frame.frame_id for frame in found]


def numbers(*spans: Iterable[int]) -> list[int]:
    return [k for span in spans for k in span]


def test_only_what_was_asked_for_is_on_disk(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.run(30)
    assert stream.keep(1.0) == 10  # frames 20..29 were exposed in the last second
    stream.run(30)
    run = stream.close()
    assert kept(run) == list(range(20, 30))
    assert len(run.frames) == 60
    assert run.verify() == ()
    (told,) = run.entries("kept")
    assert told["action_id"] == "30.0"
    assert told["frames"] == 10
    assert told["missing_s"] == 0.0
    assert told["to_ns"] - told["from_ns"] == NS_PER_S
    assert told["to_ns"] == told["t_ns"]
    placed = [entry["frame_id"] for entry in run.entries("placed")]
    assert placed == list(range(20, 30))
    with pytest.raises(RecordError, match=r"frame 3 were not kept .*record\.keep: ask"):
        run.image(3)
    # A frame's own line is the same whether it is kept or not.
    told_of = {entry["frame_id"]: entry["array"] for entry in run.entries("frame")}
    assert set(told_of.values()) == {None}


def test_other_programs_read_what_was_kept(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.run(20)
    stream.keep(0.5, 0.5)
    stream.run(20)
    run = stream.close()
    folder = run.path / "images" / "stream-camera-24x32.ome.zarr"
    array = np.asarray(zarr.open_group(folder, mode="r")["0"])
    assert array.shape == (10, 24, 32)
    for k in range(10):
        np.testing.assert_array_equal(array[k], pixels(15 + k))
    reader = open_recording(run.path)
    assert reader.n_times == 10
    np.testing.assert_array_equal(reader.read(9), pixels(24))


def test_frames_after_the_moment_are_kept_too(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.run(10)
    assert stream.keep(0.0, 0.5) == 0
    stream.run(10)
    run = stream.close()
    # Exposed 0.05 .. 0.45 s after the moment.
    assert kept(run) == [10, 11, 12, 13, 14]
    assert run.verify() == ()


def test_a_frame_on_its_way_at_the_moment_is_kept(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.run(5)
    stream.keep(0.2)
    late = stream.clock.now_ns() - 10 * NS_PER_MS
    old = stream.clock.now_ns() - 300 * NS_PER_MS
    stream.run(1, t_exposed_ns=old)
    stream.run(1, t_exposed_ns=late)
    assert kept(stream.close()) == [3, 4, 6]


@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        ([(20, 1.0, 1.0), (25, 1.0, 1.0)], [range(10, 35)]),
        ([(20, 0.5, 3.0), (22, 0.5, 0.1)], [range(15, 50)]),
        ([(20, 0.2, 0.0), (40, 0.2, 0.0)], [range(18, 20), range(38, 40)]),
        ([(20, 1.0, 0.0), (20, 1.0, 0.0)], [range(10, 20)]),
        # Later asks that reach further back: what they add comes behind.
        (
            [(20, 0.5, 0.2), (30, 2.0, 0.0)],
            [range(15, 22), range(10, 15), range(22, 30)],
        ),
        (
            [(20, 0.2, 1.0), (21, 1.5, 0.1)],
            [range(18, 21), range(6, 18), range(21, 30)],
        ),
    ],
)
def test_asks_overlap_and_no_frame_is_written_twice(
    tmp_path: Path, asks: list[tuple[int, float, float]], expected: list[range]
) -> None:
    stream = Stream(tmp_path)
    for at, before_s, after_s in asks:
        stream.run(at - stream.n)
        stream.keep(before_s, after_s)
    stream.run(60 - stream.n)
    run = stream.close()
    placed = list(run.entries("placed"))
    assert [entry["frame_id"] for entry in placed] == numbers(*expected)
    assert [entry["at"] for entry in placed] == [[k] for k in range(len(placed))]
    assert run.verify() == ()
    for entry in placed:
        found = run.image(entry["frame_id"])
        np.testing.assert_array_equal(found, pixels(entry["frame_id"]))


def test_the_ring_lets_go_by_age(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ring_s=1.0)
    stream.run(50)
    ring = stream.writer._intake._ring
    assert ring is not None
    assert ring.n_bytes == 11 * 24 * 32 * 2
    assert stream.keep(1.0) == 10
    assert ring.n_bytes == 24 * 32 * 2
    run = stream.close()
    assert kept(run) == list(range(40, 50))
    (told,) = run.entries("kept")
    assert told["missing_s"] == 0.0


def test_the_ring_lets_go_by_size_and_says_what_is_missing(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ring_mb=10 * FRAME_MB)
    for _ in range(50):
        stream.run(1)
        ring = stream.writer._intake._ring
        assert ring is not None
        assert ring.n_bytes <= 10 * FRAME_MB * 1e6
    assert stream.keep(2.0) == 10
    # What was kept is not missing: of these 2 s, 1.05 s are on disk or were before.
    stream.run(5)
    stream.keep(2.0)
    run = stream.close()
    assert kept(run) == list(range(40, 55))
    first, second = run.entries("kept")
    # Frames 30..39 are gone; the window begins halfway between 29 and 30.
    assert first["missing_s"] == pytest.approx(0.95)
    assert second["missing_s"] == pytest.approx(0.45)


def test_what_was_lost_between_kept_ones_is_missing(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ring_mb=5 * FRAME_MB)
    stream.run(20)
    stream.keep(0.5)  # 15..19
    stream.run(8)  # 20..22 are gone when 27 comes
    stream.keep(1.3)
    run = stream.close()
    assert kept(run) == numbers(range(15, 20), range(23, 28))
    *_, last = run.entries("kept")
    assert last["missing_s"] == pytest.approx(0.3)


def test_a_frame_larger_than_the_ring_is_not_held(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ring_mb=0.5 * FRAME_MB)
    stream.run(3)
    assert stream.keep(1.0) == 0
    assert kept(stream.close()) == []


def test_pixels_are_let_go_when_they_leave_the_ring_or_are_on_disk(
    tmp_path: Path,
) -> None:
    stream = Stream(tmp_path, ring_s=0.5)
    seen: list[weakref.ref[Any]] = []

    def send(frames: int) -> None:
        for _ in range(frames):
            stream.clock.sleep_ns(100 * NS_PER_MS)
            image = pixels(stream.n)
            seen.append(weakref.ref(image))
            t_ns = stream.clock.now_ns()
            frame = make_frame(stream.n, image, role="stream", t_exposed_ns=t_ns)
            stream.writer.frame(frame)
            stream.n += 1

    gc.disable()
    try:
        send(20)
        assert sum(ref() is not None for ref in seen) == 6
        stream.keep(0.5)
        _until(lambda: stream.writer.backlog_bytes == 0)
        _until(lambda: all(ref() is None for ref in seen))
    finally:
        gc.enable()
    stream.close()


def test_reactions_and_labels_beside_a_stream_that_waits(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    labels = np.ones((24, 32), np.int32)
    stream.run(3)
    stream.writer.observed(observation(0, (2,), labels=labels))
    stream.run(2, role="reaction")
    stream.writer.observed(observation(1, (4,), labels=labels))
    stream.keep(0.4)
    run = stream.close()
    assert [f.frame_id for f in run.frames if f.array] == [1, 2, 3, 4]
    assert run.labels(2) is None
    assert run.labels(4) is not None
    assert run.verify() == ()


def test_where_everything_is_kept_an_ask_is_only_told(tmp_path: Path) -> None:
    stream = Stream(tmp_path, keep="all")
    stream.run(10)
    assert stream.keep(0.5, 1.0) == 0
    stream.run(5)
    run = stream.close()
    assert kept(run) == list(range(15))
    (told,) = run.entries("kept")
    assert (told["frames"], told["missing_s"]) == (0, 0.0)
    assert list(run.entries("placed")) == []


def test_without_images_all_that_was_asked_for_is_missing(tmp_path: Path) -> None:
    stream = Stream(tmp_path, keep="all", images=False)
    stream.run(10)
    assert stream.keep(0.5) == 0
    (told,) = stream.close().entries("kept")
    assert told["missing_s"] == pytest.approx(0.5)


def test_an_ask_that_does_not_fit_the_backlog_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    real = _store.Store.write

    def write(store: Any, at: Any, image: Any) -> Any:
        free.wait(30)
        return real(store, at, image)

    monkeypatch.setattr(_store.Store, "write", write)
    limit = 10.5 * FRAME_MB
    stream = Stream(tmp_path, ring_mb=limit, max_backlog_mb=limit)
    stream.run(10)
    assert stream.keep(0.6) == 6
    stream.run(5)
    with pytest.raises(RecordError, match=r"keep up: 0 MB wait \(record.max_backlog"):
        stream.keep(0.5)
    # The window of the first ask is closed, so the camera goes on undisturbed.
    stream.run(2)
    assert stream.writer.counts == (17, 0)
    free.set()
    run = stream.close()
    assert kept(run) == list(range(4, 10))
    assert run.verify() == ()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"images": False}, "without images"),
        ({"ring_mb": 600.0}, "600 MB, and only 512 MB"),
        ({"ring_s": 0.0}, "ring_s"),
    ],
)
def test_a_ring_that_cannot_work_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecordConfig(keep="asked", **config)


def _until(true: Any) -> None:
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("waited for ten seconds in vain")
