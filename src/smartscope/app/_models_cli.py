"""`smartscope models`: arguments in, exit code out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from smartscope.app._guard import guarded
from smartscope.app._options import Json, JsonTo

__all__ = ["models_app"]

models_app = typer.Typer(
    no_args_is_help=True,
    help="Learned models: list, inspect, check, import, export, build and time them.",
)


class Format(StrEnum):
    """What `models export` writes."""

    bioimageio = "bioimageio"
    czann = "czann"
    onnx = "onnx"


Model = Annotated[
    str,
    typer.Argument(
        help="A name of 'smartscope models list', a package (folder or zip), or a file."
    ),
]
Engines = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the engine here.", metavar="FILE"),
]


@models_app.command("list")
@guarded
def models_list(as_json: Json = False) -> None:
    """List the shipped models and your own."""
    from smartscope.app._models import list_all

    raise typer.Exit(list_all(as_json=as_json))


@models_app.command("info")
@guarded
def models_info(model: Model, as_json: Json = False) -> None:
    """Say what a model is, what it was trained on, and where it ends."""
    from smartscope.app._models import show_info

    raise typer.Exit(show_info(model, as_json=as_json))


@models_app.command("check")
@guarded
def models_check(
    model: Model,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of each runtime.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Read everything, verify hashes, and run the test images on every runtime here."""
    from smartscope.app._models_check import check_model

    raise typer.Exit(check_model(model, threads=threads, as_json=as_json))


@models_app.command("import")
@guarded
def models_import(
    file: Annotated[
        Path,
        typer.Argument(
            help="A bioimage.io package (folder or zip), .czann, .onnx, or "
            "TorchScript .pt.",
            metavar="FILE",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What you will call it.")
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option("--axes", help="Axes of a bare network in order; default bcyx."),
    ] = None,
    channels: Annotated[
        int,
        typer.Option(
            "--channels", help="Channels it wants, if it does not say.", min=1
        ),
    ] = 1,
    multiple_of: Annotated[
        int,
        typer.Option(
            "--multiple-of", help="It takes sides that are multiples of this.", min=1
        ),
    ] = 1,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--preprocess",
            help="Operation before the network, several in order: "
            "'scale_range: {max_percentile: 99.8}'.",
            metavar="YAML",
        ),
    ] = None,
    postprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--postprocess", help="Operation after it: sigmoid.", metavar="YAML"
        ),
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            "--decoder",
            help="What its output means: spots, or "
            "'{kind: mask, channel: 1, threshold: 0.4}'.",
            metavar="YAML",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", "--licence", help="SPDX name, such as MIT."),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Of the model.")
    ] = None,
    pixel_um: Annotated[
        float | None,
        typer.Option("--pixel", help="Pixel size it was trained on, um.", min=1e-4),
    ] = None,
    object_px: Annotated[
        float | None,
        typer.Option("--object", help="Usual diameter of an object, pixels.", min=0.1),
    ] = None,
    full_scale: Annotated[
        float | None,
        typer.Option(
            "--full-scale",
            help="For .czann: camera counts that count as 1, such as 65535.",
            min=1e-6,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace your model of this name.")
    ] = False,
) -> None:
    """Make a package of a model of another program, in the folder of your models."""
    from smartscope.app._models_make import import_one
    from smartscope.inference import Answers

    answers = Answers(
        name=name or "",
        version=version or "",
        licence=licence or "",
        axes=axes,
        channels=channels,
        multiple_of=multiple_of,
        pixel_um=pixel_um,
        object_px=object_px,
        full_scale=full_scale,
    )
    code = import_one(
        file,
        answers,
        preprocess=preprocess or (),
        postprocess=postprocess or (),
        decoder=decoder,
        replace=replace,
    )
    raise typer.Exit(code)


@models_app.command("export")
@guarded
def models_export(
    model: Model,
    target: Annotated[
        Path, typer.Argument(help="Folder or file to write.", metavar="DEST")
    ],
    kind: Annotated[
        Format, typer.Option("--format", help="What other programs read.")
    ] = Format.bioimageio,
    zipped: Annotated[
        bool, typer.Option("--zip", help="Write the bioimage.io package as a zip.")
    ] = False,
) -> None:
    """Write a model for another program: bioimage.io 0.5, ZEISS .czann, or ONNX."""
    from smartscope.app._models_make import export_one

    raise typer.Exit(export_one(model, target, kind=kind.value, zipped=zipped))


@models_app.command("build")
@guarded
def models_build(
    model: Model,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime", help="tensorrt-rtx, tensorrt, openvino, onnxruntime."
        ),
    ],
    sm: Annotated[
        str | None,
        typer.Option(
            "--sm", help="Compute capabilities for tensorrt-rtx; default all."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="fp32, fp16, int8 or fp8; default fp16 for cards, int8 for CPUs.",
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="Image size it is for, YxX; default a range."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Image, or folder of images (TIFF, .npy), for int8 and fp8.",
            metavar="IMAGES",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            help="uint8 or uint16: pre- and post-processing on the card, too.",
        ),
    ] = None,
    output: Engines = None,
    as_json: Json = False,
) -> None:
    """Compile a model for NVIDIA cards (no card needed), or quantise it to int8."""
    from smartscope.app._models_build import build_one

    code = build_one(
        model,
        runtime=runtime,
        sm=sm,
        precision=precision,
        shape=shape,
        camera=camera,
        calibrate=calibrate,
        output=output,
        as_json=as_json,
    )
    raise typer.Exit(code)


@models_app.command("bench")
@guarded
def models_bench(
    models: Annotated[list[str], typer.Argument(help="Models.", metavar="MODEL...")],
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            help="Runtime, or grpc://HOST:PORT/MODEL; several; default all here.",
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", help="Image size YxX; several; default 512x512."),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", help="Threads; several; default as in a run.", min=1),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", help="Turns of each.", min=1)
    ] = 100,
    json_to: JsonTo = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown.")
    ] = False,
) -> None:
    """Time models beside the bare call of the runtime. Keep the machine idle."""
    from smartscope.app._models_bench import bench_all

    code = bench_all(
        models,
        runtimes=runtime or (),
        shapes=shape or (),
        threads=threads or (),
        count=count,
        json_to=json_to,
        markdown=markdown,
    )
    raise typer.Exit(code)
