"""What every policy is: a model whose fields are its parameters, and one method."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartscope.core import Action, Observation, View

NEEDS: dict[str, str] = {
    "stage": "an xy stage (roles.stage)",
    "affine": "a calibrated affine, to move by what the image shows "
    "(calibration.*.affine; 'smartscope calibrate' measures it)",
    "focus": "a focus drive (roles.focus)",
    "light": "a light line (light)",
    "slm": "a pattern device (roles.slm)",
}
"""What a policy may require of a rig, and how a person calls it."""


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
        What the rig gives: ``stage``, ``affine``, ``focus``, ``light``, ``slm``.
    """

    name: str = ""
    view: View | None = None
    seed: int = 0
    channels: tuple[str, ...] = ()
    lines: Mapping[str, float] = field(default_factory=dict)
    interval_s: float | None = None
    pixel_um: float | None = None
    roles: frozenset[str] = frozenset()

    def rng(self) -> np.random.Generator:
        """Return a random generator of this instance's own, the same in every replay.

        Instances of other names or views draw other numbers.
        """
        place = "" if self.view is None else f"{self.view.position}/{self.view.camera}"
        digest = hashlib.sha256(f"{self.name}\n{place}".encode()).digest()
        key = int.from_bytes(digest[:8], "little")
        return np.random.default_rng([self.seed % 2**63, key])

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
        What the rig must give, see `NEEDS`; otherwise the experiment is refused
        before it starts.

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

    @property
    def context(self) -> PolicyContext:
        """What was given to `start`."""
        return self._context

    def start(self, context: PolicyContext) -> None:
        """Take the context, once, before the first observation.

        Also called for a trial before a run, so it must change nothing but `self`.

        Raises
        ------
        ConfigError
            If a parameter does not fit the rig or the plan.
        """
        self._context = context

    @abstractmethod
    def react(self, seen: Observation) -> Iterable[Action]:
        """Answer one observation with actions, each with its reason.

        Called once for each observation of its view, in order; write it as a generator
        (``yield SetInterval(...)``) or return a list. Give `Nothing` to explain why
        nothing happens.
        """
