"""Which connections pass while a schema is built; without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import QueuePool

from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.fence import Detour, guarded_process

TEMPLATE = make_url("postgresql+psycopg2://nobody@127.0.0.1:1/template")
SOCKET = TEMPLATE.set(host=None, port=None, query={"host": "/nowhere", "port": "1"})


def pooled(connection: Any) -> QueuePool:
    """A pool with a connection from before."""
    pool = QueuePool(lambda: connection)
    pool.connect().close()
    return pool


def connection_to(**info: Any) -> Any:
    return SimpleNamespace(rollback=int, close=int, info=SimpleNamespace(**info) if info else None)


def test_another_database_system_is_refused() -> None:
    driver = SimpleNamespace(paramstyle="format", __name__="pymysql", __version__="1", Error=OSError)
    engine = create_engine("mysql+pymysql://me:secret@db.example/shop", module=driver)
    with guarded_process(TEMPLATE), pytest.raises(SchemaError, match="A connection to mysql://db.example/shop was refused"):
        engine.connect()


def test_a_pooled_connection_that_tells_nothing_is_refused() -> None:
    pool = pooled(connection_to())
    with guarded_process(TEMPLATE), pytest.raises(SchemaError, match="an unknown database, over a pooled types connection"):
        pool.connect()
    pool.connect().close()


def test_a_pooled_connection_to_the_template_passes() -> None:
    pool = pooled(connection_to(host="localhost", port=1, dbname="template", user="nobody"))
    with guarded_process(TEMPLATE):
        pool.connect().close()


def test_a_pooled_connection_to_an_exported_address_is_made_anew() -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(connection_to(host="127.0.0.1", port=2, dbname="app", user="app"))
        return made[-1]

    pool = QueuePool(connect)
    pool.connect().close()
    with guarded_process(TEMPLATE, Detour("host=127.0.0.1 port=2 dbname=app user=app")):
        pool.connect().close()
    assert len(made) == 2


def test_a_socket_has_no_other_address() -> None:
    there = {"host": "/nowhere/", "port": 1, "dbname": "template", "user": "nobody"}
    by_address = {"port": "1", "hostaddr": "127.0.0.1"}
    pool = pooled(connection_to(**there))
    with guarded_process(SOCKET):
        pool.connect().close()
        with pytest.raises(SchemaError, match=r"nobody:\*\*\*@127\.0\.0\.1:1/template was refused"):
            create_engine(TEMPLATE.set(host=None, port=None, query=by_address)).connect()
