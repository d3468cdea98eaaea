"""The front door: clients of a real server come in by a port that was known before the server."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy import make_url

from pytest_testbed import Testbed
from pytest_testbed.errors import ConfigurationError
from pytest_testbed.postgres.address import DatabaseAddress
from pytest_testbed.postgres.database import waited_for
from pytest_testbed.postgres.messages import CANCEL, GSS, TLS, VERSION_3, Frames, message
from pytest_testbed.postgres.service import connection_parameters, drop_database, postgres_spec
from pytest_testbed.postgres.visit import READY
from tests.conftest import Servers

NUMBERS = count()
DEADLINE = 10


class Door:
    """An address on a real server, and the connections of a test through it."""

    def __init__(self, testbed: Testbed, url: str = "") -> None:
        self.testbed = testbed
        self.address = DatabaseAddress(f"testbed_{testbed.run}_door{next(NUMBERS)}", url, lock_timeout=12.5)
        self.way = self.address.doorway
        self.opened: list[Any] = []
        self.address.open(testbed)

    def connect(self, **more: Any) -> Any:
        connection = psycopg2.connect(self.address.form("dsn"), **more)
        connection.autocommit = True
        self.opened.append(connection)
        return connection

    def cursor(self, **more: Any) -> Any:
        return self.connect(**more).cursor()

    def direct(self) -> Any:
        connection = psycopg2.connect(**connection_parameters(self.testbed.endpoint("postgres"), self.address.database))
        connection.autocommit = True
        self.opened.append(connection)
        return connection.cursor()

    def close(self) -> None:
        for connection in self.opened:
            connection.close()
        drop_database(self.testbed.endpoint("postgres"), self.address.database)


def value(cursor: Any, sql: str) -> Any:
    cursor.execute(sql)
    return cursor.fetchone()[0]


@pytest.fixture
def door(somewhere: Testbed) -> Iterator[Door]:
    door = Door(somewhere)
    yield door
    door.close()


@pytest.fixture(params=["local-wheel", "local-system", "docker"])
def any_door(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Door]:
    door = Door(servers.get(request.param))
    yield door
    door.close()


class TestComingIn:
    def test_the_database_is_there_for_who_comes_first(self, any_door: Door) -> None:
        cursor = any_door.cursor()
        assert value(cursor, "SELECT current_database()") == any_door.address.database
        assert value(cursor, "SELECT current_user") == any_door.address.user == any_door.address.form("user")

    def test_every_driver(self, any_door: Door) -> None:
        url = any_door.address.form("url")
        with psycopg2.connect(url) as two, psycopg.connect(url) as three:
            assert value(two.cursor(), "SELECT 1") == value(three.cursor(), "SELECT 1") == 1
        two.close()

        async def both() -> tuple[Any, Any]:
            connection = await asyncpg.connect(url)
            other = await psycopg.AsyncConnection.connect(any_door.address.form("dsn"))
            row = await (await other.execute("SELECT 1")).fetchone()
            found = await connection.fetchval("SELECT $1::int + 1", 1), row
            await connection.close()
            await other.close()
            return found

        assert asyncio.run(both()) == (2, (1,))

    def test_what_a_client_says_of_itself_reaches_the_server(self, door: Door) -> None:
        cursor = door.cursor(application_name="the shop", options="-c statement_timeout=1234 -c search_path=other")
        assert value(cursor, "SHOW application_name") == "the shop"
        assert value(cursor, "SHOW statement_timeout") == "1234ms"
        assert value(cursor, "SHOW search_path") == "other"

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            ("", "12500ms"),
            ("-c work_mem=5MB", "12500ms"),
            ("-c deadlock_timeout=7s", "12500ms"),
            ("-c lock_timeout=3s", "3s"),
            ("-cwork_mem=5MB --lock-timeout=0", "0"),
        ],
    )
    def test_it_waits_for_a_lock_as_long_as_it_says_or_the_run(self, door: Door, options: str, found: str) -> None:
        cursor = door.cursor(options=options)
        assert value(cursor, "SHOW lock_timeout") == found
        cursor.execute("SET lock_timeout = 5; RESET lock_timeout")
        assert door.way.visits("park")
        assert value(cursor, "SHOW lock_timeout") == found

    def test_it_waits_for_a_lock_as_a_parameter_says(self, door: Door) -> None:
        async def both() -> Any:
            connection = await asyncpg.connect(door.address.form("url"), server_settings={"Lock_Timeout": "7s"})
            found = await connection.fetchval("SHOW lock_timeout")
            await connection.close()
            return found

        assert asyncio.run(both()) == "7s"

    def test_a_server_of_ours_says_who_waits_for_a_lock(self, any_door: Door) -> None:
        cursor = any_door.cursor()
        assert value(cursor, "SHOW log_lock_waits") == "on"
        assert value(cursor, "SHOW lock_timeout") == "12500ms"

    @pytest.mark.parametrize("wrong", [{"password": "guess"}, {"user": "root"}])
    def test_only_who_was_told(self, door: Door, wrong: dict[str, str]) -> None:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed for user"):
            door.connect(**wrong)

    def test_another_database_of_the_server(self, door: Door) -> None:
        door.way.begin_to_make()
        assert value(door.cursor(dbname="postgres"), "SELECT current_database()") == "postgres"
        door.way.made()

    def test_no_such_database(self, door: Door) -> None:
        with pytest.raises(psycopg2.OperationalError, match='database "nowhere" does not exist'):
            door.connect(dbname="nowhere")

    def test_no_tls(self, door: Door) -> None:
        with pytest.raises(psycopg2.OperationalError, match="SSL"):
            door.connect(sslmode="require")

    @pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x08\0\0\0\0", b"\xff" * 50])
    def test_who_speaks_something_else_is_sent_away(self, door: Door, text: bytes) -> None:
        with socket.create_connection((door.way.host, door.way.port), DEADLINE) as stranger:
            stranger.sendall(text)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(1000):
                pass
        assert value(door.cursor(), "SELECT 1") == 1

    def test_a_newer_protocol_is_talked_down(self, door: Door) -> None:
        with socket.create_connection((door.way.host, door.way.port), DEADLINE) as client:
            words = b"user\0postgres\0_pq_.new\0x\0\0"
            client.sendall((8 + len(words)).to_bytes(4) + ((3 << 16) + 2).to_bytes(4) + words)
            answer = client.recv(1000)
        assert answer.startswith(b"v")
        assert b"_pq_.new\0" in answer

    def test_it_waits_while_the_database_is_made(self, door: Door) -> None:
        door.connect()
        assert door.way.begin_to_make()
        with ThreadPoolExecutor() as pool:
            client = pool.submit(door.connect)
            with pytest.raises(TimeoutError):
                client.result(0.1)
            door.way.made()
            assert value(client.result(DEADLINE).cursor(), "SELECT 1") == 1

    def test_why_there_is_none(self, door: Door) -> None:
        door.way.begin_to_make()
        door.way.made("SchemaError: line 3 of schema.sql")
        with pytest.raises(psycopg2.OperationalError, match="pytest-testbed: SchemaError: line 3 of schema.sql"):
            door.connect()

    def test_a_server_that_cannot_be_had(self, tmp_path: Any) -> None:
        with Testbed([postgres_spec(provider="local", bindir=str(tmp_path))]) as testbed:
            address = DatabaseAddress(f"testbed_{testbed.run}_none")
            address.open(testbed)
            with pytest.raises(psycopg2.OperationalError, match="no provider can give postgres here"):
                psycopg2.connect(address.form("dsn"))

    def test_the_port_ends_with_its_host(self) -> None:
        testbed = Testbed([postgres_spec(provider="local")])
        address = DatabaseAddress(f"testbed_{testbed.run}_main")
        address.open(testbed)
        assert value(psycopg2.connect(address.form("dsn")).cursor(), "SELECT 1") == 1
        testbed.close()
        with pytest.raises(psycopg2.OperationalError, match="Connection refused"):
            psycopg2.connect(address.form("dsn"))

    def test_a_server_of_somebody_elses_is_reached_as_it_is(self, servers: Servers) -> None:
        testbed = servers.get("external")
        door = Door(testbed, testbed.spec("postgres").url or "")
        assert value(door.cursor(), "SELECT current_database()") == door.address.database
        assert door.address.password in door.address.form("url")
        door.close()


class TestAnotherRole:
    """Who comes as another role than the run's own is let in by the server, with the role's own password."""

    @pytest.fixture
    def role(self, any_door: Door) -> Iterator[str]:
        name = f"app{next(NUMBERS)}"
        any_door.cursor().execute(f"CREATE ROLE {name} LOGIN PASSWORD 'its own'")
        yield name
        any_door.cursor().execute(f"DROP OWNED BY {name}; DROP ROLE {name}")

    def test_it_is_who_it_says(self, any_door: Door, role: str) -> None:
        any_door.direct().execute(f"CREATE TABLE t (id int); CREATE TABLE mine AS SELECT 7 AS id; GRANT SELECT ON mine TO {role}")
        cursor = any_door.cursor(user=role, password="its own", options="-c work_mem=5MB")
        assert value(cursor, "SELECT current_user || session_user") == role * 2
        assert value(cursor, "SHOW work_mem") == "5MB"
        assert value(cursor, "SHOW lock_timeout") == "12500ms"
        assert value(cursor, "SELECT id FROM mine") == 7
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("TABLE t")

    @pytest.mark.parametrize("password", ["guess", "its own ", "ö"])
    def test_a_wrong_password_is_refused_by_the_server(self, any_door: Door, role: str, password: str) -> None:
        with pytest.raises(psycopg2.OperationalError, match=f'FATAL:  password authentication failed for user "{role}"'):
            any_door.connect(user=role, password=password)

    def test_the_runs_own_password_is_not_for_it(self, any_door: Door, role: str) -> None:
        """Not even where it is the role's: a server that asks for none would let it in with any."""
        any_door.cursor().execute(f"ALTER ROLE {role} PASSWORD '{any_door.address.password}'")
        own = any_door.address.user
        with pytest.raises(psycopg2.OperationalError, match=f'failed for user "{role}": it is that of "{own}"; connect with'):
            any_door.connect(user=role)

    def test_its_password_is_not_for_the_runs_own(self, any_door: Door, role: str) -> None:
        with pytest.raises(psycopg2.OperationalError, match="pytest-testbed: password authentication failed"):
            any_door.connect(password="its own")

    def test_a_password_of_other_letters(self, door: Door) -> None:
        admin = door.cursor()
        admin.execute("CREATE ROLE kept LOGIN PASSWORD 'pä ss'")
        assert value(door.cursor(user="kept", password="pä ss"), "SELECT current_user") == "kept"
        admin.execute("DROP ROLE kept")

    def test_another_backend_is_its_own_too(self, any_door: Door, role: str) -> None:
        connection = any_door.connect(user=role, password="its own")
        cursor, watcher = connection.cursor(), any_door.direct()
        watcher.execute(f"CREATE ROLE {role}_less; GRANT {role}_less TO {role}")
        cursor.execute("SET work_mem = '5MB'")
        cursor.execute(f"SET ROLE {role}_less")
        assert any_door.way.visits("park")
        assert value(cursor, "SELECT pg_backend_pid()") != connection.info.backend_pid
        assert value(cursor, "SELECT session_user") == role
        assert value(cursor, "SELECT current_user") == f"{role}_less"
        assert value(cursor, "SHOW work_mem") == "5MB"
        cursor.execute("RESET ROLE; RESET SESSION AUTHORIZATION")
        assert value(cursor, "SELECT current_user") == role
        with ThreadPoolExecutor() as pool:
            sleep = pool.submit(cursor.execute, "SELECT pg_sleep(62)")
            while not value(watcher, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(62)'"):
                pass
            connection.cancel()
            with pytest.raises(psycopg2.errors.QueryCanceled):
                sleep.result(DEADLINE)
        watcher.execute(f"DROP ROLE {role}_less")

    @pytest.mark.parametrize("change", ["DROP ROLE {0}; CREATE ROLE {0}", "DROP ROLE {0}; CREATE ROLE {0} LOGIN PASSWORD 'new'"])
    def test_it_hears_why_it_cannot_come_back(self, any_door: Door, role: str, change: str) -> None:
        cursor = any_door.cursor(user=role, password="its own")
        cursor.execute("SELECT 1")
        assert any_door.way.visits("park")
        any_door.direct().execute(change.format(role))
        words = f'authentication failed for user "{role}" .pytest-testbed: .* had to log in as "{role}" again; the role is gone'
        with pytest.raises(psycopg2.OperationalError, match=words):
            cursor.execute("SELECT 1")

    def test_it_waits_for_the_database_as_everybody_does(self, door: Door) -> None:
        door.cursor().execute("CREATE ROLE waits LOGIN PASSWORD 'its own'")
        door.way.begin_to_make()
        with ThreadPoolExecutor() as pool:
            client = pool.submit(door.connect, user="waits", password="its own")
            with pytest.raises(TimeoutError):
                client.result(0.1)
            door.way.made()
            assert value(client.result(DEADLINE).cursor(), "SELECT current_user") == "waits"
        door.cursor().execute("DROP ROLE waits")


class TestOfAServerOfSomebodyElses:
    """What its URL says holds at the port of our own as far as it can."""

    @pytest.fixture
    def shut(self) -> Iterator[Door]:
        """The door of a server that is not there."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"postgresql://me:secret@127.0.0.1:{nobody.getsockname()[1]}/postgres"
            with Testbed([postgres_spec(provider="external", url=url, url_source="the tests", timeout=0.5)]) as testbed:
                yield Door(testbed, url)

    def say(self, door: Door, *pieces: tuple[int, bytes]) -> bytes:
        """Return all that the door answers to a client's first messages."""
        with socket.create_connection((door.way.host, door.way.port), DEADLINE) as client:
            for code, rest in pieces:
                client.sendall((8 + len(rest)).to_bytes(4) + code.to_bytes(4) + rest)
            return b"".join(iter(lambda: client.recv(1000), b""))

    def test_why_it_cannot_be_reached_is_said_to_who_asks_for_encryption_first(self, shut: Door) -> None:
        answer = self.say(shut, (GSS, b""), (TLS, b""), (VERSION_3, b"user\0me\0\0"))
        assert answer.startswith(b"NNE")
        assert b"SFATAL\0" in answer
        assert b"Mpytest-testbed: " in answer
        assert b"Connection refused" in answer
        assert b"secret" not in answer

    def test_who_insists_on_encryption_takes_no_other_answer(self, shut: Door) -> None:
        with pytest.raises(psycopg2.OperationalError, match="server does not support SSL"):
            shut.connect(sslmode="require")

    def test_a_request_to_cancel_is_not_answered(self, shut: Door) -> None:
        assert self.say(shut, (CANCEL, b"\0\0\0\x01\0\0\0\x01")) == b""

    @pytest.mark.parametrize("query", ["sslmode=verify-full", "sslrootcert=system", "sslrootcert=system&sslmode=verify-full"])
    def test_a_certificate_with_its_name_is_refused(self, query: str) -> None:
        with pytest.raises(ConfigurationError, match=r"(verify-full|system) cannot be exported: .* Say sslmode=verify-ca"):
            DatabaseAddress("shop", f"postgresql://me@db.example/postgres?{query}")

    def test_its_own_address_is_not_exported(self) -> None:
        url = "postgresql://me@db.example/postgres?hostaddr=192.0.2.1&sslmode=verify-ca&sslrootcert=/c%20a.pem"
        address = DatabaseAddress("shop", url)
        for form in ("url", "dsn"):
            assert parse_dsn(address.form(form)) == {
                "user": "me",
                "host": "127.0.0.1",
                "port": str(address.doorway.port),
                "dbname": "shop",
                "sslmode": "verify-ca",
                "sslrootcert": "/c a.pem",
            }
        address.doorway._listener.close()  # no host has taken it over

    @pytest.mark.parametrize(
        ("query", "left"),
        [
            ("sslmode=disable&connect_timeout=3&application_name=shop&options=-c%20work_mem%3D3MB", "?ssl=disable"),
            ("sslmode=verify-ca&passfile=/p&target_session_attrs=any", "?ssl=verify-ca&passfile=/p&target_session_attrs=any"),
            ("sslmode=disable&sslrootcert=/ca.pem&ssl_min_protocol_version=TLSv1.3", "?ssl=disable"),
            ("ssl_min_protocol_version=TLSv1.2&channel_binding=prefer&sslcertmode=allow", ""),
        ],
    )
    def test_asyncpg_is_told_in_words_that_sqlalchemy_has(self, query: str, left: str) -> None:
        address = DatabaseAddress("shop", f"postgresql://me@db.example/postgres?{query}")
        address.doorway._listener.close()
        assert address.form("url+asyncpg") == f"postgresql+asyncpg://me@127.0.0.1:{address.doorway.port}/shop{left}"
        url = make_url(address.form("url+asyncpg"))
        arguments = url.get_dialect()().create_connect_args(url)[1]
        assert arguments.keys() <= inspect.signature(asyncpg.connect).parameters.keys()

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            (
                "sslmode=verify-ca&sslrootcert=/c%20a.pem",
                "has sslrootcert=/c a.pem, for * such as psycopg; or leave sslrootcert out of testbed_pg_url and PGSSLROOTCERT, "
                "and name the file ~/.postgresql/root.crt, where asyncpg looks by itself.",
            ),
            ("sslcert=/c.pem&sslkey=/k.pem", "has sslcert=/c.pem, *"),
            ("channel_binding=require", "has channel_binding=require, * out of testbed_pg_url and PGCHANNELBINDING."),
            ("sslmode=disable&require_auth=scram-sha-256", "has require_auth=scram-sha-256, *"),
            ("ssl_min_protocol_version=TLSv1.3", "has ssl_min_protocol_version=TLSv1.3, *"),
        ],
    )
    def test_asyncpg_is_told_nothing_less_safe(self, query: str, words: str) -> None:
        address = DatabaseAddress("shop", f"postgresql://me@db.example/postgres?{query}")
        address.doorway._listener.close()
        assert "sslrootcert" not in query or "sslrootcert=" in address.form("url+psycopg")
        with pytest.raises(ConfigurationError) as caught:
            address.form("url+asyncpg")
        assert fnmatch(str(caught.value), f"the server's URL {words}")


