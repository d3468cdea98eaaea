"""How a broker is named and described: its URL, the variable that names one, the recipe, what pika is told."""

from __future__ import annotations

import json
from typing import Any

import pika
import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.given import GivenUrl, is_near
from pytest_testbed.rabbitmq.connect import parameters
from pytest_testbed.rabbitmq.given import given_url
from pytest_testbed.rabbitmq.service import parse_url, rabbitmq_spec
from pytest_testbed.services.model import RANDOM, Endpoint, ServiceSpec
from pytest_testbed.services.providers.external import ExternalProvider

# --- its URL


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("amqp://me:x@h:5673/shop", ("amqp", "h", 5673, "me", "x", "shop")),
        ("amqp://h", ("amqp", "h", 5672, "guest", "guest", "/")),
        ("amqp://h/", ("amqp", "h", 5672, "guest", "guest", "/")),
        ("amqp://h/%2F", ("amqp", "h", 5672, "guest", "guest", "/")),
        ("amqp://h/a%2Fb%20c", ("amqp", "h", 5672, "guest", "guest", "a/b c")),
        ("amqps://h", ("amqps", "h", 5671, "guest", "guest", "/")),
        ("pyamqp://h", ("amqp", "h", 5672, "guest", "guest", "/")),
        ("amqp://", ("amqp", "localhost", 5672, "guest", "guest", "/")),
        ("amqp://me:p%40s%2Fs@[::1]:1/v", ("amqp", "::1", 1, "me", "p@s/s", "v")),
        ("amqp://me@h", ("amqp", "h", 5672, "me", "guest", "/")),
    ],
)
def test_what_a_url_names(url: str, facts: tuple[object, ...]) -> None:
    found = parse_url(url)
    assert (found.scheme, found.host, found.port, found.user, found.password, found.database) == facts
    assert parse_url(found.url()) == found


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "it must begin with amqp://"),
        ("h:5672", "it must begin with amqp://"),
        ("", "it must begin with amqp://"),
        ("amqp://h/a/b", "the virtual host 'a/b' must be encoded: a%2Fb"),
        ("amqp://me:s3cret@h:port", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:s3cret@h:99999", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:s3cret#x@h", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:12#s3cret@h", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:s3cret?x@h", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:s3cret@[::1", "it must be like amqp://user:password@host:port/vhost"),
        ("amqp://me:s3cret\u2100@h", "it must be like amqp://user:password@host:port/vhost"),
    ],
)
def test_what_is_no_url_of_a_broker(url: str, words: str) -> None:
    spec = rabbitmq_spec(url=url, url_source="the tests")
    with pytest.raises(ConfigurationError) as caught:
        ExternalProvider().start(spec, None)  # type: ignore[arg-type]
    text = str(caught.value)
    assert words in text
    assert "(from the tests) is no URL of rabbitmq" in text
    assert "s3cret" not in text


# --- the variable


@pytest.mark.parametrize("url", ["amqp://localhost", "amqps://me:x@rabbit:5671/v", "pyamqp://127.0.0.2//", "amqp://[::1]/"])
def test_a_broker_on_this_machine_or_of_a_single_label_counts(url: str) -> None:
    assert given_url(None, "", {"RABBITMQ_URL": url}) == GivenUrl(url, "environment RABBITMQ_URL")


@pytest.mark.parametrize("host", ["mq.example.com", "10.0.0.7", "[2001:db8::1]", "3232235777", "localhost."])
def test_any_other_is_passed_over(host: str) -> None:
    url = f"amqp://me:s3cret@{host}/v"
    found = given_url(None, "", {"RABBITMQ_URL": url})
    assert found.url is None
    assert f"names the server {host.strip('[]')}, which is not on this machine" in found.passed_over
    assert "set testbed_rabbitmq_url (or TESTBED_RABBITMQ_URL) to use it" in found.passed_over
    assert "s3cret" not in found.passed_over
    assert given_url(None, "", {"RABBITMQ_URL": url, "CI": "1"}).url == url
    assert given_url(url, "tox.ini", {"RABBITMQ_URL": "amqp://localhost"}) == GivenUrl(url, "tox.ini")


@pytest.mark.parametrize("url", ["", "http://localhost:15672", "localhost", "redis://localhost", "AMQP"])
def test_a_variable_that_means_something_else_is_nobody_s_business(url: str) -> None:
    assert given_url(None, "", {"RABBITMQ_URL": url}) == GivenUrl()


def test_the_address_of_an_outer_run_is_nobody_s_broker() -> None:
    found = given_url(None, "", {"RABBITMQ_URL": "amqp://testbed:x@127.0.0.1:1/testbed_0123456789ab_main"})
    assert found.url is None
    assert "a virtual host of another run of pytest-testbed" in found.passed_over


def test_what_cannot_be_understood_is_passed_over() -> None:
    found = given_url(None, "", {"RABBITMQ_URL": "amqp://me:s3cret@h:port/"})
    assert found.passed_over.startswith("RABBITMQ_URL cannot be understood (it must be like ")
    assert "s3cret" not in found.passed_over


