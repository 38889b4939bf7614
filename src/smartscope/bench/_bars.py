"""What must be reached, in one table; every bar is about smartscope's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.bench._stats import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOAK_GROWTH_MIB = 16.0
_DECODER_MS = {"stardist": 6.5, "watershed": 13.0, "flows": 100.0, "spots": 3.0}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes
    ----------
    task : str
        Name of the task.
    text : str
        What must be reached.
    value : function
        From the medians of smartscope's row and of the reference row to a number;
        None is not measured.
    limit : float
        The number must not be above it, or not below it if `at_least`.
    unit : str
        ``x`` (of the floor), ``ms``, ``s``, ``MiB`` or empty.
    """

    task: str
    text: str
    value: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]
    limit: float
    unit: str = ""
    at_least: bool = False

    def judge(
        self, mine: Mapping[str, Any], floor: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Plain values: ``text``, ``limit``, ``value``, ``unit``, ``met``."""
        value = self.value(mine, floor)
        met = None
        if value is not None:
            met = value >= self.limit if self.at_least else value <= self.limit
        return {
            "text": self.text,
            "limit": self.limit,
            "value": value,
            "unit": self.unit,
            "met": met,
        }


def _latency(which: str) -> Callable[..., float | None]:
    def value(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
        return (mine.get("latency_ms") or {}).get(which)

    return value


def _over_floor(which: str) -> Callable[..., float | None]:
    def value(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
        return ratio(
            (mine.get("latency_ms") or {}).get(which),
            (floor.get("latency_ms") or {}).get("median"),
        )

    return value


def _fps(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
    return ratio(mine.get("fps"), floor.get("fps"))


def _plain(key: str) -> Callable[..., float | None]:
    def value(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
        return mine.get(key)

    return value


def _more(key: str) -> Callable[..., float | None]:
    def value(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
        return (mine.get("more") or {}).get(key)

    return value


def _unaccounted(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
    published, seen, skipped = map(mine.get, ("published", "seen", "skipped"))
    if published is None or seen is None or skipped is None:
        return None
    return float(abs(published - seen - skipped))


def _unrecorded(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
    if mine.get("recorded") is None or mine.get("published") is None:
        return None
    return float(mine["published"] - mine["recorded"])


def _startup_s(mine: Mapping[str, Any], floor: Mapping[str, Any]) -> float | None:
    median_ms = (mine.get("latency_ms") or {}).get("median")
    return None if median_ms is None else median_ms / 1000


BARS: tuple[Bar, ...] = (
    Bar("A", "median <= 2.5 x floor", _over_floor("median"), 2.5, "x"),
    Bar("A", "p99 <= 8 x floor's median", _over_floor("p99"), 8.0, "x"),
    Bar("B", "median <= 0.5 ms", _latency("median"), 0.5, "ms"),
    Bar("C1", ">= 0.98 x floor's fps", _fps, 0.98, "x", at_least=True),
    Bar("C1", "0 lost", _plain("lost"), 0.0),
    Bar("C1", "median <= 3 x floor", _over_floor("median"), 3.0, "x"),
    Bar("C1", "p99 <= 5 ms", _latency("p99"), 5.0, "ms"),
    Bar("C1", "CPU per frame <= 0.8 ms", _plain("cpu_ms_per_frame"), 0.8, "ms"),
    Bar("C1 written", ">= 0.95 x floor's fps", _fps, 0.95, "x", at_least=True),
    Bar("C1 written", "0 lost", _plain("lost"), 0.0),
    Bar("C1 written", "median <= 3 x floor", _over_floor("median"), 3.0, "x"),
    Bar("C1 written", "p99 <= 5 ms", _latency("p99"), 5.0, "ms"),
    Bar("C1 written", "every frame written", _unrecorded, 0.0),
    Bar("C2", "0 lost", _plain("lost"), 0.0),
    Bar("C2", "median <= 1.5 x floor", _over_floor("median"), 1.5, "x"),
    Bar("C2", "p99 <= 15 ms", _latency("p99"), 15.0, "ms"),
    Bar("C2", "every frame written", _unrecorded, 0.0),
    Bar("C4", "p99 lag <= 8 + 3 + 2 ms", _latency("p99"), 13.0, "ms"),
    Bar("C4", "every skipped frame counted", _unaccounted, 0.0),
    Bar("C4", "every frame written", _unrecorded, 0.0),
    Bar("C4", "0 lost", _plain("lost"), 0.0),
    Bar("startup", "<= 1.5 s", _startup_s, 1.5, "s"),
    Bar("startup", "<= 200 MiB", _plain("peak_rss_mib"), 200.0, "MiB"),
    *(
        Bar(f"light, {s}", "shutter closed <= 20 ms", _latency("max"), 20.0, "ms")
        for s in ("snap", "move", "queue")
    ),
    *(
        bar
        for part in ("soak, written", "soak, not written")
        for bar in (
            Bar(part, "0 lost", _plain("lost"), 0.0),
            Bar(part, "every frame accounted for", _more("unaccounted"), 0.0),
            Bar(
                part,
                f"memory flat: grows <= {SOAK_GROWTH_MIB:g} MiB",
                _more("rss_growth_mib"),
                SOAK_GROWTH_MIB,
                "MiB",
            ),
        )
    ),
    Bar("soak, written", "every frame written", _unrecorded, 0.0),
    *(
        bar
        for rate in (10, 20, 30)
        for bar in (
            Bar(f"denoise-detect, {rate}/s", "0 lost", _plain("lost"), 0.0),
            Bar(
                f"denoise-detect, {rate}/s",
                "every skipped frame counted",
                _unaccounted,
                0.0,
            ),
        )
    ),
    *(
        Bar(f"decoders, {name}", f"median <= {ms:g} ms", _latency("median"), ms, "ms")
        for name, ms in _DECODER_MS.items()
    ),
)


def bars_of(task: str) -> tuple[Bar, ...]:
    """Bars of the task with this name."""
    return tuple(bar for bar in BARS if bar.task == task)
