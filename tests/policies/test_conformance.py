"""Every policy that ships keeps to the rules of all policies."""

from __future__ import annotations

import pytest
import yaml

from smartscope.config import PolicyUse, shipped
from smartscope.policies import list_shipped
from smartscope.testing import check_policy

# Kinds of action with which a policy asks for nothing of the microscope.
IDLE = {"Nothing", "Mark"}


# What asks for nothing unless it is told to, and is used by no demo.
SET = {"fixed_rate": {"interval_s": 2.0}}


def parameters(name):
    """What the first shipped experiment that uses it sets."""
    for file in sorted(shipped("demo_configs").rglob("*.yaml")):
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
        for raw in read.get("policies") or ():
            use = PolicyUse.model_validate(raw)
            if use.use == name:
                return use.parameters
    return SET.get(name, {})


@pytest.mark.parametrize("name", list_shipped())
def test_it_keeps_to_the_rules(name):
    found = check_policy(name, parameters(name))
    assert not found.faults, f"\n{found}"
    assert set(found.acted) - IDLE, "no story made it act"


def test_the_policy_beside_a_demo_keeps_to_the_rules():
    file = shipped("demo_configs") / "burst_when.py"
    found = check_policy(file, {"measure": "signal_to_noise", "above": 0.1})
    assert not found.faults, f"\n{found}"
    assert "Acquire" in found.acted


def test_the_parameters_are_those_of_a_demo():
    assert parameters("hold_signal")["target"] == 100
    assert parameters("no_such_policy") == {}
