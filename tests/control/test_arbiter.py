"""Leases, cool-downs and what is given back: who gets a resource, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.config import ResourceConfig
from smartscope.control import Arbiter, Terms
from smartscope.core import (
    NS_PER_S,
    Acquire,
    Action,
    Mark,
    MoveStage,
    Outcome,
    Request,
    SetExposure,
    SetInterval,
    SetPower,
    SetRoi,
    ShiftPosition,
    Stop,
    View,
)

FAST = SetInterval(reason="", interval_s=1.0)
SLOW = SetInterval(reason="", interval_s=None)
BURST = Acquire(reason="")
SHIFT = ShiftPosition(reason="", dx_um=1.0)


class Table:
    """Asks an arbiter, one sight after the other."""

    def __init__(self, terms=None, **resources) -> None:
        named = {k.replace("_", ":"): ResourceConfig(**v) for k, v in resources.items()}
        self.arbiter = Arbiter(terms or {}, named)
        self.asked = 0

    def ask(self, t_s: float, *asked: tuple[str, Action] | tuple[str, Action, int]):
        requests = []
        for policy, action, *position in asked:
            requests.append(
                Request(
                    action_id=f"{self.asked}.0",
                    policy=policy,
                    view=View(*(position or (0,)), "C"),
                    action=action,
                    t_decided_ns=int(t_s * NS_PER_S),
                    observation=0,
                )
            )
            self.asked += 1
        return self.arbiter.settle(requests)

    def wins(self, t_s: float, *asked) -> list[str]:
        return [r.policy for r in self.ask(t_s, *asked).granted]


def test_a_lease_holds_for_its_time_and_no_longer() -> None:
    table = Table({"a": Terms(lease_s=10)})
    assert table.wins(0, ("a", FAST)) == ["a"]
    assert table.wins(5, ("b", FAST)) == []
    assert table.wins(5, ("b", FAST, 1)) == ["b"]
    assert table.wins(9.9, ("b", FAST)) == []
    assert table.wins(10, ("b", FAST)) == ["b"]


def test_asking_again_renews_a_lease() -> None:
    table = Table({"a": Terms(lease_s=10)})
    table.ask(0, ("a", FAST))
    table.ask(8, ("a", FAST))
    assert table.wins(12, ("b", FAST)) == []
    assert table.wins(18, ("b", FAST)) == ["b"]


def test_only_a_higher_priority_takes_what_is_leased() -> None:
    terms = {"a": Terms(lease_s=10, priority=1), "b": Terms(priority=1)}
    table = Table({**terms, "c": Terms(priority=2)})
    table.ask(0, ("a", FAST))
    lost = table.ask(1, ("b", FAST))
    assert lost.outcomes[0].message == "a holds schedule:0: leased for 9 s more"
    assert lost.outcomes[0].winner == "0.0"
    taken = table.ask(2, ("c", FAST))
    assert [r.policy for r in taken.granted] == ["c"]
    (ruling,) = taken.rulings
    assert (ruling.winner, ruling.loser) == ("c", "a")
    assert "higher priority" in ruling.why


def test_the_lease_of_the_resource_holds_where_the_policy_says_nothing() -> None:
    table = Table({"b": Terms(lease_s=0)}, stage={"lease_s": 5})
    table.ask(0, ("a", SHIFT))
    assert table.wins(4, ("b", SHIFT)) == []
    assert table.wins(6, ("b", SHIFT)) == ["b"]
    assert table.wins(7, ("a", SHIFT)) == ["a"], "b leases nothing"


def test_what_is_given_back_is_free_at_once() -> None:
    table = Table({"a": Terms(lease_s=100)})
    table.ask(0, ("a", FAST))
    both = table.ask(5, ("a", SLOW), ("b", FAST))
    assert [r.policy for r in both.granted] == ["b"]
    (noted,) = both.outcomes
    assert (noted.policy, noted.status, noted.winner) == ("a", "noted", "2.0")
    assert "b has taken schedule:0 over already" in noted.message


def test_nobody_gives_back_what_another_has_taken_over() -> None:
    table = Table()
    table.ask(0, ("a", FAST))
    table.ask(1, ("b", FAST))
    assert table.wins(2, ("a", SLOW)) == []
    assert table.wins(3, ("b", SLOW)) == ["b"]
    assert table.wins(4, ("a", SLOW)) == ["a"], "now it is nobody's"


def test_a_burst_takes_no_rate_over() -> None:
    table = Table()
    table.ask(0, ("a", FAST))
    table.ask(1, ("b", BURST))
    assert table.wins(2, ("a", SLOW)) == ["a"]
    table.ask(3, ("a", FAST))
    assert table.wins(4, ("b", BURST), ("a", SLOW)) == ["b", "a"]


def test_a_region_is_given_back_too() -> None:
    small = SetRoi(reason="", x_px=0, y_px=0, width_px=8, height_px=8)
    table = Table()
    table.ask(0, ("a", small))
    table.ask(1, ("b", small))
    assert table.wins(2, ("a", SetRoi(reason=""))) == []
    assert table.wins(2, ("b", SetRoi(reason=""))) == ["b"]


def test_a_policy_rests_at_the_position_where_it_acted() -> None:
    table = Table({"a": Terms(rest_s=10)})
    table.ask(0, ("a", BURST))
    lost = table.ask(4, ("a", BURST))
    assert lost.outcomes[0].message == "a rests for 6 s more"
    assert table.wins(4, ("a", BURST, 1)) == ["a"]
    assert table.wins(5, ("b", BURST)) == ["b"]
    assert table.wins(10, ("a", BURST)) == ["a"]


def test_a_policy_per_run_rests_everywhere() -> None:
    table = Table({"a": Terms(rest_s=10, per_run=True)})
    table.ask(0, ("a", BURST))
    assert table.wins(4, ("a", BURST, 1)) == []


def test_several_actions_on_one_sight_do_not_wait_for_each_other() -> None:
    table = Table({"a": Terms(rest_s=10)})
    assert table.wins(0, ("a", BURST), ("a", SHIFT)) == ["a", "a"]
    assert table.wins(1, ("a", BURST), ("a", SHIFT)) == []


def test_giving_back_never_waits_and_the_rest_begins_then() -> None:
    table = Table({"a": Terms(rest_s=10)})
    table.ask(0, ("a", FAST))
    assert table.wins(3, ("a", SLOW)) == ["a"]
    assert table.wins(11, ("a", FAST)) == []
    assert table.wins(13, ("a", FAST)) == ["a"]


def test_a_resource_rests_whoever_wants_it() -> None:
    table = Table(
        {"b": Terms(priority=5)}, light_488={"rest_s": 3}, light={"rest_s": 1}
    )
    blue, red = (SetPower(reason="", line=n, power_percent=1) for n in ("488", "561"))
    assert table.wins(0, ("a", blue), ("b", red)) == ["a", "b"]
    assert table.wins(2, ("b", blue), ("a", red)) == ["a"]
    assert table.ask(2, ("b", blue)).outcomes[0].message == (
        "light:488 rests for 1 s more"
    )
    assert table.wins(3, ("b", blue)) == ["b"]


@pytest.mark.parametrize("status", ["rejected", "expired", "failed"])
def test_what_was_not_carried_out_holds_nothing(status) -> None:
    table = Table({"a": Terms(lease_s=10, rest_s=10)})
    (request,) = table.ask(0, ("a", FAST)).granted
    table.arbiter.undone([Outcome(action_id="9.9", policy="a", status=status)])
    assert table.wins(1, ("b", FAST)) == []
    own = Outcome(action_id=request.action_id, policy="a", status=status)
    table.arbiter.undone([own])
    assert table.wins(1, ("b", FAST), ("a", SHIFT)) == ["b", "a"]


def test_who_looks_no_more_holds_nothing() -> None:
    table = Table({"a": Terms(lease_s=10)})
    table.ask(0, ("a", FAST))
    table.arbiter.released(["a"])
    assert table.wins(1, ("b", FAST)) == ["b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MoveStage(reason="", x_um=0, y_um=0), SHIFT),
        (SetExposure(reason="", exposure_ms=1),
         SetExposure(reason="", exposure_ms=2, channel="FITC")),
    ],
)  # fmt: skip
def test_the_whole_of_a_kind_overlaps_with_each_part(one, other) -> None:
    for first, second in ((one, other), (other, one)):
        assert Table().wins(0, ("a", first), ("b", second)) == ["a"]
        table = Table({"a": Terms(lease_s=5)})
        table.ask(0, ("a", first))
        assert table.wins(1, ("b", second)) == []


def test_the_end_of_a_run_is_never_held_back() -> None:
    table = Table({"a": Terms(lease_s=99), "b": Terms(rest_s=99)})
    table.ask(0, ("a", Stop(reason="")), ("b", BURST))
    assert table.wins(1, ("b", Stop(reason=""))) == ["b"]


def test_why_somebody_won_is_told() -> None:
    table = Table({"b": Terms(priority=2)})
    rulings = table.ask(0, ("a", FAST), ("b", FAST), ("c", FAST)).rulings
    assert [(r.winner, r.loser, r.why) for r in rulings] == [
        ("b", "a", "priority 2 over 0"),
        ("b", "c", "priority 2 over 0"),
    ]
    (ruling,) = table.ask(0, ("d", SHIFT), ("e", SHIFT)).rulings
    assert ruling.why == "the same priority, and asked first"


ACTIONS = st.sampled_from([FAST, SLOW, BURST, SHIFT, Mark(reason=""), Stop(reason="")])
SIGHTS = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), ACTIONS), max_size=5), max_size=8
)


@given(
    sights=SIGHTS,
    lease_s=st.sampled_from([0, 2, 5]),
    rest_s=st.sampled_from([0, 3]),
    priority=st.integers(-1, 1),
)
def test_everything_asked_for_is_granted_or_answered_once(
    sights, lease_s, rest_s, priority
) -> None:
    terms = {"a": Terms(lease_s=lease_s), "b": Terms(priority=priority, rest_s=rest_s)}
    table = Table(terms)
    for t_s, asked in enumerate(sights):
        first = table.asked
        verdict = table.ask(t_s, *asked)
        granted = [r.action_id for r in verdict.granted]
        lost = [o.action_id for o in verdict.outcomes]
        ids = [f"{n}.0" for n in range(first, table.asked)]
        assert sorted(granted + lost) == sorted(ids)
        assert granted == [i for i in ids if i in granted], "in the order of asking"
        # One resource, one winner: no two policies get it on the same sight.
        for i, r in enumerate(verdict.granted):
            for other in verdict.granted[:i]:
                shared = set(r.action.claims(r.view)) & set(other.action.claims(r.view))
                back = r.action.gives_back or other.action.gives_back
                assert not shared or back or r.policy == other.policy
