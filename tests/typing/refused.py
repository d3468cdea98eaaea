"""What type checkers must refuse: every line with a comment `# error: MYPY, PYRIGHT` (see test_typing.py)."""

from __future__ import annotations

from collections.abc import Callable

from pytest_testbed import (
    Answer,
    ApiClient,
    Broker,
    Endpoint,
    Factories,
    HttpMock,
    Link,
    LiveApp,
    Mailbox,
    MockService,
    Queries,
    RealDatabase,
    ServiceSpec,
    Testbed,
    WorkDir,
)
from pytest_testbed import Testbeds as Misspelt  # error: attr-defined, reportAttributeAccessIssue


def test_face(testbed: Testbed, pg_service: Endpoint) -> None:
    testbed.endpoint(1)  # error: arg-type, reportArgumentType
    testbed.endpont("postgres")  # error: attr-defined, reportAttributeAccessIssue
    pg_service.port = 1  # error: misc, reportAttributeAccessIssue
    number: int = pg_service.host  # error: assignment, reportAssignmentType
    assert [number, Misspelt]
    ServiceSpec("kafka", "my.code:probe")  # error: call-arg, reportCallIssue
    ServiceSpec(kind="kafka")  # error: call-arg, reportCallIssue


def test_database(pg_database: RealDatabase, pg_queries: Queries) -> None:
    pg_database.url = "postgresql://"  # error: misc, reportAttributeAccessIssue
    number: int = pg_database.session()  # error: assignment, reportAssignmentType
    pg_queries.assert_max("3")  # error: arg-type, reportArgumentType
    text: str = pg_queries[0]  # error: assignment, reportAssignmentType
    assert [number, text]


def test_messages(rabbitmq_broker: Broker) -> None:
    rabbitmq_broker.publish()  # error: call-arg, reportCallIssue
    rabbitmq_broker.expect("orders", "done")  # error: call-arg, reportCallIssue
    rabbitmq_broker.expect("orders", within="1 s")  # error: arg-type, reportArgumentType
    body: str = rabbitmq_broker.expect("orders").body  # error: assignment, reportAssignmentType
    assert body


def test_http(mock_service: Callable[[str], MockService], http_mock: HttpMock) -> None:
    inventory = mock_service("inventory")
    inventory.stub("GET")  # error: call-arg, reportCallIssue
    inventory.stub("GET", "/items", status="ok")  # error: arg-type, reportArgumentType
    inventory.verify("GET", "/items", time=1)  # error: call-arg, reportCallIssue
    Answer("201")  # error: arg-type, reportArgumentType
    http_mock.unmatched.urls()  # error: attr-defined, reportAttributeAccessIssue


def test_application(api_client: ApiClient, live_app: LiveApp) -> None:
    api_client.get()  # error: call-arg, reportCallIssue
    api_client.get("/").assert_status(200.5)  # error: arg-type, reportArgumentType
    port: str = live_app.port  # error: assignment, reportAssignmentType
    assert port


def test_mail(mailbox: Mailbox) -> None:
    mailbox.expect(too="ann@example.com")  # error: call-arg, reportCallIssue
    mailbox.expect(5.0)  # error: call-arg, reportCallIssue
    mailbox.refuse(at="lunch")  # error: arg-type, reportArgumentType


def test_files(workdir: WorkDir, factories: Factories) -> None:
    workdir.write("a.txt", 1)  # error: arg-type, reportArgumentType
    workdir.age("a.txt", weeks=1)  # error: call-arg, reportCallIssue
    Link(1)  # error: arg-type, reportArgumentType
    factories.create()  # error: call-arg, reportCallIssue
    factories.bound = []  # error: misc, reportAttributeAccessIssue
