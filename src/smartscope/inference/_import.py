"""From a file of another program, and a few answers, to a model package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.inference._bare import BARE, learn, read_network, read_steps
from smartscope.inference._card import read_decoder
from smartscope.inference._document import Node, refusal
from smartscope.inference._rdf_tensor import TensorSpec
from smartscope.inference._registry import open_runtime
from smartscope.inference._write import Content, read_content
from smartscope.inference._write_make import with_tests

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    if suffix not in BARE and answers.of_a_network:
        raise refusal(
            "a package states its own axes, sizes and operations",
            file=str(path),
            fix="leave them out, or give the network's file alone",
        )
    if suffix in BARE:
        content = _network(path, answers)
    elif suffix == ".czann":
        from smartscope.inference._czann import read_czann

        content = _tested(read_czann(path, full_scale=answers.full_scale))
    else:
        content = read_content(path)
    return _answered(content, answers, str(path))


def _tested(content: Content) -> Content:
    """With test images: such files bring none."""
    torch = content.weights[0].kind == "torchscript"
    name = "torch" if torch else "onnxruntime"
    runtime = open_runtime(name, content.weights, threads=1)
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


def _network(path: Path, answers: Answers) -> Content:
    weights = read_network(path)
    order = "bcyx" if answers.axes is None else answers.axes
    layout, found = learn(
        weights,
        order,
        channels=answers.channels,
        multiple_of=answers.multiple_of,
        every_size=True,
    )
    before = read_steps(answers.preprocessing, order, str(path), "preprocessing")
    after = read_steps(answers.postprocessing, order, str(path), "postprocessing")
    nowhere = Node(None, str(path))
    given = TensorSpec(layout, before, nowhere, name="image", pixel_um=answers.pixel_um)
    outputs = tuple(
        TensorSpec(out, after, nowhere, name=name, reference="image")
        for name, out in found
    )
    content = Content(
        name=path.stem, inputs=(given,), outputs=outputs, weights=(weights,)
    )
    return _tested(content)
