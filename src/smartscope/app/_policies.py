"""`policies list` and `policies show`: what a policy does and what can be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smartscope.policies import (
    describe,
    list_installed,
    list_shipped,
    load_policy_class,
)

if TYPE_CHECKING:
    from smartscope.policies import ParameterInfo, PolicyInfo

__all__ = ["list_policies", "show_policy"]


def list_policies(*, as_json: bool) -> int:
    """Print every shipped or installed policy with its first line."""
    found = {
        name: _info(name).headline for name in (*list_shipped(), *list_installed())
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return 0
    width = max(map(len, found), default=0)
    for name, headline in found.items():
        typer.echo(f"{name:<{width}}  {headline}")
    typer.echo("\nMore with: smartscope policies show NAME")
    return 0


def show_policy(name: str) -> int:
    """Print description, parameters and a piece of YAML to start from."""
    info = _info(name)
    typer.echo(info.doc or "(it has no description)")
    typer.echo("\nParameters")
    for parameter in info.parameters:
        typer.echo(f"  {parameter.name}: {_in_words(parameter)}")
    typer.echo(f"\nIn an experiment\n\npolicies:\n  - use: {name}")
    for parameter in info.parameters:
        value = "..." if parameter.required else _yaml(parameter.default)
        typer.echo(f"    {parameter.name}: {value}")
    typer.echo(f"\nSource: {info.source}")
    return 0


def _info(name: str) -> PolicyInfo:
    return describe(load_policy_class(name, Path.cwd()))


def _in_words(parameter: ParameterInfo) -> str:
    unit = f", {parameter.unit}" if parameter.unit else ""
    default = (
        "required" if parameter.required else f"default {_yaml(parameter.default)}"
    )
    text = f"{parameter.kind}{unit}; {default}"
    return f"{text}. {parameter.doc}" if parameter.doc else text


def _yaml(value: object) -> str:
    return json.dumps(value, default=str)
