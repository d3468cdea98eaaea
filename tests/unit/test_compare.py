"""The pure parts of the comparison in `benchmarks/`: statistics, tables, charts, versions, what it does with what fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
OTHERS = ("peers", "measuring", "compare")


@pytest.fixture(scope="module")
def peers() -> Iterator[ModuleType]:
    """The scripts are no package of ours: they are imported from their folder, and gone again after the module's tests."""
    sys.path.insert(0, str(BENCHMARKS))
    import compare  # type: ignore[import-not-found]
    import peers  # type: ignore[import-not-found]

    yield peers
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.partition(".")[0] in OTHERS]:
        del sys.modules[name]
    assert compare


def row(peers: ModuleType, name: str, *seconds: float, contender: str = "", **more: object) -> object:
    made = peers.model.Row(name, contender or name, **more)
    for value in seconds:
        made.add({"one test": value})
    return made


def result(peers: ModuleType, *rows: object, key: str = "test-it", **more: object) -> object:
    return peers.model.Result(key, "test", "A test", "What is compared.", "one test", "ms", list(rows), **more)


def test_a_test_costs_what_lies_between_the_first_few_and_the_last(peers: ModuleType) -> None:
    ends = [10.0, 12.0, 12.1, 12.2, 12.3, 99.0]
    assert peers.model.one_test(ends, 2) == pytest.approx(0.1)


@pytest.mark.parametrize(("number", "few"), [(0, 1), (3, 2), (5, 0)])
def test_too_few_tests_are_refused(peers: ModuleType, number: int, few: int) -> None:
    with pytest.raises(ValueError, match="too few"):
        peers.model.one_test([float(n) for n in range(number)], few)


def test_ratios_are_to_ours_whatever_the_order(peers: ModuleType) -> None:
    ours, other = row(peers, "pytest-testbed", 0.002, 0.004, 0.003), row(peers, "other", 0.030, 0.029, 0.100)
    assert result(peers, other, ours).ratio(other) == pytest.approx(10)
    assert result(peers, ours, other).ratio(ours) == 1


def test_ratios_are_to_the_first_of_our_rows_that_was_measured(peers: ModuleType) -> None:
    failed = row(peers, "pytest-testbed", reason="no server")
    second = row(peers, "pytest-testbed, local", 0.5, contender="pytest-testbed")
    third = row(peers, "pytest-testbed, docker", 5.0, contender="pytest-testbed")
    assert result(peers, failed, second, third).ours() == 0.5


@pytest.mark.parametrize("own", [(), (0.0,), (-0.01,)])
def test_there_is_no_ratio_to_nothing(peers: ModuleType, own: tuple[float, ...]) -> None:
    other = row(peers, "other", 0.03)
    found = result(peers, row(peers, "pytest-testbed", *own), other)
    assert found.ratio(other) is None
    assert found.ahead() == []


def test_who_is_ahead_of_ours_is_named(peers: ModuleType) -> None:
    found = result(peers, row(peers, "pytest-testbed", 0.01), row(peers, "slow", 0.02), row(peers, "quick", 0.005))
    assert [each.name for each in found.ahead()] == ["quick"]
    assert "Ahead of ours: quick." in list(peers.show.markdown(found))


@pytest.mark.parametrize(
    ("seconds", "unit", "shown"),
    [
        (0.00123, "ms", "1.23 ms"),
        (0.0123, "ms", "12.3 ms"),
        (1.23456, "ms", "1235 ms"),
        (1.23456, "s", "1.23 s"),
        (None, "s", "–"),
    ],
)
def test_figures_have_the_digits_that_mean_something(peers: ModuleType, seconds: float, unit: str, shown: str) -> None:
    assert peers.show.figure(seconds, unit) == shown


@pytest.mark.parametrize(("ratio", "shown"), [(0.5, "0.50 ×"), (2.34, "2.3 ×"), (41.4, "41 ×"), (None, "–")])
def test_ratios_too(peers: ModuleType, ratio: float, shown: str) -> None:
    assert peers.show.times(ratio) == shown


