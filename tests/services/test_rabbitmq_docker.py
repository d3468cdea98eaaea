"""RabbitMQ in containers: images and their versions, the quick boot and what it leaves, and what ends a broker."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pika
import pytest

from pytest_testbed import Endpoint, ServiceNotReady, ServiceUnavailable, Testbed
from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from pytest_testbed.services.providers.engine_address import Engine, connect
from tests import leftovers
from tests.conftest import QUIET, Brokers

IMAGES = {"4": os.environ.get("TESTBED_TESTS_BROKER", "rabbitmq:4"), "3": "rabbitmq:3"}
"""Those without -management; the default and the oldest that is supported."""
ENTRYPOINT = "/usr/local/bin/docker-entrypoint.sh"
BEFORE = "ENV PATH=/before:$PATH"
"""A line of an image whose programs in /before are found first."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine, to look behind the provider's back."""
    found = connect()
    if not isinstance(found, Engine):
        pytest.skip(f"docker: {found.reason}; {found.remedy}")
    with closing(found.api):
        yield found


@pytest.fixture(scope="module")
def derived(engine: Engine) -> Iterator[Callable[..., str]]:
    """Make images out of others: lines of a Dockerfile, and files by their path, all of which may be run."""
    made: list[str] = []

    def derived(base: str, *lines: str, **files: str) -> str:
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            texts = {"Dockerfile": "\n".join([f"FROM {base}", "ADD files /", *lines]), "files/.none": ""}
            for path, text in (texts | {f"files{path}": text for path, text in files.items()}).items():
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(text.encode()), 0o755
                archive.addfile(entry, io.BytesIO(text.encode()))
        name = f"testbed-tests-{secrets.token_hex(6)}:1"
        context.seek(0)
        said = list(engine.api.build(fileobj=context, custom_context=True, tag=name, rm=True, decode=True))
        assert not [each for each in said if "error" in each], said
        made.append(name)
        return name

    yield derived
    for name in made:
        engine.api.remove_image(name, force=True)


@contextmanager
def broker_of(image: str, **options: Any) -> Iterator[Testbed]:
    """Start a broker in a container; nothing of it is left at the end."""
    with closing_cleanly(Testbed([rabbitmq_spec(provider="docker", image=image, **options)])) as testbed:
        try:
            testbed.endpoint("rabbitmq")
        except ServiceUnavailable as error:
            pytest.skip(f"docker: {' '.join(str(error).split())}")
        yield testbed


@contextmanager
def closing_cleanly(testbed: Testbed) -> Iterator[Testbed]:
    try:
        yield testbed
    finally:
        faults = testbed.close()
    assert faults == []
    assert leftovers.gone(testbed.run) == {}


@pytest.fixture(scope="module", params=IMAGES)
def plain(request: pytest.FixtureRequest, brokers: Brokers) -> Iterator[Testbed]:
    """A broker as it comes, of an image without management."""
    if request.param == "4":
        yield brokers.get("docker")
        return
    with broker_of(IMAGES[request.param]) as testbed:
        yield testbed


OWN_PLUGINS = "[rabbitmq_management,\n  rabbitmq_recent_history_exchange ] .\n"


@pytest.fixture(scope="module", params=IMAGES)
def changed(request: pytest.FixtureRequest, derived: Callable[..., str], engine: Engine) -> Iterator[Testbed]:
    """A broker of an image with management and a plugin enabled in it, with a user, a virtual host and a plugin by options."""
    try:
        engine.api.inspect_image(f"{IMAGES[request.param]}-management")
    except OSError:
        pytest.skip(f"docker: there is no image {IMAGES[request.param]}-management")
    image = derived(f"{IMAGES[request.param]}-management", **{"/etc/rabbitmq/enabled_plugins": OWN_PLUGINS})
    environment = ["RABBITMQ_DEFAULT_USER=keeper", "RABBITMQ_DEFAULT_PASS=s@/:t", "RABBITMQ_DEFAULT_VHOST=shop/a"]
    with broker_of(image, environment=environment, plugins=["rabbitmq_consistent_hash_exchange"]) as testbed:
        yield testbed


def inside(engine: Engine, testbed: Testbed, command: str) -> str:
    """Run a command of the shell in a broker's container."""
    made = engine.api.exec_create(name_of(testbed), ["sh", "-c", command])
    return str(engine.api.exec_start(made["Id"]).decode())


def name_of(testbed: Testbed) -> str:
    return f"testbed-{testbed.run}-rabbitmq"


