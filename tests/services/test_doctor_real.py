"""What `doctor` says of this machine is what a run then takes, on each provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_testbed import Testbed
from pytest_testbed.commands.choices import choices
from tests.conftest import QUIET, options_for


def agrees(testbed: Testbed, kind: str) -> None:
    endpoint = testbed.endpoint(kind)
    (choice,) = choices([testbed._specs[kind]], {})
    assert choice.fault is None
    assert choice.taken is not None
    assert (choice.taken.provider, choice.taken.source) == (endpoint.provider, endpoint.source)
    assert choice.version in ("", endpoint.version)
    assert bool(choice.version) == (endpoint.provider == "external"), "it was asked, as it is there already"


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what asking for containers sets."""
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        if name in os.environ:
            monkeypatch.setenv(name, os.environ[name])
        else:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)


def test_postgres(everywhere: Testbed) -> None:
    agrees(everywhere, "postgres")


def test_rabbitmq(broker_everywhere: Testbed) -> None:
    agrees(broker_everywhere, "rabbitmq")


def test_a_run_takes_what_the_command_says(everywhere: Testbed, tmp_path: Path) -> None:
    """The whole way: a project's ini file, the command, and then a run of pytest in the same folder."""
    options = [*QUIET, *options_for(everywhere)]
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestbed_start = lazy\n")
    (tmp_path / "test_it.py").write_text(
        "import json\n"
        "def test_it(pg_service):\n"
        "    print(json.dumps([pg_service.provider, pg_service.source, pg_service.version]), file=open('seen', 'w'))\n"
    )

    def call(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr  # where this machine has no broker, it is 1
        return done.stdout

    said = json.loads(call("pytest_testbed", "doctor", "--json", "--", *options))
    call("pytest", *options)
    provider, source, version = json.loads((tmp_path / "seen").read_text())
    kind = next(each for each in said["kinds"] if each["kind"] == "postgres")
    assert (kind["provider"], kind["source"]) == (provider, source)
    assert kind["version"] in ("", version)
    assert next(each for each in said["findings"] if each["name"] == "testbed_provider")["text"].startswith(provider)
