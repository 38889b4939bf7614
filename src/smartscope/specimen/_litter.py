"""A kind among distractors.

They ride along behind the kind's own points: it does not see them, and its truth does
not have them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from smartscope.specimen._biology import BLEACHING, Biology
from smartscope.specimen._debris import scatter_debris
from smartscope.specimen._harm import mean_unbleached
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.specimen._biology import Backdrop, Light, Moment, Now, Role
    from smartscope.specimen._distractors import Distractors
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Littered(Generic[S]):
    """A state of the sample, when it began, and how bleached the distractors are."""

    sample: S
    began_s: float
    bleached: NDArray[np.float64]


class LitteredBiology(Biology[Littered[S], Sample]):
    """A kind with distractors; those are the last points."""

    model = Sample

    def __init__(self, inner: Biology[S, Any], sorts: Sequence[Distractors]) -> None:
        super().__init__(inner.seed, inner.p)
        self.step_s = inner.step_s
        self._inner = inner
        self._sorts = sorts
        self._count = sum(len(sort) for sort in sorts)

    def found(self, now: Now) -> Littered[S]:
        """Begin the sample, among unbleached distractors."""
        return Littered(self._inner.found(now), now.t_s, np.zeros(self._count))

    def step(self, state: Littered[S], light: Light, now: Now) -> Littered[S]:
        """Let the sample go on by itself."""
        bleached = state.bleached + light[BLEACHING][-self._count :]
        sample = self._inner.step(state.sample, self._of_sample(light), now)
        return Littered(sample, now.t_s, bleached)

    def points(self, state: Littered[S], after_s: float) -> NDArray[np.float64]:
        """Those of the sample, and then the distractors."""
        t_s = state.began_s + after_s
        places = [sort.at(t_s) for sort in self._sorts]
        return np.concatenate([self._inner.points(state.sample, after_s), *places])

    def paint(self, state: Littered[S], moment: Moment, picture: Picture) -> None:
        """Paint the sample, and then the distractors."""
        own = replace(picture, light=self._of_sample(picture.light))
        self._inner.paint(state.sample, self._moment(moment), own)
        xyz_um = moment.points_um[-self._count :]
        left = mean_unbleached(
            state.bleached + moment.light[BLEACHING][-self._count :],
            picture.light[BLEACHING][-self._count :],
            self.p.bleach_half_dose,
        )
        for sort in self._sorts:
            sort.draw(xyz_um[: len(sort)], left[: len(sort)], picture)
            xyz_um, left = xyz_um[len(sort) :], left[len(sort) :]

    def describe(self, state: Littered[S], moment: Moment) -> Truth:
        """Tell of the sample alone."""
        return self._inner.describe(state.sample, self._moment(moment))

    def speed_um_s(self, state: Littered[S]) -> float:
        """Of the fastest of all."""
        own = self._inner.speed_um_s(state.sample)
        return max([own, *(_fastest(sort) for sort in self._sorts)])

    def roles(self) -> Mapping[str, Role]:
        """Those of the sample."""
        return self._inner.roles()

    def backdrop(self, content: str) -> Backdrop:
        """That of the sample."""
        return self._inner.backdrop(content)

    def _of_sample(self, light: Light) -> Light:
        return {role: got[: -self._count] for role, got in light.items()}

    def _moment(self, moment: Moment) -> Moment:
        return replace(
            moment,
            points_um=moment.points_um[: -self._count],
            light=self._of_sample(moment.light),
        )


def _fastest(sort: Distractors) -> float:
    return float(np.hypot(*sort.velocity_um_s.T).max(initial=0.0))


def with_distractors(inner: Biology[S, Any]) -> Biology[Any, Any]:
    """Add debris and the distractors of the kind's own, if there are any."""
    debris = scatter_debris(inner.p, inner.seed, inner.backdrop)
    sorts = [sort for sort in (debris, *inner.distractors()) if len(sort)]
    return LitteredBiology(inner, sorts) if sorts else inner
