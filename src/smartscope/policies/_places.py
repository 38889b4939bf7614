"""Which stage positions each policy looks at: by number, by name, drawn for an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.config import did_you_mean
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.config import PolicyUse

_DRAWN_FOR_ARMS = 0x61726D73
"""Keeps these draws apart from all others of the same seed."""


def positions_of(use: PolicyUse, fields: Mapping[int, str] | None) -> tuple[int, ...]:
    """Numbers of the positions a policy names; empty is all of them.

    Parameters
    ----------
    use : PolicyUse
    fields : position -> name, or None
        Of the plan; None is not known, then any number will do.

    Raises
    ------
    ConfigError
        If there is no such position.
    """
    return tuple(
        _number(place, fields, f"positions[{i}]")
        for i, place in enumerate(use.positions)
    )


def _number(place: int | str, fields: Mapping[int, str] | None, field: str) -> int:
    if fields is None and isinstance(place, int):
        return place
    known = fields or {}
    if isinstance(place, int):
        if place in known:
            return place
        last = max(known, default=-1)
        numbers = f"0 to {last}" if last > 0 else "0 only"
        raise ConfigError(
            f"there is no position {place}",
            field=field,
            fix=f"the plan has {numbers}",
        )
    found = [number for number, name in known.items() if name == place]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{len(found)} positions are called '{place}'",
            field=field,
            fix=f"give numbers: {', '.join(map(str, found))}",
        )
    raise ConfigError(
        f"there is no position '{place}'",
        field=field,
        fix=did_you_mean(place, known.values()),
    )


def draw_arms(
    arms: Sequence[str], fields: Sequence[int], seed: int
) -> dict[str, tuple[int, ...]]:
    """Share positions out among arms, at random and as evenly as can be.

    Parameters
    ----------
    arms : sequence of str
        In the order of the experiment; the first ones get what is left over.
    fields : sequence of int
        Positions of the plan.
    seed : int
        The experiment's: the same seed draws the same.

    Raises
    ------
    ConfigError
        If there are fewer positions than arms.
    """
    if len(fields) < len(arms):
        raise ConfigError(
            f"the plan has {len(fields)} position(s) for {len(arms)} arms "
            f"({', '.join(arms)})",
            field="arm",
            fix="add positions to the plan, at least one for each arm",
        )
    rng = np.random.default_rng([seed % 2**63, _DRAWN_FOR_ARMS])
    order = [int(k) for k in rng.permutation(sorted(fields))]
    return {arm: tuple(sorted(order[i :: len(arms)])) for i, arm in enumerate(arms)}
