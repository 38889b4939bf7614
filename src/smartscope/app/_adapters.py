"""Look at Micro-Manager's device adapters, in a process of its own.

Loading a vendor's library can crash or hang the process that does it; run as
``python -m smartscope.app._adapters`` it takes only itself down. Prints JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["probe"]


def probe() -> dict[str, Any]:
    """Return versions of pymmcore and the adapters found, each folder tried."""
    import pymmcore
    from pymmcore_plus import find_micromanager

    core = pymmcore.CMMCore()
    interface = _number(r"Device API version (\d+)", core.getAPIVersionInfo())
    folders = [_folder(f) for f in find_micromanager(return_first=False)]
    return {
        "pymmcore": pymmcore.__version__,
        "core": core.getVersionInfo(),
        "device_interface": interface,
        "folders": folders,
    }


def _folder(path: str) -> dict[str, Any]:
    import pymmcore

    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([path])
    adapters = sorted(core.getDeviceAdapterNames())
    found: dict[str, Any] = {"path": path, "adapters": adapters, "problem": ""}
    if "DemoCamera" not in adapters:
        found["problem"] = "it has no DemoCamera adapter to try"
        return found
    try:
        core.loadDevice("Camera", "DemoCamera", "DCam")
        core.initializeDevice("Camera")
    except RuntimeError as error:
        found["problem"] = " ".join(str(error).split())
    finally:
        core.unloadAllDevices()
    return found


def _number(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text)
    return int(match.group(1)) if match else None


if __name__ == "__main__":
    print(json.dumps(probe()))
