"""From the `use` of an experiment to a policy class: shipped, installed, or a file."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import re
import sys
import traceback
import types
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from smartscope.config import near, shipped
from smartscope.core import ConfigError, SmartscopeError
from smartscope.policies._policy import Policy

GROUP = "smartscope.policies"
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?")
_SOURCE = "__smartscope_source__"
_LIST = "'smartscope policies list' shows all"


def list_shipped() -> tuple[str, ...]:
    """Names of the policies that come with smartscope, sorted."""
    return tuple(sorted(f.stem for f in shipped("policies").glob("[!_]*.py")))


def list_installed() -> tuple[str, ...]:
    """Names of the policies that other installed packages offer, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_policy_class(use: str, base_dir: Path | None = None) -> type[Policy]:
    """Return the policy class a `use` means.

    Parameters
    ----------
    use : str
        A shipped name, the name of an entry point in the group
        ``smartscope.policies``, or a file ``my_policy.py`` (``my_policy.py:Class`` if
        it holds several). A shipped name always means the shipped policy.
    base_dir : path or None
        Folder that file paths are relative to; then the present folder.

    Raises
    ------
    ConfigError
        If there is no such policy, or its file is none.
    """
    if match := _FILE.fullmatch(use):
        path = _find(Path(match["path"]), base_dir)
        return _pick(path, _load_file(path), match["name"])
    if use in list_shipped():
        path = shipped("policies") / f"{use}.py"
        return _pick(path, _load_file(path), None)
    for point in entry_points(group=GROUP):
        if point.name == use:
            return _from_entry_point(point)
    known = [*list_shipped(), *list_installed()]
    guess = near(use, known)
    hint = f"did you mean '{guess}'? " if guess else ""
    raise ConfigError(f"there is no policy '{use}'", fix=f"{hint}{_LIST}")


def source_file(policy: type[Policy]) -> Path:
    """File a policy class comes from.

    Raises
    ------
    ConfigError
        If it comes from none.
    """
    file = inspect.getsourcefile(policy)
    if file is None:
        raise ConfigError(f"policy {policy.__name__} has no source file")
    return Path(file)


def source_of(policy: type[Policy]) -> bytes:
    """Source a policy class was made from, whatever its file says by now."""
    module = sys.modules[policy.__module__]
    held: bytes | None = vars(module).get(_SOURCE)
    return source_file(policy).read_bytes() if held is None else held


def source_hash(policy: type[Policy]) -> str:
    """SHA-256 of the source of a policy class, hexadecimal; see `source_of`.

    Line ends count as one, so a checkout on Windows gives the same.
    """
    return _hash(source_of(policy))


def policy_file(use: str, base_dir: Path | None = None) -> Path | None:
    """File that a `use` names, or that a shipped policy is; None for an installed one.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if match := _FILE.fullmatch(use):
        return _find(Path(match["path"]), base_dir)
    return shipped("policies") / f"{use}.py" if use in list_shipped() else None


def policy_from_source(use: str, source: bytes, path: Path) -> type[Policy]:
    """Return the policy class a `use` means if this source stands in its file.

    Raises
    ------
    ConfigError
        As `load_policy_class`.
    """
    match = _FILE.fullmatch(use)
    return _pick(path, _execute(path, source), match["name"] if match else None)


def _hash(source: bytes) -> str:
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()


def _find(path: Path, base_dir: Path | None) -> Path:
    for folder in (base_dir or Path(), Path()):
        if (found := (folder / path)).is_file():
            return found.resolve()
    where = base_dir or Path()
    others = sorted(f.name for f in where.glob("*.py")) if where.is_dir() else []
    guess = near(path.name, others)
    fix = f"give a path relative to the experiment, or a name; {_LIST}"
    raise ConfigError(
        f"there is no policy file '{path}'",
        fix=f"did you mean '{guess}'?" if guess else fix,
    )


def _load_file(path: Path) -> types.ModuleType:
    """Execute a policy file once for each of its contents."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the policy file cannot be read ({error.strerror})",
            file=str(path),
            fix="check its permissions",
        ) from error
    return _execute(path, source)


def _execute(path: Path, source: bytes) -> types.ModuleType:
    name = f"smartscope_policy_{path.stem}_{_hash(source + str(path).encode())[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(path)
    setattr(module, _SOURCE, source)
    # Known before it runs: pydantic looks up annotations and documentation through it.
    sys.modules[name] = module
    # What was written below a field is looked up in these lines, not in the file,
    # which may be another by now.
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[str(path)] = (len(source), None, lines, str(path))
    try:
        # Compiled here and not imported: no stale or stray bytecode next to the file.
        code = compile(source, str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SmartscopeError) or not isinstance(error, Exception):
            raise
        raise _broken(path, error) from error
    return module


def _broken(path: Path, error: Exception) -> ConfigError:
    if isinstance(error, SyntaxError):
        same = error.filename == str(path)
        return ConfigError(
            f"this is not Python ({error.msg})",
            file=str(path),
            line=error.lineno if same else None,
            fix="correct it there or just above",
        )
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = lines[-1] if lines else None
    if isinstance(error, ModuleNotFoundError):
        return ConfigError(
            f"it needs the package '{error.name}', which is not installed",
            file=str(path),
            line=line,
            fix=f"install it ('pip install {error.name}'), or correct the import",
        )
    return ConfigError(
        f"the policy file fails when it is loaded ({type(error).__name__}: {error})",
        file=str(path),
        line=line,
        fix="correct it there",
    )


def _pick(path: Path, module: types.ModuleType, name: str | None) -> type[Policy]:
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Policy)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    }
    whole = {k: v for k, v in found.items() if not inspect.isabstract(v)}
    if name is not None:
        return _named(path, whole, name)
    if len(whole) == 1:
        return next(iter(whole.values()))
    if whole:
        names = ", ".join(whole)
        raise ConfigError(
            f"the file holds several policies ({names})",
            file=str(path),
            fix=f"say which one: use: {path.name}:{next(iter(whole))}",
        )
    if found:
        raise ConfigError(
            f"the policy {next(iter(found))} has no method 'react'",
            file=str(path),
            fix="write 'def react(self, seen):' that yields actions",
        )
    raise ConfigError(
        "the file holds no policy",
        file=str(path),
        fix="write a class that derives from smartscope.policies.Policy",
    )


def _named(path: Path, found: dict[str, type[Policy]], name: str) -> type[Policy]:
    if name in found:
        return found[name]
    known = ", ".join(found) or "none"
    raise ConfigError(
        f"the file holds no policy {name}", file=str(path), fix=f"it holds: {known}"
    )


def _from_entry_point(point: EntryPoint) -> type[Policy]:
    package = point.dist.name if point.dist is not None else point.module
    try:
        found = point.load()
    except Exception as error:  # somebody else's package may raise anything
        raise ConfigError(
            f"policy '{point.name}' of package {package} cannot be loaded "
            f"({type(error).__name__}: {error})",
            fix=f"repair or reinstall {package}",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Policy)):
        raise ConfigError(
            f"policy '{point.name}' of package {package} is no policy class",
            fix=f"report it to the authors of {package}",
        )
    return found
