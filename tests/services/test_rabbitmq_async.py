"""`rabbitmq_async_connection` and `rabbitmq_async_channel` in runs of pytest-asyncio and of anyio's plugin."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing

import pytest

from pytest_testbed import Testbed
from pytest_testbed.rabbitmq.api import ManagementApi
from tests.conftest import broker_options

Run = Callable[..., pytest.RunResult]

HEAD = """
import asyncio
import pytest
from aio_pika import Message

OPENED = []

async def use(channel, body=b"hello"):
    queue = await channel.declare_queue("orders")
    await channel.default_exchange.publish(Message(body), "orders")
    async with (await queue.get()).process():
        pass
    OPENED.append(channel.connection.transport.connection)
    return queue
"""
CONFTEST = """
import gc, logging

HEARD = []

class Ear(logging.Handler):
    def emit(self, record):
        HEARD.append(record.getMessage())

def pytest_configure():
    logging.getLogger("asyncio").addHandler(Ear())

def pytest_unconfigure():
    gc.collect()
    print(f"heard of asyncio: {HEARD}")
"""
"""What asyncio has against a task or a loop is no warning: it is logged."""


def closed(count: int, what: str = "def") -> str:
    """Return a last test, which finds that so many uses are over, and each one's connection closed."""
    return f"""
{what} test_all_were_closed():
    assert len(OPENED) == {count}
    assert all(connection.is_closed for connection in OPENED)
"""


ANYIO = """
@pytest.fixture
def anyio_backend(): return "asyncio"
"""
PLUGINS = {
    "asyncio": ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"],
    "anyio": ["-p", "anyio.pytest_plugin"],
}


@pytest.fixture
def run(pytester: pytest.Pytester, broker_somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in a process of its own on the suite's broker; every warning is an error, and asyncio has to be content."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("RABBITMQ_URL", "DATABASE_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)

    def run(text: str, plugin: str, *arguments: str) -> pytest.RunResult:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(__init__="", test_it=HEAD + text)
        ours = ["-p", "pytest_testbed.plugin", "-p", "no:cacheprovider", *broker_options(broker_somewhere), "-W", "error"]
        result = pytester.runpytest_subprocess(*ours, *PLUGINS[plugin], *arguments, timeout=120)
        assert "heard of asyncio: []" in result.outlines
        with closing(ManagementApi(broker_somewhere.endpoint("rabbitmq"))) as api:
            assert [name for name in api.vhosts() if not name.startswith(f"testbed_{broker_somewhere.run}_")] == ["/"]
        return result

    return run


# --- which plugin, which loop


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio_with_every_loop_scope(run: Run, mode: str) -> None:
    tests = [
        f"@pytest.mark.asyncio(loop_scope={scope!r})\n@pytest.mark.parametrize('n', range(2))\n"
        f"async def test_{scope}(rabbitmq_async_channel, n): await use(rabbitmq_async_channel)\n"
        for scope in ("function", "module", "package", "session")
    ]
    own = "" if mode == "auto" else "@pytest.mark.asyncio\n"
    text = (
        "\n".join(tests)
        + f"""
@pytest.mark.asyncio(loop_scope="class")
class TestClass:
    async def test_one(self, rabbitmq_async_channel): await use(rabbitmq_async_channel)
    async def test_two(self, rabbitmq_async_channel): await use(rabbitmq_async_channel)

{own}async def test_plain(rabbitmq_async_channel):
    await use(rabbitmq_async_channel)
"""
    )
    run(text + closed(11), "asyncio", f"--asyncio-mode={mode}").assert_outcomes(passed=12)


def test_async_fixtures_of_pytest_asyncio(run: Run) -> None:
    text = """
import pytest_asyncio

@pytest_asyncio.fixture
async def orders(rabbitmq_async_channel):
    yield await use(rabbitmq_async_channel)
    await use(rabbitmq_async_channel)

@pytest.mark.asyncio
async def test_it(rabbitmq_async_channel, orders):
    await rabbitmq_async_channel.default_exchange.publish(Message(b"x"), orders.name)
    assert (await orders.get(no_ack=True)).body == b"x"

@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(rabbitmq_async_channel):
    await use(rabbitmq_async_channel)

@pytest.mark.asyncio
async def test_two_loops(elsewhere, rabbitmq_async_channel):
    await use(rabbitmq_async_channel)

@pytest.mark.asyncio
async def test_after_that(rabbitmq_async_channel):
    await use(rabbitmq_async_channel)
"""
    result = run(text + closed(4), "asyncio")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["E *ConfigurationError: rabbitmq_async_connection was used on two event loops*same loop_scope*"])


