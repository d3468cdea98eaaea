"""What the connection of aio-pika says and hears: who logs in and how, and a broker that comes to harm."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import aio_pika
import pytest

from pytest_testbed import Endpoint, ServiceDied, Testbed
from pytest_testbed.rabbitmq.asynchronous import AsyncConnection
from pytest_testbed.rabbitmq.place import Place
from pytest_testbed.rabbitmq.service import parse_url, rabbitmq_spec
from tests import leftovers

# --- addresses


def connection_to(url: str) -> AsyncConnection:
    return AsyncConnection(Place(Testbed(), parse_url(url), "testbed_1_2"))


def test_who_logs_in_and_where() -> None:
    endpoint = Endpoint(kind="rabbitmq", host="::1", port=5673, user="a:b", password="p/ä%2F@", scheme="amqp", provider="local")
    url = AsyncConnection(Place(Testbed(), endpoint, "testbed_1_2")).url
    assert (url.scheme, url.host, url.port, url.user, url.password) == ("amqp", "::1", 5673, "a:b", "p/ä%2F@")
    assert url.path == "/testbed_1_2"


def test_tls_is_that_of_the_other_fixtures(tmp_path: Path) -> None:
    plain = connection_to("amqp://localhost/?connection_attempts=2")
    assert (plain.url.scheme, plain.url.port, plain.tls) == ("amqp", 5672, None)
    for query in ("", "?connection_attempts=2"):
        safe = connection_to(f"amqps://localhost/{query}")
        assert (safe.url.scheme, safe.url.port) == ("amqps", 5671)
        assert safe.tls is not None
        assert safe.tls.check_hostname
    options = quote(str({"capath": str(tmp_path), "ciphers": "ECDHE-RSA-AES256-GCM-SHA384"}))
    connection = connection_to(f"amqps://localhost/?ssl_options={options}")
    said = connection.tls
    assert said is not None

    async def arguments() -> Mapping[str, object]:
        return connection.kwargs

    assert asyncio.run(arguments())["context"] is said
    assert {each["name"] for each in said.get_ciphers() if each["name"].startswith("ECDHE")} == {"ECDHE-RSA-AES256-GCM-SHA384"}


# --- a broker that comes to harm


@pytest.fixture(scope="module")
def mortal() -> Iterator[Testbed]:
    """A broker that a test may kill."""
    with Testbed([rabbitmq_spec(provider="local")]) as testbed:
        testbed.endpoint("rabbitmq")
        yield testbed


def kill(testbed: Testbed) -> None:
    servers = [pid for pid in leftovers.processes(testbed.run) if Path(f"/proc/{pid}/comm").read_text().startswith("beam")]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)


async def lost_by(connection: AsyncConnection) -> None:
    """Return when a connection has heard that it is over."""
    assert connection.transport is not None
    await asyncio.wait([asyncio.ensure_future(connection.transport.connection.closing)], timeout=10)


DIED = r"^rabbitmq ended during this test \(killed by signal 9\), and was started again for the next\."


@pytest.mark.parametrize("doing", ["connects", "publishes", "opens a channel"])
def test_a_broker_that_dies(mortal: Testbed, doing: str) -> None:
    """Whatever meets it first says so, and all that comes after."""
    place = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))

    async def main() -> None:
        with place.async_connection() as connection:
            channel = connection.channel()
            if doing != "connects":
                await channel.declare_queue("orders")
            kill(mortal)
            if doing == "opens a channel":
                await lost_by(connection)
                channel = connection.channel()
            for _ in range(2):
                with pytest.raises(ServiceDied, match=DIED):
                    await channel.default_exchange.publish(aio_pika.Message(b"x"), "orders")
                with pytest.raises(ServiceDied, match=DIED):
                    await channel.declare_queue("more")

    asyncio.run(main())
    after = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))

    async def use() -> None:
        with after.async_connection() as connection:
            await connection.channel().declare_queue("orders")

    asyncio.run(use())


def test_a_connection_that_the_broker_closes(broker_somewhere: Testbed) -> None:
    """It lives, so the test does not hear that it has ended."""
    place = Place(broker_somewhere, broker_somewhere.endpoint("rabbitmq"), broker_somewhere.take("rabbitmq"))

    async def main() -> None:
        with place.async_connection() as connection:
            channel = await connection.channel()
            lost = asyncio.ensure_future(lost_by(connection))
            broker_somewhere.give_back("rabbitmq", place.name)  # who is in a virtual host that is deleted is thrown out
            await lost
            with pytest.raises(RuntimeError, match="closed"):
                await channel.declare_queue("orders")
            with pytest.raises(ConnectionError, match=r"^the broker has closed rabbitmq_async_connection\.$"):
                await connection.channel()

    asyncio.run(main())
