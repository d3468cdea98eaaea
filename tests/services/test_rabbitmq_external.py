"""A broker that somebody named: what is made on it, what is not touched, and what refuses it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote

import pika
import pytest
from pika.exceptions import AMQPError

from pytest_testbed import Endpoint, Testbed, TestbedError
from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.rabbitmq.place import Place
from pytest_testbed.rabbitmq.service import parse_url, rabbitmq_spec
from pytest_testbed.rabbitmq.vhosts import drop_vhosts
from pytest_testbed.services.death import gone_within
from tests import leftovers
from tests.conftest import QUIET

PASSWORD = "p@:/s#%?"
SORTS = ("users", "permissions", "topic_permissions", "parameters", "global_parameters", "policies", "queues", "exchanges")


class House:
    """The broker that the tests take for somebody else's, with a user, a virtual host and a queue of its owner's."""

    def __init__(self, testbed: Testbed) -> None:
        endpoint = testbed.endpoint("rabbitmq")
        self.management = f"http://{endpoint.host}:{endpoint.ports['management']}"
        self._prefix = f"testbed_{testbed.run}_"  # what its own run makes ahead
        self._endpoint = endpoint
        self._users: list[str] = []
        self.api = ManagementApi(endpoint)
        name = secrets.token_hex(4)
        self.vhost = f"owner's/{name} %"
        self.api.put("vhosts", self.vhost)
        self.api.put("queues", self.vhost, "letters", body={"durable": True})
        for text in ("one", "two"):
            self._put(text)
        self.user = self.add_user("administrator")

    def _put(self, text: str) -> None:
        message = {"properties": {}, "routing_key": "letters", "payload": text, "payload_encoding": "string"}
        assert self.api.post("exchanges", self.vhost, "amq.default", "publish", body=message) == {"routed": True}

    def add_user(self, tags: str, *, may_enter: bool = True) -> str:
        """Make a user; all have one password."""
        self._users.append(name := f"guest@{secrets.token_hex(4)}/ %")
        self.api.put("users", name, body={"password": PASSWORD, "tags": tags})
        if may_enter:
            self.api.put("permissions", self.vhost, name, body={"configure": ".*", "write": ".*", "read": ".*"})
        return name

    def url(self, user: str = "", password: str = PASSWORD, vhost: str = "", port: int = 0, host: str = "") -> str:
        """Return an address of it, in the names of which everything is encoded that can be."""
        login = f"{quote(user or self.user, safe='')}:{quote(password, safe='')}"
        return f"amqp://{login}@{host or self._endpoint.host}:{port or self._endpoint.port}/{quote(vhost or self.vhost, safe='')}"

    @property
    def port(self) -> int:
        """Its port for AMQP."""
        return self._endpoint.port

    def vhosts(self) -> set[str]:
        """Return the names of all virtual hosts but those of its own run."""
        return {name for name in self.api.vhosts() if not name.startswith(self._prefix)}

    def everything(self) -> dict[str, list[str]]:
        """Return all that its definitions say, and the messages in its owner's queue."""
        found = self.api.get("definitions")
        kept = {
            sort: sorted(repr(each) for each in found[sort] if not str(each.get("vhost", "")).startswith(self._prefix))
            for sort in (*SORTS, "bindings")
        }
        body = {"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"}
        messages = self.api.post("queues", self.vhost, "letters", "get", body=body)
        return {**kept, "vhosts": sorted(self.vhosts()), "messages": [each["payload"] for each in messages]}

    def close(self) -> None:
        """Take out what is its owner's."""
        self.api.delete("vhosts", self.vhost)
        for user in self._users:
            self.api.delete("users", user)
        self.api.close()


@pytest.fixture(scope="module")
def house(broker_somewhere: Testbed) -> Iterator[House]:
    with closing(House(broker_somewhere)) as house:
        yield house


@pytest.fixture
def named(house: House) -> Iterator[Callable[..., Testbed]]:
    """Start runs on a named broker; all are ended."""
    made: list[Testbed] = []

    def named(url: str = "", management: str | None = house.management, **options: Any) -> Testbed:
        made.append(Testbed([spec_of(url or house.url(), management, **options)]))
        return made[-1]

    yield named
    for testbed in made:
        assert testbed.close() == []


def spec_of(url: str, management: str | None, **options: Any) -> Any:
    return rabbitmq_spec(provider="auto", url=url, url_source="the tests", management_url=management, **options)


