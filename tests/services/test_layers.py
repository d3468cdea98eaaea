"""Wider scopes in transaction isolation: rows of a module or class, onto which each of its tests is rolled back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.conftest import QUIET, Servers, options_for
from tests.services.test_keep_failed import kept

Run = Callable[..., pytest.RunResult]
REAL_CACHE = Path.home() / ".cache"

MODELS = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

class Base(DeclarativeBase): pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="user", cascade="all, delete-orphan")

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", deferrable=True, initially="DEFERRED"))
    user: Mapped[User] = relationship(back_populates="orders")
"""

HEAD = """
import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session
from models import Base, Order, User

def names(thing):
    return list(thing.scalars(select(User.name).order_by(User.name)))

@pytest.fixture(scope="module")
def ann(pg_module_session):
    ann = User(name="ann")
    pg_module_session.add(ann)
    pg_module_session.commit()
    return ann
"""
BOB = """
@pytest.fixture(scope="class")
def bob(pg_class_session):
    bob = User(name="bob")
    pg_class_session.add(bob)
    pg_class_session.commit()
    return bob
"""


@pytest.fixture(params=["psycopg2"])
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    """Run pytest in a process of its own on a local server."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.mkdir("state")))
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(REAL_CACHE))
    pytester.makepyfile(models=MODELS)
    pytester.makeini(
        "[pytest]\npythonpath = .\ntestbed_pg_schema = models:Base\nfilterwarnings = error\n"
        f"testbed_pg_driver = {request.param}\n"
    )
    local = options_for(servers.any_local())
    return lambda *arguments: pytester.runpytest_subprocess(*QUIET, *local, *arguments)


both_drivers = pytest.mark.parametrize("run", ["psycopg2", "psycopg"], indirect=True)


# --- what tests see


@both_drivers
def test_each_test_is_rolled_back_onto_the_rows(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_all_see_them(ann, pg_session, pg_connection, pg_engine, turn):
    assert names(pg_session) == names(pg_connection) == ["ann"]
    with pg_engine.begin() as own:
        own.execute(text("UPDATE users SET name = 'changed'"))
    assert names(pg_session) == ["changed"]
    pg_session.rollback()
    with Session(pg_engine) as other:
        other.execute(text("DELETE FROM users"))
        other.add(User(name="new"))
        other.commit()
    assert names(pg_connection) == ["new"]

def test_a_test_that_does_not_ask_sees_them_too(pg_session):
    assert names(pg_session) == ["ann"]
"""
    )
    pytester.makepyfile(
        test_other="from test_it import names\ndef test_others_do_not(pg_session): assert names(pg_session) == []\n"
    )
    run().assert_outcomes(passed=5)
    run("test_other.py", "test_it.py").assert_outcomes(passed=5)


