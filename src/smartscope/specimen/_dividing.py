"""Parameters of the kind `dividing_cells`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from smartscope.specimen._parameters import Parameters
from smartscope.specimen._sample import Sample


class Runner(Parameters):
    """One bright cell that wanders far, to be followed; its `cell_id` is 1.

    Attributes
    ----------
    speed_um_s : float
    persistence_s : float
        How long it keeps its heading.
    brightness : float
        Over that of a typical cell.
    start_um : (x, y)
        Sample coordinates at the start.
    divides : bool
    """

    speed_um_s: NonNegativeFloat = 0.3
    persistence_s: PositiveFloat = 300.0
    brightness: PositiveFloat = 2.0
    start_um: tuple[float, float] = (60.0, -40.0)
    divides: bool = False


class DividingCells(Sample):
    """Fluorescent nuclei that move, grow, divide, bleach and are harmed by light.

    At `harm_dose` a cell divides no more and slows down, and dies at twice that.
    Parameters that every kind has are those of `Sample`. Channels show ``nuclei``,
    ``cytoplasm`` or, without any label, ``brightfield``.

    Attributes
    ----------
    cells : int
        Initial number; one alone starts in the middle of the sample.
    area_um : (x, y)
        Extent of the sample around stage position (0, 0); cells turn back at its rim.
    max_cells : int
        Crowding: no cell divides while there are so many.
    nucleus_um : float
        Typical radius of a nucleus.
    cell_cycle_s, cell_cycle_spread : float
        Mean length from division to mitosis, and its relative standard deviation.
        The default is some ten times faster than life, so that a demo shows it.
    synchrony : float
        0: the cells start evenly spread over the cycle; 1: all close to mitosis.
    mitosis_s : float
        From the onset of rounding to the split, and from there to the end of
        separation.
    separation_um : float
        Distance of the daughters at the end of separation.
    speed_um_s, persistence_s : float
        Mean speed of the walk, and how long a heading is kept.
    repulsion_per_s : float
        Share of an overlap of two nuclei that is undone each second.
    runner : Runner or None
        One cell to follow, beyond `cells`.
    autofluorescence : float
        Of the cell body around the nucleus, relative to the nucleus; does not bleach.
    brightness_spread : float
        Relative spread of expression between cells.
    texture : float
        0: nuclei are smooth ellipses; 1: full chromatin texture and outline.
    death_s : float
        How long a dead cell takes to shrink and fade away.
    z_spread_um : float
        Standard deviation of the cells' focus around that of the sample.
    floating_cells, floating_um : float
        Cells that float out of focus above the others, for each of `cells`, and their
        typical height; they are not in the truth.
    dead_cells : float
        Dead rounded cells with bright nuclei, often in fragments, for each of
        `cells`; they are not in the truth.
    """

    contents: ClassVar[tuple[str, ...]] = ("nuclei", "cytoplasm", "brightfield")

    cells: NonNegativeInt = 40
    area_um: tuple[PositiveFloat, PositiveFloat] = (640.0, 640.0)
    max_cells: PositiveInt = 1000
    nucleus_um: PositiveFloat = 8.0
    cell_cycle_s: PositiveFloat = 5400.0
    cell_cycle_spread: float = Field(0.12, ge=0, le=0.5)
    synchrony: float = Field(0.0, ge=0, le=1)
    mitosis_s: PositiveFloat = 240.0
    separation_um: PositiveFloat = 20.0
    speed_um_s: NonNegativeFloat = 0.01
    persistence_s: PositiveFloat = 300.0
    repulsion_per_s: float = Field(0.05, ge=0, le=0.5)
    runner: Runner | None = None
    autofluorescence: NonNegativeFloat = 0.03
    brightness_spread: float = Field(0.15, ge=0, le=1)
    texture: float = Field(0.8, ge=0, le=1)
    death_s: PositiveFloat = 600.0
    z_spread_um: NonNegativeFloat = 1.0
    floating_cells: NonNegativeFloat = 0.0
    floating_um: PositiveFloat = 30.0
    dead_cells: NonNegativeFloat = 0.0
