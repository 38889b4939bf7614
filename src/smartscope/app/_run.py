"""`run` and `replay`: start, watch, stop, and say how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from smartscope.app._guard import BUG
from smartscope.app._stop import orderly_stop
from smartscope.app._view import choose_mode, watching
from smartscope.config import find_experiment
from smartscope.control import Monitor
from smartscope.core import ConfigError, RecordError
from smartscope.record import write_report
from smartscope.runs import ReplayResult, replay, run

if TYPE_CHECKING:
    from smartscope.runs import RunResult

__all__ = ["replay_path", "run_experiment"]


def run_experiment(
    experiment: str,
    *,
    rig: Path | None,
    output: Path | None,
    shadow: bool,
    reload: bool,
    clock: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run one experiment with a view of it; the exit code of its outcome."""
    console = Console()
    path = find_experiment(experiment)
    mode = choose_mode(console, quiet=quiet, as_json=as_json)
    monitor = Monitor()
    with (
        watching(monitor, title=path.stem, mode=mode, console=console) as say,
        orderly_stop(say) as stop,
    ):
        result = run(
            path,
            rig=rig,
            output=output,
            shadow=shadow,
            reload=reload,
            clock=clock,
            monitor=monitor,
            stop=stop,
        )
    facts = _run_facts(result)
    _tell(facts, as_json=as_json, quiet=quiet)
    return result.exit_code


def replay_path(
    path: Path,
    *,
    experiment: str | None,
    output: Path | None,
    vision: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Replay a run folder or a recording; the exit code of its outcome."""
    console = Console()
    mode = choose_mode(console, quiet=quiet, as_json=as_json)
    monitor = Monitor()
    if not path.exists():
        raise ConfigError(
            "no such file or folder",
            file=str(path),
            fix="give a run folder or a recording",
        )
    with (
        watching(
            monitor, title=f"replay {path.name}", mode=mode, console=console
        ) as say,
        orderly_stop(say) as stop,
    ):
        result = replay(
            path,
            experiment=None if experiment is None else find_experiment(experiment),
            output=output,
            vision=vision,
            monitor=monitor,
            stop=stop,
        )
    facts = (
        _replay_facts(result)
        if isinstance(result, ReplayResult)
        else _run_facts(result)
    )
    _tell(facts, as_json=as_json, quiet=quiet)
    return result.exit_code


def _run_facts(result: RunResult) -> dict[str, Any]:
    report, problem = _report(result)
    return {
        "outcome": result.outcome,
        "message": result.message,
        "exit_code": result.exit_code,
        "run": str(result.path),
        "report": report,
        "report_problem": problem,
        "frames": result.frames,
        "reactions": result.reactions,
        "summary": dict(result.summary),
    }


def _report(result: RunResult) -> tuple[str | None, str]:
    # The run is over and safe on disk: a report that fails must not hide its outcome.
    try:
        return str(write_report(result.folder)), ""
    except (RecordError, OSError) as error:
        return None, f"the report could not be written: {error}"


def _replay_facts(result: ReplayResult) -> dict[str, Any]:
    same = "identical" if result.tolerance is None else "within tolerance"
    return {
        "outcome": same if result.identical else "different",
        "message": result.message,
        "exit_code": result.exit_code,
        "decisions": result.decisions,
        "differences": list(result.differences),
    }


def _tell(facts: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    failed = facts["exit_code"] != 0
    if failed or not quiet:
        outcome, message = facts["outcome"], facts["message"]
        said = message if message.startswith(outcome) else f"{outcome}: {message}"
        typer.echo(said[:1].upper() + said[1:], err=failed)
    if facts["exit_code"] == BUG:
        typer.echo(
            f"This is a bug in smartscope; please report it {_with(facts)}.", err=True
        )
    for problem in facts.get("differences", ()):
        typer.echo(f"  {problem}", err=True)
    if facts.get("report_problem"):
        typer.echo(f"  {facts['report_problem']}", err=True)
    if not quiet:
        for key in ("run", "report"):
            if facts.get(key):
                typer.echo(f"  {key:<7} {facts[key]}")


def _with(facts: dict[str, Any]) -> str:
    saved = Path(facts["run"]) / "traceback.txt"
    return f"with {saved}" if saved.exists() else "with the run's journal"
