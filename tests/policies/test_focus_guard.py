from __future__ import annotations

import math

import pytest

from smartscope.core import Acquire, Nothing, ShiftPosition
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, sight

FocusGuard = load_policy_class("focus_guard")


def policy(**parameters):
    made = FocusGuard(**{"every_s": 60.0, "least_s": 5.0, **parameters})
    made.start(CONTEXT)
    return made


def sharpness(z_um, truly_um):
    return 0.06 / (1 + ((z_um - truly_um) / 3) ** 2)


def see(made, t_s, z_um, sharp, **more):
    measured = {} if sharp is None else {"focus": sharp}
    return list(
        made.react(sight(t_s, at_um=(0.0, 0.0, z_um), measurements=measured, **more))
    )


class Sample:
    """A sample at `truly(t_s)`, and a microscope that does what it is asked."""

    def __init__(self, made, truly, z_um=0.0):
        self.made, self.truly, self.z_um = made, truly, z_um
        self.sweeps, self.seen, self.told = [], [], []
        self.blind = lambda t_s, role: False

    def look(self, t_s):
        """A frame of the plan, and those of a sweep."""
        todo = self.show(t_s, self.z_um)
        planes = [a.z_um for a in todo if isinstance(a, Acquire)]
        self.sweeps += [t_s] if planes else []
        for k, plane in enumerate(planes, 1):
            self.show(t_s + 0.1 * k, plane, role="reaction")

    def show(self, t_s, z_um, role="baseline"):
        self.seen.append(z_um)
        blind = self.blind(t_s, role)
        sharp = None if blind else sharpness(z_um, self.truly(t_s))
        todo = see(self.made, t_s, z_um, sharp, role=role)
        self.told += [action for action in todo if isinstance(action, Nothing)]
        for action in todo:
            if isinstance(action, ShiftPosition):
                self.z_um += action.dz_um
        return todo

    def film(self, until_s, every_s=5.0):
        off = []
        for k in range(int(until_s / every_s)):
            off.append(self.z_um - self.truly(k * every_s))
            self.look(k * every_s)
        return off


def test_a_sweep_finds_the_focus():
    sample = Sample(policy(), lambda t_s: 1.3)
    sample.look(0.0)
    assert sample.seen == [0.0, -1.0, 0.0, 1.0]
    assert sample.z_um == pytest.approx(1.3, abs=1e-6), "a parabola, exactly"


def test_it_keeps_beside_the_sharpest_plane_if_it_is_to():
    sample = Sample(policy(keep="first"), lambda t_s: 0.8 + 0.01 * t_s)
    assert max(abs(o + 0.8) for o in sample.film(600.0)) < 0.5


def test_drift_is_followed_between_the_sweeps():
    sample = Sample(policy(), lambda t_s: 0.02 * t_s)
    off = sample.film(900.0)
    assert max(map(abs, off[60:])) < 0.35
    assert len(sample.sweeps) <= 16, "one a minute"
    assert sample.z_um > 17


def test_a_loss_of_sharpness_makes_a_sweep_come_early():
    sample = Sample(policy(every_s=1000.0), lambda t_s: 0.0 if t_s < 100 else 2.0)
    sample.film(150.0)
    assert sample.sweeps == [0.0, 100.0]
    assert sample.z_um == pytest.approx(2.0, abs=0.05)


def test_a_jump_out_of_sight_of_the_sweep_is_walked_to():
    sample = Sample(policy(step_um=1.5), lambda t_s: 0.0 if t_s < 100 else 6.0)
    sample.film(300.0)
    assert sample.z_um == pytest.approx(6.0, abs=0.3)


def test_it_never_goes_beyond_its_range():
    sample = Sample(policy(range_um=3.0), lambda t_s: 0.05 * t_s, z_um=50.0)
    sample.truly = lambda t_s: 50.0 + 0.05 * t_s
    sample.film(600.0)
    assert min(sample.seen) >= 47.0
    assert max(sample.seen) <= 53.0
    assert sample.z_um == pytest.approx(53.0)
    assert "range_um is 3" in sample.told[-1].reason
    assert {a.state for a in sample.told[-5:]} <= {"at its range", "sweeping", "unsure"}


def test_a_sweep_that_shows_nothing_does_not_set_the_drift_back():
    sample = Sample(policy(), lambda t_s: 0.02 * t_s)
    sample.blind = lambda t_s, role: role == "reaction" and 590 < t_s < 640
    off = sample.film(900.0)
    assert [a.state for a in sample.told].count("unsure") == 1
    assert max(map(abs, off[60:])) < 0.5


@pytest.mark.parametrize("sharp", [None, math.nan, 0.0])
def test_empty_fields_are_left_alone(sharp):
    made = policy()
    told = [see(made, 30.0 * k, 0.0, sharp) for k in range(10)]
    assert {type(a) for actions in told for a in actions} == {Nothing}
    assert {a.state for actions in told for a in actions} == {"empty"}


def test_a_sweep_in_which_nothing_was_seen_changes_nothing():
    made = policy()
    assert len(see(made, 0.0, 0.0, 0.05)) == 3
    for k, plane in enumerate((-1.0, 0.0, 1.0)):
        (told,) = see(made, 0.1 * k, plane, None, role="reaction")
    assert told.state == "unsure"


def test_a_sweep_that_never_comes_is_given_up():
    made = policy()
    see(made, 0.0, 0.0, 0.05)
    states = [see(made, 5.0 * k, 0.0, 0.05)[0] for k in range(1, 4)]
    assert [a.state for a in states] == ["sweeping", "sweeping", "unsure"]


def test_frames_of_another_channel_say_nothing():
    made = policy(channel="FITC")
    assert see(made, 0.0, 0.0, 0.05, channel="DAPI") == []
    assert see(made, 0.0, 0.0, 0.05)[0].channel == "FITC"
