"""Windows of frames in which nuclei cut out of real images move and divide.

Nuclei keep the looks of the microscope they come from. What happens in a division is
drawn: the nucleus condenses, becomes a plate (or a ring, seen from its pole), the plate
becomes two bars that part, and those round up to two smaller nuclei. Beside them lies
what must not be taken for a division: debris, dying nuclei that shrink or fall apart,
bright nuclei, neighbours that touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from smartscope.training._divisions_films import Mark
from smartscope.training._spots_scenes import add_piece, smooth_field, splat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.training._data import Pair

Place = tuple[float, float]
"""Row and column, pixels."""

_LEAST_AREA, _MOST_AREA = 120, 4000
_SIDE = 48  # of a cut-out nucleus, whose diameter becomes 24


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """Nuclei of one real image: light above the local ground, typical nucleus 1.

    Attributes
    ----------
    nuclei : ndarray (n, side, side) float32
        Each in the middle; the typical diameter is half of the side.
    """

    nuclei: NDArray[np.float32]


def cut_nuclei(pairs: Sequence[Pair], *, least: int = 4) -> list[Style]:
    """Cut the nuclei out of labelled images; images with fewer than `least` are left.

    Nuclei at the border are not used.
    """
    styles = []
    for pair in pairs:
        found = _cut(pair)
        if len(found) >= least:
            styles.append(Style(np.stack(found)))
    return styles


def _cut(pair: Pair) -> list[NDArray[np.float32]]:
    labels, image = pair.labels, pair.image.astype(np.float32)
    ground = float(np.median(image[labels == 0])) if (labels == 0).any() else 0.0
    areas = np.bincount(labels.ravel())[1:]
    usual = areas[(areas >= _LEAST_AREA) & (areas <= _MOST_AREA)]
    if not len(usual):
        return []
    scale = 0.5 * _SIDE / (2 * np.sqrt(np.median(usual) / np.pi))
    found, light = [], []
    for number in np.flatnonzero((areas >= _LEAST_AREA) & (areas <= _MOST_AREA)) + 1:
        ys, xs = np.nonzero(labels == number)
        if 0 in (ys.min(), xs.min()):
            continue
        if ys.max() == labels.shape[0] - 1 or xs.max() == labels.shape[1] - 1:
            continue
        mask = (labels == number).astype(np.float32)
        matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
        matrix[:, 2] = _SIDE / 2 - scale * np.array([xs.mean(), ys.mean()])
        soft = cv2.GaussianBlur(mask, (0, 0), 0.8)
        above = np.clip(image - ground, 0, None) * soft
        size = (_SIDE, _SIDE)
        found.append(cv2.warpAffine(above, matrix, size, flags=cv2.INTER_AREA))
        light.append(float((image[mask > 0] - ground).mean()))
    typical = float(np.median(light)) if light else 0.0
    if typical <= 0:
        return []
    return [np.asarray(patch / typical, np.float32) for patch in found]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A few frames and what happens in the newest.

    Attributes
    ----------
    frames : ndarray (t, y, x) uint16
        Oldest first.
    marks : list of Mark
        Of the newest frame.
    """

    frames: NDArray[np.uint16]
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class _Nucleus:
    y: float
    x: float
    vy: float
    vx: float
    patch: int
    angle: float
    light: float
    fate: str  # "", "divides", "dies"
    split: float  # frame of the split, the newest is 0
    seed: int


@dataclass(frozen=True, slots=True)
class _Pace:
    """Frames that metaphase, and the way apart, take; width of all in pixels."""

    plate: float
    apart: float
    diameter: float
    glare: float


