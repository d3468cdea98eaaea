"""Virtual hosts for tests: made ahead, dropped behind them, in the host process; and what is done in one by the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ..services.model import Endpoint
from ..services.stock import Stock
from .api import ApiError, ManagementApi
from .emptying import NotBroughtBack, bring_back, of_vhost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["VhostStock", "drop_vhosts"]

PEEKED = 5
"""Messages of a queue that a failure shows."""


class VhostStock(Stock):
    """The virtual hosts of one run.

    The options' "definitions" are what each of them has from its beginning.
    """

    calls = ("open", "ensure", "declare", "definitions", "empty", "look", "alarms", "queues")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._idle: list[ManagementApi] = []
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._opened: dict[str, Endpoint] = {}
        """The virtual hosts that were opened, each with the broker on which it was."""
        self._baselines: dict[str, Mapping[str, Any]] = {}
        """What virtual hosts were brought back to the last time."""

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
            except ApiError as error:
                with suppress(ApiError):
                    api.drop_vhost(name)
                if not error.status:
                    raise
                raise ApiError(f"what testbed_rabbitmq_definitions says cannot be had: {error}") from None

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

    def ensure(self, vhost: str, *, is_sure: bool = True) -> bool:
        """Create a virtual host of that name where it is missing, with what it had on a broker that has ended.

        Args:
            vhost: its name.
            is_sure: whether it is there for sure where it was once on this broker: that is quick.

        Returns:
            Whether it was missing.
        """
        with self._opening:
            endpoint = self.endpoint
            if is_sure and self._opened.get(vhost) is endpoint:
                return False
            is_new = self.open(vhost)
            if is_new and (baseline := self._baselines.get(vhost)) is not None:
                with self._api() as api:
                    bring_back(api, vhost, baseline)
            self._opened[vhost] = endpoint
            return is_new

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
                    if not error.status:
                        raise
                    looked["fault"] = str(error).rpartition(": ")[2]
                found.append(looked)
        return found

    def empty(self, vhost: str, baseline: Mapping[str, Any], needs: Sequence[Sequence[str]] = ()) -> None:
        """Take out of a virtual host what it did not have before, put back what it had, and purge its queues.

        Args:
            vhost: its name; where it is gone, it is made anew.
            baseline: what `definitions` gave before.
            needs: what must stay as well, as clients that are still there have declared it; see `declared.Declared`.
        """
        self._baselines[vhost] = baseline
        self.ensure(vhost)
        try:
            with self._api() as api:
                bring_back(api, vhost, baseline, needs)
        except ApiError as error:
            if not error.status or not self.ensure(vhost, is_sure=False):  # somebody may have deleted it
                raise
        except NotBroughtBack as error:
            self.note(f"{self.endpoint.kind}: {vhost} was made anew, which ended all connections there: {error}")
            self.remove(vhost)
            self.ensure(vhost, is_sure=False)


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
