"""`mock_service` in runs of pytest: what fails a test, what is told, and all that can go on beside it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import pytest

from .conftest import Project

EXPORTED = "INVENTORY_URL={mock.inventory.url}"


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def exports(project: Project, *lines: str, more: str = "") -> None:
    text = "\n    ".join(lines or (EXPORTED,))
    project.write(placeholder="")
    (project.path / "pytest.ini").write_text(f"[pytest]\ntestbed_env =\n    {text}\n{more}")


# --- the first example


def test_a_stub_and_what_it_was_asked(project: Project) -> None:
    project.write(
        test_it="""
        import requests

        def test_reservation(mock_service):
            inventory = mock_service("inventory")
            inventory.stub("GET", "/items/{sku}", json={"stock": 3})
            inventory.stub("POST", "/reservations", status=201, request_json={"sku": "A1"})
            assert requests.get(f"{inventory.url}/items/A1").json() == {"stock": 3}
            assert requests.post(f"{inventory.url}/reservations", json={"sku": "A1", "count": 2}).status_code == 201
            (request,) = inventory.verify("POST", "/reservations", json={"count": 2}, times=1)
            assert request.json == {"sku": "A1", "count": 2}
            assert request.headers["content-type"] == "application/json"
            assert [each.method for each in inventory.requests] == ["GET", "POST"]
            assert mock_service("inventory") is inventory
            assert repr(inventory) == f"<MockService 'inventory' at {inventory.url}>"

        def test_another(mock_service):
            assert mock_service("inventory").requests == []
            assert mock_service("inventory").url != mock_service("payment").url
        """
    )
    result = project.run("-W", "error")
    result.assert_outcomes(passed=2)
    assert "testbed" not in result.stdout.str()


# --- what fails a test


def test_an_unmatched_request_fails_the_test_at_its_end(project: Project) -> None:
    project.write(
        test_it="""
        import requests

        def ask(url):
            try:
                requests.get(url).raise_for_status()
            except Exception:
                pass  # as applications do

        def test_swallowed(mock_service):
            inventory = mock_service("inventory")
            inventory.stub("GET", "/items/{sku}", json={"stock": 3})
            ask(f"{inventory.url}/itmes/A1")

        def test_its_own_failure_too(mock_service):
            inventory = mock_service("inventory")
            ask(f"{inventory.url}/a")
            assert "its own" == "failure"

        def test_the_client_gets_the_same_text(mock_service):
            inventory = mock_service("inventory")
            inventory.stub("GET", "/b")
            text = requests.get(f"{inventory.url}/a").text
            inventory.allow_unmatched()
            assert text.splitlines() == [
                "no stub of mock service 'inventory' matches GET /a. The only one:",
                "  GET /b (from test_it.py:21)",
                "      method  GET",
                "    ✗ path    /a, not /b",
            ]
            assert [each.path for each in inventory.unmatched] == ["/a"]
        """
    )
    result = project.run()
    result.assert_outcomes(passed=2, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_swallowed*",
            "*StubError: no stub of mock service 'inventory' matches GET /itmes/A1. The only one:",
            "*GET /items/{sku} (from test_it.py:11)",
            "*method  GET",
            "*✗ path    /itmes/A1, not /items/{sku}",
            "*Captured HTTP*",
            "mock_service inventory: GET /itmes/A1 → 404 (no stub of mock service 'inventory' matches GET /itmes/A1)",
            "*ERROR at teardown of test_its_own_failure_too*",
            "*StubError: no stub of mock service 'inventory' matches GET /a: it has none. Add one with .stub('GET', '/a', *",
            "*= FAILURES =*",
            "*AssertionError*",
            "*Captured HTTP*",
        ]
    )
    assert "http/book.py" not in result.stdout.str()


@pytest.mark.parametrize("is_exported", [True, False])
def test_what_was_skipped_or_expected_to_fail_proves_nothing(project: Project, is_exported: bool) -> None:
    if is_exported:
        exports(project)
    project.write(
        test_it="""
        import pytest, requests, unittest

        @pytest.fixture(autouse=True)
        def ask(mock_service):
            requests.get(mock_service("inventory").url)

        def test_skipped():
            pytest.skip("no network")

        @pytest.mark.xfail(strict=True)
        def test_expected():
            assert False

        @pytest.mark.xfail(raises=LookupError)
        def test_not_so():
            assert False

        class TestIt(unittest.TestCase):
            def test_skipped(self):
                self.skipTest("no network")

            @unittest.expectedFailure
            def test_expected(self):
                assert False
        """
    )
    project.run().assert_outcomes(skipped=2, xfailed=2, failed=1, errors=1)


def test_a_verification_that_fails(project: Project) -> None:
    project.write(
        test_it="""
        import requests

        def test_it(mock_service):
            inventory = mock_service("inventory")
            inventory.stub("POST", "*")
            requests.post(f"{inventory.url}/reservations", json={"sku": "A1", "password": "secret"})
            inventory.verify("POST", "/reservations", json={"sku": "B2"})
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: mock service 'inventory' was asked POST /reservations never, not at least once.",
            "E         what came:",
            "E         POST /reservations",
            "E             method  POST",
            "E             path    /reservations",
            "E           ✗ json    sku is 'A1', not 'B2'",
            "*Captured HTTP*",
            '*"password": "[*][*][*]"*',
        ]
    )
    assert "service.py" not in result.stdout.str()