@both_drivers
def test_objects_stay_usable_and_show_what_is_there(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
BEFORE = []

@pytest.fixture(autouse=True)
def as_set_up(ann, pg_module_session):
    assert ann in pg_module_session
    assert (ann.name, ann.orders) == ("ann", [])
    assert list(pg_module_session) == [ann]
    assert names(pg_module_session) == ["ann"]

def test_changed_by_another_session(ann, pg_session):
    pg_session.execute(text("UPDATE users SET name = 'changed'"))
    pg_session.commit()

def test_changed_and_committed(ann, pg_module_session):
    ann.name = "changed"
    ann.orders.append(Order())
    pg_module_session.add(User(name="new"))
    pg_module_session.commit()
    assert names(pg_module_session) == ["changed", "new"]

def test_changed_and_not_even_flushed(ann, pg_module_session):
    ann.name = "changed"
    ann.orders.append(Order())
    BEFORE.append(User(name="kept by somebody"))
    pg_module_session.add(BEFORE[0])

def test_deleted(ann, pg_module_session):
    pg_module_session.delete(ann)
    pg_module_session.commit()
    assert names(pg_module_session) == []

def test_deleted_with_an_order(ann, pg_module_session):
    ann.orders.append(Order())
    pg_module_session.flush()
    BEFORE.append(ann.orders[0])
    pg_module_session.delete(ann)
    pg_module_session.flush()

def test_deleted_for_good_with_an_order(ann, pg_module_session):
    order = Order()
    BEFORE.append(order)
    ann.orders.append(order)
    pg_module_session.flush()
    pg_module_session.delete(ann)
    pg_module_session.commit()

def test_closed(ann, pg_module_session):
    BEFORE.append(Order(user=ann))
    pg_module_session.close()

def test_moved(ann, pg_module_session, pg_session):
    pg_module_session.expunge(ann)
    pg_session.add(ann)
    ann.name = "changed"
    pg_session.commit()

def test_nested(ann, pg_module_session):
    pg_module_session.begin_nested()
    ann.name = "changed"
    pg_module_session.flush()
    pg_module_session.begin_nested()

def test_failed(ann, pg_module_session):
    pg_module_session.add(User(name="ann"))
    with pytest.raises(IntegrityError):
        pg_module_session.flush()

def test_failed_and_committed(ann, pg_module_session, pg_session):
    with pytest.raises(ProgrammingError):
        pg_session.execute(text("SELECT nonsense"))
    ann.name = "changed"
    pg_module_session.commit()

def test_same_key_again(ann, pg_module_session):
    number = ann.id
    pg_module_session.delete(ann)
    pg_module_session.commit()
    BEFORE.append(User(id=number, name="successor"))
    pg_module_session.add(BEFORE[-1])
    pg_module_session.commit()

def test_last(ann): pass
"""
    )
    result = run("-p", "no:randomly")
    result.assert_outcomes(passed=13)


def test_commit_and_rollback_of_a_wide_session(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def rows(ann, pg_module_session):
    pg_module_session.add(User(name="lost"))
    pg_module_session.flush()
    pg_module_session.rollback()
    assert names(pg_module_session) == ["ann"]
    with pg_module_session.begin_nested():
        pg_module_session.add(User(name="nested"))
    pg_module_session.add(User(name="nobody committed it"))
    pg_module_session.flush()
    pg_module_session.add(User(name="nor flushed it"))

@pytest.mark.parametrize("turn", [1, 2])
def test_in_a_test(rows, pg_module_session, turn):
    there = ["ann", "nested", "nobody committed it", "nor flushed it"]
    assert names(pg_module_session) == there
    pg_module_session.add(User(name="b"))
    pg_module_session.commit()
    pg_module_session.add(User(name="c"))
    pg_module_session.flush()
    pg_module_session.rollback()
    assert names(pg_module_session) == ["ann", "b", *there[1:]]
"""
    )
    run().assert_outcomes(passed=2)


def test_a_test_with_the_wide_session_alone(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture
def more(ann, pg_module_session):
    pg_module_session.add(User(name="of a function fixture"))
    pg_module_session.commit()
    yield
    pg_module_session.add(User(name="at its end"))
    pg_module_session.commit()

@pytest.mark.parametrize("turn", [1, 2])
def test_with_a_fixture(more, pg_module_session, turn):
    assert names(pg_module_session) == ["ann", "of a function fixture"]
    pg_module_session.execute(text("DELETE FROM users"))
    pg_module_session.commit()

@pytest.fixture(scope="module")
def session(ann, pg_module_session): return pg_module_session

@pytest.mark.usefixtures("session")
class TestWithoutAnyFixtureOfItsOwn:
    def test_one(self, session):
        assert names(session) == ["ann"]
        session.execute(text("DELETE FROM users"))
        session.commit()

    def test_two(self, session):
        assert names(session) == ["ann"]
"""
    )
    run().assert_outcomes(passed=4)


def test_rows_that_a_later_test_asks_for(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def later(pg_module_session):
    pg_module_session.add(User(name="later"))
    yield
    assert names(pg_module_session) == ["ann", "later"]

def test_nothing_yet(pg_session):
    assert names(pg_session) == []
    pg_session.add(User(name="ann"))
    pg_session.commit()

def test_one(ann, pg_session):
    assert names(pg_session) == ["ann"]
    pg_session.add(User(name="later"))
    pg_session.commit()

def test_both(later, pg_session):
    assert names(pg_session) == ["ann", "later"]
    pg_session.execute(text("DELETE FROM users"))
    pg_session.commit()

def test_still_both(pg_session):
    assert names(pg_session) == ["ann", "later"]
"""
    )
    run().assert_outcomes(passed=4)


