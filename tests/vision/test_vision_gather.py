"""Which frames are waited for, when the answer comes, and what never leaks."""

from __future__ import annotations

import numpy as np
import pytest
from vision_fields import frame, pipeline

from smartscope.core import PolicyError, View

FITC, CY5, DAPI = "FITC", "Cy5", "DAPI"
PLAN = (FITC, CY5, DAPI)


def flat(level, shape=(16, 20)):
    return np.full(shape, level, dtype=np.uint16)


def feed(pipe, shots, *, view=View()):  # noqa: B008 - a frozen value
    """Shots are (t, channel, z or None, last); returns what each was answered with."""
    answers = []
    for number, (t, channel, z, last) in enumerate(shots):
        index = {"t": t, "c": PLAN.index(channel)} | ({} if z is None else {"z": z})
        shot = frame(
            flat(100 * (number + 1)),
            number,
            channel=channel,
            index=index,
            group=("t", t),
            last_of_group=last,
            view=view,
        )
        answers.append(pipe.see(shot, float(t)))
    return answers


def measure(**on):
    return {"measure": {"on": on}} if on else "measure"


BOTH = measure(channel=[FITC, CY5])
CASES = {
    "one channel of one": (
        ["measure"],
        [(0, FITC, None, True)],
        {0: [0]},
    ),
    "first channel at once, the rest passed over": (
        ["measure"],
        [(0, FITC, None, False), (0, CY5, None, False), (0, DAPI, None, True)],
        {0: [0]},
    ),
    "a later channel at once": (
        [measure(channel=CY5)],
        [(0, FITC, None, False), (0, CY5, None, False), (0, DAPI, None, True)],
        {1: [1]},
    ),
    "two channels, not the third": (
        [BOTH],
        [(0, FITC, None, False), (0, CY5, None, False), (0, DAPI, None, True)],
        {1: [0, 1]},
    ),
    "all planes for a maximum": (
        ["measure"],
        [(0, FITC, 0, False), (0, FITC, 1, False), (0, FITC, 2, True)],
        {2: [0, 1, 2]},
    ),
    "one plane at once": (
        [measure(channel=FITC, z=1)],
        [(0, FITC, 0, False), (0, FITC, 1, False), (0, FITC, 2, True)],
        {1: [1]},
    ),
    "planes of one channel among two": (
        [measure(channel=FITC, z="mean")],
        [(0, FITC, 0, False), (0, CY5, 0, False), (0, FITC, 1, False), (0, CY5, 1, 1)],
        {3: [0, 2]},
    ),
    "a plan with a z axis of one plane": (
        ["measure"],
        [(0, FITC, 0, True)],
        {0: [0]},
    ),
    "each time point by itself": (
        [BOTH],
        [(t, c, None, c == CY5) for t in range(3) for c in (FITC, CY5)],
        {1: [0, 1], 3: [2, 3], 5: [4, 5]},
    ),
    "an optional channel that was not taken": (
        ["segment", BOTH],
        [(0, FITC, None, True), (1, FITC, None, False), (1, CY5, None, True)],
        {0: [0], 2: [1, 2]},
    ),
    "no stage at all": (
        [],
        [(0, FITC, None, False), (0, CY5, None, True)],
        {0: [0]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_answers(case):
    stages, shots, expected = CASES[case]
    pipe = pipeline(*stages, channels=PLAN)
    answers = feed(pipe, shots)
    found = {i: list(seen.frame_ids) for i, seen in enumerate(answers) if seen}
    assert found == expected
    assert pipe.dropped_groups == 0


DROPS = {
    "a needed channel failed": (
        [(0, FITC, None, False), (1, FITC, None, False), (1, CY5, None, True)],
        {2: [1, 2]},
        1,
    ),
    "the first channel failed": (
        [(0, CY5, None, True), (1, FITC, None, False), (1, CY5, None, True)],
        {2: [1, 2]},
        1,
    ),
    "several in a row": (
        [(t, FITC, None, False) for t in range(5)] + [(4, CY5, None, True)],
        {5: [4, 5]},
        4,
    ),
    "the same frame again is a new group": (
        [(0, FITC, None, False), (0, FITC, None, False), (0, CY5, None, True)],
        {2: [1, 2]},
        1,
    ),
}


@pytest.mark.parametrize("case", DROPS)
def test_groups_that_never_complete_are_dropped_and_counted(case):
    shots, expected, dropped = DROPS[case]
    stages = ["segment", {"denoise": {"on": {"channel": CY5}}}]
    pipe = pipeline(*stages, channels=PLAN)
    answers = feed(pipe, shots)
    found = {i: list(seen.frame_ids) for i, seen in enumerate(answers) if seen}
    assert found == expected
    assert pipe.dropped_groups == dropped


def test_nothing_piles_up_when_groups_never_complete():
    pipe = pipeline("segment", {"denoise": {"on": {"channel": CY5}}}, channels=PLAN)
    feed(pipe, [(t, FITC, None, False) for t in range(50)])
    assert len(pipe._gatherer._open) == 1
    assert len(pipe._gatherer._open[View()].gathered.frames) == 1


def test_pixels_are_let_go_once_answered():
    pipe = pipeline("measure", channels=PLAN)
    feed(pipe, [(0, FITC, None, False)])
    assert not pipe._gatherer._open[View()].gathered.images


@pytest.mark.parametrize(("z", "level"), [("max", 300), ("mean", 200), (0, 100)])
def test_projections(z, level):
    pipe = pipeline(measure(channel=FITC, z=z), channels=PLAN)
    shots = [(0, FITC, plane, plane == 2) for plane in range(3)]
    (seen,) = [answer for answer in feed(pipe, shots) if answer]
    assert (seen.pictures.raw[FITC] == level).all()
    assert seen.pictures.raw[FITC].dtype == np.uint16
    assert seen.measurements["background"] == level


def test_no_measurement_mixes_channels():
    """Each channel is measured as it is alone, inside the objects of the first."""
    y, x = np.indices((60, 80))
    disk = np.hypot(y - 30, x - 40) < 10
    first = (100 + 300 * disk).astype(np.uint16)
    second = (50 + 70 * disk).astype(np.uint16)
    pipe = pipeline("segment", BOTH, "track", channels=PLAN)
    for t in range(3):
        pair = {"index": {"t": t}, "group": ("t", t)}
        one = frame(first, 2 * t, channel=FITC, **pair, last_of_group=False)
        assert pipe.see(one, float(t)) is None
        seen = pipe.see(frame(second, 2 * t + 1, channel=CY5, **pair), float(t))
    (track,) = seen.tracks
    assert track.features["mean_FITC"] == pytest.approx(300)
    assert track.features["mean_Cy5"] == pytest.approx(70)
    assert seen.measurements["background_FITC"] == 100
    assert seen.measurements["background_Cy5"] == 50
    assert seen.measurements["background"] == 100
    assert "mean_DAPI" not in track.features
    assert seen.channel == FITC
    assert set(seen.pictures.raw) == {FITC, CY5}


def test_interleaved_views_do_not_disturb_each_other():
    pipe = pipeline(BOTH, channels=PLAN)
    answers = []
    for number, (p, channel) in enumerate([(0, FITC), (1, FITC), (0, CY5), (1, CY5)]):
        shot = frame(
            flat(100),
            number,
            channel=channel,
            view=View(p),
            group=("t", 0, "p", p),
            last_of_group=channel == CY5,
        )
        answers.append(pipe.see(shot, 0.0))
    assert [a and (a.view.position, a.frame_ids) for a in answers] == [
        None,
        None,
        (0, (0, 2)),
        (1, (1, 3)),
    ]
    assert pipe.dropped_groups == 0


def test_a_rig_that_names_no_channel_goes_by_the_plan():
    pipe = pipeline(measure(channel=CY5), channels=PLAN)
    shots = [frame(flat(9), c, channel=None, index={"c": c}) for c in (0, 1)]
    assert [pipe.see(shot, 0.0) is not None for shot in shots] == [False, True]
    pipe = pipeline("measure", channels=())
    seen = pipe.see(frame(flat(9), channel=None), 0.0)
    assert seen.measurements["background_image"] == 9


def test_an_unplanned_channel_is_passed_over():
    pipe = pipeline("measure", channels=(FITC,))
    assert pipe.see(frame(flat(9), channel="Rhodamine"), 0.0) is None
    assert pipe.dropped_groups == 0


def test_channels_of_different_size_are_refused():
    pipe = pipeline("segment", BOTH, channels=PLAN)
    pair = {"group": (0,)}
    pipe.see(frame(flat(9), 0, channel=FITC, **pair, last_of_group=False), 0.0)
    with pytest.raises(PolicyError, match=r"'measure' failed.*Cy5 is \(8, 10\) pixels"):
        pipe.see(frame(flat(9, (8, 10)), 1, channel=CY5, **pair), 0.0)
