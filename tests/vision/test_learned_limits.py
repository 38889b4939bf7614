"""Networks gone wild cost a bounded time; what never worked is not gone on without."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from learned_nets import conv, identity, package
from vision_fields import frame, pipeline

from smartscope.core import ModelError
from smartscope.vision.decode import heat_to_points, rays_to_labels
from smartscope.vision.decode._overlap import Shapes
from smartscope.vision.decode._stars import _surest, _surest_of

FAST = {"runtime": "onnxruntime", "threads": 1}


def everywhere(side, seed=0):
    """A map that proposes an object of some size at each element."""
    random = np.random.default_rng(seed)
    prob = (0.6 + 0.3 * random.random((side, side))).astype(np.float32)
    rays = (2 + 8 * random.random((32, side, side))).astype(np.float32)
    return prob, rays


def test_of_too_many_proposals_the_maxima_are_looked_at():
    prob, rays = everywhere(160)
    # Sure ones, and weak ones that are still the best far and wide.
    sure, weak = (40, 40), (120, 120)
    prob[sure] = 0.99
    prob[weak[0] - 6 : weak[0] + 7, weak[1] - 6 : weak[1] + 7] = 0.51
    prob[weak] = 0.52
    rays[:, weak[0], weak[1]] = rays[:, sure[0], sure[1]] = 4
    shape = (320, 320)
    found = rays_to_labels(prob, rays, shape=shape, grid=2, threshold=0.5)
    assert found.left_out == 160 * 160 - 16384
    middles = set(zip(found.y_px.tolist(), found.x_px.tolist(), strict=True))
    assert {(80.0, 80.0), (240.0, 240.0)} <= middles
    few = np.where(prob > 0.75, prob, 0)
    assert (few > 0.5).sum() < 16384
    assert rays_to_labels(few, rays, shape=shape, grid=2, threshold=0.5).left_out == 0


def test_winners_by_groups_are_those_of_all_at_once():
    prob, rays = everywhere(40, seed=3)
    place = np.argsort(-prob.ravel(), kind="stable")
    y, x = np.divmod(place, 40)
    shapes = Shapes.of(2 * y, 2 * x, rays.reshape(32, -1)[:, place].T)
    rows = np.arange(len(shapes))
    assert len(rows) > 4 * 256
    together = _surest_of(shapes, rows, 0.4)
    np.testing.assert_array_equal(_surest(shapes, rows, 0.4), together)


@pytest.mark.parametrize("apart", [2.5, 7.0, 40.0])
def test_peaks_keep_their_distance_however_many_there_are(apart):
    heat = np.random.default_rng(1).random((90, 110), dtype=np.float32)
    found = heat_to_points(heat, threshold=0.1, min_distance_px=apart)
    every = heat_to_points(heat, threshold=0.1, min_distance_px=0)
    # The plain way: best first, each against all that stand.
    at = np.rint(np.column_stack([every.y_px, every.x_px]))
    stand = []
    for row in np.argsort(-every.score, kind="stable"):
        ways = [np.hypot(*(at[row] - at[other])) for other in stand]
        if all(way >= apart for way in ways):
            stand.append(row)
    np.testing.assert_array_equal(found.score, every.score[np.sort(stand)])
    assert 1 < len(found) < len(every)


def test_too_many_proposals_are_noted_on_the_frame(tmp_path):
    # Probability is a fifth of the counts, all rays are as long as the image is bright.
    net = conv([[[[0.0005]]], *[[[[0.002]]]] * 8])
    model = package(tmp_path / "net", net, {"kind": "stardist"}, out=9)
    image = np.random.default_rng(0).integers(1200, 1900, (160, 160)).astype(np.uint16)
    for stage in ("segment", "detect"):
        use = {"model": model, "min_area_um2": 0} | FAST
        (note,) = pipeline({stage: use}).see(frame(image), 0.0).notes
        assert note == (
            f"{stage}: {160 * 160 - 16384} of the model's proposals not looked at, too "
            "many"
        )


def test_a_model_that_fails_before_the_first_frame_is_not_gone_on_without(
    tmp_path, caplog
):
    path = tmp_path / "log.onnx"
    # Not finite where the image is brighter than 1, so always.
    path.write_bytes(conv([[[[-1.0]]]], [1.0], then=["Log"]))
    use = {"model": str(path), "on_failure": "skip"} | FAST
    pipe = pipeline({"segment": use})
    with (
        caplog.at_level(logging.WARNING, logger="smartscope.vision"),
        pytest.raises(ModelError, match="not finite"),
    ):
        pipe.warm_up((40, 40))
    assert caplog.records == []


def test_flows_are_cut_at_even_chance_unless_something_else_is_said(tmp_path):
    # A logit is 0 where a probability is one half.
    decoder = {"kind": "flows"}
    model = package(tmp_path / "flows", conv(identity(3)), decoder, channels=3, out=3)
    names = ["a", "b", "c"]
    for said, cut in ((None, 0.0), (0.3, 0.3)):
        use = {"model": model, "on": {"channel": names}} | FAST
        pipe = pipeline({"segment": use}, channels=names)
        (_, stage), *_ = pipe._stages
        assert stage.learned.threshold(said) == cut


@pytest.mark.parametrize("stage", ["spots", "detect", "localise"])
def test_a_radius_that_is_written_goes_before_that_of_the_package(stage, tmp_path):
    decoder = {"kind": "spots", "min_distance_px": 12, "threshold": 0.5}
    model = package(tmp_path / "net", conv([[[[0.001]]]]), decoder)
    image = np.full((40, 60), 100, dtype=np.uint16)
    image[20, 20], image[20, 28] = 900, 800
    for said, found in (({}, 1), ({"radius_um": 3}, 2)):
        pipe = pipeline({stage: {"model": model, **said} | FAST})
        assert len(pipe.see(frame(image), 0.0).detections) == found
