"""Experiment and rig files: YAML to validated models, unknown keys refused.

Everything that is wrong with a file, or with what is given in Python, is one
`smartscope.core.ConfigError`: file, line, field, and what to do about it.
"""

from smartscope.config._base import Bounds, LineName, Section, Span
from smartscope.config._dump import dump_experiment, dump_yaml, with_absolute_paths
from smartscope.config._experiment import (
    Errors,
    Experiment,
    PolicyUse,
    Power,
    RecordConfig,
    Safety,
    ScheduleConfig,
    StageUse,
)
from smartscope.config._explain import did_you_mean, explain, near, refuse
from smartscope.config._load import load_experiment, load_rig, rig_of
from smartscope.config._paths import (
    find_experiment,
    find_rig,
    resolve,
    shipped,
    shipped_files,
)
from smartscope.config._plan import RoiConfig, Stream
from smartscope.config._rig import (
    Affine,
    Autofocus,
    Calibration,
    CameraConfig,
    ClockConfig,
    LightLine,
    Limits,
    MicroManager,
    PropertyValue,
    Recording,
    RigConfig,
    Roles,
    Specimen,
    StageLimits,
    Timing,
)

__all__ = [
    "Affine",
    "Autofocus",
    "Bounds",
    "Calibration",
    "CameraConfig",
    "ClockConfig",
    "Errors",
    "Experiment",
    "LightLine",
    "Limits",
    "LineName",
    "MicroManager",
    "PolicyUse",
    "Power",
    "PropertyValue",
    "RecordConfig",
    "Recording",
    "RigConfig",
    "RoiConfig",
    "Roles",
    "Safety",
    "ScheduleConfig",
    "Section",
    "Span",
    "Specimen",
    "StageLimits",
    "StageUse",
    "Stream",
    "Timing",
    "did_you_mean",
    "dump_experiment",
    "dump_yaml",
    "explain",
    "find_experiment",
    "find_rig",
    "load_experiment",
    "load_rig",
    "near",
    "refuse",
    "resolve",
    "rig_of",
    "shipped",
    "shipped_files",
    "with_absolute_paths",
]
