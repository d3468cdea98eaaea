"""The list of statements: shapes, repetitions, what it asserts and what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed import callers
from pytest_testbed.postgres import sent
from pytest_testbed.postgres.listing import LISTED, REPEATS, described, listed
from pytest_testbed.postgres.methods import Driver, Kind, plain, swap
from pytest_testbed.postgres.queries import Queries, Query
from pytest_testbed.postgres.recording import recorded
from pytest_testbed.postgres.shapes import shape_of


def queries(*statements: str | Query) -> Queries:
    """Make a list as a test has it; all are sent from one line."""
    made = Queries()
    place = callers.place_of(sys._getframe())
    for each in statements:
        query = each if isinstance(each, Query) else Query(each, finished=True, milliseconds=0.5, rows=1)
        query.place = query.place or place  # type: ignore[assignment]
        query.root = str(Path(__file__).parent)
        made.add(query)
    return made


# --- shapes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 1", "SELECT 25.5e3"),
        ("SELECT 'a'", "SELECT 'it''s'"),
        ("SELECT E'a\\'b' FROM t", "SELECT $$x$$ FROM t"),
        ("SELECT $tag$ ' $$ $tag$", "SELECT 'x'"),
        ("SELECT * FROM t WHERE id = %(id_1)s", "SELECT * FROM t WHERE id = %(id_2)s"),
        ("SELECT * FROM t WHERE id = $1", "SELECT * FROM t\n  WHERE id = 7"),
        ("SELECT * FROM t WHERE id IN (%s)", "SELECT * FROM t WHERE id IN (%s, %s, %s)"),
        ("SELECT * FROM t WHERE id IN ($1::INTEGER, $2::INTEGER)", "SELECT * FROM t WHERE id IN ($1::INTEGER)"),
        ("SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))", "SELECT * FROM t WHERE (a, b) IN ((1, 2))"),
        ("INSERT INTO t (a, b) VALUES (%s, 1)", "INSERT INTO t (a, b) VALUES (%s, 1),(%s, 2), (%s, 3)"),
        ("SELECT 1 /* trace 1 */", "SELECT 1 -- trace 2\n"),
    ],
)
def test_statements_of_one_shape(one: str, other: str) -> None:
    assert shape_of(one) == shape_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a1 FROM t", "SELECT a2 FROM t"),
        ('SELECT "column 1" FROM t', 'SELECT "column 2" FROM t'),
        ("SELECT * FROM t WHERE a = 1", "SELECT * FROM t WHERE b = 1"),
        ("SELECT * FROM t LIMIT 1", "SELECT * FROM t OFFSET 1"),
        ("SELECT '--' AS a", "SELECT '--' AS b"),
    ],
)
def test_statements_of_two_shapes(one: str, other: str) -> None:
    assert shape_of(one) != shape_of(other)


# --- repetitions


def test_the_same_from_one_line_again_and_again() -> None:
    sent_ones = queries(*(f"SELECT * FROM t WHERE id = {n}" for n in range(4)), "SELECT 'x'", "SELECT 'x'", "SELECT 'x'")
    loop, same = sent_ones.repeated()
    assert (loop.count, loop.different, loop.shape) == (4, 4, "SELECT * FROM t WHERE id = ?")
    assert (same.count, same.different) == (3, 1)
    assert loop.where.startswith("test_query_list.py:")
    assert [each.count for each in sent_ones.repeated(at_least=4)] == [4]
    assert [each.shape for each in sent_ones.repeated(matching="'x'")] == ["SELECT ?"]


def test_from_two_lines_it_is_no_repetition() -> None:
    first, second = (callers.place_of(sys._getframe()), callers.place_of(sys._getframe()))
    second = (first[0], first[1] + 1)  # type: ignore[index]
    sent_ones = queries(*(Query("SELECT 1", place=place) for place in (first, second, first, second)))  # type: ignore[arg-type]
    assert sent_ones.repeated() == []
    assert len(sent_ones.repeated(at_least=2)) == 2


def test_batches_of_one_bulk_insert_are_no_repetition() -> None:
    sent_ones = queries(Query("INSERT INTO t VALUES (1)"), *(Query("INSERT INTO t VALUES (1)", goes_on=True) for _ in range(5)))
    assert sent_ones.count == 6
    sent_ones.assert_no_repeats(at_least=2)


def test_repetitions_fail() -> None:
    sent_ones = queries(*(f"SELECT * FROM t WHERE id = {n}" for n in range(4)))
    with pytest.raises(AssertionError) as failed:
        sent_ones.assert_no_repeats()
    text = str(failed.value)
    assert text.startswith("one statement was sent 3 times or more from one line (N+1)\n  4 x SELECT * FROM t WHERE id = ?\n")
    assert re.search(r"4 different ones · 2\.0 ms · test_query_list\.py:\d+ in queries", text)
    sent_ones.assert_no_repeats(at_least=5)
    sent_ones.assert_no_repeats(matching="INSERT")


# --- what is asserted


def test_at_most() -> None:
    sent_ones = queries("SELECT 1", "INSERT INTO t  VALUES (1)", "select 2")
    sent_ones.assert_max(3)
    sent_ones.assert_max(2, matching="SELECT")
    sent_ones.assert_max(1, matching="insert into t VALUES")
    sent_ones.assert_max(1, matching=re.compile(r"SELECT \d"))
    with pytest.raises(AssertionError, match=r"^3 statements were sent to PostgreSQL, at most 2 expected\n   1\. SELECT 1\n"):
        sent_ones.assert_max(2)
    with pytest.raises(AssertionError, match=r"^1 statement matching 'INSERT' was sent to PostgreSQL, at most 0 expected"):
        sent_ones.assert_max(0, matching="INSERT")


def test_exactly() -> None:
    sent_ones = queries("SELECT 1", "SELECT 2")
    sent_ones.assert_count(2)
    sent_ones.assert_count(0, matching="DELETE")
    with pytest.raises(AssertionError, match=r"^2 statements were sent to PostgreSQL, 1 expected"):
        sent_ones.assert_count(1)
    with pytest.raises(AssertionError, match=r"^0 statements matching 'DELETE' were sent to PostgreSQL, 1 expected$"):
        sent_ones.assert_count(1, matching="DELETE")


def test_repeated_ones_come_first_in_a_failure() -> None:
    with pytest.raises(AssertionError) as failed:
        queries("SELECT 'first'", *("SELECT 1 FROM t" for _ in range(3))).assert_max(1)
    lines = str(failed.value).splitlines()
    assert lines[1:3] == ["sent again and again:", "  3 x SELECT ? FROM t"]
    assert "   1. SELECT 'first'" in lines


def test_it_is_a_sequence() -> None:
    sent_ones = queries("SELECT 1", "SELECT 2", "SELECT 3")
    assert sent_ones.statements == [query.statement for query in sent_ones] == ["SELECT 1", "SELECT 2", "SELECT 3"]
    assert (len(sent_ones), sent_ones.count, sent_ones.total_ms) == (3, 3, 1.5)
    assert sent_ones[-1].statement == "SELECT 3"
    assert [query.statement for query in sent_ones[:2]] == ["SELECT 1", "SELECT 2"]
    assert repr(sent_ones) == "<Queries: 3 statements, 1.5 ms>"
    assert not Queries()


def test_a_part() -> None:
    whole = queries("SELECT 1")
    with whole.only() as outer:
        whole.add(Query("SELECT 2"))
        with whole.only() as inner:
            whole.add(Query("SELECT 3"))
    whole.add(Query("SELECT 4"))
    assert (outer.statements, inner.statements, whole.count) == (["SELECT 2", "SELECT 3"], ["SELECT 3"], 4)
    whole.clear()
    assert (whole.count, inner.count) == (0, 1)


# --- what is shown


def test_of_many_the_last_are_shown() -> None:
    text = str(queries(*(f"SELECT column{n}" for n in range(LISTED + 7))))
    assert text.startswith("(7 statements before these not shown)\n   8. SELECT column7\n")
    assert f"\n  {LISTED + 7}. SELECT column{LISTED + 6}\n" in text
    assert str(Queries()) == "no statement was sent to PostgreSQL"


def test_of_many_repeated_ones_the_first_are_shown() -> None:
    made = queries(*[f"SELECT {'x' * number}" for number in range(1, REPEATS + 3) for _ in range(3)])
    repeats = made.repeated()
    assert len(repeats) == REPEATS + 2
    text = listed(list(made), repeats)
    assert "(2 more repeated statements not shown)" in text
    assert "more repeated" not in listed(list(made), repeats[:REPEATS])


def test_what_is_long_is_cut() -> None:
    shown = described(Query("SELECT " + "x" * 1000, {"name": "y" * 1000, "picture": b"z" * 1000}, finished=True))
    assert "x" * 290 in shown
    assert "(707 more characters)" in shown
    assert "(1000 bytes)" in shown
    assert len(shown) < 600


@pytest.mark.parametrize("name", ["password", "user_password", "client_secret", "TOKEN", "api_key", "password__0", "passwd"])
def test_secrets_are_not_shown(name: str) -> None:
    assert described(Query("SELECT 1", {name: "hunter2", "other": 7})).count("hunter2") == 0
    assert "'other': 7" in described(Query("SELECT 1", {name: "hunter2", "other": 7}))
    by_position = Query("SELECT $1, $2", ("hunter2", 7), names=[name, "other"])
    assert "('***', 7)" in described(by_position)
    many = Query("SELECT 1", [{name: "hunter2"}] * 3, sets=3)
    assert "hunter2" not in described(many)
    assert "and 1 more set" in described(many)


def test_passwords_of_roles_are_not_shown() -> None:
    shown = described(Query("ALTER ROLE me WITH PASSWORD 'it''s hunter2' LOGIN"))
    assert "ALTER ROLE me WITH PASSWORD '***' LOGIN" in shown


def test_parameters_that_an_engine_hides() -> None:
    shown = described(Query("SELECT 1", {"name": "hunter2"}, engine=SimpleNamespace(hide_parameters=True)))
    assert "parameters hidden" in shown
    assert "hunter2" not in shown


def test_what_came_of_it() -> None:
    done = Query("SELECT 1", (1,), rows=3, milliseconds=1.26, finished=True, thread="worker")
    assert described(done) == "SELECT 1\n(1,) · 3 rows · 1.3 ms · thread worker"
    assert "0.5 ms · UndefinedTable: no t" in described(
        Query("SELECT 1", milliseconds=0.5, error="UndefinedTable: no t\nLINE 1", finished=True)
    )
    assert described(Query("SELECT 1")) == "SELECT 1\nnot finished"
    assert "3 sets of parameters" in described(Query("SELECT 1", None, sets=3, finished=True))


# --- the line of the application


def frames_of(code: str, filename: str, **names: Any) -> Any:
    """Run code as if it stood in a file."""
    scope: dict[str, Any] = {"sys": sys, **names}
    exec(compile(code, filename, "exec"), scope)
    return scope


def test_libraries_are_passed_over() -> None:
    library = frames_of("def call(f): return f()", "/venv/lib/python3.11/site-packages/orm/session.py")["call"]
    application = frames_of("def work(call, f):\n    return call(f)", "/project/shop/orders.py")["work"]
    place = application(library, lambda: callers.place_of(sys._getframe(1)))
    assert callers.shown(place, "/project") == "shop/orders.py:2 in work"
    assert callers.shown(place, "/other") == "/project/shop/orders.py:2 in work"
    assert callers.shown(None, "/project") == ""


def test_where_nobody_but_libraries_is_there_is_no_line() -> None:
    found: list[Any] = []
    scope = frames_of("def run(): found.append(place_of(sys._getframe()))", "<string>", found=found, place_of=callers.place_of)
    thread = threading.Thread(target=scope["run"])
    thread.start()
    thread.join()
    assert found == [None]


def test_a_call_of_the_plugin_s_own() -> None:
    ours = frames_of("def call(f): return f()", f"{callers.OWN_FOLDER}postgres/guard.py")["call"]
    assert ours(lambda: callers.place_of(sys._getframe(1))) is callers.OURS


# --- methods of drivers


class Cursor:
    """Stands for a driver's."""

    rowcount = 2

    def execute(self, query: str, params: Any = None) -> str:
        if query == "fail":
            raise ValueError("no such table")
        return query


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Queries]]:
    """Record calls of the cursor above."""

    def read(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0], args[1] if len(args) > 1 else None, 1

    kind = Kind(Driver("fake", frozenset(["fake_driver"])), read, lambda self, result: self.rowcount)
    monkeypatch.setattr(Cursor, "execute", plain(Cursor.execute, kind))
    made = Queries()

    def start() -> Queries:
        sent.start(made, str(Path(__file__).parent))
        return made

    yield start
    sent.stop(made)


