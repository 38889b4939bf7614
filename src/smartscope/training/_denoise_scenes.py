"""Clean images of many kinds, and a camera that makes noisy ones of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from smartscope.training._data import Pair

    Image = NDArray[np.float32]

_CORRELATED = 0.35
"""Share of images whose noise is tied between neighbours, as interpolation makes it."""


@dataclass(frozen=True, slots=True)
class CameraModel:
    """Poisson noise of light and Gaussian noise of reading, then counts.

    Attributes
    ----------
    photons : float
        Electrons that brightness 1 stands for.
    ground : float
        Electrons everywhere.
    read_noise : float
        Standard deviation, electrons.
    gain : float
        Counts for an electron.
    offset : float
        Counts without light.
    """

    photons: float
    ground: float = 1.0
    read_noise: float = 1.6
    gain: float = 1.5
    offset: float = 100.0

    @classmethod
    def random(cls, random: Generator) -> CameraModel:
        """A camera and light within the range of the training."""
        photons = 10 ** random.uniform(0, 2.5)
        quiet = random.random() < 0.2
        return cls(
            photons=photons,
            ground=photons * random.uniform(0, 0.3) + random.uniform(0, 3),
            read_noise=random.uniform(0.2, 1) if quiet else random.uniform(1, 4),
            gain=2 ** random.uniform(-1, 2),
            offset=random.uniform(0, 500),
        )

    def expected(self, clean: Image) -> Image:
        """Counts without noise of brightness ``(y, x)``."""
        electrons = clean * self.photons + self.ground
        return np.asarray(electrons * self.gain + self.offset, dtype=np.float32)

    def take(self, clean: Image, random: Generator, *, tied: bool = False) -> Image:
        """Counts with noise, whole numbers from 0 to 65535, ``(y, x)`` float32."""
        electrons = clean * self.photons + self.ground
        noise = random.poisson(electrons) - electrons
        noise = noise + random.normal(0, self.read_noise, electrons.shape)
        if tied:
            noise = _tied(noise.astype(np.float32), random)
        counts = np.rint((electrons + noise) * self.gain + self.offset)
        return np.clip(counts, 0, 65535).astype(np.float32)

    def sigma(self, clean: Image) -> float:
        """Typical noise, counts."""
        electrons = float(clean.mean()) * self.photons + self.ground
        return self.gain * float(np.sqrt(electrons + self.read_noise**2))


def _tied(noise: Image, random: Generator) -> Image:
    """Noise in which neighbours of a row or column resemble each other."""
    import cv2

    for axis in (0, 1):
        if random.random() < 0.6:
            share = random.uniform(0, 0.45)
            one_sided = random.random() < 0.5
            kernel = np.array([share * 1.6, 1, 0] if one_sided else [share, 1, share])
            power = np.sqrt(np.square(kernel).sum())
            kernel = kernel / (power if random.random() < 0.5 else kernel.sum())
            line = kernel.astype(np.float32)
            kernel = line[:, None] if axis == 0 else line[None]
            noise = np.asarray(cv2.filter2D(noise, -1, kernel), dtype=np.float32)
    return noise


def clean_pool(pairs: Sequence[Pair]) -> list[Image]:
    """Real images made nearly noise-free by a small blur, brightness 0 to about 1."""
    import cv2

    pool = []
    for pair in pairs:
        image = cv2.GaussianBlur(pair.image.astype(np.float32), (0, 0), 0.8)
        low, high = np.percentile(image, [0.5, 99.9])
        pool.append(np.clip((image - low) / (high - low + 1e-6), 0, 1.5))
    return pool


def clean_image(pool: Sequence[Image], size: int, random: Generator) -> Image:
    """One clean image ``(size, size)``: cells, spots, fibres, on uneven ground."""
    kind = random.random()
    image = np.zeros((size, size), np.float32)
    if kind < 0.7:
        image = _cells(pool, size, random)
    if kind > 0.55:
        image = image + _spots(size, random)
    if kind > 0.9:
        image = image + _fibres(size, random)
    if random.random() < 0.5:
        image = image + random.uniform(0, 0.4) * _ground(size, random)
    turned = np.rot90(image, int(random.integers(4)))
    return np.ascontiguousarray(turned, dtype=np.float32)


def _cells(pool: Sequence[Image], size: int, random: Generator) -> Image:
    import cv2

    image = pool[int(random.integers(len(pool)))]
    zoom = 2 ** random.uniform(-1.2, 0.8)
    side = min(int(np.ceil(size / zoom)) + 2, *image.shape)
    y = int(random.integers(image.shape[0] - side + 1))
    x = int(random.integers(image.shape[1] - side + 1))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    part: Image = np.asarray(
        cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=how),
        dtype=np.float32,
    )
    part = np.clip(part, 0, None) ** np.float32(random.uniform(0.6, 1.5))
    if random.random() < 0.3:
        grain = random.normal(size=(size, size)).astype(np.float32)
        grain = np.asarray(
            cv2.GaussianBlur(grain, (0, 0), random.uniform(1, 4)), np.float32
        )
        texture = 1 + random.uniform(0.1, 0.5) * grain / grain.std()
        part = np.asarray(part * np.clip(texture, 0, None), dtype=np.float32)
    return part


def _spots(size: int, random: Generator) -> Image:
    import cv2

    count = int(10 ** random.uniform(0.3, 2.3))
    image = np.zeros((size, size), np.float32)
    y, x = random.integers(0, size, (2, count))
    np.add.at(image, (y, x), random.lognormal(-0.5, 0.6, count).astype(np.float32))
    sigma = random.uniform(0.9, 2.5)
    blurred = cv2.GaussianBlur(image, (0, 0), sigma) * (2 * np.pi * sigma**2)
    return np.asarray(blurred * random.uniform(0.2, 1), dtype=np.float32)


def _fibres(size: int, random: Generator) -> Image:
    import cv2

    total = np.zeros((size, size), np.float32)
    for _ in range(int(random.integers(1, 8))):
        line = np.zeros_like(total)
        steps = random.normal(0, 10, (20, 2))
        points = np.cumsum(steps, 0) + random.uniform(0, size, 2)
        width = int(random.integers(1, 4))
        cv2.polylines(line, [points.astype(np.int32)], False, 1.0, width, cv2.LINE_AA)
        total += random.uniform(0.3, 1) * cv2.GaussianBlur(
            line, (0, 0), random.uniform(0.8, 2)
        )
    return total


def _ground(size: int, random: Generator) -> Image:
    import cv2

    coarse = random.random((3, 3)).astype(np.float32)
    wide = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(wide, 0, None), dtype=np.float32)


class DenoiseBatches:
    """Batches of noisy and clean counts; the same step gives the same batch.

    Parameters
    ----------
    pool : sequence of ndarray (y, x)
        What `clean_pool` gave.
    seed : int
    size_px, count : int
        Side and number of the images of a batch.
    """

    def __init__(
        self, pool: Sequence[Image], seed: int, size_px: int = 128, count: int = 8
    ) -> None:
        self._pool, self._seed = pool, seed
        self._size, self._count = size_px, count

    def __call__(self, step: int) -> Mapping[str, Image]:
        """Return ``noisy``, ``clean`` ``(b, 1, y, x)``, ``sigma`` ``(b, 1, 1, 1)``."""
        random = np.random.default_rng([self._seed, step])
        noisy, clean, sigma = [], [], []
        for _ in range(self._count):
            image = clean_image(self._pool, self._size, random)
            camera = CameraModel.random(random)
            tied = bool(random.random() < _CORRELATED)
            noisy.append(camera.take(image, random, tied=tied))
            clean.append(camera.expected(image))
            sigma.append(camera.sigma(image))
        return {
            "noisy": np.asarray(noisy)[:, None],
            "clean": np.asarray(clean)[:, None],
            "sigma": np.asarray(sigma, np.float32)[:, None, None, None],
        }
