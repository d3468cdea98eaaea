"""What a virtual host has, in the definitions format: what makes two of them different, and who has added what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KEYS", "Baseline", "Definitions", "difference", "identity"]

KEYS = {
    # sort of definitions → what tells one object from another
    "queues": ("name",),
    "exchanges": ("name",),
    "bindings": ("source", "destination", "destination_type", "routing_key", "arguments"),
    "policies": ("name",),
    "parameters": ("component", "name"),
}
Definitions = Mapping[str, "Iterable[Mapping[str, Any]]"]
Objects = dict[tuple[str, str], "Mapping[str, Any]"]
Changes = dict[tuple[str, str], "Mapping[str, Any] | None"]
"""What somebody has made of each object: None where he has deleted it."""


def identity(item: Mapping[str, Any], sort: str) -> str:
    """Return what tells an object of a virtual host from others of its sort."""
    return json.dumps([item.get(key) for key in KEYS[sort]], sort_keys=True)  # arguments come back in another order


def objects(definitions: Definitions) -> Objects:
    """Return all objects by their sort and identity."""
    return {(sort, identity(item, sort)): item for sort in KEYS for item in definitions.get(sort, ())}


def difference(now: Definitions, before: Definitions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is there now and was not, and what was there and is not; what was changed is in both."""
    old, new = objects(before), objects(now)
    added: dict[str, Any] = {sort: [] for sort in KEYS}
    missing: dict[str, Any] = {sort: [] for sort in KEYS}
    for key, item in new.items():
        if old.get(key) != item:
            added[key[0]].append(item)
    for key, item in old.items():
        if new.get(key) != item:
            missing[key[0]].append(item)
    return added, missing


class Baseline:
    """What tests begin with: what was there before the first, and what fixtures of wider scopes have made of it since.

    They need not end in the order in which they came.

    Args:
        definitions: what was there before the first test.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._first = objects(definitions)
        self._layers: dict[int, Changes] = {}

    @property
    def definitions(self) -> dict[str, Any]:
        """All of it."""
        merged: Changes = dict(self._first)
        for changes in self._layers.values():
            merged.update(changes)
        found: dict[str, Any] = {sort: [] for sort in KEYS}
        for (sort, _), item in merged.items():
            if item is not None:
                found[sort].append(item)
        return found

    @property
    def layers(self) -> set[int]:
        """The keys of those who have added something and have not ended."""
        return set(self._layers)

    def add(self, key: int, before: Definitions, now: Definitions, inner: Iterable[int] = ()) -> bool:
        """Take note of what somebody has changed; tell whether he has.

        Args:
            key: names him, for `drop`.
            before: what was there before.
            now: what is there now.
            inner: those who came meanwhile: what they have changed is theirs.
        """
        old, new = objects(before), objects(now)
        changes: Changes = {each: new.get(each) for each in old.keys() | new.keys() if old.get(each) != new.get(each)}
        for other in inner:
            for each, item in self._layers.get(other, {}).items():
                if each in changes and changes[each] == item:
                    del changes[each]
        self.drop(key)
        if changes:
            self._layers[key] = changes
        return bool(changes)

    def drop(self, key: int) -> bool:
        """Take back what somebody has changed who has ended; tell whether he had changed anything."""
        return self._layers.pop(key, None) is not None
