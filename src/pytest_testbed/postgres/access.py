"""How a worker's database is reached: its URLs, connections of ours to it, and plain engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from .admin import CONNECT_TIMEOUT, LOCK_NOT_AVAILABLE, Admin, sqlstate
from .clone import Clone
from .company import THE_TEST, describe
from .connect import connect, engine_url
from .connect_async import async_url, connect_async, need_driver
from .strays import CLEANER

if TYPE_CHECKING:
    from .address import DatabaseAddress
    from .plain_async import PlainAsync

__all__ = ["Access"]


class Access:
    """The ways into a database that may be dropped, and whose server may end: whoever comes finds it there.

    Args:
        admin: the maintenance connection.
        clone: what makes the database.
        driver: "psycopg2" or "psycopg".
        lock_timeout: seconds after which a statement gives up a lock.
    """

    def __init__(self, admin: Admin, clone: Clone, driver: str, lock_timeout: float) -> None:
        self._admin = admin
        self._clone = clone
        self._driver = driver
        self._lock_timeout = lock_timeout
        self.address: DatabaseAddress | None = None
        """By which others come, and are looked after; None where there is none, or not yet."""

    # --- URLs

    @property
    def url(self) -> Any:
        """The database's `sqlalchemy.URL`, over TCP."""
        return engine_url(self._admin.endpoint, self._clone.name, self._driver)

    @property
    def shown_url(self) -> Any:
        """The URL that engines show: whoever connects by it comes by the address that is looked after, where there is one."""
        return self._by_address(self.url)

    def shown_async_url(self, driver: str) -> Any:
        """Return the same for engines of an async driver."""
        return self._by_address(async_url(self._admin.endpoint, self._clone.name, driver))

    def _by_address(self, url: Any) -> Any:
        if (address := self.address) is None:
            return url
        query = {name: value for name, value in url.query.items() if name not in ("host", "port", "hostaddr")}
        place = {"host": address.doorway.host, "port": address.doorway.port}
        return url.set(username=address.user, password=address.password or None, query=query, **place)

    # --- connections

    def connect(self) -> Any:
        """Open a connection for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        more: dict[str, Any] = {"application_name": THE_TEST, "connect_timeout": CONNECT_TIMEOUT}
        options = self._kept_settings()
        return self._reach(lambda: connect(self._admin.endpoint, self._clone.name, self._driver, options=options, **more))

    def connect_plainly(self, application_name: str) -> Any:
        """Open a connection of psycopg2.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        more: dict[str, Any] = {"application_name": application_name, "connect_timeout": CONNECT_TIMEOUT}
        return self._reach(lambda: connect(self._admin.endpoint, self._clone.name, **more))

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Give a cursor of a new connection, in no transaction, for a look at what is there."""
        with closing(self.connect_plainly(CLEANER)) as connection:
            connection.autocommit = True
            yield connection.cursor()

    async def connect_async(self, driver: str, **more: Any) -> Any:
        """Open a connection of an async driver for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        self._admin.rows("SELECT 1")  # sees to a server that has died
        self._open()
        if not self._clone.is_there():
            self._clone.make_again()
        name, options = self._clone.name, self._kept_settings()
        return await connect_async(self._admin.endpoint, name, driver, options=options, application_name=THE_TEST, **more)

    def _open(self) -> None:
        """See to it that the database is there: the server may have come back without it."""
        if self._admin.lost:
            self._clone.ensure()

    def _reach(self, attempt: Callable[[], Any]) -> Any:
        """Connect to the database; make it anew where somebody has dropped it.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        self._open()

        def tried() -> Any:
            try:
                return attempt()
            except Exception:
                if self._clone.is_there():  # libpq's error has no SQLSTATE, and its text may be in any language
                    raise
                self._clone.make_again()
                return attempt()

        return self._admin.reach(tried)

    def _settings(self) -> dict[str, str]:
        # a test that waits for a lock of its own fixtures would wait for ever
        return {"lock_timeout": f"{self._lock_timeout * 1000:.0f}"}

    def _kept_settings(self) -> dict[str, str]:
        # a server of somebody else's may end whoever thinks for long in a transaction: a debugged test does
        return {**self._settings(), "idle_in_transaction_session_timeout": "0"}

    # --- engines without any isolation

    def plain_engine(self) -> Any:
        """Return an engine whose connections give up a lock in time."""
        from sqlalchemy import create_engine, event

        engine = create_engine(self.shown_url)
        options = self._settings()

        @event.listens_for(engine, "do_connect")
        def shielded(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
            # what SQLAlchemy tells the driver of its types must reach it
            types = {name: parameters[name] for name in ("context",) if name in parameters}
            return connect(self._admin.endpoint, self._clone.name, self._driver, options=options, **types)

        event.listen(engine, "handle_error", self._explain)
        return engine

    def plain_async(self, driver: str, noted: Callable[[], None]) -> PlainAsync:
        """Return what gives a test in database isolation its async engine.

        Args:
            driver: "asyncpg" or "psycopg".
            noted: called when the engine is used.

        Raises:
            ConfigurationError: the driver, or greenlet, is not installed.
        """
        need_driver(driver)
        from .plain_async import PlainAsync

        return PlainAsync(
            partial(connect_async, self._admin.endpoint, self._clone.name, driver, options=self._settings()),
            self.shown_async_url(driver),
            end=partial(self.end_backend, whole=True),
            explain=self._explain,
            noted=noted,
        )

    def _explain(self, context: Any) -> None:
        error = context.original_exception
        if sqlstate(error) == LOCK_NOT_AVAILABLE and (text := describe(self._admin, self._clone.name, but="")):
            (context.sqlalchemy_exception or error).add_note(text)

    def end_backend(self, pid: int, whole: bool) -> None:
        """End the statement of a backend, or the whole of it."""
        self._admin.rows("SELECT pg_terminate_backend(%s, 5000)" if whole else "SELECT pg_cancel_backend(%s)", (pid,))
