"""Whether a model fits the stage that is to use it; nothing is run to know it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import ConfigError, ModelError
from smartscope.vision._learned import STAGES_OF, Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.inference import Model
    from smartscope.vision._stage import Input, StageContext

_LEAST = {"stardist": 4, "flows": 3, "emitters": 10}


def kind_of(model: Model, kinds: Sequence[str], output: int) -> str:
    """Decoder of a model: one of `kinds`.

    For a model that names none it is the first that its channels are enough for.

    Raises
    ------
    ModelError
        It is for another stage.
    """
    stated = model.decoder.kind
    if stated is None:
        given = _channels(model, output)
        fits = (k for k in kinds if given is None or given >= _LEAST.get(k, 1))
        return next(fits, kinds[0])
    if stated not in kinds:
        *others, last = (f"'{kind}'" for kind in kinds)
        needs = f"{', '.join(others)} or {last}" if others else last
        raise ModelError(
            f"{model.file}: the model gives '{stated}', this stage needs {needs}; use "
            f"it in {STAGES_OF[stated]}"
        )
    return stated


def check_output(model: Model, kind: str, output: int, channel: int) -> None:
    """Refuse an output that is not there, or too few channels for the decoder.

    Raises
    ------
    ModelError
        Of a bare network, which does not state them, channels are seen at its run.
    """
    if output >= len(model.outputs):
        raise ModelError(
            f"{model.file}: there is no output {output}; the model has "
            f"{len(model.outputs)}, counted from 0"
        )
    given = _channels(model, output)
    if given is None:
        return
    options = model.decoder.options
    alone = "rays_output" in options or options.get("density")
    least = 1 if alone else _LEAST.get(kind, 1)
    if given < least:
        raise ModelError(
            f"{model.file}: '{kind}' needs {least} channels, output {output} of the "
            f"model has {given}; correct the decoder in its package"
        )
    if channel >= given:
        raise ModelError(
            f"{model.file}: there is no channel {channel}; output {output} of the "
            f"model has {given}, counted from 0"
        )


def _channels(model: Model, output: int) -> int | None:
    """Channels of an output, where the model states them."""
    if output >= len(model.outputs):
        return None
    axis = model.outputs[output].layout.axis("c")
    return None if axis is None else axis.fixed


def check_inputs(model: Model, inputs: Sequence[Input], window: int) -> None:
    """Hold the channels and planes of a stage against those the model wants.

    Raises
    ------
    ModelError, ConfigError
        It wants several images, other channels, or planes.
    """
    if len(model.inputs) != 1:
        raise ModelError(
            f"{model.file}: the model has {len(model.inputs)} inputs; use a model "
            "with one input image"
        )
    wanted, named = model.channels, [one.channel for one in inputs]
    if wanted is not None and wanted != window * len(named):
        each = wanted / window
        of = f"{each:g} channel" + ("" if each == 1 else "s")
        if window > 1:
            of += f" in each of {window} frames"
        raise ConfigError(
            f"{model.file}: the model wants {of}, and gets {len(named)} "
            f"({', '.join(named)})",
            field="on.channel",
            fix="name as many under 'on: {channel: [...]}', in the model's order",
        )
    planes = model.inputs[0].layout.image_order == "czyx"
    stacks = any(one.z == "all" for one in inputs)
    if stacks and not planes:
        raise ConfigError(
            f"{model.file}: the model knows no planes, so 'z: all' is not for it",
            field="on.z",
            fix="write z: max, z: mean or the number of a plane",
        )
    if planes and not stacks:
        raise ConfigError(
            f"{model.file}: the model wants a stack of planes",
            field="on.z",
            fix="write on: {z: all}",
        )


def check_scale(scale: str | float, model: Model) -> None:
    """Refuse ``auto`` where the model states no pixel size; raises `ConfigError`."""
    if scale == "auto" and model.card.pixel_um is None:
        raise ConfigError(
            f"{model.file}: the model does not say for which pixel size it was made, "
            "so 'scale: auto' cannot know",
            field="scale",
            fix="write the model's pixels per image pixel, such as scale: 0.5",
        )


def check_threshold(threshold: float | None, kind: str) -> None:
    """Refuse what is no probability, where one is meant; raises `ConfigError`."""
    of_probability = kind in ("mask", "stardist")
    if threshold is not None and of_probability and not 0 < threshold < 1:
        raise ConfigError(
            f"'threshold' is a probability, between 0 and 1 (found {threshold:g})",
            field="threshold",
        )


def check_runtime(written: str | Remote, model: Model, context: StageContext) -> None:
    """Refuse a runtime that is not here, before anything runs.

    Raises
    ------
    ConfigError
        There is none of this name, it is not installed, needs a card that is not
        here, or takes other weights.
    """
    from smartscope.inference import RUNTIMES

    if isinstance(written, Remote):
        _check_server(written, context)
        return
    if written == "auto":
        return
    kind = RUNTIMES.get(written)
    if kind is None:
        server = "write a server as {remote: host:port, model: NAME}"
        raise ConfigError(
            f"there is no runtime '{written}'",
            field="runtime",
            fix=server
            if ":" in written
            else did_you_mean(written, ("auto", *RUNTIMES)),
        )
    reason = kind.missing()
    if not any(kind.takes(weights) for weights in model.weights):
        reason = f"the model has no {' or '.join(kind.precisions)} weights for it"
    if reason is not None:
        raise ConfigError(
            f"runtime '{written}' cannot be used here: {reason}",
            field="runtime",
            fix="write 'auto', or one that 'smartscope models check' has tried",
        )


def _check_server(written: Remote, context: StageContext) -> None:
    if importlib.util.find_spec("grpc") is None:
        raise ConfigError(
            "a model on a server needs gRPC, which is not installed",
            field="runtime",
            fix="pip install smartscope[remote]",
        )
    file = written.certificate
    if file is not None and not (context.base_dir / file).is_file():
        raise ConfigError(
            f"there is no file '{file}'",
            field="runtime.certificate",
            fix="give its path relative to the experiment",
        )
