"""No test reads or leaves anything in the folders of the user who runs them."""

from __future__ import annotations

import os
import tempfile

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="smartscope-tests-")
# Already at import: programs that tests start inherit it, whatever fixture they use.
os.environ["SMARTSCOPE_CACHE"] = os.path.join(_HOME.name, "cache")
os.environ["SMARTSCOPE_MODELS"] = os.path.join(_HOME.name, "models")


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing_behind():
    yield
    _HOME.cleanup()
