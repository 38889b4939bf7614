"""What stops the camera of a stream for a while, and how it goes on after that."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from film_helpers import SMALL, Witness, film, is_dark, until
from small_runs import experiment, rig, specimen_rig

from smartscope import replay, run
from smartscope.control import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.runs import RunResult

STACK = """
if seen.number in (5, 9):
    yield Acquire(reason="a stack", z_offsets_um=(-2.0, 0.0, 2.0))
"""


def stream(**fields: Any) -> dict[str, Any]:
    return {"stream": {"channel": "FITC", "exposure_ms": 10, "roi": SMALL, **fields}}


def alongside(
    act: Callable[[], object],
) -> tuple[threading.Thread, list[BaseException]]:
    """Do this on another thread; what it raises is kept for the test."""
    errors: list[BaseException] = []

    def do() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread, errors


def roles(result: RunResult) -> Counter[str]:
    return Counter(frame.role for frame in result.folder.frames)


# ------------------------------------------------------------------ bursts, restarts


@pytest.mark.parametrize(("follows", "events"), [("Yes", 1), ("No", 3)])
def test_a_stack_as_a_reaction_is_hardware_timed_where_the_focus_can_follow(
    core, policy, tmp_path, follows, events
) -> None:
    core.setProperty("Z", "UseSequences", follows)
    result = film(core, tmp_path, frames=60, policies=[policy(STACK)])
    assert result.outcome == "completed", result.message
    folder = result.folder
    assert roles(result) == {"stream": 60, "reaction": 6}
    assert [o.status for o in folder.outcomes] == ["applied"] * 2
    assert [o.message for o in folder.outcomes] == ["3 of 3 frames"] * 2
    asked = [r.action_id for d in folder.decisions for r in d.requests]
    for action_id in asked:
        stack = [f for f in folder.frames if f.cause == action_id]
        assert [f.role for f in stack] == ["reaction"] * 3
        heights = [f.state.z_um for f in stack]
        assert heights == pytest.approx([-2.0, 0.0, 2.0], abs=0.1)
        whole = [folder.frame(f.frame_id) for f in stack]
        assert len({f.group for f in whole}) == 1
        assert [f.last_of_group for f in whole] == [False, False, True]
    assert {f.state.z_um for f in folder.frames if f.role == "stream"} == {0.0}, (
        "the focus is back before the stream goes on"
    )
    intents = Counter(e["cause"] for e in folder.entries("intent"))
    assert [intents[action_id] for action_id in asked] == [events] * 2
    assert intents["plan"] == 3, "the camera was started three times"
    broken = list(folder.entries("restart"))
    assert [(e["for"], e["action_id"]) for e in broken] == [
        ("burst", action_id) for action_id in asked
    ]
    assert all(e["dead_ms"] > 0 for e in broken)
    assert folder.verify() == ()
    assert replay(result.path).identical


def test_a_stack_in_virtual_time_is_seen_as_what_it_is(policy, tmp_path) -> None:
    result = run(
        experiment(
            acquisition=stream(frames=14), vision=["measure"], policies=[policy(STACK)]
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert roles(result) == {"stream": 14, "reaction": 6}
    seen = [(o.role, len(o.frame_ids)) for o in result.folder.observations()]
    assert seen.count(("reaction", 3)) == 2, "one sight of each stack"
    assert seen.count(("stream", 1)) == 14


def test_a_fast_series_as_a_reaction_is_one_sequence(core, policy, tmp_path) -> None:
    body = """
if seen.number == 5:
    yield Acquire(reason="look closely", frames=8, exposure_ms=3)
"""
    result = film(core, tmp_path, frames=40, policies=[policy(body)])
    assert roles(result) == {"stream": 40, "reaction": 8}
    series = [f for f in result.folder.frames if f.role == "reaction"]
    assert {f.state.exposure_ms for f in series} == {3.0}
    assert {
        f.state.exposure_ms for f in result.folder.frames if f.role == "stream"
    } == {10.0}, "the stream has its own exposure back"
    intents = Counter(e["role"] for e in result.folder.entries("intent"))
    assert intents == {"stream": 2, "reaction": 1}


def test_an_exposure_that_needs_a_restart_gets_one(core, policy, tmp_path) -> None:
    body = """