def test_code_as_an_answer(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, requests
        from pytest_testbed import Answer

        def test_answers(mock_service):
            api = mock_service("api")
            api.stub("POST", "/{kind}/{id}", answer=lambda request: (201, {**request.path_params, **request.json}))
            api.stub("GET", "/a", answer=lambda request: Answer(body=request.query["q"][0], headers={"X-A": "1"}))
            assert requests.post(api.url + "/items/7", json={"n": 1}).json() == {"kind": "items", "id": "7", "n": 1}
            assert requests.get(api.url + "/a?q=x").text == "x"

        def test_one_that_fails(mock_service):
            api = mock_service("api")
            def answer(request):
                raise LookupError("no such item")
            api.stub("GET", "/a", answer=answer)
            assert requests.get(api.url + "/a").status_code == 500

        def test_one_that_ends_the_test(mock_service):
            api = mock_service("api")
            api.stub("GET", "/b", answer=lambda request: pytest.fail("must not be asked"))
            assert requests.get(api.url + "/b").status_code == 500
        """
    )
    result = project.run()
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*StubError: the stub GET /a (from test_it.py:15), asked for GET /a, failed: Traceback *",
            '*raise LookupError("no such item")',
            "*LookupError: no such item",
            "*StubError: the stub GET /b (from test_it.py:*), asked for GET /b, failed: Traceback *",
            "Failed: must not be asked",
        ]
    )


def test_of_what_cannot_be_the_line_of_the_test_is_shown(project: Project) -> None:
    project.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("code", [
            "mock_service('a b')", "api.stub('GET', 'items')",
            "api.stub('GET', '/', query='a')", "api.stub('GET', '/', status=99)",
            "api.stub('GET', '/', times=1, then=object())", "api.stub('GET', '/', answer=1)", "api.verify('GET', '/', times=-1)",
            "api.verify('G E T', '/')", "api.remove(None)", "api.verify('GET', '/')",
        ])
        def test_it(mock_service, code):
            api = mock_service("api")
            eval(code)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=10)
    text = result.stdout.str()
    assert "pytest_testbed/http" not in text
    assert text.count("<string>:1: ") == 10


def test_bad_names(project: Project) -> None:
    project.write(
        test_it="""
        import pytest
        from pytest_testbed import StubError

        @pytest.mark.parametrize("name", ["", "a b", "a.b", "/a", None, "-a"])
        def test_it(mock_service, name):
            with pytest.raises(StubError, match="a mock service cannot be called .*: a name has letters, digits, _ and -"):
                mock_service(name)

        def test_good_ones(mock_service):
            assert mock_service("payment-gateway_2").url != mock_service("2").url
        """
    )
    project.run().assert_outcomes(passed=7)


# --- what clients do


def test_faults_as_clients_meet_them(project: Project) -> None:
    project.write(
        test_it="""
        import httpx, pytest, requests

        FAULTS = {
            "reset": (requests.ConnectionError, httpx.ReadError),
            "empty": (requests.ConnectionError, httpx.RemoteProtocolError),
            "garbage": (requests.ConnectionError, httpx.RemoteProtocolError),
            "half-chunk": (requests.exceptions.ChunkedEncodingError, httpx.RemoteProtocolError),
        }

        @pytest.mark.parametrize("fault", FAULTS)
        def test_it(mock_service, fault):
            api = mock_service("api")
            api.stub("GET", "/a")
            api.stub("GET", "/a", fault=fault, times=2)
            for library, error in zip((requests, httpx), FAULTS[fault]):
                with pytest.raises(error):
                    library.get(api.url + "/a")
            assert requests.get(api.url + "/a").status_code == 200
            api.verify("GET", "/a", times=3)
        """
    )
    project.run("-W", "error").assert_outcomes(passed=4)


def test_a_delay(project: Project) -> None:
    project.write(
        test_it="""
        import httpx, pytest, requests, threading, time

        def test_time_out(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", delay=60)
            with pytest.raises(requests.ReadTimeout):
                requests.get(api.url + "/a", timeout=0.05)
            api.stub("GET", "/a", delay=0.05)
            began = time.perf_counter()
            assert httpx.get(api.url + "/a").status_code == 200
            assert time.perf_counter() - began >= 0.05

        def test_ends_while_an_answer_waits(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", delay=600)
            def ask():
                with pytest.raises(requests.ConnectionError):
                    requests.get(api.url + "/a")
                ended.append(1)
            ended = test_ends_while_an_answer_waits.ended = []
            thread = test_ends_while_an_answer_waits.thread = threading.Thread(target=ask)
            thread.start()
            api.verify("GET", "/a", within=30)

        def test_it_was_cut():
            test_ends_while_an_answer_waits.thread.join(30)
            assert test_ends_while_an_answer_waits.ended == [1]
        """
    )
    project.run("-W", "error").assert_outcomes(passed=3)


def test_large_bodies_and_clients_that_go(project: Project) -> None:
    project.write(
        test_it="""
        import requests, socket

        def test_50_mb(mock_service):
            api = mock_service("api")
            api.stub("POST", "/a", answer=lambda request: request.body)
            body = bytes(range(256)) * 200_000
            assert requests.post(api.url + "/a", data=body).content == body

        def test_it_goes_in_the_middle_of_its_body(mock_service):
            api = mock_service("api")
            api.stub("POST", "/a")
            client = socket.create_connection((api.host, api.port))
            client.sendall(b"POST /a HTTP/1.1\\r\\nContent-Length: 1000\\r\\n\\r\\nabc")
            client.close()
            assert requests.post(api.url + "/a").status_code == 200
            api.verify("POST", "/a", times=1)
            assert api.unmatched == []

        def test_it_never_reads(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", body=b"x" * 50_000_000)
            client = test_it_never_reads.client = socket.create_connection((api.host, api.port))
            client.sendall(b"GET /a HTTP/1.1\\r\\n\\r\\n")
            api.verify("GET", "/a", within=30)

        def test_the_end():
            test_it_never_reads.client.close()
        """
    )
    project.run("-W", "error").assert_outcomes(passed=4)


def test_what_went_wrong_with_a_client_is_shown(project: Project) -> None:
    project.write(
        test_it="""
        import requests, socket
        def test_it(mock_service):
            api = mock_service("api")
            with socket.create_connection((api.host, api.port)) as client:
                client.sendall(b"POST /a HTTP/1.1\\r\\nContent-Length: 1000\\r\\n\\r\\nabc")
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000): pass
            api.stub("GET", "/b", fault="empty")
            try:
                requests.get(api.url + "/b")
            except requests.ConnectionError: pass
            assert 0
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "mock_service api: POST /a → 400 (no request: the client went away after 3 of 1000 bytes of the body)",
            "mock_service api: GET /b → no answer (fault empty)",
        ]
    )


def test_200_at_once_from_a_test(project: Project) -> None:
    project.write(
        test_it="""
        import requests
        from concurrent.futures import ThreadPoolExecutor
        def test_it(mock_service):
            api = mock_service("api")
            api.stub("GET", "/n/{n}", answer=lambda request: {"n": int(request.path_params["n"])})
            api.stub("GET", "/n/{n}", status=503, times=50)
            with ThreadPoolExecutor(200) as pool:
                answers = list(pool.map(lambda n: requests.get(f"{api.url}/n/{n}", timeout=60), range(200)))
            assert sum(each.status_code == 503 for each in answers) == 50
            assert all(each.json() == {"n": n} for n, each in enumerate(answers) if each.status_code == 200)
            api.verify("GET", "/n/{n}", times=200)
        """
    )
    project.run("-W", "error").assert_outcomes(passed=1)


# --- requests of earlier tests

LATE = """
import requests, threading

GO, GONE = threading.Event(), threading.Event()

def late(url):
    GO.wait(30)
    requests.get(url + "/late?token=abc")
    GONE.set()

def test_first(mock_service):
    api = mock_service("{name}")
    api.stub("GET", "/late")
    threading.Thread(target=late, args=(api.url,)).start()
"""


def test_a_request_after_the_end_of_its_test(project: Project) -> None:
    project.write(
        test_it=LATE.format(name="api")
        + """
def test_second(mock_service):
    api = mock_service("api")
    api.stub("GET", "/late")
    GO.set()
    assert GONE.wait(30)
    assert api.requests == api.unmatched == []

def test_shows_it(mock_service):
    mock_service("api")
    GO.clear(); GONE.clear()

def test_after_the_last():
    pass
"""
    )
    result = project.run("-q")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "testbed: GET /late?token=[*][*][*] came to mock service 'api' by the address that it had in the test "
            "test_it.py::test_first, which has ended."
        ]
    )


