"""RabbitMQ for tests: options, the `rabbitmq` mark and the fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..plugin import plain_errors, usage_errors, worker_of
from ..settings import SETTINGS, Section, named_values, option, positive, size, version_number, web_address

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection
    from pika import BlockingConnection
    from pika.adapters.blocking_connection import BlockingChannel

    from ..given import GivenUrl
    from ..rabbitmq.address import VhostAddress
    from ..rabbitmq.broker import Broker
    from ..rabbitmq.place import Place
    from ..services.client import Testbed
    from ..services.model import Endpoint, ServiceSpec
    from ..session import Run


def broker_address(url: str) -> None:
    """Check that a URL is one of a broker."""
    if url.partition("://")[0] not in ("amqp", "amqps", "pyamqp"):
        raise ValueError("does not begin with amqp:// or amqps://")
    from ..rabbitmq.service import parse_url

    try:
        parse_url(url)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None


def management_address(url: str) -> None:
    """Check that a URL is one of a web server, without a login: that is the broker's."""
    web_address(url, "http://host:15672")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("must not name a user: the one of testbed_rabbitmq_url logs in there as well")


def plugin_names(lines: Sequence[str]) -> None:
    """Check the names of plugins."""
    for name in " ".join(lines).split():
        if not (name.isidentifier() and name.isascii() and name.islower()):
            raise ValueError(f"holds {name!r}, which is no name of a plugin, such as rabbitmq_consistent_hash_exchange")


class RabbitSettings(Section, prefix="rabbitmq"):
    """Options of RabbitMQ."""

    image: str = option("rabbitmq:4", help="Docker image of the broker, with or without -management.")
    version: str | None = option(
        None, check=version_number, help="Version that the broker must have, such as 4 or 3.13; without it: any."
    )
    url: str | None = option(
        None,
        secret=True,
        check=broker_address,
        help="URL of a broker to use, with an administrator's login; none is started then.",
    )
    management_url: str | None = option(
        None,
        secret=True,
        check=management_address,
        help="URL of the management API of that broker; without it: port 15672 of its host.",
    )
    home: Path | None = option(
        None, help="Directory where the broker is installed, with sbin and plugins in it, for the provider local."
    )
    plugins: tuple[str, ...] = option(
        (), check=plugin_names, help="Plugins of the broker that are enabled, besides the management API."
    )
    definitions: tuple[str, ...] = option(
        (), help="Files in the broker's definitions format (JSON): queues, exchanges and the rest that every test finds."
    )
    environment: tuple[str, ...] = option(
        (), check=named_values, help="More environment variables of the container, as NAME=value."
    )
    tmpfs: str = option(
        "512m",
        check=size,
        help="Size limit of the memory that holds the container's data, such as 512m or 1g; empty: they are on its disk.",
    )
    quick_boot: bool = option(
        True, help="Start the broker without the plugins that it does not need, on the versions where that was tried."
    )
    timeout: float = option(90.0, check=positive, help="Seconds that the start of the broker may take.")


SECTION = RabbitSettings
KIND = "rabbitmq"
MARKS = (
    """\
rabbitmq(vhost='test'): which virtual host this test has on RabbitMQ.
    vhost='test': one of its own, made for it and dropped after it; the default, unless testbed_env exports an address.
    vhost='worker': the one that all tests of its process share, emptied after each; the default where testbed_env exports an
        address.
""",
)
ARGUMENTS: dict[str, tuple[object, ...] | type] = {"vhost": ("test", "worker")}
EXPORTS = {"rabbitmq": ("url", "host", "port", "user", "password", "vhost")}
"""What `testbed_env` can say of a service of this part."""
GIVEN: pytest.StashKey[GivenUrl] = pytest.StashKey()
FOUND = pytest.StashKey[bool]()
"""Whether it was looked for already: our own export must not be taken for a broker."""
ADDRESS: pytest.StashKey[VhostAddress] = pytest.StashKey()
"""On the configuration: where applications reach this process's virtual host, once that has been given away."""
SHARED = "pytest_testbed.shared_vhost"
"""The name of the plugin that keeps tests apart which share a virtual host."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find out which broker is given, before anything of ours or of a test can change the environment; read definitions."""
    settings = config.stash.get(SETTINGS, None)
    if settings is not None:
        find_given(config)
        if settings[RabbitSettings].definitions:
            with usage_errors():
                definitions(config)


def find_given(config: pytest.Config) -> GivenUrl | None:
    """Find out, once, which broker is given."""
    settings = config.stash[SETTINGS]
    url = settings[RabbitSettings].url
    is_first, config.stash[FOUND] = FOUND not in config.stash, True
    if is_first and (url or os.environ.get("RABBITMQ_URL")):
        from ..rabbitmq.given import given_url

        config.stash[GIVEN] = given_url(url, settings.source(RabbitSettings, "url"), os.environ)
    return config.stash.get(GIVEN, None)


def definitions(config: pytest.Config) -> dict[str, Any]:
    """Return what every virtual host has, by the files that the option names."""
    named = config.stash[SETTINGS][RabbitSettings].definitions
    if not named:
        return {}
    from ..rabbitmq.topology import read_files

    source = config.stash[SETTINGS].source(RabbitSettings, "definitions")
    return read_files([config.rootpath / name for name in named], f"testbed_rabbitmq_definitions (from {source})")


def export_address(config: pytest.Config, run: Run, prefix: str) -> VhostAddress:
    """Choose where applications will reach this process's virtual host, and let the host hold the port."""
    from ..shared_vhost import SharedVhosts

    config.pluginmanager.register(SharedVhosts(config, is_exported=True), SHARED)
    return vhost_address(config, run)


