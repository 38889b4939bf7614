"""Tensors of format 0.5: axes with types, ids, scales and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._card import MOST_CHANNELS
from smartscope.inference._document import LARGEST_PX, Node
from smartscope.inference._rdf_old import data_range
from smartscope.inference._rdf_tensor import (
    DTYPES,
    Follow,
    TensorSpec,
    as_output,
    check_order,
    read_operations,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TYPES = {"batch": "b", "channel": "c", "time": "t"}
_IDS = {"batch": "b", "channel": "c", "time": "t", "z": "z", "y": "y", "x": "x"}
_LONGEST_TRACE = 8
_UM = {
    "meter": 1e6,
    "centimeter": 1e4,
    "millimeter": 1e3,
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "picometer": 1e-6,
    "angstrom": 1e-4,
}


@dataclass(frozen=True, slots=True)
class _Written:
    """An axis as it is written.

    Attributes
    ----------
    reference : tuple of str or None
        Tensor and axis its size follows.
    """

    node: Node
    name: str
    scale: float
    unit: str
    least: int | None = None
    step: int = 0
    halo: int = 0
    reference: tuple[str, str] | None = None
    offset: int = 0


def new_tensors(node: Node) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs; raises `ModelError`."""
    parts = [
        *((part, False) for part in node.get("inputs").items()),
        *((part, True) for part in node.get("outputs").items()),
    ]
    known: dict[str, list[_Written]] = {}
    for part, is_output in parts:
        name = _name(part, is_output)
        if name in known:
            raise part.get("id").refuse(f"two tensors are called '{name}'")
        known[name] = [_axis(axis) for axis in part.get("axes").items()]
        letters = "".join(axis.name for axis in known[name])
        check_order(part.get("axes"), letters, vector=is_output)
    given = [_name(part, is_output=False) for part, is_out in parts if not is_out]
    inputs = [_input(part, known, given) for part, is_out in parts if not is_out]
    names = {spec.name: spec for spec in inputs}
    outputs = [_output(part, known, names) for part, is_out in parts if is_out]
    return inputs, outputs


def _name(part: Node, is_output: bool) -> str:
    node = part.get("id")
    return node.text() if node else "output" if is_output else "input"


def _axis(node: Node) -> _Written:
    kind = node.get("type").text()
    written = node.get("id")
    name = _TYPES.get(kind) or (written.text() if written else "x")
    if kind == "index":
        raise node.refuse(
            "an axis of type 'index' counts objects in a list, which smartscope does "
            "not read",
            "use a model whose outputs are images, or scores for channels",
        )
    if kind not in (*_TYPES, "space") or name not in _IDS.values():
        raise node.refuse(
            f"the axis '{name}' ({kind}) is not supported",
            "use a model with the axes batch, channel, time, z, y, x",
        )
    scale = node.get("scale").number() if node.get("scale") else 1.0
    if not 1e-12 < scale < 1e12:
        raise node.get("scale").wrong("a number above 0")
    unit = node.get("unit").text() if node.get("unit") else ""
    halo = node.get("halo").index() if node.get("halo") else 0
    if kind == "channel":
        names = list(node.get("channel_names").items())
        if len(names) > MOST_CHANNELS:
            raise node.get("channel_names").refuse(f"{len(names)} channels are absurd")
        return _Written(node, name, scale, unit, len(names) or None)
    return _sized(_Written(node, name, scale, unit, halo=halo))


def _sized(axis: _Written) -> _Written:
    size = axis.node.get("size")
    known = axis.node, axis.name, axis.scale, axis.unit
    if not size:
        return axis
    if not isinstance(size.value, dict):
        return _Written(*known, least=size.size(), halo=axis.halo)
    if "tensor_id" in size.value or "axis_id" in size.value:
        reference = size.get("tensor_id").text(), size.get("axis_id").text()
        offset = size.get("offset").number() if size.get("offset") else 0.0
        if not offset.is_integer() or abs(offset) > LARGEST_PX:
            raise size.get("offset").wrong("a whole number of pixels")
        return _Written(*known, halo=axis.halo, reference=reference, offset=int(offset))
    if "step" not in size.value:
        raise size.refuse(
            "a size that depends on the data is not supported",
            "give a number, min and step, or the axis it follows",
        )
    least, step = size.get("min").size(), size.get("step").size()
    return _Written(*known, least=least, step=step, halo=axis.halo)


def _input(
    part: Node, known: Mapping[str, list[_Written]], names: Sequence[str]
) -> TensorSpec:
    name = _name(part, is_output=False)
    axes, follows = [], {}
    for written in known[name]:
        if written.reference is None:
            axes.append(Axis(written.name, written.least, written.step))
            continue
        tensor, other, scale = _referred(written, known)
        if other.reference is not None:
            raise written.node.get("size").refuse(
                "follows an axis that follows another one itself"
            )
        follow = Follow(tensor, other.name, scale, written.offset)
        follows[written.name] = follow
        axes.append(_followed(written, other, follow))
    layout = Layout(tuple(axes))
    return _spec(part, name, layout, known[name], names, follows=follows)


def _followed(written: _Written, other: _Written, follow: Follow) -> Axis:
    if other.least is None:
        return Axis(written.name)
    size = written.node.get("size")
    least = Node(follow.size(other.least), size.file, size.field).size()
    step = follow.scale * other.step
    if abs(step - round(step)) > 1e-6:
        raise size.refuse(f"its size would grow by {step:g} pixels at a time")
    return Axis(written.name, least, round(step))


