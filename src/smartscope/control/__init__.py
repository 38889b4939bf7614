"""The loop: schedule, engine, policy host, arbitration, controller.

The engine acquires on one thread and publishes frames; the controller sees and
decides on another and knows no engine, so a recording runs through the same loop.
"""

from smartscope.control._actor import Actor, LiveActions, PlanActions
from smartscope.control._answers import same_decision
from smartscope.control._arbiter import Arbiter, Ruling, Terms, Verdict
from smartscope.control._controller import Controller, Records, RunState
from smartscope.control._engine import Engine, Hooks
from smartscope.control._follow_up import FollowUp
from smartscope.control._host import PolicyHost, Undone
from smartscope.control._lights import LightPlan
from smartscope.control._monitor import Monitor, MonitorState
from smartscope.control._outcome import outcome_of
from smartscope.control._phases import PhaseChange, PhaseClock
from smartscope.control._planned import Fields, Planned, Released, read_baseline
from smartscope.control._reload import Reload
from smartscope.control._schedule import Schedule
from smartscope.control._stream import StreamControl
from smartscope.control._streamer import Streamer
from smartscope.control._subscription import LATEST, Appetite, Hub, Subscription

__all__ = [
    "LATEST",
    "Actor",
    "Appetite",
    "Arbiter",
    "Controller",
    "Engine",
    "Fields",
    "FollowUp",
    "Hooks",
    "Hub",
    "LightPlan",
    "LiveActions",
    "Monitor",
    "MonitorState",
    "PhaseChange",
    "PhaseClock",
    "PlanActions",
    "Planned",
    "PolicyHost",
    "Records",
    "Released",
    "Reload",
    "Ruling",
    "RunState",
    "Schedule",
    "StreamControl",
    "Streamer",
    "Subscription",
    "Terms",
    "Undone",
    "Verdict",
    "outcome_of",
    "read_baseline",
    "same_decision",
]
