"""What each plugin adds to a run that does not use it."""

from __future__ import annotations

from .model import OURS, Comparison, Way
from .others import EMPTY

PLUGINS = {
    OURS: "testbed",
    "pytest-postgresql": "pytest_postgresql",
    "pytest-mock-resources": "pytest_mock_resources",
    "pytest-sqla": "sqla",
    "pytest-testcontainers": "testcontainers",
    "pytest-rabbitmq": "pytest_rabbitmq",
    "pytest-httpserver": "pytest_httpserver",
}
"""Package → the name by which pytest knows its plugin."""


def ways() -> tuple[Way, ...]:
    """Return each plugin by itself; ours also with the plugin that one of its dependencies brings."""
    files = {"test_it.py": EMPTY}
    found = [Way(name, name, files, loads=plugin) for name, plugin in PLUGINS.items()]
    faker = Way(OURS, OURS, files, form="with the plugin of Faker, which it installs", loads="testbed faker")
    return (found[0], faker, *found[1:])


NO_PLUGIN = "is no plugin: it costs what a test file imports"
LOAD = Comparison(
    "load",
    "load",
    "A plugin that is not used",
    "One empty test, whole process, with the plugin and with `-p no:…` for each plugin of the same environment; the "
    "difference of the two, which take turns. Byte code is cached.",
    ways(),
    first="added",
    absent={"testcontainers by hand": NO_PLUGIN, "responses": NO_PLUGIN, "hand-written fixtures": NO_PLUGIN},
    weight=2,
)
