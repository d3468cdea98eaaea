"""What RabbitMQ costs: a clean broker for a test, the start of one, both services together, a start behind unit tests."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from isolation import TIMER, run
from measuring import OURS, TOLD, Table, engines, environment, pytest_told
from projects import folder

TESTS, MANY = 100, 500
"""How many tests there are in a run, and in the one that shows whether they get slower."""

BODY = """
import time, pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it({fixture}n):
    {messages}
    time.sleep({apart})
"""
MESSAGES = """rabbitmq_channel.queue_declare("orders", durable=True)
    rabbitmq_channel.basic_publish("", "orders", b"x")
    assert rabbitmq_channel.basic_get("orders", auto_ack=True)[2] == b"x\""""


def body(apart: float, tests: int = TESTS) -> str:
    """Return tests that publish and get a message, with some seconds between them."""
    return BODY.format(tests=tests, apart=apart, fixture="rabbitmq_channel, ", messages=MESSAGES)


def bare(apart: float) -> str:
    """Return tests that do nothing but let that time pass."""
    return BODY.format(tests=TESTS, apart=apart, fixture="", messages="assert {n: n}[n] == n")


TARGETS = {0.02: 15, 0.0: 35}
"""Seconds between two tests, and what a clean broker may cost then, in milliseconds."""


def pertest(rounds: int) -> None:
    """Measure what a test with a clean broker costs."""
    table = Table("one test: a clean broker, connection, channel, queue, publish, get")
    projects = {}
    for apart in TARGETS:
        projects[f"bare pytest, {apart * 1e3:g} ms apart"] = folder(conftest="", timer=TIMER, test_it=bare(apart)), ""
        for provider in engines():
            projects[f"{provider}, {apart * 1e3:g} ms apart"] = folder(conftest="", timer=TIMER, test_it=body(apart)), provider
    for turn in range(rounds):
        for name in projects if turn % 2 else reversed(projects):
            project, provider = projects[name]
            times = run(project, OURS if provider else "", {"TESTBED_PROVIDER": provider})
            table.add(name, statistics.median(times))
    table.show()
    for name, (_, provider) in projects.items():
        if provider:
            apart = name.partition(", ")[2]
            target = TARGETS[float(apart.partition(" ")[0]) / 1e3]
            print(
                f"  → {name}: {table.over(name, f'bare pytest, {apart}'):+.1f} ms over bare pytest   (target: at most {target})"
            )


def many(rounds: int) -> None:
    """Measure whether tests get slower, and whether virtual hosts are left, on a broker that is not the run's own."""
    from pytest_testbed import Testbed
    from pytest_testbed.rabbitmq.api import ManagementApi
    from pytest_testbed.rabbitmq.service import rabbitmq_spec

    table = Table(f"{MANY} tests in a row, back to back")
    project = folder(conftest="", timer=TIMER, test_it=body(0, MANY))
    with Testbed([rabbitmq_spec(provider="local")]) as testbed:
        endpoint = testbed.endpoint("rabbitmq")
        given = {
            "TESTBED_PROVIDER": "external",
            "TESTBED_RABBITMQ_URL": endpoint.url(),
            "TESTBED_RABBITMQ_MANAGEMENT_URL": f"http://{endpoint.host}:{endpoint.ports['management']}",
        }
        # those that the testbed itself has ready are no run's
        mine = set(ManagementApi(endpoint).vhosts())
        for _ in range(rounds):
            times = run(project, OURS, given)
            table.add("the first 100", statistics.median(times[:100]))
            table.add("the last 100", statistics.median(times[-100:]))
        left = [
            name
            for name in ManagementApi(endpoint).vhosts()
            if name not in mine and not name.startswith(f"testbed_{testbed.run}")
        ]
    table.show()
    print(
        f"  → last / first: {table.median('the last 100') / table.median('the first 100'):.2f}; virtual hosts left: {len(left)}"
    )


