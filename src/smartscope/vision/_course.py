"""One event of one track: it begins, lasts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.core import Event

if TYPE_CHECKING:
    from smartscope.core import Track
    from smartscope.vision._stage import Workspace


@dataclass(slots=True)
class Course:
    """Where the event of one track stands.

    Attributes
    ----------
    event_id : int or None
        None while there is none.
    onset_s : float
    """

    event_id: int | None = None
    onset_s: float = 0.0

    def step(
        self,
        work: Workspace,
        track: Track,
        *,
        kind: str,
        score: float,
        begins: bool,
        ends: bool,
        max_duration_s: float,
        onset_s: float | None = None,
    ) -> Event | None:
        """Take one frame; the event that it adds to, if there is one.

        Only an active track begins one, and none outlives its track.

        Parameters
        ----------
        begins, ends : bool
            Whether an event would begin now, and whether one that lasts would end.
        max_duration_s : float
            It ends after this long at the latest, s.
        onset_s : float, optional
            When it began; default now.
        """
        fresh = self.event_id is None
        if self.event_id is None:
            if not begins or track.state != "active":
                return None
            self.event_id = work.new_event_id()
            self.onset_s = work.t_s if onset_s is None else onset_s
        late = work.t_s - self.onset_s > max_duration_s
        over = not fresh and (ends or late or track.state == "ended")
        event = Event(
            event_id=self.event_id,
            kind=kind,
            score=score,
            state="onset" if fresh else "ended" if over else "active",
            onset_s=self.onset_s,
            x_um=track.x_um,
            y_um=track.y_um,
            track_id=track.track_id,
        )
        if over:
            self.event_id = None
        return event
