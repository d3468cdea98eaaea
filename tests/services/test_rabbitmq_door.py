"""The front door of a broker: whoever comes in by it is led to the worker's virtual host, whatever he speaks."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from pytest_testbed import Endpoint, Testbed
from pytest_testbed.errors import ConfigurationError
from pytest_testbed.rabbitmq.address import VhostAddress
from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.rabbitmq.frames import HEADER, frame_size, method_of
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from tests.conftest import Brokers, address_of

NUMBERS = count()
DEADLINE = 10.0


class Door:
    """An address on a real broker, and the connections of a test through it."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.address = VhostAddress(f"testbed_{testbed.run}_door{next(NUMBERS)}")
        self.way = self.address.doorway
        self.opened: list[pika.BlockingConnection] = []
        self.address.open(testbed)

    @property
    def endpoint(self) -> Endpoint:
        return self.testbed.endpoint("rabbitmq")

    @property
    def messages(self) -> int:
        return self.way.board.messages

    def parameters(self, vhost: str = "/", user: str = "", password: str = "", **more: Any) -> pika.ConnectionParameters:
        login = pika.PlainCredentials(user or self.address.user, password or self.address.password)
        return pika.ConnectionParameters(self.way.host, self.way.port, vhost, login, **more)

    def connect(self, vhost: str = "/", **more: Any) -> pika.BlockingConnection:
        self.opened.append(pika.BlockingConnection(self.parameters(vhost, **more)))
        return self.opened[-1]

    def channel(self) -> BlockingChannel:
        return self.connect().channel()

    def direct(self, vhost: str = "") -> BlockingChannel:
        """A channel past the door."""
        parameters = pika.URLParameters(self.endpoint.with_(query="").url(vhost or self.address.vhost))
        self.opened.append(pika.BlockingConnection(parameters))
        return self.opened[-1].channel()

    def raw(self) -> socket.socket:
        return socket.create_connection((self.way.host, self.way.port), DEADLINE)

    def ask(self, *path: str) -> Any:
        api = ManagementApi(self.endpoint)
        try:
            return api.get(*path)
        finally:
            api.close()

    def queues(self) -> list[str]:
        return sorted(each["name"] for each in self.ask("queues", self.address.vhost))

    def close(self) -> None:
        for connection in self.opened:
            with suppress(AMQPError, OSError):
                connection.close()
        api = ManagementApi(self.endpoint)
        api.drop_vhost(self.address.vhost)
        api.close()


class Doors:
    """Runs of their own on brokers that are there: what they make is dropped with them."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._testbeds: dict[str, Testbed] = {}

    def door(self, name: str) -> Door:
        if name not in self._testbeds:
            url, management = address_of(self._brokers.get(name) if name else self._brokers.any())
            spec = rabbitmq_spec(provider="external", url=url, management_url=management, url_source="the tests")
            self._testbeds[name] = Testbed([spec])
        return Door(self._testbeds[name])

    def close(self) -> None:
        for testbed in self._testbeds.values():
            assert testbed.close() == []


@pytest.fixture(scope="module")
def doors(brokers: Brokers) -> Iterator[Doors]:
    doors = Doors(brokers)
    yield doors
    doors.close()


@pytest.fixture
def door(doors: Doors) -> Iterator[Door]:
    door = doors.door("")
    yield door
    door.close()


@pytest.fixture(params=["local", "docker"])
def any_door(doors: Doors, request: pytest.FixtureRequest) -> Iterator[Door]:
    """One to each version of brokers that this machine has."""
    door = doors.door(request.param)
    yield door
    door.close()


def until(happens: Callable[[], Any]) -> Any:
    """Wait for something; return it."""
    deadline = time.monotonic() + DEADLINE
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def ready(channel: BlockingChannel, queue: str) -> int:
    """Return how many messages wait in a queue."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)


# --- coming in


