"""`doctor`: what is installed, what works here, and what to do about each gap."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

__all__ = ["Check", "check_all", "doctor_here"]

PROBE_S = 60
RATE_MB = 32
SLOW_MB_S = 50.0
LITTLE_GB = 5.0
RUNTIMES = {
    # module: (distribution, what it is for, what to type)
    "onnxruntime": ("onnxruntime", "reference for every model", "onnxruntime"),
    "openvino": ("openvino", "fast models on a CPU", '"smartscope[openvino]"'),
    "torch": ("torch", "training, and a fallback for models", '"smartscope[torch]"'),
    "tensorrt": ("tensorrt", "fastest models on an NVIDIA card", "tensorrt"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    `state` is ``ok``, ``note`` (works without it) or ``problem`` (does not work).
    """

    area: str
    name: str
    state: Literal["ok", "note", "problem"]
    found: str
    fix: str = ""


def doctor_here(*, as_json: bool) -> int:
    """Look at everything and print it; 0 when demos can run here, 1 when not."""
    checks = list(check_all(Path.cwd()))
    ok = not any(check.state == "problem" for check in checks)
    if as_json:
        rows = [asdict(check) for check in checks]
        typer.echo(json.dumps({"ok": ok, "checks": rows}, indent=2))
    else:
        _print(checks, ok)
    return 0 if ok else 1


def check_all(folder: Path) -> Iterator[Check]:
    """Look at Python, packages, adapters, runtimes, GPUs, disk and terminal.

    Parameters
    ----------
    folder : Path
        Where runs would be written; a test file is made there and removed.
    """
    yield from _python()
    yield from _packages()
    yield from _adapters()
    yield from _runtimes()
    yield from _gpus()
    yield from _disk(folder)
    yield from _terminal()


def _print(checks: list[Check], ok: bool) -> None:
    signs = {"ok": "ok", "note": "--", "problem": "!!"}
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            typer.echo(f"\n{area}")
        typer.echo(f"  {signs[check.state]}  {check.name}: {check.found}")
        if check.fix:
            typer.echo(f"      to do: {check.fix}")
    typer.echo(
        "\nReady: try 'smartscope run quickstart'."
        if ok
        else "\nNot ready: see the lines marked !!."
    )


def _python() -> Iterator[Check]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    fix = "" if good else "install Python 3.11 or newer from python.org"
    yield Check("System", "Python", "ok" if good else "problem", version, fix)
    words = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Check("System", "computer", "ok", f"{words}, {os.cpu_count()} cores")


def _packages() -> Iterator[Check]:
    for name in _required():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            fix = f"python -m pip install {name}"
            yield Check("Packages", name, "problem", "missing", fix)
        else:
            yield Check("Packages", name, "ok", version)


def _required() -> list[str]:
    """What smartscope needs, and itself; extras left out."""
    try:
        lines = importlib.metadata.requires("smartscope") or []
    except importlib.metadata.PackageNotFoundError:
        return ["smartscope"]
    base = [line for line in lines if "extra ==" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in base]
    return ["smartscope", *sorted(names, key=str.lower)]


def _adapters() -> Iterator[Check]:
    area = "Micro-Manager"
    probed = _probe()
    if isinstance(probed, str):
        fix = "python -m pip install --force-reinstall pymmcore-plus mm-test-adapters"
        yield Check(area, "device adapters", "problem", probed, fix)
        return
    interface = probed["device_interface"]
    core = f"{probed['core']}, device interface {interface}"
    yield Check(area, "core", "ok", core)
    if not probed["folders"]:
        fix = "python -m pip install mm-test-adapters, or 'mmcore install'"
        yield Check(area, "device adapters", "problem", "no folder found", fix)
    usable = any(not folder["problem"] for folder in probed["folders"])
    for folder in probed["folders"]:
        found = f"{len(folder['adapters'])} adapters"
        if not folder["problem"]:
            match = f"{found}, DemoCamera works: interface {interface} matches"
            yield Check(area, folder["path"], "ok", match)
            continue
        yield Check(
            area,
            folder["path"],
            "note" if usable else "problem",
            f"{found}, but {folder['problem']}",
            f"install a Micro-Manager of device interface {interface} "
            "('mmcore install'), or remove this folder from MICROMANAGER_PATH",
        )


def _probe() -> dict[str, Any] | str:
    """Ask a process of its own; a sentence when that one fails."""
    command = [sys.executable, "-m", "smartscope.app._adapters"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"they could not be looked at ({type(error).__name__})"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"looking at them failed: {last}"
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return "looking at them gave no answer"
    return answer


def _runtimes() -> Iterator[Check]:
    for module, (distribution, use, install) in RUNTIMES.items():
        needed = module == "onnxruntime"
        if importlib.util.find_spec(module) is None:
            state: Literal["note", "problem"] = "problem" if needed else "note"
            fix = f"if wanted ({use}): python -m pip install {install}"
            yield Check("Runtimes", module, state, "not installed", fix)
            continue
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found = "installed, version unknown"
        yield Check("Runtimes", module, "ok", found)


def _gpus() -> Iterator[Check]:
    tool = shutil.which("nvidia-smi")
    query = "--query-gpu=name,driver_version,memory.total"
    if tool is None:
        yield Check("GPU", "NVIDIA", "note", "none found; models run on the CPU")
        return
    try:
        done = subprocess.run(
            [tool, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        fix = "install the NVIDIA driver again"
        yield Check("GPU", "NVIDIA", "note", f"nvidia-smi failed: {error}", fix)
        return
    for line in done.stdout.strip().splitlines():
        name, driver, memory = (part.strip() for part in line.split(",", 2))
        yield Check("GPU", name, "ok", f"driver {driver}, {memory}")


def _disk(folder: Path) -> Iterator[Check]:
    free_gb = shutil.disk_usage(folder).free / 1e9
    low = free_gb < LITTLE_GB
    yield Check(
        "Disk",
        str(folder),
        "note" if low else "ok",
        f"{free_gb:.1f} GB free",
        "free space, or give --output on a larger disk" if low else "",
    )
    try:
        rate = _write_rate_mb_s(folder)
    except OSError as error:
        fix = "change to a folder you may write in, or give --output"
        yield Check("Disk", "writing", "problem", error.strerror or str(error), fix)
        return
    slow = rate < SLOW_MB_S
    yield Check(
        "Disk",
        "writing",
        "note" if slow else "ok",
        f"{rate:.0f} MB/s, measured on {RATE_MB} MB",
        "record to a local SSD, not to a network drive" if slow else "",
    )


def _write_rate_mb_s(folder: Path) -> float:
    block = os.urandom(1_000_000)
    with tempfile.TemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(RATE_MB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return RATE_MB / max(time.perf_counter() - start, 1e-9)


def _terminal() -> Iterator[Check]:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        yield Check("Terminal", "live view", "note", "no terminal here: plain lines")
        return
    yield _live_view(console)


def _live_view(console: Console) -> Check:
    size = f"{console.width} x {console.height} characters"
    colours = console.color_system or "no"
    found = f"{size}, {colours} colours, {console.encoding}"
    if console.options.ascii_only or console.color_system is None:
        fix = "use a terminal with colour and UTF-8, such as Windows Terminal"
        return Check("Terminal", "live view", "note", f"{found}: no picture", fix)
    if console.width < 80 or console.height < 24:
        fix = "enlarge the window to 80 x 24 or more"
        return Check("Terminal", "live view", "note", f"{found}: small", fix)
    return Check("Terminal", "live view", "ok", found)
