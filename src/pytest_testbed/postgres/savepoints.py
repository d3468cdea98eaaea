"""Who has uncommitted work in the one shared transaction, and which savepoint undoes it.

Several sessions of a test share one database connection. Each contiguous stretch of one session's
statements is a *run*, with a savepoint before it:

    testbed_0 ─ run of A ─ testbed_1 ─ run of B ─ testbed_2 ─ run of A again

So the session that rolls back while it stands on top undoes exactly its own work, and a commit only
takes the session's name off its runs. When no run belongs to anybody the stack is folded: everything
in it is committed, as far as the test can tell. What a session rolls back below another one's work has
to stay until that work is rolled back too: what somebody committed is never taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BASE", "Run", "Stack"]

BASE = "testbed_0"
"""The savepoint that is armed as long as the test runs."""

REARM = f"RELEASE SAVEPOINT {BASE};SAVEPOINT {BASE}"

GIVEN_UP: Any = "rolled back, but still below the work of others"
"""Owner of a run that shall be undone as soon as nothing stands on it."""


@dataclass(eq=False)
class Run:
    """A stretch of statements of one owner; `owner` is None once it is committed."""

    owner: Any
    savepoint: str
    written: int = 0
    # it holds something that changes no row and yet goes with a rollback: a cursor, a setting
    held: bool = False
    # the owner's own savepoints that were set during this run → how much was written before
    inner: dict[str, int] = field(default_factory=dict)

    def is_light(self) -> bool:
        """Tell whether it may go with a rollback of what is below: it only read."""
        return self.owner is GIVEN_UP or not (self.written or self.held or self.inner)

    def cut(self, name: str, *, keep: bool) -> None:
        """Forget the owner's savepoints that were set after this one, and this one unless it is kept."""
        names = list(self.inner)
        for later in names[names.index(name) + keep :]:
            del self.inner[later]