DOCUMENTED = """
import warnings; warnings.simplefilter("ignore")
import time; began = time.perf_counter()
from testcontainers.rabbitmq import RabbitMqContainer
import pika
with RabbitMqContainer({image!r}) as rabbitmq:
    connection = pika.BlockingConnection(rabbitmq.get_connection_params())
    print(time.perf_counter() - began)
    connection.close()
"""

STARTED = """
import time; began = time.perf_counter()
from pytest_testbed import Testbed
from pytest_testbed.rabbitmq.service import rabbitmq_spec
with Testbed([rabbitmq_spec(provider={provider!r}, image={image!r})]) as testbed:
    testbed.prefetch(["rabbitmq"])
    import pika
    connection = pika.BlockingConnection(pika.URLParameters(testbed.endpoint("rabbitmq").url()))
    print(time.perf_counter() - began)
    connection.close()
"""


def start(rounds: int) -> None:
    """Measure the first connection, against testcontainers as its documentation shows it."""
    image = os.environ.get("TESTBED_RABBITMQ_IMAGE", "rabbitmq:3-management")
    quiet = environment(TESTCONTAINERS_RYUK_DISABLED="true")
    documented = "RabbitMqContainer as documented"
    scripts = {name: STARTED.format(provider=name, image=image) for name in engines()}
    if "docker" in scripts:
        scripts[documented] = DOCUMENTED.format(image=image)
    table = Table(f"from nothing to the first AMQP connection, {image}")
    for turn in range(rounds + 1):
        for name, script in scripts.items():
            done = subprocess.run([sys.executable, "-c", script], env=quiet, capture_output=True, text=True, check=True)
            if turn:
                table.add(name, float(done.stdout))
    table.show()
    for name, target in (("docker", 0.7), ("local", 0.55)) if documented in scripts else ():
        print(f"  → {name}: {table.median(name) / table.median(documented):.2f} of it   (target: at most {target})")


ASKS = {"postgres": "pg_session", "rabbitmq": "rabbitmq_channel"}


def together(rounds: int) -> None:
    """Measure both services wanted at once, against each alone."""
    for provider in engines():
        table = Table(f"{provider}: a run that wants one service, or both")
        variables = {"TESTBED_PROVIDER": provider}
        projects = {kind: folder(test_it=f"def test_it({fixture}): pass") for kind, fixture in ASKS.items()}
        projects["both"] = folder(test_it=f"def test_it({', '.join(ASKS.values())}): pass")
        for _ in range(rounds):
            for name, project in projects.items():
                table.add(name, waited(project, variables))
        table.show()
        slower = max(table.median(kind) for kind in ASKS)
        print(f"  → both / the slower one alone: {table.median('both') / slower:.2f}   (target: at most 1.15)")


def waited(project: Path, variables: dict[str, str], *arguments: str) -> float:
    """Return for how many seconds the tests of a project waited for services, the longest wait of all."""
    _, told = pytest_told(project, TOLD, *arguments, plugin=OURS, **variables)
    found = re.search(r"testbed: tests waited for (.*)", told)
    return sum(float(each) for each in re.findall(r" ([\d.]+) s", found[1])) if found else 0.0


QUIET = "import pytest, time\n@pytest.mark.parametrize('n', range(80))\ndef test_it(n): time.sleep(0.1)"


def hidden(rounds: int) -> None:
    """Measure the wait for both services behind eight seconds of tests that need none."""
    for provider in engines():
        table = Table(f"{provider}: the wait for both services behind 8 s of other tests")
        project = folder(test_a_unit=QUIET, test_b=f"def test_it({', '.join(ASKS.values())}): pass")
        for _ in range(rounds):
            table.add("wait", waited(project, {"TESTBED_PROVIDER": provider}))
        table.show()
        print(f"  → {table.median('wait'):.0f} ms   (target: at most 200)")


def messages(rounds: int) -> None:
    """Measure all of it."""
    for part in (pertest, many, start, together, hidden):
        part(rounds)
