"""A camera thread hands its frames over whatever the disk does."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from record_helpers import make_frame, make_writer, observation, pixels

from smartscope.core import Pictures, RecordError
from smartscope.record import RunFolder, RunWriter, _journal, _store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Far above any hiccup of the machine, far below the waits that would be found.
AT_ONCE_S = 3.0


class Stall:
    """Something that hangs until it is freed."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.reached = threading.Event()

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any, **options: Any) -> Any:
            self.reached.set()
            self.free.wait(60)
            return real(*args, **options)

        return wait


@pytest.fixture
def stall() -> Iterator[Stall]:
    stalled = Stall()
    yield stalled
    stalled.free.set()


@pytest.fixture
def hanging_images(stall: Stall, monkeypatch: pytest.MonkeyPatch) -> Stall:
    monkeypatch.setattr(_store, "write_plane", stall.before(_store.write_plane))
    return stall


@pytest.fixture
def hanging_journal(stall: Stall, monkeypatch: pytest.MonkeyPatch) -> Stall:
    # Free at first: a run cannot begin without its first line.
    stall.free.set()
    monkeypatch.setattr(_journal, "write_all", stall.before(_journal.write_all))
    return stall


def hang(writer: RunWriter, stall: Stall) -> None:
    """Hang the disk, with one line on its way and none waiting behind it."""
    writer.journal.flush()
    stall.free.clear()
    stall.reached.clear()
    writer.note("note", {})
    assert stall.reached.wait(10)


def send(writer: RunWriter, first: int, count: int) -> tuple[int, str]:
    """Send frames as a pump would; how many were taken, and what refused the next."""
    for k in range(first, first + count):
        frame = make_frame(k, pixels(k), role="stream")
        start = time.monotonic()
        try:
            writer.frame(frame)
        except RecordError as error:
            assert time.monotonic() - start < AT_ONCE_S
            return k - first, str(error)
        assert time.monotonic() - start < AT_ONCE_S
    return count, ""


