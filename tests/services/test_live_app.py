"""The application live on a real PostgreSQL: at an exported address, and bound to the test's transaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_testbed import Testbed
from tests.conftest import QUIET, options_for

CACHE = Path.home() / ".cache"  # pytester sets another HOME

FLASK = """
import os
from flask import Flask, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg2://nobody@nowhere.invalid/shop"))
app = Flask("shop")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)


@app.post("/users")
def register():
    with Session(engine) as session:
        session.add(User(email=request.json["email"]))
        session.commit()
        return "", 201


@app.get("/users")
def users():
    with Session(engine) as session:
        return list(session.scalars(select(User.email).order_by(User.id)))
"""
FASTAPI = """
import os
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg2://nobody@nowhere.invalid/shop"))
app = FastAPI()


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)


class New(BaseModel):
    email: str


@app.post("/users", status_code=201)
def register(new: New):
    with Session(engine) as session:
        session.add(User(email=new.email))
        session.commit()


@app.get("/users")
def users() -> list[str]:
    with Session(engine) as session:
        return list(session.scalars(select(User.email).order_by(User.id)))
"""
TESTS = """
import pytest
from concurrent.futures import ThreadPoolExecutor
from sqlalchemy import text
from shop import User

@pytest.mark.parametrize("turn", range(3))
def test_what_the_application_commits_is_seen(api_client, pg_session, turn):
    api_client.post("/users", json={"email": "ada@example.com"}).assert_status(201)
    assert [user.email for user in pg_session.query(User)] == ["ada@example.com"]

def test_nothing_is_left_and_it_sees_what_the_test_commits(api_client, pg_session):
    api_client.get("/users").assert_json([])
    pg_session.add(User(email="grace@example.com"))
    pg_session.commit()
    api_client.get("/users").assert_json(["grace@example.com"])

def test_only_the_application(api_client):
    api_client.get("/users").assert_json([])
    api_client.post("/users", json={"email": "ada@example.com"})
    assert api_client.post("/users", json={"email": "ada@example.com"}).status_code == 500
    api_client.get("/users").assert_json(["ada@example.com"])

def test_several_at_once(api_client):
    def register(n):
        return api_client.post("/users", json={"email": f"{n}@example.com"}).status_code
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(register, range(12))) == {201}
    assert len(api_client.get("/users").json()) == 12
"""


@pytest.fixture(params=[FLASK, FASTAPI], ids=["flask", "fastapi"])
def shop(request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in ("DATABASE_URL", "BASE_URL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    pytester.makepyfile(shop=request.param, test_it=TESTS)
    return pytester


INI = "[pytest]\npythonpath = .\ntestbed_app = shop:app\ntestbed_pg_schema = shop:Base\n"


@pytest.mark.parametrize("server", ["thread", "process"])
def test_an_exported_address(shop: pytest.Pytester, somewhere: Testbed, server: str) -> None:
    shop.makeini(INI + f"testbed_app_server = {server}\ntestbed_env = DATABASE_URL={{pg.url+psycopg2}}\n")
    result = shop.runpytest_subprocess(*QUIET, *options_for(somewhere), "-W", "error")
    result.assert_outcomes(passed=6)


@pytest.mark.parametrize("server", ["thread", "none"])
def test_a_bound_engine(shop: pytest.Pytester, somewhere: Testbed, server: str) -> None:
    shop.makeini(INI + f"testbed_app_server = {server}\ntestbed_pg_bind = shop:engine\n")
    result = shop.runpytest_subprocess(*QUIET, *options_for(somewhere), "-W", "error")
    result.assert_outcomes(passed=6)


SEEDING = """
from contextlib import asynccontextmanager
import shop
from fastapi import FastAPI
from sqlalchemy import text

@asynccontextmanager
async def lifespan(app):
    with shop.engine.begin() as connection:
        connection.execute(text("INSERT INTO users (email) VALUES ('root@example.com')"))
    yield

app = FastAPI(lifespan=lifespan)
app.include_router(shop.app.router)
"""


@pytest.mark.parametrize("exported", [False, True])
def test_what_is_written_at_the_start_stays(
    pytester: pytest.Pytester, somewhere: Testbed, monkeypatch: pytest.MonkeyPatch, exported: bool
) -> None:
    for name in ("DATABASE_URL", "BASE_URL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    pytester.makepyfile(
        shop=FASTAPI,
        seeding=SEEDING,
        test_it="""
        import pytest

        @pytest.mark.parametrize("turn", range(3))
        def test_it(api_client, turn):
            api_client.get("/users").assert_json(["root@example.com"])
            api_client.post("/users", json={"email": "ada@example.com"}).assert_status(201)
        """,
    )
    more = "    BASE_URL={app.url}\n" if exported else ""
    pytester.makeini(INI.replace("shop:app", "seeding:app") + "testbed_env =\n    DATABASE_URL={pg.url+psycopg2}\n" + more)
    pytester.runpytest_subprocess(*QUIET, *options_for(somewhere), "-W", "error").assert_outcomes(passed=3)
