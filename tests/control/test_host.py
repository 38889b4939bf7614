"""The host alone: phases, reloads on trial, what a phase leaves behind, arms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import PrivateAttr

from smartscope.config import PhaseConfig
from smartscope.control import PhaseChange, PhaseClock, PolicyHost, Undone
from smartscope.core import (
    Event,
    Mark,
    NextPhase,
    Observation,
    Outcome,
    SetInterval,
    SetPower,
    SetRoi,
    Stop,
    View,
)
from smartscope.policies import Hysteresis, Policy, PolicyContext, PolicyFactory


def factory(name: str, policy: type[Policy], **more) -> PolicyFactory:
    parameters = policy(**more.pop("parameters", {})).model_dump()
    return PolicyFactory(
        **{
            "name": name,
            "policy": policy,
            "parameters": parameters,
            "priority": 0,
            "positions": (),
            "context": PolicyContext(),
            "source_hash": "",
            **more,
        }
    )


class Seen:
    """Shows sights to a host and keeps what it answered."""

    def __init__(self, host: PolicyHost) -> None:
        self.host = host
        self.told: list[PhaseChange | Undone] = []
        self._outcomes: list[Outcome] = []

    def show(self, position: int = 0, t_s: float = 0.0, **more):
        seen = Observation(
            number=0,
            view=View(position, "C"),
            frame_ids=(0,),
            t_ns=0,
            t_s=t_s,
            outcomes=tuple(self._outcomes),
            **more,
        )
        decisions = self.host.decide(self.host.number(seen), lambda: 0)
        self._outcomes = [
            Outcome(action_id=r.action_id, policy=r.policy, status="scheduled")
            for d in decisions
            for r in d.requests
        ]
        self.told += self.host.take_told()
        return decisions

    def says(self, *args, **more) -> list[str]:
        return [r.action.reason for d in self.show(*args, **more) for r in d.requests]


# ------------------------------------------------------------------------- reloads


class Counter(Policy):
    """Counts, with a helper that holds both a setting and a state."""

    step: int = 1
    on: float = 0.5

    _n: int = PrivateAttr(default=0)
    _busy: Hysteresis = PrivateAttr()
    _seen: dict[int, list[int]] = PrivateAttr(default_factory=dict)

    def start(self, context: PolicyContext) -> None:
        super().start(context)
        self._busy = Hysteresis(on=self.on, off=0.1)

    def react(self, seen):
        self._n += self.step
        self._seen.setdefault(0, []).append(self._n)
        self._busy.update(0.6, seen.t_s)
        yield Mark(reason=f"{self._n} {self._busy.on} {self._busy.is_on}")


class Broken(Counter):
    """Fails at position 1, after it has changed what it remembers."""

    def migrate(self, old: Counter) -> None:
        self._n = old._n
        self._seen = old._seen

    def react(self, seen):
        self._n += 100
        self._seen[0].append(self._n)
        if seen.view.position == 1:
            raise ValueError("no")
        yield Mark(reason=f"broken {self._n}")


def test_settings_of_helpers_are_new_and_their_state_is_kept() -> None:
    seen = Seen(PolicyHost([factory("p", Counter)]))
    assert seen.says() == ["1 0.5 True"]
    new = factory("p", Counter, parameters={"step": 10, "on": 0.9})
    assert seen.host.reload(new) == ""
    # It stays on, for it was; 0.6 would not switch it on any more.
    assert seen.says() == ["11 0.9 True"]
    # A view not seen before gets an instance of the new parameters only.
    assert seen.says(1) == ["10 0.9 False"]


def test_all_instances_are_taken_back_when_one_fails() -> None:
    seen = Seen(PolicyHost([factory("p", Counter)]))
    for position in (0, 1, 0, 1):
        seen.show(position)
    assert seen.host.reload(factory("p", Broken)) == ""
    assert seen.says(0) == ["broken 102"]
    # The one that fails is answered for by the old one, at once.
    (decision,) = seen.show(1)
    assert decision.error == ""
    assert [r.action.reason for r in decision.requests] == ["3 0.5 True"]
    (undone,) = seen.told
    assert isinstance(undone, Undone)
    assert "ValueError: no" in undone.reason
    # Position 0 goes on as if the new one had never been there.
    assert seen.says(0) == ["3 0.5 True"]
    assert seen.host.factory("p").policy is Counter


def test_once_all_have_reacted_an_error_is_an_error_again() -> None:
    class Later(Counter):
        def react(self, seen):
            self._n += 1
            if self._n == 2:
                raise ValueError("later")
            yield Mark(reason="fine")

    seen = Seen(PolicyHost([factory("p", Counter)]))
    seen.show()
    seen.host.reload(factory("p", Later))
    assert seen.says() == ["fine"]
    (decision,) = seen.show()
    assert "ValueError: later" in decision.error
    assert seen.told == []


def test_a_policy_reloaded_before_its_first_sight_is_on_trial_too() -> None:
    class Never(Counter):
        def react(self, seen):
            raise ValueError("never")

    seen = Seen(PolicyHost([factory("p", Counter)]))
    seen.host.reload(factory("p", Never))
    assert seen.says() == ["1 0.5 True"]
    assert len(seen.told) == 1


def test_what_is_under_way_is_known_after_a_reload() -> None:
    class Waits(Policy):
        step: int = 1

        def react(self, seen):
            if self.fresh(seen):
                yield SetInterval(interval_s=1, reason="asked")

    host = PolicyHost([factory("p", Waits)])
    seen = Seen(host)
    assert seen.says() == ["asked"]
    seen._outcomes = []  # its outcome is still to come
    host.reload(factory("p", Waits, parameters={"step": 2}))
    assert seen.says() == []
    seen._outcomes = [Outcome(action_id="0.0", policy="p", status="rejected")]
    assert seen.says() == ["asked"]


def test_a_state_that_cannot_be_copied_refuses_the_reload() -> None:
    class Odd(Policy):
        step: int = 1
        _held: object = PrivateAttr(default_factory=lambda: (n for n in "abc"))

        def react(self, seen):
            yield Mark(reason=next(self._held))

    seen = Seen(PolicyHost([factory("p", Odd)]))
    assert seen.says() == ["a"]
    why = seen.host.reload(factory("p", Odd, parameters={"step": 2}))
    assert "TypeError" in why
    assert seen.says() == ["b"]


# -------------------------------------------------------------------------- phases


class Taker(Policy):
    """Takes what lasts until it is given back, once."""

    _n: int = PrivateAttr(default=0)

    def react(self, seen):
        self._n += 1
        if self._n == 1:
            yield SetInterval(interval_s=1, reason="fast")
            yield SetRoi(x_px=0, y_px=0, width_px=8, height_px=8, reason="small")
            yield SetPower(line="488", power_percent=5, reason="dim")
        else:
            yield Mark(reason=str(self._n))


def phases(*given: dict) -> list[PhaseConfig]:
    return [PhaseConfig(**fields) for fields in given]


def test_what_a_phase_leaves_behind_is_given_back_where_it_was_taken() -> None:
    host = PolicyHost(
        [factory("p", Taker, phases=("one",)), factory("q", Taker, phases=("two",))],
        phases({"name": "one", "after_frames": 4}, {"name": "two"}),
    )
    seen = Seen(host)
    for position in (0, 1, 0, 1):
        seen.show(position)
    *back, own = seen.show(0)
    given = [(d.policy, d.view.position, type(r.action), r.action.gives_back)
             for d in back for r in d.requests]  # fmt: skip
    assert given == [
        ("p", 0, SetInterval, True),
        ("p", 0, SetRoi, True),
        ("p", 1, SetInterval, True),
        ("p", 1, SetRoi, True),
    ]
    assert own.policy == "q"
    assert [d.policy for d in seen.show(1)] == ["q"], "once is enough"


def test_what_comes_after_the_phase_is_given_back_then() -> None:
    host = PolicyHost(
        [factory("p", Taker, phases=("one",))],
        phases({"name": "one", "after_frames": 1}, {"name": "two"}),
    )
    seen = Seen(host)
    seen.show()
    late, seen._outcomes = seen._outcomes, []
    assert seen.show() == ()
    seen._outcomes = late
    reasons = [r.action.reason for d in seen.show() for r in d.requests]
    assert reasons == ["the phase of p is over"] * 2


def test_a_phase_that_comes_again_finds_new_instances() -> None:
    class Switch(Policy):
        def react(self, seen):
            if seen.number in (2, 4):
                name = "two" if seen.number == 2 else "one"
                yield NextPhase(phase=name, reason="switch")

    host = PolicyHost(
        [factory("s", Switch), factory("c", Counter, phases=("one",))],
        phases({"name": "one"}, {"name": "two"}),
    )
    seen = Seen(host)
    counts = [[r for r in seen.says() if r != "switch"] for _ in range(7)]
    assert [c[0].split()[0] if c else "" for c in counts] == [
        "1", "2", "3", "", "", "1", "2",
    ]  # fmt: skip
    assert [(c.ended, c.begins, c.observation) for c in seen.told] == [
        ("one", "two", 3),
        ("two", "one", 5),
    ]


def test_a_phase_that_was_not_granted_goes_on() -> None:
    class Ends(Policy):
        def react(self, seen):
            yield NextPhase(reason="now")

    seen = Seen(PolicyHost([factory("p", Ends)], phases({"name": "a"}, {"name": "b"})))
    seen.show()
    seen._outcomes = [replace(o, status="outbid") for o in seen._outcomes]
    seen.show()
    assert seen.told == []
    seen.show()
    assert [c.begins for c in seen.told] == ["b"]


def sight(number: int, t_s: float, events=(), skipped: int = 0) -> Observation:
    return Observation(
        number=number,
        view=View(0, "C"),
        frame_ids=(number,),
        t_ns=0,
        t_s=t_s,
        events=events,
        skipped=skipped,
    )


def mitosis(score: float, state: str = "active") -> Event:
    return Event(
        event_id=1, kind="mitosis", score=score, state=state, onset_s=0, x_um=0, y_um=0
    )


@pytest.mark.parametrize(
    ("phase", "sights", "at", "why"),
    [
        ({"after_s": 5}, [sight(n, 2.0 * n) for n in range(5)], 3, "after 5 s"),
        ({"after_frames": 2}, [sight(n, 0) for n in range(5)], 2, "after 2 frames"),
        ({"after_frames": 4}, [sight(n, 0, skipped=1) for n in range(5)], 2,
         "after 4 frames"),
        ({"after_s": 99, "after_frames": 1}, [sight(n, n) for n in range(3)], 1,
         "after 1 frames"),
        ({"on_event": "mitosis", "on_score": 0.5},
         [sight(0, 0, (mitosis(0.4),)), sight(1, 1, (mitosis(0.9, "ended"),)),
          sight(2, 2, (mitosis(0.6),))], 2, "mitosis with score 0.60"),
        ({"on_event": "flash"}, [sight(0, 0, (mitosis(1.0),))], None, ""),
    ],
)  # fmt: skip
def test_what_ends_a_phase(phase, sights, at, why) -> None:
    clock = PhaseClock(phases({"name": "first", **phase}, {"name": "second"}))
    changes = [clock.update(seen, None) for seen in sights]
    found = [(c.observation, c.reason) for c in changes if c is not None]
    assert found == ([] if at is None else [(at, why)])
    assert clock.now == ("first" if at is None else "second")


def test_each_phase_counts_from_its_own_beginning() -> None:
    three = ({"name": n, "after_s": 4, "after_frames": 3} for n in "abc")
    clock = PhaseClock(phases(*three))
    now = []
    for n in range(10):
        clock.update(sight(n, float(n)), None)
        now.append(clock.now)
    assert now == [*"aaabbbccc", ""]
    assert clock.over


# ---------------------------------------------------------------------------- arms


def test_an_arm_may_ask_for_its_own_position_only() -> None:
    class Many(Policy):
        def react(self, seen):
            yield SetInterval(interval_s=1, reason="")
            yield Mark(reason="")
            yield SetPower(line="488", power_percent=1, reason="")
            yield Stop(reason="")
            yield NextPhase(reason="")

    host = PolicyHost([factory("p", Many, arm="a"), factory("q", Many)],
                      phases({"name": "one"}))  # fmt: skip
    own, others = Seen(host).show()
    assert [bool(host.refuses(r)) for r in own.requests] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert not any(host.refuses(r) for r in others.requests)
