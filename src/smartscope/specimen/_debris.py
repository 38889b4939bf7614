"""Debris: bright specks and irregular clumps that are in every real sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import EXCITATION, TRANSMISSION
from smartscope.specimen._distractors import Distractors
from smartscope.specimen._random import mix, normal, seed_key, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.specimen._biology import Backdrop
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._sample import Sample

_SALT = 0xDEB415
_PIECES = 9
"""Pieces that make a clump."""
_DARKEST = 0.5
"""Share of the light that debris takes away without a label, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Debris is made of round soft pieces, a speck of one; arrays (m,).

    Attributes
    ----------
    owner : int64
        Which debris each belongs to.
    offset_um : float64 (m, 3)
        From the middle of it.
    sigma_um, brightness : float64
    """

    owner: NDArray[np.int64]
    offset_um: NDArray[np.float64]
    sigma_um: NDArray[np.float64]
    brightness: NDArray[np.float64]


def scatter_debris(
    p: Sample, seed: int, backdrop: Callable[[str], Backdrop]
) -> Distractors:
    """Scatter the debris of `Sample.debris`.

    Parameters
    ----------
    backdrop : callable
        See `Biology.backdrop`; where light shines through, debris is dark.
    """
    wanted = p.debris
    width, height = wanted.area_um
    key = seed_key(seed ^ _SALT, round(wanted.per_mm2 * width * height * 1e-6))
    pieces = _break_up(p, key)

    def draw(
        xyz_um: NDArray[np.float64], left: NDArray[np.float64], picture: Picture
    ) -> None:
        role = backdrop(picture.content).role
        if not picture.full_ms[role]:
            return
        if role == TRANSMISSION:
            full = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
            peak = -full * np.minimum(0.3 * pieces.brightness, _DARKEST)
        else:
            full = picture.photons(p.photons_per_ms, EXCITATION)
            peak = full * pieces.brightness * left[pieces.owner]
        sigma_px = pieces.sigma_um / picture.pixel_map.pixel_um
        picture.spots(
            xyz_um[pieces.owner] + pieces.offset_um,
            total=peak * 2 * np.pi * sigma_px**2,
            sigma_um=pieces.sigma_um,
        )

    return Distractors(_places(p, key), _velocities(p, key), wanted.area_um, draw)


def _places(p: Sample, key: NDArray[np.uint64]) -> NDArray[np.float64]:
    width, height = p.debris.area_um
    return np.stack(
        [
            width * (uniform(key, 1) - 0.5),
            height * (uniform(key, 2) - 0.5),
            p.z_um + p.debris.z_spread_um * normal(key, 3),
        ],
        axis=1,
    )


def _velocities(p: Sample, key: NDArray[np.uint64]) -> NDArray[np.float64]:
    afloat = uniform(key, 4) < p.debris.drifting
    speed = np.where(afloat, p.debris.speed_um_s * (0.5 + uniform(key, 5)), 0.0)
    angle = 2 * np.pi * uniform(key, 6)
    return np.stack([speed * np.cos(angle), speed * np.sin(angle)], axis=1)


def _break_up(p: Sample, key: NDArray[np.uint64]) -> _Pieces:
    wanted = p.debris
    brightness = wanted.brightness * np.exp(wanted.brightness_spread * normal(key, 7))
    clump = uniform(key, 8) < wanted.clumps
    owner = np.repeat(np.arange(len(key)), np.where(clump, _PIECES, 1))
    number = np.arange(len(owner)) - np.searchsorted(owner, owner)
    own = mix((key[owner] + number.astype(np.uint64)).astype(np.uint64), 9)
    size = np.where(clump[owner], 0.6 + 0.8 * uniform(own, 1), 1.0) * wanted.size_um
    # A clump is a chain that goes on from piece to piece, so it is never round.
    strides = np.stack([normal(own, salt) for salt in (2, 3, 4)], axis=1)
    strides *= wanted.size_um * np.array([1.0, 1.0, 0.5])
    strides[number == 0] = 0.0
    walked = np.cumsum(strides, axis=0)
    chain = walked - walked[np.searchsorted(owner, owner)]
    return _Pieces(
        owner, chain, 0.5 * size, brightness[owner] * _share(own, clump, owner)
    )


def _share(
    own: NDArray[np.uint64], clump: NDArray[np.bool_], owner: NDArray[np.int64]
) -> NDArray[np.float64]:
    # Pieces of a clump overlap and differ; a speck is what it is.
    return np.where(clump[owner], 0.3 + 0.5 * uniform(own, 5), 1.0)
