"""The worker's virtual host and its exported address in runs of pytest: whatever a test does, the next finds it as it was."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from textwrap import dedent

import pytest

from pytest_testbed import Testbed
from pytest_testbed.rabbitmq.api import ManagementApi
from tests.conftest import QUIET, Brokers, Servers, address_of, broker_options

APP = """
import os, threading
from contextlib import contextmanager, suppress

import pika

URL = os.environ["RABBITMQ_URL"]


def connect():
    parameters = pika.URLParameters(URL)
    parameters.stack_timeout = 120  # seconds that a broker may take to start
    return pika.BlockingConnection(parameters)


@contextmanager
def channel():
    connection = connect()
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def declare(*names, **more):
    with channel() as ch:
        for name in names:
            ch.queue_declare(name, **{"durable": True, **more})


def publish(queue, *bodies):
    with channel() as ch:
        ch.confirm_delivery()
        for body in bodies:
            ch.basic_publish("", queue, body)


def get(queue):
    with channel() as ch:
        return ch.basic_get(queue, auto_ack=True)[2]


class Consumer(threading.Thread):
    '''Answers each message of a queue in another one, in a thread that goes on.'''

    def __init__(self, queue, to):
        super().__init__(daemon=True)
        self.ready, self.error = threading.Event(), None
        self._queue, self._to = queue, to
        self.start()
        assert self.ready.wait(10)

    def run(self):
        try:
            ch = connect().channel()
            ch.basic_consume(self._queue, self._work)
            self.ready.set()
            ch.start_consuming()
        except pika.exceptions.AMQPError as error:
            self.error = error

    def _work(self, ch, method, properties, body):
        ch.basic_publish("", self._to, b"done " + body)
        ch.basic_ack(method.delivery_tag)
"""
LOOK = """
'''What there is on the broker, seen past the front door.'''
import json, os, time
from contextlib import closing

import pika

from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.rabbitmq.emptying import of_vhost
from pytest_testbed.rabbitmq.service import parse_url

ENDPOINT = parse_url(os.environ["THE_BROKER"])
PLACE = ENDPOINT.with_(ports={"management": int(os.environ["THE_API"].rpartition(":")[2])})


class Api:
    '''Asks the management API, and leaves no connection open.'''

    def __getattr__(self, name):
        def ask(*path, **more):
            with closing(ManagementApi(PLACE)) as api:
                return getattr(api, name)(*path, **more)

        return ask


API = Api()
VHOST = os.environ.get("THE_VHOST", "")


def there(vhost=VHOST):
    return {sort: sorted(items, key=str) for sort, items in of_vhost(API, vhost).items()}


def queues(vhost=VHOST):
    return sorted(each["name"] for each in API.get("queues", vhost))


def count(queue, vhost=VHOST):
    with closing(pika.BlockingConnection(pika.URLParameters(ENDPOINT.url(vhost)))) as connection:
        return connection.channel().queue_declare(queue, passive=True).method.message_count


def of_stream(queue, seconds=10, vhost=VHOST):
    with closing(pika.BlockingConnection(pika.URLParameters(ENDPOINT.url(vhost)))) as connection:
        channel, found = connection.channel(), []
        channel.basic_qos(prefetch_count=10)
        channel.basic_consume(queue, lambda *got: found.append(got[-1]), arguments={"x-stream-offset": "first"})
        connection.process_data_events(seconds)
        return found


def until(happens):
    deadline = time.monotonic() + 10
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found
"""
HEAD = """
import pytest
import app
from app import Consumer, channel, connect, declare, get, publish
from look import API, VHOST, count, of_stream, queues, there, until
from pika.exceptions import AMQPError
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def broker(request: pytest.FixtureRequest, brokers: Brokers) -> Testbed:
    """The broker that runs use."""
    return brokers.get(request.param) if hasattr(request, "param") else brokers.any()


on_each_version = pytest.mark.parametrize("broker", ["local", "docker"], indirect=True)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, broker: Testbed) -> pytest.Pytester:
    """An application that knows its broker by its address alone."""
    monkeypatch.delenv("RABBITMQ_URL", raising=False)
    url, management = address_of(broker)
    monkeypatch.setenv("THE_BROKER", url)
    monkeypatch.setenv("THE_API", management)
    pytester.makepyfile(app=APP, look=LOOK)
    write_ini(pytester)
    return pytester


def write_ini(
    project: pytest.Pytester, *more: str, env: str = "RABBITMQ_URL={rabbitmq.url}\n    THE_VHOST={rabbitmq.vhost}"
) -> None:
    lines = ["[pytest]", "pythonpath = .", "testbed_env =", f"    {env}", *more]
    project.path.joinpath("pytest.ini").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(project: pytest.Pytester, broker: Testbed) -> Run:
    """Run pytest on tests whose lines follow `HEAD`; apart, where they leave connections open: no later test is to be blamed."""
    options = broker_options(broker)

    def run(tests: str, *arguments: str, quiet: tuple[str, ...] = QUIET, apart: bool = False) -> pytest.RunResult:
        project.path.joinpath("test_it.py").write_text(HEAD + dedent(tests))
        how = project.runpytest_subprocess if apart else project.runpytest_inprocess
        return how(*quiet, *options, "--tb=short", *arguments)

    return run


# --- the address


def test_an_application_that_connects_when_it_is_imported(
    project: pytest.Pytester, broker: Testbed, broker_everywhere: Testbed
) -> None:
    """By its conftest, and as a module: what it has declared is for all tests, and its connection lives as long as they."""
    endpoint = broker_everywhere.endpoint("rabbitmq")
    project.makeconftest(
        """
        import app
        connection = app.connect()
        ch = connection.channel()
        ch.queue_declare("of the conftest", durable=True)
        ch.basic_publish("", "of the conftest", b"early")
        """
    )
    project.makepyfile(
        test_it="""
        import os, pytest
        from app import URL, channel
        from conftest import ch

        ch.queue_declare("of the module", durable=True)

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_it(turn, rabbitmq_broker, testbed):
            assert testbed.endpoint("rabbitmq").provider == "PROVIDER"
            assert os.environ["RABBITMQ_URL"] == URL
            assert rabbitmq_broker._place.queues() == ["of the conftest", "of the module"]
            assert rabbitmq_broker.count("of the conftest") == (1 if turn == 1 else 0)
            ch.basic_publish("", "of the module", b"x")
            assert rabbitmq_broker.expect("of the module").body == b"x"
            ch.basic_publish("", "of the module", b"left")
            with channel() as other:
                other.queue_declare("of the test", durable=True)
                other.queue_delete("of the module")
        """.replace("PROVIDER", endpoint.provider)
    )
    options = broker_options(broker)
    if endpoint.provider != "external":
        spec = broker_everywhere._specs["rabbitmq"]
        assert spec.container is not None
        options = [f"--testbed-provider={endpoint.provider}", "-o", f"testbed_rabbitmq_image={spec.container.image}"]
    result = project.runpytest_subprocess(*QUIET, *options)
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*passed over*")


