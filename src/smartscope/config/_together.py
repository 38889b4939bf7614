"""Several policies on one run: who holds a resource how long, phases, arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from smartscope.config._base import Name, Section
from smartscope.config._explain import did_you_mean, refuse
from smartscope.config._plan import Stream
from smartscope.config._yaml import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.config._experiment import Experiment

RESOURCES = (
    "camera",
    "exposure",
    "focus",
    "light",
    "objective",
    "property",
    "schedule",
    "slm",
    "stage",
)
"""Kinds of resources that actions claim; one of a kind is written ``light:488``."""


class ResourceConfig(Section):
    """How one resource is shared, whoever wants it.

    Attributes
    ----------
    lease_s : float
        Whoever has won it keeps it for so long; only a higher priority takes it away.
    rest_s : float
        Cool-down: after it was used, nobody gets it for so long.
    """

    lease_s: NonNegativeFloat = 0.0
    rest_s: NonNegativeFloat = 0.0


class PhaseConfig(Section):
    """A part of the run with policies of its own.

    It ends at whatever comes first, or when a policy asks for the next one with
    `smartscope.core.NextPhase`. When the last phase ends, so does the run; without an
    end it lasts as long as the plan.

    Attributes
    ----------
    name : str
        What policies name as their `phase`.
    after_s : float or None
        Ends so long after it began.
    after_frames : int or None
        Ends after so many frames, those that vision skipped included.
    on_event : str or None
        Ends when vision reports an event of this kind.
    on_score : float
        Only an event of at least this score.
    """

    name: Name = Field(min_length=1)
    after_s: PositiveFloat | None = None
    after_frames: PositiveInt | None = None
    on_event: Name | None = None
    on_score: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _score_of_what(self) -> PhaseConfig:
        if self.on_score and self.on_event is None:
            text = "'on_score' needs 'on_event'"
            raise refuse(("on_score",), text, "name the kind of event")
        return self


def problems_together(experiment: Experiment) -> Iterator[Problem]:
    """Yield what does not fit between policies, phases, arms and resources."""
    yield from _resources(experiment)
    yield from _phases(experiment)
    yield from _arms(experiment)


def _resources(experiment: Experiment) -> Iterator[Problem]:
    for name in experiment.resources:
        kind = name.partition(":")[0]
        if kind not in RESOURCES:
            text = f"there is no resource '{name}'"
            yield Problem(("resources", name), text, did_you_mean(kind, RESOURCES))


def _phases(experiment: Experiment) -> Iterator[Problem]:
    names = [phase.name for phase in experiment.phases]
    for i, name in enumerate(names):
        if name in names[:i]:
            text = f"two phases are called '{name}'"
            yield Problem(("phases", i), text, "rename one")
    for i, policy in enumerate(experiment.policies):
        for name in policy.phase:
            if name not in names:
                text = f"there is no phase '{name}'"
                fix = did_you_mean(name, names) if names else "add it under 'phases'"
                yield Problem(("policies", i, "phase"), text, fix)
    everywhere = any(not policy.phase for policy in experiment.policies)
    for i, phase in enumerate(experiment.phases[:-1]):
        ends = phase.after_s or phase.after_frames or phase.on_event
        asked = everywhere or any(phase.name in p.phase for p in experiment.policies)
        if not ends and not asked:
            text = f"the phase '{phase.name}' never ends, and others follow"
            fix = "add 'after_s', 'after_frames', 'on_event', or a policy that ends it"
            yield Problem(("phases", i), text, fix)


def _arms(experiment: Experiment) -> Iterator[Problem]:
    arms = {policy.arm: i for i, policy in enumerate(experiment.policies) if policy.arm}
    for i, policy in enumerate(experiment.policies):
        if policy.arm and policy.positions:
            text = "the positions of an arm are drawn by the seed"
            yield Problem(("policies", i, "positions"), text, "remove them")
    if len(arms) == 1:
        ((name, i),) = arms.items()
        text = f"'{name}' is the only arm, so there is nothing to compare it with"
        fix = "give another policy another 'arm', such as 'use: fixed_rate'"
        yield Problem(("policies", i, "arm"), text, fix)
    elif arms and isinstance(experiment.acquisition, Stream):
        text = "a stream has one position, and arms need one each"
        yield Problem(("policies", min(arms.values()), "arm"), text, "remove the arms")
