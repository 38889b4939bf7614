"""Real runs that end by themselves, each for another reason."""

from __future__ import annotations

import pytest

from smartscope.config import load_experiment
from smartscope.core import Stop
from smartscope.testing import run_experiment


def film(tmp_path, **rules):
    """The run with these rules only, and its last frame, s."""
    experiment = load_experiment("stop_rule")
    (use,) = experiment.policies
    use = use.model_copy(update={"parameters": rules})
    done = run_experiment(
        experiment.model_copy(update={"policies": [use]}),
        output=tmp_path,
        seed=3,
        duration_s=300.0,
    )
    start_ns = next(done.journal.entries("start"))["start_ns"]
    last = list(done.journal.frames)[-1]
    return done, (last.t_exposed_ns - start_ns) / 1e9


@pytest.mark.parametrize(
    ("rules", "until_s"),
    [
        ({"cells": 20}, 20.0),  # all in sight count with their third frame
        ({"time_s": 100}, 100.0),
        # 20 % for 0.1 s each: 2 percent-seconds a frame, 15 frames
        ({"dose_percent_s": 30}, 140.0),
        ({"signal": 5, "sights": 4}, 30.0),
    ],
)
def test_it_ends_when_there_is_enough(tmp_path, rules, until_s):
    done, last_s = film(tmp_path, **rules)
    assert done.actions(Stop)
    assert last_s == pytest.approx(until_s, abs=0.5)


def test_without_enough_the_plan_goes_to_its_end(tmp_path):
    done, last_s = film(tmp_path, cells=1000, events=1000, dose_percent_s=1e6)
    assert not done.actions(Stop)
    assert done.result.outcome == "completed"
    assert last_s == pytest.approx(300.0, abs=0.5)
