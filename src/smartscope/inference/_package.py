"""The files of a model package: a folder or a zip that cannot reach outside itself."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from smartscope.core import ModelError

_DISTRUST = "do not use this package; get it from its author"
DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
_MAX_BYTES = 2**30
_MOST_FILES = 10_000
_MOST_SQUEEZED = 200
_SMALL_BYTES = 2**26
_LONGEST = 240
"""Windows takes no longer path without asking."""


class Package(Protocol):
    """Where the files of a package are read from.

    Attributes
    ----------
    name : str
        The package as the user named it, for messages.
    description : str
        Name of the description inside it.
    """

    name: str
    description: str

    def has(self, source: str) -> bool:
        """Whether the package brings a file of this name along."""
        ...

    def read(self, source: str, field: str) -> bytes:
        """Content of a file.

        Parameters
        ----------
        source : str
            Relative to the description.
        field : str
            Where the description names it, for the message.

        Raises
        ------
        ModelError
            If it is missing, outside the package, or on the network.
        """
        ...


def open_package(path: Path) -> Package:
    """Open a folder, its description, or a zip; raises `ModelError`."""
    if path.is_dir() or path.name in DESCRIPTIONS:
        return _Folder(path)
    return _Zip(path)


def read_bytes(path: Path) -> bytes:
    """Content of a file; raises `ModelError` if there is none or it is absurd."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise refusal("larger than 1 GiB", file=str(path), fix="use a smaller one")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        fix = "check the path of the model"
        raise refusal(f"cannot be read ({reason})", file=str(path), fix=fix) from error


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._folder = path if path.is_dir() else path.parent
        offers = DESCRIPTIONS if path.is_dir() else (path.name,)
        found = [name for name in offers if (self._folder / name).is_file()]
        if not found:
            raise _no_description(self.name)
        self.description = found[0]

    def has(self, source: str) -> bool:
        """Whether the package brings a file of this name along."""
        return not _elsewhere(source) and (self._folder / source).is_file()

    def read(self, source: str, field: str) -> bytes:
        where = _inside(source, f"{self.name}/{self.description}", field)
        path = self._folder / where
        try:
            # A link may lead out where the name does not.
            inside = path.resolve().is_relative_to(self._folder.resolve())
            found = path.is_file()
        except (OSError, RuntimeError):
            inside = found = False
            if not path.is_symlink():
                raise _missing(
                    source, f"{self.name}/{self.description}", field
                ) from None
        if not inside:
            raise _escape(source, f"{self.name}/{self.description}", field)
        if not found:
            raise _missing(source, f"{self.name}/{self.description}", field)
        return read_bytes(path)


class _Zip:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._names = names_in_zip(path)
        found = sorted(
            (len(PurePosixPath(name).parts), DESCRIPTIONS.index(last), name)
            for name in self._names
            if (last := PurePosixPath(name).name) in DESCRIPTIONS
        )
        # Some tools zip the files, some the folder around them.
        if not found or found[0][0] > 2:
            raise _no_description(self.name)
        self.description = found[0][2]

    def has(self, source: str) -> bool:
        """Whether the package brings a file of this name along."""
        name = str(PurePosixPath(self.description).parent / source)
        return not _elsewhere(source) and name in self._names

    def read(self, source: str, field: str) -> bytes:
        """Content of a file; raises `ModelError`."""
        where = f"{self.name}/{self.description}"
        name = str(
            PurePosixPath(self.description).parent / _inside(source, where, field)
        )
        if name not in self._names:
            raise _missing(source, where, field)
        return read_from_zip(self._path, name, where, field)


