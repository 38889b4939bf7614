"""What is never done to a sample or a microscope: limits, light dose, interlocks.

Pure logic: no hardware, no threads of its own, no clock. `Guard` checks every plan
before a run and every event and action before it happens, `DoseLedger` keeps account
of the light, `Interlocks` are the named conditions that block a run.
"""

from smartscope.safety._budget import Verdict, budget_verdict
from smartscope.safety._dose import Dose
from smartscope.safety._guard import Guard
from smartscope.safety._interlocks import INTERLOCKS, Interlocks
from smartscope.safety._ledger import DoseLedger
from smartscope.safety._light import channel_powers, mw_to_percent, percent_to_mw
from smartscope.safety._limits import merge_limits
from smartscope.safety._rate import RateLimit

__all__ = [
    "INTERLOCKS",
    "Dose",
    "DoseLedger",
    "Guard",
    "Interlocks",
    "RateLimit",
    "Verdict",
    "budget_verdict",
    "channel_powers",
    "merge_limits",
    "mw_to_percent",
    "percent_to_mw",
]