@both_drivers
def test_a_class_lies_on_its_module(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + BOB
        + """
class TestWithBoth:
    @pytest.mark.parametrize("turn", [1, 2])
    def test_both(self, ann, bob, pg_session, turn):
        assert (ann.name, bob.name, names(pg_session)) == ("ann", "bob", ["ann", "bob"])
        pg_session.execute(text("DELETE FROM users"))
        pg_session.commit()

def test_the_module_alone(ann, pg_session):
    assert names(pg_session) == ["ann"]

@pytest.fixture(scope="class")
def change(ann, bob, pg_class_session):
    pg_class_session.execute(text("UPDATE users SET name = 'changed' WHERE id = :id"), {"id": ann.id})

@pytest.mark.usefixtures("change")
class TestAgain:
    def test_changed(self, pg_session):
        assert names(pg_session) == ["bob", "changed"]

    def test_changed_still(self, ann):
        assert ann.name == "changed"

def test_the_module_s_own_name_is_back(ann, pg_session):
    assert (ann.name, names(pg_session)) == ("ann", ["ann"])

def test_a_class_layer_of_one_function(bob, pg_session):
    assert names(pg_session) == ["ann", "bob"]

def test_nothing_of_it_is_left(pg_session):
    assert names(pg_session) == ["ann"]
"""
    )
    run().assert_outcomes(passed=8)


def test_a_class_inside_a_class(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + BOB
        + """
class TestOuter:
    def test_outer(self, bob, pg_session): assert names(pg_session) == ["bob"]
    class TestInner:
        def test_inner(self, bob, pg_session): assert names(pg_session) == ["bob"]
        def test_inner_again(self, ann, pg_session): assert names(pg_session) == ["ann"]

class TestOther:
    def test_nothing(self, pg_session): assert names(pg_session) == []
"""
    )
    result = run()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["IsolationError: pg_module_session was asked for while pg_class_session had its rows already*"])


def test_a_parametrised_module_fixture_clears_up_as_on_any_database(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module", params=["a", "b"])
def one(request, ann, pg_module_session):
    user = User(name=request.param)
    pg_module_session.add(user)
    yield user
    pg_module_session.delete(user)

def test_one(one, pg_session):
    assert names(pg_session) == sorted(["ann", one.name])
    pg_session.execute(text("DELETE FROM users"))
    pg_session.commit()

def test_two(one, pg_session):
    assert names(pg_session) == sorted(["ann", one.name])

def test_three(pg_session):  # pytest keeps the last one until the module ends
    assert names(pg_session) == ["ann", "b"]
"""
    )
    run().assert_outcomes(passed=5)


def test_tables_made_in_a_layer(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def table(pg_module_session):
    pg_module_session.execute(text("CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    pg_module_session.execute(text("INSERT INTO more VALUES (1)"))
    pg_module_session.commit()

@pytest.mark.parametrize("turn", [1, 2])
def test_it(table, pg_session, turn):
    assert pg_session.scalars(text("SELECT id FROM more")).all() == [1]
    pg_session.execute(text("ALTER TABLE more ADD name text"))
    pg_session.commit()
    pg_session.execute(text("INSERT INTO more VALUES (1, 'x')"))
    with pytest.raises(IntegrityError):
        pg_session.commit()
    pg_session.rollback()
    pg_session.execute(text("DROP TABLE more"))
    pg_session.commit()
"""
    )
    pytester.makepyfile(
        test_z="from sqlalchemy import text\n"
        "def test_it(pg_session): assert pg_session.scalar(text(\"SELECT to_regclass('more')\")) is None\n"
    )
    run().assert_outcomes(passed=3)


