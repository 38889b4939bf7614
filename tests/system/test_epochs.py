"""A change shows in exactly the frames whose epoch says so.

The witness does not read stamps: the specimen integrates what the devices did over the
exposure of each frame, and the demo camera paints the exposure into its image.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from film_helpers import Witness, until
from small_runs import experiment, rig, specimen_rig, still

from smartscope import replay, run
from smartscope.control import Monitor
from smartscope.core import VirtualClock, make_clock
from smartscope.rig import Rig
from smartscope.runs._files import open_files
from smartscope.runs._live import LiveRun, Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.config import RigConfig
    from smartscope.core import Clock, Frame, HardwareState
    from smartscope.runs import RunResult

OFFSET_ADU = 100.0
ALIVE = {"cells": 60, "area_um": [300, 300], "bleach_half_dose": 1e12}
MIDDLE = {"x_px": 192, "y_px": 192, "width_px": 128, "height_px": 128}
IN_REAL_TIME = {"kind": "scaled", "speed": 1.0}


def stream(**fields: Any) -> dict[str, Any]:
    return {"stream": {"channel": "FITC", "exposure_ms": 20, **fields}}


class Agenda(VirtualClock):
    """Virtual time in which somebody acts in the midst of an exposure.

    Attributes
    ----------
    hands : number of the exposure -> [(part of it that is over, what is done), ...]
    """

    def __init__(self) -> None:
        super().__init__()
        self.hands: dict[int, list[tuple[float, Callable[[], object]]]] = {}
        self._exposures = 0

    def account_ns(self, duration_ns: int) -> None:
        super().sleep_ns(duration_ns)

    def sleep_ns(self, duration_ns: int) -> None:
        start_ns = self.now_ns()
        acts = self.hands.get(self._exposures, [])
        self._exposures += 1
        for part, act in acts:
            super().sleep_ns(start_ns + int(part * duration_ns) - self.now_ns())
            act()
        super().sleep_ns(start_ns + duration_ns - self.now_ns())


def filmed_by_hand(
    config: RigConfig,
    clock: Clock,
    output: Any,
    prepare: Callable[[Rig], object],
    **fields: Any,
) -> RunResult:
    """A run on a rig that somebody else holds in the hand too."""
    witness, stop = fields.pop("witness", Witness()), fields.pop("stop", None)
    files = open_files(experiment(**fields), rig=config)
    options = Options(
        parent=output,
        monitor=Monitor(),
        stop=stop or threading.Event(),
        subscriptions=(witness.frames,),
    )
    with Rig.open(config, clock, base_dir=files.rig_dir) as opened:
        prepare(opened)
        result = LiveRun(files, opened, options).run()
    assert result.outcome == ("stopped" if stop else "completed"), result.message
    return result


def frames(result: RunResult) -> list[Frame]:
    folder = result.folder
    return [folder.frame(record.frame_id) for record in folder.frames]


def brightness(frame: Frame) -> float:
    return float(frame.pixels.mean()) - OFFSET_ADU


def has_settled(state: HardwareState, command: int) -> bool:
    return state.epoch >= command or command in state.settled_later


# ------------------------------------------------------------------ in virtual time


def test_a_change_in_the_midst_of_an_exposure_is_mixed_and_counts_as_before(
    tmp_path,
) -> None:
    clock, commands = Agenda(), []

    def prepare(opened: Rig) -> None:
        put = opened.actuator.set_power
        clock.hands = {
            4: [(0.25, lambda: commands.append(put("488", 40)))],
            7: [(0.5, lambda: opened.actuator.settle(commands[0]))],
            12: [
                (0.5, lambda: commands.append(put("488", 20))),
                (0.9, lambda: opened.actuator.settle(commands[1])),
            ],
        }

    result = filmed_by_hand(
        specimen_rig(**ALIVE),
        clock,
        tmp_path,
        prepare,
        acquisition=stream(frames=20, roi=MIDDLE),
    )
    told = frames(result)
    per_percent = brightness(told[0]) / 10
    # What the hands did, told by nothing but the clock.
    lit = [10] * 4 + [0.25 * 10 + 0.75 * 40] + [40] * 7 + [30] + [20] * 7
    np.testing.assert_allclose(
        [brightness(f) / per_percent for f in told], lit, rtol=0.02
    )
    first, second = (command.number for command in commands)
    assert [f.frame_id for f in told if f.mixed] == [4, 12]
    assert [f.frame_id for f in told if first in f.state.pending] == [5, 6, 7]
    assert [has_settled(f.state, first) for f in told] == [n >= 8 for n in range(20)]
    assert [has_settled(f.state, second) for f in told] == [n >= 13 for n in range(20)]
    for frame, power in zip(told, lit, strict=True):
        if has_settled(frame.state, second):
            assert power == 20
        elif frame.mixed or first in frame.state.pending:
            assert 10 < power <= 40, "between the old and the new"
        else:
            assert power == (40 if has_settled(frame.state, first) else 10)


def test_a_move_of_the_stage_shows_when_it_has_settled(tmp_path) -> None:
    clock, commands = Agenda(), []

    def prepare(opened: Rig) -> None:
        actuator = opened.actuator
        clock.hands = {
            3: [(0.5, lambda: commands.append(actuator.move_stage(1500, 0)))],
            13: [(0.5, lambda: actuator.settle(commands[0]))],
            16: [(0.5, lambda: commands.append(actuator.move_stage(0, 0)))],
            25: [(0.5, lambda: actuator.settle(commands[1]))],
        }

    result = filmed_by_hand(
        specimen_rig(**ALIVE),
        clock,
        tmp_path,
        prepare,
        acquisition=stream(frames=30, roi=MIDDLE),
    )
    told = frames(result)
    cells = [float(frame.pixels.std()) > 15 for frame in told]
    away, back = (command.number for command in commands)
    for frame, shows_cells in zip(told, cells, strict=True):
        if has_settled(frame.state, back) or not (
            has_settled(frame.state, away) or frame.mixed or away in frame.state.pending
        ):
            assert shows_cells, frame.frame_id
        elif has_settled(frame.state, away) and not (
            frame.mixed or back in frame.state.pending
        ):
            assert not shows_cells, frame.frame_id
    moved = [f.frame_id for f in told if f.mixed]
    assert {3, 16} <= set(moved) and not {2, 14, 15, 26} & set(moved)
    assert [has_settled(f.state, away) for f in told] == [n >= 14 for n in range(30)]
    assert [has_settled(f.state, back) for f in told] == [n >= 26 for n in range(30)]


def test_powers_a_policy_sets_show_from_their_epoch_on(tmp_path, policy) -> None:
    body = """
