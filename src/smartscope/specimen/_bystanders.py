"""Cells that distract from dividing ones: some float out of focus, some are dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import EXCITATION, TRANSMISSION
from smartscope.specimen._distractors import Distractors
from smartscope.specimen._random import mix, normal, seed_key, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._dividing import DividingCells
    from smartscope.specimen._picture import Picture

_FLOATING, _DEAD = 0xF10A7, 0xDEAD
_FLOATING_UM_S = 0.03
_FRAGMENTS = 4
"""Into how many pieces the nucleus of a dead cell falls at most."""


def floating_cells(p: DividingCells, seed: int) -> Distractors:
    """Rounded cells that float far above the focus and drift along."""
    key = seed_key(seed ^ _FLOATING, round(p.floating_cells * p.cells))
    height = p.floating_um * (0.5 + uniform(key, 3))
    angle = 2 * np.pi * uniform(key, 4)
    velocity = _FLOATING_UM_S * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radius = p.nucleus_um * (0.8 + 0.3 * uniform(key, 5))
    signal = _signal(p, key)

    def draw(
        xyz_um: NDArray[np.float64], left: NDArray[np.float64], picture: Picture
    ) -> None:
        if picture.content == "brightfield":
            dark = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
            _discs(picture, xyz_um, 1.5 * radius, -0.15 * dark)
            return
        peak = picture.photons(p.photons_per_ms, EXCITATION) * signal * left
        if picture.content == "cytoplasm":
            _discs(picture, xyz_um, 1.5 * radius, 0.6 * peak)
        else:
            _discs(picture, xyz_um, radius, peak)

    return Distractors(_places(p, key, height), velocity, p.area_um, draw)


def dead_cells(p: DividingCells, seed: int) -> Distractors:
    """Dead cells: small and round, their nuclei bright and often in fragments."""
    key = seed_key(seed ^ _DEAD, round(p.dead_cells * p.cells))
    height = 3.0 * np.abs(normal(key, 3))
    signal = _signal(p, key)
    pieces = 1 + (_FRAGMENTS * uniform(key, 6)).astype(np.int64)
    owner = np.repeat(np.arange(len(key)), pieces)
    number = np.arange(len(owner)) - np.searchsorted(owner, owner)
    own = mix((key[owner] + number.astype(np.uint64)).astype(np.uint64), 7)
    turn = 2 * np.pi * (number + 0.7 * uniform(own, 1)) / pieces[owner]
    apart = (
        0.65 * p.nucleus_um * np.where(pieces[owner] > 1, np.sqrt(uniform(own, 2)), 0)
    )
    offset = np.stack([apart * np.cos(turn), apart * np.sin(turn), 0 * turn], axis=1)
    # Fragments differ in size; a nucleus in a single piece has shrunken to a half.
    radius = (
        0.55 * p.nucleus_um / np.sqrt(pieces[owner]) * (0.6 + 0.6 * uniform(own, 3))
    )

    def draw(
        xyz_um: NDArray[np.float64], left: NDArray[np.float64], picture: Picture
    ) -> None:
        body = 1.1 * p.nucleus_um
        if picture.content == "brightfield":
            lit = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
            _discs(picture, xyz_um, 1.2 * body, 0.15 * lit)
            _discs(picture, xyz_um, body, -0.4 * lit)
            return
        peak = picture.photons(p.photons_per_ms, EXCITATION) * signal * left
        if picture.content == "cytoplasm":
            _discs(picture, xyz_um, body, 0.5 * peak)
        else:
            _discs(picture, xyz_um[owner] + offset, radius, 2.2 * peak[owner])

    still = np.zeros((len(key), 2))
    return Distractors(_places(p, key, height), still, p.area_um, draw)


def _discs(
    picture: Picture,
    xyz_um: NDArray[np.float64],
    radius_um: NDArray[np.float64] | float,
    peak: NDArray[np.float64] | float,
) -> None:
    picture.ellipses(xyz_um, long_um=radius_um, short_um=radius_um, peak=peak)


def _places(
    p: DividingCells, key: NDArray[np.uint64], height_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    width, height = p.area_um
    x_um, y_um = width * (uniform(key, 1) - 0.5), height * (uniform(key, 2) - 0.5)
    return np.stack([x_um, y_um, p.z_um + height_um], axis=1)


def _signal(p: DividingCells, key: NDArray[np.uint64]) -> NDArray[np.float64]:
    return np.maximum(1 + p.brightness_spread * normal(key, 9), 0.2)
