"""Stubs from files: folders of mapping files in WireMock's JSON format, one folder for each service.

Source: WireMock's stub mappings (https://wiremock.org/docs/stubbing/), of which the common part is understood.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .book import Stub
from .wiremock import Bad, stub_of

__all__ = ["read_folders"]

FILES = "__files"
"""The folder with the bodies that mappings name."""


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
            raise ConfigurationError(f"{option} names {folder}, which is no directory.")
        services = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
        stubs = {each.name: list(_of_service(each, option)) for each in services}
        if not any(stubs.values()):
            raise ConfigurationError(
                f"{option} names {folder}, which has no mapping file: for a service called inventory there would be "
                f"{folder / 'inventory'}, and in it files such as stock.json."
            )
        for name, each in stubs.items():
            found.setdefault(name, []).extend(each)
    return found


def _of_service(folder: Path, option: str) -> Iterator[Stub]:
    for path in sorted(folder.rglob("*.json")):
        if FILES not in path.relative_to(folder).parts:
            yield from read_file(path, folder / FILES, option)


def read_file(path: Path, bodies: Path, option: str) -> Iterator[Stub]:
    """Yield the stubs of a mapping file: of one mapping, or of several below the key "mappings".

    Raises:
        ConfigurationError: it is no JSON, or says what is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = json.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{option}: {path} is not UTF-8: {error}.") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{option}: {path}, line {error.lineno}: it is no JSON: {error.msg}.") from None
    try:
        for at, mapping in _mappings(whole):
            yield stub_of(mapping, at, bodies, path.name)
    except Bad as bad:
        from .jsontext import line_of

        raise ConfigurationError(f"{option}: {path}, line {line_of(text, bad.path)}: {bad}") from None


def _mappings(whole: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(whole, dict) and "mappings" in whole:
        for key in whole.keys() - {"mappings", "meta", "importOptions"}:
            raise Bad((key,), f"{key!r} has no place beside 'mappings'.")
        if not isinstance(whole["mappings"], list):
            raise Bad(("mappings",), "'mappings' is not a list.")
        for index, each in enumerate(whole["mappings"]):
            yield ("mappings", index), each
    else:
        yield (), whole
