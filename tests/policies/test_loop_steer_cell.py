"""A real run: light through an SLM, a cell whose edge follows it, vision between."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from smartscope import replay
from smartscope.config import load_experiment
from smartscope.core import ShowPattern
from smartscope.testing import run_experiment

CORNERS = np.array([[0.0, 0.0], [15.0, 0.0], [15.0, 12.0]])
RADIUS_UM = 12.0


def beside_um(places):
    """Distance of each place from the path."""
    fine = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(CORNERS)])
    return np.linalg.norm(places[:, None] - fine, axis=2).min(axis=1)


def walk(tmp_path, experiment):
    done = run_experiment(experiment, output=tmp_path, seed=3, duration_s=357.0)
    assert done.result.outcome == "completed", done.result.message
    return done, np.column_stack([done.truth["x_um"], done.truth["y_um"]])


def test_the_cell_goes_round_the_corner(tmp_path):
    experiment = load_experiment("steer_cell")
    done, places = walk(tmp_path, experiment)
    assert len(done.actions(ShowPattern)) > 80
    begun = places - places[0]
    assert np.linalg.norm(begun - CORNERS[-1], axis=1).min() < 3.0, "it arrives"
    assert beside_um(begun).max() < 0.5 * RADIUS_UM
    corner = np.linalg.norm(begun - CORNERS[1], axis=1).min()
    assert corner < 6.0, "around the corner, not across"
    assert replay(done.result.path).identical
    _, alone = walk(tmp_path, experiment.model_copy(update={"policies": ()}))
    left = np.linalg.norm(alone - alone[0] - CORNERS[-1], axis=1)
    assert left.min() > 10.0, "without light it stays about where it is"
