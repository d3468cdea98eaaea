"""`workdir.expect`: a file that somebody else writes, whole; what an error says of what is there instead."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_testbed import Link, WorkDir
from pytest_testbed.files import waiting

LONG = 30.0


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return WorkDir(tmp_path)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Runs something in a thread, which the test's end awaits."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


Meanwhile = Callable[[Callable[[], object]], None]


def after(seconds: float, work: Callable[[], object]) -> Callable[[], object]:
    def later() -> None:
        time.sleep(seconds)
        work()

    return later


def test_a_file_that_comes_later(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    meanwhile(after(0.05, lambda: workdir.write("out/output.txt", "PROCESSED")))
    path = workdir.expect("out/output.txt", containing="PROCESSED", within=LONG)
    assert path == workdir / "out/output.txt"
    assert path.read_text() == "PROCESSED"


def test_a_file_is_whole(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    """The writer pauses for less than the time for which it must be still."""

    def write() -> None:
        with (workdir / "a").open("w") as file:
            for number in range(10):
                file.write(f"{number}\n")
                file.flush()
                time.sleep(0.03)

    meanwhile(write)
    path = workdir.expect("a", still=0.6, within=LONG)
    assert len(path.read_text().splitlines()) == 10


def test_a_file_that_stays_empty(workdir: WorkDir, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is often made long before it is written, and sometimes it is all there is."""
    workdir.write("a", "")
    with monkeypatch.context() as patch:
        patch.setattr(waiting, "EMPTY", LONG)
        meanwhile(after(0.15, lambda: workdir.write("a", "x")))
        assert workdir.expect("a", within=LONG).read_text() == "x"
    workdir.write("done", "")
    start = time.monotonic()
    assert workdir.expect("done", within=LONG).read_bytes() == b""
    assert time.monotonic() - start >= waiting.EMPTY


@pytest.mark.parametrize("content", ["", "x"])
def test_who_waits_no_time_is_told_what_is_there_now(workdir: WorkDir, content: str) -> None:
    workdir.write("a", content)
    assert workdir.expect("a", within=0) == workdir / "a"
    assert workdir.expect("a", within=0.02) == workdir / "a"
    assert workdir.expect("a", still=0, within=LONG) == workdir / "a"


@pytest.mark.parametrize("containing", ["ö2", "ö2".encode(), re.compile(r"^linö.$", re.M), re.compile(b"2\n"), "", "line1\n"])
def test_contents(workdir: WorkDir, containing: waiting.Containing) -> None:
    workdir.write("a", "line1\nlinö2\n")
    assert workdir.expect("a", containing=containing) == workdir / "a"


@pytest.mark.parametrize(
    ("containing", "words"),
    [
        ("line3", "does not have 'line3' in it"),
        (b"\0", r"does not have b'\\x00' in it"),
        (re.compile(r"^\d+$"), r"has nothing in it that fits '\^\\\\d\+\$'"),
    ],
)
def test_contents_that_never_come(workdir: WorkDir, containing: waiting.Containing, words: str) -> None:
    workdir.write("a", "".join(f"line{number}!\n" for number in range(10, 30)))
    with pytest.raises(AssertionError, match=words) as caught:
        workdir.expect("a", containing=containing, within=0.05)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("no file 'a' with ")
    assert lines[1].startswith("  a is there (160 B) and ")
    assert lines[2:] == ["    … 10 lines before", *(f"    line{number}!" for number in range(20, 30))]


