"""What a failed test's report shows of its directory: what fits, in bounded time, whatever is in it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from pytest_testbed import Link, WorkDir
from pytest_testbed.files import report
from pytest_testbed.files.inside import sized
from pytest_testbed.files.report import captured


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return WorkDir(tmp_path)


def shown(workdir: WorkDir) -> list[str]:
    """Return the lines after the first, which is the directory."""
    first, *rest = captured(workdir.path).splitlines()
    assert first == str(workdir)
    return rest


def test_a_tree(workdir: WorkDir) -> None:
    workdir.write({"a.txt": "one\ntwo\n", "b": {"logo.png": b"\0" * 2048, "empty": {}}, "current": Link("b"), "gone": Link("x")})
    workdir.write("run.sh", "", mode=0o755)
    workdir.write({"old": {"x": ""}})
    workdir.age("old", days=8)
    workdir.age("a.txt", hours=-3.5)
    workdir.age("b/logo.png", hours=1)
    assert shown(workdir) == [
        "a.txt  8 B  3 hours in the future",
        "    one",
        "    two",
        "b/",
        "b/empty/  (empty)",
        "b/logo.png  2.0 kB  1 hour old",
        "current -> b",
        "gone -> x  (broken)",
        "old/  8 days old",
        "old/x  0 B  8 days old",
        "run.sh  0 B  executable",
    ]


def test_nothing(workdir: WorkDir) -> None:
    assert shown(workdir) == ["(nothing in it)"]
    workdir.path.rmdir()
    assert shown(workdir) == ["is not there any more."]


def test_long_files(workdir: WorkDir) -> None:
    workdir.write({"a": "".join(f"{number}\n" for number in range(100)), "b": "x" * 5000, "c": "y" * 300})
    assert shown(workdir) == [
        "a  290 B",
        *(f"    {number}" for number in range(8)),
        "    … (100 lines)",
        "b  5.0 kB",
        "c  300 B",
        f"    {'y' * 120}…",
    ]


def test_ten_thousand_files(workdir: WorkDir) -> None:
    workdir.write({"spool": {}})
    for number in range(10_000):
        os.close(os.open(workdir / f"spool/{number:05}", os.O_CREAT, 0o600))
    workdir.write({f"zz{number}": {"deep": {"x": ""}} for number in range(30)})
    start = time.monotonic()
    lines = shown(workdir)
    assert time.monotonic() - start < 5
    assert lines[:2] == ["spool/", "spool/00000  0 B"]
    assert lines[21:23] == ["zz0/", "zz0/deep/"], "a folder with very many does not hide what comes after it"
    assert len(lines) == 61
    assert lines[-1] == "… and 10,031 more"


def test_nobody_counts_for_ever(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_COUNTED", 30)
    workdir.write({f"{number:02}": "" for number in range(30)})
    assert shown(workdir)[-1] == "… and 10 more"
    workdir.write({f"{number:02}": "" for number in range(50)})
    assert shown(workdir)[-1] == "… and at least 11 more"


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999 B"), (1000, "1.0 kB"), (99_900, "99.9 kB"), (100_000, "100 kB"), (2 * 10**9, "2.0 GB"), (5 * 10**12, "5000 GB")],
)
def test_sizes(count: int, words: str) -> None:
    assert sized(count) == words


def test_many_folders_within_folders(workdir: WorkDir) -> None:
    workdir.write({f"{number:02}": {"deep": {"x": ""}} for number in range(25)})
    lines = shown(workdir)
    assert lines[-2:] == ["19/deep/x  0 B", "… and 15 more"], "what is in a folder that is not shown is not shown either"


def test_what_is_in_a_folder_that_is_not_shown(workdir: WorkDir) -> None:
    workdir.write({f"a{number:02}": "" for number in range(20)} | {"z": {"deep": {"x": ""}}})
    assert shown(workdir)[-2:] == ["a19  0 B", "… and 3 more"]


def test_contents_do_not_fill_the_report(workdir: WorkDir) -> None:
    workdir.write({f"folder{each}": {f"{number:02}": "x\n" * 8 for number in range(19)} for each in range(3)})
    assert len(shown(workdir)) == 60 + 120


def test_what_must_not_be_opened(workdir: WorkDir) -> None:
    os.mkfifo(workdir / "pipe")
    workdir.write({"a": Link("b"), "b": Link("a"), "self": Link("."), "to-pipe": Link("pipe"), "null": Link("/dev/null")})
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(workdir)  # the path of a socket must be short
    try:
        listening.bind("app.sock")
    finally:
        os.chdir(here)
        listening.close()
    assert shown(workdir) == [
        "a -> b  (broken)",
        "app.sock  (socket)",
        "b -> a  (broken)",
        "null -> /dev/null",
        "pipe  (FIFO)",
        "self -> .",
        "to-pipe -> pipe",
    ]


def test_names_of_all_kinds(workdir: WorkDir) -> None:
    for name in (b"caf\xe9", b"new\nline", b"x" * 255, b"\x1b[31m", "ä".encode()):
        os.close(os.open(os.path.join(os.fsencode(workdir), name), os.O_CREAT, 0o600))
    lines = shown(workdir)
    assert lines == [
        r"'\x1b[31m'  0 B",
        r"'caf\udce9'  0 B",
        r"'new\nline'  0 B",
        f"{'x' * 60}…{'x' * 60}  0 B",
        "ä  0 B",
    ]
    "\n".join(lines).encode()  # it can be printed


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", "\x1b[31mred\u2028".encode()])
def test_contents_of_all_kinds(workdir: WorkDir, content: bytes) -> None:
    workdir.write("a", content)
    lines = shown(workdir)
    assert lines[0].startswith("a  ")
    assert all(line.isprintable() for line in lines)


def test_what_cannot_be_looked_at(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may look at everything, so the system's refusal is made here."""
    workdir.write({"folder": {"x": ""}, "file": "x"})

    def refuse(path: object, *more: object) -> object:
        if os.path.basename(os.fspath(path)) in ("folder", "file"):  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", path)
        return real[more != ()](path, *more)

    real = {False: os.listdir, True: os.open}
    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "open", refuse)
    assert shown(workdir) == ["file  1 B", "    (cannot be read: Permission denied)", "folder  (folder, Permission denied)"]
    monkeypatch.setattr(os, "listdir", lambda path: refuse("folder"))
    assert shown(workdir) == [".  (folder, Permission denied)"]


def test_what_goes_meanwhile(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    workdir.write({"a": "x", "b": "y", "c": {}})
    real = os.listdir

    def listed(path: str) -> list[str]:
        return [*real(path), "ghost"] if os.fspath(path) == str(workdir) else real(path)

    monkeypatch.setattr(os, "listdir", listed)
    assert shown(workdir) == ["a  1 B", "    x", "b  1 B", "    y", "c/  (empty)"]
