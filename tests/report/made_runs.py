"""Runs written with the real writer, small enough to make in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.config import RecordConfig
from smartscope.core import (
    NS_PER_S,
    Decision,
    Detections,
    Event,
    Frame,
    HardwareState,
    Nothing,
    Observation,
    Outcome,
    PixelMap,
    Request,
    SetInterval,
    SetPower,
    Track,
    View,
    VirtualClock,
)
from smartscope.record import ImageLayout, RunWriter

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 96
PIXEL_MAP = PixelMap(((0.8, 0.0), (0.0, 0.8)), ((SIDE - 1) / 2, (SIDE - 1) / 2))
VIEW = View(0, "Camera")
T0_NS = 5_000_000_000
HEADER = {
    "planned": 60,
    "clock": {"kind": "scaled", "speed": 10.0},
    "versions": {"smartscope": "0.1.0", "numpy": np.__version__},
}


def cells_at(t_s: float, division_s: float) -> list[tuple[int, float, float]]:
    """Track id and place, um, of the cells; the second divides into two."""
    cells = [(1, -20.0 + 0.03 * t_s, -18.0), (4, 22.0, 20.0 - 0.02 * t_s)]
    if t_s < division_s:
        return [*cells, (2, 8.0 - 0.01 * t_s, -2.0)]
    apart = min(7.0, 0.25 * (t_s - division_s))
    return [*cells, (2, 6.0 - apart, -2.0), (3, 6.0 + apart, -2.0)]


def picture(cells: list[tuple[int, float, float]], seed: int) -> np.ndarray:
    """A camera frame, u16, of gaussian cells with photon noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    light = np.full((SIDE, SIDE), 110.0)
    for _, x_um, y_um in cells:
        row, column = PIXEL_MAP.to_image((x_um, y_um), 0.0, 0.0)
        light += 900.0 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 30.0)
    return np.random.default_rng(seed).poisson(light).astype(np.uint16)


class MadeRun:
    """Writes a run frame by frame: film, look, decide, act."""

    def __init__(
        self, parent: Path, name: str = "film divisions fast", frames: int = 60
    ) -> None:
        self.clock = VirtualClock(T0_NS)
        layout = ImageLayout(
            name="cells", sizes={"t": frames}, shape_yx=(SIDE, SIDE), pixel_um=0.8
        )
        self.writer = RunWriter.create(
            parent,
            name,
            experiment_yaml="name: made\nsafety: {dose_per_fov_j_cm2: 4}\n",
            rig_yaml="name: demo <rig>\nspecimen: {kind: dividing_cells}\n",
            header=HEADER,
            config=RecordConfig(max_backlog_s=60, min_free_mb=1),
            layouts=(layout,),
            clock=self.clock,
        )
        self.path = self.writer.path
        self._frames = self._seen = self._decisions = 0
        self._dose = 0.0

    def film(
        self,
        t_s: float,
        pixels: np.ndarray,
        *,
        role: str = "baseline",
        index: dict[str, int] | None = None,
    ) -> int:
        t_ns = T0_NS + int(t_s * NS_PER_S)
        self.clock.wait_until(t_ns, _never())
        pixels.flags.writeable = False
        state = HardwareState(x_um=0.0, y_um=0.0, channel="FITC", exposure_ms=20.0)
        frame = Frame(
            frame_id=self._frames,
            pixels=pixels,
            view=VIEW,
            role=role,
            index=index or {},
            t_exposed_ns=t_ns,
            t_received_ns=t_ns + 26_000_000,
            t_published_ns=t_ns + 26_400_000,
            state=state,
            pixel_map=PIXEL_MAP,
            planned_s=t_s,
        )
        self.writer.note("intent", {"index": dict(frame.index)}, t_ns=t_ns)
        self.writer.frame(frame)
        self._frames += 1
        self._dose += 0.03
        field = {"value": self._dose, "unit": "J/cm2", "j_cm2": self._dose}
        self.writer.note("dose", {"field": field, "x_um": 0.0, "y_um": 0.0})
        return frame.frame_id

    def see(
        self,
        t_s: float,
        frame_id: int,
        cells: list[tuple[int, float, float]],
        events: tuple[Event, ...] = (),
    ) -> int:
        tracks = tuple(
            Track(track_id=i, state="active", x_um=x, y_um=y, detection=k)
            for k, (i, x, y) in enumerate(cells)
        )
        columns = {
            name: np.array(values, dtype=np.float64)
            for name, values in (
                ("y_px", [c[2] for c in cells]),
                ("x_px", [c[1] for c in cells]),
                ("x_um", [c[1] for c in cells]),
                ("y_um", [c[2] for c in cells]),
                ("area_um2", [80.0] * len(cells)),
                ("score", [1.0] * len(cells)),
            )
        }
        labels = np.arange(1, len(cells) + 1, dtype=np.int64)
        t_ns = T0_NS + int(t_s * NS_PER_S)
        seen = Observation(
            number=self._seen,
            view=VIEW,
            frame_ids=(frame_id,),
            t_ns=t_ns,
            t_s=t_s,
            channel="FITC",
            shape=(SIDE, SIDE),
            detections=Detections(label=labels, **columns),
            tracks=tracks,
            events=events,
        )
        entry = {"observation": seen}
        self.writer.note("observation", entry, t_ns=t_ns + 48_000_000)
        self._seen += 1
        return seen.number

    def decide(self, t_s: float, observation: int, action: Any, status: str) -> None:
        t_ns = T0_NS + int(t_s * NS_PER_S) + 49_000_000
        action_id = f"{self._decisions}.0"
        request = Request(
            action_id=action_id,
            policy="rate_switch",
            view=VIEW,
            action=action,
            t_decided_ns=t_ns,
            observation=observation,
        )
        decision = Decision(
            number=self._decisions,
            observation=observation,
            policy="rate_switch",
            view=VIEW,
            requests=(request,),
        )
        self.writer.note("decision", {"decision": decision}, t_ns=t_ns)
        self._decisions += 1
        if isinstance(action, Nothing):
            return
        outcome = Outcome(
            action_id=action_id,
            policy="rate_switch",
            status=status,
            message="" if status == "scheduled" else "faster than the rig allows",
            t_ns={"checked": t_ns, "applied": t_ns + 400_000},
        )
        self.writer.note("outcome", {"outcome": outcome}, t_ns=t_ns + 500_000)

    def close(self) -> None:
        self.writer.close({"outcome": "completed", "message": "The plan is done."})


