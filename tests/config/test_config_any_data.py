"""Whatever a file says, it becomes a model or one clear refusal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import useq
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope.config import Experiment, RigConfig, load_experiment, load_rig
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

# The same examples everywhere, however busy the machine is.
STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
GOOD: dict[str, Any] = {
    "name": "a",
    "rig": "rig.yaml",
    "acquisition": {
        "channels": [{"config": "F", "exposure": 5}],
        "time_plan": {"interval": 1, "loops": 2},
        "stage_positions": [{"x": 1, "sequence": {"z_plan": {"range": 1, "step": 1}}}],
        "setup": {"properties": [["A", "B", 1]]},
    },
    "light": {"F": {"488": {"power_percent": 5}}},
    "vision": [{"segment": {"on": {"channel": "F"}}}],
    "policies": [{"use": "rate_switch"}],
    "safety": {"focus_um": [0, 1]},
}
GOOD_RIG: dict[str, Any] = {
    "name": "a",
    "micromanager": {"config": "demo.cfg"},
    "roles": {"camera": "C"},
    "light": {"488": {"power": ["L", "V"], "calibration": {"10x": [[0, 0], [1, 1]]}}},
    "safe_state": [["L", "V", 0]],
    "limits": {"power_mw": {"488": 1}, "stage_um": {"x": [0, 1], "y": [0, 1]}},
    "calibration": {"10x": {"pixel_um": 1, "affine": [[1, 0], [0, 1]]}},
}


def keys_of(models: tuple[type[BaseModel], ...]) -> list[str]:
    return sorted({name for model in models for name in model.model_fields})


PARTS = (Experiment, RigConfig, useq.MDASequence, useq.MDAEvent, useq.Position,
         useq.Channel, useq.ZRangeAround, useq.ZTopBottom, useq.TIntervalLoops,
         useq.TIntervalDuration, useq.MultiPhaseTimePlan, useq.GridRowsColumns,
         useq.GridFromEdges, useq.GridFromPolygon, useq.RandomPoints,
         useq.WellPlatePlan, useq.WellPlate, useq.AxesBasedAF,
         useq.CustomAction)  # fmt: skip
KEYS = st.sampled_from([*keys_of(PARTS), "use", "on", "useq", "stream", "plate"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.just(10**30)
    | st.floats(-10, 10)
    | st.sampled_from([float("inf"), float("nan"), 1e300, -1e300, 1e-300])
    | st.sampled_from(["FITC", "tpcz", "5", "0:00:05", "96-well", "spiral", "", "p"])
    | st.text(max_size=4)
)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=14,
)


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(data, dict | list):
        return [here]
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    return [here, *(p for k, v in inner for p in places(v, (*here, k)))]


def replaced(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[place[0]] = replaced(data[place[0]], place[1:], value)
    return copy


def outcome(build: Any, data: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # useq warns of odd plans
        try:
            build(data)
        except ConfigError as error:
            assert str(error) and "\n" not in error.problem
            assert "pydantic" not in str(error)
            return "refused"
        return "model"


@settings(STEADY, max_examples=150)
@given(data=st.dictionaries(KEYS, ANY, max_size=6))
def test_any_mapping(data: dict[str, Any]) -> None:
    outcome(Experiment.model_validate, data)
    outcome(RigConfig.model_validate, data)


@settings(STEADY, max_examples=400)
@given(place=st.sampled_from(places(GOOD)), value=ANY)
def test_anything_anywhere_in_an_experiment(place: tuple[Any, ...], value: Any) -> None:
    outcome(Experiment.model_validate, replaced(GOOD, place, value))


@settings(STEADY, max_examples=200)
@given(place=st.sampled_from(places(GOOD_RIG)), value=ANY)
def test_anything_anywhere_in_a_rig(place: tuple[Any, ...], value: Any) -> None:
    outcome(RigConfig.model_validate, replaced(GOOD_RIG, place, value))


@settings(STEADY, max_examples=300)
@given(plan=st.dictionaries(st.sampled_from(keys_of((useq.MDASequence,))), ANY))
def test_any_plan(plan: dict[str, Any]) -> None:
    outcome(Experiment.model_validate, {**GOOD, "acquisition": plan})


@settings(STEADY, max_examples=150)
@given(data=ANY)
def test_any_file(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    outcome(load_experiment, path)
    outcome(load_rig, path)


@settings(STEADY, max_examples=150)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    assert outcome(load_experiment, path) == "refused"


def test_the_good_ones_are_good() -> None:
    assert outcome(Experiment.model_validate, GOOD) == "model"
    assert outcome(RigConfig.model_validate, GOOD_RIG) == "model"


@pytest.mark.parametrize("good", [GOOD, GOOD_RIG], ids=["experiment", "rig"])
def test_a_stray_key_is_refused_at_every_depth(good: dict[str, Any]) -> None:
    model = Experiment if "acquisition" in good else RigConfig
    tried = 0
    for place in places(good):
        part: Any = good
        for key in place:
            part = part[key]
        # Names the user chooses, and what belongs to a stage or a policy, are free.
        free = place[:1] in [("vision",), ("policies",)] or place in [
            ("light",), ("light", "F"), ("calibration",), ("limits", "power_mw"),
            ("light", "488", "calibration"),
        ]  # fmt: skip
        if isinstance(part, dict) and not free:
            wrong = replaced(good, place, {**part, "qwertz": 1})
            with pytest.raises(ConfigError, match="unknown key 'qwertz'"):
                model.model_validate(wrong)
            tried += 1
    assert tried >= 7


def test_windows_paths_are_paths() -> None:
    made = Experiment.model_validate({**GOOD, "rig": r"C:\rigs\rig.yaml"})
    assert made.rig == Path(r"C:\rigs\rig.yaml")
