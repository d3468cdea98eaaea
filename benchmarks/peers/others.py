"""Projects that test messages and HTTP, and the empty one: one body for each question, each contender's own conftest."""

from __future__ import annotations

EMPTY = """
def test_it():
    pass
"""
HEAD = """
import os, pytest
{more}
@pytest.mark.parametrize("n", range(int(os.environ["BENCH_TESTS"])))
"""

# --- messages

MESSAGES = (
    HEAD
    + """
def test_it({fixture}, n):
    {fixture}.queue_declare("orders", durable=True)
    {fixture}.basic_publish("", "orders", b"x")
    assert {fixture}.basic_get("orders", auto_ack=True)[2] == b"x"
    assert {fixture}.basic_get("orders") == (None, None, None)
"""
)


def messages(fixture: str) -> str:
    """Return tests that declare a queue, publish to it and get the message, of which there is one."""
    return MESSAGES.format(fixture=fixture, more="")


RABBITMQ = """
import os, pytest
from pytest_rabbitmq import factories

def tidy(process, connection):
    connection.channel().queue_delete("orders")

server = factories.rabbitmq_proc(server=os.environ["BENCH_RABBITMQ"] + "/rabbitmq-server",
    ctl=os.environ["BENCH_RABBITMQ"] + "/rabbitmqctl")
rabbitmq = factories.rabbitmq("server"{teardown})

@pytest.fixture
def channel(rabbitmq):
    return rabbitmq.channel()
"""
KEPT = """
import os, pika, pytest

{url}
@pytest.fixture(scope="session")
def connection(parameters):
    with pika.BlockingConnection(parameters) as connection:
        yield connection

@pytest.fixture
def channel(connection):
    channel = connection.channel()
    yield channel
    if channel.is_open:
        channel.queue_delete("orders")
        channel.close()
"""
BROKER_GIVEN = KEPT.format(
    url="""@pytest.fixture(scope="session")
def parameters():
    return pika.URLParameters(os.environ["BENCH_AMQP"])
"""
)
BROKER_CONTAINER = KEPT.format(
    url="""@pytest.fixture(scope="session")
def parameters():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from testcontainers.rabbitmq import RabbitMqContainer
    with RabbitMqContainer(os.environ["BENCH_BROKER_IMAGE"]).with_name(os.environ["BENCH_NAME"]) as rabbitmq:
        yield rabbitmq.get_connection_params()
"""
)
BROKER_PLUGIN = KEPT.format(
    url="""from pytest_testcontainers import make_rabbitmq

@pytest.fixture(scope="session")
def parameters():
    with make_rabbitmq(image=os.environ["BENCH_BROKER_IMAGE"]) as rabbitmq:
        yield rabbitmq.get_connection_params()
"""
)

# --- HTTP, of which the requests never leave the process

MOCKED = (
    HEAD
    + """
def test_it({fixture}, n):
    {fixture}.post("https://api.payment-gateway.com/charges", json={{"id": f"ch_{{n}}"}})
    answer = requests.post("https://api.payment-gateway.com/charges", json={{"amount": 1000}})
    assert answer.json() == {{"id": f"ch_{{n}}"}}
"""
)


def mocked(fixture: str) -> str:
    """Return tests that have a stub and make a request which it answers."""
    return MOCKED.format(fixture=fixture, more="import requests\n")


RESPONSES = """
import pytest, responses

@pytest.fixture
def mocked():
    with responses.RequestsMock() as mock:
        yield mock
"""

# --- HTTP on a port

STUBBED = (
    HEAD
    + """
def test_it({fixture}, n):
    {stub}
    assert requests.get(url + "/items/1").json() == {{"stock": n}}
"""
)


def stubbed(fixture: str, stub: str) -> str:
    """Return tests that stub an answer of a server on a port, and ask it."""
    return STUBBED.format(fixture=fixture, stub=stub, more="import requests\n")


OURS_STUB = """service = mock_service("inventory")
    service.stub("GET", "/items/1", json={"stock": n})
    url = service.url.rstrip("/")"""
HTTPSERVER_STUB = """httpserver.expect_request("/items/1").respond_with_json({"stock": n})
    url = httpserver.url_for("").rstrip("/")"""
BY_HAND_STUB = """answers["/items/1"] = {"stock": n}
    url = answers.url"""
BY_HAND_SERVER = """
import json, pytest, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answers(dict):
    url = ""

@pytest.fixture(scope="session")
def served():
    answers = Answers()
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *arguments):
            pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield answers
    server.shutdown()
    server.server_close()

@pytest.fixture
def answers(served):
    yield served
    served.clear()
"""
