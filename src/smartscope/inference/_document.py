"""A parsed YAML file in which every value knows where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BYTES = 2_000_000
_MOST_VALUES = 100_000
_DEEPEST = 64
LARGEST_PX = 16384
"""No side of an image is longer; a package that says so lies."""


def refusal(problem: str, *, file: str, field: str = "", fix: str = "") -> ModelError:
    """Return an error whose sentence names file, field and what to do."""
    text = ": ".join(part for part in (file, field, problem) if part)
    return ModelError(f"{text}; {fix}" if fix else text)


class _Loader(yaml.SafeLoader):
    """Plain data; a field written twice is an error instead of the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raises ConstructorError for a field written twice."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field '{key.value}' is written twice", None
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _values(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values there are when every alias is written out."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) in known:
        return known[id(value)]
    # What contains itself has no end.
    if depth > _DEEPEST:
        return _MOST_VALUES + 1
    inner = value.values() if isinstance(value, dict) else value
    count = 1 + sum(_values(item, known, depth + 1) for item in inner)
    known[id(value)] = count
    return count


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document; every getter refuses what is of another kind.

    Attributes
    ----------
    value : object
        Plain data; None where there is nothing.
    file, field : str
        Where it was written.
    """

    value: Any
    file: str
    field: str = ""

    @classmethod
    def parse(cls, text: bytes, file: str) -> Node:
        """Read YAML; only plain data, no Python objects."""
        if len(text) > _MAX_BYTES:
            raise refusal("the file is far too large for a description", file=file)
        try:
            # The loader below is the safe one: it makes plain data and nothing else.
            value = yaml.load(text, Loader=_Loader)
        # A date like 2024-13-45 is a ValueError, a thousand brackets a RecursionError.
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            first = str(error).split("\n", maxsplit=1)[0]
            raise refusal(f"not readable as YAML ({first})", file=file) from error
        node = cls(value, file)
        if _values(value, {}, 0) > _MOST_VALUES:
            raise refusal(
                "holds far more values than a description has (aliases inside aliases)",
                file=file,
                fix="do not use this package; get it from its author",
            )
        if not isinstance(value, dict):
            raise node.wrong("a mapping of fields", "give a bioimage.io description")
        return node

    def __bool__(self) -> bool:
        return self.value is not None

    def refuse(self, problem: str, fix: str = "") -> ModelError:
        """Return an error that names this place."""
        return refusal(problem, file=self.file, field=self.field, fix=fix)

    def wrong(self, expected: str, fix: str = "") -> ModelError:
        """Return an error for a value of the wrong kind."""
        if self.value is None:
            return self.refuse("is missing", fix or f"give {expected}")
        shown = " ".join(str(self.value).split())
        shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
        return self.refuse(f"expected {expected}, found '{shown}'", fix)

    def get(self, key: str) -> Node:
        """Value of a key; empty where the key or this mapping is missing."""
        if self.value is None:
            value = None
        elif isinstance(self.value, dict):
            value = self.value.get(key)
        else:
            raise self.wrong("a mapping")
        return Node(value, self.file, f"{self.field}.{key}" if self.field else key)

    def items(self) -> Iterator[Node]:
        """Items of a list; none where it is missing."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        for number, item in enumerate(self.value):
            yield Node(item, self.file, f"{self.field}[{number}]")

    def text(self) -> str:
        """Text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("text")
        return self.value

    def size(self) -> int:
        """Whole number a side of an image can have."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong("a whole number above 0")
        if value > LARGEST_PX:
            raise self.refuse(f"{value} is larger than any image ({LARGEST_PX})")
        return value

    def index(self, most: int = LARGEST_PX) -> int:
        """Whole number from 0 to `most`."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong("a whole number from 0")
        if value > most:
            raise self.refuse(f"{value} is more than makes sense ({most})")
        return value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def mapping(self) -> dict[str, Any]:
        """Fields of a mapping; none where it is missing."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping")
        return {str(key): value for key, value in self.value.items()}

    def only(self, *known: str) -> None:
        """Refuse fields that are not known."""
        for key in self.mapping():
            if key not in known:
                raise self.get(key).refuse(
                    f"there is no setting '{key}'", f"known: {', '.join(known)}"
                )

    def number(self) -> float:
        """Finite number."""
        value = self.value
        # YAML 1.1 reads 1e-6 as text.
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self.wrong("a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong("a number")
        if not abs(value) < 1e300:
            raise self.wrong("a finite number")
        return float(value)
