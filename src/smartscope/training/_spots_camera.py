"""From light to the image a spot detector is given: camera and earlier processing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.training._spots_scenes import Scenery

READ_NOISE_E = 1.6
"""Standard deviation of the reading, electrons."""


def exposed(
    light_e: NDArray[np.float32], scenery: Scenery, random: np.random.Generator
) -> NDArray[np.float32]:
    """Shot noise and read noise; a projection keeps the brightest of some exposures."""
    count = int(random.integers(3, 8)) if scenery.treatment == "projection" else 1
    shots: list[NDArray[np.float32]] = []
    for _ in range(count):
        # Above some ten electrons a normal law is as good, and much faster.
        if light_e.min() < 15:
            seen = random.poisson(light_e).astype(np.float32)
        else:
            noise = random.standard_normal(light_e.shape, np.float32)
            seen = (light_e + np.sqrt(light_e) * noise).astype(np.float32)
        read = random.standard_normal(light_e.shape, np.float32)
        shots.append(seen + np.float32(READ_NOISE_E) * read)
    return np.asarray(np.max(shots, axis=0), np.float32)


def treated(
    image: NDArray[np.float32],
    scenery: Scenery,
    noise_e: float,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """What processing before the detection does to an image."""
    if scenery.treatment == "aligned":
        way = np.eye(2, 3, dtype=np.float32)
        way[:, 2] = random.uniform(-0.5, 0.5, 2)
        return _shifted(image, way)
    if scenery.treatment == "tophat":
        radius = max(int(np.ceil(2.5 * scenery.sigma_px)), 3) + int(random.integers(4))
        disk = cv2.getStructuringElement(
            cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)
        )
        if random.random() < 0.5:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 1)))
        return np.asarray(cv2.morphologyEx(image, cv2.MORPH_TOPHAT, disk))
    if scenery.treatment == "difference":
        narrow = float(random.uniform(0.5, 0.9)) * min(scenery.sigma_px, 1.3)
        wide = float(random.uniform(2.5, 5)) * scenery.sigma_px
        change = cv2.GaussianBlur(image, (0, 0), narrow) - cv2.GaussianBlur(
            image, (0, 0), wide
        )
        return np.asarray(
            np.clip(change - random.uniform(0, 1) * noise_e * 0.3, 0, None)
        )
    return image


def _shifted(
    image: NDArray[np.float32], way: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Shift there and back by linear interpolation: noise is smoothed, truth stays."""
    size = (image.shape[1], image.shape[0])
    there = cv2.warpAffine(
        image, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    way = way.copy()
    way[:, 2] *= -1
    return np.asarray(
        cv2.warpAffine(
            there, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    )


def digital(
    image: NDArray[np.float32],
    step_e: float,
    noise_e: float,
    scenery: Scenery,
    random: np.random.Generator,
) -> NDArray[Any]:
    """Counts of a 16-bit camera, or of one of 8 bits, perhaps through JPEG.

    Parameters
    ----------
    image : ndarray (y, x) float32
        Electrons.
    step_e, noise_e : float
        Electrons for a step of 8 bits; noise of the typical background.
    """
    if scenery.camera == "8 bit":
        low = max(float(np.quantile(image, 0.01)) - 2 * step_e, 0.0)
        eight = np.clip(np.rint((image - low) / step_e), 0, 255).astype(np.uint8)
        if scenery.treatment == "jpeg":
            quality = int(random.integers(80, 100))
            _, stream = cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, quality])
            return np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))
        return np.asarray(eight)
    # So many counts for the noise that the steps of the converter do not matter.
    gain = float(np.exp(random.uniform(np.log(1.5), np.log(60)))) / noise_e
    offset = float(random.choice([0, 100, 400]))
    return np.asarray(np.clip(np.rint(image * gain + offset), 0, 65535), np.uint16)