def test_every_form_and_client(project: pytest.Pytester, run: Run) -> None:
    """Also in a child process, and in the tests of a project without any fixture."""
    forms = ["url", "host", "port", "user", "password", "vhost"]
    env = "\n    ".join([*(f"X_{form.upper()}={{rabbitmq.{form}}}" for form in forms), "BOTH={rabbitmq.host}:{rabbitmq.port}"])
    write_ini(project, env="RABBITMQ_URL={rabbitmq.url}\n    THE_VHOST={rabbitmq.vhost}\n    " + env)
    run(
        """
        import asyncio, os, subprocess, sys
        import pika

        X = {name[2:]: value for name, value in os.environ.items() if name.startswith("X_")}

        def test_forms():
            login = f"{X['USER']}:{X['PASSWORD']}@{X['HOST']}:{X['PORT']}"
            assert X["URL"] == app.URL == f"amqp://{login}/{X['VHOST']}"
            assert os.environ["BOTH"] == f"{X['HOST']}:{X['PORT']}"

        def test_parameters_without_a_virtual_host():
            login = pika.PlainCredentials(X["USER"], X["PASSWORD"])
            connection = pika.BlockingConnection(pika.ConnectionParameters(X["HOST"], int(X["PORT"]), credentials=login))
            connection.channel().queue_declare("orders", durable=True)
            connection.close()
            assert queues(X["VHOST"]) == ["orders"]

        def test_kombu():
            kombu = pytest.importorskip("kombu")
            with kombu.Connection(X["URL"]) as connection, connection.SimpleQueue("orders") as queue:
                assert queues() == ["orders"]

        def test_asyncio():
            aio_pika = pytest.importorskip("aio_pika")

            async def work():
                connection = await aio_pika.connect_robust(X["URL"])
                async with connection:
                    await (await connection.channel()).declare_queue("orders", durable=True)
                    assert queues() == ["orders"]

            asyncio.run(work())

        def test_a_child():
            assert queues() == []
            code = "import app; app.declare('of the child'); app.publish('of the child', b'x')"
            subprocess.run([sys.executable, "-c", code], check=True)
            assert (queues(), count("of the child")) == (["of the child"], 1)

        def test_what_the_child_has_declared_is_gone():
            assert queues() == []
        """
    ).assert_outcomes(passed=6)


def test_the_environment_is_as_before(project: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://somebody@127.0.0.1:1/theirs")
    run("import os\ndef test_it(): assert os.environ['RABBITMQ_URL'] == app.URL != 'amqp://somebody@127.0.0.1:1/theirs'")
    assert os.environ["RABBITMQ_URL"] == "amqp://somebody@127.0.0.1:1/theirs"
    assert "THE_VHOST" not in os.environ


def test_a_broker_that_is_named_by_the_variable_itself(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, broker: Testbed
) -> None:
    """RABBITMQ_URL names a broker, as in CI, and is replaced by the address of the run's own virtual host there."""
    url, management = address_of(broker)
    monkeypatch.setenv("RABBITMQ_URL", url)
    project.path.joinpath("test_it.py").write_text(
        HEAD + "def test_it():\n    declare('orders')\n    assert queues() == ['orders'] and VHOST.startswith('testbed_')"
    )
    for more in ((), ("-n", "1")):
        result = project.runpytest_subprocess(*QUIET, "-o", f"testbed_rabbitmq_management_url={management}", *more)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["testbed: rabbitmq * (external, *"])


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--setup-plan", "--markers", "--help"])
def test_calls_that_run_no_tests(run: Run, option: str) -> None:
    result = run("def test_it(): pass", option)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*was ready after*")
    assert "RABBITMQ_URL" not in os.environ


def test_the_header_says_what_follows(run: Run) -> None:
    result = run("def test_it(): pass")
    result.stdout.fnmatch_lines(
        ["testbed: RABBITMQ_URL, THE_VHOST from RabbitMQ; tests share a virtual host, emptied after each"]
    )


