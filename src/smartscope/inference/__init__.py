"""Inference: model packages, and the runtimes that run them.

`load_model` reads a bioimage.io package (folder or zip), a bare ``.onnx`` file or a
ZEISS ``.czann``, and `Model.run` takes one image through it: pre-processing, padding
or tiling to sizes the network accepts, the network, cropping, post-processing. What
the numbers mean is said by `Model.decoder` and done in vision. Nothing here reaches
for the network, and a runtime is imported only when a model that needs it is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smartscope.inference._axes import Axis, Layout
    from smartscope.inference._card import Card, Decoder
    from smartscope.inference._choose import choose, deviation
    from smartscope.inference._czann import read_czann, write_czann
    from smartscope.inference._domain import Domain, Familiarity
    from smartscope.inference._engines import ALL_CAPABILITIES
    from smartscope.inference._fold import Folding
    from smartscope.inference._frame_statistics import FrameStatistics, frame_statistics
    from smartscope.inference._import import Answers, import_model
    from smartscope.inference._library import (
        Entry,
        find_model,
        list_models,
        user_folder,
    )
    from smartscope.inference._load import load_model
    from smartscope.inference._model import Model, Tests
    from smartscope.inference._opening import Agreement, agreement, tolerance_of
    from smartscope.inference._openvino import OpenVinoRuntime
    from smartscope.inference._operations import Context, Operation
    from smartscope.inference._ort import OrtRuntime
    from smartscope.inference._package import open_package
    from smartscope.inference._plain_call import plain_call
    from smartscope.inference._protocol import Port, Precision, Runtime, Weights
    from smartscope.inference._quantise import quantise
    from smartscope.inference._rdf import Description, TensorSpec, open_description
    from smartscope.inference._registry import RUNTIMES, available, open_runtime
    from smartscope.inference._remote import RemoteRuntime, is_remote, remote_settings
    from smartscope.inference._runtime import default_threads
    from smartscope.inference._synthetic import synthetic_image
    from smartscope.inference._torch import TorchRuntime
    from smartscope.inference._trt_report import BuildReport, build
    from smartscope.inference._verdicts import Trial, Verdict, cache_folder
    from smartscope.inference._weights import register_layout
    from smartscope.inference._weights_onnx import OnnxFacts, check_onnx
    from smartscope.inference._write import (
        Content,
        export_package,
        read_content,
        write_package,
    )
    from smartscope.inference._write_make import describe_tensor, with_tests

_WHERE = {
    "ALL_CAPABILITIES": "_engines",
    "Agreement": "_opening",
    "Answers": "_import",
    "Axis": "_axes",
    "BuildReport": "_trt_report",
    "Card": "_card",
    "Content": "_write",
    "Context": "_operations",
    "Decoder": "_card",
    "Description": "_rdf",
    "Domain": "_domain",
    "Entry": "_library",
    "Familiarity": "_domain",
    "Folding": "_fold",
    "FrameStatistics": "_frame_statistics",
    "Layout": "_axes",
    "Model": "_model",
    "OnnxFacts": "_weights_onnx",
    "OpenVinoRuntime": "_openvino",
    "Operation": "_operations",
    "OrtRuntime": "_ort",
    "Port": "_protocol",
    "Precision": "_protocol",
    "RUNTIMES": "_registry",
    "RemoteRuntime": "_remote",
    "Runtime": "_protocol",
    "TensorSpec": "_rdf",
    "Tests": "_model",
    "TorchRuntime": "_torch",
    "Trial": "_verdicts",
    "Verdict": "_verdicts",
    "Weights": "_protocol",
    "agreement": "_opening",
    "available": "_registry",
    "build": "_trt_report",
    "cache_folder": "_verdicts",
    "check_onnx": "_weights_onnx",
    "choose": "_choose",
    "default_threads": "_runtime",
    "describe_tensor": "_write_make",
    "deviation": "_choose",
    "export_package": "_write",
    "find_model": "_library",
    "frame_statistics": "_frame_statistics",
    "import_model": "_import",
    "is_remote": "_remote",
    "list_models": "_library",
    "load_model": "_load",
    "open_description": "_rdf",
    "open_package": "_package",
    "open_runtime": "_registry",
    "plain_call": "_plain_call",
    "quantise": "_quantise",
    "read_content": "_write",
    "read_czann": "_czann",
    "register_layout": "_weights",
    "remote_settings": "_remote",
    "synthetic_image": "_synthetic",
    "tolerance_of": "_opening",
    "user_folder": "_library",
    "with_tests": "_write_make",
    "write_czann": "_czann",
    "write_package": "_write",
}

__all__ = [
    "ALL_CAPABILITIES",
    "RUNTIMES",
    "Agreement",
    "Answers",
    "Axis",
    "BuildReport",
    "Card",
    "Content",
    "Context",
    "Decoder",
    "Description",
    "Domain",
    "Entry",
    "Familiarity",
    "Folding",
    "FrameStatistics",
    "Layout",
    "Model",
    "OnnxFacts",
    "OpenVinoRuntime",
    "Operation",
    "OrtRuntime",
    "Port",
    "Precision",
    "RemoteRuntime",
    "Runtime",
    "TensorSpec",
    "Tests",
    "TorchRuntime",
    "Trial",
    "Verdict",
    "Weights",
    "agreement",
    "available",
    "build",
    "cache_folder",
    "check_onnx",
    "choose",
    "default_threads",
    "describe_tensor",
    "deviation",
    "export_package",
    "find_model",
    "frame_statistics",
    "import_model",
    "is_remote",
    "list_models",
    "load_model",
    "open_description",
    "open_package",
    "open_runtime",
    "plain_call",
    "quantise",
    "read_content",
    "read_czann",
    "register_layout",
    "remote_settings",
    "synthetic_image",
    "tolerance_of",
    "user_folder",
    "with_tests",
    "write_czann",
    "write_package",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a run without models pays for none of it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
