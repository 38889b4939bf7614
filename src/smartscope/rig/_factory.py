"""Cores that somebody else's function makes: third-party virtual microscopes."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from smartscope.core import ConfigError
from smartscope.rig._mmcore import CMMCorePlus, file_of, making_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smartscope.config import RigConfig

_FIELD = "micromanager.factory"


def find_factory(config: RigConfig, name: str, base_dir: Path) -> Callable[[], Any]:
    """Import ``module:function``; modules beside the rig file are found as well.

    Raises
    ------
    ConfigError
        If there is no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    folder = str(base_dir.resolve())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        # Anybody's module is run here, and may fail in any way.
        raise _refused(
            config,
            f"the module '{module_name}' cannot be imported ({_words(error)})",
            "install its package, or put the module beside the rig file",
        ) from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise _refused(
            config,
            f"the module '{module_name}' has no function '{function_name}'",
            "write 'module:function'; the function takes no arguments and returns a "
            "CMMCorePlus",
        )
    made: Callable[[], Any] = function
    return made


def call_factory(config: RigConfig, name: str, base_dir: Path) -> CMMCorePlus:
    """Make the core; from now on it is ours, like one we made ourselves.

    Raises
    ------
    ConfigError
        If the function fails, or returns something else.
    """
    factory = find_factory(config, name, base_dir)
    try:
        with making_cores():
            core = factory()
    except Exception as error:
        raise _refused(
            config, f"{name} failed ({_words(error)})", "call it in a Python of its own"
        ) from error
    if not isinstance(core, CMMCorePlus):
        raise _refused(
            config,
            f"{name} returned a {type(core).__name__}",
            "return a pymmcore_plus.CMMCorePlus with its devices loaded",
        )
    return core


def _refused(config: RigConfig, problem: str, fix: str) -> ConfigError:
    return ConfigError(problem, file=file_of(config), field=_FIELD, fix=fix)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
