"""`http_mock`: what fails a test and what does not, as users of requests see it."""

from __future__ import annotations

import re

import pytest
import requests
import responses  # loaded once for all runs in here

from .conftest import Project

LOADED = (requests, responses)

HEAD = """
import pytest, requests, responses
from responses import matchers

def ask(url="https://api.example.com/charges", method="get", **more):
    try:
        return getattr(requests, method)(url, **more)
    except Exception:
        return None

"""


def run(project: Project, test: str, *args: str) -> pytest.RunResult:
    project.write(test_it=HEAD + test)
    return project.run(*args)


# --- what it is


def test_it_is_responses_with_all_that_it_can(project: Project) -> None:
    run(
        project,
        """
def test_it(http_mock):
    assert isinstance(http_mock, responses.RequestsMock)
    http_mock.add(http_mock.GET, "https://a.example/", json={"n": 1}, headers={"X-A": "b"}, status=201)
    http_mock.post("https://a.example/", body=b"posted", match=[matchers.json_params_matcher({"a": 1})])
    http_mock.add_callback("PUT", "https://a.example/", lambda request: (202, {"X-B": "c"}, request.body))
    http_mock.add(responses.Response("DELETE", "https://a.example/", status=204))
    first = requests.get("https://a.example/")
    assert (first.status_code, first.json(), first.headers["x-a"]) == (201, {"n": 1}, "b")
    assert requests.post("https://a.example/", json={"a": 1}).content == b"posted"
    assert requests.put("https://a.example/", data="hey").text == "hey"
    assert requests.delete("https://a.example/").status_code == 204
    assert len(http_mock.calls) == 4
    assert http_mock.calls[1].request.url == "https://a.example/"
    assert http_mock.assert_call_count("https://a.example/", 4)
    http_mock.replace("GET", "https://a.example/", body="new")
    assert requests.get("https://a.example/").text == "new"
    http_mock.upsert("PATCH", "https://a.example/", body="up")
    assert requests.patch("https://a.example/").text == "up"
    http_mock.remove("PATCH", "https://a.example/")
    assert len(http_mock.registered()) == 4
    http_mock.response_callback = lambda response: setattr(response, "seen", True) or response
    assert requests.get("https://a.example/").seen
    http_mock.reset()
    assert (len(http_mock.calls), http_mock.registered()) == (0, [])
    http_mock.set_registry(responses.registries.OrderedRegistry)
    http_mock.get("https://a.example/1", body="1")
    http_mock.get("https://a.example/2", body="2")
    assert [requests.get(f"https://a.example/{n}").text for n in (1, 2)] == ["1", "2"]

def test_two_equal_stubs(http_mock):
    http_mock.get("https://a.example/", body="first")
    http_mock.get("https://a.example/", body="second")
    assert [requests.get("https://a.example/").text for _ in range(3)] == ["first", "second", "second"]

def test_errors_retries_and_streams(http_mock):
    http_mock.get("https://a.example/", body=requests.ReadTimeout("too late"))
    with pytest.raises(requests.ReadTimeout, match="too late"):
        requests.get("https://a.example/")
    http_mock.get("https://b.example/", status=503)
    http_mock.get("https://b.example/", body="at last")
    from requests.adapters import HTTPAdapter, Retry
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(max_retries=Retry(2, status_forcelist=[503], backoff_factor=0)))
        assert session.get("https://b.example/").text == "at last"
    http_mock.get("https://c.example/", body="x" * 100)
    with requests.get("https://c.example/", stream=True) as response:
        assert len(list(response.iter_content(10))) == 10
""",
    ).assert_outcomes(passed=3)


def test_nothing_is_loaded_for_those_who_do_not_ask(project: Project) -> None:
    project.write(
        test_it="""
        import sys
        def test_it():
            assert not {"responses", "requests", "respx", "httpx"} & set(sys.modules)
        """
    )
    project.run_apart().assert_outcomes(passed=1)


# --- what no stub matches