def _referred(
    written: _Written, known: Mapping[str, list[_Written]]
) -> tuple[str, _Written, float]:
    """Tensor and axis a size follows, and the factor between them."""
    size = written.node.get("size")
    tensor, axis = written.reference or ("", "")
    letter = _IDS.get(axis, axis)
    other = next((a for a in known.get(tensor, ()) if a.name == letter), None)
    if other is None:
        raise size.refuse(f"there is no axis '{axis}' of a tensor '{tensor}' to follow")
    if other.unit != written.unit:
        raise size.refuse(
            f"its unit is '{written.unit}', that of the axis it follows '{other.unit}'"
        )
    return tensor, other, other.scale / written.scale


def _output(
    part: Node, known: Mapping[str, list[_Written]], inputs: Mapping[str, TensorSpec]
) -> TensorSpec:
    name = _name(part, is_output=True)
    axes, reference = [], ""
    for written in known[name]:
        axis, tensor = _output_axis(written, known, inputs)
        axes.append(axis)
        if axis.name in "yx" and tensor and reference not in ("", tensor):
            raise part.get("axes").refuse("its axes follow different inputs")
        reference = reference or tensor
    reference = reference or next(iter(inputs), "")
    layout = Layout(tuple(axes))
    return _spec(part, name, layout, known[name], list(inputs), reference=reference)


def _output_axis(
    written: _Written,
    known: Mapping[str, list[_Written]],
    inputs: Mapping[str, TensorSpec],
) -> tuple[Axis, str]:
    """Axis of an output with respect to an input, and the name of that input."""
    size = written.node.get("size")
    if written.step:
        raise size.refuse(
            "min and step are for inputs", "state which axis the output follows"
        )
    if written.reference is None:
        first = next(iter(inputs.values()), None)
        plain = Axis(written.name, written.least, halo=written.halo)
        return as_output(plain, first.layout if first else None), ""
    tensor, other, scale, offset = _traced(written, known, inputs)
    if other.name != written.name:
        raise size.refuse(
            f"the axis '{written.name}' follows the axis '{other.name}' of the input",
            "use a model whose outputs lie on their input",
        )
    if tensor not in inputs:
        given = next(iter(inputs.values())).layout
        return as_output(Axis(written.name, other.least, halo=written.halo), given), ""
    own = inputs[tensor].layout.axis(other.name)
    if written.name in "ct" and own is not None and own.fixed is not None:
        count = int(own.fixed * scale + offset)
        return Axis(written.name, Node(count, size.file, size.field).size()), tensor
    return Axis(written.name, None, 0, scale, int(offset), written.halo), tensor


def _traced(
    written: _Written,
    known: Mapping[str, list[_Written]],
    inputs: Mapping[str, TensorSpec],
) -> tuple[str, _Written, float, float]:
    """Tensor and axis a size goes back to, with scale and offset all the way."""
    scale, offset, at = 1.0, 0.0, written
    # An output may follow another output, which follows an input.
    for _ in range(_LONGEST_TRACE):
        tensor, other, factor = _referred(at, known)
        offset += scale * at.offset
        scale *= factor
        if tensor in inputs or other.reference is None:
            return tensor, other, scale, offset
        at = other
    raise written.node.get("size").refuse("its axis follows axes in a circle")


def _spec(
    part: Node,
    name: str,
    layout: Layout,
    axes: list[_Written],
    names: Sequence[str],
    *,
    follows: Mapping[str, Follow] | None = None,
    reference: str = "",
) -> TensorSpec:
    is_output = follows is None
    key = "postprocessing" if is_output else "preprocessing"
    operations, decoder = read_operations(part.get(key), layout, names)
    test, sha256 = part.get("test_tensor"), ""
    if isinstance(test.value, dict):
        sha256 = str(test.get("sha256").value or "").lower()
        test = test.get("source")
    if decoder is not None:
        # A decoder's test output is made of objects, not of the network's numbers.
        test = Node(None, test.file, test.field)
    dtype, least, most, unit = _data(part.get("data"))
    optional = part.get("optional")
    return TensorSpec(
        layout=layout,
        operations=operations,
        test=test,
        name=name,
        dtype=dtype,
        test_sha256=sha256,
        optional=optional.flag() if optional else False,
        channels=_channel_names(axes),
        pixel_um=_pixel_um(axes),
        least=least,
        most=most,
        unit=unit,
        description=str(part.get("description").value or ""),
        follows=follows or {},
        reference=reference,
        decoder=decoder,
    )


def _channel_names(axes: list[_Written]) -> tuple[str, ...]:
    axis = next((axis for axis in axes if axis.name == "c"), None)
    names = axis.node.get("channel_names").items() if axis else ()
    return tuple(str(name.value) for name in names)


def _pixel_um(axes: list[_Written]) -> float | None:
    axis = next((axis for axis in axes if axis.name == "x"), None)
    if axis is None or axis.unit not in _UM:
        return None
    return axis.scale * _UM[axis.unit]


def _data(node: Node) -> tuple[str, float | None, float | None, str]:
    """Type, range and unit of the values; channels may be described one by one."""
    parts = list(node.items()) if isinstance(node.value, list) else [node]
    found = []
    for part in parts:
        dtype = part.get("type").value or "float32"
        if dtype not in DTYPES:
            raise part.get("type").wrong(f"one of {', '.join(DTYPES)}")
        unit = part.get("unit").value if part.get("unit") else ""
        found.append((dtype, *data_range(part.get("range")), str(unit)))
    if len({one[0] for one in found}) != 1:
        raise node.refuse("channels of several types in one tensor")
    least = [one[1] for one in found if one[1] is not None]
    most = [one[2] for one in found if one[2] is not None]
    every = len(found)
    return (
        found[0][0],
        min(least) if len(least) == every else None,
        max(most) if len(most) == every else None,
        found[0][3] if len({one[3] for one in found}) == 1 else "",
    )