def test_nothing_is_started_for_unit_tests(run: Run) -> None:
    result = run(
        """
        @pytest.mark.unit
        def test_it(testbed):
            assert testbed.started == {}
        """,
        "-v",
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*was ready after*")


def test_what_a_unit_test_does_all_the_same(run: Run) -> None:
    """Where all is there, it is undone like anybody's; and it may ask for a fixture."""
    run(
        """
        @pytest.mark.unit
        def test_first(rabbitmq_broker): rabbitmq_broker.declare({"queues": [{"name": "of the first"}]})
        def test_second(): assert queues() == []
        @pytest.mark.unit
        def test_third(): declare("of the third")
        def test_last(): assert queues() == []
        """
    ).assert_outcomes(passed=4)


@pytest.mark.parametrize("option", ["-p no:pytest_testbed.plugins.postgres", "-p no:unittest", "-p no:logging"])
def test_plugins_that_are_switched_off(run: Run, option: str) -> None:
    result = run("def test_one(): declare('orders')\ndef test_two(): assert queues() == []", *option.split())
    assert result.ret == 0


def test_a_conftest_that_cannot_be_imported(project: pytest.Pytester, run: Run) -> None:
    project.makeconftest("import app\napp.declare('orders')\nraise RuntimeError('the user made a mistake')")
    result = run("def test_it(): pass")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*the user made a mistake*"])
    assert "RABBITMQ_URL" not in os.environ


def test_xdist(project: pytest.Pytester, broker: Testbed) -> None:
    """Each worker has a virtual host, and an address, of its own."""
    project.makeconftest("import os, app\nURL = os.environ['RABBITMQ_URL']\napp.declare('of all tests')")
    project.path.joinpath("test_it.py").write_text(
        HEAD
        + dedent("""
        import os

        @pytest.mark.parametrize("number", range(8))
        def test_it(number, testbed):
            assert VHOST == f"testbed_{testbed.run}_{os.environ['PYTEST_XDIST_WORKER']}"
            assert os.environ["RABBITMQ_URL"] == app.URL and app.URL.endswith(VHOST)
            assert queues() == ["of all tests"]
            assert count("of all tests") == 0
            declare(f"q{number}")
            publish("of all tests", b"x")
            assert not [name for name in os.environ if name.startswith("_PYTEST_TESTBED")]
        """)
    )
    result = project.runpytest_subprocess(*QUIET, *broker_options(broker), "-n", "2")
    result.assert_outcomes(passed=8)


def test_with_postgresql(project: pytest.Pytester, broker: Testbed, servers: Servers) -> None:
    """Both look after each test, whichever its fixtures are."""
    write_ini(project, env="RABBITMQ_URL={rabbitmq.url}\n    THE_VHOST={rabbitmq.vhost}\n    DATABASE_URL={pg.url+psycopg2}")
    options = [option for option in broker_options(broker) if not option.startswith("--testbed-provider")]
    server = servers.any_local().endpoint("postgres")
    project.path.joinpath("schema.sql").write_text("CREATE TABLE users (name text);")
    project.path.joinpath("test_it.py").write_text(
        HEAD
        + dedent("""
        import os
        from sqlalchemy import create_engine, text

        engine = create_engine(os.environ["DATABASE_URL"])

        def add():
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO users VALUES ('x')"))

        def rows():
            with engine.connect() as connection:
                return connection.scalar(text("SELECT count(*) FROM users"))

        def there_is():
            return rows(), queues()

        @pytest.fixture(scope="module")
        def of_module():
            add()
            declare("of the module")

        def test_none():
            assert there_is() == (0, [])
            add()
            declare("orders")

        def test_both(pg_session, rabbitmq_broker):
            assert there_is() == (0, [])
            pg_session.execute(text("INSERT INTO users VALUES ('x')"))
            pg_session.commit()
            rabbitmq_broker.declare({"queues": [{"name": "orders"}]})

        def test_one(rabbitmq_broker, of_module):
            assert there_is() == (1, ["of the module"])
            add()
            declare("orders")

        def test_other(pg_session, of_module):
            assert there_is() == (1, ["of the module"])

        @pytest.mark.unit
        def test_unit():
            add()
            declare("orders")

        def test_last():
            assert there_is() == (1, ["of the module"])
        """)
    )
    more = ["-o", f"testbed_pg_url={server.url()}", "-o", "testbed_pg_schema=schema.sql"]
    result = project.runpytest_subprocess(*QUIET, *options, *more)
    result.assert_outcomes(passed=6, warnings=0)
    assert len([line for line in result.outlines if line.startswith("testbed: ") and " was ready after" in line]) == 2


def test_in_any_order(run: Run) -> None:
    tests = "\n".join(
        f"def test_{number}():\n    assert queues() == []\n    declare('q{number}')\n    publish('q{number}', b'x')"
        for number in range(12)
    )
    quiet = tuple(word for pair in zip(QUIET[::2], QUIET[1::2], strict=True) if pair[1] != "no:randomly" for word in pair)
    for seed in (1, 2):
        result = run(tests, f"--randomly-seed={seed}", quiet=quiet)
        result.assert_outcomes(passed=12)
        result.stdout.fnmatch_lines([f"Using --randomly-seed={seed}"])


# --- what a test leaves

TOPOLOGY = """
import app

with app.channel() as ch:
    ch.queue_declare("orders", durable=True, arguments={"x-max-length": 100_000, "x-dead-letter-exchange": "dead"})
    ch.queue_declare("jobs", durable=True, arguments={"x-queue-type": "quorum"})
    ch.queue_declare("while consumed", durable=True, auto_delete=True)
    ch.exchange_declare("events", "topic", durable=True)
    ch.exchange_declare("more events", "headers", durable=True)
    ch.exchange_declare("dead", "fanout", durable=True, internal=True)
    ch.exchange_declare("while bound", "direct", durable=True, auto_delete=True)
    ch.exchange_declare("not bound yet", "direct", durable=True, auto_delete=True)
    ch.queue_bind("orders", "events", "order.*")
    ch.queue_bind("orders", "events", "order.#", {"a": 1, "b": "x"})
    ch.queue_bind("orders", "more events", arguments={"x-match": "all", "kind": "order", "number": 7})
    ch.queue_bind("orders", "more events", arguments={"x-match": "any", "kind": "order"})
    ch.queue_bind("jobs", "while bound", "job")
    ch.exchange_bind("more events", "events", "more.*")
    ch.exchange_bind("dead", "events", "dead")
"""
SETTINGS = """
from look import API, VHOST

API.put("policies", VHOST, "short", body={"pattern": "^orders", "definition": {"max-length": 9}, "apply-to": "queues"})
API.put("operator-policies", VHOST, "limit", body={"pattern": "^x", "definition": {"max-length": 5}, "apply-to": "queues"})
"""
DEEDS = """
import threading
from contextlib import suppress
kept, deeds = [], []

def deed(function):
    deeds.append(function)
    return function

def held():
    '''A channel that stays open.'''
    kept.append(connect())
    return kept[-1].channel()
"""


@on_each_version
def test_nothing_of_a_test_is_left(project: pytest.Pytester, run: Run) -> None:
    """Whatever it is; and what was there before the first test is as it was."""
    project.makeconftest(TOPOLOGY + SETTINGS)
    result = run(
        DEEDS
        + """
BEFORE = there()
ALL = ["jobs", "orders", "while consumed"]

@deed
def queues_of_all_sorts():
    declare("durable")
    declare("fleeting", auto_delete=True)
    declare("limited", arguments={"x-max-length": 5, "x-expires": 60_000, "x-max-priority": 3})
    declare("quorum", arguments={"x-queue-type": "quorum"})
    declare("stream", arguments={"x-queue-type": "stream"})
    declare("a/b ü? #%41", "a b")
    with channel() as ch:
        ch.queue_declare("", durable=True)
    for name in ("durable", "quorum", "stream", "limited", "a b"):
        publish(name, b"left")
@deed
def queues_of_one_connection():
    ch = held()
    ch.queue_declare("mine", exclusive=True)
    ch.queue_declare("", exclusive=True)
    ch.queue_declare("goes with me", auto_delete=True, durable=True)
    ch.basic_consume("goes with me", lambda *got: None)
@deed
def exchanges():
    with channel() as ch:
        for sort in ("direct", "fanout", "topic", "headers"):
            ch.exchange_declare(sort, sort, durable=True)
            ch.exchange_declare(f"{sort} fleeting", sort, durable=True, auto_delete=True)
        ch.exchange_declare("internal", "direct", durable=True, internal=True)
        ch.exchange_declare("with another", "direct", durable=True, arguments={"alternate-exchange": "fanout"})
        ch.exchange_bind("fanout", "direct", "x")
        ch.exchange_bind("internal", "fanout")
@deed
def bindings():
    with channel() as ch:
        ch.queue_bind("orders", "events", "new")
        ch.queue_bind("orders", "events", "order.*", {"a": 1})
        ch.queue_bind("orders", "events", "order.#", {"a": 2, "b": "x"})
        ch.queue_bind("orders", "more events", arguments={"x-match": "any", "kind": "other"})
        ch.exchange_bind("more events", "events", "")
        ch.exchange_bind("more events", "amq.topic", "#")
        ch.queue_bind("jobs", "amq.fanout", "")
        ch.queue_bind("jobs", "while bound", "another")
@deed
def an_exchange_that_is_bound_for_the_first_time():
    with channel() as ch:
        ch.queue_bind("jobs", "not bound yet", "another")
@deed
def an_exchange_that_is_bound_no_more():
    with channel() as ch:
        ch.queue_unbind("jobs", "while bound", "job")
@deed
def an_exchange_that_would_go_with_the_last_of_the_tests_bindings():
    with channel() as ch:
        ch.queue_bind("orders", "while bound", "another")
        ch.queue_unbind("jobs", "while bound", "job")
@deed
def policies_and_parameters():
    declare("by the address")
    API.put("policies", VHOST, "other", body={"pattern": ".*", "definition": {"max-length": 1}})
    API.put("policies", VHOST, "short", body={"pattern": "^orders", "definition": {"max-length": 3}, "priority": 4})
    API.put("operator-policies", VHOST, "more", body={"pattern": "x", "definition": {"max-length": 1}, "apply-to": "queues"})
    API.delete("operator-policies", VHOST, "limit")
    API.put("vhost-limits", VHOST, "max-queues", body={"value": 100})
@deed
def a_policy_less():
    declare("by the address")
    API.delete("policies", VHOST, "short")
@deed
def deletes_all_that_is_there():
    with channel() as ch:
        for name in ALL:
            ch.queue_delete(name)
        for name in ("events", "more events", "dead", "while bound"):
            ch.exchange_delete(name)
@deed
def declares_what_is_there_in_another_way():
    with channel() as ch:
        ch.queue_delete("orders")
        ch.queue_declare("orders", durable=True, arguments={"x-max-length": 1})
        ch.queue_bind("orders", "events", "order.*")
        ch.exchange_delete("events")
        ch.exchange_declare("events", "fanout", durable=True)
        ch.exchange_bind("dead", "events", "dead")
@deed
def many_messages():
    API.delete("policies", VHOST, "short")
    with channel() as ch:
        ch.queue_declare("many", durable=True)
        for number in range(5000):
            ch.basic_publish("", "many", b"x")
            ch.basic_publish("", "orders", b"x")
    until(lambda: count("orders") == count("many") == 5000)
@deed
def messages_in_all_queues():
    for name in ALL:
        publish(name, b"one", b"two")
@deed
def messages_that_nobody_has_acknowledged():
    ch = held()
    for name in ("orders", "jobs"):
        publish(name, b"one", b"two", b"three")
        assert ch.basic_get(name)[2] == b"one"
        ch.basic_consume(name, lambda *got: None)
    until(lambda: count("orders") == count("jobs") == 0)
@deed
def messages_that_were_rejected():
    with channel() as ch:
        ch.queue_bind("jobs", "dead")
        publish("orders", b"one")
        ch.basic_nack(ch.basic_get("orders")[0].delivery_tag, requeue=False)
        until(lambda: count("jobs") == 1)
@deed
def an_open_transaction():
    ch = held()
    ch.tx_select()
    ch.basic_publish("", "orders", b"one")
    publish("orders", b"two")
    ch.basic_ack(until(lambda: ch.basic_get("orders")[0]).delivery_tag)
@deed
def what_was_sent_last_of_all():
    ch = held()
    for number in range(50):
        ch.basic_publish("", "orders", b"x" * 100_000)
@deed
def a_thread_that_goes_on():
    kept.append(Consumer("orders", "jobs"))
    publish("orders", b"one")
    until(lambda: count("jobs") == 1)
@deed
def by_the_fixtures_of_the_test():
    pass  # see below
@deed
def the_virtual_host_itself():
    declare("by the address")
    API.drop_vhost(VHOST)

def stands_for(function):
    return pytest.param(function, id=function.__name__)

@pytest.mark.parametrize("deed", [*map(stands_for, deeds), pytest.param(lambda: None, id="last")])
def test_it(deed, request):
    assert there() == BEFORE
    assert queues() == ALL
    assert [count(name) for name in ALL] == [0] * len(ALL)
    deed()
    if deed is by_the_fixtures_of_the_test:
        broker, ch = request.getfixturevalue("rabbitmq_broker"), request.getfixturevalue("rabbitmq_channel")
        broker.declare({"queues": [{"name": "of the test"}]})
        broker.declare({"policies": [{"name": "x", "pattern": "x", "definition": {"max-length": 1}}]})
        broker.publish("of the test", b"x")
        broker.publish("orders", b"x")
        ch.queue_delete("jobs")

def test_the_thread_was_told():
    (thread,) = (each for each in kept if isinstance(each, Consumer))
    thread.join(10)
    assert "the test is over" in str(thread.error)
""",
        apart=True,
    )
    result.assert_outcomes(passed=22)


@on_each_version
def test_a_stream_is_empty_again(project: pytest.Pytester, run: Run) -> None:
    """It cannot be purged, so it is made anew, with its bindings."""
    project.makeconftest(
        """
        from app import channel
        with channel() as ch:
            ch.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
            ch.exchange_declare("events", "topic", durable=True)
            ch.queue_bind("log", "events", "#")
        """
    )
    run(
        """
        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(turn):
            assert of_stream("log", 0.1) == []
            with channel() as ch:
                ch.confirm_delivery()
                ch.basic_publish("events", "any", b"one", mandatory=True)
            assert of_stream("log") == [b"one"]
        """
    ).assert_outcomes(passed=2)


def test_what_was_sent_without_waiting_for_anything(project: pytest.Pytester, run: Run) -> None:
    """By a connection that stays; the test is over before that has reached the front door."""
    project.makeconftest("import app\nch = app.connect().channel()\nch.queue_declare('orders', durable=True)")
    tests = """
        from conftest import ch

        @pytest.mark.parametrize("turn", range(50))
        def test_it(turn):
            assert count("orders") == 0
            ch.basic_publish("", "orders", b"x")
        """
    run(tests, apart=True).assert_outcomes(passed=50)


def test_who_does_nothing_costs_nothing(project: pytest.Pytester, run: Run) -> None:
    """Nobody is asked anything for such tests, whatever fixtures of wider scopes have done before them."""
    project.makeconftest(
        """
        from pytest_testbed.services.client import Testbed

        calls, call = [], Testbed.call

        def noted(self, kind, what, **more):
            calls.append(what)
            return call(self, kind, what, **more)

        Testbed.call = noted
        """
    )
    run(
        """
        from conftest import calls

        @pytest.fixture(scope="module", autouse=True)
        def of_module(): declare("of the module")

        @pytest.mark.parametrize("turn", range(5))
        def test_it(turn): assert calls == ["open", "definitions", "definitions"]

        def test_uses(): declare("orders")

        class TestIt:
            @pytest.fixture(scope="class", autouse=True)
            def idle(self): pass

            @pytest.mark.parametrize("turn", range(5))
            def test_it(self, turn): assert calls == ["open", "definitions", "definitions", "empty"]
        """
    ).assert_outcomes(passed=11)


# --- fixtures of wider scopes


def test_what_fixtures_have_declared_lives_as_long_as_they(project: pytest.Pytester, run: Run) -> None:
    """And is put back after each test, with their connections' exclusive queues. The first of a module comes before any test."""
    wide = "".join(
        f"""
@pytest.fixture(scope={scope!r})
def of_{scope}({below}):
    declare("of the {scope}")
    with channel() as ch:
        ch.exchange_declare("{scope}", "fanout", durable=True)
        ch.queue_bind("of the {scope}", "{scope}")
    publish("of the {scope}", b"early")
"""
        for scope, below in (("session", ""), ("module", "of_session"), ("class", "of_module"))
    )
    project.makeconftest("import pytest\nfrom app import channel, declare, publish\n" + wide)
    checks = """
    import pytest
    from look import VHOST, count, queues, there
    from app import channel, declare, publish

    def look(*scopes):
        assert queues() == sorted(f"of the {scope}" for scope in scopes)
        assert [each["name"] for each in sorted(there()["exchanges"], key=lambda each: each["name"])] == sorted(scopes)
        assert len(there()["bindings"]) == len(scopes)
        declare("of the test")
        with channel() as ch:
            for scope in scopes:
                ch.queue_purge(f"of the {scope}")
                ch.queue_bind("of the test", scope)
                ch.exchange_delete(scope)
            ch.queue_delete(f"of the {scopes[-1]}")
    """
    first = """
    from checks import count, look, pytest

    @pytest.fixture(scope="module", autouse=True)
    def of_the_first(of_module): pass

    def test_first():
        assert count("of the module") == 1
        look("session", "module")
    def test_second():
        assert count("of the module") == 0
        look("session", "module")
    """
    project.makepyfile(checks=checks, test_a_first=first, test_z_last="from checks import look\ndef test_it(): look('session')")
    run(
        """
    from checks import look

    class TestInClass:
        @pytest.mark.parametrize("turn", [1, 2])
        def test_in_class(self, of_class, turn): look("session", "module", "class")
        def test_who_does_not_ask(self): look("session", "module", "class")

    class TestAgain:
        def test_in_class(self, of_class): look("session", "module", "class")

    def test_after_class(): look("session", "module")
    """
    ).assert_outcomes(passed=8)


def test_fixtures_that_end_in_another_order_than_they_came(run: Run) -> None:
    """One of the session that comes after one of a class, one that another asks for, one whose parameter changes."""
    run(
        """
        @pytest.fixture(scope="class", params=[1, 2])
        def of_class(request): declare(f"of the class {request.param}")

        @pytest.fixture(scope="session")
        def of_session(): declare("of the session")

        @pytest.fixture(scope="class")
        def asks(request):
            declare("asks")
            request.getfixturevalue("asked_for")

        @pytest.fixture(scope="session")
        def asked_for(): declare("asked for")

        class TestOne:
            def test_class(self, of_class): assert queues() == ["of the class 1"] or queues()[0] == "of the class 2"
            def test_session(self, of_class, of_session): assert (queues()[1:], len(queues())) == (["of the session"], 2)

        def test_after(of_session): assert queues() == ["of the session"]

        class TestTwo:
            def test_it(self, asks): assert queues() == ["asked for", "asks", "of the session"]
            def test_again(self): assert queues() == ["asked for", "asks", "of the session"]

        def test_last(): assert queues() == ["asked for", "of the session"]
        """
    ).assert_outcomes(passed=8)


def test_connections_of_wider_fixtures(run: Run) -> None:
    """A consumer works over many tests, with a queue of its own, and is hung up on when its fixture has ended."""
    result = run(
        """
        kept = []

        @pytest.fixture(scope="class", autouse=True)
        def worker():
            declare("orders", "done")
            kept.append(Consumer("orders", "done"))
            return kept[-1]

        @pytest.fixture(scope="session")
        def replies():
            with channel() as ch:
                ch.queue_declare("replies", exclusive=True)
                yield ch

        class TestOne:
            @pytest.mark.parametrize("turn", range(5))
            def test_it(self, turn, replies, worker):
                assert count("done") == 0
                publish("orders", str(turn).encode())
                assert until(lambda: get("done")) == f"done {turn}".encode()
                replies.basic_publish("", "replies", b"x")
                assert until(lambda: replies.basic_get("replies", auto_ack=True)[2]) == b"x"
                assert worker.is_alive()
                if turn == 3:
                    kept.append(Consumer("orders", "done"))  # that of the test

            def test_which_are_there(self):
                kept[1].join(10)
                assert [each.is_alive() for each in kept] == [True, False]

        class TestTwo:
            def test_it(self, replies):
                kept[0].join(10)
                assert "the test is over" in str(kept[0].error)
                publish("orders", b"other")
                assert until(lambda: get("done")) == b"done other"
        """,
        apart=True,
    )
    result.assert_outcomes(passed=7)


def test_a_wider_fixture_that_a_running_test_asks_for(run: Run) -> None:
    """What the test has done before is the test's, by whatever way."""
    run(
        """
        @pytest.fixture(scope="session")
        def late():
            declare("late")
            with channel() as ch:
                ch.queue_declare("replies", exclusive=True)
                yield ch

        @pytest.fixture(scope="module")
        def over_late(request): return request.getfixturevalue("late")

        def test_asks(request, rabbitmq_broker):
            declare("of the test")
            rabbitmq_broker.declare({"queues": [{"name": "of the test, too"}]})
            request.getfixturevalue("over_late")
            declare("of the test, after it")
            publish("late", b"x")

        def test_next(late):
            assert (queues(), count("late")) == (["late", "replies"], 0)
            late.basic_publish("", "replies", b"x")
            assert until(lambda: late.basic_get("replies", auto_ack=True)[2]) == b"x"
        """
    ).assert_outcomes(passed=2)


def test_a_wider_fixture_that_fails_half_way(run: Run) -> None:
    """What it has declared goes with its scope, too; as always it is not tried again within that."""
    run(
        """
        tries = []

        @pytest.fixture(scope="class")
        def broken():
            tries.append(1)
            declare("half")
            raise ValueError("in the fixture")

        class TestIt:
            def test_error(self, broken): pass
            def test_again(self, broken): pass
            def test_same_scope(self): assert (queues(), tries) == (["half"], [1])

        def test_after(): assert queues() == []
        """
    ).assert_outcomes(passed=2, errors=2)


@pytest.mark.parametrize("is_known", [True, False], ids=["that declared something", "that did not"])
def test_wider_fixtures_that_clean_up(project: pytest.Pytester, run: Run, is_known: bool) -> None:
    """What they do at their end is undone."""
    project.makeconftest("from app import declare\ndeclare('orders', 'jobs')")
    run(
        f"""
        @pytest.fixture(scope="class", params=[1, 2])
        def cleans():
            if {is_known}:
                declare("of the class")
            yield
            with channel() as ch:
                for name in ("orders", "jobs", "of the class"):
                    ch.queue_delete(name)
            declare("of its end")

        class Test:
            def test_it(self, cleans): assert queues() == ["jobs"] + ["of the class"] * {is_known} + ["orders"]

        def test_last(): assert queues() == ["jobs", "orders"]
        """
    ).assert_outcomes(passed=3)


def test_what_hooks_do_between_tests_is_of_the_test_that_follows(project: pytest.Pytester, run: Run) -> None:
    """So a hook may prepare each test; and what a test's own fixtures do at their end is of that test."""
    project.makeconftest(
        """
        from app import declare

        def pytest_runtest_setup(item):
            if "prepared" in item.keywords:
                declare("for " + item.name)
        """
    )
    write_ini(project, "markers = prepared")
    run(
        """
        @pytest.fixture
        def cleans():
            yield
            declare("at its end")

        @pytest.mark.prepared
        def test_one(): assert queues() == ["for test_one"]
        @pytest.mark.prepared
        def test_two(cleans): assert queues() == ["for test_two"]
        def test_three(): assert queues() == []
        """
    ).assert_outcomes(passed=3)


# --- faults

FAIL = """
from pytest_testbed.errors import BrokerError
from pytest_testbed.services.client import Testbed

def fail(times=1, error=BrokerError("no answer"), what="empty"):
    call, left = Testbed.call, [error] * times

    def failing(self, kind, asked, **more):
        if asked != what or not left:
            return call(self, kind, asked, **more)
        raise left.pop()

    Testbed.call = failing
"""


def test_a_fault_is_told_by_the_test_and_the_next_begins_clean(run: Run) -> None:
    """Beside the test's own error, and that of a fixture's end; where it comes again, the next test tells it."""
    result = run(
        FAIL
        + """
def test_first():
    declare("orders")
    fail()

def test_second(): assert queues() == []

def test_with_an_error_of_its_own():
    declare("orders")
    fail()
    raise ValueError("of the test")

@pytest.fixture
def fails():
    yield
    raise ValueError("of its end")

def test_with_a_fixture(fails):
    assert queues() == []
    declare("orders")
    fail()

def test_that_is_interrupted():
    assert queues() == []
    declare("orders")
    fail(error=pytest.fail.Exception("it took too long"))

def test_twice():
    assert queues() == []
    declare("orders")
    fail(times=2)

def test_that_meets_it_again(): raise AssertionError("it does not run")

def test_last(): assert queues() == []
"""
    )
    result.assert_outcomes(passed=6, failed=1, errors=6)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_first*",
            "BrokerError: no answer",
            "*ERROR at teardown of test_with_an_error_of_its_own*",
            "BrokerError: no answer",
            "*ERROR at teardown of test_with_a_fixture*",
            "*BrokerError: no answer",
            "*ValueError: of its end",
            "*ERROR at teardown of test_that_is_interrupted*",
            "*Failed: it took too long",
            "*ERROR at teardown of test_twice*",
            "BrokerError: no answer",
            "*ERROR at setup of test_that_meets_it_again*",
            "BrokerError: no answer",
            "*test_with_an_error_of_its_own*",
            "*ValueError: of the test",
        ]
    )


