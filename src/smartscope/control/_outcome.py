"""How outcomes are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import Outcome

if TYPE_CHECKING:
    from smartscope.core import Request


def outcome_of(
    request: Request, status: str, message: str = "", *, winner: str = ""
) -> Outcome:
    """Return an outcome of `request`; `winner` is the id of what it lost to."""
    return Outcome(
        action_id=request.action_id,
        policy=request.policy,
        status=status,
        message=message,
        winner=winner,
    )