def test_the_table_has_medians_spread_and_number(peers: ModuleType) -> None:
    found = result(peers, row(peers, "pytest-testbed", 0.001, 0.009, 0.002), row(peers, "other", 0.02, lacks="a | in it"))
    lines = list(peers.show.markdown(found))
    assert "| **pytest-testbed** | 2.00 ms | 1.00 × | 1.00 – 9.00 ms, n 3 |  |" in lines
    assert "| other | 20.0 ms | 10.0 × | 20.0 – 20.0 ms, n 1 | a \\| in it |" in lines
    shown = peers.show.text(found).splitlines()
    assert len({len(line) for line in shown[1:]}) == 1, shown


def test_what_was_not_measured_has_its_reason_in_all_forms(peers: ModuleType) -> None:
    found = result(
        peers,
        row(peers, "pytest-testbed", 0.001),
        row(peers, "other", reason="there is no docker"),
        absent={"third": "no server"},
    )
    assert "not measured: other: there is no docker" in peers.show.text(found)
    assert "not in it: third: no server" in peers.show.text(found)
    lines = "\n".join(peers.show.markdown(found))
    assert "| other | – | – | – | there is no docker |" in lines
    assert "Not in it: third (no server)." in lines
    assert ">not measured</text>" in peers.chart.chart([found], "A chart")


def test_each_contender_is_in_each_table_or_said_to_be_absent_where_one_would_look_for_it(peers: ModuleType) -> None:
    from_the_issue = {
        "pytest-testbed", "pytest-postgresql", "pytest-mock-resources", "pytest-sqla", "pytest-testcontainers", "pytest-rabbitmq",
        "testcontainers by hand", "pytest-httpserver", "responses", "hand-written fixtures",
    }  # fmt: skip
    assert set(peers.comparisons.CONTENDERS) == from_the_issue
    for comparison in peers.comparisons.COMPARISONS.values():
        names = [way.name for way in comparison.ways]
        assert len(set(names)) == len(names), comparison.key
        assert comparison.ways[0].contender == "pytest-testbed"
        assert not {way.contender for way in comparison.ways} & set(comparison.absent), comparison.key


def test_the_files_of_all_projects_are_python(peers: ModuleType) -> None:
    for comparison in peers.comparisons.COMPARISONS.values():
        for way in comparison.ways:
            for name, text in way.files.items():
                if name.endswith(".py"):
                    compile(text, f"{comparison.key}: {way.name}: {name}", "exec")


# --- the chart


