"""What a policy's file imports: a policy decides, and needs little for that."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.policies import Policy

_OURS = ("smartscope.core", "smartscope.policies")
_HARDWARE = ("pymmcore", "pymmcore_plus")
_LIBRARIES = ("pydantic", "annotated_types", "numpy")


def wrong_imports(policy: type[Policy], *, shipped: bool) -> Iterator[str]:
    """Say of each import what is wrong with it.

    Parameters
    ----------
    policy : type of Policy
    shipped : bool
        Of those that come with smartscope: the standard library, pydantic and numpy
        are all there is besides `smartscope.core` and `smartscope.policies`.
    """
    file = inspect.getsourcefile(policy)
    if file is None:
        yield "its source cannot be found, so nobody can see what a run used"
        return
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    for name, line in sorted(set(_imported(tree))):
        top = name.partition(".")[0]
        where = f"line {line} imports {name or 'from its own folder'}"
        if top == "smartscope" and not _within(name):
            yield f"{where}; a policy needs {' and '.join(_OURS)} only"
        elif top in _HARDWARE:
            yield f"{where}; a policy asks by its actions, and never the hardware"
        elif not top:
            yield f"{where}; a policy is one file"
        elif shipped and not _known(top):
            yield f"{where}, which smartscope does not bring along"


def _imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("" if node.level else node.module or ""), node.lineno


def _within(name: str) -> bool:
    return any(name == ours or name.startswith(f"{ours}.") for ours in _OURS)


def _known(top: str) -> bool:
    return top in (*_LIBRARIES, "smartscope") or top in sys.stdlib_module_names
