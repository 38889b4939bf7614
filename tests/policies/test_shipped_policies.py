from __future__ import annotations

import ast

import pytest

from smartscope.config import shipped

FILES = sorted(shipped("policies").glob("*.py"))
OURS = ("smartscope.core", "smartscope.policies")
LIBRARIES = (
    "__future__",
    "collections",
    "dataclasses",
    "math",
    "numpy",
    "pydantic",
    "statistics",
    "typing",
)


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_there_are_the_three():
    assert {"rate_switch", "follow_cell", "hold_signal"} <= {f.stem for f in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_policy_knows_core_and_policies_only(file):
    names = imported(ast.parse(file.read_text(encoding="utf-8")))
    assert names & set(OURS), "a policy without any of it is none"
    for name in names:
        assert name in OURS or name.split(".")[0] in LIBRARIES, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_policy_is_about_a_page(file):
    code = [
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith(('"""', "#"))
    ]
    assert len(code) < 200


def test_the_check_of_imports_sees_what_it_should():
    wrong = "import os.path\nfrom smartscope.rig import Rig\nfrom . import x\n"
    assert imported(ast.parse(wrong)) == {"os.path", "smartscope.rig", "."}