def test_code_that_swallows_the_error(project: Project) -> None:
    result = run(
        project,
        """
def test_it(http_mock):
    http_mock.get("https://elsewhere.example/")
    http_mock.post("https://api.example.com/charge", json={}, match=[matchers.json_params_matcher({"amount": 1})])
    http_mock.post("https://api.example.com/charges", json={}, match=[matchers.json_params_matcher({"amount": 1})])
    ask("https://api.example.com/charges?api_key=k1", "post", json={"amount": 2})
    ask("https://api.example.com/charges?api_key=k1", "post", json={"amount": 2})
    ask("https://me:pw@api.example.com/charges", "post")
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_it*",
            "StubError: 3 requests of this test met no stub of http_mock:",
            "",
            "  POST https://api.example.com/charges?api_key=[*][*][*] (2 times)",
            "      not POST https://api.example.com/charges:",
            "          *{*amount*: 2} doesn't match {*amount*: 1}*",  # responses before 0.26 leaves the quotes out
            "      not POST https://api.example.com/charge:",
            "          the path is /charges, not /charge",
            "      not GET https://elsewhere.example/:",
            "          the method is POST, not GET",
            "          the host is api.example.com, not elsewhere.example",
            "          the path is /charges, not /",
            "  POST https://me:[*][*][*]@api.example.com/charges",
            "      not POST https://api.example.com/charges:",
            "          the name and password in the URL are not the stub's*",
            "*@pytest.mark.http_mock(passthrough='https://api.example.com/') or",
            "http_mock.add_passthru('https://api.example.com/')*http_mock.unmatched.clear().",
            "*Captured HTTP*",
            "http_mock: POST https://api.example.com/charges?api_key=[*][*][*] → no answer (no stub matched)",
        ]
    )
    assert "k1" not in result.stdout.str().partition("Captured HTTP")[0].partition("StubError")[2]
    assert "mocked.py" not in result.stdout.str(), "a plain error has no traceback"


def test_the_test_s_own_error_is_shown_too(project: Project) -> None:
    result = run(
        project,
        """
def test_it(http_mock):
    ask()
    assert 1 == 2, "mine"

@pytest.mark.http_mock(strict=True)
def test_strict(http_mock):
    http_mock.get("https://unused.example/")
    assert 1 == 2, "mine as well"
""",
    )
    result.assert_outcomes(failed=2, errors=2)
    text = result.stdout.str()
    assert "AssertionError: mine\n" in text
    assert "AssertionError: mine as well\n" in text
    assert text.count("met no stub of http_mock") >= 1
    assert "1 stub of http_mock was not used by any request (by its mark http_mock):" in text
    assert "GET https://unused.example/" in text


def test_who_expects_the_error_says_so(project: Project) -> None:
    run(
        project,
        """
def test_counts(http_mock):
    with pytest.raises(requests.ConnectionError, match="doesn't match any registered mock"):
        requests.get("https://a.example/")

def test_is_told(http_mock):
    with pytest.raises(requests.ConnectionError):
        requests.get("https://a.example/b")
    [each] = http_mock.unmatched
    assert (each.method, each.url, each.stubs) == ("GET", "https://a.example/b", ())
    http_mock.reset()
    assert http_mock.unmatched
    http_mock.unmatched.clear()
""",
    ).assert_outcomes(passed=2, errors=1)


def test_what_was_skipped_or_expected_to_fail_proves_nothing(project: Project) -> None:
    run(
        project,
        """
def test_skipped(http_mock):
    ask()
    pytest.skip("no network")

@pytest.mark.xfail(strict=True)
@pytest.mark.http_mock(strict=True)
def test_expected(http_mock):
    http_mock.get("https://unused.example/")
    ask()
    assert False
""",
    ).assert_outcomes(skipped=1, xfailed=1)


def test_secrets_are_not_told(project: Project) -> None:
    result = run(
        project,
        """
from responses import matchers

def test_it(http_mock):
    wanted = {"card": "MINE", "token": "MINE", "password": "MINE", "name": "Ada"}
    http_mock.post("https://pay.example/a", match=[matchers.json_params_matcher(wanted)])
    with pytest.raises(requests.ConnectionError):
        requests.post("https://pay.example/a?api_key=SENT", json={**dict.fromkeys(wanted, "SENT"), "name": "Bob"})
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    text = result.stdout.str()
    assert "MINE" not in text
    assert "SENT" not in text
    assert re.search(r"'?token'?: \*\*\*", text)  # responses before 0.26 leaves the quotes out
    assert re.search("'?name'?: '?Bob", text)


# --- stubs that nothing uses


def test_strict_by_option_and_mark(project: Project) -> None:
    test = """
def test_plain(http_mock):
    http_mock.get("https://unused.example/")

@pytest.mark.http_mock(strict=False)
def test_not(http_mock):
    http_mock.get("https://unused.example/")

@pytest.mark.http_mock(strict=False)
class TestIt:
    @pytest.mark.http_mock(strict=True)
    def test_strict(self, http_mock):
        http_mock.get("https://used.example/")
        http_mock.get("https://unused.example/")
        ask("https://used.example/")

def test_by_responses_own_word(http_mock):
    http_mock.assert_all_requests_are_fired = True
    http_mock.get("https://unused.example/")
"""
    result = run(project, test)
    result.assert_outcomes(passed=4, errors=2)
    assert "GET https://used.example/" not in result.stdout.str().replace("→", "").partition("Captured HTTP")[0]
    result = project.run("-o", "testbed_http_strict=true")
    result.assert_outcomes(passed=4, errors=3)
    assert "(testbed_http_strict, from -o on the command line)" in result.stdout.str()
    result = project.run("-k", "own_word")
    assert "(http_mock.assert_all_requests_are_fired):" in result.stdout.str()
    assert "or set that to False." in result.stdout.str()


# --- what goes through

SERVED = """
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

@pytest.fixture(scope="module")
def served():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"real")
        def log_message(self, *args):
            pass
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
"""


def test_this_machine_needs_no_stub(project: Project) -> None:
    run(
        project,
        SERVED
        + """
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.1.7"])
def test_it(http_mock, served, host):
    url = f"http://{host}:{served}/x"
    if host != "127.0.1.7":
        assert requests.get(url).text == "real"
    http_mock.reset()
    http_mock.get("https://a.example/", body="stubbed")
    http_mock.set_registry
    assert not http_mock.unmatched
    http_mock.post(url, body="stubbed")
    http_mock.get(url, body="stubbed", match=[matchers.query_param_matcher({"q": "1"})])
    assert requests.get(url, params={"q": 1}).text == "stubbed"
    if host != "127.0.1.7":
        assert requests.get(url).text == "real"
    assert [call.request.url for call in http_mock.calls] == [url + "?q=1"]
    requests.get("https://a.example/")

def test_an_ordered_registry_is_not_used_up(http_mock, served):
    http_mock.set_registry(responses.registries.OrderedRegistry)
    http_mock.get("https://a.example/1", body="1")
    http_mock.get("https://a.example/2", body="2")
    assert requests.get(f"http://127.0.0.1:{served}/").text == "real"
    assert [requests.get(f"https://a.example/{n}").text for n in (1, 2)] == ["1", "2"]

def test_other_schemes(http_mock):
    from requests.adapters import HTTPAdapter
    class Adapter(HTTPAdapter):  # as the one of docker's client
        def get_connection_with_tls_context(self, *args, **more):
            raise ZeroDivisionError
    with requests.Session() as session:
        session.mount("http+docker://", Adapter())
        session.mount("http+unix://", Adapter())
        for url in ("http+docker://localhost/version", "http+unix://%2Frun%2Fx.sock/version"):
            with pytest.raises(ZeroDivisionError):
                session.get(url)

def test_nobody_else(http_mock):
    ask("http://127.0.0.1.example.com/")
    ask("http://localhost.example.com/")
    ask("http://a.example/?http://localhost")
    assert len(http_mock.unmatched) == 3
    http_mock.unmatched.clear()
""",
    ).assert_outcomes(passed=6)


def test_the_mark_and_the_options_let_through(project: Project) -> None:
    result = run(
        project,
        """
import re
from requests.adapters import HTTPAdapter

@pytest.fixture
def real(monkeypatch, http_mock):
    went = []
    monkeypatch.setattr(http_mock, "_real_send", lambda _, request, **more: went.append(1) or responses_of(request))
    return went

def responses_of(request):
    response = requests.Response()
    response.status_code, response.request, response.url = 299, request, request.url
    response._content = b""
    return response

@pytest.mark.http_mock(passthrough="https://a.example/api/")
class TestIt:
    @pytest.mark.http_mock(passthrough=[re.compile(r"https://\\w+\\.b\\.example/"), "https://c.example/"])
    def test_marks(self, http_mock, real):
        http_mock.reset()
        for url in ("https://a.example/api/1", "https://x.b.example/", "https://c.example/?q"):
            assert requests.get(url).status_code == 299
        assert ask("https://a.example/other") is None
        http_mock.add_passthru("https://a.example/")
        assert ask("https://a.example/other").status_code == 299
        http_mock.get("https://a.example/api/1", body="stubbed")
        assert requests.get("https://a.example/api/1").text == "stubbed"
        assert len(real) == 4
        http_mock.unmatched.clear()

def test_options(http_mock, real):
    for url in ("https://pay.test/x", "http://10.1.2.3:99/", "https://www.deep.test/", "http://app.test:8000/"):
        assert requests.get(url).status_code == 299
    assert ask("http://app.test:8001/") is ask("https://deep.test.example/") is None
    http_mock.unmatched.clear()
""",
        *("-o", "testbed_http_allow=pay.test 10.0.0.0/8 *.deep.test", "-o", "testbed_app_url=http://app.test:8000"),
    )
    result.assert_outcomes(passed=2)


def test_hosts_of_services(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it=HEAD
        + """
from types import SimpleNamespace
from pytest_testbed.plugin import run_of

def test_it(http_mock, alpha, request, monkeypatch):
    testbed = run_of(request.config).testbed
    monkeypatch.setattr(type(testbed), "started", {"alpha": SimpleNamespace(host="services.test")})
    monkeypatch.setattr(http_mock, "_real_send", lambda adapter, request, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        requests.get("http://services.test:8080/")
"""
    )
    project.run().assert_outcomes(passed=1)


# --- bad marks and options


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("stict=True", "'stict' is not an argument of it; did you mean 'strict'?"),
        ("strict='yes'", "'yes' is not of type bool."),
        ("True", "arguments are given by name; there are: strict=, passthrough=."),
    ],
)
def test_a_bad_mark(project: Project, mark: str, said: str) -> None:
    result = run(project, f"@pytest.mark.http_mock({mark})\ndef test_it(http_mock): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()


@pytest.mark.parametrize(("given", "shown"), [("'api.example.com'", "'api.example.com'"), ("[7]", "7"), ("7", "7")])
def test_a_bad_passthrough(project: Project, given: str, shown: str) -> None:
    result = run(project, f"@pytest.mark.http_mock(passthrough={given})\ndef test_it(http_mock): pass")
    result.assert_outcomes(errors=1)
    assert f"{shown} is neither the beginning of a URL" in result.stdout.str()


@pytest.mark.parametrize("value", ["https://a.example", "10.0.0.0/99", "a.example:0", "a!"])
def test_a_bad_host(project: Project, value: str) -> None:
    result = run(project, "def test_it(): pass", "-o", f"testbed_http_allow={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "testbed_http_allow = " in result.stderr.str()


# --- beside others


def test_a_fixture_of_the_user_s_own_and_the_part_switched_off(project: Project) -> None:
    run(
        project,
        """
@pytest.fixture
def http_mock():
    return "mine"

def test_it(http_mock):
    assert http_mock == "mine"
""",
    ).assert_outcomes(passed=1)
    result = run(
        project, "@pytest.mark.http_mock(strict=True)\ndef test_it(http_mock): pass", "-p", "no:pytest_testbed.plugins.http"
    )
    result.assert_outcomes(errors=1)
    assert "fixture 'http_mock' not found" in result.stdout.str()


def test_responses_of_the_user_s_own(project: Project) -> None:
    run(
        project,
        """
from requests.adapters import HTTPAdapter
REAL = HTTPAdapter.send

@responses.activate
def test_alone():
    responses.get("https://a.example/", body="theirs")
    assert requests.get("https://a.example/").text == "theirs"
    with pytest.raises(requests.ConnectionError):
        requests.get("http://localhost:1/")

@responses.activate
def test_both(http_mock):
    http_mock.get("https://a.example/", body="ours")
    responses.get("https://a.example/", body="theirs")
    assert requests.get("https://a.example/").text == "theirs"

def test_within(http_mock):
    http_mock.get("https://a.example/", body="ours")
    with responses.RequestsMock() as theirs:
        theirs.get("https://a.example/", body="theirs")
        assert requests.get("https://a.example/").text == "theirs"
    assert requests.get("https://a.example/").text == "ours"

@pytest.fixture(scope="module")
def bottom():
    HTTPAdapter.send = lambda *args, **more: 1 / 0
    yield
    HTTPAdapter.send = REAL

def test_left_behind(bottom, http_mock):
    responses.start()

def test_is_put_back(bottom):
    responses.stop()
    responses.reset()
    with pytest.raises(ZeroDivisionError):  # what was there before, not an old mock
        requests.get("https://a.example/")
""",
    ).assert_outcomes(passed=5)


def test_a_plugin_that_has_responses_on_for_every_test(project: Project) -> None:
    project.write(
        conftest="""
        import responses, pytest
        from requests.adapters import HTTPAdapter
        REAL = HTTPAdapter.send

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(item):
            responses.start()

        @pytest.hookimpl(tryfirst=True)  # before fixtures end
        def pytest_runtest_teardown(item):
            responses.stop(allow_assert=False)
            responses.reset()

        def pytest_unconfigure():
            assert HTTPAdapter.send is REAL
        """
    )
    run(
        project,
        SERVED
        + """
def test_it(http_mock, served):
    http_mock.get("https://a.example/", body="ours")
    assert requests.get("https://a.example/").text == "ours"
    assert requests.get(f"http://localhost:{served}/").text == "real"

def test_without():
    with pytest.raises(requests.ConnectionError, match="by Responses"):
        requests.get("http://localhost:1/")
""",
    ).assert_outcomes(passed=2)


def test_a_thread_that_outlives_its_test(project: Project) -> None:
    run(
        project,
        """
import threading
go, done, thread, got = threading.Event(), threading.Event(), [], []

def late(adapter_send):
    go.wait(10)
    try:
        requests.get("http://127.0.0.1:1/late")
    except Exception as error:
        got.append(str(error))
    done.set()

def test_starts_it(http_mock):
    thread.append(threading.Thread(target=late, args=(None,)))
    thread[0].start()

def test_is_not_told_of_it():
    go.set()
    assert done.wait(10)
    thread[0].join()
    assert "Connection refused by Responses" not in got[0]

def test_nor_is_the_next(http_mock):
    assert len(http_mock.calls) == 0
""",
    ).assert_outcomes(passed=3)


def test_every_rerun_is_fresh(project: Project) -> None:
    pytest.importorskip("pytest_rerunfailures")
    result = run(
        project,
        """
count = []

def test_it(http_mock):
    assert (len(http_mock.calls), http_mock.unmatched, http_mock.registered()) == (0, [], [])
    http_mock.get("https://a.example/", body="x")
    requests.get("https://a.example/")
    count.append(1)
    if len(count) == 1:
        ask("https://b.example/")
        assert False
""",
        *("-p", "pytest_rerunfailures", "--reruns", "1"),
    )
    result.stdout.re_match_lines([".*1 passed, [12] rerun.*"])  # the error of the teardown is one more, or not


def test_under_xdist(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_it=HEAD + "@pytest.mark.parametrize('n', range(4))\ndef test_it(http_mock, n):\n    ask()\n")
    project.run_apart("-p", "xdist", "-n", "2").assert_outcomes(passed=4, errors=4)


def test_the_section_of_a_failure(project: Project) -> None:
    result = run(
        project,
        """
def test_it(http_mock):
    http_mock.post("https://a.example/", json={"error": "card_declined"}, status=402)
    headers = {"Authorization": "Bearer abc", "X-Raw": b"raw"}
    requests.post("https://a.example/", json={"password": "x", "amount": 1}, headers=headers)
    assert False
""",
    )
    result.stdout.fnmatch_lines(
        [
            "*Captured HTTP*",
            "http_mock: POST https://a.example/ → 402",
            "    > Authorization: Bearer [*][*][*]",
            "    > X-Raw: raw",
            '    > {"password": "[*][*][*]", "amount": 1}',
            '    < {"error": "card_declined"}',
        ]
    )


@pytest.mark.parametrize("server", ["thread", "process"])
def test_a_failure_shows_the_stubs_that_nobody_used(project: Project, server: str) -> None:
    result = run(
        project,
        """
def test_it(http_mock):
    http_mock.get("https://a.example/?token=t")
    assert False

def test_all_used(http_mock):
    http_mock.get("https://b.example/", body="x")
    requests.get("https://b.example/")
    assert False
""",
        *("-o", "testbed_app=shop:app", "-o", f"testbed_app_server={server}"),
    )
    text = result.stdout.str()
    result.stdout.fnmatch_lines(["*Unused stubs of http_mock*", "GET https://a.example/?token=[*][*][*]"])
    assert text.count("Unused stubs of http_mock") == 1
    assert ("http_mock does not reach the application there" in text) is (server == "process")
