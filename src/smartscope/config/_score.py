"""The section `score` of an experiment: how its policies are judged on a specimen."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from smartscope.config._base import Section
from smartscope.config._explain import refuse

ArmName = Literal["policy", "fixed_fast", "fixed_slow", "random", "none"]
Measure = Literal[
    "recall",
    "precision",
    "coverage",
    "reported_after_s",
    "reacted_after_s",
    "dose",
    "dose_per_cell",
    "dose_per_event",
    "alive",
    "time_on_target",
    "in_view",
    "tracking_error_um",
    "identity_kept",
    "path_fields",
    "touched",
    "in_focus",
    "focus_error_um",
    "snr_held",
    "level_held",
    "level_error",
    "on_path",
    "path_error_um",
    "path_walked",
    "duty",
    "frames",
    "megabytes",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""What a scoreboard knows, defined in ``docs/scoreboard.md``."""

_NEEDS = {
    "fixed_fast": "fast_interval_s",
    "random": "fast_interval_s",
    "fixed_slow": "slow_interval_s",
}


class ScoreWindow(Section):
    """Which events have to be found, and what counts as found.

    Attributes
    ----------
    within_um, slack_s : float
        A report is of an event when it lies this near and comes no earlier than so
        long before the onset and no later than so long after the end.
    margin_um, settle_s : float
        Nobody is asked for events nearer to the border of the field, or within so
        long of the first or the last frame.
    """

    within_um: PositiveFloat = 20.0
    slack_s: NonNegativeFloat = 20.0
    margin_um: NonNegativeFloat = 20.0
    settle_s: NonNegativeFloat = 60.0


class ScoreTarget(Section):
    """What a following policy has to keep in view.

    Attributes
    ----------
    object_id : int
        Of the specimen's truth.
    central : float
        Share of the field's area, around its middle, in which it is on target.
    """

    object_id: NonNegativeInt = 1
    central: float = Field(0.25, gt=0, le=1)


class ScoreLevel(Section):
    """What a controlling policy has to hold.

    Attributes
    ----------
    of : str
        A measure per object (mean of those that live) or a scalar of the specimen's
        truth.
    target : float
    within : float
        Relative distance from `target` that still counts as held.
    settle_s : float
        Before this time of the run nothing is asked.
    """

    of: str = Field(min_length=1)
    target: PositiveFloat
    within: PositiveFloat = 0.1
    settle_s: NonNegativeFloat = 0.0


class ScorePath(Section):
    """Where a steering policy has to lead an object.

    Attributes
    ----------
    points_um : list of (x, y)
        Corners of the way, from where the object is at the beginning.
    within_um : float
        Distance from the way that still counts as on it.
    object_id : int
        Of the specimen's truth.
    """

    points_um: tuple[tuple[float, float], ...] = Field(min_length=1)
    within_um: PositiveFloat
    object_id: NonNegativeInt = 1


class ScoreBar(Section):
    """What has to be reached: a value of the policy's arm, or a comparison.

    Attributes
    ----------
    measure : str
        One of `MEASURES`.
    of, against : str
        Arms that are compared; without `against` it is the value of `of` itself.
    how : str
        ``ratio`` (of over against), ``saving`` (against over of) or ``difference``.
    at_least, at_most : float or None
        Bound of the value; exactly one of them.
    sure : float or None
        Bound of the end of the 95 % interval that lies nearer to failing.
    """

    measure: Measure
    of: ArmName = "policy"
    against: ArmName | None = None
    how: Literal["ratio", "saving", "difference"] = "ratio"
    at_least: float | None = None
    at_most: float | None = None
    sure: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> ScoreBar:
        if (self.at_least is None) == (self.at_most is None):
            text = "a bar needs exactly one of 'at_least' and 'at_most'"
            raise refuse((), text, "write one of them")
        if self.against == self.of:
            text = f"'{self.of}' is compared with itself"
            raise refuse(("against",), text, "name another arm")
        return self


class ScoreSeeds(Section):
    """Seeds of the specimens.

    Attributes
    ----------
    first : int
        The published seeds count up from here.
    published : int
        How many ``--full`` takes.
    tuning_first : int
        Seeds for choosing parameters count up from here; none is ever published.
    """

    first: NonNegativeInt = 500_000
    published: PositiveInt = 20
    tuning_first: NonNegativeInt = 1_000

    @model_validator(mode="after")
    def _apart(self) -> ScoreSeeds:
        if self.first <= self.tuning_first < self.first + self.published:
            text = "the tuning seeds begin among the published ones"
            raise refuse(("tuning_first",), text, "let them begin below 'first'")
        return self


class ScoreConfig(Section):
    """How the policies of an experiment are judged, by `smartscope score` alone.

    A run itself never looks at it.

    Attributes
    ----------
    trigger : str or None
        Kind of event that vision reports and the policy waits for; None where the
        policy is not about events.
    event_kind : str or None
        The same as the specimen's truth calls it; None is `trigger`.
    fast_interval_s : float or None
        Time between frames at the rate that events deserve.
    slow_interval_s : float or None
        Time between frames of the plan as it stands.
    arms : list of str
        ``policy``: the policies as they are; ``fixed_fast`` and ``fixed_slow``: always
        that rate; ``random``: fast at random times, as much as the policy in the same
        specimen; ``none``: no policy.
    window, target, level, path
        See there.
    depth_um : float or None
        Depth of field: the focus may be off by half of it. None does not ask.
    snr_within : float
        Relative distance from the first frames' signal to noise that counts as held.
    bars : list of ScoreBar
    seeds : ScoreSeeds
    """

    trigger: str | None = None
    event_kind: str | None = None
    fast_interval_s: PositiveFloat | None = None
    slow_interval_s: PositiveFloat | None = None
    arms: tuple[ArmName, ...] = ("policy", "none")
    window: ScoreWindow = ScoreWindow()
    target: ScoreTarget | None = None
    level: ScoreLevel | None = None
    path: ScorePath | None = None
    depth_um: PositiveFloat | None = None
    snr_within: PositiveFloat = 0.15
    bars: tuple[ScoreBar, ...] = ()
    seeds: ScoreSeeds = ScoreSeeds()

    @property
    def true_kind(self) -> str | None:
        """Kind of event in the specimen's truth."""
        return self.event_kind or self.trigger

    @model_validator(mode="after")
    def _complete(self) -> ScoreConfig:
        if "policy" not in self.arms or len(set(self.arms)) < len(self.arms):
            text = "'arms' needs 'policy', and every arm once"
            raise refuse(("arms",), text, "write [policy, fixed_fast, ...]")
        needs = {
            "fast_interval_s": "fixed_fast random",
            "slow_interval_s": "fixed_slow",
        }
        for name, arms in needs.items():
            wanting = [arm for arm in self.arms if arm in arms.split()]
            if wanting and getattr(self, name) is None:
                text = f"the arm '{wanting[0]}' needs '{name}'"
                raise refuse((name,), text, "add it")
        fast, slow = self.fast_interval_s, self.slow_interval_s
        if fast is not None and slow is not None and fast >= slow:
            text = f"{fast:g} s is not faster than slow_interval_s, {slow:g} s"
            raise refuse(("fast_interval_s",), text, "make it shorter")
        for i, bar in enumerate(self.bars):
            for arm in (bar.of, bar.against):
                if arm is not None and arm not in self.arms:
                    text = f"the arm '{arm}' is not among 'arms'"
                    raise refuse(("bars", i), text, "add it there")
        return self