def test_a_fault_round_a_wider_fixture(run: Run) -> None:
    """It hides no error of the fixture's own. Where it cannot be known what it has declared, it is not set up at all."""
    result = run(
        FAIL
        + """
tries, ends = [], []

@pytest.fixture(scope="class", params=["no fault", "after", "its own", "ends"])
def rows(request, testbed):
    if request.param in ("after", "its own") and request.param not in tries:
        fail(what="definitions")
    tries.append(request.param)
    declare("of the class")
    if request.param == "its own":
        raise ValueError("of the fixture")
    yield
    ends.append(request.param)
    if request.param == "ends":
        fail()

class Test:
    def test_it(self, rows): assert queues() == ["of the class"]
    def test_again(self, rows): assert queues() == ["of the class"]

def test_last():
    assert queues() == []
    assert tries == ["no fault", "after", "after", "its own", "ends"]
    assert ends == ["no fault", "after", "after", "ends"]
"""
    )
    result.assert_outcomes(passed=6, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of Test.test_it?after?*",
            "BrokerError: no answer",
            "*ERROR at setup of Test.test_it?its own?*",
            "*ValueError: of the fixture",
            "*BrokerError: no answer",
            "*ERROR at teardown of Test.test_again?ends?*",
            "BrokerError: no answer",
            "ERROR test_it.py::Test::test_it?its own? - ValueError: of the fixture",
        ]
    )


