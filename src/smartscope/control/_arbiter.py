"""Who gets a resource when several actions want it, and for how long.

Priority decides, then age. A winner holds what it has claimed: for the time of its
lease only a higher priority takes it away, and what somebody else has taken over is
not given back by who had it before. A cool-down lets a policy, or a resource, rest.
All times are those at which the decisions were made, which the journal holds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from smartscope.control._outcome import outcome_of
from smartscope.core import NS_PER_S, Action, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from smartscope.config import ResourceConfig
    from smartscope.core import Request, View

K = TypeVar("K")
_FREE = ("run", "phase")
"""What ends something is never held back by a lease or a cool-down."""
_NOT_DONE = ("rejected", "expired", "failed")
_WHOLE = ("", "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the experiment says of one policy.

    Attributes
    ----------
    priority : int
        Added to that of its actions.
    lease_s : float or None
        None as the resource says.
    rest_s : float
        Between two of its actions at one position, or anywhere if it is per run.
    per_run : bool
    """

    priority: int = 0
    lease_s: float | None = None
    rest_s: float = 0.0
    per_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Who got a resource that another wanted, and why.

    Attributes
    ----------
    claim : str
    winner, loser : str
        Policies; the winner of a cool-down is whoever used the resource last.
    winner_id, loser_id : str
        Their actions.
    why : str
        In words: priority, age, lease or cool-down.
    """

    claim: str
    winner: str
    winner_id: str
    loser: str
    loser_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one arbitration.

    Attributes
    ----------
    granted : tuple of Request
        In the order in which they are to be executed: as they were asked for.
    outcomes : tuple of Outcome
        One for each request that was not granted: ``outbid``, naming the winner, or
        ``noted`` for what somebody else has taken over already.
    rulings : tuple of Ruling
        One for each outcome, and one for each lease that a higher priority broke.
    """

    granted: tuple[Request, ...]
    outcomes: tuple[Outcome, ...]
    rulings: tuple[Ruling, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hold:
    """Who used a resource last, and until when nobody of its rank may take it."""

    request: Request
    rank: int
    leased_until_ns: int


_Standing = tuple[type[Action], tuple[str, ...]]
_NOBODY = Verdict((), ())
_ALONE = Terms()


class Arbiter:
    """Grants resources; keeps who holds what. Used from one thread.

    Parameters
    ----------
    terms : policy -> Terms
        Policies that are not named have none.
    resources : resource -> ResourceConfig
        Leases and cool-downs of a kind (``stage``) or of one of a kind
        (``light:488``), which goes before.
    """

    def __init__(
        self,
        terms: Mapping[str, Terms] | None = None,
        resources: Mapping[str, ResourceConfig] | None = None,
    ) -> None:
        self._terms = dict(terms or {})
        self._resources = dict(resources or {})
        # What lasts until it is given back, such as an interval, by kind and place.
        self._standing: dict[_Standing, Request] = {}
        # By kind, because the whole of a kind overlaps with each of its parts.
        self._held: defaultdict[str, dict[str, _Hold]] = defaultdict(dict)
        self._used: dict[tuple[str, View | None], Request] = {}

    def settle(self, requests: Sequence[Request]) -> Verdict:
        """Grant each resource to the highest priority, among equals to the oldest.

        Two actions of the *same* policy do not compete: they were meant together, and
        the later one holds. An action that loses one of its resources loses all.

        Parameters
        ----------
        requests : sequence of Request
            All actions decided on one observation, in the order of the policies.
        """
        if not requests:
            return _NOBODY
        if not any(r.action.claims(r.view) for r in requests):
            return Verdict(tuple(requests), ())
        return _Round(self, requests).settle()

    def undone(self, outcomes: Iterable[Outcome]) -> None:
        """Forget what was granted and not carried out: it holds nothing."""
        failed = {o.action_id for o in outcomes if o.status in _NOT_DONE}
        if not failed:
            return
        for parts in self._held.values():
            for part in [p for p, h in parts.items() if h.request.action_id in failed]:
                del parts[part]
        self._used = _without(self._used, failed)
        self._standing = _without(self._standing, failed)

    def released(self, policies: Iterable[str]) -> None:
        """End the leases of policies that look no more."""
        gone = set(policies)
        for parts in self._held.values():
            for part in [p for p, h in parts.items() if h.request.policy in gone]:
                del parts[part]

    # ------------------------------------------------------- what one round asks

    def rank(self, request: Request) -> int:
        """Priority of an action and its policy together."""
        return request.action.priority + self._of(request).priority

    def holders(self, claim: str) -> list[_Hold]:
        """Who holds this resource, or a part of it, or the whole that it is part of."""
        kind, _, part = claim.partition(":")
        parts = self._held.get(kind)
        if not parts:
            return []
        if part in _WHOLE:
            return list(parts.values())
        return [parts[p] for p in (part, *_WHOLE) if p in parts]

    def resting(self, request: Request, claim: str) -> tuple[Request, str] | None:
        """Whose action a cool-down began with that forbids this one, and a word."""
        now = request.t_decided_ns
        rest_ns = self._of(request).rest_s * NS_PER_S
        last = self._used.get(self._place(request))
        if last is not None and now - last.t_decided_ns < rest_ns:
            left_s = (rest_ns - now + last.t_decided_ns) / NS_PER_S
            return last, f"{request.policy} rests for {left_s:.3g} s more"
        rest_ns = self._rest_s(claim) * NS_PER_S
        for hold in self.holders(claim) if rest_ns else ():
            age_ns = now - hold.request.t_decided_ns
            if age_ns < rest_ns:
                left_s = (rest_ns - age_ns) / NS_PER_S
                return hold.request, f"{claim} rests for {left_s:.3g} s more"
        return None

    def stands(self, request: Request) -> Request | None:
        """What this would give back, whoever it was that asked for it."""
        return self._standing.get(_standing(request))

    def take(self, request: Request) -> None:
        """Let a granted action hold what it claims."""
        action = request.action
        if action.gives_back:
            self._standing.pop(_standing(request), None)
        elif action.undone("") is not None:
            self._standing[_standing(request)] = request
        lease_s = 0.0 if action.gives_back else None
        claimed = False
        for claim in action.claims(request.view):
            kind, _, part = claim.partition(":")
            if kind in _FREE:
                continue
            claimed = True
            seconds = self._lease_s(request, claim) if lease_s is None else lease_s
            until_ns = request.t_decided_ns + int(seconds * NS_PER_S)
            self._held[kind][part] = _Hold(request, self.rank(request), until_ns)
        if claimed:
            self._used[self._place(request)] = request

    def _of(self, request: Request) -> Terms:
        return self._terms.get(request.policy, _ALONE)

    def _place(self, request: Request) -> tuple[str, View | None]:
        per_run = self._of(request).per_run
        return request.policy, None if per_run else request.view

    def _config(self, claim: str) -> ResourceConfig | None:
        named = self._resources.get(claim)
        return named or self._resources.get(claim.partition(":")[0])

    def _lease_s(self, request: Request, claim: str) -> float:
        own_s = self._of(request).lease_s
        if own_s is not None:
            return own_s
        config = self._config(claim)
        return config.lease_s if config is not None else 0.0

    def _rest_s(self, claim: str) -> float:
        config = self._config(claim)
        return config.rest_s if config is not None else 0.0


class _Round:
    """All that is asked for on one sight."""

    def __init__(self, arbiter: Arbiter, requests: Sequence[Request]) -> None:
        self._arbiter = arbiter
        self._requests = requests
        self._won: defaultdict[str, dict[str, Request]] = defaultdict(dict)
        self._granted: list[int] = []
        self._outcomes: list[Outcome] = []
        self._rulings: list[Ruling] = []

    def settle(self) -> Verdict:
        # What is given back is free for the others of the same sight.
        back = {
            (r.policy, claim)
            for r in self._requests
            if r.action.gives_back
            for claim in r.action.claims(r.view)
        }
        for i in self._order():
            request = self._requests[i]
            if request.action.gives_back:
                self._give_back(i, request)
            else:
                self._demand(i, request, back)
        granted = tuple(self._requests[i] for i in sorted(self._granted))
        for request in granted:
            self._arbiter.take(request)
        return Verdict(granted, tuple(self._outcomes), tuple(self._rulings))

    def _order(self) -> list[int]:
        requests = self._requests
        return sorted(
            range(len(requests)),
            key=lambda i: (
                requests[i].action.gives_back,
                -self._arbiter.rank(requests[i]),
                requests[i].t_decided_ns,
                i,
            ),
        )

    def _demand(self, i: int, request: Request, back: set[tuple[str, str]]) -> None:
        broken: list[Ruling] = []
        for claim in request.action.claims(request.view):
            if claim.partition(":")[0] not in _FREE:
                if resting := self._arbiter.resting(request, claim):
                    self._lose(request, claim, *resting)
                    return
                holds = self._arbiter.holders(claim)
                for hold in holds:
                    leased = self._leased(request, hold, back)
                    if leased and self._arbiter.rank(request) <= hold.rank:
                        self._lose(request, claim, hold.request, leased)
                        return
                    if leased:
                        why = "a higher priority ends the lease"
                        broken.append(_ruling(claim, request, hold.request, why))
            if (winner := self._rival(request, claim)) is not None:
                self._lose(request, claim, winner, self._why(winner, request))
                return
        self._rulings += broken
        self._win(i, request)

    def _leased(self, request: Request, hold: _Hold, back: set[tuple[str, str]]) -> str:
        left_ns = hold.leased_until_ns - request.t_decided_ns
        holder = hold.request
        if left_ns <= 0 or holder.policy == request.policy:
            return ""
        if any((holder.policy, c) in back for c in holder.action.claims(holder.view)):
            return ""
        return f"leased for {left_ns / NS_PER_S:.3g} s more"

    def _give_back(self, i: int, request: Request) -> None:
        """Grant what is still the policy's own to give back; note what is not."""
        taken = self._taken_over(request)
        if taken is None:
            self._win(i, request)
            return
        claim = request.action.claims(request.view)[0]
        self._rulings.append(_ruling(claim, taken, request, "taken over already"))
        words = f"{taken.policy} has taken {claim} over already"
        outcome = outcome_of(request, "noted", words, winner=taken.action_id)
        self._outcomes.append(outcome)

    def _taken_over(self, request: Request) -> Request | None:
        """What another policy has put in place of what is to be given back."""
        won = [self._requests[k] for k in self._granted]
        here = [r for r in won if _standing(r) == _standing(request)]
        stands = self._arbiter.stands(request)
        for other in (*here, *([stands] if stands is not None else [])):
            if other.policy != request.policy and not other.action.gives_back:
                return other
        return None

    def _win(self, i: int, request: Request) -> None:
        for claim in request.action.claims(request.view):
            kind, _, part = claim.partition(":")
            self._won[kind][part] = request
        self._granted.append(i)

    def _rival(self, request: Request, claim: str) -> Request | None:
        """Request of another policy that has won this resource on the same sight."""
        kind, _, part = claim.partition(":")
        won = self._won.get(kind)
        if not won:
            return None
        parts = won if part in _WHOLE else (part, *_WHOLE)
        found = (won[p] for p in parts if p in won)
        return next((r for r in found if r.policy != request.policy), None)

    def _why(self, winner: Request, loser: Request) -> str:
        first, second = self._arbiter.rank(winner), self._arbiter.rank(loser)
        if first != second:
            return f"priority {first} over {second}"
        return "the same priority, and asked first"

    def _lose(self, request: Request, claim: str, winner: Request, why: str) -> None:
        self._rulings.append(_ruling(claim, winner, request, why))
        rests = winner.policy == request.policy or why.startswith(claim)
        holds = "" if rests else f"{winner.policy} holds {claim}: "
        outcome = outcome_of(request, "outbid", holds + why, winner=winner.action_id)
        self._outcomes.append(outcome)


def _standing(request: Request) -> _Standing:
    return type(request.action), request.action.claims(request.view)


def _without(requests: dict[K, Request], ids: set[str]) -> dict[K, Request]:
    return {k: r for k, r in requests.items() if r.action_id not in ids}


def _ruling(claim: str, winner: Request, loser: Request, why: str) -> Ruling:
    return Ruling(
        claim=claim,
        winner=winner.policy,
        winner_id=winner.action_id,
        loser=loser.policy,
        loser_id=loser.action_id,
        why=why,
    )
