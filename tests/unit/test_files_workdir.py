"""A directory of a test's own, without pytest: what is written in it, how old it is, and that nothing leads out."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_testbed import Link, WorkDir

DAY = 86_400


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a test file."""
    path = tmp_path / "tests"
    path.mkdir()
    return path


@pytest.fixture
def workdir(tmp_path: Path, place: Path) -> WorkDir:
    path = tmp_path / "workdir"
    path.mkdir()
    return WorkDir(path, (place, tmp_path))


# --- it is a path


def test_it_stands_wherever_a_path_is_wanted(workdir: WorkDir) -> None:
    file = workdir / "input.txt"
    assert isinstance(file, Path)
    assert os.fspath(workdir) == str(workdir) == f"{workdir}" == str(workdir.path)
    assert os.path.join(workdir, "input.txt") == str(file)
    assert Path(workdir) == workdir.path
    assert repr(workdir) == f"<WorkDir {workdir.path}>"


# --- writing


def test_one_file(workdir: WorkDir) -> None:
    assert workdir.write("in/input.txt", "line1\r\nlinë2\n") == workdir / "in" / "input.txt"
    assert workdir.read_bytes("in/input.txt") == "line1\r\nlinë2\n".encode()
    assert workdir.read("in/input.txt") == "line1\r\nlinë2\n"
    assert workdir.lines("in/input.txt") == ["line1", "linë2"]
    assert workdir.read(workdir / "in/input.txt"), "its own absolute path is good"


def test_lines_are_those_of_files(workdir: WorkDir) -> None:
    workdir.write("a", "one\x0c\u2028still one\ntwo\rthree")
    assert workdir.lines("a") == ["one\x0c\u2028still one", "two", "three"]