def test_anyio(run: Run) -> None:
    """A loop for each test; and one for many, where a fixture of a wider scope keeps it."""
    text = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="session")
def anyio_backend(): return "asyncio"

@pytest.fixture
async def orders(rabbitmq_async_channel):
    yield await use(rabbitmq_async_channel)
    await use(rabbitmq_async_channel)

@pytest.mark.parametrize("n", range(2))
async def test_it(rabbitmq_async_channel, n):
    await use(rabbitmq_async_channel)

async def test_with_a_fixture(orders, rabbitmq_async_channel):
    await use(rabbitmq_async_channel)

@pytest.fixture(scope="module")
async def wide(): yield

@pytest.mark.parametrize("n", range(2))
async def test_on_one_loop(wide, rabbitmq_async_channel, n):
    await use(rabbitmq_async_channel)

async def test_and_more(rabbitmq_async_channel):
    await use(rabbitmq_async_channel)
"""
    run(text + closed(8), "anyio").assert_outcomes(passed=7)


def test_trio_is_told_what_to_do(run: Run) -> None:
    pytest.importorskip("trio")
    text = """
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend(): return "trio"

async def test_declares(rabbitmq_async_channel): await rabbitmq_async_channel.declare_queue("orders")
async def test_publishes(rabbitmq_async_channel): await rabbitmq_async_channel.default_exchange.publish(Message(b""), "x")
async def test_connects(rabbitmq_async_connection): await rabbitmq_async_connection.connect()
async def test_asks(rabbitmq_async_connection): rabbitmq_async_connection.close_callbacks
"""
    result = run(text, "anyio")
    result.assert_outcomes(failed=4)
    needs = "rabbitmq_async_connection needs a running event loop of asyncio.*anyio_backend"
    told = re.findall(
        rf"^E +(?:\S+\.ConfigurationError: |AttributeError: 'close_callbacks' is not there yet: ){needs}",
        str(result.stdout),
        re.MULTILINE,
    )
    assert len(told) == 4


def test_without_a_plugin_and_in_another_thread(run: Run) -> None:
    """A loop of the test's own is over before its end; one of another thread still runs then."""
    text = """
import threading

def test_own(rabbitmq_async_channel, rabbitmq_async_connection):
    asyncio.run(use(rabbitmq_async_channel))
    assert rabbitmq_async_connection.transport is None
    with pytest.raises(Exception, match="was used on two event loops"):
        asyncio.run(use(rabbitmq_async_channel))

@pytest.fixture(scope="module")
def elsewhere():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

def test_thread(rabbitmq_async_channel, elsewhere):
    asyncio.run_coroutine_threadsafe(use(rabbitmq_async_channel), elsewhere).result(10)

def test_closed_while_it_runs(elsewhere):
    assert elsewhere.is_running()
    assert OPENED[-1].is_closed
"""
    run(text + closed(2), "asyncio").assert_outcomes(passed=4)


# --- what tests do


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_what_a_test_leaves(run: Run, plugin: str) -> None:
    text = (
        f"pytestmark = pytest.mark.{plugin}\n{ANYIO}"
        """
async def test_never(rabbitmq_async_channel, rabbitmq_async_connection): pass

async def test_fails(rabbitmq_async_channel):
    await use(rabbitmq_async_channel)
    assert 0

async def test_consumer(rabbitmq_async_channel):
    queue, got = await use(rabbitmq_async_channel), asyncio.Queue()
    await queue.consume(got.put)
    await rabbitmq_async_channel.default_exchange.publish(Message(b"held"), queue.name)
    assert (await got.get()).body == b"held"

async def test_iterator(rabbitmq_async_channel):
    queue = await use(rabbitmq_async_channel)
    await rabbitmq_async_channel.default_exchange.publish(Message(b"x"), queue.name)
    async with queue.iterator() as messages:
        async for message in messages:
            break

async def test_closes_all(rabbitmq_async_connection):
    async with rabbitmq_async_connection as connection, connection.channel() as channel:
        await use(channel)
    assert rabbitmq_async_connection.is_closed
    with pytest.raises(RuntimeError, match="was closed by the test"):
        await connection.channel()

async def test_closed_by_the_broker(rabbitmq_async_channel, rabbitmq_async_connection):
    with pytest.raises(Exception, match="NOT_FOUND - no queue 'nothing'"):
        await rabbitmq_async_channel.get_queue("nothing")
    assert rabbitmq_async_channel.is_closed
    await use(rabbitmq_async_connection.channel())

async def test_given_up(rabbitmq_async_channel):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await use(rabbitmq_async_channel)
    await use(rabbitmq_async_channel)

@pytest.mark.rabbitmq(vhost="worker")
@pytest.mark.parametrize("n", range(2))
async def test_in_the_worker_s(rabbitmq_async_channel, n):
    queue = await use(rabbitmq_async_channel)
    assert queue.declaration_result.message_count == 0
    await rabbitmq_async_channel.default_exchange.publish(Message(b"left"), queue.name)
"""
    )
    run(text + closed(8, "async def"), plugin).assert_outcomes(passed=9, failed=1)


