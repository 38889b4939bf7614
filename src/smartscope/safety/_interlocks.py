"""Named conditions that block or end a run."""

from __future__ import annotations

INTERLOCKS = ("stale_frames", "disk", "dose_budget", "hardware", "unfamiliar")


class Interlocks:
    """Which interlocks hold now, and why. Whoever watches a condition trips it.

    ``stale_frames``: no new frame for too long. ``disk``: nearly full, or too slow.
    ``dose_budget``: the light budget of a field is spent. ``hardware``: a device
    refused. ``unfamiliar``: images are unlike those a model was made for.
    """

    def __init__(self) -> None:
        # Replaced, never changed: another thread may be reading it.
        self._reasons: dict[str, str] = {}

    @property
    def active(self) -> tuple[str, ...]:
        """Names of those that hold now, sorted."""
        return tuple(sorted(self._reasons)) if self._reasons else ()

    def reason(self, name: str) -> str:
        """Why an interlock holds, "" if it does not."""
        return self._reasons.get(_known(name), "")

    def trip(self, name: str, reason: str) -> bool:
        """Set an interlock; True if it did not hold before.

        Raises
        ------
        ValueError
            If there is no such interlock.
        """
        new = _known(name) not in self._reasons
        self._reasons = {**self._reasons, name: reason}
        return new

    def clear(self, name: str) -> bool:
        """Release an interlock; True if it held."""
        if _known(name) not in self._reasons:
            return False
        self._reasons = {n: r for n, r in self._reasons.items() if n != name}
        return True


def _known(name: str) -> str:
    if name not in INTERLOCKS:
        raise ValueError(f"no interlock {name!r}; there are {', '.join(INTERLOCKS)}")
    return name
