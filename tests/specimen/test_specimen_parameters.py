"""What a user can get wrong in the specimen section of a rig file."""

from __future__ import annotations

import pytest

from smartscope.core import ConfigError
from smartscope.specimen import DividingCells, make_specimen, specimen_kinds


def _refused(**parameters):
    with pytest.raises(ConfigError) as caught:
        make_specimen("dividing_cells", seed=1, parameters=parameters)
    return caught.value


def test_kinds_are_listed_and_a_misspelt_one_is_refused_with_the_right_one():
    assert "dividing_cells" in specimen_kinds()
    assert list(specimen_kinds()) == sorted(specimen_kinds())
    with pytest.raises(ConfigError, match="did you mean 'dividing_cells'") as caught:
        make_specimen("dividing_cell", seed=1, parameters={})
    assert caught.value.field == "specimen.kind"


def test_an_unknown_key_is_named_with_near_matches():
    error = _refused(nuclues_um=5)
    assert error.field == "specimen.nuclues_um"
    assert "nucleus_um" in error.fix


def test_an_unknown_key_in_a_section_is_looked_up_in_that_section():
    error = _refused(camera={"gain": 1})
    assert error.field == "specimen.camera.gain"
    assert "gain_e_per_adu" in error.fix
    error = _refused(runner={"speed": 1})
    assert error.field == "specimen.runner.speed"
    assert "speed_um_s" in error.fix


def test_a_key_that_resembles_nothing_gets_the_whole_list():
    error = _refused(qqqq=1)
    assert "known are" in error.fix
    assert "photons_per_ms" in error.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cells", -1),
        ("nucleus_um", 0),
        ("vignetting", 1.5),
        ("area_um", [100]),
        ("photons_per_ms", "bright"),
        ("bleach_half_dose", float("nan")),
    ],
)
def test_a_wrong_value_is_refused_in_its_field(key, value):
    error = _refused(**{key: value})
    assert error.field.startswith(f"specimen.{key}")
    assert error.exit_code == 2


def test_yaml_lists_and_whole_numbers_are_fine():
    values = {"area_um": [300, 200], "drift_um_s": [0, 0, 0], "cells": 3}
    parameters = DividingCells.model_validate(values)
    assert parameters.area_um == (300.0, 200.0)
    assert DividingCells.model_validate(parameters.model_dump()) == parameters