def test_other_modules_in_any_order_and_on_workers(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeini("[pytest]\npythonpath = .\ntestbed_pg_schema = models:Base\n")
    for number in range(4):
        pytester.makepyfile(
            **{
                f"test_{number}": HEAD
                + BOB
                + """
class TestIt:
    @pytest.mark.parametrize("turn", [1, 2])
    def test_both(self, ann, bob, pg_session, turn):
        assert names(pg_session) == ["ann", "bob"]
        pg_session.execute(text("DELETE FROM users"))
        pg_session.commit()

@pytest.mark.parametrize("turn", [1, 2])
def test_it(ann, pg_session, turn):
    assert names(pg_session) == ["ann"]
    pg_session.add(User(name="bob"))
    pg_session.commit()
"""
            }
        )
    pytester.makepyfile(test_9="from test_1 import names\ndef test_none(pg_session): assert names(pg_session) == []\n")
    run("-p", "randomly", "-p", "xdist", "-n2").assert_outcomes(passed=17)
    interleaved = [f"test_{number}.py::test_it[{turn}]" for turn in (1, 2) for number in (3, 0)]
    run(*interleaved, "test_9.py").assert_outcomes(passed=5)
    assert run("-p", "randomly", "-p", "no:xdist").parseoutcomes() == {"passed": 17}


# --- sessions side by side


def test_two_sessions_that_end_out_of_order(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + BOB
        + """
@pytest.fixture(scope="class")
def open_ones(pg_module_session, pg_class_session, ann, bob):
    assert ann.name == "ann"  # reading below is allowed
    pg_class_session.add(User(name="open"))
    pg_class_session.flush()

class TestIt:
    @pytest.mark.filterwarnings("ignore:a session or connection rolled back after another")
    @pytest.mark.parametrize("turn", [1, 2])
    def test_it(self, open_ones, ann, pg_engine, pg_module_session, pg_class_session, turn):
        assert names(pg_class_session) == ["ann", "bob", "open"]
        one, two = Session(pg_engine), Session(pg_engine)
        one.add(User(name="one"))
        one.flush()
        pg_module_session.add(User(name="module"))
        pg_module_session.flush()
        two.add(User(name="two"))
        two.commit()
        pg_class_session.add(User(name="class"))
        pg_class_session.flush()
        one.rollback()
        pg_module_session.commit()
        pg_class_session.rollback()
        assert set(names(two)) >= {"ann", "bob", "open", "module", "two"}
        assert "class" not in names(two)
        ann.name = "left open"
        pg_module_session.flush()
"""
    )
    run().assert_outcomes(passed=2)


def test_a_class_cannot_be_written_under(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + BOB
        + """
class TestIt:
    def test_the_class_first(self, pg_module_session, bob, pg_session): assert names(pg_session) == ["bob"]
    def test_the_module_then(self, ann, pg_session): pass
    def test_goes_on(self, pg_session): assert names(pg_session) == ["bob"]
def test_after_it(pg_session): assert names(pg_session) == []
"""
    )
    result = run()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*IsolationError: pg_module_session was written to while pg_class_session holds rows above it*"])


# --- what goes wrong


def test_a_fixture_that_fails_leaves_what_it_committed(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def broken(ann, pg_module_session):
    pg_module_session.add(User(name="flushed"))
    pg_module_session.flush()
    pg_module_session.add(User(name="pending"))
    raise RuntimeError("half way")

@pytest.fixture(scope="module")
def twice(ann, pg_module_session):
    pg_module_session.add(User(name="ann"))
    pg_module_session.commit()

@pytest.fixture(scope="module")
def wrong(ann, pg_module_session):
    pg_module_session.execute(text("SELECT nonsense"))

@pytest.fixture(scope="module")
def late(ann, pg_module_session):
    pg_module_session.execute(insert(Order).values(user_id=-1))
    pg_module_session.commit()

def test_broken(broken): pass
def test_nothing_of_it_is_seen(pg_session): assert names(pg_session) == ["ann"]
def test_broken_again(broken): pass
def test_twice(twice): pass
def test_wrong(wrong): pass
def test_late(late): pass
def test_the_others_go_on(ann, pg_session):
    assert (ann.name, names(pg_session)) == ("ann", ["ann"])
    assert pg_session.scalar(select(func.count()).select_from(Order)) == 0
"""
    )
    result = run()
    result.assert_outcomes(passed=2, errors=5)
    assert result.stdout.str().count("RuntimeError: half way") >= 2


def test_what_cannot_be_committed_when_a_test_begins(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def late(ann, pg_module_session):
    pg_module_session.add(Order(user_id=-1))

def test_late(late, pg_session): pass
def test_rest(pg_session): pass
def test_of_no_database(): pass
"""
    )
    pytester.makepyfile(test_z="from test_it import names\ndef test_others(pg_session): assert names(pg_session) == []\n")
    result = run()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["IsolationError: the rows that were set up with pg_module_session are gone: pg_module_session could not commit *"]
    )


