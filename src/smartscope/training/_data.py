"""Image and label pairs: reading, held-out lists, balanced and augmented crops."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from smartscope.core import ConfigError
from smartscope.training._rays import RayTable, ray_table, to_border, turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_IMAGE, _LABEL = "_img.tif", "_lab.tif"
# Percentiles that become 0 and 1; the same numbers go into the package.
LOW, HIGH = 1.0, 99.8


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One image and its objects.

    Attributes
    ----------
    name : str
        Name of the file without its ending.
    image : ndarray (y, x)
        As stored.
    labels : ndarray (y, x) int32
        0 is background, one number for each object.
    sha256 : str
        Of both files, hexadecimal.
    """

    name: str
    image: NDArray[Any]
    labels: NDArray[np.int32]
    sha256: str


def read_pairs(folder: Path, *, names: Iterable[str] | None = None) -> list[Pair]:
    """Read ``NAME_img.tif`` and ``NAME_lab.tif`` of a folder, in the order of names.

    Raises
    ------
    ConfigError
        No such folder, no pairs in it, no partner, or labels that are none.
    """
    if not folder.is_dir():
        raise ConfigError(
            "there is no such folder",
            file=str(folder),
            fix=f"name one with NAME{_IMAGE} and NAME{_LABEL} files",
        )
    found = sorted(p.name.removesuffix(_IMAGE) for p in folder.glob(f"*{_IMAGE}"))
    wanted = found if names is None else sorted(names)
    if not wanted:
        raise ConfigError(
            "holds no images",
            file=str(folder),
            fix=f"call them NAME{_IMAGE}, and their labels NAME{_LABEL}",
        )
    return [_read(folder, name) for name in wanted]


def read_stack(path: Path) -> NDArray[Any]:
    """Read a TIFF of one channel, ``(t, y, x)``.

    Raises
    ------
    ConfigError
        It cannot be read, or is no such stack.
    """
    if not path.is_file():
        raise ConfigError(
            "there is no such file", file=str(path), fix="name a TIFF stack"
        )
    stack = _tiff(path)
    if stack.ndim != 3:
        raise ConfigError(
            f"has axes of sizes {stack.shape}",
            file=str(path),
            fix="save one channel, with the axes (t, y, x)",
        )
    return stack


def _read(folder: Path, name: str) -> Pair:
    paths = folder / (name + _IMAGE), folder / (name + _LABEL)
    for path in paths:
        if not path.is_file():
            raise ConfigError(
                "there is no such file",
                file=str(path),
                fix=f"every image NAME{_IMAGE} needs its labels NAME{_LABEL}",
            )
    contents = [path.read_bytes() for path in paths]
    image, labels = (_tiff(path) for path in paths)
    if image.ndim != 2:
        raise ConfigError(
            f"has axes of sizes {image.shape}",
            file=str(paths[0]),
            fix="save single images of one channel, with the axes (y, x)",
        )
    if image.dtype.kind not in "buif" or not np.isfinite(image).all():
        raise ConfigError(
            f"holds values of {image.dtype} that are no numbers",
            file=str(paths[0]),
            fix="save it again without NaN and infinite values",
        )
    if labels.shape != image.shape:
        raise ConfigError(
            f"is {labels.shape}, its image is {image.shape}",
            file=str(paths[1]),
            fix="image and labels must be of one size",
        )
    if labels.dtype.kind not in "ui" or labels.min(initial=0) < 0:
        raise ConfigError(
            f"holds {labels.dtype} that are no labels",
            file=str(paths[1]),
            fix="number the objects from 1, background is 0",
        )
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    return Pair(name, image, labels.astype(np.int32), digest)


def _tiff(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        return np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, ValueError) as problem:
        raise ConfigError(
            f"cannot be read as TIFF ({problem})", file=str(path), fix="save it again"
        ) from problem


def scale_range(image: NDArray[Any]) -> NDArray[np.float32]:
    """Map the 1 and 99.8 percentiles of `image` to 0 and 1, as the package says."""
    low, high = np.percentile(image, [LOW, HIGH])
    return np.asarray((image - low) / (high - low + 1e-6), np.float32)


