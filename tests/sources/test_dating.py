"""When frames were exposed, told from when they were found."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from smartscope.config import RigConfig
from smartscope.core import NS_PER_MS
from smartscope.sources._dating import Dating

BEGUN_MS = 1000.0
AFTERWARDS = 30
"""Frames at the end that nobody takes: until then the camera has never stopped."""


def dating(**camera: object) -> Dating:
    config = RigConfig(
        name="any",
        micromanager={"config": "any.cfg"},
        roles={"camera": "Camera"},
        camera=camera,
    )
    made = Dating(config)
    made.begin(int(BEGUN_MS * NS_PER_MS), 10.0)
    return made


@dataclass
class Filmed:
    start_ms: float
    end_ms: float


def film(changes: dict[float, float], frames: int) -> list[Filmed]:
    """Back to back; an exposure that was set holds for frames that begin later."""
    t_ms, filmed = BEGUN_MS, []
    for _ in range(frames):
        exposure_ms = 10.0
        for since_ms, value in changes.items():
            exposure_ms = value if t_ms >= since_ms else exposure_ms
        filmed.append(Filmed(t_ms, t_ms + exposure_ms))
        t_ms += exposure_ms
    return filmed


def pumped(filmed: list[Filmed], changes: dict[float, float], seed: int):
    """Take them with naps and stalls; rows of (frame, start, end, unsure), ms."""
    rng, dates = random.Random(seed), dating(readout_ms=0)
    t_ms = empty_ms = BEGUN_MS
    waiting, rows = list(filmed), []
    while len(waiting) > AFTERWARDS:
        there = sum(frame.end_ms <= t_ms for frame in waiting)
        if not there:
            empty_ms = t_ms
            t_ms += rng.choice([0.05, 0.3, 1.0, 1.0, rng.random() * 40])
            continue
        exposure_ms = 10.0
        for since_ms, value in changes.items():
            exposure_ms = value if t_ms >= since_ms else exposure_ms
        told = dates.date(
            int(t_ms * NS_PER_MS),
            exposure_ms,
            behind=there - 1,
            unseen_s=(t_ms - empty_ms) / 1000,
            period_s=exposure_ms / 1000,
        )
        rows.append((waiting.pop(0), *(value / NS_PER_MS for value in told)))
        if there == 1:
            empty_ms = t_ms
        t_ms += 0.1
    return rows


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("changed_to", [10.0, 3.0, 25.0])
def test_no_frame_is_dated_after_it_may_have_begun(seed, changed_to) -> None:
    changes = {BEGUN_MS + 123.4: changed_to}
    rows = pumped(film(changes, 60 + AFTERWARDS), changes, seed)
    # It came within one period, and had the one exposure or the other.
    most_ms = (max(10.0, changed_to) + abs(changed_to - 10.0)) / 2
    for frame, start_ms, end_ms, unsure_ms in rows:
        assert start_ms - unsure_ms <= frame.start_ms + 1e-6, "it began before"
        # What waits across a change is dated by the longer exposure, so too early.
        early_ms = 2 * abs(changed_to - 10.0)
        assert frame.start_ms <= start_ms + unsure_ms + early_ms + 1e-6, "began later"
        assert unsure_ms <= most_ms + 1e-6, "more is known than that"
        assert start_ms <= end_ms
    starts = [row[1] for row in rows]
    assert starts == sorted(starts)


@pytest.mark.parametrize("seed", range(5))
def test_frames_that_were_waited_for_are_dated_closely(seed) -> None:
    rows = pumped(film({}, 60 + AFTERWARDS), {}, seed)
    errors = sorted(abs(start_ms - frame.start_ms) for frame, start_ms, _, _ in rows)
    unsure = sorted(unsure_ms for *_, unsure_ms in rows)
    assert errors[-1] <= 5.0 + 1e-6, "half a period at most"
    assert unsure[0] <= 0.5, "half a nap, where naps were short"


def test_a_frame_that_was_waited_for_is_dated_to_the_nap() -> None:
    dates = dating(readout_ms=2.0)
    found = dates.date(
        int(1112.1 * NS_PER_MS), 10.0, behind=0, unseen_s=0.0001, period_s=0.01
    )
    start_ms, end_ms, unsure_ms = (value / NS_PER_MS for value in found)
    assert end_ms == pytest.approx(1110.05)
    assert start_ms == pytest.approx(1100.05)
    assert unsure_ms == pytest.approx(2.05)


def test_frames_in_the_buffer_came_a_period_apart() -> None:
    dates = dating(readout_ms=0)
    starts = [
        dates.date(
            int(1200 * NS_PER_MS), 10.0, behind=behind, unseen_s=0.2, period_s=0.02
        )[0]
        / NS_PER_MS
        for behind in (3, 2, 1, 0)
    ]
    assert starts == pytest.approx([1120, 1140, 1160, 1180])


def test_no_exposure_begins_before_the_camera() -> None:
    dates = dating()
    start_ns, _, unsure_ns = dates.date(
        int((BEGUN_MS + 11) * NS_PER_MS), 10.0, behind=0, unseen_s=0.01, period_s=0.01
    )
    assert start_ns - unsure_ns == int(BEGUN_MS * NS_PER_MS)
