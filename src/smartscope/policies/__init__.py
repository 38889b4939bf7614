"""How a microscope reacts: the policy protocol, helpers for authors, and the loader.

A policy is a pydantic model whose fields are its parameters and whose `react` answers
one observation with actions. It imports from `smartscope.core` and
`smartscope.policies` only.
"""

from smartscope.policies._describe import ParameterInfo, PolicyInfo, describe
from smartscope.policies._helpers_forecast import Forecast
from smartscope.policies._helpers_gates import (
    Cooldown,
    Debounce,
    Hysteresis,
    RateLimiter,
)
from smartscope.policies._helpers_loops import PID, BangBang
from smartscope.policies._helpers_outline import edge_um, outline_px, to_pixels
from smartscope.policies._helpers_region import region_around
from smartscope.policies._helpers_tracks import TrackDebounce, TrackMemory, pick
from smartscope.policies._loader import (
    list_installed,
    list_shipped,
    load_policy_class,
    policy_file,
    policy_from_source,
    source_file,
    source_hash,
    source_of,
)
from smartscope.policies._make import (
    PolicyFactory,
    filled_needs,
    make_policies,
    make_policy,
    remake,
)
from smartscope.policies._own_actions import OwnActions
from smartscope.policies._places import draw_arms
from smartscope.policies._policy import NEEDS, Policy, PolicyContext

__all__ = [
    "NEEDS",
    "PID",
    "BangBang",
    "Cooldown",
    "Debounce",
    "Forecast",
    "Hysteresis",
    "OwnActions",
    "ParameterInfo",
    "Policy",
    "PolicyContext",
    "PolicyFactory",
    "PolicyInfo",
    "RateLimiter",
    "TrackDebounce",
    "TrackMemory",
    "describe",
    "draw_arms",
    "edge_um",
    "filled_needs",
    "list_installed",
    "list_shipped",
    "load_policy_class",
    "make_policies",
    "make_policy",
    "outline_px",
    "pick",
    "policy_file",
    "policy_from_source",
    "region_around",
    "remake",
    "source_file",
    "source_hash",
    "source_of",
    "to_pixels",
]
