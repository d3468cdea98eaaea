"""Where processes meet one host, and what one of its clients may do at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_testbed import Testbed
from pytest_testbed.errors import HostError
from pytest_testbed.services import connection, meeting
from pytest_testbed.services.client import Party
from pytest_testbed.services.connection import Boot, HostClient
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.meeting import Place, place_named
from pytest_testbed.services.turns import Turns

BOOT = Boot(settings={}, providers={})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "here.sock")


def test_first_starts_a_host_and_the_second_joins_it(place: Place) -> None:
    first = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    second = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    assert second.pid == first.pid
    second.hang_up()
    assert first.leave() == []
    assert not place.path.exists()
    assert gone_within(first.pid, 5)


def test_many_who_come_at_once_meet_one_host(place: Place) -> None:
    met: list[HostClient] = []

    def come() -> None:
        met.append(HostClient.meet(place, BOOT, "b" * 12, os.getpid()))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({client.pid for client in met}) == 1
    for client in met[1:]:
        client.hang_up()
    assert met[0].leave() == []


def test_socket_of_a_dead_host_is_taken_over(place: Place) -> None:
    with place.locked() as door:
        door.listen("old").close()
    assert place.path.exists()
    client = HostClient.meet(place, BOOT, "c" * 12, os.getpid())
    assert client.leave() == []


def test_wrong_key_is_turned_away_and_the_host_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = HostClient.meet(place, BOOT, "d" * 12, os.getpid())
    with monkeypatch.context() as patch:
        patch.setattr(meeting.Door, "key", "wrong")
        with pytest.raises(HostError, match="not given the right key"):
            HostClient.meet(place, BOOT, "d" * 12, os.getpid())
    second = HostClient.meet(place, BOOT, "d" * 12, os.getpid())
    second.hang_up()
    assert first.leave() == []


def test_who_connects_and_says_nothing_or_nonsense_is_in_nobodys_way(place: Place) -> None:
    first = HostClient.meet(place, BOOT, "e" * 12, os.getpid())
    with place.locked() as door:
        silent, noisy = door.connect(), door.connect()
    assert silent is not None
    assert noisy is not None
    noisy.sendall(b"GET / HTTP/1.0\r\n\r\n")
    second = HostClient.meet(place, BOOT, "e" * 12, os.getpid())
    assert second.pid == first.pid
    second.hang_up()
    assert first.leave() == []
    silent.close()
    noisy.close()


def test_host_that_does_not_answer_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.locked() as door:
        listener = door.listen("key")
    monkeypatch.setattr(connection, "WELCOME_TIMEOUT", 0.05)
    with pytest.raises(HostError, match=r"has not answered for 0\.05 s"):
        HostClient.meet(place, BOOT, "f" * 12, os.getpid())
    listener.close()


def test_host_that_closes_the_connection_is_told(place: Place) -> None:
    with place.locked() as door:
        listener = door.listen("key")

    def answer() -> None:
        meeting.accept(listener).close()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(HostError):
        HostClient.meet(place, BOOT, "f" * 12, os.getpid())
    thread.join()
    listener.close()


def test_kept_host_without_a_service_is_not_worth_to_stay(place: Place) -> None:
    boot = Boot(settings={}, providers={}, keep=60.0)
    client = HostClient.meet(place, boot, "a" * 12, os.getpid())
    assert client.leave() == []
    assert gone_within(client.pid, 5)
    assert not place.path.exists()


def test_who_holds_a_turn_and_never_answers_again_does_not_keep_the_run_from_ending(place: Place) -> None:
    first = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    second = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    third = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    second.ask({"do": "turn", "name": "it"})
    third.tell({"do": "turn", "name": "it"})  # waits for good
    assert first.leave() == []
    second.hang_up()
    third.hang_up()


def test_turn_passes_on_when_its_holder_hangs_up(place: Place) -> None:
    first = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    second = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    second.ask({"do": "turn", "name": "it"})
    told: list[str] = []

    def hang_up(text: str) -> None:
        told.append(text)
        second.hang_up()

    first.ask({"do": "turn", "name": "it"}, hang_up)
    assert told == ["waiting for another worker: it"]
    assert first.leave() == []


def test_lock_ends_with_its_process(place: Place) -> None:
    code = f"""
import os
from pathlib import Path
from pytest_testbed.services.meeting import Place
with Place(Path({str(place.path)!r})).locked():
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    with place.locked() as door:
        assert door.connect() is None


