"""From the policies of an experiment to instances that are ready to react."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from smartscope.config import PolicyUse, near
from smartscope.core import ConfigError, View
from smartscope.policies._carry import carry_state, share_actions
from smartscope.policies._loader import load_policy_class, source_hash
from smartscope.policies._places import draw_arms, positions_of
from smartscope.policies._policy import NEEDS, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from smartscope.config import RigConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFactory:
    """One policy of an experiment, checked, and how to make its instances.

    Attributes
    ----------
    name : str
        How it is called in journal and report, unique in the experiment.
    policy : type of Policy
    parameters : dict
        All of its fields, defaults filled in.
    priority : int
        Added to the priority of its actions.
    positions : tuple of int
        Stage positions it looks at; empty means all.
    phases : tuple of str
        Phases in which it looks; empty means all.
    arm : str
        Arm of a comparison it belongs to; "" is none.
    lease_s : float or None
    rest_s : float
        See `smartscope.config.PolicyUse`.
    context : PolicyContext
        What its instances are told, name and view aside.
    source_hash : str
        SHA-256 of the policy's file.
    """

    name: str
    policy: type[Policy]
    parameters: dict[str, Any]
    priority: int
    positions: tuple[int, ...]
    context: PolicyContext
    source_hash: str
    phases: tuple[str, ...] = ()
    arm: str = ""
    lease_s: float | None = None
    rest_s: float = 0.0

    @property
    def per(self) -> Literal["position", "run"]:
        """``position`` or ``run``, see `Policy`."""
        return self.policy.per

    def looks_at(self, view: View) -> bool:
        """Whether the policy gets observations of this view."""
        return not self.positions or view.position in self.positions

    def make(self, view: View | None) -> Policy:
        """Return a new instance, started: for a view, or None for the whole run."""
        made = self.policy(**self.parameters)
        made.start(self.context.named(self.name, view))
        return made

    def renew(
        self, view: View | None, before: PolicyFactory, present: Policy
    ) -> Policy:
        """Return a new instance that takes over from one that `before` made.

        With other parameters of the same class it keeps all that `present` remembers,
        see `carry_state`. Of another source it starts anew; its class may take over
        what it likes in ``migrate(self, old)``, where `old` is a copy of `present`.
        """
        made = self.make(view)
        old = copy.deepcopy(present)
        if before.policy is self.policy:
            carry_state(before.make(view), old, made)
        elif (migrate := getattr(made, "migrate", None)) is not None:
            migrate(old)
        share_actions(present, made)
        return made


def make_policies(
    uses: Sequence[PolicyUse],
    *,
    context: PolicyContext,
    base_dir: Path | None = None,
    rig_file: str = "the rig file",
    located: Callable[[ConfigError], ConfigError] | None = None,
    fields: Mapping[int, str] | None = None,
) -> tuple[PolicyFactory, ...]:
    """Load and check every policy of an experiment; nothing is left to fail in the run.

    Parameters
    ----------
    uses : sequence of PolicyUse
    context : PolicyContext
        What is the same for all of them.
    base_dir : path or None
        Folder of the experiment file.
    rig_file : str
        Name of the rig file, for messages.
    located : function, optional
        Adds file and line to an error, ``experiment.located``.
    fields : position -> name, optional
        Stage positions of the plan; needed for arms and for positions by name.

    Raises
    ------
    ConfigError
        If a policy is unknown, a parameter or a position is wrong, two have the same
        name, or the rig lacks what one requires.
    """
    factories: list[PolicyFactory] = []
    for number, use in enumerate(uses):
        try:
            places = _places(use, uses, context.seed, fields)
            factory = _factory(use, context, base_dir, rig_file, places)
            if any(other.name == factory.name for other in factories):
                raise ConfigError(
                    f"two policies are called '{factory.name}'",
                    field="name",
                    fix="give each a 'name' of its own",
                )
        except ConfigError as error:
            placed = _placed(error, f"policies[{number}]")
            raise (located(placed) if located else placed) from error.__cause__
        factories.append(factory)
    return tuple(factories)


def _places(
    use: PolicyUse,
    uses: Sequence[PolicyUse],
    seed: int,
    fields: Mapping[int, str] | None,
) -> tuple[int, ...]:
    if not use.arm:
        return positions_of(use, fields)
    arms = list(dict.fromkeys(u.arm for u in uses if u.arm))
    return draw_arms(arms, sorted(fields or ()), seed)[use.arm]


def make_policy(
    use: PolicyUse, context: PolicyContext, base_dir: Path | None = None
) -> Policy:
    """Return one policy, started, for the view of `context`.

    Raises
    ------
    ConfigError
        See `make_policies`.
    """
    factory = _factory(use, context, base_dir, "the rig file", ())
    return factory.make(context.view)


def filled_needs(rig: RigConfig, objective: str | None = None) -> frozenset[str]:
    """Which of `NEEDS` a rig gives.

    Parameters
    ----------
    rig : RigConfig
    objective : str or None
        Objective preset that is turned in; None asks for a calibration of any.
    """
    roles, recording = rig.roles, rig.recording
    found: set[str] = set()
    if recording is not None and recording.mosaic:
        found |= {"stage", "affine"}  # a field moving in a picture needs no calibration
    if roles is not None:
        filled = {"stage": roles.stage, "focus": roles.focus}
        found |= {need for need, device in filled.items() if device}
    if rig.slm is not None and any(
        objective in (None, name) for name in rig.slm.calibration
    ):
        found.add("slm")
    calibrations = [
        calibration
        for name, calibration in rig.calibration.items()
        if objective in (None, name)
    ]
    if any(calibration.affine is not None for calibration in calibrations):
        found.add("affine")
    return frozenset(found | ({"light"} if rig.light else set()))


def remake(
    factory: PolicyFactory, use: PolicyUse, policy: type[Policy], field: str
) -> PolicyFactory:
    """Return the factory of a policy that was edited while it runs, checked as ever.

    Parameters
    ----------
    factory : PolicyFactory
        As it was made before the run: name, positions, priority and context stay.
    use : PolicyUse
        With the parameters to take.
    policy : type of Policy
        The class to take, maybe of another source.
    field : str
        Where `use` stands in the experiment, for messages.

    Raises
    ------
    ConfigError
        As `make_policies`, or if the class changed what cannot change in a run.
    """
    try:
        _check_class(policy, use.use, factory.context, "the rig file")
        if policy.per != factory.per:
            raise ConfigError(
                f"{use.use} was per {factory.per!r} and is now per {policy.per!r}",
                field="use",
                fix="that cannot change while it runs",
            )
        made = replace(
            factory,
            policy=policy,
            parameters=_validated(policy, use).model_dump(),
            source_hash=source_hash(policy),
        )
        _try(made, use.use)
    except ConfigError as error:
        raise _placed(error, field) from error.__cause__
    return made


def _factory(
    use: PolicyUse,
    context: PolicyContext,
    base_dir: Path | None,
    rig_file: str,
    positions: tuple[int, ...],
) -> PolicyFactory:
    policy = _loaded(use.use, base_dir)
    _check_class(policy, use.use, context, rig_file)
    factory = PolicyFactory(
        name=use.called,
        policy=policy,
        parameters=_validated(policy, use).model_dump(),
        priority=use.priority,
        positions=positions,
        phases=use.phase,
        arm=use.arm,
        lease_s=use.lease_s,
        rest_s=use.rest_s,
        context=context,
        source_hash=source_hash(policy),
    )
    _try(factory, use.use)
    return factory


def _try(factory: PolicyFactory, use: str) -> None:
    """A trial: what `start` refuses is refused before it counts."""
    try:
        factory.make(View() if factory.per == "position" else None)
    except ConfigError:
        raise
    except Exception as error:  # whatever a user's policy raises is the policy's
        raise ConfigError(
            f"{use} fails when it is started ({type(error).__name__}: {error})",
            field="use",
            fix="correct it there",
        ) from error


def _loaded(use: str, base_dir: Path | None) -> type[Policy]:
    try:
        return load_policy_class(use, base_dir)
    except ConfigError as error:
        if error.file:
            raise  # it is about the policy's own file, which says where
        raise ConfigError(error.problem, field="use", fix=error.fix) from error


def _check_class(
    policy: type[Policy], use: str, context: PolicyContext, rig_file: str
) -> None:
    for name in PolicyUse.KEYS:
        if name in policy.model_fields:
            raise ConfigError(
                f"{use} has a parameter '{name}', which no experiment can set",
                field="use",
                fix="rename the field in the policy's file",
            )
    if policy.per not in ("position", "run"):
        raise ConfigError(
            f"{use} is per {policy.per!r}",
            field="use",
            fix="write per = 'position' or per = 'run' in the policy's file",
        )
    for need in policy.requires:
        if need not in NEEDS:
            raise ConfigError(
                f"{use} requires {need!r}, which no rig gives",
                field="use",
                fix=f"a policy may require: {', '.join(NEEDS)}",
            )
    lacking = [need for need in policy.requires if need not in context.roles]
    if lacking:
        need = lacking[0]
        giver, fix = rig_file, "add it to the rig file, or remove the policy"
        if need == "plan":
            giver, fix = "a stream", "plan a time series, or remove the policy"
        raise ConfigError(
            f"{use} needs {NEEDS[need]}, which {giver} does not give",
            field="use",
            fix=fix,
        )


def _validated(policy: type[Policy], use: PolicyUse) -> Policy:
    try:
        return policy(**use.parameters)
    except ValidationError as error:
        raise _explained(policy, use.use, error.errors(include_url=False)[0]) from None
    except Exception as error:  # its own __init__ may raise anything
        raise ConfigError(
            f"{use.use} fails when it is made ({type(error).__name__}: {error})",
            field="use",
            fix="correct it there",
        ) from error


def _explained(policy: type[Policy], use: str, detail: ErrorDetails) -> ConfigError:
    field = ".".join(str(part) for part in detail["loc"])
    fix = f"'smartscope policies show {use}' lists its parameters"
    if detail["type"] == "extra_forbidden":
        guess = near(field, policy.model_fields)
        hint = f"did you mean '{guess}'? " if guess else ""
        return ConfigError(
            f"{use} has no parameter '{field}'", field=field, fix=hint + fix
        )
    if detail["type"] == "missing":
        return ConfigError(f"{use} needs '{field}'", field=field, fix=f"add it; {fix}")
    if detail["type"] == "value_error":
        return ConfigError(
            f"{use}: {detail['ctx']['error']}", field=field, fix=f"correct it; {fix}"
        )
    said = detail["msg"].replace("Input should be", "it should be")
    return ConfigError(
        f"{use} got {detail['input']!r}, {said[:1].lower()}{said[1:]}",
        field=field,
        fix=f"correct it; {fix}",
    )


def _placed(error: ConfigError, entry: str) -> ConfigError:
    """Return the error with its field in the experiment, unless a file names it."""
    if error.file:
        return error
    field = entry + (f".{error.field}" if error.field else "")
    return ConfigError(error.problem, field=field, fix=error.fix)
