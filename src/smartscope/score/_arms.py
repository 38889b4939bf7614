"""The arms of a comparison: one experiment, and nothing changed but its policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.config import PolicyUse, ScoreConfig
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from smartscope.config import ArmName, Experiment

FIXED_RATE, RANDOM_TRIGGER = "fixed_rate", "random_trigger"
"""Shipped policies that the control arms run."""


def score_of(experiment: Experiment) -> ScoreConfig:
    """The `score` section; without one, the policies against none at all.

    Raises
    ------
    ConfigError
        If there are no policies to judge.
    """
    if not experiment.policies:
        raise experiment.problem(
            "policies",
            f"'{experiment.name}' has no policy to score",
            "add one under 'policies'",
        )
    return experiment.score or ScoreConfig()


@dataclass(frozen=True, slots=True)
class Duty:
    """How much, and how long at once, a policy filmed at the target rate.

    Attributes
    ----------
    share : float
        Of the time, 0..1.
    lasts_s : float
        Mean length of one fast film.
    """

    share: float
    lasts_s: float


def arm_of(
    experiment: Experiment, arm: ArmName, *, duty: Duty | None = None
) -> Experiment:
    """Return the experiment with the policies of one arm.

    Parameters
    ----------
    experiment : Experiment
    arm : str
    duty : Duty, optional
        Of the policy on the same specimen; what ``random`` is to equal.

    Raises
    ------
    ConfigError
        If the `score` section lacks what the arm needs.
    """
    score = score_of(experiment)
    if arm == "policy":
        return experiment
    return experiment.model_copy(update={"policies": _policies(score, arm, duty)})


def _policies(
    score: ScoreConfig, arm: ArmName, duty: Duty | None
) -> tuple[PolicyUse, ...]:
    if arm == "none":
        return ()
    if arm == "fixed_fast":
        return (_use(FIXED_RATE, interval_s=score.fast_interval_s),)
    if arm == "fixed_slow":
        return (_use(FIXED_RATE, interval_s=score.slow_interval_s),)
    if duty is None:
        raise ConfigError(
            "the arm 'random' needs the duty of the arm 'policy'",
            field="score.arms",
            fix="score both",
        )
    return (
        _use(
            RANDOM_TRIGGER,
            fast_interval_s=score.fast_interval_s,
            duty=duty.share,
            lasts_s=duty.lasts_s,
        ),
    )


def _use(name: str, **parameters: float | None) -> PolicyUse:
    return PolicyUse(use=name, parameters=dict(parameters))
