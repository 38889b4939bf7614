"""Stories a policy must live through: what real microscopes and vision do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import Outcome, Pictures, PixelMap, Track, View
from smartscope.testing._sights import HERE, event, sight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartscope.core import Event, Observation
    from smartscope.policies import Policy

_MEASURED = ("background", "signal_to_noise", "count", "focus")
_FEATURES = ("score", "area_um2", "mean_FITC")
_PIXELS = PixelMap(((1.0, 0.0), (0.0, 1.0)), (50.0, 50.0))  # of a rig without scale
_HUGE = (1e300, -1e300, math.inf, 1e-300, 0.0, -1.0)


@dataclass(frozen=True, slots=True)
class Story:
    """Sights in order, and what becomes of the actions they provoke.

    Attributes
    ----------
    name : str
        Completes the sentence "while there is ...".
    sights : tuple of Observation
    fate : str
        Final status of every action, or ``never``: its outcome does not come.
    """

    name: str
    sights: tuple[Observation, ...]
    fate: str = "applied"


class Scenes:
    """Makes the sights: each shows the names that the policy's parameters speak of.

    Parameters
    ----------
    policy : Policy
        With its parameters; texts among them may name events, measurements, features,
        and numbers may be thresholds.
    """

    def __init__(self, policy: Policy) -> None:
        values = [getattr(policy, name) for name in type(policy).model_fields]
        self.per_run = policy.per == "run"
        self.needs_stage = bool({"stage", "affine"} & set(policy.requires))
        self.power = dict.fromkeys(policy.context.lines, 10.0)
        channels = policy.context.channels or ("FITC",)
        named = getattr(policy, "channel", None)
        self.channel = named if named in channels else channels[0]
        self.channels = channels
        texts = {text for value in values for text in _texts(value)}
        self.kinds = ("mitosis", *sorted(texts - {"mitosis"}))
        self.measured = (*_MEASURED, *sorted(texts))
        self.features = (*_FEATURES, *sorted(texts))
        numbers = {
            abs(float(v))
            for v in values
            if isinstance(v, int | float) and not isinstance(v, bool)
        }
        steps = {v * part for v in numbers for part in (0.5, 1.0, 2.0)}
        self.range = sorted({0.01, 1.0, 100.0, *steps})

    def see(self, t_s: float, value: float = 10.0, **more: Any) -> Observation:
        """A sight in which everything measured is `value`."""
        fields: dict[str, Any] = {
            "measurements": dict.fromkeys(self.measured, value),
            "power": self.power,
            "channel": self.channel,
            **more,
        }
        return sight(t_s, **fields)

    def cells(self, t_s: float, value: float = 10.0, number: int = 4) -> list[Track]:
        """Cells that walk to the right, the first of them beside the middle."""
        return [
            Track(
                track_id=n + 1,
                state="active",
                x_um=12.0 * (n % 20) + 5.0 + t_s,
                y_um=9.0 * (n // 20) - 6.0 + n,
                vx_um_s=1.0,
                detection=n,
                features=dict.fromkeys(self.features, value * (1 + 0.1 * n)),
            )
            for n in range(number)
        ]

    def events(self, score: float, state: str = "active") -> list[Event]:
        """One event of each kind, on the first cell."""
        return [
            event(kind, score, state, event_id=n + 1, track_id=1)
            for n, kind in enumerate(self.kinds)
        ]

    def living(self) -> Iterator[Observation]:
        """A field in which something begins, lasts and ends; with pictures."""
        for t in range(14):
            score = max(0.0, 1.0 - abs(t - 6) / 6)
            state = "onset" if t == 1 else "ended" if t == 13 else "active"
            yield self.see(
                t * 5.0,
                5.0 * (1 + t % 4),
                tracks=self.cells(t, 10.0 + t),
                events=self.events(score, state) if t else (),
                pictures=self.pictures(),
                role="baseline" if t % 5 else "reaction",
            )

    def pictures(self) -> Pictures:
        """A bright square on dark ground."""
        raw = np.full((101, 101), 100, dtype=np.uint16)
        raw[45:56, 45:56] = 1000
        labels = (raw > 500).astype(np.int32)
        processed = raw.astype(np.float32)
        for picture in (raw, labels, processed):
            picture.setflags(write=False)
        return Pictures(raw={self.channel: raw}, processed=processed, labels=labels)


def stories(policy: Policy) -> tuple[Story, ...]:
    """All stories for a policy that has been started; times are those of the run."""
    scenes = Scenes(policy)
    living = tuple(scenes.living())
    told = [Story("a living field", living)]
    told += [
        Story(f"a field where every action is {fate}", living, fate)
        for fate in ("rejected", "outbid", "expired", "failed", "scheduled", "shadow")
    ]
    told.append(Story("a field where no outcome comes", living, "never"))
    told += [Story(name, tuple(found)) for name, found in _fields(scenes)]
    told += [Story(name, tuple(found)) for name, found in _values(scenes)]
    told += [Story(name, tuple(found)) for name, found in _around(scenes, living)]
    return tuple(told)


def _fields(scenes: Scenes) -> Iterator[tuple[str, Sequence[Observation]]]:
    empty = sight(0.0, power=scenes.power, channel=scenes.channel)
    yield "nothing to see and nothing measured", [_at(empty, t) for t in (0, 1, 2, 3)]
    yield "an empty field", [scenes.see(t) for t in (0.0, 1.0, 2.0)]
    crowd = [
        scenes.see(t, tracks=scenes.cells(t, number=60), events=scenes.events(1.0))
        for t in (0.0, 1.0, 2.0)
    ]
    yield "a crowd of 60 cells", crowd
    yield "a track that is lost, ends or divides", list(_fates_of_tracks(scenes))
    gone = [scenes.see(5.0 + t) for t in range(6)]
    first = scenes.see(0.0, tracks=scenes.cells(0.0), events=scenes.events(1.0))
    yield "a field that empties at once", [first, *gone]


def _fates_of_tracks(scenes: Scenes) -> Iterator[Observation]:
    states = ["tentative", "active", "active", "lost", "lost", "active", "ended"]
    for t, state in enumerate(states):
        first, *others = scenes.cells(t)
        tracks = [replace(first, state=state), *others]
        if state == "ended":
            tracks += [replace(first, track_id=n, parent=1) for n in (91, 92)]
        yield scenes.see(float(t), tracks=tracks, events=scenes.events(0.8))
    yield scenes.see(8.0, tracks=[replace(t, state="lost") for t in scenes.cells(8.0)])


def _values(scenes: Scenes) -> Iterator[tuple[str, Sequence[Observation]]]:
    swept = (v for v in [*scenes.range, *reversed(scenes.range)] for _ in range(3))
    yield "a range of values measured", list(_with_values(scenes, swept))
    yield (
        "NaN in all that is measured",
        list(_with_values(scenes, [10.0, math.nan] * 3)),
    )
    yield "a huge or tiny value measured", list(_with_values(scenes, _HUGE))


def _with_values(scenes: Scenes, values: Any) -> Iterator[Observation]:
    for t, value in enumerate(values):
        score = value if math.isnan(value) else min(max(value, 0.0), 1.0)
        yield scenes.see(
            t * 10.0,
            value,
            tracks=scenes.cells(t, value),
            events=scenes.events(score),
        )


def _around(
    scenes: Scenes, living: tuple[Observation, ...]
) -> Iterator[tuple[str, Sequence[Observation]]]:
    shaken = [
        replace(s, moving=True, state=replace(s.state, external=("stage", "focus")))
        for s in living
    ]
    yield "a stage that moves during every frame", shaken
    held = ("dose_budget", "disk", "stage")
    notes = ("the model failed on this frame",)
    yield (
        "an interlock that holds",
        [replace(s, interlocks=held, notes=notes, skipped=50) for s in living],
    )
    foreign = Outcome(action_id="0.0", policy="somebody else", status="rejected")
    yield (
        "news of the actions of others",
        [replace(s, outcomes=(foreign,)) for s in living],
    )
    gaps = (0, 0, 0.001, 5, 5, 7200, 7200, 7201, 86400)
    yield (
        "a gap of hours between sights",
        [_at(s, t_s) for s, t_s in zip(living, gaps, strict=False)],
    )
    yield "another channel, and frames of a reaction", list(_mixed(scenes, living))
    if scenes.per_run:
        yield (
            "more than one position",
            [replace(s, view=View(n % 3, HERE.camera)) for n, s in enumerate(living)],
        )
    if not scenes.needs_stage:
        nowhere = [
            replace(s.state, x_um=None, y_um=None, z_um=None, exposure_ms=None)
            for s in living
        ]
        yield (
            "a rig without a stage",
            [
                replace(s, state=state, pixel_map=_PIXELS)
                for s, state in zip(living, nowhere, strict=True)
            ],
        )


def _mixed(scenes: Scenes, living: tuple[Observation, ...]) -> Iterator[Observation]:
    for n, seen in enumerate(living):
        channel = (*scenes.channels, None)[n % (len(scenes.channels) + 1)]
        role = ("baseline", "reaction", "stream")[n % 3]
        yield replace(
            seen,
            channel=channel,
            state=replace(seen.state, channel=channel),
            role=role,
            cause="plan" if role != "reaction" else "0.0",
            index={"t": n, "c": 0},
            pictures=Pictures(),
        )


def _at(seen: Observation, t_s: float) -> Observation:
    return replace(seen, t_s=float(t_s), t_ns=round(t_s * 1e9))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (v for v in value if isinstance(v, str))
