"""Synthetic images of diffraction-limited spots, with the truth about them.

Everything is drawn in electrons and goes through a camera: shot noise, read noise,
gain, offset, steps of the converter. Around the spots stands what must not be taken for
one: cells, fibres, clumps, blobs out of focus, hot pixels. Some images are changed
afterwards as processing before the detection does: top-hat filters, maximum
projections, alignment by interpolation, JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from smartscope.training._spots_camera import READ_NOISE_E, digital, exposed, treated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_SNR = 2.0
"""Peak over local noise of the dimmest spot that is drawn."""
_REACH = 3.5  # radius of a drawn spot, in its sigmas
BACKGROUNDS = ("flat", "uneven", "cells", "texture", "photograph")
CAMERAS = ("16 bit", "8 bit")
TREATMENTS = ("none", "tophat", "difference", "projection", "aligned", "jpeg")


@dataclass(frozen=True, slots=True)
class Scenery:
    """What one image shows.

    Attributes
    ----------
    size_px : int
        Side of the image.
    spots : int
        How many are tried; those under `LEAST_SNR` are left out.
    sigma_px : float
        Of the point spread function.
    halo : float
        Share of the light in a halo twice as wide, as slight defocus gives.
    snr : float
        Median of the peaks over the noise of the typical background.
    spread : float
        Of the logarithm of the peaks.
    clustered : float
        Share of spots that lie in clusters.
    level_e : float
        Typical background, electrons.
    background : str
        One of `BACKGROUNDS`.
    contrast : float
        Brightest structure of the background over its level.
    debris : int
        Clumps, fibres and blobs out of focus.
    hot : int
        Hot pixels.
    camera : str
        One of `CAMERAS`.
    treatment : str
        One of `TREATMENTS`.
    """

    size_px: int = 512
    spots: int = 300
    sigma_px: float = 1.4
    halo: float = 0.0
    snr: float = 10.0
    spread: float = 0.5
    clustered: float = 0.0
    level_e: float = 100.0
    background: str = "flat"
    contrast: float = 2.0
    debris: int = 0
    hot: int = 0
    camera: str = "16 bit"
    treatment: str = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image and its spots.

    Attributes
    ----------
    image : ndarray (y, x) uint8 or uint16
    points : ndarray (n, 2) float64
        ``y, x`` of each spot, pixels, a pixel's centre at its index.
    snr : ndarray (n,) float64
        Peak over local noise before any treatment.
    sigma_px : float
    """

    image: NDArray[Any]
    points: NDArray[np.float64]
    snr: NDArray[np.float64]
    sigma_px: float


def random_scenery(
    random: np.random.Generator, size_px: int, *, photographs: bool
) -> Scenery:
    """Draw what a training image shows."""
    area = (size_px / 512) ** 2

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    treatment = str(random.choice(TREATMENTS, p=[0.45, 0.15, 0.08, 0.12, 0.12, 0.08]))
    last = len(BACKGROUNDS) if photographs else len(BACKGROUNDS) - 1
    empty = random.random() < 0.1
    smears = treatment in ("aligned", "jpeg", "difference")
    return Scenery(
        size_px=size_px,
        spots=0 if empty else int(random.poisson(log_uniform(10, 2000) * area)) + 1,
        sigma_px=float(random.uniform(0.75, 2.7)),
        halo=float(random.uniform(0, 0.4)) if random.random() < 0.4 else 0.0,
        snr=log_uniform(3, 60),
        spread=float(random.uniform(0.1, 0.9)),
        clustered=float(random.uniform(0, 0.8)) if random.random() < 0.4 else 0.0,
        level_e=log_uniform(3, 3000),
        background=BACKGROUNDS[int(random.integers(last))],
        contrast=log_uniform(0.3, 15),
        debris=int(random.poisson(log_uniform(2, 60) * area))
        if random.random() < 0.6
        else 0,
        # Interpolation turns a hot pixel into a spot: nobody could tell.
        hot=0
        if smears or random.random() < 0.5
        else int(random.poisson(log_uniform(5, 300) * area)),
        camera=CAMERAS[int(random.random() < 0.35)],
        treatment=treatment,
    )


