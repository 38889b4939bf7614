"""What every policy is: a model whose fields are its parameters, and one method."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr

from smartscope.core import ConfigError
from smartscope.policies._own_actions import OwnActions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartscope.core import Action, Observation, Outcome, View

NEEDS: dict[str, str] = {
    "stage": "an xy stage (roles.stage)",
    "affine": "a calibrated affine, to move by what the image shows "
    "(calibration.*.affine; 'smartscope calibrate' measures it)",
    "focus": "a focus drive (roles.focus)",
    "light": "a light line (light)",
    "slm": "an SLM that is calibrated (roles.slm, slm)",
    "plan": "a plan whose intervals it can change (acquisition)",
}
"""What a policy may require of a rig or an experiment, and how a person calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """What a policy is told once, before its first observation.

    Attributes
    ----------
    name : str
        How this instance is called in journal and report.
    view : View or None
        The view it looks at; None for a policy that looks at the whole run.
    seed : int
        The experiment's seed, see `rng`.
    channels : tuple of str
        Channel presets of the plan.
    lines : mapping of light line to float
        Highest power allowed, percent of the line's range.
    interval_s : float or None
        Interval of the baseline, None if it has none.
    pixel_um : float or None
        Side of one image pixel in the sample; None is not calibrated.
    roles : frozenset of str
        What the rig gives: ``stage``, ``affine``, ``focus``, ``light``, ``slm``; and
        ``plan`` where the experiment is no stream.
    positions : int
        Fields of the plan; 0 is not known.
    stage_um : (x low, x high, y low, y high) or None
        Where the stage may go, um; None is not known.
    objectives : mapping of objective to (x, y, z)
        Calibrated ones, with what is added to stage and focus where one is turned in.
    effect_after_frames : mapping of parameter to int
        Frames that begin after a change has settled and still show the old value, 0
        where none is named; parameters as in the rig file's ``capabilities``.
    """

    name: str = ""
    view: View | None = None
    seed: int = 0
    channels: tuple[str, ...] = ()
    lines: Mapping[str, float] = field(default_factory=dict)
    interval_s: float | None = None
    pixel_um: float | None = None
    roles: frozenset[str] = frozenset()
    positions: int = 0
    stage_um: tuple[float, float, float, float] | None = None
    objectives: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    effect_after_frames: Mapping[str, int] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """Return a random generator of this instance's own, the same in every replay.

        Instances of other names or views draw other numbers.
        """
        place = "" if self.view is None else f"{self.view.position}/{self.view.camera}"
        digest = hashlib.sha256(f"{self.name}\n{place}".encode()).digest()
        key = int.from_bytes(digest[:8], "little")
        return np.random.default_rng([self.seed % 2**63, key])

    def highest_percent(self, line: str) -> float:
        """Return the highest power allowed on a light line, percent of its range.

        Raises
        ------
        ConfigError
            If the rig has no such line; names the parameter ``line``.
        """
        if line not in self.lines:
            raise ConfigError(
                f"the rig has no light line {line}",
                field="line",
                fix=f"known are: {', '.join(self.lines) or 'none'}",
            )
        return self.lines[line]

    def named(self, name: str, view: View | None) -> PolicyContext:
        """Return the same context for an instance of this name and view."""
        return replace(self, name=name, view=view)


class Policy(BaseModel):
    """Decides: observation in, actions out. Subclass it and write `react`.

    Fields are the parameters a user sets in the experiment; the string below a field
    is its documentation. State is kept in private attributes (``_name: type =
    PrivateAttr(...)``). A policy never touches hardware, files, clocks or random
    numbers of its own: the only time is `seen.t_s`, the only randomness
    `self.context.rng()`. So a replay decides exactly as the run did.

    Attributes
    ----------
    per : str
        ``position``: one instance for each view; ``run``: one for all of them.
    requires : tuple of str
        What rig and experiment must give, see `NEEDS`; otherwise the experiment is
        refused before it starts.

    Examples
    --------
    >>> from smartscope.core import Mark
    >>> class CountCells(Policy):
    ...     '''Remark on crowded fields.'''
    ...
    ...     crowded: int = 50
    ...
    ...     def react(self, seen):
    ...         if len(seen.tracks) > self.crowded:
    ...             yield Mark(reason=f"{len(seen.tracks)} cells")
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        validate_default=True,
        allow_inf_nan=False,
        # YAML reads a light line, or a channel, that is called 488 as a number.
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
    )

    per: ClassVar[Literal["position", "run"]] = "position"
    requires: ClassVar[tuple[str, ...]] = ()

    _context: PolicyContext = PrivateAttr(default_factory=PolicyContext)
    _own_actions: OwnActions = PrivateAttr(default_factory=OwnActions)

    @property
    def context(self) -> PolicyContext:
        """What was given to `start`."""
        return self._context

    @property
    def own_actions(self) -> OwnActions:
        """What this instance has asked for; kept by the host of the policies."""
        return self._own_actions

    def fresh(self, seen: Observation) -> bool:
        """Whether `seen` shows what the last actions of this instance did.

        False while the outcome of one has not come, for frames that were exposed
        before the hardware had settled, and for as many frames after that as the rig
        file says a change needs to show (``camera.effect_after_frames``). A policy
        that begins with ``if not self.fresh(seen): return`` never reacts twice to the
        same sight. What was refused, outbid or failed delays nothing; what was put on
        a schedule shows in all frames exposed after that.
        """
        return self._own_actions.fresh(seen)

    def not_done(self, seen: Observation, *, rejected: bool = True) -> list[Outcome]:
        """Outcomes, new with `seen`, of this policy's actions that were not done.

        Parameters
        ----------
        rejected : bool
            With those that safety or the rig refused. They would be refused again;
            what was outbid, came too late or failed may well succeed when asked again.
        """
        statuses = {"outbid", "expired", "failed"} | (
            {"rejected"} if rejected else set()
        )
        return [
            outcome
            for outcome in seen.outcomes
            if outcome.policy == self.context.name and outcome.status in statuses
        ]

    def start(self, context: PolicyContext) -> None:
        """Take the context, once, before the first observation.

        Also called for a trial before a run, so it must change nothing but `self`.

        Raises
        ------
        ConfigError
            If a parameter does not fit the rig or the plan.
        """
        self._context = context
        self._own_actions = OwnActions(context.effect_after_frames)

    @abstractmethod
    def react(self, seen: Observation) -> Iterable[Action]:
        """Answer one observation with actions, each with its reason.

        Called once for each observation of its view, in order; write it as a generator
        (``yield SetInterval(...)``) or return a list. Give `Nothing` to explain why
        nothing happens.
        """
