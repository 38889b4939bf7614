"""What keeps the memory of a report bounded, however long the run was."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

from smartscope.record._report_facts import MarkFact, NoticeFact
from smartscope.record._report_words import without_numbers

if TYPE_CHECKING:
    from smartscope.record._report_facts import DecisionFact

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 4096
MOST_NOTICES = 500
MOST_POINTS = 1024
MOST_BINS = 512


def remember(store: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep a value, and forget the oldest when there are too many."""
    store[key] = value
    if len(store) > REMEMBERED:
        store.popitem(last=False)


class Beyond:
    """Counts, of things that come again and again, those that were not kept."""

    def __init__(self) -> None:
        self._recent: OrderedDict[Any, None] = OrderedDict()

    def new(self, key: Any) -> bool:
        """Whether this one was not met lately."""
        known = key in self._recent
        remember(self._recent, key, None)
        self._recent.move_to_end(key)
        return not known


class Notices:
    """What was told, with how often and when; what differs in numbers is one."""

    def __init__(self) -> None:
        self._told: dict[str, list[Any]] = {}

    def add(self, t_s: float, words: str) -> None:
        """Take a sentence; of several the last is shown."""
        key = without_numbers(words)
        if key not in self._told and len(self._told) >= MOST_NOTICES:
            key, words = "", "others"
        row = self._told.setdefault(key, [words, 0, t_s, t_s])
        row[0], row[3] = words, t_s
        row[1] += 1

    def facts(self) -> tuple[NoticeFact, ...]:
        """Return them in the order in which they were first told."""
        return tuple(
            NoticeFact(words=words, times=times, first_s=first_s, last_s=last_s)
            for words, times, first_s, last_s in self._told.values()
        )


class Line:
    """A path in the sample, um; every second point goes when there are too many."""

    def __init__(self) -> None:
        self.x_um: array[float] = array("d")
        self.y_um: array[float] = array("d")
        self.parent: int | None = None
        self.points = 0
        self._step = 1

    def add(self, x_um: float, y_um: float) -> None:
        """Take the next point."""
        self.points += 1
        if (self.points - 1) % self._step:
            return
        self.x_um.append(x_um)
        self.y_um.append(y_um)
        if len(self.x_um) > MOST_POINTS:
            self.x_um, self.y_um = self.x_um[::2], self.y_um[::2]
            self._step *= 2


class Marks:
    """Decisions of one policy over time: one for each stretch of time and verdict.

    The stretches grow with the run, so that there are never too many.
    """

    def __init__(self) -> None:
        self._bin_s = 0.01
        self._marks: dict[tuple[int, str], MarkFact] = {}

    def add(self, d: DecisionFact) -> None:
        """Take a decision."""
        self._put(MarkFact(decision=d))
        while len(self._marks) > MOST_BINS:
            self._bin_s *= 2
            marks, self._marks = self._marks, {}
            for mark in marks.values():
                self._put(mark)

    def facts(self) -> tuple[MarkFact, ...]:
        """Return them in order of time."""
        return tuple(sorted(self._marks.values(), key=lambda m: m.decision.t_s))

    def _put(self, mark: MarkFact) -> None:
        d = mark.decision
        key = (int(d.t_s / self._bin_s), d.verdict)
        known = self._marks.get(key)
        if known is not None:
            mark = MarkFact(decision=known.decision, count=known.count + mark.count)
        self._marks[key] = mark
