"""What the bench's stage and policy remember of a run, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """Times of one run, ns of `time.perf_counter_ns`.

    Attributes
    ----------
    analysed : (began, ended)
        Of the frame that was looked at last.
    seen : list of (frame id, role, began, ended, decided)
    """

    analysed: tuple[int, int] = (0, 0)
    seen: list[tuple[int, str, int, int, int]] = field(default_factory=list)
    keep: bool = True

    def clear(self) -> None:
        """Forget everything, for another run in this process."""
        self.seen.clear()
        self.keep = True


NOTES = Notes()