@contextmanager
def channel_in(url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


def taken(testbed: Testbed) -> str:
    """Take a virtual host, and use it as a test would: by the address that it is given; return its name."""
    endpoint, name = testbed.endpoint("rabbitmq"), testbed.take("rabbitmq")
    with channel_in(Place(testbed, endpoint, name).url) as channel:
        channel.queue_declare("letters", durable=True)
        assert channel.basic_get("letters") == (None, None, None)
        channel.basic_publish("", "letters", b"mine")
    return name


# --- what is made


def test_own_virtual_hosts_are_made_and_dropped_and_nothing_else(named: Callable[..., Testbed], house: House) -> None:
    before = house.everything()
    testbed = named()
    names = {taken(testbed) for _ in range(3)}
    made = house.vhosts() - set(before["vhosts"])
    assert names <= made
    assert all(name.startswith(f"testbed_{testbed.run}_") for name in made)
    for name in names:
        testbed.give_back("rabbitmq", name)
    assert testbed.close() == []
    assert house.everything() == before
    assert leftovers.records(testbed.run) == []


def test_what_a_test_has_not_given_back_is_dropped_with_the_run(named: Callable[..., Testbed], house: House) -> None:
    before = house.everything()
    testbed = named()
    name = taken(testbed)
    with suppress(AMQPError), channel_in(house.url(vhost=name)):  # the broker closes it
        assert testbed.close() == []
    assert house.everything() == before


def test_two_runs_at_once_do_not_disturb_each_other(named: Callable[..., Testbed], house: House) -> None:
    before = house.everything()
    one, two = named(), named()
    first, second = taken(one), taken(two)
    one.give_back("rabbitmq", first)
    assert one.close() == []
    assert not [name for name in house.vhosts() if one.run in name]
    with channel_in(house.url(vhost=second)) as channel:
        assert channel.basic_get("letters", auto_ack=True)[2] == b"mine"
    assert taken(two) != second
    assert two.close() == []
    assert house.everything() == before


def test_killed_run_has_its_virtual_hosts_dropped_by_the_host(house: House) -> None:
    before = house.vhosts()
    child = os.fork()
    if not child:
        try:
            taken(Testbed([spec_of(house.url(), house.management)]))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    await_vhosts(house, before)


def await_vhosts(house: House, wanted: set[str]) -> None:
    """Look until there are no other virtual hosts than those, at most some seconds."""
    for _ in range(500):
        if house.vhosts() == wanted:
            return
        threading.Event().wait(0.01)
    assert house.vhosts() == wanted


def test_killed_host_has_its_virtual_hosts_dropped_by_the_next_run(named: Callable[..., Testbed], house: House) -> None:
    before = house.everything()
    dead = Testbed([spec_of(house.url(), house.management)])
    alive = named()
    taken(dead)
    kept = taken(alive)
    os.kill(dead.client.pid, signal.SIGKILL)
    assert gone_within(dead.client.pid, 5)
    assert dead.close() != [], "a host that is gone is told, not passed over"
    assert [name for name in house.vhosts() if dead.run in name]
    taken(named())
    assert not [name for name in house.vhosts() if dead.run in name]
    assert kept in house.vhosts()
    assert leftovers.records(dead.run) == []
    assert alive.close() == []
    named().close()
    assert [name for name in house.vhosts() - set(before["vhosts"]) if alive.run in name] == []


def test_what_is_not_a_runs_own_is_not_dropped(broker_somewhere: Testbed) -> None:
    for prefix in ("", "testbed_", "testbed_main_", "testbed_0123456789ab", "owner's"):
        with pytest.raises(ValueError, match="nothing is dropped"):
            drop_vhosts(broker_somewhere.endpoint("rabbitmq"), prefix)


@pytest.mark.parametrize("exported", [False, True], ids=["of their own", "of the worker"])
def test_pytest_says_whose_broker_it_is_and_leaves_it_as_it_was(
    exported: bool, house: House, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = house.everything()
    monkeypatch.setenv("RABBITMQ_URL", house.url())
    export = "testbed_env = BROKER={rabbitmq.url}\n" if exported else ""
    pytester.makeini(f"[pytest]\ntestbed_rabbitmq_management_url = {house.management}\n{export}")
    pytester.makepyfile(
        """
        def test_it(rabbitmq_broker):
            rabbitmq_broker.declare({"queues": [{"name": "letters"}]})
            rabbitmq_broker.publish("letters", "mine")
            assert rabbitmq_broker.count("letters") == 1
        """
    )
    result = pytester.runpytest_inprocess(*QUIET)
    result.assert_outcomes(passed=1)
    masked = house.url().replace(quote(PASSWORD, safe=""), "***")
    result.stdout.fnmatch_lines([f"testbed: rabbitmq * (external, {masked} from environment RABBITMQ_URL) was ready after *"])
    assert quote(PASSWORD, safe="") not in result.stdout.str()
    assert PASSWORD not in result.stdout.str()
    assert house.everything() == before


# --- what refuses


SOON: Any = {"timeout": 1.0}
"""For those of which no try can tell that they will never do."""


def refusal(named: Callable[..., Testbed], url: str, management: str | None, **options: Any) -> str:
    """Return what is said of a broker that will not do; it shows no password, and did not take the 90 s of a start."""
    testbed = named(url, management, **options)
    with pytest.raises(TestbedError) as caught:
        testbed.endpoint("rabbitmq")
    text = str(caught.value)
    assert "the tests" in text, "it says who has named the broker"
    assert not [word for word in (PASSWORD, quote(PASSWORD, safe=""), "wrongsecret") if word in text]
    assert "\n" not in text
    assert testbed.waited["rabbitmq"] < (15 if "was not ready within 5 s" in text else 4)
    return text


def test_wrong_password_and_unknown_user(named: Callable[..., Testbed], house: House) -> None:
    for url in (house.url(password="wrongsecret"), house.url(user="nobody", password="wrongsecret")):
        text = refusal(named, url, house.management)
        assert "403 ACCESS_REFUSED" in text
        assert "→ the user or the password is wrong" in text


def test_virtual_host_that_is_not_there_or_may_not_be_entered(named: Callable[..., Testbed], house: House) -> None:
    text = refusal(named, house.url(vhost="no/where"), house.management)
    assert "vhost no/where not found → there is no virtual host 'no/where', or" in text
    stranger = house.add_user("administrator", may_enter=False)
    text = refusal(named, house.url(stranger), house.management)
    assert "may not enter it; correct the URL" in text
    assert stranger in text


def test_host_that_is_not_known(named: Callable[..., Testbed], house: House) -> None:
    text = refusal(named, house.url(host="no-such-host.invalid"), house.management)
    assert "the host no-such-host.invalid is unknown" in text
    assert text.endswith("→ correct the URL.")
    text = refusal(named, house.url(host=f"{'a' * 70}.invalid"), house.management)
    assert "cannot be used (" in text


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_port_at_which_nobody_listens(named: Callable[..., Testbed], house: House, unused_port: int) -> None:
    text = refusal(named, house.url(port=unused_port), house.management)
    assert f"127.0.0.1:{unused_port}" in text
    assert text.endswith("Connection refused → start it, or correct the URL.")


def test_port_of_the_management_taken_for_that_of_amqp(named: Callable[..., Testbed], house: House) -> None:
    port = int(house.management.rpartition(":")[2])
    text = refusal(named, house.url(port=port), house.management, **SOON)
    assert "it must name AMQP's own port (5672), not that of the management" in text


def test_no_management_where_it_is_looked_for(named: Callable[..., Testbed], house: House, unused_port: int) -> None:
    text = refusal(named, house.url(), f"http://127.0.0.1:{unused_port}", **SOON)
    assert "AMQP alone can neither list nor create them" in text
    assert f"http://127.0.0.1:{unused_port} does not answer" in text
    assert text.endswith("→ rabbitmq-plugins enable rabbitmq_management; or say where it is: testbed_rabbitmq_management_url.")


@pytest.mark.parametrize("management", ["http://127.0.0.1:{port}", "{management}/elsewhere", "{https}"])
def test_something_else_where_management_is_looked_for(named: Callable[..., Testbed], house: House, management: str) -> None:
    https = house.management.replace("http:", "https:")
    url = management.format(port=house.port, management=house.management, https=https)
    text = refusal(named, house.url(), url, **SOON)
    assert url in text
    assert "or say where it is: testbed_rabbitmq_management_url." in text


@pytest.mark.parametrize("tags", ["monitoring", "management", ""])
def test_user_who_is_no_administrator(named: Callable[..., Testbed], house: House, tags: str) -> None:
    user = house.add_user(tags)
    text = refusal(named, house.url(user), house.management)
    assert f"→ rabbitmqctl set_user_tags '{user}' administrator, or name another user" in text
    assert (f"(its tags: {tags})" if tags else "Not management user") in text


def test_tls_where_none_is_spoken(named: Callable[..., Testbed], house: House) -> None:
    text = refusal(named, house.url().replace("amqp:", "amqps:"), house.management)
    assert "no TLS is spoken there" in text
    assert "→ say amqp:// in the URL, or name the port for TLS (5671)." in text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:wrongsecret@h/d", "it must begin with amqp:// or amqps://"),
        ("amqp://u:wrongsecret@h:port/d", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://u:wrongsecret@h/a/b/c", "the virtual host 'a/b/c' must be encoded: a%2Fb%2Fc"),
    ],
)
def test_url_that_is_none(named: Callable[..., Testbed], url: str, why: str) -> None:
    text = refusal(named, url, None)
    assert "is no URL of rabbitmq" in text
    assert why in text


# --- who answers instead of a broker


class Front:
    """A port that answers as it is told, connection by connection, and from then on leads to a broker."""

    def __init__(self, answers: Sequence[bytes | None], broker: Endpoint | None) -> None:
        self._answers, self._broker = list(answers), broker
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.came = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.came += 1
                if self._answers:
                    self._answer(near, self._answers.pop(0))
                elif self._broker is not None:
                    far = socket.create_connection((self._broker.host, self._broker.port))
                    self._open += [near, far]
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=carry, args=pair, daemon=True).start()
                else:
                    self._open.append(near)  # it says nothing

    def _answer(self, near: socket.socket, answer: bytes | None) -> None:
        with near:
            if answer is not None:
                near.recv(8)
                near.sendall(answer)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def front(*answers: bytes | None, broker: Endpoint | None = None) -> Iterator[Front]:
    with closing(Front(answers, broker)) as front:
        yield front


