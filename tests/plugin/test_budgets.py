"""Budgets in a pytest inside pytest: who has which, what a test is told, and the kinds of tests that have one."""

from __future__ import annotations

import sys

import pytest

from .conftest import Project

EXCEEDED = "seconds=1e-9"
"""Every test takes longer."""
HTTP = """
import http.server, threading
import pytest

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass

@pytest.fixture(scope="session")
def url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
"""


def one(project: Project, *lines: str, mark: str = "") -> None:
    """Write one empty test, and what `testbed_budget` says."""
    if lines:
        project.pytester.makeini("[pytest]\ntestbed_budget =\n" + "".join(f"    {line}\n" for line in lines))
    project.write(test_it=f"import pytest\n{f'@pytest.mark.budget({mark})' if mark else ''}\ndef test_it(): pass\n")


# --- what a test is told


def test_a_test_runs_to_its_end_and_fails_then(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, urllib.request
        done = []

        @pytest.mark.budget(http_calls=2, seconds=60)
        def test_it(url):
            for number in range(3):
                urllib.request.urlopen(f"{url}/items/{number}?key=secret").read()
            done.append(True)

        def test_after():
            assert done
        """,
        conftest=HTTP,
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_it _*",
            "used 3 HTTP calls, budget 2 (mark on test_it)",
            "  3 x GET http://127.0.0.1:*/items/[*] · * ms · test_it.py:7 in test_it",
            "FAILED test_it.py::test_it - Failed: used 3 HTTP calls, budget 2 (mark *",
        ]
    )
    assert "secret" not in result.stdout.str()
    assert "src/pytest_testbed" not in result.stdout.str()


def test_seconds_are_told_with_what_took_them(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, urllib.request

        @pytest.mark.budget(seconds=1e-9)
        def test_it(url):
            urllib.request.urlopen(url).read()
        """,
        conftest=HTTP,
    )
    project.run().stdout.fnmatch_lines(
        [
            "used 0.* s, budget 1e-09 s (mark on test_it)",
            "  in the test: 1 HTTP call in 0.* s",
            "  not in the budget: setup 0.* s",
        ]
    )


def test_several_budgets_are_told_together(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, urllib.request

        @pytest.mark.budget(seconds=1e-9, http_calls=0)
        def test_it(url):
            urllib.request.urlopen(url).read()
        """,
        conftest=HTTP,
    )
    project.run().stdout.fnmatch_lines(["used * s, budget 1e-09 s (*", "used 1 HTTP call, budget 0 (mark on test_it)"])


@pytest.mark.parametrize("kind", ["function", "unittest"])
def test_a_test_s_own_failure_comes_first(project: Project, kind: str) -> None:
    body = {
        "function": f"@pytest.mark.budget({EXCEEDED})\ndef test_it():\n    assert 1 == 2, 'mine'",
        "unittest": f"class TestIt(unittest.TestCase):\n    @pytest.mark.budget({EXCEEDED})\n"
        "    def test_it(self): self.fail('mine')",
    }[kind]
    project.write(test_it=f"import pytest, unittest\n{body}\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *mine*", "*- Exceeded budget -*", "used * s, budget 1e-09 s (mark on test_it)", "FAILED *: mine*"]
    )
    assert "src/pytest_testbed" not in result.stdout.str()


def test_a_failure_within_the_budget_says_nothing_of_it(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest
        @pytest.mark.budget({EXCEEDED})
        def test_a(): pass
        @pytest.mark.budget(seconds=60)
        def test_b(): assert 0
        """
    )
    result = project.run()
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("used ") == 2  # of test_a, and in the summary
    assert "Exceeded budget" not in result.stdout.str()


# --- who has which budget


@pytest.mark.parametrize(
    ("mark", "source"),
    [
        ("", "testbed_budget from tox.ini: test_it.py"),
        ("queries=1", "testbed_budget from tox.ini: test_it.py"),
        ("seconds=2e-9", "mark on test_it"),
    ],
)
def test_a_mark_before_a_folder_before_the_rest_each_for_itself(project: Project, mark: str, source: str) -> None:
    one(project, "seconds=60 http_calls=0", f"test_it.py: {EXCEEDED}", mark=mark)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"used *({source})"])


