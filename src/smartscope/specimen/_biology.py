"""What a kind of specimen must say; the rest is the engine's (`LivingSpecimen`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from smartscope.specimen._sample import Sample
from smartscope.specimen._truth import Truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from smartscope.specimen._distractors import Distractors
    from smartscope.specimen._events import TrueEvent
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Division

EXCITATION, BLEACHING, HARM = "excitation", "bleaching", "harm"
ACTIVATION, TRANSMISSION = "activation", "transmission"

Light = dict[str, "NDArray[np.float64]"]
"""Percent-seconds that each point received, by role of the light, each (n,)."""

S = TypeVar("S")
P = TypeVar("P", bound=Sample)


@dataclass(frozen=True, slots=True)
class Role:
    """Something light does: how strongly each line does it.

    Attributes
    ----------
    weights : mapping of light line to float
    other : float
        Of lines that are not named, and of a microscope without light lines.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    other: float = 1.0

    def weight(self, line: str) -> float:
        """How strongly a line acts."""
        return self.weights.get(line, self.other)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What the camera sees where there is no object.

    Attributes
    ----------
    photons_per_ms : float
        Electrons per unbinned sensor pixel in full light.
    role : str
        Which light makes it.
    """

    photons_per_ms: float
    role: str = EXCITATION


@dataclass(frozen=True, slots=True)
class Now:
    """An instant of specimen time.

    Attributes
    ----------
    step : int
        Number of the step it lies in; also a salt for random numbers of this step.
    t_s : float
        Since the start.
    after_s : float
        Since the step began.
    drift_um : ndarray (3,)
        How far the sample has drifted.
    """

    step: int
    t_s: float
    after_s: float
    drift_um: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant of one state, as paint and truth need it.

    Attributes
    ----------
    now : Now
    points_um : ndarray (n, 3)
        `Biology.points` with drift: where the stage and focus must be to have them in
        the middle and sharp.
    light : Light
        What each point received since the step began.
    focus_plane_um : float
        Of the middle of the sample.
    """

    now: Now
    points_um: NDArray[np.float64]
    light: Light
    focus_plane_um: float

    def truth(
        self,
        object_id: NDArray[np.int64],
        *,
        xyz_um: NDArray[np.float64] | None = None,
        parent_id: ArrayLike = 0,
        radius_um: ArrayLike = np.nan,
        phase: ArrayLike = "",
        brightness: ArrayLike = 1.0,
        dose: ArrayLike = 0.0,
        alive: ArrayLike = True,
        divisions: Sequence[Division] = (),
        events: Sequence[TrueEvent] = (),
        measures: Mapping[str, NDArray[Any]] | None = None,
        scalars: Mapping[str, float] | None = None,
    ) -> Truth:
        """Make the truth of this moment; a single value stands for every object.

        Parameters
        ----------
        xyz_um : ndarray (n, 3)
            With drift; `points_um` where there is one point per object.
        events : sequence of TrueEvent
            In order of onset; those that are still to come are left out, and times
            that are still to come become nan.
        """
        n = len(object_id)
        xyz = self.points_um if xyz_um is None else xyz_um

        def column(value: ArrayLike, dtype: Any = None) -> NDArray[Any]:
            return np.broadcast_to(np.asarray(value, dtype), (n,)).copy()

        drift_x, drift_y, drift_z = self.now.drift_um.tolist()
        return Truth(
            t_s=self.now.t_s,
            cell_id=column(object_id, np.int64),
            parent_id=column(parent_id, np.int64),
            x_um=xyz[:, 0].copy(),
            y_um=xyz[:, 1].copy(),
            z_um=xyz[:, 2].copy(),
            radius_um=column(radius_um, np.float64),
            phase=column(phase),
            brightness=column(brightness, np.float64),
            dose=column(dose, np.float64),
            alive=column(alive, np.bool_),
            divisions=tuple(divisions),
            focus_plane_um=self.focus_plane_um,
            drift_um=(drift_x, drift_y, drift_z),
            events=tuple(
                seen for e in events if (seen := e.known_at(self.now.t_s)) is not None
            ),
            measures={} if measures is None else dict(measures),
            scalars={} if scalars is None else dict(scalars),
        )


class Biology(ABC, Generic[S, P]):
    """One kind of living sample: how it begins, goes on, looks, and what is true of it.

    A state (type ``S``) is immutable and holds for one step. Everything that will
    happen during a step is decided at its start, so that it can be looked at at any
    instant of the step, any number of times, in any order. All random numbers come
    from `seed` through `smartscope.specimen._random`: from keys and salts, never from
    a generator that is passed along.

    Attributes
    ----------
    model : type of Sample
        Its parameters.
    step_s : float
        Length of a step, specimen time, whole ns. Fast things need not have fast
        steps: draw their events ahead in continuous time and evaluate them in `paint`.
    p : Sample
        The parameters, an instance of `model`.
    """

    model: ClassVar[type[Sample]]
    step_s: float = 1.0

    def __init__(self, seed: int, parameters: P) -> None:
        self.seed = seed
        self.p = parameters

    @abstractmethod
    def found(self, now: Now) -> S:
        """State of the first step."""

    @abstractmethod
    def step(self, state: S, light: Light, now: Now) -> S:
        """State of the step that begins at `now`.

        Parameters
        ----------
        light : Light
            What each point of `state` received during its step.
        """

    @abstractmethod
    def points(self, state: S, after_s: float) -> NDArray[np.float64]:
        """Where light is felt, (n, 3) um without drift; n is constant in a state.

        One for each object, as a rule; a large object may have several.
        """

    @abstractmethod
    def paint(self, state: S, moment: Moment, picture: Picture) -> None:
        """Add the light of all objects to `picture`."""

    @abstractmethod
    def describe(self, state: S, moment: Moment) -> Truth:
        """What is true at this moment; `Moment.truth` helps."""

    def speed_um_s(self, state: S) -> float:
        """Of the fastest object: an exposure is cut where it moves by a pixel."""
        return 0.0

    def distractors(self) -> Sequence[Distractors]:
        """What this kind has in the picture that is not the sample, beside debris."""
        return ()

    def roles(self) -> Mapping[str, Role]:
        """What light does here; a kind with light of its own adds to these."""
        p = self.p
        excitation = Role(p.excitation)
        return {
            EXCITATION: excitation,
            BLEACHING: excitation if p.bleaching is None else Role(p.bleaching),
            HARM: excitation if p.harm is None else Role(p.harm),
            ACTIVATION: Role(p.activation, other=0.0),
            TRANSMISSION: Role(p.transmission),
        }

    def backdrop(self, content: str) -> Backdrop:
        """What is seen where no object is, in a channel that shows `content`."""
        if content == "brightfield":
            return Backdrop(self.p.brightfield_photons_per_ms, TRANSMISSION)
        return Backdrop(self.p.background_photons_per_ms)
