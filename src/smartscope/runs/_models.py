"""What a run tells of the models it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.control import Monitor
    from smartscope.core import PixelMap
    from smartscope.vision import Pipeline


def warm_up(
    pipeline: Pipeline,
    shape: tuple[int, int],
    note: Callable[..., object],
    monitor: Monitor,
    *,
    planes: int = 1,
    pixel_map: PixelMap,
) -> None:
    """Get vision ready, and journal which model runs where and on what.

    Shape, planes, pixel map and errors are those of `Pipeline.warm_up`.

    Parameters
    ----------
    note : function
        Writes a journal entry of a kind.
    monitor : Monitor
        Is told of runtimes that disagree or fail; they are never passed over in
        silence.
    """
    if pipeline.models():
        # The first time on a machine this takes seconds; nobody likes silence.
        monitor.set(phase="trying runtimes for the models")
    pipeline.warm_up(shape, planes=planes, pixel_map=pixel_map)
    for stage, facts in pipeline.models():
        note("model", {"stage": stage, **facts})
        for report in facts.get("reports", ()):
            note("fault", {"where": "model", "message": f"{stage}: {report}"})
            monitor.fault(f"{stage}: {report}")