@pytest.mark.parametrize(
    ("host", "near"), [("", True), ("/run/x", True), ("@x", True), ("a_b-1", True), ("1a", False), ("ä", False), ("a.b", False)]
)
def test_a_host_is_near(host: str, near: bool) -> None:
    assert is_near(host) is near


# --- the recipe


@pytest.mark.parametrize(
    ("image", "version", "wanted"),
    [
        ("rabbitmq:4", None, "rabbitmq:4"),
        ("rabbitmq:4", "3.13", "rabbitmq:3.13"),
        ("rabbitmq:4", "4", "rabbitmq:4"),
        ("rabbitmq:3-management", "4.1", "rabbitmq:4.1-management"),
        ("rabbitmq:3.13-management", "4.1", "rabbitmq:3.13-management"),
        ("rabbitmq:4-alpine", "4.1", "rabbitmq:4-alpine"),
        ("rabbitmq", "4.1", "rabbitmq"),
        ("mirror.example.com/rabbitmq:4", "4.1", "mirror.example.com/rabbitmq:4"),
        ("4", "4.1", "4"),
    ],
)
def test_the_image_follows_the_version_where_it_names_no_more_than_a_major(image: str, version: str | None, wanted: str) -> None:
    spec = rabbitmq_spec(image=image, version=version)
    assert spec.container is not None
    assert (spec.container.image, spec.version) == (wanted, version)


def test_the_recipe_crosses_to_the_host_as_it_is() -> None:
    spec = rabbitmq_spec(plugins=["rabbitmq_stomp"], definitions={"queues": [{"name": "q"}]}, management_url="http://h:1")
    crossed = json.loads(json.dumps(spec.to_json()))
    assert json.loads(json.dumps(ServiceSpec.from_json(crossed).to_json())) == crossed
    assert crossed["options"]["definitions"] == {"queues": [{"name": "q"}]}
    assert crossed["options"]["extra"] == {"management": "http://h:1"}


@pytest.mark.parametrize(
    ("environment", "login"),
    [
        ((), ("testbed", RANDOM, "/")),
        (("RABBITMQ_DEFAULT_USER=shop", "RABBITMQ_DEFAULT_PASS=a=b", "RABBITMQ_DEFAULT_VHOST=shop/v"), ("shop", "a=b", "shop/v")),
    ],
)
def test_the_container_s_login_and_virtual_host_are_what_its_variables_say(
    environment: tuple[str, ...], login: tuple[str, str, str]
) -> None:
    spec = rabbitmq_spec(environment=environment)
    container = spec.container
    assert container is not None
    assert (container.user, container.password, spec.options["database"]) == login
    assert container.environment["RABBITMQ_DEFAULT_PASS"] == container.password


def test_a_quick_boot_has_a_plain_one_to_fall_back_on() -> None:
    quick, plain = rabbitmq_spec(tmpfs="1g").container, rabbitmq_spec(quick=False, tmpfs="").container
    assert quick is not None
    assert plain is not None
    assert quick.plain_command == plain.command != quick.command
    assert plain.plain_command == ()
    assert (dict(quick.tmpfs), dict(plain.tmpfs)) == ({"/var/lib/rabbitmq": "1g"}, {})


# --- what pika is told

ENDPOINT = Endpoint(kind="rabbitmq", host="h", port=1, user="me", password="p@ss/w%rd", database="/", scheme="amqp")


def facts(given: pika.ConnectionParameters) -> tuple[Any, ...]:
    login = given.credentials
    return given.host, given.port, login.username, login.password, given.virtual_host


@pytest.mark.parametrize("query", ["", "heartbeat=30", "name=shop"])
@pytest.mark.parametrize(("host", "password"), [("h", "p@ss/w%rd"), ("::1", "")])
def test_the_address_and_the_login_reach_pika(host: str, password: str, query: str) -> None:
    endpoint = ENDPOINT.with_(host=host, password=password, query=query)
    given = parameters(endpoint, "a/b c%", blocked_connection_timeout=3.0)
    assert facts(given) == (host, 1, "me", password, "a/b c%")
    assert given.blocked_connection_timeout == 3.0
    assert given.ssl_options is None


def test_parameters_of_the_url_reach_pika_but_for_those_of_other_clients() -> None:
    query = "heartbeat=30&name=shop&connection_timeout=9&socket_timeout=7&client_properties=%7B%7D"
    given = parameters(ENDPOINT.with_(query=query), "v", heartbeat=0)
    assert (given.heartbeat, given.socket_timeout) == (0, 7.0), "what we say wins"
    assert parameters(ENDPOINT.with_(query=query), "v").heartbeat == 30


def test_a_parameter_that_pika_cannot_take_is_told() -> None:
    with pytest.raises(ConfigurationError, match="pika cannot take heartbeat=often, which the broker's URL says") as caught:
        parameters(ENDPOINT.with_(query="heartbeat=often"), "v")
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize("query", ["", "heartbeat=30"])
def test_a_broker_with_tls_is_reached_by_it(query: str) -> None:
    given = parameters(ENDPOINT.with_(scheme="amqps", query=query), "v")
    assert given.ssl_options is not None
    assert given.ssl_options.context.check_hostname
    assert given.ssl_options.server_hostname in (None, "h")  # where none is said, pika takes the host
