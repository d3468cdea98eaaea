"""Tests that freeze time, block sockets, change the environment or fork: the engine is out of their reach."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from .conftest import Project

CASES = {
    "freezegun": """
        import freezegun
        with freezegun.freeze_time("2001-01-01"):
            use(request)
    """,
    "pytest-socket": """
        import pytest_socket
        pytest_socket.disable_socket()
        try:
            use(request)
        finally:
            pytest_socket.enable_socket()
    """,
    "patched socket": """
        import socket
        def never(*args, **more):
            raise AssertionError("the network is off limits")
        for name in ("socket", "create_connection", "socketpair", "getaddrinfo"):
            monkeypatch.setattr(socket, name, never)
        use(request)
    """,
    "responses": """
        import responses
        with responses.RequestsMock():
            use(request)
    """,
    "environment": """
        for name in ("DOCKER_HOST", "PATH", "HOME", "XDG_CACHE_HOME", "PYTHONPATH", "PGHOST", "PGPORT", "PGUSER", "TMPDIR"):
            monkeypatch.setenv(name, "/nowhere")
        use(request)
    """,
    "no environment": """
        for name in list(os.environ):
            monkeypatch.delenv(name)
        use(request)
    """,
    "chdir": """
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        try:
            use(request)
        finally:
            os.chdir(BEFORE)
    """,
    "mocked time": """
        import time
        for name in ("monotonic", "time", "sleep", "perf_counter"):
            monkeypatch.setattr(time, name, lambda *args: 0.0)
        use(request)
        monkeypatch.undo()
    """,
    "closed standard streams": """
        import sys
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, None)
        use(request)
    """,
}
NEEDS = {"freezegun": "freezegun", "pytest-socket": "pytest_socket", "responses": "responses"}

HEAD = """
import os
import warnings

BEFORE = os.getcwd()

{use}

def test_it(request, monkeypatch, tmp_path):
{body}

def test_afterwards(request):
    use(request)
"""

USE = """
def use(request):
    assert request.getfixturevalue("alpha").version == "1.0"
"""
USE_POSTGRES = """
def use(request):
    session = request.getfixturevalue("pg_session")
    from sqlalchemy import text
    assert session.scalar(text("select 40 + 2")) == 42
    session.execute(text("create table t (n int)"))
    session.commit()
"""


def needed(name: str) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")


@pytest.mark.parametrize("name", CASES)
def test_a_service_is_started_in_the_middle_of_it(project: Project, name: str) -> None:
    """Nothing foretold the need: the host process itself is started under the patches."""
    needed(name)
    project.kinds(alpha={})
    project.write(test_it=HEAD.format(use=USE, body=CASES[name]))
    project.run_apart("-p", "no:cacheprovider").assert_outcomes(passed=2)
    assert project.events == ["start alpha", "ready alpha", "stop alpha"]


@pytest.mark.parametrize("name", ["freezegun", "patched socket", "environment", "chdir", "mocked time"])
def test_a_service_is_waited_for_in_the_middle_of_it(project: Project, name: str) -> None:
    """The usual case: it was started ahead, and is not ready yet."""
    needed(name)
    project.kinds(alpha={"seconds": 0.3})
    project.write(test_it=HEAD.format(use=USE, body=CASES[name]), test_static="def test_it(alpha): pass")
    project.run_apart("-p", "no:cacheprovider", "test_it.py", "test_static.py").assert_outcomes(passed=3)


def test_what_the_host_sees_is_how_it_was_before_the_tests(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        import os
        from pathlib import Path

        def test_it(request, monkeypatch, tmp_path):
            home = os.environ["HOME"]
            monkeypatch.setenv("HOME", "/nowhere")
            monkeypatch.setenv("DOCKER_HOST", "tcp://nowhere:1")
            monkeypatch.chdir(tmp_path)
            testbed = request.getfixturevalue("testbed")
            testbed.endpoint("alpha")
            process = Path("/proc", str(testbed.client.pid))
            if process.exists():
                environ = (process / "environ").read_bytes().split(b"\\0")
                assert f"HOME={home}".encode() in environ
                assert b"DOCKER_HOST=tcp://nowhere:1" not in environ
                assert (process / "cwd").readlink() == request.config.invocation_params.dir
        """
    )
    project.run().assert_outcomes(passed=1)


def test_a_forked_child_leaves_the_services_alone(project: Project) -> None:
    project.kinds(alpha={}, beta={})
    project.write(
        test_it="""
        import os
        import pytest
        from pytest_testbed import HostError

        def in_a_child(action):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    said = str(action())
                except BaseException as error:
                    said = f"{type(error).__name__}: {error}"
                os.write(write, said.encode())
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as pipe:
                said = pipe.read()
            assert os.waitpid(child, 0)[1] == 0
            return said

        REFUSED = (
            "HostError: a forked child cannot talk to the host process of the services; "
            "only the process that started it can."
        )

        def test_before_the_host_is_there(request, pytestconfig):
            # this module does not ask for `testbed` where it could be seen
            testbed = request.getfixturevalue("testbed")
            assert in_a_child(lambda: testbed.endpoint("alpha")) == REFUSED
            assert in_a_child(testbed.close) == "[]"

        def test_what_was_handed_out_is_known_to_the_child(request):
            testbed = request.getfixturevalue("testbed")
            alpha = testbed.endpoint("alpha")
            assert in_a_child(lambda: testbed.endpoint("alpha").port) == str(alpha.port)

        def test_afterwards(request):
            testbed = request.getfixturevalue("testbed")
            testbed.endpoint("alpha")
            assert in_a_child(lambda: testbed.endpoint("beta")) == REFUSED
            assert in_a_child(lambda: testbed.logs("alpha")) == REFUSED
            assert in_a_child(testbed.close) == "[]"
            assert testbed.endpoint("beta").kind == "beta"
            assert testbed.endpoint("alpha").kind == "alpha"
        """
    )
    result = project.run_apart("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)
    assert sorted(project.events[-2:]) == ["stop alpha", "stop beta"]


@pytest.mark.usefixtures("somewhere")  # skips where this machine has no PostgreSQL
def test_real_postgresql(project: Project) -> None:
    """All of it at once while the server starts, then each alone with a session on it."""
    for name in CASES:
        needed(name)
    together = """
    import freezegun, pytest_socket, responses
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    for name in ("DOCKER_HOST", "PATH", "HOME", "XDG_CACHE_HOME", "PGHOST", "PGPORT", "PGUSER"):
        monkeypatch.setenv(name, "/nowhere")
    pytest_socket.disable_socket()
    try:
        with freezegun.freeze_time("2001-01-01"), responses.RequestsMock():
            use(request)
    finally:
        pytest_socket.enable_socket()
        os.chdir(BEFORE)
    """
    tests = [HEAD.format(use=USE_POSTGRES, body=together).rsplit("def test_afterwards", 1)[0]]
    tests += [f"\ndef test_{number}(request, monkeypatch, tmp_path):\n{body}" for number, body in enumerate(CASES.values())]
    project.write(conftest="")
    (project.path / "test_it.py").write_text("\n".join(tests))
    result = project.run_apart("--testbed-start=lazy", "--testbed-provider=local", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1 + len(CASES))