@pytest.mark.parametrize("vhost", ["/", ""])
def test_who_names_no_virtual_host_is_led_to_the_workers(any_door: Door, vhost: str) -> None:
    """It is there for who comes first."""
    any_door.connect(vhost).channel().queue_declare("orders", durable=True)
    assert any_door.queues() == ["orders"]
    any_door.connect(any_door.address.vhost).channel().queue_declare("orders", passive=True)


def test_the_url(door: Door) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(door.address.form("url")))) as connection:
        connection.channel().queue_declare("orders", durable=True)
    assert door.queues() == ["orders"]
    forms = {name: door.address.form(name) for name in ("host", "port", "user", "password", "vhost")}
    assert door.address.form("url") == "amqp://{user}:{password}@{host}:{port}/{vhost}".format(**forms)
    with pytest.raises(KeyError):
        door.address.form("dsn")


def test_what_every_virtual_host_has_is_there_for_who_comes_first(broker_somewhere: Testbed) -> None:
    """Nobody comes in before."""
    url, management = address_of(broker_somewhere)
    many = [{"name": f"q{number}", "durable": True, "auto_delete": False, "arguments": {}} for number in range(20)]
    given = {"url": url, "management_url": management, "url_source": "the tests"}
    spec = rabbitmq_spec(provider="external", definitions={"queues": many}, **given)
    with Testbed([spec]) as testbed, closing(door := Door(testbed)), ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(lambda: door.channel().queue_declare("q19", passive=True)) for _ in range(8)]:
            done.result()
        assert len(door.queues()) == 20


def test_another_virtual_host_is_passed_through(door: Door) -> None:
    other = f"{door.address.vhost}_other"
    api = ManagementApi(door.endpoint)
    api.make_vhost(other)
    try:
        door.connect(other).channel().queue_declare("theirs", durable=True)
        assert [each["name"] for each in api.get("queues", other)] == ["theirs"]
        with pytest.raises(ProbableAccessDeniedError, match="vhost nowhere not found"):
            door.connect("nowhere")
    finally:
        api.drop_vhost(other)
        api.close()
    door.channel()
    assert door.queues() == []


@pytest.mark.parametrize("login", [{"password": "wrong"}, {"user": "somebody"}, {"user": "testbed", "password": "testbed"}])
def test_a_wrong_login_is_refused_by_the_broker(door: Door, login: dict[str, str]) -> None:
    with pytest.raises(ProbableAuthenticationError, match="ACCESS_REFUSED"):
        door.connect(**login)


def test_the_brokers_own_login_is_none_of_ours(door: Door) -> None:
    """An application may come as another user of the broker."""
    connection = door.connect(user=door.endpoint.user, password=door.endpoint.password)
    connection.channel().queue_declare("orders", durable=True)
    assert door.queues() == ["orders"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN", None])
def test_kombu(door: Door, mechanism: str | None) -> None:
    """Without a wish it takes the first that both know."""
    kombu = pytest.importorskip("kombu")
    with kombu.Connection(door.address.form("url"), login_method=mechanism) as connection:
        with connection.SimpleQueue("orders") as queue:
            queue.put({"id": 1})
            assert queue.get(timeout=DEADLINE).payload == {"id": 1}
    assert door.queues() == ["orders"]
    with pytest.raises(Exception, match="ACCESS_REFUSED"):
        kombu.Connection(door.address.form("url").replace(door.address.password, "wrong"), login_method=mechanism).connect()


def test_a_client_that_would_be_known_by_its_certificate(door: Door) -> None:
    """It hears what the broker offers."""
    parameters = door.parameters()
    parameters.credentials = pika.credentials.ExternalCredentials()
    with pytest.raises(AuthenticationError, match="EXTERNAL"):
        pika.BlockingConnection(parameters)


def test_several_clients_at_once(door: Door) -> None:
    def work(number: int) -> int:
        with closing(pika.BlockingConnection(door.parameters())) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare(f"q{number}", durable=True)
            for _ in range(20):
                channel.basic_publish("", f"q{number}", b"x" * 1000)
            return ready(channel, f"q{number}")

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(work, range(20))) == [20] * 20
    assert len(door.queues()) == 20


