"""System V shared memory of killed servers: what is ours goes, what only looks like it stays."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from pytest_testbed.services import segments

pytestmark = pytest.mark.skipif(
    not segments.TABLE.exists() or which("ipcmk") is None, reason="segments: this system has no table of them, or no ipcmk"
)


@pytest.fixture
def segment() -> Iterator[segments.Segment]:
    """A segment whose maker has ended."""
    said = subprocess.run(["ipcmk", "-M", "64"], capture_output=True, text=True, check=True).stdout
    number = int(re.findall(r"\d+", said)[-1])
    yield next(each for each in segments.segments() if each.number == number)
    subprocess.run(["ipcrm", "-m", str(number)], capture_output=True, check=False)


def note(directory: Path, *words: object) -> Path:
    """Write what a server notes of itself."""
    (directory / "data").mkdir()
    (directory / "data" / "server.pid").write_text("\n".join(map(str, words)) + "\n")
    return directory


def exists(segment: segments.Segment) -> bool:
    return segment.number in {each.number for each in segments.segments()}


def test_segment_that_a_server_noted_is_found_and_removed(tmp_path: Path, segment: segments.Segment) -> None:
    found = segments.noted_in(note(tmp_path, segment.maker, "/somewhere", f"  1234 {segment.number}"))
    assert found == [segment.number]
    segments.remove(found)
    assert not exists(segment)


def test_segment_of_somebody_who_had_the_servers_process_id_is_not_meant(tmp_path: Path, segment: segments.Segment) -> None:
    assert segments.noted_in(note(tmp_path, segment.maker, "/somewhere", segment.number + 1)) == []


def test_segment_that_another_process_made_is_not_meant(tmp_path: Path, segment: segments.Segment) -> None:
    assert segments.noted_in(note(tmp_path, segment.maker + 1, "/somewhere", segment.number)) == []


@pytest.mark.parametrize("text", ["", "\n", "no number\n", "\xff\xfe"])
def test_file_that_says_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    note(tmp_path, text)
    assert segments.noted_in(tmp_path) == []


def test_segment_to_which_somebody_is_attached_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[int] = []
    attached = iter([2, 1, 0])
    monkeypatch.setattr(segments, "segments", lambda: [segments.Segment(7, 1, next(attached)), segments.Segment(8, 1, 0)])
    monkeypatch.setattr(segments, "_remove", removed.append)
    segments.remove([7, 9])
    assert removed == [7]
    assert list(attached) == []


def test_segment_that_somebody_keeps_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "segments", lambda: [segments.Segment(7, 1, 1)])
    monkeypatch.setattr(segments, "PATIENCE", 0.05)
    monkeypatch.setattr(segments, "_remove", lambda number: pytest.fail("it was removed"))
    segments.remove([7])


def test_where_there_is_no_table_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "TABLE", tmp_path / "none")
    assert segments.segments() == []
    segments.remove([1])
