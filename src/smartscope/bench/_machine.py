"""What it was measured on: machine, versions, commit, load, disk."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "smartscope",
    "pymmcore",
    "pymmcore-plus",
    "mm-test-adapters",
    "useq-schema",
    "numpy",
    "scipy",
    "tensorstore",
    "ome-writers",
)
DISK_MB = 512
MOST_LOAD = 3.0


def machine() -> dict[str, Any]:
    """Processor, cores, memory (GiB) and operating system; None where unknown."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "os": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python and the packages that matter here, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Git commit of this package, with ``-dirty`` if files differ; None without one."""
    here = Path(__file__).parent
    # A repository that does not hold this file has nothing to do with it.
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    found = _git(here, "rev-parse", "--short=12", "HEAD")
    if found is None:
        return None
    return f"{found}-dirty" if _git(here, "status", "--porcelain") else found


def load() -> float | None:
    """Load average of the last minute; None where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def disk_rates(folder: Path, size_mb: int = DISK_MB) -> dict[str, float]:
    """MB/s at which `folder` takes `size_mb`: ``cached``, and ``synced`` by fsync."""
    block = os.urandom(1_000_000)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began = time.perf_counter()
        for _ in range(size_mb):
            file.write(block)
        cached_s = time.perf_counter() - began
        os.fsync(file.fileno())
        synced_s = time.perf_counter() - began
    return {"cached_mb_s": size_mb / cached_s, "synced_mb_s": size_mb / synced_s}


def _cpu() -> str | None:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _memory_gib() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
