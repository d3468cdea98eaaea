"""The URL of a named server: what of it is carried on, what the variables add, what is shown of it."""

from __future__ import annotations

import json
import os
import shlex

import psycopg2
import pytest

from pytest_testbed import Endpoint
from pytest_testbed.errors import ConfigurationError
from pytest_testbed.postgres.connect import APPLICATION, connect, engine_url
from pytest_testbed.postgres.given import given_url
from pytest_testbed.postgres.parameters import OTHERS, VARIABLES
from pytest_testbed.postgres.service import connection_parameters, drop_database, parse_url, postgres_spec, probe
from pytest_testbed.reading import masked as masked_option
from pytest_testbed.services.model import GiveUp, ServiceSpec, masked
from pytest_testbed.services.providers.external import ExternalProvider

TLS = "postgresql://me:secret@db:5433/shop?sslmode=require&sslpassword=hush&options=-c%20search_path%3Da%2Bb"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://bob:s3cret@db:5432/app", "postgresql://bob:***@db:5432/app"),
        ("postgresql://db/app?user=x&password=s3cret&sslmode=require", "postgresql://db/app?user=x&password=***&sslmode=require"),
        ("postgresql://db:5432/app?password=s3@cret", "postgresql://db:5432/app?password=***"),
        ("postgresql://bob@db/app?sslpassword=s3cret", "postgresql://bob@db/app?sslpassword=***"),
        ("host=db password=s3cret", "***"),
    ],
)
def test_a_password_is_masked_wherever_it_stands(url: str, shown: str) -> None:
    assert masked(url) == masked_option(url) == shown


# --- parameters


def test_all_of_libpqs_parameters_are_known() -> None:
    pq = pytest.importorskip("psycopg.pq")
    defaults = pq.Conninfo.get_defaults()
    known = {each.keyword.decode() for each in defaults}
    # newer and older versions of libpq have some more
    assert known - OTHERS - {"host", "port", "user", "password", "dbname", "service", "servicefile"} == set()
    variables = {each.envvar.decode(): each.keyword.decode() for each in defaults if each.envvar}
    assert {name: variables[name] for name in VARIABLES if name in variables}.items() <= VARIABLES.items()


def test_parameters_reach_every_connection_and_url() -> None:
    endpoint = parse_url(TLS)
    wanted = {"sslmode": "require", "sslpassword": "hush", "options": "-c search_path=a+b"}
    assert endpoint.parameters() == wanted
    assert wanted.items() <= connection_parameters(endpoint).items()
    assert dict(engine_url(endpoint, "other", "psycopg2", {"x": "y"}).query) == {**wanted, "x": "y"}
    assert endpoint.url() == TLS
    assert endpoint.url("other").startswith("postgresql://me:secret@db:5433/other?sslmode=require&")
    assert Endpoint.from_json(json.loads(json.dumps(endpoint.to_json()))) == endpoint
    assert "hush" not in repr(endpoint)


def test_the_querys_address_wins_as_in_libpq() -> None:
    endpoint = parse_url("postgresql://a:b@c:1/d?host=h&port=2&user=u&password=p&dbname=x&sslmode=")
    assert (endpoint.host, endpoint.port, endpoint.user, endpoint.password, endpoint.database) == ("h", 2, "u", "p", "x")
    assert endpoint.query == ""


@pytest.mark.parametrize("name", ["ssl", "service", "prepared_statement_cache_size"])
def test_a_parameter_that_cannot_be_carried_is_refused(name: str) -> None:
    spec = postgres_spec(url=f"postgresql://u:s3cret@h/d?{name}=1", url_source="the tests", environ={})
    with pytest.raises(ConfigurationError, match=f"the parameter '{name}'") as caught:
        ExternalProvider().start(spec, None)  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("place", ["u:s3cret#x@h", "u:s3cret/x@h:y", "u:s3cret@[::1", "u:s3cret@h:port", "u:s3\u2100cret@h"])
