"""Kinds of specimen by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.config import did_you_mean
from smartscope.core import ConfigError
from smartscope.specimen._cells import CellSpecimen
from smartscope.specimen._dividing import DividingCells
from smartscope.specimen._parameters import read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.specimen._view import Specimen


def _dividing_cells(seed: int, parameters: Mapping[str, Any]) -> Specimen:
    return CellSpecimen(seed, read_parameters(DividingCells, parameters))


_KINDS: dict[str, Callable[[int, Mapping[str, Any]], Specimen]] = {
    "dividing_cells": _dividing_cells,
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
        The same seed under the same light gives the same cells and the same pixels.
    parameters : mapping
        Fields of the kind's parameter model, for example `DividingCells`.

    Raises
    ------
    ConfigError
        Unknown kind, unknown key or a value out of range; the field says which.
    """
    try:
        make = _KINDS[kind]
    except KeyError:
        raise ConfigError(
            f"there is no specimen kind '{kind}'",
            field="specimen.kind",
            fix=did_you_mean(kind, specimen_kinds()),
        ) from None
    return make(seed, parameters or {})
