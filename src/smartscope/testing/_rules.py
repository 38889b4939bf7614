"""What every policy must keep to: one function for each rule, one sentence a fault."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from smartscope.config import PolicyUse
from smartscope.core import ACTION_KINDS
from smartscope.policies import NEEDS, describe
from smartscope.testing._case import changed, said, shared
from smartscope.testing._player import MOST_ACTIONS, Player
from smartscope.testing._rules_replay import (
    copied,
    independent,
    patient,
    repeatable,
    secluded,
)
from smartscope.testing._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smartscope.core import Action
    from smartscope.testing._case import Case

_QUANTITIES = (
    "time|duration|interval|delay|timeout|period|cooldown|dwell|distance|radius|"
    "diameter|length|width|height|depth|offset|exposure|speed|velocity|power|area"
)
_NO_UNIT = re.compile(rf"(^|_)({_QUANTITIES})$")
_UNIT_IN_TEXT = re.compile(
    r"\bin (seconds|s|ms|milliseconds|minutes|um|µm|micrometres|microns|pixels|px|"
    r"percent|mW)\b"
)
_UNREADABLE = re.compile(r"<[^>]* (at|object)\b|0x[0-9a-f]{6,}|\n|\r")


class Finding(NamedTuple):
    """What is wrong with a policy: the rule, and one sentence for its author."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


# ------------------------------------------------------------------ what it says


def described(case: Case) -> Iterator[str]:
    """The class and every parameter are described, with units in the names."""
    info = describe(case.policy)
    own = case.policy.__dict__.get("__doc__")
    if not own or not own.strip():
        yield f"{info.name} has no description; write what it does below its class line"
    for parameter in info.parameters:
        name = parameter.name
        if len(parameter.doc.split()) < 2:
            yield f"{name} is not described; write a sentence below the field"
        elif parameter.unit or "number" not in parameter.kind:
            continue
        elif _NO_UNIT.search(name):
            yield f"{name} does not name its unit; call it {name}_s, {name}_um or alike"
        elif found := _UNIT_IN_TEXT.search(parameter.doc):
            yield f"{name} is '{found[0]}', which its name does not say; end it so"


def parametrised(case: Case) -> Iterator[str]:
    """Parameters can be set in an experiment, and written down again."""
    fields = case.policy.model_fields
    for name in PolicyUse.KEYS:
        if name in fields:
            yield f"{name} means something else in an experiment; rename the field"
    if case.policy.per not in ("position", "run"):
        yield f"per is {case.policy.per!r}; write 'position' or 'run'"
    for need in case.policy.requires:
        if need not in NEEDS:
            known = ", ".join(NEEDS)
            yield f"requires names '{need}', which no rig gives; known are {known}"
    made = case.make()
    try:
        written = json.loads(json.dumps(made.model_dump(mode="json")))
        same = type(made)(**written).model_dump() == made.model_dump()
    except (TypeError, ValueError) as error:
        yield f"its parameters cannot be written to a journal and read again ({error})"
        return
    if not same:
        yield "its parameters change when they are written and read again"


# ------------------------------------------------------------------ how it starts


def starting(case: Case) -> Iterator[str]:
    """`start` changes nothing but the instance, and may be called twice."""
    before = shared(case.policy)
    context = copy.deepcopy(case.context)
    made = case.make()
    parameters = made.model_dump()
    with Watch() as watch:
        made.start(context)
        made.start(context)
    for what in sorted(watch.touched):
        yield f"start() uses {what}; only self and the context are for it"
    if context != case.context:
        yield "start() changes the context, which is that of all policies"
    if made.model_dump() != parameters:
        yield "start() changes its parameters; keep results in _private attributes"
    for name in changed(before, shared(case.policy)):
        yield f"start() changes {name}, which all instances share; use a _private one"
    if made.context != case.context:
        yield "start() does not keep the context; call super().start(context) first"
        return
    for story in case.stories[:1]:
        if said(Player(made, story).play()) != said(case.play(story)):
            yield "started twice it decides otherwise than started once"


# ------------------------------------------------------------------ what it does


def enduring(case: Case) -> Iterator[str]:
    """`react` raises nothing, whatever it is shown."""
    told = set()
    for story, turn in case.turns():
        if turn.error is None:
            continue
        what = f"{type(turn.error).__name__}: {turn.error} {_line(turn.error)}"
        if what not in told:
            yield f"react() raises {what}while there is {story.name}"
        told.add(what)


def acting(case: Case) -> Iterator[str]:
    """What it gives are known actions with finite numbers."""
    told = set()
    for story, turn in case.turns():
        if len(turn.actions) > MOST_ACTIONS:
            yield f"react() gives more than {MOST_ACTIONS} actions at once"
            continue
        for action in turn.actions:
            kind = type(action).__name__
            if type(action) not in ACTION_KINDS:
                yield f"react() gives {kind}, which is no known action"
                continue
            for name, wrong in _wrong_values(action):
                if (kind, name, wrong) not in told:
                    yield f"{kind}.{name} is {wrong} while there is {story.name}"
                told.add((kind, name, wrong))


def explaining(case: Case) -> Iterator[str]:
    """Every action has a reason that a person can read."""
    for _, turn in case.turns():
        for action in turn.actions:
            reason = getattr(action, "reason", None)
            kind = type(action).__name__
            if not isinstance(reason, str) or not reason.strip():
                yield f"{kind} has no reason"
            elif len(reason.split()) < 2 or not re.search(r"[A-Za-z]{2}", reason):
                yield f"{kind} has the reason '{reason}', which says too little"
            elif len(reason) > 300 or _UNREADABLE.search(reason):
                yield f"{kind} has a reason that no person can read: {reason[:60]!r}"


def _line(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"(line {trace.tb_lineno}) " if trace is not None else ""


def _wrong_values(action: Action) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(action):
        for value in _leaves(getattr(action, field.name)):
            if value is None or isinstance(value, bool | str):
                continue
            if not isinstance(value, int | float):
                yield field.name, f"a {type(value).__name__}, which no journal can keep"
            elif not math.isfinite(value):
                yield field.name, "no finite number"


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


RULES: dict[str, Callable[[Case], Iterator[str]]] = {
    "described": described,
    "parametrised": parametrised,
    "starting": starting,
    "enduring": enduring,
    "acting": acting,
    "explaining": explaining,
    "repeatable": repeatable,
    "independent": independent,
    "secluded": secluded,
    "copied": copied,
}
"""Rules by name; breaking one is a fault."""
ADVICE: dict[str, Callable[[Case], Iterator[str]]] = {"patient": patient}
"""What a policy may do on purpose, but is more often a slip."""


def findings(
    case: Case, rules: Mapping[str, Callable[[Case], Iterator[str]]]
) -> Iterator[Finding]:
    """What breaks any of the rules, each sentence once, at most five of a rule."""
    for name, rule in rules.items():
        sentences = list(dict.fromkeys(rule(case)))
        yield from (Finding(name, sentence) for sentence in sentences[:5])
        if len(sentences) > 5:
            yield Finding(name, f"and {len(sentences) - 5} more of the kind")
