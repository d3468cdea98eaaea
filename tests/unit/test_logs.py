"""Which part of a log belongs to a test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_testbed import Endpoint
from pytest_testbed.services import logs
from pytest_testbed.services.logs import cut, last_lines, mark_of, of_database
from pytest_testbed.services.model import LogMark


def endpoint_of(log: Path | str) -> Endpoint:
    return Endpoint(kind="thing", host="h", port=1, log=str(log))


# --- marks


def test_a_mark_is_the_time_and_the_size_of_the_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("12345")
    before = time.time()
    mark = mark_of(endpoint_of(log))
    assert before <= mark.time <= time.time()
    assert mark.size == 5


@pytest.mark.parametrize("log", ["", "/nowhere/log"])
def test_without_a_file_a_mark_is_a_time(log: str) -> None:
    assert mark_of(endpoint_of(log)).size == -1


# --- the ends of files


def test_the_last_lines_of_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\n")
    assert last_lines(log, 2) == "two\nthree"
    assert last_lines(log) == "one\ntwo\nthree"
    assert last_lines(log, 0) == ""
    assert last_lines(tmp_path / "none") == ""


def test_what_was_written_after_a_mark(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")
    mark = mark_of(endpoint_of(log))
    assert last_lines(log, since=mark) == ""
    with log.open("a") as more:
        more.write("two\nthree\nfour\n")
    assert last_lines(log, since=mark) == "two\nthree\nfour"
    assert last_lines(log, 2, since=mark) == "three\nfour"


def test_a_file_that_was_begun_anew_is_all_of_it_new(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("long ago\n")
    mark = mark_of(endpoint_of(log))
    log.write_text("new\n")
    assert last_lines(log, since=mark) == "new"


def test_a_file_that_was_not_there_at_the_mark_is_all_of_it_new(tmp_path: Path) -> None:
    mark = mark_of(endpoint_of(tmp_path / "log"))
    (tmp_path / "log").write_text("new\n")
    assert last_lines(tmp_path / "log", since=mark) == "new"


@pytest.mark.parametrize("since", [None, LogMark(0.0, 4)])
def test_of_a_huge_file_whole_lines_are_read(since: LogMark | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LONGEST", 12)
    (tmp_path / "log").write_text("one\ntwo\nthree\nfour\nfive\n")
    assert last_lines(tmp_path / "log", since=since) == "four\nfive"


def test_what_a_statement_holds_is_no_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("STATEMENT:  a\x0cb\u2028c\r\n\td\n".encode())
    assert last_lines(tmp_path / "log", 2).split("\n") == ["STATEMENT:  a\x0cb\u2028c\r", "\td"]


# --- one database of several

OURS = """\
2026-01-02 03:04:05.678 UTC [7] postgres@testbed_a ERROR:  division by zero
2026-01-02 03:04:05.678 UTC [7] postgres@testbed_a STATEMENT:  SELECT 1
\t  / 0
\tFROM me@testbed_b LOG:  x"""
OTHERS = """\
2026-01-02 03:04:05.679 UTC [8] post gres@testbed_b ERROR:  division by zero
2026-01-02 03:04:05.679 UTC [8] post gres@testbed_b STATEMENT:  SELECT 2
\t
\t  / 0"""


def test_the_records_of_other_test_databases_are_dropped_with_all_their_lines() -> None:
    assert of_database("\n".join([OTHERS, OURS, OTHERS]), "testbed_a") == OURS


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-02 03:04:05.678 UTC [1] LOG:  checkpoint starting: time",
        "2026-01-02 03:04:05.678 UTC [1] LOG:  about me@testbed_b LOG:  x",
        "2026-01-02 03:04:05.678 UTC [1] [unknown]@[unknown] LOG:  connection received: host=[local]",
        "2026-01-02 03:04:05.678 UTC [1] postgres@postgres ERROR:  x",
        "2026-01-02 03:04:05.678 UTC [1] ERROR:  of a server with a format of its own",
        "testbed_b: a line of an image's shell",
        "",
    ],
)
def test_what_cannot_be_told_to_be_another_tests_is_kept(line: str) -> None:
    assert of_database(f"{line}\n\tmore", "testbed_a") == f"{line}\n\tmore"


def test_the_prefix_of_others_can_be_chosen() -> None:
    assert of_database(OURS, "x", others_prefix="y") == OURS
    assert of_database(OURS, "x") == ""


# --- cutting


def test_a_long_text_is_cut_and_says_so() -> None:
    text = "".join(f"{number}\n" for number in range(5))
    assert cut(text, 5) == text
    assert cut(text, 4) == "… 1 line before these is left out\n1\n2\n3\n4"
    assert cut(text, 2) == "… 3 lines before these are left out\n3\n4"
    assert cut("", 2) == ""