@pytest.mark.parametrize("frame_max", [4096, 131072])
def test_large_messages(door: Door, frame_max: int) -> None:
    body = bytes(range(256)) * 4 * 1024 * 8
    channel = door.connect(frame_max=frame_max).channel()
    channel.confirm_delivery()
    channel.queue_declare("large", durable=True)
    for _ in range(3):
        channel.basic_publish("", "large", body)
    assert [channel.basic_get("large", auto_ack=True)[2] == body for _ in range(3)] == [True] * 3


# --- what is no login


def long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


# with that, a broker says at once why it refuses; else it waits
PROPERTIES = b"\x0ccapabilitiesF" + long(b"\x1cauthentication_failure_closet\x01")


def frame(payload: bytes) -> bytes:
    return b"\x01\0\0" + long(payload) + b"\xce"


def start_ok(mechanism: bytes, response: bytes) -> bytes:
    said = struct.pack(">HH", 10, 11) + long(PROPERTIES) + bytes([len(mechanism)]) + mechanism + long(response)
    return frame(said + b"\x05en_US")


def close() -> bytes:
    return frame(struct.pack(">HHHBHH", 10, 50, 200, 0, 0, 0))


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece
        data += piece
    return data


def said(client: socket.socket) -> tuple[int, int] | None:
    """Return the method of the next frame."""
    head = exactly(client, 7)
    return method_of(head + exactly(client, frame_size(head) - 7))


def hung_up(client: socket.socket) -> bool:
    """Wait until the other side has."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01" + b"\0" * 80,
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x00\x02\x00\x00",
    ],
    ids=["http", "tls", "AMQP 1.0", "AMQP 2"],
)
def test_who_speaks_another_protocol_has_the_brokers_answer(door: Door, words: bytes) -> None:
    with closing(socket.create_connection((door.endpoint.host, door.endpoint.port), DEADLINE)) as direct:
        direct.sendall(words)
        wanted = exactly(direct, 8)
        assert wanted.startswith(b"AMQP")
        with closing(door.raw()) as client:
            client.sendall(words)
            assert exactly(client, 8) == wanted
    door.channel()


@pytest.mark.parametrize(
    "words",
    [b"\xff" * 100, b"\x01\0\0\x7f\xff\xff\xff", start_ok(b"PLAIN", b"")[:-1] + b"\0", frame(b"\0\x0a\0\x0b"), close()],
    ids=["bytes", "too large", "wrong end", "nothing in it", "close"],
)
@pytest.mark.parametrize("step", [0, 1])
def test_nonsense_in_the_midst_of_a_login(door: Door, words: bytes, step: int) -> None:
    """Both go on as they are, and others come in meanwhile."""
    with closing(door.raw()) as client:
        client.sendall(HEADER)
        assert said(client) == (10, 10)
        if step:
            client.sendall(start_ok(b"PLAIN", b"\0".join([b"", door.address.user.encode(), door.address.password.encode()])))
            assert said(client) == (10, 30)
        client.sendall(words)
        door.channel().queue_declare("orders", durable=True)
    assert door.queues() == ["orders"]


def test_who_hangs_up_in_the_midst_of_the_login(door: Door) -> None:
    login = b"\0".join([b"", door.address.user.encode(), door.address.password.encode()])
    steps = [HEADER, start_ok(b"PLAIN", login)]
    for number in range(8):
        with closing(door.raw()) as client:
            for step in steps[: number // 4]:
                client.sendall(step)
                said(client)
            client.sendall(steps[number // 4][: number % 4])
    until(lambda: door.way.board.visits == 0)
    assert door.way.board.on_their_way == 0
    door.channel()


def test_who_says_nothing_holds_up_nobody(door: Door) -> None:
    """He does not count as somebody who is on his way."""
    with closing(door.raw()), closing(door.raw()) as half:
        half.sendall(HEADER[:3])
        until(lambda: door.way.board.visits == 2)
        began = time.monotonic()
        door.way.catch_up()
        assert (door.messages, door.way.board.on_their_way) == (0, 0)
        assert time.monotonic() - began < 0.15
        door.channel()


# --- leaving

KINDS = {"classic": {}, "quorum": {"x-queue-type": "quorum"}}
OVER = "the test is over in which this connection was opened"


class Stray(threading.Thread):
    """A consumer, or another client, that goes on in a thread of its own until it is hung up on."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except AMQPError as error:
            self.error = error

    def told(self) -> str:
        self.join(DEADLINE)
        assert not self.is_alive()
        return str(self.error)


