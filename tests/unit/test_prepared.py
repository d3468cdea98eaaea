"""The prepared Python of the suite: its runs are like those of a fresh interpreter, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.prepared import Prepared, Run, popen_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX: a Python that forks")

LOOK = """
import json, os, signal, sys, tempfile, threading, warnings

def test_it():
    streams = [sys.__stdin__, sys.__stdout__, sys.__stderr__]
    seen = {
        "path": sys.path,
        "argv": [word for word in sys.argv if "basetemp" not in word],
        "orig_argv": [word for word in sys.orig_argv if "basetemp" not in word],
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "descriptors": sorted(os.listdir("/dev/fd")),
        "streams": [[s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.seekable()] for s in streams],
        "warnings": [sys.warnoptions, [str(one) for one in warnings.filters]],
        "writes bytecode": not sys.dont_write_bytecode,
        "signals": [str(signal.getsignal(one)) for one in signal.valid_signals()],
        "woken": signal.set_wakeup_fd(-1),
        "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "threads": threading.active_count(),
        "directory": tempfile.gettempdir(),
        "main": sys.modules["__main__"].__file__,
        "group": [os.getpgid(0), os.getsid(0)],
        "finders": [getattr(one, "__qualname__", type(one).__qualname__) for one in sys.meta_path],
    }
    with open("seen.json", "w") as file:
        json.dump(seen, file)
"""
QUIET = ("-p", "no:cacheprovider", "-q")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without plugins, not measured, and without what a prepared Python cannot change: tox sets a seed of hashes."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "PYTHONHASHSEED", "PYTHONWARNINGS", "TZ"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def used_by(pytester: pytest.Pytester, prepared: Prepared) -> Prepared:
    """Let the runs of a test be had from there, and not from what the suite has."""
    vars(pytester).pop("popen", None)
    pytester.popen = popen_of(pytester, prepared)  # type: ignore[method-assign]
    return prepared


@pytest.fixture(scope="module")
def shared() -> Iterator[Prepared]:
    """A prepared Python of this module."""
    prepared = Prepared()
    yield prepared
    prepared.close()


@pytest.fixture
def mine(pytester: pytest.Pytester, shared: Prepared) -> Prepared:
    """The one of this module, from which the test's runs are had."""
    return used_by(pytester, shared)


@pytest.fixture
def own(pytester: pytest.Pytester) -> Iterator[Prepared]:
    """One of this test alone."""
    prepared = Prepared()
    yield used_by(pytester, prepared)
    prepared.close()


def started(pytester: pytest.Pytester, prepared: Prepared, code: str) -> Run:
    """Start a run of a module, and let it go on."""
    path = pytester.makepyfile(code)
    with open("out", "wb") as out:
        return prepared.run([*QUIET, "-s", str(path)], environ=os.environ, stdout=out.fileno(), stderr=out.fileno())


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_run_sees_what_a_fresh_interpreter_sees(
    pytester: pytest.Pytester, own: Prepared, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    pytester.makepyfile(LOOK)
    (pytester.path / "below").mkdir()
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    monkeypatch.setenv("OF_THE_FIRST_RUN", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["below", "nowhere", "below"]))
    plain, found = type(pytester).popen.__get__(pytester), []
    for bytecode in ("", "1"):  # the second run is of a Python that was started with other variables
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", bytecode)
        for popen in (plain, popen_of(pytester, own)):
            pytester.popen = popen  # type: ignore[method-assign]
            result = pytester.runpytest_subprocess(*QUIET, "-s")
            assert result.ret == 0, result.stdout.str() + result.stderr.str()
            found.append(json.loads((pytester.path / "seen.json").read_text()))
        monkeypatch.delenv("OF_THE_FIRST_RUN", raising=False)
    assert found[0] == found[1]
    assert found[2] == found[3] != found[1]
    assert own.pid


def test_it_has_sqlalchemy_and_nothing_whose_import_tests_are_about(pytester: pytest.Pytester, mine: Prepared) -> None:
    pytester.makepyfile(
        """
        import os, sys

        def test_it():
            assert "sqlalchemy.orm" in sys.modules
            assert not {"pytest_testbed", "tests", "tests.prepared", "psycopg2", "factory", "requests"} & {*sys.modules}
        """
    )
    pytester.runpytest_subprocess(*QUIET).assert_outcomes(passed=1)


def test_its_exit_code_and_its_output(pytester: pytest.Pytester, mine: Prepared) -> None:
    pytester.makepyfile(
        """
        import atexit, os, sys, threading, time

        def test_it():
            atexit.register(print, "at its end")
            threading.Thread(target=lambda: (time.sleep(0.1), os.write(2, b"of a thread"))).start()
            assert not "one"
        """
    )
    result = pytester.runpytest_subprocess(*QUIET, "-s")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*assert not 'one'", "at its end"])
    result.stderr.fnmatch_lines(["of a thread"])
    assert pytester.runpytest_subprocess("--nix").ret == pytest.ExitCode.USAGE_ERROR
    assert pytester.runpytest_subprocess("-k", "nix").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_dies_of_a_signal(pytester: pytest.Pytester, mine: Prepared, number: int) -> None:
    pytester.makepyfile(f"import os\ndef test_it(): os.kill(os.getpid(), {int(number)})")
    assert pytester.runpytest_subprocess(*QUIET).ret == -number


