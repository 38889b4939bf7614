"""Opens Micro-Manager cores: our own, or a user's, one driver per core."""

from __future__ import annotations

import os
import re
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import ConfigError, HardwareError
from smartscope.rig import _quiet  # noqa: F401  must come before pymmcore_plus

# isort: split
from pymmcore_plus import CMMCorePlus, DeviceType, find_micromanager
from pymmcore_plus.core import _mmcore_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartscope.config import RigConfig

__all__ = [
    "CMMCorePlus",
    "DeviceType",
    "create_core",
    "did_you_mean",
    "disown",
    "file_of",
    "find_cfg",
    "load_cfg",
    "making_cores",
    "own",
    "python_lines",
]

_CREATING = threading.Lock()
_OWNERS: weakref.WeakKeyDictionary[CMMCorePlus, str] = weakref.WeakKeyDictionary()
_OWNING = threading.Lock()
PY_PREFIX = "#py "
_LINE = re.compile(r"Line (\d+): *(.*)")


def own(core: CMMCorePlus, name: str) -> None:
    """Become the only driver of `core` in this process.

    Raises
    ------
    HardwareError
        If another open rig drives it: two runs must never share one microscope.
    """
    with _OWNING:
        holder = _OWNERS.get(core)
        if holder is not None:
            raise HardwareError(
                f"this microscope is already driven by the open rig '{holder}'; close "
                "that one first"
            )
        _OWNERS[core] = name


def disown(core: CMMCorePlus) -> None:
    """Let others drive `core` again."""
    with _OWNING:
        _OWNERS.pop(core, None)


@contextmanager
def _psygnal() -> Iterator[None]:
    # With Qt signals every slot waits for the GUI thread, and a cache fed by them
    # would be as old as the GUI is busy.
    before = os.environ.get("PYMM_SIGNALS_BACKEND")
    os.environ["PYMM_SIGNALS_BACKEND"] = "psygnal"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYMM_SIGNALS_BACKEND"]
        else:
            os.environ["PYMM_SIGNALS_BACKEND"] = before


def create_core(
    adapter_paths: Iterable[Path] = (), *, python_devices: bool = False
) -> CMMCorePlus:
    """Make a core of our own with psygnal signals, never the global singleton.

    Parameters
    ----------
    adapter_paths : iterable of path
        Further folders with device adapters.
    python_devices : bool
        Whether it takes devices written in Python too (the experimental `UniMMCore`).

    Raises
    ------
    ConfigError
        If no device adapters are found anywhere.
    """
    found = find_micromanager()
    paths = [str(path) for path in adapter_paths] + ([found] if found else [])
    if not paths:
        raise ConfigError(
            "no Micro-Manager device adapters were found on this computer",
            field="micromanager.adapter_paths",
            fix="install Micro-Manager (mmcore install), or name the folder of its "
            "adapters here",
        )
    with making_cores():
        return _kind_of_core(python_devices)(adapter_paths=paths)


@contextmanager
def making_cores() -> Iterator[None]:
    """Let cores be made here: with psygnal signals, and none becomes the singleton."""
    with _CREATING, _psygnal():
        # The first core ever made registers itself as CMMCorePlus.instance(), which
        # widgets and user code take for theirs.
        singleton = _mmcore_plus._instance  # noqa: SLF001
        try:
            yield
        finally:
            _mmcore_plus._instance = singleton  # noqa: SLF001


def _kind_of_core(python_devices: bool) -> type[CMMCorePlus]:
    if not python_devices:
        return CMMCorePlus
    # It reserves a gigabyte for cameras written in Python, of which we have none.
    os.environ.setdefault("UNICORE_SEQUENCE_BUFFER_MB", "16")
    from pymmcore_plus.experimental.unicore import UniMMCore

    return UniMMCore


def find_cfg(config: RigConfig, base_dir: Path) -> Path:
    """Locate the ``.cfg``: beside the rig file, here, or in Micro-Manager's folder.

    Raises
    ------
    ConfigError
        If it is nowhere.
    """
    if config.micromanager is None:
        raise ConfigError(
            "this rig is a recording, it has no microscope to open",
            file=file_of(config),
            field="micromanager",
        )
    if config.micromanager.config is None:
        raise ConfigError(
            "this rig comes from a factory, it has no Micro-Manager configuration",
            file=file_of(config),
            field="micromanager",
        )
    wanted = config.micromanager.config.expanduser()
    places = [base_dir / wanted, Path.cwd() / wanted]
    if not wanted.is_absolute() and (found := find_micromanager()):
        places.append(Path(found) / wanted)
    for place in places:
        if place.is_file():
            return place.resolve()
    raise ConfigError(
        f"the Micro-Manager configuration '{wanted}' does not exist beside the rig "
        f"file ({base_dir})",
        file=file_of(config),
        field="micromanager.config",
        fix="correct the path, relative to the rig file",
    )


