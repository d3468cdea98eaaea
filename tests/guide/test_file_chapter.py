"""The guide's chapter on files: one is processed, old ones go; and an inbox that a thread watches, and a golden archive."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from pytest_testbed import Link, WorkDir

from .filework import SECONDS_A_DAY, Archive, FileManager, FileProcessor, Inbox

# --- the guide's own cases


def test_file_processing_workflow(workdir: WorkDir) -> None:
    input_file = workdir.write("input.txt", "line1\nline2\nline3\n")
    output_file = workdir / "output.txt"

    FileProcessor().process_file(input_file, output_file)

    assert output_file.exists()
    content = output_file.read_text()
    assert "PROCESSED: line1" in content
    assert "PROCESSED: line2" in content
    assert "PROCESSED: line3" in content


def test_file_cleanup_integration(workdir: WorkDir) -> None:
    test_file = os.path.join(workdir, "temporary.txt")
    with open(test_file, "w") as file:
        file.write("temporary content")
    assert os.path.exists(test_file)

    FileManager().cleanup_old_files(workdir, days_old=0)

    assert not os.path.exists(test_file)


# --- processing


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("", ""),
        ("one", "PROCESSED: one"),
        ("a\n\nb\n", "PROCESSED: a\nPROCESSED: \nPROCESSED: b\n"),
        ("Grüße 世界\n", "PROCESSED: Grüße 世界\n"),
    ],
    ids=["nothing", "no end of line", "an empty line", "not ASCII"],
)
def test_lines_of_all_kinds(workdir: WorkDir, source: str, target: str) -> None:
    workdir.write("input.txt", source)
    FileProcessor().process_file(workdir / "input.txt", workdir / "output.txt")
    assert workdir.tree() == {"input.txt": source, "output.txt": target}


def test_a_file_that_is_not_there(workdir: WorkDir) -> None:
    with pytest.raises(FileNotFoundError):
        FileProcessor().process_file(workdir / "input.txt", workdir / "output.txt")
    assert workdir.tree() == {}


# --- clean-up


def test_a_week_is_the_boundary(workdir: WorkDir) -> None:
    workdir.write({"older.txt": "", "a-week.txt": "", "younger.txt": "", "new.txt": ""})
    workdir.age("older.txt", days=30)
    workdir.age("a-week.txt", days=7)
    workdir.age("younger.txt", days=6, hours=23, minutes=59)
    assert FileManager().cleanup_old_files(workdir, days_old=7) == ["a-week.txt", "older.txt"]
    assert list(workdir.tree()) == ["new.txt", "younger.txt"]


def test_a_file_of_the_future_stays(workdir: WorkDir) -> None:
    """As a clock that was set back leaves it."""
    workdir.write({"future.txt": "", "now.txt": ""})
    workdir.age("future.txt", hours=-1)
    assert FileManager().cleanup_old_files(workdir, days_old=0) == ["now.txt"]


def test_folders_within_folders(workdir: WorkDir) -> None:
    workdir.write({"2025": {"12": {"a.log": "", "b.log": ""}, "11": {"c.log": ""}}, "2026": {"01": {"d.log": ""}}, "empty": {}})
    workdir.age("2025", days=40)
    workdir.age("2025/12/b.log")
    assert FileManager().cleanup_old_files(workdir, days_old=30) == ["2025/11/c.log", "2025/12/a.log"]
    assert workdir.tree() == {"2025/12/b.log": "", "2026/01/d.log": ""}


def test_links_go_and_what_they_lead_to_stays(workdir: WorkDir) -> None:
    workdir.write({"spool": {"link": Link("../precious.txt")}, "precious.txt": "x"})
    workdir.age("spool", days=8)
    assert FileManager().cleanup_old_files(workdir / "spool", days_old=7) == ["link"]
    assert workdir.tree() == {"precious.txt": "x", "spool": {}}


def test_a_clock_that_stands_still(workdir: WorkDir) -> None:
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2026-03-01"):
        workdir.write({"a-week.txt": "", "younger.txt": ""})
        workdir.age("a-week.txt", days=7)
        workdir.age("younger.txt", days=6, seconds=SECONDS_A_DAY - 1)
        assert FileManager().cleanup_old_files(workdir, days_old=7) == ["a-week.txt"]
        assert time.time() - (workdir / "younger.txt").stat().st_mtime == 7 * SECONDS_A_DAY - 1


# --- an inbox that a thread watches


@pytest.fixture
def inbox(workdir: WorkDir) -> Iterator[Inbox]:
    workdir.write({"in": {}, "out": {}, "aside": {}})
    inbox = Inbox(workdir / "in", workdir / "out", workdir / "aside")
    inbox.start()
    yield inbox
    inbox.stop()


@pytest.mark.usefixtures("inbox")
def test_what_comes_in_goes_out(workdir: WorkDir) -> None:
    for number in range(3):
        workdir.write(f"order-{number}.txt", f"order {number}\n").rename(workdir / f"in/order-{number}.txt")
    for number in range(3):
        path = workdir.expect(f"out/order-{number}.txt", containing=f"PROCESSED: order {number}", still=0, within=30)
        assert path.read_text() == f"PROCESSED: order {number}\n"
    workdir.expect_gone("in/*.txt", within=30)
    workdir.expect_none("aside/*")


@pytest.mark.usefixtures("inbox")
def test_what_cannot_be_processed_is_put_aside(workdir: WorkDir) -> None:
    workdir.write("broken.txt", "Grüße".encode("latin-1")).rename(workdir / "in/broken.txt")
    workdir.write("good.txt", "x\n").rename(workdir / "in/good.txt")
    workdir.expect("aside/broken.txt", within=30)
    workdir.expect("out/good.txt", within=30)
    workdir.expect_gone("in/good.txt", within=30)
    assert workdir.tree() == {"aside/broken.txt": b"Gr\xfc\xdfe", "in": {}, "out/good.txt": "PROCESSED: x\n"}


def test_a_wait_in_vain_says_what_is_there(workdir: WorkDir, inbox: Inbox) -> None:
    inbox.stop()
    workdir.write("in/order.txt", "x")
    with pytest.raises(AssertionError, match=r"no file 'out/order.txt' .* did you mean 'in/order.txt'\?"):
        workdir.expect("out/order.txt", within=0.05)


# --- a golden result


def test_the_archive(workdir: WorkDir) -> None:
    workdir.write({"day": {"a.txt": "1\n", "b.bin": b"\x89\0\xff", "run.sh": "#!/bin/sh\n"}})
    (workdir / "day/run.sh").chmod(0o755)

    Archive().store(workdir / "day", workdir / "archive", "2026-03-01")

    workdir.assert_matches("golden/archive", of="archive", replacing={r"\d{4}-\d\d-\d\d": "DAY"})


def test_the_archive_the_day_after(workdir: WorkDir) -> None:
    workdir.write("archive/2026-02-28/a.txt", "old")
    workdir.write({"archive": {"latest": Link("2026-02-28")}, "day": {"a.txt": "new"}})
    Archive().store(workdir / "day", workdir / "archive", "2026-03-01")
    workdir.assert_matches(
        {
            "2026-02-28/a.txt": "old",
            "2026-03-01": {"a.txt": "new", "MANIFEST": "a.txt\n3 bytes on 2026-03-01 in <workdir>/archive/2026-03-01\n"},
            "latest": Link("2026-03-01"),
        },
        of="archive",
    )