def split(pairs: Sequence[Pair], *, parts: int, seed: int) -> list[str]:
    """Names of `parts` pairs held out, one of each stratum.

    Pairs are sorted by size of the image, then by the typical diameter of their
    objects, and cut into `parts` runs; one of each is drawn.
    """
    if not 0 < parts <= len(pairs):
        raise ConfigError(
            f"{parts} of {len(pairs)} images cannot be held out", fix="hold out fewer"
        )
    order = sorted(pairs, key=lambda p: (p.image.shape, diameter_px(p.labels), p.name))
    random = np.random.default_rng(seed)
    runs = np.array_split(np.arange(len(order)), parts)
    return sorted(order[int(random.choice(run))].name for run in runs)


def diameter_px(labels: NDArray[np.integer]) -> float:
    """Diameter of a disk of the objects' median area; 0 without objects."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.sqrt(4 / np.pi * np.median(areas))) if len(areas) else 0.0


@dataclass(frozen=True, slots=True)
class Crops:
    """How crops are drawn and changed.

    Attributes
    ----------
    size_px : int
        Side, full-resolution pixels.
    batch : int
        Crops in a batch.
    scale : (float, float)
        Range of magnifications, drawn evenly in the logarithm.
    gamma, gain, offset, noise, light : float
        Widths of the changes of intensity, in the scaled image; `light` is uneven
        illumination.
    balance : float
        0: every image alike; 1: every style alike.
    rays, grid : int
        Of the network.
    """

    size_px: int = 160
    batch: int = 8
    scale: tuple[float, float] = (0.6, 1.7)
    gamma: float = 0.5
    gain: float = 0.3
    offset: float = 0.08
    noise: float = 0.1
    light: float = 0.4
    balance: float = 0.5
    rays: int = 32
    grid: int = 2


class StarBatches:
    """Batches for a `StarNet`, the same for the same seed and step.

    Parameters
    ----------
    pairs : sequence of Pair
        Training images.
    crops : Crops
        How they are cut and changed.
    seed : int
        Every random number derives from it and from the step.
    """

    def __init__(self, pairs: Sequence[Pair], crops: Crops, seed: int) -> None:
        self.crops, self.seed = crops, seed
        self.images = [scale_range(pair.image) for pair in pairs]
        self.tables = [ray_table(pair.labels, crops.rays) for pair in pairs]
        self.chance = _chances(pairs, crops.balance)
        self.edge = to_border(crops.size_px, crops.grid, crops.rays)
        self.centres = [np.argwhere(table.row >= 0) for table in self.tables]

    def __call__(self, step: int) -> dict[str, NDArray[np.float32]]:
        """Batch of a step.

        ``image (b, 1, y, x)``, ``prob`` and ``radius`` ``(b, 1, y/2, x/2)``,
        ``rays (b, rays, y/2, x/2)``; all float32.
        """
        c = self.crops
        side = c.size_px // c.grid
        image = np.empty((c.batch, 1, c.size_px, c.size_px), np.float32)
        maps = np.empty((c.batch, side, side, 2 + c.rays), np.float32)
        random = np.random.default_rng((self.seed, step))
        for b, k in enumerate(random.choice(len(self.images), c.batch, p=self.chance)):
            image[b, 0], maps[b] = self._crop(int(k), random)
        maps = maps.transpose(0, 3, 1, 2)  # the network's layout is channels last
        return {
            "image": image,
            "prob": np.ascontiguousarray(maps[:, :1]),
            "radius": np.ascontiguousarray(maps[:, 1:2]),
            "rays": maps[:, 2:],
        }

    def _crop(
        self, k: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        c, whole, table = self.crops, self.images[k], self.tables[k]
        low, high = np.log(c.scale)
        scale = float(np.exp(random.uniform(low, high)))
        window = min(max(8, round(c.size_px / scale)), *whole.shape)
        scale = c.size_px / window
        y0, x0 = self._corner(k, window, random)
        piece = whole[y0 : y0 + window, x0 : x0 + window]
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(piece, (c.size_px, c.size_px), interpolation=how)
        # Where each pixel of the crop lies in the window, and what rounding leaves.
        exact = (np.arange(c.size_px) + 0.5) / scale - 0.5
        near = np.clip(np.rint(exact), 0, window - 1).astype(np.intp)
        row = table.row[y0 + near][:, x0 + near]
        rest = exact - near
        flip_y, flip_x, transpose = random.random(3) < 0.5
        views = [resized, row, *np.meshgrid(rest, rest, indexing="ij")]
        views = [_turned(v, flip_y, flip_x, transpose) for v in views]
        image = np.ascontiguousarray(views[0], np.float32)
        row, rest_y, rest_x = (v[:: c.grid, :: c.grid] for v in views[1:])
        maps = self._maps(
            table, row, rest_y, rest_x, scale, (flip_y, flip_x, transpose)
        )
        return _changed(image, c, random), maps

    def _corner(
        self, k: int, window: int, random: np.random.Generator
    ) -> tuple[int, int]:
        """Corner of a window; mostly one with objects in it."""
        height, width = self.images[k].shape
        inside = self.centres[k]
        if len(inside) and random.random() < 0.7:
            y, x = inside[random.integers(len(inside))] - random.integers(0, window, 2)
            y, x = np.clip((y, x), 0, (height - window, width - window))
        else:
            y, x = random.integers((height - window + 1, width - window + 1))
        return int(y), int(x)

    def _maps(
        self,
        table: RayTable,
        row: NDArray[np.int32],
        rest_y: NDArray[np.float64],
        rest_x: NDArray[np.float64],
        scale: float,
        flips: tuple[bool, bool, bool],
    ) -> NDArray[np.float32]:
        """Probability, radius and rays of the grid of a crop, ``(y, x, 2 + rays)``."""
        n = self.crops.rays
        maps = np.zeros((*row.shape, 2 + n), np.float32)
        inside = row >= 0
        rows = row[inside]
        angle = 2 * np.pi * np.arange(n) / n
        rays = table.rays[rows].astype(np.float32)
        # To first order a ray grows by what its start moved backwards.
        rays -= np.outer(rest_y[inside], np.sin(angle)) + np.outer(
            rest_x[inside], np.cos(angle)
        )
        rays = np.maximum(rays * scale, 0.3)[:, turn(n, *flips)]
        maps[inside, 0] = table.prob[rows]
        maps[inside, 1] = table.radius_px[rows] * scale
        maps[inside, 2:] = np.minimum(rays, self.edge[inside])
        return maps


def _turned(
    array: NDArray[Any], flip_y: bool, flip_x: bool, transpose: bool
) -> NDArray[Any]:
    array = array[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return array.T if transpose else array


def _changed(
    image: NDArray[np.float32], c: Crops, random: np.random.Generator
) -> NDArray[np.float32]:
    """Another camera, another exposure, another stain."""
    if random.random() < 0.5:
        gamma = np.exp(random.uniform(-c.gamma, c.gamma))
        image = np.where(image > 0, np.maximum(image, 1e-6) ** gamma, image)
    if random.random() < 0.25:
        sigma = random.uniform(0.3, 1.5)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    if random.random() < 0.2:
        # Uneven light: a smooth field of factors.
        field = np.exp(random.normal(0, c.light, (3, 3))).astype(np.float32)
        image = image * cv2.resize(
            field, image.shape[::-1], interpolation=cv2.INTER_CUBIC
        )
    image = image * np.float32(np.exp(random.uniform(-c.gain, c.gain)))
    image = image + np.float32(random.uniform(-c.offset, c.offset))
    if random.random() < 0.5:
        level = random.uniform(0, c.noise)
        shot = random.random() < 0.5
        noise = random.standard_normal(image.shape, dtype=np.float32) * np.float32(
            level
        )
        image = image + (noise * np.sqrt(np.maximum(image, 0.01)) if shot else noise)
    return image.astype(np.float32, copy=False)


def style(pair: Pair) -> tuple[Any, ...]:
    """What tells the experiments of a collection apart, coarsely."""
    low, middle, high = np.percentile(pair.image, [LOW, 50, HIGH]).tolist()
    size = round(2 * np.log2(max(diameter_px(pair.labels), 2.0)))
    return (
        pair.image.shape,
        size,
        round(np.log2(1 + low)),
        round(np.log2(1 + high - middle)),
    )


def _chances(pairs: Sequence[Pair], balance: float) -> NDArray[np.float64]:
    """How often each image is drawn: rare styles and full fields more."""
    styles = [style(pair) for pair in pairs]
    count = Counter(styles)
    objects = np.array([len(np.unique(pair.labels)) for pair in pairs], np.float64)
    chance = np.array([count[s] ** -balance for s in styles]) * np.sqrt(objects)
    return np.asarray(chance / chance.sum())
