"""A run in virtual time for a test: same seed same run, and its truth beside it."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import smartscope.testing._sights as sights
import smartscope.testing._watch as watch
from smartscope.config import Experiment, Stream, load_experiment
from smartscope.core import ConfigError, Mark, SetInterval
from smartscope.testing import run_experiment
from smartscope.testing._closed_loop import _cut

DEMO = Path(__file__).parents[2] / "demo_configs"
POLICY = '''
from smartscope.core import Mark
from smartscope.policies import Policy

class Count(Policy):
    """Counts what is in sight."""

    def react(self, seen):
        yield Mark(reason=f"{len(seen.detections)} cells in sight")
'''


def experiment(tmp_path):
    (tmp_path / "count.py").write_text(POLICY, encoding="utf-8")
    return Experiment(
        name="counted",
        rig=str(DEMO / "specimen_rig.yaml"),
        acquisition={
            "channels": [{"config": "FITC", "exposure": 20}],
            "time_plan": {"interval": 2, "loops": 50},
        },
        light={"FITC": {"488": {"power_percent": 10}}},
        vision=["segment"],
        policies=[{"use": str(tmp_path / "count.py"), "name": "count"}],
    )


def reasons(done):
    requests = (r for d in done.journal.decisions for r in d.requests)
    return [request.action.reason for request in requests]


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path):
    def go(seed):
        short = experiment(tmp_path)
        return run_experiment(short, output=tmp_path, seed=seed, duration_s=4.0)

    one, again, other = go(1), go(1), go(2)
    assert one.result.outcome == "completed", one.result.message
    assert one.result.frames == 3, "at 0, 2 and 4 s"
    assert len(one.actions(Mark)) == len(one.actions(Mark, policy="count")) == 3
    assert one.actions(Mark, policy="another") == one.actions(SetInterval) == []
    assert one.actions(Mark) == sorted(one.actions(Mark))
    assert reasons(one) == reasons(again) != reasons(other)
    assert one.truth["x_um"] == again.truth["x_um"] != other.truth["x_um"]
    assert {"t_s", "x_um", "y_um"} <= set(one.truth)
    assert {"kind", "onset_s"} <= set(one.true_events)


def test_a_microscope_is_not_run_by_a_test(tmp_path):
    with pytest.raises(ConfigError, match="has no specimen, and a test must not"):
        run_experiment(
            experiment(tmp_path), rig=DEMO / "demo_rig.yaml", output=tmp_path
        )


def test_what_is_cut_keeps_its_interval():
    plan = load_experiment("quickstart").acquisition
    cut = _cut(plan, 90.0)
    assert [event.min_start_time for event in cut] == [0, 20, 40, 60, 80]
    assert cut.channels == plan.channels
    stream = _cut(Stream(exposure_ms=5, frames=100), 1.5)
    assert (stream.frames, stream.duration_s) == (None, 1.5)
    many = plan.replace(time_plan=[{"interval": 1, "loops": 2}] * 2)
    with pytest.raises(ConfigError, match="no single interval"):
        _cut(many, 5.0)


def test_the_examples_in_the_documentation():
    for module, number in ((sights, 4), (watch, 3)):
        assert doctest.testmod(module) == (0, number)
