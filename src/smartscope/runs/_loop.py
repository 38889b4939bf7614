"""Vision, policies and controller of one run, and what the policies are told."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from smartscope.control import Arbiter, Controller, PolicyHost, Terms
from smartscope.core import ConfigError
from smartscope.policies import (
    PolicyContext,
    PolicyFactory,
    filled_needs,
    make_policies,
)
from smartscope.safety import Guard
from smartscope.vision import Pipeline, build_pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.config import RigConfig
    from smartscope.control import Actor, Monitor, Records, RunState
    from smartscope.core import Clock
    from smartscope.runs._files import Files
    from smartscope.runs._plan import PlanFacts


def pipeline_of(files: Files, channels: Sequence[str]) -> Pipeline:
    """Build the vision of an experiment; raises `ConfigError` as `build_pipeline`."""
    try:
        return build_pipeline(
            files.experiment.vision,
            seed=files.experiment.seed,
            base_dir=files.base_dir,
            channels=channels,
        )
    except ConfigError as error:
        raise files.experiment.located(error) from error


def context_of(
    files: Files,
    facts: PlanFacts,
    *,
    objective: str | None = None,
    pixel_um: float | None = None,
) -> PolicyContext:
    """What the policies of an experiment are told, name and view aside."""
    guard = Guard(files.rig, files.experiment)
    box = guard.limits.stage_um
    planned = frozenset({"plan"} if files.stream is None else ())
    return PolicyContext(
        seed=files.experiment.seed,
        channels=facts.channels,
        lines=guard.highest_percent(objective),
        interval_s=facts.interval_s,
        pixel_um=pixel_um,
        roles=filled_needs(files.rig, objective) | planned,
        positions=len(facts.names),
        stage_um=None if box is None else (*box.x, *box.y),
        objectives={n: c.offset_um for n, c in files.rig.calibration.items()},
        effect_after_frames=_effect_after_frames(files.rig),
    )


def _effect_after_frames(rig: RigConfig) -> dict[str, int]:
    """As the rig file says, also by the properties that a role is set with."""
    named = rig.camera.effect_after_frames
    properties: dict[str, int] = {}
    if "power" in named:
        for line in rig.light.values():
            properties[".".join(line.power)] = named["power"]
    if "exposure" in named and rig.roles is not None:
        properties[f"{rig.roles.camera}.Exposure"] = named["exposure"]
    return {**properties, **named}


def policies_of(
    files: Files, context: PolicyContext, facts: PlanFacts
) -> tuple[PolicyFactory, ...]:
    """Load and check the policies of an experiment; raises `ConfigError`."""
    # A recording may have more fields than the plan of whoever looks at it.
    fields = facts.names
    if files.rig.recording is not None and len(fields) < 2:
        fields = {}
    return make_policies(
        files.experiment.policies,
        context=context,
        base_dir=files.base_dir,
        rig_file=str(files.experiment.rig),
        located=files.experiment.located,
        fields=fields or None,
    )


def arbiter_of(files: Files, policies: Sequence[PolicyFactory]) -> Arbiter:
    """Make the arbiter between these policies."""
    terms = {
        p.name: Terms(
            priority=p.priority,
            lease_s=p.lease_s,
            rest_s=p.rest_s,
            per_run=p.per == "run",
        )
        for p in policies
    }
    return Arbiter(terms, files.experiment.resources)


def controller_of(
    files: Files,
    *,
    pipeline: Pipeline,
    policies: Sequence[PolicyFactory],
    actor: Actor,
    records: Records,
    clock: Clock,
    state: RunState,
    monitor: Monitor,
) -> Controller:
    """Wire the controller of one run."""
    return Controller(
        pipeline=pipeline,
        host=PolicyHost(policies, files.experiment.phases),
        actor=actor,
        records=records,
        clock=clock,
        errors=files.experiment.errors,
        arbiter=arbiter_of(files, policies),
        state=state,
        monitor=monitor,
    )


def to_header(context: PolicyContext) -> dict[str, Any]:
    """A policy context as plain values, so that a journal can be re-decided."""
    plain = asdict(context)
    return {**plain, "view": None, "roles": sorted(context.roles)}


def from_header(plain: Mapping[str, Any]) -> PolicyContext:
    """Inverse of `to_header`."""
    box = plain.get("stage_um")
    return PolicyContext(
        **{
            **plain,
            "channels": tuple(plain["channels"]),
            "roles": frozenset(plain["roles"]),
            "stage_um": None if box is None else tuple(box),
            "objectives": {
                n: tuple(um) for n, um in plain.get("objectives", {}).items()
            },
        }
    )
