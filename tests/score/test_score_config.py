"""The section `score`: what is refused, and that the arms differ in policies alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smartscope.config import MEASURES, load_experiment, shipped
from smartscope.core import ConfigError
from smartscope.score import Duty, arm_of, rig_with_seed, score_of, with_seed
from smartscope.score._words import WORDS

if TYPE_CHECKING:
    from pathlib import Path

SCENARIOS = sorted(
    path
    for path in (shipped("demo_configs") / "scenarios").glob("*.yaml")
    if "\nscore:" in path.read_text(encoding="utf-8")
)

HEAD = """\
name: tiny
rig: specimen_rig.yaml
acquisition: {channels: [FITC], time_plan: {interval: 20, loops: 3}}
policies: [{use: rate_switch}]
"""


def write(folder: Path, section: str, head: str = HEAD) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(f"{head}{section}", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("score: {tigger: mitosis}", "did you mean 'trigger'"),
        ("score: {window: {with_um: 3}}", "did you mean 'within_um'"),
        ("score: {arms: [policy, fixed_fast]}", "needs 'fast_interval_s'"),
        ("score: {arms: [policy, fixed_slow]}", "needs 'slow_interval_s'"),
        ("score: {arms: [none]}", "needs 'policy'"),
        ("score: {arms: [policy, slow]}", "slow"),
        ("score: {fast_interval_s: 9, slow_interval_s: 3}", "not faster"),
        ("score: {bars: [{measure: dose}]}", "exactly one of"),
        (
            "score: {bars: [{measure: dose, against: random, at_least: 1}]}",
            "not among 'arms'",
        ),
        ("score: {bars: [{measure: doze, at_least: 1}]}", "doze"),
        ("score: {seeds: {first: 10, tuning_first: 12}}", "among the published"),
    ],
)
def test_a_wrong_section_is_refused_with_its_line(
    tmp_path: Path, section: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_experiment(write(tmp_path, section))
    assert caught.value.line == 5


def test_an_experiment_without_policies_cannot_be_scored(tmp_path: Path) -> None:
    head = HEAD.replace("policies: [{use: rate_switch}]\n", "")
    with pytest.raises(ConfigError, match="no policy to score"):
        score_of(load_experiment(write(tmp_path, "", head)))


def test_a_rig_without_specimen_cannot_be_scored(tmp_path: Path) -> None:
    demo = shipped("demo_configs") / "demo_rig.yaml"
    head = HEAD.replace("specimen_rig.yaml", demo.as_posix())
    with pytest.raises(ConfigError, match="nobody knows what truly happened"):
        rig_with_seed(load_experiment(write(tmp_path, "", head)), 1)


def test_without_a_section_policies_stand_against_none(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, ""))
    assert score_of(experiment).arms == ("policy", "none")
    assert arm_of(experiment, "none").policies == ()


def test_every_measure_is_defined() -> None:
    assert set(WORDS) == set(MEASURES)


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda path: path.stem)
def test_arms_differ_in_nothing_but_the_policies(file: Path) -> None:
    experiment = load_experiment(file)
    duty = Duty(0.1, 30.0)
    plain = with_seed(experiment, 5).model_dump(exclude={"policies"})
    uses = []
    for arm in score_of(experiment).arms:
        made = with_seed(arm_of(experiment, arm, duty=duty), 5)
        assert made.model_dump(exclude={"policies"}) == plain
        assert rig_with_seed(made, 5) == rig_with_seed(experiment, 5)
        uses.append(made.policies)
    assert uses[0] == experiment.policies
    assert len(set(map(str, uses))) == len(uses)


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda path: path.stem)
def test_seeds_for_tuning_are_never_published(file: Path) -> None:
    seeds = score_of(load_experiment(file)).seeds
    published = range(seeds.first, seeds.first + seeds.published)
    assert seeds.tuning_first not in published
    assert seeds.published >= 20


def test_the_random_arm_needs_the_duty_of_the_policy() -> None:
    experiment = load_experiment(SCENARIOS[0])
    with pytest.raises(ConfigError, match="needs the duty"):
        arm_of(experiment, "random")
