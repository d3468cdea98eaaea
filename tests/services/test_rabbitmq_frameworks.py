"""Suites of Celery, Kombu, FastStream and plain applications on the exported address: what lives longer than a test goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_testbed import Testbed
from tests.conftest import QUIET, broker_options

INI = """
[pytest]
pythonpath = .
testbed_env = RABBITMQ_URL={rabbitmq.url}
filterwarnings = error
"""
TASKS = """
import os
from celery import Celery
from kombu import Queue

app = Celery("shop", broker=os.environ["RABBITMQ_URL"], backend="rpc://")
app.conf.broker_heartbeat = 0
done = Queue("done")


@app.task
def process(number):
    with app.producer_pool.acquire() as producer:
        producer.publish({"number": number}, routing_key="done", declare=[done])
    return number


@app.task
def forward(number):
    process.delay(number)
"""
THREAD = """
import pytest
from celery.contrib.testing.worker import start_worker
from tasks import app

@pytest.fixture(scope="session")
def worker():
    with start_worker(app, perform_ping_check=False):
        yield
"""
PROCESS = """
import subprocess, sys
import pytest
from tasks import app

@pytest.fixture(scope="session")
def worker():
    command = "--app tasks worker --pool solo --without-mingle --without-gossip --loglevel error"
    process = subprocess.Popen([sys.executable, "-m", "celery", *command.split()])
    while not app.control.ping(timeout=1):
        assert process.poll() is None
    yield
    process.terminate()
    process.wait()
"""
TEST_TASKS = """
import pytest
from tasks import forward, process

@pytest.mark.parametrize("number", range(4))
def test_a_result(worker, rabbitmq_broker, number):
    assert process.delay(number).get(timeout=10) == number
    assert rabbitmq_broker.expect("done").json == {"number": number}

@pytest.mark.parametrize("number", range(3))
def test_a_task_that_a_task_has_sent(worker, rabbitmq_broker, number):
    rabbitmq_broker.declare({"queues": [{"name": "done"}]})
    rabbitmq_broker.expect_none("done")
    forward.delay(number)
    assert rabbitmq_broker.expect("done").json == {"number": number}
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, broker_somewhere: Testbed) -> Run:
    pytester.makefile(".ini", pytest=INI)

    def run(*arguments: str, **files: str) -> pytest.RunResult:
        pytester.makepyfile(**files)
        return pytester.runpytest_subprocess(*QUIET, *broker_options(broker_somewhere), *arguments, timeout=120)

    return run


@pytest.mark.parametrize("worker", [THREAD, PROCESS], ids=["thread", "process"])
def test_a_celery_worker_of_a_session_serves_all_tests(run: Run, worker: str) -> None:
    """It keeps its queue and its connections, and what its libraries believe to be declared is there."""
    run(tasks=TASKS, conftest=worker, test_tasks=TEST_TASKS).assert_outcomes(passed=7)


def test_celery_workers_of_xdist_do_not_meet(run: Run) -> None:
    run("-n", "2", tasks=TASKS, conftest=THREAD, test_tasks=TEST_TASKS).assert_outcomes(passed=7)


def test_a_celery_worker_that_comes_in_the_middle_of_a_test_keeps_its_queue(run: Run) -> None:
    """The test has declared the same queue before, by publishing to it."""
    late = """
    from tasks import process

    def test_late(request):
        result = process.delay(0)
        request.getfixturevalue("worker")
        assert result.get(timeout=10) == 0
    """
    run(tasks=TASKS, conftest=THREAD, test_a=late, test_tasks=TEST_TASKS).assert_outcomes(passed=8)


def test_a_celery_worker_of_a_module_takes_its_queue_along(run: Run) -> None:
    looks = """
    from tasks import process

    def test_nobody_works(rabbitmq_broker):
        process.delay(7)
        assert rabbitmq_broker.expect("celery").headers["task"] == "tasks.process"
    """
    worker = THREAD.replace("session", "module")
    run(tasks=TASKS, conftest=worker, test_a=looks, test_b=TEST_TASKS, test_c=looks).assert_outcomes(passed=9)


def test_kombu_declares_anew(run: Run) -> None:
    """Its pool's connection is closed after the test: it would believe that its queue is still there."""
    run(
        test_it="""
        import os
        import pytest
        from kombu import Connection, Queue
        from kombu.pools import producers

        connection = Connection(os.environ["RABBITMQ_URL"])

        @pytest.mark.parametrize("number", range(4))
        def test_it(rabbitmq_broker, number):
            with producers[connection].acquire(block=True) as producer:
                producer.publish({"number": number}, routing_key="jobs", declare=[Queue("jobs")], retry=True)
                producer.publish({"number": "left"}, routing_key="jobs")
            assert rabbitmq_broker.expect("jobs").json == {"number": number}
        """
    ).assert_outcomes(passed=4)


def test_a_connection_that_is_older_than_the_test_keeps_what_it_declares(run: Run) -> None:
    """An application declares what it needs when it first needs it, and once: it cannot know that a test has ended."""
    run(
        test_earlier="def test_earlier(): pass",
        test_it="""
        import os
        import pika
        import pytest

        class Application:
            def __init__(self):
                self.connection = pika.BlockingConnection(pika.URLParameters(os.environ["RABBITMQ_URL"]))
                self.channel = self.connection.channel()
                self.declared = False

            def tell(self, number):
                if not self.declared:
                    self.channel.exchange_declare("events", "topic", durable=True)
                    self.channel.queue_declare("told", durable=True)
                    self.channel.queue_bind("told", "events", "number.*")
                    self.declared = True
                self.channel.basic_publish("events", f"number.{number}", str(number))

        @pytest.fixture(scope="module")
        def application():
            application = Application()
            yield application
            application.connection.close()

        @pytest.mark.parametrize("number", range(3))
        def test_it(application, rabbitmq_broker, number):
            rabbitmq_broker.declare({"queues": [{"name": "mine"}]})
            application.tell(number)
            assert rabbitmq_broker.expect("told").text == str(number)
            application.tell("left")
        """,
        test_later="""
        def test_it_went_with_its_connection(rabbitmq_channel):
            rabbitmq_channel.queue_declare("told")
            rabbitmq_channel.queue_declare("mine")
            rabbitmq_channel.exchange_declare("events")
        """,
    ).assert_outcomes(passed=5)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_faststream_application(run: Run, scope: str) -> None:
    run(
        *("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
        *("-o", f"asyncio_default_fixture_loop_scope={scope}", "-o", f"asyncio_default_test_loop_scope={scope}"),
        shop="""
        import os
        from faststream.rabbit import RabbitBroker

        broker = RabbitBroker(os.environ["RABBITMQ_URL"])

        @broker.subscriber("numbers")
        @broker.publisher("doubled")
        async def double(number: int) -> int:
            return 2 * number
        """,
        test_it=f"""
        import asyncio
        import pytest
        from shop import broker

        @pytest.fixture(scope="{scope}")
        async def application():
            async with broker:
                await broker.start()
                yield

        @pytest.mark.parametrize("number", range(4))
        async def test_it(application, rabbitmq_broker, number):
            rabbitmq_broker.declare({{"queues": [{{"name": "doubled"}}]}})
            await broker.publish(number, "numbers")
            assert (await asyncio.to_thread(rabbitmq_broker.expect, "doubled")).json == 2 * number
            await broker.publish(5, "doubled")
        """,
    ).assert_outcomes(passed=4)
