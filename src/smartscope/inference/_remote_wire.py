"""Messages of the Open Inference Protocol (KServe v2) as bytes.

Only the few messages a client of one model needs are written and read here, straight
from and into memory views: generated classes would copy every tensor twice more and tie
smartscope to one major version of protobuf. Field numbers are those of the published
``grpc_predict_v2.proto``, the encoding is protocol buffers 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.inference._protobuf import LENGTH, block, fields, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.inference._protocol import Port

SERVICE = "/inference.GRPCInferenceService/"
DTYPES = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
    **{
        f"{sign}INT{bits}": f"{sign.lower()}int{bits}"
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
}
"""Protocol name to NumPy name; BF16 and BYTES have none."""
_NAMES = {numpy: name for name, numpy in DTYPES.items()}
_FP32_CONTENTS, _FP64_CONTENTS = 6, 7


@dataclass(frozen=True, slots=True)
class TensorHead:
    """What is said of a tensor: `shape` has -1 where several sizes are taken."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a server says of a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorHead, ...]
    outputs: tuple[TensorHead, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Outputs of one run, their bytes still where they arrived."""

    version: str
    outputs: tuple[TensorHead, ...]
    contents: tuple[memoryview | None, ...]


def model_request(name: str, version: str) -> bytes:
    """``ModelReadyRequest`` and ``ModelMetadataRequest``: both have these fields."""
    return _text(1, name) + _text(2, version)


def infer_request(
    name: str,
    version: str,
    inputs: Sequence[tuple[Port, tuple[int, ...], int]],
    outputs: Sequence[Port],
) -> tuple[bytes, ...]:
    """``ModelInferRequest`` without the numbers.

    Parameters
    ----------
    name, version : str
        Of the model; an empty version leaves the choice to the server.
    inputs : sequence of (Port, shape, size in bytes)
        What will be sent.
    outputs : sequence of Port
        What is asked for, in this order.

    Returns
    -------
    tuple of bytes
        One for each input; the message is each of them followed by its numbers.
    """
    head = _text(1, name) + _text(2, version)
    for port, shape, _ in inputs:
        tensor = _text(1, port.name) + _text(2, _NAMES[port.dtype])
        tensor += _block(3, b"".join(map(_varint, shape)))
        head += _block(5, tensor)
    head += b"".join(_block(6, _text(1, port.name)) for port in outputs)
    parts = [_tag(7, LENGTH) + _varint(size) for _, _, size in inputs]
    return (head + parts[0], *parts[1:])


def read_ready(message: bytes) -> bool:
    """``ServerReadyResponse`` and ``ModelReadyResponse``."""
    return any(number == 1 and value for number, value in fields(message))


def read_metadata(message: bytes) -> Metadata:
    """``ModelMetadataResponse``; ValueError if it is none."""
    name = platform = ""
    versions: list[str] = []
    tensors: dict[int, list[TensorHead]] = {4: [], 5: []}
    for number, value in fields(message):
        if number == 1:
            name = _string(value)
        elif number == 2:
            versions.append(_string(value))
        elif number == 3:
            platform = _string(value)
        elif number in tensors:
            tensors[number].append(_tensor(value)[0])
    return Metadata(
        name, tuple(versions), platform, tuple(tensors[4]), tuple(tensors[5])
    )


def read_answer(message: bytes) -> Answer:
    """``ModelInferResponse``; ValueError if it is none."""
    version = ""
    heads: list[TensorHead] = []
    typed: list[memoryview | None] = []
    raw: list[memoryview | None] = []
    for number, value in fields(message):
        if number == 2:
            version = _string(value)
        elif number == 5:
            head, content = _tensor(value)
            heads.append(head)
            typed.append(content)
        elif number == 6:
            raw.append(block(value))
    if raw and len(raw) != len(heads):
        raise ValueError(f"{len(heads)} outputs with {len(raw)} blocks of numbers")
    return Answer(version, tuple(heads), tuple(raw or typed))


def _tensor(value: Any) -> tuple[TensorHead, memoryview | None]:
    """Name, type and shape, and the numbers where they are given with them."""
    name = datatype = ""
    shape: list[int] = []
    content = None
    for number, part in fields(block(value)):
        if number == 1:
            name = _string(part)
        elif number == 2:
            datatype = _string(part)
        elif number == 3:
            # Packed, or one by one from an older encoder.
            shape += [part] if isinstance(part, int) else packed(part)
        elif number == 5:
            content = _contents(part)
    return TensorHead(name, datatype, tuple(map(_signed, shape))), content


def _contents(value: Any) -> memoryview | None:
    # Floats lie packed as in memory; whole numbers do not and are not read.
    for number, part in fields(block(value)):
        if number in (_FP32_CONTENTS, _FP64_CONTENTS) and not isinstance(part, int):
            return part
    return None


def _signed(value: int) -> int:
    # An int64 below 0 is sent as its two's complement.
    return value - (1 << 64) if value >= 1 << 63 else value


def _string(value: Any) -> str:
    # Not UTF-8 is a ValueError, too.
    return str(block(value), "utf-8")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _block(field: int, content: bytes) -> bytes:
    return _tag(field, LENGTH) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _block(field, text.encode()) if text else b""
