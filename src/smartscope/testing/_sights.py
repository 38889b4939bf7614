"""Hand-made sights: what a policy is shown, without a microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import (
    Detections,
    Event,
    HardwareState,
    Observation,
    PixelMap,
    Track,
    View,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = View(0, "Camera")


def sight(
    t_s: float = 0.0,
    *,
    tracks: Sequence[Track] = (),
    measurements: Mapping[str, float] | None = None,
    power: Mapping[str, float] | None = None,
    at_um: tuple[float | None, float | None, float | None] = (0.0, 0.0, 0.0),
    **more: Any,
) -> Observation:
    """Return an observation, to test a policy with.

    The image has 101 x 101 pixels of 0.5 um, and its middle pixel shows the point at
    the stage position.

    Parameters
    ----------
    t_s : float
    tracks : sequence of Track
        See `cell`; one row of `detections` is made for each that has not been lost.
    measurements : mapping of str to float
    power : mapping of light line to percent
    at_um : (x, y, z)
        Where stage and focus were; None where the rig has none.
    **more
        Any other field of `smartscope.core.Observation`.

    Examples
    --------
    >>> seen = sight(3.0, tracks=[cell(1, 10, 0)], power={"488": 20})
    >>> seen.t_s, seen.tracks[0].x_um, seen.state.power_percent["488"]
    (3.0, 10, 20)
    """
    channel = more.pop("channel", "FITC")
    x_um, y_um, z_um = at_um
    state = HardwareState(
        x_um=x_um,
        y_um=y_um,
        z_um=z_um,
        channel=channel,
        exposure_ms=20.0,
        power_percent=dict(power or {}),
    )
    fields: dict[str, Any] = {
        "number": 0,
        "view": HERE,
        "frame_ids": (0,),
        "shape": (101, 101),
        "pixel_map": PixelMap(((0.5, 0.0), (0.0, 0.5)), (50.0, 50.0)),
        "state": state,
        "detections": _detections(tracks, x_um or 0.0, y_um or 0.0),
        **more,
    }
    return Observation(
        t_s=t_s,
        t_ns=round(t_s * 1e9),
        channel=channel,
        tracks=tuple(tracks),
        measurements=dict(measurements or {}),
        **fields,
    )


def cell(
    track_id: int,
    x_um: float,
    y_um: float,
    state: str = "active",
    *,
    parent: int | None = None,
    v_um_s: tuple[float, float] = (0.0, 0.0),
    **features: float,
) -> Track:
    """Return a track at this place in the sample; `features` as vision measures them.

    Examples
    --------
    >>> cell(7, 10, 0, area_um2=80).features["area_um2"]
    80
    """
    return Track(
        track_id=track_id,
        state=state,
        x_um=x_um,
        y_um=y_um,
        parent=parent,
        vx_um_s=v_um_s[0],
        vy_um_s=v_um_s[1],
        features=features,
    )


def event(
    kind: str, score: float, state: str = "active", *, event_id: int = 1, **more: Any
) -> Event:
    """Return an event of this kind; `more` are other fields of `Event`.

    Examples
    --------
    >>> event("mitosis", 0.9, track_id=7).track_id
    7
    """
    place = {"onset_s": 0.0, "x_um": 0.0, "y_um": 0.0, **more}
    return Event(event_id=event_id, kind=kind, score=score, state=state, **place)


def _detections(tracks: Sequence[Track], x_um: float, y_um: float) -> Detections:
    found = [t for t in tracks if t.state in ("active", "tentative")]
    places = np.array([(t.x_um, t.y_um) for t in found], dtype=float).reshape(-1, 2)
    names = sorted({name for t in found for name in t.features})
    columns = {
        name: _fixed([t.features.get(name, np.nan) for t in found]) for name in names
    }
    return Detections(
        label=np.arange(1, len(found) + 1, dtype=np.int64),
        x_px=_fixed((places[:, 0] - x_um) * 2 + 50),
        y_px=_fixed((places[:, 1] - y_um) * 2 + 50),
        x_um=_fixed(places[:, 0]),
        y_um=_fixed(places[:, 1]),
        area_um2=columns.get("area_um2", _fixed([80.0] * len(found))),
        score=columns.get("score", _fixed([5.0] * len(found))),
        features=columns,
    )


def _fixed(values: Any) -> Any:
    array = np.asarray(values, dtype=float)
    array.setflags(write=False)
    return array
