"""Which server counts as given: our own option always, a general variable where that is safe."""

from __future__ import annotations

import pytest

from pytest_testbed.postgres.given import GivenUrl, given_url

from .conftest import Project

NEAR = [
    "postgresql://me:x@localhost:5432/shop",
    "postgres://me@127.0.0.1/shop",
    "postgresql+psycopg://me@[::1]:5432/shop",
    "postgresql://me@postgres/shop",
    "postgresql://me@my-db_1:5432/shop",
    "postgresql:///shop",
    "postgresql:///shop?host=/var/run/postgresql",
    "postgresql://me@%2Fvar%2Frun%2Fpostgresql/shop",
    "postgresql://me:p%40ss@localhost,127.0.0.2:5433/shop",
    "postgresql://me@localhost/shop?application_name=db.example.com",
]
FAR = {
    "postgresql://me:x@db.example.com/shop": "db.example.com",
    "postgresql://me@10.0.0.7/shop": "10.0.0.7",
    "postgresql://me@[2001:db8::1]/shop": "2001:db8::1",
    "postgresql://me@localhost,db.example.com/shop": "db.example.com",
    # parameters of libpq that win over the host
    "postgresql://me@localhost/shop?host=db.example.com": "db.example.com",
    "postgresql://me@localhost/shop?hostaddr=10.0.0.7": "10.0.0.7",
    "postgresql:///shop?service=production": "of the service 'production'",
    "postgresql://me@localhost/shop?host=/tmp&host=db.example.com": "db.example.com",
    # other ways to write an address
    "postgresql://me@3232235777/shop": "3232235777",
    "postgresql://me@0xC0A80101/shop": "0xc0a80101",
    "postgresql://me@localhost./shop": "localhost.",
}


@pytest.mark.parametrize("url", NEAR)
def test_a_server_on_this_machine_or_of_a_single_label_counts(url: str) -> None:
    assert given_url(None, "default", {"DATABASE_URL": url}) == GivenUrl(url, "environment DATABASE_URL")


@pytest.mark.parametrize(("url", "host"), FAR.items())
def test_any_other_is_passed_over(url: str, host: str) -> None:
    found = given_url(None, "default", {"DATABASE_URL": url})
    assert found.url is None
    assert f"the server {host}, which is not on this machine, and is passed over; set testbed_pg_url" in found.passed_over
    assert given_url(None, "default", {"DATABASE_URL": url, "CI": "true"}).url == url


def test_our_own_option_wins_and_may_be_anywhere() -> None:
    url = "postgresql://me@db.example.com/shop"
    assert given_url(url, "tox.ini", {"DATABASE_URL": NEAR[0]}) == GivenUrl(url, "tox.ini")


@pytest.mark.parametrize("url", ["", "mysql://me@localhost/shop", "sqlite:///shop.db", "localhost"])
def test_a_variable_that_means_something_else_is_nobody_s_business(url: str) -> None:
    assert given_url(None, "default", {"DATABASE_URL": url}) == GivenUrl()


def test_what_cannot_be_understood_is_passed_over() -> None:
    found = given_url(None, "default", {"DATABASE_URL": "postgresql://me:secret@[::1/shop"})
    assert found.url is None
    assert found.passed_over.startswith("DATABASE_URL cannot be understood (")
    assert "secret" not in found.passed_over


def test_it_is_looked_at_once_when_pytest_starts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets, or what we shall export ourselves, does not count."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@localhost:1/shop")
    project.write(
        test_it="""
        import os

        def test_it(monkeypatch, request):
            monkeypatch.setenv("DATABASE_URL", "postgresql://me@localhost:2/shop")
            request.getfixturevalue("pg_service")
        """
    )
    result = project.run("-o", "testbed_pg_timeout=0.05")
    result.assert_outcomes(failed=1)
    assert "postgresql://me@localhost:1/shop from environment DATABASE_URL" in result.stdout.str()


def test_database_of_an_outer_run_is_nobodys_server() -> None:
    from pytest_testbed.postgres.given import given_url

    given = given_url(None, "", {"DATABASE_URL": "postgresql://me@127.0.0.1:1/testbed_0123456789ab_gw0?sslmode=disable"})
    assert given.url is None
    assert "another run of pytest-testbed" in given.passed_over
    assert given_url(None, "", {"DATABASE_URL": "postgresql://me@127.0.0.1:1/testbed_of_mine"}).url is not None
