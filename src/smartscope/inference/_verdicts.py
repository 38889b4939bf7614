"""What a choice of runtimes found, and where it is kept."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.inference._protocol import Weights

Status = Literal["chosen", "slower", "disagrees", "failed", "absent"]

_FORMAT = 1
_DISTRIBUTIONS = (
    "smartscope",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "tensorrt",
    "tensorrt-rtx",
    "tensorrt-rtx-cu13",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one runtime did.

    Attributes
    ----------
    name : str
        As in a configuration: ``openvino-bf16``.
    status : {"chosen", "slower", "disagrees", "failed", "absent"}
    reason : str
        Why, in words.
    runtime : str
        Full name with version and device; empty where it did not open.
    precision : str
        Type it computes in; empty where it did not open.
    file : str
        Weights it ran.
    median_ms, p95_ms : float or None
        Time of a run; None where it was not timed.
    error : float or None
        Largest relative deviation from the reference, see `deviation`; None where it
        gave nothing that could be compared.
    """

    name: str
    status: Status
    reason: str
    runtime: str = ""
    precision: str = ""
    file: str = ""
    median_ms: float | None = None
    p95_ms: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which runtime runs a model on this machine, and why.

    Attributes
    ----------
    chosen : str
        Name of the runtime.
    shapes : tuple of tuple of int
        Shapes of the inputs it was chosen for.
    threads : int
        Threads each had.
    tolerance : float
        Largest relative deviation that was allowed.
    reference : str
        What all were held against.
    trials : tuple of Trial
        All that were looked at.
    key : str
        Identifies model, shapes, machine and versions.
    notes : tuple of str
        What else has to be told, in sentences.
    from_cache : bool
        It was found earlier, and only its agreement was checked again.
    """

    chosen: str
    shapes: tuple[tuple[int, ...], ...]
    threads: int
    tolerance: float
    reference: str
    trials: tuple[Trial, ...]
    key: str
    notes: tuple[str, ...] = ()
    from_cache: bool = False

    @property
    def trial(self) -> Trial:
        """The trial of the chosen runtime."""
        return next(trial for trial in self.trials if trial.status == "chosen")

    def reports(self) -> list[str]:
        """Sentences on every runtime that disagrees or failed, and other notes."""
        wrong = [t for t in self.trials if t.status in ("disagrees", "failed")]
        return [*self.notes, *(f"{t.name} is not used: {t.reason}" for t in wrong)]

    def to_json(self) -> str:
        """Write it as JSON that `from_json` reads."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            The text is damaged, or of another version.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            if found.pop("format") != _FORMAT:
                raise ValueError("of another version")
            found["shapes"] = tuple(tuple(map(int, s)) for s in found["shapes"])
            found["trials"] = tuple(Trial(**trial) for trial in found["trials"])
            found["notes"] = tuple(found["notes"])
            verdict = cls(**found)
            known = all(t.status in get_args(Status) for t in verdict.trials)
            if not known or verdict.trial.name != verdict.chosen:
                raise ValueError("no runtime is chosen")
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            StopIteration,
        ) as error:
            raise ModelError(f"the verdict on runtimes is damaged ({error})") from error
        return verdict


def verdict_key(
    weights: Sequence[Weights],
    shapes: Sequence[tuple[int, ...]],
    *,
    threads: int,
    tolerance: float,
    candidates: Sequence[str] | None,
) -> str:
    """Name of all that a choice depends on; another machine or version has another."""
    facts = {
        "format": _FORMAT,
        "weights": sorted((w.sha256, w.kind, w.precision) for w in weights),
        "shapes": [list(shape) for shape in shapes],
        "threads": threads,
        "tolerance": tolerance,
        "candidates": None if candidates is None else list(candidates),
        "machine": [_cpu(), os.cpu_count(), platform.machine(), list(nvidia_cards())],
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def cache_folder() -> Path:
    """Folder for what can be made again.

    ``SMARTSCOPE_CACHE`` where it is set, otherwise the place the system has for it.
    """
    chosen = os.environ.get("SMARTSCOPE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home()) / "smartscope" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "smartscope"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "smartscope"


def read_verdict(folder: Path, key: str) -> Verdict | None:
    """Verdict kept under a key; None where there is none that can be read."""
    try:
        verdict = Verdict.from_json(_file(folder, key).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ModelError):
        return None
    return replace(verdict, from_cache=True) if verdict.key == key else None


def write_verdict(folder: Path, verdict: Verdict) -> str | None:
    """Keep a verdict, whole or not at all.

    Returns
    -------
    str or None
        A sentence where it could not be kept; the choice is then made again.
    """
    file = _file(folder, verdict.key)
    draft: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        draft = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(verdict.to_json())
        os.replace(draft, file)
    except OSError as error:
        if draft is not None:
            with contextlib.suppress(OSError):
                draft.unlink()
        return (
            f"the choice of the runtime could not be kept ({error}); "
            "it will be made again"
        )
    return None


def _file(folder: Path, key: str) -> Path:
    return folder / "runtimes" / f"{key}.json"


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@functools.cache
def nvidia_cards() -> tuple[str, ...]:
    """Names of the NVIDIA cards the driver offers, with its version; none without."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return ()
    count, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    driver.cuDriverGetVersion(ctypes.byref(version))
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(128)
        if driver.cuDeviceGetName(text, len(text), index) == 0:
            names.append(f"{text.value.decode(errors='replace')} ({version.value})")
    return tuple(names)
