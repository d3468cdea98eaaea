"""The book-keeping of who has uncommitted work: which SQL it asks for, without a database.

Sessions are strings here; `Server` plays PostgreSQL's savepoints, so that what is asked for is also
carried out, and a savepoint that does not exist is an error as it is there.
"""

from __future__ import annotations

import random

import pytest

from pytest_testbed.postgres.savepoints import BASE, REARM, Stack


class Server:
    """One transaction: a list of levels, each with its savepoint's name and the rows written since."""

    def __init__(self) -> None:
        self.levels: list[tuple[str, list[str]]] = [("", []), (BASE, [])]
        self.sent: list[str] = []

    def send(self, sql: str) -> None:
        for statement in filter(None, sql.split(";")):
            self.sent.append(statement)
            *verb, name = statement.split()
            if verb == ["SAVEPOINT"]:
                self.levels.append((name, []))
                continue
            names = [level[0] for level in self.levels]
            assert name in names, f"{statement}: no such savepoint"
            index = len(names) - 1 - names[::-1].index(name)
            if verb[0] == "ROLLBACK":
                del self.levels[index:]
                self.levels.append((name, []))
            else:
                rows = [row for level in self.levels[index:] for row in level[1]]
                del self.levels[index:]
                self.levels[-1][1].extend(rows)

    @property
    def rows(self) -> list[str]:
        return [row for level in self.levels for row in level[1]]


class Play:
    """A stack and a server on which its SQL is carried out."""

    def __init__(self) -> None:
        self.stack = Stack()
        self.server = Server()

    def write(self, owner: str, row: str) -> None:
        self.read(owner)
        self.server.levels[-1][1].append(row)
        self.stack.wrote(owner)

    def read(self, owner: str) -> None:
        self.server.send(self.stack.enter(owner))

    def hold(self, owner: str) -> None:
        self.read(owner)
        self.stack.held(owner)

    def commit(self, owner: str) -> None:
        self.server.send(self.stack.commit(owner))
        self.stack.committed(owner)

    def rollback(self, owner: str) -> bool:
        sql, stayed = self.stack.rollback(owner)
        self.server.send(sql)
        return stayed

    def nest(self, owner: str, name: str) -> None:
        self.read(owner)
        self.server.send(f"SAVEPOINT {name}")
        self.stack.set_inner(owner, name)

    def rollback_to(self, owner: str, name: str) -> bool:
        sql, stayed = self.stack.rollback_to(owner, name)
        self.server.send(sql)
        return stayed

    def release(self, owner: str, name: str) -> None:
        self.server.send(self.stack.release(owner, name))

    def fail(self) -> bool:
        sql, lost = self.stack.fail()
        self.server.send(sql)
        return lost

    @property
    def rows(self) -> str:
        return " ".join(self.server.rows)


@pytest.fixture
def play() -> Play:
    return Play()


class TestOneSession:
    def test_a_commit_releases_and_arms_again(self, play: Play) -> None:
        play.write("A", "a")
        play.commit("A")
        assert play.server.sent == REARM.split(";")
        assert not play.rollback("A")
        assert play.rows == "a"

    def test_a_rollback_goes_back_to_the_armed_savepoint(self, play: Play) -> None:
        play.write("A", "a")
        assert not play.rollback("A")
        assert play.server.sent == [f"ROLLBACK TO SAVEPOINT {BASE}"]
        assert play.rows == ""

    def test_statements_of_one_session_need_one_savepoint(self, play: Play) -> None:
        for row in "abc":
            play.write("A", row)
        assert play.server.sent == []

    def test_a_rollback_without_a_run_undoes_what_nobody_saw(self, play: Play) -> None:
        play.server.levels[-1][1].append("raw")
        play.rollback("A")
        assert play.rows == ""

    def test_a_commit_without_a_run_keeps_what_nobody_saw(self, play: Play) -> None:
        play.server.levels[-1][1].append("raw")
        play.commit("A")
        play.rollback("A")
        assert play.rows == "raw"

    def test_clear(self, play: Play) -> None:
        play.write("A", "a")
        play.stack.failed.add("A")
        play.stack.clear()
        assert (play.stack.runs, play.stack.failed) == ([], set())

    def test_has(self, play: Play) -> None:
        play.read("A")
        assert (play.stack.has("A"), play.stack.has("A", written=True), play.stack.has("B")) == (True, False, False)
        play.write("A", "a")
        assert play.stack.has("A", written=True)