def draw_scene(
    scenery: Scenery,
    random: np.random.Generator,
    photographs: Sequence[NDArray[np.float32]] = (),
) -> Scene:
    """Draw one image.

    Parameters
    ----------
    scenery : Scenery
    random : numpy.random.Generator
        The same state gives the same image.
    photographs : sequence of ndarray (y, x) float32
        Real images, 0..1, for the background ``photograph``; they are blurred until
        nothing of the size of a spot is left.

    Raises
    ------
    ValueError
        A photograph is asked for and there is none.
    """
    ground = scenery.level_e * _background(scenery, random, photographs)
    noise_e = np.sqrt(np.median(ground) + READ_NOISE_E**2)
    if scenery.debris:
        ground += noise_e * _debris(scenery, random)
    points = _places(scenery, random)
    peak = noise_e * scenery.snr * np.exp(random.normal(0, scenery.spread, len(points)))
    step_e = 0.0
    if scenery.camera == "8 bit":
        top = float(ground.max()) + float(np.quantile(peak, 0.9)) if len(peak) else 0.0
        top = max(top, float(ground.max()) + 6 * noise_e)
        step_e = (top - max(float(ground.min()) - 4 * noise_e, 0)) / 240
    y, x = np.clip(np.rint(points).astype(np.intp), 0, scenery.size_px - 1).T
    local = np.sqrt(ground[y, x] + READ_NOISE_E**2 + step_e**2 / 12)
    seen = peak >= np.maximum(LEAST_SNR * local, 1.5 * step_e)
    points, peak, local = points[seen], peak[seen], local[seen]
    light = ground + _spots(scenery, points, peak, random)
    if scenery.hot:
        hot = random.integers(0, scenery.size_px, (2, scenery.hot))
        light[hot[0], hot[1]] += noise_e * np.exp(random.normal(3, 1, scenery.hot))
    image = exposed(light, scenery, random)
    image = treated(image, scenery, noise_e, random)
    image = digital(image, step_e, noise_e, scenery, random)
    return Scene(image, points, peak / local, scenery.sigma_px)


