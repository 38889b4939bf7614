"""Turns one request into frames: camera, specimen, recording."""

from smartscope.sources._base import Shot, Source
from smartscope.sources._camera import CameraSource
from smartscope.sources._losses import Lost
from smartscope.sources._recorded import Mosaic, RecordedFrames, recorded_frames
from smartscope.sources._specimen import SpecimenSource

__all__ = [
    "CameraSource",
    "Lost",
    "Mosaic",
    "RecordedFrames",
    "Shot",
    "Source",
    "SpecimenSource",
    "recorded_frames",
]
