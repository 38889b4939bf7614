"""Whether an image looks like those of the training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from smartscope.core import ModelError
from smartscope.inference import Domain, frame_statistics


def nuclei(seed, *, noise=6.0, blur=1.0, radius=6.0, height=200.0, size=160):
    """Soft disks of different brightness on a background of 100 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size))
    image = np.zeros((size, size))
    for _ in range(rng.integers(8, 16)):
        cy, cx = rng.uniform(0, size, 2)
        r = radius * rng.uniform(0.8, 1.25)
        disk = np.hypot(y - cy, x - cx) < r
        image = np.maximum(image, height * rng.uniform(0.6, 1.4) * disk)
    image = 100 + ndimage.gaussian_filter(image, blur * rng.uniform(0.9, 1.1))
    image = image + rng.normal(0, noise * rng.uniform(0.8, 1.2), image.shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def domain():
    return Domain.fit(nuclei(seed) for seed in range(120))


def share_outside(domain, images):
    return np.mean([not domain.judge(frame_statistics(i)).usual for i in images])


def test_noise_and_signal_are_those_that_were_put_in():
    for sigma in (2.0, 5.0, 20.0):
        found = frame_statistics(nuclei(0, noise=sigma))
        assert found.background[0] == pytest.approx(100, abs=sigma)
        assert found.full_range == 65535
        wanted = sigma / found.signal[0]
        assert found.noise[0] == pytest.approx(wanted, rel=0.3)


def test_edges_are_no_noise():
    image = np.zeros((128, 128), dtype=np.uint16)
    image[::8] = 1000
    flat = frame_statistics(image)
    assert flat.noise[0] < 0.5
    clean = frame_statistics(nuclei(1, noise=0.001))
    assert clean.noise[0] < 0.005


def test_focus_falls_with_blur_and_not_with_light():
    sharp, soft = (frame_statistics(nuclei(3, blur=b)).focus[0] for b in (0.7, 4.0))
    assert soft < 0.5 * sharp
    dim = frame_statistics(nuclei(3, blur=0.7, height=2000, noise=60)).focus[0]
    assert dim == pytest.approx(sharp, rel=0.1)


def test_brightness_of_the_camera_does_not_matter():
    image = nuclei(4)
    one = frame_statistics(image)
    other = frame_statistics(image.astype(np.uint16) * 20 + 500)
    assert np.allclose(one.vector, other.vector, atol=0.02)
    floats = frame_statistics(image.astype(np.float32) / 65535)
    assert floats.full_range is None
    assert np.allclose(one.vector, floats.vector, atol=0.02)


def test_the_same_image_gives_the_same_numbers_and_is_not_touched():
    image = nuclei(5)
    image.setflags(write=False)
    a, b = frame_statistics(image), frame_statistics(image.copy())
    assert a.vector.tobytes() == b.vector.tobytes()
    assert a.noise == b.noise


UNLIKE = {
    "out of focus": {"blur": 5.0},
    "too noisy": {"noise": 60.0},
    "too dim": {"height": 20.0},
    "far smaller": {"radius": 1.5, "blur": 0.5},
    "far larger": {"radius": 40.0},
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_unlike_is_noticed(name, domain):
    images = [nuclei(seed, **UNLIKE[name]) for seed in range(1000, 1010)]
    assert share_outside(domain, images) == 1


def test_what_is_alike_is_not(domain):
    images = [nuclei(seed) for seed in range(2000, 2060)]
    assert share_outside(domain, images) <= 0.05


def test_other_faults_of_an_image(domain):
    rng = np.random.default_rng(0)
    clean = [nuclei(seed) for seed in range(3000, 3010)]
    clipped = [np.minimum(i, np.quantile(i, 0.9)).astype(np.uint16) for i in clean]
    empty = [rng.poisson(np.full((160, 160), 100)).astype(np.uint16) for _ in clean]
    inverted = [(400 - i.astype(int)).clip(0).astype(np.uint16) for i in clean]
    black = [np.zeros((160, 160), dtype=np.uint16)]
    for images in (clipped, empty, inverted, black):
        assert share_outside(domain, images) == 1
    judged = domain.judge(frame_statistics(clipped[0]))
    assert "clipping too high" in judged.outside
    assert judged.limit == domain.limit


def test_a_model_that_knows_its_camera_is_judged_in_counts():
    images = [nuclei(seed) for seed in range(40)]
    strict = Domain.fit(images, absolute=True)
    brighter = frame_statistics(nuclei(50) + np.uint16(400))
    assert strict.judge(brighter).outside == ("background too high",)
    assert Domain.fit(images).judge(brighter).usual


def test_channels_have_ranges_of_their_own():
    pairs = [np.stack([nuclei(s), nuclei(s, noise=30)]) for s in range(40)]
    two = Domain.fit(pairs)
    assert two.channels == 2 and "noise_2" in two.ranges
    assert two.judge(frame_statistics(np.stack([nuclei(99), nuclei(99, noise=30)])))
    swapped = frame_statistics(np.stack([nuclei(99, noise=30), nuclei(99)]))
    outside = two.judge(swapped).outside
    assert "noise too high" in outside and "noise of channel 2 too low" in outside
    with pytest.raises(ValueError, match="of 2 channels, not 1"):
        two.judge(frame_statistics(nuclei(1)))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 200), (33, 17), (700, 512)])
