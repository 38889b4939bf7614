"""A parsed YAML file in which every value knows where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BYTES = 2_000_000
LARGEST_PX = 16384
"""No side of an image is longer; a package that says so lies."""


def refusal(problem: str, *, file: str, field: str = "", fix: str = "") -> ModelError:
    """Return an error whose sentence names file, field and what to do."""
    text = ": ".join(part for part in (file, field, problem) if part)
    return ModelError(f"{text}; {fix}" if fix else text)


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
            value = yaml.safe_load(text)
        # A date like 2024-13-45 is a ValueError, a thousand brackets a RecursionError.
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            first = str(error).split("\n", maxsplit=1)[0]
            raise refusal(f"not readable as YAML ({first})", file=file) from error
        node = cls(value, file)
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
        shown = str(self.value)
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

    def index(self) -> int:
        """Whole number from 0."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong("a whole number from 0")
        return value

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
