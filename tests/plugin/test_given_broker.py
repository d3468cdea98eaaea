"""Which broker counts as given: our own option always, `RABBITMQ_URL` where that is safe."""

from __future__ import annotations

import pytest

from pytest_testbed.given import GivenUrl
from pytest_testbed.plugins.rabbitmq import web_address
from pytest_testbed.rabbitmq.given import given_url

from .conftest import Project

NEAR = [
    "amqp://me:x@localhost:5672/shop",
    "amqp://me@127.0.0.1",
    "amqps://me@[::1]:5671/",
    "amqp://rabbitmq",
    "pyamqp://me@my-mq_1:5672//",
    "amqp:///",
    "amqp://me:p%40ss@localhost/%2F?heartbeat=5",
]
FAR = {
    "amqp://me:x@mq.example.com/shop": "mq.example.com",
    "amqps://me@10.0.0.7/": "10.0.0.7",
    "amqp://me@[2001:db8::1]/": "2001:db8::1",
    "amqp://me@3232235777/": "3232235777",
    "amqp://me@localhost./": "localhost.",
    "amqp://localhost@mq.example.com/": "mq.example.com",
}


@pytest.mark.parametrize("url", NEAR)
def test_a_broker_on_this_machine_or_of_a_single_label_counts(url: str) -> None:
    assert given_url(None, "default", {"RABBITMQ_URL": url}) == GivenUrl(url, "environment RABBITMQ_URL")


@pytest.mark.parametrize(("url", "host"), FAR.items())
def test_any_other_is_passed_over(url: str, host: str) -> None:
    found = given_url(None, "default", {"RABBITMQ_URL": url})
    assert found.url is None
    assert f"the server {host}, which is not on this machine, and is passed over; set testbed_rabbitmq_url" in found.passed_over
    assert given_url(None, "default", {"RABBITMQ_URL": url, "CI": "true"}).url == url


def test_our_own_option_wins_and_may_be_anywhere() -> None:
    url = "amqps://me@mq.example.com/shop"
    assert given_url(url, "tox.ini", {"RABBITMQ_URL": NEAR[0]}) == GivenUrl(url, "tox.ini")


@pytest.mark.parametrize("url", ["", "redis://localhost/0", "localhost:5672", "http://localhost:15672"])
def test_a_variable_that_means_something_else_is_nobody_s_business(url: str) -> None:
    assert given_url(None, "default", {"RABBITMQ_URL": url}) == GivenUrl()


@pytest.mark.parametrize("url", ["amqp://me:secret@[::1/shop", "amqp://me:secret@localhost/a/b"])
def test_what_cannot_be_understood_is_passed_over(url: str) -> None:
    found = given_url(None, "default", {"RABBITMQ_URL": url})
    assert found.url is None
    assert found.passed_over.startswith("RABBITMQ_URL cannot be understood (")
    assert "secret" not in found.passed_over


def test_virtual_host_of_an_outer_run_is_nobodys_broker() -> None:
    found = given_url(None, "", {"RABBITMQ_URL": "amqp://testbed:x@127.0.0.1:1/testbed_0123456789ab_gw0"})
    assert found.url is None
    assert "a virtual host of another run of pytest-testbed" in found.passed_over
    assert given_url(None, "", {"RABBITMQ_URL": "amqp://me@127.0.0.1:1/testbed_of_mine"}).url is not None


# --- in a run


ASKS = """
import os

def test_it(monkeypatch, request):
    monkeypatch.setenv("RABBITMQ_URL", "amqp://me@localhost:2/shop")
    request.getfixturevalue("rabbitmq_service")
"""


def test_it_is_looked_at_once_when_pytest_starts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets does not count."""
    monkeypatch.setenv("RABBITMQ_URL", "amqp://me:secret@localhost:1/shop")
    project.write(test_it=ASKS)
    result = project.run("-o", "testbed_rabbitmq_timeout=0.05")
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "amqp://me:***@localhost:1/shop from environment RABBITMQ_URL" in text
    assert "secret" not in text


def test_our_own_export_is_never_taken_for_a_broker(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://me@localhost:1/shop")
    project.write(test_it=ASKS)
    result = project.run("-o", "testbed_rabbitmq_timeout=0.05", "-o", "testbed_env=RABBITMQ_URL={rabbitmq.url}")
    result.assert_outcomes(errors=1)
    assert "amqp://me@localhost:1/shop from environment RABBITMQ_URL" in result.stdout.str()


def test_one_that_is_far_is_told_where_somebody_wants_a_broker(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://me:secret@mq.example.com/shop")
    line = "testbed: RABBITMQ_URL names the server mq.example.com, which is not on this machine, and is passed over; *"
    project.write(test_it="def test_it(rabbitmq_service): pass")
    result = project.run("--testbed-provider=external")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([line, "*external: no URL is given*", f"*→ {line.removeprefix('testbed: ')}"])
    assert "secret" not in result.stdout.str()
    project.write(test_it="def test_it(): pass")
    result = project.run()
    result.stdout.no_fnmatch_line(line)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:15672", "does not begin with http:// or https://"),
        ("http://me:secret@localhost:15672", "must not name a user: the one of testbed_rabbitmq_url logs in there as well"),
    ],
)
def test_a_management_url_that_will_not_do(project: Project, url: str, why: str) -> None:
    project.write(test_it="def test_it(): pass")
    result = project.run("-o", f"testbed_rabbitmq_management_url={url}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert "testbed_rabbitmq_management_url" in text
    assert why in text
    assert "secret" not in text
    web_address("https://mq.example.com/behind/@proxy")