def test_one_that_is_still_starting_behind_a_proxy_is_waited_for(
    named: Callable[..., Testbed], house: House, broker_somewhere: Testbed
) -> None:
    """The proxy of a published port takes a connection before there is a server behind it, and hangs up."""
    with front(None, None, broker=broker_somewhere.endpoint("rabbitmq")) as there:
        testbed = named(house.url(port=there.port))
        taken(testbed)
        assert there.came > 2
        assert testbed.close() == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak AMQP 0-9-1 (it sent b'HTTP/1.')"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS → say amqps:// in the URL, or name the port without TLS (5672)."),
        (b"AMQP\x00\x01\x00\x00", "speaks another version of AMQP"),
    ],
    ids=["a web server", "a port for TLS", "another AMQP"],
)
def test_another_server_is_told_at_once(named: Callable[..., Testbed], house: House, answer: bytes, said: str) -> None:
    with front(answer, broker=None) as there:
        assert said in refusal(named, house.url(port=there.port), house.management)
        assert there.came == 1, "waiting cannot help"


def test_one_that_says_nothing(named: Callable[..., Testbed], house: House) -> None:
    with front(broker=None) as there:
        text = refusal(named, house.url(port=there.port), house.management, **SOON)
    assert "what listens there says nothing → is it still starting? Else correct the URL" in text


# --- reading URLs


def test_url_in_all_its_forms() -> None:
    plain = parse_url("amqp://us%40er:p%2Fw@mq:5673/shop%2Fa?heartbeat=5")
    assert (plain.user, plain.password, plain.host, plain.port, plain.database) == ("us@er", "p/w", "mq", 5673, "shop/a")
    assert (plain.scheme, plain.query) == ("amqp", "heartbeat=5")
    for short in ("amqp://mq", "amqp://mq/", "amqp://mq//", "pyamqp://mq:5672/%2F"):
        found = parse_url(short)
        assert (found.user, found.password, found.port, found.database) == ("guest", "guest", 5672, "/"), short
    tls = parse_url("amqps://mq/shop")
    assert (tls.scheme, tls.port) == ("amqps", 5671)
    assert parse_url("amqp://u@[::1]:5672/d").host == "::1"


def test_url_round_trip_with_awkward_names() -> None:
    endpoint = Endpoint(kind="rabbitmq", host="::1", port=1, user="a b", password="/:@?#%", database="d/b c", scheme="amqp")
    back = parse_url(endpoint.url())
    assert (back.user, back.password, back.host, back.database) == ("a b", "/:@?#%", "::1", "d/b c")
