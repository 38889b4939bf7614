"""Which object: memory, debouncing and selection over the tracks of a view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import numpy as np

    from smartscope.core import Track

T = TypeVar("T")


class TrackMemory(Generic[T]):
    """One value for each track, forgotten when the track is gone.

    Examples
    --------
    >>> seen_before = TrackMemory[float]()
    >>> seen_before.set(7, 0.5)
    >>> seen_before.get(7), seen_before.get(8)
    (0.5, None)
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}

    def keep(self, tracks: Iterable[Track]) -> None:
        """Forget all tracks that are not among `tracks` or have ended."""
        alive = {track.track_id for track in tracks if track.state != "ended"}
        self._values = {k: v for k, v in self._values.items() if k in alive}

    def get(self, track_id: int) -> T | None:
        """Value of a track, None if there is none."""
        return self._values.get(track_id)

    def set(self, track_id: int, value: T) -> None:
        """Remember a value for a track."""
        self._values[track_id] = value

    def __len__(self) -> int:
        return len(self._values)


class TrackDebounce:
    """Sure of a track only after `times` sights of it in a row said so.

    A sight in which the track is lost or still tentative says nothing about it: its
    count stays. A track that ends, or is no longer listed, is forgotten.

    Examples
    --------
    >>> from smartscope.core import Track
    >>> def cell(area_um2, state="active"):
    ...     size = {"area_um2": area_um2}
    ...     return Track(track_id=1, state=state, x_um=0, y_um=0, features=size)
    >>> round_up = TrackDebounce(2)
    >>> sights = [cell(90), cell(90, "lost"), cell(90), cell(200)]
    >>> [len(round_up.update([s], lambda t: t.features["area_um2"] < 100))
    ...  for s in sights]
    [0, 0, 1, 0]
    """

    def __init__(self, times: int) -> None:
        if times < 1:
            raise ValueError(f"times must be 1 or more, got {times}")
        self.times = times
        self._counts = TrackMemory[int]()

    def update(
        self, tracks: Iterable[Track], said: Callable[[Track], bool]
    ) -> tuple[Track, ...]:
        """Ask `said` about each active track; return those that are sure now.

        A track that stays sure is returned in every sight, in the order of `tracks`.
        """
        tracks = tuple(tracks)
        self._counts.keep(tracks)
        sure = []
        for track in tracks:
            if track.state != "active":
                continue
            count = self.count(track.track_id) + 1 if said(track) else 0
            self._counts.set(track.track_id, count)
            if count >= self.times:
                sure.append(track)
        return tuple(sure)

    def count(self, track_id: int) -> int:
        """How many sights in a row have said so of this track."""
        return self._counts.get(track_id) or 0


def pick(
    tracks: Iterable[Track],
    by: Literal["nearest", "brightest", "random"],
    *,
    near_um: tuple[float, float] | None = None,
    feature: str = "score",
    rng: np.random.Generator | None = None,
    current: int | None = None,
    margin: float = math.inf,
    done: Collection[int] = (),
) -> Track | None:
    """Choose the track to look after, the same one again while it is good enough.

    Only active tracks are chosen. The one that is looked after already, `current`,
    stays chosen while it is active or tentative, unless another is better by more
    than `margin`. Equals go to the older track.

    Parameters
    ----------
    tracks : iterable of Track
    by : str
        ``nearest`` to `near_um`, ``brightest`` (highest `feature`) or ``random``.
    near_um : (x_um, y_um)
        Sample coordinates, for example ``seen.field_centre_um()``.
    feature : str
        Tracks that lack it, or have NaN there, are never the brightest.
    rng : numpy Generator
        The policy's own: ``self.context.rng()``, kept since `start`.
    current : int or None
        Id of the track chosen last.
    margin : float
        In um, or in units of `feature`; infinite never changes without need. Without
        meaning where the choice is random.
    done : collection of int
        Ids that are not chosen any more, `current` among them.

    Returns
    -------
    Track or None
        None if there is none to choose.

    Raises
    ------
    ValueError
        If `near_um` or `rng` is missing for what needs it.

    Examples
    --------
    >>> from smartscope.core import Track
    >>> cells = [Track(track_id=n, state="active", x_um=x, y_um=0.0)
    ...          for n, x in ((1, 9.0), (2, 5.0), (3, -6.0))]
    >>> pick(cells, "nearest", near_um=(0, 0)).track_id
    2
    >>> pick(cells, "nearest", near_um=(0, 0), done={2}).track_id
    3
    >>> pick(cells, "nearest", near_um=(0, 0), current=1, margin=5).track_id
    1
    """
    open_to = sorted(
        (t for t in tracks if t.track_id not in done), key=lambda t: t.track_id
    )
    active = [t for t in open_to if t.state == "active"]
    held = next(
        (
            t
            for t in open_to
            if t.track_id == current and t.state in ("active", "tentative")
        ),
        None,
    )
    if by == "random":
        if rng is None:
            raise ValueError("a random choice needs rng, self.context.rng()")
        if held is not None or not active:
            return held
        return active[int(rng.integers(len(active)))]
    cost = _cost(by, near_um, feature)
    best = min((t for t in active if not math.isnan(cost(t))), key=cost, default=None)
    if held is None or best is None:
        return best or held
    # Also for a held one whose feature is missing now: nothing says another is better.
    return best if cost(held) - cost(best) > margin else held


def _cost(
    by: str, near_um: tuple[float, float] | None, feature: str
) -> Callable[[Track], float]:
    if by == "brightest":
        return lambda track: -track.features.get(feature, math.nan)
    if by != "nearest":
        raise ValueError(f"by must be nearest, brightest or random, got {by!r}")
    if near_um is None:
        raise ValueError("the nearest needs near_um, what it is near to")
    x_um, y_um = near_um
    return lambda track: math.hypot(track.x_um - x_um, track.y_um - y_um)