def file_of(config: RigConfig) -> str:
    """How error messages call the rig file."""
    if config.source_file is not None:
        return config.source_file.name
    return f"rig '{config.name}'"


def load_cfg(core: CMMCorePlus, cfg: Path) -> None:
    """Load `cfg` into `core`.

    Raises
    ------
    ConfigError
        A line Micro-Manager cannot read, an adapter or device it does not know, or an
        adapter built for another version.
    HardwareError
        A device that does not answer.
    """
    try:
        # Micro-Manager's own reading; `UniMMCore` would read the whole file in Python
        # and name no line of it.
        CMMCorePlus.loadSystemConfiguration(core, str(cfg))
    except (OSError, RuntimeError, ValueError) as error:
        raised = _explain(core, cfg, str(error))
        core.unloadAllDevices()
        raise raised from error
    for number, line in python_lines(cfg):
        try:
            _load_python(core, line)
        except Exception as error:
            # A module of anybody's is imported and a device of theirs is started.
            core.unloadAllDevices()
            raise ConfigError(
                f"the Python device of '{','.join(line)}' cannot be loaded "
                f"({' '.join(str(error).split()) or type(error).__name__})",
                file=cfg.name,
                line=number,
                fix="write '#py pyDevice,LABEL,module,Class', with a class of "
                "pymmcore_plus.experimental.unicore that can be imported here",
            ) from error


def python_lines(cfg: Path) -> list[tuple[int, list[str]]]:
    """Lines of a ``.cfg`` that are meant for devices written in Python.

    They begin with ``#py``, so that Micro-Manager takes them for comments.

    Returns
    -------
    list of (line number, fields)
    """
    text = cfg.read_text(encoding="utf-8", errors="replace")
    return [
        (number, [part.strip() for part in line[len(PY_PREFIX) :].split(",")])
        for number, line in enumerate(text.splitlines(), start=1)
        if line.startswith(PY_PREFIX)
    ]


def _load_python(core: CMMCorePlus, line: list[str]) -> None:
    match line:
        case ["pyDevice", label, module, name]:
            core.loadDevice(label, module, name)
            core.initializeDevice(label)
        case ["Property", device, prop, value]:
            core.setProperty(device, prop, value)
        case _:
            raise ValueError("only pyDevice and Property are known here")


def _explain(core: CMMCorePlus, cfg: Path, text: str) -> ConfigError | HardwareError:
    words = " ".join(text.split())
    found = _LINE.search(text)
    line = int(found[1]) if found else None
    tokens = found[2].strip().split(",") if found else []
    problem, fix = words, "correct this line"
    if "interface version" in words or "incompatible" in words.lower():
        problem = f"the device adapter is of another device interface: {words}"
        fix = (
            "use adapters and pymmcore of the same device interface "
            f"(here {core.getAPIVersionInfo()}); 'smartscope doctor' compares them"
        )
    elif tokens[:1] == ["Device"] and len(tokens) >= 4:
        label, module, device = tokens[1:4]
        if module not in core.getDeviceAdapterNames():
            problem = f"device '{label}': there is no adapter '{module}' here"
            fix = did_you_mean(module, core.getDeviceAdapterNames())
        elif device not in (known := core.getAvailableDevices(module)):
            problem = f"device '{label}': adapter '{module}' has no device '{device}'"
            fix = did_you_mean(device, known)
        else:
            return HardwareError(
                f"could not be loaded ({cfg.name}, line {line}): {words}", device=label
            )
    elif tokens[:3] == ["Property", "Core", "Initialize"]:
        named = re.search(r'device "([^"]+)"', words)
        return HardwareError(
            f"a device of {cfg.name} did not answer: {words}; look at its power, its "
            "cable and its port",
            device=named[1] if named else "",
        )
    return ConfigError(problem, file=cfg.name, line=line, fix=fix)
