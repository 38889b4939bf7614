"""Compile a network with TensorRT, with or without a card."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._engines import (
    Engine,
    EngineCard,
    EngineTensor,
    Profile,
    Recipe,
    digest_of,
    engine_key,
)
from smartscope.inference._fold import FRAME, fold, inputs_of
from smartscope.inference._protocol import Port
from smartscope.inference._quantise import quantise, to_half
from smartscope.inference._trt import TensorRt, first_words, load_tensorrt
from smartscope.inference._trt_checks import check_network, parser_refusal, read_onnx
from smartscope.inference._trt_memory import CudaDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Weights

_FP8_FROM = 89
_UNMEASURED = (
    "TensorRT for RTX documents int8 for matrix products only: "
    "measure it against fp16 before use"
)


def build_engine(
    weights: Weights,
    recipe: Recipe,
    *,
    calibration: Sequence[Sequence[NDArray[Any]]] = (),
    target: str = "",
) -> Engine:
    """Compile a network.

    Parameters
    ----------
    weights : Weights
        An ONNX file, float32 or already quantised.
    recipe : Recipe
        How to compile it.
    calibration : sequence of sequence of ndarray
        For ``int8`` and ``fp8``: for each image the tensors of all inputs, as the
        network takes them.
    target : str
        For ``tensorrt``: name and driver of the card, for the key; "" asks it.

    Returns
    -------
    Engine
        Not written anywhere yet.

    Raises
    ------
    ModelError
        TensorRT is not installed, or cannot compile this network; the sentence names
        file, node and what to do.
    """
    trt = load_tensorrt(recipe.flavour)
    _check_capabilities(trt, recipe, weights.file)
    if not trt.ahead_of_time and not target:
        target = CudaDevice(weights.file).about()
    started = time.perf_counter()
    model = prepared_network(weights, recipe, calibration)
    content, tensors = _compiled(trt, model, recipe, weights.file)
    aim = target_text(trt, recipe, target)
    key = engine_key(weights, recipe, trt.label, aim, digest_of(calibration))
    notes = (_UNMEASURED,) if recipe.precision == "int8" and trt.ahead_of_time else ()
    card = EngineCard(
        key=key,
        model=weights.file,
        onnx_sha256=weights.sha256,
        runtime=trt.label,
        target=aim,
        precision=recipe.precision,
        folding=recipe.folding.text() if recipe.folding else "",
        profiles=recipe.profiles,
        tensors=tensors,
        sha256=hashlib.sha256(content).hexdigest(),
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
    )
    return Engine(content, card)


def target_text(trt: TensorRt, recipe: Recipe, card: str) -> str:
    """Cards an engine is for, in words that go into its key."""
    if not trt.ahead_of_time:
        return card or "the card it was built on"
    return "compute capability " + ", ".join(
        f"{sm // 10}.{sm % 10}" for sm in sorted(recipe.sm)
    )


def prepared_network(
    weights: Weights,
    recipe: Recipe,
    calibration: Sequence[Sequence[NDArray[Any]]] = (),
) -> Any:
    """The network as TensorRT gets it: sizes, precision, folding, in this order.

    Raises `ModelError` as `build_engine` does.
    """
    model = read_onnx(weights)
    model = _sized(model, recipe.profiles, weights.file)
    model = _typed(model, recipe, calibration, weights)
    if recipe.folding is not None:
        model = fold(model, recipe.folding, weights.file)
    return model


def _check_capabilities(trt: TensorRt, recipe: Recipe, file: str) -> None:
    offered = trt.capabilities()
    unknown = [sm for sm in recipe.sm if offered and sm not in offered]
    if unknown:
        known = ", ".join(map(str, offered))
        raise refusal(
            f"{trt.label} does not build for compute capability {unknown[0]}",
            file=file,
            fix=f"use some of {known}, or runtime 'torch-cuda' or 'tensorrt' there",
        )
    if offered and not recipe.sm:
        raise refusal("no compute capability is named", file=file, fix="give e.g. 86")
    old = [sm for sm in recipe.sm if sm < _FP8_FROM]
    if recipe.precision == "fp8" and offered and old:
        raise refusal(
            f"fp8 convolutions need compute capability 89, {old[0]} is named",
            file=file,
            fix="build for 89 and 120 only, or use fp16",
        )


def _typed(
    model: Any,
    recipe: Recipe,
    calibration: Sequence[Sequence[NDArray[Any]]],
    weights: Weights,
) -> Any:
    """Write the precision into the network: TensorRT has no switch for it any more."""
    import onnx

    wanted = recipe.precision
    if weights.precision != "fp32" and weights.precision != wanted:
        raise refusal(
            f"these weights are {weights.precision} already, {wanted} is wanted",
            file=weights.file,
            fix="start from the float32 weights",
        )
    if wanted == "fp32" or weights.precision == wanted:
        return model
    content = model.SerializeToString()
    if wanted == "fp16":
        return onnx.load_model_from_string(to_half(content, file=weights.file))
    if wanted in ("int8", "fp8"):
        content = quantise(
            content, calibration, file=weights.file, kind=wanted, unsigned=False
        )
        return onnx.load_model_from_string(content)
    raise refusal(
        f"TensorRT engines are not built in {wanted}",
        file=weights.file,
        fix="use fp32, fp16, int8 or fp8",
    )


# -- sizes ----------------------------------------------------------------------------


def _sized(model: Any, profiles: tuple[Profile, ...], file: str) -> Any:
    """Hold profiles against the network; write in the sizes that do not vary."""
    import onnx

    ports = inputs_of(model)
    open_ports = [p.name for p in ports if None in _sizes(p)]
    if open_ports and not profiles:
        raise refusal(
            f"input '{open_ports[0]}' takes several sizes, and none is named",
            file=file,
            fix="give the shape, or the smallest, most frequent and largest one",
        )
    if not profiles:
        return model
    if len(profiles) != len(ports):
        raise refusal(
            f"the network has {len(ports)} inputs, {len(profiles)} shapes are given",
            file=file,
            fix="give one for each input",
        )
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for port, profile in zip(inputs_of(sized), profiles, strict=True):
        _check_profile(port, profile, file)
        dims = port.type.tensor_type.shape.dim
        for dim, least, most in zip(dims, profile[0], profile[2], strict=True):
            if least == most:
                dim.dim_value = most
    fixed = all(None not in _sizes(port) for port in inputs_of(sized))
    return _with_output_sizes(sized) if fixed else sized


def _with_output_sizes(model: Any) -> Any:
    """Let the sizes of the outputs follow from those of the inputs."""
    import onnx

    for port in model.graph.output:
        rank = len(port.type.tensor_type.shape.dim)
        for dim in port.type.tensor_type.shape.dim if rank else ():
            if not dim.HasField("dim_value"):
                dim.Clear()
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _check_profile(port: Any, profile: Profile, file: str) -> None:
    known = _sizes(port)
    least, best, most = profile
    for shape in profile:
        fits = len(shape) == len(known) and all(
            want in (None, size) for want, size in zip(known, shape, strict=True)
        )
        if not fits or min(shape, default=1) < 1:
            wants = ", ".join("any" if n is None else str(n) for n in known)
            raise refusal(
                f"input '{port.name}' takes ({wants}), the profile says {shape}",
                file=file,
                fix="give sizes the network takes",
            )
    if any(not a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
        raise refusal(
            f"the profile of '{port.name}' does not rise: {least}, {best}, {most}",
            file=file,
            fix="give the smallest, the most frequent and the largest shape",
        )


def _sizes(port: Any) -> tuple[int | None, ...]:
    dims = port.type.tensor_type.shape.dim
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in dims
    )


# -- TensorRT itself ------------------------------------------------------------------


def _compiled(
    trt: TensorRt, model: Any, recipe: Recipe, file: str
) -> tuple[bytes, tuple[EngineTensor, ...]]:
    api = trt.api
    logger, errors = trt.logger()
    builder = api.Builder(logger)
    # Bindings without a driver give None where TensorRT itself throws.
    network = builder.create_network(trt.network_flags()) if builder else None
    if network is None:
        raise _failed(trt, "cannot start", errors, file)
    parser = api.OnnxParser(network, logger)
    check_network(model, file, parser.supports_operator)
    if not parser.parse(model.SerializeToString()):
        found = [parser.get_error(i) for i in range(parser.num_errors)]
        raise parser_refusal(found, file, trt.label)
    config = builder.create_builder_config()
    _configure(trt, builder, config, network, recipe)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise _failed(trt, "cannot compile it", errors, file)
    return bytes(built), _tensors(api, network)


def _failed(trt: TensorRt, what: str, errors: list[str], file: str) -> Exception:
    fix = (
        "try fp32, a fixed shape, or another runtime"
        if trt.ahead_of_time
        else "build on the machine with the card, or use 'tensorrt-rtx', which "
        "builds without one"
    )
    return refusal(f"{trt.label} {what} ({first_words(errors)})", file=file, fix=fix)


def _configure(
    trt: TensorRt, builder: Any, config: Any, network: Any, recipe: Recipe
) -> None:
    api = trt.api
    # TF32 rounds float32 to 10 bits, which nobody asked for.
    config.clear_flag(api.BuilderFlag.TF32)
    if recipe.workspace_mb is not None:
        pool = api.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, recipe.workspace_mb * 2**20)
    if trt.ahead_of_time:
        config.num_compute_capabilities = len(recipe.sm)
        for number, sm in enumerate(sorted(recipe.sm)):
            capability = getattr(api.ComputeCapability, f"SM{sm}")
            config.set_compute_capability(capability, number)
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    if not any(-1 in tuple(tensor.shape) for tensor in inputs):
        return
    profile = builder.create_optimization_profile()
    for tensor, shapes in zip(inputs, recipe.profiles, strict=False):
        tail = tuple(tensor.shape)[-1:] if tensor.name == FRAME else ()
        profile.set_shape(tensor.name, *[(*shape, *tail) for shape in shapes])
    config.add_optimization_profile(profile)


def _tensors(api: Any, network: Any) -> tuple[EngineTensor, ...]:
    inputs = [(network.get_input(i), "input") for i in range(network.num_inputs)]
    outputs = [(network.get_output(i), "output") for i in range(network.num_outputs)]
    return tuple(
        EngineTensor(
            tensor.name,
            mode,
            dtype_name(api, tensor.dtype),
            tuple(None if size < 0 else int(size) for size in tensor.shape),
        )
        for tensor, mode in (*inputs, *outputs)
    )


def dtype_name(api: Any, dtype: Any) -> str:
    """NumPy name of a TensorRT type; types NumPy has not keep their own."""
    names = {
        "FLOAT": "float32",
        "HALF": "float16",
        "INT32": "int32",
        "INT64": "int64",
        "INT8": "int8",
        "UINT8": "uint8",
        "BOOL": "bool",
    }
    return names.get(dtype.name, str(dtype.name).lower())


def port_of(value: Any) -> Port:
    """Input or output of an ONNX network as a `Port`."""
    import onnx

    kind = value.type.tensor_type.elem_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name
    return Port(value.name, _sizes(value), dtype)


def fixed_recipe(recipe: Recipe, shapes: Sequence[tuple[int, ...]]) -> Recipe:
    """The recipe for exactly these shapes of the network's own inputs."""
    profiles = tuple((tuple(s), tuple(s), tuple(s)) for s in shapes)
    return dataclasses.replace(recipe, profiles=profiles)
