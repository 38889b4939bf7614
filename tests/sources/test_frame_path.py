"""Buffers, arrivals and losses: the parts of the frame path, each alone."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from smartscope.sources import _pool
from smartscope.sources._arrival import Arrivals
from smartscope.sources._losses import LossWatch, Lost
from smartscope.sources._pool import FramePool, pool_size

SHAPE = (8, 16)


def image(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.uint16)


def owner(view: np.ndarray) -> int:
    return view.__array_interface__["data"][0]


def test_a_buffer_is_used_again_only_when_nobody_holds_it() -> None:
    pool = FramePool(SHAPE, "uint16", 2)
    first, second = pool.copy(image(1)), pool.copy(image(2))
    part = first[2:4, ::2]
    where = owner(first)
    del first
    third = pool.copy(image(3))
    assert pool.misses == 1, "a slice holds the buffer as the whole image does"
    assert owner(third) not in (where, owner(second))
    assert (part == 1).all()
    del part
    fourth = pool.copy(image(4))
    assert owner(fourth) == where
    assert pool.misses == 1
    assert (second == 2).all() and (third == 3).all()


@pytest.mark.parametrize(
    "hold",
    [
        memoryview,
        lambda a: a.reshape(-1),
        lambda a: a.T,
        lambda a: a.view(np.uint8),
        lambda a: [a],
        lambda a: np.asarray(a),
    ],
)
def test_every_way_of_holding_an_image_counts(hold) -> None:
    pool = FramePool(SHAPE, "uint16", 1)
    held = hold(pool.copy(image(7)))
    pool.copy(image(8))
    assert pool.misses == 1
    del held
    pool.copy(image(9))
    assert pool.misses == 1


@pytest.mark.parametrize("fewer", [0, 1])
def test_a_held_buffer_is_held_however_python_counts(monkeypatch, fewer) -> None:
    """From Python 3.14 on a local name no longer counts as a reference."""

    def count(held: object) -> int:
        # This function's own argument is one reference that is not there otherwise.
        return sys.getrefcount(held) - 1 - fewer

    monkeypatch.setattr(_pool, "sys", SimpleNamespace(getrefcount=count))
    pool = FramePool(SHAPE, "uint16", 1)
    first = pool.copy(image(1))
    pool.copy(image(2))
    assert pool.misses == 1
    assert (first == 1).all()
    where = owner(first)
    del first
    assert owner(pool.copy(image(3))) == where
    assert pool.misses == 1


def test_images_are_read_only() -> None:
    pool = FramePool(SHAPE, "uint16", 1)
    got = pool.copy(image(1))
    with pytest.raises(ValueError, match="read-only"):
        got[0, 0] = 5


def test_a_pool_is_for_one_kind_of_image() -> None:
    pool = FramePool(SHAPE, "uint16", 1)
    assert pool.fits(image(0))
    assert not pool.fits(np.zeros((8, 8), np.uint16))
    assert not pool.fits(np.zeros(SHAPE, np.uint8))


def test_a_pool_is_as_large_as_it_may_be() -> None:
    assert pool_size((512, 512), "uint16", 256, 512) == 488
    assert pool_size((2048, 2048), "uint16", 256, 512) == 30
    assert pool_size((4096, 4096), "uint16", 1, 512) == 4
    assert pool_size((16, 16), "uint8", 256, 16) == 16


class Camera:
    """Frames that are there from certain looks on."""

    def __init__(self, after_looks: int) -> None:
        self.looks = 0
        self.after = after_looks

    def there(self) -> int:
        self.looks += 1
        return int(self.looks > self.after)


def test_waiting_ends_with_the_frame() -> None:
    camera = Camera(3)
    arrivals = Arrivals(0.0001)
    arrivals.expect(0.001)
    assert arrivals.wait(camera.there, lambda: True)
    assert camera.looks == 4


def test_waiting_ends_when_told_so() -> None:
    checks = iter([True, True, False])
    arrivals = Arrivals(0.0)
    arrivals.expect(0.001)
    assert not arrivals.wait(lambda: 0, lambda: next(checks))


def test_a_long_exposure_is_waited_for_in_pieces_that_look_for_a_stop() -> None:
    checks = 0

    def checked() -> bool:
        nonlocal checks
        checks += 1
        return checks < 4

    arrivals = Arrivals(0.0001)
    arrivals.expect(1000.0)
    arrivals.came(__import__("time").perf_counter(), on_time=True)
    assert not arrivals.wait(lambda: 0, checked)
    assert checks == 4


def test_the_period_is_learnt_from_frames_that_were_waited_for() -> None:
    arrivals = Arrivals(0.0)
    arrivals.expect(0.010)
    for k in range(200):
        arrivals.came(k * 0.012, on_time=True)
    assert arrivals.period_s == pytest.approx(0.012, rel=1e-3)
    learnt = arrivals.period_s
    arrivals.came(100.0, on_time=False)
    arrivals.came(100.001, on_time=True)
    assert arrivals.period_s == learnt, "after a backlog nobody knows when it came"


def learnt(*intervals: float, expected: float = 0.001) -> float:
    """Period after frames that came so far apart."""
    arrivals, t_s = Arrivals(0.0), 5.0
    arrivals.expect(expected)
    arrivals.came(t_s, on_time=True)
    for interval in intervals:
        t_s += interval
        arrivals.came(t_s, on_time=True)
    return arrivals.period_s


def test_no_period_is_known_before_an_interval_is() -> None:
    assert learnt() == 0.0
    arrivals = Arrivals(0.0)
    arrivals.expect(0.010)
    arrivals.shift(0.005)
    assert arrivals.period_s == 0.0


def test_a_period_many_times_the_exposure_is_learnt() -> None:
    assert learnt(0.042) == pytest.approx(0.042)
    assert learnt(0.004, 0.042, 0.043) == pytest.approx(0.042, rel=0.05)


def test_a_gap_does_not_spoil_the_period() -> None:
    steady = [0.010] * 10
    assert learnt(*steady, 0.1, *steady) == pytest.approx(0.010)
    assert learnt(*steady, 0.1, 0.1, *steady) == pytest.approx(0.010)
    assert learnt(*steady, 0.1, 0.010, 0.1, 0.010, 0.1) == pytest.approx(0.010)


@pytest.mark.parametrize("after", [0.001, 0.015, 0.042])
def test_a_new_period_is_adopted_when_intervals_agree(after) -> None:
    assert learnt(*[0.010] * 10, *[after] * 3) == pytest.approx(after)


def test_whether_a_frame_was_waited_for_is_known() -> None:
    arrivals = Arrivals(0.0)
    arrivals.expect(0.001)
    arrivals.wait(Camera(0).there, lambda: True)
    assert not arrivals.waited, "it was there already"
    arrivals.wait(Camera(1).there, lambda: True)
    assert arrivals.waited
    arrivals.came(1.0, on_time=True)
    assert not arrivals.waited, "the next one was not waited for yet"


def look(watch: LossWatch, number, *, tags=None, came_s=None, period_s=0.01):
    return watch.look(number, tags or {}, came_s=came_s, period_s=period_s)


def test_a_gap_in_the_image_number_is_a_certain_loss() -> None:
    watch = LossWatch(None)
    assert [look(watch, n) for n in (0, 1, 5, 6)] == [
        None,
        None,
        Lost(3, "buffer", True),
        None,
    ]


def test_frames_missing_before_the_first_are_lost_too() -> None:
    assert look(LossWatch(None), 2) == Lost(2, "buffer", True)


def test_a_gap_in_the_cameras_own_counter_is_a_certain_loss() -> None:
    watch = LossWatch("Stamp")
    found = [
        look(watch, n, tags={"Stamp": str(stamp)}, came_s=n * 0.01)
        for n, stamp in enumerate((100, 101, 104, 105))
    ]
    assert found == [None, None, Lost(2, "camera", True), None]


def test_a_long_interval_without_a_counter_is_a_possible_loss() -> None:
    watch = LossWatch(None)
    times = (0.0, 0.010, 0.021, 0.051, 0.061)
    found = [look(watch, n, came_s=t) for n, t in enumerate(times)]
    assert found == [None, None, None, None, Lost(2, "estimate", False)]


def test_a_frame_that_was_noticed_late_is_not_a_loss() -> None:
    watch = LossWatch(None)
    times = (0.0, 0.010, 0.020, 0.039, 0.041, 0.050)
    assert {look(watch, n, came_s=t) for n, t in enumerate(times)} == {None}


def test_a_camera_that_counts_is_believed_about_pauses() -> None:
    watch = LossWatch("Stamp")
    found = [
        look(watch, n, tags={"Stamp": str(n)}, came_s=t)
        for n, t in enumerate((0.0, 0.01, 0.05))
    ]
    assert found == [None, None, None]


def test_a_counter_that_the_camera_does_not_send_hides_nothing() -> None:
    """A tag named wrongly, or missing now and then: the interval is looked at."""
    watch = LossWatch("Stamp")
    times = (0.0, 0.010, 0.021, 0.051, 0.061)
    found = [look(watch, n, came_s=t) for n, t in enumerate(times)]
    assert found == [None, None, None, None, Lost(2, "estimate", False)]


def test_a_counter_that_cannot_be_read_hides_nothing() -> None:
    watch = LossWatch("Stamp")
    numbers = [look(watch, n, tags={"Stamp": "many"}) for n in (0, 1, 4)]
    assert numbers == [None, None, Lost(2, "buffer", True)]


def test_a_counter_that_starts_again_is_no_loss() -> None:
    watch = LossWatch("Stamp")
    stamps = ("65534", "65535", "0", "1", "3")
    found = [look(watch, n, tags={"Stamp": s}) for n, s in enumerate(stamps)]
    assert found == [None, None, None, None, Lost(1, "camera", True)]


def estimated(times: list[float]) -> dict[int, Lost]:
    """What is told of frames that were all waited for, by number of the frame."""
    watch, arrivals, told = LossWatch(None), Arrivals(0.0), {}
    arrivals.expect(0.001)
    for number, t_s in enumerate(times):
        lost = watch.look(number, {}, came_s=t_s, period_s=arrivals.period_s)
        arrivals.came(t_s, on_time=True)
        if lost is not None:
            told[number] = lost
    return told


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("missing", [1, 2, 7])
def test_readout_invents_no_loss_and_hides_none(seed, missing) -> None:
    """1 ms exposures, 42 ms apart, noticed up to 8 ms late; one real gap."""
    rng = random.Random(seed)
    shots = [k for k in range(120) if not 60 <= k < 60 + missing]
    times = [0.042 * k + rng.random() * 0.008 for k in shots]
    assert estimated(times) == {61: Lost(missing, "estimate", False)}
