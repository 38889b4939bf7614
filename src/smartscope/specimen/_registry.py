"""Kinds of specimen by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.config import did_you_mean
from smartscope.core import ConfigError
from smartscope.specimen._kind_bacteria import BacteriaBiology
from smartscope.specimen._kind_blinking_molecules import BlinkingMoleculesBiology
from smartscope.specimen._kind_calcium_cells import CalciumCellsBiology
from smartscope.specimen._kind_crawling_animal import CrawlingAnimalBiology
from smartscope.specimen._kind_dividing_cells import DividingCellsBiology
from smartscope.specimen._kind_mitochondria import MitochondriaBiology
from smartscope.specimen._kind_optogenetic_cell import OptogeneticCellBiology
from smartscope.specimen._kind_rare_events_sample import RareEventsSampleBiology
from smartscope.specimen._kind_thick_sample import ThickSampleBiology
from smartscope.specimen._kind_vesicles import VesiclesBiology
from smartscope.specimen._living import LivingSpecimen
from smartscope.specimen._parameters import read_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.specimen._biology import Biology
    from smartscope.specimen._view import Specimen


_KINDS: dict[str, type[Biology[Any, Any]]] = {
    "bacteria": BacteriaBiology,
    "blinking_molecules": BlinkingMoleculesBiology,
    "calcium_cells": CalciumCellsBiology,
    "crawling_animal": CrawlingAnimalBiology,
    "dividing_cells": DividingCellsBiology,
    "mitochondria": MitochondriaBiology,
    "optogenetic_cell": OptogeneticCellBiology,
    "rare_events_sample": RareEventsSampleBiology,
    "thick_sample": ThickSampleBiology,
    "vesicles": VesiclesBiology,
}


def specimen_kinds() -> tuple[str, ...]:
    """Names that `make_specimen` knows."""
    return tuple(sorted(_KINDS))


def make_specimen(
    kind: str, *, seed: int, parameters: Mapping[str, Any] | None = None
) -> Specimen:
    """Make a specimen; it lives from its `start` on.

    Parameters
    ----------
    kind : str
        One of `specimen_kinds`.
    seed : int
        The same seed under the same light gives the same objects and the same pixels.
    parameters : mapping
        Fields of the kind's parameter model, for example `DividingCells`.

    Raises
    ------
    ConfigError
        Unknown kind, unknown key or a value out of range; the field says which.
    """
    try:
        biology = _KINDS[kind]
    except KeyError:
        raise ConfigError(
            f"there is no specimen kind '{kind}'",
            field="specimen.kind",
            fix=did_you_mean(kind, specimen_kinds()),
        ) from None
    return LivingSpecimen(
        biology(seed, read_parameters(biology.model, parameters or {}))
    )
