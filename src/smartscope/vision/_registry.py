"""Finds stages by name, entry point or file, and builds them from the experiment."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from smartscope.config import explain
from smartscope.core import ConfigError, ModelError
from smartscope.vision._appearance import Appearance
from smartscope.vision._classify import Classify
from smartscope.vision._constriction import Constriction
from smartscope.vision._correct import Background, Denoise, Illumination
from smartscope.vision._detect import Detect
from smartscope.vision._event import FeatureEvent
from smartscope.vision._focus import Focus
from smartscope.vision._localise import Localise
from smartscope.vision._measure import Measure
from smartscope.vision._mitosis import Mitosis
from smartscope.vision._segment import Segment
from smartscope.vision._spots import Spots
from smartscope.vision._stage import Stage, StageConfig, StageContext
from smartscope.vision._track import Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smartscope.config import StageUse

GROUP = "smartscope.stages"
"""Entry point group under which other packages offer stages."""

StageClass = type[Stage[Any, Any]]

SHIPPED: dict[str, StageClass] = {
    "background": Background,
    "illumination": Illumination,
    "denoise": Denoise,
    "segment": Segment,
    "spots": Spots,
    "detect": Detect,
    "localise": Localise,
    "classify": Classify,
    "measure": Measure,
    "focus": Focus,
    "track": Track,
    "mitosis": Mitosis,
    "constriction": Constriction,
    "event": FeatureEvent,
    "appearance": Appearance,
}


def list_stages() -> dict[str, str]:
    """Names of all stages at hand and what each does, first line of its docstring.

    Stages of other packages are named but not imported.
    """
    found = {
        name: (inspect.getdoc(stage) or "").split("\n")[0]
        for name, stage in SHIPPED.items()
    }
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, f"from {entry.value}")
    return found


def load_stage_class(use: str, base_dir: Path, *, field: str = "") -> StageClass:
    """Stage class of a shipped name, an entry point, or a file.

    Parameters
    ----------
    use : str
        ``segment``, an entry point's name, ``my_stage.py`` or ``my_stage.py:Class``.
    base_dir : Path
        Folder that file paths are relative to.
    field : str
        Where it was written, for the message.

    Raises
    ------
    ConfigError
        Unknown name, missing or broken file, no or several stages in it.
    """
    path, _, name = _split_path(use)
    if path is not None:
        return _from_file(path, name, base_dir, field)
    if use in SHIPPED:
        return SHIPPED[use]
    for entry in entry_points(group=GROUP):
        if entry.name == use:
            return _from_entry(entry, field)
    raise _unknown("stage", use, list_stages(), field)


def make_stage(
    use: StageUse, context: StageContext, *, field: str = ""
) -> Stage[Any, Any]:
    """Build one stage and check its fields and channels.

    Raises
    ------
    ConfigError
        Unknown stage, field or channel, a value out of range, or a model that cannot
        be used.
    """
    values = dict(use.parameters)
    cls = load_stage_class(use.use, context.base_dir, field=field).chosen(values)
    if use.on:
        values["on"] = dict(use.on)
    try:
        config = cls.Config.model_validate(values)
    except ValidationError as error:
        raise _wrong_field(error, cls.Config, use.use, field) from error
    for wanted in context.resolve(config.on):
        if config.on.channel is not None and wanted.channel not in context.channels:
            raise _unknown(
                "channel", wanted.channel, context.channels, f"{field}.on.channel"
            )
    try:
        stage = cls(config, context)
    except ModelError as error:
        # Before the run, a wrong model is a wrong line of the experiment.
        raise ConfigError(str(error), field=f"{field}.model") from error
    except ConfigError as error:
        # The stage knows which of its fields is wrong, not where the stage stands.
        below = error.field or ("model" if "model" in values else "")
        text = f"{error.file}: {error.problem}" if error.file else error.problem
        place = f"{field}.{below}" if below else field
        raise ConfigError(text, field=place, fix=error.fix) from error
    stacks = stage.learned is not None and stage.learned.planes
    if config.on.z == "all" and not stacks:
        raise ConfigError(
            f"'{use.use}' looks at one plane, not at a stack",
            field=f"{field}.on.z",
            fix="write max, mean or the number of a plane",
        )
    return stage


def check_order(stages: Sequence[tuple[str, Stage[Any, Any]]]) -> None:
    """Check that each stage finds what it needs from those before it.

    Raises
    ------
    ConfigError
        A stage stands too early, or looks at a feature that none before it makes.
    """
    given: set[str] = set()
    features: set[str] | None = {"area_um2", "score"}
    for place, stage in stages:
        name = place.rsplit(".", 1)[-1]
        for need in stage.needs:
            if need not in given:
                raise ConfigError(
                    f"'{name}' needs {need} from a stage before it",
                    field=place,
                    fix="put 'segment' or 'spots' before it"
                    if need == "objects"
                    else "put 'track' before it",
                )
        if isinstance(stage, Measure) and "tracks" in given:
            raise ConfigError(
                "'measure' stands after 'track', so tracks would lack its features",
                field=place,
                fix="put 'measure' before 'track'",
            )
        given.update(stage.gives)
        more = stage.features()
        features = None if features is None or more is None else features | more
        for wanted in sorted(stage.reads()):
            if features is not None and wanted not in features:
                fix = "have 'measure' make it in a stage before this one"
                raise _unknown("feature", wanted, features, place, fix)


def _split_path(use: str) -> tuple[str | None, str, str]:
    # A Windows path has a colon of its own, so look for the ending, not the colon.
    head, mark, name = use.rpartition(".py:")
    if mark:
        return f"{head}.py", mark, name
    return (use if use.endswith(".py") else None), "", ""


def _from_entry(entry: Any, field: str) -> StageClass:
    try:
        cls = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"stage '{entry.name}' ({entry.value}) cannot be imported: {error}",
            field=field,
            fix="install or repair the package that offers it",
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Stage)):
        raise ConfigError(
            f"entry point '{entry.name}' ({entry.value}) is not a Stage",
            field=field,
            fix="its package must offer a subclass of smartscope.vision.Stage",
        )
    return cls


def _from_file(file: str, name: str, base_dir: Path, field: str) -> StageClass:
    path = Path(file) if Path(file).is_absolute() else base_dir / file
    if not path.is_file():
        raise ConfigError(
            f"there is no file {path}",
            field=field,
            fix="give the path of the stage relative to the experiment file",
        )
    # Named after the whole path: two folders may each hold a my_stage.py.
    digest = hashlib.sha1(str(path.resolve()).encode()).hexdigest()[:12]
    module_name = f"smartscope_stage_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be read as Python", field=field)
    module = importlib.util.module_from_spec(spec)
    # pydantic looks the module up to understand annotations of a class in it.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # User code may raise anything at import; all of it is a fault of that file.
        del sys.modules[module_name]
        raise ConfigError(
            f"{type(error).__name__}: {error}", file=str(path), fix="repair the stage"
        ) from error
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Stage)
        and value.__module__ == module_name
        and not inspect.isabstract(value)
    }
    return _choose(found, name, path, field)


def _choose(
    found: dict[str, StageClass], name: str, path: Path, field: str
) -> StageClass:
    if name:
        if name not in found:
            raise _unknown(f"stage in {path.name}", name, found, field)
        return found[name]
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"{path.name} must hold one subclass of Stage, found {names}",
            field=field,
            fix=f"write {path.name}:ClassName" if found else "add one",
        )
    return next(iter(found.values()))


def _unknown(
    kind: str, name: str, known: Iterable[str], field: str, fix: str = ""
) -> ConfigError:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    text = f"unknown {kind} '{name}'"
    if close:
        text += f"; did you mean '{close[0]}'?"
        return ConfigError(text, field=field)
    if not fix:
        fix = f"known: {', '.join(known)}" if known else "the plan names no channels"
    return ConfigError(text, field=field, fix=fix)


def _wrong_field(
    error: ValidationError, config: type[StageConfig], use: str, field: str
) -> ConfigError:
    first = explain(error, config)[0]
    if first.unknown and len(first.loc) == 1:
        name = str(first.loc[0])
        known = config.model_fields
        return _unknown(f"field of '{use}'", name, known, f"{field}.{name}")
    place = ".".join([field, *map(str, first.loc)])
    return ConfigError(first.text, field=place, fix=first.fix)
