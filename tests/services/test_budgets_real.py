"""Budgets on real servers: which statements and messages count, and which do not."""

from __future__ import annotations

import pytest

from pytest_testbed import Testbed
from tests.conftest import QUIET, broker_options

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
"""
STATEMENTS = """
import psycopg
import pytest
from sqlalchemy import text
from models import User

@pytest.mark.budget(queries=1_010, seconds=60)
def test_bulk_insert(pg_session):
    for number in range(1000):
        pg_session.add(User(email=f"{number}@example.com"))
        pg_session.flush()
    pg_session.commit()
    assert pg_session.query(User).count() == 1000

@pytest.mark.budget(queries=2)
def test_savepoints_and_commits_are_no_statements_of_its_own(pg_session, pg_url):
    with pg_session.begin_nested():
        pg_session.execute(text("SELECT 1"))
    pg_session.commit()
    pg_session.rollback()
    with psycopg.connect(pg_url.replace("+psycopg2", "")) as connection:
        connection.execute("SELECT 2")

@pytest.fixture
def users(pg_session):
    pg_session.add_all([User(email=f"{number}@example.com") for number in range(5)])
    pg_session.commit()

@pytest.mark.budget(queries=3)
def test_reads_one_by_one(users, pg_session):
    for number in range(5):
        pg_session.query(User).filter_by(email=f"{number}@example.com").all()

@pytest.mark.budget(queries=0)
def test_many_at_once_are_one(pg_session):
    pg_session.execute(User.__table__.insert(), [{"email": str(number)} for number in range(100)])

@pytest.mark.budget(queries=0)
def test_with_its_own_list(pg_queries, pg_session):
    pg_session.execute(text("SELECT 1"))
    pg_queries.clear()
"""


def test_statements(pytester: pytest.Pytester, somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "DATABASE_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(models=MODELS, test_it=STATEMENTS)
    server = ("--testbed-provider=external", "-o", f"testbed_pg_url={somewhere.endpoint('postgres').url()}")
    result = pytester.runpytest_subprocess(*QUIET, *server, "-o", "testbed_pg_schema=models:Base")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "used 5 statements, budget 3 (mark on test_reads_one_by_one)",
            "  5 x SELECT users.id * WHERE users.email = ? · * ms · test_it.py:* in test_reads_one_by_one",
            "  (its fixtures used 1 statement, which is not in the budget)",
            "used 1 statement, budget 0 (mark on test_many_at_once_are_one)",
            "used 1 statement, budget 0 (mark on test_with_its_own_list)",
        ]
    )


MESSAGES = """
import threading
import pika
import pytest
from aio_pika import Message, connect

ORDERS = {"queues": [{"name": "orders"}, {"name": "done"}]}

@pytest.fixture
def channel(rabbitmq_broker, rabbitmq_url):
    rabbitmq_broker.declare(ORDERS)
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    yield connection.channel()
    connection.close()

def work(channel, count):
    left = [count]

    def process(channel, method, properties, body):
        channel.basic_publish("", "done", body)
        channel.basic_ack(method.delivery_tag)
        left[0] -= 1
        if not left[0]:
            channel.stop_consuming()

    channel.basic_consume("orders", process)
    channel.start_consuming()

@pytest.mark.budget(messages=0)
def test_the_test_s_own_do_not_count(rabbitmq_broker):
    rabbitmq_broker.declare(ORDERS)
    rabbitmq_broker.publish("orders", b"1")
    rabbitmq_broker.publish("orders", b"2")
    rabbitmq_broker.expect("orders")
    rabbitmq_broker.drain("orders")

@pytest.mark.budget(messages=3)
def test_a_worker(rabbitmq_broker, channel):
    for number in range(2):
        rabbitmq_broker.publish("orders", {"number": number})
    work(channel, 2)
    rabbitmq_broker.expect("done")

@pytest.mark.budget(messages=2)
def test_only_what_was_taken_counts(rabbitmq_broker, channel):
    for number in range(20):
        rabbitmq_broker.publish("orders", {"number": number})
    work(channel, 1)

@pytest.mark.budget(messages=0)
def test_got_and_consumed(rabbitmq_broker, rabbitmq_channel):
    rabbitmq_broker.declare(ORDERS)
    rabbitmq_channel.basic_publish("", "orders", b"1")
    rabbitmq_channel.basic_publish("", "orders", b"2")
    rabbitmq_channel.basic_get("orders", auto_ack=True)
    rabbitmq_channel.basic_get("done", auto_ack=True)
    for method, _, _ in rabbitmq_channel.consume("orders", inactivity_timeout=5):
        rabbitmq_channel.cancel()

@pytest.mark.budget(messages=0)
def test_by_an_exchange(rabbitmq_url, channel):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        connection.channel().basic_publish("amq.topic", "a.b", b"1")

@pytest.mark.anyio
@pytest.mark.budget(messages=0)
async def test_aio_pika(rabbitmq_url):
    async with await connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("later")
        await channel.default_exchange.publish(Message(b"1"), "later")
        await channel.default_exchange.publish(Message(b"2"), "later")
        await (await queue.get()).ack()
        assert await queue.get(fail=False) is not None
        assert await queue.get(fail=False) is None

@pytest.mark.anyio
@pytest.mark.budget(messages=0)
async def test_aio_pika_s_consumer(rabbitmq_async_channel):
    queue = await rabbitmq_async_channel.declare_queue("later")
    await rabbitmq_async_channel.default_exchange.publish(Message(b"1"), "later")
    async with queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            break

@pytest.mark.budget(messages=0)
def test_kombu(rabbitmq_url):
    from kombu import Connection
    with Connection(rabbitmq_url) as connection, connection.SimpleQueue("simple") as queue:
        queue.put({"number": 1})
        queue.get(timeout=5).ack()
"""


def test_messages(pytester: pytest.Pytester, broker_somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "RABBITMQ_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'", test_it=MESSAGES)
    result = pytester.runpytest_subprocess(*QUIET, "-p", "anyio.pytest_plugin", *broker_options(broker_somewhere), timeout=60)
    result.assert_outcomes(passed=2, failed=6)
    assert "Exceeded budget" not in result.stdout.str()  # no test has failed by itself
    lines = [
        ("test_a_worker", 4, 3, "2 x received orders", "2 x published done"),
        ("test_got_and_consumed", 4, 0, "1 x received orders · test_it.py:*", "1 x published orders · test_it.py:*"),
        ("test_by_an_exchange", 1, 0, "1 x published amq.topic → a.b · test_it.py:*"),
        ("test_aio_pika", 4, 0, "1 x published later · test_it.py:*", "2 x received later"),
        ("test_aio_pika_s_consumer", 2, 0, "1 x published later · test_it.py:*", "1 x received later"),
        ("test_kombu", 2, 0, "1 x published simple → simple · test_it.py:*", "1 x received simple → simple · test_it.py:*"),
    ]
    for name, used, budget, *groups in lines:
        head = f"used {used} message{'s' if used > 1 else ''}, budget {budget} (mark on {name})"
        assert head in result.outlines
        at = result.outlines.index(head)
        shown = pytest.LineMatcher(result.outlines[at + 1 : at + 6])
        shown.fnmatch_lines_random([f"  {group}*" for group in groups])
