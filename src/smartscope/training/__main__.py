"""Train and judge the shipped models: ``python -m smartscope.training RECIPE ...``."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from smartscope.core import SmartscopeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Recipe: (module, function that declares options, function that runs).
_COMMANDS = {
    "nuclei": ("_nuclei_cli", "add_arguments", "run"),
    "denoise": ("_denoise_release", "add_arguments", "run"),
    "evaluate-denoise": ("_denoise_release", "add_judge_arguments", "run_judge"),
    "spots": ("_spots_cli", "add_arguments", "run"),
    "evaluate-spots": ("_spots_cli", "add_evaluate_arguments", "run_evaluate"),
    "divisions": ("_divisions_cli", "add_arguments", "run"),
    "evaluate-divisions": (
        "_divisions_cli",
        "add_evaluate_arguments",
        "run_evaluate",
    ),
    "evaluate": ("_nuclei_cli", "add_evaluate_arguments", "run_evaluate"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m smartscope.training", description=__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, declare, _) in _COMMANDS.items():
        getattr(import_module(f"smartscope.training.{module}"), declare)(
            commands.add_parser(name)
        )
    options = parser.parse_args(arguments)
    module, _, run = _COMMANDS[options.command]
    try:
        getattr(import_module(f"smartscope.training.{module}"), run)(options)
    except SmartscopeError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
