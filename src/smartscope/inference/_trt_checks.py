"""What TensorRT is known to refuse, said before it is asked, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.inference._protocol import Weights

_FIXES = {
    "DFT": "export the Fourier transform as two matrix products",
    "STFT": "export the Fourier transform as matrix products",
    "QLinearConv": "quantise in the QDQ format, or let smartscope quantise",
    "ConvInteger": "quantise in the QDQ format, or let smartscope quantise",
    "DynamicQuantizeLinear": "quantise statically, or let smartscope quantise",
    "Bernoulli": "export the network in evaluation mode",
    "Multinomial": "export the network in evaluation mode",
    "Unique": "end the network before it",
}
_TYPES = ("float", "float16", "double", "int32", "int64", "int8", "uint8", "bool")
_LEAST_OPSET = 9
_OWN_DOMAINS = ("", "ai.onnx", "trt.plugins")


def read_onnx(weights: Weights) -> Any:
    """Read the ONNX file of a model as an `onnx.ModelProto`.

    Raises
    ------
    ModelError
        It is not ONNX, is cut off, keeps weights in other files, or the ``onnx``
        package is missing.
    """
    if weights.kind != "onnx":
        raise refusal(
            f"TensorRT takes ONNX weights, these are {weights.kind}",
            file=weights.file,
            fix="export the model to ONNX",
        )
    try:
        import onnx
    except ImportError as error:
        raise refusal(
            f"the onnx package cannot be imported ({error})",
            file=weights.file,
            fix="install it with: pip install smartscope[tensorrt-rtx]",
        ) from error
    try:
        # On the bytes: this says what is wrong with a file that is cut off as well.
        onnx.checker.check_model(weights.content)
    except (onnx.checker.ValidationError, ValueError) as error:
        first = " ".join(str(error).split())[:160]
        raise refusal(
            f"not a sound ONNX file ({first})",
            file=weights.file,
            fix="fetch the model again, or export it anew",
        ) from error
    return onnx.load_model_from_string(weights.content)


def check_network(model: Any, file: str, supports: Callable[[str], bool]) -> None:
    """Refuse what TensorRT would refuse, in the words of this program.

    Parameters
    ----------
    model : onnx.ModelProto
        As it will be given to TensorRT, folding and precision included.
    file : str
        Its name, for messages.
    supports : callable
        Whether this TensorRT has an operator: its parser's ``supports_operator``.

    Raises
    ------
    ModelError
        16-bit integer input, an operator without counterpart, quantised biases, or an
        operator set that is too old. Names node and fix.
    """
    domains = {o.domain: o.version for o in model.opset_import}
    opset = domains.get("", domains.get("ai.onnx", 0))
    if opset < _LEAST_OPSET:
        raise refusal(
            f"operator set {opset} is older than TensorRT reads ({_LEAST_OPSET})",
            file=file,
            fix="export the model anew with opset 17",
        )
    _check_ports(model, file)
    for node in model.graph.node:
        _check_node(node, file, supports)
    _check_quantised(model, file)


def _check_ports(model: Any, file: str) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    ports = [p for p in model.graph.input if p.name not in constants]
    for port in (*ports, *model.graph.output):
        name = _type_name(port.type.tensor_type.elem_type)
        if name in _TYPES:
            continue
        sixteen = name in ("uint16", "int16")
        raise refusal(
            f"tensor '{port.name}' is {name}, which TensorRT does not take",
            file=file,
            fix="fold the camera in (bytes go to the card, the card makes numbers)"
            if sixteen
            else "export the model with float32 input and output",
        )


def _check_node(node: Any, file: str, supports: Callable[[str], bool]) -> None:
    called = f"node '{node.name or node.output[0]}' ({node.op_type})"
    if node.domain not in _OWN_DOMAINS:
        raise refusal(
            f"{called} is of '{node.domain}', which TensorRT does not know",
            file=file,
            fix="use the model as it was before an optimiser rewrote it",
        )
    if not supports(node.op_type):
        fix = _FIXES.get(node.op_type, "export that part with plain operators")
        raise refusal(f"TensorRT has nothing for {called}", file=file, fix=fix)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _check_node(inner, file, supports)


def _check_quantised(model: Any, file: str) -> None:
    """Quantisers write biases as Int32 behind a DequantizeLinear by default."""
    import onnx

    types = {t.name: t.data_type for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if types.get(node.input[0]) == onnx.TensorProto.INT32:
            raise refusal(
                f"'{node.input[0]}' is a bias quantised to 32 bits, which TensorRT "
                "does not take",
                file=file,
                fix="quantise with QuantizeBias=False, or let smartscope quantise the "
                "float32 weights",
            )
        zero = node.input[2] if len(node.input) > 2 else ""
        if onnx.TensorProto.UINT8 in (types.get(node.input[0]), types.get(zero)):
            raise refusal(
                f"'{node.input[0]}' is quantised to unsigned bytes, TensorRT takes "
                "symmetric int8 only",
                file=file,
                fix="let smartscope quantise the float32 weights for TensorRT",
            )


def parser_refusal(api_errors: list[Any], file: str, label: str) -> Exception:
    """Sentence out of TensorRT's own parser errors: node, operator, reason."""
    parts: dict[str, None] = {}
    for error in api_errors:
        reason = " ".join(error.desc().split()).rstrip(".")
        operator = f" ({error.node_operator()})" if error.node_operator() else ""
        name = f"'{error.node_name()}'" if error.node_name() else f"{error.node()}"
        # The same is often told twice.
        parts[f"node {name}{operator}: {reason[:200]}"] = None
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    told = "; ".join([*parts][:3]) or "it gives no reason"
    return refusal(
        f"{label} cannot read it ({told}{more})",
        file=file,
        fix="export that part with plain operators at opset 17",
    )


def _type_name(kind: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(kind)).lower() if kind else "untyped"
