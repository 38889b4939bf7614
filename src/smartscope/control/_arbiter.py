"""Who gets a resource when several actions want it: priority, then age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.core import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.core import Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one arbitration.

    Attributes
    ----------
    granted : tuple of Request
        In the order in which they are to be executed: as they were asked for.
    outcomes : tuple of Outcome
        One ``outbid`` outcome per loser, naming the winner.
    """

    granted: tuple[Request, ...]
    outcomes: tuple[Outcome, ...]


_NOBODY = Verdict((), ())


def arbitrate(requests: Sequence[Request], priorities: Mapping[str, int]) -> Verdict:
    """Grant each resource to the highest priority, among equals to the oldest.

    Parameters
    ----------
    requests : sequence of Request
        All actions decided on one observation, in the order of the policies.
    priorities : mapping of policy name to int
        The experiment's priority of each policy, added to that of the action.

    Notes
    -----
    Two actions of the *same* policy do not compete: they were meant together, and the
    later one holds. An action that loses one of its resources loses all.
    """
    if not requests:
        return _NOBODY
    if len(requests) == 1:
        return Verdict((requests[0],), ())
    return _contest(requests, priorities)


def _contest(requests: Sequence[Request], priorities: Mapping[str, int]) -> Verdict:
    order = sorted(
        range(len(requests)),
        key=lambda i: (
            -requests[i].action.priority - priorities.get(requests[i].policy, 0),
            requests[i].t_decided_ns,
            i,
        ),
    )
    holders: dict[str, Request] = {}
    granted: list[int] = []
    outcomes: list[Outcome] = []
    for i in order:
        request = requests[i]
        claims = request.action.claims(request.view)
        winner = next(
            (
                holders[claim]
                for claim in claims
                if claim in holders and holders[claim].policy != request.policy
            ),
            None,
        )
        if winner is None:
            holders.update(dict.fromkeys(claims, request))
            granted.append(i)
            continue
        outcomes.append(
            Outcome(
                action_id=request.action_id,
                policy=request.policy,
                status="outbid",
                winner=winner.action_id,
                message=f"{winner.policy} holds {', '.join(claims)}",
            )
        )
    return Verdict(tuple(requests[i] for i in sorted(granted)), tuple(outcomes))
