"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "JsonTo", "Strict"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
JsonTo = Annotated[
    str | None,
    typer.Option("--json", help="Write JSON; '-' prints it.", metavar="FILE"),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if something is not reached.")
]
