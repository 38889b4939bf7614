"""YAML files read safely, with the line of every key and item.

The rules are those of YAML 1.2 where YAML 1.1 surprises microscopists: ``on``, ``off``,
``yes`` and ``no`` are text (device properties are called so, and so is the `on:` of a
vision stage), ``1e3`` is a number, ``010`` is ten, dates are text. ``0:05:00`` stays
300 seconds, as useq reads it. Keys are always text, so a light line may be written 488.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Loc = tuple[str | int, ...]
"""Where a value is: keys of mappings and 0-based indices of lists."""

_MAX_BYTES = 4_000_000
_MAX_VALUES = 200_000
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_MINUTES = re.compile(
    r"[-+]?[1-9][0-9]*(:[0-5]?[0-9])+|[-+]?[0-9]+(:[0-5]?[0-9])+\.[0-9]*"
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NULL = re.compile(r"~|null|Null|NULL|")
_RESOLVER = yaml.resolver.Resolver()


def dotted(loc: Loc) -> str:
    """Return `loc` as a person writes it, ``channels[0].config``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def undotted(text: str) -> Loc:
    """Return the keys and indices of a dotted field; inverse of `dotted`."""
    # Only what stands in brackets is an index: a light line is called 488.
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", text)
    return tuple(int(index) if index else name for index, name in parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document.

    Attributes
    ----------
    loc : tuple
        Where, in the document as written.
    text, fix : str
        What is wrong, and what to do about it.
    missing : str
        Name of the key that is missing, if that is the problem.
    unknown : bool
        The last part of `loc` is a key that should not be there.
    """

    loc: Loc
    text: str
    fix: str = ""
    missing: str = ""
    unknown: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Plain data with the places it was read from.

    Data that was given in Python has neither file nor lines.

    Attributes
    ----------
    data : dict, list, str, int, float, bool or None
        What the file says, all keys as text.
    path : path or None
        The file.
    lines : mapping of location to int
        1-based line of each key and item.
    """

    data: Any = None
    path: Path | None = None
    lines: Mapping[Loc, int] = field(default_factory=dict)

    # Where a model was read from is no part of what it says.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Document)

    def __hash__(self) -> int:
        return hash(Document)

    @property
    def file(self) -> str:
        """Name of the file as the user gave it, "" when there is none."""
        return "" if self.path is None else str(self.path)

    def locate(self, loc: Loc) -> Loc:
        """Find where the document says what a model calls `loc`.

        Model names that the document does not spell out are left out: the members of
        a union, and ``use`` and ``parameters`` of stages and policies.
        """
        here, found = self.data, []
        for part in loc:
            if isinstance(here, list) and str(part).isdigit():
                part = int(part)  # "policies.0" for "policies[0]"
            if _has(here, part):
                found.append(part)
                here = here[part]
            elif isinstance(here, dict) and len(here) == 1 and len(found) == 2:
                # A vision stage is written {name: {its keys}}.
                (name, inner), *_ = here.items()
                if found[0] != "vision":
                    continue
                found.append(name)
                here = inner
                if _has(here, part):
                    found.append(part)
                    here = here[part]
        return tuple(found)

    def line(self, loc: Loc) -> int | None:
        """Line of the innermost part of `loc` that the document has."""
        found = self.locate(loc)
        for end in range(len(found), 0, -1):
            if found[:end] in self.lines:
                return self.lines[found[:end]]
        return None

    def error(self, problem: Problem, more: int = 0) -> ConfigError:
        """Make the error of `problem`, saying how many `more` there are."""
        fix = " ".join(problem.fix.split())
        if more:
            others = "1 more problem" if more == 1 else f"{more} more problems"
            fix = f"{fix} ({others} after this one)" if fix else f"({others})"
        shown = self.locate(problem.loc) or problem.loc
        return ConfigError(
            " ".join(problem.text.split()),
            file=self.file,
            field=dotted(shown[:-1] if problem.unknown else shown),
            line=self.line(problem.loc),
            fix=fix,
        )

    def raise_first(self, problems: list[Problem]) -> None:
        """Raise the first problem in the order of the file, if there is any."""
        if problems:
            first = min(problems, key=lambda p: self.line(p.loc) or 0)
            raise self.error(first, more=len(problems) - 1)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(data, list | tuple) and 0 <= part < len(data)
    return isinstance(data, dict) and part in data


def read_text(path: Path) -> str:
    """Return the text of a small UTF-8 file, with or without a byte order mark.

    Raises
    ------
    ConfigError
        If there is no such file, it is a folder, too large, locked or not UTF-8.
    """
    file = str(path)
    try:
        if path.is_dir():
            raise ConfigError("this is a folder", file=file, fix="name a file in it")
        if path.exists() and not path.is_file():
            raise ConfigError("no ordinary file", file=file, fix="name a text file")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ConfigError(
                f"{size / 1e6:.0f} MB is too much for a file of settings",
                file=file,
                fix="check that this is the file you mean",
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", file=file, fix="check its name") from None
    except UnicodeDecodeError:
        raise ConfigError(
            "this is not UTF-8 text", file=file, fix="save it as UTF-8 in your editor"
        ) from None
    except PermissionError:
        raise ConfigError(
            "you may not read this file",
            file=file,
            fix="change its permissions, or close the program that locks it",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"the file cannot be read ({reason})", file=file, fix="check its name"
        ) from None


def read_document(path: Path) -> Document:
    """Read a YAML (or ``.json``) file whose top level is a mapping.

    Raises
    ------
    ConfigError
        If it cannot be read, is no valid YAML, has a key twice, or is no mapping.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        return Document(_json(text, path), path)
    reader = _Reader(path)
    data = reader.read(text)
    if data is None:
        raise ConfigError(
            "the file is empty", file=str(path), fix="write 'key: value' lines"
        )
    if not isinstance(data, dict):
        raise ConfigError(
            "the top level is not a mapping",
            file=str(path),
            line=1,
            fix="write 'key: value' lines",
        )
    return Document(data, path, reader.lines)


def _json(text: str, path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(
                    f"key '{key}' is there twice", file=str(path), fix="remove one"
                )
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise ConfigError(
            f"found {constant}", file=str(path), fix="write a finite number"
        )

    try:
        data = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"this is not JSON ({error.msg})",
            file=str(path),
            line=error.lineno,
            fix="correct it there or just above",
        ) from None
    except (RecursionError, ValueError):
        raise ConfigError(
            "this is not JSON a program can use", file=str(path), fix="check the file"
        ) from None
    if not isinstance(data, dict):
        raise ConfigError(
            "the top level is not a mapping", file=str(path), fix="start it with {"
        )
    return data


class _Reader:
    """Turns YAML nodes into plain values and remembers where they stood."""

    def __init__(self, path: Path) -> None:
        self.file = str(path)
        self.lines: dict[Loc, int] = {}
        self._open: set[int] = set()
        self._values = 0

    def read(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            return None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error, text) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error(
                "a character that text files do not have", line, "remove it"
            ) from None
        except RecursionError:
            raise self._error("nested too deeply", None, "check the brackets") from None

    def _error(self, problem: str, line: int | None, fix: str) -> ConfigError:
        return ConfigError(problem, file=self.file, line=line, fix=fix)

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        problem = error.problem or error.context or "unknown"
        if line is not None:
            rows = text.splitlines()
            row = rows[line - 1] if line <= len(rows) else ""
            if "\t" in row[: len(row) - len(row.lstrip())] or "'\\t'" in problem:
                return self._error(
                    "a tab is used to indent", line, "indent with spaces"
                )
        if "expected a single document" in (error.context or ""):
            return self._error(
                "the file holds several documents", line, "remove the '---' line"
            )
        return self._error(
            f"this is not YAML ({problem})",
            line,
            "look for a missing colon, quote, bracket or space there or just above",
        )

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            # Aliases of aliases can unfold into more than any memory holds.
            raise self._error("the file unfolds without end", None, "remove aliases")
        line = node.start_mark.line + 1
        self.lines.setdefault(loc, line)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if id(node) in self._open:
            raise self._error("an alias contains itself", line, "remove it")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self._plain_tag(node, "seq", line)
                return [self._value(n, (*loc, i)) for i, n in enumerate(node.value)]
            self._plain_tag(node, "map", line)
            return self._mapping(node, loc)
        finally:
            self._open.discard(id(node))

    def _plain_tag(self, node: yaml.Node, kind: str, line: int) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            raise self._error(
                f"the tag '{_tag(node)}' is not allowed", line, "write plain values"
            )

    def _mapping(self, node: yaml.Node, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error("a key is a list or a mapping", line, "write a word")
            if key_node.tag == "tag:yaml.org,2002:merge":
                for key, value in self._merged(value_node, loc, line):
                    data.setdefault(key, value)
                continue
            key = str(key_node.value)
            if key in data and self._own(node, key):
                raise self._error(f"key '{key}' is there twice", line, "remove one")
            self.lines[(*loc, key)] = line
            data[key] = self._value(value_node, (*loc, key))
        return data

    def _own(self, node: yaml.Node, key: str) -> bool:
        # Keys that came by a merge may be overruled, keys written here may not.
        return [k.value for k, _ in node.value].count(key) > 1

    def _merged(
        self, node: yaml.Node, loc: Loc, line: int
    ) -> Iterator[tuple[str, Any]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise self._error("'<<' merges something else than a mapping", line, "")
            merged = self._value(source, loc)
            yield from merged.items()

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        text = str(node.value)
        implicit = implicit_tag(text)
        if node.style is None and node.tag == implicit:
            return self._plain(text, line)
        if node.tag == "tag:yaml.org,2002:str":
            return text
        raise self._error(
            f"the tag '{_tag(node)}' is not allowed", line, "write plain values"
        )

    def _plain(self, text: str, line: int) -> Any:
        if _NOT_FINITE.fullmatch(text):
            raise self._error(f"found {text}", line, "write a finite number")
        try:
            value = plain_value(text)
        except (ValueError, OverflowError):
            value = math.inf  # more digits than Python reads as a number
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error("the number is too large", line, "quote it if it is text")
        return value


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace("tag:yaml.org,2002:", "!!")


def implicit_tag(text: str) -> str:
    """Return the tag that YAML 1.1 gives an unquoted scalar."""
    resolve: Callable[..., str] = _RESOLVER.resolve
    return resolve(yaml.ScalarNode, text, (True, False))


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what an unquoted YAML scalar means here, see the module text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 16) if text.startswith("0x") else int(text)
    if _MINUTES.fullmatch(text):
        total = _minutes(text)
        return total if "." in text else int(total)
    return float(text) if _FLOAT.fullmatch(text) else text


def _minutes(text: str) -> float:
    total = 0.0
    for part in text.lstrip("+-").split(":"):
        total = total * 60 + float(part)
    return -total if text.startswith("-") else total
