"""Semantic maps and flows to instances."""

from __future__ import annotations

import decode_reference as ref
import numpy as np
import pytest

from smartscope.vision.decode import flows_to_labels, masks_to_labels
from smartscope.vision.decode._basins import Basins
from smartscope.vision.decode._flow_error import flow_errors
from smartscope.vision.decode._flows import _walk
from smartscope.vision.decode._regrow import fill_label_holes

SHAPE = (118, 131)
EMPTY = [(0, 0), (1, 1), (1, 9), (40, 30)]


@pytest.fixture(scope="module")
def truth():
    return ref.disk_labels(SHAPE, ref.grid_of_disks(SHAPE, 24, 13))


def probability(labels):
    return np.where(labels > 0, 0.9, 0.1).astype(np.float32)


def outline(labels):
    """Pixels of objects that touch anything else."""
    around = np.pad(labels, 1, mode="edge")
    cuts = [
        around[1 + dy : 1 + dy + labels.shape[0], 1 + dx : 1 + dx + labels.shape[1]]
        != labels
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    return np.any(cuts, axis=0) & (labels > 0)


@pytest.mark.parametrize("given", ["nothing", "distance", "border"])
def test_touching_and_cut_objects_are_told_apart(truth, given) -> None:
    more = {}
    if given == "distance":
        more["distance"] = sum(
            ref.gaussian_heat(SHAPE, [np.argwhere(truth == k).mean(axis=0)], 7)
            * (truth == k)
            for k in range(1, truth.max() + 1)
        )
    elif given == "border":
        more["border"] = 0.9 * outline(truth).astype(np.float32)
    labels = masks_to_labels(probability(truth), threshold=0.5, fill_holes=True, **more)
    assert labels.dtype == np.int32
    assert ((labels > 0) == (truth > 0)).all()
    assert ref.same_objects(truth, labels, 0.8)
    again = masks_to_labels(probability(truth), threshold=0.5, fill_holes=True, **more)
    assert (labels == again).all()


def test_one_long_object_stays_one() -> None:
    mask = np.zeros((40, 90), np.float32)
    mask[15:27, 5:85] = 1
    assert masks_to_labels(mask, threshold=0.5, fill_holes=True).max() == 1
    mask[18:24, 40:50] = 0
    mask[20:22, 40:50] = 1
    assert masks_to_labels(mask, threshold=0.5, fill_holes=True).max() == 2


def test_sizes_and_holes() -> None:
    mask = np.zeros((50, 60), np.float32)
    mask[2:5, 2:5] = mask[10:20, 10:20] = mask[25:50, 20:60] = 1
    mask[13:16, 13:16] = 0
    asked = {"threshold": 0.5, "min_area_px": 10, "max_area_px": 900}
    labels = masks_to_labels(mask, fill_holes=True, **asked)
    assert (labels[10:20, 10:20] == 1).all()
    assert (labels > 0).sum() == 100
    assert (masks_to_labels(mask, fill_holes=False, **asked) > 0).sum() == 91


def test_a_hole_belongs_to_one_object_alone() -> None:
    labels = np.zeros((12, 20), np.int32)
    labels[1:10, 1:10], labels[1:10, 10:19] = 1, 2
    labels[3:5, 3:5] = labels[4:7, 8:12] = labels[0:3, 15] = 0
    labels[7, 2:4] = labels[8, 4] = 0
    filled = fill_label_holes(labels)
    changed = np.argwhere(filled != labels).tolist()
    assert changed == [[3, 3], [3, 4], [4, 3], [4, 4], [7, 2], [7, 3], [8, 4]]
    assert (filled[filled != labels] == 1).all()


@pytest.mark.parametrize("cores", ["none", "all"])
def test_saturated_maps_are_objects_too(cores) -> None:
    full = np.ones((60, 70), np.float32)
    border = full if cores == "none" else 0 * full
    for more in ({}, {"border": border}, {"distance": full}):
        labels = masks_to_labels(full, threshold=0.5, fill_holes=True, **more)
        assert (labels == 1).all()


def test_every_pixel_climbs_to_the_top_of_its_hill() -> None:
    rng = np.random.default_rng(0)
    height = rng.random((15, 17)).astype(np.float32)
    mask = rng.random(height.shape) > 0.2
    basins = Basins.of(height, mask)
    tops = {}
    for flat, basin in zip(basins.where, basins.basin, strict=True):
        y, x = divmod(int(flat), 17)
        assert mask[y, x]
        while True:
            near = [
                (y + dy, x + dx)
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if 0 <= y + dy < 15 and 0 <= x + dx < 17 and mask[y + dy, x + dx]
            ]
            best = max(near, key=lambda at: height[at])
            if best == (y, x):
                break
            y, x = best
        assert tops.setdefault(basin, (y, x)) == (y, x)
        assert basins.peak[basin] == height[y, x]
    assert len(basins.where) == mask.sum()
    assert (np.diff(basins.saddle) <= 0).all()
    assert basins.area.sum() == mask.sum()
    owner = np.full(mask.shape, -1)
    owner.ravel()[basins.where] = basins.basin
    for (a, b), saddle in zip(basins.passes, basins.saddle, strict=True):
        ways = [
            min(height[p], height[q])
            for p in map(tuple, np.argwhere(owner == a))
            for q in map(tuple, np.argwhere(owner == b))
            if max(abs(p[0] - q[0]), abs(p[1] - q[1])) == 1
        ]
        assert saddle == max(ways)


@pytest.fixture(scope="module")
def flows(truth):
    return ref.flows_of_labels(truth)


def test_flows_give_back_the_instances(truth, flows) -> None:
    labels = flows_to_labels(flows, 10 * probability(truth) - 5)
    assert labels.dtype == np.int32
    assert ref.same_objects(truth, labels, 0.97)


def test_noisy_flows_give_back_the_instances(truth, flows) -> None:
    noise = np.random.default_rng(0).normal(0, 1.0, flows.shape).astype(np.float32)
    labels = flows_to_labels(flows + noise, 10 * probability(truth) - 5)
    assert ref.same_objects(truth, labels, 0.9)


def test_walks_end_where_each_alone_would(truth, flows) -> None:
    cell = (truth > 0) & (truth < 6)
    y, x = np.nonzero(cell)
    field = np.where(cell, flows / 5, 0).astype(np.float32)
    ends = _walk(field, y, x, 30)
    alone = ref.walk_flows(flows, cell, 30)
    # What runs together is followed as one, and circles around the same middle.
    assert np.abs(ends + 0.5 - alone).max() < 2.5
    assert (np.abs(ends - np.floor(alone)).max(axis=1) == 0).mean() > 0.5


def test_instances_that_deny_their_flow_are_dropped() -> None:
    truth = ref.disk_labels((50, 90), [(25, 22, 14), (25, 66, 14)])
    flows = ref.flows_of_labels(truth)
    wrong = truth == 2
    # At an angle: it still runs together, in a spiral, and is 0.6 off everywhere.
    aside = np.stack([-flows[1], flows[0]])
    turned = np.where(wrong, 0.7 * flows + np.sqrt(0.51) * aside, flows).astype("f4")
    logit = 10 * probability(truth) - 5
    assert (flows_to_labels(turned, logit) == (truth == 1)).all()
    assert flows_to_labels(turned, logit, flow_threshold=0.5).max() == 1
    for generous in (0.7, 0.0):
        labels = flows_to_labels(turned, logit, flow_threshold=generous)
        assert ref.same_objects(truth, labels, 0.95)


def test_flow_errors_are_those_of_single_objects(truth, flows) -> None:
    alone = np.where(truth == 5, truth, 0)
    shuffled = np.where(truth == 5, 1, 0).astype(np.int32)
    noise = np.random.default_rng(1).normal(0, 0.5, flows.shape).astype(np.float32)
    given = ref.flows_of_labels(alone) / 5 + noise
    (error,) = flow_errors(shuffled, given)
    inside = truth == 5
    assert error == pytest.approx((noise[:, inside] ** 2).sum(axis=0).mean(), rel=1e-3)
    both = np.where(truth == 9, 2, shuffled).astype(np.int32)
    assert flow_errors(both, given)[0] == pytest.approx(error, rel=1e-3)


def test_small_instances_are_dropped(truth, flows) -> None:
    area = np.bincount(truth.ravel())[1:]
    least = int(np.median(area))
    labels = flows_to_labels(flows, 10 * probability(truth) - 5, min_area_px=least)
    assert labels.max() == pytest.approx((area >= least).sum(), abs=1)
    assert np.bincount(labels.ravel())[1:].min() >= least


@pytest.mark.parametrize("shape", EMPTY)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_blank_maps_raise_nothing(shape, level) -> None:
    blank = np.full(shape, level, np.float32)
    for more in ({}, {"border": blank}, {"distance": blank}):
        labels = masks_to_labels(blank, threshold=0.5, fill_holes=True, **more)
        assert labels.shape == shape
        assert labels.max(initial=0) == (level if blank.size else 0)
    still = np.zeros((2, *shape), np.float32)
    assert not flows_to_labels(still, blank - 0.5).any(), "nothing runs together"
