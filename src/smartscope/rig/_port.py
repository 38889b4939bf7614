"""The few core calls we make, each with errors that name device and value.

Setting a property through `CMMCorePlus` reads the device before and after and runs
every listener on our thread. For C++ devices we go past it; listeners are told later by
the watcher. Devices written in Python exist only above it, so those take the long way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from psygnal import EmitLoopError

from smartscope.core import HardwareError, Roi
from smartscope.rig._mmcore import CMMCorePlus

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

T = TypeVar("T")
_log = logging.getLogger("smartscope.rig")


def words_of(error: BaseException) -> str:
    """What Micro-Manager said, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def ask(device: str, doing: str, call: Callable[[], T]) -> T:
    """Return what `call` returns; whatever it raises becomes a `HardwareError`."""
    try:
        return call()
    except Exception as error:
        # Adapters raise RuntimeError, devices written in Python anything at all; every
        # one of them means that this device did not do this.
        raise refused(device, doing, error) from error


def refused(device: str, doing: str, error: Exception) -> HardwareError:
    """What to raise when a device did not do this."""
    return HardwareError(f"{doing} was refused: {words_of(error)}", device=device)


def tell(device: str, doing: str, call: Callable[[], Any]) -> None:
    """Do `call`; as `ask`, but the failure of an outside listener is only logged."""
    try:
        call()
    except EmitLoopError as error:
        # The device did it; a listener of somebody else failed afterwards.
        _log.warning("a listener failed after %s: %s", doing, words_of(error))
    except Exception as error:
        # As in `ask`.
        raise refused(device, doing, error) from error


