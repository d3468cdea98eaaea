"""Transaction isolation: an engine on which nothing is ever really committed.

One database connection is kept for the whole run. Each test has one transaction on it, with an armed
savepoint, and the dialect's own commit and rollback are turned into *release and arm again* and *roll
back to it*; at the end the transaction is rolled back. So sessions, connections and application code
commit and roll back as on a database of their own. docs/explanation/isolation.md tells the method.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session

from ..errors import IsolationError, TestbedWarning
from . import sequences as sequences_
from . import traits
from .escapes import Escapes
from .factory import SessionFactory
from .kept import ACTIVE, IDLE, IN_ERROR, IN_TRANSACTION, Kept
from .layers import ARM_LEVEL, UNDO_LEVEL, Layers
from .pool import OWNER, GuardedPool, Owner
from .savepoints import BASE, Stack
from .statements import (
    CHANGES,
    DEFINES,
    ENDS,
    HOLDS,
    ON_COMMIT,
    PREPARES,
    READS,
    SAVEPOINT,
    SETS_LOCALLY,
    SETTING,
    find,
    local_settings,
    may_write,
    quoted,
    shortened,
)

__all__ = ["Guard"]

ARM = f"BEGIN;SAVEPOINT {BASE}"
CHECK = "SET CONSTRAINTS ALL IMMEDIATE"

# by name, because there is no other way back to each constraint's own default
DEFER_AGAIN = """DO $testbed$ DECLARE names text; BEGIN
SELECT string_agg(name, ',') INTO names FROM (
  SELECT format('%I.%I', n.nspname, c.conname) AS name FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
  WHERE c.conparentid = 0 AND NOT pg_is_other_temp_schema(n.oid) GROUP BY 1 HAVING bool_and(c.condeferred)) deferred;
