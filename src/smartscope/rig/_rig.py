"""One open microscope."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from smartscope.core import (
    ConfigError,
    DeviceHistory,
    HardwareError,
    HardwareState,
    PixelMap,
)
from smartscope.rig._actuator import Actuator
from smartscope.rig._bench import Bench, Gate, ResourceTable
from smartscope.rig._cache import ExternalChange, StateCache
from smartscope.rig._capabilities import Capabilities, find_capabilities
from smartscope.rig._commands import CommandBook
from smartscope.rig._factory import call_factory
from smartscope.rig._geometry import CameraGeometry, Geometry, affine_of, pixel_map_of
from smartscope.rig._light import LightScale
from smartscope.rig._mmcore import (
    CMMCorePlus,
    create_core,
    file_of,
    find_cfg,
    load_cfg,
    python_lines,
)
from smartscope.rig._pattern import calibration_of, slm_to_sensor
from smartscope.rig._port import Port
from smartscope.rig._roles import Devices, RoleCheck, magnification_of
from smartscope.rig._safe import SafeState, find_safe_state
from smartscope.rig._slm import Slm
from smartscope.rig._tenure import Tenure
from smartscope.rig._watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from smartscope.config import RigConfig, SlmAffine
    from smartscope.core import Clock

_log = logging.getLogger("smartscope.rig")
_OPEN: weakref.WeakSet[Rig] = weakref.WeakSet()
_AT_EXIT = threading.Event()
CLOSING_PATIENCE_S = 10.0


class Rig:
    """One open microscope; make it with `Rig.open`, and close it.

    Attributes
    ----------
    core : CMMCorePlus
    config : RigConfig
    clock : Clock
    history : DeviceHistory
        What the devices did, written at every change.
    actuator : Actuator
        The only way to change anything.
    capabilities : Capabilities
    devices : Devices
        Device labels by role.
    lights : mapping of line to LightScale
        Conversion between percent, property value and mW.
    sensor_shape : (height, width)
        Unbinned pixels of the camera chip.
    """

    def __init__(
        self,
        bench: Bench,
        capabilities: Capabilities,
        safe: SafeState,
        tenure: Tenure,
    ) -> None:
        self._bench = bench
        self._safe = safe
        self._tenure = tenure
        self._watcher = Watcher(bench)
        self._last_map: tuple[object, object, tuple[PixelMap, bool]] | None = None
        self._driving = threading.Lock()
        self._driver = ""
        self._closing = threading.Lock()
        self._closed = False
        self.core: CMMCorePlus = bench.port.core
        self.config: RigConfig = bench.config
        self.clock: Clock = bench.clock
        self.history: DeviceHistory = bench.history
        self.devices: Devices = bench.devices
        self.lights: Mapping[str, LightScale] = bench.lights
        self.sensor_shape = bench.geometry.sensor_shape
        self.capabilities = capabilities
        self.actuator = Actuator(bench, safe.apply_to)
        self._cache = bench.cache

    @classmethod
    def open(
        cls,
        config: RigConfig,
        clock: Clock,
        *,
        base_dir: Path,
        core: CMMCorePlus | None = None,
    ) -> Rig:
        """Open the microscope and check the rig file against its devices.

        Parameters
        ----------
        config : RigConfig
        clock : Clock
            Run clock of everything this rig stamps.
        base_dir : Path
            Folder of the rig file; the ``.cfg`` is relative to it.
        core : CMMCorePlus, optional
            A core that is open already; it is used as it is and given back as it was.
            None makes one of our own (never the global singleton), loads the ``.cfg``
            and goes to the safe state.

        Raises
        ------
        ConfigError
            Something in the rig file or the ``.cfg`` does not fit.
        HardwareError
            A device does not answer, or somebody else drives this microscope.
        """
        tenure = Tenure(core) if core is not None else _own_tenure(config, base_dir)
        try:
            rig = cls._open_on(tenure, config, clock)
        except BaseException:
            tenure.end()
            raise
        if not _AT_EXIT.is_set():
            # A core that still talks while the interpreter ends aborts the process.
            _AT_EXIT.set()
            atexit.register(_close_all)
        _OPEN.add(rig)
        return rig

    @classmethod
    def _open_on(cls, tenure: Tenure, config: RigConfig, clock: Clock) -> Rig:
        port = Port(tenure.core)
        check = RoleCheck(tenure.core, config)
        devices = check.devices()
        entries = find_safe_state(tenure.core, config, check)
        capabilities = find_capabilities(port, config, devices)
        tenure.begin(config.name, devices)
        geometry = CameraGeometry(port, devices.camera)
        history, book = DeviceHistory(), CommandBook(clock)
        cache = StateCache(book)
        lights = {name: LightScale(name, line) for name, line in config.light.items()}
        table = ResourceTable(port, config, history, devices, lights, geometry, cache)
        bench = Bench(
            port,
            clock,
            config,
            history,
            devices,
            lights,
            geometry,
            book,
            cache,
            table,
            Gate(),
        )
        rig = cls(bench, capabilities, SafeState(bench, entries), tenure)
        rig._begin()
        return rig

    def _begin(self) -> None:
        bench = self._bench
        for resource in bench.table:
            bench.store(resource, resource.read(), "read")
        if self._tenure.is_ours and (failures := self._safe.apply()):
            # A freshly loaded shutter may be open: the demo one is so every other time.
            raise HardwareError(f"the safe state cannot be had: {'; '.join(failures)}")
        now = self.clock.now_ns()
        if self.devices.turret is None and (name := bench.objective()) is not None:
            if (magnification := magnification_of(name)) is not None:
                self.history.set("magnification", now, magnification)
        bench.cache.build_with(self._fields_of, now)
        self._watcher.start()

    # --------------------------------------------------------------------- looking

    def state(self, t_ns: int) -> HardwareState:
        """What the rig was like at `t_ns`, from the cache; no device is asked.

        The same object as long as an equal one would come out.
        `HardwareState.external` names what others changed and nobody has taken yet.
        """
        return self._cache.state(t_ns)

    def take_external(self) -> tuple[ExternalChange, ...]:
        """Hand over what others changed since the last call; call it once per frame."""
        return self._cache.take_external()

    def poll(self) -> None:
        """Ask every device about everything now; not for the acquisition thread."""
        self._watcher.poll()

    @property
    def objective(self) -> str | None:
        """Name of the objective in use, None where the rig does not know."""
        return self._bench.objective()

    def pixel_map(self) -> PixelMap:
        """Where image pixels lie in the sample now, from the cache.

        Composed of the objective's calibration, ROI, binning and orientation. Check
        `is_calibrated` before moving by it.
        """
        return self._map()[0]

    @property
    def is_calibrated(self) -> bool:
        """Whether directions in the image are known, so that it may move the stage."""
        return self._map()[1]

    def _map(self) -> tuple[PixelMap, bool]:
        cache = self._cache
        geometry: Geometry = cache.value("roi")
        objective, last = cache.value("objective"), self._last_map
        # The cache gives the same object as long as the value is equal.
        if last is not None and last[0] is geometry and last[1] is objective:
            return last[2]
        bench = self._bench
        calibration = self.config.calibration.get(bench.objective() or "")
        affine = affine_of(bench.port, calibration, geometry.orientation)
        made = pixel_map_of(affine, geometry, self.sensor_shape), affine.measured
        self._last_map = (geometry, objective, made)
        return made

    @property
    def slm(self) -> Slm | None:
        """The SLM, None where none fills the role."""
        return self._bench.table.find("slm", Slm)

    def slm_to_sensor(self, slm_shape: tuple[int, int]) -> SlmAffine:
        """Where pixels of a simulated SLM fall on the sensor, with this objective.

        As calibrated; one that was not calibrated covers the sensor.
        """
        affine = calibration_of(self.config.slm, self.objective)
        return slm_to_sensor(affine, slm_shape, self.sensor_shape)

    @property
    def geometry(self) -> Geometry:
        """ROI, binning and orientation of the camera now, from the cache."""
        geometry: Geometry = self._bench.cache.value("roi")
        return geometry

    @property
    def safe_state(self) -> tuple[tuple[str, str, str], ...]:
        """``(device, property, value)`` in the order in which they are applied."""
        return self._safe.entries

    def can(self, role: str) -> bool:
        """Whether the rig fills `role`; see `Capabilities.roles`."""
        return self.capabilities.can(role)

    def refuse_without(self, role: str, why: str) -> None:
        """Refuse what needs a role the rig does not fill.

        Parameters
        ----------
        role : str
            As in `Capabilities.roles`.
        why : str
            What needs it, for example ``policy 'follow_cell'``.

        Raises
        ------
        ConfigError
            If the role is not filled.
        """
        if self.can(role):
            return
        name, _, line = role.partition(":")
        field = f"light.{line}" if line else f"roles.{name}"
        raise ConfigError(
            f"{why} needs {f'light line {line!r}' if line else f'a {name}'}, and this "
            "rig has none",
            file=file_of(self.config),
            field="light" if role == "light" else field,
            fix="fill it in, or use a rig that has one",
        )

    # ---------------------------------------------------------------------- acting

    @contextlib.contextmanager
    def exclusive(self, who: str) -> Iterator[None]:
        """Be the only one to drive this rig, for the length of a run.

        Raises
        ------
        HardwareError
            If a run drives it already, also one that was cancelled but has not ended.
        """
        if not self._driving.acquire(blocking=False):
            raise HardwareError(
                f"this microscope is already driven by '{self._driver}'; wait for its "
                "end"
            )
        try:
            self._driver = who
            yield
        finally:
            self._driving.release()

    def apply_safe_state(self) -> tuple[str, ...]:
        """Switch everything off now: shutters, then power, then the list.

        Callable from any thread at any time; it waits for no queue and no lock of
        ours, and never raises.

        Returns
        -------
        tuple of str
            What failed, a sentence each; empty when read back as safe.
        """
        return () if self._closed else self._safe.apply()

    def close(self) -> None:
        """Go to the safe state and let the devices go; a second call does nothing.

        Afterwards the process can end cleanly, and a user's core is as it was.
        """
        with self._closing:
            if self._closed:
                return
            nobody_inside = self._bench.gate.shut()
            self._safe.apply()
            if not nobody_inside:
                # A command that was on its way may have come after the safe state.
                self._await_issuers()
                self._safe.apply()
            self._tenure.stop_sequences()
            self._await_moves()
            self._watcher.stop()
            self._closed = True
            _OPEN.discard(self)
            self._tenure.end()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await_issuers(self) -> None:
        deadline = time.perf_counter() + CLOSING_PATIENCE_S
        while not self._bench.gate.shut() and time.perf_counter() < deadline:
            time.sleep(0.001)

    def _await_moves(self) -> None:
        devices = self.devices
        deadline = time.perf_counter() + CLOSING_PATIENCE_S
        for device in (devices.stage, devices.focus, devices.fine_focus):
            if device is None:
                continue
            try:
                while self._bench.port.busy(device):
                    if time.perf_counter() > deadline:
                        _log.warning("%s is still moving", device)
                        break
                    time.sleep(0.001)
            except HardwareError as error:
                _log.warning("%s", error)

    def _fields_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of `HardwareState` that follow from the values of all resources."""
        x_um, y_um = values.get("stage", (None, None))
        heights = [values[k] for k in ("focus", "fine_focus") if k in values]
        objective = self._bench.objective_in(values.get("objective"))
        percent: dict[str, float] = {}
        mw: dict[str, float] = {}
        for name, scale in self.lights.items():
            percent[name], power = scale.shown(values[f"light:{name}"], objective)
            if power is not None:
                mw[name] = power
        geometry: Geometry = values["roi"]
        return {
            "x_um": x_um,
            "y_um": y_um,
            "z_um": sum(heights) if heights else None,
            "channel": values.get("channel"),
            "objective": objective,
            "exposure_ms": values.get("exposure"),
            "power_percent": percent,
            "power_mw": mw,
            "shutter_open": values.get("shutter"),
            "roi_px": geometry.roi,
            "binning": geometry.binning,
            "orientation": geometry.orientation,
        }


def _own_tenure(config: RigConfig, base_dir: Path) -> Tenure:
    settings = config.micromanager
    cfg: Path | None = None
    if settings is not None and settings.factory is not None:
        core = call_factory(config, settings.factory, base_dir)
    else:
        cfg = find_cfg(config, base_dir)
        folders = settings.adapter_paths if settings is not None else ()
        core = create_core(
            (base_dir / folder for folder in folders),
            python_devices=bool(python_lines(cfg)),
        )
    tenure = Tenure(core, is_ours=True)
    try:
        if cfg is not None:
            load_cfg(core, cfg)
        wanted_mb = settings.buffer_mb if settings is not None else 0
        # Setting it allocates it, 0.4 s for the default, also when nothing changes.
        if wanted_mb and core.getCircularBufferMemoryFootprint() != wanted_mb:
            core.setCircularBufferMemoryFootprint(wanted_mb)
    except BaseException:
        tenure.end()
        raise
    return tenure


def _close_all() -> None:
    for rig in list(_OPEN):
        rig.close()
