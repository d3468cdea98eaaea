"""A server that somebody named: what is made on it, what is not touched, and what refuses it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
import pytest
from sqlalchemy import create_engine

from pytest_testbed import Endpoint, ServiceNotReady, ServiceUnavailable, Testbed, TestbedError
from pytest_testbed.postgres.database import Database
from pytest_testbed.postgres.service import connection_parameters, drop_database, parse_url, postgres_spec
from pytest_testbed.services.death import gone_within
from tests import leftovers


class Admin:
    """The superuser of the server that the tests take for somebody else's."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connection = psycopg2.connect(**connection_parameters(endpoint))
        self._connection.autocommit = True

    def run(self, sql: str) -> None:
        """Execute a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def databases(self) -> set[str]:
        """Return the names of all databases."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            return {row[0] for row in cursor.fetchall()}

    def databases_of(self, role: str) -> list[str]:
        """Return the names of a role's databases."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", (role,))
            return [row[0] for row in cursor.fetchall()]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def admin(server: Endpoint) -> Iterator[Admin]:
    admin = Admin(server)
    yield admin
    admin.close()


@pytest.fixture
def house(admin: Admin) -> Iterator[Endpoint]:
    """A role that may create databases, with a database of its own: what a user would name."""
    name = f"guest_{secrets.token_hex(4)}"
    admin.run(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'se/c:r@t'")
    admin.run(f"CREATE DATABASE {name} OWNER {name}")
    yield admin.endpoint.with_(user=name, password="se/c:r@t", database=name, socket="")
    for own in admin.databases_of(name):
        admin.run(f'DROP DATABASE "{own}" WITH (FORCE)')
    admin.run(f"DROP OWNED BY {name}")
    admin.run(f"DROP ROLE {name}")


@pytest.fixture
def named(house: Endpoint) -> Iterator[Callable[[str], Testbed]]:
    """Start runs on a named server, ended before the server's role goes."""
    made: list[Testbed] = []

    def named(url: str, **options: object) -> Testbed:
        spec = postgres_spec(provider="auto", url=url, url_source="the tests", **options)  # type: ignore[arg-type]
        made.append(Testbed([spec]))
        return made[-1]

    yield named
    for testbed in made:
        assert testbed.close() == []


def worker_database(testbed: Testbed, **changes: object) -> Database:
    arguments = {"worker": "main", "schema": (), "root": Path(), "driver": "psycopg2", "lock_timeout": 5.0, **changes}
    return Database(testbed, **arguments)  # type: ignore[arg-type]


def test_own_database_is_made_and_dropped_and_nothing_else(
    named: Callable[[str], Testbed], house: Endpoint, admin: Admin
) -> None:
    before = admin.databases()
    testbed = named(house.url())
    database = worker_database(testbed, schema=["tests.services.test_external:make_table"])
    database.ensure()
    made = admin.databases() - before
    assert made == {database.name, database.template}
    assert testbed.run in database.name
    assert database.template.startswith("testbed_t_")
    database.close()
    assert testbed.close() == []
    assert admin.databases() == before | {database.template}, "the template serves later runs, everything else is gone"


A_COMPANYS_OWN = """
from pathlib import Path
from pytest_testbed.services.providers.external import ExternalProvider, Guest

class Company(ExternalProvider):
    name = "company"

    def start(self, spec, context):
        class Server(Guest):
            def stop(self):
                Path({mark!r}).write_text(" ".join(sorted(self.databases())))

            def databases(self):
                import psycopg2
                from pytest_testbed.postgres.service import connection_parameters
                with psycopg2.connect(**connection_parameters(self.endpoint)) as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT datname FROM pg_database")
                    return [name for name, in cursor.fetchall()]

        return Server(super().start(spec, context).endpoint.with_(provider="company"))
"""


