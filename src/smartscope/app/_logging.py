"""Logging: configured here and nowhere else.

Only smartscope's own logger gets a handler; the root logger stays as it is, and
`smartscope.rig` keeps pymmcore-plus from changing it.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["quiet_pymmcore", "start_logging"]


class _ToStderr(logging.Handler):
    """Writes to whatever is stderr now: the live screen moves it out of its way."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr)
        except OSError:
            self.handleError(record)


def start_logging(verbosity: int) -> None:
    """Log smartscope's warnings (0), progress (1) or everything (2) to stderr."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    ours = logging.getLogger("smartscope")
    ours.setLevel(level)
    for handler in list(ours.handlers):
        ours.removeHandler(handler)
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    ours.addHandler(handler)
    ours.propagate = False


def quiet_pymmcore() -> None:
    """Import pymmcore-plus without its logging; a command does it before all else."""
    # Whoever imports pymmcore-plus first decides whether it sets the root logger to
    # DEBUG and opens a log file of its own: the rig does it without.
    from smartscope.rig import import_quietly

    import_quietly()