def splat(
    shape: tuple[int, int],
    points: NDArray[np.float64],
    sigma: NDArray[np.float64],
    peak: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Sum of Gaussians.

    Parameters
    ----------
    points : ndarray (n, 2)
        ``y, x``, pixels.
    sigma : ndarray (n, 2)
        Along y and x, pixels.
    peak : ndarray (n,)
    """
    if len(points) == 0:
        return np.zeros(shape, np.float32)
    reach = int(np.ceil(_REACH * sigma.max()))
    near = np.rint(points).astype(np.intp)
    way = np.arange(-reach, reach + 1)
    bell = [
        np.exp(
            -0.5
            * ((way[None] - (points[:, k] - near[:, k])[:, None]) / sigma[:, k, None])
            ** 2
        )
        for k in (0, 1)
    ]
    patch = peak[:, None, None] * bell[0][:, :, None] * bell[1][:, None, :]
    width = shape[1] + 2 * reach + 2
    height = shape[0] + 2 * reach + 2
    rows = near[:, 0, None] + way + reach + 1
    columns = near[:, 1, None] + way + reach + 1
    flat = np.clip(rows, 0, height - 1)[:, :, None] * width
    flat = flat + np.clip(columns, 0, width - 1)[:, None, :]
    total = np.bincount(flat.ravel(), patch.ravel(), height * width)
    whole = total.reshape(height, width)
    cut = slice(reach + 1, -reach - 1)
    return np.asarray(whole[cut, cut], np.float32)


def add_piece(
    image: NDArray[np.float32], piece: NDArray[np.float32], top: int, left: int
) -> None:
    """Add a piece whose first pixel lies at ``top, left``; what sticks out is cut."""
    height, width = image.shape
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + piece.shape[0], height), min(left + piece.shape[1], width)
    if y0 < y1 and x0 < x1:
        image[y0:y1, x0:x1] += piece[y0 - top : y1 - top, x0 - left : x1 - left]


def _places(scenery: Scenery, random: np.random.Generator) -> NDArray[np.float64]:
    side = scenery.size_px
    points = random.uniform(-0.5, side - 0.5, (scenery.spots, 2))
    members = random.random(scenery.spots) < scenery.clustered
    if members.any():
        count = max(1, int(members.sum()) // int(random.integers(4, 25)))
        centres = random.uniform(0, side, (count, 2))
        width = random.uniform(3, 14) * scenery.sigma_px
        chosen = centres[random.integers(0, count, int(members.sum()))]
        points[members] = chosen + random.normal(0, width, chosen.shape)
    inside = ((points > -0.5) & (points < side - 0.5)).all(axis=1)
    return np.asarray(points[inside])


def _spots(
    scenery: Scenery,
    points: NDArray[np.float64],
    peak: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    shape = (scenery.size_px, scenery.size_px)
    sigma = scenery.sigma_px * np.exp(random.normal(0, 0.06, (len(points), 2)))
    light = splat(shape, points, sigma, peak * (1 - scenery.halo))
    if scenery.halo:
        light += splat(shape, points, 2 * sigma, peak * scenery.halo)
    return light


def smooth_field(
    random: np.random.Generator, size_px: int, spacing_px: float
) -> NDArray[np.float32]:
    """A random field of about unit variance that varies over `spacing_px`."""
    knots = max(2, round(size_px / spacing_px) + 3)
    field = random.standard_normal((knots, knots)).astype(np.float32)
    # Drawn with a margin: at the border the interpolation is flat.
    side = round(knots * spacing_px)
    large = cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC)
    y, x = random.integers(0, max(side - size_px, 0) + 1, 2)
    cut = large[y : y + size_px, x : x + size_px]
    if cut.shape != (size_px, size_px):
        cut = cv2.resize(cut, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cut, np.float32)


def _background(
    scenery: Scenery,
    random: np.random.Generator,
    photographs: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Light without spots, about 1 where it is darkest."""
    side, kind = scenery.size_px, scenery.background
    ground = np.ones((side, side), np.float32)
    if kind == "flat":
        return ground
    if kind == "photograph":
        if not photographs:
            raise ValueError("there are no photographs to take a background from")
        structure = _photograph(photographs, side, random)
    elif kind == "cells":
        structure = _cells(side, random)
    elif kind == "texture":
        structure = smooth_field(random, side, 12) + 2 * smooth_field(random, side, 40)
        structure = np.clip(structure / 3 + random.uniform(0, 0.5), 0, 1.5)
    else:
        structure = np.clip(0.5 + 0.5 * smooth_field(random, side, side / 2), 0, 2)
    ground += np.float32(scenery.contrast) * structure
    if kind != "uneven":
        ground *= np.exp(0.25 * smooth_field(random, side, max(side / 2, 150)))
    return ground


def _photograph(
    photographs: Sequence[NDArray[np.float32]],
    side: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    whole = photographs[int(random.integers(len(photographs)))]
    scale = float(np.exp(random.uniform(0, np.log(4))))
    window = min(max(16, round(side / scale)), *whole.shape)
    y = int(random.integers(whole.shape[0] - window + 1))
    x = int(random.integers(whole.shape[1] - window + 1))
    piece = whole[y : y + window, x : x + window]
    large = cv2.resize(piece, (side, side), interpolation=cv2.INTER_CUBIC)
    if random.random() < 0.5:
        large = large.T
    # Speckle inside of nuclei would be spots that the truth denies.
    blur = random.uniform(2.5, 5.0)
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(large), (0, 0), blur))


