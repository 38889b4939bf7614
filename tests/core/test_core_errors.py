"""Errors say what is wrong, where, and what to do."""

from __future__ import annotations

import pickle

import pytest

from smartscope import core
from smartscope.core import ConfigError, HardwareError, SmartscopeError


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "it is wrong"),
        ({"fix": "mend it"}, "it is wrong; mend it"),
        ({"file": "e.yaml"}, "e.yaml: it is wrong"),
        ({"file": "e.yaml", "line": 3}, "e.yaml, line 3: it is wrong"),
        ({"line": 3}, "it is wrong"),
        ({"field": "a.b", "fix": "mend it"}, "a.b: it is wrong; mend it"),
        (
            {"file": "e.yaml", "line": 3, "field": "a.b", "fix": "mend it"},
            "e.yaml, line 3: a.b: it is wrong; mend it",
        ),
    ],
)
def test_the_sentence_of_a_wrong_file(place: dict[str, object], text: str) -> None:
    error = ConfigError("it is wrong", **place)  # type: ignore[arg-type]
    assert str(error) == text
    assert error.problem == "it is wrong"
    assert {k: getattr(error, k) for k in place} == place


def test_a_device_is_named() -> None:
    assert str(HardwareError("no answer", device="XY")) == "XY: no answer"
    assert str(HardwareError("no answer")) == "no answer"
    assert HardwareError("no answer", device="XY").device == "XY"


def test_each_error_has_an_exit_code_of_its_own() -> None:
    kinds = [
        kind
        for name in core.__all__
        if isinstance(kind := getattr(core, name), type)
        and issubclass(kind, SmartscopeError)
    ]
    codes = [kind.exit_code for kind in kinds]
    assert len(kinds) == 9
    assert sorted(codes) == list(range(1, 10))


def test_errors_cross_a_process_border() -> None:
    config = ConfigError("a", file="f", field="b", line=1, fix="c")
    hardware = HardwareError("a", device="XY")
    for error in (config, hardware):
        back = pickle.loads(pickle.dumps(error))
        assert str(back) == str(error)
        assert vars(back) == vars(error)