def test_a_mode(workdir: WorkDir) -> None:
    path = workdir.write("run.sh", "#!/bin/sh\n", mode=0o755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


TREE = {
    "input.txt": "line1\n",
    "empty": {},
    "reports": {"2026": {"a.csv": "1,2\r\n"}, "logo.png": b"\x89PNG\0\xff"},
    "flat/name.txt": "",
    "current": Link("reports/2026"),
    "broken": Link("nowhere"),
    "latin.txt": "ä".encode("latin-1"),
}
FLAT = {
    "broken": Link("nowhere"),
    "current": Link("reports/2026"),
    "empty": {},
    "flat/name.txt": "",
    "input.txt": "line1\n",
    "latin.txt": b"\xe4",
    "reports/2026/a.csv": "1,2\r\n",
    "reports/logo.png": b"\x89PNG\0\xff",
}


def test_a_tree(workdir: WorkDir) -> None:
    assert workdir.write(TREE) == workdir.path
    assert workdir.tree() == FLAT
    assert list(workdir.tree()) == sorted(FLAT), "sorted, so that a difference is easy to read"
    assert workdir.tree("reports", ignore="*.png") == {"2026/a.csv": "1,2\r\n"}


def test_a_folder_of_which_all_is_left_out_is_not_empty(workdir: WorkDir) -> None:
    workdir.write({"logs": {"a.log": "1", "empty": {}}})
    assert workdir.tree(ignore="*.log") == {"logs/empty": {}}
    workdir.assert_matches({"logs/empty": {}}, ignore="*.log")
    workdir.assert_matches({}, ignore=["*.log", "empty"])


def test_what_tree_says_can_be_written(workdir: WorkDir, tmp_path: Path) -> None:
    workdir.write(TREE)
    (tmp_path / "other").mkdir()
    other = WorkDir(tmp_path / "other")
    other.write(workdir.tree())
    assert other.tree() == FLAT


def test_one_name_of_any_kind(workdir: WorkDir) -> None:
    assert workdir.write("folder", {}) == workdir / "folder"
    workdir.write("more", {"a": "1"})
    assert workdir.write("link", Link("more")) == workdir / "link"
    assert workdir.tree() == {"folder": {}, "link": Link("more"), "more/a": "1"}
    with pytest.raises(TypeError, match="a link has no mode"):
        workdir.write("way", Link("/etc"), mode=0o777)


def test_a_tree_over_another(workdir: WorkDir) -> None:
    workdir.write({"a": "1", "b": Link("a"), "c": {}})
    workdir.write({"b": Link("c"), "c": {"d": "2"}, "a": "3"})
    assert workdir.tree() == {"a": "3", "b": Link("c"), "c/d": "2"}


def test_a_copy_of_a_folder(workdir: WorkDir, place: Path) -> None:
    source = WorkDir(place)
    source.write({"orders": {"a.csv": "1", "run.sh": "x", "empty": {}, "link": Link("a.csv"), "read-only": "r"}})
    (place / "orders/run.sh").chmod(0o755)
    (place / "orders/read-only").chmod(0o444)
    assert workdir.write("orders") == workdir.path
    assert workdir.tree() == {"a.csv": "1", "empty": {}, "link": Link("a.csv"), "read-only": "r", "run.sh": "x"}
    assert os.access(workdir / "run.sh", os.X_OK)
    assert stat.S_IMODE((workdir / "read-only").stat().st_mode) & 0o200, "it is the test's own"
    assert abs((workdir / "a.csv").stat().st_mtime - time.time()) < DAY


def test_a_copy_in_a_dict(workdir: WorkDir, place: Path) -> None:
    WorkDir(place).write({"orders": {"a.csv": "1"}, "one.txt": "2"})
    workdir.write({"in": Path("orders"), "x/two.txt": Path("one.txt")})
    workdir.write("in2", Path("orders"))
    assert workdir.tree() == {"in/a.csv": "1", "in2/a.csv": "1", "x/two.txt": "2"}


def test_a_copy_of_a_file(workdir: WorkDir, place: Path) -> None:
    WorkDir(place).write("data/orders.csv", "1")
    assert workdir.write("data/orders.csv") == workdir / "orders.csv"
    assert workdir.read("orders.csv") == "1"


def test_the_test_s_folder_comes_before_the_rootdir(workdir: WorkDir, place: Path, tmp_path: Path) -> None:
    WorkDir(tmp_path).write({"near/a": "root", "far/a": "root"})
    WorkDir(place).write({"near/a": "test"})
    workdir.write("near")
    assert workdir.read("a") == "test"
    workdir.write("far")
    assert workdir.read("a") == "root"
    workdir.write(place / "near")
    assert workdir.read("a") == "test"


def test_a_source_that_is_not_there(workdir: WorkDir, place: Path, tmp_path: Path) -> None:
    (place / "orders").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        workdir.write("order")
    text = str(caught.value)
    assert f"'{place / 'order'}' and '{tmp_path / 'order'}'; did you mean 'orders'? A file is written by write(name" in text
    with pytest.raises(FileNotFoundError):
        workdir.write({"a": "1", "b": Path("nowhere")})
    assert workdir.tree() == {}, "nothing is written of a tree that cannot be written whole"


def test_a_source_that_holds_the_workdir(workdir: WorkDir, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be copied into the workdir, which is in it"):
        workdir.write(tmp_path)


def test_a_source_with_a_fifo(workdir: WorkDir, place: Path) -> None:
    (place / "in").mkdir()
    os.mkfifo(place / "in/pipe")
    with pytest.raises(OSError, match=r"pipe' cannot be copied: it is no file, folder or link \(FIFO\)"):
        workdir.write("in")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "'x/a.json' cannot be written from a list: .* json.dumps"),
        (None, "'x/a.json' cannot be written from a NoneType"),
        (3.5, "from a float: .* json.dumps"),
        (object(), "from a object: what is in a file is a str, bytes, a dict"),
    ],
)
def test_contents_that_are_of_no_use(workdir: WorkDir, content: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        workdir.write({"good": "1", "x": {"a.json": content}})
    assert workdir.tree() == {}


def test_names_that_are_of_no_use(workdir: WorkDir) -> None:
    with pytest.raises(TypeError, match="3 is no name of a file"):
        workdir.write({3: "x"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="b'x' is no name of a file; a str is"):
        workdir.write(b"x", "y")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="b'x' is no name of a file; a str or a path is"):
        workdir.read(b"x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a dict alone"):
        workdir.write({"a": "x"}, "y")


# --- nothing leads out


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", "a\0b", "a/.."])
def test_names_that_lead_out(workdir: WorkDir, name: str) -> None:
    workdir.write("a/b", "1")
    with pytest.raises(ValueError, match="would lead out of the workdir|is no name of a file"):
        workdir.write(name, "x")
    with pytest.raises(ValueError, match="would lead out of the workdir|is no name of a file"):
        workdir.write({"good": "1", name: "x"})
    with pytest.raises(ValueError, match="would lead out of the workdir|is no name of a file"):
        workdir.age(name)
    assert workdir.tree() == {"a/b": "1"}


def test_links_that_lead_out(workdir: WorkDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    workdir.write({"folder": Link(outside), "file": Link(outside / "mine"), "new": Link(outside / "new")})
    for name in ("folder/x", "file", "new", "folder/mine"):
        with pytest.raises(ValueError, match=r"leads out of the workdir, through a link to '.*outside"):
            workdir.write(name, "x")
        with pytest.raises(ValueError, match=r"leads out of the workdir, through a link to '.*outside"):
            workdir.write({"good": "x", name: "x"})
    with pytest.raises(ValueError, match="leads out"):
        workdir.age("folder/mine", days=3)
    assert [path.name for path in outside.iterdir()] == ["mine"]
    assert (outside / "mine").read_text() == "mine"
    assert abs((outside / "mine").stat().st_mtime - time.time()) < DAY
    workdir.write({"file": Link("elsewhere")})  # a link itself is the test's own
    assert workdir.tree() == {"file": Link("elsewhere"), "folder": Link(str(outside)), "new": Link(str(outside / "new"))}


def test_a_tree_that_makes_its_own_way_out(workdir: WorkDir, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        workdir.write({"way": Link(tmp_path), "way/x": "1"})
    assert not (tmp_path / "x").exists()


def test_a_copied_link_that_leads_out(workdir: WorkDir, place: Path, tmp_path: Path) -> None:
    WorkDir(place).write({"in/way": Link(tmp_path)})
    workdir.write("in")
    WorkDir(place).write({"in2/way/x": "1"})
    with pytest.raises(ValueError, match="leads out"):
        workdir.write("in2")
    assert not (tmp_path / "x").exists()


def test_a_link_within_is_followed(workdir: WorkDir) -> None:
    workdir.write({"a": "1", "b": Link("a"), "folder": {}, "way": Link("folder")})
    workdir.write({"b": "2", "way/x": "3"})
    assert workdir.tree() == {"a": "2", "b": Link("a"), "folder/x": "3", "way": Link("folder")}


def test_a_fifo_is_neither_written_nor_read(workdir: WorkDir) -> None:
    os.mkfifo(workdir / "pipe")
    with pytest.raises(FileExistsError, match="pipe is a FIFO already"):
        workdir.write("pipe", "x")
    with pytest.raises(OSError, match="is no file but a FIFO"):
        workdir.read("pipe")
    (found,) = workdir.tree().values()
    assert str(found) == "Other(kind='FIFO')"


def test_a_folder_is_not_read_and_nothing_stays_open(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.open
    monkeypatch.setattr("os.open", lambda *args: opened.append(real(*args)) or opened[-1])
    with pytest.raises(OSError, match="inbox' is no file but a folder"):
        workdir.read(workdir.write("inbox", {}))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[-1])


# --- what is there


def test_a_name_that_is_not_there(workdir: WorkDir) -> None:
    with pytest.raises(FileNotFoundError, match="there is no 'a' in the workdir. There is nothing in it."):
        workdir.read("a")
    workdir.write({f"file{number}.txt": "" for number in range(30)} | {"deep/output.csv": ""})
    with pytest.raises(
        FileNotFoundError, match=r"no 'output.csv' in the workdir; did you mean 'deep/output.csv'\? In it: .* 22 more"
    ):
        workdir.read("output.csv")
    with pytest.raises(FileNotFoundError, match="did you mean 'file7.txt'"):
        workdir.age("fiel7.txt", days=1)


def test_names_that_are_not_text(workdir: WorkDir) -> None:
    name = b"caf\xe9.txt"
    Path(os.fsdecode(os.path.join(os.fsencode(workdir), name))).write_text("x")
    assert workdir.tree() == {os.fsdecode(name): "x"}
    with pytest.raises(FileNotFoundError) as caught:
        workdir.read("cafe")
    assert str(caught.value).isascii()


def test_a_tree_deeper_than_the_stack(workdir: WorkDir) -> None:
    here = os.getcwd()
    os.chdir(workdir)
    try:
        for _ in range(1100):  # deeper than the longest path as well
            os.mkdir("dddd")
            os.chdir("dddd")
    finally:
        os.chdir(here)
    (found,) = workdir.tree().items()
    assert "name too long" in str(found[1])
    workdir.close()
    subprocess.run(["rm", "-rf", workdir / "dddd"], check=True)  # Python's own way to do it is no match for it


# --- ages


def age_of(path: Path) -> float:
    """Return how old a file is, in days."""
    return (time.time() - path.lstat().st_mtime) / DAY


@pytest.mark.parametrize(
    ("said", "days"),
    [
        ({"days": 8}, 8),
        ({"days": 1, "hours": 6, "minutes": 30, "seconds": 1800}, 1 + 7 / 24),
        ({"age": timedelta(weeks=2)}, 14),
        ({"age": datetime.now(UTC) - timedelta(days=3)}, 3),
        ({"age": datetime.now() - timedelta(days=4)}, 4),
        ({"days": -1}, -1),
        ({}, 0),
    ],
)
def test_ages(workdir: WorkDir, said: dict[str, object], days: float) -> None:
    path = workdir.write("temporary.txt", "x")
    os.utime(path, (0, 0))
    assert workdir.age("temporary.txt", **said) == path  # type: ignore[arg-type]
    assert age_of(path) == pytest.approx(days, abs=0.01)
    assert path.stat().st_atime == pytest.approx(path.stat().st_mtime)


def test_ages_of_folders(workdir: WorkDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    workdir.write(
        {"spool": {"a.txt": "1", "deep": {"b.txt": "2"}, "way": Link(outside), "broken": Link("nowhere")}, "young": "3"}
    )
    workdir.age("spool", days=8)
    old = [each for each in workdir.path.rglob("*") if age_of(each) > 7]
    assert sorted(path.name for path in old) == ["a.txt", "b.txt", "broken", "deep", "spool", "way"]
    assert age_of(outside) < 1, "links are not followed"
    workdir.write("spool/new.txt", "")
    assert age_of(workdir / "spool") < 1, "as on every file system"
    workdir.age(".", days=9)
    assert all(age_of(each) > 8 for each in (workdir.path, *workdir.path.rglob("*")))


def test_the_age_of_a_link(workdir: WorkDir) -> None:
    workdir.write({"a": "1", "link": Link("a"), "folder": {}, "way": Link("folder")})
    workdir.age("link", days=2)
    workdir.age("way", days=2)
    assert [round(age_of(workdir / name)) for name in ("a", "link", "folder", "way")] == [0, 2, 0, 2]


def test_ages_where_those_of_links_cannot_be_set(workdir: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    workdir.write({"folder": {"a": "1", "link": Link("../b")}, "b": "2"})
    monkeypatch.setattr(os, "supports_follow_symlinks", set())
    workdir.age("folder", days=2)
    assert [round(age_of(workdir / name)) for name in ("folder", "folder/a", "folder/link", "b")] == [2, 2, 0, 0]


def test_no_age(workdir: WorkDir) -> None:
    workdir.write("a", "")
    with pytest.raises(TypeError, match="'8 days' is no age"):
        workdir.age("a", "8 days")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not both"):
        workdir.age("a", timedelta(1), days=1)


def test_a_file_of_just_now_is_not_of_the_future(workdir: WorkDir) -> None:
    """The guide's `days_old=0`: the clock of files is coarse, and never ahead."""
    for number in range(200):
        path = workdir.write(f"{number}", "x")
        assert path.stat().st_mtime <= time.time()
        workdir.age(f"{number}")
        assert path.stat().st_mtime <= time.time()


def test_a_frozen_clock(workdir: WorkDir) -> None:
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2020-01-10 12:00"):
        path = workdir.write("a", "")
        workdir.age("a", days=7)
        assert time.time() - path.stat().st_mtime == 7 * DAY
        workdir.age("a", datetime.now() - timedelta(days=2))
        assert time.time() - path.stat().st_mtime == 2 * DAY


# --- the working directory


def test_the_working_directory(workdir: WorkDir) -> None:
    before = os.getcwd()
    workdir.write("sub/a", "")
    with workdir.cwd() as path:
        assert os.getcwd() == str(path) == str(workdir)
        with workdir.cwd("sub"):
            assert os.listdir() == ["a"]
        assert os.getcwd() == str(workdir)
    assert os.getcwd() == before
    workdir.chdir()
    workdir.chdir("sub")
    assert os.getcwd() == str(workdir / "sub")
    workdir.close()
    assert os.getcwd() == before


def test_a_working_directory_that_is_gone(workdir: WorkDir, tmp_path: Path) -> None:
    before = os.getcwd()
    try:
        workdir.write("sub/a", "")
        (tmp_path / "other").mkdir()
        os.chdir(tmp_path / "other")
        (tmp_path / "other").rmdir()
        with workdir.cwd("sub"):
            pass
        assert os.getcwd() == os.path.sep, "there is no way back"
        os.chdir(before)
        workdir.chdir("sub")
        (workdir / "sub/a").unlink()
        (workdir / "sub").rmdir()
        workdir.close()
        assert os.getcwd() == before
    finally:
        os.chdir(before)


# --- the end


def test_folders_can_be_deleted_again(workdir: WorkDir) -> None:
    workdir.write({"a/b/c": "1"})
    (workdir / "a/b").chmod(0)
    (workdir / "a").chmod(0o100)
    workdir.path.chmod(0o555)
    workdir.close()
    assert [stat.S_IMODE((workdir / name).stat().st_mode) for name in (".", "a", "a/b")] == [0o755, 0o700, 0o700]


def test_folders_behind_links_are_left_alone(workdir: WorkDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "inner").chmod(0o555)
    workdir.write({"way": Link(outside)})
    workdir.close()
    (workdir / "way").rename(tmp_path / "way")
    workdir.path.rmdir()
    workdir.path.symlink_to(outside)
    workdir.close()
    assert stat.S_IMODE((outside / "inner").stat().st_mode) == 0o555


def test_a_directory_that_is_gone(workdir: WorkDir) -> None:
    workdir.path.rmdir()
    workdir.close()
    assert workdir.path.exists() is False