def _cells(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    image = np.zeros((side, side), np.float32)
    radius = float(np.exp(random.uniform(np.log(8), np.log(50))))
    share = random.uniform(0.1, 0.8)
    count = int(np.ceil(share * side**2 / (np.pi * radius**2)))
    for _ in range(min(count, 400)):
        y, x = random.uniform(-radius, side + radius, 2)
        axes = radius * np.exp(random.normal(0, 0.25, 2))
        one = _ellipse_box(image, y, x, axes)
        if one is None:
            continue
        cut, centre = one
        mask = np.zeros((cut[0].stop - cut[0].start, cut[1].stop - cut[1].start))
        mask = mask.astype(np.float32)
        size = (max(int(axes[1]), 1), max(int(axes[0]), 1))
        cv2.ellipse(mask, centre, size, random.uniform(0, 180), 0, 360, 1.0, -1)
        image[cut] = np.maximum(image[cut], mask * float(random.uniform(0.3, 1)))
    image *= 1 + 0.3 * smooth_field(random, side, max(radius / 2, 10))
    if random.random() < 0.3:  # nuclei spared, as cytoplasmic stains show them
        image *= 1 - 0.7 * cv2.GaussianBlur(image, (0, 0), radius / 2)
    blur = float(random.uniform(1.2, 4))
    return np.asarray(np.clip(cv2.GaussianBlur(image, (0, 0), blur), 0, None))


def _ellipse_box(
    image: NDArray[np.float32], y: float, x: float, axes: NDArray[np.float64]
) -> tuple[tuple[slice, slice], tuple[int, int]] | None:
    """Part of the image an ellipse may touch, and its centre ``(x, y)`` in there."""
    reach = int(axes.max()) + 2
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    bottom = min(int(y) + reach + 1, image.shape[0])
    right = min(int(x) + reach + 1, image.shape[1])
    if bottom - top < 1 or right - left < 1:
        return None
    return (slice(top, bottom), slice(left, right)), (int(x) - left, int(y) - top)


def _debris(scenery: Scenery, random: np.random.Generator) -> NDArray[np.float32]:
    """Bright things that are no spots, in units of the noise."""
    side = scenery.size_px
    image = np.zeros((side, side), np.float32)
    wide = np.maximum(2.5 * scenery.sigma_px, 4.5)
    for _ in range(scenery.debris):
        height = float(np.exp(random.normal(2.5, 0.9)))
        kind = int(random.integers(3))
        y, x = random.uniform(0, side, 2)
        if kind == 0:
            sigma = wide * np.exp(random.uniform(0, 0.9, (1, 2)))
            image += splat(
                (side, side), np.array([[y, x]]), sigma, np.array([height / 2])
            )
        elif kind == 1:
            _clump(image, y, x, height, random)
        else:
            _fibre(image, y, x, height, random)
    return image


def _clump(
    image: NDArray[np.float32],
    y: float,
    x: float,
    height: float,
    random: np.random.Generator,
) -> None:
    """An irregular patch, at least twice as wide as the widest spot."""
    corners = int(random.integers(6, 11))
    radius = random.uniform(5.5, 14) * random.uniform(0.75, 1.25, corners)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    outline = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    _add(image, outline, height, float(random.uniform(1.0, 2.5)), closed=True)


def _fibre(
    image: NDArray[np.float32],
    y: float,
    x: float,
    height: float,
    random: np.random.Generator,
) -> None:
    """A smoothly bent line."""
    length = int(random.integers(8, 40))
    turn = np.cumsum(random.normal(0, 0.12, length)) + random.uniform(0, 2 * np.pi)
    path = np.stack([x + np.cumsum(2 * np.cos(turn)), y + np.cumsum(2 * np.sin(turn))])
    _add(image, path.T, height, float(random.uniform(0.8, 2.0)), closed=False)


def _add(
    image: NDArray[np.float32],
    path_xy: NDArray[np.float64],
    height: float,
    blur_px: float,
    *,
    closed: bool,
) -> None:
    margin = int(4 * blur_px) + 2
    low = np.floor(path_xy.min(axis=0)).astype(int) - margin
    high = np.ceil(path_xy.max(axis=0)).astype(int) + margin
    piece = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    corners = np.rint((path_xy - low) * 16).astype(np.int32)[None]
    if closed:
        cv2.fillPoly(piece, corners, 1.0, cv2.LINE_8, 4)
    else:
        cv2.polylines(piece, corners, False, 1.0, 1, cv2.LINE_8, 4)
    piece = np.asarray(cv2.GaussianBlur(piece, (0, 0), blur_px))
    piece *= height / max(float(piece.max()), 1e-6)
    add_piece(image, piece, int(low[1]), int(low[0]))
