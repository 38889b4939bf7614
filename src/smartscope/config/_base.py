"""What every section of our files shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from smartscope.config._explain import explain, refuse, unknown_key, visible
from smartscope.config._yaml import Document, Problem, read_document, undotted
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ModelWrapValidatorHandler, ValidationInfo


def _as_text(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number else value


def _rising(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] < span[1]:
        text = f"{span[0]:g} is not below {span[1]:g}"
        raise refuse((), text, "write [lowest, highest]")
    return span


# YAML reads a bare 488 as a number; a light line, or a channel, may be called so.
Name = Annotated[str, BeforeValidator(_as_text)]
LineName = Name
Span = tuple[float, float]
Bounds = Annotated[tuple[float, float], AfterValidator(_rising)]


class Section(BaseModel):
    """Base of every section of our files: unknown keys are refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class File(Section):
    """Base of what is written in a file of its own: knows its lines, speaks plainly."""

    source_file: Path | None = Field(None, exclude=True)
    _document: Document = PrivateAttr(default_factory=Document)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate a file.

        Parameters
        ----------
        path : str or path
            The file, or the name of a shipped one.

        Raises
        ------
        ConfigError
            The first thing that is wrong, with its line and what to do about it.
        """
        document = read_document(cls._find(path))
        return cls.model_validate(document.data, context=document)

    @classmethod
    def _find(cls, path: str | Path) -> Path:
        return Path(path)

    @classmethod
    def _prepare(
        cls, data: dict[str, Any], document: Document, problems: list[Problem]
    ) -> dict[str, Any]:
        return data

    def _between_sections(self) -> Iterator[Problem]:
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _speak_plainly(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if isinstance(data, cls):
            return data
        given = info.context
        document = given if isinstance(given, Document) else Document(data)
        problems: list[Problem] = []
        if isinstance(data, dict):
            if document.path is not None:
                if "source_file" in data:
                    problems.append(unknown_key(("source_file",), visible(cls)))
                data = {**data, "source_file": document.path}
            data = cls._prepare(data, document, problems)
        try:
            model = handler(data)
        except ValidationError as error:
            problems.extend(explain(error, cls))
            document.raise_first(problems)
            raise
        problems.extend(cls._between_sections(model))
        document.raise_first(problems)
        return model

    def model_post_init(self, context: Any, /) -> None:
        """Remember the lines of the file, for what is found wrong later."""
        if isinstance(context, Document):
            self._document = context

    def problem(self, field: str, text: str, fix: str = "") -> ConfigError:
        """Make the error of something wrong at a dotted `field`, with its line."""
        return self.located(ConfigError(text, field=field, fix=fix))

    def located(self, error: ConfigError) -> ConfigError:
        """Return `error` with the file and the line of its field, if it has no file."""
        document = self._document
        if error.file or document.path is None:
            return error
        return ConfigError(
            error.problem,
            file=document.file,
            field=error.field,
            line=document.line(undotted(error.field)),
            fix=error.fix,
        )
