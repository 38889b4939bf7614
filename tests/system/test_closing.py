"""However a run is ended, and whatever it does just then: dark, stopped, in order."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import film_helpers
import pytest
from film_helpers import (
    ACTS,
    SMALL,
    THREADS,
    Witness,
    film,
    gone,
    is_dark,
    ours,
    told_of,
    until,
)
from small_runs import DEMO, experiment, rig, slow_rig

from smartscope import run
from smartscope.control import FollowUp
from smartscope.core import RealClock, RecordError, Request, SetPower, View
from smartscope.record import RunFolder
from smartscope.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smartscope.runs import RunResult
    from smartscope.testing import FaultyCore

ENDS = {
    "stop": ("stopped", 130, "stopped by a person"),
    "cancel": ("cancelled", 130, "cancelled"),
    "interrupt": ("stopped", 130, "interrupted"),
    "raise": ("failed", 8, "enough"),
}
OUTSIDE = ["stop", "cancel", "interrupt"]
VISITING = "from film_helpers import visit\nvisit('policy')"


@pytest.fixture(autouse=True)
def visits() -> Iterator[None]:
    THREADS.clear()
    ACTS.clear()
    yield
    gone()


@dataclass
class End:
    """Ends a run in one of the ways, once `reached` is set, and notes what follows."""

    way: str
    core: FaultyCore
    witness: Witness = field(default_factory=Witness)
    reached: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    dark: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    published: int = -1
    moved: bool = False
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core.watch("setShutterOpen", self._shutter)
        self.core.watch("snapImage", lambda *args: self.log.append("snapped"))
        ACTS["policy"] = self._raise

    def _shutter(self, *args: Any) -> None:
        self.log.append("open" if args[-1] else "shut")
        # The demo stage is not asked: during a snap its adapter does not answer.
        if self.moved and self.core.deviceBusy("XY"):
            self.log.append(f"{self.log[-1]} while XY moves")
        if self.asked.is_set() and not args[-1]:
            self.dark.set()

    def _raise(self) -> None:
        if self.way == "raise" and self.reached.is_set():
            self._note()
            raise ValueError("enough")

    def _note(self) -> None:
        if not self.asked.is_set():
            self.published = self.witness.published
            self.log.append("asked")
            self.asked.set()

    def ask(self) -> None:
        if self.way == "raise" or not self.reached.wait(film_helpers.PATIENCE_S):
            return
        self._note()
        if self.way == "stop":
            self.stop.set()
        elif self.way == "cancel":
            self.core.mda.cancel()
        else:
            _thread.interrupt_main()

    def moving(self, *args: Any) -> None:
        """Ask as soon as the stage is on its way."""
        if args[-2:] == (200.0, 0.0):
            self.moved = True
            self.reached.set()

    @property
    def shut_while_moving(self) -> bool:
        """Whether the shutter was closed, after asking, while the stage moved."""
        after = self.log[self.log.index("asked") :]
        return "shut while XY moves" in after

    def reach(self, frames: int) -> None:
        """Ask as soon as so many frames are published."""

        def look(*args: Any) -> None:
            if self.witness.published >= frames:
                self.reached.set()

        self.core.watch("popNextImageMD", look)

    def run(self, tmp_path: Path, **fields: Any) -> RunResult:
        """A run that is ended from a thread of its own, and has to end so."""
        asker = threading.Thread(target=self.ask)
        asker.start()
        common = {"subscriptions": (self.witness.frames,), "stop": self.stop}
        if "acquisition" not in fields:
            result = film(self.core, tmp_path, duration_s=60, **common, **fields)
        else:
            config = fields.pop("config", None) or rig("demo_laser_rig")
            result = run(
                experiment(**{"rig": "none.yaml", "vision": ["measure"], **fields}),
                rig=config,
                core=self.core,
                output=tmp_path,
                **common,
            )
        asker.join()
        self.check(result)
        return result

    def check(self, result: RunResult) -> None:
        outcome, exit_code, words = ENDS[self.way]
        assert (result.outcome, result.exit_code) == (outcome, exit_code), result
        assert words in result.message
        end = result.folder.end
        assert end is not None
        assert (end["outcome"], end["exit_code"]) == (outcome, exit_code)
        assert is_dark(self.core)
        gone()
        assert result.folder.verify() == ()
        told_of(result)
        assert self.asked.is_set()
        after = self.log[self.log.index("asked") :]
        assert "shut" in after
        # Once it went dark nobody puts the light on again.
        assert "open" not in after[after.index("shut") :]

    @property
    def late(self) -> int:
        """Frames that were published after the end was asked for."""
        return self.witness.published - self.published


@pytest.mark.parametrize("way", ENDS)
def test_during_a_stream_it_ends_within_a_frame(way, core, tmp_path, policy) -> None:
    end = End(way, core)
    end.reach(5)
    end.run(tmp_path, exposure_ms=50, policies=[policy(VISITING)])
    # The one under way when it was asked for, and the one that was on its way to us.
    assert end.late <= 2


@pytest.mark.parametrize("way", ENDS)
def test_during_a_burst_of_a_stream(way, core, tmp_path, policy) -> None:
    end = End(way, core)
    body = (
        f"{VISITING}\nif seen.number == 1:\n    yield Acquire(reason='b', frames=400)"
    )
    bursts: list[int] = []

    def began(*args: Any) -> None:
        if args[1] == 400:
            bursts.append(end.witness.published)

    core.watch("startSequenceAcquisition", began)

    def look(*args: Any) -> None:
        if bursts and end.witness.published >= bursts[0] + 3:
            end.reached.set()

    core.watch("popNextImageMD", look)
    result = end.run(tmp_path, exposure_ms=50, policies=[policy(body)])
    assert len(bursts) == 1, "the burst was not timed by hardware"
    assert end.late <= 2
    (outcome,) = result.folder.outcomes
    assert "of 400 frames" in outcome.message
    assert [where for where, _ in film_helpers.faults(result)] == (
        ["policy"] if way == "raise" else []
    )


def test_a_policy_ends_a_stream_in_the_middle_of_its_burst(
    core, tmp_path, policy
) -> None:
    body = """