def test_what_cannot_be_deleted_goes_with_its_virtual_host(project: pytest.Pytester, run: Run) -> None:
    """The API finds no queue of that name. What was there before the first test is there again."""
    project.makeconftest("from app import declare\ndeclare('of all tests')")
    result = run(
        """
        def test_first(): declare("..", "other")
        def test_second(): assert queues() == ["of all tests"]
        """
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["testbed: rabbitmq: testbed_*_main was made anew, which ended all * there are queues '..'*"])


KILLING = {
    "local": """
        import os, signal
        from pathlib import Path
        from pytest_testbed.services.ledger import MARK

        def is_broker(entry, run):
            try:
                is_ours = f"{MARK}={run}".encode() in (entry / "environ").read_bytes().split(bytes(1))
                return is_ours and (entry / "comm").read_text().startswith("beam")
            except OSError:
                return False

        def kill(testbed):
            (entry,) = (entry for entry in Path("/proc").glob("[0-9]*") if is_broker(entry, testbed.run))
            os.kill(int(entry.name), signal.SIGKILL)
            while (entry / "fd/0").exists():
                pass
        """,
    "docker": """
        import subprocess

        def docker(*words):
            return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.split()

        def kill(testbed):
            docker("kill", *docker("ps", "-q", "--filter", f"label=pytest-testbed.run={testbed.run}"))
        """,
}


