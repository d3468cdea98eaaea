"""`workdir.assert_matches`: a tree compared with a golden one, and the golden one written anew."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed import Link, WorkDir
from pytest_testbed.files.updates import Updates

GOLDEN = {
    "report.txt": "head\nline1\nline2\n",
    "data": {"logo.png": b"\x89PNG\r\n\x1a\n\0\1\2\3", "a.csv": "1,2\r\n3,4\r\n"},
    "current": Link("data"),
    "run.sh": "#!/bin/sh\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / "tests").mkdir(parents=True)
    (path / "tests/test_it.py").write_text("")
    return path


@pytest.fixture
def golden(project: Path) -> WorkDir:
    """The golden tree, as a directory in which the test can do something."""
    path = project / "tests/golden"
    path.mkdir()
    golden = WorkDir(path)
    golden.write(GOLDEN)
    golden.write("run.sh", "#!/bin/sh\n", mode=0o755)
    return golden


@pytest.fixture
def workdir(tmp_path: Path, project: Path) -> WorkDir:
    """One with the same in it."""
    path = tmp_path / "workdir"
    path.mkdir()
    workdir = WorkDir(path, (project / "tests", project), "test_it.py::test_it")
    workdir.write(GOLDEN)
    workdir.write("run.sh", "#!/bin/sh\n", mode=0o755)
    return workdir


def fault(workdir: WorkDir, golden: Any = "golden", **how: Any) -> str:
    """Return what is told of a tree that is not the golden one."""
    with pytest.raises(AssertionError) as caught:
        workdir.assert_matches(golden, **how)
    return str(caught.value)


# --- what is the same, and what is not


@pytest.mark.usefixtures("golden")
def test_the_same(workdir: WorkDir, project: Path) -> None:
    workdir.assert_matches("golden")
    workdir.assert_matches("tests/golden")
    workdir.assert_matches(project / "tests/golden")
    workdir.assert_matches(Path("golden"))
    workdir.assert_matches("golden/data", of="data")
    workdir.assert_matches("golden/report.txt", of="report.txt")
    workdir.assert_matches(GOLDEN)
    workdir.assert_matches({"a.csv": "1,2\r\n3,4\r\n", "logo.png": GOLDEN["data"]["logo.png"]}, of="data")  # type: ignore[index]


@pytest.mark.usefixtures("golden")
def test_names(workdir: WorkDir) -> None:
    (workdir / "data/a.csv").rename(workdir / "b.csv")
    (workdir / "current").unlink()
    os.mkfifo(workdir / "pipe")
    assert fault(workdir).splitlines() == [
        f"the workdir is not like {workdir._bases[0] / 'golden'}: 2 missing, 2 too many.",
        "  missing:",
        "    current (a link to data)",
        "    data/a.csv (10 B); its content is in b.csv",
        "  too many:",
        "    b.csv (10 B)",
        "    pipe (a FIFO)",
        "Is it right as it is now? `pytest --testbed-update-golden 'test_it.py::test_it'` makes it the golden one.",
    ]


@pytest.mark.usefixtures("golden")
def test_texts(workdir: WorkDir) -> None:
    workdir.write("report.txt", "head\nline1 \nline2")
    assert fault(workdir).splitlines()[1:-1] == [
        "  report.txt differs:",
        "    @@ -1,3 +1,3 @@",
        "     head",
        "    -line1",
        "    -line2",
        "    +'line1 '",
        "    +line2  (no newline at the end)",
    ]


@pytest.mark.usefixtures("golden")
def test_line_endings(workdir: WorkDir) -> None:
    workdir.write({"data/a.csv": "1,2\n3,4\n", "report.txt": "head\r\nline1\r\nline2\r\n"})
    told = fault(workdir).splitlines()[1:-1]
    assert [line.partition(" instead")[0] for line in told] == [
        "  data/a.csv differs in its line endings alone: LF",
        "  report.txt differs in its line endings alone: CRLF",
    ]
    assert told[1].endswith(
        " instead of LF. Does git change them at the checkout? In .gitattributes, `-text` for these files keeps them."
    )


def test_endings_that_are_mixed(workdir: WorkDir) -> None:
    workdir.write("a", "1\n2\r\n")
    assert "alone: CRLF and LF instead of CR." in fault(workdir, {"a": "1\r2\r"}, only="a")


@pytest.mark.usefixtures("golden")
def test_binary_files(workdir: WorkDir) -> None:
    workdir.write("data/logo.png", b"\x89PNG\r\n\x1a\n\0\1\xff\3\4")
    told = fault(workdir).splitlines()[1:-1]
    assert told[0] == "  data/logo.png differs from byte 10 on:"
    assert re.fullmatch(r"    - 12 B, sha256 \w{16}…, there: 02 03", told[1])
    assert re.fullmatch(r"    \+ 13 B, sha256 \w{16}…, there: ff 03 04", told[2])
    workdir.write("data/logo.png", b"\x89PNG\r\n\x1a\n\0\1")
    assert "there: its end" in fault(workdir)


@pytest.mark.usefixtures("golden")
def test_a_text_that_became_bytes(workdir: WorkDir) -> None:
    workdir.write("report.txt", "head\nline1\nlin\0")
    assert "report.txt differs from byte 14 on:" in fault(workdir)


@pytest.mark.usefixtures("golden")
def test_links_and_modes(workdir: WorkDir) -> None:
    (workdir / "run.sh").chmod(0o644)
    (workdir / "report.txt").chmod(0o755)
    workdir.write({"current": Link("nowhere")})
    assert fault(workdir).splitlines()[1:-1] == [
        "  current leads to nowhere instead of data.",
        "  report.txt is executable, and should not be.",
        "  run.sh is not executable, and should be.",
    ]
    workdir.write("run.sh", "#!/bin/bash\n")
    assert "run.sh is not executable, and should be; and it differs:" in fault(workdir)
    (workdir / "current").unlink()
    workdir.write("current", "x")
    assert "current is a file instead of a link to data." in fault(workdir)


def test_links_are_not_followed(workdir: WorkDir, golden: WorkDir, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    for each in (workdir, golden):
        each.write({"way": Link(tmp_path / "outside"), "loop": Link("loop"), "up": Link("..")})
    workdir.assert_matches("golden")


def test_empty_folders(workdir: WorkDir, golden: WorkDir) -> None:
    """Git keeps none: of a folder they do not count, of a dict they do."""
    golden.write({"gone": {"deep": {}}})
    workdir.write({"empty": {}})
    workdir.assert_matches("golden")
    assert "    empty (an empty folder)" in fault(workdir, GOLDEN)
    workdir.assert_matches({**GOLDEN, "empty": {}})
    assert "    missing-one (an empty folder)" in fault(workdir, {**GOLDEN, "empty": {}, "missing-one": {}})


def test_a_dict_says_nothing_of_modes(workdir: WorkDir) -> None:
    (workdir / "report.txt").chmod(0o755)
    workdir.assert_matches(GOLDEN)
    with pytest.raises(TypeError, match="'a' is a path; say what is in it"):
        workdir.assert_matches({"a": Path("x")})
    assert "testbed-update-golden" not in fault(workdir, {"a": "1"}), "there is nothing that it could write"


# --- which names count


def test_ignore_and_only(workdir: WorkDir, golden: WorkDir) -> None:
    workdir.write({"app.log": "1", "deep/er/app.log": "2", "cache": {"x": "3"}, "data/cache/y": "4", "tmp/z": "5"})
    golden.write("old.log", "6")
    workdir.assert_matches("golden", ignore=["*.log", "cache/", "tmp/*"])
    assert "data/cache/y" in fault(workdir, ignore=["*.log", "/cache", "tmp"])
    workdir.assert_matches("golden", only="data", ignore="cache")
    workdir.assert_matches("golden", only=["*.csv", "report.txt"])
    assert "nothing was compared: neither the workdir nor " in fault(workdir, only="*.cvs")
    assert "has a file with only=['*.cvs']." in fault(workdir, only="*.cvs")
    assert "nothing was compared" in fault(workdir, {"a": "x"}, only="*.cvs")
    with pytest.raises(TypeError, match="ignore= has 3, which is no pattern"):
        workdir.assert_matches("golden", ignore=[3])  # type: ignore[list-item]


def test_an_empty_tree(workdir: WorkDir) -> None:
    workdir.write({"out": {}})
    workdir.assert_matches({}, of="out")


@pytest.mark.usefixtures("golden")
def test_what_is_compared_must_be_there(workdir: WorkDir) -> None:
    assert "there is no 'dat' in the workdir; did you mean 'data'?" in fault(workdir, of="dat")
    assert "golden is a folder, and 'report.txt' in the workdir is a file; of= says" in fault(workdir, of="report.txt")
    assert "golden/report.txt is a file, and the workdir is a folder" in fault(workdir, "golden/report.txt")


def test_no_golden_tree(workdir: WorkDir, project: Path) -> None:
    told = fault(workdir, "golden/new")
    assert (
        f"there is no golden tree 'golden/new': looked for {project / 'tests/golden/new'} and {project / 'golden/new'}." in told
    )
    assert "`pytest --testbed-update-golden 'test_it.py::test_it'` writes what the test has now as" in told
    assert "In it: current, data/a.csv" in told
    with pytest.raises(ValueError, match="is relative, and there is no test file"):
        WorkDir(workdir.path).assert_matches("golden")


# --- what changes from run to run


def test_what_changes_from_run_to_run(workdir: WorkDir, golden: WorkDir) -> None:
    golden.write(
        {"<date>.log": "<date> wrote <workdir>/a in <n> ms\n", "last": Link("<date>.log"), "absolute": Link("<workdir>/a")}
    )
    workdir.write(
        {
            "2026-01-02.log": f"2026-01-02 wrote {workdir}/a in 17 ms\n",
            "last": Link("2026-01-02.log"),
            "absolute": Link(workdir / "a"),
        }
    )
    changing = {r"\d{4}-\d\d-\d\d": "<date>", re.compile(r"\d+(?= ms)"): lambda match: "<n>"}
    workdir.assert_matches("golden", replacing=changing)
    assert "2026-01-02.log" in fault(workdir)


def test_binary_files_stay_as_they_are(workdir: WorkDir) -> None:
    workdir.write("a.bin", b"\0 1")
    workdir.assert_matches({"a.bin": b"\0 1"}, only="a.bin", replacing={"1": "2"})


@pytest.mark.parametrize(
    ("replacing", "error", "words"),
    [
        ({"(": "x"}, ValueError, r"replacing= has '\(', which is no regular expression: missing \)"),
        ({"a": r"\3"}, ValueError, r"replacing= puts '\\\\3' in place of 'a': invalid group reference 3"),
        ({3: "x"}, TypeError, "replacing= has 3, which is no regular expression"),
        ({re.compile(b"a"): "x"}, TypeError, "which is no regular expression of text"),
        ({"a": 3}, TypeError, "replacing= puts 3 in place of 'a'; that is neither a text nor a function"),
        ({r"\.csv|\.png": ""}, ValueError, "replacing= makes two names one: 'data/b.csv' becomes 'data/b'"),
    ],
)
@pytest.mark.usefixtures("golden")
def test_replacements_that_are_none(workdir: WorkDir, replacing: Any, error: type[Exception], words: str) -> None:
    workdir.write({"data/b.csv": "", "data/b": ""})
    with pytest.raises(error, match=words):
        workdir.assert_matches("golden", replacing=replacing)


# --- much that differs


def test_much_is_cut_with_the_count(workdir: WorkDir) -> None:
    wanted = {f"missing{number:03}": "x" for number in range(50)} | {f"file{number:02}": "old\n" for number in range(30)}
    workdir.write({f"file{number:02}": "new\n" for number in range(30)} | {"long": "".join(f"{n} new\n" for n in range(200))})
    told = fault(workdir, wanted | {"long": "".join(f"{n} old\n" for n in range(200))}, ignore=list(GOLDEN))
    assert "    … and 30 more" in told
    assert "  … and 21 more that differ: file10, file11" in told
    assert len(told.splitlines()) < 120
    told = fault(workdir, {"long": "".join(f"{n} old\n" for n in range(200))}, only="long")
    assert "    … and 341 more lines" in told
    assert len(told.splitlines()) < 70


def test_long_lines_show_where_they_differ(workdir: WorkDir) -> None:
    workdir.write("a.json", '{"a":' + "1," * 5000 + "2," * 5000 + "}")
    told = fault(workdir, {"a.json": '{"a":' + "1," * 5001 + "2," * 4999 + "}"}, only="a.json")
    assert "a.json differs from line 1, column 10,006 on (1 lines instead of 1):" in told
    assert "- …'1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2,2," in told
    assert len(told) < 1000


def test_large_texts_take_no_time(workdir: WorkDir) -> None:
    """What puts lines side by side takes minutes where much differs."""
    workdir.write("a", "".join(f"{number} {number % 7}\n" for number in range(100_000)))
    start = time.monotonic()
    told = fault(workdir, {"a": "".join(f"{number} {number % 5}\n" for number in range(100_000))}, only="a")
    assert time.monotonic() - start < 10
    assert "a differs from line 6, column 3 on (100,000 lines instead of 100,000):" in told


def test_names_that_are_not_text(workdir: WorkDir) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(workdir), b"caf\xe9\n"))).write_text("x")
    assert fault(workdir, {}).isascii()


# --- written anew


@pytest.fixture
def notices() -> list[str]:
    return []


def updating(workdir: WorkDir, notices: list[str], owner: str = "test_it.py::test_it") -> WorkDir:
    """Return the same directory for a test that writes golden trees."""
    place, project = workdir._bases
    updates = Updates(project, project.parent / "ledger", place / "test_it.py", owner, notices.append)
    return WorkDir(workdir.path, workdir._bases, owner, updates)


def test_a_new_golden_tree(workdir: WorkDir, project: Path, notices: list[str]) -> None:
    workdir.write({"empty": {}})
    updating(workdir, notices).assert_matches("golden/new")
    assert WorkDir(project / "tests/golden/new").tree() == {
        name: each for name, each in workdir.tree().items() if name != "empty"
    }
    assert os.access(project / "tests/golden/new/run.sh", os.X_OK)
    assert not os.access(project / "tests/golden/new/report.txt", os.X_OK)
    assert notices == ["golden tests/golden/new written for test_it.py::test_it: 5 new"]
    workdir.assert_matches("golden/new")


def test_a_golden_tree_that_changes(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    golden.write({"gone": {"deep": {"a": "1"}}, "keep.log": "2", "was-file": "3", "was-folder": {"x": "4"}, "dead": Link("gone")})
    workdir.write({"report.txt": "other\n", "was-file": {"y": "5"}, "was-folder": "6", "current": Link("run.sh")})
    workdir.write("data/logo.png", b"\0new")
    before = (golden / "run.sh").stat()
    updating(workdir, notices).assert_matches("golden", ignore="*.log")
    assert golden.tree() == workdir.tree() | {"keep.log": "2"}
    assert not (golden / "gone").exists(), "no empty folders are left"
    assert (golden / "run.sh").stat().st_ino == before.st_ino, "what is the same is not written"
    assert notices == ["golden tests/golden written for test_it.py::test_it: 2 new, 3 changed, 4 deleted"]
    updating(workdir, notices).assert_matches("golden", ignore="*.log")
    assert len(notices) == 1, "where nothing changes there is nothing to tell"


def test_an_empty_folder_where_a_file_is_to_be(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    (golden / "new.txt").mkdir()
    workdir.write("new.txt", "1")
    updating(workdir, notices).assert_matches("golden")
    assert golden.read("new.txt") == "1"


def test_folders_go_with_the_last_of_their_files(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    golden.write({"a/b/c": "1", "a/d": "2", "e/f/g": "3"})
    workdir.write({"a/d": "2"})
    updating(workdir, notices).assert_matches("golden")
    assert not (golden / "a/b").exists()
    assert not (golden / "e").exists()
    assert golden.read("a/d") == "2"


def test_modes_are_written(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    (workdir / "run.sh").chmod(0o644)
    (workdir / "report.txt").chmod(0o755)
    updating(workdir, notices).assert_matches("golden")
    assert [os.access(golden / name, os.X_OK) for name in ("run.sh", "report.txt")] == [False, True]
    workdir.assert_matches("golden")


def test_what_changes_is_written_as_what_stands_for_it(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    workdir.write({"2026-01-02.log": f"2026-01-02 {workdir}\n"})
    changing = {r"\d{4}-\d\d-\d\d": "<date>"}
    updating(workdir, notices).assert_matches("golden", replacing=changing)
    assert golden.read("<date>.log") == "<date> <workdir>\n"
    workdir.assert_matches("golden", replacing=changing)


def test_a_golden_file(workdir: WorkDir, project: Path, notices: list[str]) -> None:
    updating(workdir, notices).assert_matches("golden/one.txt", of="report.txt")
    assert (project / "tests/golden/one.txt").read_text() == "head\nline1\nline2\n"
    workdir.write("report.txt", "2")
    assert "golden/one.txt: 1 different." in fault(workdir, "golden/one.txt", of="report.txt")
    updating(workdir, notices, "other").assert_matches("golden/two.txt", of="report.txt")
    assert sorted(os.listdir(project / "tests/golden")) == ["one.txt", "two.txt"]


def test_an_existing_one_at_the_rootdir_is_the_one(workdir: WorkDir, project: Path, notices: list[str]) -> None:
    WorkDir(project).write("shared/report.txt", "old")
    updating(workdir, notices).assert_matches("shared", only="report.txt")
    assert (project / "shared/report.txt").read_text() == "head\nline1\nline2\n"
    assert not (project / "tests/shared").exists()


def refused(workdir: WorkDir, notices: list[str], golden: Any = "golden", **how: Any) -> str:
    """Return why a golden tree is not written; nothing of the project must have changed."""
    project = WorkDir(workdir._bases[1])
    before = project.tree()
    told = fault(updating(workdir, notices), golden, **how)
    assert project.tree() == before
    assert notices == []
    return told


@pytest.mark.usefixtures("golden")
def test_places_that_are_none(workdir: WorkDir, project: Path, tmp_path: Path, notices: list[str]) -> None:
    below = "is not a place below the rootdir"
    assert below in refused(workdir, notices, "../../outside")
    assert below in refused(workdir, notices, tmp_path / "outside")
    assert below in refused(workdir, notices, project)
    assert "the test itself is in it" in refused(workdir, notices, ".")
    assert "the test itself is in it" in refused(workdir, notices, project / "tests")
    assert "it is a folder of git" in refused(workdir, notices, project / ".git/golden")
    assert "there is a folder, and a file is compared" in refused(workdir, notices, of="report.txt")
    assert "there is a file, and a folder is compared" in refused(workdir, notices, "golden/report.txt")
    WorkDir(project).write({"src": {"a.py": "1", "b.py": "2"}})
    assert "none of its 2 files is among those that are compared" in refused(workdir, notices, "src")
    assert not (tmp_path / "outside").exists()


def test_links_out_of_the_project(workdir: WorkDir, golden: WorkDir, project: Path, tmp_path: Path, notices: list[str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (project / "way").symlink_to(outside)
    assert "is not a place below the rootdir" in refused(workdir, notices, "way")
    assert "is not a place below the rootdir" in refused(workdir, notices, project / "way/new")
    golden.write({"ignored": Link(outside)})
    workdir.write({"ignored": {"x": "1"}})
    (golden / "data/way").symlink_to(outside)  # vanishes, and what it leads to stays
    updating(workdir, notices).assert_matches("golden")
    assert golden.tree() == workdir.tree()
    assert [path.name for path in outside.iterdir()] == ["mine"]


def test_a_link_that_does_not_count_leads_out(workdir: WorkDir, golden: WorkDir, tmp_path: Path, notices: list[str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    golden.write({"way": Link(outside)})
    workdir.write({"way": {"x.csv": "1"}})
    with pytest.raises(AssertionError, match="x.csv is not written to the golden tree: a link in .* leads out of it"):
        updating(workdir, notices).assert_matches("golden", only="*.csv")
    assert list(outside.iterdir()) == []


def test_what_no_golden_tree_can_have(workdir: WorkDir, notices: list[str]) -> None:
    os.mkfifo(workdir / "pipe")
    assert "pipe is a FIFO: a golden tree cannot have that; leave it out by ignore=" in refused(workdir, notices)
    assert "nothing would be in the golden tree" in refused(workdir, notices, only="*.cvs")
    updating(workdir, notices).assert_matches("golden", ignore="pipe")


def test_two_tests_with_one_golden_tree(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    updating(workdir, notices, "first").assert_matches("golden")
    updating(workdir, notices, "second").assert_matches("golden")
    workdir.write({"report.txt": "other\n", "new": "1"})
    told = fault(updating(workdir, notices, "third"), "golden")
    assert "tests/golden was written for first in this run, and here new, report.txt would be different." in told
    assert "golden tree of its own" in told
    (workdir / "new").unlink()
    (workdir / "run.sh").unlink()
    assert "here report.txt, run.sh would be" in fault(updating(workdir, notices, "fourth"), "golden")
    assert golden.read("report.txt") == "head\nline1\nline2\n"


def test_two_tests_with_parts_of_one_golden_tree(workdir: WorkDir, golden: WorkDir, notices: list[str]) -> None:
    updating(workdir, notices, "first").assert_matches("golden", only="*.csv")
    workdir.write({"report.txt": "other\n"})
    updating(workdir, notices, "second").assert_matches("golden", only="report.txt")
    assert golden.read("report.txt") == "other\n"
    workdir.write({"data/a.csv": "9"})
    assert "here data/a.csv would be" in fault(updating(workdir, notices, "third"), "golden", only="data")


def test_a_write_that_fails_leaves_the_old_file(
    workdir: WorkDir, golden: WorkDir, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    workdir.write("report.txt", "other")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "write_bytes", full)
        updating(workdir, notices).assert_matches("golden")
    assert golden.read("report.txt") == "head\nline1\nline2\n"
    assert not [name for name in golden.tree() if "testbed" in name]
    updating(workdir, notices).assert_matches("golden")
    assert golden.read("report.txt") == "other"
