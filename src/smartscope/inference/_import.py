"""From a file of another program, and a few answers, to a model package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._axes import Axis, Layout
from smartscope.inference._card import Card, read_decoder
from smartscope.inference._document import Node, refusal
from smartscope.inference._intake import Intake
from smartscope.inference._model import Model
from smartscope.inference._operations import operation_of
from smartscope.inference._outcome import Output
from smartscope.inference._package import read_bytes
from smartscope.inference._protocol import Weights
from smartscope.inference._rdf_tensor import TensorSpec, check_order
from smartscope.inference._registry import open_runtime
from smartscope.inference._weights_onnx import check_onnx
from smartscope.inference._write import Content, read_content
from smartscope.inference._write_make import with_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._operations import Operation
    from smartscope.inference._protocol import Port

_TRIED_PX = 128
"""Side of the image that a network is tried with."""
_BARE = {".onnx": "onnx", ".pt": "torchscript", ".pth": "torchscript"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the user says about a model.

    Attributes
    ----------
    name, version, licence, description : str
        Empty keeps what the file says.
    axes : str or None
        Order of the axes of a bare network; None is ``bcyx``.
    channels : int
        Channels of its input, where the network does not say.
    multiple_of : int
        It takes images whose sides are multiples of this many pixels.
    preprocessing, postprocessing : sequence
        Operations of a bare network, as in a package; `postprocessing` of all outputs.
    decoder : mapping or None
        As in ``config.smartscope.decoder``; None keeps what the file says.
    pixel_um, object_px : float or None
        Pixel size and object diameter of the images it was made for.
    full_scale : float or None
        Of a ``.czann``: camera counts that ZEISS software makes 1, see `read_czann`.
    """

    name: str = ""
    version: str = ""
    licence: str = ""
    description: str = ""
    axes: str | None = None
    channels: int = 1
    multiple_of: int = 1
    preprocessing: Sequence[Any] = ()
    postprocessing: Sequence[Any] = ()
    decoder: Any = None
    pixel_um: float | None = None
    object_px: float | None = None
    full_scale: float | None = None

    @property
    def of_a_network(self) -> bool:
        """Something is said that only a bare network leaves open."""
        plain = self.axes is None and self.channels == 1 and self.multiple_of == 1
        return not plain or bool(self.preprocessing or self.postprocessing)


