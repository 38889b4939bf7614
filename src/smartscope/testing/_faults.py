"""Faults at the driver seam: real demo devices that can be told to fail."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pymmcore

from smartscope.rig import import_quietly

import_quietly()
from pymmcore_plus import CMMCorePlus  # noqa: E402  after the quiet import

if TYPE_CHECKING:
    from collections.abc import Callable


class _Seam(pymmcore.CMMCore):
    """Stands between `CMMCorePlus` and the devices, where every call passes."""

    faults: dict[str, list[Callable[..., Any]]]

    def _through(self, name: str, *args: Any) -> Any:
        for fault in self.faults[name]:
            args = fault(*args) or args
        return getattr(pymmcore.CMMCore, name)(self, *args)

    def snapImage(self) -> Any:
        return self._through("snapImage")

    def setProperty(self, *args: Any) -> Any:
        return self._through("setProperty", *args)

    def setXYPosition(self, *args: Any) -> Any:
        return self._through("setXYPosition", *args)

    def setPosition(self, *args: Any) -> Any:
        return self._through("setPosition", *args)


class FaultyCore(CMMCorePlus, _Seam):
    """A core with real devices that fails where it is told to.

    Give it to ``smartscope.run(..., core=core)``. A fault is a function that gets the
    arguments of the driver call; it raises, or returns other arguments, or None.

    Examples
    --------
    >>> core = FaultyCore("demo.cfg")
    >>> core.inject("snapImage", fails(on_call=3, saying="no trigger"))
    """

    def __init__(self, cfg: str) -> None:
        self.faults = defaultdict(list)
        super().__init__()
        self.loadSystemConfiguration(cfg)

    def inject(self, call: str, fault: Callable[..., Any]) -> None:
        """Let every `call` (``snapImage``, ``setXYPosition``...) go through `fault`."""
        self.faults[call].append(fault)

    def close(self) -> None:
        """Unload the devices and fall silent."""
        self.faults.clear()
        self.unloadAllDevices()
        pymmcore.CMMCore.registerCallback(self, None)


def fails(
    saying: str,
    *,
    on_call: int | None = None,
    when: Callable[..., bool] = lambda *args: True,
) -> Callable[..., None]:
    """Return a fault that raises.

    Parameters
    ----------
    saying : str
        What the adapter says.
    on_call : int, optional
        Only on this call, counted from 1 among those for which `when` holds.
    when : function of the call's arguments
    """
    calls = 0

    def fault(*args: Any) -> None:
        nonlocal calls
        if not when(*args):
            return
        calls += 1
        if on_call in (None, calls):
            raise RuntimeError(saying)

    return fault
