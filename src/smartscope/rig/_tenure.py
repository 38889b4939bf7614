"""Holds a core for the life of a rig and gives it back as it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smartscope.core import HardwareError
from smartscope.rig._mmcore import CMMCorePlus, disown, own
from smartscope.rig._port import words_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.rig._roles import Devices

_log = logging.getLogger("smartscope.rig")


class Tenure:
    """Exclusive use of one core.

    Parameters
    ----------
    core : CMMCorePlus
    is_ours : bool
        We made it, so we unload it; otherwise what we change is restored.
    """

    def __init__(self, core: CMMCorePlus, *, is_ours: bool = False) -> None:
        self.core = core
        self.is_ours = is_ours
        self._owns = False
        self._undo: list[Callable[[], object]] = []

    def begin(self, name: str, devices: Devices) -> None:
        """Take the core and make the roles its current devices.

        Auto-shutter goes off: light is switched by the actuator, and by nothing else.

        Raises
        ------
        HardwareError
            If another rig or an acquisition has it.
        """
        core = self.core
        if core.mda.is_running():
            raise HardwareError("this core is acquiring; wait for its end")
        own(core, name)
        self._owns = True
        engine = core.mda.engine
        if engine is not None:
            self._undo.append(lambda: self._restore_engine(engine))
        self._change(core.getAutoShutter(), False, core.setAutoShutter)
        for wanted, now, change in (
            (devices.camera, core.getCameraDevice(), core.setCameraDevice),
            (devices.stage, core.getXYStageDevice(), core.setXYStageDevice),
            (devices.focus, core.getFocusDevice(), core.setFocusDevice),
            (devices.shutter, core.getShutterDevice(), core.setShutterDevice),
            (devices.autofocus, core.getAutoFocusDevice(), core.setAutoFocusDevice),
            (devices.slm, core.getSLMDevice(), core.setSLMDevice),
            (devices.channel_group, core.getChannelGroup(), core.setChannelGroup),
        ):
            if wanted is not None:
                self._change(now, wanted, change)

    def _change(
        self, now: object, wanted: object, change: Callable[..., object]
    ) -> None:
        if now != wanted:
            change(wanted)
            self._undo.append(lambda: change(now))

    def _restore_engine(self, engine: object) -> None:
        if self.core.mda.engine is not engine:
            self.core.mda.set_engine(engine)  # type: ignore[arg-type]

    def stop_sequences(self) -> None:
        """Stop the camera if it runs."""
        try:
            if self.core.isSequenceRunning():
                self.core.stopSequenceAcquisition()
        except RuntimeError as error:
            _log.warning("the camera did not stop: %s", words_of(error))

    def end(self) -> None:
        """Give the core back; a core of ours is silenced and unloaded."""
        if self._owns:
            disown(self.core)
            self._owns = False
        if self.is_ours:
            # A stage callback still queued when the interpreter ends aborts the
            # process ("exception not rethrown"); unloading alone does not help.
            super(CMMCorePlus, self.core).registerCallback(None)
            self._attempt(self.core.unloadAllDevices)
            return
        while self._undo:
            self._attempt(self._undo.pop())

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except RuntimeError as error:
            _log.warning("giving the core back: %s", words_of(error))
