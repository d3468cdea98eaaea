"""Guard: the plugin, loaded and unused, brings nothing but its own light files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_testbed.plugin import PARTS

pytestmark = pytest.mark.usefixtures("unmeasured")

HEAVY = {
    "aio_pika",
    "aiosmtpd",
    "asyncio",
    "docker",
    "factory",
    "faker",
    "httpx",
    "multiprocessing",
    "pika",
    "psycopg",
    "psycopg2",
    "requests",
    "responses",
    "sqlalchemy",
    "ssl",
    "testcontainers",
    "uvicorn",
    "werkzeug",
}
LIGHT = {
    "pytest_testbed",
    "pytest_testbed.hookspecs",
    "pytest_testbed.later",
    "pytest_testbed.plugin",
    "pytest_testbed.plugins",
    "pytest_testbed.plugins.budgets",
    "pytest_testbed.plugins.factories",
    "pytest_testbed.plugins.files",
    "pytest_testbed.plugins.http",
    "pytest_testbed.plugins.levels",
    "pytest_testbed.plugins.mail",
    "pytest_testbed.plugins.postgres",
    "pytest_testbed.plugins.rabbitmq",
    "pytest_testbed.settings",
}

LISTING = """
import json, os, sys

def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def loaded(path: Path, *args: str, tests: str = "def test_it(): pass") -> set[str]:
    """Return the modules that a run of pytest in a fresh process ends with."""
    (path / "listing.py").write_text(LISTING)
    (path / "nothing.py").write_text("")
    (path / "test_it.py").write_text(tests)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TESTBED_", "PYTEST_", "COV"))}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "listing", "-p", "no:cacheprovider", *args]
    done = subprocess.run(command, cwd=path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads((path / "modules.json").read_text()))


def heads(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("args", [["--collect-only"], []], ids=["collect-only", "run"])
def test_the_plugin_unused_loads_its_light_files_alone(tmp_path: Path, args: list[str]) -> None:
    without = loaded(tmp_path, "-p", "nothing", *args) - {"nothing"}
    with_it = loaded(tmp_path, "-p", "pytest_testbed.plugin", *args)
    assert "pytest_testbed.plugin" in with_it
    assert with_it - without == LIGHT
    assert not heads(with_it) & HEAVY - heads(without)


def test_what_is_light_can_be_seen_to_grow_heavy(tmp_path: Path) -> None:
    """The measure itself: a test that uses the engine loads more."""
    tests = "def test_it(testbed):\n    assert testbed.kinds == ['postgres', 'rabbitmq']"
    with_it = loaded(tmp_path, "-p", "pytest_testbed.plugin", tests=tests)
    assert "pytest_testbed.services.client" in with_it


@pytest.mark.parametrize("name", ["pytest_testbed.plugin", *PARTS])
def test_pytest_is_shown_hooks_and_fixtures_alone_and_all_of_them(name: str, pytestconfig: pytest.Config) -> None:
    part = pytestconfig.pluginmanager.getplugin("testbed" if name == "pytest_testbed.plugin" else name)
    assert part.__name__ == name
    fixtures = {key for key, value in vars(part).items() if isinstance(value, type(pytest.fixture(lambda: None, name="any")))}
    assert set(dir(part)) == fixtures | {key for key in vars(part) if key.startswith("pytest_")}


def test_the_finder_of_our_files_is_gone_when_python_takes_itself_apart() -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.meta_path)); import pytest, pytest_testbed; print(*sys.meta_path)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert "_Plainly" in before
    assert "_Plainly" not in after
    code = "import sys, pytest, pytest_testbed; del sys.meta_path[0]"  # whoever puts the list back as it was
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_package_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import pytest_testbed; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__future__", "pytest_testbed"]


@pytest.mark.parametrize(
    "code",
    [
        "from pytest_testbed import BrokerError, Message",
        "from pytest_testbed import Endpoint, ServiceSpec, Testbed",
        "from pytest_testbed.rabbitmq import local, login, service, vhosts, visit",
    ],
)
def test_what_needs_no_driver_loads_none(code: str) -> None:
    """Names for annotations and `except`; and what the host process has of a kind."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert not heads(set(done.stdout.split())) & {"pika", "psycopg2", "sqlalchemy", "docker", "testcontainers"}