BREACHES = {
    "text": 'pg_session.execute(text("COMMIT"))',
    "rollback as text": 'pg_session.execute(text("ROLLBACK"))',
    "driver": "pg_session.connection().connection.driver_connection.cursor().execute('COMMIT')",
    "and begin": "pg_session.connection().connection.driver_connection.cursor().execute('COMMIT; BEGIN')",
    "wide session": 'pg_module_session.execute(text("COMMIT"))',
    "closed": "pg_session.connection().connection.driver_connection.close()",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", BREACHES.values(), ids=BREACHES)
@both_drivers
def test_a_real_commit_in_a_test(pytester: pytest.Pytester, run: Run, how: str) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + BOB
        + f"""
class TestIt:
    def test_before(self, ann, bob, pg_session): assert names(pg_session) == ["ann", "bob"]
    def test_breach(self, pg_session, pg_module_session):
        pg_session.execute(text("SELECT 1"))
        {how}
    def test_rest_of_the_class(self, pg_session): pass
def test_rest_of_the_module(ann): pass
def test_the_rest_that_does_not_ask(pg_session): pass
class TestOther:
    def test_another_class(self, bob): pass
def test_of_no_database(): pass
"""
    )
    pytester.makepyfile(
        test_z=HEAD + "def test_none(pg_session): assert names(pg_session) == []\n"
        'def test_new(ann, pg_session): assert names(pg_session) == ["ann"]\n'
    )
    result = run()
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 5, outcomes
    assert outcomes["errors"] + outcomes.get("failed", 0) == 5
    result.stdout.fnmatch_lines(
        [
            "*IsolationError: *ended the test's transaction*database made anew, without the rows of pg_module_session and "
            "pg_class_session, so the tests that lie on them fail.*",
            "IsolationError: the rows that were set up with pg_module_session and pg_class_session are gone: "
            "*ended the test's transaction (in test_it.py::TestIt::test_breach). The other tests that lie on them fail, too*",
        ]
    )


