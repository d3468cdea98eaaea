"""Virtual hosts for tests: made ahead, dropped behind them, in the host process; and what is done in one by the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ..services.model import Endpoint
from ..services.stock import Stock
from .api import ApiError, ManagementApi
from .topology import SORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VhostStock", "drop_vhosts"]

PEEKED = 5
"""Messages of a queue that a failure shows."""
KEYS = {
    # sort of definitions → what tells one object from another
    "queues": ("name",),
    "exchanges": ("name",),
    "bindings": ("source", "destination", "destination_type", "routing_key", "arguments"),
    "policies": ("name",),
    "parameters": ("component", "name"),
}


class VhostStock(Stock):
    """The virtual hosts of one run.

    The options' "definitions" are what each of them has from its beginning.
    """

    calls = ("open", "declare", "definitions", "empty", "look", "alarms", "queues")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._idle: list[ManagementApi] = []
        self._lock = threading.Lock()

    @contextmanager
    def _api(self) -> Iterator[ManagementApi]:
        """Lend a connection to the API: each is for one thread at a time."""
        with self._lock:
            endpoint = self.endpoint
            api = self._idle.pop() if self._idle else ManagementApi(endpoint)
        try:
            yield api
        finally:
            with self._lock:
                if endpoint is self.endpoint and not self._closed:
                    self._idle.append(api)
                else:
                    api.close()

    def forget(self, endpoint: Endpoint) -> None:
        """Begin anew on another broker."""
        with self._lock:
            self.endpoint = endpoint  # from here on no connection to the one before is kept
            self._hang_up()
        super().forget(endpoint)

    def close(self) -> None:
        """Make and remove nothing any more, and hang up."""
        super().close()
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def make(self, name: str) -> None:
        """Create a virtual host with what every test finds in it; where the broker refuses that, none is left."""
        with self._api() as api:
            api.make_vhost(name)
            try:
                if definitions := self.options.get("definitions"):
                    api.post("definitions", name, body=definitions)
            except ApiError:
                with suppress(ApiError):
                    api.drop_vhost(name)
                raise

    def remove(self, name: str) -> None:
        """Delete a virtual host."""
        with self._api() as api:
            api.drop_vhost(name)

    # --- what a run asks for

    def open(self, vhost: str) -> bool:
        """Create a virtual host of that name where it is missing; tell whether it was."""
        with self._api() as api:
            try:
                api.get("vhosts", vhost)
                return False
            except ApiError as error:
                if error.status != 404:
                    raise
        self.make(vhost)
        return True

    def declare(self, vhost: str, definitions: Mapping[str, Any]) -> None:
        """Declare queues, exchanges, bindings, policies and parameters."""
        with self._api() as api:
            api.post("definitions", vhost, body=definitions)
            wanted = {each["name"] for each in definitions.get("queues", ())}
            lost = sorted(wanted - {each["name"] for each in api.get("queues", vhost)}) if wanted else []
            if lost:  # some versions pass over what they do not permit, and say nothing
                raise ApiError(
                    f"the broker has made no queue {', '.join(map(repr, lost))}, and says nothing against it; from 4.3 on it "
                    'permits none that is neither durable nor exclusive: leave "durable" out.'
                )

    def definitions(self, vhost: str) -> dict[str, Any]:
        """Return what there is in a virtual host, in the definitions format."""
        with self._api() as api:
            return of_vhost(api, vhost)

    def alarms(self) -> list[str]:
        """Return the resources for which the broker has an alarm, so that it blocks who publishes."""
        with self._api() as api:
            try:
                api.get("health", "checks", "alarms")
            except ApiError as error:
                if not error.status:
                    raise
                found = json.loads(error.answer).get("alarms", ())
                return sorted({str(each["resource"]) for each in found}) or ["a resource"]
        return []

    def queues(self, vhost: str) -> list[str]:
        """Return the names of all queues."""
        with self._api() as api:
            return sorted(each["name"] for each in api.get("queues", vhost))

    def look(self, vhost: str) -> list[dict[str, Any]]:
        """Return each queue with the count of what waits in it and its first messages, which stay there.

        The statistics of the API are seconds late; what is got from a queue is there now.
        """
        found = []
        with self._api() as api:
            for each in sorted(api.get("queues", vhost), key=lambda each: str(each["name"])):
                looked: dict[str, Any] = {"name": each["name"], "count": 0, "messages": [], "fault": ""}
                try:
                    body = {"count": PEEKED, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 4096}
                    messages = api.post("queues", vhost, each["name"], "get", body=body)
                    looked["messages"] = messages
                    looked["count"] = len(messages) + (messages[-1]["message_count"] if messages else 0)
                except ApiError as error:  # a stream, or exclusive to its connection
                    looked["fault"] = str(error).rpartition(": ")[2]
                found.append(looked)
        return found

    def empty(self, vhost: str, baseline: Mapping[str, Any], needs: Sequence[Sequence[str]] = ()) -> None:
        """Take out of a virtual host what it did not have before, put back what it had, and purge its queues.

        Args:
            vhost: its name.
            baseline: what `definitions` gave before.
            needs: what must stay as well, as clients that are still there have declared it; see `declared.Declared`.
        """
        with self._api() as api:
            now = of_vhost(api, vhost)
            added, missing = difference(now, baseline)
            added = {sort: [each for each in items if not is_needed(each, sort, needs)] for sort, items in added.items()}
            for sort in ("bindings", "parameters", "policies", "queues", "exchanges"):
                for item in added[sort]:
                    if not goes_with(item, sort, added):
                        delete(api, vhost, sort, item)
            for queue in now["queues"]:
                if queue not in added["queues"] and not purge(api, vhost, queue["name"]):
                    api.delete("queues", vhost, queue["name"])
                    missing["queues"].append(queue)
                    missing["bindings"] += [each for each in baseline["bindings"] if each["destination"] == queue["name"]]
            if any(missing.values()):
                api.post("definitions", vhost, body=missing)


def of_vhost(api: ManagementApi, vhost: str) -> dict[str, Any]:
    """Return the definitions of a virtual host."""
    found = api.get("definitions", vhost)
    # 4.3 exports no internal exchanges
    exchanges = [each for each in api.get("exchanges", vhost) if each["name"] and not each["name"].startswith("amq.")]
    return {
        **{sort: found.get(sort, []) for sort in KEYS},
        "exchanges": [{key: each[key] for key in SORTS["exchanges"] if key in each} for each in exchanges],
    }


def identity(item: Mapping[str, Any], sort: str) -> str:
    """Return what tells an object of a virtual host from others of its sort."""
    return repr([item.get(key) for key in KEYS[sort]])


def difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is there now and was not, and what was there and is not; what was changed is in both."""
    added, missing = {}, {}
    for sort in KEYS:
        old = {identity(item, sort): item for item in before.get(sort, ())}
        new = {identity(item, sort): item for item in now.get(sort, ())}
        added[sort] = [item for key, item in new.items() if old.get(key) != item]
        missing[sort] = [item for key, item in old.items() if new.get(key) != item]
    return added, missing


def is_needed(item: Mapping[str, Any], sort: str, needs: Sequence[Sequence[str]]) -> bool:
    """Tell whether an object is among those that must stay."""
    keys = ("source", "destination", "routing_key") if sort == "bindings" else ("name",)
    return [sort, *(item.get(key) for key in keys)] in needs


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


def drop_vhosts(endpoint: Endpoint, prefix: str) -> None:
    """Delete the virtual hosts of a run from a broker.

    Args:
        endpoint: the broker.
        prefix: what their names begin with: `testbed_`, the run, `_`.

    Raises:
        ValueError: the prefix is not one of a run.
        ApiError: one could not be deleted.
    """
    import re

    if not re.fullmatch(r"testbed_[0-9a-f]{12}_", prefix):
        raise ValueError(f"{prefix!r} is not what virtual hosts of a run begin with; nothing is dropped")
    api = ManagementApi(endpoint)
    try:
        for name in api.vhosts():
            if name.startswith(prefix):
                api.drop_vhost(name)
    finally:
        api.close()
