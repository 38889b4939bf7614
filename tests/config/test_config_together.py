"""Phases, arms, leases, positions in the experiment file: mistakes, round trip."""

from __future__ import annotations

import pytest

from smartscope.config import Experiment, Stream, dump_yaml, load_experiment
from smartscope.core import ConfigError

BASE = {
    "name": "together",
    "rig": "rig.yaml",
    "acquisition": {"channels": ["FITC"], "stage_positions": [[0, 0, 0], [1, 0, 0]]},
}
TWO = [{"name": "a"}, {"name": "b"}]


def use(name: str = "rate_switch", **fields) -> dict:
    return {"use": name, **fields}


MISTAKES = {
    "a phase nobody knows": (
        {"phases": [{"name": "look"}], "policies": [use(phase="lok")]},
        "policies[0].phase: there is no phase 'lok'; did you mean 'look'?",
    ),
    "no phases at all": (
        {"policies": [use(phase="a")]},
        "policies[0].phase: there is no phase 'a'; add it under 'phases'",
    ),
    "a phase without an end": (
        {"phases": TWO, "policies": [use(phase="b")]},
        "phases[0]: the phase 'a' never ends, and others follow; add 'after_s', "
        "'after_frames', 'on_event', or a policy that ends it",
    ),
    "two of a name": (
        {"phases": [{"name": "a", "after_s": 1}, {"name": "a"}]},
        "phases[1]: two phases are called 'a'; rename one",
    ),
    "a misspelt key of a phase": (
        {"phases": [{"name": "a", "after_frame": 3}]},
        "phases[0]: unknown key 'after_frame'; did you mean 'after_frames'?",
    ),
    "a score of nothing": (
        {"phases": [{"name": "a", "on_score": 0.5}]},
        "phases[0].on_score: 'on_score' needs 'on_event'; name the kind of event",
    ),
    "a resource nobody claims": (
        {"resources": {"stag": {"lease_s": 1}}},
        "resources.stag: there is no resource 'stag'; did you mean 'stage'?",
    ),
    "a misspelt key of a resource": (
        {"resources": {"stage": {"leases_s": 1}}},
        "resources.stage: unknown key 'leases_s'; did you mean 'lease_s'?",
    ),
    "a negative lease": (
        {"policies": [use(lease_s=-1)]},
        "policies[0].lease_s: found -1, expected at least 0",
    ),
    "one arm": (
        {"policies": [use(arm="a"), use("fixed_rate")]},
        "policies[0].arm: 'a' is the only arm, so there is nothing to compare it with; "
        "give another policy another 'arm', such as 'use: fixed_rate'",
    ),
    "an arm with positions": (
        {"policies": [use(arm="a"), use("fixed_rate", arm="b", positions=[0])]},
        "policies[1].positions: the positions of an arm are drawn by the seed; remove "
        "them",
    ),
    "arms of a stream": (
        {
            "acquisition": Stream(exposure_ms=1, frames=2),
            "policies": [use(arm="a"), use("fixed_rate", arm="b")],
        },
        "policies[0].arm: a stream has one position, and arms need one each; remove "
        "the arms",
    ),
    "a position below the first": (
        {"policies": [use(positions=[-1])]},
        "policies[0].positions[0]: found -1, expected the number or the name of a "
        "position; numbers count from 0",
    ),
    "half a position": (
        {"policies": [use(positions=[0.5])]},
        "policies[0].positions[0]: found 0.5, expected the number or the name of a "
        "position; numbers count from 0",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_clear_sentence_for_each_mistake(name) -> None:
    fields, sentence = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        Experiment(**{**BASE, **fields})
    assert str(caught.value) == sentence


def test_it_is_written_as_it_was_read(tmp_path) -> None:
    before = Experiment(
        **BASE,
        phases=[{"name": "a", "after_s": 3}, {"name": "b", "on_event": "mitosis"}],
        resources={"stage": {"lease_s": 3}, "light:488": {"rest_s": 2}},
        reload=False,
        policies=[
            use(name="x", phase="a", lease_s=0, rest_s=2, positions=["p1", 0]),
            use("fixed_rate", arm="one"),
            use("random_trigger", arm="two", phase=["a", "b"]),
        ],
    )
    file = tmp_path / "again.yaml"
    file.write_text(dump_yaml(before))
    after = load_experiment(file)
    for field in ("phases", "resources", "reload", "policies"):
        assert getattr(after, field) == getattr(before, field)
    assert after.policies[0].lease_s == 0
    assert after.policies[0].positions == ("p1", 0)


def test_a_phase_may_be_ended_by_a_policy_that_is_always_there() -> None:
    experiment = Experiment(**BASE, phases=TWO, policies=[use()])
    assert [phase.name for phase in experiment.phases] == ["a", "b"]


def test_a_line_called_by_a_number_is_a_resource() -> None:
    experiment = Experiment(**BASE, resources={"light:488": {"rest_s": 1}})
    assert list(experiment.resources) == ["light:488"]