def import_model(path: str | Path, answers: Answers) -> Content:
    """Read a model of another program, ready to be written as a package.

    Parameters
    ----------
    path : str or path
        A bioimage.io package (folder or zip), a ZEISS ``.czann``, an ``.onnx`` file,
        or TorchScript (``.pt``).
    answers : Answers
        What the file does not say.

    Returns
    -------
    Content
        With test tensors: those of the package, or for a bare network and a ``.czann``
        the output of ONNX Runtime (PyTorch for TorchScript) on a synthetic image.

    Raises
    ------
    ModelError
        The file is not sound, or an answer contradicts it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".czann" and answers.full_scale is not None:
        raise refusal("only a .czann has a full scale", file=str(path))
    if suffix not in _BARE and answers.of_a_network:
        raise refusal(
            "a package states its own axes, sizes and operations",
            file=str(path),
            fix="leave them out, or give the network's file alone",
        )
    if suffix in _BARE:
        content = _network(path, answers)
    elif suffix == ".czann":
        from smartscope.inference._czann import read_czann

        content = _tested(read_czann(path, full_scale=answers.full_scale))
    else:
        content = read_content(path)
    return _answered(content, answers, str(path))


def _tested(content: Content) -> Content:
    """With test images: such files bring none."""
    runtime = open_runtime("onnxruntime", content.weights, threads=1)
    try:
        return with_tests(content, runtime)
    finally:
        runtime.close()


def _answered(content: Content, answers: Answers, file: str) -> Content:
    """The content with what the user says about it."""
    changes: dict[str, Any] = {
        key: value
        for key in ("version", "licence", "description", "pixel_um", "object_px")
        if (value := getattr(answers, key))
    }
    if answers.decoder is not None:
        decoder = read_decoder(Node(answers.decoder, file, "decoder"))
        if decoder.output >= len(content.outputs):
            raise refusal(
                f"there is no output {decoder.output}, the model has "
                f"{len(content.outputs)}",
                file=file,
                field="decoder.output",
                fix="count from 0",
            )
        changes["decoder"] = decoder
    card = replace(content.card, **changes) if changes else content.card
    return replace(content, name=answers.name or content.name, card=card)


@dataclass(slots=True)
class _Bare:
    """A network that says nothing about itself but its ports."""

    weights: Weights
    order: str
    answers: Answers
    before: tuple[Operation, ...] = ()
    after: tuple[Operation, ...] = ()
    outputs: list[tuple[str, Layout]] = field(default_factory=list)


def _network(path: Path, answers: Answers) -> Content:
    file = str(path)
    order = "bcyx" if answers.axes is None else answers.axes
    check_order(Node(order, file, "axes"), order)
    content = read_bytes(path)
    kind = _BARE[path.suffix.lower()]
    if kind == "onnx":
        check_onnx(content, file)
    digest = hashlib.sha256(content).hexdigest()
    weights = Weights(kind=kind, content=content, file=file, sha256=digest)  # type: ignore[arg-type]
    bare = _Bare(weights, order, answers)
    bare.before = _operations(answers.preprocessing, order, file, "preprocessing")
    bare.after = _operations(answers.postprocessing, order, file, "postprocessing")
    layout = _learn(bare)
    given = TensorSpec(
        layout, bare.before, Node(None, file), name="image", pixel_um=answers.pixel_um
    )
    outputs = tuple(
        TensorSpec(found, bare.after, Node(None, file), name=name, reference="image")
        for name, found in bare.outputs
    )
    tests = _tests(bare, given, outputs)
    return Content(
        name=path.stem,
        inputs=(given,),
        outputs=outputs,
        weights=(weights,),
        card=Card(),
        test_inputs=(tests[0],),
        test_outputs=tests[1:],
    )


def _operations(
    written: Sequence[Any], order: str, file: str, field: str
) -> tuple[Operation, ...]:
    image = "czyx" if "z" in order else "cyx"
    return tuple(
        operation_of(item, image, None)
        for item in Node(list(written), file, field).items()
    )


def _learn(bare: _Bare) -> Layout:
    """Layout of the input; those of the outputs are found by running it."""
    name = "torch" if bare.weights.kind == "torchscript" else "onnxruntime"
    runtime = open_runtime(name, [bare.weights], threads=1)
    try:
        if len(runtime.inputs) != 1:
            raise refusal(
                f"the network has {len(runtime.inputs)} inputs",
                file=bare.weights.file,
                fix="import it as a bioimage.io package that describes each",
            )
        layout = _layout(bare, runtime.inputs[0])
        small, large = _tried(layout, _TRIED_PX), _tried(layout, _TRIED_PX + 1)
        shapes = []
        for sizes in (small, large):
            shape = layout.shape(sizes)
            runtime.prepare([shape])
            shapes.append([tensor.shape for tensor in runtime.run()])
        bare.outputs = [
            (port.name or f"output{number}", _out(bare, small, large, first, second))
            for number, (port, first, second) in enumerate(
                zip(runtime.outputs, *shapes, strict=True)
            )
        ]
    finally:
        runtime.close()
    return layout


def _layout(bare: _Bare, port: Port) -> Layout:
    shape = port.shape or (None,) * len(bare.order)
    if len(shape) != len(bare.order):
        raise refusal(
            f"the network takes {len(shape)} axes, not '{bare.order}'",
            file=bare.weights.file,
            field="axes",
            fix="name them in its order, for example bcyx",
        )
    axes = []
    many = bare.answers.multiple_of
    for name, size in zip(bare.order, shape, strict=True):
        if name == "b":
            axes.append(Axis(name, 1))
        elif size is not None:
            axes.append(Axis(name, size))
        elif name in "yx":
            axes.append(Axis(name, many, many))
        else:
            axes.append(Axis(name, bare.answers.channels if name in "ct" else 1))
    return Layout(tuple(axes))


def _tried(layout: Layout, least_px: int) -> dict[str, int]:
    """Sizes of an image of about `least_px`, as large as a fixed axis wants."""
    sizes = {"c": 1, "y": 1, "x": 1}
    for axis in layout.axes:
        wanted = least_px if axis.name in "yx" else 1
        sizes[axis.name] = axis.fixed or axis.legal(wanted) or wanted
    channels = layout.channel_axis
    sizes["c"] = 1 if channels is None else sizes[channels.name]
    return sizes


def _out(
    bare: _Bare,
    small: dict[str, int],
    large: dict[str, int],
    first: tuple[int, ...],
    second: tuple[int, ...],
) -> Layout:
    """Layout of an output, from what two sizes of the input gave."""
    order = bare.order
    if len(first) == len(order) - 1 and "c" in order:
        order = order.replace("c", "")
    elif len(first) == 2 and "b" in order:
        order = "bc"
    if len(first) != len(order):
        raise refusal(
            f"an output has {len(first)} axes, which do not follow from '{bare.order}'",
            file=bare.weights.file,
            fix="import it as a bioimage.io package that describes each",
        )
    axes = []
    for name, one, two in zip(order, first, second, strict=True):
        if name not in "yx":
            axes.append(Axis(name, one))
            continue
        grown = large[name] - small[name]
        scale = (two - one) / grown if grown else one / small[name]
        offset = one - scale * small[name]
        if abs(offset - round(offset)) > 1e-6 or scale <= 0:
            raise refusal(
                f"an output of {one} pixels along {name} does not follow from "
                f"{small[name]} of the input",
                file=bare.weights.file,
                fix="give 'multiple_of', the pixels the network works in steps of",
            )
        axes.append(Axis(name, scale=scale, offset=round(offset)))
    return Layout(tuple(axes))


def _tests(
    bare: _Bare, given: TensorSpec, outputs: tuple[TensorSpec, ...]
) -> tuple[NDArray[np.float32], ...]:
    """A synthetic camera image, and what the network makes of it."""
    file = bare.weights.file
    model = Model(
        name="",
        file=file,
        weights=(bare.weights,),
        card=Card(tolerance=1e-3),
        inputs=(Intake(given.name, given.layout, given.operations, file),),
        outputs=tuple(
            Output(spec.name, spec.layout, spec.operations, file) for spec in outputs
        ),
        runtime="torch" if bare.weights.kind == "torchscript" else "onnxruntime",
        threads=1,
    )
    sizes = _tried(given.layout, _TRIED_PX)
    shape = tuple(sizes[name] for name in given.layout.image_order)
    image = synthetic_image(shape)
    tensors = [np.zeros(given.layout.shape(sizes), np.float32)]
    given.layout.as_image(tensors[0])[...] = image
    try:
        for spec, found in zip(outputs, model.run(image), strict=True):
            last = dict(zip(spec.layout.image_order, found.shape, strict=True))
            tensors.append(np.zeros(spec.layout.shape(last), np.float32))
            spec.layout.as_image(tensors[-1])[...] = found
    except ModelError as error:
        raise refusal(
            f"it does not run on a test image ({error})",
            file=file,
            fix="correct axes, sizes or operations",
        ) from error
    finally:
        model.close()
    return tuple(tensors)


def synthetic_image(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    """Round bright objects on uneven ground, with photon noise: camera counts.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)``, ``(c, y, x)`` or ``(c, z, y, x)``.
    """
    random = np.random.default_rng(seed)
    height, width = shape[-2:]
    y, x = np.ogrid[:height, :width]
    clean = 100 + 20 * np.sin(y / 37) * np.cos(x / 53)
    for _ in range(max(3, height * width // 1700)):
        at_y, at_x = random.uniform(0, height), random.uniform(0, width)
        radius = random.uniform(3, 9)
        distance = np.hypot(y - at_y, x - at_x)
        clean = clean + random.uniform(100, 500) / (1 + np.exp(distance - radius))
    return random.poisson(np.broadcast_to(clean, shape)).astype(np.uint16)
