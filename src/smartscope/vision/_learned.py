"""How a stage is told to use a learned model: ``- segment: {model: nuclei}``."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from smartscope.config import refuse
from smartscope.vision._stage import StageConfig

_ADDRESS = re.compile(r"(grpcs?://)?[^\s:/]+:\d+")

STAGES_OF = {
    "restored": "'denoise'",
    "mask": "'segment' or 'detect'",
    "stardist": "'segment' or 'detect'",
    "flows": "'segment'",
    "spots": "'spots', 'detect' or 'localise'",
    "emitters": "'localise'",
    "classes": "'classify'",
    "events": "'event'",
}
"""Where a model of each decoder belongs, in words."""


class ModelUse(BaseModel):
    """Which model, by its name or path alone or with more: ``{path: net.onnx, ...}``.

    Attributes
    ----------
    path : str
        Name of a shipped model or of one of the user's own, or a path relative to the
        experiment: a bioimage.io package (folder or zip), an ``.onnx`` or a
        ``.czann`` file.
    axes : str or None
        For an ``.onnx`` file: order of its axes; None is ``bcyx``.
    preprocessing, postprocessing : list
        For an ``.onnx`` file: operations of the bioimage.io specification, such as
        ``[{scale_range: {max_percentile: 99.8}}, {scale_linear: {gain: 255}}]``.
    multiple_of : int
        For an ``.onnx`` file: images are padded to multiples of this many pixels.
    output, channel : int or None
        Which output, and which channel of it (0-based); None is what the package
        says, or the first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    axes: str | None = None
    preprocessing: tuple[Any, ...] = ()
    postprocessing: tuple[Any, ...] = ()
    multiple_of: PositiveInt = 1
    output: NonNegativeInt | None = None
    channel: NonNegativeInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Remote(BaseModel):
    """A server that runs the model: ``{remote: gpu-box:8001, model: nuclei}``.

    Attributes
    ----------
    remote : str
        Address, ``host:port``, or ``grpcs://host:port`` for an encrypted connection.
    model : str or None
        What the server calls it; None is the name of the package's folder or file.
    version : str or None
        Of the model on the server; None is the one that the server prefers.
    timeout_s : float or None
        An answer that takes longer is a failure, s; None is 2.
    certificate : str or None
        File with the server's certificate, for an encrypted connection, relative to
        the experiment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    remote: str
    model: str | None = None
    version: str | None = None
    timeout_s: PositiveFloat | None = None
    certificate: str | None = None

    @field_validator("remote")
    @classmethod
    def _address(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise refuse(
                (),
                f"'{value}' is no address of a server",
                "write host:port, such as gpu-box:8001",
            )
        return value

    @field_validator("version", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # Versions are numbers to people, and text to the protocol.
        return str(value) if type(value) is int else value


class Unfamiliar(BaseModel):
    """What happens when images are unlike those the model was made for.

    Attributes
    ----------
    after_frames : int
        After so many in a row, of one view.
    action : str
        ``note`` says so; ``pause`` and ``stop`` also pause or end the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_frames: PositiveInt = 3
    action: Literal["note", "pause", "stop"] = "note"


class LearnedConfig(StageConfig):
    """Settings of every stage that takes a model.

    Attributes
    ----------
    model : ModelUse or None
        The model; stages that have no other method need one.
    runtime : str or Remote
        ``auto`` takes the fastest at hand that agrees with the reference; or the name
        of a runtime, or a server.
    threads : int or None
        Threads the model may use; None is half of the cores.
    scale : str or float
        ``none`` gives the model the image as it is; ``auto`` resizes it to the pixel
        size the model was trained on, and what comes out back; a number is the
        model's pixels per image pixel.
    on_failure : str
        What a model that fails in the run does to it: ``stop`` it, or ``skip`` this
        stage for the frame and say so.
    unfamiliar : Unfamiliar
        What happens when images are unlike those of the training.
    """

    model: ModelUse | None = None
    runtime: Annotated[
        Annotated[str, Tag("str")] | Annotated[Remote, Tag("Remote")],
        Discriminator(lambda value: "str" if isinstance(value, str) else "Remote"),
    ] = "auto"
    threads: PositiveInt | None = None
    scale: Annotated[
        Annotated[Literal["auto", "none"], Tag("str")]
        | Annotated[PositiveFloat, Tag("float")],
        Discriminator(lambda value: "str" if isinstance(value, str) else "float"),
    ] = "none"
    on_failure: Literal["stop", "skip"] = "stop"
    unfamiliar: Unfamiliar = Unfamiliar()

    classical: ClassVar[tuple[str, ...]] = ()
    """Settings that a model takes the place of."""

    @field_validator("model", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        # 'model:' with nothing behind it must not mean the classical method.
        if value is None or value in ("", [], {}):
            raise refuse((), "no model is named", "write the name or path of one")
        if not isinstance(value, str | dict | ModelUse):
            raise refuse((), "this is no model", "write the name or path of one")
        return value

    @model_validator(mode="after")
    def _one_method(self) -> LearnedConfig:
        given = self.model_fields_set
        if self.model is None:
            if alone := [name for name in _WITH_MODEL if name in given]:
                raise ValueError(f"'{alone[0]}' belongs to 'model', which is not given")
        elif both := sorted(given.intersection(self.classical)):
            raise ValueError(
                f"'{both[0]}' does not go with 'model'; leave one of them out"
            )
        return self


_WITH_MODEL = ("runtime", "threads", "scale", "on_failure", "unfamiliar")
