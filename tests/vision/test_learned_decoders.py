"""Every decoder in every stage that takes it, through real networks."""

from __future__ import annotations

import numpy as np
import pytest
from learned_nets import FIRST, conv, identity, package
from vision_fields import frame, pipeline

from smartscope.core import ConfigError, ModelError, PixelMap

FINE = PixelMap(((0.5, 0.0), (0.0, 0.5)), (0.0, 0.0))
CENTRES = ((20, 30), (40, 70), (60, 26))


def points_image(points=CENTRES, shape=(80, 100), value=1):
    """Single pixels of `value`, 0 elsewhere."""
    image = np.zeros(shape, dtype=np.uint16)
    for y, x in points:
        image[y, x] = value
    return image


def see(stage, image, **changes):
    """Observation of one image, in fine pixels."""
    pipe = pipeline({name: use | FAST for name, use in stage.items()})
    return pipe.see(frame(image, pixel_map=FINE, **changes), 0.0)


FAST = {"runtime": "onnxruntime", "threads": 1}


def stars(tmp_path, *, rays=16, radius=6.0, stride=1, **more):
    """Probability is the image; every ray has one length."""
    weights = np.zeros((1 + rays, 1, 1, 1))
    weights[0] = 1
    net = conv(weights, [0, *[radius] * rays], stride=stride)
    decoder = {"kind": "stardist", "grid": stride} | more
    return package(tmp_path / "stars", net, decoder, out=1 + rays, grid=stride)


@pytest.mark.parametrize("stage", ["segment", "detect"])
@pytest.mark.parametrize("stride", [1, 2])
def test_stars_become_objects(stage, stride, tmp_path):
    model = stars(tmp_path, stride=stride)
    use = {"model": model, "min_area_um2": 1}
    seen = see({stage: use}, points_image())
    found = seen.detections
    order = np.lexsort((found.x_px, found.y_px))
    assert len(found) == 3
    assert np.allclose(found.y_px[order], [20, 40, 60], atol=0.6)
    assert np.allclose(found.x_px[order], [30, 70, 26], atol=0.6)
    # A disk of radius 6 px at 0.5 um.
    assert np.allclose(found.area_um2, np.pi * 9, rtol=0.1)
    assert (found.score == 1).all()
    labels = seen.pictures.labels
    if stage == "detect":
        assert labels is None
    else:
        assert labels.max() == 3 and labels[20, 30] > 0


def test_areas_are_kept_with_their_scores(tmp_path):
    weights = np.zeros((9, 1, 1, 1))
    weights[0], weights[1:] = 0.1, 1.0
    net = conv(weights)
    model = package(tmp_path / "net", net, {"kind": "stardist", "grid": 1}, out=9)
    image = points_image(value=6) + points_image([(20, 80)], value=9)
    both = see({"segment": {"model": model, "min_area_um2": 1}}, image).detections
    assert sorted(both.score.round(2)) == [0.6, 0.6, 0.6, 0.9]
    # Rays as long as the value: the surest is the largest.
    large = see({"segment": {"model": model, "min_area_um2": 40}}, image).detections
    assert large.score.round(2).tolist() == [0.9]
    assert large.label.tolist() == [1]


def test_flows_become_objects(tmp_path):
    y, x = np.indices((60, 80))
    bias = 1000
    planes = np.zeros((3, 60, 80))
    planes[2] = -10
    for cy, cx in ((20, 20), (20, 32), (40, 60)):
        dy, dx = cy - y, cx - x
        inside = (dy**2 + dx**2 <= 36) & (planes[2] < 0)
        length = np.maximum(np.hypot(dy, dx), 1)
        planes[0][inside] = 5 * (dy / length)[inside]
        planes[1][inside] = 5 * (dx / length)[inside]
        planes[2][inside] = 4
    net = conv(0.01 * identity(3), [-10.0] * 3)
    decoder = {"kind": "flows", "flow_threshold": 0}
    model = package(tmp_path / "flows", net, decoder, channels=3, out=3)
    names = ("fy", "fx", "p")
    on = {"channel": list(names)}
    use = {"model": model, "threshold": 0.0, "min_area_um2": 2, "on": on}
    pipe = pipeline({"segment": use | FAST}, channels=names)
    counts = np.rint(100 * planes + bias).astype(np.uint16)
    for c, name in enumerate(names):
        seen = pipe.see(
            frame(
                counts[c],
                c,
                channel=name,
                index={"t": 0, "c": c},
                group=("t", 0),
                last_of_group=c == 2,
                pixel_map=FINE,
            ),
            0.0,
        )
    assert len(seen.detections) == 3
    assert (seen.detections.score > 0.9).all()


