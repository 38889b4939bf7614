"""What a person sees while a run goes on: one calm screen, or plain lines.

The view only reads the monitor; closing or slowing it changes nothing in the run.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from smartscope.app._picture import CameraPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from smartscope.control import Monitor, MonitorState

__all__ = ["Screen", "choose_mode", "new_items", "plain_lines", "span", "watching"]

Mode = Literal["live", "lines", "none"]
T = TypeVar("T")
REFRESH_HZ = 6
LINES_EVERY_S = 0.25
PROGRESS_EVERY_S = 10.0


def choose_mode(console: Console, *, quiet: bool, as_json: bool) -> Mode:
    """Live screen on a terminal, plain lines into a pipe, nothing when told so."""
    if quiet or as_json:
        return "none"
    return "live" if console.is_terminal and not console.is_dumb_terminal else "lines"


def span(t_s: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(int(max(0.0, t_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def new_items(before: Sequence[T], now: Sequence[T]) -> Sequence[T]:
    """Items of `now`, a bounded tail of a growing list, that `before` did not have."""
    for known in range(min(len(before), len(now)), 0, -1):
        if list(before[-known:]) == list(now[:known]):
            return now[known:]
    return now


class Screen:
    """The live screen: a renderable that asks the monitor each time it is drawn."""

    def __init__(self, monitor: Monitor, title: str) -> None:
        self._monitor = monitor
        self._title = title
        self._pace: deque[tuple[float, int]] = deque(maxlen=10 * REFRESH_HZ)
        self.notice = "Ctrl-C ends the run in an orderly way, with the light off."

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Draw the present state within the terminal."""
        state = self._monitor.snapshot()
        height = max(8, min(console.height - 1, 36))
        yield Rule(
            Text.assemble(
                (self._title, "bold"),
                f"  {state.phase}  ",
                (span(state.t_s), "bold"),
                f"  phase {state.experiment_phase}" if state.experiment_phase else "",
            ),
            style="dim",
            align="left",
        )
        body = Table.grid(padding=(0, 2), expand=True)
        cells: list[RenderableType] = []
        picture = self._picture(console, state, height - 4)
        if picture is not None:
            body.add_column(width=picture.columns)
            cells.append(picture)
        body.add_column(ratio=1)
        cells.append(self._facts(state, height - 4))
        body.add_row(*cells)
        yield body
        yield Text(self.notice, style="dim", no_wrap=True, overflow="ellipsis")

    def _picture(
        self, console: Console, state: MonitorState, rows: int
    ) -> CameraPicture | None:
        if state.image is None or console.width < 60:
            return None
        if console.no_color or console.color_system is None:
            return None
        if console.options.ascii_only:
            return None
        columns = min(72, int(console.width * 0.52))
        return CameraPicture(state.image, state.marks, columns=columns, rows=rows)

    def _facts(self, state: MonitorState, rows: int) -> RenderableType:
        lines: list[RenderableType] = [_progress(state)]
        words = _words(state, self._rate_hz(state))
        lines += [Text(line) for line in words]
        if state.interlocks:
            held = "held by " + ", ".join(state.interlocks)
            lines.append(Text(held, style="bold yellow"))
        if state.faults:
            lines.append(Text(state.faults[-1], style="bold red"))
        room = max(2, rows - len(lines) - 4)
        lines += _recent("Seen", [("", e.strip()) for e in state.events], room // 2)
        decided = [(f"{span(t)} {who}: ", text) for t, who, text in state.decisions]
        lines += _recent("Decided", decided, room - room // 2)
        return _Cropped(Group(*lines), rows)

    def _rate_hz(self, state: MonitorState) -> float:
        """Frames per second of run time, over the last ten seconds of looking."""
        self._pace.append((state.t_s, state.frames))
        (t0_s, before), (t1_s, now) = self._pace[0], self._pace[-1]
        return (now - before) / (t1_s - t0_s) if t1_s > t0_s else 0.0


class _Cropped:
    """A renderable cut to a number of lines."""

    def __init__(self, inner: RenderableType, rows: int) -> None:
        self._inner = inner
        self._rows = rows

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        lines = console.render_lines(self._inner, options, pad=False)
        for line in lines[: self._rows]:
            yield from line
            yield Segment.line()


def _progress(state: MonitorState) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    planned, done = state.planned, state.frames - state.reactions
    of = f" of {planned} planned" if planned else ""
    bar = ProgressBar(
        total=float(planned) if planned else None,
        completed=float(done),
        width=20,
        pulse=not planned,
        complete_style="dark_cyan",
        finished_style="dark_cyan",
    )
    row.add_row(bar, Text(f"{done}{of} frames", style="bold"))
    return row


def _words(state: MonitorState, rate_hz: float) -> Iterator[str]:
    cells = "1 cell" if state.tracks == 1 else f"{state.tracks} cells"
    counts = [f"{state.reactions} more as reactions", f"{cells} tracked"]
    if state.skipped:
        counts.append(f"{state.skipped} skipped by vision")
    if state.failed:
        counts.append(f"{state.failed} failed")
    yield ", ".join(counts)
    fast = [f"field {p} every {s:g} s" for p, s in sorted(state.interval_s.items())]
    pace = f"{rate_hz:.2g} frames/s"
    if 0 < rate_hz < 1:
        pace = f"a frame every {1 / rate_hz:.3g} s"
    yield "; ".join([pace, *fast])
    if state.dose:
        share = state.dose_fraction
        yield f"light {state.dose}" + ("" if share is None else f" ({share:.0%} used)")
    if state.latency_ms:
        slowest = max(state.latency_ms, key=lambda stage: state.latency_ms[stage][1])
        p50, p99, worst = state.latency_ms[slowest]
        yield (
            f"slowest: {slowest} {p50:.0f} ms (p50), {p99:.0f} ms (p99), "
            f"{worst:.0f} ms (worst)"
        )


def _recent(
    heading: str, items: Sequence[tuple[str, str]], room: int
) -> list[RenderableType]:
    if not items or room < 1:
        return []
    lines: list[RenderableType] = [Text(""), Text(heading, style="dim")]
    for start, rest in items[-room:]:
        lines.append(Text.assemble((start, "cyan"), rest))
    return lines


def plain_lines(before: MonitorState | None, now: MonitorState) -> Iterator[str]:
    """Yield what is new since `before`, one line each."""
    for event in new_items(before.events if before else (), now.events):
        yield f"seen: {event.strip()}"
    for t_s, who, text in new_items(before.decisions if before else (), now.decisions):
        yield f"{span(t_s)} {who}: {text}"
    for fault in new_items(before.faults if before else (), now.faults):
        yield f"{span(now.t_s)} {fault}"
    for name in now.interlocks:
        if before is None or name not in before.interlocks:
            yield f"{span(now.t_s)} held by {name}"
    known = before.phase if before else "preparing"
    if known != now.phase:
        yield f"{span(now.t_s)} {now.phase}"


@contextmanager
def watching(
    monitor: Monitor, *, title: str, mode: Mode, console: Console
) -> Iterator[Callable[[str], None]]:
    """Show the run while the body lasts; hands out how to tell the user something."""
    if mode == "none":
        yield lambda text: None
    elif mode == "live":
        screen = Screen(monitor, title)

        def notify(text: str) -> None:
            screen.notice = text

        with Live(
            screen,
            console=console,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            vertical_overflow="crop",
        ):
            yield notify
    else:
        over = threading.Event()
        thread = threading.Thread(
            target=_print_lines, args=(monitor, console, over), name="view"
        )
        thread.start()
        try:
            yield lambda text: console.print(text, markup=False, highlight=False)
        finally:
            over.set()
            thread.join()


def _print_lines(monitor: Monitor, console: Console, over: threading.Event) -> None:
    before: MonitorState | None = None
    quiet_s = 0.0
    while True:
        last = over.wait(LINES_EVERY_S)
        now = monitor.snapshot()
        lines = list(plain_lines(before, now))
        quiet_s = 0.0 if lines else quiet_s + LINES_EVERY_S
        if quiet_s >= PROGRESS_EVERY_S and not last:
            of = f" of {now.planned}" if now.planned else ""
            done = now.frames - now.reactions
            lines = [f"{span(now.t_s)} {done}{of} planned frames"]
            quiet_s = 0.0
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        before = now
        if last:
            return