def test_a_predicate(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    workdir.write("a.json", '{"state": ')
    meanwhile(after(0.05, lambda: workdir.write("a.json", '{"state": "done"}')))
    workdir.expect("a.json", matching=lambda path: json.loads(path.read_text())["state"] == "done", within=LONG)


def test_a_predicate_of_what_is_elsewhere(workdir: WorkDir) -> None:
    """It is asked again where the file itself does not change."""
    workdir.write("a", "x")
    answers = iter([False, False, True])
    workdir.expect("a", matching=lambda path: next(answers), within=LONG)


def test_a_change_that_no_clock_shows(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    path = workdir.write("state", "0")
    workdir.age("state", days=1)

    changed = path.stat().st_mtime_ns

    def replace() -> None:
        new = workdir.write("new", "1")
        os.utime(new, ns=(changed, changed))
        new.replace(path)

    meanwhile(after(0.05, replace))
    assert workdir.expect("state", containing="1", still=0, within=LONG).read_text() == "1"


def test_a_large_file_is_read_once(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    workdir.write("a", b"x" * (waiting.LARGE + 1))
    read, real = [], waiting.read_bytes
    monkeypatch.setattr(waiting, "read_bytes", lambda path, most=-1: (read.append(most), real(path, most))[1])
    with pytest.raises(AssertionError, match=r"a is there \(1.0 MB\) and does not have 'y' in it"):
        workdir.expect("a", containing="y", within=0.3)
    assert read.count(-1) == 1


def test_a_predicate_that_fails(workdir: WorkDir) -> None:
    workdir.write("a.json", '{"state": ')
    with pytest.raises(AssertionError, match="a.json is there .* and does not match: JSONDecodeError: Expecting value"):
        workdir.expect("a.json", matching=lambda path: json.loads(path.read_text()), within=0.05)
    with pytest.raises(KeyboardInterrupt):
        workdir.expect("a.json", matching=interrupted, within=0.05)


def interrupted(path: Path) -> None:
    raise KeyboardInterrupt


def test_names_that_nobody_knows(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    workdir.write({"old/report-1.csv": "x", "report[1].txt": "y"})
    meanwhile(after(0.05, lambda: workdir.write("report-20260101.csv", "new")))
    assert workdir.expect("report-*.csv", within=LONG).read_text() == "new"
    assert workdir.expect("**/report-?.csv").read_text() == "x"
    assert workdir.expect("report[1].txt").read_text() == "y", "a name is a name where it is there"


def test_a_link_that_leads_to_itself_is_nothing_that_came(workdir: WorkDir) -> None:
    workdir.write({"loop": Link("loop")})
    with pytest.raises(AssertionError, match="it is a link to 'loop', where nothing is"):
        workdir.expect("loop", within=0.01)


def test_links(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    workdir.write({"current": Link("releases/1")})
    with pytest.raises(AssertionError, match="it is a link to 'releases/1', where nothing is"):
        workdir.expect("current", within=0.01)
    meanwhile(after(0.05, lambda: workdir.write("releases/1", "x")))
    assert workdir.expect("current", containing="x", within=LONG).read_text() == "x"


def test_what_is_no_file(workdir: WorkDir) -> None:
    os.mkfifo(workdir / "pipe")
    workdir.write({"folder": {}})
    assert workdir.expect("pipe") == workdir / "pipe"
    assert workdir.expect("folder") == workdir / "folder"
    with pytest.raises(AssertionError, match=r"pipe is there \(a FIFO\) and cannot be read \(.*is no file but a FIFO"):
        workdir.expect("pipe", containing="x", within=0.01)
    with pytest.raises(AssertionError, match="folder is there .a folder. and cannot be read"):
        workdir.expect("folder", containing="x", within=0.01)


def test_what_is_there_instead(workdir: WorkDir) -> None:
    with pytest.raises(AssertionError, match="no file 'output.txt' came within 0.01 s: .* There is nothing in it."):
        workdir.expect("output.txt", within=0.01)
    workdir.write("outptu.txt", "x")
    with pytest.raises(AssertionError, match=r"did you mean 'outptu.txt'\? In it: outptu.txt."):
        workdir.expect("output.txt", within=0.01)


def test_much_that_is_there_instead_is_cut_with_its_count(workdir: WorkDir) -> None:
    workdir.write({f"{number}.csv": "a" for number in range(7)})
    with pytest.raises(AssertionError) as caught:
        workdir.expect("*.csv", containing="b", within=0)
    lines = str(caught.value).splitlines()
    assert "4.csv is there" in lines[-3]
    assert lines[-1] == "  … and 2 more"


def test_what_is_still_written(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    ended = threading.Event()

    def write() -> None:
        with (workdir / "a").open("wb") as file:
            while not ended.wait(0.002):
                file.write(b"\0")
                file.flush()

    meanwhile(write)
    try:
        with pytest.raises(AssertionError, match=r"a is there \(\d+ B\) and is still being written|a is there .* is empty"):
            workdir.expect("a", still=5, within=1)
    finally:
        ended.set()


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "x/../../*"])
def test_names_that_lead_out(workdir: WorkDir, name: str) -> None:
    with pytest.raises(ValueError, match="would lead out of the workdir"):
        workdir.expect(name)


def test_what_goes(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    workdir.write({"in/a.csv": "x", "in/b.csv": "y"})
    meanwhile(after(0.05, lambda: [(workdir / "in" / name).unlink() for name in ("a.csv", "b.csv")]))
    workdir.expect_gone("in/*.csv", within=LONG)
    workdir.expect_gone("never/was")
    workdir.write({"a": "xyz", "broken": Link("nowhere")})
    with pytest.raises(AssertionError, match=r"a \(3 B\) is still there after 0.01 s"):
        workdir.expect_gone("a", within=0.01)
    with pytest.raises(AssertionError, match="'broken' is still there"):
        workdir.expect_gone("broken", within=0.01)


def test_what_must_not_come(workdir: WorkDir, meanwhile: Meanwhile) -> None:
    workdir.expect_none("*.err")
    workdir.expect_none("a.err", within=0.02)
    meanwhile(after(0.05, lambda: workdir.write("a.err", "xyz")))
    with pytest.raises(AssertionError, match=r"a.err \(. B\) is there."):
        workdir.expect_none("*.err", within=LONG)


def test_a_stopped_clock_and_a_sleep_that_does_nothing(
    workdir: WorkDir, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    freezegun = pytest.importorskip("freezegun")
    meanwhile(after(0.05, lambda: workdir.write("a", "x")))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with freezegun.freeze_time("2020-01-01"):
        workdir.expect("a", within=LONG)
        with pytest.raises(AssertionError):
            workdir.expect("b", within=0.02)


def test_it_looks_seldom(workdir: WorkDir) -> None:
    wait = waiting.Wait(workdir.path, "a", 0.5)
    assert 2 < sum(1 for _ in wait.looks()) < 30