def test_a_border_channel_parts_what_touches(tmp_path):
    image = np.zeros((40, 60), dtype=np.uint16)
    image[10:30, 10:30], image[10:30, 31:50] = 1, 1
    image[10:30, 30] = 2
    # Foreground is the image; the border is far above it where that is 2.
    net = conv([[[[1.0]]], [[[4.0]]]], [0.0, -4.0], then=["Relu"])
    decoder = {"kind": "mask", "border_channel": 1}
    model = package(tmp_path / "parted", net, decoder, out=2)
    use = {"model": model, "min_area_um2": 1}
    assert len(see({"segment": use}, image).detections) == 2


@pytest.mark.parametrize("stage", ["spots", "detect", "localise"])
def test_a_heat_map_becomes_points(stage, tmp_path):
    y, x = np.indices((60, 80))
    image = np.zeros((60, 80))
    truth = np.array([[15.3, 20.6], [30.0, 60.25], [45.8, 33.4]])
    for cy, cx in truth:
        image += 900 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    net = conv([[[[0.001]]]])
    model = package(tmp_path / "heat", net, {"kind": "spots", "threshold": 0.3})
    use = {"model": model, "radius_um": 1.5}
    found = see({stage: use}, np.rint(image).astype(np.uint16)).detections
    points = np.column_stack([found.y_px, found.x_px])
    assert np.abs(points - truth).max() < 0.05
    assert np.allclose(found.y_um, points[:, 0] * 0.5)
    assert (found.area_um2 > 0).all()


def test_emitters_have_their_features(tmp_path):
    weights = np.zeros((10, 1, 1, 1))
    weights[0] = 1
    bias = [0, 500, 0.25, -0.125, 0.3, 20, 0.1, 0.2, 0.05, 7]
    model = package(
        tmp_path / "emitters", conv(weights, bias), {"kind": "emitters"}, out=10
    )
    found = see({"localise": {"model": model}}, points_image()).detections
    assert len(found) == 3
    assert np.allclose(found.x_px, [30.25, 70.25, 26.25])
    assert np.allclose(found.y_px, [19.875, 39.875, 59.875])
    expected = {
        "photons": 500,
        "z_um": 0.3,
        "sigma_photons": 20,
        "sigma_x_um": 0.05,
        "sigma_y_um": 0.1,
        "sigma_z_um": 0.05,
        "background": 7,
    }
    assert set(found.features) == set(expected)
    for name, value in expected.items():
        assert np.allclose(found.features[name], value), name


def test_a_painted_density_becomes_points(tmp_path):
    decoder = {"kind": "emitters", "density": True, "upsampling": 1}
    model = package(tmp_path / "density", conv(FIRST), decoder)
    found = see({"localise": {"model": model}}, points_image()).detections
    assert found.y_px.tolist() == [20, 40, 60]
    assert found.features["photons"].tolist() == [1, 1, 1]


POOLED = ["GlobalAveragePool", "Flatten"]


def brightness(tmp_path, size=8, **more):
    """Classes ``dim`` and ``bright``: 1 - mean and mean of the crop."""
    net = conv([[[[-1.0]]], [[[1.0]]]], [1.0, 0.0], then=POOLED)
    decoder = {"kind": "classes", "names": ["dim", "bright"]}
    model = {"out": 2, "size": size, "vector": True} | more
    return package(tmp_path / "classes", net, decoder, **model)


def test_every_object_gets_its_class(tmp_path):
    image = np.zeros((60, 80), dtype=np.uint16)
    image[10:30, 10:30], image[25:45, 50:70] = 1, 2
    halves = [{"scale_linear": {"gain": 0.5}}]
    mask = {"path": str(tmp_path / "mask.onnx"), "preprocessing": halves}
    (tmp_path / "mask.onnx").write_bytes(conv(FIRST))
    pipe = pipeline(
        {"segment": {"model": mask, "threshold": 0.4, "min_area_um2": 5} | FAST},
        {"classify": {"model": brightness(tmp_path)} | FAST},
        "track",
        {"event": {"kind": "lit", "feature": "class_bright", "above": 2}},
    )
    seen = pipe.see(frame(image, pixel_map=FINE), 0.0)
    found = seen.detections
    assert found.features["class_bright"].round(3).tolist() == [1, 2]
    assert found.features["class_dim"].round(3).tolist() == [0, -1]
    assert found.features["class"].tolist() == [1, 1]
    assert found.features["confidence"].round(3).tolist() == [1, 2]
    assert seen.tracks[1].features["class_bright"] == pytest.approx(2)