def test_a_method_tells_what_it_sent(listening: Callable[[], Queries]) -> None:
    cursor = Cursor()
    assert cursor.execute("SELECT 1") == "SELECT 1"
    made = listening()
    assert cursor.execute("SELECT %s", (2,)) == "SELECT %s"
    with pytest.raises(ValueError, match="no such table"):
        cursor.execute("fail")
    good, bad = made
    assert (good.statement, good.parameters, good.rows, good.driver, good.thread) == ("SELECT %s", (2,), 2, "fake", "")
    assert good.where.endswith("in test_a_method_tells_what_it_sent")
    assert good.where.startswith("test_query_list.py:")
    assert (bad.error, bad.rows, bad.finished) == ("ValueError: no such table", None, True)


@pytest.mark.parametrize(
    ("module", "count"), [("sqlalchemy.engine.default", 0), ("pytest_testbed.postgres.kept", 0), ("fake_driver.sub", 1)]
)
def test_it_counts_who_calls(listening: Callable[[], Queries], module: str, count: int) -> None:
    scope: dict[str, Any] = {"__name__": module}
    exec("def call(cursor): cursor.execute('SELECT 1')", scope)
    made = listening()
    scope["call"](Cursor())
    assert made.count == count
    assert all(query.where.endswith("in test_it_counts_who_calls") for query in made)


