"""What is usual for one track: a running mean in time, with bounded memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Baseline:
    """Running mean of one feature of one track.

    Attributes
    ----------
    value : float
    spread : float
        Running mean of how far a value is from the mean before it.
    count : int
        Values taken.
    """

    value: float = 0.0
    spread: float = 0.0
    count: int = 0

    def take(self, value: float, *, steps: float, window: float) -> None:
        """Add a value.

        Parameters
        ----------
        steps : float
            Time since the last value, in usual time steps: fast frames weigh less, so
            the baseline covers the same time whatever the rate.
        window : float
            Length of the window, in usual time steps.
        """
        self.count += 1
        # While young, a plain mean; then exponential forgetting.
        young = 1.0 / self.count if self.count <= 3 else 0.0
        weight = min(max(young, steps / window), 1.0)
        away = value - self.value
        if self.count > 1:
            self.spread += weight * (abs(away) - self.spread)
        self.value += weight * away


class UsualStep:
    """The usual time step of a view: the first positive one, s."""

    __slots__ = ("_last_s", "_usual_s")

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._usual_s: float | None = None

    def steps(self, t_s: float) -> float:
        """Usual time steps since the last call; 1 on the first ones."""
        step_s = 0.0 if self._last_s is None else max(t_s - self._last_s, 0.0)
        self._last_s = t_s
        if self._usual_s is None:
            self._usual_s = step_s if step_s > 0 else None
            return 1.0
        return step_s / self._usual_s
