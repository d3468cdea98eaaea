"""The fixtures of RabbitMQ as users have them: inner runs of pytest on a real broker."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing

import pytest

from pytest_testbed import Testbed
from pytest_testbed.rabbitmq.api import ManagementApi
from tests.conftest import QUIET, broker_options

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, broker_somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run tests on the suite's broker; what they make must be gone afterwards."""
    for name in ("RABBITMQ_URL", "DATABASE_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    endpoint = broker_somewhere.endpoint("rabbitmq")

    def run(text: str, *arguments: str, apart: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        words = [*QUIET, *broker_options(broker_somewhere), *arguments]
        with closing(ManagementApi(endpoint)) as api:
            before = api.vhosts()
            result = pytester.runpytest_subprocess(*words) if apart else pytester.runpytest_inprocess(*words)
            others = f"testbed_{broker_somewhere.run}_"
            assert [name for name in api.vhosts() if name not in before and not name.startswith(others)] == []
        return result

    return run


def test_each_test_has_a_virtual_host_of_its_own(run: Run) -> None:
    run(
        """
        import pika, pytest
        names = set()

        @pytest.mark.parametrize("n", range(3))
        def test_own(n, rabbitmq_vhost, rabbitmq_url, rabbitmq_connection, rabbitmq_channel, rabbitmq_broker, rabbitmq_service):
            assert rabbitmq_vhost not in names
            names.add(rabbitmq_vhost)
            assert rabbitmq_url == rabbitmq_broker.url == rabbitmq_service.url(rabbitmq_vhost)
            assert rabbitmq_broker.vhost == rabbitmq_vhost
            assert rabbitmq_channel.connection is rabbitmq_connection
            rabbitmq_channel.queue_declare("orders", durable=True)
            connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
            connection.channel().basic_publish("", "orders", b"x")
            connection.close()
            assert rabbitmq_broker.expect("orders").body == b"x"
        """
    ).assert_outcomes(passed=3)


def test_a_failure_shows_messages_and_log(run: Run) -> None:
    result = run(
        """
        def test_it(rabbitmq_channel, rabbitmq_broker):
            rabbitmq_channel.queue_declare("orders", durable=True)
            rabbitmq_channel.basic_publish("", "orders", b'{"n": 1}')
            rabbitmq_broker.expect("orders", matching={"n": 2}, within=0)

        def test_other(rabbitmq_vhost): pass
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*rabbitmq_broker.expect(*",
            "E*AssertionError: no message that matches {'n': 2} came to 'orders' within 0 s.",
            "*n is 1, not 2",
            "test_it.py:4: AssertionError",  # no line of ours stands between
            "*- Captured messages -*",
            "published by the test (1):",
            '  orders: {"n": 1}',
            "in the queues now:",
            "  orders: 1 message",
        ]
    )
    assert result.stdout.str().count("Captured messages") == 1


def test_an_error_of_the_set_up_shows_no_line_of_ours(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture
        def orders(rabbitmq_broker):
            rabbitmq_broker.declare({"queues": [{"nmae": "orders"}]})

        def test_it(orders): pass

        def test_count(rabbitmq_broker):
            rabbitmq_broker.count("orders")
        """
    )
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*ConfigurationError: declare(): queues[[]0[]]: 'nmae' is not a key of queues; did you mean 'name'?",
            "E*BrokerError: there is no queue 'orders'; there is none.",
            "test_it.py:10: BrokerError",
        ]
    )


@pytest.mark.parametrize(
    "leaves",
    [
        "rabbitmq_connection.close()",
        "rabbitmq_channel.close()",
        "pytest.raises(Exception, rabbitmq_channel.basic_get, 'nope')",
        "rabbitmq_channel.tx_select()",
        "rabbitmq_channel.queue_declare('q', durable=True); rabbitmq_channel.basic_consume('q', print)",
        "rabbitmq_broker.declare({'queues': [{'name': 'q', 'auto_delete': True}]}); rabbitmq_broker.publish('q', 1)",
    ],
)
def test_whatever_a_test_leaves_the_next_is_unharmed(run: Run, leaves: str) -> None:
    run(
        f"""
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_it(n, rabbitmq_connection, rabbitmq_channel, rabbitmq_broker):
            assert rabbitmq_broker.vhost
            rabbitmq_broker.declare({{"queues": []}})
            {leaves}
        """,
        "-W",
        "error",
    ).assert_outcomes(passed=2)


def test_a_thread_that_goes_on_with_the_test_s_own_channel(run: Run) -> None:
    """The connection is closed while another thread waits on it."""
    result = run(
        """
        import threading, pytest
        threads = []

        def test_it(rabbitmq_channel):
            rabbitmq_channel.queue_declare("orders", durable=True)
            begun = threading.Event()
            def consume():
                rabbitmq_channel.basic_consume("orders", lambda *_: None)
                begun.set()
                try:
                    rabbitmq_channel.start_consuming()
                except Exception:
                    pass
            threads.append(threading.Thread(target=consume, daemon=True))
            threads[0].start()
            assert begun.wait(5)

        def test_next(rabbitmq_broker):
            threads[0].join(10)
            assert not threads[0].is_alive()
            rabbitmq_broker.declare({"queues": [{"name": "orders"}]})
        """,
        apart=True,
    )
    result.assert_outcomes(passed=2)


