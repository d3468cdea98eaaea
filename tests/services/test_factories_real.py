"""Factories on real sessions: transactions that are undone, modules, real commits, asynchronous sessions."""

from __future__ import annotations

import pytest

from tests.conftest import Servers, options_for
from tests.plugin.test_factories import SHOP

SYNC = """
import pytest
from shop import *
from sqlalchemy import select, func
from pytest_testbed import FactoryError

def emails(connection):
    return list(connection.scalars(select(User.email).order_by(User.id)))

@pytest.mark.parametrize("again", range(2))
def test_committed_and_undone(pg_session, again):
    order = OrderFactory()
    pg_session.commit()
    assert order.user.id == 0 and order.id
    assert emails(pg_session) == ["user0@example.com"]

@pytest.mark.budget(queries=2)
def test_what_they_send_counts(pg_session, pg_queries):
    OrderFactory()
    assert [query.statement.split()[:3] for query in pg_queries] == [["INSERT", "INTO", "users"], ["INSERT", "INTO", "orders"]]
    assert all(query.where.endswith("in test_what_they_send_counts") for query in pg_queries)

@pytest.mark.xfail(raises=pytest.fail.Exception, strict=True)
@pytest.mark.budget(queries=1)
def test_a_budget_that_they_exceed(pg_session):
    OrderFactory()

def test_a_conflict_of_another_kind_has_no_hint_at_sequences(pg_session):
    with pytest.raises(Exception, match="not-null") as caught:
        UserFactory(email=None)
    assert getattr(caught.value, "__notes__", []) == []

def test_what_was_done_before_a_conflict_is_there(pg_session):
    class ByName(SQLAlchemyModelFactory):
        class Meta:
            model = User
            sqlalchemy_get_or_create = ("name",)
        email = "ann@example.com"
    ann = UserFactory(email="ann@example.com", name="Ann")
    with pytest.raises(Exception, match="duplicate key"):
        ByName(name="Bob")
    assert ByName(name="Ann") is ann and emails(pg_session) == ["ann@example.com"]

def test_an_engine_alone(pg_engine):
    OrderFactory()
    with pg_engine.connect() as connection:      # committed, as nobody has the session
        assert emails(connection) == ["user0@example.com"]

def test_what_a_fixture_makes_of_the_engine(mine):
    assert UserFactory() in mine

@pytest.fixture
def mine(pg_sessionmaker):
    with pg_sessionmaker() as session:
        yield session

def test_real_commits(pg_database):
    assert UserFactory().id == 0
    with pg_database.engine.connect() as connection:
        assert emails(connection) == ["user0@example.com"]

@pytest.mark.pg(isolation="database")
def test_database_isolation(pg_session, pg_engine):
    UserFactory()
    with pg_engine.connect() as connection:
        assert emails(connection) == []          # flushed, and not committed
    pg_session.commit()
    with pg_engine.connect() as connection:
        assert emails(connection) == ["user0@example.com"]

def test_alone(factories):
    assert factories.create(OrderFactory).user.id == 0
    assert type(factories.session).__name__ == "Session"

@pytest.mark.usefixtures("pg_session")
class TestUnittest(__import__("unittest").TestCase):
    def setUp(self):
        self.user = UserFactory()
    def test_it(self):
        assert self.user.id == 0

def test_dynamic(request):
    UserFactory.build()
    with pytest.raises(FactoryError):
        UserFactory()
    request.getfixturevalue("pg_session")
    assert UserFactory().id == 0
"""
MODULE = """
import pytest
from shop import *

@pytest.fixture(scope="module", autouse=True)
def three(pg_module_session):
    return OrderFactory.create_batch(3)

@pytest.mark.parametrize("again", range(2))
def test_on_them(pg_session, again, three):
    assert UserFactory().id == 3
    assert pg_session.query(User).count() == 4
    assert three[0].user.id == 0

@pytest.mark.parametrize("again", range(2))
def test_without_a_session_of_its_own(again, pg_module_session):
    assert OrderFactory().user.id == 3           # and the module's rows are as they were
    assert pg_module_session.query(User).count() == 4

class TestClass:
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def more(cls, pg_class_session):
        return UserFactory()
    @pytest.mark.parametrize("again", range(2))
    def test_it(self, pg_session, again):
        assert UserFactory().id == 4

def test_after(pg_session):
    assert UserFactory().id == 3
"""
ASYNC = """
import pytest
from shop import *
from sqlalchemy import func, select
from pytest_testbed import FactoryError

@pytest.mark.parametrize("again", range(2))
async def test_awaited(pg_async_session, factories, again):
    order = await factories.create(OrderFactory, user__name="Ann")
    users = await factories.create_batch("UserFactory", 2)
    assert [order.user.id, *(user.id for user in users)] == [0, 1, 2] and order.user.name == "Ann"
    assert factories.session is pg_async_session and order in pg_async_session
    await pg_async_session.commit()
    assert await pg_async_session.scalar(select(func.count()).select_from(User)) == 3

async def test_in_synchronous_code(pg_async_session):
    user = await pg_async_session.run_sync(lambda session: UserFactory())
    assert user.id == 0

async def test_get_or_create(pg_async_session, factories):
    class ByName(UserFactory):
        class Meta:
            sqlalchemy_get_or_create = ("name",)
        email = "same@example.com"
    ann = await factories.create(ByName, name="Ann")
    assert await factories.create(ByName, name="Ann") is ann
    with pytest.raises(Exception, match="duplicate key"):
        await factories.create(ByName, name="Bob")
    assert await pg_async_session.scalar(select(func.count()).select_from(User)) == 1

@pytest.fixture
def application(pg_async_engine):
    return pg_async_engine

async def test_on_the_asynchronous_engine_of_the_test(factories, application):
    user = await factories.create(UserFactory)
    async with application.connect() as connection:
        assert await connection.scalar(select(User.email)) == user.email

@pytest.fixture
def own(pg_async_engine):
    from sqlalchemy.ext.asyncio import AsyncSession
    return AsyncSession(pg_async_engine)

async def test_on_a_session_that_the_project_makes(own, factories):
    async with own:
        assert factories.session is own and await factories.create(UserFactory) in own

async def test_what_is_committed_can_be_read(pg_async_session, factories):
    class Committed(OrderFactory):
        class Meta:
            sqlalchemy_session_persistence = "commit"
    order = await factories.create(Committed)
    assert order.id and order.user.email == "user0@example.com"
    await pg_async_session.rollback()
    assert await pg_async_session.scalar(select(func.count()).select_from(User)) == 1
    await pg_async_session.commit()
    assert pg_async_session.sync_session.expire_on_commit

async def test_not_awaited(pg_async_session):
    with pytest.raises(FactoryError) as caught:
        OrderFactory()
    assert str(caught.value) == (
        "OrderFactory.user → UserFactory: it is on pg_async_session, an asynchronous session, and OrderFactory() cannot await. "
        "Write `await factories.create(OrderFactory, …)` with the fixture factories, or `await pg_async_session.run_sync(lambda "
        "_: OrderFactory(…))`; or OrderFactory.build() and add it to the session."
    )
    pg_async_session.add(OrderFactory.build())
    await pg_async_session.commit()

async def test_a_fixture_cannot_await(pg_async_session, request):
    with pytest.raises(pytest.fail.Exception, match="Ask for user_factory and factories, and write"):
        request.getfixturevalue("user")
    assert await request.getfixturevalue("factories").create(request.getfixturevalue("user_factory"))

@pytest.mark.pg(isolation="database")
async def test_both_in_database_isolation(pg_async_session, pg_session, factories):
    assert factories.session is pg_session and UserFactory() in pg_session
    pg_session.commit()
    assert await pg_async_session.scalar(select(func.count()).select_from(User)) == 1
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_testbed.plugin")
    pytester.makepyfile(shop=SHOP)
    pytester.makeini(
        "[pytest]\npythonpath = .\ntestbed_pg_schema = shop:Base\ntestbed_factory_modules = shop\nfilterwarnings = error\n"
    )
    return pytester


def test_synchronous_sessions(shop: pytest.Pytester, servers: Servers) -> None:
    shop.makepyfile(test_sync=SYNC, test_module=MODULE)
    shop.runpytest_subprocess(*options_for(servers.any_local())).assert_outcomes(passed=19, xfailed=1)


def test_a_test_that_asks_for_factories_alone_gets_its_server_early(shop: pytest.Pytester, servers: Servers) -> None:
    shop.makepyfile(test_it="def test_it(user, request): assert '_pg_test' in request.node.fixturenames and user.id == 0")
    shop.runpytest_subprocess(*options_for(servers.any_local())).assert_outcomes(passed=1)


ASYNCIO = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function", "-o", "asyncio_mode=auto"]
ANYIO = "pytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_asynchronous_sessions(shop: pytest.Pytester, servers: Servers, plugin: str) -> None:
    shop.makepyfile(test_it=ASYNC.replace("\n@pytest", f"\n{ANYIO}\n@pytest", 1) if plugin == "anyio" else ASYNC)
    more = ASYNCIO if plugin == "asyncio" else ["-p", "anyio.pytest_plugin"]
    shop.runpytest_subprocess(*more, *options_for(servers.any_local())).assert_outcomes(passed=10)
