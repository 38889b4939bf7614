"""What is measured: every task, its peers, and what each number means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smartscope.bench._job import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

PEERS = ("floor", "plain", "smartscope")
REACTION = "image in the core to property set, less the analysis of that frame"
STREAMED = "frame received by the core to property set, less the analysis of that frame"
NOTES = (
    "floor: hand-written pymmcore, one thread, spins while it waits for a frame.",
    "plain: pymmcore-plus as documented: an event queue for snaps, a sequenced "
    "MDASequence for series, the reaction in frameReady.",
    "smartscope: smartscope.run with safety, journal, a vision stage and a policy.",
    "Written: floor by a second thread through tensorstore (zarr, no OME metadata), "
    "plain by pymmcore-plus (output=...), smartscope as OME-Zarr with its journal; "
    "nothing compressed. smartscope writes its journal also where pixels are not.",
    "x floor: median latency over that of the floor; with two floors, of the one that "
    "writes nothing.",
    "Denoise and detect: the camera shows frames of the simulated specimen made "
    "before; floor pops the newest, calls the same runtimes on tensors filled once, "
    "decodes and sets the property: it neither scales images nor tracks.",
    "CPU ms/frame: all threads and ended children, first to last frame, the demo "
    "camera's own image making included; CPU to close: the same until all is written.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One row of a task's table."""

    peer: str
    recorded: bool = False
    reference: bool = False
    """Its median is what the others are compared with."""

    def name(self, recorded: bool) -> str:
        """How the row is called in a task whose pixels are `recorded`."""
        unwritten = recorded and not self.recorded
        return f"{self.peer}, not written" if unwritten else self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One table: the same job for all its entrants.

    Attributes
    ----------
    name : str
        Short name, as the bars know it.
    title, latency : str
        What is done; from where to where the latency is.
    job : Job
        Peer and recorded are filled in for each entrant.
    scratch_mb : float
        Room that one repetition needs in the scratch folder.
    """

    name: str
    title: str
    latency: str
    job: Job
    entrants: tuple[Entrant, ...]

    @property
    def recorded(self) -> bool:
        """Whether somebody writes pixels."""
        return any(entrant.recorded for entrant in self.entrants)

    @property
    def scratch_mb(self) -> float:
        """Room that one repetition needs in the scratch folder, MB."""
        pixels = self.job.frames * 2 * self.job.size_px**2 if self.recorded else 0
        return pixels / 1e6 + 100 + self.job.frames * 0.01

    def name_of(self, entrant: Entrant) -> str:
        """Name of the row of `entrant`."""
        return entrant.name(self.recorded)

    def shortened(self, frames: int) -> Task:
        """The same task with so many frames and next to no waiting, to try it out."""
        job = self.job
        hold_s = min(job.hold_s, 0.6 if job.kind == "light" else frames / 50)
        few = min(job.frames, frames)
        bursts = min(job.bursts, 2)
        return replace(self, job=replace(job, frames=few, bursts=bursts, hold_s=hold_s))


def _all(recorded: bool = False) -> tuple[Entrant, ...]:
    if not recorded:
        return tuple(Entrant(peer=p, reference=p == "floor") for p in PEERS)
    unwritten = Entrant(peer="floor", reference=True)
    return (unwritten, *(Entrant(peer=p, recorded=True) for p in PEERS))


A = Task(
    name="A",
    title="A: snap reaction in lockstep, 512 x 512, 10 ms",
    latency=REACTION,
    job=Job(kind="snap", peer="", frames=200, analysis="label"),
    entrants=_all(),
)
B = Task(
    name="B",
    title="B: next event without a move, 512 x 512, 10 ms",
    latency="analysis done to snap of the frame that it asked for entered",
    job=Job(kind="next", peer="", frames=200, analysis="label"),
    entrants=_all(),
)
C1 = Task(
    name="C1",
    title="C1: stream, 512 x 512 at 1 ms, not written",
    latency=STREAMED,
    job=Job(kind="stream", peer="", exposure_ms=1.0, frames=2000),
    entrants=_all(),
)
C1_WRITTEN = Task(
    name="C1 written",
    title="C1: stream, 512 x 512 at 1 ms, written to OME-Zarr",
    latency=STREAMED,
    job=C1.job,
    entrants=_all(recorded=True),
)
C2 = Task(
    name="C2",
    title="C2: stream, 2048 x 2048 at 10 ms, written to OME-Zarr",
    latency=STREAMED,
    job=Job(kind="stream", peer="", size_px=2048, frames=300),
    entrants=_all(recorded=True),
)
C4 = Task(
    name="C4",
    title="C4: overload, 512 x 512 at 3 ms with an analysis of 8 ms, written",
    latency="lag: frame received by the core to property set, analysis included",
    job=Job(kind="stream", peer="", exposure_ms=3.0, frames=300, analysis="busy"),
    entrants=(
        Entrant(peer="floor", recorded=True, reference=True),
        Entrant(peer="plain", recorded=True),
        Entrant(peer="smartscope", recorded=True),
    ),
)
BURST = Task(
    name="burst",
    title="Burst of 50 frames as a reaction, 512 x 512 at 10 ms, 5 bursts",
    latency="decision to first frame of the burst in the core, its exposure included; "
    "fps inside the bursts",
    job=Job(kind="burst", peer="", frames=50, bursts=5),
    entrants=_all(),
)
STARTUP = Task(
    name="startup",
    title="Start-up, no model",
    latency="process started to first frame in the user's hands",
    job=Job(kind="startup", peer="", frames=1),
    entrants=_all(),
)
_HELD = {"snap": "a 2 s snap", "move": "a 2 s stage move", "queue": "a full queue"}
LIGHT = tuple(
    Task(
        name=f"light, {situation}",
        title=f"Light off during {words}",
        latency="safe state asked for to shutter read back as closed; the others close "
        "the shutter by hand",
        job=Job(kind="light", peer="", situation=situation, hold_s=2.0),
        entrants=_all(),
    )
    for situation, words in _HELD.items()
)


def soak(*, full: bool) -> tuple[Task, ...]:
    """The two long runs: two minutes of each, or an hour and a quarter of an hour."""
    slow_s, fast_s = (3600.0, 900.0) if full else (120.0, 120.0)
    parts = (("written", 50.0, slow_s, True), ("not written", 2.0, fast_s, False))
    return tuple(
        Task(
            name=f"soak, {words}",
            title=f"Soak: 512 x 512 at {1000 / exposure_ms:g} frames/s for "
            f"{seconds / 60:g} min, {words}",
            latency="",
            job=Job(
                kind="soak",
                peer="",
                exposure_ms=exposure_ms,
                frames=int(seconds * 1000 / exposure_ms),
                hold_s=seconds,
            ),
            entrants=(Entrant(peer="smartscope", recorded=recorded),),
        )
        for words, exposure_ms, seconds, recorded in parts
    )


RATES = (10.0, 20.0, 30.0)
DENOISER, DETECTOR = "denoise", "nuclei"


def denoise_detect(
    rates: Sequence[float] = (),
    *,
    denoiser: str = "",
    detector: str = "",
    full: bool = False,
) -> tuple[Task, ...]:
    """The loop with models, one task for each camera rate.

    Parameters
    ----------
    rates : sequence of float
        Frames per second; empty is `RATES`.
    denoiser, detector : str
        Paths of models; empty are the shipped ones, looked for when they are run.
    full : bool
        A minute of each rate, not ten seconds.
    """
    seconds = 60.0 if full else 10.0
    return tuple(
        Task(
            name=f"denoise-detect, {rate:g}/s",
            title=f"Denoise and detect, 512 x 512 at {rate:g} frames/s",
            latency="lag: newest frame received by the core to property set, models "
            "included",
            job=Job(
                kind="denoise-detect",
                peer="",
                exposure_ms=1000 / rate,
                frames=max(2, int(seconds * rate)),
                hold_s=seconds,
                denoiser=denoiser or DENOISER,
                detector=detector or DETECTOR,
            ),
            entrants=(
                Entrant(peer="floor", reference=True),
                Entrant(peer="smartscope"),
            ),
        )
        for rate in rates or RATES
    )


_DECODED = {
    "stardist": "StarDist at grid 2, with drawing",
    "watershed": "watershed of a mask",
    "flows": "Cellpose's flows, with their check",
    "spots": "spots of a heat map",
}
DECODERS = tuple(
    Task(
        name=f"decoders, {decoder}",
        title=f"Decoder: {words}, 512 x 512, 150 objects, one thread",
        latency="maps of the model to objects",
        job=Job(kind="decoders", peer="", frames=50, situation=decoder),
        entrants=(Entrant(peer="smartscope"),),
    )
    for decoder, words in _DECODED.items()
)

WORKS: dict[str, tuple[Task, ...]] = {
    "react": (A, B, C1, C2),
    "burst": (BURST,),
    "overload": (C4,),
    "record": (C1_WRITTEN, C2),
    "startup": (STARTUP,),
    "light": LIGHT,
    "soak": soak(full=False),
    "decoders": DECODERS,
    "denoise-detect": denoise_detect(),
    "all": (A, B, C1, C1_WRITTEN, C2, C4, BURST, STARTUP, *LIGHT),
}
