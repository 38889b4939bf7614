"""From the policies of an experiment to instances that are ready to react."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from smartscope.config import near
from smartscope.core import ConfigError, View
from smartscope.policies._loader import load_policy_class, source_hash
from smartscope.policies._policy import NEEDS, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from smartscope.config import PolicyUse, RigConfig

_RESERVED = ("use", "name", "priority", "positions", "parameters")


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


def make_policies(
    uses: Sequence[PolicyUse],
    *,
    context: PolicyContext,
    base_dir: Path | None = None,
    rig_file: str = "the rig file",
    located: Callable[[ConfigError], ConfigError] | None = None,
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

    Raises
    ------
    ConfigError
        If a policy is unknown, a parameter is wrong, two have the same name, or the rig
        lacks what one requires.
    """
    factories: list[PolicyFactory] = []
    for number, use in enumerate(uses):
        try:
            factory = _factory(use, context, base_dir, rig_file)
            if any(other.name == factory.name for other in factories):
                raise ConfigError(
                    f"two policies are called '{factory.name}'",
                    field="name",
                    fix="give each a 'name' of its own",
                )
        except ConfigError as error:
            placed = _placed(error, number)
            raise (located(placed) if located else placed) from error.__cause__
        factories.append(factory)
    return tuple(factories)


def make_policy(
    use: PolicyUse, context: PolicyContext, base_dir: Path | None = None
) -> Policy:
    """Return one policy, started, for the view of `context`.

    Raises
    ------
    ConfigError
        See `make_policies`.
    """
    return _factory(use, context, base_dir, "the rig file").make(context.view)


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
        filled = {"stage": roles.stage, "focus": roles.focus, "slm": roles.slm}
        found |= {need for need, device in filled.items() if device}
    calibrations = [
        calibration
        for name, calibration in rig.calibration.items()
        if objective in (None, name)
    ]
    if any(calibration.affine is not None for calibration in calibrations):
        found.add("affine")
    return frozenset(found | ({"light"} if rig.light else set()))


def _factory(
    use: PolicyUse, context: PolicyContext, base_dir: Path | None, rig_file: str
) -> PolicyFactory:
    policy = _checked_class(use.use, base_dir)
    lacking = [need for need in policy.requires if need not in context.roles]
    if lacking:
        raise ConfigError(
            f"{use.use} needs {NEEDS[lacking[0]]}, which {rig_file} does not give",
            field="use",
            fix="add it to the rig file, or remove the policy",
        )
    factory = PolicyFactory(
        name=use.called,
        policy=policy,
        parameters=_validated(policy, use).model_dump(),
        priority=use.priority,
        positions=use.positions,
        context=context,
        source_hash=source_hash(policy),
    )
    # A trial: what `start` refuses is refused before the run.
    try:
        factory.make(View() if policy.per == "position" else None)
    except ConfigError:
        raise
    except Exception as error:  # whatever a user's policy raises is the policy's
        raise ConfigError(
            f"{use.use} fails when it is started ({type(error).__name__}: {error})",
            field="use",
            fix="correct it there",
        ) from error
    return factory


def _checked_class(use: str, base_dir: Path | None) -> type[Policy]:
    try:
        policy = load_policy_class(use, base_dir)
    except ConfigError as error:
        if error.file:
            raise  # it is about the policy's own file, which says where
        raise ConfigError(error.problem, field="use", fix=error.fix) from error
    for name in _RESERVED:
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
    return policy


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


def _placed(error: ConfigError, number: int) -> ConfigError:
    """Return the error with its field in the experiment, unless a file names it."""
    if error.file:
        return error
    field = f"policies[{number}]" + (f".{error.field}" if error.field else "")
    return ConfigError(error.problem, field=field, fix=error.fix)