def test_a_provider_of_somebody_else_ends_its_server_after_ours_are_dropped(
    house: Endpoint, admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = admin.databases()
    (tmp_path / "company.py").write_text(A_COMPANYS_OWN.format(mark=str(tmp_path / "at_stop")))
    monkeypatch.syspath_prepend(tmp_path)
    spec = postgres_spec(provider="company", url=house.url(), url_source="the tests")
    testbed = Testbed([spec], providers={"company": "company:Company"})
    database = worker_database(testbed)
    assert testbed.endpoint("postgres").provider == "company"
    database.ensure()
    assert admin.databases() - before == {database.name}
    database.close()
    assert testbed.close() == []
    assert database.name not in (tmp_path / "at_stop").read_text().split()
    assert admin.databases() == before


def make_table(connection: object) -> None:
    """Stand for a schema."""
    connection.exec_driver_sql("CREATE TABLE made (id int)")  # type: ignore[attr-defined]


def test_killed_run_has_its_database_dropped_by_the_host(house: Endpoint, admin: Admin) -> None:
    before = admin.databases()
    child = os.fork()
    if not child:
        testbed = Testbed([postgres_spec(provider="external", url=house.url(), url_source="the tests")])
        worker_database(testbed).ensure()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    admin.run("SELECT 1")
    deadline = 5.0
    while admin.databases() != before and deadline > 0:
        admin.run("SELECT pg_sleep(0.05)")
        deadline -= 0.05
    assert admin.databases() == before


def test_killed_host_has_its_database_dropped_by_the_next_run(
    named: Callable[[str], Testbed], house: Endpoint, admin: Admin
) -> None:
    before = admin.databases()
    dead = Testbed([postgres_spec(provider="external", url=house.url(), url_source="the tests")])
    alive = named(house.url())
    worker_database(dead).ensure()
    kept = worker_database(alive)
    kept.ensure()
    os.kill(dead.client.pid, signal.SIGKILL)
    assert gone_within(dead.client.pid, 5)
    assert dead.close() != [], "a host that is gone is told, not passed over"
    assert named(house.url()).endpoint("postgres")
    assert admin.databases() - before == {kept.name}
    kept.close()
    assert leftovers.records(dead.run) == []


def test_drop_refuses_what_is_not_a_runs_own(server: Endpoint) -> None:
    for name in ("postgres", "testbed_main", 'testbed_0123456789ab_main"; DROP DATABASE x; --'):
        with pytest.raises(ValueError, match="left alone"):
            drop_database(server, name)


def test_a_server_named_by_its_socket_alone(
    named: Callable[[str], Testbed], house: Endpoint, server: Endpoint, unused_port: int
) -> None:
    """Nobody listens at this port of localhost: whoever goes there by TCP does not arrive."""
    with TemporaryDirectory(dir="/tmp") as directory:  # a socket's path must be short
        Path(directory, f".s.PGSQL.{unused_port}").symlink_to(Path(server.socket, f".s.PGSQL.{server.port}"))
        testbed = named(f"postgresql://{house.user}:se%2Fc:r%40t@/{house.database}?host={directory}&port={unused_port}")
        database = worker_database(testbed, schema=["tests.services.test_external:make_table"])
        database.ensure()
        with create_engine(database.url).connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM made").scalar() == 0
        with closing(psycopg2.connect(testbed.endpoint("postgres").url(database.name))) as plain:
            assert plain.info.port == unused_port
        database.close()
        assert testbed.close() == []


def test_parameters_of_the_url_reach_the_server(named: Callable[[str], Testbed], house: Endpoint) -> None:
    testbed = named(house.url() + "?options=-c%20search_path%3Delsewhere&connect_timeout=5&application_name=shop")
    database = worker_database(testbed)
    database.ensure()
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path'), current_setting('lock_timeout')")
        assert cursor.fetchone() == ("elsewhere", "5s")
    with create_engine(database.url).connect() as plain:
        assert plain.exec_driver_sql("SELECT current_setting('application_name')").scalar() == "shop"
    database.close()


def test_variables_reach_a_named_server(
    named: Callable[[str], Testbed], house: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", house.password)
    monkeypatch.setenv("PGUSER", house.user)
    testbed = named(house.with_(user="", password="").url())
    monkeypatch.setenv("PGPASSWORD", "a test's own")
    monkeypatch.setenv("PGSSLMODE", "require")
    database = worker_database(testbed)
    database.ensure()
    assert testbed.endpoint("postgres").password == house.password
    database.close()


def test_tls_that_is_asked_for_is_not_dropped(named: Callable[[str], Testbed], house: Endpoint) -> None:
    text = refusal(named, house.url() + "?sslmode=require")
    assert "server does not support SSL" in text
    assert "→ correct sslmode" in text


# --- what refuses


def refusal(named: Callable[[str], Testbed], url: str) -> str:
    with pytest.raises(TestbedError) as caught:
        named(url).endpoint("postgres")
    return str(caught.value)


def test_wrong_password_is_said_at_once_and_masked(named: Callable[[str], Testbed], house: Endpoint) -> None:
    testbed = named(house.with_(password="wrongsecret").url())
    with pytest.raises(ServiceNotReady) as caught:
        testbed.endpoint("postgres")
    text = str(caught.value)
    assert "password authentication failed" in text
    assert "correct the URL" in text
    assert "the tests" in text
    assert "wrongsecret" not in text
    assert testbed.waited["postgres"] < 4, "waiting cannot help here"


def test_wrong_database(named: Callable[[str], Testbed], house: Endpoint) -> None:
    assert 'database "nowhere" does not exist → create it' in refusal(named, house.url("nowhere"))


def test_wrong_port(named: Callable[[str], Testbed], house: Endpoint, unused_port: int) -> None:
    text = refusal(named, house.with_(port=unused_port).url())
    assert "Connection refused" in text
    assert f"127.0.0.1:{unused_port}" in text
    assert "→ start it, or correct the URL" in text


def test_wrong_host(named: Callable[[str], Testbed], house: Endpoint) -> None:
    text = refusal(named, house.with_(host="no-such-host.invalid").url())
    assert "no-such-host.invalid" in text


def test_role_that_may_not_create_databases(named: Callable[[str], Testbed], house: Endpoint, admin: Admin) -> None:
    admin.run(f"ALTER ROLE {house.user} NOCREATEDB")
    text = refusal(named, house.url())
    assert f"the role '{house.user}' may not create databases" in text
    assert f'ALTER ROLE "{house.user}" CREATEDB' in text


def test_another_version_than_the_server_has(named: Callable[[str], Testbed], house: Endpoint) -> None:
    with pytest.raises(ServiceUnavailable, match=r"postgres 9\.6 is wanted, and external gave"):
        named(house.url(), version="9.6").endpoint("postgres")


@pytest.mark.parametrize("url", ["mysql://u@h/d", "nonsense", "postgresql://u@h:port/d"])
def test_url_that_is_none(named: Callable[[str], Testbed], url: str) -> None:
    assert "is no URL of postgres" in refusal(named, url)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- reading URLs


def test_url_in_all_its_forms() -> None:
    plain = parse_url("postgresql+asyncpg://us%40er:p%2Fw@db:5433/shop?sslmode=disable")
    assert (plain.user, plain.password, plain.host, plain.port, plain.database) == ("us@er", "p/w", "db", 5433, "shop")
    assert plain.scheme == "postgresql"
    assert parse_url("postgres://db").port == 5432
    socket = parse_url("postgresql://me@/shop?host=/var/run/postgresql")
    assert (socket.socket, socket.database) == ("/var/run/postgresql", "shop")
    assert parse_url("postgresql://u@[::1]:5432/d").host == "::1"


def test_url_round_trip_with_awkward_passwords() -> None:
    endpoint = Endpoint(kind="postgres", host="::1", port=1, user="a b", password="/:@?#%", database="d/b", scheme="postgresql")
    back = parse_url(endpoint.url())
    assert (back.user, back.password, back.host, back.database) == ("a b", "/:@?#%", "::1", "d/b")
