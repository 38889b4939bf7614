"""Following objects: gaps, crossings, divisions, moved stages, views."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from vision_fields import ONE_UM, field, film, frame, pipeline, track_at

from smartscope.core import HardwareState, PixelMap, View, compose_pixel_map, encode
from smartscope.core.geometry import Orientation, Roi

QUICK = {"track": {"min_frames": 2}}
CHAIN = ("segment", "measure", QUICK)


def ids(observation, state=None):
    return {t.track_id for t in observation.tracks if state in (None, t.state)}


def test_every_object_keeps_its_id():
    rng = np.random.default_rng(0)
    points = np.array([(25 + 30 * i, 25 + 30 * j) for i in range(4) for j in range(6)])
    steps = rng.normal(0, 1.5, (12, *points.shape))
    places = points + np.cumsum(steps, axis=0)
    seen = film(pipeline(*CHAIN), [field(p) for p in places])
    for point in range(len(points)):
        found = {
            track_at(o, *p[point]).track_id for o, p in zip(seen, places, strict=True)
        }
        assert len(found) == 1
    assert ids(seen[-1]) == set(range(1, 25))


def test_states_from_birth_to_end():
    here, gone = [(50, 50), (50, 120)], [(50, 120)]
    settings = {"track": {"min_frames": 3, "max_gap_frames": 2}}
    shown = [here] * 4 + [gone] * 5
    seen = film(pipeline("segment", settings), [field(p) for p in shown])
    states = [{t.track_id: t.state for t in o.tracks}.get(1) for o in seen]
    assert states == [
        *("tentative", "tentative", "active", "active"),
        *("lost", "lost", "ended", None, None),
    ]
    lost, ended = seen[5].track(1), seen[6].track(1)
    assert lost.detection is None and lost.frames == 4 and lost.seen_s == 15.0
    assert ended.detection is None and ended.features["area_um2"] > 0


def test_a_tentative_track_ends_after_one_gap():
    shown = [[(50, 50)], [], []]
    seen = film(pipeline("segment", "track"), [field(p) for p in shown])
    assert [[t.state for t in o.tracks] for o in seen] == [
        ["tentative"],
        ["lost"],
        ["ended"],
    ]


def test_linked_across_a_gap_where_it_was_heading():
    places = [(50, 30 + 8 * t) for t in range(10)]
    shown = [[p] if t not in (5, 6) else [] for t, p in enumerate(places)]
    seen = film(pipeline(*CHAIN), [field(p) for p in shown])
    assert [ids(o) for o in seen] == [{1}] * 10
    lost = seen[6].track(1)
    assert lost.state == "lost"
    assert (lost.y_um, lost.x_um) == pytest.approx(places[6], abs=4)
    assert seen[7].track(1).state == "active"


def test_velocity_is_per_second():
    places = [(50, 30 + 4 * t) for t in range(15)]
    for dt_s in (1.0, 10.0):
        pipe = pipeline(*CHAIN)
        seen = film(pipe, [field([p]) for p in places], dt_s=dt_s)[-1].tracks[0]
        assert seen.vx_um_s == pytest.approx(4 / dt_s, rel=0.1)
        assert abs(seen.vy_um_s) < 0.4 / dt_s


def test_crossing_cells_keep_their_ids():
    def at(t):
        return [(50 + 0.8 * t, 30 + 8 * t), (66 - 0.8 * t, 190 - 8 * t)]

    places = [at(t) for t in range(20)]
    images = [field(p, shape=(120, 220), height=[400, 250]) for p in places]
    settings = {"track": {"min_frames": 2, "max_gap_frames": 4}}
    seen = film(pipeline("segment", "measure", settings), images)
    for cell in (0, 1):
        first = track_at(seen[0], *places[0][cell])
        last = track_at(seen[-1], *places[-1][cell])
        assert first.track_id == last.track_id
    assert not any(t.parent for o in seen for t in o.tracks)


def test_gate_grows_with_the_time_between_frames():
    """A slow frame after fast ones is linked as far as the time allows."""
    settings = {"track": {"max_distance_um": 10, "interval_s": 1.0, "min_frames": 1}}
    for dt_s, linked in ((1.0, False), (4.0, True)):
        pipe = pipeline("segment", settings)
        pipe.see(frame(field([(50, 50)]), 0), 0.0)
        pipe.see(frame(field([(50, 50)]), 1), 1.0)
        seen = pipe.see(frame(field([(50, 66)]), 2), 1.0 + dt_s)
        assert (track_at(seen, 50, 66).track_id == 1) is linked


def test_a_rate_change_does_not_break_tracks():
    places, times = [], []
    x = t = 0.0
    for step_s in [10.0] * 6 + [0.5] * 20 + [10.0] * 6:
        x, t = x + 0.7 * step_s, t + step_s
        places.append([(60, 20 + x), (120, 190 - x)])
        times.append(t)
    pipe = pipeline(*CHAIN)
    seen = [
        pipe.see(frame(field(p, seed=n), n), t)
        for n, (p, t) in enumerate(zip(places, times, strict=True))
    ]
    assert all(ids(o) == {1, 2} for o in seen)
    assert seen[-1].tracks[0].vx_um_s == pytest.approx(0.7, rel=0.25)


def test_a_sheet_that_moves_by_more_than_half_the_spacing():
    rng = np.random.default_rng(1)
    points = np.array([(30 + 26 * i, 40 + 26 * j) for i in range(7) for j in range(6)])
    points = points + rng.uniform(-5, 5, points.shape)
    for collective, all_kept in ((True, True), (False, False)):
        settings = {"min_frames": 2, "collective": collective}
        pipe = pipeline("segment", "measure", {"track": settings})
        places = [np.add(points, (0, 17 * t)) for t in range(4)]
        seen = film(pipe, [field(p, shape=(220, 260), radius=6) for p in places])
        kept = [
            track_at(seen[0], *places[0][k]).track_id
            == track_at(seen[-1], *places[-1][k]).track_id
            for k in range(len(points))
        ]
        assert all(kept) is all_kept


def daughters(t, start=6):
    """One cell beside three others; it rounds up, then two part."""
    others = [(30, 30), (120, 40), (120, 170)]
    if t < start - 2:
        return [*others, (75, 100)], [8, 8, 8, 9], [300] * 4
    if t < start:
        return [*others, (75, 100)], [8, 8, 8, 6], [300, 300, 300, 650]
    apart = min(7 + 2 * (t - start), 14)
    pair = [(75, 100 - apart), (75, 100 + apart)]
    return [*others, *pair], [8, 8, 8, 5, 5], [300, 300, 300, 500, 500]


def dividing_film(frames=14):
    return [field(p, radius=r, height=h) for p, r, h in map(daughters, range(frames))]


def test_division_gives_parent_and_children():
    seen = film(pipeline(*CHAIN), dividing_film())
    before = track_at(seen[3], 75, 100)
    last = [track_at(seen[-1], 75, x) for x in (86, 114)]
    assert [t.parent for t in last] == [before.track_id] * 2
    assert len({t.track_id for t in last}) == 2
    ended = [
        (n, t.track_id)
        for n, o in enumerate(seen)
        for t in o.tracks
        if t.state == "ended"
    ]
    assert ended == [(6, before.track_id)]
    born = {t.born_s for t in last}
    assert born == {6 * 5.0}
    others = [t for t in seen[-1].tracks if t.parent is None]
    assert len(others) == 3


def test_no_division_when_told_so():
    settings = {"track": {"division_distance_um": None}}
    seen = film(pipeline("segment", "measure", settings), dividing_film())
    assert not any(t.parent for o in seen for t in o.tracks)
    assert len(seen[-1].tracks) == 5


def test_a_newcomer_beside_a_cell_is_no_division():
    alone, joined = [(60, 60), (100, 150)], [(60, 60), (60, 80), (100, 150)]
    shown = [alone] * 5 + [joined] * 5
    seen = film(pipeline(*CHAIN), [field(p) for p in shown])
    assert not any(t.parent for o in seen for t in o.tracks)
    assert len(seen[-1].tracks) == 3


STAGE = [(0.0, 0.0), (15.0, -8.0), (-20.0, 10.0), (4.0, 25.0), (4.0, 25.0)]
MAPS = {
    "identity": ONE_UM,
    "rotated and mirrored": PixelMap(((0.8, 0.6), (0.6, -0.8)), (100.0, 80.0)),
    "binned, mirrored, off-centre": compose_pixel_map(
        ((0.4, -0.3), (0.3, 0.4)),
        sensor_shape=(1024, 1024),
        roi=Roi(300, 400, 400, 320),
        binning=2,
        orientation=Orientation(mirror_x=True),
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_moved_stage_moves_no_cell(name):
    """The image shifts by tens of pixels, the cells stay what and where they were."""
    pixel_map = MAPS[name]
    start = np.array([(60, 70), (60, 110), (90, 90), (100, 130)], dtype=float)
    cells = pixel_map.to_sample(start, 0.0, 0.0)
    pipe = pipeline(*CHAIN)
    for number, stage in enumerate(STAGE):
        points = pixel_map.to_image(cells, *stage)
        shot = frame(field(points), number, stage=stage, pixel_map=pixel_map)
        seen = pipe.see(shot, number * 5.0)
        found = [track_at(seen, *point) for point in points]
        assert [t.track_id for t in found] == [1, 2, 3, 4]
        places = np.array([(t.x_um, t.y_um) for t in found])
        assert places == pytest.approx(cells, abs=0.5)
        if number:
            assert max(abs(t.vx_um_s) for t in found) < 0.05


def test_the_wrong_pixel_map_loses_them():
    """Guards the test above: it must be the map that keeps identities."""
    true = MAPS["rotated and mirrored"]
    cells = true.to_sample(np.array([(60.0, 70.0), (90.0, 120.0)]), 0.0, 0.0)
    pipe = pipeline(*CHAIN)
    for number, stage in enumerate([(0.0, 0.0), (30.0, -20.0)]):
        image = field(true.to_image(cells, *stage))
        shot = frame(image, number, stage=stage, pixel_map=ONE_UM)
        seen = pipe.see(shot, number * 5.0)
    assert len(seen.tracks) > 2


def test_moving_frames_are_marked_and_not_linked():
    places = [[(60, 60), (60, 120)]] * 4
    pipe = pipeline(*CHAIN)
    film(pipe, [field(p) for p in places])
    smeared = field([(60, 90)])
    seen = [pipe.see(frame(smeared, 4 + n, moving=True), 20.0 + n) for n in range(5)]
    for observation in seen:
        assert observation.moving
        assert len(observation.detections) == 1
        assert [t.state for t in observation.tracks] == ["active", "active"]
        assert [t.detection for t in observation.tracks] == [None, None]
    after = pipe.see(frame(field(places[0]), 9), 26.0)
    assert [t.track_id for t in after.tracks] == [1, 2]
    assert [t.detection is not None for t in after.tracks] == [True, True]


def test_no_track_crosses_stage_positions():
    pipe = pipeline(*CHAIN)
    counts = {View(0): [(60, 60)], View(1): [(60, 62), (60, 120)]}
    for number in range(8):
        view = View(number % 2)
        shot = frame(field(counts[view]), number, view=view, group=(number,))
        seen = pipe.see(shot, float(number))
        assert ids(seen) == set(range(1, len(counts[view]) + 1))
        assert {t.frames for t in seen.tracks} == {number // 2 + 1}
        assert seen.view == view


def test_forgetting_a_view_leaves_the_other():
    pipe = pipeline(*CHAIN)
    for view in (View(0), View(1)):
        for number in range(3):
            shot = frame(field([(60, 60)]), number, view=view)
            pipe.see(shot, float(number))
    pipe.forget(View(0))
    kept = [
        pipe.see(frame(field([(60, 60)]), 3, view=v), 3.0).tracks[0].frames
        for v in (View(0), View(1))
    ]
    assert kept == [1, 4]
    pipe.reset()
    again = pipe.see(frame(field([(60, 60)]), 4, view=View(1)), 4.0)
    assert again.tracks[0].frames == 1


def test_memory_does_not_grow_with_time():
    pipe = pipeline(*CHAIN, {"mitosis": {}})
    rng = np.random.default_rng(0)
    for number in range(40):
        points = rng.uniform(15, 145, (6, 2))
        pipe.see(frame(field(points, shape=(160, 160)), number), number * 5.0)
    track, mitosis = pipe._memory[View()].states[2:]
    assert track.next_id > 40
    assert len(track.followed) < 40
    assert set(mitosis.nuclei) == {t.track_id for t in track.followed}


def test_features_of_a_channel_not_taken_now_are_kept():
    pipe = pipeline(
        "segment",
        {"measure": {"on": {"channel": ["FITC", "Cy5"]}}},
        QUICK,
        channels=("FITC", "Cy5"),
    )
    image = field([(60, 60)])
    pipe.see(frame(image, 0, group=(0,), last_of_group=False), 0.0)
    pipe.see(frame(image // 2, 1, group=(0,), channel="Cy5"), 0.0)
    seen = pipe.see(frame(image, 2, group=(1,)), 5.0)
    assert "mean_Cy5" not in seen.detections.features
    assert seen.tracks[0].features["mean_Cy5"] == pytest.approx(150, rel=0.15)


def test_the_same_frames_give_the_same_observations():
    images = dividing_film(9)
    stages = ("background", *CHAIN, {"mitosis": {"confirm_frames": 1}})
    first, second = (film(pipeline(*stages), images) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert encode(a) == encode(b)
        assert np.array_equal(a.pictures.labels, b.pictures.labels)
        assert np.array_equal(a.pictures.processed, b.pictures.processed)


def test_warming_up_leaves_no_trace():
    images = dividing_film(5)
    cold, warm = pipeline(*CHAIN), pipeline(*CHAIN)
    warm.warm_up((512, 512))
    for a, b in zip(film(cold, images), film(warm, images), strict=True):
        assert encode(a) == encode(b)


def test_ids_and_lines_survive_without_a_stage():
    pipe = pipeline(*CHAIN)
    for number in range(3):
        state = HardwareState(channel="FITC")
        seen = pipe.see(frame(field([(60, 60)]), number, state=state), float(number))
    assert ids(seen) == {1}
    assert seen.tracks[0].x_um == pytest.approx(60, abs=0.5)


def test_ended_tracks_are_reported_once():
    rng = np.random.default_rng(3)
    images = [field(rng.uniform(20, 140, (4, 2))) for _ in range(15)]
    seen = film(pipeline(*CHAIN), images)
    ended = [t.track_id for o in seen for t in o.tracks if t.state == "ended"]
    assert len(ended) == len(set(ended)) > 5
    for before, after in pairwise(seen):
        assert not ids(before, "ended") & ids(after)
