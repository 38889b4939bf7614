"""Finding and measuring objects: counts, places, empty fields."""

from __future__ import annotations

import numpy as np
import pytest
from vision_fields import field, film, frame, pipeline

from smartscope.core import PixelMap, compose_pixel_map
from smartscope.core.geometry import Orientation, Roi

GRID = [(20 + 30 * i, 20 + 32 * j) for i in range(5) for j in range(5)]
METHODS = ["local", "otsu", "li", {"method": "threshold", "level": 120.0}]


def see(image, *stages, **changes):
    return pipeline(*stages).see(frame(image, **changes), 0.0)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_counts_and_places_to_half_a_pixel(method):
    settings = method if isinstance(method, dict) else {"method": method}
    found = see(field(GRID), "background", {"segment": settings}).detections
    assert len(found) == len(GRID)
    places = np.column_stack([found.y_px, found.x_px])
    for point in GRID:
        assert np.hypot(*(places - point).T).min() < 0.5
    # Cross entropy draws its line lower on the blurred edge than the others.
    assert found.area_um2 == pytest.approx(np.pi * 49, rel=0.3)


@pytest.mark.parametrize("pixel_um", [0.25, 1.0, 2.0])
def test_lengths_are_in_um(pixel_um):
    scale = PixelMap(((pixel_um, 0.0), (0.0, pixel_um)), (0.0, 0.0))
    area = np.pi * 49 * pixel_um**2
    image = field(GRID)
    for least, count in ((0.7 * area, 25), (1.5 * area, 0)):
        stage = {"segment": {"smooth_um": 0.0, "min_area_um2": least}}
        assert len(see(image, stage, pixel_map=scale).detections) == count


def test_dim_objects_beside_bright_ones():
    points = [(40, 40), (40, 100), (40, 160), (110, 40), (110, 100), (110, 160)]
    image = field(points, height=[600, 150, 600, 150, 600, 150])
    found = see(image, "segment").detections
    assert len(found) == 6
    # Each is outlined at half of its own brightness, so all come out alike.
    assert found.area_um2.max() < 1.25 * found.area_um2.min()


def test_touching_objects_are_split_and_single_ones_are_not():
    pair = [(50, 50), (50, 63), (110, 120), (121, 128)]
    image = field(pair, radius=8)
    assert len(see(image, "segment").detections) == 4
    assert len(see(image, {"segment": {"split": "none"}}).detections) == 2
    y, x = np.indices((160, 200))
    ellipse = ((y - 80) / 8) ** 2 + ((x - 100) / 16) ** 2 < 1
    assert len(see((100 + 300 * ellipse).astype(np.uint16), "segment").detections) == 1


def test_split_cuts_through_the_neck():
    image = field([(50, 50), (50, 63)], radius=8, noise=0)
    labels = see(image, "segment").pictures.labels
    assert labels[50, 54] != labels[50, 59]
    assert len(np.unique(labels[42:58, 40:56][labels[42:58, 40:56] > 0])) == 1


def test_upper_area_limit_and_holes():
    y, x = np.indices((160, 200))
    ring = np.hypot(y - 80, x - 100)
    image = (100 + 300 * ((ring < 30) & (ring > 20))).astype(np.uint16)
    filled = see(image, "segment").detections
    open_ = see(image, {"segment": {"fill_holes": False, "split": "none"}}).detections
    assert filled.area_um2[0] == pytest.approx(np.pi * 900, rel=0.05)
    assert open_.area_um2[0] < 0.65 * filled.area_um2[0]
    assert len(see(image, {"segment": {"max_area_um2": 2000.0}}).detections) == 0


EMPTY = {
    "noise": np.random.default_rng(1).normal(100, 10, (256, 256)),
    "poisson": np.random.default_rng(2).poisson(4, (256, 256)),
    "zeros": np.zeros((256, 256)),
    "constant": np.full((256, 256), 300),
    "saturated": np.full((256, 256), 65535),
    "hot pixels": 100 + 5000 * (np.random.default_rng(3).random((256, 256)) > 0.9995),
    "gradient": np.tile(np.linspace(100, 160, 256), (256, 1))
    + np.random.default_rng(4).normal(0, 10, (256, 256)),
    "tiny": np.full((3, 4), 100),
}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name in EMPTY
        for method in (*METHODS[:3], "spots")
        if (name, method) != ("hot pixels", "spots")  # those are spots
    ],
)
def test_nothing_where_nothing_is(name, method):
    stage = "spots" if method == "spots" else {"segment": {"method": method}}
    image = EMPTY[name].astype(np.uint16)
    pipe = pipeline("background", stage, "measure", "track", "mitosis")
    for seen in film(pipe, [image, image]):
        assert len(seen.detections) == 0
        assert seen.measurements["count"] == 0
        assert np.isfinite(list(seen.measurements.values())).all()


def test_eight_bit_frames():
    image = np.clip(field(GRID, height=120), 0, 255).astype(np.uint8)
    seen = see(image, "segment", "measure")
    assert len(seen.detections) == 25
    assert seen.measurements["saturated_fraction"] == 0.0


def test_spots_to_a_fraction_of_a_pixel():
    rng = np.random.default_rng(5)
    points = np.array([(20 + 25 * i, 20 + 25 * j) for i in range(5) for j in range(7)])
    points = points + rng.uniform(-0.5, 0.5, points.shape)
    y, x = np.indices((150, 200))
    image = np.full((150, 200), 100.0)
    for cy, cx in points:
        image += 200 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    image = rng.poisson(image).astype(np.uint16)
    found = see(image, {"spots": {"radius_um": 2.0}}).detections
    assert len(found) == len(points)
    places = np.column_stack([found.y_px, found.x_px])
    errors = [np.hypot(*(places - point).T).min() for point in points]
    assert max(errors) < 0.5 and np.mean(errors) < 0.2