def test_a_late_request_is_shown_where_a_test_fails_meanwhile(project: Project) -> None:
    project.write(
        test_it=LATE.format(name="api")
        + """
def test_second(mock_service):
    GO.set()
    assert GONE.wait(30)
    assert 0
"""
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Captured HTTP*",
            "mock_service api: GET /late?token=[*][*][*] → 404 (GET /late?token=[*][*][*] came to mock service 'api' by *",
        ]
    )


def test_what_comes_between_tests_to_an_exported_address(project: Project) -> None:
    exports(project)
    project.write(
        conftest="""
        import os, pytest, requests

        assert requests.get(os.environ["INVENTORY_URL"] + "/at-import").status_code == 404

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logfinish(nodeid):
            requests.get(os.environ["INVENTORY_URL"] + "/between")
        """,
        test_it="def test_it(): pass",
    )
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "testbed: INVENTORY_URL from mock services",
            "testbed: outside of any test, no stub of mock service 'inventory' matches GET /at-import: it has none. *",
            "testbed: GET /between came to mock service 'inventory' by the address that it had in the test *::test_it, *",
        ]
    )


def test_many_late_requests_are_told_in_short(project: Project) -> None:
    project.write(
        test_it="""
        import pytest, requests
        URLS = []

        @pytest.mark.parametrize("n", range(5))
        def test_it(mock_service, n):
            URLS.append(mock_service("api").url)
            for number in range(10):
                requests.get(f"{URLS[0]}/{number}") if n else None
        """
    )
    result = project.run()
    result.assert_outcomes(passed=5)
    late = [line for line in result.outlines if "which has ended" in line]
    assert len(late) == 10
    assert all(line.endswith("(4 times)") for line in late)


