"""The rules can fail: policies that break one each, and the sentence that says so."""

from __future__ import annotations

from typing import ClassVar

import pytest

from smartscope.testing import Conformance, Finding, PolicyConformance, check_policy

HEAD = '''
import datetime, itertools, math, random, threading, time
from pathlib import Path
from random import gauss
from time import monotonic
from typing import ClassVar
import numpy as np
from pydantic import PrivateAttr
from smartscope.core import *
from smartscope.core import Mark, Nothing, SetPower, ShiftPosition, Acquire
from smartscope.policies import Policy
COUNTED = {"all": 0}
DRAWN = itertools.count()
class Bad(Policy):
    """Says what it sees."""
'''
FIELD = '''
    dark: float = 1.0
    """Signal below which it is dark."""
'''
REACT = "    def react(self, seen):\n"
SAY = '        yield Mark(reason=f"{len(seen.tracks)} cells in sight")\n'

GOOD = HEAD + FIELD + REACT + SAY

# name: (rule, source, words of the sentence)
BAD = {
    "no description": (
        "described",
        GOOD.replace('    """Says what it sees."""\n', ""),
        "Bad has no description",
    ),
    "a parameter without one": (
        "described",
        HEAD + "    dark: float = 1.0\n" + REACT + SAY,
        "dark is not described",
    ),
    "a quantity without a unit": (
        "described",
        GOOD.replace("dark:", "waiting_time:"),
        "waiting_time does not name its unit",
    ),
    "a unit in the text alone": (
        "described",
        GOOD.replace("Signal below", "Rest in seconds below"),
        "dark is 'in seconds'",
    ),
    "a parameter no experiment can set": (
        "parametrised",
        GOOD.replace("dark:", "priority:"),
        "priority means something else",
    ),
    "a need no rig fills": (
        "parametrised",
        GOOD + '    requires = ("laser",)\n',
        "'laser', which no rig gives",
    ),
    "per cell": ("parametrised", GOOD + '    per = "cell"\n', "per is 'cell'"),
    "a start that counts": (
        "starting",
        GOOD + "    _starts: int = PrivateAttr(0)\n"
        "    def start(self, context):\n"
        "        super().start(context)\n"
        "        self._starts += 1\n"
        "    def react(self, seen):\n"
        '        yield Mark(reason=f"started {self._starts} times")\n',
        "started twice it decides otherwise",
    ),
    "a start that changes a parameter": (
        "starting",
        GOOD + "    def start(self, context):\n"
        "        super().start(context)\n"
        "        self.dark = self.dark * 2\n",
        "start() changes its parameters",
    ),
    "a start that changes its class": (
        "starting",
        GOOD + "    def start(self, context):\n"
        "        super().start(context)\n"
        '        COUNTED["all"] += 1\n',
        "start() changes COUNTED of its file",
    ),
    "a start that changes the context": (
        "starting",
        GOOD + "    def start(self, context):\n"
        "        super().start(context)\n"
        '        context.lines["561"] = 5\n',
        "start() changes the context",
    ),
    "a start that forgets the context": (
        "starting",
        GOOD + "    def start(self, context):\n        pass\n",
        "start() does not keep the context",
    ),
    "a start that reads a file": (
        "starting",
        GOOD + "    def start(self, context):\n"
        "        super().start(context)\n"
        "        Path(__file__).read_text()\n",
        "start() uses files (open)",
    ),
    "it raises without tracks": (
        "enduring",
        GOOD.replace("len(seen.tracks)", "seen.tracks[0].x_um"),
        "IndexError: tuple index out of range (line",
    ),
    "it raises on NaN": (
        "enduring",
        GOOD.replace("len(seen.tracks)", "int(seen.measurements.get('focus', 0))"),
        "raises ValueError: cannot convert float NaN to integer",
    ),
    "it raises when refused": (
        "enduring",
        HEAD + REACT + "        for outcome in seen.outcomes:\n"
        '            assert outcome.status != "expired"\n' + SAY,
        "while there is a field where every action is expired",
    ),
    "it divides by the time since the last sight": (
        "enduring",
        HEAD + "    _t_s: float = PrivateAttr(-1.0)\n" + REACT + "        "
        "rate, self._t_s = 1 / (seen.t_s - self._t_s), seen.t_s\n" + SAY,
        "ZeroDivisionError: float division by zero",
    ),
    "it gives a string": (
        "acting",
        HEAD + REACT + '        yield "more light"\n',
        "react() gives str, which is no known action",
    ),
    "an action of its own": (
        "acting",
        HEAD + REACT + "        class Burn(Action): pass\n"
        '        yield Burn(reason="for the fun of it")\n',
        "react() gives Burn, which is no known action",
    ),
    "a shift that is not finite": (
        "acting",
        HEAD + REACT + "        for track in seen.tracks:\n"
        '            dx_um = track.features["score"]\n'
        '            yield ShiftPosition(dx_um=dx_um, reason="to the brightest")\n',
        "ShiftPosition.dx_um is no finite number",
    ),
    "an array for a number": (
        "acting",
        HEAD + REACT + "        power = np.float32(5)\n"
        '        yield SetPower(line="488", power_percent=power, reason="so dark")\n',
        "SetPower.power_percent is a float32",
    ),
    "without an end": (
        "acting",
        HEAD + REACT + '        while True:\n            yield Mark(reason="and on")\n',
        "more than 1000 actions",
    ),
    "an empty reason": (
        "explaining",
        HEAD + REACT + '        yield Mark(reason="")\n',
        "Mark has no reason",
    ),
    "a word for a reason": (
        "explaining",
        HEAD + REACT + '        yield Mark(reason="dark")\n',
        "which says too little",
    ),
    "an object for a reason": (
        "explaining",
        HEAD + REACT + '        yield Mark(reason=f"it saw {object()}")\n',
        "that no person can read",
    ),
    "unseeded chance": (
        "repeatable",
        HEAD
        + "    _drawn: object = PrivateAttr(default_factory=np.random.default_rng)\n"
        + REACT
        + '        yield Mark(reason=f"drew the number {self._drawn.random()}")\n',
        "another decision the second time",
    ),
    "a counter of its module": (
        "repeatable",
        HEAD + REACT + '        yield Mark(reason=f"sight number {next(DRAWN)}")\n',
        "another decision the second time",
    ),
    "memory that instances share": (
        "independent",
        HEAD + REACT + '        COUNTED["all"] += 1\n'
        '        yield Mark(reason=f"sight number {COUNTED}")\n',
        "react() changes COUNTED of its file",
    ),
    "memory of the class": (
        "independent",
        HEAD.replace(
            'sees."""\n',
            'sees."""\n    last: ClassVar[list] = []\n',
        )
        + REACT
        + "        self.last[:] = [seen.t_s]\n"
        + SAY,
        "react() changes Bad.last",
    ),
    "a clock": (
        "secluded",
        HEAD + REACT + "        late = time.time() < 0\n" + SAY,
        "react() uses the clock (time.time); the only time is seen.t_s",
    ),
    "a clock by its first name": (
        "secluded",
        HEAD + REACT + "        late = monotonic() < 0\n" + SAY,
        "the clock (time.monotonic)",
    ),
    "a calendar": (
        "secluded",
        HEAD + REACT + "        late = datetime.datetime.now()\n" + SAY,
        "the clock (datetime.now)",
    ),
    "a nap": (
        "secluded",
        HEAD + REACT + "        time.sleep(0)\n" + SAY,
        "the clock (time.sleep)",
    ),
    "a file, though nobody may know": (
        "secluded",
        HEAD + REACT + "        try:\n            open('no such file')\n"
        "        except OSError:\n            pass\n" + SAY,
        "react() uses files (open); a policy only yields actions",
    ),
    "a thread": (
        "secluded",
        HEAD + REACT + "        threading.Thread(target=int).start()\n" + SAY,
        "threads (threading)",
    ),
    "the dice of all": (
        "secluded",
        HEAD + REACT + "        random.random()\n" + SAY,
        "chance (the module random); take self.context.rng()",
    ),
    "the dice of all by its first name": (
        "secluded",
        HEAD + REACT + "        gauss(0, 1)\n" + SAY,
        "chance (the module random)",
    ),
    "numpy's dice of all": (
        "secluded",
        HEAD + REACT + "        np.random.normal()\n" + SAY,
        "chance (numpy.random without a generator)",
    ),
    "it paints over what it sees": (
        "secluded",
        HEAD + REACT + '        seen.measurements["seen"] = 1.0\n' + SAY,
        "react() changes the observation",
    ),
    "a lock": (
        "copied",
        HEAD
        + "    _lock: object = PrivateAttr(default_factory=threading.Lock)\n"
        + REACT
        + SAY,
        "its state cannot be copied (TypeError",
    ),
    "memory in a closure": (
        "copied",
        HEAD + "    _count: object = PrivateAttr()\n"
        "    def start(self, context):\n"
        "        super().start(context)\n"
        "        numbers = [0]\n"
        "        def count():\n"
        "            numbers[0] += 1\n"
        "            return numbers[0]\n"
        "        self._count = count\n"
        + REACT
        + '        yield Mark(reason=f"sight number {self._count()}")\n',
        "a copy does not go on as the original",
    ),
    "the hardware": (
        "imports",
        GOOD + "        import pymmcore_plus\n",
        "never the hardware",
    ),
    "another room": (
        "imports",
        GOOD + "        from smartscope.rig import Rig\n",
        "a policy needs smartscope.core and smartscope.policies only",
    ),
}


