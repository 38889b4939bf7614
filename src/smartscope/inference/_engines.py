"""Compiled engines on the disk: found by what they were made of, never trusted blindly.

An engine is a file beside a file that says what it is. The key holds all that the
engine depends on; another version of TensorRT, another card or another network is
another key, so a stale engine is not found rather than tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._fold import Folding
from smartscope.inference._verdicts import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.inference._protocol import Precision, Weights
    from smartscope.inference._trt import Flavour

Shape = tuple[int, ...]
Profile = tuple[Shape, Shape, Shape]
"""Smallest, most frequent and largest shape of one input."""

ALL_CAPABILITIES = (75, 80, 86, 89, 120)
"""Turing, Ampere (data centre), Ampere, Ada, Blackwell: one file serves them all."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is compiled.

    Attributes
    ----------
    flavour : ``tensorrt-rtx`` or ``tensorrt``
        The first compiles without a card and finishes on the one it meets; the second
        compiles on the card it will run on.
    sm : tuple of int
        Compute capabilities, such as 86; for ``tensorrt-rtx`` only.
    precision : str
        ``fp32``, ``fp16``, ``int8`` or ``fp8``.
    profiles : tuple of Profile
        For each input of the network as it is in the file (before folding); empty
        where all of its sizes are fixed.
    folding : Folding or None
        Processing that goes into the network.
    workspace_mb : int or None
        Most scratch memory on the card; None is what TensorRT likes.
    """

    flavour: Flavour = "tensorrt-rtx"
    sm: tuple[int, ...] = ALL_CAPABILITIES
    precision: Precision = "fp32"
    profiles: tuple[Profile, ...] = ()
    folding: Folding | None = None
    workspace_mb: int | None = None


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """Input or output of an engine; `shape` with None where several sizes are taken."""

    name: str
    mode: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class EngineCard:
    """What an engine is.

    Attributes
    ----------
    key : str
        `engine_key` of what it was made of.
    model, onnx_sha256 : str
        File it was made of.
    runtime : str
        Name and version of the TensorRT that made it, which alone can load it.
    target : str
        Cards it is for.
    precision, folding : str
        As in the recipe.
    profiles : tuple of Profile
        As in the recipe.
    tensors : tuple of EngineTensor
        Inputs, then outputs.
    sha256 : str
        Of the engine.
    seconds : float
        What compiling took.
    notes : tuple of str
        For people.
    """

    key: str
    model: str
    onnx_sha256: str
    runtime: str
    target: str
    precision: Precision
    folding: str
    profiles: tuple[Profile, ...]
    tensors: tuple[EngineTensor, ...]
    sha256: str
    seconds: float
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        """As it lies beside the engine."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str, file: str) -> EngineCard:
        """Read it; raises `ModelError` for anything else."""
        try:
            told = json.loads(text)
            if told.pop("format") != _FORMAT:
                raise ValueError("another format")
            return cls(
                **{
                    **told,
                    "profiles": _tuples(told["profiles"]),
                    "notes": tuple(told["notes"]),
                    "tensors": tuple(
                        EngineTensor(**{**t, "shape": tuple(t["shape"])})
                        for t in told["tensors"]
                    ),
                }
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise refusal(
                "the description of this engine cannot be read",
                file=file,
                fix="build the engine again",
            ) from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Engine:
    """A compiled network.

    Attributes
    ----------
    content : bytes
        What TensorRT loads.
    card : EngineCard
        What it is.
    """

    content: bytes
    card: EngineCard


def engine_key(
    weights: Weights, recipe: Recipe, runtime: str, target: str, calibration: str = ""
) -> str:
    """SHA-256 over all that an engine depends on.

    Parameters
    ----------
    weights : Weights
        The network.
    recipe : Recipe
        How it is compiled.
    runtime : str
        Name and version of the TensorRT.
    target : str
        Compute capabilities, or name and driver of the card.
    calibration : str
        SHA-256 over the calibration images, where it was quantised.
    """
    folding = recipe.folding or Folding()
    parts = [
        _FORMAT,
        weights.sha256,
        runtime,
        target,
        recipe.precision,
        [list(map(list, profile)) for profile in recipe.profiles],
        folding.text(),
        recipe.workspace_mb,
        calibration,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def digest_of(tensors: Sequence[Sequence[Any]]) -> str:
    """SHA-256 over arrays: their types, shapes and bytes; empty for none."""
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for image in tensors:
        for tensor in image:
            digest.update(f"{tensor.dtype}{tensor.shape}".encode())
            digest.update(tensor.tobytes())
    return digest.hexdigest()


def engines_folder() -> Path:
    """Where engines are kept; deleting it costs time only."""
    return cache_folder() / "engines"


def engine_path(folder: Path, key: str, model: str) -> Path:
    """File of an engine: the name of its model for people, the key for us."""
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(model).stem)
    return folder / f"{stem[:40]}-{key[:16]}.engine"


def card_path(path: Path) -> Path:
    """File that says what an engine is."""
    return path.with_suffix(".json")


def write_engine(path: Path, engine: Engine) -> None:
    """Write an engine and its card, each whole or not at all.

    Raises
    ------
    ModelError
        The folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The card comes last: an engine without one is not found.
        write_whole(path, engine.content)
        write_whole(card_path(path), engine.card.to_json().encode())
    except OSError as error:
        raise refusal(
            f"the engine cannot be written ({error.strerror})",
            file=str(path),
            fix="give a folder that can be written to, or set SMARTSCOPE_CACHE",
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees a part of it; raises `OSError`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def read_engine(path: Path) -> Engine:
    """Read an engine and see that it is whole.

    Raises
    ------
    ModelError
        It is missing, has no card, or is not what the card says.
    """
    file = path.name
    try:
        text = card_path(path).read_text(encoding="utf-8")
        content = path.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(
            "the engine, or the .json file beside it, cannot be read",
            file=file,
            fix="build the engine again",
        ) from error
    card = EngineCard.from_json(text, file)
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise refusal(
            "the engine is damaged (its SHA-256 is not the one beside it)",
            file=file,
            fix="build the engine again",
        )
    return Engine(content, card)


def find_engine(folder: Path, key: str, model: str) -> tuple[Engine | None, str]:
    """Engine kept under a key.

    Returns
    -------
    tuple of (Engine or None, str)
        The engine; or None and a sentence why a file that is there is not used, empty
        where there is none.
    """
    path = engine_path(folder, key, model)
    if not path.is_file():
        return None, ""
    try:
        engine = read_engine(path)
    except ModelError as error:
        return None, f"{error}; it was built anew"
    if engine.card.key != key:
        return None, f"{path.name} was made of something else; it was built anew"
    return engine, ""


def find_covering(
    folder: Path,
    weights: Weights,
    recipe: Recipe,
    runtime: str,
    suits: Callable[[str], bool],
) -> tuple[Engine | None, Path | None]:
    """Engine that was built for more sizes or more cards than are needed now.

    Parameters
    ----------
    folder : path
        The cache.
    weights : Weights
        The network.
    recipe : Recipe
        What is needed: precision, folding, and the sizes as profiles.
    runtime : str
        Name and version of the TensorRT.
    suits : callable
        Whether the `target` of an engine includes this card.

    Returns
    -------
    tuple of (Engine or None, path or None)
        The engine and its file.
    """
    folding = recipe.folding.text() if recipe.folding else ""
    wanted = weights.sha256, runtime, recipe.precision, folding
    for path in sorted(folder.glob("*.json")):
        try:
            card = EngineCard.from_json(path.read_text(encoding="utf-8"), path.name)
            has = card.onnx_sha256, card.runtime, card.precision, card.folding
            fits = has == wanted and suits(card.target)
            if fits and _covers(card.profiles, recipe.profiles):
                file = path.with_suffix(".engine")
                return read_engine(file), file
        # A file that cannot be read is no engine; another may be.
        except (OSError, UnicodeDecodeError, ModelError):
            continue
    return None, None


def _covers(profiles: tuple[Profile, ...], wanted: tuple[Profile, ...]) -> bool:
    """Whether sizes lie within profiles."""
    return len(profiles) == len(wanted) and all(
        len(low) == len(least)
        and all(a <= b for a, b in zip(low, least, strict=True))
        and all(a >= b for a, b in zip(high, most, strict=True))
        for (low, _, high), (least, _, most) in zip(profiles, wanted, strict=True)
    )


def check_engine(engine: Engine, runtime: str, weights: Weights | None) -> None:
    """Refuse an engine of another network or another TensorRT before it is loaded.

    Raises
    ------
    ModelError
        It is not for this; the sentence says what it is for.
    """
    card = engine.card
    if card.runtime != runtime:
        raise refusal(
            f"this engine was built by {card.runtime}, here is {runtime}",
            file=card.model,
            fix="build it again with: smartscope models build",
        )
    if weights is not None and card.onnx_sha256 != weights.sha256:
        raise refusal(
            f"this engine was built of another version of '{card.model}'",
            file=weights.file,
            fix="build it again with: smartscope models build",
        )


def with_notes(engine: Engine, *notes: str) -> Engine:
    """The engine with more notes on its card."""
    told = (*engine.card.notes, *(note for note in notes if note))
    return replace(engine, card=replace(engine.card, notes=told))