wanted = {3: 40.0, 6: 15.0, 10: 60.0}
if seen.number in wanted:
    yield SetPower(reason="as planned", line="488", power_percent=wanted[seen.number])
"""
    result = run(
        experiment(
            acquisition=stream(frames=14, roi=MIDDLE),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=specimen_rig(**ALIVE),
        output=tmp_path,
    )
    told, outcomes = frames(result), result.folder.outcomes
    asked = [
        r.action.power_percent for d in result.folder.decisions for r in d.requests
    ]
    per_percent = brightness(told[0]) / 10
    assert [outcome.status for outcome in outcomes] == ["applied"] * 3
    for frame in told:
        settled = [o for o in outcomes if has_settled(frame.state, o.command)]
        power = [10.0, *asked][len(settled)]
        assert brightness(frame) / per_percent == pytest.approx(power, rel=0.02)
    assert not any(frame.mixed for frame in told)
    assert replay(result.path).identical


@pytest.mark.parametrize(
    ("late", "asked_on"),
    [({}, list(range(10))), ({"power": 2}, [0, 3, 6, 9]), ({"stage": 5}, None)],
)
def test_a_change_that_the_camera_shows_late_is_waited_for(
    policy, tmp_path, late, asked_on
) -> None:
    body = """
if self.fresh(seen):
    yield SetPower(reason="on", line="488", power_percent=10.0 + seen.number)
