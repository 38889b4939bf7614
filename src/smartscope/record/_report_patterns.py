"""Where the SLM sent the light: its last patterns, on the frames they came from."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from smartscope.record._report_bounded import remember
from smartscope.record._report_facts import PatternFact
from smartscope.record._report_html import section
from smartscope.record._report_pictures import frame_entries, picture
from smartscope.record._report_png import data_uri
from smartscope.record._report_svg import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.record._folder import RunFolder

_SHOWN = 4
_SIDE = 460
_MOST_REGIONS = 200
_MOST_POINTS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A pattern that was asked for: its frame is looked up when all is read."""

    t_s: float
    policy: str
    reason: str
    frame_id: int
    polygons_px: tuple[Any, ...]
    status: str = ""
    readback: Mapping[str, Any] | None = None


class Patterns:
    """Takes sights, requests and outcomes; keeps the last patterns that were shown."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, int] = OrderedDict()
        self._asked: OrderedDict[str, Sent] = OrderedDict()
        self.last: deque[Sent] = deque(maxlen=_SHOWN)

    def observed(self, seen: Mapping[str, Any]) -> None:
        """Take what was seen."""
        if seen["frame_ids"]:
            remember(self._frames, seen["number"], seen["frame_ids"][-1])

    def asked(self, t_s: float, request: Mapping[str, Any]) -> None:
        """Take a request; only those that light something up count."""
        action = request["action"]
        if action["do"] != "ShowPattern" or not action["polygons_px"]:
            return
        frame_id = self._frames.get(request["observation"])
        if frame_id is None:
            return
        sent = Sent(
            t_s=t_s,
            policy=request["policy"],
            reason=action["reason"],
            frame_id=frame_id,
            polygons_px=tuple(action["polygons_px"][:_MOST_REGIONS]),
        )
        remember(self._asked, request["action_id"], sent)

    def became(self, outcome: Mapping[str, Any]) -> None:
        """Take an outcome."""
        sent = self._asked.pop(outcome["action_id"], None)
        if sent is not None and outcome["status"] in ("applied", "shadow", "replay"):
            shown = replace(
                sent, status=outcome["status"], readback=outcome.get("readback")
            )
            self.last.append(shown)


def pattern_facts(run: RunFolder, last: Sequence[Sent]) -> tuple[PatternFact, ...]:
    """Patterns with the frames they were decided on, where those are still there."""
    entries = frame_entries(run, {sent.frame_id for sent in last})
    facts = []
    for sent in last:
        seen = picture(run, entries.get(sent.frame_id))
        if seen is None:
            continue
        said = sent.readback or {}
        facts.append(
            PatternFact(
                t_s=sent.t_s,
                policy=sent.policy,
                reason=sent.reason,
                status=sent.status,
                pixels=seen[0],
                step=seen[1],
                polygons_px=sent.polygons_px,
                lit_percent=said.get("lit_percent"),
                outside_percent=said.get("outside_percent"),
            )
        )
    return tuple(facts)


def patterns(facts: Sequence[PatternFact]) -> str:
    """Return the section; nothing where nothing was shown."""
    if not facts:
        return ""
    cards = "".join(_card(fact) for fact in facts)
    return section(
        "Where the SLM sent the light", f'<div class="two">{cards}</div>', card=False
    )


def _card(fact: PatternFact) -> str:
    words = [fact.policy]
    if fact.lit_percent is not None:
        words.append(f"{fact.lit_percent:.3g} % of the SLM lit")
    if fact.outside_percent:
        words.append(f"{fact.outside_percent:.3g} % of the region outside of it")
    if fact.status != "applied":
        words.append("not shown, this run acts on nothing")
    return (
        f'<div class="card"><h3>{clock(fact.t_s)}: {escape(fact.reason)}</h3>'
        f'{_drawing(fact)}<p class="soft">{escape(", ".join(words))}</p></div>'
    )


def _drawing(fact: PatternFact) -> str:
    height, width = (side * fact.step for side in fact.pixels.shape)
    # A picture is drawn from the corner of its first pixel; points count from centres.
    outlines = "".join(
        f'<polygon points="{_points(polygon)}" class="ring"/>'
        for polygon in fact.polygons_px
    )
    return (
        f'<svg viewBox="-0.5 -0.5 {width} {height}" class="map" '
        f'width="{_SIDE * min(1.0, width / height):.0f}" role="img" '
        f'aria-label="Regions lit at {clock(fact.t_s)}">'
        f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" '
        f'href="{data_uri(fact.pixels)}"/>{outlines}</svg>'
    )


def _points(polygon: Sequence[Sequence[float]]) -> str:
    step = len(polygon) // _MOST_POINTS + 1
    return " ".join(f"{x:.2f},{y:.2f}" for y, x in polygon[::step])
