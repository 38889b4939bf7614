"""Living synthetic samples, seen through true optics and a noisy camera.

A specimen is rendered from the devices' own history over the exposure window, so it
is an independent witness of where the stage was and when the light was on. It knows
the whole truth about itself at any time, and is the same for the same seed and light.

Every kind is a `Biology` on one engine, `LivingSpecimen`.
"""

from smartscope.specimen._biology import Backdrop, Biology, Light, Moment, Now, Role
from smartscope.specimen._camera import Camera
from smartscope.specimen._dividing import DividingCells, Runner
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._kind_bacteria import Bacteria
from smartscope.specimen._kind_blinking_molecules import BlinkingMolecules
from smartscope.specimen._kind_calcium_cells import CalciumCells
from smartscope.specimen._kind_crawling_animal import CrawlingAnimal
from smartscope.specimen._kind_optogenetic_cell import OptogeneticCell
from smartscope.specimen._kind_rare_events_sample import RareEventsSample
from smartscope.specimen._kind_thick_sample import ThickSample
from smartscope.specimen._kind_vesicles import Vesicles
from smartscope.specimen._living import LivingSpecimen
from smartscope.specimen._mitochondria import Mitochondria
from smartscope.specimen._optics import Optics
from smartscope.specimen._parameters import Parameters
from smartscope.specimen._pattern import Pattern
from smartscope.specimen._picture import Picture
from smartscope.specimen._registry import make_specimen, specimen_kinds
from smartscope.specimen._sample import Debris, Sample
from smartscope.specimen._threads import thread_count, use_threads
from smartscope.specimen._truth import Division, Truth, truth_rows
from smartscope.specimen._view import Specimen, SpecimenView

__all__ = [
    "Backdrop",
    "Bacteria",
    "Biology",
    "BlinkingMolecules",
    "CalciumCells",
    "Camera",
    "CrawlingAnimal",
    "Debris",
    "DividingCells",
    "Division",
    "Light",
    "LivingSpecimen",
    "Mitochondria",
    "Moment",
    "Now",
    "Optics",
    "OptogeneticCell",
    "Parameters",
    "Pattern",
    "Picture",
    "RareEventsSample",
    "Role",
    "Runner",
    "Sample",
    "Specimen",
    "SpecimenView",
    "ThickSample",
    "TrueEvent",
    "Truth",
    "Vesicles",
    "make_specimen",
    "specimen_kinds",
    "thread_count",
    "truth_rows",
    "use_threads",
]
