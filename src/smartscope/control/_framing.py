"""What one exposure becomes: a frame of ours, and what pymmcore-plus says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pymmcore_plus.metadata.schema import Position

from smartscope.core import Frame, View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymmcore_plus.metadata import FrameMetaV1
    from pymmcore_plus.metadata.schema import PropertyValue
    from useq import MDAEvent

    from smartscope.control._planned import Planned
    from smartscope.core import HardwareState
    from smartscope.rig import Rig
    from smartscope.sources import Shot


class Framing:
    """Numbers the frames of a run and says where and how each was taken.

    Attributes
    ----------
    frames : how many there are so far; the next one's identity
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._views: dict[int, View] = {}
        self.frames = 0

    def frame(
        self,
        shot: Shot,
        planned: Planned,
        state: HardwareState,
        *,
        due_s: float | None = None,
        group: tuple[str | int, ...] | None = None,
        since_ns: int | None = None,
    ) -> Frame:
        """Give a shot its identity, its state and its place in the sample.

        `since_ns` is when the exposure may have begun already; by default it began
        at `Shot.t_exposed_ns`.
        """
        if since_ns is None:
            since_ns = shot.t_exposed_ns
        changed = self._rig.history.changes(since_ns, shot.t_end_ns)
        frame = Frame(
            frame_id=self.frames,
            pixels=shot.pixels,
            view=self._view(planned.position),
            role=planned.role,
            index=planned.event.index,
            cause=planned.cause,
            t_exposed_ns=shot.t_exposed_ns,
            exposed_uncertainty_ns=shot.exposed_uncertainty_ns,
            t_received_ns=shot.t_received_ns,
            t_published_ns=self._rig.clock.now_ns(),
            state=state,
            pixel_map=self._rig.pixel_map(),
            image_number=shot.image_number,
            mixed=bool(changed),
            moving=bool(changed & {"x_um", "y_um"}),
            planned_s=due_s,
            group=planned.group if group is None else group,
            last_of_group=planned.last_of_group,
        )
        self.frames += 1
        return frame

    def _view(self, position: int) -> View:
        view = self._views.get(position)
        if view is None:
            camera = self._rig.core.getCameraDevice()
            view = self._views[position] = View(position, camera)
        return view


def metadata(
    frame: Frame, event: MDAEvent, properties: Iterable[PropertyValue]
) -> FrameMetaV1:
    """What pymmcore-plus says of a frame, from what we know: no device is asked."""
    state, position = frame.state, Position()
    if state.x_um is not None and state.y_um is not None:
        position["x"], position["y"] = state.x_um, state.y_um
    if state.z_um is not None:
        position["z"] = state.z_um
    meta: dict[str, Any] = {
        "format": "frame-dict",
        "version": "1.0",
        "camera_device": frame.view.camera,
        "property_values": properties,
        "exposure_ms": state.exposure_ms,
        "pixel_size_um": frame.pixel_map.pixel_um,
        "position": position,
        "mda_event": event,
    }
    return cast("FrameMetaV1", meta)
