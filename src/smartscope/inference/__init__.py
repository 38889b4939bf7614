"""Inference: model packages, and the runtimes that run them.

`load_model` reads a bioimage.io package (folder or zip) or a bare ``.onnx`` file, and
`Model.run` takes one image through it: pre-processing, padding to a size the network
accepts, the network, cropping, post-processing. What the numbers mean is said by
`Model.decoder` and done in vision. Nothing here reaches for the network, and a runtime
is imported only when a model that needs it is loaded.
"""

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._load import load_model
from smartscope.inference._model import Decoder, Model
from smartscope.inference._operations import Operation
from smartscope.inference._runtime import OnnxRuntime, Runtime, default_threads

__all__ = [
    "Axis",
    "Decoder",
    "Layout",
    "Model",
    "OnnxRuntime",
    "Operation",
    "Runtime",
    "default_threads",
    "load_model",
]