def test_a_driver_that_nobody_calls_has_no_line(listening: Callable[[], Queries]) -> None:
    driver = Driver("fake", frozenset(["fake_driver"]))
    assert driver.caller(None) is callers.OURS  # nobody records
    listening()
    assert driver.caller(None) is None


def test_statements_of_threads(listening: Callable[[], Queries]) -> None:
    made = listening()

    def work() -> None:
        for _ in range(200):
            Cursor().execute("SELECT 1")

    threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.count == 800
    assert {query.thread for query in made} == {f"worker {n}" for n in range(4)}


def test_who_replaces_a_method_meanwhile_keeps_his_own() -> None:
    owner = type("owner", (), {"method": 1, "other": 2})
    with ExitStack() as stack:
        swap(stack, owner, "method", 10)
        swap(stack, owner, "other", 20)
        owner.method = 3  # type: ignore[attr-defined]
    assert (owner.method, owner.other) == (3, 2)  # type: ignore[attr-defined]


# --- nothing stays


def listeners() -> Any:
    import asyncpg.connection
    import psycopg
    import psycopg2
    from sqlalchemy import Dialect, Engine, create_engine

    engine = create_engine("sqlite://")
    return (
        [tuple(getattr(engine.dialect.dispatch, name)) for name in ("do_execute", "do_executemany", "do_execute_no_params")],
        (Engine._has_events, Dialect._has_events, psycopg2._connect, list(sys.meta_path)),
        [dict(vars(owner)) for owner in (psycopg.Cursor, psycopg.AsyncCursor, psycopg.ServerCursor)],
        dict(vars(asyncpg.connection.Connection)),
    )