def plugins_of(engine: Engine, testbed: Testbed) -> set[str]:
    """Return the names of the plugins whose folders are there."""
    return {line.rpartition("-")[0] for line in inside(engine, testbed, "ls -d /plugins/*-*").splitlines()}


@contextmanager
def api_of(endpoint: Endpoint) -> Iterator[ManagementApi]:
    with closing(ManagementApi(endpoint)) as api:
        yield api


@contextmanager
def connected(endpoint: Endpoint, vhost: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with closing(pika.BlockingConnection(pika.URLParameters(endpoint.url(vhost)))) as connection:
        yield connection.channel()


def use(testbed: Testbed) -> str:
    """Send a message to and fro in a virtual host of a test's own, and give that back; return its name."""
    name = testbed.take("rabbitmq")
    with connected(testbed.endpoint("rabbitmq"), name) as channel:
        channel.queue_declare("orders", durable=True)  # fails where it is there already and is another
        channel.basic_publish("", "orders", b"one")
        assert channel.basic_get("orders", auto_ack=True)[2] == b"one"
        assert channel.basic_get("orders", auto_ack=True) == (None, None, None)
    testbed.give_back("rabbitmq", name)
    return name


# --- images as they come


def test_an_image_without_management_has_it_all_the_same(plain: Testbed) -> None:
    endpoint = plain.endpoint("rabbitmq")
    assert endpoint.version.partition(".")[0] in IMAGES
    assert endpoint.how == ""
    assert plain.notes == []
    with api_of(endpoint) as api:
        assert "administrator" in api.get("whoami")["tags"]
    assert use(plain).startswith(f"testbed_{plain.run}_")


def test_both_ports_are_published_on_loopback_only(plain: Testbed, engine: Engine) -> None:
    endpoint = plain.endpoint("rabbitmq")
    if endpoint.host != "127.0.0.1":
        pytest.skip("the engine is not on this machine, or this is a container beside it")
    ports = engine.api.inspect_container(name_of(plain))["NetworkSettings"]["Ports"]
    assert {inner: bound for inner, bound in ports.items() if bound} == {
        "5672/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(endpoint.port)}],
        "15672/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(endpoint.ports["management"])}],
    }


def test_what_no_plugin_needs_is_not_there_when_it_boots(plain: Testbed, engine: Engine) -> None:
    there = plugins_of(engine, plain)
    assert {"/plugins/rabbit", "/plugins/rabbitmq_management", "/plugins/rabbitmq_web_dispatch"} <= there
    assert not {"/plugins/rabbitmq_mqtt", "/plugins/rabbitmq_prometheus", "/plugins/rabbitmq_shovel"} & there
    assert inside(engine, plain, "cat /etc/rabbitmq/enabled_plugins").split() == ["[rabbitmq_management]."]


def test_its_log_tells_of_nothing_that_went_wrong(plain: Testbed, engine: Engine) -> None:
    boot, told, _ = engine.api.logs(name_of(plain)).decode().partition("plugins.\n")
    assert told, boot
    wrong = ("[error]", "[critical]", "crash", "cannot", "not found", "No such file")
    assert [line for line in boot.splitlines() if any(word in line for word in wrong)] == []


# --- an image of somebody's own, and what options say


def test_user_password_and_virtual_host_may_be_chosen(changed: Testbed) -> None:
    endpoint = changed.endpoint("rabbitmq")
    assert (endpoint.user, endpoint.password, endpoint.database) == ("keeper", "s@/:t", "shop/a")
    with api_of(endpoint) as api:
        assert "shop/a" in api.vhosts()
        assert "/" not in api.vhosts()
        assert [each["name"] for each in api.get("users")] == ["keeper"]
    with connected(endpoint, "shop/a") as channel:
        channel.queue_declare("", exclusive=True)
    use(changed)


def test_plugins_of_the_image_are_kept_and_others_are_added(changed: Testbed, engine: Engine) -> None:
    with api_of(changed.endpoint("rabbitmq")) as api:
        types = {each["name"] for each in api.get("overview")["exchange_types"]}
    assert {"x-recent-history", "x-consistent-hash"} <= types
    assert "x-random" not in types
    assert "/plugins/rabbitmq_random_exchange" not in plugins_of(engine, changed)
    assert changed.notes == []


def test_a_plugin_that_the_image_does_not_have(engine: Engine) -> None:
    text, _ = refusal(IMAGES["4"], plugins=["rabbitmq_consistent_hash", "rabbitmq_shovel"])
    assert "this image has no plugin rabbitmq_consistent_hash; correct testbed_rabbitmq_plugins" in text
    assert " rabbitmq_consistent_hash_exchange " in text


def test_two_runs_side_by_side(changed: Testbed, brokers: Brokers) -> None:
    plain = brokers.get("docker")
    one, two = plain.endpoint("rabbitmq"), changed.endpoint("rabbitmq")
    assert not {one.port, *one.ports.values()} & {two.port, *two.ports.values()}
    mine, theirs = plain.take("rabbitmq"), changed.take("rabbitmq")
    with api_of(one) as api, api_of(two) as other:
        assert (mine in api.vhosts(), theirs in api.vhosts()) == (True, False)
        assert (mine in other.vhosts(), theirs in other.vhosts()) == (False, True)
    plain.give_back("rabbitmq", mine)
    changed.give_back("rabbitmq", theirs)


# --- what cannot be had


def refusal(image: str, **options: Any) -> tuple[str, float]:
    """Return what is said of a broker that does not come up, and how many seconds that took; nothing is left of it."""
    with closing_cleanly(Testbed([rabbitmq_spec(provider="docker", image=image, **options)])) as testbed:
        with pytest.raises(ServiceNotReady) as caught:
            testbed.endpoint("rabbitmq")
        assert leftovers.containers(testbed.run) == []
    return str(caught.value), testbed.waited["rabbitmq"]


NEEDS_ALL = f"""#!/bin/sh
[ -n "$(ls -d /plugins/rabbitmq_mqtt-*)" ] || exit 3
exec {ENTRYPOINT} "$@"
"""


@pytest.mark.parametrize("version", IMAGES)
def test_an_image_that_does_not_take_the_quick_boot_boots_plainly(
    version: str, derived: Callable[..., str], pytester: pytest.Pytester
) -> None:
    image = derived(IMAGES[version], BEFORE, **{"/before/docker-entrypoint.sh": NEEDS_ALL})
    pytester.makepyfile("def test_it(rabbitmq_broker): rabbitmq_broker.declare({'queues': [{'name': 'orders'}]})")
    result = pytester.runpytest_inprocess(*QUIET, "--testbed-provider=docker", "-o", f"testbed_rabbitmq_image={image}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        f"*rabbitmq: {image} did not take the quick start (exit code 3), and was started plainly; "
        "testbed_rabbitmq_quick_boot = false spares it the attempt*"
    )


def test_an_image_that_ends_is_told_at_once_with_its_words(derived: Callable[..., str]) -> None:
    image = derived(IMAGES["4"], BEFORE, **{"/before/rabbitmq-server": "#!/bin/sh\necho out of cheese >&2\nexit 1\n"})
    text, seconds = refusal(image)
    assert image in text
    assert "exit code 1" in text
    assert "out of cheese" in text
    assert seconds < 60, "90 s are for those that may come up yet"


def test_where_the_engine_refuses_a_memory_file_system_it_goes_without(engine: Engine) -> None:
    with broker_of(IMAGES["4"], tmpfs="nonsense") as testbed:
        use(testbed)
        assert not engine.api.inspect_container(name_of(testbed))["HostConfig"].get("Tmpfs")
        [note] = testbed.notes
        assert "goes without tmpfs" in note


# --- ends


@pytest.mark.parametrize(("version", "hands"), [("3", ["kill"]), ("4", ["kill", "pause"])])
def test_one_that_was_ended_by_hand_comes_back_empty_at_its_address(version: str, hands: list[str], engine: Engine) -> None:
    with broker_of(IMAGES[version]) as testbed:
        before = testbed.endpoint("rabbitmq")
        for hand in hands:
            name = use(testbed)
            getattr(engine.api, hand)(name_of(testbed))
            end, log = checked(testbed)
            assert end == ("paused" if hand == "pause" else "killed by signal 9")
            assert name in log, "its last lines"
            assert testbed.endpoint("rabbitmq") == before
            again = use(testbed)
            with api_of(before) as api:
                assert name not in api.vhosts()
            assert int(again.rpartition("_")[2]) > int(name.rpartition("_")[2]), "no name is used twice"


def checked(testbed: Testbed) -> tuple[str, str]:
    """Look after a broker until its end is known, which its engine knows some time after the server's."""
    for _ in range(1000):
        if (found := testbed.check("rabbitmq"))[0]:
            return found
    raise AssertionError("the broker's end was not seen")