"""
    result = run(
        experiment(
            acquisition=stream(frames=10, roi=MIDDLE),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig(
            specimen=still(**ALIVE),
            clock={"kind": "virtual"},
            camera={"effect_after_frames": late},
        ),
        output=tmp_path,
    )
    asked = [d.observation for d in result.folder.decisions if d.requests]
    assert asked == (list(range(10)) if asked_on is None else asked_on)
    assert replay(result.path).identical, "the journal tells what the rig file said"


# --------------------------------------------------------------------- in real time


def test_a_change_by_another_thread_shows_in_exactly_its_epoch(tmp_path) -> None:
    witness, done, commands, errors = Witness(), threading.Event(), [], []
    powers = [40.0, 10.0, 60.0, 15.0]

    def by_hand(opened: Rig) -> None:
        try:
            until(lambda: witness.published >= 5, "the stream did not begin")
            for power in powers:
                command = opened.actuator.set_power("488", power)
                commands.append(command)
                opened.actuator.settle(command)
                seen = witness.published
                until(lambda seen=seen: witness.published >= seen + 6, "no frames")
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    def prepare(opened: Rig) -> None:
        hand = threading.Thread(target=by_hand, args=(opened,), daemon=True)
        hand.start()

    result = filmed_by_hand(
        rig(specimen=still(**ALIVE), clock=IN_REAL_TIME),
        make_clock("scaled", 1.0),
        tmp_path,
        prepare,
        acquisition=stream(duration_s=60, roi=MIDDLE, exposure_ms=8),
        witness=witness,
        stop=done,
    )
    assert not errors
    told = frames(result)
    per_percent = brightness(told[0]) / 10
    numbers = [command.number for command in commands]
    clear: dict[float, int] = {}
    for frame in told:
        if frame.mixed or set(numbers) & set(frame.state.pending):
            continue
        settled = sum(has_settled(frame.state, number) for number in numbers)
        power = [10.0, *powers][settled]
        assert brightness(frame) / per_percent == pytest.approx(power, rel=0.05)
        clear[power] = clear.get(power, 0) + 1
    assert min(clear[power] for power in powers) >= 3
    assert len(clear) == 4


SEARCH = """
if not ({fresh}):
    return
if seen.pictures.raw["FITC"].std() < 10:
    yield ShiftPosition(reason="nothing here", dx_um=4000.0)
"""


def searched(core, policy, tmp_path, fresh: str) -> RunResult:
    """Start where no cell is; the way to the cells takes 0.4 s."""
    core.setXYPosition(-4000.0, 0.0)
    core.waitForDevice("XY")
    body = SEARCH.format(fresh=fresh)
    result = run(
        experiment(
            acquisition=stream(frames=60, roi=MIDDLE),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig(specimen=still(**ALIVE), clock=IN_REAL_TIME),
        core=core,
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    assert replay(result.path).identical
    return result


def test_a_policy_that_waits_for_a_fresh_sight_reacts_once(
    core, policy, tmp_path
) -> None:
    result = searched(core, policy, tmp_path, "self.fresh(seen)")
    (outcome,) = result.folder.outcomes
    assert outcome.status == "applied"
    told = frames(result)
    fresh = [f for f in told if has_settled(f.state, outcome.command)]
    assert fresh and all(f.pixels.std() > 15 for f in fresh)
    asked = next(d.observation for d in result.folder.decisions if d.requests)
    late = [
        o
        for o in result.folder.observations()
        if o.number > asked and not has_settled(o.state, outcome.command)
    ]
    assert late, "it has seen frames from the way, and let them pass"


def test_a_policy_that_does_not_reacts_again_and_overshoots(
    core, policy, tmp_path
) -> None:
    result = searched(core, policy, tmp_path, "True")
    shifts = [r for d in result.folder.decisions for r in d.requests]
    assert len(shifts) > 1, "so the test above could have failed"


def test_frames_say_in_time_that_the_exposure_has_changed(
    core, policy, tmp_path
) -> None:
    body = """
wanted = {10: 25.0, 20: 8.0, 45: 16.0}
if seen.number in wanted:
    yield SetExposure(reason="as planned", exposure_ms=wanted[seen.number])
"""
    result = run(
        experiment(
            rig="demo_laser_rig.yaml",
            acquisition=stream(frames=80, exposure_ms=16, roi=MIDDLE),
            vision=["measure"],
            policies=[policy(body)],
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    assert len(list(result.folder.entries("restart"))) == 0, "it changes live"
    told, outcomes = frames(result), result.folder.outcomes
    asked = [r.action.exposure_ms for d in result.folder.decisions for r in d.requests]
    assert [outcome.status for outcome in outcomes] == ["applied"] * len(asked)
    # The camera's pattern is as bright as the exposure is long.
    per_ms = told[0].pixels.mean() / 16
    late = 0
    for frame in told:
        exposed_ms = frame.pixels.mean() / per_ms
        settled = [o for o in outcomes if has_settled(frame.state, o.command)]
        if settled:
            expected = asked[len(settled) - 1]
            later = asked[len(settled) :][:1]
            # Shown before it is claimed is allowed; claimed before it shows is not.
            assert any(
                exposed_ms == pytest.approx(ms, rel=0.1) for ms in (expected, *later)
            ), frame.frame_id
            late += exposed_ms != pytest.approx(expected, rel=0.1)
    assert late <= 3 * len(asked)
    starts = [frame.t_exposed_ns for frame in told]
    assert starts == sorted(starts)