def check(tmp_path, source, **more):
    file = tmp_path / "bad.py"
    file.write_text(source, encoding="utf-8")
    return check_policy(file, **more)


def test_the_policy_that_they_are_made_of_is_good(tmp_path):
    found = check(tmp_path, GOOD)
    assert str(found) == "keeps to all rules"
    assert found.acted == ("Mark",)


@pytest.mark.parametrize(("rule", "source", "words"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_caught(tmp_path, rule, source, words):
    found = check(tmp_path, source)
    said = [fault.sentence for fault in found.faults if fault.rule == rule]
    assert any(words in sentence for sentence in said), f"\n{found}"
    assert all("\n" not in sentence for sentence in said)


def test_a_policy_that_cannot_begin_says_what_it_lacks(tmp_path):
    needy = GOOD.replace("dark: float = 1.0", "dark: float")
    (fault,) = check(tmp_path, needy).faults
    assert fault == Finding("begins", "it needs dark; give the parameters to the check")
    assert not check(tmp_path, needy, parameters={"dark": 2.0}).faults
    (fault,) = check(tmp_path, "x = 1").faults
    assert (fault.rule, "holds no policy" in fault.sentence) == ("loaded", True)


HASTY = (
    HEAD
    + REACT
    + '        signal = seen.measurements.get("signal_to_noise", math.nan)\n'
    + "        if signal < 20:\n"
    + "            {wait}yield ShiftPosition(dz_um=1.0, reason='it is not sharp')\n"
)


def test_acting_twice_on_one_sight_is_advised_against(tmp_path):
    found = check(tmp_path, HASTY.replace("{wait}", ""))
    assert not found.faults
    assert [a.rule for a in found.advice] == ["patient"]
    assert "if not self.fresh(seen): return" in found.advice[0].sentence
    patient = HASTY.replace("{wait}", "if self.fresh(seen): ")
    assert not check(tmp_path, patient).advice


def test_what_is_set_to_the_same_value_again_is_no_haste(tmp_path):
    again = "SetPower(line='488', power_percent=5.0, reason='it is dark')"
    source = HASTY.replace("{wait}", "").replace(
        "ShiftPosition(dz_um=1.0, reason='it is not sharp')", again
    )
    found = check(tmp_path, source)
    assert (found.faults, found.advice) == ((), ())
    assert found.acted == ("SetPower",)


def test_the_same_complaint_is_not_repeated_without_end(tmp_path):
    source = HEAD + REACT + '        yield Mark(reason=f"{seen.t_s}")\n'
    faults = check(tmp_path, source).faults
    assert len(faults) == 6
    assert faults[-1].sentence.startswith("and ")


class Sleepy(PolicyConformance):
    policy = "follow_cell"
    parameters: ClassVar = {"track_id": 999}


def test_a_policy_that_no_story_wakes_fails_the_test_class():
    sleepy = Sleepy()
    sleepy.test_it_keeps_to_the_rules()
    with pytest.raises(AssertionError, match="no story made it act"):
        sleepy.test_it_acts_in_the_stories()


class TestReady(PolicyConformance):
    """The test class as an author writes it."""

    policy = "rate_switch"


def test_it_says_what_it_found():
    found = Conformance(faults=(Finding("acting", "no."),), advice=(Finding("a", "b"),))
    assert str(found) == "acting: no.\n(advice) a: b"