if seen.number == 10:
    yield SetExposure(reason="longer", exposure_ms=20)
"""
    result = film(
        core,
        tmp_path,
        frames=50,
        policies=[policy(body)],
        rig_changes={"capabilities": {"exposure": "restart"}},
    )
    assert roles(result) == {"stream": 50}
    (outcome,) = result.folder.outcomes
    assert outcome.status == "applied"
    assert "stopped" in outcome.message
    assert outcome.readback == {"exposure_ms": 20.0}
    (broken,) = result.folder.entries("restart")
    assert broken["for"] == "exposure"
    told = result.folder.frames
    shorter = [f for f in told if f.state.epoch < outcome.command]
    longer = [f for f in told if f.state.epoch >= outcome.command]
    assert shorter and longer and [*shorter, *longer] == list(told)
    levels = [
        {round(float(result.folder.image(f.frame_id).mean()), 1) for f in part}
        for part in (shorter, longer)
    ]
    # The demo camera's pattern is as bright as its exposure is long.
    assert [len(level) for level in levels] == [1, 1]
    assert levels[1].pop() == pytest.approx(2 * levels[0].pop(), rel=0.05)


# ---------------------------------------------------------------------------- pauses


def test_a_pause_is_dark_and_nothing_is_missing_after_it(core, tmp_path) -> None:
    witness, dark = Witness(), []

    def pause_twice() -> None:
        for _ in range(2):
            before = witness.published
            until(lambda n=before + 5: witness.published >= n, "no frames")
            core.mda.set_paused(True)
            until(lambda: not core.isSequenceRunning(), "the camera goes on")
            until(lambda: is_shut(core), "the light stays on")
            at_rest = witness.published
            time.sleep(0.2)
            dark.append(is_shut(core) and witness.published == at_rest)
            core.mda.set_paused(False)

    thread, errors = alongside(pause_twice)
    result = film(core, tmp_path, frames=60, subscriptions=(witness.frames,))
    thread.join(10)
    assert not errors
    assert dark == [True, True]
    assert result.outcome == "completed", result.message
    assert roles(result) == {"stream": 60}
    paused = [e["paused"] for e in result.folder.entries("pause")]
    assert paused == [True, False] * 2
    assert sum(1 for _ in result.folder.entries("intent")) == 3
    assert is_dark(core)


def test_a_policy_pauses_and_a_person_resumes(core, policy, tmp_path) -> None:
    monitor = Monitor()
    body = "if seen.number == 5:\n    yield Pause(reason='look at this')"

    def resume() -> None:
        until(lambda: monitor.snapshot().phase == "paused", "it does not pause")
        core.mda.set_paused(False)

    thread, errors = alongside(resume)
    result = run(
        experiment(
            rig="demo_laser_rig.yaml",
            acquisition=stream(frames=40),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
        monitor=monitor,
    )
    thread.join(10)
    assert not errors
    assert result.outcome == "completed", result.message
    assert roles(result) == {"stream": 40}
    (outcome,) = result.folder.outcomes
    assert outcome.status == "scheduled"


def test_cancelling_while_it_pauses(core, tmp_path) -> None:
    witness = Witness()

    def pause_and_cancel() -> None:
        until(lambda: witness.published >= 5, "no frames")
        core.mda.set_paused(True)
        until(lambda: is_shut(core), "the light stays on")
        core.mda.cancel()

    thread, errors = alongside(pause_and_cancel)
    result = film(core, tmp_path, duration_s=60, subscriptions=(witness.frames,))
    thread.join(10)
    assert not errors
    assert result.outcome == "cancelled"
    assert is_dark(core)


def test_a_finite_stream_is_whole_across_breaks_of_every_kind(
    core, policy, tmp_path
) -> None:
    monitor = Monitor()
    body = """
