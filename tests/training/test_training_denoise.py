"""The denoiser's recipe: its scenes and camera, its measure, and what is shipped."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.inference import load_model
from smartscope.inference._openvino import openvino_lacks
from smartscope.training._denoise import (
    LEVELS,
    DenoiseConfig,
    classical,
    compare,
    fitted_psnr,
    psnr,
    static_scenes,
    total_variation,
    train_denoiser,
    under_camera,
)
from smartscope.training._denoise_release import export_denoiser, judge, table
from smartscope.training._denoise_scenes import (
    CameraModel,
    DenoiseBatches,
    clean_image,
    clean_pool,
)

SHIPPED = Path(__file__).parents[2] / "models/denoise"


def nuclei(size=128, seed=0):
    """Round cells of different brightness, 8 bit."""
    random = np.random.default_rng(seed)
    y, x = np.indices((size, size))
    image = np.zeros((size, size))
    for _ in range(12):
        cy, cx, r = *random.uniform(10, size - 10, 2), random.uniform(5, 9)
        distance = np.hypot(y - cy, x - cx) / r
        image = np.maximum(
            image, random.uniform(80, 220) / (1 + np.exp(8 * distance - 8))
        )
    return image.astype(np.uint8)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        image = nuclei(seed=number)
        tifffile.imwrite(folder / f"a{number}_img.tif", image)
        tifffile.imwrite(folder / f"a{number}_lab.tif", (image > 60).astype(np.uint16))
    return folder


def test_the_camera_takes_what_it_states():
    flat = np.full((400, 400), 0.5, np.float32)
    camera = CameraModel(60.0, ground=2.0, read_noise=3.0, gain=2.0, offset=100.0)
    counts = camera.take(flat, np.random.default_rng(0))
    electrons = 0.5 * 60 + 2
    assert counts.mean() == pytest.approx(2 * electrons + 100, rel=0.01)
    assert counts.std() == pytest.approx(2 * np.sqrt(electrons + 9), rel=0.02)
    assert camera.expected(flat)[0, 0] == 2 * electrons + 100
    assert camera.sigma(flat) == pytest.approx(2 * np.sqrt(electrons + 9))
    assert (counts == np.rint(counts)).all()


def test_tied_noise_is_tied():
    flat = np.full((300, 300), 1.0, np.float32)
    camera = CameraModel(50.0)
    ties = []
    for seed in range(12):
        noise = camera.take(flat, np.random.default_rng(seed), tied=True)
        noise = noise - noise.mean()
        ties.append(np.mean(noise[1:] * noise[:-1]) / noise.var())
    assert max(ties) > 0.2
    plain = camera.take(flat, np.random.default_rng(0))
    plain = plain - plain.mean()
    assert abs(np.mean(plain[1:] * plain[:-1]) / plain.var()) < 0.02


def test_batches_are_the_same_for_the_same_step(data):
    from smartscope.training import read_pairs

    pool = clean_pool(read_pairs(data))
    one, again = (DenoiseBatches(pool, 3, size_px=32, count=4)(5) for _ in range(2))
    other = DenoiseBatches(pool, 3, size_px=32, count=4)(6)
    for name in ("noisy", "clean", "sigma"):
        np.testing.assert_array_equal(one[name], again[name])
    assert one["noisy"].shape == (4, 1, 32, 32)
    assert not np.array_equal(one["noisy"], other["noisy"])
    image = clean_image(pool, 48, np.random.default_rng(1))
    assert image.shape == (48, 48) and np.isfinite(image).all()


def test_psnr_by_hand():
    truth = np.array([[0.0, 10.0]])
    assert psnr(truth + 1, truth) == pytest.approx(20.0)
    assert fitted_psnr(2 * truth + 5, truth) > 100


def test_a_perfect_model_and_an_idle_one():
    pairs = under_camera([type("P", (), {"image": nuclei()})()], 30.0)
    truth = pairs[0][1]
    perfect = compare("x", pairs, lambda image: truth)
    idle = compare("x", pairs, lambda image: image)
    assert perfect.gain_db > 60 and idle.gain_db == 0
    assert idle.classical > idle.noisy + 3
    assert idle.best in classical(pairs[0][0])


def test_static_scenes_leave_the_frame_itself_out():
    stack = np.arange(40, dtype=np.float64)[:, None, None] * np.ones((40, 2, 2))
    scenes = static_scenes(stack, length=20, step=10)
    assert len(scenes) == 4
    assert scenes[0][0][0, 0] == 0
    assert scenes[0][1][0, 0] == pytest.approx(np.arange(1, 20).mean())


def test_a_few_steps_lower_the_loss_and_give_a_package(data, tmp_path):
    config = DenoiseConfig(data, steps=25, widths=(8, 8), head=8, threads=1)
    first = train_denoiser(DenoiseConfig(data, steps=1, widths=(8, 8), head=8))
    trained = train_denoiser(config)
    assert trained.losses[-1] < first.losses[0]
    folder = export_denoiser(trained, tmp_path / "denoise")
    model = load_model(folder, runtime="onnxruntime", threads=1)
    assert model.decoder.kind == "restored"
    assert model.check().relative < 1e-5
    (restored,) = model.run(nuclei())
    assert restored.shape == (1, 128, 128)


def test_the_shipped_package_is_small_and_right():
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 2_000_000
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    assert model.check().relative < 1e-4
    assert model.card.documentation and model.card.domain


def test_the_shipped_model_beats_filters_on_cells_it_never_saw():
    pairs = [type("P", (), {"image": nuclei(256, seed)})() for seed in (91, 92)]
    gains = judge(SHIPPED, pairs, runtime="onnxruntime")
    for gain in gains[: len(LEVELS)]:
        assert gain.gain_db > 4, table(gains)
        assert gain.restored > gain.classical, table(gains)
    for gain in gains[len(LEVELS) :]:
        assert gain.gain_db > -1, table(gains)


def test_a_bright_frame_comes_out_as_it_went_in():
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    clean = (nuclei(256, 3) / 200).astype(np.float32)
    frame = CameraModel(10_000.0).take(clean, np.random.default_rng(2))
    np.testing.assert_allclose(model.run(frame)[0][0], frame, rtol=1e-5)


def test_gain_and_offset_do_not_matter():
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    random = np.random.default_rng(5)
    clean = clean_image(clean_pool([]) or [nuclei() / 200.0], 128, random)
    counts = CameraModel(20.0, gain=1.0, offset=0.0).take(
        clean.astype(np.float32), random
    )
    plain = model.run(counts)[0].copy()
    other = model.run(3 * counts + 400)[0]
    np.testing.assert_allclose((other - 400) / 3, plain, atol=0.05)


def test_total_variation_is_what_it_says():
    random = np.random.default_rng(0)
    step = np.zeros((40, 40), np.float32)
    step[:, 20:] = 10
    noisy = step + random.normal(0, 1, step.shape).astype(np.float32)
    smooth = total_variation(noisy, 2.0)
    assert (
        np.abs(np.diff(smooth, axis=0)).sum()
        < 0.3 * np.abs(np.diff(noisy, axis=0)).sum()
    )
    assert psnr(smooth, step) > psnr(noisy, step) + 6
    np.testing.assert_array_equal(total_variation(noisy, 0.0), noisy)


def test_little_light_on_a_high_offset_is_no_worse_in_bfloat16():
    """The offset alone takes all digits that bfloat16 has."""
    if openvino_lacks("bf16"):
        pytest.skip("this processor does not compute in bfloat16")
    pairs = []
    camera = CameraModel(3.0, gain=0.5, offset=500.0)
    for seed in range(3):
        clean = (nuclei(256, seed) / 200).astype(np.float32)
        noisy = camera.take(clean, np.random.default_rng(seed))
        pairs.append((noisy, camera.expected(clean)))
    found = {}
    for runtime in ("onnxruntime", "openvino-bf16"):
        model = load_model(SHIPPED, runtime=runtime, threads=1)
        found[runtime] = np.mean([psnr(model.run(n)[0][0], t) for n, t in pairs])
    assert found["openvino-bf16"] > found["onnxruntime"] - 0.4