def test_who_is_hung_up_on_is_told_why(door: Door) -> None:
    """At once where he listens, else when he comes back."""
    consumer, idle = door.channel(), door.channel()
    consumer.queue_declare("orders", durable=True)
    consumer.basic_consume("orders", lambda *got: None)
    stray = Stray(consumer.start_consuming)
    until(lambda: ready(idle, "orders") == 0 and idle.queue_declare("orders", passive=True).method.consumer_count)
    door.way.end_since(0)
    assert OVER in stray.told()
    with pytest.raises(ConnectionClosedByBroker, match=OVER):
        idle.queue_declare("orders", durable=True)
    assert door.way.board.visits == 0


def test_who_was_there_before_stays_and_who_is_spared(door: Door) -> None:
    before = door.channel()
    first = door.messages
    between = door.channel()
    after = door.messages
    late = door.channel()
    door.way.end_since(first, [(first, after)])
    for channel in (before, between):
        channel.queue_declare("orders", durable=True)
    with pytest.raises(AMQPError):
        late.queue_declare("orders", durable=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["hung up on", "gone without a word", "in a transaction"])
def test_what_a_client_held_is_back_at_once(any_door: Door, kind: str, how: str) -> None:
    """Else it would come back to a queue that has been purged."""
    door = any_door
    door.channel()
    look = door.direct()
    look.queue_declare("orders", durable=True, arguments=KINDS[kind])
    look.confirm_delivery()
    for number in range(25):
        look.basic_publish("", "orders", str(number).encode())
        client = door.connect()
        channel = client.channel()
        if how == "in a transaction":
            channel.tx_select()
            channel.basic_publish("", "orders", b"never")
        got = channel.basic_get("orders")
        if how == "in a transaction":
            channel.basic_ack(got[0].delivery_tag)
        if how == "gone without a word":
            client._impl._transport._sock.shutdown(socket.SHUT_RDWR)
        door.way.end_since(0)
        assert look.basic_get("orders", auto_ack=True)[2] == str(number).encode()


def test_what_is_a_clients_alone_goes_with_it(any_door: Door) -> None:
    door = any_door
    for _ in range(10):
        channel = door.channel()
        channel.queue_declare("mine", exclusive=True)
        channel.queue_declare("while I consume", auto_delete=True, durable=True)
        channel.basic_consume("while I consume", lambda *got: None)
        assert door.queues() == ["mine", "while I consume"]
        door.way.end_since(0)
        assert door.queues() == []


def test_who_never_pauses(door: Door) -> None:
    """He is hung up on in the midst of what he says, and what he held is back at once all the same."""
    look = door.channel()
    look.queue_declare("orders", durable=True)
    look.queue_declare("held", durable=True)
    look.basic_publish("", "held", b"one")
    first = door.messages

    def publish() -> None:
        channel = door.channel()
        assert until(lambda: channel.basic_get("held")[2])
        while True:
            channel.basic_publish("", "orders", b"x" * 200_000)

    for _ in range(5):
        stray = Stray(publish)
        until(lambda: ready(look, "orders") > 20)
        began = time.monotonic()
        door.way.end_since(first)
        assert time.monotonic() - began < 1
        assert ready(look, "held") == 1
        assert stray.told()
        look.queue_purge("orders")
    assert door.way.board.visits == 1


