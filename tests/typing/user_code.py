"""What users write; a type checker must accept all of it (see test_typing.py)."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import ANY

import aio_pika
import pytest
import requests
from aio_pika.abc import AbstractChannel, AbstractConnection
from pika import BlockingConnection  # type: ignore[import-untyped]  # pika has no types
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from pytest_testbed import (
    Answer,
    ApiClient,
    ApiResponse,
    Broker,
    Endpoint,
    Factories,
    HttpMock,
    Link,
    LiveApp,
    Mail,
    Mailbox,
    Message,
    MockService,
    Queries,
    Query,
    RealDatabase,
    Request,
    ServiceSpec,
    ServiceUnavailable,
    Stub,
    Testbed,
    TestbedError,
    WorkDir,
)
from pytest_testbed.testing import FakeProvider, ProviderConformance, fake_spec


def test_session(pg_session: Session) -> None:
    number: int | None = pg_session.scalar(text("select 1"))
    assert number == 1


def test_engine(pg_engine: Engine, pg_connection: Connection, pg_sessionmaker: sessionmaker[Session]) -> None:
    with pg_sessionmaker() as session:
        session.commit()
    assert pg_engine.dialect.name == "postgresql"
    pg_connection.commit()


@pytest.mark.pg(isolation="database")
def test_real_commits(pg_database: RealDatabase, pg_url: str, pg_dsn: str) -> None:
    addresses: list[str] = [pg_url, pg_dsn, pg_database.url, pg_database.dsn, pg_database.uri, pg_database.name]
    with pg_database.session() as session, pg_database.engine.connect() as connection:
        session.scalar(text(addresses[0]))
        connection.commit()


@pytest.fixture(scope="module")
def country(pg_module_session: Session) -> int:
    pg_module_session.execute(text("insert into country values (1)"))
    pg_module_session.commit()
    return 1


@pytest.fixture(scope="class")
def city(pg_class_session: Session, country: int) -> int:
    pg_class_session.commit()
    return country


def test_statements(pg_queries: Queries, pg_session: Session) -> None:
    pg_session.execute(text("select 1"))
    pg_queries.assert_max(3)
    pg_queries.assert_count(1, matching="select")
    pg_queries.assert_no_repeats(at_least=2)
    first: Query = pg_queries[0]
    some: list[Query] = pg_queries[:2]
    texts: list[str] = [query.statement for query in pg_queries]
    rows: int | None = first.rows
    with pg_queries.only() as inside:
        count: int = inside.count
    assert [some, texts, rows, count, len(pg_queries), pg_queries.total_ms < 5.0]


async def test_async_session(pg_async_session: AsyncSession, pg_async_engine: AsyncEngine) -> None:
    number: int | None = await pg_async_session.scalar(text("select 1"))
    await pg_async_session.commit()
    async with pg_async_engine.connect() as connection:
        await connection.commit()
    assert number == 1


@pytest.fixture(scope="session")
def countries(pg_seed: Sequence[object]) -> list[object]:
    return [*pg_seed, "tests/data/countries.csv"]


def test_service(pg_service: Endpoint, pg_admin_engine: Engine) -> None:
    address: str = pg_service.url("shop", scheme="postgresql+psycopg")
    port: int = pg_service.port
    assert address
    assert port
    with pg_admin_engine.begin() as connection:
        connection.execute(text("select 1"))
    other: Endpoint = pg_service.with_(database="x")
    assert other.kind == "postgres"


def test_messages(rabbitmq_broker: Broker, rabbitmq_url: str, rabbitmq_vhost: str, rabbitmq_service: Endpoint) -> None:
    addresses: list[str] = [rabbitmq_url, rabbitmq_broker.url, rabbitmq_service.url(rabbitmq_vhost)]
    assert addresses
    rabbitmq_broker.declare({"queues": [{"name": "orders"}]})
    rabbitmq_broker.publish("orders", {"id": 1}, headers={"tries": 2})
    message: Message = rabbitmq_broker.expect("orders", matching={"id": 1}, within=1)
    others: list[Message] = rabbitmq_broker.drain("orders")
    body: bytes = message.body
    count: int = rabbitmq_broker.count("orders")
    assert body
    assert count > len(others)


def test_channel(rabbitmq_channel: BlockingChannel, rabbitmq_connection: BlockingConnection) -> None:
    rabbitmq_channel.basic_publish("", "orders", b"x")
    rabbitmq_connection.channel()


async def test_async(rabbitmq_async_channel: AbstractChannel, rabbitmq_async_connection: AbstractConnection) -> None:
    queue = await rabbitmq_async_channel.declare_queue("orders")
    await rabbitmq_async_channel.default_exchange.publish(aio_pika.Message(b"x"), queue.name)
    async with rabbitmq_async_connection as connection, connection.channel() as channel:
        await channel.get_queue("orders")


def test_stubs(mock_service: Callable[[str], MockService]) -> None:
    def answer(request: Request) -> Answer:
        return Answer(201, json={"id": request.path_params["id"]}, headers={"Retry-After": 3, "Set-Cookie": ["a=1", "b=2"]})

    inventory = mock_service("inventory")
    stub: Stub = inventory.stub("POST", "/items/{id}", answer=answer, request_json={"sku": ANY}, times=1, then=[503, answer])
    inventory.stub("GET", re.compile("/items/[0-9]+"), json=[1], headers={"X-Tag": "a"}, query={"page": 2})
    found: list[Request] = inventory.verify("GET", "/items/3", headers={"Accept": None}, within=1)
    assert [each.path for each in found] == [each.path for each in stub.requests]


def test_third_parties(http_mock: HttpMock) -> None:
    http_mock.post("https://pay.example.com/charges", json={"id": "ch_1"}, status=201)
    requests.post("https://pay.example.com/charges", timeout=1)
    assert http_mock.unused == []
    methods: list[str] = [request.method for request in http_mock.unmatched]
    http_mock.unmatched.clear()
    assert methods


def test_application(api_client: ApiClient, live_app: LiveApp, auth_headers: dict[str, str]) -> None:
    answer: ApiResponse = api_client.get("/items", params={"page": 1}).assert_status(200, "3xx").assert_json([{"id": 1}])
    admin: ApiClient = api_client.as_user(email="admin@example.com", password="x")
    address: str = live_app.url + api_client.url("/items")
    port: int = live_app.port
    token: str = auth_headers["Authorization"]
    assert [answer.json(), admin.login().authorization, address, port, token]


def test_mail(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address) as server:
        server.noop()
    mail: Mail = mailbox.expect(to="ann@example.com", subject=re.compile("Welcome"), within=1.0)
    mailbox.expect_none(text=lambda text: "error" in text)
    with mailbox.refuse(at="rcpt", code=550, times=1) as rule:
        count: int = rule.count
    names: list[str] = [attachment.name for attachment in mail.attachments]
    users: list[str] = [login.user for login in mailbox.logins]
    assert [mail.text, mail.headers["Reply-To"], names, users, count, mailbox.host, mailbox.port, len(mailbox)]


def test_face(testbed: Testbed) -> None:
    kinds: list[str] = testbed.kinds
    assert kinds
    endpoint: Endpoint = testbed.endpoint("postgres")
    log: str = testbed.logs("postgres", 10)
    assert endpoint.host
    assert log
    with pytest.raises(TestbedError):
        testbed.endpoint("nothing")


@pytest.fixture
def db_session(pg_session: Session) -> Session:
    return pg_session


@pytest.fixture(scope="session")
def pg_schema() -> list[object]:
    return ["shop.models:Base", "schema.sql"]


def pytest_testbed_services(config: pytest.Config) -> list[ServiceSpec]:
    return [fake_spec("kafka", fixtures=["conftest:kafka"], seconds=0.1), ServiceSpec(kind="redis", probe="my.code:probe")]


def pytest_testbed_provider(name: str) -> str | None:
    return "pytest_testbed.testing:FakeProvider" if name == "fake" else None


class TestFake(ProviderConformance):
    def provider(self) -> FakeProvider:
        return FakeProvider()

    def spec(self) -> ServiceSpec:
        return fake_spec()


def script() -> Iterator[str]:
    with Testbed([fake_spec()], providers={"fake": "pytest_testbed.testing:FakeProvider"}) as testbed:
        try:
            yield testbed.endpoint("fake").url()
        except ServiceUnavailable as error:
            yield str(error)


@pytest.mark.budget(queries=10, seconds=1.5)
def test_files(workdir: WorkDir, factories: Factories) -> None:
    report: Path = workdir / "report.txt"
    workdir.write({"in": {"orders.csv": "1;2", "logo.png": b"\x89", "latest": Link("orders.csv")}})
    workdir.age("in/orders.csv", days=7)
    assert workdir.expect("report.txt", containing="2", within=0.5) == report
    workdir.assert_matches("golden/report", replacing={r"\d{4}-\d\d": "<month>"})
    lines: list[str] = workdir.lines("report.txt")
    with workdir.cwd() as here:
        assert here == workdir.path
    factories.create("UserFactory", name="Ann")
    factories.reset_sequences(1)
    assert [factories.bound, lines, workdir.read("report.txt"), workdir.tree(ignore="*.log")]