def draw_window(
    styles: Sequence[Style],
    random: np.random.Generator,
    *,
    length: int = 4,
    size_px: int = 128,
) -> Window:
    """Draw one window; the same state of `random` gives the same one."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    plate = log_uniform(0.5, 2) if random.random() < 0.5 else log_uniform(1, 8)
    pace = _Pace(
        plate,
        plate * log_uniform(0.5, 1.5),
        log_uniform(12, 36),
        log_uniform(1.8, 4.5),
    )
    style = styles[int(random.integers(len(styles)))].nuclei
    nuclei = _populate(style, pace, length, size_px, random)
    speed = pace.diameter * log_uniform(0.005, 0.5)
    drift = random.normal(0, 1, 2) * pace.diameter * log_uniform(0.002, 1.0)
    ground = _ground(size_px, random)
    debris = _debris(pace, size_px, random)
    blur = float(random.uniform(0.4, 1.4))
    frames = []
    for t in range(1 - length, 1):
        canvas = _Canvas(np.zeros((size_px, size_px), np.float32), style, pace)
        walk = np.random.default_rng(int(random.integers(1 << 31)))
        for one in nuclei:
            y = one.y + one.vy * t * speed + drift[0] * t + walk.normal(0, 0.2) * speed
            x = one.x + one.vx * t * speed + drift[1] * t + walk.normal(0, 0.2) * speed
            canvas.draw(one, t, (y, x))
        frames.append(cv2.GaussianBlur(canvas.light + debris, (0, 0), blur) + ground)
    return Window(_exposed(np.stack(frames), random), _marks(nuclei, pace))


def _populate(
    style: NDArray[np.float32],
    pace: _Pace,
    length: int,
    size_px: int,
    random: np.random.Generator,
) -> list[_Nucleus]:
    d = pace.diameter
    cover = np.exp(random.uniform(np.log(0.02), np.log(0.5)))
    count = 1 + round(cover * (size_px + d) ** 2 / (np.pi * d * d / 4))
    dividing = random.choice([0.0, 0.05, 0.15, 0.3])
    dying = random.choice([0.0, 0.05, 0.15])
    spread = random.uniform(0.05, 0.5)
    places: list[NDArray[np.float64]] = []
    nuclei: list[_Nucleus] = []
    for _ in range(count):
        tried = random.uniform(-d / 2, size_px + d / 2, (8, 2))
        if places:
            gaps = np.hypot(*(tried[:, None] - np.array(places)).transpose(2, 0, 1))
            # Not the emptiest place: nuclei also touch.
            tried = tried[gaps.min(axis=1) > 0.75 * d]
        if not len(tried):
            continue
        places.append(tried[0])
        # In most windows the first lies well inside, and divides.
        first = not nuclei and dividing > 0
        if first:
            places[-1] = random.uniform(0.2, 0.8, 2) * size_px
        fate = 0.0 if first else random.random()
        kind = (
            "divides" if fate < dividing else "dies" if fate < dividing + dying else ""
        )
        span = pace.plate + pace.apart
        nuclei.append(
            _Nucleus(
                float(places[-1][0]),
                float(places[-1][1]),
                float(random.normal()),
                float(random.normal()),
                int(random.integers(len(style))),
                float(random.uniform(0, 2 * np.pi)),
                float(np.exp(random.normal(0, spread))),
                kind,
                float(random.uniform(-1.1 * pace.apart - 1.2, 1.2 * pace.plate + 0.2))
                if kind == "divides"
                else float(random.uniform(-length, span)),
                int(random.integers(1 << 31)),
            )
        )
    return nuclei


def _marks(nuclei: list[_Nucleus], pace: _Pace) -> list[Mark]:
    found = []
    for one in nuclei:
        since = -one.split
        if one.fate != "divides" or not (
            -1.6 * pace.plate - 0.5 <= since < 1.3 * pace.apart + 1.2
        ):
            continue
        # However fast: the first frame that shows both daughters counts.
        sure = -0.9 * pace.plate <= since < max(0.7 * pace.apart, 1.0)
        found.append(Mark(one.y, one.x, pace.diameter, sure))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """A frame while it is drawn."""

    light: NDArray[np.float32]
    style: NDArray[np.float32]
    pace: _Pace

    def draw(self, one: _Nucleus, t: int, at: Place) -> None:
        """Add a nucleus as it is in frame `t`."""
        since = t - one.split
        pace = self.pace
        if one.fate == "divides" and since >= -pace.plate:
            self._divide(one, since, at)
            return
        size, light = 1.0, one.light
        if one.fate == "divides":  # it condenses before
            share = (since + 1.6 * pace.plate) / (0.6 * pace.plate)
            share = float(np.clip(share, 0, 1))
            size, light = 1.15 - 0.3 * share, light * (1 + 0.6 * share)
        elif one.fate == "dies" and since >= 0:
            self._die(one, since, at)
            return
        angle = one.angle + 0.05 * t
        self._stamp(one.patch, at, size * pace.diameter, angle, light)

    def _stamp(
        self, patch: int, at: Place, diameter: float, angle: float, light: float
    ) -> None:
        """Add a cut-out nucleus, turned and resized."""
        (y, x), nucleus = at, self.style[patch]
        scale = diameter / (0.5 * _SIDE)
        reach = int(np.ceil(0.75 * _SIDE * scale)) + 1
        top, left = int(np.floor(y)) - reach, int(np.floor(x)) - reach
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]], np.float32)
        middle = matrix[:, :2] @ np.full(2, _SIDE / 2, np.float32)
        matrix[:, 2] = np.array([x - left, y - top]) - middle
        side = 2 * reach + 1
        drawn = cv2.warpAffine(nucleus, matrix, (side, side), flags=cv2.INTER_LINEAR)
        add_piece(self.light, np.float32(light) * drawn, top, left)

    def _divide(self, one: _Nucleus, since: float, at: Place) -> None:
        """Plate, bars that part, daughters that round up."""
        own = np.random.default_rng(one.seed)
        d = self.pace.diameter
        axis = one.angle + own.normal(0, 0.1)
        along = np.array([np.sin(axis), np.cos(axis)])
        light = one.light * self.pace.glare
        length = d * own.uniform(0.7, 1.05)
        thick = d * own.uniform(0.1, 0.17)
        across = axis + np.pi / 2
        if since < 0:
            polar = own.random() < 0.2
            self._plate(at, across, length, thick, light, own, polar=polar)
            return
        share = since / self.pace.apart
        apart = own.uniform(0.7, 1.3) * min(share, 1.0) + 0.1 * max(share - 1, 0)
        gap = d * (0.3 + apart)
        for side in (-1.0, 1.0):
            y, x = np.array(at) + side * gap / 2 * along
            if share < 0.8:
                width = thick * (1 + 0.6 * share)
                span = length * (0.85 - 0.15 * share)
                glow = light * (0.85 - 0.25 * share)
                self._plate((y, x), across, span, width, glow, own)
            else:
                late = float(np.clip((share - 0.8) / 2, 0, 1))
                patch = (one.patch + (side > 0)) % len(self.style)
                glow = one.light * (1 + 0.6 * (self.pace.glare - 1) * (1 - late))
                size = d * (0.55 + 0.25 * late)
                self._stamp(patch, (y, x), size, one.angle + side, glow)

    def _plate(
        self,
        at: Place,
        angle: float,
        length: float,
        thick: float,
        light: float,
        own: np.random.Generator,
        *,
        polar: bool = False,
    ) -> None:
        """An irregular bar of condensed chromosomes, or a ring of them."""
        count = 12
        if polar:
            around = np.linspace(0, 2 * np.pi, count, endpoint=False)
            radius = 0.35 * length * own.uniform(0.7, 1.2, count)
            offset = np.stack([np.sin(around), np.cos(around)], 1) * radius[:, None]
        else:
            way = np.linspace(-0.5, 0.5, count) * (length - thick)
            bend = own.normal(0, 0.35 * thick, count)
            offset = np.stack(
                [
                    way * np.sin(angle) + bend * np.cos(angle),
                    way * np.cos(angle) - bend * np.sin(angle),
                ],
                axis=1,
            )
        sigma = np.maximum(thick * own.uniform(0.7, 1.3, (count, 2)), 0.6)
        # Blobs overlap by their spacing: the ridge has about the height asked for.
        spacing = (2.2 * length if polar else length) / count
        height = light * own.uniform(0.7, 1.3, count) * spacing / (2.5 * sigma.mean())
        self._splat(np.array(at) + offset, sigma, height)

    def _die(self, one: _Nucleus, since: float, at: Place) -> None:
        """Shrink to a bright ball, or fall into round fragments."""
        own = np.random.default_rng(one.seed)
        d = self.pace.diameter
        count = int(own.choice([1, 1, 4, 6]))
        share = min(1.0, since / (0.5 + self.pace.plate))
        spread = 0.0 if count == 1 else d * (0.15 + 0.25 * share)
        points = np.array(at) + own.normal(0, 1, (count, 2)) * spread
        sigma = d * own.uniform(0.1, 0.2, (count, 1)) * np.ones((1, 2))
        if count == 1:
            sigma *= 1.6 - 0.4 * share
        light = one.light * self.pace.glare * own.uniform(0.5, 1.6, count)
        self._splat(points, sigma, light)

    def _splat(
        self,
        points: NDArray[np.float64],
        sigma: NDArray[np.float64],
        height: NDArray[np.float64],
    ) -> None:
        self.light[...] += splat(self.light.shape, points, sigma, height)


def _debris(
    pace: _Pace, size_px: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Small bright things that stay where they are."""
    count = int(random.poisson(random.choice([0.0, 1.0, 4.0])))
    points = random.uniform(0, size_px, (count, 2))
    sigma = pace.diameter * random.uniform(0.04, 0.16, (count, 1)) * np.ones((1, 2))
    sigma *= np.exp(random.normal(0, 0.2, (count, 2)))
    light = pace.glare * np.exp(random.normal(0, 0.7, count))
    return splat((size_px, size_px), points, sigma, light)


def _ground(size_px: int, random: np.random.Generator) -> NDArray[np.float32]:
    level = np.exp(random.uniform(np.log(0.01), np.log(0.6)))
    ground = 1 + 0.3 * smooth_field(random, size_px, size_px / 2)
    ground += random.uniform(0, 0.3) * smooth_field(random, size_px, 8)
    return np.asarray(np.clip(level * ground, 0, None), np.float32)


def _exposed(
    light: NDArray[np.float32], random: np.random.Generator
) -> NDArray[np.uint16]:
    """Shot and read noise; a typical nucleus gives 4 to 300 photons in a pixel."""
    photons = float(np.exp(random.uniform(np.log(4), np.log(300))))
    fade = 1 - random.uniform(0, 0.05) * np.arange(len(light))[:, None, None]
    electrons = random.poisson(np.clip(light, 0, None) * fade * photons)
    read = random.normal(0, random.uniform(1, 3), light.shape)
    counts = (electrons + read) * np.exp(random.uniform(-0.7, 2)) + random.uniform(
        20, 500
    )
    return np.asarray(np.clip(np.rint(counts), 0, 65535), np.uint16)