if seen.number == 1:
    yield Acquire(reason='b', frames=400)
if seen.number == 6:
    yield Stop(reason='seen enough')
"""
    result = film(core, tmp_path, duration_s=60, policies=[policy(body)])
    assert (result.outcome, result.exit_code) == ("stopped", 0), result.message
    assert result.frames < 60
    assert {o.status for o in result.folder.outcomes} == {"applied", "scheduled"}
    assert film_helpers.faults(result) == []
    assert is_dark(core)


@pytest.mark.parametrize("way", ENDS)
def test_during_a_planned_burst(way, core, tmp_path, policy) -> None:
    end = End(way, core)
    starts: list[int] = []
    core.watch("startSequenceAcquisition", lambda *args: starts.append(args[1]))
    end.reach(4)
    plan = {
        "channels": [{"config": "FITC", "exposure": 20}],
        "time_plan": {"interval": 5, "loops": 3},
    }
    body = (
        f"{VISITING}\nif seen.number == 0:\n    yield Acquire(reason='b', frames=150)"
    )
    end.run(
        tmp_path,
        acquisition=plan,
        schedule={"pacing": "free"},
        policies=[policy(body)],
    )
    assert starts == [150], "the burst was not timed by hardware"
    assert end.late <= 3


SNAPS = {
    "channels": [{"config": "FITC", "exposure": 1200}],
    "time_plan": {"interval": 0.001, "loops": 3},
}


@pytest.mark.parametrize("way", OUTSIDE)
def test_during_a_long_snap_the_shutter_does_not_wait_for_it(
    way, core, tmp_path
) -> None:
    end = End(way, core)

    def begun() -> None:
        # Let the snap get hold of the camera's adapter first.
        threading.Timer(0.1, end.reached.set).start()

    core.inject("snapImage", lambda *args: begun())
    result = end.run(tmp_path, acquisition=SNAPS)
    after = end.log[end.log.index("asked") :]
    assert after.index("shut") < after.index("snapped")
    assert result.frames <= 1
    # The frame says itself that the light changed while it was exposed.
    assert [entry["mixed"] for entry in result.folder.entries("frame")] == [True]


def test_during_a_long_snap_a_policy_that_raises_ends_the_run(
    core, tmp_path, policy
) -> None:
    end = End("raise", core)
    snaps: list[int] = []

    def begun() -> None:
        snaps.append(end.witness.published)
        if len(snaps) == 2:
            end.reached.set()

    core.inject("snapImage", lambda *args: begun())
    late = end._raise

    def during_the_second() -> None:
        if THREADS["policy"]:
            assert end.reached.wait(film_helpers.PATIENCE_S)
            late()

    ACTS["policy"] = during_the_second
    end.run(
        tmp_path,
        acquisition={
            **SNAPS,
            "channels": [{"config": "FITC", "exposure": 300}],
        },
        schedule={"pacing": "free"},
        policies=[policy(VISITING)],
    )
    assert len(snaps) == 2 and end.late <= 1


# ------------------------------------------------------------- a stage that moves


@pytest.mark.parametrize("way", OUTSIDE)
def test_during_a_planned_stage_move(way, slow, tmp_path) -> None:
    end = End(way, slow)
    slow.watch("setXYPosition", lambda *args: end.moving(*args))
    result = end.run(
        tmp_path,
        acquisition={
            "stage_positions": [(0, 0, 0), (200, 0, 0)],
            "channels": [{"config": "FITC", "exposure": 5}],
        },
        config=slow_rig(),
    )
    assert result.frames == 1, "nothing was exposed after the move"
    assert end.shut_while_moving


FLOOD = """
from film_helpers import visit
visit('policy')
if seen.number == 2:
    yield MoveStage(reason="far", x_um=200.0, y_um=0.0)