IF names IS NOT NULL THEN EXECUTE 'SET CONSTRAINTS ' || names || ' DEFERRED'; END IF;
END $testbed$"""

RAW = "a COMMIT or ROLLBACK that went past SQLAlchemy (on the driver's own connection, or as text)"
REMEDY = "Use database isolation for such a test: @pytest.mark.pg(isolation='database')."
ESCAPE = "somebody connected by the URL of the test's engine, past the test's transaction, and wrote to the database"
RENEWED = "It was really committed; the next test gets a database made anew"
LOST = ("3B001", "25P01")  # no such savepoint, no transaction
PATIENCE = 5.0
"""Seconds that the end of a test waits for the statement of a thread that was left over."""


class Guard:
    """The kept connection, the engine on it, and the transaction of the test that runs.

    Args:
        connect: opens a DBAPI connection (psycopg2 or psycopg) to the worker's database.
        url: what the engine shows as its URL.
        renew: makes the worker's database anew, after something was really committed in it.
        set_aside: gives it another name and makes it anew, so that a failed test can be looked at.
        bystanders: describes the other connections to this database, for a lock that could not be had.
        sequences: tells what the sequences of a database just made give next, by schema and name.
        escapes: gives what looks after those who come past the test's transaction, None where somebody else does.
        begun: called when a test begins.

    Attributes:
        resets_sequences: whether the next test finds its sequences as in a database just made.
    """

    NAME = "pg_engine"
    USER = "a thread"

    def __init__(
        self,
        connect: Callable[[], Any],
        url: Any,
        *,
        renew: Callable[[], None] = lambda: None,
        set_aside: Callable[[], None] = lambda: None,
        bystanders: Callable[[], str] = lambda: "",
        sequences: Callable[[], sequences_.Values] = dict,
        escapes: Callable[[], Escapes | None] = lambda: None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._kept = self._make_kept(connect)
        self._renew = renew
        self._set_aside = set_aside
        self._keeps = False
        self._bystanders = bystanders
        self._sequences = sequences
        self._find_escapes = escapes
        self._note_begun = begun
        self.resets_sequences = False
        self._lock: Any = RLock()  # statements of several threads must not come between a savepoint and its run
        self._stack = Stack()
        self._abandoned: list[Owner] = []
        self._deferring = False
        self._schema_changed = False
        self._factory: SessionFactory | None = None
        self._process = os.getpid()
        self._closing = False
        self._breaches: list[str] = []
        self._running = False
        self._nobody = Owner(None)  # SQLAlchemy itself, when it gets to know the server
        self.test_number = 0
        self._url = url
        self.layers = Layers(self)
        self.engine = self.make_engine()

    def _make_kept(self, connect: Callable[[], Any]) -> Kept:
        return Kept(connect)

    def _create_engine(self, pool: GuardedPool) -> Engine:
        return create_engine(self._url, pool=pool)

    def make_engine(self, *, wide: bool = False) -> Engine:
        """Make an engine on the kept connection; a `wide` one is for the layers, and can be used between tests too."""
        pool = GuardedPool(self, wide=wide)
        engine = self._create_engine(pool)
        dialect = engine.dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, self._guarded(getattr(dialect, name)))
        replacements: dict[str, Callable[..., Any]] = {
            "do_commit": self._commit,
            "do_rollback": self._rollback,
            "do_close": lambda connection: None,
            "do_terminate": lambda connection: None,
            "do_savepoint": self._savepoint,
            "do_rollback_to_savepoint": self._rollback_to_savepoint,
            "do_release_savepoint": self._release_savepoint,
            "do_begin_twophase": self._refuse_twophase,
            "set_isolation_level": self._set_isolation_level,
            "reset_isolation_level": lambda connection: None,
            "set_readonly": self._set_readonly,
            "set_deferrable": self._set_deferrable,
        }
        for name, replacement in replacements.items():
            setattr(dialect, name, replacement)
        event.listen(engine, "handle_error", self._explain)
        event.listen(engine, "invalidate", self._invalidated)
        pool.own_listeners = len(pool.dispatch.connect)
        if not wide:
            self._as_made = traits.of_engine(engine)
        return engine

    # --- the kept connection

    def kept_connection(self) -> Any:
        """Return the kept connection, for the pool."""
        return self._kept.connection

    def prepare(self, *, wide: bool = False) -> None:
        """Make ready for somebody new.

        Raises:
            IsolationError: no test runs, or the test's connection is gone.
        """
        with self._lock:
            if wide:
                self.layers.check_use()
            if not self._running or (self.layers.between and not wide):
                raise IsolationError(
                    f"{self.NAME} was used while no test that asked for it ran ({self.USER} that was left over?)."
                )
            self._settle(None)
            if wide:
                self.layers.touch()

    def admit(self, fairy: Any) -> None:
        """Take note of somebody new, and of the cursors that he uses past SQLAlchemy."""
        owner = Owner(self.test_number)
        fairy.info[OWNER] = owner
        connection = fairy.dbapi_connection

        # holds no reference to the fairy, which must die, and be returned, with its last user
        def cursor(*args: Any, **options: Any) -> Any:
            with self._lock:
                self._enter(owner)
                owner.raw |= owner.cursor_out
                owner.cursor_out = True
            return connection.cursor(*args, **options)

        fairy.cursor = cursor

    def returned(self, record: Any) -> bool:
        """Take a record back from its user; tell whether the pool may hand it out again."""
        if record.dbapi_connection is None:  # invalidated, or detached and still in use
            return False
        return self._abandon(record.info.get(OWNER))

    def _invalidated(self, connection: Any, record: Any, error: BaseException | None) -> None:
        self._abandon(record.info.get(OWNER))

    def _abandon(self, owner: Owner | None) -> bool:
        """Note that somebody has gone. What he left open is undone by whoever comes next.

        Not at once, because Python's garbage collector may call this in the middle of anything.
        """
        if owner is None or owner.test != self.test_number or not self._running:
            return False
        if owner.raw or owner.cursor_out or owner in self._stack.failed or self._stack.has(owner):
            self._abandoned.append(owner)
        return True

    def _owner_of(self, fairy: Any) -> Owner:
        record = fairy._connection_record
        owner: Owner = (fairy if record is None else record).info.get(OWNER, self._nobody)
        return owner

    def _open(self) -> None:
        self._discard()
        self._kept.open(self.engine.dialect)

    def _discard(self) -> None:
        self.layers.lose("; ".join(dict.fromkeys(self._breaches)) or "the connection that had them was lost")
        self.engine.pool.dispose()
        self._kept.discard()

    def _send(self, sql: str) -> None:
        try:
            self._kept.execute(sql)
        except Exception as error:
            if self._running and sqlstate(error) in LOST:
                raise IsolationError(f"{RAW} ended the test's transaction. {REMEDY}") from error
            raise

    def close(self) -> None:
        """Close the kept connection."""
        self._discard()

    # --- one test

    @contextmanager
    def test(self) -> Iterator[Engine]:
        """Give one test the engine; afterwards everything that the test did is undone.

        Raises:
            IsolationError: at the end, where the test really committed something.
        """
        if self.layers and self.is_test_running:  # there a test begins before its first fixture
            yield self.engine
            return
        with self._without_escapes():
            self.begin_level()
            try:
                if self.resets_sequences:
                    self._set_sequences_back()
                yield self.engine
            finally:
                self._end()

    @contextmanager
    def _without_escapes(self) -> Iterator[None]:
        """Fail the test where somebody has come by the engine's URL, past its transaction, and has written.

        Raises:
            IsolationError: somebody has.
        """
        self._note_begun()
        if (escapes := self._find_escapes()) is None:
            yield
            return
        escapes.begin()
        try:
            yield
        finally:
            escapes.is_watching = False
        if escapes.has_come and self._find_escapes() is escapes:
            if has_written := escapes.has_written():
                self.layers.lose(ESCAPE)
            if has_written or not self.layers:  # what was only deleted leaves no trace
                self._renew()
            if has_written:
                raise IsolationError(f"{ESCAPE}. {RENEWED}{self.layers.note_of_loss()}. {REMEDY}")

    def _set_sequences_back(self) -> None:
        """Let the sequences begin as they were below the test; the end of the test undoes that, too."""
        wanted = {**self._sequences(), **self.layers.sequences()}
        with self._lock:
            # below the savepoint that a rollback in the test goes back to
            self._send(f"RELEASE SAVEPOINT {BASE};{sequences_.set_back(wanted)};SAVEPOINT {BASE}")

    def read_sequences(self) -> dict[tuple[str, str], int]:
        """Return what each sequence gives next, by schema and name."""
        return sequences_.read(self._kept.rows)

    @property
    def is_test_running(self) -> bool:
        """Whether a test has the kept connection."""
        return self._running and not self.layers.between

    @contextmanager
    def layer(self, name: str) -> Iterator[Session]:
        """Give a session whose rows all tests see until it ends; each test is rolled back onto them.

        Args:
            name: the fixture, for errors.

        Raises:
            IsolationError: a test runs; or what lies below was lost.
        """
        with self.layers.open(name) as session:
            yield session

    def begin_level(self) -> None:
        """Begin what will be undone as a whole: a test, or a layer below tests.

        Raises:
            IsolationError: it would lie on layers whose rows are gone.
        """
        with self._lock:
            if self.layers:
                self.layers.settle()
            if self._kept.is_closed():
                self._open()
            self._renew_engine()
            self._start()

    def _renew_engine(self) -> None:
        if traits.of_engine(self.engine) != self._as_made:
            self.engine = self.make_engine()  # listeners and options are a test's own, as its rows are

    def _start(self) -> None:
        self._stack.clear()
        self._breaches.clear()
        self._abandoned.clear()
        self._deferring = False
        self._arm()
        self.go_on(True)
        self.layers.between = False

    def _arm(self) -> None:
        if self.layers:
            try:
                self._send(ARM_LEVEL)
            except Exception:
                self._discard()
                self.layers.settle()
            return
        try:
            self._send(ARM)
        except Exception:
            # the server, or this one backend, went away between two tests: once more on a new one
            self._open()
            self._send(ARM)

    def go_on(self, running: bool) -> None:
        """Let nobody go on who had the kept connection until now; let others have it where something is `running`."""
        self.test_number += 1
        self._stack.clear()
        self._abandoned.clear()
        self._running = running

    def end_level(self) -> None:
        """Undo a layer.

        Raises:
            IsolationError: something was really committed in it.
        """
        with self._lock:
            self._running = False
            self._kept.has_deferred = None  # it may have defined something
            self._undo_test()

    def give_up_level(self, error: Exception) -> None:
        """Throw away what could not be committed to a layer, and the layers with it.

        Args:
            error: why not.

        Raises:
            IsolationError: something was really committed.
        """
        with self._lock:
            if isinstance(error, IsolationError) and is_usable(self._kept):
                self._breaches.append(f"{RAW} ended the test's transaction")
                self._recover()
            self._discard()

    def check_level(self) -> None:
        """Look whether the transaction of the layers is as it was, before something is put on them.

        Raises:
            IsolationError: what was done between two tests has ended it.
        """
        with self._lock:
            if not is_usable(self._kept):
                self._discard()
                return
            self._settle(None)
            if self._breaches:
                self._recover()

    def keep(self) -> None:
        """Commit for real what the running test did so far, and let it do no more; its end sets the database aside.

        Raises:
            IsolationError: there is nothing that could be committed.
        """
        with self._lock:
            self.layers.refuse_keeping()
            if self._kept.is_closed() or self._kept.status() in (ACTIVE, IDLE):
                raise IsolationError("the test's transaction is gone.")
            if self._kept.status() == IN_ERROR:
                self._send(self._stack.fail()[0])
            self._running = False
            self._keeps = True
            self._kept.execute("COMMIT")

    def _end(self) -> None:
        self._running = False
        if not self._lock.acquire(timeout=PATIENCE):
            self._kept.cancel()
            self._lock.acquire()
        try:
            with self._reset_layers():
                if self._keeps:
                    self._keeps = False
                    self._discard()
                    self._set_aside()
                else:
                    self._undo_test()
        finally:
            self._lock.release()

    @contextmanager
    def _reset_layers(self) -> Iterator[None]:
        """Let the sessions of the layers end what they do, and be as before the test once that is undone."""
        if not self.layers:
            yield
            return
        self._running = not self._keeps and is_usable(self._kept)
        self._closing = True
        try:
            self.layers.reset()
        finally:
            self._running = self._closing = False
        try:
            yield
        finally:
            self.layers.restore()

    def _undo_test(self) -> None:
        if self._kept.is_closed():
            # a killed backend has committed nothing; whoever closes it himself may have (psycopg's `with` block does)
            if not self._kept.is_broken():
                self._breaches.append("the driver's own connection was closed, which ended the test's transaction")
            self._discard()
        elif self._kept.status() == ACTIVE:
            # a statement that a signal broke off (pytest-timeout): who hangs up has committed nothing
            with suppress(Exception):
                self._kept.cancel()
            self._discard()
        else:
            try:
                self._send(UNDO_LEVEL if self.layers else self._kept.undo)
            except Exception as error:
                if self._kept.is_closed() or sqlstate(error).startswith(("57P", "08")):
                    self._discard()
                elif not self._breaches:
                    self._breaches.append(f"{RAW} ended the test's transaction")
        if self._schema_changed:
            self._schema_changed = False
            self._kept.has_deferred = None
        if self._breaches:
            self._recover()

    def _recover(self) -> None:
        """Give the next test a clean database after a real commit, and fail the one that did it."""
        breaches = "; ".join(dict.fromkeys(self._breaches))
        self._breaches.clear()
        self.layers.lose(breaches)
        self._discard()
        self._renew()
        raise IsolationError(
            f"{breaches}: what it did was really committed, or lost, and no rollback can undo it. The next test gets a "
            f"database made anew{self.layers.note_of_loss()}. Commit and roll back through the session, connection or engine. "
            f"{REMEDY}"
        )

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture, after a last look at its open work.

        Raises:
            sqlalchemy.exc.IntegrityError: it left rows that break a deferred constraint.
        """
        try:
            yield thing
            self._look(thing)
        finally:
            self._close(thing)

    def _look(self, thing: Any) -> None:
        if self._may_be_looked_at(thing):
            connection = thing.connection() if isinstance(thing, Session) else thing
            if not connection.invalidated and self._has_written(self._owner_of(connection._dbapi_connection)):
                connection.exec_driver_sql(CHECK)

    def _close(self, thing: Any) -> None:
        self._closing = True  # its work may well stay below another session's: nobody looks any more
        try:
            thing.close()
        finally:
            self._closing = False

    def sessionmaker(self, engine: Engine) -> SessionFactory:
        """Return a factory of sessions for one test."""
        if self._factory is None or not self._factory.may_serve(engine):
            self._factory = SessionFactory(engine)
        return self._factory

    def _may_be_looked_at(self, thing: Any) -> bool:
        if not self._running or (self._kept.has_deferred is False and not self._deferring) or not thing.in_transaction():
            return False
        # a session or nested transaction that waits for its rollback has nothing that could be looked at
        return (not isinstance(thing, Session) or thing.is_active) and self._kept.status() == IN_TRANSACTION

    def _has_written(self, owner: Owner) -> bool:
        return owner.raw or owner.cursor_out or self._stack.has(owner, written=True)

    # --- statements

    def _guarded(self, send: Callable[..., None]) -> Callable[..., None]:
        def run(cursor: Any, statement: str, *rest: Any) -> None:
            owner = self._owner_of(rest[-1].root_connection._dbapi_connection)
            with self._lock:
                self._enter(owner)
                if self._stack.failed and owner in self._stack.failed:
                    raise self._failed_before()
                if PREPARES.match(statement):
                    self._refuse_twophase()
                owner.cursor_out = False
                if SETS_LOCALLY.search(statement):
                    self._remember(owner, local_settings(statement, rest[0]))
                send(cursor, statement, *rest)
                self._after(owner, cursor, statement)

        return run

    def _check(self, owner: Owner) -> None:
        if not self._running or (owner.test != self.test_number and owner.test is not None):
            raise IsolationError(f"a session or connection of {self.NAME} was used after its test had ended.")
        if os.getpid() != self._process:
            raise IsolationError(f"{self.NAME} cannot be used in a forked child: it is one connection. {REMEDY}")

    def _enter(self, owner: Owner) -> None:
        """Let the owner send a statement: a savepoint before it, where another one's work is on top."""
        self._check(owner)
        self._settle(owner)
        # in a failed transaction the server refuses everything until the rollback
        if (before := self._stack.enter(owner)) and self._kept.status() != IN_ERROR:
            self._send(before)

    def _settle(self, owner: Owner | None) -> None:
        """Bring the transaction into a state in which the owner, or somebody new, can work."""
        if self._kept.is_closed():
            raise IsolationError(f"the connection of this test's transaction is gone, and its work with it. {REMEDY}")
        while self._abandoned:
            self._undo_of(self._abandoned.pop())
        status = self._kept.status()
        if status == IN_TRANSACTION:
            return
        if status == IDLE:
            self._ended_behind(RAW)
        elif status == IN_ERROR and not (self._stack.runs and self._stack.runs[-1].owner is owner):
            sql, lost = self._stack.fail()
            self._send(sql)
            if lost:
                warn(f"a statement that failed past SQLAlchemy took committed work with it. {REMEDY}")

    def _failed_before(self) -> Exception:
        """Make the error that the server would give, had each session a connection of its own."""
        return self._kept.failed_before(self.engine.dialect)

    def _after(self, owner: Owner, cursor: Any, statement: str) -> None:
        if self._kept.status() == IDLE:
            self._ended_behind(f"the statement {shortened(statement)!r}")
            return
        if owner is self._nobody:
            return  # SQLAlchemy's own questions change nothing
        tag = self._kept.tag(cursor, statement)
        kind = tag.partition(" ")[0] or "DECLARE"
        if kind == "SELECT":
            if may_write(statement):
                self._changed(owner, statement, defines="create" in statement.lower())
        elif kind in CHANGES:
            self._stack.wrote(owner)
        else:
            self._seldom(owner, kind, tag, statement)

    def _changed(self, owner: Owner, statement: str, *, defines: bool) -> None:
        self._stack.wrote(owner)
        if not defines:
            return
        self._kept.has_deferred = None
        self._schema_changed = True
        if match := find(ON_COMMIT, statement):
            name, action = match[1], match[2].upper()
            owner.at_commit[name] = f"DROP TABLE IF EXISTS pg_temp.{name}" if action == "DROP" else f"DELETE FROM pg_temp.{name}"

    def _seldom(self, owner: Owner, kind: str, tag: str, statement: str) -> None:
        if kind in READS:
            return
        if kind in HOLDS:
            self._deferring |= tag == "SET CONSTRAINTS"
            self._stack.held(owner)
            if match := find(SETTING, statement):
                owner.at_commit.pop(match[1].lower(), None)
        elif match := find(SAVEPOINT, statement):
            self._own_savepoint(owner, match[1].split()[0].lower(), match[2])
        elif kind in ("COMMIT", "ROLLBACK", "BEGIN", "START"):
            if find(ENDS, statement):  # and another one was begun at once
                self._ended_behind(f"the statement {shortened(statement)!r}")
        else:
            self._changed(owner, statement, defines=kind in DEFINES)

    def _remember(self, owner: Owner, names: list[str]) -> None:
        """Let settings of one transaction end with its commit: what they were is set again then."""
        for name in names:
            if name in owner.at_commit or self._kept.status() == IN_ERROR:
                continue
            before = self._kept.ask(f"SELECT current_setting({quoted(name)}, true)")
            if before is not None or "." in name:  # else there is no such setting, and the statement will be refused
                owner.at_commit[name] = f"SELECT set_config({quoted(name)}, {quoted(before or '')}, false)"

    def _own_savepoint(self, owner: Owner, verb: str, name: str) -> None:
        """Follow a savepoint that was said as text."""
        if verb == "savepoint":
            self._stack.set_inner(owner, name)
        elif verb == "release":
            self._stack.release(owner, name)
        else:
            self._stack.rollback_to(owner, name)

    def _ended_behind(self, how: str) -> None:
        self._breaches.append(f"{how} ended the test's transaction")
        self._stack.clear()
        self._send(ARM)

    # --- what the dialect is told, by sessions and connections alike

    def _commit(self, fairy: Any) -> None:
        self.commit(self._owner_of(fairy))

    def commit(self, owner: Owner) -> None:
        """Commit one owner's work, as far as this test can tell."""
        with self._lock:
            self._check(owner)
            self._settle(owner)
            if self._kept.status() == IN_ERROR or owner in self._stack.failed:
                self._undo_of(owner)  # as a server does that is told COMMIT in a failed transaction
                return
            if owner.raw or owner.cursor_out:
                self._stack.wrote(owner)
                self._kept.has_deferred = None  # nobody saw what it was
            try:
                self._send(";".join(part for part in self._commit_parts(owner) if part))
            except Exception as error:
                if not self._kept.is_closed():
                    self._undo_of(owner)  # the server's transaction is over, too, when its commit fails
                if sqlstate(error).startswith("23") and self._stack.runs:
                    error.add_note(f"Another session has uncommitted work in this test; the rows may be its own. {REMEDY}")
                raise
            self._stack.committed(owner)
            owner.at_commit.clear()

    def _commit_parts(self, owner: Owner) -> Iterator[str]:
        yield CHECK
        yield from owner.at_commit.values()
        if self._kept.has_deferred_constraints():
            yield DEFER_AGAIN
        yield self._stack.commit(owner)

    def _rollback(self, fairy: Any) -> None:
        self.rollback(self._owner_of(fairy))

    def rollback(self, owner: Owner) -> None:
        """Undo one owner's uncommitted work."""
        with self._lock:
            if self._running and owner.test in (self.test_number, None) and not self._kept.is_closed():
                self._settle(owner)
                self._undo_of(owner)

    def _undo_of(self, owner: Owner) -> None:
        if owner.raw or owner.cursor_out:
            self._stack.wrote(owner)
            owner.raw = owner.cursor_out = False
        owner.at_commit.clear()
        sql, stayed = self._stack.rollback(owner)
        if sql:
            self._send(sql)
        self._undone()
        if stayed:
            self._warn_of_rest("session or connection rolled back")

    def _undone(self) -> None:
        if self._schema_changed:
            self._kept.has_deferred = None

    def _warn_of_rest(self, what: str) -> None:
        if not self._closing:
            warn(
                f"a {what} after another one had written or committed on top of its uncommitted work; "
                f"in transaction isolation that work stays. {REMEDY}"
            )

    def _savepoint(self, connection: Any, name: str) -> None:
        connection.exec_driver_sql(f"SAVEPOINT {self._own_name(connection, name)}")

    def _rollback_to_savepoint(self, connection: Any, name: str) -> None:
        owner = self._owner_of(connection._dbapi_connection)
        with self._lock:
            self._check(owner)
            self._settle(owner)
            sql, stayed = self._stack.rollback_to(owner, self._own_name(connection, name))
            if sql:
                self._send(sql)
            self._undone()
        if stayed:
            self._warn_of_rest("nested transaction was rolled back")

    def _release_savepoint(self, connection: Any, name: str) -> None:
        owner = self._owner_of(connection._dbapi_connection)
        with self._lock:
            self._check(owner)
            self._settle(owner)
            own = self._own_name(connection, name)
            if owner in self._stack.failed or self._kept.status() == IN_ERROR:
                connection.exec_driver_sql(f"RELEASE SAVEPOINT {own}")  # refused, by an error of SQLAlchemy's as of any statement
            elif sql := self._stack.release(owner, own):
                self._send(sql)

    def _own_name(self, connection: Any, name: str) -> str:
        # SQLAlchemy counts per connection, so two sessions would use one name in our one transaction
        return f"{name}_{id(self._owner_of(connection._dbapi_connection)):x}"

    def _refuse_twophase(self, *_: Any) -> None:
        raise IsolationError(f"a two-phase transaction cannot run inside the test's transaction. {REMEDY}")

    def _set_isolation_level(self, connection: Any, level: str) -> None:
        if level not in ("READ COMMITTED", "READ UNCOMMITTED"):
            raise IsolationError(f"isolation level {level} cannot be had inside the test's transaction. {REMEDY}")

    def _set_readonly(self, connection: Any, value: bool) -> None:
        if value:
            raise IsolationError(f"a read-only transaction cannot be had inside the test's transaction. {REMEDY}")

    def _set_deferrable(self, connection: Any, value: bool) -> None:
        if value:
            raise IsolationError(f"a deferrable transaction cannot be had inside the test's transaction. {REMEDY}")

    def _explain(self, context: Any) -> IsolationError | None:
        """Add what the database's own error does not tell; return an error to be raised in its place."""
        original, shown = context.original_exception, context.sqlalchemy_exception
        if shown is None:
            return None
        if isinstance(original, IsolationError):
            return IsolationError(*original.args)  # not as the cause of a StatementError
        if sqlstate(original) == "55P03":
            shown.add_note(self._bystanders())
        elif sqlstate(original) == "25001" and "TRANSACTION" in str(original):
            shown.add_note(f"The test's own transaction has long begun. {REMEDY}")
        return None


def warn(text: str) -> None:
    """Give a warning that pytest shows with the test."""
    warnings.warn(TestbedWarning(text), stacklevel=3)


def is_usable(kept: Kept) -> bool:
    """Tell whether something can be sent in the transaction of the kept connection."""
    return not kept.is_closed() and kept.status() in (IDLE, IN_TRANSACTION, IN_ERROR)


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of a driver's error, "" where it has none."""
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""
