"""How a run ended, in a word, a sentence and an exit code."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace

from smartscope.core import SmartscopeError

INTERRUPTED = 130
_BUG = 70


@dataclass(frozen=True, slots=True)
class Ending:
    """Outcome, message and exit code of a run, and the traceback of a bug of ours."""

    outcome: str
    message: str
    exit_code: int
    trace: str = ""

    @classmethod
    def failed(cls, error: BaseException) -> Ending:
        """End by an error; what is not ours is a bug and says so."""
        if isinstance(error, SmartscopeError):
            return cls("failed", str(error), error.exit_code)
        if isinstance(error, KeyboardInterrupt):
            return cls("stopped", "interrupted", INTERRUPTED)
        trace = "".join(traceback.format_exception(error))
        return cls("failed", f"{type(error).__name__}: {error}", _BUG, trace)

    def after(self, error: SmartscopeError) -> Ending:
        """Fail with `error`, which came when the run itself was over."""
        return Ending(
            "failed", f"{error} (the run itself: {self.message})", error.exit_code
        )

    def with_light(self, failures: tuple[str, ...]) -> Ending:
        """Add what of the safe state could not be had."""
        if not failures:
            return self
        return replace(
            self,
            outcome="failed",
            message=f"{self.message}; THE LIGHT MAY STILL BE ON: {'; '.join(failures)}",
            exit_code=self.exit_code or 3,
        )
