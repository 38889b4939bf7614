"""A core that a function makes is a rig; anything else is refused in a sentence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymmcore_plus import CMMCorePlus
from rig_helpers import DEMOS, rig_config

from smartscope.config import MicroManager
from smartscope.core import ConfigError, VirtualClock
from smartscope.rig import Rig, check_configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smartscope.config import RigConfig

MODULE = """
from pymmcore_plus import CMMCorePlus

MADE = []

def scope():
    core = CMMCorePlus()
    core.loadSystemConfiguration({cfg!r})
    MADE.append(core)
    return core

def nothing():
    return None

def broken():
    raise OSError("the dongle is missing")

NUMBER = 3
"""


@pytest.fixture
def virtual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with the module `virtual_scope`, as somebody would put it there."""
    text = MODULE.format(cfg=str(_cfg()))
    (tmp_path / "virtual_scope.py").write_text(text, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("virtual_scope", None)


def _cfg() -> Path:
    opened = rig_config().micromanager
    assert opened is not None
    assert opened.config is not None
    return DEMOS / opened.config


def _from(factory: str) -> RigConfig:
    opened = MicroManager(factory=factory)
    return rig_config().model_copy(update={"micromanager": opened})


def test_a_factory_makes_the_microscope(virtual: Path, open_rig: Callable[..., Rig]):
    before = CMMCorePlus.instance()
    config = _from("virtual_scope:scope")
    check_configuration(config, base_dir=virtual)
    assert "scope" in dir(sys.modules["virtual_scope"])
    assert not sys.modules["virtual_scope"].MADE, "a check opens nothing"
    rig = Rig.open(config, VirtualClock(), base_dir=virtual)
    try:
        assert [rig.core] == sys.modules["virtual_scope"].MADE
        assert CMMCorePlus.instance() is before
        assert rig.can("stage")
        assert not rig.core.getAutoShutter()
        rig.core.snapImage()
        image = rig.core.getImage()
        assert image.shape == rig.sensor_shape
        assert np.ptp(image) > 0
    finally:
        rig.close()
    assert rig.core.getLoadedDevices() == ("Core",)
    assert str(virtual) not in sys.path


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("no_such_scope:scope", "the module 'no_such_scope' cannot be imported"),
        ("virtual_scope:missing", "has no function 'missing'"),
        ("virtual_scope:NUMBER", "has no function 'NUMBER'"),
        ("virtual_scope:nothing", "virtual_scope:nothing returned a NoneType"),
        ("virtual_scope:broken", "failed (the dongle is missing)"),
    ],
)
def test_what_is_no_factory_is_refused(virtual: Path, factory: str, words: str):
    with pytest.raises(ConfigError) as caught:
        Rig.open(_from(factory), VirtualClock(), base_dir=virtual)
    assert words in str(caught.value)
    assert caught.value.field == "micromanager.factory"
    assert caught.value.fix


def test_a_device_the_factory_did_not_load_is_named(virtual: Path):
    config = _from("virtual_scope:scope")
    roles = config.roles
    assert roles is not None
    wrong = roles.model_copy(update={"stage": "Stge"})
    with pytest.raises(ConfigError, match=r"Stge.*virtual_scope:scope"):
        Rig.open(
            config.model_copy(update={"roles": wrong}),
            VirtualClock(),
            base_dir=virtual,
        )


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "exactly one of 'config' and 'factory'"),
        ({"config": "a.cfg", "factory": "a:b"}, "exactly one of"),
        ({"factory": "a.b"}, "'a.b' is not 'module:function'"),
        ({"factory": "a:b", "adapter_paths": ["x"]}, "finds its device adapters"),
    ],
)
def test_the_section_names_one_source(section: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        MicroManager.model_validate(section)
