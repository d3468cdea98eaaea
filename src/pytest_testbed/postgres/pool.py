"""The pool below the guarded engine: one connection, and a name for each who has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import Pool

if TYPE_CHECKING:
    from .transaction import SharedTransaction

__all__ = ["OWNER", "GuardedPool", "Owner"]

OWNER = "testbed_owner"
"""Under this key a checked-out connection's `info` has its owner."""


class Owner:
    """Somebody who has the kept connection: a session, a connection, a raw connection."""

    __slots__ = ("at_commit", "cursor_out", "raw", "test")

    def __init__(self, test: int | None) -> None:
        self.test = test
        self.cursor_out = False  # a cursor that SQLAlchemy has not yet used
        self.raw = False  # there was a cursor that SQLAlchemy did not use
        self.at_commit: dict[str, str] = {}


class GuardedPool(Pool):
    """Hands the one kept connection to as many as ask, each with a record of its own.

    Args:
        shared: the transaction on it.
        make_ready: is called before somebody new gets it.
    """

    def __init__(self, shared: SharedTransaction, make_ready: Callable[[], None]) -> None:
        # no reset on return: a session or connection that is closed rolls back by itself
        super().__init__(shared.kept_connection, reset_on_return=None)
        self._shared = shared
        self._make_ready = make_ready
        self._free: list[Any] = []
        self._out = 0
        self.own_listeners = 0

    def connect(self) -> Any:
        """Hand out the connection."""
        self._make_ready()
        fairy = super().connect()
        self._shared.admit(fairy)
        return fairy

    def _do_get(self) -> Any:
        self._out += 1
        # who listens for new connections (to set a search_path) wants to hear of one in each test
        if len(self.dispatch.connect) <= self.own_listeners:
            for index, record in enumerate(self._free):
                # async tests have several, one for each loop; and a sibling of the pool is not told of a new one
                if record.dbapi_connection is self._shared.kept_connection():
                    return self._free.pop(index)
            self._free.clear()
        return self._create_connection()

    def _do_return_conn(self, record: Any) -> None:
        self._out -= 1
        if self._shared.returned(record):
            self._free.append(record)

    def sibling(self, prepare: Callable[[Any], None] | None = None, adapt: Callable[[Any], None] | None = None) -> GuardedPool:
        """Return a pool on the same kept connection, with listeners of its own.

        Args:
            prepare: is called with the connection, as often as it is handed out.
            adapt: is called with each of its cursors.
        """
        sibling = SiblingPool(self._shared, self._make_ready, prepare, adapt)
        sibling._dialect = self._dialect  # which closes nothing
        return sibling

    def recreate(self) -> Pool:
        """Return itself: an application may dispose of the engine and go on (`Engine.dispose`)."""
        return self

    def dispose(self) -> None:
        """Forget the records; the kept connection belongs to the guard and stays."""
        self._free.clear()

    def size(self) -> int:
        """Return 1, as metrics of applications ask for it."""
        return 1

    def checkedin(self) -> int:
        """Return how many records wait for a user."""
        return len(self._free)

    def checkedout(self) -> int:
        """Return how many have the connection."""
        return self._out

    def overflow(self) -> int:
        """Return 0: whoever asks gets it."""
        return 0

    def status(self) -> str:
        """Describe the pool."""
        return f"{self.__class__.__name__}: one kept connection"


class SiblingPool(GuardedPool):
    """The pool of an engine that is the application's: it may work on its connections past SQLAlchemy, too."""

    def __init__(
        self,
        shared: SharedTransaction,
        make_ready: Callable[[], None],
        prepare: Callable[[Any], None] | None,
        adapt: Callable[[Any], None] | None,
    ) -> None:
        super().__init__(shared, make_ready)
        self._prepare = prepare
        self._adapt = adapt

    def connect(self) -> Any:
        """Hand out the connection; its own commit and rollback are those of the isolation."""
        fairy = super().connect()
        if self._prepare is not None:
            self._prepare(fairy.dbapi_connection)
        # bound to the owner and not to the fairy, which must die with its last user
        fairy.commit = partial(self._shared.commit, fairy.info[OWNER])
        fairy.rollback = partial(self._shared.rollback, fairy.info[OWNER])
        if self._adapt is not None:
            fairy.cursor = adapted(fairy.cursor, self._adapt)
        return fairy


def adapted(make: Callable[..., Any], adapt: Callable[[Any], None]) -> Callable[..., Any]:
    """Return a maker of cursors that are prepared."""

    def cursor(*args: Any, **options: Any) -> Any:
        made = make(*args, **options)
        adapt(made)
        return made

    return cursor
