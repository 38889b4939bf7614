"""Parameters of a kind of specimen: checked, with a sentence for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from smartscope.config import did_you_mean
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails


class Parameters(BaseModel):
    """Base of all parameter models: unknown keys are refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


P = TypeVar("P", bound=Parameters)


def read_parameters(model: type[P], values: Mapping[str, Any]) -> P:
    """Validate `values` as `model`.

    Raises
    ------
    ConfigError
        For the first thing that is wrong; its field is ``specimen.KEY``.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(model, error.errors()[0]) from None


def _explain(model: type[BaseModel], found: ErrorDetails) -> ConfigError:
    path = [str(part) for part in found["loc"]]
    field = ".".join(["specimen", *path])
    if found["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        return ConfigError(
            f"unknown key '{path[-1]}'",
            field=field,
            fix=did_you_mean(path[-1], owner.model_fields),
        )
    message = found["msg"].removeprefix("Value error, ")
    problem = message[:1].lower() + message[1:]
    return ConfigError(f"{problem}, got {found['input']!r}", field=field)


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        # An optional section is written ``Section | None``.
        options = getattr(annotation, "__args__", (annotation,))
        inner = [
            option
            for option in options
            if isinstance(option, type) and issubclass(option, BaseModel)
        ]
        if not inner:
            break
        model = inner[0]
    return model
