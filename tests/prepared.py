"""A Python that has imported pytest and SQLAlchemy already, and forks for each run of pytest inside a test.

Those imports are most of what a short run costs, and hundreds of tests have one in a process of its own. A run is like one of
a fresh interpreter, but for what is imported: nothing of this project is. What cannot be imitated has a process as usual.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

__all__ = ["Prepared", "Run", "popen_of"]

MODULES = ("pytest", "pdb", "packaging.version", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql.psycopg2")
"""What takes long to import.

No driver, no factory_boy, no HTTP client: the plugin waits for their import, and that is what tests are about. Nothing that has
a plugin of pytest, either: pytest rewrites its asserts, and warns where it is too late.
"""
# the folder of this file is no place to import from: it has an `http` and a `typing`
START = "import sys; del sys.path[0]; import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
SIZE = struct.Struct("!I")
IMITATED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
MEASURED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


# --- in the process of the tests


def at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read when a process starts, and so cannot be changed by us later."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(("PYTHON", "LC_", "LD_")) or name in ("LANG", "TZ")
        if name not in IMITATED
    }


class Run:
    """A run in a process of its own, with what `Pytester.run` wants of a `Popen`."""

    stdin = None

    def __init__(self, told: int, why: Callable[[], str]) -> None:
        self._why = why
        self._told = open(told, "rb", buffering=0)  # noqa: SIM115
        self.returncode: int | None = None
        self.pid = self._read()

    def _read(self) -> int:
        line = self._told.readline()
        if not line:
            self._told.close()
            raise ChildProcessError(f"the prepared Python has ended before its run\n{self._why()}")
        return int(line)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("pytest", cast(float, timeout))
            self.returncode = self._read()
            self._told.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Prepared:
    """The prepared Python of this process, started at the first run."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._at_start: dict[str, str] = {}
        self._said: Any = None

    @property
    def pid(self) -> int:
        """Of the prepared Python, 0 before it is started."""
        return self._process.pid if self._process else 0

    def suits(self, environ: Mapping[str, str]) -> bool:
        """Tell whether a run with these variables can be had here; measured ones begin with what measures them."""
        if any(name in environ for name in MEASURED):
            return False
        return self._socket is None or at_start(environ) == self._at_start

    def run(self, args: Sequence[str], *, environ: Mapping[str, str], stdout: int, stderr: int) -> Run:
        """Run `python -m pytest ARGS` here, with nothing to read."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        owner = self._socket or self._start(environ)
        order = json.dumps({"args": list(args), "cwd": os.getcwd(), "environ": dict(environ)}).encode()
        told, telling = os.pipe()
        stdin, nothing = os.pipe()
        os.close(nothing)
        with contextlib.suppress(BrokenPipeError):  # it has ended: the run says so
            socket.send_fds(owner, [SIZE.pack(len(order))], [stdin, stdout, stderr, telling])
            owner.sendall(order)
        os.close(stdin)
        os.close(telling)
        return Run(told, self._why)

    def _why(self) -> str:
        """Return what the prepared Python has said: why it could not be prepared, as nothing else is said there."""
        if self._process is not None:
            self._process.wait()
        self._said.seek(0)
        return str(self._said.read())

    def _start(self, environ: Mapping[str, str]) -> socket.socket:
        """Start it with the variables of the first run, and nothing open but our connection."""
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                cwd="/",
                env={name: value for name, value in environ.items() if name not in IMITATED},
                pass_fds=[theirs.fileno()],
            )
        self._socket, self._at_start = ours, at_start(environ)
        return ours

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._socket.shutdown(socket.SHUT_RDWR)  # a forked child of a test may have it open still
            self._socket.close()
            self._process.wait()
            self._said.close()
        self._process = self._socket = None


def popen_of(pytester: Any, prepared: Prepared) -> Callable[..., Any]:
    """Return what stands for `pytester.popen`: runs of pytest are had from the prepared Python, all else is as it was."""
    plain = pytester.popen

    def popen(cmdargs: Sequence[str], stdout: Any = subprocess.PIPE, stderr: Any = subprocess.PIPE, **more: Any) -> Any:
        environ = dict(os.environ)
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), environ.get("PYTHONPATH")]))  # as the plain one
        # pytest 8 says that descriptors are to be closed, which they are
        usual = hasattr(stdout, "fileno") and hasattr(stderr, "fileno")
        usual = usual and more in ({"stdin": pytester.CLOSE_STDIN}, {"stdin": pytester.CLOSE_STDIN, "close_fds": True})
        if usual and tuple(cmdargs[:2]) == (sys.executable, "-mpytest") and prepared.suits(environ):
            return prepared.run(cmdargs[2:], environ=environ, stdout=stdout.fileno(), stderr=stderr.fileno())
        return plain(cmdargs, stdout=stdout, stderr=stderr, **more)

    return popen


# --- in the prepared Python


def prepare() -> None:
    """Import what runs need: the plugins of pytest itself, too, which `import pytest` leaves out in part."""
    for name in MODULES:
        importlib.import_module(name)
    for name in importlib.import_module("_pytest.config").default_plugins:
        importlib.import_module(f"_pytest.{name}")
    runpy.run_path(os.path.join(os.path.dirname(__file__), "installed.py"))["read_once"]()
    gc.collect()
    gc.freeze()  # a run's collections need not look at what stays


def serve(owner: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each order, and tell who asks how each run ended. Returns in the forked processes alone."""
    runs: dict[int, int] = {}
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([owner.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            tell_ends(runs)
        if owner.fileno() in ready:
            order, files = receive(owner)
            pid = os.fork()
            if not pid:
                owner.detach()
                return order, files
            for file in files[:3]:
                os.close(file)
            runs[pid] = files[3]
            os.write(files[3], b"%d\n" % pid)


def receive(owner: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next order and its descriptors; ends this process when its owner has ended, however that was."""
    head, files, _, _ = socket.recv_fds(owner, SIZE.size, 4)
    if not head:
        sys.exit()
    text = b""
    while (missing := SIZE.unpack(head)[0] - len(text)) and (part := owner.recv(missing)):
        text += part
    return json.loads(text), files


def tell_ends(runs: dict[int, int]) -> None:
    """Reap the runs that ended."""
    while runs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        told = runs.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(told)


def become_fresh(order: dict[str, Any], files: list[int], base: list[str]) -> None:
    """Make a forked process what `python -m pytest` is at its start."""
    for target, file in enumerate(files[:3]):
        os.dup2(file, target)
    for file in map(int, os.listdir("/dev/fd")):
        if file > 2:
            with contextlib.suppress(OSError):  # that of the look itself
                os.close(file)
    for name, target in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        setattr(sys, name, opened_anew(name, target))
        setattr(sys, f"__{name}__", getattr(sys, name))
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [order["cwd"], *dict.fromkeys([*map(os.path.abspath, entries), *base])]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.orig_argv[:] = [sys.executable, "-mpytest", *order["args"]]
    sys.argv[:] = ["-m", *order["args"]]
    importlib.invalidate_caches()


def opened_anew(name: str, file: int) -> io.TextIOWrapper:
    """Return a stream of Python's own, as it opens it, on a descriptor that is another file now."""
    before, mode = getattr(sys, name), "w" if file else "r"
    at_once = before.write_through  # PYTHONUNBUFFERED
    raw: Any = open(file, f"{mode}b", 0 if at_once and file else -1, closefd=False)  # noqa: SIM115
    getattr(raw, "raw", raw).name = f"<{name}>"
    by_line = not at_once and (file == 2 or raw.isatty())
    fresh: Any = io.TextIOWrapper(raw, before.encoding, before.errors, "\n", by_line, at_once)
    fresh.mode = mode
    return fresh  # type: ignore[no-any-return]


def main() -> None:
    """Wait for orders; a run's process leaves by the end of this function, as any Python does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runs, and for our owner
    base = list(sys.path)
    prepare()
    order, files = serve(socket.socket(fileno=int(sys.argv[2])))
    become_fresh(order, files, base)
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