def test_a_run_heeds_ctrl_c(pytester: pytest.Pytester, mine: Prepared) -> None:
    pytester.makepyfile("import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGINT)")
    assert pytester.runpytest_subprocess(*QUIET).ret == pytest.ExitCode.INTERRUPTED


def test_a_run_that_takes_too_long_is_killed(pytester: pytest.Pytester, mine: Prepared) -> None:
    plain, runs = pytester.popen, []
    pytester.popen = lambda *args, **more: runs.append(plain(*args, **more)) or runs[-1]  # type: ignore[method-assign, func-returns-value]
    pytester.makepyfile("import time\ndef test_it(): time.sleep(60)")
    with pytest.raises(pytester.TimeoutExpired):
        pytester.runpytest_subprocess(*QUIET, timeout=0.2)
    assert runs[0].returncode == -signal.SIGKILL
    assert not lives(runs[0].pid), "it is reaped, too"


def test_runs_at_the_same_time_have_nothing_of_each_other(pytester: pytest.Pytester, mine: Prepared) -> None:
    wait = """
        import os, time

        def test_it():
            open("begun", "w").close()
            deadline = time.monotonic() + 30
            while not os.path.exists("go"):
                assert time.monotonic() < deadline
                time.sleep(0.005)
    """
    (pytester.path / "second.py").write_text("import os\ndef test_it(): print(len(os.listdir('/dev/fd')))")
    alone = pytester.runpytest_subprocess(*QUIET, "-s", "second.py").outlines[0]
    first = started(pytester, mine, wait)
    wait_for(pytester.path / "begun")
    assert pytester.runpytest_subprocess(*QUIET, "-s", "second.py").outlines[0] == alone
    assert first.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.01)
    (pytester.path / "go").touch()
    assert first.wait(30) == first.poll() == first.returncode == 0
    assert not lives(first.pid)


@pytest.mark.skipif(not Path("/proc").exists(), reason="Linux: descriptors of another process")
def test_it_holds_nothing_of_runs_that_ended(pytester: pytest.Pytester, mine: Prepared) -> None:
    counts = []
    for _ in range(2):
        run = started(pytester, mine, "import time\ndef test_it(): time.sleep(60)")
        counts.append(len(os.listdir(f"/proc/{mine.pid}/fd")))
        run.kill()
        run.wait()
    assert counts[0] == counts[1]


OWNER = """
import os, sys, time
sys.path.insert(0, {root!r})
from tests.prepared import Prepared

prepared = Prepared()
run = prepared.run(["--version"], environ=os.environ, stdout=1, stderr=2)
run.wait()
print(prepared.pid, flush=True)
if "killed" in sys.argv:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["ends", "killed"])
def test_it_ends_with_its_owner_and_holds_nothing_of_it(pytester: pytest.Pytester, how: str) -> None:
    script = pytester.makepyfile(OWNER.format(root=str(Path(__file__).parent.parent.parent)))
    # to read to the end is to see that nobody has the pipe any more
    done: Any = subprocess.run([sys.executable, script, how], capture_output=True, text=True, timeout=60, check=False)
    version, pid = done.stdout.splitlines()
    assert version == f"pytest {pytest.__version__}"
    deadline = time.monotonic() + 10
    while lives(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COVERAGE_PROCESS_CONFIG", "x"),
        ("COVERAGE_PROCESS_START", "x"),
        ("PYTHONHASHSEED", "1"),
        ("PYTHONWARNINGS", "error"),
        ("TZ", "UTC"),
    ],
)
def test_what_cannot_be_imitated_has_a_process_of_its_own(
    pytester: pytest.Pytester, mine: Prepared, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    pytester.makepyfile("import os\ndef test_it(): print(os.getppid())")
    monkeypatch.delenv(name, raising=False)
    for expected in ("prepared", "this"):
        parent = pytester.runpytest_subprocess(*QUIET, "-s").outlines[0]
        assert parent.startswith(str({"prepared": mine.pid, "this": os.getpid()}[expected]))
        monkeypatch.setenv(name, value)


def test_other_commands_are_processes_as_ever(pytester: pytest.Pytester, own: Prepared) -> None:
    assert pytester.runpython_c("print('plain')").outlines == ["plain"]
    assert pytester.run(sys.executable, "-mpytest", "--version", stdin=b"text").ret == 0
    with pytester.popen([sys.executable, "-mpytest", "--version"], stdin=subprocess.DEVNULL) as piped:
        assert piped.communicate()[0].startswith(b"pytest")
    assert not own.pid


@pytest.mark.fresh_interpreter
def test_who_asks_for_it_has_a_fresh_interpreter(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"import os, sys\ndef test_it(): assert os.getppid() == {os.getpid()} and 'sqlalchemy' not in sys.modules"
    )
    pytester.runpytest_subprocess(*QUIET).assert_outcomes(passed=1)


def test_a_prepared_python_that_died_is_started_again(pytester: pytest.Pytester, own: Prepared) -> None:
    started(pytester, own, "def test_it(): pass").wait()
    first = own.pid
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert started(pytester, own, "def test_it(): pass").wait() == 0
    assert own.pid != first


def test_why_it_cannot_be_prepared_is_said(
    pytester: pytest.Pytester, own: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['_pytest.config'] = None\n")
    monkeypatch.setattr("tests.prepared.IMITATED", ())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ChildProcessError, match="(?s)has ended before its run.*import of _pytest.config halted"):
        started(pytester, own, "def test_it(): pass")
