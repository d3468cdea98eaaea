"""What keeps tests apart that use the database for real, whoever connects: watched from fixture to fixture."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from .exports import EXPORTS
from .isolation import apart, is_quiet, read_folders, real_commits
from .plugin import plain_errors
from .plugins.postgres import ADDRESS
from .setups import begun_or_not_at_all

if TYPE_CHECKING:
    from .postgres.database import Database
    from .postgres.real import RealCommits, Trace

__all__ = ["Apart", "Everywhere"]


class Apart:
    """A plugin of runs in which tests commit for real: what fixtures of wider scopes write is not a test's."""

    def __init__(self, real: RealCommits) -> None:
        self._real = real
        self._depth = 0
        """How many fixtures of wider scopes are being set up, one asked for by the other."""
        self._is_late = False
        """Whether the outermost of them was asked for by a test that may have written already."""
        self._refused: BaseException | None = None
        self._faults: list[Exception] = []
        """What went wrong between tests and after fixtures, and is to be told by the test that is at hand."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Take what a fixture has written that outlives the test for what tests begin with."""
        __tracebackhide__ = True
        if fixturedef.scope == "function":
            return (yield)
        if not self._depth:
            self._is_late = self._real.is_at_work
            with begun_or_not_at_all(fixturedef, request), plain_errors(request.config):
                self._real.settle_between()
        is_late = self._is_late
        self._depth += 1
        try:
            return (yield from self._late(fixturedef, request)) if is_late else (yield)
        finally:  # it may have written before it failed
            self._depth -= 1
            if not is_late and self._real.was_used:
                self._real.settle(layer=id(fixturedef))

    def _late(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, object, object]:
        """Leave all to the test, which undoes it; refuse a fixture that has written what would have to outlive the test."""
        since = self._real.trace()
        try:
            result = yield
            self._refuse(fixturedef.argname, since, request.config)
        except BaseException as error:
            if error is self._refused:  # here, or in one that this one has asked for
                fixturedef.finish(request)  # type: ignore[arg-type]
            raise
        return result

    def _refuse(self, name: str, since: Trace, config: pytest.Config) -> None:
        try:
            with plain_errors(config):
                self._real.refuse_late(name, since)
        except BaseException as error:
            self._refused = error
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Undo that when the fixture has ended."""
        if fixturedef.scope == "function":
            return
        try:
            self._real.settle_after(id(fixturedef))
        except Exception as error:  # else pytest 8 would lose the fixture's own, and give its old value to later tests
            self._faults.append(error)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Tell what went wrong after fixtures that ended for this test's."""
        return (yield from self._telling(item.config))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Tell what went wrong after fixtures that ended with this test."""
        return (yield from self._telling(item.config))

    def _telling(self, config: pytest.Config) -> Generator[None, object, object]:
        try:
            self._real.settle_between()  # before a fixture ends: what hooks have done is not undone with it
        except Exception as error:
            self._faults.append(error)
        try:
            result = yield
        except pytest.skip.Exception:
            raise  # nobody would see it there: the end of the test tells it
        except BaseException as error:
            add_notes(error, self._take_faults())
            raise
        if faults := self._take_faults():
            add_notes(faults[0], faults[1:])
            with plain_errors(config):
                raise faults[0]
        return result

    def _take_faults(self) -> list[Exception]:
        faults, self._faults = self._faults, []
        return faults


def add_notes(error: BaseException, others: list[Exception]) -> None:
    """Let an error tell of others, too."""
    for other in others:
        error.add_note(f"{type(other).__name__}: {other}")


class Everywhere:
    """A plugin of runs whose tests may reach the database by an exported address: each of them is looked after."""

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        self._real: Any = None
        """The `RealCommits` of this process, once they are there."""
        self._checked: object = None
        self.is_apart = False
        """Whether the running test is looked after."""

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what follows from an exported address."""
        names = [name for name, text in config.stash[EXPORTS].templates if "{pg." in text]
        mode = read_folders(config)[0]
        what = "commit for real" if mode == "database" else "commit nothing"
        return [f"testbed: {', '.join(names)} from PostgreSQL; tests {what} (isolation: {mode})"]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note that all is imported: from now on the first test makes the database, before its first fixture."""
        session.config.stash[ADDRESS].settle()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Make the database before the first fixture of the first test; begin each test before its own first fixture.

        Other plugins' fixtures may come before ours, and what they do at their end must still be undone.
        """
        __tracebackhide__ = True
        if not self.is_apart or self._real is None:
            self._look_after(fixturedef, request)
        return (yield)

    def _look_after(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
        __tracebackhide__ = True
        if self._item is None or fixturedef.argname in NEEDED or (is_quiet(self._item) and self._real is None):
            return  # who is of a unit starts nothing; what it does where all is there is undone all the same
        with begun_or_not_at_all(fixturedef, request):
            if self._real is None:
                self._real = real_commits(request)
            if self._real is None:
                return  # --setup-plan: fixtures give nothing
            if fixturedef.scope == "function":
                self.is_apart = True
                self._begin(self._item, self._real, request)

    def _begin(self, item: pytest.Item, real: RealCommits, request: pytest.FixtureRequest) -> None:
        """Begin the test. No fixture does it: most tests of such a run do not connect, and a fixture costs more than all else."""
        __tracebackhide__ = True
        with plain_errors(item.config):
            if item.parent is not self._checked or "pg_schema" in getattr(item, "fixturenames", ()):
                database: Database = request.getfixturevalue("_pg_database")
                database.check_schema(request.getfixturevalue("pg_schema"), request.getfixturevalue("pg_seed"))
                self._checked = item.parent
            stack = ExitStack()
            stack.enter_context(plain_errors(item.config))
            stack.enter_context(apart(item, real))
        item.addfinalizer(stack.close)  # the first of all, so it comes after those of all fixtures

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember whose fixtures are set up; begin anew with each run of a test."""
        self._item, self.is_apart = item, False

    @pytest.fixture(autouse=True)
    def _pg_everywhere(self) -> None:
        """Be there, for tests without any other fixture: the first one of a test begins it."""


NEEDED = frozenset(("request", "pytestconfig", "testbed", "pg_service", "pg_schema", "pg_seed", "_pg_database", "_pg_real"))
"""Fixtures that ours are made of: when one of them is set up first, ours has to wait for the next."""
