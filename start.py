"""Set smartscope up and use it: ``python start.py demo`` or ``python start.py test``.

Needs nothing but Python 3.11 or newer. Installs into the Python that runs it: the
virtual environment you are in, or else the one you called.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE / "demo_configs" / "quickstart.yaml"
USAGE = """usage: python start.py demo [options of 'smartscope run']
       python start.py test [options of pytest]"""
MOST_WORKERS = 4
IS_WINDOWS = os.name == "nt"


def main(arguments: list[str]) -> int:
    """Install, then do what was asked for; returns its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036
        print("smartscope needs Python 3.11 or newer; this is", sys.version.split()[0])
        return 1
    if not arguments or arguments[0] not in ("demo", "test"):
        print(USAGE)
        return 2
    task, rest = arguments[0], arguments[1:]
    failed = install("[test]" if task == "test" else "")
    if failed:
        return failed
    if task == "demo":
        return call("-m", "smartscope", "run", str(DEMO), *rest)
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    return call("-m", "pytest", "-n", str(workers), *rest)


def install(extra: str) -> int:
    """Install this folder with pip; where pip will not, say what to do instead."""
    if in_environment() and not has_pip():
        # Environments made by uv have no pip of their own.
        call("-m", "ensurepip", "--upgrade")
    if not in_environment() and is_managed():
        return advise("This Python belongs to the system, and pip will not change it")
    if not has_pip():
        return advise("This Python has no pip")
    print(f"Installing smartscope into {sys.prefix} ...", flush=True)
    failed = call("-m", "pip", "install", "--quiet", "--editable", f"{HERE}{extra}")
    if failed:
        advise("pip could not install smartscope, see its message above; perhaps")
    return failed


def advise(why: str) -> int:
    """Say how to make a virtual environment on this system; returns 1."""
    if IS_WINDOWS:
        commands = ("py -m venv .venv", ".venv\\Scripts\\activate")
    else:
        commands = ("python3 -m venv .venv", "source .venv/bin/activate")
    print(f"\n{why}: make a virtual environment, enter it, and try again:\n")
    for command in (*commands, f"python start.py {' '.join(sys.argv[1:])}"):
        print(f"    {command}")
    return 1


def in_environment() -> bool:
    """Whether this Python belongs to a virtual environment."""
    return sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ


def is_managed() -> bool:
    """Whether the system keeps this Python to itself (PEP 668)."""
    return Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()


def has_pip() -> bool:
    """Whether this Python can run pip."""
    command = [sys.executable, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def call(*arguments: str) -> int:
    """Run this Python with `arguments` in this folder; returns its exit code."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=HERE) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # Ctrl-C reached the command as well: it ends in its own, orderly way.
                continue


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
