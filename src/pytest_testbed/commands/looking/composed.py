"""Compose files and pipelines: the images of services, and what they are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from posixpath import normpath

from .tree import Place, Tree
from .yamltext import Value, values

__all__ = ["Image", "images"]

POSTGRES = ("postgres", "postgis", "timescale", "pgvector", "pgrouting", "paradedb", "citus", "supabase/postgres", "postgresql")
RABBITMQ = ("rabbitmq",)
WAITS = "/docker-entrypoint-initdb.d"


@dataclass
class Image:
    """A service's image.

    Attributes:
        kind: postgres or rabbitmq.
        name: the image, with its tag.
        place: where it is named.
        is_pipeline: whether a pipeline names it, and not a compose file.
        scripts: files and folders of the project that the container runs when its data are made.
        words: its command.
        variables: what it is given.
    """

    kind: str
    name: str
    place: Place
    is_pipeline: bool = False
    scripts: list[tuple[str, Place]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version in the tag, "" where it says none."""
        tag = self.name.partition("@")[0].rpartition(":")[2]
        match = re.match(r"(?:pg|latest-pg)?(\d+(?:\.\d+)?)(?![\d.])", tag) if ":" in self.name else None
        return match[1] if match else ""


def images(tree: Tree) -> list[Image]:
    """Return the images of PostgreSQL and RabbitMQ that files of the project name."""
    found: list[Image] = []
    for path in tree.named("*.yml", "*.yaml"):
        text = tree.text(path) or ""
        if any(word in text for word in (*POSTGRES, *RABBITMQ)):
            found += _in_file(path, list(values(text)))
    return found


def _in_file(path: str, found: list[Value]) -> Iterator[Image]:
    below = path.replace("../", "")  # a compose file above the project is none
    is_pipeline = below.startswith(".") or "/." in below or "pipeline" in below
    for value in found:
        key = value.keys[-1] if value.keys else ""
        names_one = key == "image" or value.keys[-2:] == ("services", "-") or value.keys[-3:] == ("services", "-", "name")
        kind = _kind(value.text) if names_one else ""
        if not kind:
            continue
        image = Image(kind, _plain(value.text), Place(path, value.line), is_pipeline)
        if key == "image":
            for each in found:
                if each.keys[: len(value.keys) - 1] == value.keys[:-1] and "-" not in value.keys:
                    _more(image, each.keys[len(value.keys) - 1 :], each, path)
        yield image


def _kind(image: str) -> str:
    name = image.partition("@")[0].lower()
    last = name.rpartition("/")[2].partition(":")[0]
    if any(last.startswith(word) or f"{word}/" in name for word in POSTGRES) and "exporter" not in name and "pgadmin" not in name:
        return "postgres"
    return "rabbitmq" if last.startswith(RABBITMQ) and "exporter" not in name else ""


def _plain(image: str) -> str:
    """Return an image with the defaults of its variables: `postgres:${TAG:-16}` as `postgres:16`."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", image)


def _more(image: Image, keys: tuple[str, ...], value: Value, path: str) -> None:
    """Take what else is said of the service."""
    match keys:
        case ("environment", "-"):
            name, _, text = value.text.partition("=")
            image.variables[name] = text
        case ("environment", name):
            image.variables[name] = value.text
        case ("command", *_):
            image.words += value.text.split() if keys == ("command",) else [value.text]
        case ("volumes", "-") if WAITS in value.text:
            source = value.text.partition(":")[0]
            folder = path.rpartition("/")[0]
            image.scripts.append((normpath(f"{folder}/{source}" if folder else source), Place(path, value.line)))
