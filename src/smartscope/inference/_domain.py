"""Out of distribution: whether an image looks like those a model was made for.

A few numbers of every image (light, noise, sharpness, structure over scales) are held
against what the training images had. It is a smoke detector, not a proof: a network is
only known to work where it was tried, and these numbers say when it is somewhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import Node
from smartscope.inference._frame_statistics import FEATURES, FLOOR, frame_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from smartscope.inference._frame_statistics import FrameStatistics

_FORMAT = 1
_LEAST_IMAGES = 10
_MARGIN = 0.25
_QUANTILE = 0.995
SCALARS = ("background", "signal", "noise", "focus", "clipped")
"""What is judged one by one, each against its own range."""
_ABSOLUTE = ("background", "signal")
_WORDS = {
    "background": "background",
    "signal": "signal",
    "noise": "noise",
    "focus": "sharpness",
    "clipped": "clipping",
}


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How near an image is to those of the training.

    Attributes
    ----------
    distance, limit : float
        Mahalanobis distance from the training images, and the largest that is usual.
    outside : tuple of str
        What is outside of its range, in words; empty where all is as usual.
    """

    distance: float
    limit: float
    outside: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Distance as a share of the limit."""
        return self.distance / self.limit

    @property
    def usual(self) -> bool:
        """Nothing is outside."""
        return not self.outside


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What the images of a training had in common.

    Attributes
    ----------
    channels : int
    images : int
        How many there were.
    ranges : mapping of str to (float, float)
        Lowest and highest usual value of some of `SCALARS`; those of further channels
        are ``noise_2``, ``noise_3``, ....
    mean : ndarray (n,) float64
        Of `FrameStatistics.vector`.
    precision : ndarray (n, n) float64
        Inverse of its covariance.
    limit : float
        Distance that one image of the training in 200 exceeds.
    """

    channels: int
    images: int
    ranges: Mapping[str, tuple[float, float]]
    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    limit: float

    @classmethod
    def fit(cls, images: Iterable[NDArray[Any]], *, absolute: bool = False) -> Domain:
        """Learn from training images, as the model is given them.

        Parameters
        ----------
        images : iterable of ndarray (y, x) or (c, y, x)
            At least 10, better some hundred; sizes may differ.
        absolute : bool
            Judge also background and signal in counts: for a model that knows its
            camera, such as a denoiser trained for one gain.

        Raises
        ------
        ValueError
            Too few images, or with different numbers of channels.
        """
        found = [frame_statistics(image) for image in images]
        if len(found) < _LEAST_IMAGES:
            raise ValueError(f"a domain needs at least {_LEAST_IMAGES} images")
        if len({one.channels for one in found}) != 1:
            raise ValueError("all images must have the same number of channels")
        names = [n for n in SCALARS if absolute or n not in _ABSOLUTE]
        ranges: dict[str, tuple[float, float]] = {}
        for channel in range(found[0].channels):
            for name in names:
                values = [getattr(one, name)[channel] for one in found]
                ranges[_key(name, channel)] = _range(np.array(values))
        vectors = np.array([one.vector for one in found])
        mean, precision = _gaussian(vectors)
        distances = [_distance(vector, mean, precision) for vector in vectors]
        return cls(
            channels=found[0].channels,
            images=len(found),
            ranges=ranges,
            mean=mean,
            precision=precision,
            limit=float(np.quantile(distances, _QUANTILE)),
        )

    def judge(self, statistics: FrameStatistics) -> Familiarity:
        """Hold one image against the training.

        Raises
        ------
        ValueError
            Another number of channels.
        """
        if statistics.channels != self.channels:
            raise ValueError(
                f"the domain is of {self.channels} channels, not {statistics.channels}"
            )
        outside = []
        for channel in range(self.channels):
            for name in SCALARS:
                key = _key(name, channel)
                if key in self.ranges:
                    value = getattr(statistics, name)[channel]
                    outside += _verdict(key, name, value, self.ranges[key])
        distance = _distance(statistics.vector, self.mean, self.precision)
        if distance > self.limit:
            outside.append("structure")
        return Familiarity(distance, self.limit, tuple(outside))

    def to_card(self) -> dict[str, Any]:
        """Plain values for the description of a model."""
        return {
            "format": _FORMAT,
            "channels": self.channels,
            "images": self.images,
            "ranges": {k: [_short(v) for v in both] for k, both in self.ranges.items()},
            "mean": [_short(v) for v in self.mean],
            "precision": [[_short(v) for v in row] for row in self.precision],
            "limit": _short(self.limit),
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any], *, file: str = "") -> Domain:
        """Read what `to_card` wrote.

        Parameters
        ----------
        card : mapping
            ``config.smartscope.domain`` of a description.
        file : str
            Where it stands, for messages.

        Raises
        ------
        ModelError
            A field is missing, unknown or impossible.
        """
        node = Node(dict(card), file, "config.smartscope.domain")
        known = {"format", "channels", "images", "ranges", "mean", "precision", "limit"}
        for name in sorted(set(map(str, card)) - known):
            raise node.get(name).refuse("is not known here", "leave it out")
        if node.get("format").size() != _FORMAT:
            raise node.get("format").refuse(
                f"is {card['format']}, this version reads {_FORMAT}",
                "update smartscope",
            )
        channels = node.get("channels").size()
        size = channels * (2 + len(FEATURES))
        mean = np.array(_numbers(node.get("mean"), size))
        rows = _items(node.get("precision"), size)
        precision = np.array([_numbers(row, size) for row in rows])
        limit = node.get("limit")
        if limit.number() <= 0:
            raise limit.refuse("must be above 0")
        _check_precision(precision, node.get("precision"))
        return cls(
            channels=channels,
            images=node.get("images").index(),
            ranges=_read_ranges(node.get("ranges"), channels),
            mean=mean,
            precision=precision,
            limit=limit.number(),
        )


