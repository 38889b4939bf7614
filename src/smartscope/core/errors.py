"""Errors, one small tree.

Every message is a sentence for a person: what is wrong, where, and what to do.
The command line prints the message alone and exits with `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar


class SmartscopeError(Exception):
    """Base of every error smartscope raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(SmartscopeError):
    """A file or argument the user can correct. Exit code 2.

    Parameters
    ----------
    problem : str
        What is wrong, without the place.
    file : str
        The file the user wrote, as the user named it ("" when not from a file).
    field : str
        Dotted field in that file, for example ``acquisition.time_plan.interval``.
    line : int or None
        One-based line in the file, when known.
    fix : str
        What to do about it, an imperative clause.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        field: str = "",
        line: int | None = None,
        fix: str = "",
    ) -> None:
        self.problem = problem
        self.file = file
        self.field = field
        self.line = line
        self.fix = fix
        where = file
        if file and line is not None:
            where += f", line {line}"
        parts = [part for part in (where, field, problem) if part]
        text = ": ".join(parts)
        super().__init__(f"{text}; {fix}" if fix else text)


class HardwareError(SmartscopeError):
    """A device refused, did not arrive, or reads back something else. Exit code 3.

    Parameters
    ----------
    problem : str
        What happened, with the wanted and the found value.
    device : str
        Label of the device in the Micro-Manager configuration.
    """

    exit_code = 3

    def __init__(self, problem: str, *, device: str = "") -> None:
        self.device = device
        super().__init__(f"{device}: {problem}" if device else problem)


class SafetyError(SmartscopeError):
    """A limit, a budget or an interlock forbids it. Exit code 4."""

    exit_code = 4


class StreamError(SmartscopeError):
    """Frames stopped, changed shape or were lost beyond what was allowed. Exit 5."""

    exit_code = 5


class RecordError(SmartscopeError):
    """The run could not be written or read. Exit code 6."""

    exit_code = 6


class ModelError(SmartscopeError):
    """A model package or its runtime is unusable. Exit code 7."""

    exit_code = 7


class PolicyError(SmartscopeError):
    """A policy or a vision stage raised or returned what is no action. Exit code 8."""

    exit_code = 8


class ReplayMismatch(SmartscopeError):
    """A replay decided something else than the run did. Exit code 9."""

    exit_code = 9