def test_everything_is_put_back() -> None:
    before = listeners()
    with pytest.raises(KeyError):
        with recorded():
            with recorded():
                assert listeners() != before
            assert listeners() != before
            raise KeyError
    assert listeners() == before


def test_a_listener_of_somebody_else_stays_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import Dialect, Engine, event

    monkeypatch.setattr(Dialect, "_has_events", False)

    def mine(*arguments: Any) -> None:
        pass

    with recorded():
        event.listen(Engine, "do_execute", mine)
    try:
        assert Dialect._has_events is True
    finally:
        event.remove(Engine, "do_execute", mine)


def test_a_driver_that_is_imported_later() -> None:
    code = """
import sys
from pytest_testbed.postgres.recording import recorded
with recorded():
    assert not {"psycopg", "psycopg2", "asyncpg", "sqlalchemy"} & set(sys.modules)
    import psycopg, psycopg2, asyncpg.connection, sqlalchemy
    engine = sqlalchemy.create_engine("sqlite://")
    found = [psycopg.Cursor.execute, psycopg2._connect, asyncpg.connection.Connection.fetch, *engine.dialect.dispatch.do_execute]
    print([each.__code__.co_filename.rpartition("/")[2] for each in found])
print(psycopg.Cursor.execute.__code__.co_filename.rpartition("/")[2], len(engine.dialect.dispatch.do_execute))
with recorded():
    pass
import uuid, decimal, sqlite3
assert not [finder for finder in sys.meta_path if "WhenImported" in repr(finder)]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['methods.py', 'drivers.py', 'methods.py', 'alchemy.py']", "cursor.py 0"]


def test_a_driver_that_is_imported_after_the_recording_is_left_alone() -> None:
    code = """
import sys
from pytest_testbed.postgres.recording import recorded
with recorded():
    waiting = [finder for finder in sys.meta_path if "WhenImported" in repr(finder)]
    kept = sys.meta_path
    sys.meta_path = [finder for finder in kept if finder not in waiting]
sys.meta_path = waiting + sys.meta_path
import psycopg
print(psycopg.Cursor.execute.__code__.co_filename.rpartition("/")[2], len(waiting))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "cursor.py 1\n")
