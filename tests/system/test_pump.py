"""The pump goes on whoever is held up, and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import film_helpers
import numpy as np
import pytest
from film_helpers import (
    ACTS,
    PUMP,
    THREADS,
    Witness,
    faults,
    film,
    gaps,
    gone,
    image_numbers,
    is_dark,
    ours,
    reader,
    told_of,
    until,
    visit,
)

from smartscope.control import Appetite, Monitor, Subscription
from smartscope.core import Frame, Outcome, View
from smartscope.runs._feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from smartscope.testing import FaultyCore

STAGE = """
from film_helpers import visit
from smartscope.vision import Stage, StageConfig


class Visiting(Stage[StageConfig, None]):
    Config = StageConfig

    def process(self, work, state):
        visit("stage")
"""


@pytest.fixture(autouse=True)
def visits() -> Iterator[None]:
    """Forget what other tests wanted; nobody of ours may be left when it is over."""
    THREADS.clear()
    ACTS.clear()
    yield
    gone()


@pytest.fixture
def stage(tmp_path: Path) -> str:
    (tmp_path / "visiting.py").write_text(STAGE)
    return str(tmp_path / "visiting.py")


@pytest.fixture
def visiting(policy: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return policy("from film_helpers import visit\nvisit('policy')")


@pytest.fixture
def witness() -> Witness:
    return Witness()


class Stall:
    """Blocks whoever comes, once `armed`, until it is let go."""

    def __init__(self) -> None:
        self.armed = False
        self.blocked = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> None:
        if self.armed:
            self.blocked.set()
            assert self.over.wait(film_helpers.PATIENCE_S)


# ---------------------------------------------------------- each of them held up


def test_a_stage_that_sleeps(core, tmp_path, stage, witness) -> None:
    ACTS["stage"] = lambda: witness.during(lambda: time.sleep(0.2))
    result = film(
        core, tmp_path, frames=60, vision=[stage], subscriptions=(witness.frames,)
    )
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["frames"]["published"] == 60
    assert gaps(result) == []
    # The first ones are warm-up, the last ones see the end of the stream.
    assert max(witness.gains) > 8
    assert sum(witness.gains) > 30
    vision = reader(told, "vision")
    assert vision["skipped"] > 30 and vision["dropped"] == 0
    assert vision["skipped"] == sum(1 for _ in result.folder.entries("skipped"))
    assert faults(result) == []


def test_a_policy_that_raises_may_be_passed_over(core, tmp_path, policy) -> None:
    result = film(
        core,
        tmp_path,
        frames=30,
        policies=[policy("raise ValueError('mine')", "broken")],
        errors={"policy": "skip"},
    )
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["frames"]["published"] == 30
    assert gaps(result) == []
    found = faults(result)
    assert len(found) == reader(told, "vision")["delivered"] > 1
    assert {where for where, _ in found} == {"policy"}
    assert all("broken" in words and "mine" in words for _, words in found)


def test_a_policy_that_raises_ends_the_run(core, tmp_path, policy) -> None:
    body = "if seen.number == 3:\n    raise ValueError('mine')"
    result = film(core, tmp_path, duration_s=60, policies=[policy(body, "broken")])
    assert (result.outcome, result.exit_code) == ("failed", 8)
    assert "broken" in result.message and "mine" in result.message
    told_of(result)
    assert gaps(result) == []
    assert result.folder.verify() == ()
    assert is_dark(core)


def test_a_policy_that_never_returns(
    core, tmp_path, visiting, witness, monkeypatch
) -> None:
    monkeypatch.setattr("smartscope.runs._live._PATIENCE_S", 0.3)
    never = threading.Event()
    ACTS["policy"] = lambda: never.wait(film_helpers.PATIENCE_S)
    result = film(
        core,
        tmp_path,
        frames=40,
        policies=[visiting],
        subscriptions=(witness.frames,),
    )
    assert (result.outcome, result.exit_code) == ("failed", 8)
    assert "did not come back" in result.message
    told = told_of(result)
    assert told["frames"]["published"] == witness.published == 40
    assert gaps(result) == []
    assert reader(told, "vision")["delivered"] == 1
    assert result.folder.verify() == ()
    assert is_dark(core)
    assert list(ours()) == ["smartscope-controller"], "left behind, as the message says"
    never.set()
    gone()


def stalled_disk(monkeypatch, stall: Stall) -> None:
    """Planes whose writing does not end before the stall does."""
    from smartscope.record._store import Store

    write = Store.write

    class Late:
        def __init__(self, future: Any) -> None:
            self._future = future

        def done(self) -> bool:
            return not stall.armed or (stall.over.is_set() and self._future.done())

        def result(self) -> Any:
            stall()
            return self._future.result()

    monkeypatch.setattr(Store, "write", lambda self, *args: Late(write(self, *args)))


def stalled_journal(monkeypatch, stall: Stall) -> None:
    from smartscope.record import _journal

    write_all = _journal.write_all

    def late(file: Any, data: bytes) -> None:
        stall()
        write_all(file, data)

    monkeypatch.setattr(_journal, "write_all", late)


STALLS = [stalled_disk, stalled_journal]


@pytest.mark.parametrize("stalled", STALLS)
def test_a_disk_that_stalls_for_a_while(
    stalled, core, tmp_path, witness, monkeypatch
) -> None:
    stall = Stall()
    stalled(monkeypatch, stall)

    def meanwhile() -> None:
        until(lambda: witness.published >= 5, "the stream does not begin")
        stall.armed = True
        assert stall.blocked.wait(film_helpers.PATIENCE_S)
        before = witness.published
        witness.during(
            lambda: until(lambda: witness.published >= before + 30, "no frames come")
        )
        stall.over.set()

    helper = threading.Thread(target=meanwhile)
    helper.start()
    result = film(
        core,
        tmp_path,
        frames=80,
        subscriptions=(witness.frames,),
        record={"max_backlog_s": 30},
    )
    helper.join()
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    assert witness.gains[0] >= 30
    assert told_of(result)["frames"]["published"] == 80
    assert gaps(result) == []
    assert result.folder.verify() == ()


@pytest.mark.parametrize("stalled", STALLS)
def test_a_disk_that_stalls_for_good_ends_the_run_and_is_blamed(
    stalled, core, tmp_path, witness, monkeypatch
) -> None:
    stall = Stall()
    stalled(monkeypatch, stall)
    before: list[int] = []

    def arm() -> None:
        if witness.published == 5:
            stall.armed = True

    core.watch("popNextImageMD", lambda *args: arm())
    # The disk comes back when the camera has been stopped, so that the run can close.
    core.watch("stopSequenceAcquisition", lambda *args: before.append(stall.armed))
    core.watch("stopSequenceAcquisition", lambda *args: stall.over.set())
    result = film(
        core,
        tmp_path,
        duration_s=60,
        subscriptions=(witness.frames,),
        record={"max_backlog_s": 0.4},
    )
    assert before[0], "the stall came too late to prove anything"
    assert (result.outcome, result.exit_code) == ("failed", 6)
    assert "max_backlog_s" in result.message and "disk" in result.message
    # 0.4 s of 10 ms, all of them published while nothing reached the disk.
    assert witness.published > 20
    told = told_of(result)
    # The camera lost nothing, so the numbers that are missing among those published
    # are the frames that the record refused: each of them counted, and no other.
    assert told["frames"]["lost_certain"] == told["frames"]["lost_possible"] == 0
    numbers = image_numbers(result)
    missing = set(range(told["frames"]["published"])).symmetric_difference(numbers)
    refused = reader(told, "record")["dropped"]
    assert len(missing) == refused >= 1
    assert min(missing) > 5
    # Those refused at the end leave no gap, as nothing was recorded after them.
    at_the_end = sum(number > numbers[-1] for number in missing)
    assert sum(gaps(result)) == refused - at_the_end
    assert is_dark(core)


@pytest.mark.parametrize(
    ("appetite", "counts"),
    [
        (Appetite("latest"), {"skipped": 49, "dropped": 0, "waiting": 1}),
        (Appetite("bounded", 7), {"skipped": 0, "dropped": 43, "waiting": 7}),
    ],
    ids=str,
)
def test_a_viewer_that_never_reads(core, tmp_path, appetite, counts) -> None:
    viewer = Subscription("viewer", appetite)
    result = film(core, tmp_path, frames=50, subscriptions=(viewer,))
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["frames"]["published"] == 50
    assert gaps(result) == []
    found = reader(told, "viewer")
    assert found["appetite"] == str(appetite)
    assert {way: found[way] for way in counts} == counts
    assert found["delivered"] == 0
    # What a viewer leaves out is nobody's fault and needs no line a frame.
    assert all(e["by"] == "vision" for e in result.folder.entries("skipped"))


def test_a_lossless_viewer_that_never_reads_ends_the_run(core, tmp_path) -> None:
    viewer = Subscription("stitcher", Appetite("lossless", 20))
    result = film(core, tmp_path, duration_s=60, subscriptions=(viewer,))
    assert (result.outcome, result.exit_code) == ("failed", 5)
    assert "'stitcher'" in result.message
    told = told_of(result)
    found = reader(told, "stitcher")
    assert found["waiting"] == 20 and found["dropped"] >= 1
    assert gaps(result) == []
    assert result.folder.verify() == ()
    assert is_dark(core)


def test_a_listener_that_sleeps(core, tmp_path, witness) -> None:
    slept: list[int] = []

    def listen(*frame: Any) -> None:
        visit("listener")
        if not slept:
            slept.append(1)
            witness.during(lambda: time.sleep(1.0))

    core.mda.events.frameReady.connect(listen)
    result = film(core, tmp_path, frames=100, subscriptions=(witness.frames,))
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    assert told_of(result)["frames"]["published"] == 100
    assert gaps(result) == []
    assert witness.gains[0] > 40
    assert THREADS["listener"] and PUMP not in THREADS["listener"]


def test_all_of_them_at_once(
    core, tmp_path, stage, policy, witness, monkeypatch
) -> None:
    stall = Stall()
    stalled_disk(monkeypatch, stall)
    ACTS["stage"] = lambda: time.sleep(0.2)
    core.mda.events.frameReady.connect(lambda *frame: time.sleep(0.5))

    def hold_up() -> None:
        if witness.published == 10:
            stall.armed = True
        elif witness.published == 90:
            stall.over.set()

    core.watch("popNextImageMD", lambda *args: hold_up())
    viewers = (
        witness.frames,
        Subscription("newest", Appetite("latest")),
        Subscription("few", Appetite("bounded", 3)),
    )
    result = film(
        core,
        tmp_path,
        frames=100,
        vision=[stage],
        policies=[policy("raise ValueError('mine')", "broken")],
        errors={"policy": "skip"},
        subscriptions=viewers,
        record={"max_backlog_s": 30},
    )
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["frames"]["published"] == 100
    assert gaps(result) == []
    assert stall.blocked.is_set(), "the disk was not waited for"
    assert {where for where, _ in faults(result)} == {"policy"}
    assert reader(told, "newest")["skipped"] == 99
    assert reader(told, "few")["dropped"] == 97
    assert reader(told, "vision")["skipped"] > 50
    assert result.folder.verify() == ()
    assert is_dark(core)


# ------------------------------------------------------------- whose threads they are

# Told while the camera rests and no light is on, so nobody is held up by it.
SETTINGS = ("roiSet", "configSet")


def test_the_pump_runs_no_user_code(core, tmp_path, stage, policy) -> None:
    """All that others may hook into runs, and none of it on the pump's thread."""
    body = """
from film_helpers import visit
visit('policy')
if seen.number == 2:
    yield SetRoi(reason="smaller", x_px=0, y_px=0, width_px=32, height_px=32)
if seen.number == 5:
    yield Acquire(reason="look", frames=5)
if seen.number % 3 == 1:
    yield SetPower(reason="p", line="488", power_percent=10.0 + seen.number % 30)
if seen.number == 30:
    yield Stop(reason="seen enough")
"""
    runs, device = core.mda.events, core.events
    runs.frameReady.connect(lambda *args: visit("frameReady"))
    for name in (
        "sequenceAcquisitionStarting",
        "sequenceAcquisitionStarted",
        "continuousSequenceAcquisitionStarting",
        "continuousSequenceAcquisitionStarted",
        "sequenceAcquisitionStopped",
        "propertyChanged",
        "exposureChanged",
        "imageSnapped",
    ):
        getattr(device, name).connect(lambda *args, _name=name: visit(_name))
    lit: list[str] = []

    def in_the_dark(name: str) -> None:
        visit(name)
        if core.isSequenceRunning() or core.getShutterOpen("Shutter"):
            lit.append(name)

    for name in SETTINGS:
        getattr(device, name).connect(lambda *args, _name=name: in_the_dark(_name))
    viewer = Subscription("viewer", Appetite("bounded", 10))

    def look() -> None:
        for _ in viewer:
            visit("viewer")

    looker = threading.Thread(target=look, name="looker")
    looker.start()
    pops: set[str] = set()
    name_of = threading.current_thread
    core.watch("popNextImageMD", lambda *args: pops.add(name_of().name))
    result = film(
        core,
        tmp_path,
        duration_s=60,
        vision=[stage],
        policies=[policy(body)],
        subscriptions=(viewer,),
    )
    looker.join()
    assert (result.outcome, result.exit_code) == ("stopped", 0), result.message
    told_of(result)
    assert pops == {PUMP}, "nobody else takes frames from the camera"
    expected = {"stage", "policy", "frameReady", "viewer", "propertyChanged"}
    assert expected <= THREADS.keys()
    on_pump = {who for who, names in THREADS.items() if PUMP in names}
    assert on_pump <= set(SETTINGS)
    assert lit == []
    assert len(list(result.folder.entries("restart"))) == 2