def test_any_size(shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = frame_statistics(image)
    assert np.isfinite(found.vector).all()
    assert np.isfinite(frame_statistics(np.zeros(shape, np.float32)).vector).all()


def test_what_is_no_set_of_images():
    with pytest.raises(ValueError, match="at least 10 images"):
        Domain.fit([nuclei(0)] * 9)
    with pytest.raises(ValueError, match="same number of channels"):
        Domain.fit([nuclei(0)] * 10 + [np.stack([nuclei(0)] * 2)])
    with pytest.raises(ValueError, match=r"not \(2, 2, 2, 2\)"):
        frame_statistics(np.zeros((2, 2, 2, 2)))


def test_a_card_is_read_as_it_was_written(domain):
    text = json.dumps(domain.to_card())
    assert len(text) < 5000
    again = Domain.from_card(json.loads(text))
    assert again.ranges.keys() == domain.ranges.keys()
    for seed in (1, 1500, 4000):
        statistics = frame_statistics(nuclei(seed, noise=3 + seed / 100))
        one, other = domain.judge(statistics), again.judge(statistics)
        assert one.distance == pytest.approx(other.distance, rel=1e-6)
        assert one.outside == other.outside


def changed(**fields):
    def change(card):
        for path, value in fields.items():
            *way, last = path.split("__")
            place = card
            for key in way:
                place = place[key]
            if value is None:
                del place[last]
            else:
                place[int(last) if isinstance(place, list) else last] = value
        return card

    return change


LIES = {
    "future": (changed(format=2), "format: is 2, this version reads 1; update"),
    "unknown": (changed(colour=1), "colour: is not known here"),
    "missing": (changed(mean=None), "mean: has 0 entries instead of 8"),
    "short": (changed(precision=[[1.0]]), "precision: has 1 entries instead of 8"),
    "limit": (changed(limit=0), "limit: must be above 0"),
    "text": (changed(limit="far"), "limit: expected a number, found 'far'"),
    "not finite": (changed(mean=[float("nan")] * 8), r"mean\[0\]: expected a finite"),
    "channels": (changed(channels=2), "mean: has 8 entries instead of 16"),
    "skew": (changed(precision__0=[9.0] * 8), "precision: is not symmetric"),
    "negative": (
        changed(precision=(-np.eye(8)).tolist()),
        "precision: is no inverse of a covariance",
    ),
    "range": (changed(ranges__noise=[2.0, 1.0]), "noise: the lowest value 2 is above"),
    "statistic": (changed(ranges__hue=[1.0, 2.0]), "hue: is no statistic; known: back"),
    "ranges": (changed(ranges=[1, 2]), "ranges: expected a mapping of ranges"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_card_that_lies(name, domain):
    change, expected = LIES[name]
    card = change(json.loads(json.dumps(domain.to_card())))
    with pytest.raises(ModelError, match=expected) as caught:
        Domain.from_card(card, file="net.zip")
    assert str(caught.value).startswith("net.zip: config.smartscope.domain.")
    assert "\n" not in str(caught.value)
