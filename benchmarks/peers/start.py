"""From nothing to the end of a run with one test: local binaries, containers, a server that is there, HTTP stubs."""

from __future__ import annotations

from . import others, postgres
from .load import PLUGINS
from .model import OURS, Comparison, Way

BY_HAND, VENV = "hand-written fixtures", "by hand"
TC, TC_PLUGIN, RABBITMQ = "testcontainers by hand", "pytest-testcontainers", "pytest-rabbitmq"
POSTGRESQL, MOCK_RESOURCES, SQLA, HTTPSERVER = "pytest-postgresql", "pytest-mock-resources", "pytest-sqla", "pytest-httpserver"
NO_SERVER = "starts no server"
NO_BROKER = "has no broker"
ASKED = "each contender is used as its own documentation shows it"


def project(test: str, conftest: str = "", ini: str = "[pytest]\n") -> dict[str, str]:
    """Return the files of a project with the common schema."""
    return {"schema.py": postgres.SCHEMA, "test_it.py": test, "conftest.py": conftest, "pytest.ini": ini}


def ours(provider: str, fixture: str = "pg_session", **more: object) -> Way:
    """Return our own project for a provider."""
    needs = {"local": ("binaries",), "docker": ("docker",), "external": ("server",)}[provider]
    test = postgres.rollback(fixture)
    variables = {"TESTBED_PROVIDER": provider}
    return Way(OURS, OURS, project(test, ini=postgres.OURS_INI), needs=needs, variables=variables, **more)  # type: ignore[arg-type]


def by_hand(url: str, *needs: str, contender: str = BY_HAND) -> Way:
    """Return hand-written fixtures on one connection, with savepoints."""
    return Way(contender, VENV, project(postgres.rollback("session"), postgres.by_hand(url, postgres.SAVEPOINT)), needs=needs)


def postgresql(kind: str, need: str) -> Way:
    """Return pytest-postgresql with a server of its own or a given one."""
    conftest = postgres.POSTGRESQL_HEAD + kind + postgres.POSTGRESQL_ENGINE
    return Way(POSTGRESQL, POSTGRESQL, project(postgres.rollback("session"), conftest), needs=(need,))


def mock_resources(conftest: str, need: str) -> Way:
    """Return pytest-mock-resources with a container of its own or a given server."""
    return Way(MOCK_RESOURCES, MOCK_RESOURCES, project(postgres.rollback("session"), conftest), needs=(need,))


def sqla(conftest: str = postgres.SQLA, form: str = "") -> Way:
    """Return pytest-sqla, which needs a server and a database."""
    files = project(postgres.rollback("sqla_session"), conftest, postgres.SQLA_INI)
    return Way(SQLA, SQLA, files, form=form, needs=("database",))


def channels(provider: str, need: str) -> Way:
    """Return our own project for messages."""
    files = {"test_it.py": others.messages("rabbitmq_channel"), "pytest.ini": "[pytest]\n"}
    return Way(OURS, OURS, files, needs=(need,), variables={"TESTBED_PROVIDER": provider})


def channel(contender: str, venv: str, conftest: str, *needs: str, form: str = "", **more: object) -> Way:
    """Return a project for messages with a conftest that gives `channel`."""
    files = {"test_it.py": others.messages("channel"), "conftest.py": conftest, "pytest.ini": "[pytest]\n"}
    return Way(contender, venv, files, form=form, needs=needs, **more)  # type: ignore[arg-type]


def stub(contender: str, venv: str, fixture: str, text: str, conftest: str = "") -> Way:
    """Return a project with a stub server on a port."""
    return Way(
        contender, venv, {"test_it.py": others.stubbed(fixture, text), "conftest.py": conftest, "pytest.ini": "[pytest]\n"}
    )


def mocked(contender: str, venv: str, fixture: str, conftest: str = "") -> Way:
    """Return a project whose requests do not leave the process."""
    return Way(contender, venv, {"test_it.py": others.mocked(fixture), "conftest.py": conftest, "pytest.ini": "[pytest]\n"})