@needs("xdist")
def test_what_came_late_is_told_by_workers_too(project: Project) -> None:
    exports(project)
    project.write(
        test_it=LATE.format(name="api")
        + """
def test_second(mock_service, worker_id):
    import os
    if GO: GO.set()
    mock_service("inventory").stub("GET", "/a", body=worker_id)
    assert requests.get(os.environ["INVENTORY_URL"] + "/a").text == worker_id
    GONE.wait(1)

test_third = test_fourth = test_second
"""
    )
    result = project.run_apart("-p", "xdist", "-n2", "--dist", "loadfile", "-W", "error")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["testbed: GET /late?token=[*][*][*] came to mock service 'api' by *test_first, which has ended."]
    )


# --- addresses in the environment


def test_exported_addresses(project: Project) -> None:
    exports(
        project,
        EXPORTED,
        "PAY=host={mock.payment-gateway.host} port={mock.payment-gateway.port}",
        "DOCS_URL={mock.inventory.url}/docs?x={{1}}",
    )
    project.write(
        conftest="""
        import os, socket
        from urllib.parse import urlsplit

        URL = os.environ["INVENTORY_URL"]
        AT_IMPORT = socket.create_connection((urlsplit(URL).hostname, urlsplit(URL).port))
        def pytest_unconfigure(): AT_IMPORT.close()
        """,
        test_it="""
        import os, requests, pytest, subprocess, sys

        CLIENT = requests.Session()

        @pytest.fixture(scope="module", autouse=True)
        def client():
            with CLIENT: yield

        @pytest.mark.parametrize("n", range(3))
        def test_one_address(mock_service, n):
            inventory = mock_service("inventory")
            assert inventory.url == os.environ["INVENTORY_URL"]
            assert os.environ["DOCS_URL"] == inventory.url + "/docs?x={1}"
            payment = mock_service("payment-gateway")
            assert os.environ["PAY"] == f"host={payment.host} port={payment.port}"
            inventory.stub("GET", "/a", json=n)
            assert CLIENT.get(inventory.url + "/a").json() == n
            test_one_address.clients.add(inventory.requests[0].client)
            assert len(test_one_address.clients) == 1  # one connection lives through all tests
        test_one_address.clients = set()

        def test_connected_at_import(mock_service):
            from conftest import AT_IMPORT
            mock_service("inventory").stub("GET", "/a", body="found")
            AT_IMPORT.sendall(b"GET /a HTTP/1.1\\r\\n\\r\\n")
            assert AT_IMPORT.recv(1000).endswith(b"found")

        def test_child_process(mock_service):
            inventory = mock_service("inventory")
            inventory.stub("GET", "/a", body="to a child")
            code = "import os, urllib.request as u; print(u.urlopen(os.environ['INVENTORY_URL'] + '/a').read().decode())"
            assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True) == "to a child\\n"
            inventory.verify("GET", "/a", times=1)
        """,
    )
    result = project.run("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["testbed: INVENTORY_URL, PAY, DOCS_URL from mock services"])


def test_tests_that_do_not_ask_for_the_fixture_fail_too(project: Project) -> None:
    exports(project)
    project.write(
        test_it="""
        import os, pytest, requests

        def ask(path): return requests.get(os.environ["INVENTORY_URL"] + path).status_code

        def test_unmatched(): assert ask("/a") == 404

        @pytest.fixture
        def asks_at_its_end():
            yield
            ask("/b")
            raise LookupError("its own")

        def test_fixture(asks_at_its_end): pass

        @pytest.mark.skip
        def test_skipped(): pass

        @pytest.mark.skipif("ask('/c') == 404")
        def test_skipped_and_asked(): pass

        def test_fine(): pass
        """
    )
    result = project.run()
    result.assert_outcomes(passed=3, skipped=2, errors=3)
    text = result.stdout.str()
    for path in "abc":
        assert f"StubError: no stub of mock service 'inventory' matches GET /{path}" in text
    assert "LookupError: its own" in text
    assert "mocks.py" not in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A={mock.inventory.ulr}", "names {mock.inventory.ulr}, which there is not; did you mean 'mock.inventory.url'?"),
        ("A={mock.inventory}", "names {mock.inventory}, which there is not*"),
        ("A={mocks.inventory.url}", "names {mocks.inventory.url}, which there is not; did you mean 'mock.inventory.url'?"),
        ("A={mock.a b.url}", "names {mock.a b.url}, which there is not*"),
    ],
)
def test_misspelt_forms(project: Project, line: str, words: str) -> None:
    exports(project, line)
    project.write(test_it="def test_it(): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *testbed_env (from *): {line} {words}".replace("[", "[[]")])


