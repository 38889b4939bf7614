"""Errors become one sentence and an exit code; only a bug has a traceback."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUG", "EXIT_CODES", "INTERRUPTED", "guarded", "report_error"]

BUG = 70
INTERRUPTED = 130
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "failed",
    2: "wrong file or argument",
    3: "hardware",
    4: "safety",
    5: "frames lost",
    6: "disk or record",
    7: "model",
    8: "policy or vision stage",
    9: "replay differs",
    BUG: "a bug in smartscope",
    INTERRUPTED: "interrupted",
}
P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap the body of a command so that no traceback reaches the user.

    Set ``SMARTSCOPE_DEBUG=1`` to see one all the same.
    """

    @functools.wraps(command)
    def body(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of a pipe (head, less) has gone; what is left has no reader.
            sys.stdout = open(os.devnull, "w")
            raise typer.Exit(0) from None
        # The one place where everything is caught: here an error becomes words.
        except Exception as error:
            raise typer.Exit(report_error(error)) from None

    return body


def report_error(error: Exception) -> int:
    """Print what happened on stderr and return the exit code it deserves."""
    from smartscope.core import SmartscopeError

    if os.environ.get("SMARTSCOPE_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, SmartscopeError):
        typer.echo(f"smartscope: {error}", err=True)
        return error.exit_code
    saved = _save_traceback(error)
    where = f" The traceback is in {saved}; please send it with" if saved else " Send"
    typer.echo(
        f"smartscope: this is a bug ({type(error).__name__}: {error}).{where} what "
        "you did to the project's issue tracker.",
        err=True,
    )
    return BUG


def _save_traceback(error: Exception) -> Path | None:
    # `run_path` is set on an error that ended a run: its folder is the natural place.
    folder: Any = getattr(error, "run_path", None)
    name = f"smartscope-bug-{datetime.now():%Y%m%d-%H%M%S}.txt"
    text = "".join(traceback.format_exception(error))
    for parent in (folder, tempfile.gettempdir()):
        if parent is None:
            continue
        path = Path(parent) / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return path
    return None