def test_who_does_not_listen(door: Door) -> None:
    """More is there for him than the system takes: the door waits for him, and not for long."""
    channel, look = door.channel(), door.direct()
    channel.queue_declare("orders", durable=True)
    for _ in range(400):
        look.basic_publish("", "orders", b"x" * 100_000)
    channel.basic_consume("orders", lambda *got: None)
    until(lambda: stands_still(lambda: ready(look, "orders")) < 400)
    began = time.monotonic()
    door.way.end_since(0)
    assert time.monotonic() - began < 1
    assert ready(look, "orders") == 400


def stands_still(look: Callable[[], int]) -> int:
    """Return what is the same for some time."""
    found, since = look(), time.monotonic()
    while time.monotonic() - since < 0.1:
        if (now := look()) != found:
            found, since = now, time.monotonic()
    return found


def test_what_was_sent_without_waiting_is_waited_for(door: Door) -> None:
    """It is counted, and with the broker, when the door has caught up."""
    channel = door.channel()
    channel.queue_declare("orders", durable=True)
    for _ in range(5):
        channel.basic_publish("", "orders", b"x" * 400_000)
        door.way.catch_up()
        after = door.messages
        ready(channel, "orders")
        assert door.messages == after + 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_client_has_published_is_done(any_door: Door, kind: str) -> None:
    """One that stays, on several channels, and in the midst of other things."""
    door = any_door
    connection = door.connect()
    plain, confirmed, in_transaction, last = (connection.channel() for _ in range(4))
    confirmed.confirm_delivery()
    in_transaction.tx_select()
    last.close()
    plain.queue_declare("orders", durable=True, arguments=KINDS[kind])
    plain.queue_declare("others", durable=True)
    plain.basic_consume("others", lambda *got: None)
    look = door.direct()
    first = door.messages
    for _ in range(100):
        plain.basic_publish("", "orders", b"x" * 100)
        plain.basic_publish("", "others", b"x" * 100_000)
        in_transaction.basic_publish("", "orders", b"never")
        door.way.end_since(first)
        assert look.queue_purge("orders").method.message_count == 1
        confirmed.basic_publish("", "others", b"x")
    connection.process_data_events(0)
    assert plain.basic_get("orders") == (None, None, None)


def test_a_connection_that_the_broker_has_closed(door: Door) -> None:
    """Nobody waits for it."""
    channel = door.channel()
    channel.connection._impl._send_method(7, pika.spec.Basic.Get(queue="x"))
    with pytest.raises(AMQPError, match="504|505|COMMAND_INVALID|UNEXPECTED|CHANNEL_ERROR"):
        while True:
            channel.queue_declare("x", durable=True)
    began = time.monotonic()
    door.way.end_since(0)
    assert time.monotonic() - began < 0.5


# --- where there is no broker


def test_why_nobody_is_let_in() -> None:
    spec = rabbitmq_spec(provider="external", url="amqp://nobody:nothing@127.0.0.1:1/", url_source="the tests", timeout=0.2)
    with Testbed([spec]) as testbed:
        address = VhostAddress("testbed_nowhere")
        address.open(testbed)
        with pytest.raises(AMQPError) as told:
            pika.BlockingConnection(pika.URLParameters(address.form("url")))
        assert "127.0.0.1:1" in str(told.value) or "127.0.0.1:1" in str(told.value.args)


def test_a_broker_with_tls_is_not_exported() -> None:
    with pytest.raises(ConfigurationError, match="TLS cannot be exported"):
        VhostAddress("testbed_x", "amqps://me@broker")