@pytest.mark.parametrize("provider", KILLING)
def test_a_broker_that_ends(project: pytest.Pytester, brokers: Brokers, provider: str) -> None:
    """It is told once by the test in which it did, beside its own error; the next finds all at the same address.

    A server that is started again has its data or, in a container, not even the virtual host.
    """
    spec = brokers.get(provider)._specs["rabbitmq"]
    project.makeconftest("from app import declare\ndeclare('of all tests')")
    project.makepyfile(
        killing=KILLING[provider],
        test_it=HEAD
        + """
from killing import kill

@pytest.fixture
def there_is(testbed):
    return lambda: testbed.call("rabbitmq", "queues", vhost=VHOST)

@pytest.fixture(scope="module", autouse=True)
def of_module(): declare("of the module")

def works(there_is, *more):
    assert there_is() == sorted(["of all tests", "of the module", *more])
    publish("of the module", b"x")
    assert get("of the module") == b"x"
    declare("of the test")

def test_before(there_is): works(there_is)

def test_that_fails(testbed):
    publish("of the module", b"left")
    kill(testbed)
    publish("of the module", b"never")

def test_next(there_is): works(there_is)

@pytest.mark.rabbitmq(vhost="test")
def test_that_is_told_by_its_fixture(testbed, rabbitmq_broker):
    kill(testbed)
    rabbitmq_broker.expect("of the module")

def test_by_a_fixture(rabbitmq_broker, there_is):
    works(there_is)
    rabbitmq_broker.publish("of the module", b"x")

class TestIt:
    @pytest.fixture(scope="class")
    def kills(self, testbed):
        declare("of the class")
        yield
        kill(testbed)

    def test_it(self, kills, there_is): works(there_is, "of the class")

def test_last(there_is): works(there_is)
""",
    )
    assert spec.container is not None
    options = [f"--testbed-provider={provider}", "-o", f"testbed_rabbitmq_image={spec.container.image}"]
    result = project.runpytest_subprocess(*QUIET, *options, "--tb=short")
    result.assert_outcomes(passed=5, failed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_that_fails*",
            "ServiceDied: rabbitmq ended during this test (*), and was started again for the next.",
            "*ERROR at teardown of TestIt.test_it*",
            "ServiceDied: rabbitmq ended during this test (*), and was started again for the next.",
            "*= FAILURES =*",
            "*_ test_that_fails _*",
            "E   pika.exceptions.*",
            "*_ test_that_is_told_by_its_fixture _*",
            "*ServiceDied: rabbitmq ended during this test (*",
        ]
    )
    assert (
        len([line for line in result.outlines if line.startswith(("ServiceDied", "E   pytest_testbed.errors.ServiceDied"))]) == 3
    )


