"""The loop: schedule, engine, policy host, arbitration, controller.

The engine acquires on one thread and publishes frames; the controller sees and
decides on another and knows no engine, so a recording runs through the same loop.
"""

from smartscope.control._actor import Actor, LiveActions, PlanActions, outcome_of
from smartscope.control._arbiter import Verdict, arbitrate
from smartscope.control._controller import Controller, Records, RunState
from smartscope.control._engine import Engine, Hooks
from smartscope.control._host import PolicyHost, same_decision
from smartscope.control._inbox import Inbox
from smartscope.control._lights import LightPlan
from smartscope.control._monitor import Monitor, MonitorState
from smartscope.control._planned import Fields, Planned, Released, read_baseline
from smartscope.control._schedule import Schedule
from smartscope.control._stream import StreamControl, Streamer

__all__ = [
    "Actor",
    "Controller",
    "Engine",
    "Fields",
    "Hooks",
    "Inbox",
    "LightPlan",
    "LiveActions",
    "Monitor",
    "MonitorState",
    "PlanActions",
    "Planned",
    "PolicyHost",
    "Records",
    "Released",
    "RunState",
    "Schedule",
    "StreamControl",
    "Streamer",
    "Verdict",
    "arbitrate",
    "outcome_of",
    "read_baseline",
    "same_decision",
]
