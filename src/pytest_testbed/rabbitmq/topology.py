"""What a virtual host is to have, in the broker's own definitions format: read, checked, made whole.

Source: the format of RabbitMQ's definitions export (`rabbitmqctl export_definitions`, `GET /api/definitions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SORTS", "Topology", "checked", "read_file", "read_files"]

Topology = dict[str, list[dict[str, "Any"]]]

SORTS: Mapping[str, Mapping[str, object]] = {
    # sort → its keys, each with what it is where nobody says; "…" must be said
    "queues": {"name": ..., "durable": True, "auto_delete": False, "arguments": {}, "type": None},
    "exchanges": {"name": ..., "type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}},
    "bindings": {"source": ..., "destination": ..., "destination_type": "queue", "routing_key": "", "arguments": {}},
    "policies": {"name": ..., "pattern": ..., "definition": ..., "priority": 0, "apply-to": "all"},
    "parameters": {"component": ..., "name": ..., "value": ...},
}
ELSEWHERE = (
    "rabbit_version",
    "rabbitmq_version",
    "product_name",
    "product_version",
    "rabbitmq_definition_format",
    "original_cluster_name",
    "original_vhost_name",
    "explanation",
    "metadata",
    "description",
    "default_queue_type",
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "global_parameters",
    "limits",
)
"""What an export has besides, and what is not a virtual host's own: passed over."""


def read_files(paths: Iterable[Path], source: str) -> Topology:
    """Return what several files of definitions say together.

    Args:
        paths: the files.
        source: who named them, for errors.

    Raises:
        ConfigurationError: see `read_file`.
    """
    found: Topology = {}
    for path in paths:
        for sort, items in read_file(path, f"{source}: ").items():
            found.setdefault(sort, []).extend(items)
    return found


def read_file(path: Path, source: str = "") -> Topology:
    """Return what a file of definitions says.

    Raises:
        ConfigurationError: it cannot be read, is no JSON, or has what definitions do not have.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source}{path} cannot be read as definitions: {error}.") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{source}{path} is no JSON: {error}. Definitions come from `rabbitmqctl export_definitions`."
        ) from None
    return checked(data, f"{source}{path}")


def checked(data: object, where: str = "declare()") -> Topology:
    """Return definitions with all that they leave out, each object with every key.

    Args:
        data: {"queues": [{"name": …}], "exchanges": […], "bindings": […], "policies": […], "parameters": […]};
            a whole export as well, of which users, permissions and virtual hosts are passed over.
        where: where they were said, for errors.

    Raises:
        ConfigurationError: names the key or the object that is wrong, and the nearest right one.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where}: definitions are an object with keys such as queues and exchanges, not {data!r}.")
    found: Topology = {}
    vhosts: set[str] = set()
    for sort, items in data.items():
        if sort in ELSEWHERE:
            continue
        if sort not in SORTS:
            raise ConfigurationError(f"{where}: {sort!r} is not a key of definitions{nearest(sort, SORTS)}")
        if not isinstance(items, (list, tuple)):
            raise ConfigurationError(f"{where}: {sort} must be a list of objects, not {items!r}.")
        named = [(item, f"{where}: {sort}[{number}]") for number, item in enumerate(items) if not _is_the_brokers(item, sort)]
        found[sort] = [_whole(item, sort, place) for item, place in named]
        vhosts |= {str(item["vhost"]) for item, _ in named if "vhost" in item}
    _of_one_vhost(vhosts, where)
    return found


def _is_the_brokers(item: object, sort: str) -> bool:
    """Tell whether an export has an exchange of the broker's own, as 4.3 has its log."""
    return sort == "exchanges" and isinstance(item, Mapping) and "vhost" in item and str(item.get("name")).startswith("amq.")


def _whole(item: object, sort: str, where: str) -> dict[str, Any]:
    keys = SORTS[sort]
    if isinstance(item, str) and sort in ("queues", "exchanges"):
        raise ConfigurationError(f'{where} is {item!r}; an object is needed: {{"name": "{item}"}}.')
    if not isinstance(item, Mapping):
        raise ConfigurationError(f"{where} must be an object, not {item!r}.")
    given = {key: value for key, value in item.items() if key != "vhost"}
    for key in given:
        if key not in keys:
            raise ConfigurationError(f"{where}: {key!r} is not a key of {sort}{nearest(key, keys)}")
    for key, default in keys.items():
        if default is ... and key not in given:
            raise ConfigurationError(f"{where} has no {key!r}, which each of {sort} needs.")
    filled = {key: given.get(key, default) for key, default in keys.items()}
    return {key: value for key, value in filled.items() if value is not None or keys[key] is ...}


def _of_one_vhost(names: set[str], where: str) -> None:
    if len(names) > 1:
        raise ConfigurationError(
            f"{where}: the definitions are of several virtual hosts ({', '.join(sorted(names))}); a test has one. "
            "Export one of them: rabbitmqctl has no option for that, `GET /api/definitions/<vhost>` has."
        )


def nearest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?", or what there is, as the end of a sentence."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(str(name), names, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(names)}." if names else "; there is none."
