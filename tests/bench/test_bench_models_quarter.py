"""Full light against a quarter of it, in small: ways, films, counts, tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from smartscope.bench import (
    QuarterLight,
    quarter_light,
    quarter_to_json,
    quarter_to_markdown,
    quarter_to_text,
)
from smartscope.bench._quarter import (
    BOTH,
    DENOISE_ONLY,
    DETECT_ONLY,
    FILTERED,
    PLAIN_FULL,
    PLAIN_QUARTER,
    Film,
    arms_of,
)
from smartscope.bench._quarter_score import Rule, Score
from smartscope.config import load_experiment, shipped
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

DEMO = shipped("demo_configs")
FULL, QUARTER = DEMO / "full_light.yaml", DEMO / "quarter_light.yaml"


def test_the_two_films_differ_in_light_and_vision_alone() -> None:
    full, quarter = load_experiment(FULL), load_experiment(QUARTER)
    arms = {arm.name: arm.experiment for arm in arms_of(full, quarter)}
    power = {
        name: experiment.light["FITC"]["488"].power_percent
        for name, experiment in arms.items()
    }
    assert power.pop(PLAIN_FULL) == 4 * power[BOTH]
    assert len(set(power.values())) == 1

    def stages(name: str) -> list[tuple[str, bool]]:
        return [(s.use, "model" in s.parameters) for s in arms[name].vision]

    plain = [(s.use, False) for s in full.vision]
    learned = [("segment", True), ("measure", False), ("track", False)]
    assert stages(PLAIN_FULL) == stages(PLAIN_QUARTER) == plain
    assert stages(BOTH)[:4] == [("denoise", True), *learned]
    assert stages(DENOISE_ONLY) == [("denoise", True), *plain]
    assert stages(DETECT_ONLY)[:3] == learned
    assert stages(FILTERED) == [("denoise", False), *plain]
    assert full.policies == quarter.policies == ()


def test_films_that_differ_otherwise_are_refused() -> None:
    full, quarter = load_experiment(FULL), load_experiment(QUARTER)
    other = quarter.model_copy(update={"acquisition": None})
    with pytest.raises(ConfigError, match="differ in 'acquisition'"):
        arms_of(full, other)
    with pytest.raises(ConfigError, match="has no denoise stage"):
        arms_of(full, quarter.model_copy(update={"vision": full.vision}))


def small(path: Path, folder: Path, **models: str) -> Path:
    """The shipped experiment over a few frames, with other models."""
    made = load_experiment(path)
    plan = made.acquisition.replace(time_plan={"interval": 10, "loops": 6})
    stages = [
        s.model_copy(update={"parameters": s.parameters | {"model": models[s.use]}})
        if "model" in s.parameters
        else s
        for s in made.vision
    ]
    data = made.model_dump(mode="json", exclude={"acquisition", "vision"})
    data["rig"] = str(DEMO / "specimen_rig.yaml")
    data["acquisition"] = json.loads(plan.model_dump_json(exclude_unset=True))
    data["vision"] = [s.model_dump(mode="json") for s in stages]
    data.pop("source_file", None)
    target = folder / path.name
    target.write_text(json.dumps(data))
    return target


def test_every_specimen_is_filmed_in_every_way(tmp_path, denoiser, detector) -> None:
    said: list[str] = []
    made = quarter_light(
        [900_001, 900_002],
        full=small(FULL, tmp_path),
        quarter=small(QUARTER, tmp_path, denoise=denoiser, segment=detector),
        scratch=tmp_path,
        progress=said.append,
    )
    assert made.arms == (
        PLAIN_FULL,
        PLAIN_QUARTER,
        BOTH,
        DENOISE_ONLY,
        DETECT_ONLY,
        FILTERED,
    )
    assert len(said) == len(made.films) == 12
    assert [film.seed for film in made.of(BOTH)] == [900_001, 900_002]
    quarter, full = made.dose_j_cm2(BOTH), made.dose_j_cm2(PLAIN_FULL)
    assert full is not None and full > 0
    assert quarter == pytest.approx(full / 4)
    assert made.of(BOTH)[0].models.keys() == {"denoise", "segment"}
    assert made.of(PLAIN_QUARTER)[0].models == {}
    # A film of a minute has no division that anybody is asked for.
    assert made.total(BOTH).true == 0
    assert made.differences()["recall"] is None
    assert made.rule.half_um == (256.0, 256.0)
    assert made.rule.last_s == pytest.approx(50.0, abs=0.1)
    text, plain = quarter_to_text(made), quarter_to_json(made)
    assert "Nothing to compare" in text
    assert "segment: above 1.2.3 on " in text
    assert "| denoise only, quarter |" in quarter_to_markdown(made)
    ways = json.loads(json.dumps(plain))["ways"]
    assert [way["dose_j_cm2"] for way in ways][1:] == [quarter] * 5
    assert not list(tmp_path.glob("smartscope-quarter-*")), "nothing is left behind"


def test_counts_of_films_add_up() -> None:
    def films(arm: str, one: Score) -> list[Film]:
        return [Film(arm, seed, one, 0.5, {"denoise": "x"}, 0.25) for seed in (1, 2)]

    made = QuarterLight(
        films=(*films(BOTH, Score(4, 4, 1)), *films(PLAIN_FULL, Score(5, 4, 0))),
        arms=(PLAIN_FULL, BOTH),
        seeds=(1, 2),
        rule=Rule(half_um=(256.0, 256.0), last_s=1190.0),
        started="2026-11-22 12:00",
        took_s=60.0,
        commit=None,
    )
    assert made.total(BOTH) == Score(8, 8, 2)
    found = made.differences()
    assert found["recall"] is not None and found["precision"] is not None
    assert found["recall"].value == pytest.approx(0.2)
    assert found["precision"].value == pytest.approx(-0.2)
    assert found["recall"].low < 0.2 < found["recall"].high
    text = quarter_to_text(made)
    assert "recall +0.200, with 95 % confidence no less than" in text
    assert "begin and end at least 60 s after" in text
    way = quarter_to_json(made)["ways"][1]
    assert (way["recall"], way["precision"], way["unfamiliar"]) == (1.0, 0.8, 0.25)