@pytest.mark.parametrize("missing", ["fail", "skip"])
def test_where_there_is_no_broker(project: pytest.Pytester, missing: str) -> None:
    """Each test tells it, the first in full; tests of a unit need none, and one that is skipped asks for none."""
    tests = """
        @pytest.mark.skip
        def test_skipped(): pass

        def test_one(tmp_path): pass

        def test_two(rabbitmq_broker): pass

        @pytest.mark.skipif(False, reason="not now")
        def test_three(): pass

        @pytest.mark.unit
        def test_unit(tmp_path): pass
        """
    project.path.joinpath("test_it.py").write_text(HEAD + dedent(tests))
    docker = ("--testbed-provider=docker", "-o", "testbed_rabbitmq_image=nobody.invalid/has:this")
    external = (
        "--testbed-provider=external",
        "-o",
        "testbed_rabbitmq_url=amqp://127.0.0.1:1",
        "-o",
        "testbed_rabbitmq_timeout=0.2",
    )
    result = project.runpytest_inprocess(*QUIET, *(docker if missing == "skip" else external), f"--testbed-missing={missing}")
    result.assert_outcomes(passed=1, skipped=4 if missing == "skip" else 1, errors=0 if missing == "skip" else 3)
    if missing == "fail":
        result.stdout.fnmatch_lines(
            [
                "*ERROR at setup of test_one*",
                "*ServiceNotReady: rabbitmq (external, *Connection refused*",
                "*ERROR at setup of test_two*",
                "(told in full by test_it.py::test_one)",
                "*ERROR at setup of test_three*",
                "(told in full by test_it.py::test_one)",
            ]
        )


# --- marks, and tests of other sorts


def test_marks_without_an_exported_address(project: pytest.Pytester, broker: Testbed) -> None:
    """On a test, a class, a module; by fixtures that are asked for late; others have virtual hosts of their own."""
    project.path.joinpath("pytest.ini").write_text("[pytest]\npythonpath = .\n")
    project.makepyfile(
        using="""
        import pika
        from contextlib import closing
        from look import queues

        used = set()

        def use(broker, shared=True):
            assert queues(broker.vhost) == []
            assert (broker.vhost.endswith("_main"), broker.vhost in used) == (shared, shared and bool(used))
            used.add(broker.vhost)
            broker.declare({"queues": [{"name": "by the broker"}]})
            with closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
                connection.channel().queue_declare("by the url", durable=True)
            assert queues(broker.vhost) == ["by the broker", "by the url"]
        """,
        test_a="""
        import pika, pytest
        from look import queues
        from using import use

        @pytest.mark.rabbitmq(vhost="worker")
        def test_first(rabbitmq_broker): use(rabbitmq_broker)

        @pytest.mark.rabbitmq(vhost="worker")
        class TestIt:
            def test_late(self, request): use(request.getfixturevalue("rabbitmq_broker"))
            def test_again(self, rabbitmq_broker): use(rabbitmq_broker)

        def test_not_marked(rabbitmq_broker): use(rabbitmq_broker, shared=False)

        @pytest.mark.rabbitmq(vhost="worker")
        @pytest.mark.parametrize("turn", [1, 2])
        def test_that_leaves_a_consumer(rabbitmq_url, rabbitmq_vhost, turn):
            assert queues(rabbitmq_vhost) == []
            channel = pika.BlockingConnection(pika.URLParameters(rabbitmq_url)).channel()
            channel.queue_declare("left", exclusive=True)
            channel.basic_consume("left", lambda *got: None)

        @pytest.mark.rabbitmq(vhost="worker")
        def test_that_does_nothing(): pass
        """,
        test_b="""
        import pytest
        from using import use

        pytestmark = pytest.mark.rabbitmq(vhost="worker")

        def test_of_module(rabbitmq_broker): use(rabbitmq_broker)

        @pytest.mark.rabbitmq(vhost="test")
        def test_closer_mark(rabbitmq_broker): use(rabbitmq_broker, shared=False)

        @pytest.mark.rabbitmq()
        def test_mark_that_says_nothing(rabbitmq_broker): use(rabbitmq_broker)
        """,
    )
    project.runpytest_subprocess(*QUIET, *broker_options(broker)).assert_outcomes(passed=10)


def test_a_virtual_host_of_its_own_beside_an_exported_address(run: Run) -> None:
    """What the test does by the address is undone all the same."""
    run(
        """
        @pytest.mark.rabbitmq(vhost="test")
        def test_own(rabbitmq_broker):
            assert rabbitmq_broker.vhost != VHOST and rabbitmq_broker.url != app.URL
            rabbitmq_broker.declare({"queues": [{"name": "mine"}]})
            declare("by the address")
            assert (queues(rabbitmq_broker.vhost), queues()) == (["mine"], ["by the address"])

        def test_shared(rabbitmq_broker, rabbitmq_url):
            assert rabbitmq_broker.vhost == VHOST and rabbitmq_url == app.URL
            assert queues() == []
        """
    ).assert_outcomes(passed=2)


