"""What asyncpg is told of a server: the words of a URL of libpq that it has, and none that it would send to the server."""

from __future__ import annotations

import pytest

from pytest_testbed.postgres.connect_async import async_url, asyncpg_arguments
from pytest_testbed.postgres.service import parse_url

URL = "postgresql://me:secret@db:5433/shop?sslmode=require&sslrootcert=/ca.pem&connect_timeout=3&options=-c%20work_mem%3D3MB"


def test_arguments_of_a_named_server() -> None:
    arguments = asyncpg_arguments(parse_url(URL), "mine", {"lock_timeout": "500"}, "tests")
    assert arguments["dsn"] == "postgresql://?sslmode=require&sslrootcert=%2Fca.pem"
    assert arguments["server_settings"] == {"application_name": "tests", "lock_timeout": "500", "options": "-c work_mem=3MB"}
    told = {name: arguments[name] for name in ("host", "port", "user", "password", "database")}
    assert told == {"host": "db", "port": 5433, "user": "me", "password": "secret", "database": "mine"}
    assert "ssl" not in arguments


@pytest.mark.parametrize(("driver", "query"), [("asyncpg", {"ssl": "require"}), ("psycopg", None)])
def test_url_in_the_driver_s_words(driver: str, query: dict[str, str] | None) -> None:
    url = async_url(parse_url(URL), "mine", driver)
    assert url.drivername == f"postgresql+{driver}"
    assert url.database == "mine"
    if query is not None:
        assert dict(url.query) == query
    else:
        assert url.query["sslmode"] == "require"
