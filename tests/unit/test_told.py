"""What a child process of pytest tells `doctor` of a project; or why it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_testbed.commands import told as told_module
from pytest_testbed.commands.told import Told, ask_pytest, cause
from pytest_testbed.services.death import gone_within
from tests.conftest import OTHERS, QUIET


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with no variable that names a server, or a part of its address."""
    monkeypatch.chdir(tmp_path)
    of_libpq = [name for name in os.environ if name.startswith("PG")]
    for name in ("DATABASE_URL", "RABBITMQ_URL", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", *of_libpq):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ask(*arguments: str) -> Told:
    return ask_pytest([*QUIET, *arguments])


def test_options_and_kinds_of_a_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lib").mkdir()
    (project / "pytest.ini").write_text(
        "[pytest]\npythonpath = lib\ntestbed_pg_version = 17\ntestbed_provider = local\n"
        "testbed_env =\n    DATABASE_URL={pg.url+psycopg2}\n    PAY={mock.pay.url}/{{x}}\n    DSN={pg.dsn}\n"
        f"addopts = --cov=x --log-file={project}/log\n"
    )
    (project / "conftest.py").write_text(
        "import os, team_provider\nfrom pytest_testbed import ServiceSpec\n"
        'assert os.environ["DATABASE_URL"] == "postgresql+psycopg2://testbed:testbed@127.0.0.1:9/testbed"\n'
        'assert os.environ["PAY"] == "http://127.0.0.1:9/{x}"\nassert "port=9" in os.environ["DSN"]\nprint("noise", end="")\n'
        "def pytest_testbed_services(config):\n"
        '    return [ServiceSpec(kind="cache", probe="x:y", provider="team"), ServiceSpec(kind="files", probe="x:y")]\n'
        'def pytest_testbed_provider(name):\n    return "team_provider:Team" if name == "team" else None\n'
        'def pytest_configure(config):\n    config.cache.set("some/thing", 1)\n'
        "def pytest_sessionstart():\n    open('started', 'w')\n"
    )
    (project / "lib" / "team_provider.py").write_text("")
    for name in ("log", ".coverage"):
        (project / name).write_text("precious")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@localhost/x")
    said = ask_pytest([word for name in OTHERS if name not in ("cov", "cacheprovider") for word in ("-p", f"no:{name}")])
    assert (said.fault, said.conftest_fault, said.is_loaded) == ("", "", True)
    kinds = {spec.kind: spec for spec in said.specs}
    assert list(kinds) == ["cache", "files", "postgres", "rabbitmq"]
    assert [kinds[kind].provider for kind in kinds] == ["team", "local", "local", "local"]
    assert kinds["postgres"].version == "17"
    assert (kinds["postgres"].url, kinds["postgres"].url_source) == ("postgresql://u:p@localhost/x", "environment DATABASE_URL")
    assert said.providers == {"team": "team_provider:Team"}
    assert said.said("testbed_pg_version") == ("17", "pytest.ini")
    assert said.said("testbed_start") is None
    assert (said.facts["root"], said.facts["ini"]) == (str(project), f"{project}/pytest.ini")
    assert str(project / "lib") in said.facts["path"]
    left = {path.name for path in project.iterdir()}
    assert left == {"lib", "pytest.ini", "conftest.py", "log", ".coverage"}, "nothing is written, no session is begun"
    assert {(project / name).read_text() for name in ("log", ".coverage")} == {"precious"}
    assert not (project / "lib" / "__pycache__").exists()


def test_a_far_server_is_passed_over(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db.example.com/x")
    monkeypatch.setenv("TESTBED_RABBITMQ_URL", "amqp://u:p@broker.example.com/")
    postgres, rabbitmq = ask("-o", "testbed_pg_image=postgres:15").specs
    assert postgres.url is None
    assert postgres.options["url_remedy"].startswith("DATABASE_URL names the server db.example.com")
    assert postgres.container is not None
    assert postgres.container.image == "postgres:15"
    assert (rabbitmq.url, rabbitmq.url_source) == ("amqp://u:p@broker.example.com/", "environment TESTBED_RABBITMQ_URL")


def test_a_broken_conftest_is_left_out(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\ntestbed_provider = docker\n")
    (project / "conftest.py").write_text("import nothing_of_that_name\n")
    said = ask()
    assert said.conftest_fault.splitlines() == [
        f"ImportError while loading conftest '{project}/conftest.py'.",
        "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ]
    assert said.fault == ""
    assert {spec.provider for spec in said.specs} == {"docker"}


def test_a_wrong_option_is_told_in_its_own_words(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\ntestbed_pg_timeout = soon\n")
    said = ask()
    assert said.fault == "testbed_pg_timeout = 'soon' (from pytest.ini) is not a number."
    assert [spec.kind for spec in said.specs] == ["postgres", "rabbitmq"], "as if nothing were configured"


def test_a_wrong_line_of_testbed_env(project: Path) -> None:
    said = ask("-o", "testbed_env=DATABASE_URL={pg.urll}")
    assert "names {pg.urll}, which there is not; did you mean" in said.fault


def test_wrong_arguments(project: Path) -> None:
    assert ask("--nonsense").fault == "unrecognized arguments: --nonsense"


def test_the_plugin_is_not_loaded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    said = ask_pytest()
    assert (said.fault, said.is_loaded) == ("", False)
    assert [spec.kind for spec in said.specs] == ["postgres", "rabbitmq"]


def test_a_pytest_that_hangs_is_ended_with_its_children(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = project / "python"
    program.write_text("#!/bin/sh\nsleep 60 &\necho $! >>pids\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(told_module.sys, "executable", str(program))
    monkeypatch.setattr(told_module, "SECONDS", 1.0)
    assert ask().fault == "pytest has not read its configuration within 1 s"
    children = [int(line) for line in (project / "pids").read_text().split()]
    assert len(children) == 2, "the second time it was asked without conftests"
    assert all(gone_within(child, 5) for child in children)


def test_who_holds_the_pipe_of_a_pytest_that_has_told_all_is_ended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a server that a conftest starts: there is no session with whose end it would go."""
    program = project / "python"
    program.write_text(f'#!/bin/sh\nsleep 60 &\necho $! >pid\necho \'{told_module.MARK}{{"root": "/x"}}\'\n')
    program.chmod(0o755)
    monkeypatch.setattr(told_module.sys, "executable", str(program))
    monkeypatch.setattr(told_module, "SECONDS", 1.0)
    assert ask() == Told({"root": "/x"})
    assert gone_within(int((project / "pid").read_text()), 5)


def test_who_holds_the_pipe_from_a_session_of_its_own_is_not_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = project / "python"
    program.write_text(
        f"#!/bin/sh\nsetsid sh -c 'echo $$ >pid; exec sleep 60' &\necho '{told_module.MARK}{{\"root\": \"/x\"}}'\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(told_module.sys, "executable", str(program))
    monkeypatch.setattr(told_module, "SECONDS", 1.0)
    try:
        assert ask() == Told({"root": "/x"})
    finally:
        os.kill(int((project / "pid").read_text()), signal.SIGKILL)


def test_a_system_without_groups_of_processes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "killpg")
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=True) as child:
        told_module.end_all(child)
        assert child.wait(5) == -signal.SIGKILL


def test_what_a_conftest_has_started_is_ended(project: Path) -> None:
    (project / "conftest.py").write_text(
        "import subprocess\n"
        "def pytest_configure(config):\n"
        "    nowhere = subprocess.DEVNULL\n"
        "    process = subprocess.Popen(['sleep', '60'], stdin=nowhere, stdout=nowhere, stderr=nowhere)\n"
        "    print(process.pid, file=open('pid', 'w'))\n"
    )
    said = ask()
    assert (said.fault, said.conftest_fault) == ("", "")
    assert gone_within(int((project / "pid").read_text()), 5)


def test_the_end_of_doctor_is_that_of_a_pytest_that_hangs(project: Path) -> None:
    """Ctrl-C ends the command alone, as pytest has a session of its own."""
    os.mkfifo(project / "asked")
    (project / "conftest.py").write_text(
        "import os, time\nwith open('asked', 'w') as file:\n    file.write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "from pytest_testbed.commands.aside import Aside\nfrom pytest_testbed.commands.told import ask_pytest\n"
        f"asked = Aside(lambda: ask_pytest({QUIET!r}))\nprint(open('asked').read())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert gone_within(int(done.stdout), 5)


def test_no_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_module, "find_spec", lambda name: None)
    monkeypatch.setattr(told_module, "called", lambda arguments: pytest.fail("it is not there"))
    said = ask_pytest()
    assert (said.fault, said.is_installed, said.is_loaded) == ("pytest is not installed", False, False)


def test_why_pytest_has_ended() -> None:
    assert cause("", "ERROR: one\nERROR: two\nERROR: one\n") == "one\ntwo"
    assert cause("E   not this\n", "Traceback\nlast but one\nlast") == "not this"
    assert cause("", "Traceback\n  x\nValueError: y") == "  x\nValueError: y"
    assert cause("", "") == ""
    assert cause("", "E  no way to postgresql://me:s3/c@ret@db/x?a=b@c") == "no way to postgresql://me:***@c"


def test_the_environment_of_the_child() -> None:
    assert told_module.environment({"A": "b"})["PYTHONWARNINGS"] == "ignore:could not create cache path"
    assert told_module.environment({"PYTHONWARNINGS": "error"})["PYTHONWARNINGS"].startswith("error,")
    assert not os.path.exists(told_module.NOWHERE)