def test_the_innermost_folder_counts_and_the_nearest_mark(project: Project) -> None:
    project.pytester.makeini(
        f"[pytest]\ntestbed_budget =\n  seconds=60\n  tests: {EXCEEDED} queries=1\n  tests/slow tests/late.d: seconds=none\n"
    )
    for folder in ("tests/slow", "tests/late.d", "tests/quick"):
        project.pytester.mkdir(folder) if folder.count("/") == 0 else (project.path / folder).mkdir(parents=True)
        (project.path / folder / f"test_{folder[6:9]}.py").write_text("def test_it(): pass")
    project.write(
        test_top=f"""
        import pytest
        pytestmark = pytest.mark.budget({EXCEEDED}, queries=5)

        class TestIt:
            pytestmark = pytest.mark.budget(seconds=60)
            def test_by_class(self): pass

            @pytest.mark.budget(queries=3)
            def test_other(self): pass

        class TestThat:
            def test_by_module(self): pass
        """
    )
    result = project.run("-rA")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "used * (testbed_budget from tox.ini: tests)",
            "used * (mark on test_top.py)",
            "PASSED tests/slow/*",
            "PASSED tests/late.d/*",
        ]
    )


def test_none_lifts_a_budget(project: Project) -> None:
    one(project, EXCEEDED, mark="seconds=None, queries=1")
    project.run().assert_outcomes(passed=1)


def test_the_option_in_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    one(project)
    monkeypatch.setenv("TESTBED_BUDGET", f"queries=1 test_it.py: {EXCEEDED} messages=0")
    project.run().stdout.fnmatch_lines(["used * (testbed_budget from environment TESTBED_BUDGET: test_it.py)"])


@pytest.mark.parametrize("ci", ["", "true"])
def test_under_ci_seconds_are_multiplied(project: Project, monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    one(project, mark="seconds=1e-9")
    factor = "1e-09 s x 3 under CI, " if ci else ""
    budget = "3e-09" if ci else "1e-09"
    project.run("-o", "testbed_budget_ci=3").stdout.fnmatch_lines([f"used * s, budget {budget} s ({factor}mark on test_it)"])


def test_a_test_cannot_change_whether_this_is_a_ci(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest
        @pytest.mark.budget({EXCEEDED})
        def test_it(monkeypatch): monkeypatch.setenv("CI", "1")
        """
    )
    assert "under CI" not in project.run().stdout.str()


# --- what is wrong


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("querys=5", "in which 'querys' is no budget; did you mean 'queries'?"),
        ("rows=5", "in which 'rows' is no budget; there are seconds, queries, http_calls, messages."),
        ("queries=many", "in which 'many' is not a whole number, or none."),
        ("queries=2.5", "in which '2.5' is not a whole number, or none."),
        ("seconds=fast", "in which 'fast' is not a number, or none."),
        ("seconds=0", "in which seconds must be above 0."),
        ("seconds=nan", "in which seconds must be above 0."),
        ("messages=-1", "in which messages must be 0 or more."),
        ("tests queries=1", "where a colon is missing behind 'tests'."),
        ("tests/a tests/b:", "which says no budget, such as queries=50."),
        (": queries=1", "which names no folder before its colon."),
    ],
)
def test_a_bad_line_is_an_error_of_usage(project: Project, line: str, words: str) -> None:
    one(project, "http_calls=1", line)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().strip() == (
        f"ERROR: testbed_budget = ['http_calls=1', {line!r}] (from tox.ini) holds {line!r}, {words}"
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("queries=1", "queries=2"), "says queries twice: 1 and 2."),
        (("tests: queries=1", "./tests/: messages=1 queries=none"), "says queries twice for 'tests': 1 and none."),
    ],
)
def test_a_budget_that_is_said_twice(project: Project, lines: tuple[str, ...], words: str) -> None:
    (project.path / "tests").mkdir()
    one(project, *lines)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_budget = * (from tox.ini) {words}"])


@pytest.mark.parametrize(
    ("folder", "hint"),
    [("tests/units", "; did you mean 'tests/unit'?"), ("test/unit", "; did you mean 'tests'?"), ("tests/unit/x/y", ".")],
)
def test_a_folder_that_is_not_there(project: Project, folder: str, hint: str) -> None:
    (project.path / "tests" / "unit").mkdir(parents=True)
    one(project, f"{folder}: queries=1")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: testbed_budget (from tox.ini) names the folder {folder!r}, which is not there: {project.path / folder}{hint}"]
    )


BAD_MARKS = [
    (
        "querys=5",
        "@pytest.mark.budget(querys=5) on test_it.py::test_it: 'querys' is not an argument of it; did you mean 'queries'?",
    ),
    (
        "5",
        "@pytest.mark.budget(5) on test_it.py::test_it: arguments are given by name; there are: seconds=, queries=, "
        "http_calls=, messages=.",
    ),
    ("seconds='1'", "@pytest.mark.budget(seconds='1') on test_it.py::test_it: '1' is not of type float or None."),
    ("seconds=0", "@pytest.mark.budget(seconds=0) on test_it.py::test_it: 0 must be above 0."),
    ("queries=1.5", "@pytest.mark.budget(queries=1.5) on test_it.py::test_it: 1.5 is not of type int or None."),
    ("queries=True", "@pytest.mark.budget(queries=True) on test_it.py::test_it: True is not of type int or None."),
    ("http_calls=-1", "@pytest.mark.budget(http_calls=-1) on test_it.py::test_it: -1 must be 0 or more."),
    (" ", "@pytest.mark.budget on test_it.py::test_it says nothing; there are: seconds=, queries=, http_calls=, messages=."),
]


@pytest.mark.parametrize(("mark", "text"), BAD_MARKS)
def test_a_bad_mark_is_an_error_of_usage(project: Project, mark: str, text: str) -> None:
    one(project, mark=mark)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().strip() == f"ERROR: {text}"


def test_in_xdist_s_workers_a_bad_mark_fails_its_test(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest
        @pytest.mark.budget(queries=-1)
        def test_bad(): pass
        @pytest.mark.budget({EXCEEDED})
        def test_slow(): pass
        @pytest.mark.budget(queries=0)
        def test_good(): pass
        """
    )
    result = project.run_apart("-p", "xdist", "-n2")
    result.assert_outcomes(errors=1, failed=1, passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "@pytest.mark.budget(queries=-1) on test_it.py::test_bad: -1 must be 0 or more.",
            "used * s, budget *(mark on test_slow)",
        ]
    )
    assert "INTERNALERROR" not in result.stdout.str()


