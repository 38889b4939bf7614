"""The live screen and the plain lines, drawn from a real monitor."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from smartscope.app._picture import CameraPicture, shrink
from smartscope.app._view import (
    Screen,
    choose_mode,
    new_items,
    plain_lines,
    span,
    watching,
)
from smartscope.control import Monitor, MonitorState
from smartscope.core import (
    Decision,
    Detections,
    Event,
    Frame,
    Observation,
    Request,
    SetInterval,
    Track,
    View,
)

VIEW = View(0, "Camera")


def console(width: int = 100, height: int = 30, **kwargs: object) -> Console:
    options = {"force_terminal": True, "color_system": "truecolor", **kwargs}
    return Console(file=io.StringIO(), width=width, height=height, **options)


def monitor() -> Monitor:
    """A run at 12 s: ten frames, one event, one decision."""
    made = Monitor()
    made.set(phase="running", planned=40, dose="3.1 J/cm2", dose_fraction=0.31)
    pixels = np.zeros((64, 64), np.uint16)
    pixels[30:34, 40:44] = 900
    for k in range(10):
        made.framed(_frame(k, pixels), 1.2 * k)
    at = {"y_px": np.array([32.0]), "x_px": np.array([42.0])}
    seen = Observation(
        number=0,
        view=VIEW,
        frame_ids=(9,),
        t_ns=0,
        t_s=10.8,
        detections=Detections(label=np.array([1]), **at),
        tracks=(Track(track_id=7, state="active", x_um=0, y_um=0, detection=0),),
        events=(
            Event(
                event_id=1,
                kind="mitosis",
                score=0.9,
                state="onset",
                onset_s=10.8,
                x_um=4.0,
                y_um=5.0,
            ),
        ),
    )
    made.observed(seen, _frame(9, pixels))
    action = SetInterval(interval_s=0.5, reason="a cell divides")
    request = Request(
        action_id="0.0",
        policy="rate_switch",
        view=VIEW,
        action=action,
        t_decided_ns=0,
        observation=0,
    )
    decision = Decision(
        number=0, observation=0, policy="rate_switch", view=VIEW, requests=(request,)
    )
    made.decided(decision, 10.8)
    return made


def _frame(number: int, pixels: np.ndarray) -> Frame:
    return Frame(
        frame_id=number,
        pixels=pixels,
        view=VIEW,
        role="reaction" if number > 7 else "baseline",
        t_received_ns=5_000_000,
    )


def draw(screen: Screen, width: int = 100, height: int = 30, **kwargs: object) -> str:
    out = console(width, height, **kwargs)
    out.print(screen)
    return out.file.getvalue()


def test_screen_tells_what_goes_on() -> None:
    shown = draw(Screen(monitor(), "quickstart"), color_system=None)
    assert "quickstart" in shown
    assert "running" in shown
    assert "8 of 40 planned frames" in shown
    assert "2 more as reactions, 1 cell tracked" in shown
    assert "light 3.1 J/cm2 (31% used)" in shown
    assert "mitosis (score 0.90)" in shown
    assert "0:10 rate_switch: SetInterval: a cell divides" in shown
    assert "Ctrl-C" in shown


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 12)]
)
def test_screen_fits_the_terminal(width: int, height: int) -> None:
    out = console(width, height, no_color=False)
    lines = out.render_lines(Screen(monitor(), "quickstart"), pad=False)
    assert len(lines) <= height
    assert max(sum(s.cell_length for s in line) for line in lines) <= width


def test_screen_before_the_first_frame() -> None:
    assert "preparing" in draw(Screen(Monitor(), "quickstart"))


def test_picture_is_left_out_where_it_cannot_be_drawn() -> None:
    assert "▀" in draw(Screen(monitor(), "q"))
    assert "▀" not in draw(Screen(monitor(), "q"), color_system=None)
    assert "▀" not in draw(Screen(monitor(), "q"), no_color=True)
    assert "▀" not in draw(Screen(monitor(), "q"), width=50)


def test_rate_is_that_of_the_run_clock() -> None:
    made = monitor()
    screen = Screen(made, "q")
    draw(screen)
    for k in range(10, 20):
        made.framed(_frame(k, np.zeros((8, 8), np.uint16)), 10.8 + 0.5 * (k - 9))
    assert "2 frames/s" in draw(screen, color_system=None)


def test_picture_keeps_the_shape_and_marks_the_cell() -> None:
    image = np.zeros((100, 200), np.uint16)
    picture = CameraPicture(image, [(50.0, 100.0, 3)], columns=40, rows=40)
    assert (picture.columns, picture.rows) == (40, 10)
    colours = picture.colours()
    assert (len(colours), len(colours[0])) == (20, 40)
    around = {(y, x) for y in (9, 10, 11) for x in (19, 20, 21)}
    assert picture.marked() == around
    plain = CameraPicture(image, [], columns=40, rows=40).colours()
    differ = {
        (y, x) for y in range(20) for x in range(40) if colours[y][x] != plain[y][x]
    }
    assert differ == around


def test_mark_outside_the_picture_is_not_drawn() -> None:
    image = np.zeros((10, 10), np.uint16)
    picture = CameraPicture(image, [(500.0, -40.0, 3)], columns=10, rows=5)
    assert picture.marked() == set()


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_shrunk_picture_has_the_size_asked_for(h: int, w: int, y: int, x: int) -> None:
    small = shrink(np.full((h, w), 7, np.uint16), y, x)
    assert small.shape == (y, x)
    np.testing.assert_allclose(small, 7.0)


def test_flat_picture_is_drawn() -> None:
    picture = CameraPicture(np.full((8, 8), 5, np.uint8), [], columns=8, rows=4)
    assert len(picture.colours()) == 8


@given(
    st.lists(st.integers(0, 50), unique=True), st.integers(0, 60), st.integers(1, 20)
)
def test_new_items_are_those_not_shown_yet(
    everything: list[int], shown: int, kept: int
) -> None:
    shown = min(shown, len(everything))
    before, now = everything[:shown][-kept:], everything[-kept:]
    fresh = list(new_items(before, now))
    assert fresh == [item for item in now if item not in everything[:shown]]


def test_plain_lines_tell_only_what_is_new() -> None:
    made = monitor()
    first = made.snapshot()
    lines = list(plain_lines(None, first))
    assert lines[-1] == "0:10 running"
    assert "0:10 rate_switch: SetInterval: a cell divides" in lines
    assert any(line.startswith("seen:") for line in lines)
    assert list(plain_lines(first, made.snapshot())) == []
    made.fault("XY did not arrive")
    held = replace(made.snapshot(), interlocks=("focus lost",))
    after = list(plain_lines(first, held))
    assert after == ["0:10 XY did not arrive", "0:10 held by focus lost"]


def test_lines_are_printed_until_the_end() -> None:
    out = console(force_terminal=False, color_system=None)
    made = monitor()
    with watching(made, title="q", mode="lines", console=out):
        made.set(phase="finishing")
        made.set(phase="done")
    assert out.file.getvalue().rstrip().splitlines()[-1] == "0:10 done"


def test_live_screen_takes_itself_away() -> None:
    out = console()
    with watching(monitor(), title="q", mode="live", console=out) as say:
        say("Ending.")
    assert out.file.getvalue()
    assert out._live_stack == [] if hasattr(out, "_live_stack") else True


def test_view_follows_what_stdout_is() -> None:
    tty, pipe = console(), console(force_terminal=False)
    assert choose_mode(tty, quiet=False, as_json=False) == "live"
    assert choose_mode(pipe, quiet=False, as_json=False) == "lines"
    assert choose_mode(tty, quiet=True, as_json=False) == "none"
    assert choose_mode(tty, quiet=False, as_json=True) == "none"


@pytest.mark.parametrize(
    ("t_s", "text"),
    [(0.0, "0:00"), (61.9, "1:01"), (3725.0, "1:02:05"), (-3.0, "0:00")],
)
def test_span(t_s: float, text: str) -> None:
    assert span(t_s) == text


def test_every_field_the_view_reads_exists() -> None:
    state = MonitorState()
    assert state.image is None
    assert state.marks == ()
