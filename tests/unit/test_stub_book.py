"""The book of stubs: which one answers, how often, what is told of a request without one, and what is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_testbed.http.answer import Answer
from pytest_testbed.http.book import Book, Scenario, Stub
from pytest_testbed.http.match import pattern_of
from pytest_testbed.http.request import Request
from pytest_testbed.http.service import Count, MockService
from pytest_testbed.http.services import MockServices


def stub(method: str, path: str, answer: Any = 200, **more: Any) -> Stub:
    return Stub(pattern_of(method, path), Answer(answer) if isinstance(answer, int) else answer, **more)


def ask(book: Book, target: str, method: str = "GET", body: bytes = b"") -> int:
    return book.serve(Request(method, target, (), body)).answer.status


@pytest.fixture
def book() -> Book:
    return Book("inventory", test="test_it.py::test_it")


@pytest.fixture
def service() -> Iterator[MockService]:
    services = MockServices({})
    yield services.begin("test_it.py::test_it", lambda served, book: None)("inventory")
    services.close()


# --- which one answers


def test_the_last_that_was_added_wins(book: Book) -> None:
    book.add(stub("GET", "/{any}", 201))
    book.add(stub("GET", "/a", 202))
    assert [ask(book, "/a"), ask(book, "/b")] == [202, 201]
    book.add(stub("GET", "/{any}", 203))
    assert ask(book, "/a") == 203


def test_two_equal_stubs(book: Book) -> None:
    first, second = book.add(stub("GET", "/a", 201)), book.add(stub("GET", "/a", 202))
    assert ask(book, "/a") == 202
    book.remove(second)
    assert ask(book, "/a") == 201
    assert (len(first.requests), len(second.requests)) == (1, 1)
    with pytest.raises(ValueError, match="does not have this stub, or no more: GET /a"):
        book.remove(second)


def test_priorities_come_before_order(book: Book) -> None:
    book.add(stub("GET", "/a", 201, priority=1))
    book.add(stub("GET", "/a", 202))
    book.add(stub("GET", "/a", 203, priority=9))
    book.add(stub("GET", "/a", 204, priority=1))
    assert [each._answer.status for each in book.stubs] == [204, 201, 202, 203]  # type: ignore[union-attr]


def test_times_and_then(book: Book) -> None:
    book.add(stub("GET", "/a", 201, times=2, then=[Answer(202), Answer(203)]))
    assert [ask(book, "/a") for _ in range(5)] == [201, 201, 202, 203, 203]


def test_a_stub_that_is_used_up_lets_others_answer(book: Book) -> None:
    book.add(stub("GET", "/a", 201))
    once = book.add(stub("GET", "/a", 503, times=1))
    assert [ask(book, "/a") for _ in range(2)] == [503, 201]
    assert once.is_used_up


def test_scenarios(book: Book) -> None:
    book.add(stub("GET", "/order", 404, scenario=Scenario("order", "Started")))
    book.add(stub("POST", "/order", 201, scenario=Scenario("order", "Started", "made")))
    book.add(stub("GET", "/order", 200, scenario=Scenario("order", "made")))
    assert [ask(book, "/order"), ask(book, "/order", "POST"), ask(book, "/order")] == [404, 201, 200]
    assert ask(book, "/order", "POST") == 404
    assert "not now: scenario 'order' is in state 'made', and it needs 'Started'" in book.unmatched[0].why
    book.reset()
    assert book.stubs == []


def test_reset_brings_back_the_first_stubs() -> None:
    book = Book("inventory", [stub("GET", "/a", 201, times=1)])
    book.add(stub("GET", "/b"))
    assert [ask(book, "/a"), ask(book, "/a"), ask(book, "/b")] == [201, 404, 200]
    book.reset()
    assert (book.requests, book.unmatched) == ([], [])
    assert [ask(book, "/a"), ask(book, "/b")] == [201, 404]


def test_parts_of_the_path_come_with_the_request(book: Book) -> None:
    book.add(stub("GET", "/items/{id}", lambda request: {"id": request.path_params["id"]}))
    assert book.serve(Request("GET", "/items/a%2Fb")).answer == Answer(json={"id": "a/b"})


def test_code_that_asks_the_service_itself(book: Book) -> None:
    book.add(stub("GET", "/inner", 201))
    book.add(stub("GET", "/outer", lambda request: ask(book, "/inner")))
    assert ask(book, "/outer") == 201


def test_code_that_fails(book: Book) -> None:
    def answer(request: Request) -> object:
        raise LookupError("no such item")

    book.add(stub("GET", "/a", answer, source="test_it.py:7"))
    served = book.serve(Request("GET", "/a?x=1"))
    assert served.answer == Answer(500, body="the code of a stub failed: LookupError('no such item')\n")
    (fault,) = book.faults
    assert fault.startswith("the stub GET /a (from test_it.py:7), asked for GET /a?x=1, failed: Traceback")
    assert fault.endswith("LookupError: no such item")
    assert "/book.py" not in fault


def test_code_that_returns_no_answer(book: Book) -> None:
    book.add(stub("GET", "/a", lambda request: object()))
    assert ask(book, "/a") == 500
    assert "is no answer: give an Answer" in book.faults[0]


# --- words for a request without a stub


def why(book: Book, target: str, method: str = "GET", body: bytes = b"") -> str:
    served = book.serve(Request(method, target, (), body))
    assert served.answer.content.decode() == served.why + "\n"
    return served.why


def test_an_empty_book(book: Book) -> None:
    assert why(book, "/a?x=1") == (
        "no stub of mock service 'inventory' matches GET /a?x=1: it has none. Add one with .stub('GET', '/a', json=...)."
    )


def test_the_only_one(book: Book) -> None:
    book.add(stub("GET", "/items/{id}", source="test_it.py:7"))
    assert why(book, "/item/3").splitlines() == [
        "no stub of mock service 'inventory' matches GET /item/3. The only one:",
        "  GET /items/{id} (from test_it.py:7)",
        "      method  GET",
        "    ✗ path    /item/3, not /items/{id}",
    ]


def test_the_nearest_of_many(book: Book) -> None:
    for name in ("alpha", "beta", "gamma", "delta", "epsilon"):
        book.add(stub("GET", f"/{name}"))
    text = why(book, "/gama")
    assert text.splitlines()[:2] == ["no stub of mock service 'inventory' matches GET /gama. The nearest:", "  GET /gamma"]
    assert text.endswith("and 3 more that are less like it")


def test_one_that_is_used_up_is_the_nearest(book: Book) -> None:
    book.add(stub("GET", "/b"))
    book.add(stub("GET", "/a", times=1))
    assert ask(book, "/a") == 200
    assert "  GET /a, used up: it was to answer once" in why(book, "/a")


# --- what is too late


def test_a_request_after_the_end(book: Book) -> None:
    book.add(stub("GET", "/a"))
    book.over.set()
    served = book.serve(Request("GET", "/a"))
    assert served.is_late
    assert served.why == (
        "GET /a came to mock service 'inventory' by the address that it had in the test test_it.py::test_it, which has ended."
    )
    assert book.requests == []


def test_code_that_ends_after_the_test(book: Book) -> None:
    def answer(request: Request) -> object:
        book.over.set()
        raise LookupError("no such item")

    book.add(stub("GET", "/a", answer))
    served = book.serve(Request("GET", "/a"))
    assert served.is_late
    assert "The code of its stub failed: Traceback" in served.why
    assert book.requests == []


# --- counting


def in_threads(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_counting_under_threads(book: Book) -> None:
    book.add(stub("GET", "/a", 200))
    limited = book.add(stub("GET", "/a", 201, times=100))
    in_threads(8, lambda: [ask(book, "/a") for _ in range(50)])
    assert len(book.requests) == 400
    assert len(limited.requests) == 100


@pytest.mark.parametrize(
    ("arguments", "right", "wrong", "words"),
    [
        ({}, [1, 2], [0], "at least once"),
        ({"times": 0}, [0], [1], "never"),
        ({"times": 2}, [2], [1, 3], "2 times"),
        ({"at_least": 2}, [2, 9], [1], "at least 2 times"),
        ({"at_most": 2}, [0, 2], [3], "at most 2 times"),
        ({"at_least": 1, "at_most": 3}, [1, 3], [0, 4], "1 to 3 times"),
        ({"at_least": 0}, [0, 5], [], "any number of times"),
    ],
)
def test_counts(arguments: dict[str, int], right: list[int], wrong: list[int], words: str) -> None:
    count = Count(**{"times": None, "at_least": None, "at_most": None, **arguments})
    assert all(map(count.holds, right))
    assert not any(map(count.holds, wrong))
    assert str(count) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"times": -1}, "times=-1 is not a whole number from 0 on"),
        ({"times": True}, "times=True is not a whole number"),
        ({"at_least": 1.0}, "at_least=1.0 is not a whole number"),
        ({"times": 1, "at_most": 2}, "give times=, or at_least= and at_most=; not both"),
        ({"at_least": 3, "at_most": 2}, "at_least=3 is above at_most=2"),
        ({"within": -1}, "within=-1 is not a number of seconds"),
        ({"within": True}, "within=True is not a number of seconds"),
        ({"within": float("inf")}, "within=inf is not a number of seconds"),
    ],
)
def test_counts_that_cannot_be(service: MockService, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        service.verify("GET", "/a", **arguments)


# --- verification


def serve(service: MockService, *targets: str) -> None:
    for target in targets:
        service.book.serve(Request("GET", target))


def test_verify_returns_what_matches(service: MockService) -> None:
    service.stub("ANY", "*")
    serve(service, "/a?x=1", "/b", "/a?x=2")
    assert [each.target for each in service.verify("GET", "/a", times=2)] == ["/a?x=1", "/a?x=2"]
    assert service.verify("GET", "/c", times=0) == []
    service.verify("GET", "/a", query={"x": 1}, times=1)


def test_verify_fails_with_the_nearest(service: MockService) -> None:
    service.stub("ANY", "*")
    serve(service, "/a", "/items/3")
    with pytest.raises(AssertionError) as error:
        service.verify("GET", "/items/4")
    assert str(error.value).splitlines() == [
        "mock service 'inventory' was asked GET /items/4 never, not at least once.",
        "  nearest of 2 others that came:",
        "  GET /items/3",
        "      method  GET",
        "    ✗ path    /items/3, not /items/4",
        "  GET /a",
        "      method  GET",
        "    ✗ path    /a, not /items/4",
    ]


def test_verify_fails_where_too_much_came(service: MockService) -> None:
    service.stub("ANY", "*")
    serve(service, "/a", "/a")
    with pytest.raises(AssertionError) as error:
        service.verify("GET", "/a", times=1, within=5)
    assert str(error.value).splitlines() == [
        "mock service 'inventory' was asked GET /a 2 times within 5 s, not once.",
        "  it came: GET /a",
        "  it came: GET /a",
        "  nothing else came.",
    ]


def test_verify_fails_where_nothing_came(service: MockService) -> None:
    with pytest.raises(AssertionError, match="\n  nothing came at all"):
        service.verify("GET", "/a", within=0.01)


@pytest.mark.parametrize("arguments", [{}, {"times": 2}, {"at_least": 1, "at_most": 5}, {"at_least": 0}])
def test_what_is_settled_is_not_waited_for(service: MockService, arguments: dict[str, Any]) -> None:
    service.stub("ANY", "*")
    serve(service, "/a", "/a")
    began = time.perf_counter()
    service.verify("GET", "/a", within=60, **arguments)
    assert time.perf_counter() - began < 30


def test_verify_waits_for_what_is_to_come(service: MockService) -> None:
    service.stub("ANY", "*")
    timer = threading.Timer(0.02, serve, (service, "/b", "/a", "/a"))
    timer.start()
    assert len(service.verify("GET", "/a", times=2, within=60)) == 2
    timer.join()


def test_verify_waits_for_what_must_not_come(service: MockService) -> None:
    began = time.perf_counter()
    service.verify("GET", "/a", times=0, within=0.05)
    assert time.perf_counter() - began >= 0.05
    service.stub("ANY", "*")
    timer = threading.Timer(0.02, serve, (service, "/a"))
    timer.start()
    with pytest.raises(AssertionError, match=r"was asked GET /a once within 60 s, not never\."):
        service.verify("GET", "/a", times=0, within=60)
    timer.join()


def test_verify_in_spite_of_a_reset(service: MockService) -> None:
    service.stub("ANY", "*")
    serve(service, "/a")

    def again() -> None:
        service.reset()
        service.stub("ANY", "*")
        serve(service, "/a", "/a", "/a")

    timer = threading.Timer(0.02, again)
    timer.start()
    assert len(service.verify("GET", "/a", times=3, within=60)) == 3
    timer.join()


def test_what_comes_at_once_after_a_reset_is_counted_whole(service: MockService) -> None:
    service.stub("ANY", "*")
    serve(service, "/b")

    def again() -> None:
        with service.book.changed:  # who waits looks when all has come
            service.reset()
            service.stub("ANY", "*")
            serve(service, "/a", "/a", "/a")

    timer = threading.Timer(0.02, again)
    timer.start()
    began = time.monotonic()
    assert len(service.verify("GET", "/a", times=3, within=60)) == 3
    assert time.monotonic() - began < 30
    timer.join()


# --- stubs as tests write them


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"answer": 3}, TypeError, "answer=3 is not callable; an answer that is known is given by status=, json="),
        ({"answer": dict, "status": 201}, ValueError, "a stub has answer= or status=, json="),
        ({"times": 0}, ValueError, "times=0 is not a whole number above 0"),
        ({"times": True}, ValueError, "times=True is not a whole number above 0"),
        ({"then": 500}, ValueError, "then= says what comes after times= answers: give both"),
        ({"times": 1, "then": [object()]}, TypeError, "is no answer"),
        ({"priority": 0}, ValueError, "priority=0 is not a whole number above 0"),
        ({"priority": "high"}, ValueError, "priority='high' is not a whole number"),
        ({"status": 1000}, ValueError, "status 1000 is not a status code"),
        ({"request_headers": {"A": True}}, TypeError, "True is no text"),
    ],
)
def test_stubs_that_cannot_be(service: MockService, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        service.stub("GET", "/", **arguments)
    assert service.book.stubs == []


def test_a_coroutine_function_is_no_code_of_a_stub(service: MockService) -> None:
    async def answer(request: Request) -> object:
        return 200

    with pytest.raises(TypeError, match="is a coroutine function: a stub's code runs in a thread of the server"):
        service.stub("GET", "/", answer=answer)
    with pytest.raises(TypeError, match="is a coroutine function"):
        service.stub("GET", "/", times=1, then=answer)


def test_a_stub_knows_where_it_was_written(service: MockService) -> None:
    assert str(service.stub("GET", "/a")).startswith("GET /a (from test_stub_book.py:")


def test_then_in_all_its_forms(service: MockService) -> None:
    service.stub("GET", "/a", status=503, times=1, then=[(429, None, {"Retry-After": "1"}), lambda request: 204, {"a": 1}])
    assert [ask(service.book, "/a") for _ in range(4)] == [503, 429, 204, 200]
    service.stub("GET", "/b", times=1, then={"a": 1})
    assert [service.book.serve(Request("GET", "/b")).answer for _ in range(2)] == [Answer(), Answer(json={"a": 1})]