# --- what is not billed


def test_what_fixtures_do_is_not_in_the_budget(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, urllib.request

        @pytest.fixture
        def warm(url):
            urllib.request.urlopen(url).read()
            yield
            urllib.request.urlopen(url).read()

        @pytest.fixture
        def lazy(url):
            urllib.request.urlopen(url).read()

        @pytest.fixture
        def outer(request):
            request.getfixturevalue("lazy")

        @pytest.mark.budget(http_calls=0)
        def test_none(warm, request):
            request.getfixturevalue("outer")

        @pytest.mark.budget(http_calls=0)
        def test_one(warm, request, url):
            request.getfixturevalue("outer")
            urllib.request.urlopen(url).read()
        """,
        conftest=HTTP,
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "used 1 HTTP call, budget 0 (mark on test_one)",
            "  1 x GET http://127.0.0.1:* in test_one",
            "  (its fixtures used 2 HTTP calls, which are not in the budget)",
        ]
    )


@pytest.mark.parametrize(
    ("start", "how"),
    [("prefetch", "alpha"), ("lazy", "request.getfixturevalue('alpha')"), ("lazy", "testbed.endpoint('alpha')")],
)
def test_the_start_of_a_service_is_not_in_the_budget(project: Project, start: str, how: str) -> None:
    project.kinds(alpha={"seconds": 0.4})
    project.write(
        test_it=f"""
        import pytest
        @pytest.mark.budget(seconds=0.3)
        def test_it({how if how == "alpha" else "request, testbed"}):
            {how}

        @pytest.mark.budget({EXCEEDED})
        def test_other(): pass
        """
    )
    result = project.run(f"--testbed-start={start}")
    result.assert_outcomes(passed=1, failed=1)


def test_waiting_for_a_service_is_told(project: Project) -> None:
    project.kinds(alpha={"seconds": 0.2})
    project.write(
        test_it=f"""
        import pytest
        @pytest.mark.budget({EXCEEDED})
        def test_it(testbed):
            testbed.endpoint("alpha")
        """
    )
    result = project.run("--testbed-start=lazy")
    result.stdout.fnmatch_lines(["  not in the budget: setup * s, waiting for services to start 0.[1-9]* s"])


@pytest.mark.parametrize("server", ["thread", "none"])
def test_an_application_s_calls_count_and_those_of_the_test_s_client_do_not(project: Project, server: str) -> None:
    project.write(
        shop="""
        import urllib.request

        def app(environ, start_response):
            urllib.request.urlopen(environ["HTTP_X_STOCK"] + "/stock").read()
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
        test_it="""
        import pytest

        @pytest.mark.budget(http_calls=1)
        def test_it(api_client, url):
            for _ in range(2):
                api_client.get("/", headers={"X-Stock": url}).assert_status(200)
        """,
        conftest=HTTP,
    )
    result = project.run("-o", "testbed_app=shop:app", "-o", f"testbed_app_server={server}", "-o", "testbed_app_interface=wsgi")
    result.stdout.fnmatch_lines(
        ["used 2 HTTP calls, budget 1 (mark on test_it)", "  2 x GET http://127.0.0.1:*/stock · * ms · shop.py:4 in app"]
    )


