"""Stubs from files: folders of mapping files in WireMock's JSON format, one folder for each service.

Source: WireMock's stub mappings (https://wiremock.org/docs/stubbing/), of which the common part is understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .book import Stub
from .jsontext import first_repeated, line_of, lines_of_items
from .services import NAME
from .wiremock import stub_of
from .wiremock_keys import Bad, known

__all__ = ["read_folders"]

FILES = "__files"
"""The folder with the bodies that mappings name."""
MAPPINGS = "mappings"
"""The folder with the mappings, where WireMock itself uses a service's folder."""


def read_folders(folders: Sequence[Path], option: str) -> dict[str, list[Stub]]:
    """Return, by service, the stubs of all mapping files below some folders, in the order in which they are added.

    Args:
        folders: each has a folder for each service; in it, at any depth, files whose names end with .json.
        option: what named the folders, for errors.

    Raises:
        ConfigurationError: a folder is not there or has no mapping; a file is no JSON or says what is not understood.
    """
    found: dict[str, list[Stub]] = {}
    for folder in folders:
        if not folder.is_dir():
            what = "is no directory" if folder.exists() else "is not there"
            raise ConfigurationError(f"{option} names {folder}, which {what}.")
        stubs = {name: list(_of_service(folder, name, option)) for name in _services(folder, option)}
        if not any(stubs.values()):
            raise ConfigurationError(
                f"{option} names {folder}, which has no mapping in it: those of a service called inventory would be in files "
                f"such as {folder / 'inventory' / 'stock.json'}."
            )
        for name, each in stubs.items():
            found.setdefault(name, []).extend(each)
    return found


def _services(folder: Path, option: str) -> list[str]:
    """Return the names of the services that have files in a folder.

    Raises:
        ConfigurationError: a file is in no service's folder, or the name of one is none of a service.
    """
    names = sorted({path.relative_to(folder).parts[0] for path in _files(folder)})
    names = [name for name in names if not name.startswith(".")]  # those are the tools' of who edits here
    for name in names:
        if name == MAPPINGS or not (folder / name).is_dir():
            raise ConfigurationError(
                f"{option} names {folder}, in which {name} belongs to no service: each has a folder of its own in it, such as "
                f"{folder / 'inventory'}."
            )
        if re.fullmatch(NAME, name) is None:
            raise ConfigurationError(
                f"{option}: {folder / name} has mapping files, and no mock service can be called {name!r}: a name has letters, "
                "digits, _ and -."
            )
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if FILES not in path.relative_to(folder).parts and path.is_file())


def _of_service(folder: Path, name: str, option: str) -> Iterator[Stub]:
    for path in _files(folder / name):
        yield from read_file(path, folder / name / FILES, option, path.relative_to(folder).as_posix())


def read_file(path: Path, bodies: Path, option: str, source: str) -> Iterator[Stub]:
    """Yield the stubs of a mapping file: of one mapping, or of several below the key "mappings".

    Args:
        path: the file.
        bodies: the folder with the files that it may name.
        option: what named the folder, for errors.
        source: the file as it is called where a stub is spoken of.

    Raises:
        ConfigurationError: it is no JSON, or says what is not understood.
    """
    where = f"{option}: {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = _parsed(text)
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where} is not UTF-8: {error}.") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{where}, line {error.lineno}: it is no JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: it is no JSON that is understood: {error}.") from None
    try:
        yield from _stubs(text, whole, bodies, source)
    except Bad as bad:
        raise ConfigurationError(f"{where}, line {line_of(text, bad.path)}: {bad}") from None


def _parsed(text: str) -> Any:
    """Return what a text says in JSON, where each key stands once.

    Raises:
        ValueError: it is no JSON.
    """
    has_repeated = False

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_repeated
        made = dict(pairs)
        has_repeated |= len(made) < len(pairs)
        return made

    def refused(word: str) -> None:
        at = text.find(word)
        raise json.JSONDecodeError(f"{word} is no value", text, at)

    whole = json.loads(text, object_pairs_hook=noted, parse_constant=refused)
    if has_repeated and (found := first_repeated(text)) is not None:
        key, line = found
        at = len("\n".join(text.split("\n")[: line - 1]))
        raise json.JSONDecodeError(f"an object has {key!r} twice", text, at + (line > 1))
    return whole


def _stubs(text: str, whole: Any, bodies: Path, source: str) -> Iterator[Stub]:
    if not (isinstance(whole, dict) and MAPPINGS in whole):
        yield stub_of(whole, (), bodies, source)
        return
    known(whole, (), (MAPPINGS, "meta"), "a file with several mappings")
    if not isinstance(whole[MAPPINGS], list):
        raise Bad((MAPPINGS,), "'mappings' is not a list.")
    lines = lines_of_items(text, (MAPPINGS,))
    for index, (each, line) in enumerate(zip(whole[MAPPINGS], lines, strict=True)):
        yield stub_of(each, (MAPPINGS, index), bodies, f"{source}:{line}")
