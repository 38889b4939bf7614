"""Recipes that turn images with truth into model packages.

A recipe goes ``NucleiConfig -> train_nuclei -> evaluate -> export_nuclei``; the command
``python -m smartscope.training nuclei --data FOLDER --output FOLDER`` does all of it.
The same data, seed and version of torch give the same weights but for rounding. Nothing
here is needed to run a model, and torch is imported only when something is trained.
"""

from smartscope.training._data import (
    Crops,
    Pair,
    StarBatches,
    diameter_px,
    read_pairs,
    scale_range,
    split,
)
from smartscope.training._export import Release, Tensors, to_onnx, write_release
from smartscope.training._metrics import Matching, match, overlaps, pooled
from smartscope.training._nuclei import (
    Cut,
    NucleiConfig,
    Parts,
    Scores,
    TrainedNuclei,
    choose_cut,
    committed,
    evaluate,
    evaluate_package,
    parts_of,
    predict,
    score,
    train_nuclei,
)
from smartscope.training._nuclei_release import export_nuclei
from smartscope.training._rays import RayTable, ray_table

__all__ = [
    "Crops",
    "Cut",
    "Matching",
    "NucleiConfig",
    "Pair",
    "Parts",
    "RayTable",
    "Release",
    "Scores",
    "StarBatches",
    "Tensors",
    "TrainedNuclei",
    "choose_cut",
    "committed",
    "diameter_px",
    "evaluate",
    "evaluate_package",
    "export_nuclei",
    "match",
    "overlaps",
    "parts_of",
    "pooled",
    "predict",
    "ray_table",
    "read_pairs",
    "scale_range",
    "score",
    "split",
    "to_onnx",
    "train_nuclei",
    "write_release",
]
