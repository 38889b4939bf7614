from __future__ import annotations

import numpy as np
import pytest

KIND = "crawling_animal"


@pytest.fixture
def worm(lab):
    def make(seed=3, side=16, **parameters):
        view = lab.full_view(side)
        return lab.Bench(seed=seed, kind=KIND, view=view, **parameters)

    return make


def _life(bench, seconds, every_s=0.5):
    """Truths of a life in the dark."""
    truths = []
    for t_s in np.arange(0.0, seconds, every_s):
        bench.expose(t_s, 0.0)
        truths.append(bench.truth(t_s))
    return truths


@pytest.mark.parametrize("body", ["worm", "cell"])
def test_it_leaves_the_field_within_seconds(lab, body):
    field = {"worm": 512.0, "cell": 51.2}[body]
    gone = 0
    for seed in range(6):
        bench = lab.Bench(seed=seed, kind=KIND, body=body)
        x, y = np.array(
            [(t.x_um[0], t.y_um[0]) for t in map(bench.truth, np.arange(0.0, 20.0, 2))]
        ).T
        gone += max(np.ptp(x), np.ptp(y)) > field / 2
    assert gone >= 5


def test_runs_have_their_speed_pauses_stand_and_reversals_go_back(worm):
    truths = _life(worm(), 600.0)
    speed = np.array([t.measures["speed_um_s"][0] for t in truths])
    act = np.array([t.phase[0] for t in truths])
    assert speed[act == "run"].mean() == pytest.approx(110.0, rel=0.1)
    assert 0.1 < speed[act == "run"].std() / 110.0 < 0.4
    assert np.median(np.abs(speed[act == "pause"])) < 15.0
    assert np.median(speed[act == "reversal"]) < -50.0
    assert 0.6 < np.mean(act == "run") < 0.95


def test_the_body_moves_as_the_speed_says_along_its_heading(worm):
    bench = worm(drift_um_s=(0.0, 0.0, 0.0), swing_rad=0.0, persistence_um=1e9)
    a, b = bench.truth(0.5), bench.truth(0.55)
    speed, heading = a.measures["speed_um_s"][0], a.measures["heading_rad"][0]
    moved = np.array([b.x_um[0] - a.x_um[0], b.y_um[0] - a.y_um[0]])
    ahead = np.array([np.cos(heading), np.sin(heading)])
    assert moved == pytest.approx(0.05 * speed * ahead, abs=1e-3)