def names_in_zip(path: Path) -> set[str]:
    """Names of the files in a zip.

    Raises
    ------
    ModelError
        It is none, or holds what leads out of it, comes twice, or is absurdly large.
    """
    if not path.exists():
        raise refusal("there is no such model", file=str(path), fix="check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # A damaged directory of a zip raises ValueError or struct.error in places.
    except (
        *(OSError, zipfile.BadZipFile, ValueError, RuntimeError),
        struct.error,
    ) as error:
        if _begins_as_zip(path):
            raise refusal(
                "the zip file is cut off or damaged",
                file=str(path),
                fix="fetch the package again",
            ) from error
        raise refusal(
            f"neither a package nor an .onnx file ({error})",
            file=str(path),
            fix="give a bioimage.io package (folder or zip) or an .onnx file",
        ) from error
    return _checked_names(entries, str(path))


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read_from_zip(path: Path, name: str, where: str, field: str) -> bytes:
    """Content of a file that is in a zip; raises `ModelError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (
        *(OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError),
        *(EOFError, ValueError),
    ) as error:
        raise refusal(
            f"'{name}' cannot be unpacked ({error})",
            file=where,
            field=field,
            fix="fetch the package again",
        ) from error


def _checked_names(entries: list[zipfile.ZipInfo], file: str) -> set[str]:
    """Names of all entries; refuses a zip that is not what it seems."""
    if len(entries) > _MOST_FILES:
        raise refusal(f"the zip holds {len(entries)} files", file=file, fix=_DISTRUST)
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise refusal("the zip unpacks to more than 1 GiB", file=file, fix=_DISTRUST)
    names: set[str] = set()
    # Windows and macOS do not tell case apart.
    seen: set[str] = set()
    for entry in entries:
        name = _checked(entry, file)
        if name.casefold() in seen:
            raise refusal(f"the zip holds '{name}' twice", file=file, fix=_DISTRUST)
        seen.add(name.casefold())
        names.add(name)
    return names


def _checked(entry: zipfile.ZipInfo, file: str) -> str:
    """Name of an entry; refuses names that lead out, links and absurd sizes."""
    name = entry.filename
    link = stat.S_ISLNK(entry.external_attr >> 16)
    if link or _leads_out(name):
        raise refusal(
            f"the zip holds '{entry.orig_filename}', which leads outside of it",
            file=file,
            fix=_DISTRUST,
        )
    if entry.file_size > max(_SMALL_BYTES, _MOST_SQUEEZED * entry.compress_size):
        raise refusal(
            f"'{name}' unpacks to {entry.file_size} bytes out of {entry.compress_size}",
            file=file,
            fix=_DISTRUST,
        )
    return name


def _leads_out(name: str) -> bool:
    # Windows takes both slashes, and a colon for a drive.
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or ":" in name


def _elsewhere(source: str) -> bool:
    """No name of a file inside: a web address, a way out, or no name at all."""
    sound = source.isprintable() and len(source) <= _LONGEST
    return not sound or "://" in source or _leads_out(source)


def _inside(source: str, file: str, field: str) -> PurePosixPath:
    if "://" in source:
        raise refusal(
            f"'{source}' is on the network",
            file=file,
            field=field,
            fix="use a package that brings its files along",
        )
    if not source.isprintable() or len(source) > _LONGEST:
        raise refusal(
            f"'{source[:20]!a}' is no name of a file",
            file=file,
            field=field,
            fix=_DISTRUST,
        )
    if _leads_out(source):
        raise _escape(source, file, field)
    return PurePosixPath(source.replace("\\", "/"))


def _escape(source: str, file: str, field: str) -> ModelError:
    return refusal(
        f"'{source}' leads outside of the package",
        file=file,
        field=field,
        fix=_DISTRUST,
    )


def _missing(source: str, file: str, field: str) -> ModelError:
    return refusal(
        f"there is no '{source}' in the package",
        file=file,
        field=field,
        fix="fetch the whole package again",
    )


def _no_description(file: str) -> ModelError:
    return refusal(
        "there is no bioimageio.yaml or rdf.yaml in it",
        file=file,
        fix="give the folder or zip of a bioimage.io package, or an .onnx file",
    )