class Port:
    """Typed access to the devices of one core. Thread-safe as the core itself is.

    Every method raises `HardwareError` with the device and Micro-Manager's words.
    """

    # What runs for every frame is written out: `ask`, `tell` and their closures would
    # cost more than the call.

    def __init__(self, core: CMMCorePlus) -> None:
        self.core = core
        self._cores: dict[str, Any] = {}
        self.on_set: Callable[[str, str, str], None] | None = None
        """Told of every property set past outside listeners; must return at once."""

    def is_python(self, device: str) -> bool:
        """Whether the device is written in Python (experimental UniMMCore)."""
        asks = getattr(self.core, "isPyDevice", None)
        return bool(asks is not None and asks(device))

    def _core_for(self, device: str) -> Any:
        found = self._cores.get(device)
        if found is None:
            core = self.core
            found = core if self.is_python(device) else super(CMMCorePlus, core)
            self._cores[device] = found
        return found

    def set_property(self, device: str, prop: str, value: str) -> None:
        """Set a property."""
        core = self._core_for(device)
        try:
            core.setProperty(device, prop, value)
        except EmitLoopError as error:
            _log.warning("a listener failed after %s: %s", prop, words_of(error))
        except Exception as error:
            raise refused(device, f"setting {prop} to {value}", error) from error
        if (on_set := self.on_set) is not None:
            on_set(device, prop, value)

    def get_property(self, device: str, prop: str) -> str:
        """Ask the device for a property."""
        try:
            return str(self.core.getProperty(device, prop))
        except Exception as error:
            raise refused(device, f"reading {prop}", error) from error

    def cached_property(self, device: str, prop: str) -> str:
        """Value Micro-Manager last set or was told; the device is not asked."""
        return ask(
            device,
            f"looking up {prop}",
            lambda: str(self.core.getPropertyFromCache(device, prop)),
        )

    def set_shutter(self, device: str, is_open: bool) -> None:
        """Open or close a shutter."""
        core = self._core_for(device)
        doing = "opening" if is_open else "closing"
        tell(device, doing, lambda: core.setShutterOpen(device, is_open))
        if (on_set := self.on_set) is not None:
            on_set(device, "State", "1" if is_open else "0")

    def get_shutter(self, device: str) -> bool:
        """Ask a shutter whether it is open."""
        return ask(device, "reading it", lambda: bool(self.core.getShutterOpen(device)))

    def set_xy(self, device: str, x_um: float, y_um: float) -> None:
        """Send the xy stage off, um."""
        tell(
            device,
            f"moving to x {x_um:g}, y {y_um:g} um",
            lambda: self.core.setXYPosition(device, x_um, y_um),
        )

    def get_xy(self, device: str) -> tuple[float, float]:
        """Ask the xy stage where it is, um."""
        x_um, y_um = ask(
            device, "reading its position", lambda: self.core.getXYPosition(device)
        )
        # Adding zero turns the demo stage's -0.0 into 0.0.
        return float(x_um) + 0.0, float(y_um) + 0.0

    def set_z(self, device: str, z_um: float) -> None:
        """Send a focus drive off, um."""
        tell(
            device,
            f"moving to {z_um:g} um",
            lambda: self.core.setPosition(device, z_um),
        )

    def get_z(self, device: str) -> float:
        """Ask a focus drive where it is, um."""
        return ask(
            device,
            "reading its position",
            lambda: float(self.core.getPosition(device)),
        )

    def set_exposure(self, camera: str, exposure_ms: float) -> None:
        """Set the exposure time, ms."""
        tell(
            camera,
            f"setting the exposure to {exposure_ms:g} ms",
            lambda: self.core.setExposure(camera, exposure_ms),
        )

    def get_exposure(self, camera: str) -> float:
        """Ask the camera for its exposure time, ms."""
        return ask(
            camera,
            "reading the exposure",
            lambda: float(self.core.getExposure(camera)),
        )

    def set_roi(self, camera: str, roi: Roi | None) -> None:
        """Set the region read out, *binned* pixels as adapters take it; None: all."""
        if roi is None:
            tell(camera, "reading out the whole chip", self.core.clearROI)
            return
        box = (roi.x_px, roi.y_px, roi.width_px, roi.height_px)
        tell(camera, f"setting the ROI {box}", lambda: self.core.setROI(camera, *box))

    def get_roi(self, camera: str) -> Roi:
        """Ask the camera for the region it reads out, in *binned* pixels."""
        x, y, width, height = ask(
            camera, "reading the ROI", lambda: self.core.getROI(camera)
        )
        return Roi(int(x), int(y), int(width), int(height))

    def apply_preset(self, group: str, preset: str) -> None:
        """Apply every property of a preset, whatever their values are now."""
        tell(
            "",
            f"preset {preset} of {group}",
            lambda: self.core.setConfig(group, preset),
        )

    def present_preset(self, group: str) -> str | None:
        """Ask the devices which preset of `group` they are in."""
        name = ask(
            "", f"reading group {group}", lambda: self.core.getCurrentConfig(group)
        )
        return str(name) or None

    def settings_of(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        """``(device, property, value)`` of a preset."""
        data = ask(
            "",
            f"looking up preset {preset} of {group}",
            lambda: self.core.getConfigData(group, preset),
        )
        return tuple((str(d), str(p), str(v)) for d, p, v in data)

    def show(self, slm: str, image: NDArray[np.uint8]) -> None:
        """Show an image on the SLM, ``(y, x)`` grey values."""
        core = self.core
        colours = ask(
            slm, "asking for its pixels", lambda: core.getSLMNumberOfComponents(slm)
        )
        if colours > 1:
            image = np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2))
        tell(slm, "taking a pattern", lambda: self.core.setSLMImage(slm, image))
        tell(slm, "showing a pattern", lambda: self.core.displaySLMImage(slm))

    def fill(self, slm: str, level: int) -> None:
        """Show one grey value all over the SLM."""
        tell(slm, "filling it", lambda: self.core.setSLMPixelsTo(slm, level))
        tell(slm, "showing a pattern", lambda: self.core.displaySLMImage(slm))

    def slm_shape(self, slm: str) -> tuple[int, int]:
        """``(height, width)`` of the SLM, pixels."""
        core = self.core
        height = ask(slm, "asking for its height", lambda: core.getSLMHeight(slm))
        width = ask(slm, "asking for its width", lambda: core.getSLMWidth(slm))
        return int(height), int(width)

    def slm_image(self, slm: str) -> NDArray[np.generic] | None:
        """Ask the SLM what it shows; None where it cannot be asked."""
        if not self.is_python(slm):
            return None  # no C++ adapter can be
        core: Any = self.core
        try:
            image = ask(
                slm, "reading its pattern", lambda: np.asarray(core.getSLMImage(slm))
            )
            return image if image.ndim == 2 else image[..., 0]
        except HardwareError as error:
            if isinstance(error.__cause__, NotImplementedError):
                return None
            raise

    def set_slm_exposure(self, slm: str, dwell_ms: float) -> None:
        """Let the SLM go dark by itself this long after it showed a pattern, ms."""
        tell(
            slm,
            f"setting its exposure to {dwell_ms:g} ms",
            lambda: self.core.setSLMExposure(slm, dwell_ms),
        )

    def hold_focus(self, device: str, on: bool) -> None:
        """Switch the hardware autofocus on or off."""
        tell(
            device,
            f"switching the focus lock {'on' if on else 'off'}",
            lambda: self.core.enableContinuousFocus(on),
        )

    def focus_held(self, device: str) -> bool:
        """Ask the hardware autofocus whether it is locked."""
        return ask(
            device,
            "reading the focus lock",
            lambda: bool(self.core.isContinuousFocusLocked()),
        )

    def busy(self, device: str) -> bool:
        """Ask a device whether it is still at work."""
        try:
            return bool(self.core.deviceBusy(device))
        except Exception as error:
            raise refused(device, "asking whether it is busy", error) from error

    def announce(self, device: str, prop: str, value: str) -> None:
        """Tell outside listeners of a property that was set past them."""
        tell(
            device,
            f"announcing {prop}",
            lambda: self.core.events.propertyChanged.emit(device, prop, value),
        )