def test_the_part_is_switched_off(project: Project) -> None:
    exports(project)
    project.write(test_it="def test_it(mock_service): pass")
    off = "-p", "no:pytest_testbed.plugins.http"
    result = project.run(*off)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*names {mock.inventory.url}, and the part that gives it is switched off*"])
    (project.path / "pytest.ini").unlink()
    result = project.run(*off)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*fixture 'mock_service' not found"])


def test_a_user_s_own_fixture_of_that_name(project: Project) -> None:
    exports(project)
    project.write(
        test_it="""
        import os, pytest, requests

        @pytest.fixture
        def mock_service(): return "mine"

        def test_mine(mock_service): assert mock_service == "mine"
        def test_ours(mock_service): assert requests.get(os.environ["INVENTORY_URL"]).status_code == 404
        """
    )
    result = project.run()
    result.assert_outcomes(passed=2, errors=1)


# --- beside others


@needs("pytest_asyncio")
def test_asyncio(project: Project) -> None:
    project.write(
        test_it="""
        import asyncio, httpx, pytest

        @pytest.mark.asyncio
        async def test_it(mock_service):
            api = mock_service("api")
            api.stub("GET", "/n/{n}", answer=lambda request: request.path_params["n"], )
            async with httpx.AsyncClient(base_url=api.url) as client:
                answers = await asyncio.gather(*(client.get(f"/n/{n}") for n in range(20)))
            assert [each.text for each in answers] == [str(n) for n in range(20)]
            await asyncio.to_thread(api.verify, "GET", "/n/{n}", times=20)

        @pytest.mark.asyncio
        async def test_unmatched(mock_service):
            async with httpx.AsyncClient() as client:
                await client.get(mock_service("api").url)
        """
    )
    (project.path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    project.run("-p", "pytest_asyncio.plugin", "-W", "error").assert_outcomes(passed=2, errors=1)


@needs("anyio")
def test_anyio(project: Project) -> None:
    project.write(
        test_it="""
        import httpx, pytest

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.mark.anyio
        async def test_it(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", body="b")
            async with httpx.AsyncClient() as client:
                assert (await client.get(api.url + "/a")).text == "b"
        """
    )
    project.run("-p", "anyio", "-W", "error").assert_outcomes(passed=1)


@needs("freezegun")
def test_frozen_time(project: Project) -> None:
    project.write(
        test_it="""
        import freezegun, pytest, requests, threading

        @freezegun.freeze_time("2020-01-01")
        def test_it(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", delay=0.02)
            thread = threading.Thread(target=requests.get, args=(api.url + "/a",))
            thread.start()
            api.verify("GET", "/a", within=30)
            thread.join()
            api.verify("GET", "/b", times=0, within=0.02)
            with pytest.raises(AssertionError):
                api.verify("GET", "/b", within=0.02)

        @pytest.fixture
        def frozen():
            with freezegun.freeze_time("2020-01-01"): yield

        def test_first_use(frozen, mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", delay=0.02)
            assert requests.get(api.url + "/a").status_code == 200
        """
    )
    project.run().assert_outcomes(passed=2)


@needs("pytest_rerunfailures")
def test_each_run_of_a_test_begins_anew(project: Project) -> None:
    exports(project)
    project.write(
        test_it="""
        import os, requests
        RUNS = []
        def test_it(mock_service):
            RUNS.append(1)
            for name in ("inventory", "api"):
                api = mock_service(name)
                assert api.requests == []
                requests.get(api.url + "/a")
                if len(RUNS) == 3:
                    api.allow_unmatched()
        """
    )
    result = project.run("-p", "pytest_rerunfailures", "--reruns", "3")
    assert "2 rerun" in result.stdout.str()
    assert result.ret == 0


def test_children_that_are_forked(project: Project) -> None:
    project.write(
        test_it="""
        import multiprocessing, os, pytest, requests, warnings

        # Python 3.12 and later warn of any fork in a process with threads; ours is one
        pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

        def ask(url): assert requests.get(url).text == "to a child"

        def test_fork(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", body="to a child")
            pid = os.fork()
            if pid == 0:
                try:
                    ask(api.url + "/a")
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            api.verify("GET", "/a", times=1)

        @pytest.mark.parametrize("method", ["fork", "spawn"])
        def test_multiprocessing(mock_service, method):
            api = mock_service("api")
            api.stub("GET", "/a", body="to a child")
            child = multiprocessing.get_context(method).Process(target=ask, args=(api.url + "/a",))
            child.start()
            child.join()
            assert child.exitcode == 0
            api.verify("GET", "/a", times=1)

        def test_a_server_in_the_child(mock_service):
            mock_service("api")
            pid = os.fork()
            if pid == 0:
                try:
                    other = mock_service("other")
                    other.stub("GET", "/a", body="to a child")
                    ask(other.url + "/a")
                    other.verify("GET", "/a", times=1)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            api = mock_service("api")
            api.stub("GET", "/a", body="to a child")
            ask(api.url + "/a")
        """
    )
    project.run().assert_outcomes(passed=4)


@needs("responses")
def test_patches_in_the_same_process(project: Project) -> None:
    project.write(
        test_it="""
        import requests, responses, socket

        def test_responses(mock_service):
            api = mock_service("api")
            api.stub("GET", "/a", body="real")
            with responses.RequestsMock() as mock:
                mock.add_passthru(api.url)
                mock.get("https://elsewhere/", body="mocked")
                assert requests.get(api.url + "/a").text == "real"
                assert requests.get("https://elsewhere/").text == "mocked"

        def test_a_socket_that_cannot_connect(mock_service, monkeypatch):
            api = mock_service("api")
            api.stub("GET", "/a", body="real")
            before = socket.socket.connect
            def connect(self, address):
                assert address == (api.host, api.port), "no way"
                return before(self, address)
            monkeypatch.setattr(socket.socket, "connect", connect)
            socket.setdefaulttimeout(0.01)
            api.stub("GET", "/b", delay=0.03, body="late")
            try:
                assert requests.get(api.url + "/a", timeout=30).text == "real"
                assert requests.get(api.url + "/b", timeout=30).text == "late"
            finally:
                socket.setdefaulttimeout(None)
        """
    )
    project.run("-W", "error").assert_outcomes(passed=2)


@needs("pytest_timeout")
def test_a_time_out_while_something_is_waited_for(project: Project) -> None:
    project.write(
        test_it="""
        import pytest
        @pytest.mark.timeout(0.5, func_only=True)
        def test_it(mock_service):
            mock_service("api").verify("GET", "/a", within=60)
        def test_next(mock_service):
            mock_service("api")
        """
    )
    result = project.run("-p", "pytest_timeout")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Timeout*>0.5s*"])


def test_what_a_test_was_asked_takes_no_memory_once_it_has_ended(project: Project) -> None:
    project.write(
        test_it="""
        import gc, requests, threading, weakref

        gone = threading.Event()

        def test_first(mock_service):
            global request
            api = mock_service("api")
            api.stub("POST", "/a")
            requests.post(api.url + "/a", data=b"x" * 1000)
            request = weakref.ref(api.requests[0], lambda ref: gone.set())
            assert request() is not None

        def test_second():
            for _ in range(100):  # the thread of the connection may not have noticed that it is closed
                gc.collect()
                if gone.wait(0.05):
                    break
            assert gone.is_set()
        """
    )
    project.run("-p", "no:randomly").assert_outcomes(passed=2)


def test_nothing_is_left(project: Project) -> None:
    exports(project)
    project.write(
        conftest="""
        import threading
        def pytest_unconfigure(config):
            config.add_cleanup(lambda: None)
        """,
        test_it="""
        import gc, os, requests, socket
        def test_it(mock_service):
            clients = []
            for name in ("inventory", "api"):
                api = mock_service(name)
                api.stub("GET", "/a")
                requests.get(api.url + "/a")
                gc.collect()
        """,
        run="""
        import gc, sys, threading, pytest
        code = pytest.main(["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly"])
        gc.collect()
        assert [each.name for each in threading.enumerate()] == ["MainThread"], threading.enumerate()
        sys.exit(code)
        """,
    )
    result = project.pytester.run(sys.executable, "-X", "dev", "-W", "error", "run.py")
    assert result.ret == 0
    assert "Warning" not in result.stderr.str()


# --- from containers


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bridges are Linux's")
def test_no_bridge_to_containers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_testbed.http import bridge

    monkeypatch.setattr(bridge, "BRIDGES", ("nobridge0",))
    monkeypatch.setattr(bridge, "IN_CONTAINER", ())
    project.write(test_it="def test_it(mock_service): mock_service('api').container_url")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*StubError: there is no address by which containers reach this process: looked for the bridges nobridge0 (*). Start *"]
    )