def test_measurements_are_counts_above_background():
    seen = see(field([(50, 50), (50, 120)], height=[200, 400]), "segment", "measure")
    features = seen.detections.features
    assert np.sort(features["mean_FITC"]) == pytest.approx([200, 400], rel=0.15)
    assert features["integrated_FITC"] == pytest.approx(
        features["mean_FITC"] * seen.detections.area_um2
    )
    assert features["eccentricity"].max() < 0.4
    assert features["compactness"].min() > 0.95
    assert seen.measurements["background"] == pytest.approx(100, abs=1)
    assert seen.measurements["noise"] == pytest.approx(5, abs=0.7)
    assert seen.measurements["signal_to_noise"] == pytest.approx(300 / 5, rel=0.2)


def test_saturation_is_what_the_camera_says():
    image = np.full((50, 50), 100, np.uint16)
    image[:10] = 4095
    twelve = {"measure": {"saturation": 4095}}
    assert see(image, "measure").measurements["saturated_fraction"] == 0.0
    assert see(image, twelve).measurements["saturated_fraction"] == 0.2


def test_shapes():
    y, x = np.indices((160, 200))
    bar = (abs(y - 40) < 4) & (abs(x - 60) < 25)
    angle = ((abs(y - 120) < 4) & (abs(x - 120) < 25)) | (
        (abs(x - 98) < 4) & (abs(y - 100) < 25)
    )
    image = (100 + 300 * (bar | angle)).astype(np.uint16)
    seen = see(image, {"segment": {"split": "none"}}, "measure")
    features = seen.detections.features
    assert features["eccentricity"][0] > 0.98
    assert features["compactness"][0] > 0.9 > 0.6 > features["compactness"][1]


@pytest.mark.parametrize("method", ["opening", "minimum", "gaussian"])
def test_background_takes_a_slope_away(method):
    slope = np.tile(np.linspace(0, 600, 200), (160, 1))
    image = (field(GRID, noise=2) + slope).astype(np.uint16)
    stage = {"background": {"method": method, "radius_um": 20.0}}
    assert len(see(image, stage, "segment").detections) == len(GRID)
    flat = see(image, stage, "segment").pictures.processed
    left, right = np.median(flat[:, :30]), np.median(flat[:, -30:])
    assert abs(right - left) < 100


def test_illumination_from_a_file(tmp_path):
    y, x = np.indices((160, 200))
    flat = 1.2 - 0.8 * np.hypot((y - 80) / 160, (x - 100) / 200)
    np.save(tmp_path / "flat.npy", flat * 7.0)
    light = field(GRID, noise=0) - 100.0
    image = np.rint(light * flat + 100).astype(np.uint16)
    stage = {"illumination": {"file": "flat.npy", "offset": 100}}
    pipe = pipeline(
        stage, "segment", {"measure": {"image": "processed"}}, base_dir=tmp_path
    )
    even = pipe.see(frame(image), 0.0).detections.features["mean_FITC"]
    uneven = see(image, "segment", "measure").detections.features["mean_FITC"]
    assert even.max() / even.min() < 1.08
    assert uneven.max() / uneven.min() > 1.3


def test_illumination_learned_while_running():
    rng = np.random.default_rng(0)
    flat = np.tile(np.linspace(0.5, 1.5, 200), (160, 1))
    pipe = pipeline({"illumination": {"offset": 100, "radius_um": 30}}, "segment")
    for number in range(20):
        points = rng.uniform(10, 150, (25, 2)) * [1, 1.25]
        image = (100 + (field(points, noise=0) - 60) * flat).astype(np.uint16)
        seen = pipe.see(frame(image, number), float(number))
    even = seen.pictures.processed
    left, right = np.median(even[:, 10:40]), np.median(even[:, 160:190])
    assert np.median(flat[:, 160:190]) / np.median(flat[:, 10:40]) > 2.1
    assert 0.8 < right / left < 1.25


@pytest.mark.parametrize("method", ["gaussian", "median"])
def test_denoise_lowers_noise_and_keeps_brightness(method):
    image = field(GRID, noise=40)
    stage = {"denoise": {"method": method, "sigma_um": 1.5}}
    smooth = see(image, stage, {"segment": {"smooth_um": 0}}).pictures.processed
    raw = image.astype(float)
    assert smooth[:10].std() < 0.4 * raw[:10].std()
    assert smooth.mean() == pytest.approx(raw.mean(), rel=0.02)


def test_sample_coordinates_follow_the_pixel_map():
    turned = compose_pixel_map(
        ((0.4, -0.3), (0.3, 0.4)),
        sensor_shape=(1024, 1024),
        roi=Roi(100, 200, 400, 320),
        binning=2,
        orientation=Orientation(transpose=False, mirror_x=True),
    )
    stages = ({"segment": {"min_area_um2": 5}},)
    seen = see(field(GRID), *stages, pixel_map=turned, stage=(500.0, -300.0))
    found = seen.detections
    assert len(found) == 25
    points = np.column_stack([found.y_px, found.x_px])
    expected = turned.to_sample(points, 500.0, -300.0)
    assert found.x_um == pytest.approx(expected[:, 0])
    assert found.y_um == pytest.approx(expected[:, 1])
    assert found.area_um2 == pytest.approx(np.pi * 49, rel=0.15)  # 1 um per pixel


def test_pixels_are_never_written():
    image = field(GRID)
    before = image.copy()
    stages = ("background", "denoise", "illumination", "segment", "measure")
    seen = see(image, *stages)
    assert np.array_equal(seen.pictures.raw["FITC"], before)
    assert np.shares_memory(seen.pictures.raw["FITC"], image)
