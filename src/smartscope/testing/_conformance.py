"""Does a policy keep to the rules? A function and a test class for its author."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from smartscope.core import ConfigError
from smartscope.policies import (
    NEEDS,
    Policy,
    PolicyContext,
    list_shipped,
    load_policy_class,
)
from smartscope.testing._case import Case
from smartscope.testing._imports import wrong_imports
from smartscope.testing._rules import ADVICE, RULES, Finding, findings
from smartscope.testing._sights import HERE
from smartscope.testing._stories import Story

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.core import Observation

CONTEXT = PolicyContext(
    name="under_test",
    view=HERE,
    seed=1,
    channels=("FITC", "DAPI"),
    lines={"488": 100.0, "405": 100.0},
    interval_s=20.0,
    pixel_um=0.5,
    roles=frozenset(NEEDS),
)
"""What a policy under test is told about rig and plan: everything is there."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """What came out of `check_policy`; printed, a line for each finding.

    Attributes
    ----------
    faults : tuple of Finding
        Rules that the policy breaks.
    advice : tuple of Finding
        What may be meant, and is more often a slip.
    acted : tuple of str
        Kinds of action it took in the stories, sorted. Without any but ``Nothing``
        little has been tested: give it sights that it answers, or other parameters.
    """

    faults: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    acted: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [*map(str, self.faults), *(f"(advice) {a}" for a in self.advice)]
        return "\n".join(lines) or "keeps to all rules"


def check_policy(
    policy: str | Path | type[Policy],
    parameters: Mapping[str, Any] | None = None,
    *,
    context: PolicyContext = CONTEXT,
    sights: Sequence[Observation] = (),
    base_dir: Path | None = None,
) -> Conformance:
    """Put a policy through some twenty stories and say which rules it breaks.

    The stories hold what microscopes and vision do: nothing in sight, crowds, lost and
    ended tracks, NaN and huge values, a moving stage, actions that are refused, outbid,
    failed or late, gaps of hours, interlocks, other channels. Measurements, features
    and events are called as the text parameters of the policy say, and run through
    values around its numbers.

    Parameters
    ----------
    policy : str, path or type of Policy
        As the ``use`` of an experiment, or the class.
    parameters : mapping, optional
        Those without defaults at least.
    context : PolicyContext
        What it is told about rig and plan.
    sights : sequence of Observation
        One more story, of your own; `sight` makes them.
    base_dir : path, optional
        Folder that a file is relative to; then the present folder.

    Returns
    -------
    Conformance

    Examples
    --------
    >>> print(check_policy("hold_signal", {"line": "488", "target": 50}))
    keeps to all rules
    """
    try:
        found = (
            policy
            if isinstance(policy, type)
            else load_policy_class(str(policy), base_dir)
        )
    except ConfigError as error:
        return _one("loaded", str(error))
    shipped = isinstance(policy, str) and policy in list_shipped()
    extra = (Story("the author's own sights", tuple(sights)),) if sights else ()
    if context.view is not None and found.per == "run":
        context = context.named(context.name, None)
    case = Case(found, dict(parameters or {}), context, extra)
    if fault := _cannot_begin(case):
        return _one("begins", fault)
    # Played before anything else, so that what instances share is as it was loaded.
    acted = {type(a).__name__ for _, turn in case.turns() for a in turn.actions}
    imports = (Finding("imports", s) for s in wrong_imports(found, shipped=shipped))
    return Conformance(
        faults=(*imports, *findings(case, RULES)),
        advice=tuple(findings(case, ADVICE)),
        acted=tuple(sorted(acted)),
    )


def _one(rule: str, sentence: str) -> Conformance:
    return Conformance(faults=(Finding(rule, sentence),))


def _cannot_begin(case: Case) -> str:
    """Say why no instance can be made and started, "" if one can."""
    try:
        case.started()
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        lacking = [str(e["loc"][0]) for e in wrong if e["type"] == "missing"]
        if lacking:
            return f"it needs {' and '.join(lacking)}; give the parameters to the check"
        return f"its parameters are refused: {wrong[0]['loc']}: {wrong[0]['msg']}"
    except ConfigError as error:
        return f"start() refuses the check's context ({error}); give another context"
    except Exception as error:  # whatever a policy raises is what is looked for
        return f"it fails when it is made or started ({type(error).__name__}: {error})"
    return ""


class PolicyConformance:
    """A ready test class: subclass it in a test file, name the policy, run pytest.

    Attributes
    ----------
    policy : str, path or type of Policy
        A file is relative to the test file.
    parameters, context, sights
        See `check_policy`.

    Examples
    --------
    In ``test_brighten.py``, beside ``brighten.py``::

        from smartscope.testing import PolicyConformance

        class TestBrighten(PolicyConformance):
            policy = "brighten.py"
            parameters = {"line": "488"}
    """

    policy: ClassVar[str | Path | type[Policy]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    context: ClassVar[PolicyContext] = CONTEXT
    sights: ClassVar[Sequence[Observation]] = ()
    _report: ClassVar[Conformance]

    @classmethod
    def report(cls) -> Conformance:
        """What the check says; worked out once for each class."""
        if "_report" not in vars(cls):
            cls._report = check_policy(
                cls.policy,
                cls.parameters,
                context=cls.context,
                sights=cls.sights,
                base_dir=Path(inspect.getfile(cls)).parent,
            )
        return cls._report

    def test_it_keeps_to_the_rules(self) -> None:
        """No rule is broken; advice is printed."""
        found = self.report()
        print(found)
        assert not found.faults, f"\n{found}"

    def test_it_acts_in_the_stories(self) -> None:
        """Else the stories have tested little."""
        assert set(self.report().acted) - {"Nothing"}, (
            "no story made it act; set 'sights' to what it answers, or other parameters"
        )