def test_lock_that_was_removed_meanwhile_is_not_held(place: Place) -> None:
    came = threading.Event()
    order: list[str] = []

    def second() -> None:
        came.set()
        with place.locked():
            order.append("second")

    with place.locked() as door:
        thread = threading.Thread(target=second)
        thread.start()
        came.wait()
        door.clear()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_place_needs_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("x" * 100)))
    place = place_named("a" * 12)
    assert place is not None
    assert not place.path.is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = place_named("a" * 12)
    if len(str(tmp_path)) < 60:
        assert place is not None
        assert place.path.is_relative_to(tmp_path)


def test_a_run_that_wants_to_keep_its_services_and_has_no_place_for_that_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so."""
    monkeypatch.setattr("pytest_testbed.services.client.place_named", lambda name: None)
    testbed = Testbed(reuse=60.0)
    named = testbed.run
    testbed.connect()
    pid = testbed.client.pid
    assert testbed.close() == []
    assert testbed.notes == ["no private directory can be had for the host's socket; this process has a host of its own"]
    assert testbed.run != named, "nobody else's things may have our names"
    assert gone_within(pid, 10)


def test_a_place_that_cannot_be_used_is_told_and_done_without(place: Place) -> None:
    """A worker whose directory has gone meanwhile has a host of its own, and its services are nobody else's."""
    party = Party(run="a" * 12, owner=os.getpid(), place=str(place.path.parent / "gone" / "it.sock"))
    testbed = Testbed(party=party)
    testbed.connect()
    pid = testbed.client.pid
    assert testbed.close() == []
    assert len(testbed.notes) == 1
    assert "cannot be used (" in testbed.notes[0]
    assert testbed.notes[0].endswith("this process has started one of its own")
    assert gone_within(pid, 10)


def test_turns_come_one_after_another_and_end_with_their_client() -> None:
    turns = Turns()
    assert turns.take("a", "first", lambda: False)
    assert turns.take("b", "first", lambda: False)
    assert not turns.take("a", "second", lambda: True)
    came = threading.Event()

    def wait() -> None:
        turns.take("a", "second", lambda: False)
        came.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not came.is_set()
    turns.give_back("first")
    assert came.wait(5)
    assert turns.take("b", "third", lambda: False)


def test_who_asks_again_after_an_interruption_has_the_turn() -> None:
    turns = Turns()
    assert turns.take("a", "one", lambda: False)
    assert turns.take("a", "one", lambda: True), "it was granted to somebody who did not wait any more"
    assert not turns.take("a", "two", lambda: True)


def test_interrupted_wait_for_a_turn_is_in_nobodys_way(place: Place) -> None:
    first = HostClient.meet(place, BOOT, "a" * 12, os.getpid())
    testbed = Testbed(party=Party(run="a" * 12, owner=os.getpid(), place=str(place.path)), progress=interrupt)
    first.ask({"do": "turn", "name": "it"})
    with pytest.raises(KeyboardInterrupt), testbed.turn("it"):
        pass
    first.ask({"do": "turn over", "name": "it"})  # the other one gets it now, and has given it back by then
    first.ask({"do": "turn", "name": "it"})
    testbed.hang_up()
    assert first.leave() == []


def interrupt(text: str) -> None:
    if text:
        raise KeyboardInterrupt


def test_interrupted_starter_of_a_kept_host_does_not_end_it_for_others(place: Place) -> None:
    boot = Boot(settings={}, providers={}, keep=60.0)
    first = HostClient.meet(place, boot, "a" * 12, os.getpid())
    second = HostClient.meet(place, boot, "b" * 12, os.getpid())
    second.ask({"do": "turn", "name": "it"})
    with pytest.raises(KeyboardInterrupt):
        first.ask({"do": "turn", "name": "it"}, interrupt)
    assert first.leave() == []
    assert second.ask({"do": "turn over", "name": "it"})["number"]
    assert second.leave() == []
    os.kill(second.pid, signal.SIGTERM)
    assert gone_within(second.pid, 10)


def test_host_that_is_about_to_end_is_not_joined_but_followed(place: Place) -> None:
    """Many runs, one after another, each while the last one's host may be ending."""
    boot = Boot(settings={}, providers={}, keep=0.001)
    for number in range(20):
        client = HostClient.meet(place, boot, f"{number:012}", os.getpid())
        client.ask({"do": "turn", "name": "it"})
        assert client.leave() == []
    assert gone_within(client.pid, 10)


def test_old_host_does_not_clear_the_place_of_a_new_one(place: Place) -> None:
    boot = Boot(settings={}, providers={}, keep=60.0)
    old = HostClient.meet(place, boot, "a" * 12, os.getpid())
    place.path.unlink()
    new = HostClient.meet(place, boot, "b" * 12, os.getpid())
    assert new.pid != old.pid
    assert old.leave() == []
    assert gone_within(old.pid, 10)
    assert place.path.exists()
    assert new.leave() == []
    assert gone_within(new.pid, 10)
