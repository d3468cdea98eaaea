"""What is done where the system lacks something that Linux has: seen here by taking it away."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_testbed.services import board, death, lease, ledger, places
from pytest_testbed.services.model import Context, Refusal, ServiceSpec
from pytest_testbed.services.providers import local


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when its input does."""
    with subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def wait_for(pid: int, wake: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=death.wait_for_end, args=(pid, wake.fileno()), daemon=True)
    thread.start()
    return thread


@pytest.fixture(params=["no pidfd", "pidfd is forbidden"])
def without_pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(death, "POLL", 0.01)
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    else:

        def refused(pid: int) -> int:
            raise PermissionError(1, "not here")

        monkeypatch.setattr(os, "pidfd_open", refused)
    assert not hasattr(select, "kqueue")


@pytest.mark.usefixtures("without_pidfd")
def test_the_end_of_a_process_is_seen_by_looking(child: subprocess.Popen[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = wait_for(child.pid, theirs)
        assert thread.is_alive()
        child.communicate(b"")
        thread.join(20)
        assert not thread.is_alive()
        assert death.gone_within(child.pid, 5)


@pytest.mark.usefixtures("without_pidfd")
def test_who_waits_can_be_woken(child: subprocess.Popen[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = wait_for(child.pid, theirs)
        ours.send(b"x")
        thread.join(20)
        assert not thread.is_alive()
        assert not death.gone_within(child.pid, 0)


class TestStartTimeByPs:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")

    def test_it_stays_the_same(self) -> None:
        began = lease.start_time(os.getpid())
        assert time.strptime(began)
        assert lease.start_time(os.getpid()) == began

    def test_a_zombie_and_nobody_have_none(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert lease.start_time(child.pid) == ""
        child.wait()
        assert lease.start_time(child.pid) == ""


def test_a_machine_without_uname_and_boot_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.monotonic()
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert before <= lease.seconds_since_boot() <= time.monotonic()
    monkeypatch.delattr(os, "uname")
    assert lease.Lease.of(os.getpid()).machine == socket.gethostname()


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError(2, "no /proc")

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(os, "readlink", missing)
    assert lease.boot() == ""
    assert lease._pid_namespace() == ""


def test_orphans_are_found_by_their_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "  7   1 postgres -D /t/testbed-a/data\n  8  7 postgres: writer /t/testbed-a\n  9   1 postgres -D /t/testbed-b\n"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=shown))
    assert list(ledger._processes_of(Path("/t/testbed-a"), "a")) == [7]


def test_shared_memory_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    file = board.Board.allocate()
    try:
        assert os.fstat(file).st_size == board._SIZE
        assert os.fstat(file).st_nlink == 0
    finally:
        os.close(file)


def test_whom_servers_run_as(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(name: str) -> object:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    assert local.unprivileged_user() == local.User(65534, 65534)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert local.unprivileged_user() is None
    monkeypatch.delattr(os, "geteuid")
    assert local.unprivileged_user() is None


def test_local_servers_are_refused_where_they_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    context = Context(run="a", directory=tmp_path, cache=None, own=nothing, disown=nothing, progress=nothing)
    provider = local.LocalProvider()
    without = provider.refusal(ServiceSpec(kind="queue", probe="x:y"), context)
    assert without == Refusal("queue has no local form", "use another provider")
    from pytest_testbed.postgres.service import postgres_spec

    spec = postgres_spec(provider="local")
    monkeypatch.setattr(local, "os", SimpleNamespace(name="nt"))
    refusal = provider.refusal(spec, context)
    assert refusal is not None
    assert refusal.reason == "local servers need Linux or macOS"


def test_a_memory_file_system_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object) -> None:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(os, "statvfs", broken)
    assert places.run_directory("a").parent != Path("/dev/shm")


class TestRemovingATree:
    """A dying server may write a file while its directory is removed."""

    def test_it_is_tried_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import shutil

        tree, plain, calls = tmp_path / "testbed-a", shutil.rmtree, []
        tree.mkdir()

        def late(path: Path) -> None:
            calls.append(path)
            if len(calls) < 3:
                raise OSError(39, "not empty")
            plain(path)

        monkeypatch.setattr(shutil, "rmtree", late)
        places.remove_tree(tree)
        assert len(calls) == 3
        assert not tree.exists()

    def test_in_the_end_it_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import shutil

        def never(path: Path) -> None:
            raise OSError(39, "not empty")

        (tmp_path / "testbed-a").mkdir()
        monkeypatch.setattr(shutil, "rmtree", never)
        with pytest.raises(OSError, match="not empty"):
            places.remove_tree(tmp_path / "testbed-a")
        monkeypatch.setattr(shutil, "rmtree", never)
        places.remove_tree(tmp_path / "testbed-b")  # it is gone: nothing to tell
