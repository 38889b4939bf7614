"""How a microscope reacts: the policy protocol, helpers for authors, and the loader.

A policy is a pydantic model whose fields are its parameters and whose `react` answers
one observation with actions. It imports from `smartscope.core` and
`smartscope.policies` only.
"""

from smartscope.policies._describe import ParameterInfo, PolicyInfo, describe
from smartscope.policies._helpers import (
    Cooldown,
    Debounce,
    Hysteresis,
    RateLimiter,
    TrackMemory,
)
from smartscope.policies._loader import (
    list_installed,
    list_shipped,
    load_policy_class,
    source_hash,
)
from smartscope.policies._make import (
    PolicyFactory,
    filled_needs,
    make_policies,
    make_policy,
)
from smartscope.policies._own_actions import OwnActions
from smartscope.policies._policy import NEEDS, Policy, PolicyContext

__all__ = [
    "NEEDS",
    "Cooldown",
    "Debounce",
    "Hysteresis",
    "OwnActions",
    "ParameterInfo",
    "Policy",
    "PolicyContext",
    "PolicyFactory",
    "PolicyInfo",
    "RateLimiter",
    "TrackMemory",
    "describe",
    "filled_needs",
    "list_installed",
    "list_shipped",
    "load_policy_class",
    "make_policies",
    "make_policy",
    "source_hash",
]