class TestSeveralSessions:
    def test_the_one_on_top_undoes_exactly_its_own(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        assert not play.rollback("B")
        assert play.rows == "a"
        play.commit("A")
        assert play.rows == "a"
        assert play.stack.runs == []

    def test_a_commit_below_uncommitted_work(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        play.commit("A")
        assert not play.rollback("B")
        assert play.rows == "a"

    def test_a_commit_on_top_of_uncommitted_work_is_never_taken_away(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        play.commit("B")
        assert play.rollback("A")
        assert play.rows == "a b"

    def test_what_had_to_stay_goes_with_what_stood_on_it(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        assert play.rollback("A")
        assert play.rows == "a b"
        assert not play.rollback("B")
        assert play.rows == ""

    def test_own_work_on_top_goes_and_own_work_below_stays(self, play: Play) -> None:
        play.write("A", "a1")
        play.write("B", "b")
        play.write("A", "a2")
        play.commit("B")
        assert play.rollback("A")
        assert play.rows == "a1 b"

    def test_readers_stand_in_nobodys_way(self, play: Play) -> None:
        play.write("A", "a")
        play.read("B")
        assert not play.rollback("A")
        assert play.rows == ""
        play.write("B", "b")
        play.commit("B")
        assert play.rows == "b"

    def test_a_committed_reader_neither(self, play: Play) -> None:
        play.write("A", "a")
        play.read("B")
        play.commit("B")
        assert not play.rollback("A")
        assert play.rows == ""

    def test_a_committed_reader_that_nested_neither(self, play: Play) -> None:
        play.write("A", "a")
        play.nest("B", "s")
        play.commit("B")
        assert not play.rollback("A")
        assert play.rows == ""

    def test_a_reader_below_has_nothing_that_could_stay(self, play: Play) -> None:
        play.read("A")
        play.write("B", "b")
        play.commit("B")
        assert not play.rollback("A")
        assert play.rows == "b"

    def test_who_holds_a_cursor_does(self, play: Play) -> None:
        play.write("A", "a")
        play.hold("B")
        assert play.rollback("A")
        assert play.rows == "a"
        play.rollback("B")
        assert play.rows == ""

    def test_who_held_one_and_committed_does_too(self, play: Play) -> None:
        play.write("A", "a")
        play.read("B")
        play.commit("B")
        play.hold("B")
        play.commit("B")
        assert play.rollback("A")

    @pytest.mark.parametrize("end", ["commit", "rollback", "both"])
    def test_savepoints_do_not_pile_up(self, play: Play, end: str) -> None:
        play.write("A", "a")
        for number in range(50):
            play.write("B", f"{number}")
            if end == "commit" or (end == "both" and number % 2):
                play.commit("B")
            else:
                play.rollback("B")
        assert len(play.stack.runs) <= 2
        assert len(play.server.levels) <= 4


class TestNested:
    def test_exactly_what_came_since(self, play: Play) -> None:
        play.write("A", "a")
        play.nest("A", "s1")
        play.write("A", "b")
        play.nest("A", "s2")
        play.write("A", "c")
        assert not play.rollback_to("A", "s2")
        assert play.rows == "a b"
        play.release("A", "s2")
        assert not play.rollback_to("A", "s1")
        assert play.rows == "a"
        play.commit("A")
        assert play.rows == "a"

    def test_own_runs_and_readers_above_go_along(self, play: Play) -> None:
        play.nest("A", "s")
        play.read("B")
        play.write("A", "a")
        play.read("B")
        assert not play.rollback_to("A", "s")
        assert play.rows == ""
        play.write("B", "b")
        play.commit("B")
        play.commit("A")
        assert play.rows == "b"

    def test_anothers_commit_above_is_never_taken_away(self, play: Play) -> None:
        play.nest("A", "s")
        play.write("A", "a1")
        play.write("B", "b")
        play.commit("B")
        play.write("A", "a2")
        assert play.rollback_to("A", "s")
        assert play.rows == "a1 b"

    def test_nothing_stays_where_nothing_was_written_since(self, play: Play) -> None:
        play.write("A", "a")
        play.nest("A", "s")
        play.write("B", "b")
        play.write("A", "a2")
        assert not play.rollback_to("A", "s")
        assert play.rows == "a b"

    def test_a_release_leaves_the_others_their_savepoints(self, play: Play) -> None:
        play.nest("A", "s")
        play.write("A", "a")
        play.write("B", "b")
        play.release("A", "s")
        assert not play.rollback("B")
        assert play.rows == "a"

    def test_a_released_savepoint_is_forgotten(self, play: Play) -> None:
        play.nest("A", "s1")
        play.nest("A", "s2")
        play.release("A", "s1")
        assert play.stack.runs[-1].inner == {}

    def test_the_later_one_of_a_name_counts(self, play: Play) -> None:
        play.nest("A", "s")
        play.write("A", "a")
        play.nest("A", "s")
        play.write("A", "b")
        play.rollback_to("A", "s")
        assert play.rows == "a"

    def test_what_was_undone_is_not_written_any_more(self, play: Play) -> None:
        play.nest("A", "s")
        play.write("A", "a")
        play.rollback_to("A", "s")
        play.write("B", "b")
        play.commit("B")
        assert not play.rollback("A")
        assert play.rows == "b"

    def test_unknown_names_are_the_servers_affair(self, play: Play) -> None:
        assert play.stack.rollback_to("A", "s") == ("ROLLBACK TO SAVEPOINT s", False)
        assert play.stack.release("A", "s") == "RELEASE SAVEPOINT s"


class TestFailure:
    def test_the_run_that_failed_is_undone_for_the_others(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        assert not play.fail()
        assert play.stack.failed == {"B"}
        assert play.rows == "a"
        play.write("A", "a2")
        play.commit("A")
        assert not play.rollback("B")
        assert (play.stack.failed, play.rows) == (set(), "a a2")

    def test_as_little_as_a_nested_transaction_is_undone(self, play: Play) -> None:
        play.write("A", "a")
        play.nest("A", "s")
        play.write("A", "lost")
        assert not play.fail()
        play.write("B", "b")
        play.commit("B")
        assert not play.rollback_to("A", "s")
        assert play.stack.failed == set()
        play.write("A", "a2")
        play.commit("A")
        assert play.rows == "a b a2"

    def test_only_savepoints_that_are_left_count(self, play: Play) -> None:
        play.nest("A", "s1")
        play.write("A", "a")
        play.nest("A", "s2")
        play.rollback_to("A", "s1")
        play.write("A", "b")
        assert not play.fail()
        assert play.server.sent[-1] == "ROLLBACK TO SAVEPOINT s1"

    def test_the_newest_of_a_name_is_the_newest(self, play: Play) -> None:
        for name in ("s", "t", "s"):
            play.nest("A", name)
            play.write("A", name)
        assert not play.fail()
        assert play.rows == "s t"

    def test_nothing_is_known_of_it(self, play: Play) -> None:
        play.server.levels[-1][1].append("raw")
        assert not play.fail()
        assert play.rows == ""

    def test_it_happened_on_top_of_committed_work(self, play: Play) -> None:
        play.write("A", "a")
        play.write("B", "b")
        play.commit("B")
        assert play.fail()
        assert play.stack.failed == set()


@pytest.mark.parametrize("seed", range(200))
def test_any_order(seed: int) -> None:
    """Whatever happens: no unknown savepoint, no committed row lost, nothing stays unless it was said."""
    choice = random.Random(seed).choice
    play, said = Play(), False
    open_: dict[str, list[set[str]]] = {owner: [set()] for owner in "ABC"}
    committed: set[str] = set()
    for number in range(100):
        owner = choice("ABC")
        if owner in play.stack.failed:
            kind = "rollback_to" if len(open_[owner]) > 1 else "rollback"
        else:
            kind = choice(["write", "write", "read", "hold", "nest", "release", "rollback_to", "commit", "rollback", "fail"])
        mine, name = open_[owner], f"s{owner}{len(open_[owner])}"
        if kind == "write":
            play.write(owner, f"{number}")
            mine[-1].add(f"{number}")
        elif kind in ("read", "hold"):
            getattr(play, kind)(owner)
        elif kind == "nest":
            play.nest(owner, name)
            mine.append(set())
        elif kind in ("release", "rollback_to") and len(mine) > 1:
            name = f"s{owner}{len(mine) - 1}"
            rows = mine.pop()
            if kind == "release":
                play.release(owner, name)
                mine[-1] |= rows
            else:
                said |= play.rollback_to(owner, name)
                play.release(owner, name)
        elif kind == "commit":
            play.commit(owner)
            committed |= set().union(*mine)
            open_[owner] = [set()]
        elif kind == "rollback":
            said |= play.rollback(owner)
            open_[owner] = [set()]
        elif kind == "fail":
            play.read(owner)
            assert not play.fail()
            if len(mine) == 1:
                said |= play.rollback(owner)
                mine[0].clear()
        assert committed <= set(play.server.rows)
    for owner in "ABC":
        said |= play.rollback(owner)
    assert committed <= set(play.server.rows)
    assert said or committed == set(play.server.rows)
    assert play.stack.runs == []


def test_of_who_has_nothing_open_nothing_is_noted(play: Play) -> None:
    play.write("a", "1")
    play.stack.wrote("b")
    play.stack.held("b")
    play.stack.set_inner("b", "inner")
    assert [run.owner for run in play.stack.runs] == ["a"]
    assert play.stack.commit("b") == ""
    play.rollback("a")
    assert play.server.rows == []