@pytest.mark.parametrize("how", ['pg_module_session.execute(text("COMMIT"))', "raw('COMMIT')", "raw('COMMIT;BEGIN')"])
def test_a_real_commit_in_a_fixture(pytester: pytest.Pytester, run: Run, how: str) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + f"""
@pytest.fixture(scope="module")
def breach(ann, pg_module_session):
    raw = pg_module_session.connection().connection.driver_connection.cursor().execute
    {how}

def test_breach(breach, pg_session): pass
def test_rest(pg_session): pass
"""
    )
    pytester.makepyfile(test_z=HEAD + "def test_none(pg_session): assert names(pg_session) == []\n")
    result = run()
    assert result.parseoutcomes() == {"passed": 1, "errors": 2}
    result.stdout.fnmatch_lines(["*IsolationError: *ended the test's transaction*"])


KILL = """
def kill(session, pg_admin_engine):
    pid = session.scalar(text("SELECT pg_backend_pid()"))
    with pg_admin_engine.connect() as admin:
        admin.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
"""


@both_drivers
def test_a_killed_backend(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + KILL
        + """
@pytest.fixture(scope="module")
def killer(ann, pg_module_session, pg_admin_engine): yield

def test_killed(ann, pg_session, pg_admin_engine): kill(pg_session, pg_admin_engine)
def test_rest(ann, pg_session): pass
""",
        test_y=HEAD
        + KILL
        + """
@pytest.fixture(scope="module")
def between(ann, pg_module_session, pg_admin_engine): kill(pg_module_session, pg_admin_engine)

def test_killed(between, pg_session): pass
def test_rest(pg_session): pass
""",
        test_x=HEAD
        + KILL
        + """
@pytest.fixture(scope="module")
def between(ann, pg_module_session, pg_admin_engine): kill(pg_module_session, pg_admin_engine)

@pytest.fixture
def more(pg_module_session): names(pg_module_session)

def test_without_an_engine(between, more): pass
""",
        test_z=HEAD + "def test_new(ann, pg_session): assert names(pg_session) == ['ann']\n",
    )
    result = run()
    assert result.parseoutcomes() == {"passed": 2, "errors": 5}
    for other in ("*while no test that asked for it ran*", "*AttributeError*"):
        result.stdout.no_fnmatch_line(other)
    result.stdout.fnmatch_lines(
        [
            "IsolationError: the rows that were set up with pg_module_session are gone: the connection that had them was lost "
            "(in test_it.py::test_killed). *"
        ]
    )


# --- what is refused


