"""What a run tells of the models it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.control import Monitor
    from smartscope.vision import Pipeline


def tell_models(
    pipeline: Pipeline, note: Callable[..., object], monitor: Monitor
) -> None:
    """Journal which model runs where and on what, and say what was wrong.

    Parameters
    ----------
    pipeline : Pipeline
        Warmed up, so that every runtime is chosen.
    note : function
        Writes a journal entry of a kind.
    monitor : Monitor
        Is told of runtimes that disagree or fail; they are never passed over in
        silence.
    """
    for stage, facts in pipeline.models():
        note("model", {"stage": stage, **facts})
        for report in facts.get("reports", ()):
            note("fault", {"where": "model", "message": f"{stage}: {report}"})
            monitor.fault(f"{stage}: {report}")
