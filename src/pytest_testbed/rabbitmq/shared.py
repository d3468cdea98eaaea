"""The virtual host that all tests of a worker use, one after the other: emptied by what each has added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .address import VhostAddress
from .place import Place

if TYPE_CHECKING:
    from ..services.client import Testbed

__all__ = ["SharedVhost"]


class SharedVhost:
    """A worker's virtual host.

    What is declared there when a test begins is everybody's: an application's topology, a fixture of a wider
    scope. What the test adds is deleted, what it has changed or deleted is put back, all queues are purged, and
    connections that it has opened by the exported address are closed. What has been declared on a connection that
    stays, stays as well: its client would not declare it again.

    Args:
        testbed: the engine's face.
        address: where applications reach it.
    """

    def __init__(self, testbed: Testbed, address: VhostAddress) -> None:
        self._testbed, self.address = testbed, address
        self._baseline: Mapping[str, Any] = {}
        self._known = -1
        """How much clients had sent when the baseline was read, which is still true then."""
        self._began = 0
        self._is_used = False
        self._spared: list[tuple[int, int]] = []
        """The counts of messages between which fixtures of wider scopes were set up: who came then may stay."""
        self._before: dict[int, Mapping[str, Any]] = {}

    @property
    def vhost(self) -> str:
        """Its name."""
        return self.address.vhost

    @property
    def _messages(self) -> int:
        return self.address.doorway.board.messages

    def begin(self) -> None:
        """Note what is there as a test begins."""
        self._read()
        self._began, self._is_used = self._known, False

    def _read(self) -> None:
        """Read what is there, if that may have changed."""
        if (messages := self._messages) != self._known:
            self._testbed.call("rabbitmq", "open", vhost=self.vhost)
            self._baseline = self._definitions()
            self._known = messages

    def _definitions(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._testbed.call("rabbitmq", "definitions", vhost=self.vhost)
        return found

    def place(self) -> Place:
        """Return it for fixtures of a test, which then counts as one that has used it."""
        self._is_used = True
        return Place(self._testbed, self._testbed.endpoint("rabbitmq"), self.vhost, self.address.form("url"))

    def end(self) -> None:
        """Undo what a test has done, if it has done anything."""
        if self._is_used or self._messages != self._began:
            self.address.doorway.end_since(self._began, self._spared)
            self._empty(self._baseline)

    def _empty(self, baseline: Mapping[str, Any]) -> None:
        needs = self.address.doorway.needs()
        self._testbed.call("rabbitmq", "empty", vhost=self.vhost, baseline=baseline, needs=needs)
        self._baseline, self._known = baseline, self._messages

    # --- fixtures of wider scopes

    @contextmanager
    def wider(self, key: int, *, is_late: bool) -> Iterator[None]:
        """Let what is declared meanwhile outlive the test that runs.

        Args:
            key: names the fixture, for `after`.
            is_late: whether it is set up by a test that has begun, and may have declared something of its own.
        """
        began = self._messages
        if not is_late:
            self._read()
        before = self._definitions() if is_late else self._baseline
        yield
        if self._messages == began:
            return
        now = self._definitions()
        self._before[key] = self._baseline
        added = {sort: [each for each in items if each not in before[sort]] for sort, items in now.items()}
        self._baseline = {sort: [*items, *added[sort]] for sort, items in self._baseline.items()}
        self._spared.append((began, self._messages))
        if not is_late:
            self._known = self._messages

    def after(self, key: int) -> None:
        """Undo what a fixture has declared that has ended."""
        if (before := self._before.pop(key, None)) is not None:
            self._empty(before)
