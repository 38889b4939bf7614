"""`smartscope policies`: arguments in, exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smartscope.app._guard import guarded
from smartscope.app._options import Json

__all__ = ["policies_app"]

policies_app = typer.Typer(
    no_args_is_help=True, help="List the policies, show one, or begin your own."
)


@policies_app.command("list")
@guarded
def policies_list(as_json: Json = False) -> None:
    """List the shipped policies."""
    from smartscope.app._policies import list_policies

    raise typer.Exit(list_policies(as_json=as_json))


@policies_app.command("show")
@guarded
def policies_show(
    name: Annotated[
        str, typer.Argument(help="A shipped policy, or a path to your own.")
    ],
) -> None:
    """Say what a policy does and which parameters it has."""
    from smartscope.app._policies import show_policy

    raise typer.Exit(show_policy(name))


@policies_app.command("new")
@guarded
def policies_new(
    name: Annotated[str, typer.Argument(help="Its name, for example burst_on_flash.")],
    path: Annotated[
        Path,
        typer.Option("--path", help="Folder to write into.", metavar="DIR"),
    ] = Path(),
) -> None:
    """Write a policy that works, an experiment that uses it, and its test."""
    from smartscope.app._policies_new import new_policy

    raise typer.Exit(new_policy(name, path))