WRONG = {
    "rabbitmq('worker')": "*mark.rabbitmq('worker') on *: arguments are given by name; there are: vhost=.",
    "rabbitmq(vhost='wroker')": "*'wroker' is not one of 'test', 'worker'; did you mean 'worker'?",
    "rabbitmq(vhots='worker')": "*'vhots' is not an argument of it; did you mean 'vhost'?",
    "rabbitmq(vhost=True)": "*True is not one of 'test', 'worker'.",
    "rabbitmq(queue='x')": "*'queue' is not an argument of it; there are: vhost=.",
}


@pytest.mark.parametrize("mark", WRONG)
def test_a_wrong_mark(run: Run, mark: str) -> None:
    result = run(f"@pytest.mark.{mark}\ndef test_it(): pass\ndef test_other(): assert queues() == []")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {WRONG[mark]}"])


def test_wrong_marks_in_a_worker_of_xdist(run: Run) -> None:
    """There each such test fails, and the others do not."""
    tests = [f"@pytest.mark.{mark}\ndef test_{number}(): pass" for number, mark in enumerate(WRONG)]
    result = run("\n".join([*tests, "def test_other(): assert queues() == []"]), "-n", "1", apart=True)
    result.assert_outcomes(passed=1, errors=len(WRONG))
    for words in WRONG.values():
        result.stdout.fnmatch_lines([words])


def test_runs_that_are_repeated(project: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("pytest_rerunfailures")
    result = run(
        """
        turns = []

        @pytest.fixture(scope="module")
        def of_module(): declare("of the module")

        @pytest.mark.flaky(reruns=3)
        def test_it(of_module):
            turns.append(queues())
            declare("of the test")
            assert len(turns) == 3

        def test_last(): assert turns == [["of the module"]] * 3 and queues() == ["of the module"]
        """
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*2 passed, 2 rerun*"])


def test_classes_of_unittest(run: Run) -> None:
    """What `setUpClass` declares is for all tests of the class."""
    run(
        """
        import unittest

        class Test(unittest.TestCase):
            @classmethod
            def setUpClass(cls): declare("of the class")

            def setUp(self): declare("of each")

            def tearDown(self): declare("at its end")

            def test_one(self):
                self.assertEqual(queues(), ["of each", "of the class", "of the module"])
                declare("of the test")

            def test_two(self): self.assertEqual(queues(), ["of each", "of the class", "of the module"])

            @classmethod
            def tearDownClass(cls): declare("at the end of all")

        def setup_module(module): declare("of the module")

        def test_last(): assert queues() == ["of the module"]
        """
    ).assert_outcomes(passed=3)


def test_subtests(run: Run) -> None:
    """They are one test."""
    result = run(
        """
        def test_it(subtests):
            for number in range(3):
                with subtests.test(number=number):
                    assert queues() == [f"q{each}" for each in range(number)]
                    declare(f"q{number}")

        def test_next(): assert queues() == []
        """
    )
    assert result.ret == 0


def test_coroutines(project: pytest.Pytester, run: Run) -> None:
    """With fixtures of wider scopes that are coroutines, too."""
    pytest.importorskip("pytest_asyncio")
    quiet = tuple(word for pair in zip(QUIET[::2], QUIET[1::2], strict=True) if pair[1] != "no:asyncio" for word in pair)
    write_ini(project, "asyncio_default_fixture_loop_scope = session", "asyncio_default_test_loop_scope = session")
    run(
        """
        import aio_pika, pytest_asyncio

        pytestmark = pytest.mark.asyncio

        @pytest_asyncio.fixture(scope="session")
        async def of_session():
            connection = await aio_pika.connect(app.URL)
            channel = await connection.channel()
            await channel.declare_queue("of the session", durable=True)
            yield channel
            await connection.close()

        @pytest.mark.parametrize("turn", [1, 2, 3])
        async def test_it(of_session, turn):
            assert queues() == ["of the session"]
            await of_session.default_exchange.publish(aio_pika.Message(b"x"), "of the session")
            until(lambda: count("of the session") == 1)
            connection = await aio_pika.connect(app.URL)
            await (await connection.channel()).declare_queue("of the test", durable=True)
            await connection.close()
        """,
        quiet=quiet,
    ).assert_outcomes(passed=3)


# --- what is shown


def test_a_failure_shows_what_lies_there(run: Run) -> None:
    """Where the test, or its application, has done anything there; and nothing of the tests before it."""
    result = run(
        """
        def test_before():
            declare("of another test")
            publish("of another test", b"of another test")

        def test_that_has_used_it():
            declare("orders")
            publish("orders", b"lies there")
            assert 0

        def test_that_has_done_nothing(): assert 0

        @pytest.fixture
        def fails(): assert 0

        def test_whose_fixture_fails(fails): pass
        """
    )
    result.assert_outcomes(passed=1, failed=2, errors=1)
    shown = result.stdout.str()
    assert shown.count("Captured messages") == 1
    assert "of another test:" not in shown
    result.stdout.fnmatch_lines(["*test_that_has_used_it*", "*Captured messages*", "  orders: 1 message", "*lies there*"])


def test_the_brokers_log_is_that_of_the_worker(project: pytest.Pytester, run: Run) -> None:
    """Of what the broker says while other virtual hosts come and go nothing is shown."""
    result = run(
        """
        def test_it():
            with pytest.raises(AMQPError), channel() as ch:
                ch.queue_declare("missing", passive=True)
            assert 0
        """,
        *("--testbed-provider=local", "-o", "testbed_rabbitmq_url="),
    )
    result.assert_outcomes(failed=1)
    log = result.stdout.str().partition("Captured rabbitmq log")[2]
    assert "no queue 'missing'" in log
    assert not [line for line in log.splitlines() if "testbed_" in line and "_main" not in line]


# --- the end of the run


def test_a_killed_run_leaves_nothing(project: pytest.Pytester, broker: Testbed) -> None:
    """Its host drops what it has made on a broker that stays."""
    project.makepyfile(
        test_it=HEAD
        + """
import os, signal
from pathlib import Path

@pytest.mark.rabbitmq(vhost="test")
def test_it(rabbitmq_vhost):
    declare("orders")
    Path("vhosts").write_text(f"{VHOST} {rabbitmq_vhost}")
    assert {VHOST, rabbitmq_vhost} <= set(API.vhosts())
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    project.runpytest_subprocess(*QUIET, *broker_options(broker))
    left = set(project.path.joinpath("vhosts").read_text().split())
    api = ManagementApi(broker.endpoint("rabbitmq"))
    deadline = time.monotonic() + 10
    while left & set(api.vhosts()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left & set(api.vhosts())
    api.close()
