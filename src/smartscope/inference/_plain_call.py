"""The call of a runtime's own library, as a script without smartscope makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Runtime, Weights


def plain_call(
    name: str,
    runtime: Runtime,
    weights: Sequence[Weights],
    arrays: Sequence[NDArray[Any]],
    threads: int,
) -> tuple[Callable[[], Any], str]:
    """What to time a model against.

    Parameters
    ----------
    name : str
        Runtime, as in `RUNTIMES`.
    runtime : Runtime
        The one the model uses, prepared.
    weights : sequence of Weights
        The model's networks.
    arrays : sequence of ndarray
        Filled input tensors, read in every call.
    threads : int
        As many as the model has; every other setting that changes speed is that of
        the model, too, so that only smartscope's own work differs.

    Returns
    -------
    callable
        Runs the network once and gives its outputs.
    str
        What it calls, for people.
    """
    kind = name.partition("-")[0]
    cards = ("cuda", "tensorrt")
    if kind == "onnxruntime" and not name.endswith(cards):
        return _onnxruntime(
            _pick(name, weights), arrays, threads
        ), "InferenceSession.run"
    if kind == "openvino":
        call = _openvino(_pick(name, weights), runtime, arrays, threads)
        return call, "InferRequest.infer"
    # Torch modules, cards and servers have no shorter way than the runtime itself.
    return runtime.run, "the runtime alone"


def _pick(name: str, weights: Sequence[Weights]) -> Weights:
    from smartscope.inference._registry import RUNTIMES

    return next(each for each in weights if RUNTIMES[name].takes(each))


def _onnxruntime(
    weights: Weights, arrays: Sequence[NDArray[Any]], threads: int
) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        weights.content, sess_options=options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_inputs()]
    feed = dict(zip(names, arrays, strict=True))
    return lambda: session.run(None, feed)


def _openvino(
    weights: Weights, runtime: Runtime, arrays: Sequence[NDArray[Any]], threads: int
) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    network = core.read_model(weights.content, b"")
    network.reshape({i: tuple(array.shape) for i, array in enumerate(arrays)})
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    half = runtime.precision == "bf16" or (
        runtime.precision == "int8" and "BF16" in able
    )
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    given = dict(enumerate(arrays))
    return lambda: request.infer(given, share_inputs=True, share_outputs=True)
