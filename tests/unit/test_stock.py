"""Things made ahead for tests: who gets which, what failures do, and that the end leaves nothing under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf

import pytest

from pytest_testbed.errors import BrokerError, HostError, ServiceNotReady
from pytest_testbed.services import stock as stock_module
from pytest_testbed.services.model import Endpoint
from pytest_testbed.services.stock import AHEAD, BACKLOG, MOST_AHEAD, Stock

ENDPOINT = Endpoint(kind="alpha", host="127.0.0.1", port=1)
ANOTHER = ENDPOINT.with_(port=2)
RUN = "0123456789ab"
ALL = 2 * BACKLOG


class Steps:
    """What a stock does, one step after the other: seen, held up, made to fail."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.begun: list[str] = []
        self.done: list[str] = []
        self._may: float = inf
        self._changed = threading.Condition()

    def __call__(self, name: str) -> None:
        with self._changed:
            self.begun.append(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._may > 0, 10)
            self._may -= 1
            if self.faults:
                raise self.faults.pop(0)
            self.done.append(name)
            self._changed.notify_all()

    def hold(self, after: int = 0) -> None:
        """Hold all up that come after so many more."""
        with self._changed:
            self._may = after

    def go_on(self) -> None:
        """Hold nothing up any more."""
        with self._changed:
            self._may = inf
            self._changed.notify_all()

    def wait(self, names: list[str], count: int) -> list[str]:
        """Wait until so many have begun, or are done."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(names) >= count, 10), names
            return list(names)


class Pretended(Stock):
    """A stock that makes nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        super().__init__(ENDPOINT, RUN, {}, self.notes.append)
        self.makes, self.removes = Steps(), Steps()
        self.make, self.remove = self.makes, self.removes  # type: ignore[method-assign]

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, which is noted then."""
        with self._changed:
            assert self._changed.wait_for(condition, 10)

    def is_at_rest(self) -> bool:
        """Tell whether nothing is being made or removed, nor will be before somebody asks for something."""
        with self._changed:
            return not (self.is_busy or self._should_make() or self._should_remove())


@pytest.fixture
def stock() -> Iterator[Pretended]:
    stock = Pretended()
    yield stock
    for steps in (stock.makes, stock.removes):
        steps.go_on()
    stock.close()
    for thread in stock._threads:
        thread.join(10)  # a test may have cut the end's patience
        assert not thread.is_alive()


@pytest.fixture
def taker(stock: Pretended) -> Iterator[Callable[[], Future[str]]]:
    """Lets somebody else take something; they wait for it when this returns, or have it."""
    with ThreadPoolExecutor(ALL) as others:

        def take() -> Future[str]:
            waiting = stock._waiting
            future = others.submit(stock.take)
            stock.until(lambda: future.done() or stock._waiting > waiting)
            return future

        yield take
        for steps in (stock.makes, stock.removes):
            steps.go_on()


# --- making


def test_some_are_made_before_anybody_asks(stock: Pretended) -> None:
    stock.begin()
    stock.until(lambda: len(stock._ready) == AHEAD)
    assert stock.makes.done == [f"testbed_{RUN}_1", f"testbed_{RUN}_2"]
    assert stock.is_at_rest()
    assert stock.take() == f"testbed_{RUN}_1"


def test_the_more_are_in_use_the_more_are_made_ahead(stock: Pretended) -> None:
    stock.begin()
    for _ in range(ALL):
        stock.take()
    stock.until(lambda: len(stock._ready) == MOST_AHEAD)
    assert stock.is_at_rest()


def test_one_that_is_there_is_handed_out_while_another_is_being_made(stock: Pretended) -> None:
    stock.begin()
    stock.makes.wait(stock.makes.done, AHEAD)
    stock.makes.hold()
    first = stock.take()
    stock.makes.wait(stock.makes.begun, AHEAD + 1)
    assert stock.take() == stock.makes.done[1] != first
    stock.makes.go_on()


def test_many_takers_never_get_the_same(stock: Pretended) -> None:
    stock.begin()

    def work(_: int) -> list[str]:
        names = []
        for _ in range(25):
            names.append(stock.take())
            stock.give_back(names[-1])
        return names

    with ThreadPoolExecutor(8) as workers:
        names = [name for some in workers.map(work, range(8)) for name in some]
    assert len(names) == len(set(names)) == 200
    assert len(stock.removes.wait(stock.removes.done, 200)) == 200
    assert sorted(stock.removes.done) == sorted(names)


# --- removing


def test_what_was_not_taken_is_not_removed(stock: Pretended) -> None:
    stock.begin()
    stock.makes.wait(stock.makes.done, AHEAD)
    for name in ("testbed_of_mine", stock.makes.done[1], ""):
        stock.give_back(name)
    name = stock.take()
    stock.give_back(name)
    stock.give_back(name)
    assert stock.removes.wait(stock.removes.done, 1) == [name]
    stock.until(lambda: not stock._used)


def test_removing_rests_while_somebody_waits(stock: Pretended, taker: Callable[[], Future[str]]) -> None:
    stock.makes.hold(after=BACKLOG)
    stock.begin()
    names = [stock.take() for _ in range(BACKLOG)]
    waits = taker()
    for name in names[1:]:
        stock.give_back(name)
    with stock._changed:
        assert not stock._should_remove()
    assert stock.removes.begun == []
    stock.makes.go_on()
    waits.result(10)
    assert stock.removes.wait(stock.removes.done, BACKLOG - 1) == names[1:]


def test_who_takes_waits_where_too_many_are_to_be_removed(stock: Pretended, taker: Callable[[], Future[str]]) -> None:
    stock.begin()
    stock.removes.hold()
    for _ in range(ALL):
        stock.give_back(stock.take())
    waits = taker()
    stock.until(lambda: stock._ready)
    assert not waits.done()
    assert len(stock._used) == ALL
    stock.removes.go_on()
    assert waits.result(10) not in stock.removes.wait(stock.removes.done, 1)


def test_removing_goes_on_beside_the_making_where_many_are_left(stock: Pretended, taker: Callable[[], Future[str]]) -> None:
    stock.makes.hold(after=BACKLOG)
    stock.begin()
    names = [stock.take() for _ in range(BACKLOG)]
    waits = taker()
    for name in names:
        stock.give_back(name)
    assert stock.removes.wait(stock.removes.done, 1) == names[:1]
    assert not waits.done()


# --- faults


def test_a_fault_is_told_to_who_waits_and_it_is_tried_anew_for_the_next(
    stock: Pretended, taker: Callable[[], Future[str]]
) -> None:
    stock.makes.faults = [BrokerError("no room"), KeyError("x")]
    stock.makes.hold()
    stock.begin()
    waiting = [taker(), taker()]
    stock.makes.go_on()
    for each in waiting:
        with pytest.raises(BrokerError, match="no room"):
            each.result(10)
    assert stock.is_at_rest(), "nobody asks, so nothing is tried"
    with pytest.raises(ServiceNotReady, match=r"alpha: KeyError\('x'\)"):
        stock.take()
    assert stock.take() == f"testbed_{RUN}_3"
    assert stock.makes.begun[:2] == [f"testbed_{RUN}_1", f"testbed_{RUN}_2"]


def test_who_comes_next_does_not_hide_a_fault_from_who_waits(
    stock: Pretended, taker: Callable[[], Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock.makes.hold()
    stock.begin()
    waits = taker()
    monkeypatch.setattr(stock_module, "TAKE_TIMEOUT", 0.01)
    with stock._changed:
        stock._fault, stock._faults, stock._rests = BrokerError("no room"), 1, True  # as the thread that makes notes it
        stock._changed.notify_all()
        with pytest.raises(ServiceNotReady):
            stock.take()  # asks before the one who waits is awake, and gets nothing
    with pytest.raises(BrokerError, match="no room"):
        waits.result(10)


def test_a_fault_ahead_of_time_does_not_keep_what_is_there_from_anybody(stock: Pretended) -> None:
    stock.begin()
    stock.makes.wait(stock.makes.done, AHEAD)
    stock.makes.faults = [BrokerError("no room")]
    first = stock.take()
    stock.until(lambda: stock._rests)
    assert stock.is_at_rest()
    assert stock.take() == f"testbed_{RUN}_2" != first
    assert stock.take() == f"testbed_{RUN}_4"


def test_what_cannot_be_removed_is_told_once_and_the_rest_is_removed(stock: Pretended) -> None:
    stock.removes.faults = [BrokerError("it clings"), RuntimeError("so does this")]
    stock.begin()
    names = [stock.take() for _ in range(3)]
    for name in names:
        stock.give_back(name)
    assert stock.removes.wait(stock.removes.done, 1) == names[2:]
    assert stock.notes == [f"alpha: {names[0]} could not be removed while tests ran: it clings"]


@pytest.mark.parametrize(
    ("held", "words"),
    [("makes", "nothing could be made for this test"), ("removes", f"none of the {ALL} things was removed")],
)
def test_nobody_waits_for_ever(stock: Pretended, monkeypatch: pytest.MonkeyPatch, held: str, words: str) -> None:
    getattr(stock, held).hold()
    stock.begin()
    if held == "removes":
        for _ in range(ALL):
            stock.give_back(stock.take())
        stock.until(lambda: stock._ready)
    monkeypatch.setattr(stock_module, "TAKE_TIMEOUT", 0.01)
    with pytest.raises(ServiceNotReady, match=rf"alpha: .*{words}"):
        stock.take()
    getattr(stock, held).go_on()
    monkeypatch.undo()
    assert stock.take()


# --- another server in its place


def test_what_was_made_on_a_server_that_has_ended_is_handed_to_nobody_and_removed(stock: Pretended) -> None:
    """It may be the same server, started again on its data."""
    stock.begin()
    out, returned = stock.take(), stock.take()
    stock.removes.hold()
    stock.give_back(returned)
    stock.removes.wait(stock.removes.begun, 1)
    stock.until(lambda: not stock._should_make())
    made = list(stock.makes.done)
    stock.forget(ANOTHER)
    stock.removes.go_on()
    name = stock.take()
    assert name not in made
    assert stock.endpoint is ANOTHER
    # what is being removed meanwhile is removed twice, which is harmless
    assert set(stock.removes.wait(stock.removes.done, len(made))) == set(made) - {out}
    stock.give_back(out)
    assert stock.removes.wait(stock.removes.done, len(made) + 1)[-1] == out


def test_what_resisted_is_removed_once_the_server_was_started_again(stock: Pretended) -> None:
    stock.removes.faults, stock.makes.faults = [BrokerError("it ends")], [BrokerError("it ends")]
    stock.begin()
    half = stock.makes.wait(stock.makes.begun, 1)[0]
    stock.until(lambda: stock._fault)
    stock.give_back(name := stock.take())
    stock.until(lambda: stock._resists)
    stock.forget(ENDPOINT)
    assert {half, name} <= set(stock.removes.wait(stock.removes.done, 2))


def test_what_is_being_made_when_the_server_ends_is_handed_to_nobody(stock: Pretended, taker: Callable[[], Future[str]]) -> None:
    stock.makes.hold()
    stock.begin()
    waits = taker()
    (late,) = stock.makes.wait(stock.makes.begun, 1)
    stock.forget(ANOTHER)
    stock.makes.go_on()
    assert waits.result(10) != late
    assert stock.removes.wait(stock.removes.done, 1) == [late], "it may be on the new server"


def test_a_fault_of_a_server_that_has_ended_is_told_to_nobody(stock: Pretended, taker: Callable[[], Future[str]]) -> None:
    stock.makes.faults = [BrokerError("it ends")]
    stock.makes.hold()
    stock.begin()
    waits = taker()
    stock.makes.wait(stock.makes.begun, 1)
    stock.forget(ANOTHER)
    stock.makes.go_on()
    assert waits.result(10)
    assert stock._fault is None


# --- the end


@pytest.mark.parametrize("held", ["makes", "removes"])
def test_the_end_waits_for_what_is_under_way(stock: Pretended, held: str) -> None:
    steps: Steps = getattr(stock, held)
    stock.begin()
    name = stock.take()
    steps.hold()
    stock.give_back(name)
    stock.take()
    begun = len(steps.wait(steps.begun, len(steps.done) + 1))
    with ThreadPoolExecutor(1) as other:
        end = other.submit(stock.close)
        stock.until(lambda: stock._closed)
        assert not end.done()
        steps.go_on()
        end.result(10)
    assert len(steps.done) == len(steps.begun) == begun, "what had begun is done, and nothing else"
    assert not any(thread.is_alive() for thread in stock._threads)


def test_the_end_does_not_wait_for_ever(stock: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_module, "CLOSE_TIMEOUT", 0.01)
    stock.makes.hold()
    stock.begin()
    stock.makes.wait(stock.makes.begun, 1)
    stock.close()
    assert stock.is_busy
    stock.makes.go_on()
    stock.until(lambda: not stock.is_busy)


def test_who_waits_at_the_end_is_told(
    stock: Pretended, taker: Callable[[], Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock_module, "CLOSE_TIMEOUT", 0.01)
    stock.makes.hold()
    stock.begin()
    waits = taker()
    stock.close()
    with pytest.raises(HostError, match="alpha: the run has ended"):
        waits.result(5)
    with pytest.raises(HostError, match="alpha: the run has ended"):
        stock.take()


def test_nothing_comes_after_the_end(stock: Pretended) -> None:
    stock.begin()
    name = stock.take()
    stock.close()
    stock.close()
    stock.give_back(name)
    with pytest.raises(HostError, match="alpha: the run has ended"), stock.under_way():
        pytest.fail("it was let in")
    assert stock.removes.begun == []


def test_the_end_waits_for_what_the_run_has_asked_for(stock: Pretended) -> None:
    with ThreadPoolExecutor(1) as other:
        with stock.under_way():
            end = other.submit(stock.close)
            stock.until(lambda: stock._closed)
            assert not end.done()
        end.result(10)
