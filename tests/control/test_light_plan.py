"""The light plan and the arbiter against the same, worked out from scratch."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.control import Arbiter, LightPlan
from smartscope.core import (
    Acquire,
    Action,
    Mark,
    Request,
    SetInterval,
    SetPower,
    ShiftPosition,
    View,
)

LINES = ("405", "488", "561")
lines = st.sampled_from(LINES)
percents = st.floats(0.0, 100.0)
channels = st.sampled_from(["DAPI", "FITC", "Cy3", ""])
steps = st.one_of(
    st.tuples(st.just("amend"), lines, percents),
    st.tuples(st.just("dark"), lines, percents),
    st.tuples(st.just("ask"), lines, percents),
)


@given(
    planned=st.dictionaries(channels, st.dictionaries(lines, percents)),
    steps=st.lists(steps, max_size=6),
)
def test_powers_are_those_of_now(planned, steps) -> None:
    lights = LightPlan(LINES, planned)
    amended: dict[str, float] = {}
    dark = False
    for what, line, percent in steps:
        if what == "amend":
            lights.amend(line, percent)
            amended[line] = percent
        elif what == "dark":
            lights.go_dark()
            dark = True

        wanted = {
            channel: {
                name: 0.0
                if dark or name not in powers
                else amended.get(name, powers[name])
                for name in LINES
            }
            for channel, powers in planned.items()
        }
        none = dict.fromkeys(LINES, 0.0)
        for channel in ("DAPI", "FITC", "Cy3", "", "unknown"):
            found = lights.percent(channel)
            assert found == wanted.get(channel, none)
            found.update(dict.fromkeys(LINES, -1.0))  # belongs to who asked
        assert lights.percent(None) == wanted.get("", none)
        highest = lights.highest()
        assert highest == {
            name: max((powers[name] for powers in wanted.values()), default=0.0)
            for name in LINES
        }
        highest.clear()
        assert {name for name in LINES if lights.uses(name)} == {
            name for powers in planned.values() for name in powers
        }


def test_what_was_amended_or_darkened_is_seen_by_all_at_once() -> None:
    lights = LightPlan(("488", "561"), {"FITC": {"488": 0.0, "561": 0.0}})
    seen: list[float] = []
    torn: list[dict[str, float]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            powers = lights.highest()
            seen.append(powers["488"])
            if powers["488"] < powers["561"]:
                torn.append(powers)

    looker = threading.Thread(target=look)
    looker.start()
    for percent in range(1, 101):
        lights.amend("488", float(percent))
        lights.amend("561", float(percent))
        assert lights.percent("FITC") == {"488": percent, "561": percent}
    lights.go_dark()
    assert lights.highest() == {"488": 0.0, "561": 0.0}
    done.set()
    looker.join(10)
    risen = [percent for percent in seen if percent > 0]
    assert risen == sorted(risen)
    assert torn == []


ACTIONS = (
    SetPower(reason="", line="488", power_percent=1.0, priority=2),
    ShiftPosition(reason="", dx_um=1.0),
    SetInterval(reason="", interval_s=1.0),
    Acquire(reason=""),
    Mark(reason=""),
)


def ask(action: Action) -> Request:
    return Request(
        action_id="0.0",
        policy="a",
        view=View(),
        action=action,
        t_decided_ns=0,
        observation=0,
    )


@pytest.mark.parametrize("action", [None, *ACTIONS], ids=lambda a: type(a).__name__)
def test_where_nobody_competes_all_is_granted(action) -> None:
    asked = [] if action is None else [ask(action)]
    verdict = Arbiter().settle(asked)
    assert verdict.granted == tuple(asked)
    assert verdict.outcomes == verdict.rulings == ()
