"""Living synthetic samples, seen through true optics and a noisy camera.

A specimen is rendered from the devices' own history over the exposure window, so it
is an independent witness of where the stage was and when the light was on. It knows
the whole truth about itself at any time, and is the same for the same seed and light.
"""

from smartscope.specimen._camera import Camera
from smartscope.specimen._cells import CellSpecimen
from smartscope.specimen._dividing import DividingCells, Runner
from smartscope.specimen._optics import Optics
from smartscope.specimen._parameters import Parameters
from smartscope.specimen._registry import make_specimen, specimen_kinds
from smartscope.specimen._truth import Division, Truth, truth_rows
from smartscope.specimen._view import Specimen, SpecimenView

__all__ = [
    "Camera",
    "CellSpecimen",
    "DividingCells",
    "Division",
    "Optics",
    "Parameters",
    "Runner",
    "Specimen",
    "SpecimenView",
    "Truth",
    "make_specimen",
    "specimen_kinds",
    "truth_rows",
]
