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


def _seam(name: str) -> Callable[..., Any]:
    def call(self: _Seam, *args: Any) -> Any:
        return self._through(name, *args)

    call.__name__ = name
    return call


class _Seam(pymmcore.CMMCore):
    """Stands between `CMMCorePlus` and the devices, where every call passes."""

    faults: dict[str, list[Callable[..., Any]]]
    watchers: dict[str, list[Callable[..., Any]]]

    def _through(self, name: str, *args: Any) -> Any:
        for fault in self.faults[name]:
            args = fault(*args) or args
        result = getattr(pymmcore.CMMCore, name)(self, *args)
        for watcher in self.watchers[name]:
            watcher(*args)
        return result

    snapImage = _seam("snapImage")
    setProperty = _seam("setProperty")
    setXYPosition = _seam("setXYPosition")
    setPosition = _seam("setPosition")
    setShutterOpen = _seam("setShutterOpen")
    setROI = _seam("setROI")
    startSequenceAcquisition = _seam("startSequenceAcquisition")
    startContinuousSequenceAcquisition = _seam("startContinuousSequenceAcquisition")
    stopSequenceAcquisition = _seam("stopSequenceAcquisition")
    popNextImageMD = _seam("popNextImageMD")


class FaultyCore(CMMCorePlus, _Seam):
    """A core with real devices that fails where it is told to.

    Give it to ``smartscope.run(..., core=core)``. A fault is a function that gets the
    arguments of the driver call; it raises, holds the call up, or returns other
    arguments, or None.

    The calls that can be reached are ``snapImage``, ``setProperty``,
    ``setXYPosition``, ``setPosition``, ``setShutterOpen``, ``setROI``,
    ``startSequenceAcquisition``, ``startContinuousSequenceAcquisition``,
    ``stopSequenceAcquisition`` and ``popNextImageMD``.

    Examples
    --------
    >>> core = FaultyCore("demo.cfg")
    >>> core.inject("snapImage", fails(on_call=3, saying="no trigger"))
    """

    def __init__(self, cfg: str) -> None:
        self.faults = defaultdict(list)
        self.watchers = defaultdict(list)
        super().__init__()
        self.loadSystemConfiguration(cfg)

    def inject(self, call: str, fault: Callable[..., Any]) -> None:
        """Let every `call` (``snapImage``, ``setXYPosition``...) go through `fault`.

        Raises
        ------
        ValueError
            If it is none of the calls that can be reached.
        """
        self.faults[_known(call)].append(fault)

    def watch(self, call: str, watcher: Callable[..., Any]) -> None:
        """Call `watcher` with the arguments of every `call` that has returned.

        Raises
        ------
        ValueError
            As for `inject`.
        """
        self.watchers[_known(call)].append(watcher)

    def tag(self, name: str, value: Callable[[int], object | None]) -> None:
        """Let streamed frames carry a metadata tag, as a camera's own counter would.

        Parameters
        ----------
        name : str
        value : function
            Gets how many frames were taken before; None leaves the tag out.
        """
        taken = 0

        def put(*args: Any) -> None:
            nonlocal taken
            text, taken = value(taken), taken + 1
            if text is not None:
                args[-1][name] = str(text)

        self.watch("popNextImageMD", put)

    def close(self) -> None:
        """Unload the devices and fall silent."""
        self.faults.clear()
        self.watchers.clear()
        self.unloadAllDevices()
        pymmcore.CMMCore.registerCallback(self, None)


def _known(call: str) -> str:
    if call.startswith("_") or call not in vars(_Seam):
        raise ValueError(f"'{call}' is no call that faults can be injected into")
    return call


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
