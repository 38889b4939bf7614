"""The life of mitochondria: parameters, columns, fission and fusion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from smartscope.specimen._biology import BLEACHING, HARM
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import NAN, TrueEvent
from smartscope.specimen._harm import vigour
from smartscope.specimen._population import close_pairs
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample
from smartscope.specimen._tubes import (
    advance,
    cut,
    first_tubes,
    join,
    lengths,
    site_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Now

STEP_S = 2.0
MOST_DECOYS = 2
NECK_UM = 0.3
"""Standard deviation of the constriction along the tube."""
GRAIN_UM, GRAIN = 2.3, 0.2
"""Light and dark along a tube: wavelength and amplitude."""
_SHORTEST_UM = 1.2
"""No fission leaves less than this."""
_TOUCH_UM = 0.6
"""Ends this close may fuse."""
_RECOIL_S = 4.0
_STILL = -1


class Mitochondria(Sample):
    """Parameters; `channels: {PRESET: mitochondria | marker}`.

    Attributes
    ----------
    cells : int
        Their mitochondria lie around a nucleus.
    mitochondria : int
        At the start, in all cells together.
    max_mitochondria : int
        There is no fission beyond this number.
    area_um : (x, y)
        Cells are spread over it, around ``(0, 0)``.
    cell_um, nucleus_um : float
        Radii.
    length_um, length_spread : float
        Median length at the start, and standard deviation of its logarithm.
    width_um : float
        Of a tube.
    speed_um_s : float
        Typical speed along its own axis, to and fro.
    fission_per_um_min : float
        Rate of fissions (onsets), of tubes that are long enough for two.
    constriction_s : float
        From the onset of constriction to parting, mean; single ones take half to one
        and a half times as long.
    abortive_share : float
        Of all constrictions; they relax again, events of kind ``constriction``.
    parting_um : float
        How far the new ends draw apart.
    fusion_per_min : float
        Rate at which two ends that touch fuse.
    marker_photons_per_ms : float
        In the middle of a full spot of the marker, without blur.
    decoys : float
        Passing spots of the marker, without any constriction, per mitochondrion.
    z_spread_um : float
        Standard deviation of the height of mitochondria.
    autofluorescence : float
        Glow of the cell body, relative to a tube (or to a full marker spot).
    """

    contents = ("mitochondria", "marker")

    # At 10x; at 100x they are a tenth, as those of an oil objective.
    psf_um: PositiveFloat = 1.0
    depth_of_field_um: PositiveFloat = 5.0
    photons_per_ms: NonNegativeFloat = 20.0
    cells: PositiveInt = 4
    mitochondria: NonNegativeInt = 400
    max_mitochondria: PositiveInt = 1000
    area_um: tuple[PositiveFloat, PositiveFloat] = (80.0, 80.0)
    cell_um: PositiveFloat = 20.0
    nucleus_um: PositiveFloat = 6.0
    length_um: PositiveFloat = 5.0
    length_spread: NonNegativeFloat = 0.45
    width_um: PositiveFloat = 0.45
    speed_um_s: NonNegativeFloat = 0.03
    fission_per_um_min: NonNegativeFloat = 0.0004
    constriction_s: PositiveFloat = 40.0
    abortive_share: float = Field(0.2, ge=0, le=0.95)
    parting_um: NonNegativeFloat = 1.5
    fusion_per_min: NonNegativeFloat = 0.02
    marker_photons_per_ms: NonNegativeFloat = 25.0
    decoys: NonNegativeFloat = Field(0.3, le=MOST_DECOYS)
    z_spread_um: NonNegativeFloat = 0.3
    autofluorescence: NonNegativeFloat = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class Tubes(Columns):
    """One row per mitochondrion.

    Attributes
    ----------
    nodes_um, moving_um_s : (n, k, 2)
        The middle line and its velocity during the step.
    mass_um : (n,)
        Light, in um of ordinary tube; fission and fusion keep its sum.
    glide_um_s, recoil_um_s : (n,)
        Motion along the tube.
    home_um : (n, 2)
        Nucleus of its cell.
    site : (n,)
        Of the constriction, fraction of the length.
    onset_s : (n,)
        nan without constriction.
    last_step : (n,) int
        Step in which the constriction ends.
    parts : (n,) bool
        It ends in a fission.
    event : (n,) int
        Index of its event, or -1.
    scar, scar_s : (n,)
        The end (0 or 1) made by the latest fission, and when.
    grain : (n,)
        Phase of the light and dark along the tube, at its first end.
    """

    cell_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    nodes_um: NDArray[np.float64]
    moving_um_s: NDArray[np.float64]
    length_um: NDArray[np.float64]
    mass_um: NDArray[np.float64]
    glide_um_s: NDArray[np.float64]
    recoil_um_s: NDArray[np.float64]
    home_um: NDArray[np.float64]
    z_um: NDArray[np.float64]
    site: NDArray[np.float64]
    onset_s: NDArray[np.float64]
    last_step: NDArray[np.int64]
    parts: NDArray[np.bool_]
    event: NDArray[np.int64]
    scar: NDArray[np.float64]
    scar_s: NDArray[np.float64]
    grain: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """All of a step."""

    tubes: Tubes
    homes_um: NDArray[np.float64]
    next_id: int
    events: tuple[TrueEvent, ...]


def found_network(p: Mitochondria, seed: int, now: Now) -> Network:
    """Tubes around the nuclei of cells."""
    homes_um, cell, nodes_um = first_tubes(
        seed,
        p.cells,
        p.mitochondria,
        area_um=p.area_um,
        ring_um=(p.nucleus_um, p.cell_um),
        length=(p.length_um, p.length_spread),
    )
    tubes = _new_tubes(nodes_um, homes_um[cell], p, seed)
    return _go_on(Network(tubes, homes_um, 1 + len(tubes), ()), p, now)


def _new_tubes(
    nodes_um: NDArray[np.float64],
    home_um: NDArray[np.float64],
    p: Mitochondria,
    seed: int,
) -> Tubes:
    n = len(nodes_um)
    key = mix(seed_key(seed, n), 7)
    length_um = lengths(nodes_um)
    zero = np.zeros(n)
    return Tubes(
        cell_id=1 + np.arange(n),
        parent_id=np.zeros(n, np.int64),
        key=key,
        nodes_um=nodes_um,
        moving_um_s=np.zeros_like(nodes_um),
        length_um=length_um,
        mass_um=length_um.copy(),
        glide_um_s=p.speed_um_s * normal(key, 1),
        recoil_um_s=zero,
        home_um=home_um,
        z_um=p.z_um + p.z_spread_um * normal(key, 2),
        site=np.full(n, 0.5),
        onset_s=np.full(n, NAN),
        last_step=np.full(n, _STILL),
        parts=np.zeros(n, bool),
        event=np.full(n, _STILL),
        scar=zero,
        scar_s=np.full(n, -np.inf),
        grain=2 * np.pi * uniform(key, 3),
        dose=zero,
        bleached=zero,
    )


def next_step(state: Network, light: Light, p: Mitochondria, now: Now) -> Network:
    """Move, collect light, end constrictions, fuse, begin constrictions."""
    old = state.tubes
    tubes = replace(
        old,
        nodes_um=old.nodes_um + old.moving_um_s * STEP_S,
        dose=old.dose + light[HARM],
        bleached=old.bleached + light[BLEACHING],
    )
    state = _end_constrictions(replace(state, tubes=tubes), p, now)
    return _go_on(_fuse(state, p, now), p, now)


def _go_on(state: Network, p: Mitochondria, now: Now) -> Network:
    state = _begin_constrictions(state, p, now)
    t = state.tubes
    strength = vigour(t.dose, p.harm_dose)
    moved, glide = advance(
        t.nodes_um,
        t.key,
        now.step,
        length_um=t.length_um,
        glide_um_s=t.glide_um_s,
        recoil_um_s=t.recoil_um_s,
        speed_um_s=p.speed_um_s,
        vigour=strength,
        home_um=t.home_um,
        ring_um=(p.nucleus_um, p.cell_um),
        dt_s=STEP_S,
    )
    tubes = replace(
        t,
        moving_um_s=(moved - t.nodes_um) / STEP_S,
        glide_um_s=glide,
        recoil_um_s=t.recoil_um_s * np.exp(-STEP_S / _RECOIL_S),
    )
    return replace(state, tubes=tubes)


def _begin_constrictions(state: Network, p: Mitochondria, now: Now) -> Network:
    t, salt = state.tubes, 5000 + 8 * now.step
    able = np.isnan(t.onset_s) & (t.length_um >= 2.2 * _SHORTEST_UM)
    # The rate counts fissions; those that relax come on top.
    rate = p.fission_per_um_min / (1.0 - p.abortive_share)
    hazard = rate * t.length_um * vigour(t.dose, p.harm_dose) * STEP_S / 60
    begins = able & (uniform(t.key, salt) < -np.expm1(-hazard))
    pending = int((~np.isnan(t.onset_s)).sum())
    room = max(p.max_mitochondria - len(t) - pending, 0)
    begins &= np.cumsum(begins) <= room
    if not begins.any():
        return state
    onset_s = now.t_s + STEP_S * uniform(t.key, salt + 1)
    lasts_s = p.constriction_s * (0.5 + uniform(t.key, salt + 2))
    last = np.ceil((onset_s + lasts_s) / STEP_S).astype(np.int64)
    least = _SHORTEST_UM / np.maximum(t.length_um, 2 * _SHORTEST_UM)
    parts = uniform(t.key, salt + 3) >= p.abortive_share
    rows = np.flatnonzero(begins)
    rows = rows[np.argsort(onset_s[rows], kind="stable")]
    event = t.event.copy()
    event[rows] = len(state.events) + np.arange(len(rows))
    tubes = replace(
        t,
        site=np.where(
            begins, least + (1 - 2 * least) * uniform(t.key, salt + 4), t.site
        ),
        onset_s=np.where(begins, onset_s, t.onset_s),
        last_step=np.where(begins, last, t.last_step),
        parts=np.where(begins, parts, t.parts),
        event=event,
    )
    places = site_of(tubes.nodes_um[rows], tubes.site[rows]) + now.drift_um[:2]
    new = tuple(
        TrueEvent(
            "fission" if parts[i] else "constriction",
            int(t.cell_id[i]),
            float(onset_s[i]),
            float(last[i] * STEP_S),
            *place.tolist(),
        )
        for i, place in zip(rows, places, strict=True)
    )
    return replace(state, tubes=tubes, events=state.events + new)


def _end_constrictions(state: Network, p: Mitochondria, now: Now) -> Network:
    t = state.tubes
    over = t.last_step == now.step
    if not over.any():
        return state
    events = list(state.events)
    places = site_of(t.nodes_um, t.site) + now.drift_um[:2]
    for i in np.flatnonzero(over):
        x_um, y_um = places[i].tolist()
        events[t.event[i]] = replace(events[t.event[i]], x_um=x_um, y_um=y_um)
    parted = t.rows(over & t.parts)
    rest = _quiet(t, over).rows(~(over & t.parts))
    young = _daughters(parted, state.next_id, p, now)
    return replace(
        state,
        tubes=rest.followed_by(young),
        next_id=state.next_id + len(young),
        events=tuple(events),
    )


def _daughters(t: Tubes, next_id: int, p: Mitochondria, now: Now) -> Tubes:
    """Both halves of each, the gap of the neck between them."""
    gap_um = 1.2 * NECK_UM
    parts = cut(t.nodes_um, t.site, gap_um / t.length_um)
    slowing = -np.expm1(-STEP_S / _RECOIL_S)
    recoil = np.full(len(t), p.parting_um / 2 * slowing / STEP_S)
    begin_um = t.site * t.length_um + gap_um
    halves = [
        replace(
            _quiet(t, np.ones(len(t), bool)),
            cell_id=next_id + side + 2 * np.arange(len(t)),
            parent_id=t.cell_id,
            key=mix(t.key, 11 + side),
            nodes_um=nodes_um,
            moving_um_s=np.zeros_like(nodes_um),
            length_um=lengths(nodes_um),
            mass_um=t.mass_um * (1 - t.site if side else t.site),
            recoil_um_s=recoil if side else -recoil,
            scar=np.full(len(t), 1.0 - side),
            scar_s=np.full(len(t), now.t_s),
            grain=t.grain + side * 2 * np.pi * begin_um / GRAIN_UM,
        )
        for side, nodes_um in enumerate(parts)
    ]
    both = halves[0].followed_by(halves[1])
    return both.rows(np.argsort(both.cell_id))


def _fuse(state: Network, p: Mitochondria, now: Now) -> Network:
    """Join one pair of touching ends at most for each mitochondrion."""
    t, n = state.tubes, len(state.tubes)
    if not p.fusion_per_min or n < 2:
        return state
    ends = np.concatenate([t.nodes_um[:, 0], t.nodes_um[:, -1]])
    pairs = close_pairs(ends, _TOUCH_UM)
    chance = -np.expm1(-p.fusion_per_min * STEP_S / 60)
    alive = vigour(t.dose, p.harm_dose) > 0
    free = alive & np.isnan(t.onset_s) & (now.t_s - t.scar_s > 10 * _RECOIL_S)
    used = ~free
    for a, b in pairs.tolist():
        i, j = a % n, b % n
        draw = uniform(mix(t.key[i : i + 1], int(t.cell_id[j])), now.step)[0]
        if i == j or used[i] or used[j] or draw >= chance:
            continue
        used[[i, j]] = True
        state = _fused(state, now, t.rows(np.array([i, j])), (a >= n, b >= n))
    return state


def _fused(state: Network, now: Now, two: Tubes, at_end: tuple[bool, bool]) -> Network:
    nodes_um = join(two.nodes_um[0], two.nodes_um[1], at_end)
    mass = two.mass_um.sum()
    weight = two.mass_um / mass
    one = replace(
        two.rows(np.array([0])),
        cell_id=np.array([state.next_id]),
        parent_id=two.cell_id[:1],
        key=mix(two.key[:1], 13),
        nodes_um=nodes_um[None],
        moving_um_s=np.zeros_like(nodes_um)[None],
        length_um=lengths(nodes_um[None]),
        mass_um=np.array([mass]),
        scar_s=np.array([-np.inf]),
        dose=(two.dose @ weight)[None],
        bleached=(two.bleached @ weight)[None],
    )
    x_um, y_um = two.nodes_um[0, -1 if at_end[0] else 0] + now.drift_um[:2]
    event = TrueEvent(
        "fusion", state.next_id, now.t_s, now.t_s, float(x_um), float(y_um)
    )
    kept = state.tubes.rows(~np.isin(state.tubes.cell_id, two.cell_id))
    return replace(
        state,
        tubes=kept.followed_by(one),
        next_id=state.next_id + 1,
        events=(*state.events, event),
    )


def _quiet(t: Tubes, which: NDArray[np.bool_]) -> Tubes:
    """The same, without constriction in `which`."""
    return replace(
        t,
        onset_s=np.where(which, NAN, t.onset_s),
        last_step=np.where(which, _STILL, t.last_step),
        parts=t.parts & ~which,
        event=np.where(which, _STILL, t.event),
    )