class Stack:
    """The runs of a transaction, oldest first. It knows no database: it returns the SQL to be sent."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.failed: set[Any] = set()

    def clear(self) -> None:
        """Forget everything: a new transaction has begun."""
        self.runs.clear()
        self.failed.clear()

    def has(self, owner: Any, *, written: bool = False) -> bool:
        """Tell whether the owner has an open run, or one in which something was written."""
        return any(run.owner is owner and (run.written or not written) for run in self.runs)

    def enter(self, owner: Any) -> str:
        """Say that `owner` is about to send a statement; return what must be sent before it."""
        if not self.runs:
            self.runs.append(Run(owner, BASE))
            return ""
        if self.runs[-1].owner is owner:
            return ""
        savepoint = f"testbed_{len(self.runs)}"
        self.runs.append(Run(owner, savepoint))
        return f"SAVEPOINT {savepoint}"

    def wrote(self, owner: Any) -> None:
        """Say that a statement which `owner` sent has changed something."""
        if (run := self._newest(owner)) is not None:
            run.written += 1

    def held(self, owner: Any) -> None:
        """Say that a statement which `owner` sent has left something else behind, such as a cursor."""
        if (run := self._newest(owner)) is not None:
            run.held = True

    def _newest(self, owner: Any) -> Run | None:
        return next((run for run in reversed(self.runs) if run.owner is owner), None)

    # --- the end of a transaction

    def commit(self, owner: Any) -> str:
        """Return what must be sent to make the owner's work permanent; `committed` then notes it."""
        ended = (owner, None, GIVEN_UP)
        if all(run.owner in ended for run in self.runs):
            return REARM
        first = self._first_of_top((owner, None))
        return f"RELEASE SAVEPOINT {self.runs[first].savepoint}" if first < len(self.runs) else ""

    def committed(self, owner: Any) -> None:
        """Note that what `commit` returned went through."""
        first = self._first_of_top((owner, None))
        for run in self.runs:
            if run.owner is owner:
                run.owner = None
                run.inner.clear()
        for run in self.runs[first:]:
            self.runs[first - 1].written += run.written
            self.runs[first - 1].held |= run.held
        del self.runs[first:]
        if not self._is_anybody_left():
            self.runs.clear()

    def _first_of_top(self, owners: tuple[Any, ...]) -> int:
        """Find the runs on top that may be joined to the one below them, because all are committed."""
        first = len(self.runs)
        while first > 1 and self.runs[first - 1].owner in owners and self.runs[first - 2].owner in owners:
            first -= 1
        return first

    def rollback(self, owner: Any) -> tuple[str, bool]:
        """Undo the owner's runs as far as nobody else has written on top of them.

        Returns:
            What must be sent, and whether work of the owner had to stay.
        """
        self.failed.discard(owner)
        if not self.runs:
            return f"ROLLBACK TO SAVEPOINT {BASE}", False
        mine = [run for run in self.runs if run.owner is owner]
        for run in mine:
            run.owner = GIVEN_UP
        parts = [self._undo(self._lowest_of(GIVEN_UP))]
        stayed = any(run.written for run in mine if run in self.runs)
        if self.runs and not self._is_anybody_left():
            self.runs.clear()
            parts.append(REARM)
        return ";".join(part for part in parts if part), stayed

    def _lowest_of(self, owner: Any) -> int:
        """Find the oldest run of the owner that nobody's work stands on."""
        lowest = index = len(self.runs)
        while index and (self.runs[index - 1].owner is owner or self.runs[index - 1].is_light()):
            index -= 1
            if self.runs[index].owner is owner:
                lowest = index
        return lowest

    def _undo(self, index: int) -> str:
        """Take the runs from `index` on off the stack; return what undoes them."""
        if index == len(self.runs):
            return ""
        name = self.runs[index].savepoint
        del self.runs[index:]
        # a savepoint outlives a rollback to it; unless it is released, they pile up
        return f"ROLLBACK TO SAVEPOINT {name}" + ("" if name == BASE else f";RELEASE SAVEPOINT {name}")

    def _is_anybody_left(self) -> bool:
        return any(run.owner is not None and run.owner is not GIVEN_UP for run in self.runs)

    # --- a failed statement

    def fail(self) -> tuple[str, bool]:
        """Make the failed transaction usable for others.

        The statement that failed was the last one of the run on top. Its owner can do nothing now but roll
        back: everything, or to his own newest savepoint. As much is done for him here.

        Returns:
            What must be sent, and whether committed work goes with it (something failed that nobody entered).
        """
        if not self.runs:
            return f"ROLLBACK TO SAVEPOINT {BASE}", False
        top = self.runs[-1]
        if top.owner is not None and top.owner is not GIVEN_UP:
            self.failed.add(top.owner)
        if not top.inner:
            return self._undo(len(self.runs) - 1), top.owner is None and not top.is_light()
        name = list(top.inner)[-1]
        top.written = top.inner[name]
        return f"ROLLBACK TO SAVEPOINT {name}", False

    # --- savepoints of the owners' own

    def set_inner(self, owner: Any, name: str) -> None:
        """Note a savepoint that the owner has set."""
        if (run := self._newest(owner)) is not None:
            run.inner.pop(name, None)  # the later one of two with the same name hides the other
            run.inner[name] = run.written

    def rollback_to(self, owner: Any, name: str) -> tuple[str, bool]:
        """Undo what the owner did since his savepoint, as far as nobody else has written on top of it.

        Returns:
            What must be sent, and whether work of the owner had to stay.
        """
        self.failed.discard(owner)
        index = self._holder(owner, name)
        if index is None:
            return f"ROLLBACK TO SAVEPOINT {name}", False
        run, above = self.runs[index], self.runs[index + 1 :]
        if all(other.owner is owner or other.is_light() for other in above):
            del self.runs[index + 1 :]
            run.written = run.inner[name]
            run.cut(name, keep=True)
            return f"ROLLBACK TO SAVEPOINT {name}", False
        top = self._lowest_of(owner)
        own = [other for other in self.runs[index + 1 : top] if other.owner is owner]
        stayed = run.written > run.inner[name] or any(other.written for other in own)
        return self._undo(top), stayed

    def release(self, owner: Any, name: str) -> str:
        """Forget the owner's savepoint; return what must be sent."""
        index = self._holder(owner, name)
        if index is None:
            return f"RELEASE SAVEPOINT {name}"
        self.runs[index].cut(name, keep=False)
        # with others' runs above it stays in the server: a release would take their savepoints along
        return f"RELEASE SAVEPOINT {name}" if index == len(self.runs) - 1 else ""

    def _holder(self, owner: Any, name: str) -> int | None:
        for index in range(len(self.runs) - 1, -1, -1):
            if self.runs[index].owner is owner and name in self.runs[index].inner:
                return index
        return None