def test_what_is_wrong_with_a_url_is_told_without_its_password(place: str) -> None:
    spec = postgres_spec(url=f"postgresql://{place}/d", url_source="the tests", environ={})
    with pytest.raises(
        ConfigurationError, match="is no URL of postgres: it must be like postgresql://user:password@host"
    ) as caught:
        ExternalProvider().start(spec, None)  # type: ignore[arg-type]
    assert "s3" not in str(caught.value)


class Driver:
    """Stands for psycopg2: keeps what it is called with, and the variables that libpq would see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.error = error or psycopg2.OperationalError("no server here")
        monkeypatch.setattr(psycopg2, "connect", self)

    def __call__(self, **given: object) -> object:
        self.given = given
        self.variables = {name: value for name, value in os.environ.items() if name.startswith("PG")}
        raise self.error


def test_connect_joins_the_users_options_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    endpoint = parse_url(TLS + "&application_name=shop&connect_timeout=9")
    with pytest.raises(psycopg2.OperationalError):
        connect(endpoint, "d", options={"lock_timeout": "1"})
    assert driver.given["options"] == "-c search_path=a+b -c lock_timeout=1"
    assert driver.given["application_name"] == APPLICATION
    assert (driver.given["sslmode"], driver.given["connect_timeout"]) == ("require", "9")


def test_probe_and_drop_use_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    endpoint = parse_url(TLS + "&connect_timeout=9").with_(provider="external")
    with pytest.raises(psycopg2.OperationalError):
        probe(endpoint, 2)
    assert (driver.given["sslmode"], driver.given["connect_timeout"]) == ("require", 2)
    with pytest.raises(psycopg2.OperationalError):
        drop_database(endpoint, "testbed_0123456789ab_main")
    assert (driver.given["sslmode"], driver.given["connect_timeout"]) == ("require", 5)


# --- variables

ENVIRON = {
    "PGHOST": "/run/pg",
    "PGPORT": "5433",
    "PGUSER": "me",
    "PGPASSWORD": "a&b@c+d#",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/c a.pem",
    "PGPASSFILE": "",
    "PGSERVICE": "production",
    "PGHOSTADDR": "10.0.0.7",
    "PGDATABASE": "other",
}


def test_what_the_url_does_not_say_is_taken_from_the_variables() -> None:
    spec = ServiceSpec.from_json(json.loads(json.dumps(postgres_spec(url="postgresql:///shop", environ=ENVIRON).to_json())))
    assert spec.url is not None
    endpoint = parse_url(spec.url)
    assert (endpoint.socket, endpoint.port, endpoint.user, endpoint.password) == ("/run/pg", 5433, "me", "a&b@c+d#")
    assert endpoint.database == "shop"
    assert endpoint.parameters() == {"sslmode": "verify-full", "sslrootcert": "/c a.pem"}
    assert "a&b" not in masked(spec.url)
    assert "a%26b" not in masked(spec.url)


def test_what_the_url_says_wins_over_the_variables() -> None:
    url = "postgresql://u:p@h:1/d?sslmode=disable&sslrootcert=x"
    assert postgres_spec(url=url, environ=ENVIRON).url == url


def test_a_spec_is_made_with_the_variables_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "before")
    spec = postgres_spec(url="postgresql://me@h/d")
    monkeypatch.setenv("PGPASSWORD", "after")
    assert parse_url(spec.url or "").password == "before"


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/d", "postgresql://u@[::1/d", "postgresql://u@h:port/d"])
def test_what_is_no_url_is_left_to_be_refused(url: str) -> None:
    assert postgres_spec(url=url, environ=ENVIRON).url == url


def test_a_variable_may_not_lead_a_general_url_far_away() -> None:
    found = given_url(None, "default", {"DATABASE_URL": "postgresql:///shop", "PGHOST": "db.example.com"})
    assert found.url is None
    assert "the server db.example.com" in found.passed_over
    assert given_url("postgresql://h/d", "ini", {"PGPASSWORD": "p"}).url == "postgresql://h/d?password=p"


@pytest.mark.parametrize(("provider", "seen"), [("external", {}), ("local", {"PGPASSFILE": os.devnull})])
def test_no_connection_sees_variables(monkeypatch: pytest.MonkeyPatch, provider: str, seen: dict[str, str]) -> None:
    driver = Driver(monkeypatch)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(psycopg2.OperationalError):
        connect(parse_url("postgresql://u@h/d").with_(provider=provider), "d")
    assert driver.variables == seen
    assert dict(os.environ) == before


# --- by a socket


def test_a_named_socket_is_where_urls_lead() -> None:
    endpoint = parse_url("postgresql://u:p@/db?host=/some/dir&port=5433&sslmode=disable").with_(provider="external")
    assert endpoint.url() == "postgresql://u:p@/db?host=/some/dir&port=5433&sslmode=disable"
    assert parse_url(endpoint.url()) == endpoint.with_(provider="")
    for driver in ("psycopg2", "psycopg"):
        url = engine_url(endpoint, "other", driver)
        arguments = url.get_dialect()().create_connect_args(url)[1]
        assert arguments == {
            "host": "/some/dir", "port": "5433", "user": "u", "password": "p", "dbname": "other", "sslmode": "disable"
        }  # fmt: skip


@pytest.mark.parametrize("provider", ["docker", "local"])
def test_a_socket_of_ours_is_private(provider: str) -> None:
    endpoint = Endpoint(kind="postgres", host="127.0.0.1", port=1, user="u", socket="/x", scheme="postgresql", provider=provider)
    assert endpoint.url("d") == "postgresql://u@127.0.0.1:1/d"
    assert str(engine_url(endpoint, "d", "psycopg2")) == "postgresql+psycopg2://u@127.0.0.1:1/d"


# --- the container


def test_the_containers_login_is_what_its_variables_say() -> None:
    container = postgres_spec(environment=["POSTGRES_USER=me", "POSTGRES_PASSWORD=mine"]).container
    assert container is not None
    assert (container.user, container.password) == ("me", "mine")
    plain = postgres_spec().container
    assert plain is not None
    assert (plain.user, plain.password) == ("postgres", plain.environment["POSTGRES_PASSWORD"])


def test_equal_options_give_equal_recipes() -> None:
    assert postgres_spec() == postgres_spec()
    assert postgres_spec().to_json() == postgres_spec().to_json()


def test_arguments_of_initdb_survive_the_images_shell() -> None:
    given = ["--auth-host=scram-sha-256", "--locale=C", "-c", "search_path=a b", "it's"]
    container = postgres_spec(initdb_args=given).container
    assert container is not None
    assert shlex.split(container.environment["POSTGRES_INITDB_ARGS"])[2:] == given


# --- remedies


@pytest.mark.parametrize(
    ("provider", "remedy"),
    [
        ("external", " → the user or the password is wrong; correct the URL."),
        ("docker", " → look at testbed_pg_environment."),
        ("company", ""),
    ],
)
def test_a_refused_login_has_the_remedy_of_its_provider(monkeypatch: pytest.MonkeyPatch, provider: str, remedy: str) -> None:
    Driver(monkeypatch, psycopg2.OperationalError("FATAL: password authentication failed"))
    with pytest.raises(GiveUp) as caught:
        probe(parse_url("postgresql://u@h/d").with_(provider=provider), 1)
    assert str(caught.value) == f"FATAL: password authentication failed{remedy}"


@pytest.mark.parametrize(
    ("provider", "remedy"), [("external", " → start it, or correct the URL."), ("docker", ""), ("company", "")]
)
def test_a_server_that_is_not_there_has_a_remedy(monkeypatch: pytest.MonkeyPatch, provider: str, remedy: str) -> None:
    Driver(monkeypatch, psycopg2.OperationalError("failed: Connection refused"))
    with pytest.raises(psycopg2.OperationalError) as caught:
        probe(parse_url("postgresql://u@h/d").with_(provider=provider), 1)
    assert str(caught.value) == f"failed: Connection refused{remedy}"


def test_a_parameter_that_this_libpq_does_not_know_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, psycopg2.ProgrammingError('invalid connection option "sslnegotiation"\n'))
    with pytest.raises(GiveUp, match='invalid connection option "sslnegotiation"$'):
        probe(parse_url("postgresql://u@h/d?sslnegotiation=direct").with_(provider="external"), 1)