def test_what_a_mock_answers_counts(project: Project) -> None:
    project.write(
        test_it="""
        import httpx, pytest, requests

        @pytest.mark.budget(http_calls=0)
        def test_it(http_mock):
            http_mock.get("https://api.example.com/a", json={})
            requests.get("https://api.example.com/a")
            httpx.get("https://api.example.com/a")
        """
    )
    result = project.run()
    result.stdout.fnmatch_lines(["used 2 HTTP calls, budget 0 (mark on test_it)"])


# --- kinds of tests

KINDS = """
import unittest
import pytest

pytestmark = pytest.mark.budget(seconds=1e-9)

@pytest.mark.parametrize("n", [1, 2])
def test_parametrised(n): pass

class TestClass:
    def test_method(self): pass

class TestUnit(unittest.TestCase):
    def setUp(self): self.there = True
    def test_unit(self): assert self.there

class TestAsyncUnit(unittest.IsolatedAsyncioTestCase):
    async def test_async_unit(self): pass

@pytest.mark.asyncio
async def test_asyncio(): pass

@pytest.mark.anyio
async def test_anyio(): pass

def test_doubled(request):
    '''
    >>> 1 + 1
    2
    '''
"""


def test_tests_of_every_kind_have_budgets(project: Project) -> None:
    project.write(test_it=KINDS, conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'")
    options = ("-p", "pytest_asyncio.plugin", "-p", "anyio", "-o", "asyncio_default_fixture_loop_scope=function")
    result = project.run(*options)
    result.assert_outcomes(failed=8)
    assert result.stdout.str().count("s, budget 1e-09 s (mark on test_it.py)\n") == 8


def test_they_pass_within_them(project: Project) -> None:
    project.write(
        test_it=KINDS.replace("1e-9", "60, queries=0, http_calls=0, messages=0"),
        conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'",
    )
    options = ("-p", "pytest_asyncio.plugin", "-p", "anyio", "-o", "asyncio_default_fixture_loop_scope=function")
    project.run(*options, "-p", "randomly", "-p", "pytest_timeout", "--timeout=60").assert_outcomes(passed=8)


def test_doctests_have_those_of_their_folder(project: Project) -> None:
    project.pytester.makeini(f"[pytest]\ntestbed_budget = {EXCEEDED}")
    project.write(shop='def double(n):\n    """\n    >>> double(2)\n    4\n    """\n    return 2 * n')
    (project.path / "more.txt").write_text(">>> 1\n1\n")
    result = project.run("--doctest-modules", "--doctest-glob=*.txt")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("s, budget 1e-09 s (testbed_budget from tox.ini)\n") == 2


SUBTESTS = {
    "unittest": """
        class TestIt(unittest.TestCase):
            @pytest.mark.budget(http_calls=2)
            def test_it(self):
                for number in range(3):
                    with self.subTest(number=number):
                        call()
    """,
    "fixture": """
        @pytest.mark.budget(http_calls=2)
        def test_it(subtests):
            for number in range(3):
                with subtests.test(number=number):
                    call()
    """,
}


@pytest.mark.parametrize("kind", [kind for kind in SUBTESTS if kind == "unittest" or hasattr(pytest, "Subtests")])  # from 9 on
def test_subtests_count_together(project: Project, kind: str) -> None:
    project.write(
        test_it=f"""
        import pytest, unittest, urllib.request

        @pytest.fixture(autouse=True)
        def way(url):
            global call
            call = lambda: urllib.request.urlopen(url).read()

        {SUBTESTS[kind]}
        """,
        conftest=HTTP,
    )
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["used 3 HTTP calls, budget 2 (mark on test_it)"])


def test_a_skipped_test_has_no_fault(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest, unittest
        pytestmark = pytest.mark.budget({EXCEEDED})

        @pytest.mark.skip
        def test_a(): pass
        def test_b(): pytest.skip("half-way")
        class TestIt(unittest.TestCase):
            def test_c(self): self.skipTest("half-way")
        """
    )
    result = project.run("-rA")
    result.assert_outcomes(skipped=3)
    assert "used " not in result.stdout.str()


def test_an_exceeded_budget_is_a_failure_that_xfail_expects(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest
        slow, quick = pytest.mark.budget({EXCEEDED}), pytest.mark.budget(seconds=60)

        @slow
        @pytest.mark.xfail(strict=True)
        def test_slow(): pass

        @slow
        @pytest.mark.xfail
        def test_fails_as_well(): assert 0

        @slow
        @pytest.mark.xfail(raises=KeyError)
        def test_something_else_was_expected(): pass

        @quick
        @pytest.mark.xfail(strict=True)
        def test_quick(): pass

        @quick
        @pytest.mark.xfail
        def test_passes(): pass
        """
    )
    result = project.run()
    result.assert_outcomes(xfailed=2, failed=2, xpassed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])


