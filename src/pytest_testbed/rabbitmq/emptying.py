"""A virtual host brought back to what it had: what was added is deleted, what is missing is put back, queues are purged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import BrokerError
from .api import ApiError, ManagementApi
from .definitions import KEYS, difference
from .topology import SORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NotBroughtBack", "bring_back", "of_vhost"]

LOOKS = 5
"""How often it is looked whether all is as it was: the end of one thing may be that of another."""
ORDER = ("bindings", "parameters", "policies", "queues", "exchanges")


def of_vhost(api: ManagementApi, vhost: str) -> dict[str, Any]:
    """Return the definitions of a virtual host."""
    found = api.get("definitions", vhost)
    # 4.3 exports no internal exchanges
    exchanges = [each for each in api.get("exchanges", vhost) if each["name"] and not each["name"].startswith("amq.")]
    return {
        **{sort: found.get(sort, []) for sort in KEYS},
        "exchanges": [{key: each[key] for key in SORTS["exchanges"] if key in each} for each in exchanges],
    }


def bring_back(api: ManagementApi, vhost: str, baseline: Mapping[str, Any], needs: Sequence[Sequence[str]] = ()) -> None:
    """Bring a virtual host back to what it had.

    Args:
        api: a connection to the broker's API.
        vhost: the virtual host.
        baseline: what `of_vhost` gave before.
        needs: what stays as it is, as clients that are still there have declared it; see `declared.Declared`.

    Raises:
        ApiError: the broker does not answer.
        NotBroughtBack: something resists.
    """
    work = Bringing(api, vhost, baseline, needs)
    for _ in range(LOOKS):
        if work.step():
            return
    raise NotBroughtBack(work.rest())


class NotBroughtBack(BrokerError):
    """Something in a virtual host cannot be brought back to what it was."""


class Bringing:
    """The steps of `bring_back`."""

    def __init__(self, api: ManagementApi, vhost: str, baseline: Mapping[str, Any], needs: Sequence[Sequence[str]]) -> None:
        self._api, self._vhost, self._baseline = api, vhost, baseline
        self._needs = {tuple(need) for need in needs}
        self._purged: set[str] = set()
        self._faults: list[str] = []

    def step(self) -> bool:
        """Do what is to be done by what is there; tell whether nothing can be left."""
        self._faults.clear()
        now = of_vhost(self._api, self._vhost)
        added, missing = self._difference(now)
        for sort in ORDER:
            for item in added[sort]:
                if not goes_with(item, sort, added):
                    with self._tried():
                        delete(self._api, self._vhost, sort, item)
        is_gone = self._purge(each["name"] for each in now["queues"] if each not in added["queues"])
        if any(missing.values()):
            with self._tried():
                self._api.post("definitions", self._vhost, body=missing)
        # an exchange may go with its last binding, a queue takes its bindings with it
        return not (is_gone or self._faults or any(missing.values()) or (added["bindings"] and self._has_fleeting()))

    def _difference(self, now: Mapping[str, Any]) -> list[dict[str, list[Any]]]:
        """Return what is there and is not to be, and what is not and is to be."""
        added, missing = difference(now, self._baseline)
        changed = {needed(each, sort) for sort, items in added.items() for each in items}
        return [
            {sort: [each for each in items if needed(each, sort) not in self._needs & changed] for sort, items in found.items()}
            for found in (added, missing)
        ]

    @contextmanager
    def _tried(self) -> Iterator[None]:
        """Go on with the rest where the broker refuses something: it is told in the end."""
        try:
            yield
        except ApiError as error:
            if not error.status:
                raise
            self._faults.append(str(error))

    def _has_fleeting(self) -> bool:
        return any(each.get("auto_delete") for sort in ("queues", "exchanges") for each in self._baseline[sort])

    def _purge(self, names: Iterator[str]) -> bool:
        """Purge queues, each once; tell whether one was deleted instead, as streams cannot be purged."""
        is_gone = False
        for name in names:
            if name not in self._purged and not purge(self._api, self._vhost, name):
                with self._tried():
                    self._api.delete("queues", self._vhost, name)
                is_gone = True
            self._purged.add(name)
        return is_gone

    def rest(self) -> str:
        """Return what is not as it was, and the broker's words."""
        added, missing = self._difference(of_vhost(self._api, self._vhost))
        parts = [f"{word} {', '.join(names)}" for word, names in (("there are", named(added)), ("missing are", named(missing)))]
        return "; ".join([*(part for part in parts if not part.endswith(" ")), *self._faults])


def needed(item: Mapping[str, Any], sort: str) -> tuple[Any, ...]:
    """Return what clients that need an object say of it."""
    keys = ("source", "destination", "routing_key") if sort == "bindings" else ("name",)
    return (sort, *(item.get(key) for key in keys))


def named(found: Mapping[str, Any]) -> list[str]:
    """Return each object's sort and name."""
    return [
        f"{sort} {item['name']!r}" if "name" in item else f"{sort} {item['source']!r} → {item['destination']!r}"
        for sort, items in found.items()
        for item in items
    ]


def goes_with(item: Mapping[str, Any], sort: str, added: Mapping[str, Any]) -> bool:
    """Tell whether a binding is deleted with one of its ends."""
    if sort != "bindings":
        return False
    ends = {(each, item["name"]) for each in ("queues", "exchanges") for item in added[each]}
    return ("exchanges", item["source"]) in ends or (f"{item['destination_type']}s", item["destination"]) in ends


def delete(api: ManagementApi, vhost: str, sort: str, item: Mapping[str, Any]) -> None:
    """Delete an object of a virtual host."""
    match sort:
        case "parameters":
            api.delete("parameters", item["component"], vhost, item["name"])
        case "bindings":
            way = ("bindings", vhost, "e", item["source"], item["destination_type"][0], item["destination"])
            for each in api.get(*way):
                if each["routing_key"] == item["routing_key"] and each["arguments"] == item["arguments"]:
                    api.delete(*way, each["properties_key"])
        case _:
            api.delete(sort, vhost, item["name"])


def purge(api: ManagementApi, vhost: str, queue: str) -> bool:
    """Purge a queue; tell whether that was done: a stream cannot be purged."""
    try:
        api.delete("queues", vhost, queue, "contents")
    except ApiError as error:
        if not error.status:
            raise
        return False
    return True
