"""Imports pymmcore-plus without its side effects; import this before it.

pymmcore-plus sets the root logger to DEBUG and opens a DEBUG log file in the user's
data folder as soon as it is imported. In 0.18.1 ``PYMM_LOG_FILE=0`` does not prevent
the file, only ``PYTEST_RUNNING`` does, so that is set for the moment of the import.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

_LOG_SWITCH = "PYTEST_RUNNING"
_NO_FILE = ("", "0", "false", "no", "none")


def import_quietly() -> None:
    """Import pymmcore_plus; keep the root log level, write no log file.

    Does nothing when somebody else imported it before. A user who names a log file in
    ``PYMM_LOG_FILE`` gets it.
    """
    if "pymmcore_plus" in sys.modules:
        return
    root = logging.getLogger()
    level = root.level
    wants_file = os.environ.get("PYMM_LOG_FILE", "").lower() not in _NO_FILE
    switched = not wants_file and _LOG_SWITCH not in os.environ
    if switched:
        os.environ[_LOG_SWITCH] = "1"
    try:
        importlib.import_module("pymmcore_plus")
    finally:
        root.setLevel(level)
        if switched:
            del os.environ[_LOG_SWITCH]


import_quietly()
