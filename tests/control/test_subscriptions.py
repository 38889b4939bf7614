"""Appetites: who gets which frames, what is counted, and who is never waited for."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from smartscope.control import Appetite, Hub, Subscription
from smartscope.core import Frame, View

LOSSLESS = Appetite("lossless")


def frame(n: int, position: int = 0, group: tuple[int, ...] = ()) -> Frame:
    return Frame(
        frame_id=n,
        pixels=np.zeros((2, 2), np.uint16),
        view=View(position, "C"),
        group=group,
    )


def ids(frames) -> list[int]:
    return [one.frame_id for one in frames]


def test_latest_keeps_the_newest_of_each_view_and_counts() -> None:
    vision = Subscription("vision")
    gone = [vision.put(frame(n, p))[0] for n, p in [(0, 0), (1, 1), (2, 0), (3, 0)]]
    assert [ids(g) for g in gone] == [[], [], [0], [2]]
    first, left_out_first = vision.get()
    second, left_out_second = vision.get()
    assert (first.frame_id, left_out_first) == (1, 0)
    assert (second.frame_id, left_out_second) == (3, 2)
    counts = vision.counts()
    assert (counts["delivered"], counts["skipped"], counts["dropped"]) == (2, 2, 0)
    assert counts["appetite"] == "latest"


def test_latest_leaves_a_group_that_was_begun_whole() -> None:
    vision = Subscription("vision")
    vision.put(frame(0, group=(1,)))
    assert vision.get()[0].frame_id == 0
    vision.put(frame(1, group=(1,)))
    gone, _ = vision.put(frame(2, group=(2,)))
    assert gone == []
    gone, _ = vision.put(frame(3, group=(3,)))
    assert ids(gone) == [2]
    assert [vision.get()[0].frame_id for _ in range(2)] == [1, 3]


def test_lossless_leaves_nothing_out_and_says_when_it_is_full() -> None:
    reader = Subscription("reader", Appetite("lossless", 3))
    taken = [reader.put(frame(n)) for n in range(5)]
    assert [t for _, t in taken] == [True, True, True, False, False]
    assert [reader.get()[0].frame_id for _ in range(3)] == [0, 1, 2]
    assert reader.dropped == 2
    assert str(reader.appetite) == "lossless(3)"


def test_bounded_drops_the_oldest() -> None:
    reader = Subscription("reader", Appetite("bounded", 2))
    gone = [ids(reader.put(frame(n))[0]) for n in range(5)]
    assert gone == [[], [], [0], [1], [2]]
    got, left_out = reader.get()
    assert (got.frame_id, left_out) == (3, 3)
    assert (reader.delivered, reader.dropped, reader.skipped) == (1, 3, 0)


@pytest.mark.parametrize("wrong", [("bounded", None), ("lossless", 0)])
def test_an_impossible_appetite_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="backlog"):
        Appetite(*wrong)


def test_it_is_idle_only_when_the_last_frame_was_handled() -> None:
    reader = Subscription("vision", LOSSLESS)
    assert reader.idle
    reader.put(frame(0))
    assert not reader.idle
    reader.get()
    assert not reader.idle, "it is being seen"
    waiting = threading.Thread(target=reader.get)
    waiting.start()
    assert reader.wait_idle(5)
    reader.close()
    waiting.join(5)
    assert not waiting.is_alive()


def test_after_a_missed_deadline_only_the_newest_waits_until_caught_up() -> None:
    reader = Subscription("vision", LOSSLESS)
    reader.put(frame(0))
    reader.get()
    reader.catch_up()
    for n in (1, 2, 3):
        reader.put(frame(n))
    assert reader.get()[0].frame_id == 3
    assert reader.skipped == 2
    thread = threading.Thread(target=reader.get)
    thread.start()
    assert reader.wait_idle(5)
    reader.put(frame(4))
    thread.join(5)
    reader.put(frame(5))
    reader.put(frame(6))
    assert reader.get()[0].frame_id == 5, "in step again: all, in order"


def test_a_sender_and_a_reader_lose_nothing_between_them() -> None:
    reader = Subscription("reader", LOSSLESS)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(ids(reader)))
    thread.start()
    for n in range(5000):
        reader.put(frame(n))
    reader.close()
    thread.join(20)
    assert got == list(range(5000))
    assert reader.put(frame(9))[0] == [], "after the end nothing is kept"
    assert reader.counts()["waiting"] == 0


def test_the_hub_serves_each_by_its_appetite_and_blames_the_right_one() -> None:
    blamed: list[str] = []
    left_out: list[tuple[str, int]] = []
    hub = Hub(blamed.append, lambda name, old: left_out.append((name, old.frame_id)))
    hub.add(Subscription("vision"))
    hub.add(Subscription("viewer", Appetite("bounded", 2)))
    hub.add(Subscription("greedy", Appetite("lossless", 3)))
    for n in range(4):
        hub.publish(frame(n))
    assert blamed == ["greedy"]
    assert left_out == [
        ("vision", 0),
        ("vision", 1),
        ("viewer", 0),
        ("vision", 2),
        ("viewer", 1),
    ]
    counts = [(c["name"], c["waiting"], c["dropped"]) for c in hub.counts()]
    assert counts == [("vision", 1, 0), ("viewer", 2, 2), ("greedy", 3, 1)]
