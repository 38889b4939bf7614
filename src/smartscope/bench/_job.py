"""What one process is asked to measure. Imports nothing that costs time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

HOMES = {
    # kind: (module, function), the module's name completed by the peer's
    "snap": ("_{peer}", "snap"),
    "next": ("_{peer}", "following"),
    "stream": ("_{peer}", "stream"),
    "burst": ("_{peer}", "burst"),
    "startup": ("_startup", "startup"),
    "light": ("_light", "light"),
    "soak": ("_soak", "soak"),
    "decoders": ("_decoders", "decoders"),
    "denoise-detect": ("_denoise_detect", "measure"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One repetition of one work by one peer.

    Attributes
    ----------
    kind : str
        A key of `HOMES`.
    peer : str
        ``floor``, ``plain`` or ``smartscope``.
    size_px : int
        Height and width of a frame.
    frames : int
        Frames asked for; of a burst, in each burst.
    analysis : str
        What is done with a frame, a key of ``_analysis.ANALYSES``.
    recorded : bool
        Pixels are written.
    situation : str
        What goes on when the light is to go off: ``snap``, ``move`` or ``queue``;
        which decoder is measured.
    bursts : int
        Bursts asked for, one after the other.
    hold_s : float
        How long a snap or a move of the light work lasts; how long a soak lasts.
    scratch : str
        Folder to write in; it is deleted by whoever gave it.
    spawned_ns : int
        Wall-clock time at which the process was started.
    adapters, cfg : str
        Folder of the device adapters, and the configuration to open.
    denoiser, detector : str
        Paths of the models of the loop with models.
    """

    kind: str
    peer: str
    size_px: int = 512
    exposure_ms: float = 10.0
    frames: int = 0
    analysis: str = "mean"
    recorded: bool = False
    situation: str = ""
    bursts: int = 1
    hold_s: float = 0.0
    scratch: str = "."
    spawned_ns: int = 0
    adapters: str = ""
    cfg: str = ""
    denoiser: str = ""
    detector: str = ""

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Inverse of `to_json`."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """The job as one argument of a command line."""
        return json.dumps(asdict(self))

    def run(self) -> dict[str, Any]:
        """Measure it in this process; returns plain values (see `Measured`)."""
        module, function = HOMES[self.kind]
        home = import_module(f"smartscope.bench.{module.format(peer=self.peer)}")
        measured: dict[str, Any] = getattr(home, function)(self)
        return measured
