"""Which frames never reached us: certain losses, and possible ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_TOO_LONG = 1.6
_JITTER_S = 0.004
"""No operating system promises to notice a frame more exactly than this."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames that the camera took, or should have taken, and that never came.

    Attributes
    ----------
    frames : int
    by : str
        ``camera`` (its own counter has a gap), ``buffer`` (Micro-Manager's number has
        one: the buffer ran over) or ``estimate`` (the interval was too long).
    certain : bool
        False where only the time between two frames says so.
    """

    frames: int
    by: str
    certain: bool


class Tags(Protocol):
    """Metadata of a frame, by name of the tag."""

    def __getitem__(self, name: str, /) -> str:
        """Value of a tag; KeyError if it is not there."""
        ...


class LossWatch:
    """Looks at every frame of one camera sequence, in order.

    Parameters
    ----------
    counter : str or None
        Metadata tag in which the camera itself counts its frames.
    """

    def __init__(self, counter: str | None) -> None:
        self._counter = counter
        self._number: int | None = None
        self._count: int | None = None
        self._came_s: tuple[float | None, float | None] = (None, None)

    def look(
        self,
        number: int | None,
        tags: Tags,
        *,
        came_s: float | None,
        period_s: float,
    ) -> Lost | None:
        """Compare a frame with the one before it; None if nothing is missing.

        Parameters
        ----------
        number : int or None
            Micro-Manager's ``ImageNumber``.
        tags : mapping of str to str
            Metadata of the frame.
        came_s : float or None
            When it came; None if it had to wait in the buffer, so nobody saw.
        period_s : float
            Usual time between two frames.
        """
        missing = self._gap(number)
        found = Lost(missing, "buffer", True) if missing else None
        counted = self._camera_gap(tags)
        if found is None and counted:
            found = Lost(counted, "camera", True)
        elif (
            found is None
            and counted is None
            and (missing := self._silence(came_s, period_s))
        ):
            found = Lost(missing, "estimate", False)
        self._came_s = (self._came_s[1], came_s)
        return found

    def _silence(self, came_s: float | None, period_s: float) -> int:
        """Frames that would have fitted into the interval before the last one."""
        first_s, middle_s = self._came_s
        if first_s is None or middle_s is None or came_s is None or period_s <= 0:
            return 0
        # A frame later, because one that we have noticed late makes the interval after
        # it shorter; one that is missing does not.
        long = (middle_s - first_s) / period_s
        both = (came_s - first_s) / period_s
        if long < _TOO_LONG or both < _TOO_LONG + 1:
            return 0
        if came_s - first_s - 2 * period_s < _JITTER_S:
            return 0
        return max(1, round(both) - 2)

    def _gap(self, number: int | None) -> int:
        if number is None:
            return 0
        missing = number - (-1 if self._number is None else self._number) - 1
        self._number = number
        return max(0, missing)

    def _camera_gap(self, tags: Tags) -> int | None:
        """Frames the camera counted and we did not get; None if it does not count."""
        if self._counter is None:
            return None
        try:
            count = int(float(tags[self._counter]))
        except (KeyError, ValueError):
            return None
        before, self._count = self._count, count
        return 0 if before is None else max(0, count - before - 1)
