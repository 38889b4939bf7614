from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from smartscope.config import Experiment, PolicyUse, RigConfig, shipped
from smartscope.core import ConfigError, View
from smartscope.policies import (
    Policy,
    PolicyContext,
    _loader,
    describe,
    filled_needs,
    list_shipped,
    load_policy_class,
    make_policies,
    make_policy,
    source_hash,
)

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
from __future__ import annotations
from smartscope.core import Mark
from smartscope.policies import Policy

class Remark(Policy):
    '''Say something.'''

    text: str = "hello"
    '''What it says.'''
    every_s: float = 1.0

    def react(self, seen):
        yield Mark(reason=self.text)
"""
CONTEXT = PolicyContext(
    roles=frozenset({"stage", "affine", "focus", "light"}), lines={"488": 60.0}
)


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_every_shipped_policy_loads_by_name():
    assert set(list_shipped()) >= {"follow_cell", "hold_signal", "rate_switch"}
    for name in list_shipped():
        assert issubclass(load_policy_class(name), Policy)


def test_a_file_relative_to_the_experiment(tmp_path, monkeypatch):
    write(tmp_path, GOOD)
    monkeypatch.chdir(shipped("policies"))
    assert load_policy_class("mine.py", tmp_path).__name__ == "Remark"
    assert load_policy_class("mine.py:Remark", tmp_path).__name__ == "Remark"
    assert load_policy_class(str(tmp_path / "mine.py")).__name__ == "Remark"


def test_a_file_is_loaded_once_and_again_when_it_changed(tmp_path):
    write(tmp_path, GOOD)
    first = load_policy_class("mine.py", tmp_path)
    assert load_policy_class("mine.py", tmp_path) is first
    write(tmp_path, GOOD.replace("hello", "good day"))
    second = load_policy_class("mine.py", tmp_path)
    assert (first().text, second().text) == ("hello", "good day")


def test_a_file_is_read_as_it_is_written(tmp_path):
    # Without the __future__ line annotations are objects, as anywhere else.
    write(tmp_path, GOOD.replace("from __future__ import annotations", ""))
    remark = load_policy_class("mine.py", tmp_path)
    assert remark.__annotations__["text"] is str


def test_loading_leaves_nothing_beside_the_file(tmp_path):
    write(tmp_path, GOOD)
    load_policy_class("mine.py", tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.py"]


def test_the_hash_is_that_of_the_file_whatever_its_line_ends(tmp_path):
    write(tmp_path, GOOD)
    windows = tmp_path / "windows.py"
    windows.write_bytes(GOOD.replace("\n", "\r\n").encode())
    one, two = (load_policy_class(f, tmp_path) for f in ("mine.py", "windows.py"))
    assert source_hash(one) == source_hash(two)
    write(tmp_path, GOOD + "# more\n", "more.py")
    assert source_hash(load_policy_class("more.py", tmp_path)) != source_hash(one)


LIST = "'smartscope policies list' shows all"


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (
            "rate_swich",
            "there is no policy 'rate_swich'; did you mean 'rate_switch'? " + LIST,
        ),
        ("quite_other", "there is no policy 'quite_other'; " + LIST),
        ("mane.py", "there is no policy file 'mane.py'; did you mean 'mine.py'?"),
        (
            "nowhere.py",
            "there is no policy file 'nowhere.py'; give a path relative to the "
            "experiment, or a name; " + LIST,
        ),
    ],
)
def test_nothing_of_that_name(use, said, tmp_path):
    write(tmp_path, GOOD)
    assert refusal(load_policy_class, use, tmp_path) == said


BAD = {
    "syntax": (
        "x = 1\ndef react(:\n",
        "{file}, line 2: this is not Python (invalid syntax); correct it there or "
        "just above",
    ),
    "missing package": (
        "import no_such_package_here\n",
        "{file}, line 1: it needs the package 'no_such_package_here', which is not "
        "installed; install it ('pip install no_such_package_here'), or correct the "
        "import",
    ),
    "wrong name": (
        "\nfrom smartscope.policies import Polizy\n",
        "{file}, line 2: the policy file fails when it is loaded (ImportError: cannot "
        "import name 'Polizy' from 'smartscope.policies' (",
    ),
    "raises": (
        "def f():\n    1 / 0\nf()\n",
        "{file}, line 2: the policy file fails when it is loaded (ZeroDivisionError: "
        "division by zero); correct it there",
    ),
    "no policy": (
        "from smartscope.policies import Policy, Hysteresis\n",
        "{file}: the file holds no policy; write a class that derives from "
        "smartscope.policies.Policy",
    ),
    "two policies": (
        GOOD + "\nclass Other(Remark):\n    pass\n",
        "{file}: the file holds several policies (Remark, Other); say which one: use: "
        "mine.py:Remark",
    ),
    "no react": (
        "from smartscope.policies import Policy\nclass Lazy(Policy):\n    pass\n",
        "{file}: the policy Lazy has no method 'react'; write 'def react(self, seen):' "
        "that yields actions",
    ),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_policy(text, said, tmp_path):
    file = write(tmp_path, text)
    found = refusal(load_policy_class, "mine.py", tmp_path)
    said = said.format(file=file.resolve())
    assert found.startswith(said) if said.endswith("(") else found == said


def test_a_file_that_failed_is_tried_again(tmp_path):
    needy = "from pathlib import Path\nassert (Path(__file__).parent / 'x').exists()\n"
    write(tmp_path, GOOD + needy)
    assert "AssertionError" in refusal(load_policy_class, "mine.py", tmp_path)
    (tmp_path / "x").touch()
    # The same content, but now it can be loaded.
    assert load_policy_class("mine.py", tmp_path).__name__ == "Remark"


def test_a_class_that_the_file_has_not(tmp_path):
    file = write(tmp_path, GOOD)
    assert refusal(load_policy_class, "mine.py:Remarks", tmp_path) == (
        f"{file.resolve()}: the file holds no policy Remarks; it holds: Remark"
    )


def test_the_one_of_two_that_is_named(tmp_path):
    write(tmp_path, GOOD + "\nclass Other(Remark):\n    pass\n")
    assert load_policy_class("mine.py:Other", tmp_path).__name__ == "Other"


class Installed(Policy):
    """Comes with some package."""

    def react(self, seen):
        return ()


def offer(monkeypatch, *points):
    monkeypatch.setattr(_loader, "entry_points", lambda group: points)


def test_an_installed_policy(monkeypatch):
    offer(
        monkeypatch,
        EntryPoint("theirs", f"{__name__}:Installed", _loader.GROUP),
        EntryPoint("rate_switch", f"{__name__}:Installed", _loader.GROUP),
    )
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    assert load_policy_class("theirs") is Installed
    assert load_policy_class("rate_switch") is not Installed, "shipped names are ours"
    assert "did you mean 'theirs'?" in refusal(load_policy_class, "their")


def test_an_installed_policy_that_is_broken(monkeypatch):
    offer(
        monkeypatch,
        EntryPoint("gone", "no_such_package_here:Policy", _loader.GROUP),
        EntryPoint("no_class", "math:pi", _loader.GROUP),
    )
    assert refusal(load_policy_class, "gone") == (
        "policy 'gone' of package no_such_package_here cannot be loaded "
        "(ModuleNotFoundError: No module named 'no_such_package_here'); repair or "
        "reinstall no_such_package_here"
    )
    assert refusal(load_policy_class, "no_class") == (
        "policy 'no_class' of package math is no policy class; report it to the "
        "authors of math"
    )


# ------------------------------------------------------------------------- making


def make(*uses, roles=None, **kwargs):
    context = CONTEXT
    if roles is not None:
        context = PolicyContext(roles=frozenset(roles), lines=CONTEXT.lines)
    given = [PolicyUse.model_validate(use) for use in uses]
    return make_policies(given, context=context, **kwargs)


SHOW = "'smartscope policies show rate_switch' lists its parameters"


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (
            {"use": "rate_switch", "fast_intervall_s": 1},
            "policies[0].fast_intervall_s: rate_switch has no parameter "
            "'fast_intervall_s'; did you mean 'fast_interval_s'? " + SHOW,
        ),
        (
            {"use": "rate_switch", "fast_interval_s": -1},
            "policies[0].fast_interval_s: rate_switch got -1, it should be greater "
            "than 0; correct it; " + SHOW,
        ),
        (
            {"use": "rate_switch", "fast_interval_s": "soon"},
            "policies[0].fast_interval_s: rate_switch got 'soon', it should be a valid "
            "number, unable to parse string as a number; correct it; " + SHOW,
        ),
        (
            {"use": "rate_switch", "on_score": 0.1},
            "policies[0]: rate_switch: off_score must not be above on_score; correct "
            "it; " + SHOW,
        ),
        (
            {"use": "hold_signal", "line": "488"},
            "policies[0].target: hold_signal needs 'target'; add it; "
            + SHOW.replace("rate_switch", "hold_signal"),
        ),
        (
            {"use": "hold_signal", "line": 561, "target": 5},
            "policies[0].line: the rig has no light line 561; known are: 488",
        ),
        (
            {"use": "rate_swich"},
            "policies[0].use: there is no policy 'rate_swich'; did you mean "
            "'rate_switch'? " + LIST,
        ),
    ],
)
def test_wrong_parameters(use, said):
    assert refusal(make, use) == said


def test_the_second_policy_is_named_as_such():
    said = refusal(make, {"use": "rate_switch"}, {"use": "rate_switch", "oops": 1})
    assert said.startswith("policies[1].oops: ")


def test_the_error_gets_file_and_line(tmp_path):
    file = write(
        tmp_path,
        "name: x\nrig: rig.yaml\nacquisition: {channels: [FITC]}\npolicies:\n"
        "  - use: rate_switch\n    fast_intervall_s: 1\n",
        "mine.yaml",
    )
    experiment = Experiment.load(file)
    said = refusal(
        make_policies,
        experiment.policies,
        context=CONTEXT,
        located=experiment.located,
    )
    assert said.startswith(f"{file}, line 6: policies[0].fast_intervall_s: ")


def test_two_of_the_same_name():
    assert refusal(make, {"use": "rate_switch"}, {"use": "rate_switch"}) == (
        "policies[1].name: two policies are called 'rate_switch'; give each a 'name' "
        "of its own"
    )
    assert [
        f.name for f in make("rate_switch", {"use": "rate_switch", "name": "b"})
    ] == [
        "rate_switch",
        "b",
    ]


@pytest.mark.parametrize(
    ("roles", "need"),
    [
        ((), "an xy stage (roles.stage)"),
        (
            ("stage",),
            "a calibrated affine, to move by what the image shows "
            "(calibration.*.affine; 'smartscope calibrate' measures it)",
        ),
    ],
)
def test_what_the_rig_lacks(roles, need):
    assert refusal(make, "follow_cell", roles=roles, rig_file="rig.yaml") == (
        f"policies[0].use: follow_cell needs {need}, which rig.yaml does not give; add "
        "it to the rig file, or remove the policy"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "    priority: int = 3",
            "policies[0].use: mine.py has a parameter 'priority', which no experiment "
            "can set; rename the field in the policy's file",
        ),
        (
            "    requires = ('laser',)",
            "policies[0].use: mine.py requires 'laser', which no rig gives; a policy "
            "may require: stage, affine, focus, light, slm, plan",
        ),
        (
            "    per = 'cell'",
            "policies[0].use: mine.py is per 'cell'; write per = 'position' or per = "
            "'run' in the policy's file",
        ),
    ],
)
def test_a_policy_that_no_experiment_could_use(line, said, tmp_path):
    text = GOOD.replace("    text: str", f"{line}\n    text: str")
    write(tmp_path, text)
    assert refusal(make, "mine.py", base_dir=tmp_path) == said


def test_instances_do_not_share_anything(tmp_path):
    write(tmp_path, GOOD)
    (factory,) = make(
        {"use": "mine.py", "text": "hi", "positions": [1]}, base_dir=tmp_path
    )
    one, two = (factory.make(View(p, "Camera")) for p in (1, 2))
    one.text = "changed"
    assert two.text == "hi"
    assert (one.context.view, two.context.view) == (
        View(1, "Camera"),
        View(2, "Camera"),
    )
    assert one.context.name == two.context.name == "mine.py"
    assert factory.parameters == {"text": "hi", "every_s": 1.0}
    assert factory.looks_at(View(1, "Camera"))
    assert not factory.looks_at(View(0, "Camera"))
    assert factory.per == "position"
    assert factory.source_hash == source_hash(type(one))


def test_make_one_policy():
    view = View(3, "Camera")
    made = make_policy(PolicyUse(use="rate_switch"), CONTEXT.named("x", view))
    assert made.context.view == view
    assert made.context.name == "rate_switch"


def test_describe(tmp_path):
    write(tmp_path, GOOD)
    info = describe(load_policy_class("mine.py", tmp_path))
    assert (info.name, info.headline, info.per) == (
        "Remark",
        "Say something.",
        "position",
    )
    text, every = info.parameters
    assert (text.name, text.kind, text.default, text.doc) == (
        "text",
        "text",
        "hello",
        "What it says.",
    )
    assert (every.kind, every.unit, every.required) == ("number", "s", False)
    assert info.source == str((tmp_path / "mine.py").resolve())


@pytest.mark.parametrize("name", list_shipped())
def test_every_shipped_parameter_is_documented(name):
    info = describe(load_policy_class(name))
    assert "http" in info.doc, "the published method is named"
    assert info.parameters
    for parameter in info.parameters:
        assert parameter.doc, f"{name}.{parameter.name}"
        assert parameter.kind


@pytest.mark.parametrize(
    ("parameter", "kind", "unit"),
    [
        ("max_step_um", "number above 0", "um"),
        ("gain", "number above 0 and at most 1", ""),
        ("track_id", "whole number above 0 or nothing", ""),
        ("pick", "centre or brightest", ""),
        ("lead_s", "number at least 0", "s"),
        ("brightness", "text", ""),
    ],
)
def test_kinds_in_words(parameter, kind, unit):
    info = describe(load_policy_class("follow_cell"))
    (found,) = (p for p in info.parameters if p.name == parameter)
    assert (found.kind, found.unit) == (kind, unit)


MM = {"micromanager": {"config": "x.cfg"}}
AFFINE = {"10x": {"pixel_um": 1, "affine": [[1, 0], [0, 1]]}, "20x": {"pixel_um": 0.5}}
SLM = {
    **MM,
    "roles": {"camera": "C", "slm": "S"},
    "light": {488: {"power": ["L", "V"]}},
    "slm": {"line": 488, "calibration": {"10x": [[1, 0, 0], [0, 1, 0]]}},
}


@pytest.mark.parametrize(
    ("rig", "objective", "needs"),
    [
        ({**MM, "roles": {"camera": "C"}}, None, set()),
        (
            {**MM, "roles": {"camera": "C", "stage": "XY", "focus": "Z", "slm": "S"}},
            None,
            {"stage", "focus"},
        ),
        (SLM, None, {"light", "slm"}),
        (SLM, "10x", {"light", "slm"}),
        (SLM, "20x", {"light"}),
        (
            {**MM, "roles": {"camera": "C"}, "calibration": AFFINE},
            "10x",
            {"affine"},
        ),
        ({**MM, "roles": {"camera": "C"}, "calibration": AFFINE}, "20x", set()),
        ({**MM, "roles": {"camera": "C"}, "calibration": AFFINE}, None, {"affine"}),
        (
            {**MM, "roles": {"camera": "C"}, "light": {488: {"power": ["L", "V"]}}},
            None,
            {"light"},
        ),
        ({"recording": {"path": "x.tif"}}, None, set()),
        ({"recording": {"path": "x.tif", "mosaic": True}}, None, {"stage", "affine"}),
    ],
)
def test_what_a_rig_gives(rig, objective, needs):
    config = RigConfig.model_validate({"name": "rig", **rig})
    assert filled_needs(config, objective) == needs
