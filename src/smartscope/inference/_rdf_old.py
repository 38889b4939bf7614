"""Tensors of format 0.4: axes as letters, sizes as lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._document import LARGEST_PX, Node
from smartscope.inference._rdf_tensor import (
    DTYPES,
    TensorSpec,
    as_output,
    check_order,
    read_operations,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def old_tensors(node: Node) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs; raises `ModelError`."""
    parts = list(node.get("inputs").items())
    names = [part.get("name").text() for part in parts]
    inputs = [
        _input(part, names, _numbered(node.get("test_inputs"), number))
        for number, part in enumerate(parts)
    ]
    known = {spec.name: spec for spec in inputs}
    outputs = [
        _output(part, known, _numbered(node.get("test_outputs"), number))
        for number, part in enumerate(node.get("outputs").items())
    ]
    return inputs, outputs


def _numbered(tests: Node, number: int) -> Node:
    files = list(tests.items())
    none = Node(None, tests.file, tests.field)
    return files[number] if number < len(files) else none


def _input(part: Node, names: list[str], test: Node) -> TensorSpec:
    letters = part.get("axes").text()
    check_order(part.get("axes"), letters)
    layout = Layout(tuple(_input_axes(part.get("shape"), letters)))
    return _spec(part, layout, names, "preprocessing", test)


def _output(part: Node, inputs: Mapping[str, TensorSpec], test: Node) -> TensorSpec:
    letters = part.get("axes").text()
    check_order(part.get("axes"), letters, vector=True)
    shape, reference = part.get("shape"), next(iter(inputs), "")
    halo = [0] * len(letters)
    if part.get("halo"):
        halo = [size.index() for size in _all(part.get("halo"), letters)]
    if isinstance(shape.value, dict):
        named = shape.get("reference_tensor")
        # A reference may name an axis too: 'raw.y'.
        reference = named.text().split(".", maxsplit=1)[0]
        if reference not in inputs:
            raise named.refuse(
                f"there is no input '{reference}'", f"inputs: {', '.join(inputs)}"
            )
        axes = _implicit(shape, letters, halo, inputs[reference].layout)
    else:
        given = inputs[reference].layout if reference else None
        axes = [
            as_output(Axis(name, size.size(), halo=edge), given)
            for name, size, edge in zip(
                letters, _all(shape, letters), halo, strict=True
            )
        ]
    spec = _spec(part, Layout(tuple(axes)), list(inputs), "postprocessing", test)
    return replace(spec, reference=reference)


def _spec(
    part: Node, layout: Layout, names: list[str], key: str, test: Node
) -> TensorSpec:
    dtype = part.get("data_type").value or "float32"
    if dtype not in DTYPES:
        raise part.get("data_type").wrong(f"one of {', '.join(DTYPES)}")
    least, most = data_range(part.get("data_range"))
    operations, decoder = read_operations(part.get(key), layout, names)
    return TensorSpec(
        layout=layout,
        operations=operations,
        # A decoder's test output is made of objects, not of the network's numbers.
        test=test if decoder is None else Node(None, test.file, test.field),
        name=part.get("name").text(),
        dtype=dtype,
        least=least,
        most=most,
        description=str(part.get("description").value or ""),
        decoder=decoder,
    )


def data_range(node: Node) -> tuple[float | None, float | None]:
    """Smallest and largest value; None where there is no limit."""
    ends = list(node.items())
    if not ends:
        return None, None
    if len(ends) != 2:
        raise node.wrong("a smallest and a largest value")
    # Here, and only here, infinity means something.
    found = [None if _endless(end) else end.number() for end in ends]
    return found[0], found[1]


def _endless(node: Node) -> bool:
    return node.value is None or node.value in (float("inf"), float("-inf"))


def _all(node: Node, letters: str) -> list[Node]:
    sizes = list(node.items())
    if len(sizes) != len(letters):
        raise node.wrong(f"one number for each of the axes '{letters}'")
    return sizes


def _input_axes(shape: Node, letters: str) -> list[Axis]:
    if not isinstance(shape.value, dict):
        sizes = _all(shape, letters)
        return [Axis(n, s.size()) for n, s in zip(letters, sizes, strict=True)]
    least = _all(shape.get("min"), letters)
    steps = _all(shape.get("step"), letters)
    return [
        Axis(name, low.size(), step.index())
        for name, low, step in zip(letters, least, steps, strict=True)
    ]


def _implicit(shape: Node, letters: str, halo: list[int], given: Layout) -> list[Axis]:
    """Sizes as ``scale * input + 2 * offset``; without scale the axis is new."""
    scales = _all(shape.get("scale"), letters)
    offsets = _all(shape.get("offset"), letters)
    axes = []
    for name, scale, offset, edge in zip(letters, scales, offsets, halo, strict=True):
        factor = scale.number() if scale else 0.0
        longer = round(2 * offset.number())
        own = given.axis(name)
        if not 0 <= factor <= LARGEST_PX or abs(longer) > LARGEST_PX:
            raise shape.refuse(f"a scale of {factor:g} and offset of {longer / 2:g}")
        if factor == 0 or own is None:
            axes.append(as_output(_new_axis(offset, name, longer, edge), given))
        elif own.fixed is not None and name in "ct":
            size = Node(int(factor * own.fixed) + longer, shape.file, shape.field)
            axes.append(Axis(name, size.size(), halo=edge))
        else:
            axes.append(Axis(name, None, 0, factor, longer, edge))
    return axes


def _new_axis(offset: Node, name: str, size: int, halo: int) -> Axis:
    if name == "b":
        return Axis(name)
    return Axis(name, Node(size, offset.file, offset.field).size(), halo=halo)
