"""What can be changed, and how each is read back, compared, traced and described."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from smartscope.rig._geometry import GEOMETRY_PROPERTIES, CameraGeometry, Geometry
from smartscope.rig._roles import Devices, magnification_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.core import DeviceHistory
    from smartscope.rig._cache import StateCache
    from smartscope.rig._light import LightScale
    from smartscope.rig._port import Port

STAGE_TOLERANCE_UM = 1.0
FOCUS_TOLERANCE_UM = 0.5
TOLERANCE = 1e-3
"""Of the range of a property."""
_EXPOSURE_TOLERANCE = 0.02
STATE_PROPERTIES = ("State", "Label")


class Resource:
    """One thing that can be changed and read back.

    Attributes
    ----------
    name : str
        As in `Command.resource` and `HardwareState.external`.
    devices : tuple of str
        What to wait for.
    watches : tuple of (device, property)
        Properties whose change may be a change of this.
    polled : bool
        Whether it is asked about when the rig is idle, for devices that tell nothing.
    grace_s : float
        Devices that report idle a moment before they are there get this long.
    lock : Lock
        Held while its device is told: keeps number and order of commands the same.
    alone : frozenset of str
        What a command on this and on nothing else touches: its name.
    """

    polled = False
    grace_s = 0.25

    def __init__(
        self,
        name: str,
        devices: tuple[str, ...],
        watches: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name = name
        self.devices = devices
        self.watches = watches
        self.lock = threading.Lock()
        self.alone = frozenset({name})

    def read(self) -> Any:
        """Ask the devices."""
        raise NotImplementedError

    def read_for(self, wanted: Any) -> Any:
        """Ask the devices, to compare with `wanted`."""
        return self.read()

    def same(self, wanted: Any, found: Any) -> bool:
        """Whether `found` is what was wanted, within tolerance."""
        return bool(wanted == found)

    def trace(self, t_ns: int, value: Any) -> None:
        """Write the value into the device history."""

    def describe(self, value: Any) -> Mapping[str, float | str]:
        """Value for `Command.readback` and messages."""
        return {self.name: str(value)}

    def parse(self, prop: str, text: str) -> Any:
        """Value that setting the watched property to `text` gives."""
        raise NotImplementedError


class Stage(Resource):
    """The xy stage; values are ``(x_um, y_um)``."""

    polled = True

    def __init__(
        self, port: Port, device: str, tolerance_um: float, history: DeviceHistory
    ) -> None:
        super().__init__("stage", (device,))
        self._port = port
        self._history = history
        self.device = device
        self.tolerance_um = tolerance_um

    def read(self) -> tuple[float, float]:
        """Ask the stage."""
        return self._port.get_xy(self.device)

    def same(self, wanted: tuple[float, float], found: tuple[float, float]) -> bool:
        """Within the tolerance along each axis."""
        return all(
            abs(a - b) <= self.tolerance_um for a, b in zip(wanted, found, strict=True)
        )

    def trace(self, t_ns: int, value: tuple[float, float]) -> None:
        """Jump to `value`."""
        self._history.set("x_um", t_ns, value[0])
        self._history.set("y_um", t_ns, value[1])

    def describe(self, value: tuple[float, float]) -> Mapping[str, float | str]:
        """``x_um`` and ``y_um``."""
        return {"x_um": value[0], "y_um": value[1]}


class Drive(Resource):
    """Coarse or fine focus, um; the height in the sample is the sum of both."""

    polled = True

    def __init__(
        self,
        port: Port,
        name: str,
        device: str,
        tolerance_um: float,
        history: DeviceHistory,
        cache: StateCache,
    ) -> None:
        super().__init__(name, (device,))
        self._port = port
        self._history = history
        self._cache = cache
        self._partner = "focus" if name == "fine_focus" else "fine_focus"
        self.device = device
        self.tolerance_um = tolerance_um

    def read(self) -> float:
        """Ask the drive."""
        return self._port.get_z(self.device)

    def same(self, wanted: float, found: float) -> bool:
        """Within the tolerance."""
        return abs(wanted - found) <= self.tolerance_um

    def trace(self, t_ns: int, value: float) -> None:
        """Jump to the sum with the other drive, ``z_um``."""
        self._history.set("z_um", t_ns, self.total(value))

    def total(self, value: float) -> float:
        """Height of the focus in the sample, um, when this drive stands at `value`."""
        return value + float(self._cache.value(self._partner) or 0.0)

    def describe(self, value: float) -> Mapping[str, float | str]:
        """``z_um``: the sum with the other drive."""
        return {"z_um": self.total(value)}


class Offset(Resource):
    """Offset drive of the hardware autofocus, in its own units."""

    def __init__(self, port: Port, device: str, tolerance: float) -> None:
        super().__init__("focus_offset", (device,))
        self._port = port
        self.device = device
        self._tolerance = tolerance

    def read(self) -> float:
        """Ask the drive."""
        return self._port.get_z(self.device)

    def same(self, wanted: float, found: float) -> bool:
        """Within the tolerance."""
        return abs(wanted - found) <= self._tolerance

    def describe(self, value: float) -> Mapping[str, float | str]:
        """``focus_offset``."""
        return {self.name: value}


class Shutter(Resource):
    """The shutter; values are bool."""

    polled = True

    def __init__(self, port: Port, device: str, history: DeviceHistory) -> None:
        super().__init__("shutter", (device,), ((device, "State"),))
        self._port = port
        self._history = history
        self.device = device

    def read(self) -> bool:
        """Ask the shutter."""
        return self._port.get_shutter(self.device)

    def trace(self, t_ns: int, value: bool) -> None:
        """1 while open."""
        self._history.set("shutter", t_ns, float(value))

    def describe(self, value: bool) -> Mapping[str, float | str]:
        """``open`` or ``closed``."""
        return {"shutter": "open" if value else "closed"}

    def parse(self, prop: str, text: str) -> bool:
        """``1`` is open."""
        return text.strip() not in ("0", "Closed", "closed", "")


class Light(Resource):
    """Power of one light line; values are those of its property."""

    polled = True

    def __init__(self, port: Port, scale: LightScale, history: DeviceHistory) -> None:
        super().__init__(
            f"light:{scale.name}",
            (scale.device,),
            ((scale.device, scale.property),),
        )
        self._port = port
        self._history = history
        self.scale = scale

    def read(self) -> float:
        """Ask the light source."""
        text = self._port.get_property(self.scale.device, self.scale.property)
        return float(text)

    def same(self, wanted: float, found: float) -> bool:
        """Within a thousandth of the range."""
        return abs(wanted - found) <= TOLERANCE * (self.scale.high - self.scale.low)

    def trace(self, t_ns: int, value: float) -> None:
        """Percent of the range."""
        self._history.set(f"power:{self.scale.name}", t_ns, self.scale.percent(value))

    def describe(self, value: float) -> Mapping[str, float | str]:
        """``power_percent`` and the property value."""
        return {
            "power_percent": self.scale.percent(value),
            self.scale.property: value,
        }

    def parse(self, prop: str, text: str) -> float:
        """The number itself."""
        return float(text)


class Turret(Resource):
    """The objective turret; values are its labels."""

    polled = True

    def __init__(self, port: Port, devices: Devices, history: DeviceHistory) -> None:
        self.device = devices.turret or ""
        super().__init__(
            "objective",
            (self.device,),
            tuple((self.device, prop) for prop in STATE_PROPERTIES),
        )
        self._port = port
        self._devices = devices
        self._history = history

    def read(self) -> str:
        """Ask the turret."""
        return self._port.get_property(self.device, "Label")

    def trace(self, t_ns: int, value: str) -> None:
        """The magnification, as far as the name tells it."""
        name = self._devices.objective_of(value)
        if (magnification := magnification_of(name, value)) is not None:
            self._history.set("magnification", t_ns, magnification)

    def describe(self, value: str) -> Mapping[str, float | str]:
        """``objective``: its name."""
        return {"objective": self._devices.objective_of(value)}

    def parse(self, prop: str, text: str) -> str:
        """Return the label of a state number, or the label itself."""
        if prop == "Label":
            return text
        return str(self._port.core.getStateLabels(self.device)[int(float(text))])


class Exposure(Resource):
    """The exposure time of the camera, ms."""

    def __init__(self, port: Port, camera: str) -> None:
        super().__init__("exposure", (camera,), ((camera, "Exposure"),))
        self._port = port
        self._camera = camera

    def read(self) -> float:
        """Ask the camera."""
        return self._port.get_exposure(self._camera)

    def same(self, wanted: float, found: float) -> bool:
        """Within 2 %: cameras round to whole line times."""
        return abs(wanted - found) <= max(0.05, _EXPOSURE_TOLERANCE * wanted)

    def describe(self, value: float) -> Mapping[str, float | str]:
        """``exposure_ms``."""
        return {"exposure_ms": value}

    def parse(self, prop: str, text: str) -> float:
        """The number itself."""
        return float(text)


class Region(Resource):
    """ROI, binning and orientation of the camera; values are `Geometry`."""

    def __init__(self, geometry: CameraGeometry, camera: str) -> None:
        super().__init__(
            "roi", (camera,), tuple((camera, name) for name in GEOMETRY_PROPERTIES)
        )
        self._geometry = geometry

    def read(self) -> Geometry:
        """Ask the camera."""
        return self._geometry.read()

    def describe(self, value: Geometry) -> Mapping[str, float | str]:
        """``roi`` in sensor pixels, and ``binning``."""
        roi = value.roi
        box = f"x {roi.x_px}, y {roi.y_px}, {roi.width_px} x {roi.height_px}"
        return {"roi": box, "binning": float(value.binning)}


class FocusLock(Resource):
    """The hardware autofocus; values are bool, True while it holds."""

    polled = True
    grace_s = 5.0

    def __init__(self, port: Port, device: str) -> None:
        super().__init__("autofocus", (device,))
        self._port = port
        self.device = device

    def read(self) -> bool:
        """Ask whether it is locked."""
        return self._port.focus_held(self.device)

    def describe(self, value: bool) -> Mapping[str, float | str]:
        """``locked`` or ``off``."""
        return {"autofocus": "locked" if value else "off"}