def test_the_chart_is_a_picture_that_can_be_read_aloud(peers: ModuleType) -> None:
    found = result(peers, row(peers, "pytest-testbed", 0.002), row(peers, "<other> & more", 0.02))
    picture = ET.fromstring(peers.chart.chart([found], "What a test costs"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    named = picture.attrib["aria-labelledby"].split()
    said = {each.attrib["id"]: each.text for each in picture if "id" in each.attrib}
    assert picture.attrib["role"] == "img"
    assert said[named[0]] == "What a test costs"
    assert "<other> & more 20.0 ms · 10.0 ×" in (said[named[1]] or "")
    assert [each.text for each in picture.findall("svg:text", space)] == [
        "A test: one test", "pytest-testbed", "2.00 ms", "<other> & more", "20.0 ms · 10.0 ×",
    ]  # fmt: skip
    lengths = {each.attrib["class"]: float(each.attrib["width"]) for each in picture.findall("svg:rect", space)}
    assert lengths["other"] == pytest.approx(10 * lengths["ours"], rel=0.01)


def test_all_of_a_chart_lies_inside_of_it(peers: ModuleType) -> None:
    rows = [row(peers, f"a contender with quite a long name, and a form of it that is longer {n}", 10.0**n) for n in range(5)]
    for found in ([], [result(peers)], [result(peers, *rows), result(peers, row(peers, "pytest-testbed", -0.001))]):
        picture = ET.fromstring(peers.chart.chart(found, "A chart"))
        width, height = map(float, picture.attrib["viewBox"].split()[2:])
        for each in picture:
            if "x" in each.attrib:
                assert 0 <= float(each.attrib["x"]) + float(each.attrib.get("width", 0)) <= width
                assert 0 < float(each.attrib["y"]) + float(each.attrib.get("height", 0)) <= height


def test_the_chart_has_colours_for_the_dark(peers: ModuleType) -> None:
    light, _, dark = peers.chart.STYLE.partition("@media (prefers-color-scheme: dark)")
    for kind in ("ground", "text", "none", "other", "ours", "rail"):
        assert re.search(rf"\.?{kind} {{ fill: #", light), kind
        assert re.search(rf"\.?{kind} {{ fill: #", dark), kind


# --- versions, the page, the file


def test_versions_that_differ_are_shown_with_their_environments(peers: ModuleType) -> None:
    found = {"a": {"pytest": "9.2", "SQLAlchemy": "2.1"}, "b": {"pytest": "9.2", "SQLAlchemy": "2.0"}, "c": {}}
    lines = list(peers.show.versions(found, ["pytest", "SQLAlchemy", "missing"]))
    assert lines[2:] == ["| pytest | 9.2 |", "| SQLAlchemy | 2.1 (a), 2.0 (b) |"]


def test_only_what_stands_between_the_marks_is_written(peers: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- compared -->\nold\n<!-- end of what was compared -->\nafter\n")
    for _ in range(2):
        peers.page.put(page, "compared", ["new"])
    assert page.read_text() == "before\n<!-- compared -->\n\nnew\n\n<!-- end of what was compared -->\nafter\n"
    with pytest.raises(SystemExit, match="has no lines <!-- clone -->"):
        peers.page.put(page, "clone", ["new"])


def test_the_real_page_has_the_marks(peers: ModuleType) -> None:
    text = (BENCHMARKS.parent / "docs" / "explanation" / "speed.md").read_text()
    for begin, end in peers.page.MARKS.values():
        assert text.count(begin) == text.count(end) == 1
        assert text.index(begin) < text.index(end)


def test_results_come_back_from_the_file_as_they_were(peers: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert peers.page.read(file)["results"] == {}
    found = result(peers, row(peers, "pytest-testbed", 0.002), row(peers, "b", reason="why"), made="2026-01-02", commit="abc")
    kept = peers.page.read(None) | {"results": {"test-it": peers.page.as_kept(found)}}
    peers.page.write(file, kept)
    assert peers.model.Result.read(peers.page.read(file)["results"]["test-it"]) == found
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_the_page_says_machine_commit_versions_and_shows_the_charts(peers: ModuleType, tmp_path: Path) -> None:
    found = result(peers, row(peers, "pytest-testbed", 0.002), made="2026-01-02", commit="abc", load=0.5)
    kept = {
        "machine": {"processor": "2 × A"}, "versions": {"a": {"pytest": "9.2"}},
        "results": {"test-it": peers.page.as_kept(found)}, "clone": {},
    }  # fmt: skip
    charts = peers.page.charts_for(kept, tmp_path / "speed.md")
    assert [path.name for path in tmp_path.iterdir()] == ["speed-test.svg"]
    text = "\n".join(peers.page.lines(kept, charts))
    for part in (
        "2026-01-02",
        "`abc`",
        "| processor | 2 × A |",
        "0.5 to 0.5",
        "(speed-test.svg)",
        "| pytest | 9.2 |",
        "#### A test",
    ):
        assert part in text


# --- what runs


def test_the_line_that_says_most_of_a_failure(peers: ModuleType) -> None:
    assert peers.processes.telling("a\nE   first: no server\nE   second\nlast") == "first: no server"
    assert peers.processes.telling("some Error: x\nlast") == "some Error: x"
    assert peers.processes.telling("only\nthis") == "this"
    assert peers.processes.telling("") == ""


def test_only_the_whole_sign_of_a_run_is_its_sign(peers: ModuleType) -> None:
    sign, bears = peers.processes.SIGN.encode(), peers.processes.bears
    assert bears(b"A=b\0" + sign + b"=bench12\0C=d\0", "bench12")
    for other in (b"", b"A=b\0", sign + b"=bench1\0", sign + b"=bench123\0", b"X" + sign + b"=bench12\0"):
        assert not bears(other, "bench12")


def test_what_a_run_has_left_is_ended_and_nothing_else(peers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ended in earnest: with a fault in the search a real signal would go to everybody on the machine."""
    processes, alive, ended = peers.processes.Processes(None), [41, 42], []

    def kill(process: int, sign: int) -> None:
        ended.append((process, sign))
        if process == 41 or sign == signal.SIGKILL:
            alive.remove(process)

    clock = iter(range(1000))
    monkeypatch.setattr(peers.processes.os, "kill", kill)
    monkeypatch.setattr(peers.processes.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(peers.processes.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(processes, "left", lambda: list(alive))
    assert processes.sweep(grace=0) == [41, 42]
    assert ended == [(41, signal.SIGTERM), (42, signal.SIGTERM), (42, signal.SIGKILL)]
    assert processes.sweep(grace=0) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux says whose a process is")
def test_processes_are_found_by_their_sign(peers: ModuleType) -> None:
    processes = peers.processes.Processes(None)
    variables = {**os.environ, peers.processes.SIGN: processes.run}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=variables) as ours:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
            found = processes.left()
            assert found == [ours.pid]
            assert other.pid not in found


def test_only_containers_of_the_run_are_removed(peers: ModuleType) -> None:
    there = ["bench12-5", "bench12-tc-psql-x", "bench13-5", "pmr_postgres_3286", "pmr_postgres_32861", "shop-db"]
    found = peers.processes.of_run(there, "bench12", ["pmr_postgres_3286", "gone"])
    assert found == ["bench12-5", "bench12-tc-psql-x", "pmr_postgres_3286"]


def test_a_failing_process_is_a_reason_and_no_end(peers: ModuleType, tmp_path: Path) -> None:
    processes = peers.processes.Processes(None)
    with pytest.raises(peers.model.Unable, match="no such thing"):
        processes.timed([sys.executable, "-c", "raise SystemExit('Error: no such thing')"], tmp_path, {})
    ran = processes.timed([sys.executable, "-c", "import os; print(os.environ['A'])"], tmp_path, {"A": "b"})
    assert (ran.output, ran.seconds > 0) == ("b\n", True)


def test_one_that_cannot_run_leaves_the_others_in_the_table(peers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way is left out where it is made ready, where it warms up, and where it fails in a later turn."""
    measure, model = peers.measure, peers.model

    class Ready:
        def __init__(self, bench: object, key: str, number: int, way: object) -> None:
            self.way, self.turns = way, 0
            if way.contender == "absent":
                raise model.Unable("there is no docker")

    def warm(ready: Ready) -> None:
        if ready.way.contender == "cold":
            raise model.Unable("does not start")
        if ready.way.contender == "dead":
            raise BrokenPipeError("the common server is gone")

    def turn(ready: Ready) -> dict[str, float]:
        ready.turns += 1
        if ready.way.contender == "late" and ready.turns == 2:
            raise model.Unable("breaks")
        return {"one test": 0.1}

    monkeypatch.setattr(measure, "Ready", Ready)
    monkeypatch.setattr(measure, "warm", warm)
    monkeypatch.setitem(measure.MEASURES, "test", turn)
    ways = tuple(model.Way(name, "venv", {}) for name in ("pytest-testbed", "absent", "cold", "dead", "late"))
    comparison = model.Comparison("test-it", "test", "A test", "About.", ways, "one test")
    found = measure.compare(None, comparison, [], 3, measure.Progress(0))
    assert {each.name: (len(each.samples.get("one test", [])), each.reason) for each in found.rows} == {
        "pytest-testbed": (3, ""), "absent": (0, "there is no docker"), "cold": (0, "does not start"), "late": (0, "breaks"),
        "dead": (0, "the common server is gone"),
    }  # fmt: skip
    only = measure.compare(None, comparison, ["pytest-testbed"], 1, measure.Progress(0))
    assert [each.name for each in only.rows] == ["pytest-testbed"]


def test_the_summary_of_a_clone(peers: ModuleType) -> None:
    said = ["x", "======= 12 passed, 1 skipped in 3.21s =======", "======= short test summary info ====="]
    assert peers.clone.summary(said) == "12 passed, 1 skipped in 3.21s"
    assert peers.clone.summary([]) == ""


def test_what_the_page_says_of_a_clone(peers: ModuleType) -> None:
    found = {
        "cloned": 1.04, "first": 61.26, "end": 70.0, "summary": "12 passed in 3.21s", "cold": True, "commit": "abc",
        "made": "2026-01-02", "machine": "2 × A, Python 3.11.2",
    }  # fmt: skip
    lines = peers.clone.lines(found)
    assert "with an empty cache of pip, on 2 × A, Python 3.11.2; the repository" in lines[0]
    assert "| the first test is green | 61.3 |" in lines
    assert "61.3 s" in peers.clone.show(found)