def _key(name: str, channel: int) -> str:
    return name if channel == 0 else f"{name}_{channel + 1}"


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Usual values with a margin, as a share of their own spread; never negative.

    Over logarithms: twice the noise is as far as half of it.
    """
    logs = np.log10(np.maximum(values, FLOOR))
    low, high = np.quantile(logs, [1 - _QUANTILE, _QUANTILE])
    margin = max(_MARGIN * (high - low), np.log10(1.1))
    low = 0.0 if values.min() <= FLOOR else float(10 ** (low - margin))
    return low, float(10 ** (high + margin))


def _gaussian(
    vectors: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and inverse covariance, shrunk towards its diagonal.

    The weight of the diagonal is that of Schaefer and Strimmer (2005): as much as the
    correlations are uncertain.
    """
    n, size = vectors.shape
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    spread = np.maximum(centred.std(axis=0, ddof=1), 1e-3)
    unit = centred / spread
    products = unit[:, :, None] * unit[:, None, :]
    correlation = products.mean(axis=0) * n / (n - 1)
    uncertain = products.var(axis=0, ddof=1) * n / (n - 1) ** 2
    off = ~np.eye(size, dtype=bool)
    strength = float(np.square(correlation[off]).sum())
    weight = 1.0
    if strength > 0:
        weight = float(np.clip(uncertain[off].sum() / strength, 0.01, 1.0))
    correlation = (1 - weight) * correlation
    np.fill_diagonal(correlation, 1.0)
    inverse = np.linalg.inv(correlation) / np.outer(spread, spread)
    return mean, (inverse + inverse.T) / 2


def _distance(
    vector: NDArray[np.float64],
    mean: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> float:
    off = vector - mean
    return float(np.sqrt(max(float(off @ precision @ off), 0.0)))


def _verdict(
    key: str, name: str, value: float, usual: tuple[float, float]
) -> list[str]:
    word = key.replace(name, _WORDS[name], 1).replace("_", " of channel ")
    if value < usual[0]:
        return [f"{word} too low"]
    return [f"{word} too high"] if value > usual[1] else []


def _short(value: float) -> float:
    """Nine digits: more than enough, and short in a file."""
    return float(f"{value:.9g}")


def _items(node: Node, size: int) -> list[Node]:
    items = list(node.items())
    if len(items) != size:
        raise node.refuse(f"has {len(items)} entries instead of {size}")
    return items


def _numbers(node: Node, size: int) -> list[float]:
    return [item.number() for item in _items(node, size)]


def _check_precision(precision: NDArray[np.float64], node: Node) -> None:
    if not np.allclose(precision, precision.T, rtol=1e-6, atol=0):
        raise node.refuse("is not symmetric", "write the inverse covariance")
    # The digits of a file may turn a vanishing eigenvalue around, not a real one.
    values = np.linalg.eigvalsh(precision)
    if values[0] <= -1e-6 * abs(values[-1]) or values[-1] <= 0:
        raise node.refuse("is no inverse of a covariance", "fit the domain again")


def _read_ranges(node: Node, channels: int) -> dict[str, tuple[float, float]]:
    known = {_key(name, channel) for name in SCALARS for channel in range(channels)}
    if not isinstance(node.value, dict):
        raise node.wrong("a mapping of ranges")
    found = {}
    for name in map(str, node.value):
        place = node.get(name)
        if name not in known:
            raise place.refuse("is no statistic", f"known: {', '.join(sorted(known))}")
        low, high = _numbers(place, 2)
        if low > high:
            raise place.refuse(
                f"the lowest value {low:g} is above the highest {high:g}"
            )
        found[name] = (low, high)
    return found