def _never() -> Any:
    import threading

    return threading.Event()


def divisions_run(parent: Path, *, close: bool = True) -> Path:
    """Five minutes at 5 s a frame; a division at 150 s is filmed every second."""
    run = MadeRun(parent)
    division_s, t_s, planned = 150.0, 0.0, 0
    truth = {"onset_s": [148.0, 290.0], "end_s": [170.0, 299.0]}
    truth |= {"x_um": [6.0, -40.0], "y_um": [-2.0, 44.0]}
    run.writer.write_table("divisions", truth)
    while t_s < 300.0:
        lasting = division_s <= t_s <= division_s + 30.0
        cells = cells_at(t_s, division_s)
        fast = lasting and t_s % 5.0 != 0
        if fast:
            frame_id = run.film(t_s, picture(cells, int(t_s)), role="reaction")
        else:
            index = {"t": planned}
            frame_id = run.film(t_s, picture(cells, int(t_s)), index=index)
            planned += 1
        run.see(t_s, frame_id, cells, _events(t_s, division_s) if lasting else ())
        _decide(run, t_s, division_s, run._seen - 1)
        t_s += 1.0 if lasting else 5.0
    if close:
        run.close()
    else:
        run.writer.journal.flush()
        run.writer.abort()
    return run.path


def _events(t_s: float, division_s: float) -> tuple[Event, ...]:
    state = "onset" if t_s == division_s else "active"
    return (
        Event(
            event_id=1,
            kind="mitosis",
            score=0.91,
            state=state,
            onset_s=division_s,
            x_um=6.0,
            y_um=-2.0,
            track_id=2,
        ),
    )


def _decide(run: MadeRun, t_s: float, division_s: float, observation: int) -> None:
    if t_s == division_s:
        why = "mitosis at 6, -2 um with score 0.91 <b>above</b> 0.5"
        run.decide(
            t_s, observation, SetInterval(interval_s=1.0, reason=why), "scheduled"
        )
    elif t_s == division_s + 10:
        action = SetInterval(interval_s=0.01, reason="still going on, faster")
        run.decide(t_s, observation, action, "rejected")
    elif t_s == division_s + 31:
        action = SetInterval(interval_s=None, reason="no event for 10 s")
        run.decide(t_s, observation, action, "scheduled")
    else:
        action = Nothing(
            reason=f"score {0.1 + t_s / 1e4:.3f} below 0.5", score=0.1, threshold=0.5
        )
        run.decide(t_s, observation, action, "")


MS = 1_000_000
PERIOD_NS = 1_250_000


def stream_run(parent: Path, *, frames: int = 400, close: bool = True) -> Path:
    """A camera at 800 frames/s; vision takes 2 ms, so it leaves out every other frame.

    Every observation sets the power; each hundredth frame is followed by something
    that goes wrong.
    """
    writer = RunWriter.create(
        parent,
        "stream",
        experiment_yaml="name: stream\nacquisition: {stream: {exposure_ms: 1}}\n",
        rig_yaml="name: demo\n",
        header={"planned": frames, "clock": {"kind": "real"}, "versions": {}},
        config=RecordConfig(images=False, min_free_mb=1),
        clock=VirtualClock(T0_NS),
    )
    made = _Stream(writer)
    made.note("start", {"start_ns": T0_NS}, 0)
    made.note("pacing", {"pacing": "free", "deadline_s": None, "on_deadline": None}, 0)
    intent = {"index": {}, "role": "stream", "cause": "plan", "frames": frames}
    made.note("intent", {**intent, "position": 0, "power_percent": {"488": 5.0}}, 0)
    for k in range(frames):
        made.frame(k)
        if k % 2:
            made.note("skipped", {"frame_id": k, "by": "vision"}, made.received(k))
        else:
            made.react(k)
        if k % 100 == 99:
            made.trouble(k)
    if close:
        made.account(frames)
        writer.close({"outcome": "completed", "message": "done"})
    else:
        writer.journal.flush()
        writer.abort()
    return writer.path