for k in range(20):
    percent = 10.0 + (seen.number + k) % 40
    yield SetPower(reason="flood", line="488", power_percent=percent)
    yield SetProperty(reason="f", device="Camera", property="Gain", value=str(k % 8))
"""


@pytest.mark.parametrize("way", ENDS)
def test_during_a_stage_move_of_a_stream_and_a_flood_of_commands(
    way, slow, tmp_path, policy
) -> None:
    """The light goes off while the stage still moves and commands come without end."""
    end = End(way, slow)
    slow.watch("setXYPosition", lambda *args: end.moving(*args))
    result = end.run(
        tmp_path,
        exposure_ms=20,
        config=slow_rig(),
        policies=[policy(FLOOD)],
    )
    assert end.shut_while_moving
    assert end.late <= 3
    told = {o.action_id: o for o in result.folder.outcomes}
    # The move was seen to its end, in the dark.
    (move,) = (
        request.action_id
        for decision in result.folder.decisions
        for request in decision.requests
        if type(request.action).__name__ == "MoveStage"
    )
    assert told[move].status == "applied"
    assert sum(o.status == "applied" for o in told.values()) > 50
    asked = sum(len(decision.requests) for decision in result.folder.decisions)
    assert len(told) == asked, "every action has its outcome"


# -------------------------------------------------------------- a camera that rests


@pytest.mark.parametrize("way", OUTSIDE)
def test_during_a_pause(way, core, tmp_path) -> None:
    end = End(way, core)

    def pause(*args: Any) -> None:
        if end.witness.published >= 3:
            core.mda.set_paused(True)

    core.watch("popNextImageMD", pause)
    # Once it rests for a while.
    rest = threading.Timer(0.1, end.reached.set)
    core.watch("stopSequenceAcquisition", lambda *args: rest.start())
    result = end.run(tmp_path, exposure_ms=20)
    assert end.late == 0
    pauses = [entry["paused"] for entry in result.folder.entries("pause")]
    assert pauses == [True, False]


@pytest.mark.parametrize("way", OUTSIDE)
def test_while_the_camera_is_set_anew(way, core, tmp_path, policy) -> None:
    """The pump is about to start again when everything is switched off."""
    end = End(way, core)

    def hold(*args: Any) -> None:
        if args[-2:] == (32, 32):
            end.reached.set()
            assert end.dark.wait(film_helpers.PATIENCE_S)

    core.inject("setROI", hold)
    body = """
if seen.number == 2:
    yield SetRoi(reason="smaller", x_px=0, y_px=0, width_px=32, height_px=32)
"""
    starts: list[str] = []
    core.watch(
        "startContinuousSequenceAcquisition", lambda *args: starts.append("start")
    )
    result = end.run(tmp_path, exposure_ms=20, policies=[policy(body)])
    assert end.late == 0
    assert starts == ["start"], "it was not started again"
    (outcome,) = result.folder.outcomes
    assert outcome.status == "applied"


@pytest.mark.parametrize("way", ["stop", "cancel"])
def test_while_a_listener_does_not_come_back(way, core, tmp_path) -> None:
    """Neither cancel nor stop wait until somebody's viewer has drawn."""
    end = End(way, core)
    order: list[str] = []

    def listen(*frame: Any) -> None:
        if end.witness.published >= 3 and not order:
            end.reached.set()
            end.dark.wait(film_helpers.PATIENCE_S)
            order.append("dark" if end.dark.is_set() else "light")

    core.mda.events.frameReady.connect(listen)
    end.run(tmp_path, exposure_ms=20)
    assert order == ["dark"]
    assert end.late <= 3


def test_a_pause_does_not_wait_for_a_listener(core, tmp_path) -> None:
    rested, resumed = threading.Event(), []

    def listen(*frame: Any) -> None:
        if not resumed:
            core.mda.set_paused(True)
            resumed.append(rested.wait(film_helpers.PATIENCE_S))
            core.mda.set_paused(False)

    core.mda.events.frameReady.connect(listen)
    core.watch("stopSequenceAcquisition", lambda *args: rested.set())
    result = film(core, tmp_path, frames=30)
    assert (result.outcome, result.exit_code) == ("completed", 0), result.message
    assert resumed == [True]
    assert result.frames == 30
    assert is_dark(core)