def test_every_first_use_opens_it(run: Run) -> None:
    text = """
pytestmark = pytest.mark.asyncio

async def test_publish(rabbitmq_async_channel, rabbitmq_channel):
    rabbitmq_channel.queue_declare("orders")
    await rabbitmq_async_channel.default_exchange.publish(Message(b"hello"), "orders")
    assert rabbitmq_channel.basic_get("orders", auto_ack=True)[2] == b"hello"

async def test_await(rabbitmq_async_connection):
    connection = await rabbitmq_async_connection
    assert connection is await connection
    channel = await connection.channel()
    assert channel is await channel
    await use(channel)

async def test_with(rabbitmq_async_channel):
    async with rabbitmq_async_channel as channel:
        await use(channel)

async def test_ready(rabbitmq_async_connection):
    await rabbitmq_async_connection.ready()
    await rabbitmq_async_connection.connect()
    await use(rabbitmq_async_connection.channel())

async def test_together(rabbitmq_async_channel):
    await asyncio.gather(*(rabbitmq_async_channel.declare_queue(f"q{n}") for n in range(5)))
    assert len(rabbitmq_async_channel.connection.transport.connection.channels) == 1

async def test_transaction(rabbitmq_async_connection):
    channel = rabbitmq_async_connection.channel(publisher_confirms=False)
    async with channel.transaction():
        await channel.declare_queue("orders")
        await channel.default_exchange.publish(Message(b"hello"), "orders")
    assert (await (await channel.get_queue("orders")).get(no_ack=True)).body == b"hello"

async def test_returned(rabbitmq_async_channel, rabbitmq_async_connection):
    returned = []
    rabbitmq_async_channel.return_callbacks.add(lambda channel, message: returned.append(message.body))
    await rabbitmq_async_channel.default_exchange.publish(Message(b"hello", message_id="1"), "nobody")
    assert returned == [b"hello"]
    channel = rabbitmq_async_connection.channel(on_return_raises=True)
    with pytest.raises(Exception, match="NO_ROUTE"):
        await channel.default_exchange.publish(Message(b"hello", message_id="2"), "nobody")
"""
    run(text, "asyncio").assert_outcomes(passed=7)


def test_a_quiet_connection_is_no_dead_one(run: Run) -> None:
    """As one of pika's it may be quiet for as long as a debugger takes."""
    text = """
@pytest.mark.asyncio
async def test_it(rabbitmq_async_channel, monkeypatch):
    await use(rabbitmq_async_channel)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 3600)
    assert not OPENED[0].is_connection_was_stuck
"""
    run(text, "asyncio").assert_outcomes(passed=1)


def test_a_failure_shows_messages_and_log(run: Run) -> None:
    text = """
@pytest.mark.asyncio
async def test_it(rabbitmq_async_channel):
    queue = await use(rabbitmq_async_channel)
    logs = await rabbitmq_async_channel.declare_exchange("logs", "fanout")
    await queue.bind(logs)
    await logs.publish(Message(b"line"), routing_key="info")
    assert 0
"""
    run(text, "asyncio").stdout.fnmatch_lines(
        [
            "*- Captured messages -*",
            "published by the test (2):",
            "  orders: hello",
            "  logs → info: line",
            "in the queues now:",
            "  orders: 1 message",
            "    line*",
        ]
    )


# --- what is missing


def test_a_missing_package_is_named_with_the_command(run: Run) -> None:
    text = """
import sys

@pytest.fixture(autouse=True)
def uninstalled(monkeypatch): monkeypatch.setitem(sys.modules, "aio_pika", None)

def test_it(rabbitmq_async_channel): pass
"""
    result = run(text, "asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["ConfigurationError: rabbitmq_async_connection needs aio-pika, *: pip install 'pytest-testbed[[]async]'."]
    )


def test_who_is_synchronous_loads_nothing_of_it(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_sync="""
        import sys

        def test_it(rabbitmq_channel, rabbitmq_broker):
            assert not {"aio_pika", "pytest_testbed.rabbitmq.asynchronous"} & {*sys.modules}
        """
    )
    run("", "asyncio", "test_sync.py").assert_outcomes(passed=1)