def vhost_address(config: pytest.Config, run: Run) -> VhostAddress:
    """Return where applications reach this process's virtual host; chosen when first asked for."""
    if ADDRESS not in config.stash:
        from ..rabbitmq.address import VhostAddress

        find_given(config)
        spec = run.specs["rabbitmq"]
        url = spec.url if spec.provider in ("auto", "external") else None  # the others start a server of ours all the same
        config.stash[ADDRESS] = address = VhostAddress(f"testbed_{run.testbed.run}_{worker_of(config)}", url or "")
        address.open(run.testbed)
    return config.stash[ADDRESS]


def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:
    """Offer RabbitMQ."""
    from ..rabbitmq.service import rabbitmq_spec

    mine, given = config.stash[SETTINGS][RabbitSettings], find_given(config)
    spec = rabbitmq_spec(
        image=mine.image,
        version=mine.version,
        url=given.url if given else None,
        url_source=given.source if given else "",
        management_url=mine.management_url,
        home=str(mine.home or ""),
        plugins=" ".join(mine.plugins).split(),
        definitions=definitions(config),
        environment=mine.environment,
        quick=mine.quick_boot,
        tmpfs=mine.tmpfs,
        timeout=mine.timeout,
    )
    if given and given.passed_over:
        spec = spec.with_(options={**spec.options, "url_remedy": given.passed_over})
    return [spec]


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Refuse a `rabbitmq` mark with an argument that it does not have; look after tests that share a virtual host."""
    result = yield
    marked = [mark for item in items for mark in item.iter_markers("rabbitmq")]
    if marked:
        from ..marks import refuse_bad_marks

        refuse_bad_marks(config, items, "rabbitmq", ARGUMENTS)
    if any(mark.kwargs.get("vhost") == "worker" for mark in marked) and not config.pluginmanager.hasplugin(SHARED):
        from ..shared_vhost import SharedVhosts

        config.pluginmanager.register(SharedVhosts(config), SHARED)
    return result


# --- fixtures for users


@pytest.fixture
def rabbitmq_broker(_rabbitmq_test: Place, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The messages of this test: publish one, wait for one with `expect(queue)`, see that none came.

    It has the methods `publish`, `expect`, `expect_none`, `expect_dead_letter`, `drain`, `count` and `declare`; `url` and
    `vhost` are for the application.

    See docs/how-to/rabbitmq.md.
    """
    from ..rabbitmq.broker import Broker

    with plain_errors(request.config):
        broker = Broker(_rabbitmq_test)
        yield broker
        broker.close()


@pytest.fixture
def rabbitmq_url(_rabbitmq_test: Place) -> str:
    """The address of this test's virtual host, `amqp://…`, for the application under test."""
    return _rabbitmq_test.url


@pytest.fixture
def rabbitmq_vhost(_rabbitmq_test: Place) -> str:
    """The name of this test's virtual host, which holds only what `testbed_rabbitmq_definitions` says.

    It is made for the test and dropped after it. With the mark `rabbitmq(vhost="worker")`, or where `testbed_env` exports an
    address, it is the one that all tests of the process share, which is emptied after each.
    """
    return _rabbitmq_test.name


@pytest.fixture
def rabbitmq_channel(_rabbitmq_test: Place, rabbitmq_connection: BlockingConnection) -> BlockingChannel:
    """A pika channel of `rabbitmq_connection`, to declare, publish and consume by hand."""
    channel: BlockingChannel = _rabbitmq_test.record(rabbitmq_connection.channel())
    return channel


@pytest.fixture
def rabbitmq_connection(_rabbitmq_test: Place, request: pytest.FixtureRequest) -> Iterator[BlockingConnection]:
    """A `pika.BlockingConnection` to this test's virtual host; it is closed when the test ends.

    It has no heartbeat, so a test may stop in a debugger.
    """
    with plain_errors(request.config), _rabbitmq_test.connection() as connection:
        yield connection


@pytest.fixture
def rabbitmq_async_channel(rabbitmq_async_connection: AbstractConnection) -> AbstractChannel:
    """An aio-pika channel of `rabbitmq_async_connection`; it opens when it is first used.

    It needs the extra `async`.

    See docs/how-to/rabbitmq-async.md.
    """
    return rabbitmq_async_connection.channel()


@pytest.fixture
def rabbitmq_async_connection(_rabbitmq_test: Place, request: pytest.FixtureRequest) -> Iterator[AbstractConnection]:
    """An aio-pika connection to this test's virtual host; it is closed when the test ends.

    It is no robust one. It opens on the event loop that first uses it, and is closed after the test, or before that loop is. It
    needs the extra `async`.

    See docs/how-to/rabbitmq-async.md.
    """
    with plain_errors(request.config), _rabbitmq_test.async_connection() as connection:
        yield connection


@pytest.fixture(scope="session")
def rabbitmq_service(testbed: Testbed) -> Endpoint:
    """The RabbitMQ broker of this run: its address, its version, and where it came from.

    `url(vhost)` is the address of a virtual host, `ports["management"]` the port of the management API. For the test's own
    virtual host take `rabbitmq_url` or `rabbitmq_broker`.
    """
    __tracebackhide__ = True
    return testbed.endpoint("rabbitmq")


# --- what they stand on


@pytest.fixture
def _rabbitmq_test(request: pytest.FixtureRequest, testbed: Testbed, rabbitmq_service: Endpoint) -> Iterator[Place]:
    """The virtual host that a test has."""
    from ..shared_vhost import place_of

    with plain_errors(request.config), place_of(request, testbed) as place:
        yield place