def in_background(act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(act())
        except RecordError as error:
            said.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, said


def close(writer: RunWriter, stall: Stall) -> RunFolder:
    stall.free.set()
    writer.close({})
    run = RunFolder(writer.path)
    assert run.verify() == ()
    return run


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_disk_that_hangs_fills_the_backlog_and_blocks_nobody(
    tmp_path: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(_store.Store, "write", stall.before(_store.Store.write))
    writer = make_writer(tmp_path, compression=compression, max_backlog_mb=0.1)
    taken, said = send(writer, 0, 1000)
    assert taken == 65  # of 1536 bytes
    assert str(writer.path) in said
    assert "record.max_backlog_mb: 0.1" in said
    for k in range(5):
        assert send(writer, 2000 + k, 1)[0] == 0
    assert writer.refused == 6
    assert writer.counts == (65, 6)
    assert [f.frame_id for f in close(writer, stall).frames] == list(range(65))


def test_a_future_that_never_comes_blocks_nobody(
    tmp_path: Path, hanging_images: Stall
) -> None:
    writer = make_writer(tmp_path, compression="none", max_backlog_mb=0.1)
    assert send(writer, 0, 1000)[0] == 65
    assert hanging_images.reached.wait(10)
    assert send(writer, 2000, 1)[0] == 0
    assert len(close(writer, hanging_images).frames) == 65


def test_frames_do_not_wait_for_labels_that_wait_for_the_disk(
    tmp_path: Path, hanging_images: Stall
) -> None:
    writer = make_writer(tmp_path, compression="none", max_backlog_mb=0.02)
    taken, _ = send(writer, 0, 1000)
    labels = np.ones((24, 32), np.int32)
    thread, said = in_background(lambda: writer.labels(taken - 1, labels))
    for k in range(20):
        assert send(writer, 2000 + k, 1)[0] == 0
    assert thread.is_alive()
    hanging_images.free.set()
    thread.join(30)
    assert said == [None]
    assert close(writer, hanging_images).labels(taken - 1) is not None


def test_frames_do_not_wait_for_an_array_that_is_being_created(
    tmp_path: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "create_image", stall.before(_store.create_image))
    writer = make_writer(tmp_path)
    thread, _ = in_background(lambda: writer.open_growing("stream", "Camera", (24, 32)))
    assert stall.reached.wait(10)
    assert send(writer, 0, 50) == (50, "")
    assert thread.is_alive()
    assert len(close(writer, stall).frames) == 50
    thread.join(30)


@pytest.mark.parametrize("images", [True, False])
def test_a_journal_that_hangs_refuses_frames_at_once_and_leaves_no_trace_of_them(
    tmp_path: Path,
    hanging_journal: Stall,
    monkeypatch: pytest.MonkeyPatch,
    images: bool,
) -> None:
    writer = make_writer(tmp_path, compression="none", images=images)
    send(writer, 0, 1)
    while writer.backlog_bytes:
        time.sleep(0.005)
    hang(writer, hanging_journal)
    monkeypatch.setattr(_journal, "_MAX_WAITING", 50)
    taken, said = send(writer, 1, 1000)
    assert taken == 50
    assert f"{writer.path / 'journal.jsonl'} does not keep up: 50 journal" in said
    waiting = [in_background(lambda: writer.note("note", {}))]
    if images:
        labels = np.ones((24, 32), np.int32)
        waiting.append(in_background(lambda: writer.labels(0, labels)))
    with pytest.raises(RecordError, match="50 journal entries wait"):
        writer.note("note", {}, wait=False)
    for k in range(20):
        assert send(writer, 2000 + k, 1)[0] == 0
    assert all(thread.is_alive() for thread, _ in waiting)
    hanging_journal.free.set()
    for thread, told in waiting:
        thread.join(30)
        assert told == [None]
    run = close(writer, hanging_journal)
    assert [frame.frame_id for frame in run.frames] == list(range(taken + 1))
    assert writer.counts == (taken + 1, 21)


def test_an_ask_does_not_wait_for_the_disk_either(
    tmp_path: Path, hanging_images: Stall
) -> None:
    writer = make_writer(tmp_path, compression="none", keep="asked")
    assert send(writer, 0, 30) == (30, "")
    start = time.monotonic()
    assert writer.keep(5.0, 60.0, action_id="0.0") == 30
    assert time.monotonic() - start < AT_ONCE_S
    assert hanging_images.reached.wait(10)
    assert send(writer, 30, 30) == (30, "")
    run = close(writer, hanging_images)
    assert [frame.at for frame in run.frames] == [(k,) for k in range(60)]


def test_in_a_window_a_full_backlog_refuses_the_frame_altogether(
    tmp_path: Path, hanging_images: Stall
) -> None:
    limits = {"max_backlog_mb": 0.02, "ring_mb": 0.02}
    writer = make_writer(tmp_path, compression="none", keep="asked", **limits)
    writer.keep(0.0, 60.0, action_id="0.0")
    taken, said = send(writer, 0, 1000)
    assert taken == 13
    assert "max_backlog_mb: 0.02" in said
    run = close(writer, hanging_images)
    assert [frame.frame_id for frame in run.frames] == list(range(13))


def test_what_waits_for_a_hanging_journal_holds_no_pixels(
    tmp_path: Path, hanging_journal: Stall
) -> None:
    writer = make_writer(tmp_path, images=False)
    hang(writer, hanging_journal)
    image, labels = pixels(0), np.ones((24, 32), np.int32)
    gone = [weakref.ref(image), weakref.ref(labels)]
    gc.disable()
    try:
        writer.frame(make_frame(0, image))
        seen = observation(0, (0,), labels=labels)
        writer.observed(seen)
        pictures = Pictures(raw={"FITC": image}, labels=labels)
        del image, labels, seen, pictures
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
    run = close(writer, hanging_journal)
    assert len(list(run.observations())) == 1


def test_pixels_are_let_go_as_soon_as_they_are_on_disk(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, compression="none")
    gone = []
    gc.disable()
    try:
        for k in range(70):
            image = pixels(k)
            gone.append(weakref.ref(image))
            writer.frame(make_frame(k, image, role="stream"))
        del image
        deadline = time.monotonic() + 20
        while any(ref() is not None for ref in gone) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [ref() for ref in gone] == [None] * 70
    finally:
        gc.enable()
    writer.close({})


def test_a_camera_is_not_blamed_for_a_bad_value_of_others(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.note("note", {"a": float("nan")})
    writer.journal.flush()
    assert send(writer, 0, 3) == (3, "")
    writer.note("external", {}, wait=False)
    with pytest.raises(RecordError, match=r"note\.a"):
        writer.note("note", {})
    writer.close({})
    assert len(RunFolder(writer.path).frames) == 3
