"""A Micro-Manager configuration read as text: checked without opening a device."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import ConfigError
from smartscope.rig._factory import find_factory
from smartscope.rig._mmcore import PY_PREFIX, file_of, find_cfg

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from smartscope.config import Experiment, RigConfig

_DEMO_SENSOR = (512, 512)
_USUAL_SENSOR = (2048, 2048)


@dataclass(slots=True)
class _Cfg:
    """The lines of a ``.cfg`` that matter here."""

    adapters: dict[str, str] = field(default_factory=dict)
    presets: dict[str, dict[str, list[tuple[str, str, str]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    properties: dict[tuple[str, str], str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))


def _read(path: Path) -> _Cfg:
    cfg = _Cfg()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"it cannot be read ({error.strerror})",
            file=str(path),
            fix="check its permissions",
        ) from error
    for line in text.splitlines():
        parts = [part.strip() for part in line.removeprefix(PY_PREFIX).split(",")]
        match parts:
            case ["Device" | "pyDevice", label, module, name]:
                cfg.adapters[label] = f"{module}.{name}"
            case ["ConfigGroup", group, preset, device, prop, value]:
                cfg.presets[group][preset].append((device, prop, value))
            case ["Property", device, prop, value]:
                cfg.properties[(device, prop)] = value
            case ["Label", device, state, label]:
                cfg.labels[device][state] = label
    return cfg


class Configuration:
    """A rig file compared with its configuration on paper.

    Attributes
    ----------
    objective : str or None
        Objective preset that will be turned in at the start, as far as the files say.
    shape_yx : (height, width)
        Of the camera; assumed where only the camera knows.

    Without a path (a factory makes the core) nothing can be compared yet.
    """

    def __init__(self, config: RigConfig, path: Path | None) -> None:
        self._config = config
        self._path = path
        self._cfg = _Cfg() if path is None else _read(path)
        if path is not None:
            self._check_labels(path.name)
        self.objective = self._objective()
        camera = self._cfg.adapters.get(config.roles.camera if config.roles else "", "")
        self.shape_yx = _DEMO_SENSOR if camera == "DemoCamera.DCam" else _USUAL_SENSOR

    def check_plan(self, experiment: Experiment, channels: Iterable[str]) -> None:
        """Check that the channel presets of a plan exist.

        Raises
        ------
        ConfigError
            For the first that does not.
        """
        if self._path is None:
            return
        roles = self._config.roles
        group = roles.channel_group if roles else None
        for channel in channels:
            known = self._cfg.presets.get(group or "", {})
            if channel not in known:
                raise experiment.problem(
                    "acquisition.channels",
                    f"there is no channel preset '{channel}' in group '{group}' of "
                    f"{self._path.name}",
                    did_you_mean(channel, known),
                )

    def _check_labels(self, cfg_name: str) -> None:
        roles, config = self._config.roles, self._config
        if roles is None:
            return
        wanted = {f"roles.{k}": v for k, v in roles.model_dump().items() if v}
        wanted.pop("roles.channel_group", None)
        if roles.autofocus is not None:
            wanted.pop("roles.autofocus")
            wanted["roles.autofocus.state"] = roles.autofocus.state
            if roles.autofocus.offset:
                wanted["roles.autofocus.offset"] = roles.autofocus.offset
        for name, line in config.light.items():
            wanted[f"light.{name}.power"] = line.power[0]
        for i, entry in enumerate(config.safe_state):
            wanted[f"safe_state.{i}"] = entry[0]
        for place, label in wanted.items():
            if label not in self._cfg.adapters:
                raise ConfigError(
                    f"device '{label}' is not in {cfg_name}",
                    file=file_of(config),
                    field=place,
                    fix=did_you_mean(label, self._cfg.adapters),
                )

    def _objective(self) -> str | None:
        turret = self._config.roles.objective if self._config.roles else None
        if turret is None:
            # One objective is mounted, so the only calibrated one is it.
            named = list(self._config.calibration)
            return named[0] if len(named) == 1 else None
        startup = self._cfg.presets.get("System", {}).get("Startup", [])
        said = self._cfg.properties | {(d, p): v for d, p, v in startup}
        label = said.get((turret, "Label")) or self._label(
            turret, said.get((turret, "State"), "0")
        )
        for group, presets in self._cfg.presets.items():
            for preset, settings in presets.items():
                for device, prop, value in settings:
                    at = value if prop == "Label" else self._label(turret, value)
                    if group != "System" and device == turret and at == label:
                        return preset
        return label

    def _label(self, device: str, state: str) -> str | None:
        return self._cfg.labels.get(device, {}).get(state)


def check_configuration(config: RigConfig, *, base_dir: Path) -> Configuration:
    """Compare a rig file with its ``.cfg`` without opening a device.

    Raises
    ------
    ConfigError
        If the ``.cfg`` is missing, or lacks a device the rig names; if a factory
        cannot be imported. What a factory makes is known only when it is opened.
    """
    opened = config.micromanager
    if opened is not None and opened.factory is not None:
        find_factory(config, opened.factory, base_dir)
        return Configuration(config, None)
    return Configuration(config, find_cfg(config, base_dir))
