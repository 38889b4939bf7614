"""Where something will be: an alpha-beta filter for uneven sights."""

from __future__ import annotations

import math


class Forecast:
    """Position and velocity of something that moves steadily, from noisy sights.

    For the place of an animal or the drift of the focus alike: any number of
    coordinates, each filtered for itself. Between sights it moves on at constant
    velocity. Weights follow from the time between sights, so frames may come at any
    rate: what was seen `memory_s` ago counts 1/e. The first sights are fitted by a
    straight line, so it need not swing in.

    Parameters
    ----------
    memory_s : float
        Long smooths noise, short follows turns. 0 believes the last two sights.
    max_gap_s : float
        After a longer time without a sight it begins anew, at rest.

    Attributes
    ----------
    position, velocity : tuple of float
        As of the last sight, in the unit of what is given to `update`, and that per
        second. Empty before the first sight.

    Notes
    -----
    The fading-memory (critically damped) alpha-beta filter, alpha = 1 - q^2 and beta =
    (1 - q)^2 with q = exp(-dt / memory_s), begun with the gains of a least-squares
    line: E. Brookner, "Tracking and Kalman Filtering Made Easy", Wiley, 1998,
    chapter 1.

    Examples
    --------
    >>> animal = Forecast(memory_s=1.0)
    >>> for t_s in range(4):
    ...     animal.update(t_s, 10.0 * t_s, -2.0 * t_s)
    >>> [round(um, 6) for um in animal.velocity]
    [10.0, -2.0]
    >>> [round(um, 6) for um in animal.predict(3.5)]
    [35.0, -7.0]
    """

    def __init__(self, memory_s: float, max_gap_s: float = math.inf) -> None:
        if not (memory_s >= 0 and max_gap_s > 0):
            raise ValueError("memory_s must be 0 or more, and max_gap_s above 0")
        self.memory_s = memory_s
        self.max_gap_s = max_gap_s
        self.restart()

    def restart(self) -> None:
        """Forget everything: something else is followed from now on."""
        self.position: tuple[float, ...] = ()
        self.velocity: tuple[float, ...] = ()
        self._t_s = -math.inf
        self._times = 0

    def update(self, t_s: float, *position: float) -> None:
        """Take a sight.

        One that is not finite, or older than the last, is left out; one of the same
        time improves the position and leaves the velocity alone.

        Raises
        ------
        ValueError
            If it has another number of coordinates than those before.
        """
        if self.position and len(position) != len(self.position):
            raise ValueError(
                f"it has followed {len(self.position)} coordinates, got {len(position)}"
            )
        if not all(map(math.isfinite, position)):
            return
        dt_s = t_s - self._t_s
        if not self.position or dt_s > self.max_gap_s:
            self.position = position
            self.velocity = (0.0,) * len(position)
            self._t_s, self._times = t_s, 1
        elif dt_s > 0:
            self._correct(dt_s, position)
            self._t_s = t_s
        elif dt_s == 0:
            pairs = zip(self.position, position, strict=True)
            self.position = tuple((was + now) / 2 for was, now in pairs)

    def predict(self, t_s: float) -> tuple[float, ...]:
        """Where it is at `t_s`, if it moves on as it did; empty before any sight."""
        ahead_s = t_s - self._t_s
        moves = zip(self.position, self.velocity, strict=True)
        return tuple(place + speed * ahead_s for place, speed in moves)

    def _correct(self, dt_s: float, seen: tuple[float, ...]) -> None:
        alpha, beta = self._gains(dt_s)
        expected = self.predict(self._t_s + dt_s)
        off = [now - then for now, then in zip(seen, expected, strict=True)]
        self.position = tuple(
            place + alpha * by for place, by in zip(expected, off, strict=True)
        )
        self.velocity = tuple(
            speed + beta * by / dt_s
            for speed, by in zip(self.velocity, off, strict=True)
        )
        self._times += 1

    def _gains(self, dt_s: float) -> tuple[float, float]:
        kept = math.exp(-dt_s / self.memory_s) if self.memory_s > 0 else 0.0
        alpha, beta = 1 - kept**2, (1 - kept) ** 2
        n = self._times
        both = (n + 1) * (n + 2)
        line = (2 * (2 * n + 1) / both, 6 / both)
        return line if line[0] > alpha else (alpha, beta)