def test_crops_have_the_size_that_is_wanted_and_repeat_the_border(tmp_path):
    image = points_image([(2, 2)], shape=(40, 40), value=1)
    spots = conv(FIRST)
    heat = package(tmp_path / "heat", spots, {"kind": "spots"})

    def bright(**more):
        pipe = pipeline(
            {"spots": {"model": heat, "radius_um": 1} | FAST},
            {"classify": {"model": brightness(tmp_path), **more} | FAST},
        )
        found = pipe.see(frame(image, pixel_map=FINE), 0.0).detections
        return float(found.features["class_bright"][0])

    # One pixel of 8 x 8, then of 4 x 4 (2 um), which is then enlarged.
    assert bright() == pytest.approx(1 / 64)
    assert bright(crop_um=2) == pytest.approx(1 / 16, rel=0.2)


def test_an_image_has_a_class_too(tmp_path):
    model = brightness(tmp_path, size=None)
    seen = see({"classify": {"model": model, "each": "image"}}, np.ones((20, 20), "u2"))
    assert seen.measurements == {
        "class_dim": 0,
        "class_bright": 1,
        "class": 1,
        "confidence": 1,
    }
    assert len(seen.detections) == 0


REFUSED = {
    "the size of a crop": (
        {"classify": {"model": "free"}},
        ["segment"],
        "does not say which size of crop",
    ),
    "objects": ({"classify": {"model": "fixed"}}, [], "'classify' needs objects"),
    "no model": ({"detect": {}}, [], "'detect' needs a model"),
    "scale of crops": (
        {"classify": {"model": "fixed", "scale": 2}},
        ["segment"],
        "resized by 'crop_um', not by 'scale'",
    ),
    "wrong stage": (
        {"segment": {"model": "fixed"}},
        [],
        "gives 'classes', this stage needs .*; use it in 'classify'",
    ),
    "runtime alone": (
        {"segment": {"runtime": "auto"}},
        [],
        "'runtime' belongs to 'model', which is not given",
    ),
    "address": (
        {"classify": {"model": "fixed", "runtime": {"remote": "gpu box"}}},
        ["segment"],
        "vision.1.classify.runtime",
    ),
    "scale without a pixel size": (
        {"classify": {"model": "free", "each": "image", "scale": "auto"}},
        [],
        "'scale: auto' cannot know",
    ),
    "channels": (
        {"classify": {"model": "fixed", "on": {"channel": ["A", "B"]}}},
        ["segment"],
        "the model wants 1 channel, and gets 2 .A, B.",
    ),
    "planes of a flat model": (
        {"classify": {"model": "fixed", "on": {"z": "all"}}},
        ["segment"],
        "the model knows no planes",
    ),
    "planes of a classical stage": (
        {"segment": {"on": {"z": "all"}}},
        [],
        "vision.0.segment.on.z: 'segment' looks at one plane, not at a stack",
    ),
    "unknown model": ({"detect": {"model": "nucleii"}}, [], "vision.0.detect.model: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence_each(name, tmp_path):
    stage, before, expected = REFUSED[name]
    free = brightness(tmp_path, size=None)
    (tmp_path / "classes").rename(tmp_path / "free")
    brightness(tmp_path)
    (tmp_path / "classes").rename(tmp_path / "fixed")
    assert free
    with pytest.raises(ConfigError, match=expected) as caught:
        pipeline(*before, stage, channels=("A", "B"), base_dir=tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


LYING = {
    "rays": ({"kind": "stardist"}, 3, "'stardist' needs 4 channels, .* has 3"),
    "flows": ({"kind": "flows"}, 2, "'flows' needs 3 channels, .* has 2"),
    "maps": ({"kind": "emitters"}, 3, "'emitters' needs 10 channels, .* has 3"),
    "more": ({"kind": "emitters"}, 12, "'emitters' are 10 maps, the model gives 12"),
}


@pytest.mark.parametrize("name", LYING)
def test_a_decoder_that_does_not_fit_the_outputs(name, tmp_path):
    decoder, out, expected = LYING[name]
    net = conv(np.ones((out, 1, 1, 1)))
    model = package(tmp_path / "lie", net, decoder, out=out)
    stage = "localise" if decoder["kind"] == "emitters" else "segment"
    wrong = ModelError if name == "more" else ConfigError
    with pytest.raises(wrong, match=expected) as caught:
        see({stage: {"model": model}}, points_image())
    assert "\n" not in str(caught.value)