def test_the_body_slides_along_the_track_of_the_head(worm):
    bench = worm(drift_um_s=(0.0, 0.0, 0.0), run_s=1e6, speed_spread=0.0)
    truths = _life(bench, 12.0, 0.05)
    head = np.array([[t.measures[f"head_{a}_um"][0] for a in "xy"] for t in truths])
    middle = np.array([[t.x_um[0], t.y_um[0]] for t in truths])
    late = middle[len(middle) // 2 :]
    gap = np.linalg.norm(late[:, None] - head[None], axis=2).min(axis=1)
    assert gap.max() < 4.0
    assert np.linalg.norm(np.ptp(late, axis=0)) > 300


def test_sharp_turns_follow_reversals_and_change_the_direction(worm):
    bench = worm(run_s=6.0, area_um=(1e5, 1e5))
    truths = _life(bench, 600.0)
    events = truths[-1].events
    back = [e for e in events if e.kind == "reversal"]
    turns = [e for e in events if e.kind == "turn"]
    assert len(back) > 25
    assert len(turns) / len(back) == pytest.approx(0.6, abs=0.25)
    ends = {e.end_s for e in back}
    assert all(min(abs(t.onset_s - end) for end in ends) <= 0.2 for t in turns)
    x, y = (np.array([getattr(t, a)[0] for t in truths]) for a in ("x_um", "y_um"))

    def turned(event):
        i, j = (int(2 * t) for t in (event.onset_s, event.end_s))
        if i < 12 or j + 12 >= len(x):
            return np.nan
        before = np.arctan2(y[i - 4] - y[i - 12], x[i - 4] - x[i - 12])
        after = np.arctan2(y[j + 12] - y[j + 4], x[j + 12] - x[j + 4])
        return abs((after - before + np.pi) % (2 * np.pi) - np.pi)

    assert np.nanmean([turned(e) for e in turns]) > 1.2


def test_it_keeps_to_its_area_and_its_memory_is_bounded(worm):
    bench = worm(area_um=(1500.0, 900.0))
    truths = _life(bench, 300.0)
    x, y = (np.array([getattr(t, a)[0] for t in truths]) for a in ("x_um", "y_um"))
    assert 500 < np.abs(x).max() < 750 + 330
    assert 200 < np.abs(y).max() < 450 + 330
    biology, first = bench.specimen.biology, worm().specimen
    short, long = (first._advance(first._kept[0], 10**9 * t).state
                   for t in (200, 600))  # fmt: skip
    assert abs(len(short.track.xy_um) - len(long.track.xy_um)) <= 8
    assert len(biology.points(long, 0.0)) == 13


def test_the_same_seed_is_the_same_animal_however_often_it_is_watched(worm):
    often, once = worm(), worm()
    _life(often, 60.0, 0.37)
    a, b = often.truth(60.0), once.truth(60.0)
    assert a.x_um[0] == b.x_um[0]
    assert a.events == b.events
    assert worm(seed=4).truth(60.0).x_um[0] != a.x_um[0]
    often.set(60.0, x_um=a.x_um[0], y_um=a.y_um[0])
    once.set(60.0, x_um=a.x_um[0], y_um=a.y_um[0])
    assert np.array_equal(often.snap(60.0), once.snap(60.0))


def test_truth_shows_events_only_when_they_happen(worm):
    events = worm().truth(200.0).events
    early = worm().truth(events[2].onset_s - 0.01).events
    assert len(early) == 2
    begun = worm().truth(events[2].onset_s + 0.05).events
    assert np.isnan(begun[2].end_s)


def test_the_neuron_is_bright_in_the_head_and_bleaches(lab, worm):
    bench = worm(
        side=512, gut=0.0, speed_um_s=0.0, vignetting=0.0, bleach_half_dose=50.0
    )
    image = bench.snap(1.0)
    truth = bench.truth(1.0)
    head = [truth.measures[f"head_{a}_um"][0] + 255.5 for a in "yx"]
    (y, x), _ = lab.moments(image, 400)
    assert np.hypot(y - head[0], x - head[1]) < 50
    bench.light(2.0, 2.5)
    dimmer = bench.snap(3.0)
    before, after = (lab.photons(i, 512 * 512 * 20.0) for i in (image, dimmer))
    assert after / before == pytest.approx(2**-1.03, rel=0.05)
    assert bench.truth(2.5).brightness[0] == pytest.approx(2 ** -(52 / 50), rel=1e-6)


def test_label_free_it_is_dark_on_a_bright_ground(lab):
    view = lab.full_view(512, channel="BF")
    bench = lab.Bench(
        kind=KIND, view=view, channels={"BF": "brightfield"}, speed_um_s=0
    )
    image = bench.snap(0.5)
    ground = np.median(image)
    dark = image < 0.9 * ground
    y, x = np.nonzero(dark)
    truth = bench.truth(0.5)
    assert 0.5 * 320 * 20 < dark.sum() < 1.5 * 320 * 20
    where = (truth.y_um[0] + 255.5, truth.x_um[0] + 255.5)
    assert np.hypot(y.mean() - where[0], x.mean() - where[1]) < 25


def test_light_slows_it_down_and_kills_it(worm):
    bench = worm(
        side=512, harm_dose=100.0, speed_spread=0.0, run_s=1e6, speed_um_s=20.0
    )
    assert bench.truth(0.9).measures["speed_um_s"][0] == pytest.approx(20.0)
    bench.light(1.0, 2.5)
    bench.expose(4.0, 0.0)
    hurt = bench.truth(4.0)
    assert hurt.alive[0]
    assert 2.0 < hurt.measures["speed_um_s"][0] < 14.0
    bench.light(4.0, 5.0)
    bench.expose(6.0, 0.0)
    dead = bench.truth(6.0)
    assert not dead.alive[0]
    assert dead.measures["speed_um_s"][0] == 0.0
    assert bench.truth(20.0).x_um[0] == pytest.approx(dead.x_um[0], abs=0.1)