class _Stream:
    def __init__(self, writer: RunWriter) -> None:
        self.writer = writer
        self._pixels = np.zeros((4, 4), np.uint16)
        self._pixels.flags.writeable = False
        self._wobble = np.random.default_rng(3)

    def received(self, k: int) -> int:
        """Later than the next exposure has begun, as in a real stream."""
        return (k + 1) * PERIOD_NS + 300_000

    def note(self, kind: str, data: dict[str, Any], t_ns: int) -> None:
        self.writer.note(kind, data, t_ns=T0_NS + t_ns)

    def frame(self, k: int) -> None:
        self.writer.frame(
            Frame(
                frame_id=k,
                pixels=self._pixels,
                view=VIEW,
                role="stream",
                t_exposed_ns=T0_NS + k * PERIOD_NS,
                t_received_ns=T0_NS + self.received(k),
                t_published_ns=T0_NS + self.received(k) + 15_000,
                state=HardwareState(x_um=0.0, y_um=0.0, channel="FITC"),
                group=("stream", k),
                image_number=k,
            )
        )

    def react(self, k: int) -> None:
        late_ns = int(self._wobble.exponential(100_000))
        received_ns = T0_NS + self.received(k)
        taken_ns = received_ns + 40_000
        seen_ns = taken_ns + 900_000 + late_ns
        seen = Observation(
            number=k // 2,
            view=VIEW,
            frame_ids=(k,),
            t_ns=T0_NS + k * PERIOD_NS,
            t_s=k * PERIOD_NS / NS_PER_S,
            channel="FITC",
            shape=(4, 4),
        )
        stamps = {"received": received_ns, "published": received_ns + 15_000}
        stamps |= {"taken": taken_ns, "seen": seen_ns}
        line = {"observation": seen, "stamps": stamps}
        self.writer.note("observation", line, t_ns=seen_ns + 5_000)
        self._decide(k, seen_ns)

    def _decide(self, k: int, seen_ns: int) -> None:
        number = k // 2
        decided_ns = seen_ns + 60_000
        action = SetPower(line="488", power_percent=5.0, reason=f"signal {k}")
        request = Request(
            action_id=f"{number}.0",
            policy="hold",
            view=VIEW,
            action=action,
            t_decided_ns=decided_ns,
            observation=number,
        )
        decision = Decision(
            number=number,
            observation=number,
            policy="hold",
            view=VIEW,
            requests=(request,),
        )
        self.writer.note("decision", {"decision": decision}, t_ns=decided_ns)
        # Every tenth is refused; the others settle long after the next was issued.
        t_ns = {"checked": decided_ns + 20_000}
        refused = number % 10 == 9
        if not refused:
            t_ns["applied"] = decided_ns + 70_000
            t_ns["verified"] = decided_ns + 3 * MS
        outcome = Outcome(
            action_id=request.action_id,
            policy="hold",
            status="rejected" if refused else "applied",
            t_ns=t_ns,
            command=None if refused else number,
        )
        self.writer.note("outcome", {"outcome": outcome}, t_ns=decided_ns + 4 * MS)

    def trouble(self, k: int) -> None:
        t_ns = self.received(k)
        lost = {"frames": 2, "by": "camera", "certain": True, "after_frame": k}
        self.note("lost", lost, t_ns)
        lost = {"frames": 1, "by": "estimate", "certain": False, "after_frame": k}
        self.note("lost", lost, t_ns)
        restart = {"for": "roi", "dead_ms": 30.0 + k, "action_id": f"{k // 2}.0"}
        self.note("restart", restart, t_ns)
        self.note("external", {"change": "stage", "now": [1.5, float(k)]}, t_ns)
        self.note("interlock", {"name": "stale frames", "message": f"{k} ms"}, t_ns)
        self.note("fault", {"where": "vision", "message": f"bad frame {k}"}, t_ns)
        now_ns = T0_NS + t_ns
        kept = {"frames": 80, "from_ns": now_ns - 100_000_000, "to_ns": now_ns}
        kept |= {"missing_s": 0.0}
        self.note("kept", {**kept, "action_id": f"{k // 2}.0"}, t_ns)
        self.note("dose", {"position": 0, "field": {"value": k, "unit": "J/cm2"}}, t_ns)

    def account(self, frames: int) -> None:
        vision = {"name": "vision", "appetite": "latest", "delivered": frames // 2}
        vision |= {"skipped": frames // 2, "dropped": 0}
        record = {"name": "record", "appetite": "lossless", "delivered": frames}
        record |= {"skipped": 0, "dropped": 0}
        trouble = frames // 100
        told = {"published": frames, "lost_certain": 2 * trouble}
        self.note(
            "subscribers",
            {
                "subscribers": [vision, record],
                "pool": {"buffers": 16, "misses": 3},
                "frames": told | {"lost_possible": trouble},
            },
            self.received(frames),
        )