def test_asked_for_in_a_running_test(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
def test_with_an_engine(pg_session, request): request.getfixturevalue("ann")
def test_without(request): request.getfixturevalue("pg_module_session")

@pytest.fixture
def dynamic(pg_session, request): request.getfixturevalue("ann")
def test_in_a_fixture(dynamic): pass
""",
        test_open=HEAD
        + """
@pytest.fixture(scope="module")
def more(pg_module_session): pg_module_session.add(User(name="more")); pg_module_session.commit()
def test_a_fixture_on_an_open_layer(ann, pg_session, request): request.getfixturevalue("more")
def test_the_rest(ann, pg_session): assert names(pg_session) == ["ann"]
""",
    )
    result = run()
    assert result.parseoutcomes() == {"passed": 1, "failed": 3, "errors": 1}
    result.stdout.fnmatch_lines(
        [
            "*IsolationError: pg_module_session was asked for while a test ran*Name it, or the fixture that uses*",
            "*IsolationError: the fixture 'more' uses pg_module_session and was asked for while a test ran*",
        ]
    )
    assert result.stdout.str().count("was asked for while a test ran") >= 4


def test_database_isolation(pytester: pytest.Pytester, run: Run) -> None:
    real = '@pytest.mark.pg(isolation="database")\n'
    pytester.makepyfile(
        test_a=HEAD + real + "def test_asks_for_both(ann, pg_session): pass\n",
        test_b=HEAD + real + "def test_asks_for_the_wide_one(ann): pass\n",
        test_c=HEAD
        + real
        + "def test_before(pg_session): assert names(pg_session) == []\n"
        + "def test_rows(ann, pg_session): assert names(pg_session) == ['ann']\n"
        + real
        + "def test_beside(pg_session): pass\n"
        + "def test_rows_again(ann, pg_session): assert names(pg_session) == ['ann']\n",
    )
    result = run()
    assert result.parseoutcomes() == {"passed": 3, "failed": 1, "errors": 2}
    assert result.stdout.str().count("a test in database isolation cannot run while pg_module_session holds rows") >= 3


def test_a_module_in_database_isolation(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
pytestmark = pytest.mark.pg(isolation="database")
def test_changes_it(ann, pg_module_session, pg_session):
    assert names(pg_session) == ["ann"]
    pg_session.execute(text("DELETE FROM users"))
    pg_session.commit()
    pg_module_session.execute(text("INSERT INTO users (name) VALUES ('of this test')"))
    pg_module_session.commit()
    assert names(pg_session) == ["of this test"]
def test_finds_it_again(ann, pg_session, pg_module_session):
    assert names(pg_session) == names(pg_module_session) == ["ann"]
    pg_session.execute(text("CREATE TABLE new (id int)"))
    pg_session.commit()
def test_in_a_new_database(ann, pg_session):
    assert names(pg_session) == ["ann"]
@pytest.fixture(scope="class")
def bob(pg_class_session):
    pg_class_session.execute(text("INSERT INTO users (name) VALUES ('bob')"))
class TestClass:
    def test_has_more(self, bob, pg_session):
        assert names(pg_session) == ["ann", "bob"]
    def test_has_more_again(self, bob, pg_session):
        assert names(pg_session) == ["ann", "bob"]
def test_without_the_class(ann, pg_session):
    assert names(pg_session) == ["ann"]
""",
        test_next=HEAD
        + """
@pytest.mark.pg(isolation="database")
def test_without_the_module(pg_session):
    assert names(pg_session) == []
def test_in_a_transaction(pg_session):
    assert names(pg_session) == []
""",
    )
    run().assert_outcomes(passed=8)


def test_an_engine_left_over_cannot_write_into_a_layer(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
LEFT = []
def test_leaves(ann, pg_engine, pg_session):
    pg_session.execute(text("SELECT 1"))
    LEFT.extend([pg_engine, pg_session])

@pytest.fixture(scope="module")
def later(pg_module_session):
    with pytest.raises(Exception, match="while no test that asked for it ran"):
        names(LEFT[1])
    with pytest.raises(Exception, match="while no test that asked for it ran"):
        LEFT[0].connect()

def test_later(later, pg_session): assert names(pg_session) == ["ann"]
"""
    )
    run().assert_outcomes(passed=2)


# --- kept databases


def of(url: str) -> list[Any]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM users ORDER BY name")
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def test_keep_failed(pytester: pytest.Pytester, run: Run) -> None:
    from pytest_testbed.__main__ import main

    pytester.makepyfile(
        test_it=HEAD
        + """
def test_in_between(ann, pg_session):
    pg_session.add(User(name="own"))
    pg_session.flush()
    assert 0

def test_others_still_have_the_rows(ann, pg_session): assert names(pg_session) == ["ann"]

def test_last(ann, pg_module_session):
    pg_module_session.add(User(name="last"))
    pg_module_session.flush()
    assert 0
""",
        test_z=HEAD + "def test_new(ann, pg_session): assert names(pg_session) == ['ann']\n",
    )
    try:
        result = run("--testbed-keep-failed")
        assert result.parseoutcomes() == {"passed": 2, "failed": 2}
        result.stdout.fnmatch_lines(["Not kept: it lies on the rows of pg_module_session, which the tests that follow *"])
        assert {name: of(url) for name, url in kept(result).items()} == {"test_last": ["ann", "last"]}
        alone = run("--testbed-keep-failed", "test_it.py::test_in_between")
        assert {name: of(url) for name, url in kept(alone).items()} == {"test_in_between": ["ann", "own"]}
    finally:
        assert main(["stop", "--all"]) == 0
        assert main(["prune"]) == 0