def test_a_test_that_is_run_again_is_counted_anew(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, urllib.request
        runs = []

        @pytest.mark.budget(http_calls=2)
        def test_it(url):
            runs.append(1)
            for _ in range(3 if len(runs) == 1 else 2):
                urllib.request.urlopen(url).read()
        """,
        conftest=HTTP,
    )
    result = project.run("-p", "pytest_rerunfailures", "--reruns=2")
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["rerun"]) == (1, 1)


def test_a_stopped_clock_changes_nothing(project: Project) -> None:
    pytest.importorskip("freezegun")
    project.write(
        test_it="""
        import time
        import pytest
        from freezegun import freeze_time

        @pytest.mark.budget(seconds=1e-9)
        @freeze_time("2020-01-01")
        def test_stopped(): pass

        @pytest.mark.budget(seconds=60)
        def test_runs_ahead():
            with freeze_time("2020-01-01") as frozen:
                frozen.tick(1000)
                time.perf_counter()

        @pytest.fixture
        def frozen():
            with freeze_time("2020-01-01") as frozen:
                yield frozen

        @pytest.mark.budget(seconds=60)
        def test_by_fixture(frozen):
            frozen.tick(1000)
        """
    )
    result = project.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["used * s, budget 1e-09 s (mark on test_stopped)"])


def test_a_debugger_stops_the_clock(project: Project) -> None:
    project.write(
        test_it=f"""
        import pytest

        @pytest.mark.budget({EXCEEDED})
        def test_looked_at(): breakpoint()

        @pytest.mark.budget({EXCEEDED})
        def test_after(): pass
        """
    )
    result = project.pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", stdin=b"c\n", timeout=60)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["used * s, budget 1e-09 s (mark on test_after)"])


# --- who has none


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--setup-only"])
def test_where_no_test_runs_there_is_no_fault(project: Project, option: str) -> None:
    one(project, "queries=0 messages=0", mark=EXCEEDED)
    result = project.run(option)
    assert result.ret == 0
    assert "used " not in result.stdout.str()


def test_switched_off_the_mark_is_known_and_nothing_fails(project: Project) -> None:
    one(project, "querys=1", mark=EXCEEDED)
    project.run("--strict-markers", "-W", "error", "-p", "no:pytest_testbed.plugins.budgets").assert_outcomes(passed=1)


def test_in_a_test_without_a_budget_nothing_stands_in(project: Project) -> None:
    project.write(
        test_it="""
        import http.client, sys
        import pytest
        plain, finders = vars(http.client.HTTPConnection)["putrequest"], list(sys.meta_path)

        @pytest.mark.budget(http_calls=0)
        def test_with():
            assert vars(http.client.HTTPConnection)["putrequest"] is not plain

        @pytest.mark.budget(http_calls=None)
        def test_lifted():
            assert vars(http.client.HTTPConnection)["putrequest"] is plain

        @pytest.mark.budget(http_calls=0)
        def test_again(): pass

        def test_without():
            assert vars(http.client.HTTPConnection)["putrequest"] is plain
            assert sys.meta_path == finders

        @pytest.mark.budget(http_calls=0)
        def test_last(): pass
        """
    )
    project.run().assert_outcomes(passed=5)
    from http.client import HTTPConnection

    assert HTTPConnection.putrequest.__module__ == "http.client"
    assert HTTPConnection.putrequest.__qualname__ == "HTTPConnection.putrequest"
    assert not hasattr(HTTPConnection.putrequest, "__wrapped__")


@pytest.mark.fresh_interpreter  # a prepared one has SQLAlchemy
def test_a_budget_imports_no_library(project: Project) -> None:
    project.write(
        test_it="""
        import sys
        import pytest

        @pytest.mark.budget(seconds=60, queries=0, http_calls=0, messages=0)
        def test_it():
            names = "sqlalchemy psycopg2 psycopg asyncpg pika aiormq amqp requests httpx aiohttp asyncio"
            assert not {*names.split()} & set(sys.modules)
        """
    )
    project.run_apart().assert_outcomes(passed=1)


def test_a_run_without_budgets_has_no_plugin_for_them(project: Project) -> None:
    project.write(
        test_it="def test_it(pytestconfig): assert not pytestconfig.pluginmanager.has_plugin('pytest_testbed.budgeted')"
    )
    project.run().assert_outcomes(passed=1)