def test_a_fixture_of_the_user_s_own_replaces_ours(run: Run) -> None:
    run(
        """
        import pytest

        @pytest.fixture
        def rabbitmq_channel(rabbitmq_channel):
            rabbitmq_channel.confirm_delivery()
            return rabbitmq_channel

        def test_it(rabbitmq_channel):
            with pytest.raises(Exception, match="1 unroutable message"):
                rabbitmq_channel.basic_publish("", "nowhere", b"x", mandatory=True)
        """
    ).assert_outcomes(passed=1)


def test_definitions_that_every_test_finds(run: Run, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("topology.json").write_text(
        '{"queues": [{"name": "orders"}], "exchanges": [{"name": "shop", "type": "topic"}],'
        ' "bindings": [{"source": "shop", "destination": "orders", "routing_key": "#"}]}'
    )
    pytester.makeini("[pytest]\ntestbed_rabbitmq_definitions = topology.json")
    run(
        """
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_it(n, rabbitmq_broker):
            rabbitmq_broker.publish("order.created", {"n": n}, exchange="shop")
            assert rabbitmq_broker.count("orders") == 1

        @pytest.mark.rabbitmq(vhost="worker")
        @pytest.mark.parametrize("n", range(2))
        def test_shared(n, rabbitmq_broker):
            rabbitmq_broker.publish("order.created", {"n": n}, exchange="shop")
            assert rabbitmq_broker.count("orders") == 1
        """
    ).assert_outcomes(passed=5)


def test_definitions_that_the_broker_refuses_name_their_option(run: Run, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("topology.json").write_text('{"exchanges": [{"name": "x", "type": "topik"}]}')
    result = run("def test_it(rabbitmq_vhost): pass", "-o", "testbed_rabbitmq_definitions=topology.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["BrokerError: what testbed_rabbitmq_definitions says cannot be had: *topik*"])


def test_beside_pytest_rabbitmq(run: Run) -> None:
    """Which has fixtures and options of its own, and starts a broker of its own when it is asked."""
    result = run(
        """
        def test_ours(rabbitmq_channel, rabbitmq_service, request):
            assert request.config.pluginmanager.hasplugin("pytest_rabbitmq.plugin")
            rabbitmq_channel.queue_declare("orders", durable=True)
        """,
        *("-p", "pytest_rabbitmq.plugin"),
        "--strict-markers",
        "--strict-config",
    )
    result.assert_outcomes(passed=1)
    fixtures = run("", "-p", "pytest_rabbitmq.plugin", "--fixtures").stdout.str()
    assert re.search(r"^rabbitmq .*pytest_rabbitmq", fixtures, re.MULTILINE)
    assert re.search(r"^rabbitmq_channel .*pytest_testbed", fixtures, re.MULTILINE)


NEIGHBOURS = {
    "randomly": ["-p", "pytest_randomly", "-p", "no:randomly"],
    "xdist": ["-n", "2"],
    "rerunfailures": ["--reruns", "1"],
    "timeout": ["--timeout", "60"],
}


@pytest.mark.parametrize("plugin", NEIGHBOURS)
def test_fifty_tests_with_neighbours(run: Run, plugin: str) -> None:
    words = NEIGHBOURS[plugin]
    result = run(
        """
        import pytest

        @pytest.mark.parametrize("n", range(50))
        def test_it(n, rabbitmq_broker):
            rabbitmq_broker.declare({"queues": [{"name": "orders"}, {"name": f"orders.{n}"}]})
            rabbitmq_broker.publish("orders", {"n": n})
            assert rabbitmq_broker.expect("orders").json == {"n": n}
            rabbitmq_broker.publish("orders", "left")
            assert rabbitmq_broker.count("orders") == 1
        """,
        *words,
        apart=plugin == "xdist",
    )
    result.assert_outcomes(passed=50)


def test_our_own_export_is_not_taken_for_a_broker(run: Run) -> None:
    result = run("def test_it(rabbitmq_vhost): pass", "-o", "testbed_env=RABBITMQ_URL={rabbitmq.url}")
    result.assert_outcomes(passed=1)
    assert "passed over" not in result.stdout.str()


def test_the_summary_names_the_broker(run: Run) -> None:
    result = run("def test_it(rabbitmq_vhost): pass")
    assert re.search(r"testbed: rabbitmq [\d.]+ \(external, amqp://testbed:\*\*\*@127\.0\.0\.1:\d+/%2F from", result.stdout.str())
