"""One tensor of a model as its package describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.inference._axes import KNOWN, Axis, Layout
from smartscope.inference._card import Decoder
from smartscope.inference._operations import DECODING, Operation, operation_of
from smartscope.inference._operations_args import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.inference._document import Node

DTYPES = (
    *("float32", "float64", "bool"),
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
)


@dataclass(frozen=True, slots=True)
class Follow:
    """The size of an input axis follows another axis: ``scale * size + offset``.

    Attributes
    ----------
    tensor : str
        Name of an input.
    axis : str
        Letter of its axis.
    scale : float
    offset : int
    """

    tensor: str
    axis: str
    scale: float = 1.0
    offset: int = 0

    def size(self, given: int) -> int:
        """Size for `given` pixels of the axis followed; fractions are cut off."""
        # 3 * (1 / 3) must not become 0.
        return int(given * self.scale + self.offset + 1e-9)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes
    ----------
    layout : Layout
        Axes and sizes. Axes of an output carry scale, offset and halo with respect
        to the axis of the same name of the input `reference`.
    operations : tuple of Operation
        Pre- or post-processing, in order; steps that only ask for float32 are left
        out.
    test : Node
        Name of the file with the test tensor; empty if there is none.
    name : str
        As the package calls the tensor.
    dtype : str
        NumPy name of the type the network reads or gives.
    test_sha256 : str
        Of the test tensor's file, as stated; "" where it is not.
    optional : bool
        The input may be left out.
    channels : tuple of str
        Names of the channels, where stated.
    pixel_um : float or None
        Pixel size along x in micrometres, where stated.
    least, most : float or None
        Range of the data, where stated.
    unit : str
        Of the data; "" where it is not stated.
    description : str
        For people.
    follows : mapping of str to Follow
        Axes of an input whose size is tied to another axis.
    reference : str
        Of an output: name of the input whose sizes it follows.
    decoder : Decoder or None
        Of an output whose post-processing names a decoder.
    """

    layout: Layout
    operations: tuple[Operation, ...]
    test: Node
    name: str = ""
    dtype: str = "float32"
    test_sha256: str = ""
    optional: bool = False
    channels: tuple[str, ...] = ()
    pixel_um: float | None = None
    least: float | None = None
    most: float | None = None
    unit: str = ""
    description: str = ""
    follows: Mapping[str, Follow] = field(default_factory=dict)
    reference: str = ""
    decoder: Decoder | None = None


def check_order(node: Node, letters: str, *, vector: bool = False) -> None:
    """Refuse axes an image does not have; raises `ModelError`.

    Parameters
    ----------
    vector : bool
        Channels without y and x are taken too: a vector for the whole image.
    """
    unknown = [letter for letter in letters if letter not in KNOWN]
    image = {"y", "x"} <= set(letters)
    scores = vector and not {"y", "x", "z"} & set(letters) and "c" in letters
    if unknown or len(set(letters)) != len(letters) or not (image or scores):
        raise node.refuse(
            f"the axes '{letters}' are not supported",
            "y and x are needed; b (batch), c (channel), t (time) and z (plane) may "
            "be there, in any order",
        )


def read_operations(
    node: Node, layout: Layout, inputs: Sequence[str]
) -> tuple[tuple[Operation, ...], Decoder | None]:
    """Steps of a tensor, and the decoder if the last one asks for it.

    Parameters
    ----------
    inputs : sequence of str
        Names of the inputs, which steps may refer to.
    """
    found: list[Operation] = []
    decoder: Decoder | None = None
    for item in node.items():
        name, arguments = parts_of(item)
        if name in DECODING:
            decoder = _decoding(item, name, arguments, layout)
            continue
        operation = operation_of(item, layout.image_order, _channels(layout))
        _known_reference(arguments.get("reference_tensor"), inputs)
        if decoder is not None and operation.name != "ensure_dtype":
            raise item.refuse(f"'{name}' after the objects were cut is not supported")
        if not operation.identity and decoder is None:
            found.append(operation)
    return tuple(found), decoder


def _channels(layout: Layout) -> int | None:
    axis = layout.channel_axis
    return 1 if axis is None else axis.fixed


def _known_reference(node: Node, inputs: Sequence[str]) -> None:
    if node and node.text() not in inputs:
        raise node.refuse(
            f"there is no input '{node.value}'", f"inputs: {', '.join(inputs)}"
        )


def _decoding(item: Node, name: str, arguments: Node, layout: Layout) -> Decoder:
    if "postprocessing" not in item.field:
        raise item.refuse(f"'{name}' is a step after the network, not before it")
    if name == "stardist_postprocessing":
        return _stardist(arguments, layout)
    if arguments.get("do_3D") and arguments.get("do_3D").flag():
        raise arguments.get("do_3D").refuse("objects in 3D are not supported")
    _wanted_channels(item, layout, 3, "flow y, flow x and cell probability")
    options: dict[str, float] = {
        "flow_threshold": arguments.get("flow_threshold").number()
    }
    if arguments.get("min_size"):
        options["min_size"] = arguments.get("min_size").index()
    threshold = arguments.get("cellprob_threshold").number()
    return Decoder(kind="flows", threshold=threshold, options=options)


def _stardist(arguments: Node, layout: Layout) -> Decoder:
    grid = [size.size() for size in arguments.get("grid").items()]
    if len(grid) != 2 or grid[0] != grid[1]:
        raise arguments.get("grid").refuse(
            f"a grid of {grid} is not supported",
            "use a model for single planes with the same grid along y and x",
        )
    rays = arguments.get("n_rays").size()
    _wanted_channels(arguments, layout, rays + 1, f"probability and {rays} rays")
    return Decoder(
        kind="stardist",
        threshold=arguments.get("prob_threshold").number(),
        options={"grid": grid[0], "nms": arguments.get("nms_threshold").number()},
    )


def _wanted_channels(node: Node, layout: Layout, count: int, what: str) -> None:
    if _channels(layout) != count:
        raise node.refuse(
            f"the output needs {count} channels ({what}), it has {_channels(layout)}",
            "describe the axes of the network's own output",
        )


def same_scale(given: int, out: int) -> tuple[float, int]:
    """Scale and offset of an output of fixed size for an input of fixed size."""
    if out % given == 0 or given % out == 0:
        return out / given, 0
    # Neither a grid nor an enlargement: a network without padding.
    return 1.0, out - given


def as_output(axis: Axis, given: Layout | None) -> Axis:
    """Output axis of a fixed size, related to the input's axis of the same name."""
    own = given.axis(axis.name) if given is not None else None
    if axis.least is None or own is None or axis.name in "bc":
        return axis
    if own.fixed is None:
        # One number for the whole image, such as after global pooling.
        return Axis(axis.name, axis.least, 0, 0.0, axis.least)
    scale, offset = same_scale(own.fixed, axis.least)
    return Axis(axis.name, axis.least, 0, scale, offset, axis.halo)
