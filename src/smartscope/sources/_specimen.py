"""Frames of a living synthetic sample, looked at through the rig's demo devices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import NS_PER_MS
from smartscope.sources._base import Shot
from smartscope.specimen import Pattern, SpecimenView

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from smartscope.rig import Rig
    from smartscope.specimen import Specimen


class SpecimenSource:
    """Exposes the specimen for as long as the camera would, on the run's clock.

    What is seen depends on what the devices did during the exposure (`DeviceHistory`),
    never on what the frame claims about them.
    """

    sequences_focus = False
    simulated = True
    buffers = (0, 0)

    def __init__(self, rig: Rig, specimen: Specimen) -> None:
        self._rig = rig
        self._specimen = specimen
        self._clock = rig.clock
        self._patterns: dict[int, Pattern] = {}
        self._through: str | None = None
        # Light gated by the camera counts as lit until the camera is known to rest.
        rig.history.set("camera", rig.clock.now_ns(), 0.0)

    def geometry(self) -> tuple[tuple[int, int], str]:
        """``(height, width)`` of a frame now, and its dtype name."""
        return self._view().shape, "uint16"

    def prepare(self, buffers: int) -> None:
        """Do nothing: every image is drawn in memory of its own."""

    def snap(self, exposure_ms: float, exposed: Callable[[], None]) -> Shot:
        """Expose once; see `Source.snap`."""
        window = self._expose(exposure_ms)
        exposed()
        return self._read(window, None)

    def burst(
        self,
        frames: int,
        exposure_ms: float,
        exposed: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Expose `frames` times back to back; see `Source.burst`."""
        # Drawing takes longer than a camera reads out, and light must not wait for it.
        windows: list[tuple[int, int]] = []
        while len(windows) < frames and not stopped():
            windows.append(self._expose(exposure_ms))
        exposed()
        for number, window in enumerate(windows):
            yield self._read(window, number)

    def stream(
        self,
        frames: int | None,
        exposure_ms: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Expose back to back until stopped; see `Source.stream`."""
        number = 0
        while (frames is None or number < frames) and not stopped():
            yield self._read(self._expose(exposure_ms()), number)
            number += 1

    def _expose(self, exposure_ms: float) -> tuple[int, int]:
        history, clock = self._rig.history, self._clock
        start = clock.now_ns()
        history.set("camera", start, 1.0)
        clock.sleep_ns(int(exposure_ms * NS_PER_MS))
        # A scaled clock oversleeps; the camera itself would not expose for longer.
        end = start + int(exposure_ms * NS_PER_MS)
        history.set("camera", end, 0.0)
        return start, end

    def _read(self, window: tuple[int, int], number: int | None) -> Shot:
        (start, end), clock, history = window, self._clock, self._rig.history
        since = min(start, self._specimen.needs_history_from_ns)
        view = replace(self._view(), patterns=self._shown(since, end))
        pixels = self._specimen.expose(view, history, start, end)
        pixels.setflags(write=False)
        clock.account_ns(int(self._rig.config.timing.readout_ms * NS_PER_MS))
        return Shot(
            pixels=pixels,
            t_exposed_ns=start,
            t_end_ns=end,
            t_received_ns=clock.now_ns(),
            image_number=number,
        )

    def _shown(self, since_ns: int, until_ns: int) -> dict[int, Pattern]:
        """Light on the SLM from the last exposure to the end of this one, by number."""
        objective = self._rig.objective
        if objective != self._through:
            self._patterns, self._through = {}, objective
        known = self._patterns
        shown = self._rig.history.patterns(since_ns, until_ns)
        self._patterns = {
            number: known.get(number) or self._pattern(light)
            for number, light in shown.items()
            if light is not None
        }
        return self._patterns

    def _pattern(self, light: NDArray[np.uint8]) -> Pattern:
        mask = light.astype(np.float32) / np.float32(255)
        return Pattern(mask, self._rig.slm_to_sensor(mask.shape))

    def _view(self) -> SpecimenView:
        camera = self._rig.geometry
        height, width = (
            camera.roi.height_px // camera.binning,
            camera.roi.width_px // camera.binning,
        )
        if camera.orientation.transpose:
            height, width = width, height
        state, slm = self._rig.state(self._clock.now_ns()), self._rig.config.slm
        return SpecimenView(
            shape=(height, width),
            sensor_shape=self._rig.sensor_shape,
            roi=camera.roi,
            binning=camera.binning,
            orientation=camera.orientation,
            channel=state.channel,
            gates={name: line.gate for name, line in self._rig.config.light.items()},
            slm_line=None if slm is None else slm.line,
        )
