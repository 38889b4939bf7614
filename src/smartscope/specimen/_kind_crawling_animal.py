"""The kind `crawling_animal`: a worm or fast cell that leaves the field in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from smartscope.specimen._biology import BLEACHING, HARM, TRANSMISSION, Biology
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample
from smartscope.specimen._track import Track, begin_track

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

RUN, PAUSE, REVERSAL, TURN = "run", "pause", "reversal", "turn"

_FEELERS = 13
"""Points along the body that feel light; the middle one is `_MIDDLE`."""
_MIDDLE = _FEELERS // 2
_HEAD = _FEELERS - 1
_PIECES = 60
"""The midline is drawn in this many pieces."""
_BUILD_UP_S = 0.25
"""Time constant with which the speed follows what the animal is up to."""
_CELL = {
    "length_um": 26.0,
    "width_um": 15.0,
    "speed_um_s": 6.0,
    "swing_rad": 0.15,
    "run_s": 12.0,
    "reversal_s": 0.5,
    "persistence_um": 80.0,
    "gut": 0.0,
}
"""Typical values of an amoeboid cell, where the file does not say."""


class CrawlingAnimal(Sample):
    """A worm that undulates over an agar pad, or a fast amoeboid cell; object 1.

    It runs, pauses, backs up, and turns sharply after backing up (omega turns), as
    *C. elegans* does (Croll, Journal of Zoology 176, 1975; Pierce-Shimomura et al.,
    Journal of Neuroscience 19, 1999). A worm on agar does not slip: its body slides
    along the track of its head, forward and back. In fluorescence a neuron in the head
    is bright and the gut shines faintly; label-free the body is dark on a bright
    ground. Light harms it from `harm_dose` on.

    Attributes
    ----------
    body : str
        ``worm``, or ``cell``: short and soft, with its own typical values.
    length_um, width_um : float
    speed_um_s : float
        Mean speed of a run along its winding track.
    speed_spread : float
        Relative spread of the speed from run to run.
    start_um : (x, y)
        Of the middle of the body.
    area_um : (x, y)
        How far it may go, around stage position (0, 0), for example what the stage can
        reach; it steers back at the rim.
    swing_rad : float
        How far its heading swings to both sides.
    wave_um : float or None
        Length of a wave along the track; None is 0.65 body lengths.
    persistence_um : float
        Way along which the mean heading is kept.
    run_s, pause_s, reversal_s : float
        Mean times; exponentially distributed.
    pause_share : float
        Share of runs that end in a pause; the others end in a reversal.
    turn_share : float
        Share of reversals after which it turns sharply; else it runs on.
    turn_rad : float
        Mean of a sharp turn, to the side to which the head bends anyway.
    gut : float
        Brightness of the gut and skin relative to the neuron.
    """

    contents = ("fluorescence", "brightfield")

    body: Literal["worm", "cell"] = "worm"
    length_um: PositiveFloat = 320.0
    width_um: PositiveFloat = 20.0
    speed_um_s: NonNegativeFloat = 110.0
    speed_spread: float = Field(0.2, ge=0, le=0.5)
    start_um: tuple[float, float] = (0.0, 0.0)
    area_um: tuple[PositiveFloat, PositiveFloat] = (9000.0, 9000.0)
    swing_rad: float = Field(0.8, ge=0, le=1.2)
    wave_um: PositiveFloat | None = None
    persistence_um: PositiveFloat = 2500.0
    run_s: PositiveFloat = 14.0
    pause_s: PositiveFloat = 1.2
    reversal_s: PositiveFloat = 2.0
    pause_share: float = Field(0.4, ge=0, le=1)
    turn_share: float = Field(0.6, ge=0, le=1)
    turn_rad: NonNegativeFloat = 2.6
    gut: NonNegativeFloat = 0.05
    photons_per_ms: NonNegativeFloat = 80.0

    @model_validator(mode="before")
    @classmethod
    def _typical(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("body") == "cell":
            return _CELL | values
        return values

    @property
    def turn_um(self) -> float:
        """Way along which it turns sharply."""
        return 0.4 * self.length_um


@dataclass(frozen=True, slots=True, eq=False)
class Animal:
    """The animal through one step.

    Attributes
    ----------
    track : Track
        Where it was and will be during the step.
    tail_um : float
        Place of the tail on the track at the start of the step.
    speed_um_s : float
        Along the track, negative backwards.
    aim_um_s : float
        What the speed tends to.
    act : str
        What it is up to; `until_s` it does.
    acts : int
        How many things it did so far: salt of its decisions.
    bend_per_um : float
        Of a sharp turn, rad per um.
    dose : float
    bleached : ndarray (points,)
        Percent-seconds.
    """

    track: Track
    tail_um: float
    speed_um_s: float
    aim_um_s: float
    act: str
    until_s: float
    acts: int
    bend_per_um: float
    dose: float
    bleached: NDArray[np.float64]
    events: tuple[TrueEvent, ...]


class CrawlingAnimalBiology(Biology[Animal, CrawlingAnimal]):
    """See `CrawlingAnimal`."""

    model = CrawlingAnimal
    step_s = 0.2

    def __init__(self, seed: int, parameters: CrawlingAnimal) -> None:
        super().__init__(seed, parameters)
        self._key = mix(seed_key(seed, 1), 77)

    def found(self, now: Now) -> Animal:
        """In the middle of a run in a random direction."""
        p = self.p
        heading = 2 * math.pi * self._chance(1)
        track = begin_track(
            p.start_um,
            heading,
            length_um=p.length_um,
            swing_rad=p.swing_rad,
            wave_um=p.wave_um or 0.65 * p.length_um,
        )
        animal = Animal(
            track, 0.0, p.speed_um_s, p.speed_um_s, RUN, 0.0, 0, 0.0, 0.0,
            np.zeros(_FEELERS), (),
        )  # fmt: skip
        return self._ahead(self._begin(animal, RUN, now), now)

    def step(self, state: Animal, light: Light, now: Now) -> Animal:
        """Move on, suffer, and at times do something else."""
        animal = replace(
            state,
            tail_um=state.tail_um + state.speed_um_s * self.step_s,
            dose=state.dose + float(light[HARM].mean()),
            bleached=state.bleached + light[BLEACHING],
        )
        if now.t_s >= animal.until_s:
            animal = self._begin(animal, self._next_act(animal), now)
        return self._ahead(animal, now)

    def points(self, state: Animal, after_s: float) -> NDArray[np.float64]:
        """Points along the midline, tail first."""
        return self._midline(state, after_s, _FEELERS)

    def speed_um_s(self, state: Animal) -> float:
        """Of the sliding body."""
        return abs(state.speed_um_s)

    def paint(self, state: Animal, moment: Moment, picture: Picture) -> None:
        """Body, gut and head neuron."""
        line = self._midline(state, moment.now.after_s, _PIECES + 1)
        line = line + moment.now.drift_um
        if picture.content == "brightfield":
            self._paint_shadow(line, moment, picture)
            return
        p = self.p
        left = mean_unbleached(
            state.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            p.bleach_half_dose,
        )
        full = picture.photons(p.photons_per_ms)
        if p.gut:
            skin = self._outline(line, moment, 1.0)
            glow = 0.5 * p.gut * full * float(left.mean())
            picture.outlines([skin], z_um=line[:1, 2], peak=glow)
            gut = self._granules(line, *self._gut_span())
            along = np.interp(gut[1], np.linspace(0, 1, _FEELERS), left)
            picture.ellipses(
                gut[0],
                long_um=0.16 * p.width_um,
                short_um=0.11 * p.width_um,
                peak=full * p.gut * 2.5 * along,
            )
        self._paint_neuron(line, full * float(left[_HEAD]), moment, picture)

    def describe(self, state: Animal, moment: Moment) -> Truth:
        """One object: the middle of the body; its head is a measure."""
        p, after_s = self.p, moment.now.after_s
        fine = self._midline(state, after_s, 5) + moment.now.drift_um
        ahead = fine[4] - fine[3]
        bleached = state.bleached[_HEAD] + moment.light[BLEACHING][_HEAD]
        dose = state.dose + float(moment.light[HARM].mean())
        half_area = p.length_um * p.width_um
        return moment.truth(
            np.array([1]),
            xyz_um=moment.points_um[_MIDDLE : _MIDDLE + 1],
            radius_um=math.sqrt(half_area / math.pi),
            phase=state.act,
            brightness=unbleached(np.array([bleached]), p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            events=state.events,
            measures={
                "head_x_um": moment.points_um[_HEAD:, 0].copy(),
                "head_y_um": moment.points_um[_HEAD:, 1].copy(),
                "heading_rad": np.array([math.atan2(ahead[1], ahead[0])]),
                "speed_um_s": np.array([state.speed_um_s]),
            },
        )

    # --- what it does

    def _chance(self, salt: int) -> float:
        return float(uniform(self._key, salt)[0])

    def _next_act(self, animal: Animal) -> str:
        chance = self._chance(10_000 + 8 * animal.acts)
        if animal.act == RUN:
            return PAUSE if chance < self.p.pause_share else REVERSAL
        if animal.act == REVERSAL:
            return TURN if chance < self.p.turn_share else RUN
        return RUN

    def _begin(self, animal: Animal, act: str, now: Now) -> Animal:
        p, acts = self.p, animal.acts + 1
        salt = 10_000 + 8 * acts
        spread = 1 + p.speed_spread * float(normal(self._key, salt + 1)[0])
        pace = p.speed_um_s * max(spread, 0.3)
        aim = {RUN: pace, PAUSE: 0.0, REVERSAL: -0.8 * pace, TURN: 0.7 * pace}[act]
        mean_s = {RUN: p.run_s, PAUSE: p.pause_s, REVERSAL: p.reversal_s}
        if act == TURN:
            # It must first come to speed.
            way_um = p.turn_um + _BUILD_UP_S * (aim - animal.speed_um_s)
            lasts_s = way_um / aim if aim else p.pause_s
        else:
            lasts_s = -mean_s[act] * math.log1p(-self._chance(salt + 2))
        angle = p.turn_rad * (1 + 0.15 * float(normal(self._key, salt + 4)[0]))
        until_s = now.t_s + max(lasts_s, self.step_s)
        events = animal.events
        if act in (REVERSAL, TURN):
            middle = self.points(animal, 0.0)[_MIDDLE] + now.drift_um
            x_um, y_um = middle[:2].tolist()
            events = (*events, TrueEvent(act, 1, now.t_s, until_s, x_um, y_um))
        return replace(
            animal,
            act=act,
            acts=acts,
            aim_um_s=aim,
            until_s=until_s,
            bend_per_um=self._side(animal) * angle / p.turn_um if act == TURN else 0.0,
            events=events,
        )

    def _side(self, animal: Animal) -> float:
        """To which side it turns: that to which its head bends anyway."""
        head_um = animal.tail_um + self.p.length_um
        now, then = animal.track.swing(np.array([head_um, head_um + self.p.turn_um]))
        return math.copysign(1.0, then - now)

    def _ahead(self, animal: Animal, now: Now) -> Animal:
        """Settle the speed of the coming step and the track that it will need."""
        p = self.p
        able = float(vigour(np.array([animal.dose]), p.harm_dose)[0])
        share = 1 - math.exp(-self.step_s / _BUILD_UP_S)
        speed = animal.speed_um_s + share * (animal.aim_um_s * able - animal.speed_um_s)
        if able == 0:
            speed = 0.0
        track = animal.track.covering(
            min(animal.tail_um, animal.tail_um + speed * self.step_s),
            max(animal.tail_um, animal.tail_um + speed * self.step_s) + p.length_um,
            key=mix(self._key, 50_000 + now.step),
            bend_per_um=animal.bend_per_um,
            persistence_um=p.persistence_um,
            half_area_um=(p.area_um[0] / 2, p.area_um[1] / 2),
        )
        return replace(animal, speed_um_s=speed, track=track)

    # --- what it looks like

    def _midline(self, state: Animal, after_s: float, n: int) -> NDArray[np.float64]:
        """Points from tail to head, (n, 3), without drift."""
        tail_um = state.tail_um + state.speed_um_s * after_s
        places = tail_um + np.linspace(0, self.p.length_um, n)
        return np.column_stack([state.track.at(places), np.full(n, self.p.z_um)])

    def _outline(
        self, line: NDArray[np.float64], moment: Moment, scale: float
    ) -> NDArray[np.float64]:
        """Closed outline (k, 2) around the midline."""
        if self.p.body == "cell":
            return self._soft_outline(line, moment, scale)
        share = np.linspace(0, 1, len(line))
        half = 0.5 * scale * self.p.width_um * self._profile(share)[:, None]
        normals = _normals(line)
        one, other = line[:, :2] + half * normals, line[:, :2] - half * normals
        return np.concatenate([one, other[::-1]])

    def _soft_outline(
        self, line: NDArray[np.float64], moment: Moment, scale: float
    ) -> NDArray[np.float64]:
        """An oval, broad in front, whose lobes come and go."""
        p, t_s = self.p, moment.now.t_s
        around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        swell = 0.12 * np.cos(around)
        for lobes in (2, 3, 4, 5):
            phase = 2 * math.pi * self._chance(300 + lobes)
            pace = (0.5 + 0.25 * lobes) * (-1) ** lobes
            swell = swell + 0.2 / lobes * np.cos(lobes * around + phase + pace * t_s)
        ahead = line[-1, :2] - line[0, :2]
        ahead = ahead / np.linalg.norm(ahead)
        aside = np.array([-ahead[1], ahead[0]])
        size = 0.5 * scale * (1 + swell)[:, None]
        oval = (
            p.length_um * np.cos(around)[:, None] * ahead
            + p.width_um * np.sin(around)[:, None] * aside
        )
        return np.asarray(line[len(line) // 2, :2] + size * oval)

    def _profile(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Width along the body, tail to head, relative to the widest place."""
        if self.p.body == "cell":
            return np.asarray(np.sqrt(np.clip(1 - (2 * share - 1) ** 2, 0, 1)))
        tail = np.clip(share / 0.35, 0, 1) ** 0.8
        head = np.sqrt(np.clip((1 - share) / 0.14, 0, 1))
        return np.asarray(tail * np.minimum(head, 1.0))

    def _granules(
        self, line: NDArray[np.float64], first: float, last: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Places of grains inside the body, (n, 3), and their share of its length."""
        key = seed_key(self.seed, 90)
        share = first + (last - first) * uniform(key, 5)
        across = 0.5 * (uniform(key, 6) - 0.5) * self.p.width_um * self._profile(share)
        knots = np.linspace(0, 1, len(line))
        places = np.column_stack([np.interp(share, knots, axis) for axis in line.T])
        normals = _normals(line)
        for axis in (0, 1):
            places[:, axis] += across * np.interp(share, knots, normals[:, axis])
        return places, share

    def _paint_shadow(
        self, line: NDArray[np.float64], moment: Moment, picture: Picture
    ) -> None:
        """Label-free: a grey body with a dark rim, dark gut grains, a clear throat."""
        p = self.p
        ground = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
        z_um = line[:1, 2]
        picture.outlines(
            [self._outline(line, moment, 1.0)], z_um=z_um, peak=-0.42 * ground
        )
        picture.outlines(
            [self._outline(line, moment, 0.78 if p.body == "worm" else 0.9)],
            z_um=z_um,
            peak=0.26 * ground,
        )
        grains, _ = self._granules(line, *self._gut_span())
        size_um = 0.14 * p.width_um if p.body == "worm" else 0.05 * p.width_um
        picture.ellipses(
            grains,
            long_um=size_um,
            short_um=0.7 * size_um,
            angle=2 * np.pi * uniform(seed_key(self.seed, len(grains)), 8),
            peak=-0.14 * ground,
        )

    def _gut_span(self) -> tuple[float, float]:
        """Where in the body the grains are, tail to head."""
        return (0.06, 0.8) if self.p.body == "worm" else (0.2, 0.7)

    def _paint_neuron(
        self,
        line: NDArray[np.float64],
        level: float,
        moment: Moment,
        picture: Picture,
    ) -> None:
        p = self.p
        if p.body == "cell":
            picture.outlines(
                [self._outline(line, moment, 1.0)],
                z_um=line[:1, 2],
                peak=0.5 * level,
            )
            nucleus = line[int(0.45 * _PIECES)][None]
            size = 0.15 * p.length_um
            picture.ellipses(nucleus, long_um=size, short_um=size, peak=0.5 * level)
            return
        soma = line[int(0.93 * _PIECES)][None]
        size = 0.2 * p.width_um
        picture.ellipses(soma, long_um=1.2 * size, short_um=size, peak=level)
        # Its process runs along the ventral cord.
        cord = line[int(0.2 * _PIECES) :]
        cord = cord + np.pad(0.28 * p.width_um * _normals(cord), ((0, 0), (0, 1)))
        picture.lines(cord[:-1], cord[1:], width_um=1.5, per_um=0.12 * level)


def _normals(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals (n, 2) of a midline."""
    along = np.gradient(line[:, :2], axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    return np.column_stack([-along[:, 1], along[:, 0]])
