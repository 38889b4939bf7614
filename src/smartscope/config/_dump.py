"""Validated models to files that a person can read and that load again unchanged."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import useq
import yaml
from pydantic import BaseModel

from smartscope.config._experiment import Experiment, PolicyUse, StageUse
from smartscope.config._paths import exists, resolve
from smartscope.config._plan import Stream
from smartscope.config._rig import RigConfig, Specimen
from smartscope.config._useq import default_of, empty, plan_as_data
from smartscope.config._yaml import implicit_tag, plain_value

F = TypeVar("F", Experiment, RigConfig)


_FLOW_WIDTH = 68


class _Dumper(yaml.SafeDumper):
    """Lays plain values out as a person would.

    What fits on a line is written on one; texts are quoted where YAML 1.1 or our own
    reader would take them for something else.
    """

    def ignore_aliases(self, data: Any) -> bool:
        # A person does not write anchors for what happens to be equal.
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        style = None if plain_value(data) == data else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def represent_keys(self, data: dict[str, Any]) -> yaml.MappingNode:
        rows = [(self._key(k), self.represent_data(v)) for k, v in data.items()]
        flow = _on_a_line([node for row in rows for node in row])
        return yaml.MappingNode("tag:yaml.org,2002:map", rows, flow_style=flow)

    def represent_items(self, data: Any) -> yaml.SequenceNode:
        items = [self.represent_data(value) for value in data]
        flow = _on_a_line(items)
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=flow)

    def _key(self, key: str) -> yaml.Node:
        # Our reader takes every key for text, so `on` and 488 need no quotes.
        tag = implicit_tag(key)
        if tag.endswith((":bool", ":int")):
            return yaml.ScalarNode(tag, key)
        return self.represent_data(key)


def _on_a_line(nodes: list[yaml.Node]) -> bool:
    widths = [_width(node) for node in nodes]
    return sum(widths) + 2 * len(nodes) < _FLOW_WIDTH


def _width(node: yaml.Node) -> float:
    if isinstance(node, yaml.ScalarNode):
        return len(node.value)
    # Lists of numbers may stand on a line; what has keys of its own may not.
    if isinstance(node, yaml.SequenceNode) and node.flow_style:
        return 2 + sum(2 + _width(child) for child in node.value)
    return math.inf if node.value else 2


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(dict, _Dumper.represent_keys)
_Dumper.add_representer(list, _Dumper.represent_items)


def dump_yaml(model: Experiment | RigConfig) -> str:
    """Return the YAML of an experiment or a rig, defaults filled in.

    It loads again to an equal model; `source_file` is not part of it, so relative
    paths mean something else in another folder (see `with_absolute_paths`).
    """
    text, roomy = "", False
    for key, value in _model(model).items():
        # Block style at the top level, a blank line around each larger section.
        part = _write({key: value})
        was_roomy, roomy = roomy, part.count("\n") > 1
        text += f"\n{part}" if text and (roomy or was_roomy) else part
    return text


def _write(data: dict[str, Any]) -> str:
    stream = io.StringIO()
    dumper = _Dumper(stream, sort_keys=False, allow_unicode=True, width=88)
    node = dumper.represent_keys(data)
    node.flow_style = False
    dumper.open()
    dumper.serialize(node)
    dumper.close()
    return stream.getvalue()


def dump_experiment(experiment: Experiment, rig_name: str = "rig.yaml") -> str:
    """Return the YAML of an experiment for a run folder.

    Parameters
    ----------
    experiment : Experiment
        Policies that are files are named by their full paths.
    rig_name : str
        Name of the rig file that lies beside it.
    """
    moved = with_absolute_paths(experiment)
    return dump_yaml(moved.model_copy(update={"rig": Path(rig_name)}))


def with_absolute_paths(model: F) -> F:
    """Return a copy whose files are found from any folder.

    Files that do not exist, and shipped names, stay as they are written.
    """
    base = model.source_file

    def full(path: Path) -> Path:
        there = resolve(base, path)
        return there.resolve() if exists(there) else path

    if isinstance(model, Experiment):
        uses = [_use(policy, full) for policy in model.policies]
        return model.model_copy(
            update={"rig": full(model.rig), "policies": tuple(uses)}
        )
    update: dict[str, Any] = {}
    if model.micromanager is not None:
        opened = model.micromanager
        paths = tuple(full(path) for path in opened.adapter_paths)
        new: dict[str, Any] = {"adapter_paths": paths}
        if opened.config is not None:
            new["config"] = full(opened.config)
        update["micromanager"] = opened.model_copy(update=new)
    if model.recording is not None:
        new = {"path": full(model.recording.path)}
        update["recording"] = model.recording.model_copy(update=new)
    return model.model_copy(update=update)


def _use(policy: PolicyUse, full: Any) -> PolicyUse:
    # "my_policy.py:Class"; a drive letter is no class.
    match = re.fullmatch(r"(.+\.py)(:\w+)?", policy.use)
    if match is None:
        return policy
    path = full(Path(match[1])).as_posix() + (match[2] or "")
    # Its name stays what it was: decisions in a journal are found by it.
    return policy.model_copy(update={"use": path, "name": policy.called})


def _model(model: BaseModel) -> dict[str, Any]:
    data = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if not field.exclude and not (empty(value) and empty(default_of(field))):
            data[name] = _value(value)
    if isinstance(model, Specimen):
        data.update({k: _value(v) for k, v in model.parameters.items()})
    return data


def _value(value: Any) -> Any:
    if isinstance(value, useq.MDASequence):
        return plan_as_data(value)
    if isinstance(value, Stream):
        return {"stream": _model(value)}
    if isinstance(value, StageUse):
        return _stage(value)
    if isinstance(value, PolicyUse):
        return _policy(value)
    if isinstance(value, BaseModel):
        return _model(value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, dict):
        return {str(k): _value(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_value(v) for v in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _stage(stage: StageUse) -> Any:
    inner = {**_value(stage.parameters)}
    if stage.on:
        inner["on"] = dict(stage.on)
    return {stage.use: inner} if inner else stage.use


def _policy(policy: PolicyUse) -> dict[str, Any]:
    data: dict[str, Any] = {"use": policy.use}
    if policy.name:
        data["name"] = policy.name
    data["priority"] = policy.priority
    for key in ("positions", "phase"):
        if listed := getattr(policy, key):
            data[key] = list(listed)
    if policy.arm:
        data["arm"] = policy.arm
    if policy.lease_s is not None:
        data["lease_s"] = policy.lease_s
    if policy.rest_s:
        data["rest_s"] = policy.rest_s
    parameters = _value(policy.parameters)
    if parameters.keys() & PolicyUse.model_fields.keys():
        return {**data, "parameters": parameters}
    return {**data, **parameters}