# ------------------------------------------------------- a disk that ends the run


@pytest.mark.parametrize("plan", [True, False], ids=["plan", "stream"])
def test_no_light_before_its_intent_is_on_disk(
    plan, core, tmp_path, monkeypatch
) -> None:
    from smartscope.record import _journal

    write_all = _journal.write_all

    def full(file: Any, data: bytes) -> None:
        if b'"kind":"intent"' in data:
            raise OSError(28, "No space left on device")
        write_all(file, data)

    monkeypatch.setattr(_journal, "write_all", full)
    opened: list[bool] = []
    core.watch("setShutterOpen", lambda *args: opened.append(args[-1]))
    if plan:
        result = run(
            experiment(rig="none.yaml", vision=["measure"]),
            rig=rig("demo_laser_rig"),
            core=core,
            output=tmp_path,
        )
    else:
        result = film(core, tmp_path, duration_s=60)
    assert (result.outcome, result.exit_code) == ("failed", 6)
    assert "No space left" in result.message
    assert True not in opened
    assert result.frames == 0
    assert is_dark(core)


# --------------------------------------------------------------- what comes too late


@pytest.fixture
def demo_rig(core: FaultyCore) -> Iterator[Rig]:
    opened = Rig.open(rig("demo_laser_rig"), RealClock(), base_dir=DEMO, core=core)
    yield opened
    opened.close()


def request() -> Request:
    action = SetPower(reason="late", line="488", power_percent=20.0)
    return Request(
        action_id="1.0",
        policy="late",
        view=View(0, "Camera"),
        action=action,
        t_decided_ns=0,
        observation=0,
    )


def test_a_command_after_the_end_is_still_seen_through(demo_rig) -> None:
    """A policy that acts while the run closes: no thread, no outcome is lost."""
    later: list[Any] = []
    follow_up = FollowUp(
        demo_rig, arrived=later.append, inline=False, failed=later.append
    )
    set_power = demo_rig.actuator.set_power
    assert follow_up.finish(request(), set_power("488", 20.0)) is None
    follow_up.close(film_helpers.PATIENCE_S)
    assert [outcome.status for outcome in later] == ["applied"]
    outcome = follow_up.finish(request(), set_power("488", 30.0))
    assert outcome is not None and outcome.status == "applied"
    assert float(outcome.readback["power_percent"]) == 30.0
    assert "smartscope-light:488" not in ours()


def test_an_outcome_that_cannot_be_recorded_is_no_secret(demo_rig) -> None:
    def full(outcome: Any) -> None:
        raise RecordError("the disk is full")

    failed: list[BaseException] = []
    follow_up = FollowUp(demo_rig, arrived=full, inline=False, failed=failed.append)
    follow_up.finish(request(), demo_rig.actuator.set_power("488", 20.0))
    follow_up.close(film_helpers.PATIENCE_S)
    assert [str(error) for error in failed] == ["the disk is full"]


# -------------------------------------------------------------- the command line


STREAM = """
name: closing
rig: {rig}
acquisition:
  stream: {{channel: FITC, exposure_ms: 20, duration_s: 600, roi: {roi}}}
light:
  FITC: {{488: {{power_percent: 10}}}}
vision: [measure]
"""
SIGNALS = [
    name
    for name in ("SIGINT", "SIGTERM", "CTRL_BREAK_EVENT")
    if hasattr(signal, name) and (os.name == "nt") == (name == "CTRL_BREAK_EVENT")
]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_the_command_in_order(name, tmp_path) -> None:
    rig_file = (DEMO / "demo_laser_rig.yaml").as_posix()
    text = STREAM.format(rig=rig_file, roi=str(SMALL).replace("'", ""))
    (tmp_path / "closing.yaml").write_text(text, encoding="utf-8")
    out = tmp_path / "runs"
    arguments = [str(tmp_path / "closing.yaml"), "--output", str(out)]
    own_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", "smartscope", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        creationflags=own_group,
    )

    def frames() -> int:
        journals = list(out.glob("*/journal.jsonl"))
        return sum(p.read_bytes().count(b'"kind":"frame"') for p in journals)

    try:
        until(lambda: frames() >= 5 or process.poll() is not None, "no frame came")
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=film_helpers.PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (path,) = out.iterdir()
    folder = RunFolder(path)
    assert folder.end is not None
    assert (folder.end["outcome"], folder.end["exit_code"]) == ("stopped", 130)
    assert "THE LIGHT" not in folder.end["message"]
    assert folder.verify() == ()
