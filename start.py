"""Set smartscope up and use it: ``python start.py demo`` or ``python start.py test``.

Needs nothing but Python 3.11 or newer. Installs into the Python that runs it: the
virtual environment you are in, or else the one you called.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE / "demo_configs" / "quickstart.yaml"
USAGE = """usage: python start.py demo [options of 'smartscope run']
       python start.py test [options of pytest]"""
MOST_WORKERS = 4


def in_environment() -> bool:
    """Whether this Python belongs to a virtual environment."""
    return sys.prefix != sys.base_prefix or bool(os.environ.get("CONDA_PREFIX"))


def how_to_make_one(windows: bool) -> str:
    """Return the two commands that make a virtual environment and enter it."""
    if windows:
        return "    py -m venv .venv\n    .venv\\Scripts\\activate"
    return "    python3 -m venv .venv\n    source .venv/bin/activate"


def install(extra: str) -> int:
    """Install this folder with pip; when pip will not, say what to do instead."""
    if in_environment() and not has_pip():
        # Environments made by uv have no pip of their own.
        call("-m", "ensurepip", "--upgrade")
    if not has_pip():
        return refuse("this Python has no pip")
    print(f"Installing smartscope into {sys.prefix} ...", flush=True)
    what = f"{HERE}{extra}"
    done = call("-m", "pip", "install", "--quiet", "--editable", what)
    if done == 0:
        return 0
    if in_environment():
        print("\npip could not install smartscope: see its message above.")
        return done
    return refuse("pip will not install into the Python of this system")


def refuse(why: str) -> int:
    """Say how to make an environment."""
    print(f"\n{why[0].upper()}{why[1:]}: make a virtual environment and try again:\n")
    print(how_to_make_one(os.name == "nt"))
    print(f"    python start.py {' '.join(sys.argv[1:])}")
    return 1


def has_pip() -> bool:
    """Whether this Python can run pip."""
    command = [sys.executable, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def call(*arguments: str) -> int:
    """Run this Python with `arguments` in this folder; its exit code."""
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(command, cwd=HERE, check=False).returncode
    except KeyboardInterrupt:
        # Ctrl-C reached the command too, and it has said what there is to say.
        return 130


def main(arguments: list[str]) -> int:
    """Install and run what was asked for."""
    if sys.version_info < (3, 11):  # noqa: UP036
        print(
            f"smartscope needs Python 3.11 or newer; this is {sys.version.split()[0]}."
        )
        return 1
    if not arguments or arguments[0] not in ("demo", "test"):
        print(USAGE)
        return 2
    task, rest = arguments[0], arguments[1:]
    if failed := install("[test]" if task == "test" else ""):
        return failed
    if task == "demo":
        return call("-m", "smartscope", "run", str(DEMO), *rest)
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    return call("-m", "pytest", "-n", str(workers), *rest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