def test_on_a_machine_with_docker_desktop(project: Project) -> None:
    project.write(
        test_it="""
        import sys
        def test_it(mock_service, monkeypatch):
            monkeypatch.setattr(sys, "platform", "darwin")
            api = mock_service("api")
            assert api.container_url == f"http://host.docker.internal:{api.port}"
        """
    )
    project.run().assert_outcomes(passed=1)


def test_json_is_what_a_report_of_it_says(project: Project) -> None:
    """The exchange of a test that fails has the answer's body."""
    project.write(
        test_it="""
        import requests
        def test_it(mock_service):
            api = mock_service("api")
            api.stub("POST", "/a", json={"id": 7})
            requests.post(api.url + "/a", json={"n": 1})
            assert 0
        """
    )
    result = project.run()
    assert f"< {json.dumps({'id': 7})}" in result.stdout.str()


def test_a_service_by_another_name_than_the_one_with_the_stubs(project: Project) -> None:
    project.write(
        test_it="""
        import requests
        def test_it(mock_service):
            mock_service("inventroy").stub("GET", "/a")
            requests.get(mock_service("inventory").url + "/a")
        """
    )
    project.run().stdout.fnmatch_lines(["*mock service 'inventory' matches GET /a: it has none. * stubs in 'inventroy'."])


def test_without_a_name(project: Project) -> None:
    project.write(test_it="def test_it(mock_service): mock_service.stub('GET', '/a')")
    project.run().stdout.fnmatch_lines(
        ["*has no attribute 'stub': call it with a name first, such as mock_service('inventory').stub*"]
    )
