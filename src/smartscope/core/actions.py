"""What a policy may ask for, and what became of it.

Every action carries its `reason`. `claims` names the resources it wants; two actions
that claim the same resource are arbitrated. Add a kind here, its handler in
`smartscope.control`, and its check in `smartscope.safety`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.core.frame import HardwareState, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One request to change the world.

    Attributes
    ----------
    reason : str
        Why, in words a microscopist reads in the report.
    priority : int
        Larger wins; the experiment's `priority` of the policy is added.
    deadline_ms : float or None
        Not executed when decided longer ago than this (run clock).
    track_id, event_id : int or None
        What in the observation caused it.
    """

    reason: str
    priority: int = 0
    deadline_ms: float | None = None
    track_id: int | None = None
    event_id: int | None = None

    def claims(self, view: View) -> tuple[str, ...]:
        """Resources this action wants, given the view it was decided on."""
        return ()

    @property
    def gives_back(self) -> bool:
        """Whether this only ends what an earlier action has taken for itself."""
        return False

    def undone(self, reason: str) -> Action | None:
        """The action that gives back what this one takes; None if it takes nothing."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing(Action):
    """Explains why nothing happened: recorded, never executed."""

    score: float | None = None
    threshold: float | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark(Action):
    """Put a remark into the journal and the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep(Action):
    """Keep the frames around this moment, where not all are kept anyway.

    With ``record: {keep: asked}`` the frames of a stream pass through a ring in
    memory; this writes those of the last `before_s` to disk, and all that arrive
    within `after_s`. Asks may overlap; no frame is written twice.
    """

    before_s: float
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInterval(Action):
    """Film this view every `interval_s` from now on; None returns to the baseline.

    The baseline keeps its own due times; the extra frames are reactions.
    """

    interval_s: float | None

    def claims(self, view: View) -> tuple[str, ...]:
        """``schedule:p``."""
        return (f"schedule:{view.position}",)

    @property
    def gives_back(self) -> bool:
        """True for the return to the baseline."""
        return self.interval_s is None

    def undone(self, reason: str) -> Action | None:
        """Return to the baseline."""
        return None if self.gives_back else SetInterval(interval_s=None, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire(Action):
    """Take a burst at this view, before the baseline goes on.

    With `x_um` and `y_um` it is taken somewhere else, of something that was seen
    there for example; the plan goes on where it was. Not in a stream.

    Attributes
    ----------
    frames : int
        Time points, each with all of `z_offsets_um`.
    interval_s : float
        Between time points; 0 is as fast as the camera goes, hardware-sequenced
        where the devices allow.
    channel, exposure_ms
        None keeps those of the planned event that was seen.
    z_offsets_um : tuple of float
        Relative to `z_um`, else to the planned focus.
    x_um, y_um, z_um : float or None
        Where stage and focus are to be; None is as planned.
    """

    frames: int = 1
    interval_s: float = 0.0
    channel: str | None = None
    exposure_ms: float | None = None
    z_offsets_um: tuple[float, ...] = ()
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it names a place of its own."""
        return any(um is not None for um in (self.x_um, self.y_um, self.z_um))

    def claims(self, view: View) -> tuple[str, ...]:
        """``camera`` and ``schedule:p``; ``stage`` and ``focus`` if it moves them."""
        stage = ("stage",) if self.x_um is not None or self.y_um is not None else ()
        focus = ("focus",) if self.z_um is not None else ()
        return ("camera", f"schedule:{view.position}", *stage, *focus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftPosition(Action):
    """Amend the offset that is added to every planned position of this view, um."""

    dx_um: float = 0.0
    dy_um: float = 0.0
    dz_um: float = 0.0

    def claims(self, view: View) -> tuple[str, ...]:
        """``stage:p`` and ``focus:p``, as far as it moves them."""
        stage = (f"stage:{view.position}",) if self.dx_um or self.dy_um else ()
        return stage + ((f"focus:{view.position}",) if self.dz_um else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStage(Action):
    """Go there now, um in stage coordinates; lasts until the next planned event."""

    x_um: float
    y_um: float

    def claims(self, view: View) -> tuple[str, ...]:
        """``stage``."""
        return ("stage",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveFocus(Action):
    """Focus there now, um; lasts until the next planned event."""

    z_um: float

    def claims(self, view: View) -> tuple[str, ...]:
        """``focus``."""
        return ("focus",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPower(Action):
    """Set a light line for all frames to come, percent of its range (0..100)."""

    line: str
    power_percent: float

    def claims(self, view: View) -> tuple[str, ...]:
        """``light:LINE``."""
        return (f"light:{self.line}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetExposure(Action):
    """Set the exposure of all frames to come in `channel` (None: every channel)."""

    exposure_ms: float
    channel: str | None = None

    def claims(self, view: View) -> tuple[str, ...]:
        """``exposure:CHANNEL``."""
        return (f"exposure:{self.channel or '*'}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRoi(Action):
    """Read out only this region from now on, sensor pixels; None is the full chip."""

    x_px: int | None = None
    y_px: int | None = None
    width_px: int | None = None
    height_px: int | None = None

    def claims(self, view: View) -> tuple[str, ...]:
        """``camera``."""
        return ("camera",)

    @property
    def gives_back(self) -> bool:
        """True for the full chip."""
        return self.x_px is None

    def undone(self, reason: str) -> Action | None:
        """The full chip."""
        return None if self.gives_back else SetRoi(reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetProperty(Action):
    """Set any device property that is not a role of its own."""

    device: str
    property: str
    value: str

    def claims(self, view: View) -> tuple[str, ...]:
        """``property:DEVICE.PROPERTY``."""
        return (f"property:{self.device}.{self.property}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchObjective(Action):
    """Turn to this objective, at a safe focus height, adding its xyz offset."""

    objective: str

    def claims(self, view: View) -> tuple[str, ...]:
        """``objective``, ``stage`` and ``focus``."""
        return ("objective", "stage", "focus")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPattern(Action):
    """Light up these regions through the SLM, and nothing else; none is all dark.

    They stay lit, whenever their light line is on, until another pattern is shown.

    Attributes
    ----------
    polygons_px : tuple of polygons
        Each a tuple of ``(y, x)`` points in pixels of the *camera image seen*.
    intensity : int
        0..255 of the light that the SLM can let through.
    """

    polygons_px: tuple[tuple[tuple[float, float], ...], ...]
    intensity: int = 255

    def claims(self, view: View) -> tuple[str, ...]:
        """``slm``."""
        return ("slm",)

    @property
    def gives_back(self) -> bool:
        """True where nothing is lit."""
        return not self.polygons_px

    def undone(self, reason: str) -> Action | None:
        """All dark."""
        return None if self.gives_back else ShowPattern(polygons_px=(), reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Action):
    """Pause the plan until somebody resumes it; light goes off."""

    def claims(self, view: View) -> tuple[str, ...]:
        """``run``."""
        return ("run",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Action):
    """End the run in an orderly way."""

    def claims(self, view: View) -> tuple[str, ...]:
        """``run``."""
        return ("run",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPhase(Action):
    """End the present phase of the experiment; from the next sight on.

    Attributes
    ----------
    phase : str or None
        Which one begins then; None is the next of the list, after the last of which
        the run ends.
    """

    phase: str | None = None

    def claims(self, view: View) -> tuple[str, ...]:
        """``phase``."""
        return ("phase",)


ACTION_KINDS: tuple[type[Action], ...] = (
    Nothing,
    Mark,
    Keep,
    SetInterval,
    Acquire,
    ShiftPosition,
    MoveStage,
    MoveFocus,
    SetPower,
    SetExposure,
    SetRoi,
    SetProperty,
    SwitchObjective,
    ShowPattern,
    Pause,
    Stop,
    NextPhase,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An action on its way: who asked, on what sight, when.

    `action_id` is ``"<decision>.<k>"``, the k-th action of that decision; `channel`
    and `seen` are those of the frame it was decided on. The journal leaves `seen` to
    the observation.
    """

    action_id: str
    policy: str
    view: View
    action: Action
    t_decided_ns: int
    observation: int
    channel: str | None = None
    seen: HardwareState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one policy answered to one observation; `requests` may be empty."""

    number: int
    observation: int
    policy: str
    view: View
    requests: tuple[Request, ...]
    error: str = ""
    """Set when the policy raised; its requests are then empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to an action.

    Attributes
    ----------
    status : str
        ``applied`` (done and read back), ``scheduled`` (put on the schedule),
        ``noted`` (nothing to execute), ``outbid`` (lost the arbitration, see
        `winner`), ``rejected`` (safety or capability, see `message`), ``expired``
        (deadline passed), ``failed`` (hardware), ``shadow`` or ``replay`` (this
        setting acts on nothing).
    readback : mapping of str to float or str
        What the devices said afterwards.
    t_ns : dict
        Run-clock times of ``checked``, ``applied``, ``verified``, as far as it got.
    command : int or None
        Number of the last hardware command it became (see `HardwareState.epoch`).
    """

    FINAL: ClassVar[tuple[str, ...]] = (
        "applied",
        "scheduled",
        "noted",
        "outbid",
        "rejected",
        "expired",
        "failed",
        "shadow",
        "replay",
    )

    action_id: str
    policy: str
    status: str
    message: str = ""
    winner: str = ""
    readback: Mapping[str, float | str] = field(default_factory=dict)
    t_ns: Mapping[str, int] = field(default_factory=dict)
    command: int | None = None
