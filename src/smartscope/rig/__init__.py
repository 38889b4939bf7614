"""The microscope: opens a Micro-Manager core, knows roles and state, and acts.

`Rig.open` checks a rig file against the devices that are there. `Rig.state` says what
the rig is like without asking it, `Rig.actuator` is the only way to change it, and
`Rig.apply_safe_state` switches everything off from any thread.

Import this room before pymmcore_plus: it keeps that import from opening a log file and
from setting the root logger to DEBUG.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from smartscope.rig._actuator import Actuator
from smartscope.rig._cache import ExternalChange
from smartscope.rig._capabilities import Capabilities
from smartscope.rig._cfg import Configuration, check_configuration
from smartscope.rig._commands import Command
from smartscope.rig._geometry import Geometry
from smartscope.rig._light import LightScale
from smartscope.rig._mmcore import create_core
from smartscope.rig._quiet import import_quietly
from smartscope.rig._rig import Rig
from smartscope.rig._roles import Devices

if TYPE_CHECKING:
    from smartscope.rig._calibrate import CalibrationResult, calibrate
    from smartscope.rig._calibrate_slm import SlmCalibration, calibrate_slm
    from smartscope.rig._probe import ProbeReport, Rate, Verdict, probe
    from smartscope.rig._register import Shift, measure_shift

# Loaded on first use: a run needs none of them, and they take a fifth of a second.
_LATER = {
    "CalibrationResult": "_calibrate",
    "calibrate": "_calibrate",
    "SlmCalibration": "_calibrate_slm",
    "calibrate_slm": "_calibrate_slm",
    "ProbeReport": "_probe",
    "Rate": "_probe",
    "Verdict": "_probe",
    "probe": "_probe",
    "Shift": "_register",
    "measure_shift": "_register",
}

__all__ = [
    "Actuator",
    "CalibrationResult",
    "Capabilities",
    "Command",
    "Configuration",
    "Devices",
    "ExternalChange",
    "Geometry",
    "LightScale",
    "ProbeReport",
    "Rate",
    "Rig",
    "Shift",
    "SlmCalibration",
    "Verdict",
    "calibrate",
    "calibrate_slm",
    "check_configuration",
    "create_core",
    "import_quietly",
    "measure_shift",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'smartscope.rig' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smartscope.rig.{_LATER[name]}"), name)
