"""The virtual host that all tests of a worker use, one after the other: emptied by what each has added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BrokerError
from .address import VhostAddress
from .definitions import Baseline

if TYPE_CHECKING:
    from ..services.client import Testbed
    from .place import Place

__all__ = ["Moment", "SharedVhost"]


class Moment(NamedTuple):
    """What things are like before a fixture of a wider scope is set up.

    Args:
        messages: how much clients had sent.
        definitions: what was there.
        layers: which fixtures had declared something.
        is_clean: whether that was the baseline.
    """

    messages: int
    definitions: Mapping[str, Any]
    layers: set[int]
    is_clean: bool


class SharedVhost:
    """A worker's virtual host.

    What is declared there before the first test is everybody's: an application's topology. So is what a fixture of a
    wider scope declares, until it ends. What a test adds is deleted, what it has changed or deleted is put back, all
    queues are purged, and connections that were opened by the exported address are closed, but for those that were
    there before the first test, or that a fixture of a wider scope has opened. What has been declared on a connection
    that stays, stays as well: its client would not declare it again.

    Args:
        testbed: the engine's face.
        address: where applications reach it.
    """

    def __init__(self, testbed: Testbed, address: VhostAddress) -> None:
        self._testbed, self.address = testbed, address
        self._baseline: Baseline | None = None
        self._first = 0
        """How much clients had sent before the first test."""
        self._known = 0
        """How much they had sent when all was as the baseline says."""
        self._is_used = False
        self._is_left = False
        """Whether something is to be undone that no client's message tells of: after a fault, or a fixture's end."""
        self._in_test = False
        self._spared: dict[int, tuple[int, int]] = {}
        """For each fixture of a wider scope the counts of messages between which it was set up: who came then may stay."""

    @property
    def vhost(self) -> str:
        """Its name."""
        return self.address.vhost

    @property
    def _messages(self) -> int:
        return self.address.doorway.board.messages

    @property
    def was_used(self) -> bool:
        """Whether anybody may have done something since all was as the baseline says."""
        return self._is_used or self._messages != self._known

    @property
    def is_left(self) -> bool:
        """Whether something is to be undone before the next test."""
        return self._is_left

    # --- the spans of time

    def begin_run(self) -> None:
        """Note what is there before the first test."""
        self._catch_up()
        self._call("open")
        self._first = self._known = self._messages
        self._baseline = Baseline(self._definitions())

    def begin(self) -> None:
        """Note that a test begins; what was done since the last one ended is its own, as that of a hook that prepares it."""
        if self._is_left:
            self.bring_back()
        self._in_test = True

    def place(self) -> Place:
        """Return it for fixtures of a test, which then counts as one that has used it."""
        self._is_used = True
        self._call("ensure")  # the broker may have been started again
        return self.look()

    def look(self) -> Place:
        """Return it for who only wants to see what is there."""
        from .place import Place

        return Place(self._testbed, self._testbed.endpoint("rabbitmq"), self.vhost, self.address.form("url"))

    def end(self) -> None:
        """Undo what a test has done, if it has done anything."""
        self._in_test = False
        if not (self._is_left or self.was_used):
            self._catch_up()  # it may have published something without waiting for anything
        if self._is_left or self.was_used:
            self.bring_back()

    def bring_back(self) -> None:
        """Bring all back to the baseline; where that fails, it is tried again before the next test.

        Raises:
            TestbedError: it could not be done.
        """
        assert self._baseline is not None
        self._is_left = True
        needs = self.address.doorway.end_since(self._first, list(self._spared.values()))
        known = self._messages
        self._call("empty", baseline=self._baseline.definitions, needs=needs)
        self._known, self._is_used, self._is_left = known, False, False

    # --- fixtures of wider scopes

    def moment(self) -> Moment:
        """Return what things are like before a fixture is set up, for `outlives`."""
        assert self._baseline is not None
        if self._is_left and not self._in_test:
            self.bring_back()
        is_clean = not self.was_used
        before = self._baseline.definitions if is_clean else self._definitions()
        return Moment(self._messages, before, self._baseline.layers, is_clean)

    def outlives(self, key: int, since: Moment) -> None:
        """Let what was declared since a moment, and the connections that were opened, outlive the test that runs.

        Args:
            key: names the fixture that has done it, for `after`.
            since: what `moment` gave before it was set up.
        """
        assert self._baseline is not None
        self._catch_up()
        if (messages := self._messages) == since.messages:
            return
        was_left, self._is_left = self._is_left, True  # until it is known what is the fixture's
        self._baseline.add(key, since.definitions, self._definitions(), self._baseline.layers - since.layers)
        self._spared[key] = (since.messages, messages)
        self._is_left = was_left
        if since.is_clean:
            self._known = messages

    def after(self, key: int) -> None:
        """Note that a fixture has ended: what it has declared is to be undone, and what it did at its end."""
        if self._baseline is None:
            return
        had = self._baseline.drop(key)
        came = self._spared.pop(key, None) is not None
        if had or came or (not self._in_test and self.was_used):
            self._is_left = True

    # --- the way there

    def _catch_up(self) -> None:
        if self.address.doorway.board.visits:
            self.address.doorway.catch_up()

    def _definitions(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call("definitions")
        return found

    def _call(self, what: str, **arguments: Any) -> Any:
        """Let the host do something; where that fails because the broker has ended, say that.

        Raises:
            ServiceDied: it has, and was started again.
        """
        try:
            return self._testbed.call("rabbitmq", what, vhost=self.vhost, **arguments)
        except BrokerError:
            from .connect import died

            if (why := died(self._testbed)) is not None:
                raise why from None
            raise
