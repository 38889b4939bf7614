"""Decoders: from the raw outputs of a model to objects, points and events.

Pure functions of arrays; no runtime, no configuration. Images are ``(y, x)``, several
maps ``(map, y, x)``, float32; points are in full-resolution pixels, a pixel's centre
at its index. What comes in is finite: whoever runs the model has refused NaN before.
Empty and all-zero maps give no objects, never an error. Ties are broken by raster
order, so the same maps always give the same answer.

OpenCV does the heavy parts with the threads that the process allows it; its setting is
global, so nothing here touches it: a run sets ``cv2.setNumThreads(1)`` once.

Models whose maps are smaller than the image by a whole factor ``grid`` give one sample
for every `grid`-th pixel: element ``(i, j)`` stands for pixel ``(i * grid, j * grid)``.
"""

from smartscope.vision.decode._classes import classes_of
from smartscope.vision.decode._emitters import (
    Emitters,
    density_to_emitters,
    maps_to_emitters,
)
from smartscope.vision.decode._events import EventFinder, FoundEvent
from smartscope.vision.decode._flows import flows_to_labels
from smartscope.vision.decode._masks import masks_to_labels
from smartscope.vision.decode._points import Points, heat_to_points
from smartscope.vision.decode._stars import Stars, rays_to_labels

__all__ = [
    "Emitters",
    "EventFinder",
    "FoundEvent",
    "Points",
    "Stars",
    "classes_of",
    "density_to_emitters",
    "flows_to_labels",
    "heat_to_points",
    "maps_to_emitters",
    "masks_to_labels",
    "rays_to_labels",
]