if seen.number == 4:
    yield Acquire(reason="a stack", z_offsets_um=(-1.0, 1.0))
if seen.number == 8:
    yield SetExposure(reason="shorter", exposure_ms=5)
if seen.number == 12:
    yield Pause(reason="wait")
"""

    def resume() -> None:
        until(lambda: monitor.snapshot().phase == "paused", "it does not pause")
        core.mda.set_paused(False)

    thread, errors = alongside(resume)
    result = run(
        experiment(
            rig="demo_laser_rig.yaml",
            acquisition=stream(frames=70),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig("demo_laser_rig", capabilities={"exposure": "restart"}),
        core=core,
        output=tmp_path,
        monitor=monitor,
    )
    thread.join(10)
    assert not errors
    assert result.outcome == "completed", result.message
    assert roles(result) == {"stream": 70, "reaction": 2}
    assert [e["for"] for e in result.folder.entries("restart")] == ["burst", "exposure"]
    assert result.folder.verify() == ()


def is_shut(core: Any) -> bool:
    return not core.getShutterOpen("Shutter")


# ------------------------------------------------------------------- external changes


def test_what_somebody_else_changes_is_told_once(core, policy, tmp_path) -> None:
    monitor, stop = Monitor(), threading.Event()
    body = """
if seen.state.external:
    yield Mark(reason="noticed " + " and ".join(seen.state.external))
"""

    def noticed(what: str) -> bool:
        return any(
            f"noticed {what}" in text for _, _, text in monitor.snapshot().decisions
        )

    def by_hand() -> None:
        try:
            until(lambda: monitor.snapshot().frames >= 5, "no frames")
            core.setXYPosition(8.0, -6.0)
            until(lambda: noticed("stage"), "the stage was not noticed")
            core.setPosition("Z", 3.0)
            until(lambda: noticed("focus"), "the focus was not noticed")
            core.setProperty("Laser", "Voltage", 2.5)
            until(lambda: noticed("light:488"), "the laser was not noticed")
            count = monitor.snapshot().frames
            until(lambda: monitor.snapshot().frames >= count + 10, "no frames")
        finally:
            stop.set()

    thread, errors = alongside(by_hand)
    result = run(
        experiment(
            rig="demo_laser_rig.yaml",
            acquisition=stream(duration_s=60),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
        monitor=monitor,
        stop=stop,
    )
    thread.join(10)
    assert not errors, errors
    folder = result.folder
    lines = list(folder.entries("external"))
    told = [line["change"] for line in lines]
    assert list(dict.fromkeys(told)) == ["stage", "focus", "light:488"]
    # The stage takes its time and may be seen on its way; nothing else is told twice.
    assert (told.count("focus"), told.count("light:488")) == (1, 1)
    moves = [line for line in lines if line["change"] == "stage"]
    focus, laser = (line for line in lines if line["change"] != "stage")
    assert moves[0]["before"] == {"x_um": 0.0, "y_um": 0.0}
    assert moves[-1]["now"] == pytest.approx({"x_um": 8.0, "y_um": -6.0}, abs=0.1)
    assert len({str(line["now"]) for line in moves}) == len(moves)
    assert (focus["before"]["z_um"], focus["now"]["z_um"]) == pytest.approx((0, 3))
    powers = laser["before"]["power_percent"], laser["now"]["power_percent"]
    assert powers == pytest.approx((10.0, 25.0))
    offered = [o.state.external for o in folder.observations() if o.state.external]
    assert sorted(name for names in offered for name in names) == sorted(told)
    last = folder.frames[-1].state
    assert (last.x_um, last.y_um, last.z_um) == pytest.approx((8, -6, 3), abs=0.1)
    assert last.power_percent == {"488": 25.0}
    assert replay(result.path).identical