def test_a_listener_that_raises_does_not_disturb_the_camera(core, tmp_path) -> None:
    def broken(*args: Any) -> None:
        raise ValueError("somebody else's bug")

    core.events.sequenceAcquisitionStarted.connect(broken)
    core.events.sequenceAcquisitionStopped.connect(broken)
    core.events.propertyChanged.connect(broken)
    result = film(core, tmp_path, frames=10)
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    assert told_of(result)["frames"]["published"] == 10
    assert is_dark(core)


def test_a_screen_that_sorts_holds_no_lock_of_the_pump(monkeypatch) -> None:
    from smartscope.control import _monitor

    monitor = Monitor()
    percentile, asked, sorting = _monitor._percentile, [], []

    class Watched(float):
        """A time that tells who compares it: whoever sorts."""

        def __lt__(self, other: float) -> bool:
            sorting.append(monitor._lock.locked())
            return float(self) < float(other)

    def unlocked(*args: Any) -> float:
        asked.append(monitor._lock.locked())
        return percentile(*args)

    monkeypatch.setattr(_monitor, "_percentile", unlocked)
    frame = Frame(frame_id=0, pixels=np.zeros((2, 2), np.uint16), view=View(0, "C"))
    monitor.framed(frame, 0.0)
    monitor.acted(Outcome(action_id="0.0", policy="p", status="applied"), 0)
    (samples,) = monitor._samples.values()
    samples.extend(Watched(ms) for ms in (3.0, 1.0, 2.0))
    snapshot = monitor.snapshot()
    assert set(snapshot.latency_ms) == {"frame to applied"}
    assert sorting and not any(sorting)
    assert asked and not any(asked)