STUBS = (
    stub(OURS, OURS, "mock_service", others.OURS_STUB),
    stub(HTTPSERVER, HTTPSERVER, "httpserver", others.HTTPSERVER_STUB),
    stub(BY_HAND, VENV, "answers", others.BY_HAND_STUB, others.BY_HAND_SERVER),
)
MOCKS = (mocked(OURS, OURS, "http_mock"), mocked("responses", VENV, "mocked", others.RESPONSES))
OTHER_PLUGINS = {name: "stubs no HTTP" for name in PLUGINS if name not in (OURS, HTTPSERVER)}

STARTS = (
    Comparison(
        "start-local",
        "start",
        "PostgreSQL, binaries of this machine",
        "A server is started, 20 tables are made, one test inserts, commits and selects, the server is stopped; whole "
        "process. All have the same binaries. Ours keeps an initialised data directory and a template of the schema from "
        "run to run: the line “first run” has an empty cache each time.",
        (
            ours("local"),
            ours("local", form="first run", fresh=True),
            postgresql(postgres.POSTGRESQL_PROC, "binaries"),
            by_hand(postgres.STARTED_URL, "binaries"),
        ),
        first="whole run",
        unit="s",
        absent={SQLA: NO_SERVER, TC_PLUGIN: "containers only", MOCK_RESOURCES: "containers only"},
    ),
    Comparison(
        "start-docker",
        "start",
        "PostgreSQL, a container",
        "The same with a container of the same image for all; the image is there, and each run begins with an empty server, "
        "ours too. Testcontainers runs without its reaper (`TESTCONTAINERS_RYUK_DISABLED=true`), whose container would add to "
        "its time.",
        (
            ours("docker"),
            by_hand(postgres.CONTAINER_URL, "docker", contender=TC),
            Way(TC_PLUGIN, TC_PLUGIN, project(postgres.rollback("session"), postgres.TESTCONTAINERS), needs=("docker",)),
            mock_resources(postgres.MOCK_RESOURCES_DOCKER, "docker"),
        ),
        first="whole run",
        unit="s",
        absent={SQLA: NO_SERVER, POSTGRESQL: "starts no container"},
        weight=0.6,
    ),
    Comparison(
        "start-given",
        "start",
        "PostgreSQL, a server that runs already",
        "Nothing is started: the schema is made, one test runs, what was made is removed; whole process. The server is the "
        "same for all. Ours keeps a template of the schema on the server from run to run.",
        (
            ours("external"),
            sqla(),
            postgresql(postgres.POSTGRESQL_NOPROC, "server"),
            mock_resources(postgres.MOCK_RESOURCES_GIVEN, "database"),
            by_hand(postgres.GIVEN_URL, "database"),
        ),
        first="whole run",
        unit="s",
        absent={TC_PLUGIN: "takes no server that is there"},
    ),
    Comparison(
        "start-rabbitmq",
        "start",
        "RabbitMQ, binaries of this machine",
        "A broker is started, one test declares a queue, publishes and gets, the broker is stopped; whole process.",
        (
            channels("local", "rabbitmq"),
            channel(RABBITMQ, RABBITMQ, others.RABBITMQ.format(teardown=""), "rabbitmq"),
        ),
        first="whole run",
        unit="s",
        absent={TC_PLUGIN: "containers only", POSTGRESQL: NO_BROKER, MOCK_RESOURCES: NO_BROKER},
        weight=0.6,
    ),
    Comparison(
        "start-brokers",
        "start",
        "RabbitMQ, a container",
        "The same with a container of the same image for all.",
        (
            channels("docker", "broker image"),
            channel(TC, VENV, others.BROKER_CONTAINER, "broker image"),
            channel(TC_PLUGIN, TC_PLUGIN, others.BROKER_PLUGIN, "broker image"),
        ),
        first="whole run",
        unit="s",
        absent={RABBITMQ: "starts no container", MOCK_RESOURCES: NO_BROKER},
        weight=0.6,
    ),
    Comparison(
        "start-http",
        "start",
        "HTTP stubs: a server on a port",
        "A stub server is started, one test stubs an answer and asks for it, the server is stopped; whole process.",
        STUBS,
        first="whole run",
        unit="s",
        absent={"responses": "no port: other processes cannot ask it", **OTHER_PLUGINS},
    ),
)
