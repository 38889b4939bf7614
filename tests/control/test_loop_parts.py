"""Arbiter, actor, host and light plan, each alone."""

from __future__ import annotations

import pytest

from smartscope.control import (
    Actor,
    Arbiter,
    LightPlan,
    PolicyHost,
    Terms,
    outcome_of,
    same_decision,
)
from smartscope.core import (
    NS_PER_MS,
    Acquire,
    HardwareError,
    Mark,
    MoveStage,
    Nothing,
    Observation,
    Request,
    SetInterval,
    SetPower,
    ShiftPosition,
    View,
    VirtualClock,
)
from smartscope.policies import Policy, PolicyContext, PolicyFactory


def ask(action, policy="p", *, n=0, t_ns=0, position=0) -> Request:
    return Request(
        action_id=f"{n}.0",
        policy=policy,
        view=View(position, "Camera"),
        action=action,
        t_decided_ns=t_ns,
        observation=0,
    )


def power(percent, line="488", **kwargs):
    return SetPower(reason="r", line=line, power_percent=percent, **kwargs)


CASES = [
    # requests as (policy, action, t_ns), priorities, who wins
    ("alone", [("a", power(1), 0)], {}, ["a"]),
    ("older wins", [("a", power(1), 5), ("b", power(2), 3)], {}, ["b"]),
    ("first of equals wins", [("a", power(1), 3), ("b", power(2), 3)], {}, ["a"]),
    ("of the policy", [("a", power(1), 0), ("b", power(2), 1)], {"b": 1}, ["b"]),
    ("of the action", [("a", power(1), 0), ("b", power(2, priority=1), 1)], {}, ["b"]),
    ("they add up", [("a", power(1, priority=2), 0), ("b", power(2, priority=1), 0)],
     {"b": 2}, ["b"]),
    ("other lines", [("a", power(1), 0), ("b", power(2, line="561"), 0)],
     {}, ["a", "b"]),
    ("one policy, twice", [("a", power(1), 0), ("a", power(2), 0)], {}, ["a", "a"]),
    ("stage and focus", [("a", ShiftPosition(reason="r", dx_um=1), 0),
                         ("b", ShiftPosition(reason="r", dz_um=1), 0)], {}, ["a", "b"]),
    ("a burst holds the schedule", [("a", Acquire(reason="r"), 0),
                                    ("b", SetInterval(reason="r", interval_s=1), 0)],
     {}, ["a"]),
    ("claims nothing", [("a", Mark(reason="r"), 0), ("b", Nothing(reason="r"), 0)],
     {}, ["a", "b"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "priorities", "winners"),
    [c[1:] for c in CASES],
    ids=[c[0] for c in CASES],
)
def test_arbitration(requests, priorities, winners) -> None:
    asked = [ask(a, p, n=i, t_ns=t) for i, (p, a, t) in enumerate(requests)]
    terms = {name: Terms(priority=p) for name, p in priorities.items()}
    verdict = Arbiter(terms).settle(asked)
    assert [r.policy for r in verdict.granted] == winners
    assert len(verdict.granted) + len(verdict.outcomes) == len(asked)
    granted = {r.action_id for r in verdict.granted}
    for lost in verdict.outcomes:
        assert lost.status == "outbid"
        assert lost.winner in granted
        assert lost.action_id not in granted


def actor(handlers=None, *, clock=None, refuse=None, **kwargs) -> Actor:
    return Actor(
        handlers or {}, clock=clock or VirtualClock(), check=lambda r: refuse, **kwargs
    )


def test_what_is_too_old_is_not_done() -> None:
    clock = VirtualClock()
    done = []
    acts = actor(
        {SetPower: lambda r, a: done.append(a) or outcome_of(r, "applied")}, clock=clock
    )
    fresh = acts.act(ask(power(1, deadline_ms=50)))
    clock.sleep_ns(60 * NS_PER_MS)
    stale = acts.act(ask(power(1, deadline_ms=50)))
    assert (fresh.status, stale.status) == ("applied", "expired")
    assert "60 ms old" in stale.message
    assert len(done) == 1


def test_safety_comes_before_the_hardware() -> None:
    done = []
    acts = actor({SetPower: lambda r, a: done.append(a)}, refuse="too bright")
    outcome = acts.act(ask(power(99)))
    assert (outcome.status, outcome.message, done) == ("rejected", "too bright", [])


def test_a_hardware_error_is_an_outcome() -> None:
    def broken(request, action):
        raise HardwareError("stuck", device="XY")

    outcome = actor({MoveStage: broken}).act(ask(MoveStage(reason="r", x_um=0, y_um=0)))
    assert (outcome.status, outcome.message) == ("failed", "XY: stuck")


def test_shadow_checks_but_does_nothing() -> None:
    done = []
    handlers = {SetPower: lambda r, a: done.append(a)}
    assert actor(handlers, shadow=True).act(ask(power(1))).status == "shadow"
    refused = actor(handlers, shadow=True, refuse="no").act(ask(power(1)))
    assert refused.status == "rejected"
    assert done == []


def test_what_this_kind_of_run_cannot_do_says_so() -> None:
    outcome = actor().act(ask(power(1)))
    assert (outcome.status, "SetPower" in outcome.message) == ("rejected", True)
    assert actor(without="replay").act(ask(power(1))).status == "replay"


def test_lines_not_named_in_a_channel_are_dark() -> None:
    lights = LightPlan(("488", "561"), {"FITC": {"488": 10.0}, "Cy3": {"561": 20.0}})
    assert lights.percent("FITC") == {"488": 10.0, "561": 0.0}
    assert lights.percent("Cy3") == {"488": 0.0, "561": 20.0}
    assert lights.percent("DAPI") == {"488": 0.0, "561": 0.0}
    lights.amend("488", 33.0)
    assert lights.percent("FITC") == {"488": 33.0, "561": 0.0}
    assert lights.percent("Cy3") == {"488": 0.0, "561": 20.0}
    lights.go_dark()
    assert lights.percent("FITC") == {"488": 0.0, "561": 0.0}


class Counting(Policy):
    """Counts what it sees."""

    _n: int = 0

    def react(self, seen):
        self._n += 1
        yield Mark(reason=str(self._n))


class Global(Counting):
    """The same for the whole run."""

    per = "run"


def factory(name: str, policy: type[Policy], positions=(), **more) -> PolicyFactory:
    return PolicyFactory(
        **{
            "name": name,
            "policy": policy,
            "parameters": {},
            "priority": 0,
            "positions": positions,
            "context": PolicyContext(),
            "source_hash": "",
            **more,
        }
    )


def sight(position: int) -> Observation:
    return Observation(
        number=0, view=View(position, "C"), frame_ids=(0,), t_ns=0, t_s=0.0
    )


def test_state_is_kept_per_view_or_per_run() -> None:
    host = PolicyHost(
        [
            factory("each", Counting),
            factory("all", Global),
            factory("second", Counting, (1,)),
        ]
    )
    rows = []
    for position in (0, 1, 0, 1):
        seen = host.number(sight(position))
        for decision in host.decide(seen, lambda: 0):
            (request,) = decision.requests
            rows.append((seen.number, decision.policy, request.action.reason))
    assert rows == [
        (0, "each", "1"),
        (0, "all", "1"),
        (1, "each", "1"),
        (1, "all", "2"),
        (1, "second", "1"),
        (2, "each", "2"),
        (2, "all", "3"),
        (3, "each", "2"),
        (3, "all", "4"),
        (3, "second", "2"),
    ]


def test_differences_are_put_into_words() -> None:
    host = PolicyHost([factory("p", Counting)])
    first = host.decide(host.number(sight(0)), lambda: 0)[0]
    second = host.decide(host.number(sight(0)), lambda: 5)[0]
    assert same_decision(first, first) == ""
    assert "observation 0" in same_decision(first, second)
