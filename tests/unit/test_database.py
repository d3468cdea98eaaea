"""A worker's database where the server, or somebody on it, does something in between; without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import ConfigurationError, ServiceUnavailable
from pytest_testbed.postgres import access, clone
from pytest_testbed.postgres import database as databases
from pytest_testbed.postgres.clone import CLONE_TRIES, IN_USE, NO_SUCH_DATABASE
from pytest_testbed.postgres.database import Database


class Refused(Exception):
    """Stands for a driver's error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.pgcode = code


class Admin:
    """Knows which databases there are."""

    lost = False

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.there: set[str] = set()
        self.open: list[tuple[object, ...]] = []

    def rows(self, sql: str, parameters: tuple[str, ...] = ()) -> list[tuple[object, ...]]:
        if "FROM pg_database" in sql:
            return [()] if parameters[0] in self.there else []
        return self.open if "pg_stat_activity" in sql else []

    def reach(self, attempt: Callable[[], Any]) -> Any:
        return attempt()

    def close(self) -> None:
        pass


class Templates:
    """Gives another name each time."""

    name = "template"

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def ensure(self, *, anew: bool) -> str:
        self.asked.append(anew)
        return f"template{len(self.asked)}"

    @contextmanager
    def turn(self) -> Iterator[None]:
        yield


class World:
    """A database whose making fails as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.admin: Any = Admin(SimpleNamespace(is_ours=False, host="nowhere.invalid", port=1))
        monkeypatch.setattr(databases, "Admin", lambda services: self.admin)
        services: Any = SimpleNamespace(run="run", notes=[])
        self.database = Database(services, worker="main", schema=[], root=Path(), driver="psycopg2", lock_timeout=1)
        self.clone = self.database._clone
        self.fails: list[str] = []
        self.made: list[tuple[str, str]] = []
        self.disowned: list[str] = []

    def create(self, admin: Any, services: Any, name: str, template: str = "") -> None:
        if self.fails and (code := self.fails.pop(0)):
            raise Refused(code)
        self.made.append((name, template))
        self.admin.there.add(name)

    def disown(self, services: Any, endpoint: Any, name: str) -> None:
        self.disowned.append(name)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch)
    monkeypatch.setattr(clone, "create", world.create)
    monkeypatch.setattr(clone, "disown", world.disown)
    return world


@pytest.mark.parametrize("lost", range(1, CLONE_TRIES))
def test_a_template_that_somebody_drops_before_it_is_copied_is_made_again(world: World, lost: int) -> None:
    templates: Any = Templates()
    world.clone._templates = templates
    world.fails = [NO_SUCH_DATABASE] * lost
    world.clone.make()
    assert templates.asked == [False] + [True] * lost
    assert world.made == [(world.database.name, f"template{lost + 1}")]


@pytest.mark.parametrize(
    ("code", "tries", "error"), [(NO_SUCH_DATABASE, CLONE_TRIES, ServiceUnavailable), ("53100", 1, Refused)], ids=["gone", "full"]
)
def test_a_template_that_cannot_be_copied(world: World, code: str, tries: int, error: type[Exception]) -> None:
    templates: Any = Templates()
    world.clone._templates = templates
    world.fails = [code] * CLONE_TRIES
    with pytest.raises(error):
        world.clone.make()
    assert len(templates.asked) == tries


def test_a_database_is_kept_for_renewals(world: World) -> None:
    assert world.database.keep_base()
    assert world.made == [(world.database.base, world.database.name)]
    world.clone.make()
    assert world.made[1] == (world.database.name, world.database.base)


def test_a_database_that_somebody_is_connected_to_cannot_be_kept_for_renewals(world: World) -> None:
    world.fails = [IN_USE]
    assert not world.database.keep_base()
    assert (world.database.base, len(world.disowned)) == ("", 1)


def test_a_fault_while_a_database_is_kept_for_renewals_is_told(world: World) -> None:
    world.fails = ["53100"]
    with pytest.raises(Refused):
        world.database.keep_base()
    assert (world.database.base, len(world.disowned)) == ("", 1)


def test_who_finds_the_database_dropped_has_it_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(endpoint: Any, name: str, *args: Any, **more: Any) -> str:
        if name not in world.admin.there:
            raise Refused("")
        return f"connected to {name}"

    cleaned: list[str] = []
    world.clone.cleaners.append(lambda: cleaned.append("cleaned"))
    monkeypatch.setattr(access, "connect", connect)
    assert world.database.connect_plainly("it") == f"connected to {world.database.name}"
    assert world.made == [(world.database.name, "")]
    assert cleaned == ["cleaned"]


def test_who_cannot_connect_to_a_database_that_is_there_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: Any, **more: Any) -> str:
        raise Refused("")

    world.admin.there.add(world.database.name)
    monkeypatch.setattr(access, "connect", connect)
    with pytest.raises(Refused):
        world.database.connect_plainly("it")
    assert world.made == []


@pytest.mark.parametrize("there", [True, False])
def test_for_an_async_driver_the_database_is_made_again_where_it_was_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    async def connect(endpoint: Any, name: str, driver: str, **more: Any) -> str:
        return f"{driver} {name}"

    if there:
        world.admin.there.add(world.database.name)
    monkeypatch.setattr(access, "connect_async", connect)
    assert asyncio.run(world.database.connect_async("asyncpg")) == f"asyncpg {world.database.name}"
    assert len(world.made) == (not there)


def test_nobody_waits_on_a_server_of_ours(world: World) -> None:
    world.admin.open = [()]
    assert world.database.is_occupied()
    world.admin.endpoint.is_ours = True
    assert not world.database.is_occupied()


def test_connections_of_ours_do_not_occupy_a_database(world: World) -> None:
    world.admin.open = [()]
    world.clone.cleaners.append(world.admin.open.clear)
    assert not world.database.is_occupied()


def test_bystanders(world: World) -> None:
    assert world.database.bystanders() == ""
    world.admin.open = [(7, "", "idle in transaction", 1.25, "SELECT\n  1"), (8, "mine", "active", 1, "SELECT 2")]
    title, *lines = world.database.bystanders(but="mine").split("\n")
    assert title.startswith("other transactions open")
    assert lines == ["  pid 7 (no application name), idle in transaction, for 1.2 s: SELECT 1"]


def test_a_driver_that_is_not_installed() -> None:
    options: Any = SimpleNamespace(driver="psycopg_of_nobody")
    nothing: Any = None
    with pytest.raises(ConfigurationError, match="which is not installed: pip install"):
        with databases.worker_database(nothing, [], Path(), options, "main"):
            pass