class TestPassingOn:
    def test_much_in_both_directions(self, door: Door) -> None:
        cursor = door.cursor()
        cursor.execute("CREATE TABLE t (id int, text text)")
        lines = "".join(f"{number}\t{'x' * 1000}\n" for number in range(10_000))
        cursor.copy_from(io.StringIO(lines), "t")
        back = io.StringIO()
        cursor.copy_to(back, "t")
        assert back.getvalue() == lines

    def test_a_client_that_sends_much_before_it_has_read_the_answers(self, door: Door) -> None:
        """The server takes nothing more until its answers are taken."""
        with psycopg.connect(door.address.form("dsn"), autocommit=True) as connection, connection.pipeline():
            cursors = [connection.execute("SELECT %s || %s", ("x" * 100_000, str(number))) for number in range(200)]
            assert [len(cursor.fetchone()[0]) for cursor in cursors[:1]] == [100_001]  # type: ignore[index]
            assert [cursor.fetchone()[0][100_000:] for cursor in cursors[1:]] == [str(n) for n in range(1, 200)]  # type: ignore[index]

    def test_data_that_look_like_messages(self, door: Door) -> None:
        """A piece of what is copied may begin with anything."""

        async def copy() -> int:
            connection = await asyncpg.connect(door.address.form("url"), ssl=False)
            await connection.execute("CREATE TABLE prices (currency text, name text, more text)")
            records = [("GBP", "abcdefgh", None)] * 100_000
            await connection.copy_records_to_table("prices", records=records)
            count: int = await connection.fetchval("SELECT count(*) FROM prices")
            await connection.close()
            return count

        assert asyncio.run(copy()) == 100_000

    def test_many_at_once(self, door: Door) -> None:
        def work(number: int) -> int:
            cursor = door.cursor()
            return sum(value(cursor, f"SELECT {number}") for _ in range(100))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [number * 100 for number in range(8)]

    def test_a_statement_is_cancelled(self, door: Door) -> None:
        connection = door.connect()
        cursor = connection.cursor()
        watcher = door.direct()
        with ThreadPoolExecutor() as pool:
            sleep = pool.submit(cursor.execute, "SELECT pg_sleep(60)")
            while not value(watcher, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"):
                pass
            connection.cancel()
            with pytest.raises(psycopg2.errors.QueryCanceled):
                sleep.result(DEADLINE)

    def test_notifications(self, door: Door) -> None:
        listener = door.connect()
        listener.cursor().execute("LISTEN news")
        door.cursor().execute("NOTIFY news, 'hello'")
        assert select.select([listener], [], [], DEADLINE)[0]
        listener.poll()
        assert listener.notifies[0].payload == "hello"

    def test_what_clients_send_is_counted_before_it_is_passed_on(self, door: Door) -> None:
        cursor = door.cursor()
        before = door.way.board.messages
        assert value(cursor, "SELECT 1") == 1
        assert door.way.board.messages > before

    def test_a_client_that_leaves_is_gone_on_the_server(self, door: Door) -> None:
        connection = door.connect()
        pid, watcher = connection.info.backend_pid, door.direct()
        connection.close()
        while value(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"):
            pass

    def test_a_backend_that_is_ended_is_gone_for_its_client(self, door: Door) -> None:
        cursor = door.cursor()
        value(door.direct(), f"SELECT pg_terminate_backend({value(cursor, 'SELECT pg_backend_pid()')}, 5000)")
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")


class TestAnotherBackend:
    """A client keeps its connection while what is behind it is exchanged."""

    def test_it_goes_on(self, any_door: Door) -> None:
        cursor = any_door.cursor()
        first = value(cursor, "SELECT pg_backend_pid()")
        any_door.way.visits("park")
        second = value(cursor, "SELECT pg_backend_pid()")
        assert first != second

    def test_with_its_settings(self, door: Door) -> None:
        cursor = door.cursor(options="-c work_mem=5MB")
        cursor.execute("SET TIME ZONE 'Asia/Tokyo'")
        door.way.visits("park")
        assert (value(cursor, "SHOW timezone"), value(cursor, "SHOW work_mem")) == ("Asia/Tokyo", "5MB")

    def test_with_what_is_set_and_no_more(self, any_door: Door) -> None:
        connection = any_door.connect()
        cursor = connection.cursor()
        cursor.execute("SET work_mem = '5MB'; CREATE TABLE t (id int)")
        cursor.execute('SET search_path TO public, "it\'s"; INSERT INTO t VALUES (1)')
        cursor.execute("SET lock_timeout = 5; RESET lock_timeout; SELECT set_config('App.tenant', E'it\\\\''s', false)")
        cursor.execute("BEGIN; SET deadlock_timeout = 5; SET ROLE pg_monitor; ROLLBACK")
        cursor.execute("BEGIN; SET LOCAL lock_timeout = 5; COMMIT")
        all_of_them = "SELECT array_agg(name || setting ORDER BY name) FROM pg_settings"
        before = value(cursor, all_of_them)
        assert any_door.way.visits("park")
        assert value(cursor, all_of_them) == before
        assert value(cursor, "SHOW search_path") == 'public, "it\'s"'
        assert value(cursor, "SHOW app.tenant") == "it\\'s"
        assert value(cursor, "SELECT count(*) FROM t") == 1, "what came with a setting is not done again"

    def test_as_whom_it_acts(self, door: Door) -> None:
        cursor = door.cursor()
        cursor.execute("SET SESSION AUTHORIZATION pg_monitor; SET ROLE pg_read_all_stats")
        assert door.way.visits("park")
        assert value(cursor, "SELECT current_user") == "pg_read_all_stats"
        assert value(cursor, "SELECT session_user") == "pg_monitor"

    def test_with_settings_that_come_by_parameters(self, door: Door) -> None:
        async def both() -> list[Any]:
            connection = await asyncpg.connect(door.address.form("url"))
            await connection.execute("SELECT set_config($1, $2, false)", "app.tenant", "7")
            await asyncio.to_thread(door.way.visits, "park")
            found = await connection.fetchval("SHOW app.tenant")
            await connection.close()
            return [found]

        assert asyncio.run(both()) == ["7"]

    def test_after_a_long_text_that_sets_something(self, door: Door) -> None:
        cursor = door.cursor()
        cursor.execute(f"SET work_mem = '5MB'; SELECT '{'x' * 200_000}'")
        assert door.way.visits("park")
        assert value(cursor, "SHOW work_mem") == "5MB"

    def test_a_transaction_that_has_read_is_begun_anew_as_it_was(self, door: Door) -> None:
        connection = door.connect()
        cursor = connection.cursor()
        cursor.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        cursor.execute("SET LOCAL work_mem = '5MB'")
        assert door.way.visits("park")
        assert value(cursor, "SHOW transaction_isolation") == "serializable"
        assert value(cursor, "SHOW work_mem") == "5MB"
        cursor.execute("COMMIT")
        assert value(cursor, "SHOW work_mem") == "4MB"

    @pytest.mark.parametrize(
        ("statements", "what"),
        [
            ("BEGIN; CREATE TABLE t (id int)", "changes that are not committed"),
            ("CREATE TEMP TABLE t AS SELECT 1 AS id", "temporary tables"),
            ("SELECT pg_advisory_lock(5)", "advisory locks"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "a cursor WITH HOLD"),
        ],
    )
    def test_not_where_something_would_be_lost(self, door: Door, statements: str, what: str) -> None:
        connection = door.connect(application_name="the shop")
        cursor, pid = connection.cursor(), connection.info.backend_pid
        for statement in statements.split("; "):
            cursor.execute(statement)
        assert door.way.visits("park") == []
        assert door.way.bound() == [f"a connection (the shop, pid {pid}) had {what}"]
        assert value(cursor, "SELECT pg_backend_pid()") == pid

    def test_a_failed_transaction_is_begun_anew(self, door: Door) -> None:
        connection = door.connect()
        cursor = connection.cursor()
        cursor.execute("SET work_mem = '5MB'")
        cursor.execute("BEGIN")
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT nonsense")
        assert door.way.visits("park")
        cursor.execute("ROLLBACK")
        assert value(cursor, "SHOW work_mem") == "5MB"

    def test_of_a_client_that_was_told_something_meanwhile(self, door: Door) -> None:
        connection = door.connect()
        connection.cursor().execute("LISTEN news")
        door.direct().execute("NOTIFY news, 'hello'")
        assert select.select([connection], [], [], DEADLINE)[0]
        connection.poll()
        assert door.way.visits("park")
        door.way.begin_to_make()
        door.way.made()
        assert door.way.visits("park"), "who only listens has said nothing since the last time"

    def test_with_its_prepared_statements(self, door: Door) -> None:
        async def both() -> list[int]:
            connection = await asyncpg.connect(door.address.form("url"))
            other = await psycopg.AsyncConnection.connect(door.address.form("dsn"), autocommit=True)
            found = []
            for _ in range(3):
                found.append(await connection.fetchval("SELECT $1::int * 2", 4))
                row = await (await other.execute("SELECT %s::int * 3", (4,), prepare=True)).fetchone()
                found.append(row[0] if row else 0)
                await asyncio.to_thread(door.way.visits, "park")
            await connection.close()
            await other.close()
            return found

        assert asyncio.run(both()) == [8, 12] * 3

    def test_with_statements_that_were_prepared_in_a_pipeline(self, door: Door) -> None:
        with psycopg.connect(door.address.form("dsn"), autocommit=True) as connection:
            connection.prepare_threshold = 0
            connection.execute("CREATE TABLE t (id int)")
            for _ in range(2):
                with connection.pipeline():
                    for number in range(6):
                        connection.execute("INSERT INTO t VALUES (%s)", (number,))
                assert len(door.way.visits("park")) == 1
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (12,)

    def test_in_a_fresh_transaction(self, door: Door) -> None:
        connection = door.connect()
        connection.autocommit = False
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id int)")
        connection.commit()
        cursor.execute("INSERT INTO t VALUES (1)")
        door.way.visits("park")
        cursor.execute("INSERT INTO t VALUES (2)")
        connection.rollback()
        cursor.execute("INSERT INTO t VALUES (3)")
        connection.commit()
        assert value(door.direct(), "SELECT array_agg(id) FROM t") == [3]

    def test_not_in_the_middle_of_a_statement(self, door: Door) -> None:
        cursor, watcher = door.cursor(), door.direct()
        watcher.execute("SELECT pg_advisory_lock(1)")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(cursor.execute, "SELECT pg_advisory_lock(1)")
            while not value(watcher, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
            assert door.way.visits("park") == []
            watcher.execute("SELECT pg_advisory_unlock(1)")
            waiting.result(DEADLINE)

    def test_a_request_to_cancel_reaches_it(self, door: Door) -> None:
        connection, watcher = door.connect(), door.direct()
        cursor = connection.cursor()
        door.way.visits("park")
        cursor.execute("SELECT 1")
        with ThreadPoolExecutor() as pool:
            sleep = pool.submit(cursor.execute, "SELECT pg_sleep(61)")
            while not value(watcher, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(61)'"):
                pass
            connection.cancel()
            with pytest.raises(psycopg2.errors.QueryCanceled):
                sleep.result(DEADLINE)

    def test_the_transaction_is_undone_behind_its_back(self, door: Door) -> None:
        connection, watcher = door.connect(), door.direct()
        connection.autocommit = False
        cursor = connection.cursor()
        watcher.execute("CREATE TABLE t (id int)")
        cursor.execute("INSERT INTO t VALUES (1)")
        pid = connection.info.backend_pid
        assert door.way.visits("reset", [pid]) == [pid]
        assert value(cursor, "SELECT count(*) FROM t") == 0
        cursor.execute("INSERT INTO t VALUES (2)")
        connection.commit()
        assert value(watcher, "SELECT array_agg(id) FROM t") == [2]

    def test_a_failed_transaction_as_well(self, door: Door) -> None:
        connection = door.connect()
        connection.autocommit = False
        cursor = connection.cursor()
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT nonsense")
        pid = connection.info.backend_pid
        assert door.way.visits("reset", [pid]) == [pid]
        connection.rollback()
        assert value(cursor, "SELECT 1") == 1

    def test_who_has_no_transaction_is_not_reset(self, door: Door) -> None:
        connection = door.connect()
        assert door.way.visits("reset", [connection.info.backend_pid]) == []

    def test_locks_are_given_up_behind_its_back(self, door: Door) -> None:
        connection, watcher = door.connect(), door.direct()
        connection.cursor().execute("SELECT pg_advisory_lock(5)")
        assert not value(watcher, "SELECT pg_try_advisory_lock(5)")
        pid = connection.info.backend_pid
        assert door.way.visits("unlock", [pid]) == [pid]
        assert value(watcher, "SELECT pg_try_advisory_lock(5)")
        assert value(connection.cursor(), "SELECT 1") == 1

    def test_while_the_database_is_made_it_leads_to_what_stands_in(self, door: Door) -> None:
        """The connection of before, and a new one; both lead to the database again. Nobody has to make the stand-in."""
        here, before = "SELECT current_database()", door.cursor(application_name="kept")
        name = f"{door.address.database}_stand_in"
        assert door.way.begin_to_make()
        door.way.visits("park")
        with door.way.led_to(name):
            inside = door.cursor()
            assert value(before, here) == value(inside, here) == name
            assert value(before, "SHOW application_name") == "kept"
        drop_database(door.testbed.endpoint("postgres"), name)
        door.way.made()
        assert value(before, here) == value(inside, here) == door.address.database

    def test_a_client_that_waits_is_in_nobodys_way(self, door: Door) -> None:
        """Who makes the database may park everybody once more; why it failed, the client is told."""
        cursor = door.cursor()
        door.way.begin_to_make()
        door.way.visits("park")
        with ThreadPoolExecutor() as pool:
            waits = pool.submit(value, cursor, "SELECT 1")
            with pytest.raises(TimeoutError):
                waits.result(0.1)
            assert door.way.visits("park") == []
            door.way.made("SchemaError: line 3 of schema.sql")
            with pytest.raises(psycopg2.OperationalError, match="pytest-testbed: SchemaError: line 3 of schema.sql"):
                waits.result(DEADLINE)


class TestWhatComesMeanwhile:
    def test_a_notification_that_comes_with_an_answer_of_ours_is_passed_on(self, door: Door) -> None:
        """The server tells it at the end of the transaction, which is ours."""
        connection = door.connect()
        cursor = connection.cursor()
        cursor.execute("LISTEN news")
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        door.direct().execute("NOTIFY news, 'hello'")
        assert door.way.visits("park")
        assert select.select([connection], [], [], DEADLINE)[0]
        connection.poll()
        assert [notify.payload for notify in connection.notifies] == ["hello"]

    def test_a_listener_that_gets_one_backend_after_the_other_hears_by_the_last(self, door: Door) -> None:
        connection = door.connect()
        connection.cursor().execute("LISTEN news")
        direct = door.direct()
        for turn in range(10):
            for _ in range(3):
                with waited_for(door.way):
                    pass
            direct.execute("SELECT pg_notify('news', %s)", (str(turn),))
            assert select.select([connection], [], [], DEADLINE)[0]
            connection.poll()
            assert connection.notifies.pop().payload == str(turn)


class TestBounds:
    """A server's messages, in pieces that end anywhere."""

    def test_wherever_they_are_cut(self) -> None:
        row = message(b"D", b"\0\x01\0\0\0\x06" + READY + b"E")
        answer = message(b"T", b"\0\0") + row * 3 + message(b"1") + message(b"C", b"SELECT 3\0") + message(b"Z", b"T")
        said = answer + message(b"A", b"\0\0\0\x01news\0hello\0")
        for size in range(1, len(said) + 1):
            frames = Frames()
            states = [frames.follow(said[at : at + size]) for at in range(0, len(said), size)]
            assert [state for state in states if state] == [b"T"], f"in pieces of {size} bytes"
        frames = Frames()
        assert [frames.follow(said + said[:-4]), frames.follow(said[-4:] + message(b"Z", b"I"))] == [b"T", b"I"]


class TestBetweenTests:
    def hushed(self, door: Door, cursor: Any, sql: str = "SELECT 7") -> tuple[Any, Callable[[], Any]]:
        """Send a statement that has to wait; return what becomes of it."""
        late = door.way.board.late
        door.way.board.hush(True)
        pool = ThreadPoolExecutor()
        future = pool.submit(value, cursor, sql)
        while door.way.board.late == late:
            pass
        pool.shutdown(wait=False)
        return future, lambda: door.way.board.hush(False)

    def test_statements_wait(self, door: Door) -> None:
        cursor = door.cursor()
        since = door.way.board.messages + 1
        future, go_on = self.hushed(door, cursor)
        assert not future.done()
        assert door.way.end_late(since) == [], "it was there before"
        go_on()
        assert future.result(DEADLINE) == 7

    def test_what_is_on_its_way_is_waited_for(self, door: Door) -> None:
        """A statement that was let through just before is with the server once the others have to wait."""
        board = door.way.board
        door.cursor()
        board.set_out()
        with ThreadPoolExecutor() as pool:
            hushing = pool.submit(board.hush, True)
            while not board.hushed:
                pass
            with pytest.raises(TimeoutError):
                hushing.result(0.05)
            board.passed_on()
            hushing.result(DEADLINE)
        board.hush(False)

    def test_nothing_is_on_its_way_while_it_waits(self, door: Door) -> None:
        """Who was held up, who has gone, and who sends much: at the end all of it has been passed on."""
        board = door.way.board
        future, go_on = self.hushed(door, door.cursor())
        assert board.on_their_way == 0
        go_on()
        assert future.result(DEADLINE) == 7
        door.connect().close()
        cursor = door.cursor()
        since = board.messages
        future, go_on = self.hushed(door, cursor)
        door.way.visits("cut")
        go_on()
        with pytest.raises(psycopg2.OperationalError):
            future.result(DEADLINE)
        assert board.messages > since
        deadline = time.monotonic() + DEADLINE
        while board.on_their_way and time.monotonic() < deadline:
            pass
        assert board.on_their_way == 0

    def test_who_leaves_need_not_wait(self, door: Door) -> None:
        connection, watcher = door.connect(), door.direct()
        pid, late = connection.info.backend_pid, door.way.board.late
        door.way.board.hush(True)
        connection.close()
        while value(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"):
            pass
        assert door.way.board.late == late
        door.way.board.hush(False)

    def test_who_came_with_the_test_is_ended(self, door: Door) -> None:
        since = door.way.board.messages
        connection = door.connect()
        pid = connection.info.backend_pid
        future, go_on = self.hushed(door, connection.cursor())
        assert door.way.end_late(since) == [pid]
        go_on()
        with pytest.raises(psycopg2.OperationalError):
            future.result(DEADLINE)

    def test_who_is_ended_writes_nothing_to_the_database_that_took_the_place_of_his(self, door: Door) -> None:
        door.connect()
        watcher = door.direct()
        watcher.execute("CREATE TABLE t (id int)")
        since = door.way.board.messages
        cursor = door.cursor()
        future, go_on = self.hushed(door, cursor, "INSERT INTO t VALUES (1) RETURNING 1")
        try:
            assert door.way.visits("park")
            assert len(door.way.end_late(since)) == 1
        finally:
            go_on()
        with pytest.raises(psycopg2.OperationalError):
            future.result(DEADLINE)
        while door.way.visits("cut"):
            pass
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        while value(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE {others}"):
            pass
        assert value(watcher, "SELECT count(*) FROM t") == 0


class TestWithoutRoom:
    @pytest.fixture
    def small(self) -> Iterator[Door]:
        with Testbed([postgres_spec(provider="local", args=["-c", "max_connections=6"])]) as testbed:
            door = Door(testbed)
            door.connect()
            yield door
            for connection in door.opened:
                connection.close()

    def test_idle_connections_make_room(self, small: Door) -> None:
        cursors = [small.cursor() for _ in range(12)]
        assert [value(cursor, "SELECT 1") for cursor in cursors * 2] == [1] * 24

    def test_not_those_that_would_lose_something(self, small: Door) -> None:
        first = small.cursor()
        first.execute("CREATE TEMP TABLE t AS SELECT 1 AS id; SET work_mem = '5MB'")
        second = small.cursor()
        second.execute("SELECT set_config('app.tenant', '7', false)")
        cursors = [small.cursor() for _ in range(12)]
        assert [value(cursor, "SELECT 1") for cursor in cursors * 2] == [1] * 24
        assert value(first, "SELECT id FROM t") == 1
        assert value(second, "SHOW app.tenant") == "7"

    def test_a_full_server_is_told_without_a_hang(self, small: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        connections = []
        with pytest.raises(psycopg2.OperationalError, match=r"too many clients already.*\d connections of this process are open"):
            for _ in range(7):
                connections.append(small.connect())
                busy = threading.Thread(target=lambda c=connections[-1]: swallow(c), daemon=True)
                busy.start()
                wait_until_busy(connections[-1])
        for connection in connections:
            connection.cancel()


def swallow(connection: Any) -> None:
    with suppress(psycopg2.Error):
        connection.cursor().execute("SELECT pg_sleep(60)")


def wait_until_busy(connection: Any) -> None:
    while connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_ACTIVE:
        pass


def test_no_child_of_a_test_keeps_the_port(door: Door) -> None:
    """A forked child has the process's descriptors: the port must not be among them any more."""
    ports = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            ports.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    table = Path("/proc/net/tcp").read_text().splitlines()
    inode = [line.split()[9] for line in table if f":{door.way.port:04X} " in line and " 0A " in line]
    assert inode, "somebody listens"
    assert f"socket:[{inode[0]}]" not in ports