def test_a_failure_on_the_pump_leaves_no_camera_running(
    core, tmp_path, monkeypatch
) -> None:
    """A defect of ours: still the camera is stopped, before anybody else cleans up."""
    publish, published = Feed.publish, []

    def broken(feed: Feed, frame: Frame) -> None:
        published.append(frame.frame_id)
        if len(published) == 5:
            raise ZeroDivisionError("ours")
        publish(feed, frame)

    monkeypatch.setattr(Feed, "publish", broken)
    stops: list[str] = []
    core.watch(
        "stopSequenceAcquisition",
        lambda *args: stops.append(threading.current_thread().name),
    )
    result = film(core, tmp_path, duration_s=60)
    assert (result.outcome, result.exit_code) == ("failed", 70)
    assert "ours" in result.message
    assert stops == [PUMP]
    assert published == list(range(5))
    assert is_dark(core)


def test_the_time_of_a_stream_begins_when_all_is_set(core, tmp_path) -> None:
    slow = [0.6]
    core.inject("setProperty", lambda *args: time.sleep(slow.pop() if slow else 0))
    result = film(core, tmp_path, duration_s=0.4)
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    assert not slow
    assert result.frames > 5


# ------------------------------------------------------------------------ accounting


def held_up_once(core: FaultyCore, after: int, hold_up: Callable[[], object]) -> None:
    """Hold the pump up where it takes a frame, once, after so many."""
    taken = 0

    def count(*args: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == after:
            hold_up()

    core.inject("popNextImageMD", count)


def full_frames(mb: int) -> dict[str, Any]:
    """Images of 0.5 MB, of which Micro-Manager can keep very few."""
    return {
        "roi": None,
        "exposure_ms": 5,
        "rig_changes": {"micromanager": {"buffer_mb": mb}},
    }


@pytest.mark.parametrize("mb", [1, 4])
def test_what_ran_over_the_buffer_is_a_certain_loss(mb, core, tmp_path) -> None:
    core.setCircularBufferMemoryFootprint(mb)
    held_up_once(core, 4, lambda: time.sleep(0.3))
    result = film(core, tmp_path, duration_s=0.8, **full_frames(mb))
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    lost = [e for e in result.folder.entries("lost") if e["certain"]]
    assert {entry["by"] for entry in lost} == {"buffer"}
    # As many as are missing, and where they are.
    assert gaps(result) == [entry["frames"] for entry in lost]
    assert sum(gaps(result)) == told["frames"]["lost_certain"]
    assert max(gaps(result)) > 10
    numbers = image_numbers(result)
    for entry in lost:
        before, after = numbers[entry["after_frame"] : entry["after_frame"] + 2]
        assert after - before - 1 == entry["frames"]
    assert result.folder.verify() == ()


def test_a_finite_sequence_that_ran_over_ends_and_keeps_what_came(
    core, tmp_path
) -> None:
    core.setCircularBufferMemoryFootprint(2)
    held_up_once(
        core, 4, lambda: until(core.isBufferOverflowed, "the buffer does not run over")
    )
    result = film(core, tmp_path, frames=100, **full_frames(2))
    assert (result.outcome, result.exit_code) == ("failed", 5)
    assert "overflowed" in result.message and "buffer_mb" in result.message
    told = told_of(result)
    # Those before the hold-up, and those that the buffer could keep.
    assert 4 < told["frames"]["published"] < 20
    assert gaps(result) == []
    assert result.folder.verify() == ()
    (name,) = result.images
    assert result.images[name].shape == (told["frames"]["published"], 512, 512)
    assert all(np.asarray(result.images[name]).any(axis=(1, 2)))
    assert is_dark(core)


def test_gaps_in_the_cameras_own_counter_are_certain_losses(core, tmp_path) -> None:
    core.tag("Stamp", lambda n: 100 + n + (n >= 8) * 3 + (n >= 20) * 2)
    result = film(core, tmp_path, frames=30, camera={"frame_counter": "Stamp"})
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["frames"]["published"] == 30
    assert gaps(result) == [], "Micro-Manager itself lost nothing"
    lost = [
        (e["frames"], e["by"], e["certain"], e["after_frame"])
        for e in result.folder.entries("lost")
    ]
    assert lost == [(3, "camera", True, 7), (2, "camera", True, 19)]
    assert told["frames"]["lost_certain"] == 5


def test_what_waits_in_the_buffer_at_the_end_is_taken(core, tmp_path) -> None:
    """A pump that is late when it has to stop leaves no frame behind untold."""
    stop, waiting = threading.Event(), []

    def late() -> None:
        until(lambda: core.getRemainingImageCount() > 150, "the camera stopped")
        stop.set()
        until(lambda: not core.getShutterOpen("Shutter"), "the stop is not heeded")

    held_up_once(core, 5, late)
    core.watch(
        "stopSequenceAcquisition",
        lambda *args: waiting.append(core.getRemainingImageCount()),
    )
    result = film(core, tmp_path, duration_s=60, exposure_ms=1, stop=stop)
    assert (result.outcome, result.exit_code) == ("stopped", 130), result.message
    assert waiting[0] > 150
    assert core.getRemainingImageCount() == 0
    assert told_of(result)["frames"]["published"] == 5 + waiting[0]
    assert gaps(result) == []


def test_frames_that_are_held_are_never_written_over(core, tmp_path) -> None:
    """The pool is tiny, and somebody holds every third frame, in part or whole."""
    viewer = Subscription("hoarder", Appetite("lossless"))
    held: dict[int, Any] = {}

    def hoard() -> None:
        for frame in viewer:
            if frame.frame_id % 3 == 0:
                held[frame.frame_id] = frame.pixels
            elif frame.frame_id % 3 == 1:
                held[frame.frame_id] = frame.pixels[10:20, ::3]

    core.setProperty("Camera", "Mode", "Noise")
    hoarder = threading.Thread(target=hoard)
    hoarder.start()
    result = film(
        core, tmp_path, frames=60, camera={"pool_mb": 0.05}, subscriptions=(viewer,)
    )
    hoarder.join()
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    told = told_of(result)
    assert told["pool"]["buffers"] <= 6
    assert told["pool"]["misses"] >= 40 - told["pool"]["buffers"]
    assert len(held) == 40
    images = {k: result.folder.image(k) for k in range(60)}
    assert len({image.tobytes() for image in images.values()}) == 60, "nothing moves"
    for k, pixels in held.items():
        whole = images[k] if k % 3 == 0 else images[k][10:20, ::3]
        assert (pixels == whole).all(), k
        assert not pixels.flags.writeable
