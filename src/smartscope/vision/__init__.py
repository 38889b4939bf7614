"""Vision: turns frames into observations through a chain of stages.

`build_pipeline` makes the chain from the ``vision:`` list of an experiment;
`Pipeline.see` takes frames one by one, gathers those that belong together over
channels and planes, and answers with what it found: detections, tracks, events,
measurements. Classical stages come with the package; subclass `Stage` for your own.
"""

from smartscope.vision._pipeline import Pipeline, build_pipeline
from smartscope.vision._regions import Regions
from smartscope.vision._registry import list_stages, load_stage_class
from smartscope.vision._stage import (
    Alarm,
    Input,
    On,
    Stage,
    StageConfig,
    StageContext,
    Workspace,
)

__all__ = [
    "Alarm",
    "Input",
    "On",
    "Pipeline",
    "Regions",
    "Stage",
    "StageConfig",
    "StageContext",
    "Workspace",
    "build_pipeline",
    "list_stages",
    "load_stage_class",
]
